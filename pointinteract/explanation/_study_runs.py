"""The models of a study as one table, and their explanations kept in a folder."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch

from pointinteract.exceptions import FileFormatError
from pointinteract.explanation._result import Explanation

# What tells one model of a study from another, and what stands where nothing is said. A stage
# is the part of the pre-training that was done, a fraction the part of the labels that was used.
KEYS = ("backbone", "arm", "stage", "fraction", "seed")
DEFAULTS = {"backbone": "model", "stage": 1.0, "fraction": 1.0}
OPTIONAL = ("accuracy",)
FINGERPRINT = "study_fingerprint"
# Parameters of an explainer that decide how fast, and not what.
SPEED = ("batch_size", "n_jobs", "progress", "resume", "device")


def table_of_models(models: Any) -> pd.DataFrame:
    """Bring what a user may pass as `models` to one row a model.

    Parameters
    ----------
    models : mapping or DataFrame
        From an arm, or (backbone, arm), to a model, a list of them (seeds 0, 1, ...) or a mapping
        of seeds to models; or a table with columns arm and model.

    Returns
    -------
    table : DataFrame
        Columns backbone, arm, stage, fraction, seed, model, and accuracy (NaN where not given).
    """
    table = models.copy() if isinstance(models, pd.DataFrame) else _from_mapping(models)
    missing = sorted({"arm", "model"} - set(table.columns))
    if missing or not len(table):
        raise ValueError(
            "models must be a mapping of arms to models, or a table with the columns arm and "
            f"model and at least one row; got {len(table)} rows with the columns "
            f"{list(table.columns)}."
        )
    for name, value in DEFAULTS.items():
        if name not in table:
            table[name] = value
    if "seed" not in table:
        table["seed"] = table.groupby([key for key in KEYS if key != "seed"]).cumcount()
    if "accuracy" not in table:
        table["accuracy"] = np.nan
    table = table[[*KEYS, "model", *OPTIONAL]].reset_index(drop=True)
    twice = table.duplicated(list(KEYS))
    if twice.any():
        row = table.loc[twice.idxmax(), list(KEYS)].to_dict()
        raise ValueError(f"models holds two rows for {row}; give each its own seed.")
    return table.astype({"stage": float, "fraction": float, "accuracy": float})


def _from_mapping(models: Any) -> pd.DataFrame:
    if not isinstance(models, Mapping):
        raise TypeError(
            "models must be a mapping such as {'scratch': [model, model], 'pre-trained': [...]} "
            f"or a DataFrame, got {type(models).__name__}."
        )
    rows = []
    for name, entry in models.items():
        is_pair = isinstance(name, tuple) and len(name) == 2
        backbone, arm = name if is_pair else (DEFAULTS["backbone"], name)
        if isinstance(entry, list | tuple):
            entry = dict(enumerate(entry))
        elif not isinstance(entry, Mapping):
            entry = {0: entry}
        rows += [
            {"backbone": str(backbone), "arm": str(arm), "seed": seed, "model": model}
            for seed, model in entry.items()
        ]
    return pd.DataFrame(rows)


def label_of(row: Any) -> str:
    """Name a model in one line, leaving out what says nothing."""
    parts = [] if row.backbone == DEFAULTS["backbone"] else [str(row.backbone)]
    parts.append(str(row.arm))
    parts += [f"{name} {getattr(row, name):g}" for name in ("stage", "fraction")
              if getattr(row, name) != 1]  # fmt: skip
    return ", ".join([*parts, f"seed {row.seed}"])


class ExplanationStore:
    """A folder with one explanation a model; what does not fit the present study is not used.

    Parameters
    ----------
    folder : path-like or None
        Made if it is not there. None keeps nothing.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, row: Any) -> Path | None:
        """File of a model: readable, and safe whatever the arm is called."""
        if self.folder is None:
            return None
        text = "-".join(f"{getattr(row, key)}" for key in KEYS)
        short = hashlib.sha256(text.encode()).hexdigest()[:8]
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", text)[:80].strip("-")
        return self.folder / f"{readable}-{short}.npz"

    def find(self, row: Any, fingerprint: str) -> Explanation | None:
        """Return the explanation kept for a model, if it was made of the very same things."""
        path = self.path(row)
        if path is None or not path.is_file():
            return None
        try:
            kept = Explanation.load(path)
        except FileFormatError:
            # Cut short by a full disk, say; it is made again and replaced.
            return None
        return kept if kept.meta.get(FINGERPRINT) == fingerprint else None

    def keep(self, row: Any, explanation: Explanation, fingerprint: str) -> None:
        """Write an explanation with the fingerprint of what it was made of."""
        path = self.path(row)
        if path is not None:
            meta = {**explanation.meta, FINGERPRINT: fingerprint}
            replace(explanation, meta=meta).save(path)


def fingerprint_of(
    model: Any, explainer: Any, clouds: Sequence[np.ndarray], labels: Any, regions: Any
) -> str:
    """Digest of everything that an explanation depends on."""
    digest = hashlib.sha256()
    settings = {
        name: repr(value)
        for name, value in sorted(explainer.get_params(deep=False).items())
        if name not in SPEED and not isinstance(value, np.ndarray)
    }
    digest.update(json.dumps(settings).encode())
    arrays = [*clouds, np.asarray(labels)]
    arrays += [] if regions is None else [np.asarray(ids) for ids in regions]
    for array in arrays:
        _add_array(digest, np.asarray(array))
    _add_model(digest, model)
    return digest.hexdigest()


def _add_array(digest: Any, array: np.ndarray) -> None:
    if array.dtype == object:
        array = array.astype(str)
    digest.update(f"{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())


def _add_model(digest: Any, model: Any) -> None:
    """Weights where there are any; a function counts by its name alone."""
    module = getattr(model, "module_", model)
    digest.update(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    if isinstance(module, torch.nn.Module):
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            _add_array(digest, value.detach().cpu().float().numpy())
        return
    try:
        digest.update(joblib.hash(model).encode())
    except Exception:
        # What cannot be pickled (functions made on the spot) cannot be hashed either.
        digest.update(getattr(model, "__qualname__", type(model).__qualname__).encode())
