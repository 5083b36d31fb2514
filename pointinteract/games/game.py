"""What a game is, and how all its values are gathered.

A game is anything with `n_players` that is called with coalitions and answers with values.
It knows nothing of clouds; `explanation` makes games out of clouds and models.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from pointinteract.games.coalitions import all_coalitions
from pointinteract.utils._params import check_int

__all__ = ["CachedGame", "Game", "evaluate_all"]


@runtime_checkable
class Game(Protocol):
    """A value for every coalition.

    Attributes
    ----------
    n_players : int
    """

    n_players: int

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the values, float64 (S,), of coalitions given as bool (S, n)."""
        ...


class CachedGame:
    """A game that asks another one only for coalitions it has not seen.

    Parameters
    ----------
    game : Game
        The game to ask, worth caching when a call costs more than a dictionary look-up.

    Attributes
    ----------
    n_players : int
    n_evaluations : int
        Number of coalitions the inner game was asked for so far.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import CachedGame, additive_game
    >>> game = CachedGame(additive_game([1.0, 2.0]))
    >>> game(np.array([[True, True], [True, True]]))
    array([3., 3.])
    >>> game.n_evaluations
    1
    """

    def __init__(self, game: Game) -> None:
        self.game = game
        self.n_players = game.n_players
        self.n_evaluations = 0
        self._known: dict[bytes, float] = {}

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        coalitions = check_coalitions(coalitions, self.n_players)
        keys = [row.tobytes() for row in np.packbits(coalitions, axis=1)]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if new:
            values = self.game(coalitions[list(new.values())])
            self._known.update(zip(new, map(float, values), strict=True))
            self.n_evaluations += len(new)
        return np.array([self._known[key] for key in keys], dtype=np.float64)


def evaluate_all(game: Game, *, batch_size: int = 4096) -> np.ndarray:
    """Ask a game for every coalition.

    Parameters
    ----------
    game : Game
    batch_size : int, default=4096
        Coalitions per call; larger calls are faster and need more memory.

    Returns
    -------
    values : ndarray of float64, shape (2^n,)
    """
    batch_size = check_int("batch_size", batch_size)
    coalitions = all_coalitions(game.n_players)
    values = np.empty(len(coalitions), dtype=np.float64)
    for first in range(0, len(coalitions), batch_size):
        chunk = slice(first, first + batch_size)
        values[chunk] = game(coalitions[chunk])
    return values


def check_coalitions(coalitions: np.ndarray, n_players: int) -> np.ndarray:
    """Return coalitions as bool (S, n), or raise saying what came."""
    coalitions = np.asarray(coalitions, dtype=bool)
    if coalitions.ndim != 2 or coalitions.shape[1] != n_players:
        raise ValueError(
            f"coalitions must have shape (n_coalitions, {n_players}), got {coalitions.shape}."
        )
    return coalitions
