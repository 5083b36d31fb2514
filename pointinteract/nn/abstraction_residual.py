"""Set abstraction with a shortcut (Qian et al., PointNeXt, NeurIPS 2022).

As in PointNet++ (`pointinteract.nn.abstraction`) the points of a ball are mapped one by one and
the maximum describes the ball; places in the ball are divided by its radius, the last layer has
no rectifier, and what the middle itself says is added before one is applied.

Both the places and the features enter the first layer linearly, so it needs a product per point
and one per middle, none per neighbor.

A ball is a list of the first K points inside, filled up with the first of them. Only the
different points are mapped, a third or less of the places. Copies do not change a maximum, and
in the statistics of the batch the first point simply counts as often as it stands there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pointinteract.nn.abstraction import ball_pairs, max_by_row
from pointinteract.nn.mlp import BatchNorm, LinearNorm, fold_norm
from pointinteract.nn.pooling import chunk_size
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import ball_query, square_distance

__all__ = ["ResidualBallPool", "normalize_counted"]


class ResidualBallPool(nn.Module):
    """Two layers on the points of balls, the maximum over each, and a shortcut of the middle.

    Parameters
    ----------
    n_in, n_out : int
        Features per point before, and per ball after. The first layer has `n_in` outputs.
    radius : float
        Points nearer than this to the middle are in the ball.
    n_neighbors : int
        How many of them count at most: the first in the order of the cloud.
    """

    def __init__(self, n_in: int, n_out: int, radius: float, n_neighbors: int):
        super().__init__()
        self.radius = radius
        self.n_neighbors = n_neighbors
        self.first = LinearNorm(3 + n_in, n_in, bias=False)
        self.last = LinearNorm(n_in, n_out, bias=False, negative_slope=None)
        self.skip = nn.Linear(n_in, n_out)

    def forward(
        self, xyz: Tensor, features: Tensor, n_balls: int, picked: Tensor | None = None
    ) -> Tensor:
        """Describe the balls around chosen points.

        Parameters
        ----------
        xyz : Tensor of shape (B, N, 3)
        features : Tensor of shape (B, N, n_in)
        n_balls : int
            Number S of chosen points.
        picked : int64 Tensor of shape (B, S) or None, default=None
            Which ones; None means the first S.

        Returns
        -------
        pooled : Tensor of shape (B, S, n_out)
        """
        centers = _take(xyz, n_balls, picked)
        as_neighbor, as_center = self._project(xyz, features, centers)
        shortcut = self.skip(_take(features, n_balls, picked))
        if torch.compiler.is_compiling():
            pooled = self._pool_filled(xyz, centers, as_neighbor, as_center)
        elif self._has_batch_statistics():
            pooled = self._pool_different(xyz, centers, as_neighbor, as_center)
        else:
            # A few clouds at a time: every pair of a center and a point is looked at.
            chunk = chunk_size(xyz, n_balls * xyz.shape[1])
            parts = (each.split(chunk) for each in (xyz, centers, as_neighbor, as_center))
            pooled = torch.cat([self._pool_different(*part) for part in zip(*parts, strict=True)])
        return F.relu(pooled + shortcut)

    def extra_repr(self) -> str:
        return f"radius={self.radius}, n_neighbors={self.n_neighbors}"

    def _has_batch_statistics(self) -> bool:
        """Whether a normalization looks across clouds, whatever the mode of the module is."""
        return self.first.norm.training or self.last.norm.training

    def _project(self, xyz: Tensor, features: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """What a point says as a neighbor (B, N, n_in), and what as a center (B, S, n_in).

        Their sum enters the first normalization; in evaluation it is contained.
        """
        weight, shift = self.first.linear.weight, None
        if not self.first.norm.training:
            weight, shift = fold_norm(self.first.linear, self.first.norm)
        to_place, to_features = weight[:, :3] / self.radius, weight[:, 3:]
        # Only differences of places count; near the origin they lose nothing by rounding.
        origin = xyz.detach().mean(1, keepdim=True)
        as_neighbor = F.linear(xyz - origin, to_place) + F.linear(features, to_features)
        return as_neighbor, F.linear(origin - centers, to_place, shift)

    def _pool_different(
        self, xyz: Tensor, centers: Tensor, as_neighbor: Tensor, as_center: Tensor
    ) -> Tensor:
        """Map the different points of each ball; (B, S, n_out)."""
        n_clouds, n_balls, _ = centers.shape
        balls, points = _different_points(
            centers.detach(), xyz.detach(), self.radius, self.n_neighbors
        )
        rows = as_neighbor.flatten(0, 1).index_select(0, points)
        rows = rows + as_center.flatten(0, 1).index_select(0, balls)  # (P, n_in)
        n_rows = n_clouds * n_balls
        times = None
        if self._has_batch_statistics():
            times = _times_of_filled(balls, n_rows, self.n_neighbors).to(rows.dtype)
        if self.first.norm.training and times is not None:
            rows = normalize_counted(self.first.norm, rows, times, n_rows * self.n_neighbors)
        rows = F.relu(rows)
        if self.last.norm.training and times is not None:
            rows = self.last.linear(rows)
            rows = normalize_counted(self.last.norm, rows, times, n_rows * self.n_neighbors)
        else:
            rows = self.last(rows)
        return max_by_row(rows, balls, n_rows).view(n_clouds, n_balls, -1)

    def _pool_filled(
        self, xyz: Tensor, centers: Tensor, as_neighbor: Tensor, as_center: Tensor
    ) -> Tensor:
        """Map every place of each ball: the same, in shapes that do not depend on the data."""
        index = ball_query(centers, xyz, self.radius, self.n_neighbors)  # (B, S, K)
        rows = gather(as_neighbor, index) + as_center.unsqueeze(2)
        if self.first.norm.training:
            rows = self.first.norm(rows)
        return self.last(F.relu(rows)).amax(2)


def normalize_counted(norm: BatchNorm, rows: Tensor, times: Tensor, n_rows: int) -> Tensor:
    """Normalize rows by the statistics they have when each stands there several times.

    Parameters
    ----------
    norm : BatchNorm
        In training mode; its stored statistics move.
    rows : Tensor of shape (P, C)
    times : Tensor of shape (P,)
        How often each row counts, of the dtype of `rows`.
    n_rows : int
        Sum of `times`.

    Returns
    -------
    normalized : Tensor of shape (P, C)
        What `norm` makes of the rows with their repetitions, each once.
    """
    if n_rows == 1:  # which has no variance: as `norm` itself does
        scale, shift = norm.scale_and_shift()
        return rows * scale + shift
    normalized, mean, var = _CountedNorm.apply(
        rows, times, norm.weight, norm.bias, norm.eps, n_rows
    )
    norm.remember(mean, var, n_rows)
    return normalized


def _take(values: Tensor, n_balls: int, picked: Tensor | None) -> Tensor:
    return values[:, :n_balls] if picked is None else gather(values, picked)


def _different_points(
    centers: Tensor, xyz: Tensor, radius: float, k: int
) -> tuple[Tensor, Tensor]:
    """List the first `k` points of each ball, without those that fill it up.

    (B, S, 3) and (B, N, 3) to balls and points, each (P,), sorted by ball; both are counted
    through all clouds.
    """
    n_balls, n_points = centers.shape[1], xyz.shape[1]
    chunk = chunk_size(xyz, n_balls * n_points)
    found, first = [], 0
    for middles, cloud in zip(centers.split(chunk), xyz.split(chunk), strict=True):
        inside = square_distance(middles, cloud) < radius**2
        balls, columns = ball_pairs(inside.view(-1, n_points), k)
        balls = balls + first * n_balls
        points = columns + balls.div(n_balls, rounding_mode="floor") * n_points
        found.append((balls, points))
        first += len(cloud)
    balls, points = (torch.cat(each) for each in zip(*found, strict=True))
    return balls, points


def _times_of_filled(balls: Tensor, n_balls: int, k: int) -> Tensor:
    """How often each different point stands in its ball of `k` places, (P,); sorted by ball.

    The first point of a ball fills the places that are left over.
    """
    counts = torch.bincount(balls, minlength=n_balls)
    first = counts.cumsum(0) - counts
    times = torch.ones_like(balls)
    present = counts > 0  # all are, unless coordinates are not numbers
    times[first[present]] += k - counts[present]
    return times


class _CountedNorm(torch.autograd.Function):
    """y_p = gain (x_p - mean) / s + shift with mean and variance over rows counted w_p times.

    With g the gradient of y, which already adds up all places where a row stands, and xhat the
    normalized rows,

        dx_p = gain / s (g_p - w_p / n (sum g + xhat_p sum g xhat)).
    """

    @staticmethod
    def forward(ctx, rows, times, gain, shift, eps, n_rows):
        exact = torch.promote_types(rows.dtype, torch.float32)
        wide, times = rows.to(exact), times.to(exact)
        with torch.autocast(rows.device.type, enabled=False):  # sums of many stay exact
            mean = (times @ wide) / n_rows
            centered = wide - mean
            var = (times @ centered.square()) / n_rows
        steepness = torch.rsqrt(var + eps)
        ctx.save_for_backward(centered, times, steepness, gain)
        ctx.n_rows = n_rows
        ctx.mark_non_differentiable(mean, var)
        out = torch.addcmul(shift, centered, gain * steepness)
        return out.to(rows.dtype), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _grad_mean, _grad_var):
        centered, times, steepness, gain = ctx.saved_tensors
        out_type, grad = grad.dtype, grad.to(centered.dtype)
        grad_shift = grad.sum(0)
        grad_gain = (grad * centered).sum(0) * steepness
        common = torch.addcmul(grad_shift, centered, grad_gain * steepness)
        grad_rows = torch.addcmul(grad, common, times.unsqueeze(1), value=-1.0 / ctx.n_rows)
        grad_rows = grad_rows.mul_(gain * steepness).to(out_type)
        return grad_rows, None, grad_gain, grad_shift, None, None
