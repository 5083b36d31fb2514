"""Edge convolution by compiled kernels: what `edgeconv` does with torch alone, in one pass.

Used where `ops._fast` allows it. `both` holds, side by side, what each point says as a neighbor
and as the center: (B, N, 2 C).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointinteract.ops import _fast

# Rows whose statistics are summed by one thread; channels whose gradient is. Fixed numbers, so
# that the result does not depend on how many threads there are.
_ROWS = 512
_CHANNELS = 64


def can_pool(values: Tensor, neighbors: Tensor) -> bool:
    """Whether the kernels here may be used: also whether every neighbor exists."""
    if not neighbors.numel() or not values.numel() or not _fast.is_fast(values, neighbors):
        return False
    if neighbors.dtype != torch.int64 or values.dtype not in (torch.float32, torch.float64):
        return False
    low, high = neighbors.aminmax()
    return bool(low >= 0) and bool(high < values.shape[1])


def pool_edges(both: Tensor, neighbors: Tensor, shift: Tensor, slope: float) -> Tensor:
    """Rectified maximum over the neighbors of what both ends say plus `shift` (C,)."""
    n_clouds, n_points, width = both.shape
    out = both.new_empty(n_clouds, n_points, width // 2)
    rows = _rows(out)
    work = width // 8 * neighbors.shape[2]
    pool = _fast.kernels().edge_pool
    arrays = _rows(both), _rows(neighbors), n_points, _fast.array(shift)
    _fast.run(pool, len(rows), work, *arrays, rows.dtype.type(slope), rows)
    return out


class NeighborMax(torch.autograd.Function):
    """Maximum over neighbors: (B, N, C), (B, N, k) to (B, N, C); the first among equals wins."""

    @staticmethod
    def forward(ctx, values, neighbors):
        highest = torch.empty_like(values, memory_format=torch.contiguous_format)
        # Without gradient nobody asks who won.
        shape = highest.shape if ctx.needs_input_grad[0] else (0, 0, values.shape[2])
        slots = torch.empty(shape, dtype=_slot(neighbors))
        rows = _rows(highest)
        work = values.shape[2] // 8 * neighbors.shape[2]
        search = _fast.kernels().neighbor_max
        arrays = _rows(values), _rows(neighbors), values.shape[1], rows, _rows(slots)
        _fast.run(search, len(rows), work, *arrays)
        ctx.save_for_backward(slots, neighbors)
        return highest

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        slots, neighbors = ctx.saved_tensors
        out = torch.empty_like(grad, memory_format=torch.contiguous_format)
        n_clouds, n_points, n_channels = grad.shape
        arrays = _rows(grad), _rows(slots), _rows(neighbors), n_points, _rows(out)
        spread = _fast.kernels().spread_to_winners
        _fast.run(spread, n_clouds, n_points * n_channels, *arrays)
        return out, None


class EdgeNormMax(torch.autograd.Function):
    """Edges normalized by the batch, rectified, and the maximum over neighbors.

    Forward: both (B, N, 2 C), neighbors (B, N, k), weight and bias of the normalization (C,),
    its epsilon, slope of the rectifier; to the maximum (B, N, C), and mean and biased variance
    over all edges, which are to be remembered and have no gradient. Backward, with M = B N k
    edges z of deviation x from their mean and r = 1 / sqrt(var + eps),

        dz = weight r [won] dy' - weight r / M (sum dy' + x r^2 sum dy' x)

    where dy' is the gradient before the rectifier and sums are over the maxima.
    """

    @staticmethod
    def forward(ctx, both, neighbors, weight, bias, eps, slope):
        n_clouds, n_points, width = both.shape
        n_channels, n_neighbors = width // 2, neighbors.shape[2]
        extremum, means = (both.new_empty(n_clouds, n_points, n_channels) for _ in range(2))
        slots = torch.empty(extremum.shape, dtype=_slot(neighbors))
        totals, blocks = _totals(n_clouds * n_points, 3, n_channels)
        sign = torch.ones_like(weight).copysign(weight).to(both.dtype)
        search = _fast.kernels().edge_statistics
        arrays = _rows(both), _rows(neighbors), n_points, _ROWS, _fast.array(sign)
        results = _rows(extremum), _rows(slots), _rows(means), totals.numpy()
        _fast.run(search, blocks, _ROWS * n_neighbors * n_channels // 4, *arrays, *results)

        within, level, spread = totals.sum(0) / (n_clouds * n_points)
        pivot = both[0, 0, :n_channels] + both[0, 0, n_channels:]
        mean = (pivot + level).to(both.dtype)
        var = (within + (spread - level.square()).clamp_min_(0.0)).to(both.dtype)
        inverse = torch.rsqrt(var + eps)
        factor = inverse * weight.to(both.dtype)
        shift = bias.to(both.dtype)
        out = torch.addcmul(shift, extremum - mean, factor)
        out = torch.nn.functional.leaky_relu_(out, slope)
        ctx.save_for_backward(
            both, neighbors, extremum, slots, means, mean, inverse, factor, shift
        )
        ctx.slope = slope
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _grad_mean, _grad_var):
        both, neighbors, extremum, slots, means, mean, inverse, factor, shift = ctx.saved_tensors
        n_clouds, n_points, n_channels = grad.shape
        slope = _fast.array(mean).dtype.type(ctx.slope)
        maxima = _rows(grad), _rows(extremum)
        totals, blocks = _totals(n_clouds * n_points, 2, n_channels)
        arrays = _fast.array(mean), _fast.array(factor), _fast.array(shift), slope
        sums = _fast.kernels().edge_sums
        _fast.run(sums, blocks, _ROWS * n_channels // 4, *maxima, *arrays, _ROWS, totals.numpy())
        grad_bias, tilted = totals.sum(0).to(grad.dtype)
        grad_weight = tilted * inverse

        n_edges = neighbors.numel()
        level = -factor * grad_bias / n_edges
        tilt = -factor * inverse * grad_weight / n_edges
        grad_both = torch.empty_like(both, memory_format=torch.contiguous_format)
        n_parts = -(-n_channels // _CHANNELS)
        _fast.run(
            _fast.kernels().edge_backward,
            n_clouds * n_parts,
            n_points * _CHANNELS * neighbors.shape[2] // 4,
            _rows(both),
            _rows(neighbors),
            n_points,
            _CHANNELS,
            *maxima,
            _rows(slots),
            _rows(means),
            *arrays,
            _fast.array(level),
            _fast.array(tilt),
            _rows(grad_both),
        )
        return grad_both, None, grad_weight, grad_bias, None, None


def _rows(tensor: Tensor):
    """Look at (B, N, C) as an array of rows (B N, C)."""
    return _fast.array(tensor).reshape(-1, tensor.shape[-1])


def _slot(neighbors: Tensor) -> torch.dtype:
    return torch.uint8 if neighbors.shape[2] <= 256 else torch.int32


def _totals(n_rows: int, n_sums: int, n_channels: int) -> tuple[Tensor, int]:
    n_blocks = -(-n_rows // _ROWS)
    return torch.empty(n_blocks, n_sums, n_channels, dtype=torch.float64), n_blocks
