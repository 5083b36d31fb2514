"""A segmenter of clouds: any network with features of points, as an estimator."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from pointinteract.metrics import instance_miou
from pointinteract.segmentation._labels import (
    as_given,
    check_categories,
    check_part_labels,
    with_parts_of,
)
from pointinteract.segmentation._points import join_labels
from pointinteract.segmentation._steps import SegmenterSteps
from pointinteract.training.data import store_clouds

__all__ = ["PointSegmenter"]


class PointSegmenter(SegmenterSteps):
    """Name the part that each point of a cloud belongs to.

    Parameters
    ----------
    model : str, Module class or None, default=None
        A name of :func:`pointinteract.models.list_segmentation_models`, or a class taking
        ``n_channels``, ``n_classes`` and ``n_categories`` whose ``forward(points, category)``
        answers logits (B, N, n_classes). None takes the one that continues the network of
        `pretrained`, or ``"recon_nano"`` without one.
    pretrained : pretrainer, path, module or None, default=None
        Where the trunk starts from instead of random weights: a pretrainer such as
        ReConPretrainer, a file written by :func:`pointinteract.save`, a checkpoint that an
        original project released, or ``"hf:..."``, as in
        :class:`~pointinteract.classification.PointClassifier`. A pretrainer that is not fitted
        yet is fitted on the same clouds first; since cross-validation clones its parameters,
        wrap a fitted one in ``sklearn.frozen.FrozenEstimator`` to keep it.
    model_options : dict or None, default=None
        Further numbers of the network, such as ``{"n_groups": 128}``: more patches follow
        small parts better, and cost more.
    category_input : {"auto", "always", "never"}, default="auto"
        Whether the network is told the category of a cloud: if `fit` gets categories, as is
        published; or insist on them; or never, so that they only restrict what is answered.
    frozen : bool, default=False
        Whether the trunk stays as it came, weights and statistics, and only what lies behind
        it is trained.
    n_points : int or None, default=2048
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling, and the others get their answers by interpolation between the three nearest.
        None takes all. (Published: as many points, drawn with replacement.)
    max_epochs : int, default=50
        Passes over the clouds; the weights after the last are kept. Published: 300, and the
        epoch that is best on the test clouds.
    batch_size : int, default=16
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published for ReCon: 1e-4.
    head_factor : float, default=1.0
        How much faster everything behind the trunk learns. Published for ReCon: 10.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate. Published: 10.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine_epoch"`` is the published rule of ReCon.
    max_norm : float or None, default=10.0
        Longest gradient allowed.
    optimizer_steps : {"one", "published"}, default="one"
        ``"published"`` repeats a slip of the published code of ReCon: it moves the weights
        twice a batch with the same gradient, before and after it is cut to `max_norm`.
    augmentation : None, str, tuple of str or callable, default="scale_translate_mild"
        The published one: one factor of 0.8 to 1.25 for all axes, and a shift of up to 0.1
        along each. Or any of :class:`~pointinteract.classification.PointClassifier`; a function
        of (points (B, N, C), generator) must leave points in their places.
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
    part_classes_ : array of shape (n_parts,)
        The labels seen in `fit`, sorted.
    categories_ : array of shape (n_categories,) or None
        The categories seen in `fit`, sorted.
    category_parts_ : dict of category to list of labels, or None
        Parts that occur in clouds of each category.
    module_ : torch.nn.Module
        The trained network; ``module_.encoder`` is its trunk.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: loss, accuracy on the points of the training batches, learning rate,
        seconds.
    n_epochs_ : int
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    Notes
    -----
    After the last epoch the clouds pass through the network once more, in batches as before but
    without a step, to measure the means and variances that BatchNorm layers use in queries. In
    training these follow the weights slowly: after a few dozen steps the network would be far
    worse in queries than on its own batches. Published code leaves this out; it takes thousands of
    steps, of ever smaller length, after which there is little left to mend. A fit that is
    interrupted ends without it, and `frozen` keeps the trunk out of it.

    See Also
    --------
    pointinteract.metrics.part_iou_table : Scores part by part.
    pointinteract.plotting.PartsDisplay : Truth, answer and mistakes on the cloud.

    Examples
    --------
    >>> from pointinteract.datasets import make_parts
    >>> from pointinteract.segmentation import PointSegmenter
    >>> lamps = make_parts(8, n_points=64, classes=["lamp", "mug"], random_state=0)
    >>> segmenter = PointSegmenter(max_epochs=1, random_state=0)
    >>> segmenter = segmenter.fit(lamps.data, lamps.parts, lamps.target)
    >>> segmenter.predict(lamps.data, lamps.target).shape
    (8, 64)
    >>> segmenter.category_parts_[0]
    [0, 1, 2]
    """

    def __init__(
        self,
        model: Any = None,
        *,
        pretrained: Any = None,
        model_options: dict[str, Any] | None = None,
        category_input: str = "auto",
        frozen: bool = False,
        n_points: int | None = 2048,
        max_epochs: int = 50,
        batch_size: int = 16,
        learning_rate: float = 1e-3,
        head_factor: float = 1.0,
        weight_decay: float = 0.05,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        max_norm: float | None = 10.0,
        optimizer_steps: str = "one",
        augmentation: Any = "scale_translate_mild",
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.model = model
        self.pretrained = pretrained
        self.model_options = model_options
        self.category_input = category_input
        self.frozen = frozen
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.head_factor = head_factor
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.max_norm = max_norm
        self.optimizer_steps = optimizer_steps
        self.augmentation = augmentation
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags

    def fit(self, X: Any, y: Any, categories: Any = None):
        """Train on clouds whose points are labelled.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : array of shape (n_clouds, n_points) or list of (n_points_i,)
            Part of every point, integers or strings.
        categories : array of shape (n_clouds,), optional
            Category of every cloud, integers or strings.

        Returns
        -------
        self : PointSegmenter
        """
        self._check_params()
        with self._undone_on_error():
            clouds, codes, kinds = self._check_labelled(X, y, categories)
            self._start(clouds)
            joined = join_labels(self._normalized(clouds), codes)
            stored = store_clouds(joined, self.n_points)
            told = self.architecture_["n_categories"] is not None and kinds is not None
            targets = torch.from_numpy(kinds) if told else None
            self._train(stored, targets, n_epochs=self.max_epochs, X=X, y=y, resumable=True)
            if self.max_epochs:
                self._refresh_statistics(stored, targets)
        return self

    def predict(self, X: Any, categories: Any = None, *, restrict: bool = True) -> Any:
        """Part of every point.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        categories : array of shape (n_clouds,), optional
            Needed if the network was trained with them.
        restrict : bool, default=True
            Whether only parts of the cloud's category may be named, the published rule, if
            `categories` are given. False shows how well the network knows itself.

        Returns
        -------
        parts : array of shape (n_clouds, n_points), or list of (n_points_i,) if X is a list
            For every point that was given, also where the network sees fewer.
        """
        scores = self._restricted(X, categories, restrict)
        return as_given([self.part_classes_[row.argmax(axis=1)] for row in scores], X)

    def predict_proba(self, X: Any, categories: Any = None, *, restrict: bool = True) -> Any:
        """Probability of every part at every point.

        Parameters
        ----------
        X, categories, restrict
            As in `predict`; parts of other categories have probability 0 if restricted.

        Returns
        -------
        probabilities : float64 array of shape (n_clouds, n_points, n_parts), or list of \
(n_points_i, n_parts) if X is a list
            Columns as in ``part_classes_``.
        """
        scores = self._restricted(X, categories, restrict)
        rows = [torch.from_numpy(row).double().softmax(dim=1).numpy() for row in scores]
        return as_given(rows, X)

    def score(self, X: Any, y: Any, categories: Any = None) -> float:
        """Instance mIoU: mean over clouds of the mean over parts of intersection over union.

        With `categories`, by the published rule: answers are restricted to the parts of the
        category, and a part that neither truth nor answer has counts 1. Without, only parts
        that one of them has count, which gives the lower number; see
        :func:`pointinteract.metrics.shape_ious`.
        """
        check_is_fitted(self, "module_")
        clouds = self._validate_clouds(X, reset=False)
        truth = check_part_labels(y, clouds, type(self).__name__)
        parts = None
        if categories is not None and self.category_parts_ is not None:
            named = check_categories(categories, len(clouds))
            parts = with_parts_of(self.category_parts_, truth, named)
        answer = self.predict(X, categories)
        return instance_miou(truth, answer, categories, category_parts=parts)

    def transform(self, X: Any) -> np.ndarray:
        """Pooled feature of every cloud from the trunk, float32 (n_clouds, n_features_out)."""
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        trunk: Any = getattr(self.module_, "encoder", None)
        if not hasattr(trunk, "forward_pool"):
            raise TypeError(
                "transform needs a network whose encoder has a method forward_pool(points), "
                f"which {type(self.module_).__name__} lacks."
            )
        return self._infer(clouds, trunk.forward_pool)

    def _restricted(self, X: Any, categories: Any, restrict: bool) -> list[np.ndarray]:
        """Logits of every cloud, minus infinity for parts that it cannot have."""
        check_is_fitted(self, "module_")
        scores, allowed = self._score_points(X, categories)
        if not restrict:
            return scores
        return [
            np.where(mask, row, np.float32(-np.inf))
            for row, mask in zip(scores, allowed, strict=True)
        ]
