"""Finished runs of a comparison in a folder, so that an interruption costs one run."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from torch import nn

from pointinteract.exceptions import FileFormatError

__all__ = ["ComparisonStore", "describe"]


class ComparisonStore:
    """A folder with a small JSON file, and where possible a classifier, for each run.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    data : tuple of arrays
        What the runs are made from; remembered as a hash.
    """

    def __init__(self, folder: str | os.PathLike[str], data: Any):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.data = joblib.hash(data)

    def read(
        self, arm: str, seed: int, made_from: Mapping[str, Any]
    ) -> tuple[dict[str, Any], Any] | None:
        """Row and classifier (or None) of a finished run; None if it is not there."""
        row = self._read(self._path(arm, f"seed{seed}.json"), made_from)
        if row is None:
            return None
        saved = self._path(arm, f"seed{seed}.npz")
        if not saved.is_file():
            return row, None
        from pointinteract import persistence

        return row, persistence.load(saved)

    def write(
        self,
        arm: str,
        seed: int,
        made_from: Mapping[str, Any],
        row: Mapping[str, Any],
        classifier: Any,
    ) -> None:
        """Keep a finished run."""
        from pointinteract import persistence

        path = self._path(arm, f"seed{seed}.npz")
        try:
            persistence.save(classifier, path)
        except TypeError:
            # A network of the user's own has no name that a file could hold; numbers remain.
            path.unlink(missing_ok=True)
        # Last, since this file says that the run is complete.
        self._write(self._path(arm, f"seed{seed}.json"), made_from, row)

    def read_cost(self, arm: str, made_from: Any) -> float | None:
        """Seconds of an epoch of an arm, or None if it was not tried."""
        return self._read(self._path(arm, "cost.json"), made_from)

    def write_cost(self, arm: str, made_from: Any, seconds: float) -> None:
        """Keep the seconds of an epoch of an arm."""
        self._write(self._path(arm, "cost.json"), made_from, seconds)

    def _path(self, arm: str, end: str) -> Path:
        # Names of arms are free text; a hash keeps apart those that differ in a slash only.
        plain = re.sub(r"\W+", "_", arm)
        name = arm if plain == arm else f"{plain}_{joblib.hash(arm)[:6]}"
        return self.folder / f"{name}-{end}"

    def _read(self, path: Path, made_from: Any) -> Any:
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            then = content["data"], content["made_from"]
            result = content["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"{path} is no finished run of a comparison; delete it to train it again."
            ) from error
        if then != (self.data, _through_json(made_from)):
            what = "other data" if then[0] != self.data else "other settings"
            raise ValueError(
                f"{path} was made from {what}; give another folder as store, or delete the file."
            )
        return result

    def _write(self, path: Path, made_from: Any, result: Any) -> None:
        content = {"data": self.data, "made_from": made_from, "result": result}
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
        unfinished.replace(path)


def describe(value: Any) -> Any:
    """Plain data that are the same for the same settings in another process.

    Weights that are given (a module, a fitted pretrainer) count as settings, as a hash. Of a
    function or a class nothing but the name is known, and of a file its path.
    """
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, type):
        return name
    if isinstance(value, nn.Module):
        return {name: _hash_weights(value)}
    if isinstance(value, np.ndarray):
        return {name: joblib.hash(value)}
    if hasattr(value, "get_params"):
        content = {name: describe(value.get_params(deep=False))}
        # Two pretrainers of the same settings, fitted to other clouds, start from other weights.
        module = getattr(value, "module_", None)
        return content | {"weights": _hash_weights(module)} if module is not None else content
    return name


def _hash_weights(module: nn.Module) -> str:
    state = module.state_dict().items()
    return joblib.hash([(name, weights.detach().cpu().numpy()) for name, weights in state])


def _through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))
