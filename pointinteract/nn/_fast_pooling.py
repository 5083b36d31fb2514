"""Maxima over points by compiled kernels: what `pooling` does with torch alone, in one pass."""

import torch
from torch import Tensor

from pointinteract.ops import _fast

# Channels of a cloud that one thread looks at.
_CHANNELS = 64


def can_pool(*tensors: Tensor) -> bool:
    """Whether the kernels here may be used: floating numbers of one type, and some of them."""
    kind = tensors[0].dtype
    if kind not in (torch.float32, torch.float64) or not _fast.is_fast(*tensors):
        return False
    return all(tensor.dtype == kind and tensor.numel() > 0 for tensor in tensors)


def column_maxima(
    values: Tensor, *, with_mean: bool, with_variance: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Maximum over the middle axis, its first place, mean and biased variance.

    (B, N, C) to four times (B, C), the last two without rows where nobody asks.
    """
    n_clouds, n_points, n_channels = values.shape
    highest = values.new_empty(n_clouds, n_channels)
    places = torch.empty(n_clouds, n_channels, dtype=torch.int64)
    means, spreads = (
        values.new_empty(n_clouds if wanted else 0, n_channels)
        for wanted in (with_mean, with_variance)
    )
    results = highest.numpy(), places.numpy(), means.numpy(), spreads.numpy()
    n_items = n_clouds * -(-n_channels // _CHANNELS)
    work = n_points * _CHANNELS // 4
    search = _fast.kernels().column_maxima
    _fast.run(search, n_items, work, _fast.array(values), _CHANNELS, *results)
    return highest, places, means, spreads


def winners_to_rows(grad: Tensor, places: Tensor, weight: Tensor, grad_rows: Tensor) -> None:
    """Add to each row (B, N, D) `grad` (B, C) times `weight` (C, D) of what it won, in place."""
    arrays = _fast.array(grad), _fast.array(places), _fast.array(weight), grad_rows.numpy()
    spread = _fast.kernels().winners_to_rows
    _fast.run(spread, len(grad), weight.numel() // 4, *arrays)


def winners_to_weight(grad: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """Sum `grad` (B, C) times the rows (B, N, D) that won, to (C, D)."""
    total = rows.new_zeros(grad.shape[1], rows.shape[2])
    arrays = _fast.array(grad), _fast.array(places), _fast.array(rows), total.numpy()
    spread = _fast.kernels().winners_to_weight
    _fast.run(spread, grad.shape[1], len(grad) * rows.shape[2] // 4, *arrays)
    return total
