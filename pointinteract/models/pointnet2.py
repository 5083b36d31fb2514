"""PointNet++ (Qi, Yi, Su and Guibas, NeurIPS 2017): PointNets on balls, and on balls of these.

Farthest points of the cloud are chosen, a small PointNet describes the ball around each, a
second level does the same with balls of those, and a last PointNet reads what remains. With
balls of one radius (SSG), or of several around the same points (MSG).

Coordinates should lie in the unit ball, which the radii are made for.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from pointinteract.models._official import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.abstraction import SetAbstraction, every_row, row_layers
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.structure import SampledBalls
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample

Widths = Sequence[Sequence[int]]


class _Levels(NamedTuple):
    """For the two levels: radii, points of a ball, widths of the layers."""

    radii: Sequence[Sequence[float]]
    n_neighbors: Widths
    hidden: Sequence[Widths]


_SAMPLES = (512, 128)
_SINGLE = _Levels(
    radii=((0.2,), (0.4,)),
    n_neighbors=((32,), (64,)),
    hidden=(((64, 64, 128),), ((128, 128, 256),)),
)
_MULTI = _Levels(
    radii=((0.1, 0.2, 0.4), (0.2, 0.4, 0.8)),
    n_neighbors=((16, 32, 128), (32, 64, 128)),
    hidden=(
        ((32, 32, 64), (64, 64, 128), (64, 96, 128)),
        ((64, 64, 128), (128, 128, 256), (128, 128, 256)),
    ),
)
_PUBLISHED = {"pointnet2_ssg": _SINGLE, "pointnet2_msg": _MULTI}


class PointNet2(nn.Module):
    """PointNet++ for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates are features of the first level.
    n_classes : int, default=40
    n_samples : sequence of two int, default=(512, 128)
        Points that are chosen for the first level, and for the second of these. Clouds of
        fewer points use all they have.
    radii : sequence of two sequences of float, default=((0.2,), (0.4,))
        Of the balls around them, one or several for each level. Larger ones see more of the
        shape at once and cost more.
    n_neighbors : sequence of two sequences of int, default=((32,), (64,))
        Points of each ball that count: the first in the order of the cloud, so that the order
        matters where there are more.
    hidden : sequence of two sequences of sequences of int
        Widths of the layers, for each radius; the published ones of SSG by default.
    last_hidden : sequence of int, default=(256, 512, 1024)
        Widths of the layers before the last maximum; `num_features` is the last of them.
    dropout : sequence of two float, default=(0.4, 0.4)
        Shares of the hidden layers of the head that are dropped in training.
    start : int, default=0
        Index of the point that farthest point sampling begins with. The common public version
        begins anywhere, and so answers otherwise each time.
    """

    permutation_invariant = False

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_samples: Sequence[int] = _SAMPLES,
        radii: Sequence[Sequence[float]] = _SINGLE.radii,
        n_neighbors: Widths = _SINGLE.n_neighbors,
        hidden: Sequence[Widths] = _SINGLE.hidden,
        last_hidden: Sequence[int] = (256, 512, 1024),
        dropout: Sequence[float] = (0.4, 0.4),
        start: int = 0,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_samples": tuple(n_samples),
            "radii": radii,
            "n_neighbors": n_neighbors,
            "hidden": hidden,
            "last_hidden": tuple(last_hidden),
            "dropout": tuple(dropout),
            "start": start,
        }
        # A checkpoint does not tell radii and numbers, so others could not be read back.
        self.official_system = next(
            (
                system
                for system, published in _PUBLISHED.items()
                if (_tuples(radii), _tuples(n_neighbors), tuple(n_samples))
                == (published.radii, published.n_neighbors, _SAMPLES)
            ),
            None,
        )
        self.n_first, self.n_second = n_samples
        self.start = start
        self.dropout = tuple(dropout)
        self.num_features = last_hidden[-1]
        self.level1 = SetAbstraction(n_channels - 3, hidden[0], radii[0], n_neighbors[0])
        self.level2 = SetAbstraction(self.level1.n_out, hidden[1], radii[1], n_neighbors[1])
        self.layers = row_layers(3 + self.level2.n_out, last_hidden)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return features of the samples of the second level, (B, G, num_features).

        The maximum over them is what `forward_pool` returns. Samples come in the order in which
        they are chosen.
        """
        return every_row(self.layers[-1], self._forward_samples(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the samples of the second level, (B, num_features)."""
        return self.layers[-1](self._forward_samples(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(self.num_features, (512, 256), n_classes, dropout=self.dropout)
        last = cast(LinearNorm, self.layers[-1])
        self.head = head.to(last.linear.weight).train(self.training)

    def structure(self) -> SampledBalls:
        """Say what each ball makes of its points, and what becomes of the balls.

        A point enters a ball by its place relative to the middle, so equal neighborhoods say
        the same in all copies of a cloud that differ elsewhere.
        """
        return SampledBalls(
            n_samples=(self.n_first, self.n_second),
            balls=(self.level1.describe(), self.level2.describe()),
            encode=self._encode_rows,
            head=self.head,
            forward=self._forward_chosen,
            start=self.start,
        )

    def _forward_samples(
        self, points: Tensor, picked: Tensor | None = None, n_second: int | None = None
    ) -> Tensor:
        """Map (B, N, C) to what the last layer reads of each sample, (B, G, W)."""
        if picked is None:
            n_points = points.shape[1]
            picked = farthest_point_sample(
                points[..., :3],
                min(self.n_first, n_points),
                start=min(self.start, n_points - 1),
            )
        n_second = self.n_second if n_second is None else n_second
        xyz = points[..., :3]
        middles1 = gather(xyz, picked)  # (B, G1, 3)
        features = self.level1(xyz, points[..., 3:], middles1)
        # Samples come farthest first, so the farthest of the samples are the first of them.
        middles2 = middles1[:, :n_second]
        features = self.level2(middles1, features, middles2)  # (B, G, W)
        rows = torch.cat([middles2, features], dim=-1)
        for layer in self.layers[:-1]:
            rows = layer(rows)
        return rows

    def _forward_chosen(self, points: Tensor, picked: Tensor, n_second: int) -> Tensor:
        return self.head(self.layers[-1](self._forward_samples(points, picked, n_second)))

    def _encode_rows(self, middles: Tensor, features: Tensor) -> Tensor:
        rows = torch.cat([middles, features], dim=-1)
        for layer in self.layers:
            rows = every_row(layer, rows)
        return rows


@register_model
def pointnet2_ssg(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_first: int = 512,
    n_second: int = 128,
    dropout: float = 0.4,
    start: int = 0,
) -> PointNet2:
    """PointNet++ with balls of one radius, 1.5 million parameters."""
    return PointNet2(
        n_channels=n_channels,
        n_classes=n_classes,
        n_samples=(n_first, n_second),
        dropout=(dropout, dropout),
        start=start,
        radii=_SINGLE.radii,
        n_neighbors=_SINGLE.n_neighbors,
        hidden=_SINGLE.hidden,
    )


@register_model
def pointnet2_msg(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_first: int = 512,
    n_second: int = 128,
    dropout: float = 0.5,
    start: int = 0,
) -> PointNet2:
    """PointNet++ with balls of three radii, 1.7 million parameters."""
    return PointNet2(
        n_channels=n_channels,
        n_classes=n_classes,
        n_samples=(n_first, n_second),
        dropout=(0.4, dropout),
        start=start,
        radii=_MULTI.radii,
        n_neighbors=_MULTI.n_neighbors,
        hidden=_MULTI.hidden,
    )


def _build_single(state: OfficialState, sizes: OfficialSizes) -> PointNet2:
    hidden = [[_widths(state, f"sa{level}.mlp_convs")] for level in (1, 2)]
    n_channels = state.shape("sa1.mlp_convs.0.weight", 4)[1]
    return _build(state, sizes, n_channels, hidden, _SINGLE, (0.4, 0.4))


def _build_multi(state: OfficialState, sizes: OfficialSizes) -> PointNet2:
    hidden = [
        [_widths(state, f"sa{level}.conv_blocks.{number}") for number in range(3)]
        for level in (1, 2)
    ]
    n_channels = state.shape("sa1.conv_blocks.0.0.weight", 4)[1]
    return _build(state, sizes, n_channels, hidden, _MULTI, (0.4, 0.5))


def _build(
    state: OfficialState,
    sizes: OfficialSizes,
    n_channels: int,
    hidden: Sequence[Widths],
    published: _Levels,
    dropout: tuple[float, float],
) -> PointNet2:
    sizes.check("normal_channel", n_channels > 3)
    return PointNet2(
        n_channels=n_channels,
        n_classes=sizes.check("num_class", state.shape("fc3.weight", 2)[0]),
        radii=published.radii,
        n_neighbors=published.n_neighbors,
        hidden=hidden,
        last_hidden=_widths(state, "sa3.mlp_convs"),
        dropout=dropout,
    )


def _widths(state: OfficialState, prefix: str) -> tuple[int, ...]:
    """Outputs of the layers with this prefix, of which there must be one."""
    n_layers = sum(key.startswith(f"{prefix}.") and key.endswith("weight") for key in state)
    return tuple(state.shape(f"{prefix}.{i}.weight", 4)[0] for i in range(max(1, n_layers)))


def _tuples(numbers: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(each) for each in numbers)


# Where several radii are used, the original puts the coordinates after the features.
_FEATURES_FIRST = Layout(
    lambda tensor: tensor.roll(-3, dims=1)[..., None, None],
    lambda tensor: tensor[..., 0, 0].roll(3, dims=1),
)
_SHARED_NAMES = (
    (r"^head\.layers\.0\.linear", "fc1"),
    (r"^head\.layers\.1\.linear", "fc2"),
    (r"^head\.layers\.0\.norm", "bn1"),
    (r"^head\.layers\.1\.norm", "bn2"),
    (r"^head\.out", "fc3"),
    (r"^layers\.(\d)\.linear", r"sa3.mlp_convs.\1"),
    (r"^layers\.(\d)\.norm", r"sa3.mlp_bns.\1"),
)

# yanx27/Pointnet_Pointnet2_pytorch, models/pointnet2_cls_ssg.py
register_official(
    OfficialFormat(
        system="pointnet2_ssg",
        build=_build_single,
        renames=(
            *_SHARED_NAMES,
            (r"^level(\d)\.balls\.0\.layers\.(\d)\.linear", r"sa\1.mlp_convs.\2"),
            (r"^level(\d)\.balls\.0\.layers\.(\d)\.norm", r"sa\1.mlp_bns.\2"),
        ),
        layouts=((r"mlp_convs\.\d\.weight$", unit_axes(2)),),
    )
)

# The same, models/pointnet2_cls_msg.py
register_official(
    OfficialFormat(
        system="pointnet2_msg",
        build=_build_multi,
        renames=(
            *_SHARED_NAMES,
            (r"^level(\d)\.balls\.(\d)\.layers\.(\d)\.linear", r"sa\1.conv_blocks.\2.\3"),
            (r"^level(\d)\.balls\.(\d)\.layers\.(\d)\.norm", r"sa\1.bn_blocks.\2.\3"),
        ),
        layouts=(
            (r"^sa[12]\.conv_blocks\.\d\.0\.weight$", _FEATURES_FIRST),
            (r"(mlp_convs|conv_blocks).*\.weight$", unit_axes(2)),
        ),
    )
)
