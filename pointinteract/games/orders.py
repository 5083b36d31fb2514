"""Strength of interactions by order: which group sizes carry a model's decision.

With I the AND interactions of one sample, A_m is the mean of |I(S)| over the C(n, m)
coalitions of m players. Everything about many samples is a *ratio of means* over them, never
a mean of ratios: kappa_m = E[A_m] / sum over m' of E[A_m'].
"""

from collections.abc import Callable
from math import comb
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from pointinteract.games.coalitions import coalition_orders, n_players_of
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = [
    "Estimate",
    "bootstrap_interval",
    "correlation_by_order",
    "kappa",
    "mean_strength",
    "noise_floor",
    "order_range",
    "signed_total",
    "total_strength",
]

# Bounds as fractions of n: orders up to the first are low, from the second on high.
_BOUNDS = {"0.3/0.7": (3, 7, 10), "thirds": (1, 2, 3), "halves": (1, 1, 2)}


class Estimate(NamedTuple):
    """A number, or an array of them, with the ends of its interval."""

    value: np.ndarray | float
    low: np.ndarray | float
    high: np.ndarray | float


def mean_strength(interactions: np.ndarray) -> np.ndarray:
    """Average |I(S)| over the coalitions of each order, A_m.

    Parameters
    ----------
    interactions : ndarray, shape (..., 2^n)

    Returns
    -------
    strength : ndarray, shape (..., n)
        Orders 1 to n. Order 0 is the value of nothing and takes no part.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import mean_strength
    >>> mean_strength(np.array([0.0, 1.0, -2.0, 4.0]))
    array([1.5, 4. ])
    """
    n_players = n_players_of(interactions.shape[-1])
    return total_strength(interactions) / _coalitions_per_order(n_players)


def total_strength(interactions: np.ndarray) -> np.ndarray:
    """Sum |I(S)| over the coalitions of each order; shape (..., 2^n) to (..., n).

    Middle orders have the most coalitions and weigh the most here.
    """
    return _sum_by_order(np.abs(interactions))


def signed_total(interactions: np.ndarray) -> np.ndarray:
    """Sum I(S) with its sign over the coalitions of each order; (..., 2^n) to (..., n).

    Where it is much smaller than :func:`total_strength`, effects of that order cancel.
    """
    return _sum_by_order(interactions)


def kappa(strength: np.ndarray) -> np.ndarray:
    """Divide strengths by their total over the orders; shape (..., n), rows sum to 1.

    Pass strengths *averaged over samples*. A model without any interaction gives NaN.
    """
    total = strength.sum(axis=-1, keepdims=True)
    return np.divide(strength, total, out=np.full_like(strength, np.nan), where=total > 0)


def order_range(n_players: int, which: str, bounds: str = "0.3/0.7") -> tuple[int, ...]:
    """List the orders that count as low or as high.

    Parameters
    ----------
    n_players : int
    which : {"low", "high"}
    bounds : {"0.3/0.7", "thirds", "halves"}, default="0.3/0.7"
        Low orders reach up to 0.3 n (a third, half of n), high ones begin at 0.7 n (two
        thirds, above half). Order 1 is always low and order n always high.

    Examples
    --------
    >>> from pointinteract.games import order_range
    >>> order_range(10, "low"), order_range(10, "high")
    ((1, 2, 3), (7, 8, 9, 10))
    """
    check_option("which", which, ("low", "high"))
    check_option("bounds", bounds, tuple(_BOUNDS))
    n_players = check_int("n_players", n_players)
    lower, upper, whole = _BOUNDS[bounds]
    # Whole numbers only: 0.7 * n in floating point can land just above the order it means.
    if which == "low":
        return tuple(range(1, max(1, lower * n_players // whole) + 1))
    first = -(-upper * n_players // whole)
    if bounds == "halves":
        first = n_players // 2 + 1
    return tuple(range(min(first, n_players), n_players + 1))


def noise_floor(n_players: int, *, share_of_total: bool = False) -> np.ndarray:
    """Return the kappa that pure noise on the values would give.

    Independent noise of any size on every v(T) gives I(S) a standard deviation that grows
    like 2^(|S|/2), so noise looks like strong high orders. A curve that lies near this one
    says nothing about the model.

    Parameters
    ----------
    n_players : int
    share_of_total : bool, default=False
        Weigh each order by its number of coalitions, to go with sums instead of means.

    Returns
    -------
    floor : ndarray, shape (n,)
        Orders 1 to n, summing to 1.

    Examples
    --------
    >>> from pointinteract.games import noise_floor
    >>> noise_floor(10)[[0, 9]].round(3)
    array([0.013, 0.302])
    """
    n_players = check_int("n_players", n_players)
    growth = 2.0 ** (np.arange(1, n_players + 1) / 2)
    if share_of_total:
        growth = growth * _coalitions_per_order(n_players)
    return growth / growth.sum()


def correlation_by_order(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Correlate two sets of interactions of the same samples, order by order.

    Parameters
    ----------
    first, second : ndarray, shape (n_samples, 2^n)

    Returns
    -------
    correlation : ndarray, shape (n,)
        Pearson correlation over all samples and coalitions of each order; NaN where there
        are fewer than two pairs or one side does not vary.
    """
    n_players = n_players_of(first.shape[-1])
    orders = coalition_orders(n_players)
    result = np.full(n_players, np.nan)
    for order in range(1, n_players + 1):
        a = first[..., orders == order].ravel()
        b = second[..., orders == order].ravel()
        a, b = a - a.mean(), b - b.mean()
        scale = np.sqrt((a @ a) * (b @ b))
        if len(a) > 1 and scale > 0:
            result[order - 1] = (a @ b) / scale
    return result


def bootstrap_interval(
    samples: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    confidence: float = 0.95,
    n_bootstraps: int = 1000,
    random_state: int | np.random.RandomState | None = None,
) -> Estimate:
    """Percentile bootstrap, over samples, of a function of their mean.

    Parameters
    ----------
    samples : ndarray, shape (n_samples, k)
        What is known of each sample (cloud). Columns of a paired comparison stay together.
    statistic : callable
        Maps means of shape (..., k) to (..., q), for example :func:`kappa`.
    confidence : float, default=0.95
    n_bootstraps : int, default=1000
        More gives steadier ends; the time stays in milliseconds.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    estimate : Estimate
        value, low and high of shape (q,). Of a single sample the ends are NaN.
    """
    confidence = check_real(
        "confidence", confidence, minimum=0, maximum=1, open_minimum=True, open_maximum=True
    )
    n_bootstraps = check_int("n_bootstraps", n_bootstraps)
    samples = np.asarray(samples, dtype=np.float64)
    n_samples = len(samples)
    value = statistic(samples.mean(axis=0))
    if n_samples < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rng = check_random_state(random_state)
    counts = rng.multinomial(n_samples, np.full(n_samples, 1 / n_samples), size=n_bootstraps)
    drawn = statistic(counts @ samples / n_samples)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(drawn, tails, axis=0)
    return Estimate(value, low, high)


def _sum_by_order(numbers: np.ndarray) -> np.ndarray:
    n_players = n_players_of(numbers.shape[-1])
    orders = coalition_orders(n_players)
    by_order = np.argsort(orders, kind="stable")
    starts = np.searchsorted(orders[by_order], np.arange(1, n_players + 1))
    return np.add.reduceat(numbers[..., by_order], starts, axis=-1)


def _coalitions_per_order(n_players: int) -> np.ndarray:
    return np.array([comb(n_players, order) for order in range(1, n_players + 1)], dtype=float)
