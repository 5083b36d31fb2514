"""How far two explanations of the same clouds agree: Shapley values, strongest sets, orders."""

from typing import Any

import numpy as np

from pointinteract.explanation._result import Explanation
from pointinteract.games.coalitions import coalition_orders, n_players_of
from pointinteract.games.orders import Estimate, bootstrap_interval
from pointinteract.games.values import shapley_values
from pointinteract.utils._params import check_int


def shapley_correlation(first: Explanation, second: Explanation, *, of_points: bool) -> float:
    """Correlate the Shapley values of regions, pooled over clouds, or those of points.

    A point has its share of the value of its region, which compares also where the two were
    cut into different regions.
    """
    values = _point_values if of_points else _region_values
    return _pearson(values(first), values(second))


def strongest_overlap(first: Explanation, second: Explanation, top: int) -> float:
    """Share of the `top` strongest coalitions of each cloud that two explanations agree on."""
    top = min(check_int("top", top), 2**first.n_regions - 1)
    shares = [
        len(np.intersect1d(first.strongest(cloud, top), second.strongest(cloud, top))) / top
        for cloud in range(first.n_clouds)
    ]
    return float(np.mean(shares))


def correlation_interval(first: np.ndarray, second: np.ndarray, **interval: Any) -> Estimate:
    """Correlation by order of (n_clouds, 2^n) and (n_clouds, 2^n), with an interval over clouds.

    Pooled moments are means over clouds of the moments of each, so they can be drawn again.
    """
    n_orders = n_players_of(first.shape[1])
    orders = coalition_orders(n_orders)
    counts = np.bincount(orders)[1:]

    def mean_by_order(numbers: np.ndarray) -> np.ndarray:
        sums = [numbers[:, orders == order].sum(axis=1) for order in range(1, n_orders + 1)]
        return np.stack(sums, axis=1) / counts

    products = (first, second, first**2, second**2, first * second)
    moments = np.hstack([mean_by_order(numbers) for numbers in products])
    return bootstrap_interval(moments, _correlate_moments, **interval)


def _region_values(explanation: Explanation) -> np.ndarray:
    """Shapley value of every region, (n_clouds * n_regions,)."""
    return _shapley_values(explanation).ravel()


def _point_values(explanation: Explanation) -> np.ndarray:
    """Share of every point in the Shapley value of its region, all points of all clouds."""
    shares = []
    for values, ids in zip(_shapley_values(explanation), explanation.regions, strict=True):
        shares.append((values / np.bincount(ids, minlength=len(values)))[ids])
    return np.concatenate(shares)


def _shapley_values(explanation: Explanation) -> np.ndarray:
    return shapley_values(explanation.interactions, from_moebius=True)


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    scale = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / scale) if scale > 0 else np.nan


def _correlate_moments(means: np.ndarray) -> np.ndarray:
    """Correlations (..., n) from means of a, b, a^2, b^2 and a b, (..., 5 n)."""
    a, b, aa, bb, ab = np.split(means, 5, axis=-1)
    spread = np.maximum(aa - a**2, 0) * np.maximum(bb - b**2, 0)
    result = np.full(spread.shape, np.nan)
    # What rounding leaves of no spread at all is no spread.
    np.divide(ab - a * b, np.sqrt(spread), out=result, where=spread > 1e-24 * aa * bb)
    return np.clip(result, -1, 1)
