"""Set abstraction (Qi et al., PointNet++, NeurIPS 2017): small PointNets on balls of points.

Some points of a cloud are chosen, the points around each are mapped one by one, and the
maximum over them describes the place. The first layer is linear in [x_j - x_i, f_j], so its
part for the features f_j is computed once for a point and not once for every ball around it.

A ball is a list of the first K points inside, filled up with the first of them. Copies do not
change a maximum: in evaluation only the different points of each ball are mapped, a third or
less of the places. In training they count in the statistics of the batch, as in the original.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm, fold_norm, rectify_
from pointinteract.nn.pooling import LinearNormMax, chunk_size
from pointinteract.nn.structure import Ball
from pointinteract.ops import _search
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import ball_members, ball_query, square_distance

__all__ = ["BallPool", "SetAbstraction", "ball_pairs", "every_row", "max_by_row", "row_layers"]


class BallPool(nn.Module):
    """Map the points of balls of one radius and keep the maximum over each ball.

    Parameters
    ----------
    n_in : int
        Features of a point, beside its place in the ball.
    hidden : sequence of int
        Widths of the layers.
    radius : float
        Points nearer than this to the middle are in the ball.
    n_neighbors : int
        How many of them count at most: the first in the order of the cloud.
    """

    def __init__(self, n_in: int, hidden: Sequence[int], radius: float, n_neighbors: int):
        super().__init__()
        self.n_in = n_in
        self.radius = radius
        self.n_neighbors = n_neighbors
        self.layers = row_layers(3 + n_in, hidden)

    def forward(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        """Describe the balls around `centers`.

        Parameters
        ----------
        xyz : Tensor of shape (B, N, 3)
        features : Tensor of shape (B, N, n_in)
        centers : Tensor of shape (B, G, 3)
            Each must be one of the points.

        Returns
        -------
        pooled : Tensor of shape (B, G, W), W the last of `hidden`
        """
        # Statistics of the batch are those of filled balls, whatever mode the rest is in; and a
        # recorded graph cannot tell how many different points there will be.
        counts = any(layer.norm.training for layer in cast(list[LinearNorm], list(self.layers)))
        if counts or torch.compiler.is_compiling():
            return self._forward_filled(xyz, features, centers)
        # A few clouds at a time: every pair of a center and a point is looked at.
        chunk = chunk_size(xyz, centers.shape[1] * xyz.shape[1])
        parts = zip(xyz.split(chunk), features.split(chunk), centers.split(chunk), strict=True)
        return torch.cat([self._forward_different(*part) for part in parts])

    def project(self, features: Tensor) -> Tensor:
        """What the first layer makes of features (..., n_in): (..., V), in evaluation."""
        return F.linear(features, self._first()[0][:, 3:])

    def encode(self, offsets: Tensor, projected: Tensor) -> Tensor:
        """Map places in the ball (P, 3) and projected features (P, V) to (P, W)."""
        weight, bias = self._first()
        rows = projected + F.linear(offsets, weight[:, :3], bias)
        rows = rectify_(rows, self._layer(0).negative_slope)
        for layer in self.layers[1:]:
            rows = every_row(layer, rows)
        return rows

    def describe(self) -> Ball:
        """Say what this does to the points of one ball."""
        return Ball(self.radius, self.n_neighbors, self.project, self.encode)

    def _first(self) -> tuple[Tensor, Tensor]:
        first = self._layer(0)
        return fold_norm(first.linear, first.norm)

    def _layer(self, number: int) -> LinearNorm:
        return cast(LinearNorm, self.layers[number])

    def _forward_different(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        n_clouds, n_groups, _ = centers.shape
        n_points = xyz.shape[1]
        if _search.can_search(centers, xyz):
            index, counts = ball_members(centers, xyz, self.radius, self.n_neighbors)
            rows, columns = different_pairs(index, counts)
        else:
            inside = square_distance(centers.detach(), xyz.detach()) < self.radius**2
            rows, columns = ball_pairs(inside.view(-1, n_points), self.n_neighbors)
        points = columns + rows.div(n_groups, rounding_mode="floor") * n_points
        offsets = xyz.reshape(-1, 3)[points] - centers.reshape(-1, 3)[rows]
        projected = self.project(features).reshape(n_clouds * n_points, -1)
        encoded = self.encode(offsets, projected.index_select(0, points))
        return max_by_row(encoded, rows, n_clouds * n_groups).view(n_clouds, n_groups, -1)

    def _forward_filled(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        n_clouds, n_groups, _ = centers.shape
        index = ball_query(centers, xyz, self.radius, self.n_neighbors)  # (B, G, K)
        offsets = gather(xyz, index) - centers.unsqueeze(2)
        first, last = self._layer(0), self._layer(-1)
        weight: Tensor = first.linear.weight
        bias: Tensor | None = first.linear.bias
        if not first.norm.training:
            weight, bias = self._first()
        rows = F.linear(offsets, weight[:, :3], bias)  # (B, G, K, V)
        if self.n_in:
            rows = rows + gather(F.linear(features, weight[:, 3:]), index)
        if first.norm.training:
            rows = first.norm.rectified(rows, first.negative_slope)
        else:
            rows = rectify_(rows, first.negative_slope)
        for layer in self.layers[1:-1]:
            rows = layer(rows)
        if last is first:
            return rows.amax(2)
        return last(rows.flatten(0, 1)).view(n_clouds, n_groups, -1)

    def extra_repr(self) -> str:
        return f"radius={self.radius}, n_neighbors={self.n_neighbors}"


class SetAbstraction(nn.Module):
    """Balls of one or several radii around the same chosen points.

    Parameters
    ----------
    n_in : int
        Features of a point, beside its coordinates.
    hidden : sequence of sequences of int
        Widths of the layers, for each radius.
    radii : sequence of float
    n_neighbors : sequence of int
        Points of a ball that count, for each radius.
    """

    def __init__(
        self,
        n_in: int,
        hidden: Sequence[Sequence[int]],
        radii: Sequence[float],
        n_neighbors: Sequence[int],
    ):
        super().__init__()
        self.n_out = sum(widths[-1] for widths in hidden)
        self.balls = nn.ModuleList(
            BallPool(n_in, widths, radius, k)
            for widths, radius, k in zip(hidden, radii, n_neighbors, strict=True)
        )

    def forward(self, xyz: Tensor, features: Tensor, centers: Tensor) -> Tensor:
        """Map (B, N, 3), (B, N, n_in) and centers (B, G, 3) to (B, G, n_out)."""
        return torch.cat([ball(xyz, features, centers) for ball in self.balls], dim=-1)

    def describe(self) -> tuple[Ball, ...]:
        """Say what this does to the points of one ball of each radius."""
        return tuple(cast(BallPool, ball).describe() for ball in self.balls)


def row_layers(n_in: int, hidden: Sequence[int]) -> nn.ModuleList:
    """Make layers that map rows one by one, of which the last also takes a maximum."""
    widths = [n_in, *hidden]
    layers = [LinearNorm(a, b) for a, b in zip(widths[:-2], widths[1:-1], strict=True)]
    return nn.ModuleList([*layers, LinearNormMax(*widths[-2:])])


def every_row(layer: nn.Module, rows: Tensor) -> Tensor:
    """Apply a layer of `row_layers` without a maximum: (..., n_in) to (..., n_out)."""
    return layer.forward_points(rows) if isinstance(layer, LinearNormMax) else layer(rows)


def ball_pairs(inside: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """List the first `k` columns of each row that are inside.

    Parameters
    ----------
    inside : bool Tensor of shape (R, N)
    k : int

    Returns
    -------
    rows, columns : int64 Tensor of shape (P,)
        In the order of rows, and of columns in each.
    """
    n_rows, n_columns = inside.shape
    if inside.device.type == "cpu":  # NumPy looks at the same memory, three times faster
        flat = torch.from_numpy(inside.contiguous().numpy().ravel().nonzero()[0])
    else:
        flat = inside.flatten().nonzero().squeeze(1)
    rows = flat.div(n_columns, rounding_mode="floor")
    columns = flat - rows * n_columns
    counts = torch.bincount(rows, minlength=n_rows)
    if len(rows) and int(counts.max()) > k:
        first = counts.cumsum(0) - counts
        counted = torch.arange(len(rows), device=rows.device) - first[rows] < k
        rows, columns = rows[counted], columns[counted]
    return rows, columns


def different_pairs(index: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """List the members of balls (B, G, K) without those that fill up, `counts` (B, G) of them.

    Returns
    -------
    rows, columns : int64 Tensor of shape (P,)
        As `ball_pairs` does.
    """
    counted = torch.arange(index.shape[2], device=index.device) < counts.unsqueeze(-1)
    rows = torch.arange(counts.numel(), device=index.device).repeat_interleave(counts.view(-1))
    return rows, index[counted]


def max_by_row(values: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    """Maximum over the values (P, W) that belong to each row, (P,) to (n_rows, W).

    -inf where a row has none.
    """
    lowest = values.new_full((n_rows, values.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, rows.unsqueeze(1).expand_as(values), values, "amax")
