"""A training recipe: every setting of a supervised training in one object."""

from dataclasses import dataclass, replace
from typing import Any

from sklearn.base import BaseEstimator

from pointinteract.training.data import check_augmentation
from pointinteract.training.loop import DECAYS, OPTIMIZERS, SCHEDULES, STEP_UNITS
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["SHARED_SETTINGS", "Recipe"]

# Settings that a recipe and the classifier both have, with the same default and meaning.
SHARED_SETTINGS = (
    "n_points",
    "normalize",
    "augmentation",
    "batch_size",
    "max_epochs",
    "learning_rate",
    "head_factor",
    "weight_decay",
    "schedule",
    "warmup_epochs",
    "max_norm",
    "label_smoothing",
)


@dataclass(repr=False)
class Recipe(BaseEstimator):
    """How a network is trained; for ``PointClassifier(recipe=...)``.

    An object of settings that scikit-learn can clone and search over
    (``recipe__learning_rate``). The defaults are those of
    :class:`~pointinteract.classification.PointClassifier`.

    Parameters
    ----------
    source : str, default=""
        Where it comes from, and in what it differs from there.
    n_points, normalize, augmentation, batch_size, max_epochs
        As in PointClassifier. Besides the augmentations named there: ``"scale_translate_mild"``
        (one factor of 0.8 to 1.25 for all axes, shift 0.1), ``"tilt"`` (small turns about all
        axes), ``"gaussian_scale"`` and ``"cosine_scale"`` (PointCNN's, as meant and as
        released), ``"shuffle"`` (the order of points).
    optimizer : {"adamw", "adam", "sgd"}, default="adamw"
        ``"adam"`` and ``"sgd"`` add the weight decay to the gradient, ``"adamw"`` does not.
    learning_rate, head_factor
        As in PointClassifier.
    rate_factors : tuple of (str, float), default=()
        Parts of the network, by the beginning of their parameters' names, that learn so many
        times as fast.
    momentum : float, default=0.9
        Of SGD.
    epsilon : float, default=1e-8
        What Adam adds to the root of the second moment.
    weight_decay
        As in PointClassifier.
    decay_on : {"weights", "weights_and_norms", "all"}, default="weights"
        What decays: not biases, one-dimensional parameters and tokens; or of these the gains
        and offsets of norms too; or everything.
    schedule : str, default="cosine"
        As in PointClassifier, or ``"annealed"`` (half a cosine, a step an epoch, no warm-up),
        ``"staircase"`` (times `step_factor` once in `step_every` epochs, steps or clouds) or
        ``"plateau"`` (times `step_factor` when for more than `patience` epochs the training
        loss has not fallen).
    warmup_epochs
        As in PointClassifier; of the two cosines, ``"cosine"`` and ``"cosine_epoch"``, only.
    min_learning_rate : float, default=1e-6
        Where the schedule ends, or goes no lower; ``"cosine_epoch"`` has its own 1e-6.
    step_factor, step_every : float, default=0.7, 20.0
    step_unit : {"epochs", "steps", "clouds"}, default="epochs"
    patience : int, default=10
    max_norm, label_smoothing
        As in PointClassifier.
    smoothing_over : {"others", "all"}, default="others"
        Which classes share what `label_smoothing` takes from the true class, evenly: all others
        (e / (C - 1) each, the rule of DGCNN and its descendants), or all with the true one
        (e / C each, the rule of the framework).

    Examples
    --------
    >>> from pointinteract.classification import get_recipe
    >>> recipe = get_recipe("dgcnn", "paper")
    >>> recipe.optimizer, recipe.learning_rate, recipe.max_epochs
    ('sgd', 0.1, 250)
    """

    source: str = ""
    n_points: int | None = 1024
    normalize: bool = True
    augmentation: Any = "scale_translate"
    batch_size: int = 32
    max_epochs: int = 50
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    head_factor: float = 1.0
    rate_factors: Any = ()
    momentum: float = 0.9
    epsilon: float = 1e-8
    weight_decay: float = 0.05
    decay_on: str = "weights"
    schedule: str = "cosine"
    warmup_epochs: float = 1
    min_learning_rate: float = 1e-6
    step_factor: float = 0.7
    step_every: float = 20.0
    step_unit: str = "epochs"
    patience: int = 10
    max_norm: float | None = 10.0
    label_smoothing: float = 0.0
    smoothing_over: str = "others"

    def check(self) -> "Recipe":
        """Raise if a setting makes no sense; returns the recipe itself."""
        for name in ("batch_size", "max_epochs"):
            check_int(name, getattr(self, name))
        check_int("patience", self.patience, minimum=0)
        if self.n_points is not None:
            check_int("n_points", self.n_points)
        if self.max_norm is not None:
            check_real("max_norm", self.max_norm, open_minimum=True)
        for name in ("learning_rate", "head_factor", "epsilon", "step_factor", "step_every"):
            check_real(name, getattr(self, name), open_minimum=True)
        for name in ("weight_decay", "warmup_epochs", "min_learning_rate"):
            check_real(name, getattr(self, name))
        for name in ("momentum", "label_smoothing"):
            check_real(name, getattr(self, name), maximum=1.0, open_maximum=True)
        check_option("optimizer", self.optimizer, OPTIMIZERS)
        check_option("schedule", self.schedule, SCHEDULES)
        check_option("step_unit", self.step_unit, STEP_UNITS)
        check_option("decay_on", self.decay_on, DECAYS)
        check_option("smoothing_over", self.smoothing_over, ("others", "all"))
        check_augmentation(self.augmentation)
        for pair in self.rate_factors:
            if len(pair) != 2 or not isinstance(pair[0], str):
                raise ValueError(
                    f"rate_factors must be pairs of a parameter's beginning and a number, such "
                    f'as (("head.", 10.0),); got {pair!r}.'
                )
            check_real("rate_factors", pair[1], open_minimum=True)
        return self

    def lasting(self, max_epochs: int) -> "Recipe":
        """The same recipe in another number of epochs, with everything timed stretched alike."""
        ratio = max_epochs / self.max_epochs
        return replace(
            self,
            max_epochs=max_epochs,
            warmup_epochs=self.warmup_epochs * ratio,
            step_every=self.step_every * ratio,
            patience=max(1, round(self.patience * ratio)),
        )
