"""Interactions of two players by the size of their context: I^(m)(i, j).

I^(m)(i, j) is the mean, over contexts S of m other players, of
v(S + i + j) - v(S + i) - v(S + j) + v(S). Its order counts the *context*; that of an AND
interaction counts the members. It needs few coalitions per pair and order, so it can be
sampled where 2^n values cannot be had.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb

import numpy as np
from sklearn.utils import check_random_state

from pointinteract.games.coalitions import coalition_orders, n_players_of
from pointinteract.games.game import Game
from pointinteract.games.harsanyi import moebius_transform, superset_sums
from pointinteract.utils._params import check_int, check_option

__all__ = [
    "PairwiseOrders",
    "context_orders",
    "pairwise_interactions",
    "pairwise_strength",
    "sample_pairwise_interactions",
]

# Sizes of the context, as shares of the n - 2 other players.
_RATIOS = (0.0, 0.04, 0.07, *(tenth / 10 for tenth in range(1, 11)))

# Signs of v(S), v(S + i), v(S + j) and v(S + i + j).
_MIXED_DIFFERENCE = (1, -1, -1, 1)


@dataclass(frozen=True, eq=False)
class PairwiseOrders:
    """Pairwise interactions of some pairs in contexts of some sizes.

    Attributes
    ----------
    orders : ndarray of int64, shape (M,)
        Number of players in the context.
    pairs : ndarray of int64, shape (P, 2)
    values : ndarray of float64, shape (M, P)
        I^(m)(i, j), the mean over the contexts tried.
    errors : ndarray of float64, shape (M, P)
        Standard error of that mean; 0 where every context was tried, NaN after one of many.
    n_contexts : ndarray of int64, shape (M,)
        Contexts tried per pair; all of them where there are no more than were asked for.
    n_evaluations : int
        Coalitions the game was asked for.
    """

    orders: np.ndarray
    pairs: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    n_contexts: np.ndarray
    n_evaluations: int


def pairwise_interactions(values: np.ndarray, *, from_moebius: bool = False) -> np.ndarray:
    """Compute I^(m)(i, j) of every pair and context size from the values of all coalitions.

    Parameters
    ----------
    values : ndarray, shape (..., 2^n)
        v of every coalition, or its Moebius interactions.
    from_moebius : bool, default=False
        Whether `values` are interactions already.

    Returns
    -------
    interactions : ndarray of float64, shape (..., n - 1, n (n - 1) / 2)
        Context sizes 0 to n - 2; pairs (0, 1), (0, 2), ..., (n - 2, n - 1).

    Notes
    -----
    In Moebius interactions, I^(m)(i, j) = sum over T that hold i and j of
    C(m, |T| - 2) / C(n - 2, |T| - 2) I(T). The mean over m is the Shapley interaction index.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import evaluate_all, pairwise_interactions, unanimity_game
    >>> pairwise_interactions(evaluate_all(unanimity_game(3, [0, 1, 2])))
    array([[0., 0., 0.],
           [1., 1., 1.]])
    """
    values = np.asarray(values)
    n_players = n_players_of(values.shape[-1])
    if n_players < 2:
        raise ValueError("A pairwise interaction needs two players or more; the game has 1.")
    effects = np.asarray(values, dtype=np.float64) if from_moebius else moebius_transform(values)
    orders = coalition_orders(n_players)
    pairs = [(1 << i) | (1 << j) for i, j in combinations(range(n_players), 2)]
    per_order = [
        superset_sums(np.where(orders == size, effects, 0.0))[..., pairs]
        for size in range(2, n_players + 1)
    ]
    return _context_weights(n_players) @ np.stack(per_order, axis=-2)


def sample_pairwise_interactions(
    game: Game,
    *,
    orders: Sequence[int] | None = None,
    n_pairs: int = 300,
    n_contexts: int = 100,
    pairs: np.ndarray | None = None,
    batch_size: int = 4096,
    random_state: int | np.random.RandomState | None = None,
) -> PairwiseOrders:
    """Estimate I^(m)(i, j) from random contexts, for any number of players.

    Parameters
    ----------
    game : Game
        Asked for at most 4 `n_pairs` `n_contexts` coalitions per order.
    orders : sequence of int or None, default=None
        Context sizes from 0 to n - 2. None takes those of :func:`context_orders`.
    n_pairs : int, default=300
        Random pairs; all pairs where there are no more. Unused if `pairs` is given.
    n_contexts : int, default=100
        Random contexts per pair and order; all of them where there are no more. Errors
        fall with its square root.
    pairs : ndarray of int, shape (P, 2), or None, default=None
        The pairs to look at, for example neighboring regions.
    batch_size : int, default=4096
        Coalitions per call of the game.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    result : PairwiseOrders

    References
    ----------
    .. [1] W. Shen et al., "Interpreting representation quality of DNNs for 3D point cloud
       processing", NeurIPS 2021 (the default pairs, contexts and orders).
    .. [2] H. Deng et al., "Discovering and explaining the representation bottleneck of
       DNNs", ICLR 2022 (neighboring pairs).

    Examples
    --------
    >>> from pointinteract.games import sample_pairwise_interactions, unanimity_game
    >>> game = unanimity_game(20, [0, 1])
    >>> result = sample_pairwise_interactions(game, pairs=[(0, 1), (0, 2)], orders=[0, 9])
    >>> result.values
    array([[1., 0.],
           [1., 0.]])
    """
    n_players = check_int("game.n_players", game.n_players, minimum=2)
    n_pairs = check_int("n_pairs", n_pairs)
    n_contexts = check_int("n_contexts", n_contexts)
    batch_size = check_int("batch_size", batch_size, minimum=4)
    sizes = context_orders(n_players) if orders is None else _check_orders(orders, n_players)
    rng = check_random_state(random_state)
    chosen = _draw_pairs(n_players, n_pairs, rng) if pairs is None else np.asarray(pairs)
    _check_pairs(chosen, n_players)

    counts = np.array([min(n_contexts, _count_contexts(n_players, m)) for m in sizes])
    values, errors = np.empty((2, len(sizes), len(chosen)))
    n_evaluations = 0
    for row, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        contexts = _contexts(chosen, n_players, int(size), int(count), rng)
        step = max(1, batch_size // (4 * int(count)))
        for first in range(0, len(chosen), step):
            block = slice(first, first + step)
            coalitions = _with_and_without(chosen[block], contexts, n_players, int(count))
            answers = _ask(game, coalitions, batch_size).reshape(-1, int(count), 4)
            effects = answers @ _MIXED_DIFFERENCE
            n_evaluations += len(coalitions)
            values[row, block] = effects.mean(axis=1)
            errors[row, block] = _standard_error(effects, _count_contexts(n_players, int(size)))
    return PairwiseOrders(sizes, chosen, values, errors, counts, n_evaluations)


def context_orders(n_players: int) -> np.ndarray:
    """Return the context sizes of the NeurIPS 2021 study, int(r (n - 2)) for 13 ratios r.

    Examples
    --------
    >>> from pointinteract.games import context_orders
    >>> context_orders(32)
    array([ 0,  1,  2,  3,  6,  9, 12, 15, 18, 21, 24, 27, 30])
    """
    n_players = check_int("n_players", n_players, minimum=2)
    # Rounded before it is cut: 0.7 * 30 may come out just below the 21 it means.
    sizes = [int(round(ratio * (n_players - 2), 9)) for ratio in _RATIOS]
    return np.unique(np.array(sizes, dtype=np.int64))


def pairwise_strength(
    interactions: np.ndarray, *, kind: str = "mean_abs", normalize: bool = True
) -> np.ndarray:
    """Measure how strong pairwise interactions are in contexts of each size.

    Parameters
    ----------
    interactions : ndarray, shape (n_samples, M, P)
        I^(m)(i, j) of each sample; the pairs may differ between samples.
    kind : {"mean_abs", "abs_mean"}, default="mean_abs"
        "mean_abs" averages sizes over pairs and samples (ICLR 2022); "abs_mean" takes the
        size of each sample's mean over pairs (NeurIPS 2021), where pairs may cancel.
    normalize : bool, default=True
        Divide by the mean over context sizes, which removes the scale of the score. This is
        J^(m) of the ICLR 2022 study.

    Returns
    -------
    strength : ndarray, shape (M,)
        NaN where a normalizer would be zero.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import pairwise_strength
    >>> pairwise_strength(np.array([[[1.0, -1.0], [3.0, 3.0]]]))
    array([0.5, 1.5])
    """
    check_option("kind", kind, ("mean_abs", "abs_mean"))
    interactions = np.asarray(interactions, dtype=np.float64)
    if interactions.ndim != 3:
        raise ValueError(
            "interactions must have shape (n_samples, n_orders, n_pairs), got "
            f"{interactions.shape}."
        )
    if kind == "mean_abs":
        strength = np.abs(interactions).mean(axis=(0, 2))
    else:
        strength = np.abs(interactions.mean(axis=2)).mean(axis=0)
    if not normalize:
        return strength
    total = strength.mean()
    return strength / total if total > 0 else np.full_like(strength, np.nan)


@lru_cache(maxsize=16)
def _context_weights(n_players: int) -> np.ndarray:
    others = n_players - 2
    rows = [[comb(m, t) / comb(others, t) for t in range(others + 1)] for m in range(others + 1)]
    return np.array(rows)


def _count_contexts(n_players: int, size: int) -> int:
    return comb(n_players - 2, int(size))


def _draw_pairs(n_players: int, n_pairs: int, rng: np.random.RandomState) -> np.ndarray:
    everything = np.column_stack(np.triu_indices(n_players, 1)).astype(np.int64)
    if len(everything) <= n_pairs:
        return everything
    return everything[np.sort(rng.choice(len(everything), n_pairs, replace=False))]


def _contexts(
    pairs: np.ndarray, n_players: int, size: int, count: int, rng: np.random.RandomState
) -> Iterator[np.ndarray]:
    """Yield for each pair the contexts tried, bool (count, n - 2) over the other players."""
    others = n_players - 2
    if count == _count_contexts(n_players, size):
        members = np.array(list(combinations(range(others), size)), dtype=np.int64)
        everything = np.zeros((count, others), dtype=bool)
        np.put_along_axis(everything, members.reshape(count, size), True, axis=1)
        for _ in pairs:
            yield everything
    for _ in pairs:
        rows = np.zeros((count, others), dtype=bool)
        if size:
            drawn = np.argpartition(rng.random_sample((count, others)), size - 1, axis=1)
            np.put_along_axis(rows, drawn[:, :size], True, axis=1)
        yield rows


def _with_and_without(
    pairs: np.ndarray, contexts: Iterator[np.ndarray], n_players: int, count: int
) -> np.ndarray:
    """List S, S + i, S + j, S + i + j for each pair and context: bool (4 P count, n)."""
    rows = np.zeros((len(pairs), count, 4, n_players), dtype=bool)
    for block, (i, j) in zip(rows, pairs, strict=True):
        rest = np.delete(np.arange(n_players), [i, j])
        block[:, :, rest] = next(contexts)[:, None]
        block[:, 1::2, i] = True
        block[:, 2:, j] = True
    return rows.reshape(-1, n_players)


def _ask(game: Game, coalitions: np.ndarray, batch_size: int) -> np.ndarray:
    starts = range(0, len(coalitions), batch_size)
    return np.concatenate([game(coalitions[first : first + batch_size]) for first in starts])


def _standard_error(effects: np.ndarray, n_possible: int) -> np.ndarray:
    count = effects.shape[1]
    if count == n_possible:
        return np.zeros(len(effects))
    if count < 2:
        return np.full(len(effects), np.nan)
    return effects.std(axis=1, ddof=1) / np.sqrt(count)


def _check_orders(orders: Sequence[int], n_players: int) -> np.ndarray:
    sizes = np.asarray(orders)
    good = sizes.ndim == 1 and len(sizes) > 0 and sizes.dtype.kind in "iu"
    if not good or sizes.min() < 0 or sizes.max() > n_players - 2:
        raise ValueError(f"orders must be context sizes from 0 to {n_players - 2}, got {orders}.")
    return sizes.astype(np.int64)


def _check_pairs(pairs: np.ndarray, n_players: int) -> None:
    good = pairs.ndim == 2 and pairs.shape[1] == 2 and len(pairs) > 0
    if (
        not (good and pairs.dtype.kind in "iu")
        or pairs.min() < 0
        or pairs.max() >= n_players
        or (pairs[:, 0] == pairs[:, 1]).any()
    ):
        raise ValueError(
            "pairs must be rows of two different players from 0 to "
            f"{n_players - 1}, shape (n_pairs, 2); got {pairs.tolist()[:3]}..."
        )
