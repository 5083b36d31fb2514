"""Interactions between groups of players: what few values say of many interactions at once.

A game whose players are whole groups has 2^g values only, eight for three groups, and its own
interactions are sums of the players' interactions: those inside the groups' union that meet
every group named. Losses that train with interactions are built from them.
"""

from collections.abc import Iterable, Sequence
from math import comb
from operator import index
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch

from pointinteract.games.coalitions import all_coalitions, coalition_index
from pointinteract.games.harsanyi import moebius_transform
from pointinteract.utils._params import check_int

__all__ = [
    "GroupInteractions",
    "group_coalitions",
    "group_interactions",
    "group_values",
    "triple_order_shares",
]

Values = TypeVar("Values", np.ndarray, torch.Tensor)

# Rows of the eight unions, bit i for group i, and the three pairs in ascending order.
_SINGLES = (1, 2, 4)
_PAIRS = (3, 5, 6)
_ALL = 7


class GroupInteractions(NamedTuple, Generic[Values]):
    """Interactions of three disjoint groups S1, S2, S3 with union U.

    Attributes
    ----------
    single : (..., 3)
        D1(i) = v(S_i) - v(empty), the sum of I(T) over non-empty T in S_i.
    pair : (..., 3)
        D2 of (1,2), (1,3), (2,3) without the third: the sum over T in the two groups that
        meet both.
    pair_given : (..., 3)
        D2(1,2|3), D2(1,3|2), D2(2,3|1), with the third present: the sum over T in U that
        meet both.
    triple : (...)
        D3, the sum over T in U that meet all three. Its terms have orders from 3 to the size
        of U, most of them in the middle (:func:`triple_order_shares`).
    """

    single: Values
    pair: Values
    pair_given: Values
    triple: Values


def group_interactions(values: Values) -> GroupInteractions[Values]:
    """Turn the values of the eight unions of three groups into D1, D2, D2 given, and D3.

    Parameters
    ----------
    values : ndarray or Tensor, shape (..., 8)
        v of the unions in the order of :func:`group_coalitions`: empty, 1, 2, 12, 3, 13, 23,
        123. Tensors are differentiated through.

    Returns
    -------
    interactions : GroupInteractions

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import group_interactions
    >>> d = group_interactions(np.array([0.0, 1, 1, 2, 1, 2, 2, 10]))
    >>> d.single, d.pair, d.pair_given, float(d.triple)
    (array([1., 1., 1.]), array([0., 0., 0.]), array([7., 7., 7.]), 7.0)
    """
    if values.shape[-1] != 8:
        raise ValueError(
            "values must hold the eight unions of three groups along the last axis, "
            f"got shape {tuple(values.shape)}."
        )
    effects = moebius_transform(values)
    pair = effects[..., list(_PAIRS)]
    triple = effects[..., _ALL]
    return GroupInteractions(effects[..., list(_SINGLES)], pair, pair + triple[..., None], triple)


def group_coalitions(groups: Sequence[Iterable[int]], n_players: int) -> np.ndarray:
    """List the unions of disjoint groups as coalitions of players.

    Parameters
    ----------
    groups : sequence of g groups of player numbers
    n_players : int

    Returns
    -------
    coalitions : ndarray of bool, shape (2^g, n)
        Row k is the union of the groups whose bit is set in k.

    Examples
    --------
    >>> from pointinteract.games import group_coalitions
    >>> group_coalitions([(0, 2), (1,)], 4).astype(int).tolist()
    [[0, 0, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]]
    """
    n_players = check_int("n_players", n_players)
    members = [sorted({index(player) for player in group}) for group in groups]
    everybody = [player for group in members for player in group]
    if len(set(everybody)) != len(everybody):
        raise ValueError(f"groups must be disjoint, got {members}.")
    if everybody and not 0 <= min(everybody) <= max(everybody) < n_players:
        raise ValueError(
            f"groups must hold players from 0 to {n_players - 1}, got {sorted(everybody)}."
        )
    inside = np.zeros((len(members), n_players), dtype=np.int64)
    for row, group in enumerate(members):
        inside[row, group] = 1
    return all_coalitions(len(members)).astype(np.int64) @ inside > 0


def group_values(values: Values, groups: Sequence[Iterable[int]]) -> Values:
    """Pick the values of the unions of groups from those of all coalitions.

    Parameters
    ----------
    values : ndarray or Tensor, shape (..., 2^n)
    groups : sequence of g disjoint groups of player numbers

    Returns
    -------
    values : ndarray or Tensor, shape (..., 2^g)
        The game whose players are the groups, ready for :func:`group_interactions`.
    """
    n_players = values.shape[-1].bit_length() - 1
    unions = group_coalitions(groups, n_players)
    return values[..., [coalition_index(np.flatnonzero(row)) for row in unions]]


def triple_order_shares(sizes: Sequence[int]) -> np.ndarray:
    """Return which share of the terms of D3 has which order.

    Parameters
    ----------
    sizes : sequence of int
        Sizes of the groups, usually three.

    Returns
    -------
    shares : ndarray, shape (sum of sizes,)
        Orders 1 to the size of the union, summing to 1.

    Examples
    --------
    >>> from pointinteract.games import triple_order_shares
    >>> triple_order_shares([2, 2, 2]).round(2)
    array([0.  , 0.  , 0.3 , 0.44, 0.22, 0.04])
    """
    counts = np.ones(1)
    for size in sizes:
        size = check_int("sizes", size)
        meets = [0.0] + [float(comb(size, chosen)) for chosen in range(1, size + 1)]
        counts = np.convolve(counts, meets)
    return counts[1:] / counts.sum()
