"""Games whose interactions are known in closed form, to test everything that estimates them.

Each is called like any :class:`~pointinteract.games.Game` and holds its AND interactions,
found by thought and not by the transform, in `interactions`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import comb

import numpy as np

from pointinteract.games.coalitions import all_coalitions, coalition_index, coalition_orders
from pointinteract.games.game import check_coalitions
from pointinteract.utils._params import check_int

__all__ = [
    "KnownGame",
    "additive_game",
    "harsanyi_game",
    "or_game",
    "threshold_game",
    "unanimity_game",
]


class KnownGame:
    """A game given by its value function and its true interactions.

    Attributes
    ----------
    n_players : int
    interactions : ndarray of float64, shape (2^n,)
        The AND interactions the game is known to have.
    """

    def __init__(
        self,
        n_players: int,
        value: Callable[[np.ndarray], np.ndarray],
        interactions: np.ndarray,
    ) -> None:
        self.n_players = n_players
        self.interactions = interactions
        self._value = value

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        coalitions = check_coalitions(coalitions, self.n_players)
        return np.asarray(self._value(coalitions), dtype=np.float64)


def unanimity_game(n_players: int, members: Iterable[int]) -> KnownGame:
    """Worth 1 when all `members` are present: one interaction, of exactly them."""
    return harsanyi_game(n_players, {tuple(members): 1.0})


def additive_game(weights: Sequence[float]) -> KnownGame:
    """Worth the sum of the weights of those present: nothing above order 1."""
    terms: dict[tuple[int, ...], float] = {
        (player,): float(weight) for player, weight in enumerate(weights)
    }
    return harsanyi_game(len(weights), terms)


def harsanyi_game(n_players: int, terms: Mapping[tuple[int, ...], float]) -> KnownGame:
    """Worth the sum of those terms whose members are all present.

    Examples
    --------
    >>> from pointinteract.games import evaluate_all, harsanyi_game
    >>> evaluate_all(harsanyi_game(2, {(0,): 1.0, (0, 1): 3.0}))
    array([0., 1., 0., 4.])
    """
    n_players = check_int("n_players", n_players)
    interactions = np.zeros(2**n_players)
    for members, effect in terms.items():
        interactions[coalition_index(members)] += effect

    def value(coalitions: np.ndarray) -> np.ndarray:
        total = np.zeros(len(coalitions))
        for members, effect in terms.items():
            total += effect * coalitions[:, list(members)].all(axis=1)
        return total

    return KnownGame(n_players, value, interactions)


def or_game(n_players: int, members: Iterable[int]) -> KnownGame:
    """Worth 1 when any of `members` is present.

    Its AND interactions alternate in sign, (-1)^(|S|+1) for non-empty S of members; its only
    OR interaction is 1, of exactly the members.
    """
    n_players = check_int("n_players", n_players)
    chosen = np.isin(np.arange(n_players), list(members))
    inside = ~all_coalitions(n_players)[:, ~chosen].any(axis=1)
    orders = coalition_orders(n_players)
    interactions = np.where(inside & (orders > 0), (-1.0) ** (orders + 1), 0.0)
    return KnownGame(n_players, lambda rows: np.asarray(rows[:, chosen].any(axis=1)), interactions)


def threshold_game(n_players: int, quota: int) -> KnownGame:
    """Worth 1 when at least `quota` players are present.

    I(S) = (-1)^(s - q) C(s - 1, q - 1) for s = |S| at least q: a single sharp threshold has
    strong interactions of every order above it.
    """
    n_players = check_int("n_players", n_players)
    quota = check_int("quota", quota, minimum=1, maximum=n_players)
    by_order = [0.0] * quota + [
        (-1.0) ** (s - quota) * comb(s - 1, quota - 1) for s in range(quota, n_players + 1)
    ]
    interactions = np.array(by_order)[coalition_orders(n_players)]
    return KnownGame(n_players, lambda rows: np.asarray(rows.sum(axis=1) >= quota), interactions)
