"""What a study says of the published conclusions: held, did not hold, or undecided.

A claim holds if its difference excludes zero on the claimed side over at least three seeds,
and if its sign does not depend on how strength is normalized and where low and high orders
begin. It did not hold if zero is excluded on the other side, on the same terms. Everything else
is undecided, with the reason.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from pointinteract.explanation._study_statistics import BOUNDS

MIN_SEEDS = 3
SIGNIFICANCE = 0.05
COLUMNS = (
    "conclusion", "backbone", "claim", "measured", "difference", "low", "high", "n_seeds",
    "verdict", "reason",
)  # fmt: skip


def judge(
    difference: float,
    low: float,
    high: float,
    *,
    claimed: int,
    n_seeds: int,
    established: bool | None = None,
) -> tuple[str, str]:
    """Return the verdict on a difference that is claimed to have the sign `claimed`, and why."""
    if not np.isfinite([difference, low, high]).all():
        return "undecided", "no interval"
    if n_seeds < MIN_SEEDS:
        return "undecided", f"{n_seeds} seeds, fewer than {MIN_SEEDS}"
    if low <= 0 <= high:
        return "undecided", "the interval includes zero"
    if established is False:
        return "undecided", "the sign changes with the normalization or the bounds"
    if difference * claimed > 0:
        return "held", "the interval excludes zero on the claimed side"
    return "did not hold", "the interval excludes zero on the other side"


def verdict_frame(
    *,
    tests: pd.DataFrame,
    consistency: pd.DataFrame,
    correlation: pd.DataFrame,
    trends: pd.DataFrame,
    gap_trends: pd.DataFrame,
    transfer_tests: pd.DataFrame,
) -> pd.DataFrame:
    """Put all claims that the study has the models for into one table."""
    rows = [
        *_conclusion_1(tests, consistency),
        *_correlation(correlation),
        *_conclusion_2(trends),
        *_conclusion_3(gap_trends, transfer_tests),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _conclusion_1(tests: pd.DataFrame, consistency: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The arm raises high orders and lowers low ones, fully pre-trained and on all labels."""
    if not len(tests):
        return
    final = tests.query("clouds == 'all' and normalize == 'kappa' and stage == 1")
    final = final[(final["fraction"] == 1) & (final["bounds"] == BOUNDS[0])]
    groups = ["backbone", "arm", "stage", "fraction", "reference", "clouds", "order"]
    final = final.merge(consistency[[*groups, "established"]], on=groups)
    for row in final.itertuples():
        claimed, word = (1, "raises") if row.order == "high" else (-1, "lowers")
        yield _row(
            row,
            conclusion="1",
            claim=f"{row.arm} {word} {row.order} orders",
            measured=f"kappa {row.order}, {row.arm} less {row.reference}",
            claimed=claimed,
            established=bool(row.established),
        )


def _correlation(correlation: pd.DataFrame) -> Iterator[dict[str, Any]]:
    for row in correlation.itertuples():
        if not np.isfinite(row.rho):
            verdict, reason = "undecided", "too few models, or none differ"
        elif row.p_value >= SIGNIFICANCE:
            verdict, reason = "undecided", f"permutation p = {row.p_value:.3f}"
        else:
            verdict = "held" if row.rho > 0 else "did not hold"
            reason = f"permutation p = {row.p_value:.3f}"
        yield {
            "conclusion": "1",
            "backbone": row.scope,
            "claim": "higher kappa high goes with higher accuracy",
            "measured": f"Spearman's rho over {row.n_models} models",
            "difference": row.rho,
            "low": np.nan,
            "high": np.nan,
            "n_seeds": row.n_models,
            "verdict": verdict,
            "reason": reason,
        }


def _conclusion_2(trends: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """More pre-training (2a) or more labels (2b): more of the same."""
    if not len(trends):
        return
    for (axis, *_), group in trends.groupby(["axis", "backbone", "arm"], sort=False):
        for side, claimed, word in (("high", 1, "raises"), ("low", -1, "lowers")):
            table = group[group["quantity"] == f"kappa {side}"]
            row = next(table[table["bounds"] == BOUNDS[0]].itertuples())
            every = group.loc[group["quantity"].str.endswith(side), "difference"]
            steady = bool((np.sign(every) == np.sign(row.difference)).all())
            more = "pre-training" if axis == "stage" else "labelled data"
            unit = "from none to all of it" if axis == "stage" else "for ten times as much"
            yield _row(
                row,
                conclusion="2a" if axis == "stage" else "2b",
                claim=f"more {more} {word} {side} orders ({row.arm})",
                measured=f"slope of kappa {side}, {unit}",
                claimed=claimed,
                established=steady,
            )


def _conclusion_3(
    gap_trends: pd.DataFrame, transfer_tests: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """The lead in accuracy shrinks with data, that in kappa high grows; features transfer less."""
    for row in gap_trends.itertuples():
        if row.quantity == "kappa low":
            continue
        claimed, word = (-1, "shrinks") if row.quantity == "accuracy" else (1, "grows")
        yield _row(
            row,
            conclusion="3",
            claim=f"the lead of {row.arm} in {row.quantity} {word} with data",
            measured="slope of the difference, for ten times as much",
            claimed=claimed,
        )
    for row in transfer_tests.itertuples():
        yield _row(
            row,
            conclusion="3",
            claim=f"{row.arm} lowers transferability ({row.readout}, fraction {row.fraction:g})",
            measured=f"accuracy, {row.arm} less {row.reference}",
            claimed=-1,
        )


def _row(
    row: Any,
    *,
    conclusion: str,
    claim: str,
    measured: str,
    claimed: int,
    established: bool | None = None,
) -> dict[str, Any]:
    verdict, reason = judge(
        row.difference,
        row.low,
        row.high,
        claimed=claimed,
        n_seeds=row.n_seeds,
        established=established,
    )
    return {
        "conclusion": conclusion,
        "backbone": row.backbone,
        "claim": claim,
        "measured": measured,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "n_seeds": row.n_seeds,
        "verdict": verdict,
        "reason": reason,
    }
