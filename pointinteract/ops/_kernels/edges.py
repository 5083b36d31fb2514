"""Extrema over the neighbors of points, and what flows back through them.

Rows of all clouds follow one another; `n_points` of them are a cloud, and neighbors are places
in their cloud. Edge (i, j) from point i to its neighbor j has the value z_ij = a_j + b_i, with
a_j and b_i side by side in row j and i of `both` (R, 2 C).
"""

import numpy as np

from pointinteract.ops._kernels._compile import kernel


@kernel
def neighbor_max(first, last, values, neighbors, n_points, highest, slots):
    """Largest of the neighbors' `values` (R, C), to `highest` (R, C), who it is to `slots`.

    `slots` may have no rows, if nobody asks. The first neighbor wins among equals.
    """
    n_channels = values.shape[1]
    slot = np.empty(n_channels, np.int32)
    for i in range(first, last):
        start = i // n_points * n_points
        best = highest[i]
        row = values[start + neighbors[i, 0]]
        for c in range(n_channels):
            best[c] = row[c]
            slot[c] = 0
        for s in range(1, neighbors.shape[1]):
            row = values[start + neighbors[i, s]]
            if len(slots):
                for c in range(n_channels):
                    value = row[c]
                    better = (value > best[c]) | (value != value)
                    best[c] = value if better else best[c]
                    slot[c] = s if better else slot[c]
            else:
                for c in range(n_channels):
                    value = row[c]
                    better = (value > best[c]) | (value != value)
                    best[c] = value if better else best[c]
        if len(slots):
            for c in range(n_channels):
                slots[i, c] = slot[c]


@kernel
def spread_to_winners(first, last, grad, slots, neighbors, n_points, grad_values):
    """Send `grad` (R, C) of `neighbor_max` to who won, cloud by cloud: `grad_values` (R, C)."""
    for cloud in range(first, last):
        start = cloud * n_points
        grad_values[start : start + n_points] = 0
        for i in range(start, start + n_points):
            for c in range(grad.shape[1]):
                grad_values[start + neighbors[i, slots[i, c]], c] += grad[i, c]


@kernel
def edge_pool(first, last, both, neighbors, n_points, shift, slope, out):
    """Rectified maximum of z_ij + `shift` over the neighbors j, to `out` (R, C)."""
    n_channels = out.shape[1]
    for i in range(first, last):
        start = i // n_points * n_points
        best = out[i]
        row = both[start + neighbors[i, 0], :n_channels]
        for c in range(n_channels):
            best[c] = row[c]
        for s in range(1, neighbors.shape[1]):
            row = both[start + neighbors[i, s], :n_channels]
            for c in range(n_channels):
                value = row[c]
                better = (value > best[c]) | (value != value)
                best[c] = value if better else best[c]
        own = both[i, n_channels:]
        for c in range(n_channels):
            value = best[c] + (own[c] + shift[c])
            best[c] = value if value > 0 else value * slope


@kernel
def edge_statistics(
    first, last, both, neighbors, n_points, size, sign, extremum, slots, means, totals
):
    """Extremum, mean and variance of z_ij.

    Items are blocks of `size` rows, so that sums do not depend on the threads.

    Parameters
    ----------
    sign : array (C,)
        -1 where the smallest value is looked for.
    extremum, slots, means : arrays (R, C)
        Become the extremum over j, where it is, and the mean over j.
    totals : float64 array (n_blocks, 3, C)
        Becomes sums over rows i: of the variance over j, of the mean over j less that of the
        first row of all, and of its square.
    """
    n_rows, n_channels = extremum.shape
    n_neighbors = neighbors.shape[1]
    slot = np.empty(n_channels, np.int32)
    total = np.empty(n_channels, both.dtype)
    square = np.empty(n_channels, both.dtype)
    pivot = both[0, :n_channels] + both[0, n_channels:]
    for block in range(first, last):
        within, level, spread = totals[block, 0], totals[block, 1], totals[block, 2]
        within[:] = 0
        level[:] = 0
        spread[:] = 0
        for i in range(block * size, min(n_rows, block * size + size)):
            start = i // n_points * n_points
            center = both[i, :n_channels]
            own = both[i, n_channels:]
            best = extremum[i]
            for c in range(n_channels):
                best[c] = -np.inf
                slot[c] = 0
                total[c] = 0
                square[c] = 0
            for s in range(n_neighbors):
                row = both[start + neighbors[i, s], :n_channels]
                for c in range(n_channels):
                    step = row[c] - center[c]
                    total[c] += step
                    square[c] += step * step
                    step *= sign[c]
                    better = (step > best[c]) | (step != step)
                    best[c] = step if better else best[c]
                    slot[c] = s if better else slot[c]
            mean = means[i]
            for c in range(n_channels):
                step = total[c] / n_neighbors
                variance = square[c] / n_neighbors - step * step
                within[c] += max(variance, 0)
                offset = center[c] + own[c]
                mean[c] = step + offset
                best[c] = best[c] * sign[c] + offset
                deviation = np.float64(mean[c] - pivot[c])
                level[c] += deviation
                spread[c] += deviation * deviation
                slots[i, c] = slot[c]


@kernel
def edge_sums(first, last, grad, extremum, mean, factor, shift, slope, size, totals):
    """Sums that normalizing and rectifying `extremum` (R, C) needs backward.

    The output is y = rectified(factor * (extremum - mean) + shift). Items are blocks of `size`
    rows; `totals` (n_blocks, 2, C) in float64 becomes sums over rows of the gradient before
    the rectifier, and of that times (extremum - mean).
    """
    n_rows, n_channels = grad.shape
    for block in range(first, last):
        plain, tilted = totals[block, 0], totals[block, 1]
        plain[:] = 0
        tilted[:] = 0
        for i in range(block * size, min(n_rows, block * size + size)):
            for c in range(n_channels):
                deviation = extremum[i, c] - mean[c]
                value = grad[i, c]
                value = value if deviation * factor[c] + shift[c] > 0 else value * slope
                plain[c] += value
                tilted[c] += np.float64(value) * deviation


@kernel
def edge_backward(
    first,
    last,
    both,
    neighbors,
    n_points,
    size,
    grad,
    extremum,
    slots,
    means,
    mean,
    factor,
    shift,
    slope,
    level,
    tilt,
    grad_both,
):
    """Gradient of all edges, summed where they begin and where they end, to `grad_both`.

    Edge (i, j) receives level + tilt * (z_ij - mean), and factor times the gradient before the
    rectifier if it won. Items are `size` channels of a cloud.
    """
    n_channels = grad.shape[1]
    n_neighbors = neighbors.shape[1]
    n_parts = (n_channels + size - 1) // size
    n_followers = np.empty(n_points, both.dtype)
    won = np.empty(size, both.dtype)
    for item in range(first, last):
        start = item // n_parts * n_points
        low = item % n_parts * size
        high = min(n_channels, low + size)
        width = high - low
        middle = n_channels + low
        levels, tilts, middles = level[low:high], tilt[low:high], mean[low:high]
        factors, shifts = factor[low:high], shift[low:high]
        # Rows are cut out one by one: only then is their memory known to be in one piece.
        for j in range(start, start + n_points):
            grad_both[j, low:high] = 0
        n_followers[:] = 0
        for i in range(start, start + n_points):
            begin = both[i, middle : middle + width]
            for s in range(n_neighbors):
                j = neighbors[i, s]
                n_followers[j] += 1
                end = grad_both[start + j, low:high]
                for c in range(width):
                    end[c] += begin[c]
        for j in range(n_points):
            n = n_followers[j]
            value = both[start + j, low:high]
            end = grad_both[start + j, low:high]
            for c in range(width):
                own = levels[c] + tilts[c] * (value[c] - middles[c])
                end[c] = n * own + tilts[c] * end[c]
        for i in range(start, start + n_points):
            of_mean = means[i, low:high]
            highest = extremum[i, low:high]
            received = grad[i, low:high]
            begin = grad_both[i, middle : middle + width]
            for c in range(width):
                value = received[c] * factors[c]
                positive = (highest[c] - middles[c]) * factors[c] + shifts[c] > 0
                value = value if positive else value * slope
                won[c] = value
                edges = levels[c] + tilts[c] * (of_mean[c] - middles[c])
                begin[c] = n_neighbors * edges + value
            near = neighbors[i]
            for c in range(width):
                grad_both[start + near[slots[i, low + c]], low + c] += won[c]
