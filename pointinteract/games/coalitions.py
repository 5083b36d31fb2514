"""Coalitions of a game in one fixed order: bit i of a row's number says whether i is in.

Row 0 is the empty coalition, row 2^n - 1 is everybody. All arrays of values or interactions
in this package keep that order along their last axis.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from pointinteract.utils._params import check_int

__all__ = [
    "all_coalitions",
    "coalition_index",
    "coalition_members",
    "coalition_orders",
    "n_players_of",
]

# 2^24 values in float64 are 128 MiB; beyond, enumeration is the wrong tool.
MAX_PLAYERS = 24


@lru_cache(maxsize=8)
def all_coalitions(n_players: int) -> np.ndarray:
    """Enumerate every coalition of `n_players` players.

    Parameters
    ----------
    n_players : int
        Number of players. The table doubles with each one.

    Returns
    -------
    coalitions : ndarray of bool, shape (2^n, n)
        Row k holds player i if bit i of k is set. Read-only, since it is shared.

    Examples
    --------
    >>> from pointinteract.games import all_coalitions
    >>> all_coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    n_players = check_int("n_players", n_players, minimum=1, maximum=MAX_PLAYERS)
    numbers = np.arange(2**n_players, dtype=np.int64)
    coalitions = (numbers[:, None] >> np.arange(n_players)) & 1 == 1
    coalitions.flags.writeable = False
    return coalitions


@lru_cache(maxsize=8)
def coalition_orders(n_players: int) -> np.ndarray:
    """Count the players of every coalition.

    Returns
    -------
    orders : ndarray of int64, shape (2^n,)
        Order (number of members) of each row of :func:`all_coalitions`. Read-only.
    """
    n_players = check_int("n_players", n_players, minimum=1, maximum=MAX_PLAYERS)
    orders = np.zeros(1, dtype=np.int64)
    for _ in range(n_players):
        orders = np.concatenate([orders, orders + 1])
    orders.flags.writeable = False
    return orders


def coalition_index(members: Iterable[int]) -> int:
    """Return the row number of the coalition with these members.

    Examples
    --------
    >>> from pointinteract.games import coalition_index
    >>> coalition_index([0, 3])
    9
    """
    return sum(1 << int(member) for member in set(members))


def coalition_members(index: int) -> tuple[int, ...]:
    """Return the members of the coalition in row `index`, ascending.

    Examples
    --------
    >>> from pointinteract.games import coalition_members
    >>> coalition_members(9)
    (0, 3)
    """
    index = int(index)
    return tuple(i for i in range(index.bit_length()) if index >> i & 1)


def n_players_of(n_coalitions: int) -> int:
    """Return n for an axis of length 2^n, or raise naming the length that came."""
    n_players = int(n_coalitions).bit_length() - 1
    if n_players < 1 or 2**n_players != n_coalitions:
        raise ValueError(
            "The last axis must hold one entry per coalition, 2^n of them with n >= 1; "
            f"got length {n_coalitions}."
        )
    return n_players
