"""What a study asks of its models beside explanations: test accuracy, read-outs, controls."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pointinteract.explanation._explainer import InteractionExplainer
from pointinteract.explanation._result import Explanation
from pointinteract.explanation._study_runs import DEFAULTS, KEYS

N_CONTROL_CLOUDS = 16


def hits_on_test(
    models: pd.DataFrame, test: tuple[Any, Sequence[Any]] | None
) -> list[np.ndarray | None]:
    """Whether each model is right on each test cloud; None where it is not asked."""
    found: list[np.ndarray | None] = []
    for row in models.itertuples():
        if test is None or not np.isnan(row.accuracy) or not _can(row.model, "predict"):
            found.append(None)
            continue
        X_test, y_test = test
        found.append(np.asarray(row.model.predict(X_test)) == np.asarray(y_test))
    return found


def transfer_frame(
    models: pd.DataFrame, readouts: "Mapping[str, Callable[[Any], Any]] | pd.DataFrame | None"
) -> pd.DataFrame:
    """Tabulate the read-outs of each model, or complete a table of them made elsewhere."""
    if isinstance(readouts, pd.DataFrame):
        defaults = {**DEFAULTS, "seed": 0}
        return readouts.assign(
            **{name: value for name, value in defaults.items() if name not in readouts}
        )
    rows = []
    for entry in models.to_dict("records"):
        if isinstance(entry["model"], Explanation):
            continue
        for name, read_out in (readouts or {}).items():
            found = np.atleast_1d(np.asarray(read_out(entry["model"]), dtype=float))
            value, low, high = [*found, np.nan, np.nan][:3]
            numbers = {"readout": name, "accuracy": value, "low": low, "high": high}
            rows.append({**{key: entry[key] for key in KEYS}, **numbers})
    return pd.DataFrame(rows, columns=[*KEYS, "readout", "accuracy", "low", "high"])


def control_frame(
    models: pd.DataFrame, explainer: InteractionExplainer, X: Any, y: Sequence[Any]
) -> pd.DataFrame:
    """Measure noise and temperature for the first seed of each arm, on a few clouds.

    Returns
    -------
    frame : DataFrame
        By order: kappa, the same with the points drawn anew, their correlation, what pure noise
        gives, and kappa at each temperature. Empty if no model is there to be asked.
    """
    few = np.linspace(0, len(X) - 1, min(N_CONTROL_CLOUDS, len(X))).astype(int)
    clouds, labels = [X[cloud] for cloud in few], np.asarray(y)[few]
    frames = []
    for entry in models.drop_duplicates([key for key in KEYS if key != "seed"]).to_dict("records"):
        if isinstance(entry["model"], Explanation):
            continue
        noise = explainer.noise_control(entry["model"], clouds, labels).to_frame()
        scale = explainer.scale_control(entry["model"], clouds, labels).drop(columns="order")
        keys = pd.DataFrame([{key: entry[key] for key in KEYS}] * len(noise))
        frames.append(pd.concat([keys, noise, scale.add_prefix("kappa ")], axis=1))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _can(model: Any, method: str) -> bool:
    return callable(getattr(model, method, None))
