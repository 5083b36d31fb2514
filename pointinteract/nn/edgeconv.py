"""Edge convolution (Wang et al., 2019): the best of a linear map over neighbors.

The original maps every edge [x_j - x_i, x_i]. The map is linear, so

    W [x_j - x_i, x_i] = W1 x_j + (W2 - W1) x_i = a_j + b_i

needs one product per point instead of one per edge; normalization and rectifier are monotone
in each channel, so the maximum over the neighbors j is taken of a_j alone. The statistics of
all edges, which training needs, come out of the same pass over the neighbors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pointinteract.nn._fast_edges import EdgeNormMax, NeighborMax, can_pool, pool_edges
from pointinteract.nn.mlp import BatchNorm, rectify_
from pointinteract.nn.pooling import chunk_size, extremum_sign, first_maximum
from pointinteract.ops.grouping import gather


class EdgeConv(nn.Module):
    """Linear map of edges, batch normalization, leaky rectifier, maximum over neighbors.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before and after. The linear map has 2 `n_in` inputs: the
        difference to the neighbor first, then the point itself.
    negative_slope : float, default=0.2
        Slope of the rectifier below zero.
    """

    def __init__(self, n_in: int, n_out: int, *, negative_slope: float = 0.2):
        super().__init__()
        self.n_in = n_in
        self.negative_slope = negative_slope
        self.linear = nn.Linear(2 * n_in, n_out, bias=False)
        self.norm = BatchNorm(n_out)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, n_in), with neighbor indices (B, N, k), to (B, N, n_out)."""
        norm = self.norm
        if not norm.training:
            return self._forward_stored(features, neighbors)
        n_edges = neighbors.numel()
        both = self._project(features, self.linear.weight)  # (B, N, 2 n_out)
        if n_edges > 1 and can_pool(both, neighbors):
            out, mean, var = EdgeNormMax.apply(
                both, neighbors, norm.weight, norm.bias, norm.eps, self.negative_slope
            )
            norm.remember(mean, var, n_edges)
            return out
        a, b = both.chunk(2, dim=-1)
        highest, mean, var = _EdgeMax.apply(a, b, neighbors, extremum_sign(norm))
        out = norm.normalize(highest, mean, var, n_edges)
        return rectify_(out, self.negative_slope)

    def _forward_stored(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Do the same with stored statistics, which are folded into the linear map."""
        scale, shift = self.norm.scale_and_shift()
        both = self._project(features, self.linear.weight * scale.unsqueeze(1))
        if not (torch.is_grad_enabled() and both.requires_grad) and can_pool(both, neighbors):
            return pool_edges(both, neighbors, shift, self.negative_slope)
        a, b = both.chunk(2, dim=-1)
        return rectify_(neighbor_max(a, neighbors) + (b + shift), self.negative_slope)

    def _project(self, features: Tensor, weight: Tensor) -> Tensor:
        """Return what each point says as a neighbor, and beside it what it says as the center."""
        to_neighbor, to_self = weight.split(self.n_in, dim=1)
        return F.linear(features, torch.cat([to_neighbor, to_self - to_neighbor]))

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


def neighbor_max(values: Tensor, neighbors: Tensor) -> Tensor:
    """Maximum over the neighbors of each point: (B, N, C), (B, N, k) to (B, N, C)."""
    if torch.compiler.is_compiling() or neighbors.numel() == 0:
        return gather(values, neighbors).amax(2)
    if can_pool(values, neighbors):
        return NeighborMax.apply(values, neighbors)
    if values.requires_grad and torch.is_grad_enabled():
        return _NeighborMax.apply(values, neighbors)
    return torch.cat([part.amax(1) for part, _ in _gathered(values, neighbors)]).view_as(values)


def _gathered(values: Tensor, neighbors: Tensor):
    """Yield (rows, k, C) values of the neighbors, a few points at a time, and which points."""
    n_points, n_channels = values.shape[1:]
    n_neighbors = neighbors.shape[2]
    flat = values.reshape(-1, n_channels)
    rows = _flat_rows(neighbors, n_points).view(-1, n_neighbors)
    # An eighth: several arrays of this size are alive at once.
    chunk = chunk_size(values, 8 * n_neighbors * n_channels)
    for start in range(0, rows.shape[0], chunk):
        index = rows[start : start + chunk].reshape(-1)
        part = flat.index_select(0, index).view(-1, n_neighbors, n_channels)
        yield part, slice(start, start + chunk)


def _flat_rows(neighbors: Tensor, n_points: int) -> Tensor:
    """Turn places within clouds into places among the rows of all clouds."""
    start = torch.arange(neighbors.shape[0], device=neighbors.device) * n_points
    return neighbors + start.view(-1, 1, 1)


def _spread_to_winners(grad: Tensor, slot: Tensor, neighbors: Tensor) -> Tensor:
    """Send the gradient of each maximum (B, N, C) to the neighbor in `slot` that won it."""
    winner = neighbors.gather(2, slot)  # (B, N, C)
    return torch.zeros_like(grad).scatter_add_(1, winner, grad)


def _sum_over_followers(values: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
    """Sum, for each point, what the points say that have it as a neighbor; and count them.

    (B, N, C), (B, N, k) to (B, N, C) and (B, N, 1). Edges are sorted by their end, so that
    each point's sum is taken in a fixed order on every device.
    """
    n_clouds, n_points, n_channels = values.shape
    ends = _flat_rows(neighbors, n_points).view(-1)
    order = torch.argsort(ends, stable=True)
    starts = order.div(neighbors.shape[2], rounding_mode="floor")
    count = torch.bincount(ends, minlength=n_clouds * n_points)
    offsets = F.pad(count.cumsum(0), (1, 0))
    flat = values.reshape(-1, n_channels)
    total = F.embedding_bag(starts, flat, offsets, mode="sum", include_last_offset=True)
    return total.view_as(values), count.view(n_clouds, n_points, 1).to(values.dtype)


class _NeighborMax(torch.autograd.Function):
    """`neighbor_max` with a gradient that goes to the first neighbor reaching the maximum."""

    @staticmethod
    def forward(ctx, values, neighbors):
        found = [first_maximum(part) for part, _ in _gathered(values, neighbors)]
        slot = torch.cat([place for _, place in found]).view(values.shape)
        ctx.save_for_backward(slot, neighbors)
        return torch.cat([maximum for maximum, _ in found]).view_as(values)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        slot, neighbors = ctx.saved_tensors
        return _spread_to_winners(grad.contiguous(), slot, neighbors), None


class _EdgeMax(torch.autograd.Function):
    """Extremum over neighbors of z_ij = a_j + b_i, with mean and variance of z over all edges.

    Forward: a, b (B, N, C), neighbors (B, N, k), sign (C,); to extremum (B, N, C), mean (C,)
    and biased variance (C,). Variances are summed within and between points, from the
    differences a_j - a_i, so that nothing large cancels. Backward, with M = B N k edges,

        dz_ij = [j won] dmax_i + dmean / M + 2 dvar (z_ij - mean) / M

    is summed over i (for a) and over j (for b) without holding any edge.
    """

    @staticmethod
    def forward(ctx, a, b, neighbors, sign):
        n_channels = a.shape[-1]
        n_neighbors = neighbors.shape[2]
        exact = torch.float64 if a.dtype == torch.float64 else torch.float32
        directed = (a * sign).to(exact)
        own = directed.view(-1, 1, n_channels)
        highest, slots, sums, spreads = [], [], [], []
        for part, points in _gathered(directed, neighbors):
            part.sub_(own[points])  # a_j - a_i
            maximum, slot = first_maximum(part)
            highest.append(maximum)
            slots.append(slot)
            sums.append(part.sum(1))
            spreads.append(part.square_().sum(1))
        offset = (a + b).to(exact)  # z_ij = (a_j - a_i) + (a_i + b_i)
        step = torch.cat(sums).view(a.shape).div_(n_neighbors)
        within = torch.cat(spreads).view(a.shape).div_(n_neighbors).sub_(step.square())
        of_points = torch.addcmul(offset, step, sign.to(exact))  # mean of z_i over j
        between, mean = torch.var_mean(of_points.view(-1, n_channels), 0, unbiased=False)
        var = within.view(-1, n_channels).mean(0).clamp_min_(0.0) + between
        extremum = torch.cat(highest).view(a.shape) * sign.to(exact) + offset
        ctx.save_for_backward(a, b, neighbors, torch.cat(slots).view(a.shape), of_points, mean)
        return extremum.to(a.dtype), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_max, grad_mean, grad_var):
        a, b, neighbors, slot, of_points, mean = ctx.saved_tensors
        n_neighbors = neighbors.shape[2]
        grad_max = grad_max.to(of_points.dtype).contiguous()
        # Each edge receives shift + tilt * z_ij, whether it won or not.
        tilt = grad_var * (2.0 / neighbors.numel())
        shift = grad_mean / neighbors.numel() - tilt * mean
        grad_b = of_points.mul(tilt).add_(shift).mul_(n_neighbors).add_(grad_max)
        b_followers, n_followers = _sum_over_followers(b.to(of_points.dtype), neighbors)
        grad_a = _spread_to_winners(grad_max, slot, neighbors)
        grad_a += (a * tilt + shift) * n_followers + b_followers * tilt
        return grad_a.to(a.dtype), grad_b.to(b.dtype), None, None
