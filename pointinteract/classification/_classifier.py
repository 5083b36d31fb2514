"""A point-cloud classifier: any network, from scratch or pre-trained, as an estimator."""

from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from pointinteract.base import Clouds
from pointinteract.classification._labels import check_same_route
from pointinteract.classification._steps import ClassifierSteps
from pointinteract.classification._votes import another_look, clouds_to_vote_on
from pointinteract.training.data import store_clouds
from pointinteract.training.statistics import refresh_statistics
from pointinteract.utils._params import check_int

__all__ = ["PointClassifier"]


class PointClassifier(ClassifierMixin, ClassifierSteps):
    """Name what a point cloud shows.

    Parameters
    ----------
    model : str, Module class, Module or None, default=None
        A name of :func:`pointinteract.list_models`, a class taking ``n_channels`` and
        ``n_classes``, or a module, which is copied. None takes the network of `pretrained`, or
        ``"recon_nano"`` without one.
    pretrained : pretrainer, path, module or None, default=None
        Where to start from instead of random weights: a pretrainer such as ReConPretrainer, a
        file written by :func:`pointinteract.save`, a checkpoint that an original project
        released, or weights from the Hugging Face hub by a string such as
        ``"hf:torch-pointcloud/point-mae-base.pretrain.yatian-pang"``; see
        :func:`pointinteract.models.load_official`. A pretrainer that is not fitted yet is
        fitted on the same clouds first; since cross-validation clones its parameters, wrap a
        fitted one in ``sklearn.frozen.FrozenEstimator`` to keep it.
    recipe : None, "paper", "strong" or Recipe, default=None
        Where the settings of the training come from that you leave as they are by default:
        `n_points`, `normalize`, and those from `max_epochs` to `label_smoothing`. ``"paper"``:
        how the paper of the network trained it. ``"strong"``: one modern recipe of ours that
        serves all networks. What you set otherwise wins: ``recipe="paper", max_epochs=20`` is
        the paper's training with its schedule pressed into twenty epochs. A value that happens
        to be the default cannot be told from one left out; to have it all the same, change the
        recipe: ``recipe=replace(get_recipe("dgcnn"), learning_rate=1e-3)``. None: just these
        parameters. What was in force is in ``recipe_``.
    protocol : {"full", "linear", "mlp3"}, default="full"
        Train everything; or leave the weights as they came and train a linear head, or one of
        three layers (and ReCon's class query). By the published rule the network stays in
        training mode all the same: BatchNorm follows the data, stochastic depth is on.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling, smaller ones are taken as they are. None takes all.
    max_epochs : int, default=50
        Passes over the clouds.
    batch_size : int, default=32
    learning_rate : float, default=1e-3
        Highest rate, of AdamW unless `recipe` says otherwise.
    head_factor : float, default=1.0
        How much faster the head (and ReCon's class query) learns. ReCon's published
        fine-tuning: 10, at a learning rate of 1e-5 or 2e-5.
    weight_decay : float, default=0.05
    warmup_epochs : float, default=1
        Epochs of rising rate, if `schedule` is one of the two cosines.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine_epoch"`` is the published rule of ReCon. Or one of :class:`Recipe`.
    max_norm : float or None, default=10.0
        Longest gradient allowed.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``, ``"scale_translate"``, ``"jitter"``,
        ``"drop"``, those of :class:`Recipe`, or a function of (points (B, N, C), generator).
    label_smoothing : float, default=0.0
        Share of each label spread over the other classes. Points of DGCNN's recipe: 0.2.
    class_weight : None, "balanced" or dict, default=None
        ``"balanced"`` weighs classes by the inverse of their frequency.
    interaction_loss : None, "paper", "default" or InteractionLoss, default=None
        What to add to the cross-entropy, so that the network uses interactions of many regions
        more and those of few less; takes several times longer. ``"paper"`` is as much of the
        published loss as is public (estimator A of our reconstruction, literal form, weight
        0.01). ``"default"`` is ours, not the paper's: the same estimator as a ratio of
        logarithms, which cannot be lowered by ever larger logits (weight 0.1). All else is said
        by an :class:`~pointinteract.losses.InteractionLoss`.
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
    checkpoint : str, path or None, default=None
        File to keep the state of training in, written whole after epochs. A `fit` of the same
        clouds and parameters that finds it goes on from there, to the same numbers to the last
        bit (on the CPU).
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
        early stopping, learning rate, seconds. With an interaction loss also ``cross_entropy``
        and, once its warm-up is over, ``interaction_low``, ``interaction_high``,
        ``interaction_loss`` (without its weight) and ``mean_abs_value``; with its
        ``monitor_every``, ``kappa_low`` and ``kappa_high``.
    n_epochs_ : int
    best_epoch_ : int
        With early stopping, the epoch whose weights were kept.
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
    recipe_ : Recipe
        Every setting of the training that was in force.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    Notes
    -----
    After the last epoch of `fit` the clouds pass through the network once more, as they did in
    training but without a step, to measure what BatchNorm layers use in queries
    (``training.statistics``). In training that follows the weights slowly, and after a few dozen
    steps a network that knows its clouds may answer at chance. Early stopping, which scores
    epochs as they are, and `partial_fit` leave it out.

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
        recipe: Any = None,
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
        interaction_loss: Any = None,
        n_votes: int = 1,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.model = model
        self.pretrained = pretrained
        self.recipe = recipe
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
        self.interaction_loss = interaction_loss
        self.n_votes = n_votes
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.normalize = normalize
        self.checkpoint = checkpoint
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
        with self._undone_on_error():
            going_on = self.warm_start and hasattr(self, "module_")
            if going_on:
                check_same_route(self._route(), self._fitted_route)
            clouds, codes = self._check_labelled(X, y, reset=not going_on)
            if going_on:
                self._run = self._make_run(self.seed_ + self.n_epochs_)
            else:
                self._start(clouds)
            clouds, codes, stopper = self._hold_back(clouds, codes)
            stored = store_clouds(self._normalized(clouds), self.recipe_.n_points)
            targets = self._make_targets(codes)
            n_epochs = self.recipe_.max_epochs
            self._train(
                stored, targets, n_epochs=n_epochs, X=X, y=y, stopper=stopper, resumable=True
            )
            # Not of an earlier epoch that is the best: those were scored as they are.
            if n_epochs and stopper is None:
                refresh_statistics(self._run, stored, lambda points, _: self.module_(points))
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
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True; use fit.")
        with self._undone_on_error():
            started = hasattr(self, "module_")
            clouds, codes = self._check_labelled(X, y, reset=not started, classes=classes)
            if started:
                self._go_on()
            else:
                self._start(clouds)
            stored = store_clouds(self._normalized(clouds), self.recipe_.n_points)
            self._train(stored, self._make_targets(codes), n_epochs=1, X=X, y=y)
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
        if not hasattr(self.module_, "forward_pool"):
            raise TypeError(
                f"transform needs a network with a method forward_pool(points), which "
                f"{type(self.module_).__name__} lacks."
            )
        return self._infer(clouds, self.module_.forward_pool)

    def _vote(self, X: Any) -> np.ndarray:
        """Logits averaged over votes, (n_clouds, n_classes)."""
        if self.n_votes == 1:
            return self.predict_logits(X)
        check_is_fitted(self, "module_")
        check_int("n_votes", self.n_votes)
        n_points = self._setting("n_points")
        stored = clouds_to_vote_on(self, X, n_points)
        votes = (
            self._infer(another_look(stored, n_points, self.seed_, vote), self.module_)
            for vote in range(self.n_votes)
        )
        total = next(votes)
        for logits in votes:
            total += logits
        return total / self.n_votes
