"""Finished runs of a comparison as JSON files, one each, so that an interruption costs one run."""

import functools
import hashlib
import inspect
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from pointinteract.classification._comparison_store import describe
from pointinteract.exceptions import FileFormatError
from pointinteract.protocols._readout import is_fitted

__all__ = ["RunStore", "describe_estimator", "describe_function", "describe_params"]

# Settings that change where or how fast something runs, and no number.
_NO_NUMBER = ("device", "n_jobs", "progress", "verbose")


class RunStore:
    """A folder with a file for each run, named by what the run was made from.

    Parameters
    ----------
    folder : path
        Made if it is not there. One folder may serve several comparisons: runs made from other
        data or settings have other names.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def read(self, made_from: Mapping[str, Any]) -> dict[str, Any] | None:
        """What was written of a run, or None if there is nothing."""
        path = self._path(made_from)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            record, then = content["run"], content["made_from"]
            readable = isinstance(record, dict) and isinstance(record["results"], list)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FileFormatError(
                f"{path} is no run of a comparison; delete it to run it again."
            ) from error
        if not readable or then != _plain(made_from):
            raise FileFormatError(
                f"{path} does not hold the run that its name says; delete it to run it again."
            )
        return record

    def write(self, made_from: Mapping[str, Any], record: Mapping[str, Any]) -> Path:
        """Keep a run, whole or not at all."""
        path = self._path(made_from)
        content = {"made_from": _plain(made_from), "run": record}
        # Several processes may write at once, and even the same run.
        unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
        unfinished.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        os.replace(unfinished, path)
        return path

    def _path(self, made_from: Mapping[str, Any]) -> Path:
        text = json.dumps(_plain(made_from), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        # The words are for those who look into the folder; the digest decides.
        words = [made_from["estimator"]["kind"], made_from["protocol"]["name"],
                 f"seed{made_from['seed']}"]  # fmt: skip
        plain = "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", word) for word in words)
        return self.folder / f"{plain}-{digest}.json"


def describe_estimator(estimator: Any) -> dict[str, Any]:
    """Plain data that are the same for the same estimator, weights included, in any process."""
    if not hasattr(estimator, "get_params"):
        return {"kind": type(estimator).__name__, "is": joblib.hash(estimator)}
    params = estimator.get_params(deep=False)
    kept = {name: value for name, value in params.items() if name not in _NO_NUMBER}
    content = {"kind": type(estimator).__name__, "params": describe_params(kept)}
    if is_fitted(estimator):
        module = getattr(estimator, "module_", None)
        state = module if module is not None else vars(estimator)
        # Of a network its weights; of others all that was fitted.
        content["fitted"] = describe(module) if module is not None else joblib.hash(state)
    return content


def describe_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as plain data."""
    return {
        str(name): _describe_value(value)
        for name, value in params.items()
        if name not in _NO_NUMBER
    }


def describe_function(function: Any) -> dict[str, Any]:
    """A function by its name, its text where there is one, and what is bound to it."""
    if isinstance(function, functools.partial):
        return {
            **describe_function(function.func),
            "bound": [_describe_value(value) for value in function.args],
            "bound_by_name": describe_params(function.keywords),
        }
    kind = function if inspect.isroutine(function) else type(function)
    content = {"name": getattr(kind, "__qualname__", str(kind)), "module": kind.__module__}
    try:
        # A changed function makes other numbers, under the same name.
        content["text"] = joblib.hash(inspect.getsource(kind))
    except (OSError, TypeError):
        pass  # typed in at a prompt
    return content


def _describe_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return describe_params(value)
    if isinstance(value, list | tuple):
        return [_describe_value(item) for item in value]
    if hasattr(value, "get_params") and not isinstance(value, type):
        return describe_estimator(value)
    if callable(value) and inspect.isroutine(value):
        return describe_function(value)
    known = describe(value)
    if isinstance(known, str) and not isinstance(value, str | os.PathLike | type):
        # Of other objects describe knows the name of the class alone.
        return {known: joblib.hash(value)}
    return known


def _plain(value: Any) -> Any:
    """Data as they come out of a JSON file."""
    return json.loads(json.dumps(value, default=_number))


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain data")
