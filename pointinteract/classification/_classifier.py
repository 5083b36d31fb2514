"""A point-cloud classifier: any network, from scratch or pre-trained, as an estimator."""

from typing import Any

import numpy as np
import torch
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d
from torch import Tensor, nn

from pointinteract.base import Clouds, CloudEstimatorMixin, TorchEstimatorMixin, pick_device
from pointinteract.classification._build import (
    DEFAULT_MODEL,
    PROTOCOLS,
    describe_architecture,
    make_network,
    pretrained_encoder,
)
from pointinteract.losses import smoothed_cross_entropy
from pointinteract.ops import random_scale
from pointinteract.training.callbacks import CallbackSupportMixin, FitProgress, with_callbacks
from pointinteract.training.data import check_augmentation, draw_points, store_clouds
from pointinteract.training.early_stopping import AccuracyStopper
from pointinteract.training.history import history_frame
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, forked_seed, make_generator

__all__ = ["PointClassifier"]

_VOTES = 101  # stream of random numbers for votes, apart from those of training


class PointClassifier(
    CloudEstimatorMixin,
    TorchEstimatorMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Name what a point cloud shows.

    Parameters
    ----------
    model : str, Module class, Module or None, default=None
        A name of :func:`pointinteract.list_models`, a class taking ``n_channels`` and
        ``n_classes``, or a module, which is copied. None takes the network of `pretrained`, or
        ``"recon_nano"`` without one.
    pretrained : pretrainer, path, module or None, default=None
        Where to start from instead of random weights: a pretrainer such as ReConPretrainer, a
        file written by :func:`pointinteract.save`, or an official ReCon checkpoint. A pretrainer
        that is not fitted yet is fitted on the same clouds first; since cross-validation clones
        its parameters, wrap a fitted one in ``sklearn.frozen.FrozenEstimator`` to keep it.
    protocol : {"full", "linear", "mlp3"}, default="full"
        Train everything; or leave the network as it came and train a linear head, or one of
        three layers.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling, smaller ones are taken as they are. None takes all.
    max_epochs : int, default=50
        Passes over the clouds.
    batch_size : int, default=32
    learning_rate : float, default=1e-3
        Highest rate of AdamW.
    head_factor : float, default=1.0
        How much faster the head (and ReCon's class query) learns. ReCon's published
        fine-tuning: 10, at a learning rate of 1e-5 or 2e-5.
    weight_decay : float, default=0.05
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine_epoch"`` is the published rule of ReCon.
    max_norm : float or None, default=10.0
        Longest gradient allowed; longer ones are cut to it.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``, ``"scale_translate"``, ``"jitter"``,
        ``"drop"``, or a function of (points (B, N, C), generator).
    label_smoothing : float, default=0.0
        Share of each label spread over the other classes. Points of DGCNN's recipe: 0.2.
    class_weight : None, "balanced" or dict, default=None
        ``"balanced"`` weighs classes by the inverse of their frequency.
    n_votes : int, default=1
        Predictions average the logits of so many randomly scaled copies of each cloud (and,
        where a cloud has more than `n_points`, of different choices of points).
    early_stopping : bool, default=False
        Whether to hold a part of the clouds back, stop when its accuracy no longer rises, and
        return to the best weights.
    validation_fraction : float, default=0.1
        The part held back.
    n_iter_no_change : int, default=10
        Epochs without a rise of more than `tol` before stopping.
    tol : float, default=1e-4
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first.
    device : str, default="auto"
    random_state : int, RandomState instance or None, default=None
        Same integer, same numbers (on the CPU to the last bit).

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The labels seen in `fit`.
    module_ : torch.nn.Module
        The trained network.
    history_ : DataFrame
        One row an epoch: loss, accuracy on the training batches, ``validation_accuracy`` with
        early stopping, learning rate, seconds.
    n_epochs_ : int
    best_epoch_ : int
        With early stopping, the epoch whose weights were kept.
    n_features_in_ : int
        Channels of a point.
    device_ : str
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.datasets import make_shapes
    >>> X, y = make_shapes(32, n_points=64, return_X_y=True, random_state=0)
    >>> clf = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(X, y)
    >>> clf.predict(X).shape
    (32,)
    """

    def __init__(
        self,
        model: Any = None,
        *,
        pretrained: Any = None,
        protocol: str = "full",
        n_points: int | None = 1024,
        max_epochs: int = 50,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        head_factor: float = 1.0,
        weight_decay: float = 0.05,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        max_norm: float | None = 10.0,
        augmentation: Any = "scale_translate",
        label_smoothing: float = 0.0,
        class_weight: Any = None,
        n_votes: int = 1,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        normalize: bool = True,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.model = model
        self.pretrained = pretrained
        self.protocol = protocol
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.head_factor = head_factor
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.max_norm = max_norm
        self.augmentation = augmentation
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.n_votes = n_votes
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.normalize = normalize
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any):
        """Train on labelled clouds.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : array of shape (n_clouds,)
            Labels of any kind that scikit-learn knows.

        Returns
        -------
        self : PointClassifier
        """
        self._check_params()
        going_on = self.warm_start and hasattr(self, "module_")
        validated, codes = self._check_labelled(X, y, reset=not going_on)
        if going_on:
            self._run = self._make_run(self.seed_ + self.n_epochs_)
        else:
            self._start(X)
        chosen, held_back = self._hold_back(codes)
        stored = store_clouds(self._normalized(_pick(validated, chosen)), self.n_points)
        stopper = None if held_back is None else AccuracyStopper(
            self, self._prepare(_pick(validated, held_back)), codes[held_back]
        )
        self._train(stored, codes[chosen], self.max_epochs, stopper, X=X, y=y)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None):
        """Train for one more epoch.

        Parameters
        ----------
        X, y
            As in `fit`.
        classes : array, optional
            All labels that will ever come; needed at the first call if `y` lacks some.

        Returns
        -------
        self : PointClassifier
        """
        self._check_params()
        started = hasattr(self, "module_")
        validated, codes = self._check_labelled(X, y, reset=not started, classes=classes)
        if not started:
            self._start(X)
        elif not hasattr(self, "_run"):
            self._run = self._make_run(self.seed_)
            self._run.epoch = self.n_epochs_
        stored = store_clouds(self._normalized(validated), self.n_points)
        self._train(stored, codes, 1, None, X=X, y=y)
        return self

    def prepare_clouds(self, X: Any) -> Clouds:
        """Clouds as the network gets them: validated, normalised, thinned to `n_points`.

        What is changed in a cloud after this step (regions taken away, say) stays as it is if
        ``predict_logits(..., prepared=True)`` is asked.
        """
        check_is_fitted(self, "module_")
        return self._prepare(self._validate_clouds(X, reset=False))

    def predict_logits(self, X: Any, *, prepared: bool = False) -> np.ndarray:
        """Scores before softmax, float32 (n_clouds, n_classes); no votes.

        Parameters
        ----------
        X : clouds
        prepared : bool, default=False
            Whether X came out of `prepare_clouds`, so that nothing is normalised again.
        """
        check_is_fitted(self, "module_")
        if prepared:
            return self._infer(self._validate_clouds(X, reset=False), self.module_)
        return self._infer(self.prepare_clouds(X), self.module_)

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits, averaged over votes: (n_clouds, n_classes), or (n_clouds,) for two classes."""
        logits = self._vote(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of every class, (n_clouds, n_classes)."""
        return torch.from_numpy(self._vote(X)).double().softmax(dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Most probable label of every cloud, (n_clouds,)."""
        check_is_fitted(self, "module_")
        return self.classes_[self._vote(X).argmax(axis=1)]

    def transform(self, X: Any) -> np.ndarray:
        """Pooled feature of every cloud, float32 (n_clouds, n_features_out)."""
        clouds = self.prepare_clouds(X)
        return self._infer(clouds, self.module_.forward_pool)

    def _check_params(self) -> None:
        check_option("protocol", self.protocol, PROTOCOLS)
        if self.model is not None and self.pretrained is not None:
            raise ValueError(
                "give model or pretrained, not both: a pretrained network brings its own "
                f"architecture. Got model={self.model!r}."
            )
        for name in ("max_epochs", "batch_size", "n_votes", "n_iter_no_change"):
            check_int(name, getattr(self, name))
        if self.n_points is not None:
            check_int("n_points", self.n_points)
        if self.max_norm is not None:
            check_real("max_norm", self.max_norm, open_minimum=True)
        check_real("learning_rate", self.learning_rate, open_minimum=True)
        check_real("head_factor", self.head_factor, open_minimum=True)
        check_real("weight_decay", self.weight_decay)
        check_real("warmup_epochs", self.warmup_epochs)
        check_real("label_smoothing", self.label_smoothing, maximum=1.0, open_maximum=True)
        check_real("validation_fraction", self.validation_fraction, maximum=1.0,
                   open_minimum=True, open_maximum=True)
        check_real("tol", self.tol)
        check_option("schedule", self.schedule, ("cosine", "cosine_epoch", "constant"))
        check_augmentation(self.augmentation)

    def _check_labelled(
        self, X: Any, y: Any, *, reset: bool, classes: Any = None
    ) -> tuple[Clouds, np.ndarray]:
        """Validate clouds and labels; returns labels as places in ``classes_``."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; "
                "ReConPretrainer learns without labels."
            )
        clouds = self._validate_clouds(X, reset=reset)
        y = column_or_1d(y, warn=True)
        check_consistent_length(clouds, y)
        check_classification_targets(y)
        if reset:
            known = np.unique(y if classes is None else classes)
            if len(known) < 2:
                raise ValueError(
                    f"a classifier needs clouds of at least 2 classes; got one class: {known}."
                )
            self.classes_ = known
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y holds labels that were not seen at the start: {unknown}; known are "
                f"{self.classes_}. Name all of them in classes= at the first partial_fit."
            )
        return clouds, np.searchsorted(self.classes_, y)

    def _start(self, X: Any) -> None:
        """Build the network and the run; nothing of an earlier fit is kept."""
        self.device_ = str(pick_device(self.device))
        self.seed_ = draw_seed(self.random_state)
        encoder = None
        if self.pretrained is not None:
            encoder = pretrained_encoder(self.pretrained, X)
        model = DEFAULT_MODEL if self.model is None else self.model
        self.architecture_ = describe_architecture(model, encoder)
        self.architecture_["protocol"] = self.protocol
        with forked_seed(self.seed_):
            network = self._build_module()
        if encoder is not None:
            self._check_channels(encoder)
            weights = {name: value for name, value in encoder.state_dict().items()
                       if not name.startswith("head.")}
            network.load_state_dict(weights, strict=False)
        self.module_ = network.to(self.device_)
        self._n_features_out = int(getattr(network, "num_features", 0))
        self.n_epochs_ = 0
        self._records: list[dict[str, float]] = []
        self._run = self._make_run(self.seed_)

    def _build_module(self) -> nn.Module:
        return make_network(
            self.architecture_,
            self.model,
            n_channels=self._n_channels,
            n_classes=len(self.classes_),
            protocol=self.architecture_["protocol"],
        )

    def _check_channels(self, encoder: nn.Module) -> None:
        n_channels = encoder.config["n_channels"]
        if n_channels != self._n_channels:
            raise ValueError(
                f"the pretrained network reads {n_channels} channels a point, and X has "
                f"{self._n_channels}."
            )

    def _make_run(self, seed: int) -> TrainingRun:
        return TrainingRun(
            self.module_,
            seed=seed,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            head_factor=self.head_factor,
            warmup_epochs=self.warmup_epochs,
            schedule=self.schedule,
            max_norm=self.max_norm,
            n_points=self.n_points,
            augmentation=self.augmentation,
        )

    def _hold_back(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Places of the clouds to train on, and of those that decide when to stop."""
        everything = np.arange(len(codes))
        if not self.early_stopping:
            return everything, None
        try:
            chosen, held_back = train_test_split(
                everything, test_size=self.validation_fraction, stratify=codes,
                random_state=self.seed_,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping could not hold {self.validation_fraction:.0%} of {len(codes)} "
                f"clouds of {len(self.classes_)} classes back: {error}"
            ) from error
        return chosen, held_back

    @with_callbacks
    def _train(
        self, stored: Tensor, codes: np.ndarray, n_epochs: int, stopper: AccuracyStopper | None,
        *, X: Any, y: Any,
    ) -> None:
        """Run epochs. An interruption leaves the estimator fitted with what was reached."""
        targets = torch.from_numpy(codes)
        weight = self._class_weights(codes)
        progress = FitProgress(self, n_epochs=n_epochs, X=X, y=y)
        for _ in range(n_epochs):
            with progress.epoch(self._run.epoch):
                record = self._run.run_epoch(
                    stored, lambda points, index: self._compute_loss(points, targets[index], weight)
                )
                if stopper is not None:
                    record["validation_accuracy"] = stopper.look()
            self.n_epochs_ += 1
            self._records.append(record | {"epoch": self.n_epochs_})
            self.history_ = history_frame(self._records)
            if stopper is not None and stopper.wants_to_stop:
                break
        if stopper is not None:
            stopper.restore()
        progress.done()

    def _compute_loss(
        self, points: Tensor, target: Tensor, weight: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        target = target.to(points.device)
        logits = self.module_(points)
        if logits.shape != (len(points), len(self.classes_)):
            raise ValueError(
                f"model must answer logits of shape ({len(points)}, {len(self.classes_)}), got "
                f"{tuple(logits.shape)}."
            )
        loss = smoothed_cross_entropy(
            logits, target, smoothing=self.label_smoothing, weight=weight
        )
        if hasattr(self.module_, "auxiliary_loss"):
            loss = loss + self.module_.auxiliary_loss()
        return loss, {"accuracy": (logits.argmax(1) == target).float().mean()}

    def _class_weights(self, codes: np.ndarray) -> Tensor | None:
        if self.class_weight is None:
            return None
        present = np.unique(codes)
        weights = np.ones(len(self.classes_), dtype=np.float32)
        weights[present] = compute_class_weight(
            self.class_weight, classes=self.classes_[present], y=self.classes_[codes]
        )
        return torch.from_numpy(weights)

    def _vote(self, X: Any) -> np.ndarray:
        """Logits averaged over votes, (n_clouds, n_classes)."""
        if self.n_votes == 1:
            return self.predict_logits(X)
        check_is_fitted(self, "module_")
        check_int("n_votes", self.n_votes)
        clouds = self._normalized(self._validate_clouds(X, reset=False))
        total = 0.0
        for vote in range(self.n_votes):
            total = total + self._infer(self._redraw(clouds, vote), self.module_)
        return total / self.n_votes

    def _redraw(self, clouds: Clouds, vote: int) -> Clouds:
        """Another look at every cloud: spare points chosen anew, each axis scaled.

        One draw serves all clouds, so that the answer for one does not depend on the others.
        """
        def look(cloud: np.ndarray) -> np.ndarray:
            generator = make_generator(self.seed_, _VOTES, vote)
            points = store_clouds(cloud[None], self.n_points)
            points = draw_points(points, self.n_points, generator)
            return random_scale(points, generator=generator)[0].numpy()

        return [look(cloud) for cloud in clouds]


def _pick(clouds: Clouds, index: np.ndarray) -> Clouds:
    return [clouds[i] for i in index] if isinstance(clouds, list) else clouds[index]
