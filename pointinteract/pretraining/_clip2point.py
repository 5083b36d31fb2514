"""CLIP2Point as an estimator: teach a copy of CLIP's picture encoder to read depth pictures."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import pair_contrast_loss
from pointinteract.losses.alignment import balanced_loss
from pointinteract.models._teacher_views import DepthViewTeacher
from pointinteract.models.clip2point import (
    CLIP2PointNetwork,
    DepthViewEncoder,
    clip_picture_network,
)
from pointinteract.models.teachers import CachedTeacher, ModuleTeacher, TransformersTeacher
from pointinteract.ops.depth_views import side_cameras
from pointinteract.pretraining._base import CloudPretrainer
from pointinteract.pretraining._joint_space import ask_texts, joint_teachers, unit_views
from pointinteract.pretraining._teachers import check_sources
from pointinteract.pretraining._zero_shot import ZeroShotMixin
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["CLIP2PointPretrainer"]

_MODULE_PICTURE = 224  # what a module is shown, unless it is said


class CLIP2PointPretrainer(ZeroShotMixin, CloudPretrainer):
    """Image-depth pre-training: CLIP's picture encoder learns to read depth pictures.

    A trainable copy of the picture encoder sees a cloud twice from one side, from a little
    nearer and a little farther. What it says of both has to agree, and their mean has to agree
    with what the frozen original says of a picture of the object.

    Parameters
    ----------
    image_teacher : str, TransformersTeacher or torch.nn.Module
        A CLIP of ``transformers`` by hub name or local folder, such as
        ``"openai/clip-vit-base-patch32"``, or a module from pictures (n, 3, H, W) in [0, 1] to
        vectors. It is copied, and the copy is trained.
    text_teacher : str, Teacher or callable, default=None
        Of the same space. None: the same name as `image_teacher`. Needed for words only.
    n_views : int, default=6
        Pictures a cloud in queries, of the six sides of a cube.
    n_training_views : int, default=10
        Sides from which training looks, one at random a cloud and step: the six, and oblique
        ones.
    picture_size : int or None, default=None
        Height and width in pixels of depth pictures. None: what the CLIP was trained with, or
        224 for a module.
    radius : float, default=0.02
        Of the disc that a point is drawn as. Wider ones close the gaps of thin clouds.
    distance_jitter : float, default=0.1
        The camera stands up to this share nearer or farther in training.
    temperature : float, default=0.07
        Of both contrasts.
    logit_scale : float, default=100.0
        By which cosines are multiplied before the softmax of `classify`; CLIP's own.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds.
    n_points : int or None, default=1024
        Points of a cloud that are drawn; larger clouds are thinned by farthest point sampling.
        None takes them whole.
    max_epochs : int, default=10
        Passes over the clouds; 0 leaves the copy as the original is. Published: 100.
    batch_size : int, default=32
        Clouds a step, which are each other's wrong answers. Published: 256.
    learning_rate : float, default=1e-5
        Highest rate of AdamW, low since the copy knows a lot already. Published: Lamb at 6e-3.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        Published: a cosine that starts anew every second epoch.
    augmentation : None, str, tuple of str or callable, default=None
        A name of the library's random changes, several, or a function of (points (B, N, C),
        generator). What turns or stretches a cloud takes it away from its picture.
    teacher_cache : str or None, default=None
        Folder to keep the frozen features in, so that none is made twice.
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first.
    checkpoint : str, path or None, default=None
        File to keep the state of training in, written whole after epochs. A `fit` of the same
        clouds and parameters that finds it goes on from there, to the same numbers to the last
        bit (on the CPU).
    device : str, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Same integer, same numbers (on the CPU to the last bit).

    Attributes
    ----------
    module_ : CLIP2PointNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms ``image`` and ``depth``, their learned
        ``balance``, learning rate and seconds.
    n_epochs_ : int
        Epochs trained.
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to.
    device_ : str
        Where the network lives.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    References
    ----------
    Huang, Dong, Yang, Huang, Lau, Ouyang, Zuo, "CLIP2Point: Transfer CLIP to Point Cloud
    Classification with Image-Depth Pre-Training", ICCV 2023. There, colored meshes were
    rendered; here the frozen encoder sees the pictures passed to `fit`, or the nearest points
    of the clouds themselves, and a change of distance is a zoom.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import CLIP2PointPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> network = torch.nn.Sequential(
    ...     torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 10)
    ... )
    >>> pre = CLIP2PointPretrainer(network, picture_size=32, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (8, 10)
    """

    _templates = "image of a {}."

    def __init__(
        self,
        image_teacher: Any = None,
        *,
        text_teacher: Any = None,
        n_views: int = 6,
        n_training_views: int = 10,
        picture_size: int | None = None,
        radius: float = 0.02,
        distance_jitter: float = 0.1,
        temperature: float = 0.07,
        logit_scale: float = 100.0,
        up: str = "z",
        n_points: int | None = 1024,
        max_epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float = 1e-5,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        augmentation: Any = None,
        teacher_cache: str | None = None,
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.image_teacher = image_teacher
        self.text_teacher = text_teacher
        self.n_views = n_views
        self.n_training_views = n_training_views
        self.picture_size = picture_size
        self.radius = radius
        self.distance_jitter = distance_jitter
        self.temperature = temperature
        self.logit_scale = logit_scale
        self.up = up
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.teacher_cache = teacher_cache
        self.warm_start = warm_start
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, images: Any = None):
        """Pre-train on clouds.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : ignored
            Labels are never looked at; here for pipelines.
        images : sequence of length n_clouds, optional
            One picture a cloud, for the frozen encoder. None: the clouds themselves are drawn.

        Returns
        -------
        self : CLIP2PointPretrainer
        """
        return self._fit(X, y, {"images": images})

    def partial_fit(self, X: Any, y: Any = None, *, images: Any = None):
        """Pre-train for one more epoch on clouds; parameters as in `fit`."""
        return self._partial_fit(X, y, {"images": images})

    def encode_clouds(self, X: Any) -> np.ndarray:
        """Vectors of clouds in the space of texts: as `transform`, (n_clouds, D)."""
        return self.transform(X)

    def views(self, X: Any) -> Bunch:
        """Draw the depth pictures that the encoder sees in queries.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        result : Bunch
            ``pictures``, float32 (n_clouds, n_views, S, S): nearer is darker, and 1 where
            there is no point.
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        encoder = self.module_.encoder
        return Bunch(pictures=self._infer(clouds, lambda p: encoder.draw(p, encoder.cameras)))

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        state.pop("_teachers", None)  # perhaps large; made again from the parameters
        return state

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("n_views", "n_training_views"):
            check_int(name, getattr(self, name), maximum=10)
        if self.picture_size is not None:
            check_int("picture_size", self.picture_size)
        for name in ("radius", "temperature", "logit_scale"):
            check_real(name, getattr(self, name), open_minimum=True)
        check_real("distance_jitter", self.distance_jitter, maximum=1.0, open_maximum=True)
        check_option("up", self.up, ("z", "y"))

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        self.__dict__.pop("_teachers", None)  # those of an earlier fit
        images = self._teacher("images")
        numbers: dict[str, Any] = {
            "picture_network": None,
            "picture_size": self.picture_size or _MODULE_PICTURE,
        }
        weights = None
        if isinstance(images, TransformersTeacher):
            network, weights = clip_picture_network(images)
            mean, std = images.picture_statistics
            numbers = {
                "picture_network": network,
                "picture_size": self.picture_size or images.picture_size,
                "mean": mean,
                "std": std,
            }
            weights = {f"encoder.picture_network.{key}": value for key, value in weights.items()}
        self.architecture_ = numbers | {
            "n_channels": self._n_channels,
            "n_views": self.n_views,
            "radius": self.radius,
            "up": self.up,
        }
        return weights

    def _build_module(self) -> nn.Module:
        numbers = dict(self.architecture_)
        network = numbers.pop("picture_network")
        if network is None:
            given = self.image_teacher
            network = given.module if isinstance(given, ModuleTeacher) else given
        return CLIP2PointNetwork(DepthViewEncoder(network, **numbers))

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> Tensor:
        """What the frozen encoder says of pictures: (n_clouds, 1 or V, D)."""
        check_sources(clouds, sources)
        images = self._teacher("images")
        if sources["images"] is None:
            shown = self.architecture_["picture_size"]
            drawing: Any = DepthViewTeacher(
                images,
                style="nearest",
                n_views=self.n_training_views,
                shown_size=shown,
                up=self.up,
            )
            n_views, items = self.n_training_views, clouds
        else:
            drawing, n_views, items = images, 1, sources["images"]
        if self.teacher_cache is not None:
            drawing = CachedTeacher(drawing, self.teacher_cache)
        return torch.as_tensor(unit_views(drawing.encode(items), n_views))

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        n_clouds = len(points)
        side = torch.randint(self.n_training_views, (n_clouds,), generator=generator)
        cameras = side_cameras(self.n_training_views, up=self.up, mirrored=False)[side]
        jitter = 2 * torch.rand(n_clouds, 2, generator=generator) - 1
        distance = 1 + self.distance_jitter * jitter
        first, second = self.module_(
            points, cameras.to(points.device), distance.to(points.device)
        )
        seen = targets[index, side if targets.shape[1] > 1 else torch.zeros_like(side)]
        balance = self.module_.balance
        parts = {
            "image": pair_contrast_loss(
                0.5 * (first + second), seen.to(points.device), temperature=self.temperature
            ),
            "depth": pair_contrast_loss(first, second, temperature=self.temperature),
        }
        loss = balanced_loss(parts["image"], parts["depth"], balance)
        return loss, parts | {"balance": balance}

    def _features(self, points: Tensor) -> Tensor:
        return self.module_.encoder.forward_pool(points)

    def _count_features(self) -> int:
        return int(self.module_.encoder.num_features)

    def _teacher(self, takes: str) -> Any:
        """The frozen teacher of images or of texts, made when first asked."""
        if "_teachers" not in self.__dict__:
            images, texts = joint_teachers(
                self.image_teacher,
                self.text_teacher,
                owner=type(self).__name__,
                device=self.device_,
                batch_size=self.batch_size,
                cache=self.teacher_cache,
            )
            if not isinstance(images, TransformersTeacher | ModuleTeacher):
                raise TypeError(
                    "image_teacher is copied and trained, so it must be a CLIP of transformers, "
                    "by hub name or folder, or a torch module; got "
                    f"{type(self.image_teacher).__name__}."
                )
            self._teachers = {"images": images, "texts": texts}
        return self._teachers[takes]

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        check_is_fitted(self, "module_")
        return ask_texts(self._teacher("texts"), texts, self._count_features())

    def _scale(self) -> float:
        return float(self.logit_scale)
