"""Explanations of more regions than can be enumerated: which coalitions to ask, what they say.

The coalitions asked of every cloud are one plan: the empty one, the single regions, the pairs
where half the budget allows them, then random ones of which the last eighth is held out, and
everybody last. The plan alone tells which row is which, so nothing but coalitions and values
has to be kept.
"""

from math import comb
from typing import Any, NamedTuple

import numpy as np

from pointinteract.games.fourier import SparseFourier, pad_members, recover_fourier
from pointinteract.games.sampling import (
    MAX_SAMPLED_PLAYERS,
    low_order_coalitions,
    low_order_interactions,
    random_coalitions,
)
from pointinteract.utils._params import check_int

# Fewer random coalitions than this say nothing, fitted or held out.
_FEWEST_RANDOM = 32
_HELD_OUT = 8
# An effect counts where it exceeds so many of its errors.
_ERRORS = 3.0


class Plan(NamedTuple):
    """Which rows of the coalitions serve what."""

    max_order: int
    design: slice
    fitted: slice
    held_out: slice


class Terms(NamedTuple):
    """AND interactions of one cloud that can be relied on.

    Attributes
    ----------
    members : ndarray of int16, shape (k, 4)
        Regions of each set, ascending, filled up with -1; sorted by order.
    effects : ndarray of float64, shape (k,)
    errors : ndarray of float64, shape (k,)
        0 where the effect is exact.
    exact_order : int
        Highest order of which every effect is there and exact, 1 or 2.
    """

    members: np.ndarray
    effects: np.ndarray
    errors: np.ndarray
    exact_order: int

    @property
    def orders(self) -> np.ndarray:
        """Number of regions of each set, (k,)."""
        return (self.members >= 0).sum(axis=1)

    @property
    def basis(self) -> np.ndarray:
        """What each effect rests on, "exact" or "stable", (k,)."""
        return np.where(self.orders <= self.exact_order, "exact", "stable")


def sample_plan(
    n_regions: int, budget: int, random_state: int | np.random.RandomState | None = None
) -> np.ndarray:
    """Choose the coalitions to ask of every cloud.

    Parameters
    ----------
    n_regions : int
        From 2 to 256.
    budget : int
        Number of coalitions, held-out ones included: the number of rows returned. Pairs are
        measured exactly from n (n + 1) + 2 on.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    coalitions : ndarray of bool, shape (budget, n_regions)
        The first row is the empty coalition, the last one the full one.
    """
    n_regions = check_int("n_regions", n_regions, minimum=2, maximum=MAX_SAMPLED_PLAYERS)
    budget = check_int("budget", budget)
    least = n_regions + 2 + _FEWEST_RANDOM
    if budget < least:
        raise ValueError(
            f"budget must be at least n_regions + {2 + _FEWEST_RANDOM} = {least} coalitions to "
            f"say anything about {n_regions} regions, got {budget}; a few thousand are usual."
        )
    with_pairs = 1 + n_regions + comb(n_regions, 2) <= budget // 2
    design = low_order_coalitions(n_regions, 2 if with_pairs else 1)
    # The first two of the random ones are the empty and the full coalition.
    drawn = random_coalitions(n_regions, budget - len(design) + 1, random_state)
    return np.concatenate([design, drawn[2:], drawn[1:2]])


def read_plan(coalitions: np.ndarray) -> Plan:
    """Tell the rows of a plan apart, or raise if it is none."""
    coalitions = np.asarray(coalitions, dtype=bool)
    n_rows, n_regions = coalitions.shape
    design = low_order_coalitions(n_regions)
    max_order = 2
    if n_rows < 2 * len(design) or not np.array_equal(coalitions[: len(design)], design):
        design, max_order = design[: 1 + n_regions], 1
    n_random = n_rows - len(design) - 1
    if (
        n_random < _FEWEST_RANDOM
        or not np.array_equal(coalitions[: len(design)], design)
        or not coalitions[-1].all()
    ):
        raise ValueError(
            "coalitions are no plan made by sample_plan: the empty one, the single regions, "
            f"(the pairs,) at least {_FEWEST_RANDOM} random ones, and the full one."
        )
    n_held_out = n_random // _HELD_OUT
    last = n_rows - 1
    return Plan(
        max_order,
        slice(0, len(design)),
        slice(len(design), last - n_held_out),
        slice(last - n_held_out, last),
    )


def build_sampled_fields(coalitions: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Recover what the values of sampled coalitions say about each cloud.

    Parameters
    ----------
    coalitions : ndarray of bool, shape (S, n_regions)
        As :func:`sample_plan` returned them.
    values : ndarray of float64, shape (n_clouds, S)

    Returns
    -------
    fields : dict
        The further fields of an :class:`~pointinteract.explanation.Explanation`: coalitions,
        surrogates and r2. Give it as ``Explanation(values=values, ..., **fields)``.
    """
    coalitions = np.asarray(coalitions, dtype=bool)
    plan = read_plan(coalitions)
    held_out = coalitions[plan.held_out]
    surrogates = tuple(
        recover_fourier(
            coalitions[plan.fitted],
            row[plan.fitted],
            held_out=(held_out, row[plan.held_out]),
        )
        for row in np.asarray(values, dtype=np.float64)
    )
    return {
        "coalitions": coalitions,
        "surrogates": surrogates,
        "r2": np.array([surrogate.r2 for surrogate in surrogates]),
    }


def reliable_terms(coalitions: np.ndarray, values: np.ndarray, surrogate: SparseFourier) -> Terms:
    """Return the AND interactions of one cloud that can be relied on.

    Those of order 1, and of order 2 where the plan holds the pairs, are exact. Higher ones
    are converted from the Fourier terms, I(R) = (-2)^\\|R\\| (sum of c_S over S that hold R),
    and kept where they are *stable*: above three times their error. The error joins

    * the standard error of that sum, and
    * the misfit of the truncated series, which sampling does not show: the root mean square
      difference between converted and exact effects at the highest exact order, growing
      twofold with every order above, as the factor (-2)^\\|R\\| does.

    So effects far beyond the measured orders are kept only of games that the series fits
    almost perfectly; for most networks few are, which is what can honestly be said.
    """
    plan = read_plan(coalitions)
    n_regions = coalitions.shape[1]
    singles, pairs = low_order_interactions(values[plan.design], n_regions)
    exact = np.concatenate([singles, pairs])
    sets: list[tuple[int, ...]] = [(region,) for region in range(n_regions)]
    if len(pairs):
        sets += list(zip(*(rows.tolist() for rows in np.triu_indices(n_regions, 1)), strict=True))
    width = surrogate.members.shape[1]
    members = pad_members(sets, width)

    found, effects, errors = surrogate.interactions()
    orders = (found >= 0).sum(axis=1)
    misfit = _misfit(members, exact, found, effects, plan.max_order)
    above = orders > plan.max_order
    errors = np.hypot(errors, misfit * 2.0 ** (orders - plan.max_order))
    # Effects that should cancel to zero leave rounding behind, of no smaller error.
    rounding = 1e-9 * np.abs(values).max()
    kept = above & (np.abs(effects) > np.maximum(_ERRORS * errors, rounding))
    return Terms(
        np.concatenate([members, found[kept]]),
        np.concatenate([exact, effects[kept]]),
        np.concatenate([np.zeros(len(exact)), errors[kept]]),
        plan.max_order,
    )


def _misfit(
    members: np.ndarray,
    exact: np.ndarray,
    found: np.ndarray,
    effects: np.ndarray,
    order: int,
) -> float:
    """Return the root mean square error of converted effects of an order known exactly."""
    known = (members >= 0).sum(axis=1) == order
    converted = dict(zip(map(tuple, found.tolist()), effects.tolist(), strict=True))
    difference = [
        effect - converted.get(tuple(row), 0.0)
        for row, effect in zip(members[known].tolist(), exact[known].tolist(), strict=True)
    ]
    return float(np.sqrt(np.mean(np.square(difference))))
