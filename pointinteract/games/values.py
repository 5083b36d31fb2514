"""Shapley values, Banzhaf values and interaction indices, from values already at hand.

Every index here is a weighted sum of Moebius interactions m over supersets,
J(S) = sum over T that hold S of w(|S|, |T|) m(T), and each differs from the others by its
weights alone. So once a model was asked for all coalitions, every index costs a few
transforms and no further question to the model.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import comb

import numpy as np

from pointinteract.games.coalitions import coalition_orders, n_players_of
from pointinteract.games.harsanyi import (
    fourier_transform,
    inverse_fourier_transform,
    moebius_transform,
    superset_sums,
    zeta_transform,
)
from pointinteract.utils._params import check_int, check_option

__all__ = [
    "INDICES",
    "banzhaf_values",
    "interaction_index",
    "shapley_values",
    "values_from_index",
]

# Indices that are defined by the highest order they explain.
_OF_AN_ORDER = ("k-SII", "STII", "FSII", "FBII")

INDICES = ("Moebius", "Co-Moebius", "Fourier", "SII", "BII", "CHII", *_OF_AN_ORDER)

_INVERTIBLE = ("Moebius", "Co-Moebius", "Fourier", "SII", "BII")


def shapley_values(values: np.ndarray, *, from_moebius: bool = False) -> np.ndarray:
    """Share the value of everybody fairly among the players.

    phi_i = sum over S that hold i of m(S) / |S|; they sum to v(N) - v(empty).

    Parameters
    ----------
    values : ndarray, shape (..., 2^n)
        v of every coalition, or its Moebius interactions.
    from_moebius : bool, default=False
        Whether `values` are interactions already.

    Returns
    -------
    shares : ndarray of float64, shape (..., n)

    References
    ----------
    .. [1] L. S. Shapley, "A value for n-person games", 1953.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import shapley_values
    >>> shapley_values(np.array([0.0, 1.0, 2.0, 7.0]))
    array([3., 4.])
    """
    return _of_single_players(values, from_moebius, "SII")


def banzhaf_values(values: np.ndarray, *, from_moebius: bool = False) -> np.ndarray:
    """Average what a player adds over all coalitions of the others, each weighted equally.

    Parameters
    ----------
    values : ndarray, shape (..., 2^n)
        v of every coalition, or its Moebius interactions.
    from_moebius : bool, default=False
        Whether `values` are interactions already.

    Returns
    -------
    powers : ndarray of float64, shape (..., n)

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import banzhaf_values
    >>> banzhaf_values(np.array([0.0, 0, 0, 0, 0, 0, 0, 1]))
    array([0.25, 0.25, 0.25])
    """
    return _of_single_players(values, from_moebius, "BII")


def interaction_index(
    values: np.ndarray,
    index: str = "k-SII",
    *,
    order: int | None = None,
    from_moebius: bool = False,
) -> np.ndarray:
    """Compute an interaction index of every coalition up to an order.

    Parameters
    ----------
    values : ndarray, shape (..., 2^n)
        v of every coalition, or its Moebius interactions. Leading axes are a batch.
    index : str, default="k-SII"
        - "Moebius": AND (Harsanyi) interactions; "Co-Moebius": sums of m over supersets;
          "Fourier": coefficients of the parity functions.
        - "SII", "BII", "CHII": the Shapley, Banzhaf and chaining interaction index, the
          effect of the members together averaged over contexts.
        - "k-SII", "STII", "FSII": additive explanations up to `order` whose terms sum to
          v(N); "FBII": the best fit of that order to all values in the squared error.
    order : int or None, default=None
        Highest order wanted. None means every order, and 2 for "k-SII", "STII", "FSII" and
        "FBII", which share the higher orders out among those kept and so depend on it.
    from_moebius : bool, default=False
        Whether `values` are interactions already.

    Returns
    -------
    interactions : ndarray of float64, shape (..., 2^n)
        In the order of :func:`~pointinteract.games.all_coalitions`, zero above `order`.
        The entry of the empty coalition makes the rest comparable: v(empty), except for
        "Fourier", "BII" and "FBII" (from the mean value), "SII" (the mean over orders of
        the mean value) and "Co-Moebius" (v(N)).

    Notes
    -----
    :func:`~pointinteract.games.zeta_transform` of "k-SII", "STII", "FSII", "FBII" gives the
    values of the additive explanation itself.

    References
    ----------
    .. [1] M. Grabisch and M. Roubens, "An axiomatic approach to the concept of interaction
       among players in cooperative games", 1999 (SII, BII).
    .. [2] S. Bordt and U. von Luxburg, "From Shapley values to generalized additive models
       and back", AISTATS 2023 (k-SII).
    .. [3] M. Sundararajan et al., "The Shapley Taylor interaction index", ICML 2020 (STII).
    .. [4] C.-P. Tsai et al., "Faith-Shap: the faithful Shapley interaction index",
       JMLR 2023 (FSII, FBII).

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import interaction_index
    >>> both = np.array([0.0, 1.0, 2.0, 7.0])
    >>> interaction_index(both, "SII")[1:]
    array([3., 4., 4.])
    >>> interaction_index(both, "STII", order=2)
    array([0., 1., 2., 4.])
    """
    check_option("index", index, INDICES)
    values = np.asarray(values)
    n_players = n_players_of(values.shape[-1])
    if order is None:
        order = min(2, n_players) if index in _OF_AN_ORDER else n_players
    order = check_int("order", order, minimum=1, maximum=n_players)
    orders = coalition_orders(n_players)
    if index == "Fourier":
        result = fourier_transform(zeta_transform(values) if from_moebius else values)
    else:
        effects = _moebius(values, from_moebius)
        result = effects if index == "Moebius" else _weighted(effects, index, order)
    if order < n_players:
        result[..., orders > order] = 0.0
    return result


def values_from_index(interactions: np.ndarray, index: str) -> np.ndarray:
    """Turn an index of all orders back into the values of all coalitions.

    Parameters
    ----------
    interactions : ndarray, shape (..., 2^n)
        What :func:`interaction_index` returned with every order kept.
    index : {"Moebius", "Co-Moebius", "Fourier", "SII", "BII"}
        The indices that lose nothing.

    Returns
    -------
    values : ndarray of float64, shape (..., 2^n)
    """
    check_option("index", index, _INVERTIBLE)
    interactions = np.asarray(interactions)
    n_players = n_players_of(interactions.shape[-1])
    orders = coalition_orders(n_players)
    if index == "Moebius":
        return zeta_transform(interactions)
    if index == "Fourier":
        return inverse_fourier_transform(interactions)
    if index == "BII":
        return inverse_fourier_transform(interactions * (-0.5) ** orders)
    inverse = _power_series_inverse if index == "SII" else _alternating
    return zeta_transform(_by_order(interactions, _table(n_players, n_players, inverse)))


def _of_single_players(values: np.ndarray, from_moebius: bool, index: str) -> np.ndarray:
    effects = _moebius(np.asarray(values), from_moebius)
    n_players = n_players_of(effects.shape[-1])
    weights = index_weights(n_players, index, 1)[1]
    sums = superset_sums(effects * weights[coalition_orders(n_players)])
    return sums[..., 2 ** np.arange(n_players)]


def _moebius(values: np.ndarray, from_moebius: bool) -> np.ndarray:
    return np.array(values, dtype=np.float64) if from_moebius else moebius_transform(values)


def _weighted(effects: np.ndarray, index: str, order: int) -> np.ndarray:
    n_players = n_players_of(effects.shape[-1])
    if index == "Co-Moebius":
        return superset_sums(effects)
    if index == "BII":
        # One transform for all orders: 2^-(t-s) splits into a factor before and one after.
        orders = coalition_orders(n_players)
        return superset_sums(effects * 0.5**orders) * 2.0**orders
    return _by_order(effects, index_weights(n_players, index, order))


def _by_order(effects: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """J(S) = sum over T that hold S of weights[|S|, |T|] m(T), for |S| < len(weights)."""
    orders = coalition_orders(n_players_of(effects.shape[-1]))
    result = np.zeros(effects.shape)
    for order, row in enumerate(weights):
        kept = np.flatnonzero(orders == order)
        if np.count_nonzero(row) > 1:
            result[..., kept] = superset_sums(effects * row[orders])[..., kept]
        else:
            # Only the set itself counts: many rows of the additive indices are like that.
            result[..., kept] = effects[..., kept] * row[order]
    return result


@lru_cache(maxsize=64)
def index_weights(n_players: int, index: str, order: int) -> np.ndarray:
    """Return w(s, t), shape (order + 1, n + 1), of an index; read-only.

    s is the order of the coalition and t that of the Moebius interactions it collects.
    """
    rules: dict[str, Callable[[int, int], Fraction]] = {
        "SII": lambda s, t: Fraction(1, t - s + 1),
        "BII": lambda s, t: Fraction(1, 2 ** (t - s)),
        "CHII": lambda s, t: Fraction(s, t) if t else Fraction(1),
        "k-SII": lambda s, t: _aggregated_shapley(s, t, order),
        "STII": lambda s, t: Fraction(s == t) if s < order else Fraction(1, comb(t, s)),
        "FSII": lambda s, t: _faithful_shapley(s, t, order),
        "FBII": lambda s, t: _faithful_banzhaf(s, t, order),
    }
    return _table(n_players, order, rules[index])


def _table(n_players: int, order: int, rule: Callable[[int, int], Fraction]) -> np.ndarray:
    weights = np.zeros((order + 1, n_players + 1))
    for s in range(order + 1):
        for t in range(s, n_players + 1):
            weights[s, t] = rule(s, t)
    weights.flags.writeable = False
    return weights


# Fractions, because the terms of these sums cancel almost entirely.


def _aggregated_shapley(s: int, t: int, order: int) -> Fraction:
    """SII of S and its supersets up to `order`, weighted with Bernoulli numbers."""
    if s == 0 or t <= order:
        return Fraction(s == t)
    return sum(
        (
            _bernoulli(r) * comb(t - s, r) * Fraction(1, t - s - r + 1)
            for r in range(order - s + 1)
        ),
        Fraction(0),
    )


def _faithful_shapley(s: int, t: int, order: int) -> Fraction:
    """The closed form of the Faith-Shap paper, in terms of Moebius interactions."""
    if s == 0 or t <= order:
        return Fraction(s == t)
    sign = (-1) ** (order - s)
    return (
        Fraction(sign * s, order + s)
        * comb(order, s)
        * Fraction(comb(t - 1, order), comb(t + order - 1, order + s))
    )


def _faithful_banzhaf(s: int, t: int, order: int) -> Fraction:
    """The projection of the parity functions above `order` away, in Moebius terms."""
    if t <= order:
        return Fraction(s == t)
    return Fraction((-1) ** (order - s) * comb(t - s - 1, order - s), 2 ** (t - s))


def _power_series_inverse(s: int, t: int) -> Fraction:
    return _bernoulli(t - s)


def _alternating(s: int, t: int) -> Fraction:
    return Fraction((-1) ** (t - s))


@lru_cache(maxsize=64)
def _bernoulli(number: int) -> Fraction:
    """B_r with B_1 = -1/2."""
    if number == 0:
        return Fraction(1)
    total = sum((comb(number + 1, r) * _bernoulli(r) for r in range(number)), Fraction(0))
    return -total / (number + 1)
