"""Tables about many clouds: strength by order, ranges of orders, model against model.

A normalization is two functions: what to take of each cloud, (n_clouds, k), and what to make
of its mean over clouds, (..., k) to (..., n).
"""

from collections.abc import Callable
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from pointinteract.games.coalitions import n_players_of
from pointinteract.games.harsanyi import moebius_transform
from pointinteract.games.orders import (
    Estimate,
    bootstrap_interval,
    correlation_by_order,
    kappa,
    mean_strength,
    order_range,
    signed_total,
    total_strength,
)
from pointinteract.games.pairwise import pairwise_interactions

if TYPE_CHECKING:
    from pointinteract.explanation._record import Record
    from pointinteract.explanation._sampled import Terms

Statistic = Callable[[np.ndarray], np.ndarray]


class ByOrder(NamedTuple):
    """Strengths of clouds by order, (n_clouds, k), and the change of the score, (n_clouds,)."""

    mean: np.ndarray
    total: np.ndarray
    signed: np.ndarray
    change: np.ndarray


class Normalization(NamedTuple):
    """How strengths by order are measured, see the module."""

    per_cloud: Callable[[ByOrder], np.ndarray]
    of_means: Statistic


def _divide_by_last(means: np.ndarray) -> np.ndarray:
    return _ratio(means[..., :-1], means[..., -1:])


def _divide_halves(means: np.ndarray) -> np.ndarray:
    half = means.shape[-1] // 2
    return _ratio(means[..., :half], means[..., half:])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


NORMALIZATIONS = {
    "kappa": Normalization(lambda by: by.mean, kappa),
    "raw": Normalization(lambda by: by.mean, np.asarray),
    "z": Normalization(lambda by: np.column_stack([by.mean, by.change]), _divide_by_last),
    "sum": Normalization(lambda by: by.total, kappa),
    "cancellation": Normalization(
        lambda by: np.column_stack([np.abs(by.signed), by.total]), _divide_halves
    ),
    "signed": Normalization(lambda by: by.signed, np.asarray),
}


class Bootstrap(NamedTuple):
    """Settings of the interval over clouds."""

    confidence: float
    n_bootstraps: int
    random_state: int | np.random.RandomState | None

    def __call__(self, samples: np.ndarray, statistic: Statistic) -> Estimate:
        return bootstrap_interval(
            samples,
            statistic,
            confidence=self.confidence,
            n_bootstraps=self.n_bootstraps,
            random_state=self.random_state,
        )


def by_order_of(values: np.ndarray) -> ByOrder:
    """Measure the scores of all coalitions, (n_clouds, 2^n), in one transform."""
    interactions = moebius_transform(values)
    return ByOrder(
        mean_strength(interactions),
        total_strength(interactions),
        signed_total(interactions),
        np.abs(values[:, -1] - values[:, 0]),
    )


def by_order_of_terms(
    terms: "list[Terms]", values: np.ndarray, n_regions: int
) -> tuple[ByOrder, np.ndarray]:
    """Measure the reliable effects of sampled clouds, and count them, (n_clouds, k).

    What is not among them counts as zero, so beyond the exact orders these are lower bounds.
    """
    n_orders = max(int(one.orders.max()) for one in terms)
    total, signed, count = (
        np.stack(
            [
                np.bincount(one.orders, weigh(one.effects), minlength=n_orders + 1)[1:]
                for one in terms
            ]
        )
        for weigh in (np.abs, np.asarray, np.ones_like)
    )
    sizes = np.array([comb(n_regions, order) for order in range(1, n_orders + 1)], dtype=float)
    change = np.abs(values[:, -1] - values[:, 0])
    return ByOrder(total / sizes, total, signed, change), count


def strength_frame(explanation: "Record", normalize: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """Tabulate the strength of each order with its interval."""
    normalization = NORMALIZATIONS[normalize]
    count = None
    if explanation.is_exact:
        by_order = by_order_of(explanation.values)
    else:
        by_order, count = by_order_of_terms(
            explanation.terms, explanation.values, explanation.n_regions
        )
    estimate = bootstrap(normalization.per_cloud(by_order), normalization.of_means)
    orders = np.arange(1, by_order.mean.shape[1] + 1)
    frame = pd.DataFrame(
        {"order": orders, "strength": estimate.value, "low": estimate.low, "high": estimate.high}
    )
    if count is None:
        return frame
    exact_order = explanation.terms[0].exact_order
    frame["basis"] = np.where(orders <= exact_order, "exact", "stable")
    frame["stable"] = count.mean(axis=0)
    return frame[frame["stable"] > 0].reset_index(drop=True)


def range_estimate(
    values: np.ndarray, which: str, bounds: str, normalize: str, bootstrap: Bootstrap
) -> Estimate:
    """Add the strengths of the low or the high orders up."""
    normalization = NORMALIZATIONS[normalize]
    n_players = n_players_of(values.shape[1])
    columns = np.array(order_range(n_players, which, bounds)) - 1
    estimate = bootstrap(
        normalization.per_cloud(by_order_of(values)),
        lambda means: normalization.of_means(means)[..., columns].sum(axis=-1),
    )
    return Estimate(*(float(number) for number in estimate))


def comparison_frame(
    first: np.ndarray, second: np.ndarray, normalize: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """Tabulate second less first by order, with an interval over clouds drawn in pairs."""
    normalization = NORMALIZATIONS[normalize]
    a = normalization.per_cloud(by_order_of(first))
    b = normalization.per_cloud(by_order_of(second))
    half = a.shape[1]

    def statistic(means: np.ndarray) -> np.ndarray:
        return normalization.of_means(means[..., half:]) - normalization.of_means(
            means[..., :half]
        )

    estimate = bootstrap(np.hstack([a, b]), statistic)
    return pd.DataFrame(
        {
            "order": np.arange(1, n_players_of(first.shape[1]) + 1),
            "strength": normalization.of_means(a.mean(axis=0)),
            "strength_other": normalization.of_means(b.mean(axis=0)),
            "difference": estimate.value,
            "low": estimate.low,
            "high": estimate.high,
            "correlation": correlation_by_order(
                moebius_transform(first), moebius_transform(second)
            ),
        }
    )


def pairwise_frame(interactions: np.ndarray) -> pd.DataFrame:
    """Tabulate the interaction of every pair of regions by the size of its context."""
    table = pairwise_interactions(interactions, from_moebius=True)  # (clouds, contexts, pairs)
    n_clouds, n_orders, n_pairs = table.shape
    pairs = np.array(list(combinations(range(n_players_of(interactions.shape[1])), 2)))
    return pd.DataFrame(
        {
            "cloud": np.repeat(np.arange(n_clouds), n_orders * n_pairs),
            "order": np.tile(np.repeat(np.arange(n_orders), n_pairs), n_clouds),
            "first": np.tile(pairs[:, 0], n_clouds * n_orders),
            "second": np.tile(pairs[:, 1], n_clouds * n_orders),
            "interaction": table.ravel(),
        }
    )
