"""Searches among points by compiled kernels; each does what its torch form does.

The torch forms stand in `neighbors` and `distances`, which also check what is given.
"""

import numpy as np
import torch
from torch import Tensor

from pointinteract.ops import _fast

# Up to this many channels, coordinate differences are cheaper than a matrix product.
FEW_CHANNELS = 4
# Rounded distances alive at a time.
_MAX_ELEMENTS = 1 << 20
# What a single number may lose where it is too small.
_UNDERFLOW = 2.0**-126
# Whole numbers of as many bits.
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


def can_search(query: Tensor, points: Tensor) -> bool:
    """Whether the searches below may be used on these clouds."""
    few = query.shape[-1] <= FEW_CHANNELS and query.numel() > 0 and points.numel() > 0
    same = query.dtype == points.dtype and query.dtype in _BITS
    return few and same and _fast.is_fast(query, points)


def can_select(distance: Tensor, k: int) -> bool:
    """Whether `select_nearest` may be used on these distances."""
    some = distance.numel() > 0 and 1 <= k <= distance.shape[-1] and distance.dtype in _BITS
    return some and _fast.is_fast(distance)


def select_nearest(distance: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of the last axis, in order, ties to the smallest index."""
    index = torch.empty(*distance.shape[:-1], k, dtype=torch.int64)
    keys = _fast.array(distance).reshape(-1, distance.shape[-1])
    select = _fast.kernels().select_nearest
    found = index.numpy().reshape(-1, k)
    _fast.run(select, len(keys), 2 * keys.shape[1], _whole(keys), _n_lows(k), found)
    return index


def nearest_few(query: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices (B, M, k) of the nearest points, in order, ties to the smallest index."""
    queries, axes = _fast.array(query), _fast.array(points.transpose(1, 2))
    index = torch.empty(*query.shape[:2], k, dtype=torch.int64)
    found = index.numpy().reshape(-1, k)
    work = 2 * points.shape[1]
    fuses = _fast.torch_fuses()
    search = _fast.kernels().knn_of_few_channels
    _fast.run(search, len(found), work, queries, axes, _whole(axes), _n_lows(k), fuses, found)
    return index


def can_refine(query: Tensor, points: Tensor, k: int) -> bool:
    """Whether `nearest_many` may be used on these clouds."""
    enough = query.numel() > 0 and points.shape[1] >= 2 * _n_lows(k)
    single = query.dtype == points.dtype == torch.float32
    # The bound of the error is that of products in single precision.
    exact = torch.get_float32_matmul_precision() == "highest"
    return enough and single and exact and _fast.is_fast(query, points)


def nearest_many(query: Tensor, points: Tensor, k: int) -> Tensor:
    """Do the same as `nearest_few` for any number of channels, in float32.

    Distances by matrix products in single precision choose candidates, so generously that none
    can be missed; double precision decides among them.
    """
    index = torch.empty(*query.shape[:2], k, dtype=torch.int64)
    n_channels, n_points = points.shape[1:][::-1]
    n_rows = max(1, _MAX_ELEMENTS // n_points)
    refine = _fast.kernels().refine_nearest
    # Of n summands, each product and each sum is off by a rounding at most (Higham, section
    # 3.1); a few more for taking the middle away, the norms and the two columns beside.
    n_roundings = n_channels + 16
    buffer = points.new_empty(min(n_rows, query.shape[1]), n_points)
    for cloud in range(len(points)):
        middle = points[cloud].mean(0)
        right, right_norms = _beside_norms(points[cloud] - middle, 1.0)
        farthest = right_norms.max().double().sqrt()
        for start in range(0, query.shape[1], n_rows):
            part = slice(start, start + n_rows)
            own = query[cloud, part]
            left, left_norms = _beside_norms(own - middle, -2.0)
            rounded = torch.mm(left, right.t(), out=buffer[: len(own)]).numpy()
            scale = left_norms.squeeze(1).double().sqrt() + farthest
            errors = n_roundings * (1.01 * 2.0**-24 * scale.square() + _UNDERFLOW).numpy()
            arrays = rounded, _whole(rounded), _fast.array(own), _fast.array(points[cloud])
            found = index[cloud, part].numpy()
            work = 4 * n_points
            _fast.run(refine, len(found), work, *arrays, errors, _n_lows(k), found)
    return index


def _beside_norms(rows: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Rows such that the product of two of them is their squared distance; and their norms."""
    norms = rows.square().sum(1, keepdim=True)
    one = torch.ones_like(norms)
    last = (norms, one) if factor == 1.0 else (one, norms)
    return torch.cat([rows * factor, *last], dim=1), norms


def nearest_one(query: Tensor, points: Tensor) -> Tensor:
    """Index (B, M) of the nearest point, the smallest if there are several."""
    queries, axes = _fast.array(query), _fast.array(points.transpose(1, 2))
    index = torch.empty(query.shape[:2], dtype=torch.int64)
    found = index.numpy().reshape(-1)
    fuses = _fast.torch_fuses()
    search = _fast.kernels().nearest_of_few_channels
    _fast.run(search, len(found), points.shape[1], queries, axes, _whole(axes), fuses, found)
    return index


def first_within(query: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    """First k points within `radius`, (B, M, k), and how many there are, at most k, (B, M)."""
    queries, axes = _fast.array(query), _fast.array(points.transpose(1, 2))
    index = torch.empty(*query.shape[:2], k, dtype=torch.int64)
    count = torch.empty(query.shape[:2], dtype=torch.int64)
    found, counts = index.numpy().reshape(-1, k), count.numpy().reshape(-1)
    # Rounded to the type of the coordinates, as torch does when it compares with a number.
    limit = axes.dtype.type(radius * radius)
    fuses = _fast.torch_fuses()
    search = _fast.kernels().ball_query
    _fast.run(search, len(counts), points.shape[1], queries, axes, limit, fuses, found, counts)
    return index, count


def farthest_points(points: Tensor, start: Tensor, n_samples: int, distance: Tensor) -> Tensor:
    """Indices (B, M) of points picked one after another, each the farthest from the others.

    `start` (B,) is picked first; `distance` (B, N) holds how far away each is before, and is
    lowered in place.
    """
    axes = _fast.array(points.transpose(1, 2))
    picked = torch.empty(len(points), n_samples, dtype=torch.int64)
    picked[:, 0] = start
    work = n_samples * points.shape[1]
    fuses = _fast.torch_fuses()
    search = _fast.kernels().farthest_points
    bits = _whole(distance.numpy())
    _fast.run(search, len(points), work, axes, bits, fuses, picked.numpy())
    return picked


def _whole(numbers: np.ndarray) -> np.ndarray:
    """Look at the bits of floats as whole numbers."""
    return numbers.view(f"i{numbers.itemsize}")


def _n_lows(k: int) -> int:
    """How many lows of parts of a row to look at for the `k` smallest of all."""
    return max(64, 1 << (2 * k - 1).bit_length())
