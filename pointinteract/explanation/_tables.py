"""Tables about many clouds: strength by order, ranges of orders, model against model.

A normalization is two functions: what to take of each cloud, (n_clouds, k), and what to make
of its mean over clouds, (..., k) to (..., n).
"""

from collections.abc import Callable
from typing import NamedTuple

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

Statistic = Callable[[np.ndarray], np.ndarray]


class Normalization(NamedTuple):
    """How strengths by order are measured, see the module."""

    per_cloud: Callable[[np.ndarray], np.ndarray]
    of_means: Statistic


def _strength_and_change(values: np.ndarray) -> np.ndarray:
    change = np.abs(values[:, -1] - values[:, 0])
    return np.column_stack([mean_strength(moebius_transform(values)), change])


def _signed_and_total(values: np.ndarray) -> np.ndarray:
    interactions = moebius_transform(values)
    return np.column_stack([np.abs(signed_total(interactions)), total_strength(interactions)])


def _divide_by_last(means: np.ndarray) -> np.ndarray:
    return _ratio(means[..., :-1], means[..., -1:])


def _divide_halves(means: np.ndarray) -> np.ndarray:
    half = means.shape[-1] // 2
    return _ratio(means[..., :half], means[..., half:])


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerator / denominator


NORMALIZATIONS = {
    "kappa": Normalization(lambda values: mean_strength(moebius_transform(values)), kappa),
    "raw": Normalization(lambda values: mean_strength(moebius_transform(values)), np.asarray),
    "z": Normalization(_strength_and_change, _divide_by_last),
    "sum": Normalization(lambda values: total_strength(moebius_transform(values)), kappa),
    "cancellation": Normalization(_signed_and_total, _divide_halves),
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


def strength_frame(values: np.ndarray, normalize: str, bootstrap: Bootstrap) -> pd.DataFrame:
    """Tabulate the strength of each order with its interval."""
    normalization = NORMALIZATIONS[normalize]
    estimate = bootstrap(normalization.per_cloud(values), normalization.of_means)
    orders = np.arange(1, n_players_of(values.shape[1]) + 1)
    return pd.DataFrame(
        {"order": orders, "strength": estimate.value, "low": estimate.low, "high": estimate.high}
    )


def range_estimate(
    values: np.ndarray, which: str, bounds: str, normalize: str, bootstrap: Bootstrap
) -> Estimate:
    """Add the strengths of the low or the high orders up."""
    normalization = NORMALIZATIONS[normalize]
    n_players = n_players_of(values.shape[1])
    columns = np.array(order_range(n_players, which, bounds)) - 1
    estimate = bootstrap(
        normalization.per_cloud(values),
        lambda means: normalization.of_means(means)[..., columns].sum(axis=-1),
    )
    return Estimate(*(float(number) for number in estimate))


def comparison_frame(
    first: np.ndarray, second: np.ndarray, normalize: str, bootstrap: Bootstrap
) -> pd.DataFrame:
    """Tabulate second less first by order, with an interval over clouds drawn in pairs."""
    normalization = NORMALIZATIONS[normalize]
    a, b = normalization.per_cloud(first), normalization.per_cloud(second)
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
