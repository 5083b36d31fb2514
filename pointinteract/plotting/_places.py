"""Where names and small pictures go, so that none covers another."""

from collections.abc import Sequence

import numpy as np

__all__ = ["far_apart", "keep_apart", "spread_out"]


def far_apart(places: np.ndarray, n_chosen: int, *, first: Sequence[int] = ()) -> list[int]:
    """Choose places for unit squares that do not overlap, each as far from others as can be.

    Parameters
    ----------
    places : ndarray of shape (n, 2)
        Middles of the squares.
    n_chosen : int
        How many at most.
    first : sequence of int
        Rows to choose from before any other.

    Returns
    -------
    chosen : list of int
        Rows of `places`; fewer where no more have room.
    """
    chosen: list[int] = []
    # In the largest norm two squares overlap exactly if their middles are nearer than 1.
    nearest = np.full(len(places), np.inf)
    for rows in (np.asarray(first, dtype=int), np.arange(len(places))):
        while len(rows) and len(chosen) < n_chosen and nearest[rows].max() >= 1:
            if chosen:
                row = int(rows[nearest[rows].argmax()])
            else:
                away = np.abs(places[rows] - places.mean(axis=0)).max(axis=1)
                row = int(rows[away.argmax()])
            chosen.append(row)
            nearest = np.minimum(nearest, np.abs(places - places[row]).max(axis=1))
    return chosen


def keep_apart(
    middles: np.ndarray,
    sizes: np.ndarray,
    boxes: Sequence[np.ndarray] = (),
    *,
    n_rounds: int = 200,
) -> np.ndarray:
    """Move rectangles within the unit square until none covers another or a box.

    Parameters
    ----------
    middles, sizes : ndarray of shape (n, 2)
    boxes : sequence of (left, bottom, right, top)
        What stands still.
    n_rounds : int, default=200
        Where there is too little room, some overlap is left after these.

    Returns
    -------
    middles : ndarray of shape (n, 2)
    """
    n = len(middles)
    places = np.concatenate(
        [middles, [[(box[0] + box[2]) / 2, (box[1] + box[3]) / 2] for box in boxes]]
        if len(boxes)
        else [middles]
    ).astype(float)
    extents = np.concatenate(
        [sizes, [[box[2] - box[0], box[3] - box[1]] for box in boxes]] if len(boxes) else [sizes]
    ).astype(float)
    for _ in range(n_rounds):
        still = True
        for i in range(n):
            for j in range(len(places)):
                if i == j:
                    continue
                apart = places[i] - places[j]
                overlap = (extents[i] + extents[j]) / 2 - np.abs(apart)
                if (overlap <= 1e-9).any():
                    continue
                still = False
                axis = int(overlap.argmin())
                sign = 1.0 if apart[axis] > 0 or (apart[axis] == 0 and i > j) else -1.0
                if j < n:
                    places[i, axis] += sign * overlap[axis] / 2
                    places[j, axis] -= sign * overlap[axis] / 2
                else:
                    places[i, axis] += sign * overlap[axis]
        places[:n] = np.clip(places[:n], extents[:n] / 2, 1 - extents[:n] / 2)
        if still:
            break
    return places[:n]


def spread_out(heights: np.ndarray, gap: float) -> np.ndarray:
    """Move heights as little as possible so that neighbors are at least `gap` apart.

    The order stays. Least squares under that condition is a monotone regression of the heights
    less what the gaps take (pool adjacent violators).
    """
    if not len(heights):
        return np.empty(0)
    order = np.argsort(heights, kind="stable")
    shifted = np.asarray(heights, dtype=float)[order] - gap * np.arange(len(heights))
    pools: list[list[float]] = []  # mean and number of each pool
    for value in shifted:
        pools.append([float(value), 1])
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            mean, count = pools.pop()
            total = pools[-1][1] + count
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / total, total]
    flat = np.concatenate([np.full(int(count), mean) for mean, count in pools])
    moved = np.empty(len(heights))
    moved[order] = flat + gap * np.arange(len(heights))
    return moved
