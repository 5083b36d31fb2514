"""CrossPoint as an estimator: match two views of a cloud, and their mean with a picture of it."""

from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import pair_contrast_loss
from pointinteract.models.contrast import IMAGE_NETWORKS, CrossPointNetwork
from pointinteract.pretraining._pictures import (
    check_pictures,
    choose_pictures,
    disturb_pictures,
    render_pictures,
)
from pointinteract.pretraining._views import (
    CROSSPOINT_VIEWS,
    ViewPretrainer,
    diagonal_share,
    told_apart,
    two_views,
    unit_rows,
)
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["CrossPointPretrainer"]


class CrossPointPretrainer(ViewPretrainer):
    """CrossPoint: pre-train any network by matching views of clouds, and pictures of them.

    Every cloud is disturbed twice. What the network makes of the one view is to resemble what
    it makes of the other more than what it makes of any other cloud of the batch; and the mean
    of both is to resemble what a second network, trained beside it, makes of a picture of the
    cloud. Pictures are rendered from the clouds, from a new side in every step, or given.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models`, or a class taking ``n_channels`` and
        ``n_classes``; any network that answers a pooled feature will do.
    views : str, tuple of str or callable, default=("normalize", "scale_wide", "rotate_z", \
            "translate_wide", "jitter", "drop")
        What is done to a cloud, in turn, to make a view of it; see `SimCLRPretrainer`. The
        published list turns about y, which is up there; take ``"rotate_y"`` if `up` is ``"y"``.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    temperature : float, default=0.1
        Smaller values look at the most similar other clouds only.
    image_weight : float, default=1.0
        Weight of the pictures in the loss; 0 leaves them out.
    image_network : {"small", "resnet18"}, default="small"
        Trained on the pictures. ``"small"`` has 0.3 million parameters, ``"resnet18"`` 11
        million. Published: ResNet-50.
    image_size : int, default=64
        Height and width of rendered pictures in pixels; given ones keep theirs. Published: 224.
    image_jitter : float in [0, 1), default=0.4
        How much brightness and contrast of pictures change; unless it is 0, half of them are
        mirrored too.
    up : {"z", "y"}, default="z"
        Axis that points up in rendered pictures.
    projection_hidden, projection_width : int, default=512, 256
        Widths of the two layers between the feature and what is compared. Published: 1024 and
        256.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole. Published: 2048.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 100.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries. Each cloud is compared with all others of
        its batch, so larger ones teach more. Published: 20.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: Adam at 1e-3.
    weight_decay : float, default=1e-4
        Published: 1e-6.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
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
    module_ : CrossPointNetwork
        The trained networks; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, ``contrast`` of the views, ``accuracy`` (share of clouds
        whose second view was the most similar to their first), ``image_contrast`` and
        ``image_accuracy`` of the pictures, learning rate and seconds.
    n_epochs_ : int
        Epochs trained.
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
        Where the network lives.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    References
    ----------
    Afham, Dissanayake, Dissanayake, Dharmasiri, Thilakarathna, Rodrigo, "CrossPoint:
    Self-Supervised Cross-Modal Contrastive Learning for 3D Point Cloud Understanding", CVPR
    2022. There, pictures were rendered from meshes of the same things.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import CrossPointPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = CrossPointPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    >>> pre.similarity(X).similarity.shape
    (16, 16)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        views: Any = CROSSPOINT_VIEWS,
        backbone_options: dict[str, Any] | None = None,
        temperature: float = 0.1,
        image_weight: float = 1.0,
        image_network: str = "small",
        image_size: int = 64,
        image_jitter: float = 0.4,
        up: str = "z",
        projection_hidden: int = 512,
        projection_width: int = 256,
        n_points: int | None = 1024,
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.backbone = backbone
        self.views = views
        self.backbone_options = backbone_options
        self.temperature = temperature
        self.image_weight = image_weight
        self.image_network = image_network
        self.image_size = image_size
        self.image_jitter = image_jitter
        self.up = up
        self.projection_hidden = projection_hidden
        self.projection_width = projection_width
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
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
        images : array of shape (n_clouds, H, W), (n_clouds, H, W, C) or (n_clouds, V, H, W, C)
            Pictures of the clouds, of bytes or of floats in [0, 1], or a sequence of as many
            pictures; of V pictures a cloud, each step draws one. None: rendered.

        Returns
        -------
        self : CrossPointPretrainer
        """
        return self._fit(X, y, {"images": images})

    def partial_fit(self, X: Any, y: Any = None, *, images: Any = None):
        """Pre-train for one more epoch on clouds; parameters as in `fit`."""
        return self._partial_fit(X, y, {"images": images})

    def similarity(self, X: Any, *, images: Any = None, random_state: Any = 0) -> Bunch:
        """Compare views of every cloud with those, and with pictures, of every other.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        images : as in `fit`, optional
            None: rendered, where training had rendered ones too.
        random_state : int, RandomState instance or None, default=0
            Chooses what is done to the clouds, and from where they are looked at.

        Returns
        -------
        result : Bunch
            ``similarity`` (n_clouds, n_clouds), the cosine between first views (rows) and second
            views (columns); ``accuracy`` (float), the share of rows whose largest entry is on
            the diagonal; ``first`` and ``second``, the views, as `draw_views` gives them. Beside
            them, with pictures in place of second views and the mean of both views in place of
            the first, ``image_similarity``, ``image_accuracy`` and ``images`` (n_clouds, H, W, C).
        """
        shown = super().similarity(X, random_state=random_state)
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        generator = make_generator(draw_seed(random_state), 1)
        if images is None:
            pictures = torch.cat([
                render_pictures(torch.from_numpy(cloud)[None], generator,
                                size=self.image_size, up=self.up)
                for cloud in clouds
            ])
        else:
            given = check_pictures(images, len(clouds))
            pictures = choose_pictures(given, torch.arange(len(clouds)), generator)
        self._check_channels(pictures.shape[1])
        columns = unit_rows(self._infer(pictures.numpy(), self.module_.project_pictures))
        views = [self._embed(each, self._embed_first) for each in (shown.first, shown.second)]
        rows = unit_rows((views[0] + views[1]) / 2)
        shown.image_similarity = rows @ columns.T
        shown.image_accuracy = diagonal_share(shown.image_similarity)
        shown.images = pictures.permute(0, 2, 3, 1).numpy()
        return shown

    def _check_params(self) -> None:
        super()._check_params()
        check_real("image_weight", self.image_weight)
        check_option("image_network", self.image_network, IMAGE_NETWORKS)
        check_int("image_size", self.image_size, minimum=8)
        check_real("image_jitter", self.image_jitter, maximum=1.0, open_maximum=True)
        check_option("up", self.up, ("z", "y"))

    def _architecture(self) -> dict[str, Any]:
        return super()._architecture() | {"image_network": self.image_network}

    def _settle(self, clouds: Clouds, sources: dict[str, Any]) -> None:
        super()._settle(clouds, sources)
        images = sources["images"]
        n_channels = 1 if images is None else check_pictures(images, len(clouds)).shape[-1]
        self.architecture_["image_channels"] = n_channels

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> Tensor | None:
        images = sources["images"]
        if images is None:
            self._check_channels(1)
            return None
        pictures = check_pictures(images, len(clouds))
        self._check_channels(pictures.shape[-1])
        return pictures

    def _check_channels(self, n_channels: int) -> None:
        known = self.architecture_["image_channels"]
        if n_channels != known:
            raise ValueError(
                f"the network was trained on pictures of {known} channels and got "
                f"{n_channels} (rendered ones have 1); pass images of the same kind as in fit."
            )

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        names = ("hidden", "width", "image_network", "image_channels")
        return CrossPointNetwork(encoder, **{name: numbers[name] for name in names})

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        both = self.module_(torch.cat(two_views(points, self.views, generator)))
        first, second = both.chunk(2)
        contrast = pair_contrast_loss(first, second, temperature=self.temperature)
        parts = {"contrast": contrast, "accuracy": told_apart(first, second)}
        loss = contrast + self._auxiliary_loss()
        if self.image_weight > 0:
            if targets is None:
                size = self.image_size
                pictures = render_pictures(points, generator, size=size, up=self.up)
            else:
                pictures = choose_pictures(targets, index, generator).to(points.device)
            pictures = disturb_pictures(pictures, generator, strength=self.image_jitter)
            mean, seen = (first + second) / 2, self.module_.project_pictures(pictures)
            parts["image_contrast"] = pair_contrast_loss(mean, seen, temperature=self.temperature)
            parts["image_accuracy"] = told_apart(mean, seen)
            loss = loss + self.image_weight * parts["image_contrast"]
        return loss, parts
