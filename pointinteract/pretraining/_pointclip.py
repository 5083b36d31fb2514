"""PointCLIP as an estimator: nothing is trained; a CLIP looks at depth pictures of clouds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from pointinteract.base import CloudEstimatorMixin, TorchEstimatorMixin, pick_device
from pointinteract.models._teacher_views import DepthViewTeacher
from pointinteract.models.teachers import CachedTeacher
from pointinteract.pretraining._joint_space import ask_texts, joint_teachers, unit_views
from pointinteract.pretraining._zero_shot import ZeroShotMixin
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["PointCLIPPretrainer"]


class PointCLIPPretrainer(
    ZeroShotMixin,
    CloudEstimatorMixin,
    TorchEstimatorMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Show depth pictures of clouds from six sides to a picture network that knows words.

    There is no training: `fit` checks that the two teachers share a space, and no more.

    Parameters
    ----------
    image_teacher : str, Teacher, callable or module
        A CLIP of ``transformers`` by hub name or local folder, such as
        ``"openai/clip-vit-base-patch32"``, or any teacher of pictures whose vectors lie in one
        space with those of `text_teacher`. The built-in teachers do not.
    text_teacher : str, Teacher or callable, default=None
        None: the same name as `image_teacher`. Needed for words only, not for `transform`.
    n_views : int, default=6
        Pictures a cloud, of the six sides of a cube. Up to 10 with four oblique ones.
    picture_size : int, default=128
        Height and width in pixels that points are drawn at, before the picture is blown up to
        what the teacher reads. Smaller ones have fewer holes and less detail.
    camera_distance : float, default=1.6
        Of the perspective camera from the origin, for clouds in the unit ball.
    view_weights : sequence of float, default=None
        How much each view counts. None: all alike. The original searches them on the test
        split afterwards, which is not done here.
    pooling : {"concat", "mean"}, default="concat"
        What `transform` returns: the features of all views side by side, or their mean.
    logit_scale : float, default=100.0
        By which cosines are multiplied before the softmax of `classify`; CLIP's own.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds. Published: clouds with y up.
    n_points : int or None, default=1024
        Larger clouds are thinned by farthest point sampling. None takes them whole.
    batch_size : int, default=32
        Pictures encoded at once.
    teacher_cache : str or None, default=None
        Folder to keep the features of clouds in, so that none is encoded twice.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first.
    device : str, default="auto"
        ``"auto"`` takes a GPU if there is one.

    Attributes
    ----------
    n_features_in_ : int
        Channels of a point.
    n_features_view_ : int
        Width D of the features of a view.
    device_ : str
        Where teachers made by name work.

    References
    ----------
    Zhang, Guo, Zhang, Li, Miao, Cui, Qiao, Gao, Li, "PointCLIP: Point Cloud Understanding by
    CLIP", CVPR 2022.

    Examples
    --------
    Any pair of functions will do that answers pictures and texts in one space:

    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.models.teachers import CallableTeacher
    >>> from pointinteract.pretraining import PointCLIPPretrainer
    >>> X, _ = make_shapes(4, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointCLIPPretrainer(
    ...     CallableTeacher(lambda pictures: pictures.mean(axis=2)[..., 0], takes="images"),
    ...     text_teacher=CallableTeacher(
    ...         lambda texts: [[len(text)] * 224 for text in texts], takes="texts"
    ...     ),
    ... ).fit(X)
    >>> pre.classify(X, ["chair", "table"]).probabilities.shape
    (4, 2)
    """

    _templates = "point cloud depth map of a {}."

    def __init__(
        self,
        image_teacher: Any = None,
        *,
        text_teacher: Any = None,
        n_views: int = 6,
        picture_size: int = 128,
        camera_distance: float = 1.6,
        view_weights: Sequence[float] | None = None,
        pooling: str = "concat",
        logit_scale: float = 100.0,
        up: str = "z",
        n_points: int | None = 1024,
        batch_size: int = 32,
        teacher_cache: str | None = None,
        normalize: bool = True,
        device: str = "auto",
    ):
        self.image_teacher = image_teacher
        self.text_teacher = text_teacher
        self.n_views = n_views
        self.picture_size = picture_size
        self.camera_distance = camera_distance
        self.view_weights = view_weights
        self.pooling = pooling
        self.logit_scale = logit_scale
        self.up = up
        self.n_points = n_points
        self.batch_size = batch_size
        self.teacher_cache = teacher_cache
        self.normalize = normalize
        self.device = device

    def fit(self, X: Any, y: Any = None):
        """Check clouds and teachers; nothing is learned.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : ignored
            Labels are never looked at; here for pipelines.

        Returns
        -------
        self : PointCLIPPretrainer
        """
        self._check_params()
        before = dict(self.__dict__)
        try:
            self.__dict__.pop("_teachers", None)
            clouds = self._validate_clouds(X, reset=True)
            self.device_ = str(pick_device(self.device))
            first = self._teacher("clouds").encode(self._prepare(clouds[:1]))
            self.n_features_view_ = first.shape[1] // self.n_views
            if self._teachers["texts"] is not None:
                self._ask_texts(["a"])
            wide = self.n_features_view_
            self._n_features_out = wide * (self.n_views if self.pooling == "concat" else 1)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of the views of clouds, by the image teacher.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        features : float32 array of shape (n_clouds, n_views * D), or (n_clouds, D)
            A unit vector a view, or their mean; see `pooling`.
        """
        features = self._look(X)
        if self.pooling == "concat":
            return features.reshape(len(features), -1)
        return features.mean(axis=1)

    def encode_clouds(self, X: Any) -> np.ndarray:
        """Vectors of clouds in the space of texts.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        features : float32 array of shape (n_clouds, D)
            The sum of the views' unit vectors, by `view_weights`, over the root of their
            number: its product with a unit vector of a text is the published agreement, where
            views stand side by side and the text's vector is repeated and scaled to length 1.
        """
        features = self._look(X)
        weights = np.ones(self.n_views) if self.view_weights is None else self.view_weights
        summed = np.einsum("nvd,v->nd", features, np.asarray(weights, dtype=np.float32))
        return (summed / np.sqrt(self.n_views)).astype(np.float32)

    def views(self, X: Any) -> Bunch:
        """Draw the pictures that the image teacher is shown.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        result : Bunch
            ``pictures``, float32 (n_clouds, n_views, S, S): depths, 0 where there is no point.
        """
        check_is_fitted(self, "n_features_view_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        teacher = self._teacher("clouds")
        drawing: Any = teacher.teacher if isinstance(teacher, CachedTeacher) else teacher
        return Bunch(pictures=drawing.draw(clouds).numpy())

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        state.pop("_teachers", None)  # perhaps large; made again from the parameters
        return state

    def _check_params(self) -> None:
        check_int("n_views", self.n_views, maximum=10)
        for name in ("picture_size", "batch_size"):
            check_int(name, getattr(self, name))
        if self.n_points is not None:
            check_int("n_points", self.n_points)
        check_real("camera_distance", self.camera_distance, minimum=1.0, open_minimum=True)
        check_real("logit_scale", self.logit_scale, open_minimum=True)
        check_option("pooling", self.pooling, ("concat", "mean"))
        check_option("up", self.up, ("z", "y"))
        if self.view_weights is not None and len(self.view_weights) != self.n_views:
            raise ValueError(
                f"view_weights must hold {self.n_views} numbers, one a view; "
                f"got {len(self.view_weights)}."
            )
        for weight in () if self.view_weights is None else self.view_weights:
            check_real("every one of view_weights", weight)
        pick_device(self.device)

    def _teacher(self, takes: str) -> Any:
        """The teacher of clouds or of texts, made when first asked."""
        if "_teachers" not in self.__dict__:
            images, texts = joint_teachers(
                self.image_teacher,
                self.text_teacher,
                owner=type(self).__name__,
                device=self.device_,
                batch_size=self.batch_size,
                cache=self.teacher_cache,
            )
            clouds: Any = DepthViewTeacher(
                images,
                n_views=self.n_views,
                size=self.picture_size,
                distance=self.camera_distance,
                up=self.up,
            )
            if self.teacher_cache is not None:
                clouds = CachedTeacher(clouds, self.teacher_cache)
            self._teachers = {"clouds": clouds, "texts": texts}
        return self._teachers[takes]

    def _look(self, X: Any) -> np.ndarray:
        """Unit vectors of the views of clouds, (n_clouds, n_views, D)."""
        check_is_fitted(self, "n_features_view_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        return unit_views(self._teacher("clouds").encode(clouds), self.n_views)

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        check_is_fitted(self, "n_features_view_")
        return ask_texts(self._teacher("texts"), texts, self.n_features_view_)

    def _scores(self, clouds: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return clouds @ classes.T

    def _scale(self) -> float:
        return float(self.logit_scale)
