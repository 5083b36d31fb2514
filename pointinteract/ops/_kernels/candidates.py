"""Nearest points in many channels: candidates by rounded distances, then exact ones."""

import numba
import numpy as np

from pointinteract.ops._kernels._compile import kernel
from pointinteract.ops._kernels.neighbors import smallest_bound, sort_pairs


@numba.njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})
def _exact(a, b):
    """Squared distance in double precision; summed several channels at a time."""
    total = 0.0
    for c in range(len(a)):
        step = np.float64(a[c]) - np.float64(b[c])
        total += step * step
    return total


@kernel
def refine_nearest(first, last, rounded, bits, queries, points, errors, n_lows, found):
    """Nearest of `points` (N, C) to each of `queries` (M, C), to `found` (M, k).

    Parameters
    ----------
    rounded : float32 array (M, N)
        Squared distances, none farther than `errors` (M,) from the true one, maybe negative.
    bits : int32 array (M, N)
        The same memory as whole numbers. Negative ones count as 0, which is nearer to the truth.
    """
    n = bits.shape[1]
    k = found.shape[1]
    lows = np.empty(n_lows, np.int32)
    places = np.empty(n + 1, np.int32)
    keys = np.empty(n, np.int32)
    exact = keys.view(np.float32)
    number = np.empty(1, np.float32)
    number_bits = number.view(np.int32)
    for r in range(first, last):
        row = bits[r]
        for g in range(n_lows):
            lows[g] = max(row[g], 0)
        for start in range(n_lows, n - n_lows + 1, n_lows):
            part = row[start : start + n_lows]
            for g in range(n_lows):
                lows[g] = min(lows[g], max(part[g], 0))
        # k rounded distances do not exceed this bound; so k true ones do not exceed it by more
        # than the error, and no rounded distance of these exceeds it by more than twice that.
        lowest = smallest_bound(lows, k, k // 8)
        number_bits[0] = lowest
        number[0] = np.float32((np.float64(number[0]) + 2.0 * errors[r]) * 1.000001)
        bound = max(lowest, number_bits[0])
        if not number[0] < np.inf:  # something overflowed: everything is a candidate
            bound = np.int32(0x7FFFFFFF)
        n_kept = 0
        for j in range(n):
            places[n_kept] = j
            n_kept += row[j] <= bound
        query = queries[r]
        for i in range(n_kept):
            exact[i] = _exact(query, points[places[i]])
        if n_kept > 4 * k + 64:
            limit = smallest_bound(keys[:n_kept], k, 0)
            n_left = 0
            for i in range(n_kept):
                if keys[i] <= limit:
                    keys[n_left] = keys[i]
                    places[n_left] = places[i]
                    n_left += 1
            n_kept = n_left
        sort_pairs(keys, places, n_kept)
        for i in range(k):
            found[r, i] = places[i]
