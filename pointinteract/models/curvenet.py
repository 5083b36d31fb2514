"""CurveNet (Xiang et al., ICCV 2021): guided walks through a cloud, read by all its points.

Pooling keeps what is near together. CurveNet also connects what is far: from the points that
matter most, curves walk over neighbors through feature space, and every point attends to them.
Eight blocks, each a narrow residual layer that aggregates over neighbors; the first four read
curves, the last four see fewer and fewer farthest points.

Neighbors are those of the coordinates, so blocks of equal resolution share them, and farthest
points of farthest points are the first of these.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.curves import CurveReading, CurveWalk
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.local_aggregation import LocalAggregation, PlaceEdgeConv, edge_moments
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import max_and_mean
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import ball_query, knn
from pointinteract.ops.sampling import farthest_point_sample
from pointinteract.utils._params import check_int

_SLOPE = 0.2
# For the four levels: points, radius of the balls pooled on the way there, channels.
_N_POINTS = (1024, 1024, 256, 64)
_RADII = (0.05, 0.05, 0.1, 0.2)
_WIDTHS = (64, 128, 256, 512)
_N_CURVED = 2  # levels that read curves


class CurveBlock(nn.Module):
    """Residual block: narrow down, read curves, aggregate over neighbors, widen.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before and after.
    n_inner : int
        Channels between.
    curves : (int, int) or None
        How many curves of how many steps; None for a block that reads none.
    paired : bool
        See `CurveWalk`.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        n_inner: int,
        *,
        curves: tuple[int, int] | None,
        paired: bool,
    ):
        super().__init__()
        self.narrow = LinearNorm(n_in, n_inner, bias=False, negative_slope=_SLOPE)
        self.walk = self.read = None
        if curves is not None:
            self.walk = CurveWalk(n_inner, *curves, paired=paired)
            self.read = CurveReading(n_inner, negative_slope=_SLOPE)
        self.aggregate = LocalAggregation(n_inner, negative_slope=_SLOPE)
        self.widen = LinearNorm(n_inner, n_out, bias=False, negative_slope=None)
        self.shortcut = (
            None if n_in == n_out else LinearNorm(n_in, n_out, bias=False, negative_slope=None)
        )

    def forward(self, features: Tensor, level: "_Level") -> Tensor:
        """Map (B, N, n_in) to (B, N, n_out)."""
        x = self.narrow(features)
        if self.walk is not None and self.read is not None:
            x = self.read(x, self.walk(x, level.others))
        x = self.widen(self.aggregate(x, level.places, level.neighbors, level.moments))
        past = features if self.shortcut is None else self.shortcut(features)
        return F.leaky_relu(x + past, _SLOPE)


class _Level:
    """Points of one resolution and who is near whom, found once for all blocks there."""

    def __init__(self, places: Tensor, n_neighbors: int, *, with_moments: bool):
        n_points = places.shape[1]
        index = knn(places, places, min(n_neighbors + 1, n_points))
        self.places = places
        self.neighbors = index[..., :n_neighbors]
        # A cloud of a single point has no other; its curves stay where they are.
        self.others = index[..., 1:] if n_points > 1 else index
        self.moments = edge_moments(places, self.neighbors) if with_moments else None


class CurveNet(nn.Module):
    """Network of curves for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Neighbors are those of the coordinates, the first three.
    n_classes : int, default=40
    n_neighbors : int, default=20
        Neighbors of a point, itself included, and points of a ball that is pooled. Curves step
        to one of as many others. Clouds of fewer points use all they have.
    n_curves : int, default=100
        Curves of a cloud, in each of the first four blocks.
    n_steps : int, default=5
        Steps of a curve. They are taken one after the other and so cost time.
    n_features : int, default=1024
        Features per point before pooling; `num_features` is twice that.
    dropout : float, default=0.5
        Share of the hidden layer of the head that is dropped in training.
    paired : bool, default=False
        Whether every curve mixes its state with its own two weights, so that the order of the
        curves does not matter. The published code mixes the weights of different curves up, and
        its checkpoints are trained that way; see `pointinteract.nn.curves.CurveWalk`.

    Notes
    -----
    Curves start at the points of the highest scores, in descending order, ties to the smallest
    index. The published code leaves the order to the machine, where it matters.

    Which way a curve goes is a hard choice whose gradient is that of a softmax. So the gradient
    of the scores is not their slope, but tells where other choices would lead.

    Clouds of more than 1024 points are first thinned to as many farthest points.
    """

    official_system = "curvenet"
    permutation_invariant = False

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_neighbors: int = 20,
        n_curves: int = 100,
        n_steps: int = 5,
        n_features: int = 1024,
        dropout: float = 0.5,
        paired: bool = False,
    ):
        super().__init__()
        check_int("n_neighbors", n_neighbors)
        check_int("n_curves", n_curves)
        check_int("n_steps", n_steps)
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_neighbors": n_neighbors,
            "n_curves": n_curves,
            "n_steps": n_steps,
            "n_features": n_features,
            "dropout": dropout,
            "paired": paired,
        }
        self.n_neighbors = n_neighbors
        self.num_features = 2 * n_features
        self.dropout = dropout
        self.stem = PlaceEdgeConv(n_channels, 32, negative_slope=_SLOPE)
        self.blocks = nn.ModuleDict()  # by level and place within the level, as published
        n_in = 32
        for number, n_out in enumerate(_WIDTHS, start=1):
            curves = (n_curves, n_steps) if number <= _N_CURVED else None
            first = CurveBlock(n_in, n_out, n_in // 2, curves=curves, paired=paired)
            second = CurveBlock(n_out, n_out, n_out // 4, curves=curves, paired=paired)
            self.blocks.update({f"{number}1": first, f"{number}2": second})
            n_in = n_out
        self.embed = LinearNorm(n_in, n_features, bias=False)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of the last points before pooling, (B, min(64, N), n_features)."""
        level = self._level(points[..., :3])
        features = self.stem(points, level.neighbors)  # (B, N, 32)
        in_order = False  # of farthest point sampling
        for number, (n_points, radius) in enumerate(zip(_N_POINTS, _RADII, strict=True), 1):
            if n_points < features.shape[1]:
                features, level = self._thin(features, level, n_points, radius, in_order)
                in_order = True
            for place in (1, 2):
                features = self.blocks[f"{number}{place}"](features, level)
        return self.embed(features)

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return maximum and mean over the last points, (B, 2 n_features)."""
        return max_and_mean(self.forward_features(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512,), n_classes, bias=(False,), dropout=(self.dropout,)
        )
        self.head = head.to(self.embed.linear.weight).train(self.training)

    def _level(self, places: Tensor) -> _Level:
        return _Level(places, self.n_neighbors, with_moments=self.training)

    def _thin(
        self, features: Tensor, level: _Level, n_points: int, radius: float, in_order: bool
    ) -> tuple[Tensor, _Level]:
        """Choose farthest points; each keeps the largest features of the ball around it."""
        centers = level.places[:, :n_points]
        if not in_order:
            centers = gather(level.places, farthest_point_sample(level.places, n_points))
        balls = ball_query(centers, level.places, radius, self.n_neighbors)
        return gather(features, balls).amax(2), self._level(centers)


@register_model
def curvenet(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_neighbors: int = 20,
    dropout: float = 0.5,
    paired: bool = False,
) -> CurveNet:
    """CurveNet as published for 1024 points, 2.1 million parameters."""
    return CurveNet(
        n_channels=n_channels,
        n_classes=n_classes,
        n_neighbors=n_neighbors,
        dropout=dropout,
        paired=paired,
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> CurveNet:
    sizes.check("setting", "default")
    return CurveNet(
        n_channels=state.shape("lpfa.mlp.0.0.weight", 4)[1] // 3,
        n_classes=sizes.check("num_classes", state.shape("conv2.weight", 2)[0]),
        n_neighbors=sizes.get("k", 20),
        n_features=state.shape("conv0.0.weight", 3)[0],
        dropout=sizes.get("dropout", 0.5),
        paired=sizes.get("paired", False),
    )


# tiangexiang/CurveNet, core/models/curvenet_cls.py
register_official(
    OfficialFormat(
        system="curvenet",
        build=_build,
        renames=(
            (r"^blocks\.(\d\d)\.", r"cic\1."),
            (r"\.narrow\.", ".conv1."),
            (r"\.widen\.", ".conv2."),
            (r"\.walk\.score\.", ".curvegrouping.att."),
            (r"\.walk\.rate\.", ".curvegrouping.walk.agent_mlp."),
            (r"\.walk\.mix\.", ".curvegrouping.walk.momentum_mlp."),
            (r"\.read\.curve_key\.", ".curveaggregation.conva."),
            (r"\.read\.step_key\.", ".curveaggregation.convb."),
            (r"\.read\.query\.", ".curveaggregation.convc."),
            (r"\.read\.out\.", ".curveaggregation.convd."),
            (r"\.read\.curve_value\.", ".curveaggregation.convn."),
            (r"\.read\.step_value\.", ".curveaggregation.convl."),
            (r"\.read\.weigh\.", ".curveaggregation.line_conv_att."),
            (r"\.aggregate\.place\.joint", ".lpfa.xyz2feature.0.weight"),
            (r"\.aggregate\.place_norm\.", ".lpfa.xyz2feature.1."),
            (r"\.aggregate\.layer\.", ".lpfa.mlp.0."),
            (r"^stem\.linear\.joint", "lpfa.mlp.0.0.weight"),
            (r"^stem\.", "lpfa.mlp.0."),
            (r"^embed\.", "conv0."),
            (r"^head\.layers\.0\.linear", "conv1"),
            (r"^head\.layers\.0\.norm", "bn1"),
            (r"^head\.out", "conv2"),
            (r"\.linear\.", ".0."),
            (r"\.norm\.", ".1."),
        ),
        layouts=(
            (
                r"(lpfa\.mlp\.0\.0|xyz2feature\.0|agent_mlp\.0|line_conv_att)\.weight$",
                unit_axes(2),
            ),
            (r"^cic\d\d\..*(conv[1-2]|shortcut|momentum_mlp|convd)\.0\.weight$", unit_axes(1)),
            (r"(\.att|\.conv[abcnl]|^conv0\.0)\.weight$", unit_axes(1)),
        ),
    )
)
