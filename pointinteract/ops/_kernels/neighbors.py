"""Nearest points, and points within a radius.

The bits of a float that is not negative, read as a whole number, order like the float; whole
numbers are compared many at a time.
"""

import numpy as np

from pointinteract.ops._kernels._compile import fused, kernel

_SHORT = 48  # up to so many, sorting by insertion is the fastest


@kernel
def distance_row(point, axes, first, last, fuses, out):
    """Squared distances of `point` (C,) to the columns first, ..., last - 1 of `axes` (C, N)."""
    n = last - first
    axis = axes[0, first:last]
    own = point[0]
    for j in range(n):
        step = own - axis[j]
        out[j] = step * step
    for c in range(1, len(point)):
        axis = axes[c, first:last]
        own = point[c]
        if fuses:
            for j in range(n):
                step = own - axis[j]
                out[j] = fused(step, step, out[j])
        else:
            for j in range(n):
                step = own - axis[j]
                out[j] = out[j] + step * step


@kernel
def smallest_bound(values, k, slack):
    """A number that at least `k` of `values` do not exceed, and few more than k + slack."""
    low = values[0]
    high = values[0]
    for value in values:
        low = min(low, value)
        high = max(high, value)
    while low < high:
        middle = (low & high) + ((low ^ high) >> 1)  # cannot overflow
        count = 0
        for value in values:
            count += value <= middle
        if count >= k:
            high = middle
            if count <= k + slack:
                break
        else:
            low = middle + 1
    return high


@kernel
def sort_pairs(keys, places, n):
    """Sort the first `n` by key and then by place (Shell's method)."""
    gap = 1
    if n > _SHORT:
        while gap < n // 9:
            gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, n):
            key, place = keys[i], places[i]
            j = i - gap
            while j >= 0 and (keys[j] > key or (keys[j] == key and places[j] > place)):
                keys[j + gap] = keys[j]
                places[j + gap] = places[j]
                j -= gap
            keys[j + gap] = key
            places[j + gap] = place
        gap //= 3


@kernel
def select_row(row, k, lows, keys, places, found):
    """Write the places of the `k` smallest of `row` into `found`, in order, ties by place."""
    n = len(row)
    n_lows = len(lows)
    n_kept = 0
    if n >= 2 * n_lows:
        # Where k of the lows do not exceed a bound, k of all do not, and seldom many more.
        for g in range(n_lows):
            lows[g] = row[g]
        for start in range(n_lows, n - n_lows + 1, n_lows):
            part = row[start : start + n_lows]
            for g in range(n_lows):
                lows[g] = min(lows[g], part[g])
        bound = smallest_bound(lows, k, k // 8)
        for j in range(n):
            places[n_kept] = j
            n_kept += row[j] <= bound
        for i in range(n_kept):
            keys[i] = row[places[i]]
    else:
        for j in range(n):
            keys[j] = row[j]
            places[j] = j
        n_kept = n
    if n_kept > 2 * k + _SHORT:
        bound = smallest_bound(keys[:n_kept], k, 0)
        n_below = 0
        for i in range(n_kept):
            n_below += keys[i] < bound
        # With more than k that do not exceed it, the first of those that reach it stay.
        n_equal = k - n_below
        n_left = 0
        for i in range(n_kept):
            key = keys[i]
            if key < bound or (key == bound and n_equal > 0):
                n_equal -= key == bound
                keys[n_left] = key
                places[n_left] = places[i]
                n_left += 1
        n_kept = n_left
    sort_pairs(keys, places, n_kept)
    for i in range(k):
        found[i] = places[i]


@kernel
def select_nearest(first, last, keys, n_lows, found):
    """Places of the smallest of each row of `keys` (R, N), to `found` (R, k)."""
    n = keys.shape[1]
    lows = np.empty(n_lows, keys.dtype)
    near = np.empty(n, keys.dtype)
    places = np.empty(n + 1, np.int32)
    for r in range(first, last):
        select_row(keys[r], found.shape[1], lows, near, places, found[r])


@kernel
def knn_of_few_channels(first, last, queries, axes, bits, n_lows, fuses, found):
    """Nearest columns of `axes` (B, C, N) to each of `queries` (B, M, C), to (B M, k).

    `bits` is any array of the whole numbers that have as many bits as the coordinates.
    """
    n_queries = queries.shape[1]
    n = axes.shape[2]
    row = np.empty(n, axes.dtype)
    row_keys = row.view(bits.dtype)
    lows = np.empty(n_lows, bits.dtype)
    near = np.empty(n, bits.dtype)
    places = np.empty(n + 1, np.int32)
    for r in range(first, last):
        cloud = r // n_queries
        distance_row(queries[cloud, r % n_queries], axes[cloud], 0, n, fuses, row)
        select_row(row_keys, found.shape[1], lows, near, places, found[r])


@kernel
def nearest_of_few_channels(first, last, queries, axes, bits, fuses, found):
    """The one nearest column of `axes` (B, C, N) to each of `queries` (B, M, C), to (B M,)."""
    n_queries = queries.shape[1]
    n = axes.shape[2]
    row = np.empty(n, axes.dtype)
    row_keys = row.view(bits.dtype)
    for r in range(first, last):
        cloud = r // n_queries
        distance_row(queries[cloud, r % n_queries], axes[cloud], 0, n, fuses, row)
        lowest = row_keys[0]
        for key in row_keys:
            lowest = min(lowest, key)
        place = 0
        while row_keys[place] != lowest:
            place += 1
        found[r] = place


@kernel
def ball_query(first, last, queries, axes, limit, fuses, found, counts):
    """First columns of `axes` (B, C, N) nearer than `limit` to each of `queries` (B, M, C).

    To `found` (B M, K), and how many there are to `counts` (B M,). The first fills places that
    are left over; column 0 where there is none.
    """
    n_queries = queries.shape[1]
    n = axes.shape[2]
    size = 128  # columns looked at before asking whether there are enough
    row = np.empty(size, axes.dtype)
    places = np.empty(size + 1, np.int64)
    k = found.shape[1]
    for r in range(first, last):
        cloud = r // n_queries
        n_found = 0
        for start in range(0, n, size):
            stop = min(n, start + size)
            distance_row(queries[cloud, r % n_queries], axes[cloud], start, stop, fuses, row)
            n_inside = 0
            for j in range(stop - start):
                places[n_inside] = start + j
                n_inside += row[j] < limit
            for i in range(min(n_inside, k - n_found)):
                found[r, n_found] = places[i]
                n_found += 1
            if n_found == k:
                break
        counts[r] = n_found
        filler = found[r, 0] if n_found else 0
        for i in range(n_found, k):
            found[r, i] = filler
