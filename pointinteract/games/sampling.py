"""Coalitions of games too large to enumerate: random ones, and those of low order.

The values of the empty coalition, of the single players and of all pairs, n (n + 1) / 2 + 1 in
number, hold the AND interactions of orders 1 and 2 exactly, whatever the game does above them.
"""

from math import comb

import numpy as np
from sklearn.utils import check_random_state

from pointinteract.utils._params import check_int

__all__ = [
    "MAX_SAMPLED_PLAYERS",
    "low_order_coalitions",
    "low_order_interactions",
    "random_coalitions",
]

MAX_SAMPLED_PLAYERS = 256


def random_coalitions(
    n_players: int,
    n_coalitions: int,
    random_state: int | np.random.RandomState | None = None,
) -> np.ndarray:
    """Draw coalitions that hold each player with probability one half.

    Parameters
    ----------
    n_players : int
        From 1 to 256.
    n_coalitions : int
        At least 2.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    coalitions : ndarray of bool, shape (n_coalitions, n_players)
        The first is empty and the second full; the others are independent.

    Examples
    --------
    >>> from pointinteract.games.sampling import random_coalitions
    >>> random_coalitions(5, 100, random_state=0)[:2].sum(axis=1)
    array([0, 5])
    """
    n_players = check_int("n_players", n_players, maximum=MAX_SAMPLED_PLAYERS)
    n_coalitions = check_int("n_coalitions", n_coalitions, minimum=2)
    coalitions = check_random_state(random_state).rand(n_coalitions, n_players) < 0.5
    coalitions[0], coalitions[1] = False, True
    return coalitions


def low_order_coalitions(n_players: int, max_order: int = 2) -> np.ndarray:
    """List the coalitions of at most `max_order` players.

    Parameters
    ----------
    n_players : int
        From 1 to 256.
    max_order : int, default=2
        1 or 2.

    Returns
    -------
    coalitions : ndarray of bool, shape (1 + n, n) or (1 + n + n (n - 1) / 2, n)
        The empty one, then the players, then the pairs in the order of ``np.triu_indices``.
    """
    n_players = check_int("n_players", n_players, maximum=MAX_SAMPLED_PLAYERS)
    max_order = check_int("max_order", max_order, maximum=2)
    n_pairs = comb(n_players, 2) if max_order == 2 else 0
    coalitions = np.zeros((1 + n_players + n_pairs, n_players), dtype=bool)
    coalitions[1 : 1 + n_players] = np.eye(n_players, dtype=bool)
    if n_pairs:
        first, second = np.triu_indices(n_players, 1)
        rows = np.arange(1 + n_players, len(coalitions))
        coalitions[rows, first] = coalitions[rows, second] = True
    return coalitions


def low_order_interactions(values: np.ndarray, n_players: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the AND interactions of orders 1 and 2, without error.

    I(i) = v(i) - v(empty) and I(ij) = v(ij) - v(i) - v(j) + v(empty).

    Parameters
    ----------
    values : ndarray, shape (..., 1 + n + n (n - 1) / 2) or (..., 1 + n)
        Values of :func:`low_order_coalitions`, of both orders or of the first.
    n_players : int

    Returns
    -------
    singles : ndarray of float64, shape (..., n)
    pairs : ndarray of float64, shape (..., n (n - 1) / 2)
        In the order of ``np.triu_indices``; of length 0 where only the first order is there.
    """
    values = np.asarray(values, dtype=np.float64)
    n_players = check_int("n_players", n_players, maximum=MAX_SAMPLED_PLAYERS)
    whole = 1 + n_players + comb(n_players, 2)
    if values.ndim == 0 or values.shape[-1] not in (1 + n_players, whole):
        raise ValueError(
            f"values must hold {1 + n_players} or {whole} coalitions along the last axis, those "
            f"of low_order_coalitions({n_players}); got shape {values.shape}."
        )
    singles = values[..., 1 : 1 + n_players] - values[..., :1]
    if values.shape[-1] == 1 + n_players:
        return singles, values[..., :0].copy()
    first, second = np.triu_indices(n_players, 1)
    both = values[..., 1 + n_players :] - values[..., :1]
    return singles, both - singles[..., first] - singles[..., second]
