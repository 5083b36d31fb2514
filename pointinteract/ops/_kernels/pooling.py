"""Maxima over the points of clouds, and what flows back through them."""

import numpy as np

from pointinteract.ops._kernels._compile import kernel


@kernel
def column_maxima(first, last, values, size, highest, places, means, spreads):
    """Maximum over the middle axis of `values` (B, N, C), and the first place that reaches it.

    To `highest` and `places` (B, C). Mean and biased variance go to `means` and `spreads`
    (B, C), each of which may have no rows, if nobody asks. Items are `size` channels of a cloud.
    """
    n_points, n_channels = values.shape[1:]
    n_parts = (n_channels + size - 1) // size
    best = np.empty(size, values.dtype)
    slot = np.empty(size, np.int32)
    total = np.empty(size, np.float64)
    middle = np.empty(size, values.dtype)
    for item in range(first, last):
        cloud = item // n_parts
        low = item % n_parts * size
        high = min(n_channels, low + size)
        width = high - low
        for c in range(width):
            best[c] = -np.inf
            slot[c] = 0
            total[c] = 0
        for i in range(n_points):
            row = values[cloud, i, low:high]
            for c in range(width):
                value = row[c]
                better = (value > best[c]) | (value != value)
                best[c] = value if better else best[c]
                slot[c] = i if better else slot[c]
                total[c] += value
        for c in range(width):
            highest[cloud, low + c] = best[c]
            places[cloud, low + c] = slot[c]
        if len(means) == 0:
            continue
        for c in range(width):
            middle[c] = total[c] / n_points
            means[cloud, low + c] = middle[c]
            total[c] = 0
        if len(spreads) == 0:
            continue
        # Deviations in a second pass, while they are near: nothing large cancels.
        for i in range(n_points):
            row = values[cloud, i, low:high]
            for c in range(width):
                step = row[c] - middle[c]
                total[c] += step * step
        for c in range(width):
            spreads[cloud, low + c] = total[c] / n_points


@kernel
def winners_to_rows(first, last, grad, places, weight, grad_rows):
    """Add to each row (B, N, D) `grad` (B, C) times `weight` (C, D) of what it won, by clouds."""
    for cloud in range(first, last):
        for c in range(grad.shape[1]):
            value = grad[cloud, c]
            row = grad_rows[cloud, places[cloud, c]]
            line = weight[c]
            for d in range(len(line)):
                row[d] += value * line[d]


@kernel
def winners_to_weight(first, last, grad, places, rows, grad_weight):
    """Add to each line (C, D) `grad` (B, C) times the row (B, N, D) that won, by channels."""
    for cloud in range(len(grad)):
        for c in range(first, last):
            value = grad[cloud, c]
            row = rows[cloud, places[cloud, c]]
            line = grad_weight[c]
            for d in range(len(line)):
                line[d] += value * row[d]
