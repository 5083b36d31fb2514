"""Save an estimator to one file and load it back, without pickle.

The file holds a readable JSON document (class, parameters, fitted attributes) and plain
arrays. Loading a file from a stranger builds estimators of this package and nothing else; for
arbitrary Python objects use joblib, and only with files that you trust.
"""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator

from pointinteract._version import __version__
from pointinteract.exceptions import CheckpointError, FileFormatError
from pointinteract.utils._archive import read_archive, write_archive
from pointinteract.utils._plain import PlainReader, PlainWriter

__all__ = ["is_saved_estimator", "load", "save"]

FORMAT = "pointinteract estimator"
FORMAT_NUMBER = 1
# Every public estimator of these packages can be saved; a new one needs no entry here.
PACKAGES = ("losses", "preprocessing", "pretraining", "classification", "segmentation")
# What of scikit-learn may stand as a parameter or a fitted attribute of ours.
FOREIGN_ESTIMATORS = {
    "sklearn.frozen:FrozenEstimator",
    "sklearn.preprocessing:LabelEncoder",
    "sklearn.preprocessing:StandardScaler",
}


def save(estimator: BaseEstimator, path: str | os.PathLike[str]) -> Path:
    """Write an estimator, fitted or not, to one file.

    Parameters
    ----------
    estimator : estimator
        A public estimator of this package. Estimators in its parameters, such as the
        pretrainer of a classifier, are saved with it.
    path : path-like
        Where to. An existing file is replaced in one step, so an interruption leaves either
        the old file or the new one.

    Returns
    -------
    path : Path
        Where it went.

    See Also
    --------
    load : The way back.

    Examples
    --------
    >>> import tempfile
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.persistence import load, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = save(PointClassifier(max_epochs=7), f"{folder}/classifier.npz")
    ...     load(path).max_epochs
    7
    """
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"save writes estimators of pointinteract, got {type(estimator)}.")
    writer = _Writer()
    content = writer.encode(estimator, type(estimator).__name__)
    document = {
        "format": FORMAT,
        "format_number": FORMAT_NUMBER,
        "versions": {
            "pointinteract": __version__,
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": str(torch.__version__),
        },
        "content": content,
    }
    write_archive(path, document, writer.arrays)
    return Path(path)


def load(path: str | os.PathLike[str]) -> Any:
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    estimator : estimator
        Ready to predict if it was fitted. It lives on the device that its parameter names where
        this machine has it, else on the CPU; ``device_`` says which.

    Raises
    ------
    FileFormatError
        If the file is truncated, of another kind, or written by a later version.
    CheckpointError
        If the file is sound but what it holds does not fit the class that it names.
    """
    document, arrays = read_archive(path)
    if document.get("format") != FORMAT:
        raise FileFormatError(
            f"{path} holds {document.get('format')!r}, not a {FORMAT!r} written by save."
        )
    number = document.get("format_number")
    if number != FORMAT_NUMBER:
        versions = document.get("versions")
        by = versions.get("pointinteract") if isinstance(versions, dict) else None
        raise FileFormatError(
            f"{path} was written by pointinteract {by} in layout {number!r}; this version "
            f"{__version__} reads layout {FORMAT_NUMBER}. Upgrade pointinteract."
        )
    try:
        estimator = _Reader(arrays).decode(document.get("content"), "content")
    except (FileFormatError, CheckpointError) as error:
        raise type(error)(f"{path} cannot be loaded: {error}") from error
    except RecursionError as error:
        raise FileFormatError(f"{path} cannot be loaded: it is nested too deeply.") from error
    if not isinstance(estimator, BaseEstimator):
        raise FileFormatError(f"{path} holds a {type(estimator).__name__}, not an estimator.")
    return estimator


def is_saved_estimator(path: str | os.PathLike[str]) -> bool:
    """Say whether a file was written by `save`, without loading what it holds.

    Parameters
    ----------
    path : path-like
        An existing file of any kind.

    Returns
    -------
    answer : bool
        False for files that are truncated, too; `load` then says what is wrong.
    """
    try:
        document, _ = read_archive(path)
    except FileFormatError:
        return False
    return document.get("format") == FORMAT


class _Writer(PlainWriter):
    """A writer that knows estimators and the names of models."""

    def __init__(self) -> None:
        super().__init__()
        # By identity, with the object kept: the number of a dead object may be given anew.
        self._written: dict[int, tuple[int, BaseEstimator]] = {}

    def encode_other(self, value: Any, where: str) -> Any:
        if isinstance(value, BaseEstimator):
            return self._encode_estimator(value, where)
        name = _model_name(value)
        if name is not None:
            return {"model": name}
        return super().encode_other(value, where)

    def _encode_estimator(self, estimator: BaseEstimator, where: str) -> dict[str, Any]:
        if id(estimator) in self._written:
            return {"again": self._written[id(estimator)][0]}
        number = len(self._written)
        self._written[id(estimator)] = (number, estimator)
        key = _class_key(type(estimator), where)
        state = {
            str(name): self.encode(value, f"{where}.{name}")
            for name, value in estimator.__getstate__().items()
        }
        return {"estimator": {"class": key, "number": number, "state": state}}


class _Reader(PlainReader):
    """A reader that builds estimators of this package, and no other object."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        super().__init__(arrays)
        self._read: dict[int, BaseEstimator] = {}
        self.kinds |= {
            "estimator": self._decode_estimator,
            "again": lambda number, where: self._read[number],
            "model": lambda name, where: _find_model(name),
        }

    def _decode_estimator(self, value: Any, where: str) -> BaseEstimator:
        estimator_class: Any = _find_class(value["class"])
        estimator: Any = estimator_class.__new__(estimator_class)
        self._read[value["number"]] = estimator
        name = estimator_class.__name__
        state = {key: self.decode(item, f"{name}.{key}") for key, item in value["state"].items()}
        missing = sorted(set(estimator_class._get_param_names()) - set(state))
        if missing:
            raise CheckpointError(f"{name} in the file lacks the parameters {missing}.")
        try:
            estimator.__setstate__(state)
        except Exception as error:
            raise CheckpointError(f"what it holds does not make a {name}: {error}") from error
        return estimator


def _class_key(estimator_class: type[BaseEstimator], where: str) -> str:
    """Name a class by the public package that a user imports it from."""
    words = estimator_class.__module__.split(".")
    name = estimator_class.__name__
    key = f"{'.'.join(words[:2])}:{name}"
    try:
        found = _find_class(key)
    except CheckpointError:
        found = None
    if found is not estimator_class:
        raise TypeError(
            f"{where} cannot be saved: {estimator_class.__module__}.{name} is no public "
            "estimator of pointinteract, so a file naming it could not be loaded elsewhere."
        )
    return key


def _find_class(key: Any) -> type[BaseEstimator]:
    """Find the class that a file names, among those allowed and no other."""
    package, _, name = str(key).partition(":")
    ours = package in [f"pointinteract.{word}" for word in PACKAGES]
    if ours or key in FOREIGN_ESTIMATORS:
        try:
            module = importlib.import_module(package)
        except ModuleNotFoundError:
            module = None
        found = getattr(module, name, None) if name in getattr(module, "__all__", ()) else None
        if isinstance(found, type) and issubclass(found, BaseEstimator):
            return found
    raise CheckpointError(
        f"it names the class {key!r}, and only public estimators of pointinteract "
        f"({', '.join(PACKAGES)}) are loaded."
    )


def _model_name(value: Any) -> str | None:
    """The public name of a model class or function of ours, or None if it is none."""
    name = getattr(value, "__name__", None)
    if not isinstance(name, str) or not callable(value):
        return None
    try:
        return name if _find_model(name) is value else None
    except CheckpointError:
        return None


def _find_model(name: Any) -> Any:
    models = importlib.import_module("pointinteract.models")
    if name not in getattr(models, "__all__", ()):
        raise CheckpointError(f"it names the model {name!r}, which pointinteract.models lacks.")
    return getattr(models, name)
