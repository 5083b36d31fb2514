"""Batch normalization and a rectifier in as few passes over the rows as there can be."""

import numpy as np

from pointinteract.ops._kernels._compile import kernel


@kernel
def norm_sums(first, last, rows, size, totals):
    """Sums of `rows` (R, C) less the first of them, and of squares, to `totals` (n, 2, C).

    Items are blocks of `size` rows, so that sums do not depend on the threads.
    """
    n_rows, n_channels = rows.shape
    pivot = rows[0]
    for block in range(first, last):
        level, spread = totals[block, 0], totals[block, 1]
        level[:] = 0
        spread[:] = 0
        for i in range(block * size, min(n_rows, block * size + size)):
            row = rows[i]
            for c in range(n_channels):
                deviation = np.float64(row[c]) - np.float64(pivot[c])
                level[c] += deviation
                spread[c] += deviation * deviation


@kernel
def norm_rectify(first, last, rows, mean, factor, shift, slope, out):
    """Rectified factor * (rows - mean) + shift, (R, C) to (R, C)."""
    for i in range(first, last):
        row = rows[i]
        result = out[i]
        for c in range(len(row)):
            value = (row[c] - mean[c]) * factor[c] + shift[c]
            result[c] = value if value > 0 else value * slope


@kernel
def norm_backward(first, last, grad, rows, mean, factor, shift, slope, level, tilt, grad_rows):
    """Gradient of `rows`: what passes the rectifier times factor, and level + tilt * deviation."""
    for i in range(first, last):
        row = rows[i]
        received = grad[i]
        result = grad_rows[i]
        for c in range(len(row)):
            deviation = row[c] - mean[c]
            value = received[c] * factor[c]
            value = value if deviation * factor[c] + shift[c] > 0 else value * slope
            result[c] = value + (level[c] + tilt[c] * deviation)
