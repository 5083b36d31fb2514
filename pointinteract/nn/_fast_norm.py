"""Batch normalization and rectifier by compiled kernels: what torch does in several passes."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointinteract.ops import _fast

# Rows whose sums are taken by one thread: a fixed number, so that they do not depend on threads.
_ROWS = 512
# Fewer numbers are normalized before a kernel is even called.
_WORTH = 1 << 14


def can_normalize(rows: Tensor, weight: Tensor) -> bool:
    """Whether the kernels here may be used on (..., C): several rows of the weight's type."""
    kinds = torch.float32, torch.float64
    same = rows.dtype == weight.dtype and rows.dtype in kinds
    several = rows.numel() >= _WORTH and rows.numel() > rows.shape[-1]
    return same and several and _fast.is_fast(rows, weight)


class NormRectify(torch.autograd.Function):
    """Rows normalized by the batch and rectified.

    Forward: rows (..., C), weight and bias (C,), epsilon, slope below zero; to the result, and
    mean and biased variance, which are to be remembered and have no gradient.
    """

    @staticmethod
    def forward(ctx, rows, weight, bias, eps, slope):
        flat = _flat(rows)
        totals, n_blocks = _totals(flat)
        work = _ROWS * flat.shape[1] // 2
        sums = _fast.kernels().norm_sums
        _fast.run(sums, n_blocks, work, flat, _ROWS, totals.numpy())
        level, spread = totals.sum(0) / len(flat)
        pivot = torch.from_numpy(flat[0])
        mean = (pivot + level).to(rows.dtype)
        var = (spread - level.square()).clamp_min_(0.0).to(rows.dtype)
        inverse = torch.rsqrt(var + eps)
        factor, shift = inverse * weight, bias.detach()
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        arrays = [_fast.array(each) for each in (mean, factor, shift)]
        ctx.slope = flat.dtype.type(slope)
        apply = _fast.kernels().norm_rectify
        _fast.run(apply, len(flat), flat.shape[1] // 4, flat, *arrays, ctx.slope, _flat(out))
        ctx.save_for_backward(rows, mean, inverse, factor, shift)
        ctx.mark_non_differentiable(mean, var)
        return out, mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _grad_mean, _grad_var):
        rows, mean, inverse, factor, shift = ctx.saved_tensors
        pair = _flat(grad), _flat(rows)
        arrays = *(_fast.array(each) for each in (mean, factor, shift)), ctx.slope
        totals, n_blocks = _totals(pair[0])
        n_rows, n_channels = pair[0].shape
        sums = _fast.kernels().edge_sums
        work = _ROWS * n_channels // 4
        _fast.run(sums, n_blocks, work, *pair, *arrays, _ROWS, totals.numpy())
        grad_bias, tilted = totals.sum(0).to(grad.dtype)
        grad_weight = tilted * inverse
        level = -factor * grad_bias / n_rows
        tilt = -factor * inverse * grad_weight / n_rows
        out = torch.empty_like(rows, memory_format=torch.contiguous_format)
        back = _fast.kernels().norm_backward
        last = _fast.array(level), _fast.array(tilt), _flat(out)
        _fast.run(back, n_rows, n_channels // 4, *pair, *arrays, *last)
        return out, grad_weight, grad_bias, None, None


def _flat(rows: Tensor):
    """Look at (..., C) as an array of rows."""
    return _fast.array(rows).reshape(-1, rows.shape[-1])


def _totals(flat) -> tuple[Tensor, int]:
    n_blocks = -(-len(flat) // _ROWS)
    return torch.empty(n_blocks, 2, flat.shape[1], dtype=torch.float64), n_blocks
