"""P2P (Wang et al., NeurIPS 2022): point clouds painted as pictures for a network of pictures.

A cloud is seen from one side. Every point paints the pixels around its place there with features
of its neighborhood, a few convolutions turn what is painted into a colored picture, and a network
trained on photographs says what it shows. Colors are learned, places are given by geometry.

Features do not depend on the view and are found once for all views of a cloud. No edge is mapped
(see `pointinteract.nn.edgegroup`), and the last two maps of the colors, both linear, are one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.painting import PicturePainter, tilted_rotations
from pointinteract.nn.pooling import chunk_size
from pointinteract.nn.resnet import ResNet, resnet18
from pointinteract.utils._params import check_int

# Ranges of the angles of training, in units of pi.
_THETA_RANGE = (0.04, 1.94)
_PHI_RANGE = (-0.4, -0.2)
_SCALE_RANGE = (2 / 3, 3 / 2)
_CLOUDS_AT_ONCE = 4
_TRAINABLE = ("norm", "bn", "cls_token")


class P2P(nn.Module):
    """Point-to-pixel prompting of a picture network.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates color the points.
    n_classes : int, default=40
    picture_network : torch.nn.Module, default=None
        Maps pictures (B, 3, `picture_size`, `picture_size`), standardized as for ImageNet, to
        features (B, D). None is ResNet-18 with random weights, which misses the point of the
        method: see Notes for how to bring trained ones.
    n_picture_features : int, default=None
        D, where the picture network does not say so itself by ``num_features``.
    object_size, picture_size : int, default=224
        Pixels that the longer side of a cloud fills, and those of the picture. Published: 224
        and 224 for ModelNet40, 192 and 224 for ScanObjectNN. Time goes with the square of the
        latter.
    n_neighbors : int, default=32
        Points of the neighborhood that gives a point its color.
    point_width, width : int, default=8, 64
        Channels of a point, and of its neighborhood and the painted pixels.
    theta, phi : float, default=0.575, -0.35
        Direction of the (first) view, in units of pi: around the vertical, and tilt.
    n_views, n_tilts : int, default=1
        In evaluation, scores are averaged over that many directions around the vertical,
        evenly spaced from `theta` on, times that many tilts, from -0.4 to -0.2. Published:
        8 single views in validation, and in the final test 40, which are theta=0, n_views=10,
        n_tilts=4. Time goes in proportion.
    random_views : bool, default=False
        Whether in training each cloud is turned at random about the vertical, tilted between
        -0.4 and -0.2, and stretched along each axis by 2/3 to 3/2 before it is seen, as
        published. More robust, and slower to train than a fixed view.
    frozen : bool, default=False
        Whether to call `freeze_picture_network`, the published rule, for trained weights.
    hidden : sequence of int, default=()
        Widths of the head's hidden layers. Published: none, but 512 and 256 with a dropout of
        0.5 after HorNet.
    dropout : float, default=0.0
        Share of each hidden layer of the head that is dropped in training.

    Notes
    -----
    Trained weights in the names of torchvision, for example ResNet-18's of ImageNet, are read by
    ``network.picture_network.load_state_dict(state, strict=False)``, which leaves out ``fc``.
    Any other network is given: one of timm with ``num_classes=0``, one of torchvision without
    its classifier and with `n_picture_features`, or one of transformers within
    :class:`~pointinteract.models.TransformersPictures`.

    The place of a point in the picture carries no gradient, its color does.
    """

    official_system = "p2p"
    permutation_invariant = True
    rotations: Tensor

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        picture_network: nn.Module | None = None,
        n_picture_features: int | None = None,
        object_size: int = 224,
        picture_size: int = 224,
        n_neighbors: int = 32,
        point_width: int = 8,
        width: int = 64,
        theta: float = 0.575,
        phi: float = -0.35,
        n_views: int = 1,
        n_tilts: int = 1,
        random_views: bool = False,
        frozen: bool = False,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
    ):
        super().__init__()
        check_int("n_neighbors", n_neighbors)
        check_int("object_size", object_size, minimum=4)
        check_int("picture_size", picture_size, minimum=object_size)
        if object_size % 2 or picture_size % 2:
            raise ValueError(
                f"object_size and picture_size must be even, got {object_size} and {picture_size}."
            )
        self.config: dict | None = {  # what makes another one like it
            "n_channels": n_channels,
            "object_size": object_size,
            "picture_size": picture_size,
            "n_neighbors": n_neighbors,
            "point_width": point_width,
            "width": width,
            "theta": theta,
            "phi": phi,
            "n_views": n_views,
            "n_tilts": n_tilts,
            "random_views": random_views,
            "frozen": frozen,
            "hidden": tuple(hidden),
            "dropout": dropout,
        }
        if picture_network is not None:  # which no numbers make again
            self.config = None
        self.random_views = random_views
        self.hidden, self.dropout = tuple(hidden), dropout
        self.painter = PicturePainter(
            n_channels,
            object_size,
            picture_size,
            n_neighbors=n_neighbors,
            point_width=point_width,
            width=width,
        )
        self.picture_network = resnet18() if picture_network is None else picture_network
        self.num_features = _feature_width(self.picture_network, n_picture_features)
        rotations = _view_rotations(theta, phi, n_views, n_tilts)
        self.register_buffer("rotations", rotations, persistent=False)  # (V, 3, 3)
        self.reset_classifier(n_classes)
        if frozen:
            self.freeze_picture_network()

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes), averaged over views."""
        return self.head(self._view_features(points)).mean(1)

    def forward_features(self, points: Tensor) -> Tensor:
        """Return what each point paints with, (B, N, width); independent of the view."""
        return self.painter.forward_points(_upright(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the features of the picture, averaged over views: (B, num_features)."""
        return self._view_features(points).mean(1)

    def forward_pictures(self, points: Tensor) -> Tensor:
        """Return the pictures that the picture network is shown, (B, V, 3, S, S)."""
        pictures = [self.painter(*pair) for pair in self._views(points)]
        return torch.stack(pictures, dim=1)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, self.hidden, n_classes, dropout=[self.dropout] * len(self.hidden)
        )
        self.head = head.to(self.painter.color.weight).train(self.training)

    def freeze_picture_network(self, *, trainable: Sequence[str] = _TRAINABLE) -> None:
        """Keep the weights of the picture network from being trained, but for a few.

        Parameters
        ----------
        trainable : sequence of str, default=("norm", "bn", "cls_token")
            Parameters whose names have one of these within them are trained. So the published
            rule is put: normalizations and the class token, while the normalization of
            ResNet's way past a block, called ``downsample.1``, stays as it is.

        Notes
        -----
        Statistics of batch normalizations go on moving in training, as published.
        """
        for name, parameter in self.picture_network.named_parameters():
            parameter.requires_grad_(any(part in name for part in trainable))

    def _view_features(self, points: Tensor) -> Tensor:
        """What the picture network says of each view: (B, V, num_features)."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._see(points)
        # A few clouds at a time: a canvas is a thousand times as large as a cloud.
        pixels = self.painter.picture_size**2 * self.painter.paint.out_features
        parts = points.split(_CLOUDS_AT_ONCE * chunk_size(points, pixels))
        return torch.cat([self._see(part) for part in parts])

    def _see(self, points: Tensor) -> Tensor:
        seen = [self.picture_network(self.painter(*pair)) for pair in self._views(points)]
        return torch.stack(seen, dim=1)

    def _views(self, points: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Features of the points (B, N, width), and their places (B, N, 2), for each view."""
        cloud = _upright(points)
        # In single precision, whatever the points come in, so that all agree about pixels.
        xyz = cloud[..., :3].detach().float()
        rotations, stretch = self.rotations.to(xyz), None
        if self.training:
            rotations = rotations[:1]
            if self.random_views:
                rotations, stretch = _random_rotations(xyz), _random(xyz, 2, _SCALE_RANGE)
                rotations = rotations.unsqueeze(0)  # a view, (B, 3, 3), of different directions
        features = self.painter.forward_points(cloud)
        pairs = []
        for rotation in rotations:
            # Not a matrix product, which would be coarse in half precision: (B, N, 2).
            plane = (xyz.unsqueeze(-2) * rotation[..., None, :2, :]).sum(-1)
            pairs.append((features, plane if stretch is None else plane * stretch))
        return pairs


def _upright(points: Tensor) -> Tensor:
    """Turn the axes (x, y, z) of clouds with y upwards to (-z, -x, y), as the original does."""
    x, y, z, *extra = points.split([1, 1, 1, *[points.shape[-1] - 3] * (points.shape[-1] > 3)], -1)
    return torch.cat([-z, -x, y, *extra], dim=-1)


def _view_rotations(theta: float, phi: float, n_views: int, n_tilts: int) -> Tensor:
    """Rotations of the views of evaluation, (n_tilts n_views, 3, 3)."""
    check_int("n_views", n_views)
    check_int("n_tilts", n_tilts)
    thetas = theta + 2.0 * torch.arange(n_views, dtype=torch.float64) / n_views
    tilts = torch.tensor([phi], dtype=torch.float64)
    if n_tilts > 1:
        tilts = torch.linspace(*_PHI_RANGE, n_tilts, dtype=torch.float64)
    pairs = torch.cartesian_prod(tilts, thetas) * math.pi
    return tilted_rotations(pairs[:, 1], pairs[:, 0]).float()


def _random_rotations(like: Tensor) -> Tensor:
    """Draw a direction for each cloud as training does: (B, 3, 3)."""
    theta = _random(like, 1, _THETA_RANGE).flatten() * math.pi
    return tilted_rotations(theta, _random(like, 1, _PHI_RANGE).flatten() * math.pi)


def _random(like: Tensor, n_numbers: int, bounds: tuple[float, float]) -> Tensor:
    """Draw numbers between bounds for each cloud, (B, 1, n_numbers), like dropout does."""
    low, high = bounds
    drawn = torch.rand(like.shape[0], 1, n_numbers, dtype=like.dtype, device=like.device)
    return low + (high - low) * drawn


def _feature_width(network: nn.Module, given: int | None) -> int:
    """Width of a picture network's features, as it says itself or as the caller says."""
    width = getattr(network, "num_features", None) if given is None else given
    if not isinstance(width, int):
        raise ValueError(
            f"{type(network).__name__} has no num_features that says how wide its features are; "
            "give n_picture_features."
        )
    return width


@register_model
def p2p(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    object_size: int = 224,
    picture_size: int = 224,
    n_neighbors: int = 32,
    theta: float = 0.575,
    phi: float = -0.35,
    n_views: int = 1,
    n_tilts: int = 1,
    random_views: bool = False,
) -> P2P:
    """P2P with ResNet-18, 11.3 million parameters.

    The picture network begins with random weights and is trained with the rest. The method
    wants those of ImageNet: see :class:`P2P` for how to load them, and for other networks.
    """
    return P2P(
        n_channels=n_channels,
        n_classes=n_classes,
        object_size=object_size,
        picture_size=picture_size,
        n_neighbors=n_neighbors,
        theta=theta,
        phi=phi,
        n_views=n_views,
        n_tilts=n_tilts,
        random_views=random_views,
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> P2P:
    first_block = "base_model.layer1.0.conv"
    if f"{first_block}2.weight" not in state or f"{first_block}3.weight" in state:
        raise CheckpointError(
            "Checkpoints of 'p2p' are read with a ResNet of basic blocks (18 or 34 layers) as "
            "the picture network only; this one has another."
        )
    object_size = sizes.get("obj_size", 224)
    theta, phi = sizes.get("angles_pi", (0.575, -0.35))
    # What the configuration says in words.
    sizes.get("base_model", None)
    sizes.get("note", None)
    sizes.check("head", "linear")
    point_width = sizes.check("trans_dim", state.shape("enc.input_trans.weight", 3)[0])
    stages = [f"base_model.layer{stage}" for stage in range(1, 5)]
    return P2P(
        n_channels=state.shape("enc.input_trans.weight", 3)[1],
        n_classes=sizes.check("classes", state.shape("base_model.fc.weight", 2)[0]),
        picture_network=ResNet(
            widths=[state.shape(f"{stage}.0.conv1.weight", 4)[0] for stage in stages],
            n_blocks=[
                len({key.split(".")[2] for key in state if key.startswith(f"{stage}.")})
                for stage in stages
            ],
        ),
        object_size=object_size,
        picture_size=sizes.get("img_size", 224),
        n_neighbors=sizes.get("local_size", 32),
        point_width=point_width,
        width=sizes.check("graph_dim", state.shape("enc.proj_layer.weight", 3)[0]),
        theta=theta,
        phi=phi,
    )


# wangzy22/P2P, models/p2p.py with the ResNet of timm
register_official(
    OfficialFormat(
        system="p2p",
        build=_build,
        renames=(
            (r"^head\.out", "base_model.fc"),
            (r"^picture_network", "base_model"),
            (r"^painter\.point", "enc.input_trans"),
            (r"^painter\.edge\.linear", "enc.graph_layer.0"),
            (r"^painter\.edge\.norm", "enc.graph_layer.1"),
            (r"^painter\.paint", "enc.proj_layer"),
            (r"^painter\.block", "enc.img_block.0"),
            (r"^painter\.mix", "enc.img_block.1"),
            (r"^painter\.color", "enc.img_layer"),
        ),
        layouts=(
            (r"^enc\.(input_trans|proj_layer)\.weight$", unit_axes(1)),
            (r"^enc\.(graph_layer\.0|img_block\.1|img_layer)\.weight$", unit_axes(2)),
        ),
    )
)
