"""Sparse Fourier expansions: what a few thousand random coalitions say about a large game.

A game is a sum of c_S (-1)^|S and T| over sets S. Real networks put most of their variance in
few c_S of low order, while their AND interactions are *not* sparse. So the c_S are recovered,
and other quantities computed from them:

* AND interaction of R: (-2)^|R| times the sum of c_S over S that hold R;
* Banzhaf interaction of R: (-2)^|R| c_R;
* Shapley value of i: the sum of -2 c_S / |S| over S of odd order that hold i.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pointinteract.games._fourier_solver import MAX_ORDER, posterior_terms, pursue_terms
from pointinteract.games.sampling import MAX_SAMPLED_PLAYERS
from pointinteract.utils._params import check_int

__all__ = ["MAX_ORDER", "SparseFourier", "r2_score", "recover_fourier"]

# Rows and terms multiplied at once: 32 MiB of signs.
_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class SparseFourier:
    """A game as a short sum of Fourier terms, v(T) = sum of c_S (-1)^\\|S and T\\|.

    Attributes
    ----------
    n_players : int
    members : ndarray of int16, shape (n_terms, max_order)
        Players of each S, ascending, filled up with -1.
    coefficients : ndarray of float64, shape (n_terms,)
        The c_S.
    r2 : float
        Share of the variance explained on coalitions that took no part in the fit; NaN where
        none were held out.
    error : float
        Standard error of a coefficient: the held-out error over the root of the number of
        coalitions fitted to.
    """

    n_players: int
    members: np.ndarray
    coefficients: np.ndarray
    r2: float = float("nan")
    error: float = float("nan")

    @property
    def n_terms(self) -> int:
        """Number of terms."""
        return len(self.coefficients)

    @property
    def orders(self) -> np.ndarray:
        """Number of players of each term, (n_terms,)."""
        return (self.members >= 0).sum(axis=1)

    def sets(self) -> list[tuple[int, ...]]:
        """Return the players of each term as tuples."""
        return [tuple(row[row >= 0].tolist()) for row in self.members]

    def predict(self, coalitions: np.ndarray) -> np.ndarray:
        """Return the value of each coalition, bool (S, n) to float64 (S,)."""
        coalitions = np.asarray(coalitions, dtype=bool)
        if coalitions.ndim != 2 or coalitions.shape[1] != self.n_players:
            raise ValueError(
                f"coalitions must have shape (n_coalitions, {self.n_players}), got "
                f"{coalitions.shape}."
            )
        result = np.empty(len(coalitions))
        step = max(1, _CHUNK // max(1, self.n_terms))
        for first in range(0, len(coalitions), step):
            rows = slice(first, first + step)
            result[rows] = signs(coalitions[rows], self.members) @ self.coefficients
        return result

    def interactions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Convert to AND interactions.

        Returns
        -------
        members : ndarray of int16, shape (n_sets, max_order)
            Every set inside some term, by order and then by players; filled up with -1.
        effects : ndarray of float64, shape (n_sets,)
            I(R) = (-2)^\\|R\\| times the sum of c_S over S that hold R.
        errors : ndarray of float64, shape (n_sets,)
            Standard errors, 2^\\|R\\| times the root of the number of such S, times `error`.
            Truncating the series is a further error, which no sample of its own shows.
        """
        members, which, source = _subsets(self.members, self.n_players)
        scale = (-2.0) ** (members >= 0).sum(axis=1)
        total = np.bincount(which, self.coefficients[source], minlength=len(members))
        counts = np.bincount(which, minlength=len(members))
        return members, scale * total, np.abs(scale) * np.sqrt(counts) * self.error

    def shapley_values(self) -> np.ndarray:
        """Return the Shapley value of every player, (n,)."""
        odd = self.orders % 2 == 1
        return self._sum_over_players(odd, -2.0 / np.maximum(self.orders, 1))

    def banzhaf_values(self) -> np.ndarray:
        """Return the Banzhaf value of every player, (n,)."""
        return self._sum_over_players(self.orders == 1, np.full(self.n_terms, -2.0))

    def _sum_over_players(self, chosen: np.ndarray, weights: np.ndarray) -> np.ndarray:
        result = np.zeros(self.n_players)
        for column in self.members[chosen].T:
            here = column >= 0
            parts = (self.coefficients * weights)[chosen][here]
            result += np.bincount(column[here], parts, minlength=self.n_players)
        return result


def recover_fourier(
    coalitions: np.ndarray,
    values: np.ndarray,
    *,
    held_out: tuple[np.ndarray, np.ndarray] | None = None,
    max_terms: int = 8192,
) -> SparseFourier:
    """Recover the Fourier terms of a game, up to order 4, from random coalitions.

    First a pursuit adds all terms that stand out of the noise and solves for them; where that
    explains everything, the game is sparse and the answer exact. Otherwise the terms are the
    posterior mean under a prior in which the variance of c_S is a product over its players,
    read off the strength of their single and pairwise terms: a kernel of all orders up to 4
    and one Cholesky factorization. Two more looks follow, with priors in which each of the
    strongest 3,000 terms may be as strong as it was found to be and the others hardly anything
    (iteratively reweighted ridge regression). Nothing is drawn: equal input gives equal output.

    Parameters
    ----------
    coalitions : ndarray of bool, shape (S, n)
        Drawn like :func:`~pointinteract.games.random_coalitions`; other designs bias the
        result. Time grows like S^3.
    values : ndarray, shape (S,)
    held_out : tuple of coalitions and values, optional
        Others drawn alike, for `r2` and `error`. By default none: both are NaN.
    max_terms : int, default=8192
        Terms kept, the strongest and the constant; more follow the network closer in more
        memory. A sparse game of more terms is cut as well, and no longer exact.

    Returns
    -------
    surrogate : SparseFourier

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games.fourier import recover_fourier
    >>> from pointinteract.games.sampling import random_coalitions
    >>> rows = random_coalitions(20, 400, random_state=0)
    >>> surrogate = recover_fourier(rows, 3.0 * (rows[:, 2] & rows[:, 7]))
    >>> surrogate.sets()
    [(), (2,), (7,), (2, 7)]
    >>> surrogate.coefficients.round(6)
    array([ 0.75, -0.75, -0.75,  0.75])
    """
    coalitions = np.asarray(coalitions, dtype=bool)
    values = np.asarray(values, dtype=np.float64)
    if coalitions.ndim != 2 or values.shape != (len(coalitions),) or len(values) < 4:
        raise ValueError(
            "coalitions (S, n) and values (S,) must belong together, with at least 4 of them; "
            f"got shapes {coalitions.shape} and {values.shape}."
        )
    if not np.isfinite(values).all():
        raise ValueError("values must be finite numbers; some are NaN or infinite.")
    check_int("n_players", coalitions.shape[1], maximum=MAX_SAMPLED_PLAYERS)
    max_terms = check_int("max_terms", max_terms)
    x = 1.0 - 2.0 * coalitions
    found = pursue_terms(x, values)
    if found is None:
        found = posterior_terms(x, values)
    members, coefficients = _strongest(*found, max_terms)
    order = _canonical(members, coalitions.shape[1])
    surrogate = SparseFourier(coalitions.shape[1], members[order], coefficients[order])
    if held_out is None:
        return surrogate
    answers = surrogate.predict(held_out[0])
    truth = np.asarray(held_out[1], dtype=np.float64)
    if truth.shape != answers.shape or not np.isfinite(truth).all():
        raise ValueError(
            f"held_out must be coalitions (S, {coalitions.shape[1]}) and their finite values "
            f"(S,), got values of shape {truth.shape} for {len(answers)} coalitions."
        )
    error = np.sqrt(np.mean((truth - answers) ** 2) / len(values))
    r2 = r2_score(truth, answers)
    return SparseFourier(
        surrogate.n_players, surrogate.members, surrogate.coefficients, r2, float(error)
    )


def r2_score(values: np.ndarray, predicted: np.ndarray) -> float:
    """Return 1 less the share of the variance left; 1 for a constant that is met."""
    left = float(np.sum((values - predicted) ** 2))
    total = float(np.sum((values - np.mean(values)) ** 2))
    # A constant game has no variance but for rounding.
    if total <= 1e-24 * max(1.0, float(np.sum(np.square(values)))):
        return 1.0 if left <= 1e-12 * max(1.0, float(np.sum(np.square(values)))) else float("nan")
    return 1.0 - left / total


def signs(coalitions: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return (-1)^|S and T| of coalitions T (R, n) and sets S (k, m), float64 (R, k)."""
    # The column of ones at the end is what -1, "nobody", points to.
    x = np.ones((len(coalitions), coalitions.shape[1] + 1))
    x[:, :-1] -= 2.0 * coalitions
    result = np.ones((len(coalitions), len(members)))
    for column in members.T:
        result *= x[:, column]
    return result


def pad_members(sets: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Return sets of players as int16 rows, ascending, filled up with -1."""
    rows = np.full((len(sets), width), -1, dtype=np.int16)
    for row, players in zip(rows, sets, strict=True):
        row[: len(players)] = sorted(players)
    return rows


def _strongest(
    members: np.ndarray, coefficients: np.ndarray, max_terms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Keep the constant, which is no effect of anybody, and the strongest other terms."""
    if len(members) <= max_terms:
        return members, coefficients
    strength = np.where((members < 0).all(axis=1), np.inf, np.abs(coefficients))
    kept = np.sort(np.argsort(-strength, kind="stable")[:max_terms])
    return members[kept], coefficients[kept]


def _canonical(members: np.ndarray, n_players: int) -> np.ndarray:
    """Return the permutation that sorts sets by order, then by players."""
    keys = tuple(members[:, column] for column in reversed(range(members.shape[1])))
    return np.lexsort((*keys, (members >= 0).sum(axis=1)))


def _subsets(members: np.ndarray, n_players: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """List all sets inside the given ones, and who holds whom.

    Returns the distinct sets, and two long arrays: number of the set, number of its holder.
    """
    width = members.shape[1]
    parts, sources = [], []
    for mask in range(2**width):
        kept = np.array([mask >> column & 1 == 1 for column in range(width)])
        # Fill-ups may not be chosen: each set would come several times.
        rows = np.flatnonzero((members[:, kept] >= 0).all(axis=1))
        part = np.full((len(rows), width), -1, dtype=members.dtype)
        part[:, : int(kept.sum())] = members[rows][:, kept]
        parts.append(part)
        sources.append(rows)
    everything = np.concatenate(parts)
    distinct, which = np.unique(everything, axis=0, return_inverse=True)
    order = _canonical(distinct, n_players)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return distinct[order], rank[which.ravel()], np.concatenate(sources)
