"""PointNeXt-S (Qian et al., NeurIPS 2022): PointNet++ with what was learned since.

Four levels of balls, each around half of the points of the level before, with places divided
by the radius and a shortcut around every level; then one maximum over what remains. The paper
shows that most of the gain over PointNet++ comes from how the network is trained.

Coordinates should lie in the unit ball, which the radii are made for.
"""

from collections.abc import Mapping
from typing import Any

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
from pointinteract.nn.abstraction_residual import ResidualBallPool
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample
from pointinteract.utils._params import check_int, check_real

_RADIUS = 0.15
_GROWTH = 1.5
_NEIGHBORS = 32
_LEVELS = 4
_SYSTEMS = {32: "pointnext_s", 64: "pointnext_s_c64"}


class PointNeXt(nn.Module):
    """PointNeXt for classification, with one abstraction per level.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point, all of which are features, the coordinates too. Points and balls
        are chosen by the first three. The published network for scans reads the height of a
        point above the lowest as a fourth.
    n_classes : int, default=40
    width : int, default=32
        Features of a point before the first level; each level doubles them, and `num_features`
        is 16 times as many.
    radius : float, default=0.15
        Of the balls of the first level. Larger ones see more of the shape at once.
    radius_growth : float, default=1.5
        How much larger the balls of each level are than those of the one before.
    n_neighbors : int, default=32
        Points of each ball that count: the first in the order of the cloud, so that the order
        matters where there are more.
    dropout : float, default=0.5
        Share of both hidden layers of the head that is dropped in training.
    """

    permutation_invariant = False

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        width: int = 32,
        radius: float = _RADIUS,
        radius_growth: float = _GROWTH,
        n_neighbors: int = _NEIGHBORS,
        dropout: float = 0.5,
    ):
        super().__init__()
        check_int("n_neighbors", n_neighbors)
        check_real("radius", radius, open_minimum=True)
        check_real("radius_growth", radius_growth, open_minimum=True)
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "width": width,
            "radius": radius,
            "radius_growth": radius_growth,
            "n_neighbors": n_neighbors,
            "dropout": dropout,
        }
        # A checkpoint does not tell radii and numbers, so others could not be read back.
        published = (radius, radius_growth, n_neighbors) == (_RADIUS, _GROWTH, _NEIGHBORS)
        self.official_system = _SYSTEMS.get(width) if published else None
        self.num_features = width * 2**_LEVELS
        self.dropout = dropout
        self.stem = nn.Linear(n_channels, width)
        self.levels = nn.ModuleList(
            ResidualBallPool(
                width * 2**level,
                width * 2 ** (level + 1),
                radius * radius_growth**level,
                n_neighbors,
            )
            for level in range(_LEVELS)
        )
        self.join = LinearNorm(3 + self.num_features, self.num_features, bias=False)
        self.last = LinearNormMax(self.num_features, self.num_features, bias=False)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return features of the points of the last level, (B, G, num_features).

        The maximum over them is what `forward_pool` returns. Of N points G = N / 16 are left,
        in the order in which they are chosen.
        """
        return self.last.forward_points(self._forward_levels(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points of the last level, (B, num_features)."""
        return self.last(self._forward_levels(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features,
            (512, 256),
            n_classes,
            bias=(False, False),
            dropout=(self.dropout, self.dropout),
        )
        self.head = head.to(self.stem.weight).train(self.training)

    def _forward_levels(self, points: Tensor) -> Tensor:
        """Map (B, N, C) to what the last layer reads of the points that are left, (B, G, W)."""
        xyz = points[..., :3]
        features = self.stem(points)
        n_points = xyz.shape[1]
        picked: Tensor | None = farthest_point_sample(xyz, max(1, n_points // 2))
        for number, level in enumerate(self.levels, start=1):
            # Samples come farthest first, so that after the first level the farthest of those
            # that are left are simply the first of them.
            n_balls = max(1, n_points // 2**number)
            features = level(xyz, features, n_balls, picked)
            xyz = xyz[:, :n_balls] if picked is None else gather(xyz, picked)
            picked = None
        return self.join(torch.cat([xyz, features], dim=-1))


@register_model
def pointnext_s(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_neighbors: int = _NEIGHBORS,
    dropout: float = 0.5,
) -> PointNeXt:
    """PointNeXt-S as published, of width 32, 1.4 million parameters."""
    return PointNeXt(
        n_channels=n_channels,
        n_classes=n_classes,
        width=32,
        n_neighbors=n_neighbors,
        dropout=dropout,
    )


@register_model
def pointnext_s_c64(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_neighbors: int = _NEIGHBORS,
    dropout: float = 0.5,
) -> PointNeXt:
    """PointNeXt-S of width 64, as published for ModelNet40, 4.5 million parameters."""
    return PointNeXt(
        n_channels=n_channels,
        n_classes=n_classes,
        width=64,
        n_neighbors=n_neighbors,
        dropout=dropout,
    )


# What the configuration of the original may say of the encoder beside the sizes: only this.
_ENCODER: Mapping[str, Any] = {
    "NAME": "PointNextEncoder",
    "blocks": [1, 1, 1, 1, 1, 1],
    "strides": [1, 2, 2, 2, 2, 1],
    "sa_layers": 2,
    "sa_use_res": True,
    "expansion": 4,
    "aggr_args": {"feature_type": "dp_fj", "reduction": "max"},
    "group_args": {"NAME": "ballquery", "normalize_dp": True},
    "conv_args": {"order": "conv-norm-act"},
    "act_args": {"act": "relu"},
    "norm_args": {"norm": "bn"},
}
_HEAD: Mapping[str, Any] = {"NAME": "ClsHead", "mlps": [512, 256], "norm_args": {"norm": "bn1d"}}


def _build(state: OfficialState, sizes: OfficialSizes) -> PointNeXt:
    sizes.check("NAME", "BaseCls")
    encoder = _inner_sizes(sizes, "encoder_args")
    head = _inner_sizes(sizes, "cls_args")
    width, n_channels, _ = state.shape("encoder.encoder.0.0.convs.0.0.weight", 3)
    network = PointNeXt(
        n_channels=encoder.check("in_channels", n_channels),
        n_classes=head.check("num_classes", state.shape("prediction.head.4.0.weight", 2)[0]),
        width=encoder.check("width", width),
        radius=encoder.get("radius", _RADIUS),
        radius_growth=encoder.get("radius_scaling", _GROWTH),
        n_neighbors=encoder.get("nsample", _NEIGHBORS),
        dropout=head.get("dropout", 0.5),
    )
    for given, known in ((encoder, _ENCODER), (head, _HEAD)):
        for name, value in known.items():
            _only(given, name, value)
        given.refuse_unknown()
    return network


def _inner_sizes(sizes: OfficialSizes, name: str) -> OfficialSizes:
    given = sizes.get(name, {})
    if not isinstance(given, Mapping):
        raise CheckpointError(
            f"{name} must be a dictionary of sizes of {sizes.system!r}, got {given!r}."
        )
    return OfficialSizes(sizes.system, given)


def _only(sizes: OfficialSizes, name: str, value: Any) -> None:
    """Raise if the caller wants another variant of the network than there is."""
    given = sizes.get(name, value)
    if given != value:
        raise CheckpointError(
            f"{name}={given!r} is not the {sizes.system!r} that is implemented, which has "
            f"{name}={value!r}."
        )


_RENAMES = (
    (r"^stem", "encoder.encoder.0.0.convs.0.0"),
    (r"^levels\.0", "encoder.encoder.1.0"),
    (r"^levels\.1", "encoder.encoder.2.0"),
    (r"^levels\.2", "encoder.encoder.3.0"),
    (r"^levels\.3", "encoder.encoder.4.0"),
    (r"^join", "encoder.encoder.5.0.first"),
    (r"^last", "encoder.encoder.5.0.last"),
    (r"\.first\.linear", ".convs.0.0"),
    (r"\.first\.norm", ".convs.0.1"),
    (r"\.last\.linear", ".convs.1.0"),
    (r"\.last\.norm", ".convs.1.1"),
    (r"\.skip\.", ".skipconv.0."),
    (r"^head\.layers\.0\.linear", "prediction.head.0.0"),
    (r"^head\.layers\.0\.norm", "prediction.head.0.1"),
    (r"^head\.layers\.1\.linear", "prediction.head.2.0"),
    (r"^head\.layers\.1\.norm", "prediction.head.2.1"),
    (r"^head\.out", "prediction.head.4.0"),
)
_LAYOUTS = (
    (r"encoder\.0\.0\.convs\.0\.0\.weight$", unit_axes(1)),
    (r"skipconv\.0\.weight$", unit_axes(1)),
    (r"convs\.\d\.0\.weight$", unit_axes(2)),
)

# guochengqian/openpoints, cfgs/modelnet40ply2048/pointnext-s.yaml, of width 32 and 64
for _system in _SYSTEMS.values():
    register_official(
        OfficialFormat(system=_system, build=_build, renames=_RENAMES, layouts=_LAYOUTS)
    )
