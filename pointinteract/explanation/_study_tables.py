"""The frames of a study about single models and about pairs of arms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pointinteract.explanation._result import Explanation
from pointinteract.explanation._study_runs import KEYS
from pointinteract.explanation._study_statistics import (
    MEASURED,
    SUMMABLE,
    Draws,
    Strengths,
    jaccard,
    measures_of,
    over_seeds,
    salient_sets,
    same_signs,
    wilson_interval,
)
from pointinteract.games.coalitions import coalition_orders
from pointinteract.games.orders import correlation_by_order, noise_floor


@dataclass
class Measured:
    """The explained models of a study, with everything the frames are made of."""

    models: pd.DataFrame
    explanations: Sequence[Explanation]
    draws: Draws
    strengths: list[Strengths] = field(init=False)

    def __post_init__(self) -> None:
        self.strengths = [Strengths(each.values, each.correct) for each in self.explanations]
        self._keys = self.models[list(KEYS)].to_dict("records")

    @property
    def n_regions(self) -> int:
        """Number of regions of each cloud."""
        return self.explanations[0].n_regions

    def keys(self, row: int) -> dict[str, Any]:
        """What tells a model from the others."""
        return self._keys[row]

    def clouds(self, *rows: int) -> Iterator[tuple[str, np.ndarray | None]]:
        """Yield the choices of clouds: all, and those that all the given models get right."""
        yield "all", None
        right = [self.explanations[row].correct for row in rows]
        known = [correct for correct in right if correct is not None]
        if len(known) == len(rows):
            both = np.all(known, axis=0)
            if both.any():
                yield "correct", both

    def pairs(self, reference: str) -> Iterator[tuple[dict[str, Any], list[tuple[int, int]]]]:
        """Yield each arm beside the reference: what it is, and the rows of equal seeds.

        A stage of pre-training without a reference of its own is compared with the reference
        that has none, since training from scratch has no stages.
        """
        arms = self.models[self.models["arm"] != reference]
        for keys, group in arms.groupby(["backbone", "arm", "stage", "fraction"], sort=False):
            backbone, arm, stage, fraction = keys
            others = self.models[
                (self.models["arm"] == reference)
                & (self.models["backbone"] == backbone)
                & np.isclose(self.models["fraction"], fraction)
            ]
            at_stage = others[np.isclose(others["stage"], stage)]
            others = at_stage if len(at_stage) else others[np.isclose(others["stage"], 1.0)]
            by_seed = {seed: row for row, seed in others["seed"].items()}
            rows = [(by_seed[seed], row) for row, seed in group["seed"].items() if seed in by_seed]
            if rows:
                yield (
                    {"backbone": backbone, "arm": arm, "stage": stage, "fraction": fraction},
                    rows,
                )

    def difference(self, pair: tuple[int, int], normalize: str, which: str) -> np.ndarray:
        """Second less first, each measure in each draw, on all clouds or those both get right."""
        chosen = dict(self.clouds(*pair)).get(which)
        first, second = (
            self.strengths[row].measure(normalize, self.draws, chosen) for row in pair
        )
        return second - first


def strength_frame(measured: Measured) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tabulate each model: strength of each order, and of the ranges of orders."""
    # Rows first and one frame of all at the end: a frame of each model costs far more time.
    orders: list[dict[str, Any]] = []
    ranges: list[dict[str, Any]] = []
    n_regions = measured.n_regions
    floors = {
        "kappa": noise_floor(n_regions),
        "sum": noise_floor(n_regions, share_of_total=True),
    }
    for row, strengths in enumerate(measured.strengths):
        for clouds, chosen in measured.clouds(row):
            for normalize in MEASURED:
                drawn = strengths.measure(normalize, measured.draws, chosen)
                ends = measured.draws.percentiles(drawn)
                base = {**measured.keys(row), "clouds": clouds, "normalize": normalize}
                floor = floors.get(normalize, np.full(n_regions, np.nan))
                numbers = zip(measures_of(n_regions, normalize), drawn[0], *ends, strict=True)
                for measure, value, low, high in numbers:
                    interval = {"low": low, "high": high}
                    if measure.bounds:
                        which = {"which": measure.order, "bounds": measure.bounds}
                        ranges.append({**base, **which, "value": value, **interval})
                    else:
                        order = {"order": measure.order, "strength": value}
                        noise = {"noise_floor": floor[int(measure.order) - 1]}
                        orders.append({**base, **order, **interval, **noise})
    return pd.DataFrame(orders), pd.DataFrame(ranges)


def accuracy_frame(measured: Measured, tested: Sequence[np.ndarray | None]) -> pd.DataFrame:
    """Tabulate how often each model is right, on test clouds and on the explained ones."""
    rows = []
    for row, hits in enumerate(tested):
        correct = measured.explanations[row].correct
        explained = np.nan if correct is None else float(correct.mean())
        given = measured.models.loc[row, "accuracy"]
        entry = {"accuracy": given, "low": np.nan, "high": np.nan, "n_test": 0}
        if hits is None and np.isnan(given) and correct is not None:
            hits = correct
        if hits is not None:
            value, low, high = wilson_interval(hits.sum(), len(hits), measured.draws.confidence)
            entry = {"accuracy": value, "low": low, "high": high, "n_test": len(hits)}
        rows.append({**measured.keys(row), **entry, "accuracy_explained": explained})
    return pd.DataFrame(rows)


def difference_frames(
    measured: Measured, reference: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Tabulate arm less reference: seed by seed, over seeds, and whether its sign is steady."""
    by_seed: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for keys, rows in measured.pairs(reference):
        choices = set.intersection(
            *({name for name, _ in measured.clouds(*pair)} for pair in rows)
        )
        for clouds in sorted(choices):
            for normalize in MEASURED:
                drawn = [measured.difference(pair, normalize, clouds) for pair in rows]
                measures = measures_of(measured.n_regions, normalize)
                base = {**keys, "reference": reference, "clouds": clouds, "normalize": normalize}
                for pair, each in zip(rows, drawn, strict=True):
                    seed = {"seed": measured.keys(pair[1])["seed"]}
                    ends = measured.draws.percentiles(each)
                    for measure, value, low, high in zip(measures, each[0], *ends, strict=True):
                        interval = {"difference": value, "low": low, "high": high}
                        by_seed.append({**base, **seed, **measure._asdict(), **interval})
                stacked = np.stack(drawn, axis=-1)
                for k, measure in enumerate(measures):
                    test = over_seeds(stacked[:, k], measured.draws)
                    tests.append({**base, **measure._asdict(), **test_row(test)})
    columns = [*KEYS[:4], "reference", "clouds", "normalize", "order", "bounds", "difference"]
    over = pd.DataFrame(tests) if tests else pd.DataFrame(columns=columns)
    seeds = pd.DataFrame(by_seed) if by_seed else pd.DataFrame(columns=columns)
    return seeds, over, consistency_frame(over)


def consistency_frame(tests: pd.DataFrame) -> pd.DataFrame:
    """Say of each difference whether its sign is the same under every normalization.

    Ranges of orders must agree under every choice of bounds too. Cancellation is another
    question and takes no part.
    """
    groups = ["backbone", "arm", "stage", "fraction", "reference", "clouds", "order"]
    used = tests[tests["normalize"].isin(SUMMABLE)] if len(tests) else tests
    rows = []
    for keys, group in used.groupby(groups, sort=False):
        differences = group["difference"].to_numpy()
        rows.append(
            {
                **dict(zip(groups, keys, strict=True)),
                "established": same_signs(differences),
                "n_positive": int((differences > 0).sum()),
                "n_negative": int((differences < 0).sum()),
            }
        )
    return pd.DataFrame(rows, columns=[*groups, "established", "n_positive", "n_negative"])


def overlap_frame(measured: Measured, share: float) -> pd.DataFrame:
    """Tabulate how many salient sets two models have in common.

    Models of the same backbone, stage and fraction are paired. What two seeds of one arm share
    is the scale against which two arms are to be read.
    """
    salient = [salient_sets(each.interactions.copy(), share) for each in measured.explanations]
    orders = coalition_orders(measured.n_regions)
    rows = []
    for keys, group in measured.models.groupby(["backbone", "stage", "fraction"], sort=False):
        members = group.index.tolist()
        for place, first in enumerate(members):
            for second in members[place + 1 :]:
                arms = [measured.models.loc[row, "arm"] for row in (first, second)]
                seeds = [measured.models.loc[row, "seed"] for row in (first, second)]
                per_cloud = jaccard(salient[first], salient[second])[:, None]
                drawn = measured.draws.means(per_cloud)
                low, high = measured.draws.percentiles(drawn)
                correlation = correlation_by_order(
                    *(measured.explanations[row].interactions for row in (first, second))
                )
                rows.append(
                    dict(zip(("backbone", "stage", "fraction"), keys, strict=True))
                    | {"arm": arms[0], "seed": seeds[0], "arm_other": arms[1]}
                    | {"seed_other": seeds[1]}
                    | {"pair": "seeds of one arm" if arms[0] == arms[1] else "two arms"}
                    | {"jaccard": drawn[0, 0], "low": low[0], "high": high[0]}
                    | {"correlation_order_1": correlation[0]}
                    | {"correlation_highest": correlation[-1]}
                    | {"n_salient": int(salient[first][:, orders > 0].sum())}
                )
    return pd.DataFrame(rows)


def test_row(test: Any) -> dict[str, Any]:
    row = test._asdict()
    return {"difference": row.pop("value"), **row}
