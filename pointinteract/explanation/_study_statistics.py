"""Statistics of many models on the same clouds: paired draws, seeds and clouds, ranks.

Every model of a study is measured on the same clouds, so one set of bootstrap draws of clouds
serves them all, and a difference between two models is taken within each draw.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats
from sklearn.utils import check_random_state

from pointinteract.explanation._tables import NORMALIZATIONS, by_order_of
from pointinteract.games.coalitions import n_players_of
from pointinteract.games.orders import Estimate, order_range

BOUNDS = ("0.3/0.7", "thirds", "halves")
SIDES = ("low", "high")
# Strengths of which ranges of orders can be added up, in the order of the tables.
SUMMABLE = ("kappa", "raw", "z", "sum")
MEASURED = (*SUMMABLE, "cancellation")


class Draws(NamedTuple):
    """Weights of the clouds: all of them once in the first row, a bootstrap draw in each other.

    Attributes
    ----------
    weights : ndarray, shape (1 + n_bootstraps, n_clouds)
    confidence : float
    """

    weights: np.ndarray
    confidence: float

    @classmethod
    def make(
        cls, n_clouds: int, n_bootstraps: int, confidence: float, random_state: object
    ) -> "Draws":
        """Draw the clouds with replacement `n_bootstraps` times."""
        rng = check_random_state(random_state)
        share = np.full(n_clouds, 1 / n_clouds)
        drawn = rng.multinomial(n_clouds, share, size=n_bootstraps)
        return cls(np.vstack([np.ones((1, n_clouds)), drawn]), confidence)

    def means(self, samples: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """Mean of samples (n_clouds, k) in each draw, (1 + n_bootstraps, k).

        `chosen` (n_clouds,) leaves clouds out; a draw without any of the rest is NaN.
        """
        weights = self.weights if chosen is None else self.weights * chosen
        total = weights.sum(axis=1, keepdims=True)
        return np.divide(
            weights @ samples,
            total,
            out=np.full((len(weights), samples.shape[1]), np.nan),
            where=total > 0,
        )

    def percentiles(self, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval of each column of drawn (1 + n_bootstraps, ...)."""
        if self.weights.shape[1] < 2:
            empty = np.full(drawn.shape[1:], np.nan)
            return empty, empty
        tails = np.array([(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        # Columns of NaN (a model right on no cloud) stay NaN and are no reason to complain.
        low, high = np.quantile(drawn[1:], tails, axis=0)
        return low, high


class Measure(NamedTuple):
    """One number of a curve: the strength of an order, or of a range of them."""

    order: int | str
    bounds: str


def measures_of(n_regions: int, normalize: str) -> list[Measure]:
    """List what is measured: each order, then low and high by each of the bounds."""
    found = [Measure(order, "") for order in range(1, n_regions + 1)]
    if normalize in SUMMABLE:
        found += [Measure(side, bounds) for bounds in BOUNDS for side in SIDES]
    return found


class Strengths:
    """What the tables need of one model's values (n_clouds, 2^n)."""

    def __init__(self, values: np.ndarray, correct: np.ndarray | None) -> None:
        self.n_regions = n_players_of(values.shape[1])
        self.correct = correct
        by_order = by_order_of(values)
        self._samples = {name: NORMALIZATIONS[name].per_cloud(by_order) for name in MEASURED}

    def measure(
        self, normalize: str, draws: Draws, chosen: np.ndarray | None = None
    ) -> np.ndarray:
        """All of :func:`measures_of` in each draw, (1 + n_bootstraps, n_measures)."""
        curve = NORMALIZATIONS[normalize].of_means(draws.means(self._samples[normalize], chosen))
        if normalize not in SUMMABLE:
            return curve
        ranges = [
            curve[:, np.array(order_range(self.n_regions, side, bounds)) - 1].sum(axis=1)
            for bounds in BOUNDS
            for side in SIDES
        ]
        return np.column_stack([curve, *ranges])


class SeedTest(NamedTuple):
    """Mean over seeds of some quantity, with an interval over seeds and clouds."""

    value: float
    low: float
    high: float
    p_value: float
    n_seeds: int
    n_same_sign: int


def over_seeds(drawn: np.ndarray, draws: Draws) -> SeedTest:
    """Test whether the mean over seeds is zero.

    Parameters
    ----------
    drawn : ndarray, shape (1 + n_bootstraps, n_seeds)
        The quantity of each seed: on all clouds, then in each draw of them.
    draws : Draws

    Returns
    -------
    test : SeedTest

    Notes
    -----
    The variance of the mean is taken as (variance between seeds) / n_seeds plus the variance
    over draws of clouds with the seeds held fixed, and the interval is Student's with the
    degrees of freedom of Welch and Satterthwaite. A part of the spread between seeds comes from
    the clouds as well and is then counted twice, so the interval errs to the wide side. A
    bootstrap of three seeds would err to the narrow side.
    """
    values, resampled = drawn[0], drawn[1:].mean(axis=1)
    n_seeds, n_clouds = len(values), draws.weights.shape[1]
    value = float(values.mean())
    same = int((np.sign(values) == np.sign(value)).sum())
    between = float(values.var(ddof=1)) / n_seeds if n_seeds > 1 else 0.0
    over_clouds = float(np.nanvar(resampled)) if n_clouds > 1 else 0.0
    variance = between + over_clouds
    # Equal numbers differ by their rounding; that is no spread to build an interval on.
    if not np.isfinite(value) or variance <= 1e-24 * max(1.0, value**2):
        return SeedTest(value, np.nan, np.nan, np.nan, n_seeds, same)
    spread = over_clouds**2 / max(1, n_clouds - 1)
    spread += between**2 / (n_seeds - 1) if n_seeds > 1 else 0.0
    freedom = variance**2 / spread
    error = float(np.sqrt(variance))
    # The plain functions of scipy.special: stats.t spends a hundred times longer on checks.
    half = float(special.stdtrit(freedom, (1 + draws.confidence) / 2)) * error
    p_value = 2 * float(special.stdtr(freedom, -abs(value) / error))
    return SeedTest(value, value - half, value + half, p_value, n_seeds, same)


def slopes(drawn: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Least-squares slope over the last axis: (..., n_positions) to (...)."""
    centered = positions - positions.mean()
    return drawn @ centered / (centered @ centered)


def rank_correlation(
    x: np.ndarray,
    y: np.ndarray,
    blocks: np.ndarray,
    *,
    n_permutations: int,
    random_state: object,
) -> tuple[float, float]:
    """Spearman's correlation within blocks, and its two-sided permutation p-value.

    Ranks are taken, and y is permuted, within each block; with a single block this is the usual
    coefficient. NaN where a side does not vary within any block.
    """
    rng = check_random_state(random_state)
    rows = [np.flatnonzero(blocks == block) for block in np.unique(blocks)]
    first = np.concatenate([_centered_ranks(x[part]) for part in rows])
    second = [_centered_ranks(y[part]) for part in rows]
    scale = np.sqrt((first @ first) * sum(part @ part for part in second))
    if scale == 0 or len(first) < 3:
        return np.nan, np.nan
    rho = float(first @ np.concatenate(second) / scale)
    shuffled = np.array(
        [
            first @ np.concatenate([rng.permutation(part) for part in second])
            for _ in range(n_permutations)
        ]
    )
    as_extreme = np.abs(shuffled / scale) >= abs(rho) - 1e-12
    return rho, float((1 + as_extreme.sum()) / (1 + n_permutations))


def _centered_ranks(numbers: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(numbers)
    return ranks - ranks.mean()


def wilson_interval(n_right: float, n: int, confidence: float = 0.95) -> Estimate:
    """A share with Wilson's interval, which holds near 0 and 1 too."""
    share = n_right / n
    z = float(stats.norm.ppf((1 + confidence) / 2))
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n * n)) / (1 + z**2 / n)
    # Rounding must not put the end of the interval on the wrong side of a share of 0 or 1.
    return Estimate(share, min(share, center - half), max(share, center + half))


def salient_sets(interactions: np.ndarray, share: float) -> np.ndarray:
    """Which effects are above a share of the largest of their cloud, bool (n_clouds, 2^n).

    The empty coalition takes no part.
    """
    size = np.abs(interactions)
    size[:, 0] = 0
    largest = size.max(axis=1, keepdims=True)
    return (size > share * largest) & (largest > 0)


def jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Overlap of two sets of coalitions in each cloud: (n_clouds, 2^n) twice to (n_clouds,)."""
    union = (first | second).sum(axis=1)
    return np.divide((first & second).sum(axis=1), union, out=np.ones(len(first)), where=union > 0)


def same_signs(numbers: Sequence[float]) -> bool:
    """Whether all numbers lie on the same side of zero."""
    signs = {float(np.sign(number)) for number in numbers}
    return len(signs) == 1 and signs <= {-1.0, 1.0}
