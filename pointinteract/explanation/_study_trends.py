"""The frames of a study about many models: correlation, trends, leads, spread, transfer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from pointinteract.explanation._study_runs import KEYS
from pointinteract.explanation._study_statistics import (
    BOUNDS,
    SUMMABLE,
    Measure,
    measures_of,
    over_seeds,
    rank_correlation,
    slopes,
)
from pointinteract.explanation._study_tables import Measured, test_row

# Columns that a trend runs over, and how they are read: shares of the data by powers of ten.
TRENDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "stage": np.asarray,
    "fraction": np.log10,
}
MIN_POSITIONS = 3


def correlation_frame(
    accuracy: pd.DataFrame, ranges: pd.DataFrame, n_permutations: int, random_state: object
) -> pd.DataFrame:
    """Correlate kappa high with accuracy over models: pooled, and within each backbone.

    Pooling confounds architecture with pre-training; the row "within backbones" ranks and
    permutes inside each.
    """
    high = ranges.query("clouds == 'all' and normalize == 'kappa' and which == 'high'")
    high = high[high["bounds"] == BOUNDS[0]]
    table = accuracy.merge(high[[*KEYS, "value"]], on=list(KEYS)).dropna(subset=["accuracy"])
    backbones = table["backbone"].to_numpy()
    scopes = {"pooled": (np.ones(len(table), bool), np.zeros(len(table)))}
    if table["backbone"].nunique() > 1:
        scopes["within backbones"] = (np.ones(len(table), bool), backbones)
        for name in table["backbone"].unique():
            scopes[str(name)] = (backbones == name, np.zeros(len(table)))
    rows = []
    for scope, (chosen, blocks) in scopes.items():
        rho, p_value = np.nan, np.nan
        if chosen.sum():
            rho, p_value = rank_correlation(
                table["value"].to_numpy()[chosen],
                table["accuracy"].to_numpy()[chosen],
                blocks[chosen],
                n_permutations=n_permutations,
                random_state=random_state,
            )
        n_models = int(chosen.sum())
        rows.append({"scope": scope, "rho": rho, "p_value": p_value, "n_models": n_models})
    return pd.DataFrame(rows)


def trend_frame(measured: Measured, accuracy: pd.DataFrame) -> pd.DataFrame:
    """Fit lines to strength and accuracy against the stage, and against log10 of the fraction.

    One line a seed, over at least three stages (or fractions). Seeds that lack some that others
    have, as after an interruption, are left out.
    """
    rows = []
    right = accuracy["accuracy"].to_numpy()
    for axis, read in TRENDS.items():
        other = "fraction" if axis == "stage" else "stage"
        for keys, group in measured.models.groupby(["backbone", "arm", other], sort=False):
            table = group.reset_index().pivot(index=axis, columns="seed", values="index")
            n_found = table.notna().sum()
            table = table.loc[:, n_found == n_found.max()].dropna().astype(int)
            if len(table) < MIN_POSITIONS:
                continue
            positions = read(table.index.to_numpy(dtype=float))
            base = {**dict(zip(("backbone", "arm", other), keys, strict=True)), "axis": axis}
            base |= {"n_positions": len(table)}
            for normalize in SUMMABLE:
                drawn = _slopes_of_ranges(measured, table.to_numpy(), positions, normalize)
                for measure, each in drawn.items():
                    test = over_seeds(each, measured.draws)
                    named = {"quantity": f"{normalize} {measure.order}", "bounds": measure.bounds}
                    rows.append({**base, **named, **test_row(test)})
            hits = slopes(right[table.to_numpy()].T, positions)  # (n_seeds,)
            flat = np.repeat(hits[None], len(measured.draws.weights), axis=0)
            test = over_seeds(flat, measured.draws)
            rows.append({**base, "quantity": "accuracy", "bounds": "", **test_row(test)})
    return pd.DataFrame(rows)


def _slopes_of_ranges(
    measured: Measured, table: np.ndarray, positions: np.ndarray, normalize: str
) -> dict[Measure, np.ndarray]:
    """Slope over rows (n_positions, n_seeds) of each range of orders, (draws, n_seeds)."""
    curves = np.array(
        [
            [measured.strengths[row].measure(normalize, measured.draws) for row in seed]
            for seed in table.T
        ]
    )  # (n_seeds, n_positions, draws, n_measures)
    drawn = slopes(np.moveaxis(curves, 1, -1), positions)
    return {
        measure: drawn[:, :, k].T
        for k, measure in enumerate(measures_of(measured.n_regions, normalize))
        if measure.bounds
    }


def gap_frame(measured: Measured, accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Tabulate, by share of the data, by how much an arm is ahead of the reference.

    In accuracy and in kappa, each with its interval over seeds (and clouds, for kappa).
    """
    right = accuracy["accuracy"].to_numpy()
    measures = measures_of(measured.n_regions, "kappa")
    rows = []
    for keys, pairs in measured.pairs(reference):
        drawn = np.stack([measured.difference(pair, "kappa", "all") for pair in pairs], axis=-1)
        base = {**keys, "reference": reference}
        for k, measure in enumerate(measures):
            if measure.bounds == BOUNDS[0]:
                test = over_seeds(drawn[:, k], measured.draws)
                rows.append({**base, "quantity": f"kappa {measure.order}", **test_row(test)})
        gaps = np.array([right[second] - right[first] for first, second in pairs])
        test = over_seeds(np.repeat(gaps[None], len(drawn), axis=0), measured.draws)
        rows.append({**base, "quantity": "accuracy", **test_row(test)})
    return pd.DataFrame(rows)


def spread_frame(ranges: pd.DataFrame) -> pd.DataFrame:
    """Tabulate how far seeds of one arm lie apart; smaller differences mean nothing."""
    kappa = ranges.query("clouds == 'all' and normalize == 'kappa'")
    groups = [key for key in KEYS if key != "seed"] + ["which", "bounds"]
    found = kappa.groupby(groups, sort=False)["value"].agg(["mean", "std", "min", "max", "count"])
    return found.rename(columns={"std": "sd", "count": "n_seeds"}).reset_index()


def gap_trend_frame(measured: Measured, accuracy: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Fit lines to the lead over the reference against log10 of the share of the data."""
    right = accuracy["accuracy"].to_numpy()
    names = [(k, measure) for k, measure in enumerate(measures_of(measured.n_regions, "kappa"))
             if measure.bounds == BOUNDS[0]]  # fmt: skip
    leads: dict[tuple[str, str], dict[Any, dict[float, dict[str, np.ndarray]]]] = {}
    for keys, pairs in measured.pairs(reference):
        if keys["stage"] != 1:
            continue
        for pair in pairs:
            drawn = measured.difference(pair, "kappa", "all")
            lead = {f"kappa {measure.order}": drawn[:, k] for k, measure in names}
            lead["accuracy"] = np.full(len(drawn), right[pair[1]] - right[pair[0]])
            seeds = leads.setdefault((keys["backbone"], keys["arm"]), {})
            seed = measured.models.loc[pair[1], "seed"]
            seeds.setdefault(seed, {})[keys["fraction"]] = lead
    rows = []
    for (backbone, arm), seeds in leads.items():
        # Seeds that lack some shares, as after an interruption, are left out.
        longest = max(map(len, seeds.values()))
        seeds = {seed: found for seed, found in seeds.items() if len(found) == longest}
        shares = sorted(set.intersection(*(set(found) for found in seeds.values())))
        if len(shares) < MIN_POSITIONS:
            continue
        base = {"backbone": backbone, "arm": arm, "reference": reference}
        for quantity in ("accuracy", *(f"kappa {measure.order}" for _, measure in names)):
            curves = np.array(
                [[found[share][quantity] for share in shares] for found in seeds.values()]
            )  # (n_seeds, n_shares, 1 + n_bootstraps)
            drawn = slopes(np.moveaxis(curves, 1, -1), np.log10(shares))
            test = over_seeds(drawn.T, measured.draws)
            rows.append({**base, "quantity": quantity, "n_shares": len(shares), **test_row(test)})
    return pd.DataFrame(rows)


def transfer_test_frame(
    measured: Measured, transfer: pd.DataFrame, reference: str
) -> pd.DataFrame:
    """Compare read-outs of arm and reference, seed by seed."""
    rows = []
    for readout, group in transfer.groupby("readout", sort=False):
        found = {tuple(entry[key] for key in KEYS): entry["accuracy"]
                 for entry in group.to_dict("records")}  # fmt: skip
        for keys, pairs in measured.pairs(reference):
            ends = [tuple(tuple(measured.keys(row)[key] for key in KEYS) for row in pair)
                    for pair in pairs]  # fmt: skip
            gaps = np.array([found[b] - found[a] for a, b in ends if a in found and b in found])
            if len(gaps):
                drawn = np.repeat(gaps[None], len(measured.draws.weights), axis=0)
                test = over_seeds(drawn, measured.draws)
                base = {"readout": readout, **keys, "reference": reference}
                rows.append({**base, **test_row(test)})
    return pd.DataFrame(rows)
