"""Farthest point sampling."""

import numpy as np

from pointinteract.ops._kernels._compile import kernel
from pointinteract.ops._kernels.neighbors import distance_row


@kernel
def farthest_points(first, last, axes, bits, fuses, picked):
    """Pick columns of `axes` (B, C, N) into `picked` (B, M), whose first column is given.

    `bits` (B, N) holds how far away each is at first, read as whole numbers, and is lowered in
    place.
    """
    n_channels, n = axes.shape[1:]
    point = np.empty(n_channels, axes.dtype)
    step = np.empty(n, axes.dtype)
    step_bits = step.view(bits.dtype)
    for cloud in range(first, last):
        nearest = bits[cloud]
        for m in range(1, picked.shape[1]):
            current = picked[cloud, m - 1]
            for c in range(n_channels):
                point[c] = axes[cloud, c, current]
            distance_row(point, axes[cloud], 0, n, fuses, step)
            farthest = min(nearest[0], step_bits[0])
            for j in range(n):
                value = min(nearest[j], step_bits[j])
                nearest[j] = value
                farthest = max(farthest, value)
            place = 0
            while nearest[place] != farthest:
                place += 1
            picked[cloud, m] = place
