"""IAE as an estimator: spoil clouds, and tell how far from the true surface places are."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses.fields import field_loss
from pointinteract.models.implicit import ImplicitNetwork
from pointinteract.ops.distance_fields import disk_areas, surface_distance, winding_number
from pointinteract.ops.normals import estimate_normals
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.pretraining._field_lessons import (
    draw_queries,
    has_normals,
    reference_surfaces,
    spoil_clouds,
    turn_all,
)
from pointinteract.pretraining._field_shows import FieldShows
from pointinteract.training.data import augment
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["IAEPretrainer"]

_EXTENT = 1.1  # of the box around clouds in the unit sphere
# They would move points singly, and the surface with its places must move as one.
_SINGLE = ("drop", "jitter", "shuffle")


class IAEPretrainer(FieldShows, BackbonePretrainer):
    """Implicit autoencoder: pre-train any network of points by telling surfaces from space.

    From a spoiled sample of a cloud, the network says for any place in space how far it is from
    the surface. Unlike another cloud, that field does not depend on which points happened to be
    sampled, so that nothing is learned of the sampling.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models` whose network answers features of every
        point: ``"dgcnn"``, ``"pointnet"``, ``"pointnet_basic"`` or one that was registered; or
        a class taking ``n_channels`` and ``n_classes``. Networks of patch tokens do not fit.
    target : {"signed", "unsigned"}, default="signed"
        Whether distances are negative inside. That needs surfaces that are closed and a good
        deal thicker than points are apart, as in scans they seldom are. Published: signed for
        single objects, unsigned for rooms.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    surface : {"disks", "points"}, default="disks"
        What distances are measured to: little disks around the points, or the points, as
        published on surfaces sampled many times more densely than clouds usually are.
    normals : {"auto", "given", "estimated"}, default="auto"
        Which way the surface looks. ``"given"``: in channels 4 to 6 of X, pointing outwards;
        ``"estimated"``: see :func:`pointinteract.ops.estimate_normals`; ``"auto"``: given if
        these channels are there and hold vectors of length 1, else estimated.
    n_surface : int, default=1024
        Points that stand for the surface, thinned out of larger clouds. More make finer
        fields, and time grows with them.
    n_queries : int, default=512
        Places a cloud that are asked about in a step. Published: 2048.
    near_share : float, default=0.5
        Share of them that are near the surface; the others are anywhere in the box
        [-1.1, 1.1]^3.
    near_sigma : float, default=0.1
        How near, as the standard deviation of their steps away from points.
    n_input : int or None, default=None
        Points that the network sees in training, drawn with replacement from what is left of
        the cloud. None: as many as it has. Published: 2048.
    max_cut : float, default=0.5
        A vertical column in the middle is cut out before, whose horizontal extents are a random
        share of the cloud's, at most this, below 1. 0 leaves clouds whole.
    noise : float, default=0.01
        Standard deviation of what is added to the points that the network sees. Published: the
        same, counted in units of the box's side (0.005).
    turn : bool, default=True
        Whether cloud and places are turned about the vertical by a random multiple of 15
        degrees.
    up : {"z", "y", "x"}, default="z"
        The vertical axis.
    plane_resolution : int, default=32
        Cells along each side of the planes that features are laid on, a multiple of
        2 ** (unet_depth - 1). Published: 64.
    unet_depth, unet_width : int, default=3 and 16
        Levels of the U-Net that smooths the planes, and channels of its first. Published: 4 and
        32.
    decoder_width : int, default=32
        Channels of planes and decoder.
    hidden : int, default=256
        Channels between features of points and planes. Published: 512.
    n_points : int or None, default=1024
        Points of a cloud that it is made from, and that `transform` sees; larger clouds are
        thinned by farthest point sampling. None takes them whole.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: Adam at 1e-4, constant.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    augmentation : None, str, tuple of str or callable, default=None
        Applied to clouds and their surfaces together, before they are spoiled; any of
        ``"rotate_y"``, ``"rotate_z"``, ``"scale"``, ``"scale_translate"``, ``"tilt"``, or a
        function of (points (B, N, 3), generator) that moves space as a whole, and keeps the
        points in their order. What leaves the box counts to the cells at its border.
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first. Without
        it, clouds must lie in the cube [-1, 1]^3.
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
    module_ : ImplicitNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss (absolute errors summed over places), ``error`` (their mean),
        learning rate and seconds.
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

    Notes
    -----
    Published targets were made from meshes or very dense clouds. Here they are made from X
    itself: the denser its clouds beyond `n_points`, the better. The network that puts features
    on planes reads the last features of points and their maximum, the published one those
    before the last layer of DGCNN.

    References
    ----------
    Yan, Yang, Li, Song, Guan, Kang, Hua, Huang, "Implicit Autoencoder for Point-Cloud
    Self-Supervised Representation Learning", ICCV 2023.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import IAEPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = IAEPretrainer("pointnet_basic", n_queries=64, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        target: str = "signed",
        backbone_options: dict[str, Any] | None = None,
        surface: str = "disks",
        normals: str = "auto",
        n_surface: int = 1024,
        n_queries: int = 512,
        near_share: float = 0.5,
        near_sigma: float = 0.1,
        n_input: int | None = None,
        max_cut: float = 0.5,
        noise: float = 0.01,
        turn: bool = True,
        up: str = "z",
        plane_resolution: int = 32,
        unet_depth: int = 3,
        unet_width: int = 16,
        decoder_width: int = 32,
        hidden: int = 256,
        n_points: int | None = 1024,
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        augmentation: Any = None,
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.backbone = backbone
        self.target = target
        self.backbone_options = backbone_options
        self.surface = surface
        self.normals = normals
        self.n_surface = n_surface
        self.n_queries = n_queries
        self.near_share = near_share
        self.near_sigma = near_sigma
        self.n_input = n_input
        self.max_cut = max_cut
        self.noise = noise
        self.turn = turn
        self.up = up
        self.plane_resolution = plane_resolution
        self.unet_depth = unet_depth
        self.unet_width = unet_width
        self.decoder_width = decoder_width
        self.hidden = hidden
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.warm_start = warm_start
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def _spoil(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """What the network sees of clouds in training: (B, N, C) to (B, V, C)."""
        return spoil_clouds(
            points,
            n_points=self.n_input,
            max_cut=self.max_cut,
            noise=self.noise,
            up=self.up,
            generator=generator,
        )

    def _check_params(self) -> None:
        super()._check_params()
        check_option("target", self.target, ("signed", "unsigned"))
        check_option("surface", self.surface, ("disks", "points"))
        check_option("normals", self.normals, ("auto", "given", "estimated"))
        check_option("up", self.up, ("z", "y", "x"))
        for name in ("n_surface", "n_queries", "plane_resolution", "unet_depth", "unet_width",
                     "decoder_width", "hidden"):
            check_int(name, getattr(self, name))
        if self.n_input is not None:
            check_int("n_input", self.n_input)
        check_real("near_share", self.near_share, maximum=1.0)
        check_real("near_sigma", self.near_sigma)
        check_real("max_cut", self.max_cut, maximum=1.0, open_maximum=True)
        check_real("noise", self.noise)
        check_option("turn", self.turn, (True, False))
        step = 2 ** (self.unet_depth - 1)
        if self.plane_resolution % step:
            raise ValueError(
                f"plane_resolution must be a multiple of {step} for unet_depth={self.unet_depth}, "
                f"got {self.plane_resolution}."
            )
        names = (self.augmentation,) if isinstance(self.augmentation, str) else self.augmentation
        single = [name for name in _SINGLE if isinstance(names, (tuple, list)) and name in names]
        if single:
            raise ValueError(
                f"augmentation must move a cloud and its surface as one, which {single[0]!r} does "
                "not; noise, max_cut and n_input spoil clouds instead."
            )

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        super()._settle(clouds, sources)
        given = self.normals != "estimated" and has_normals(clouds)
        if self.normals == "given" and not given:
            raise ValueError(
                "normals='given' needs vectors of length 1 in channels 4 to 6 of X; these clouds "
                f"have {clouds[0].shape[-1]} channels"
                + (", whose 4 to 6 are of other lengths." if clouds[0].shape[-1] >= 6 else ".")
            )
        self.architecture_["normals_given"] = given

    def _architecture(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "resolution": self.plane_resolution,
            "unet_depth": self.unet_depth,
            "unet_width": self.unet_width,
            "width": self.decoder_width,
            "hidden": self.hidden,
        }

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        names = ("n_channels", "resolution", "unet_depth", "unet_width", "width", "hidden")
        return ImplicitNetwork(
            encoder, extent=_EXTENT, **{name: numbers[name] for name in names}
        )

    def _run_options(self) -> dict[str, Any]:
        # Clouds are moved together with their surfaces, and not by the loop.
        return {"augmentation": None}

    def _check_lesson(self, stored: Tensor) -> None:
        if bool((stored == stored[:, :1]).all()):
            warnings.warn(
                "no surface to learn: each cloud has but one point, "
                f"{stored.shape[1]} times over. Give clouds of more points.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> Tensor:
        numbers = self.architecture_
        return reference_surfaces(
            clouds,
            self.n_surface,
            given=numbers["normals_given"],
            orient=numbers["target"] == "signed",
        )

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        lesson = targets[index].to(points.device)  # (B, R, 7)
        surface, normals, areas = lesson[..., :3], lesson[..., 3:6], lesson[..., 6]
        queries = draw_queries(
            surface,
            self.n_queries,
            near_share=self.near_share,
            near_sigma=self.near_sigma,
            extent=self.module_.extent,
            generator=generator,
        )
        sign = torch.ones_like(queries[..., 0])
        if self.architecture_["target"] == "signed":
            # Which side a place is on stays so when space is stretched or turned.
            inside = winding_number(queries, surface, normals, areas) > 0.5
            sign = torch.where(inside, -sign, sign)
        if self.augmentation is not None:
            sizes = [points.shape[1], surface.shape[1], queries.shape[1]]
            together = torch.cat([points[..., :3], surface, queries], dim=1)
            together = augment(together, self.augmentation, generator)
            moved, surface, queries = together.split(sizes, dim=1)
            points = torch.cat([moved, points[..., 3:]], dim=-1)
            # What is stretched lies otherwise; the signs of these normals do not matter.
            normals, areas = estimate_normals(surface, orient=False), disk_areas(surface)
        disks = (normals, areas) if self.surface == "disks" else ()
        truth = sign * surface_distance(queries, surface, *disks)
        seen = self._spoil(points, generator)
        if self.turn:
            with_normals = self.architecture_["normals_given"]
            seen, queries = turn_all(seen, queries, self.up, with_normals, generator)
        answered = self.module_(seen, queries)
        loss = field_loss(answered, truth)
        return loss + self._auxiliary_loss(), {"error": loss / self.n_queries}

