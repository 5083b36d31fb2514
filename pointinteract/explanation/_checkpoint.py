"""Work that may be interrupted: what is finished lies in a file, and is taken up from there."""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pointinteract.exceptions import CheckpointError
from pointinteract.utils._archive import read_archive, write_archive

FORMAT = "pointinteract unfinished explanation"
FORMAT_NUMBER = 1
# Seconds between two writes; and how much longer than the last write took, so that writing
# stays a small share of the work however large the file grows.
SECONDS_BETWEEN = 5.0
TIMES_LAST_WRITE = 20.0


@dataclass
class Finished:
    """What is known so far.

    Attributes
    ----------
    values : list of ndarray, each (n_temperatures, S)
        Of the clouds that are finished, in their order.
    columns : list of (target, predicted)
        -1 for models that answer plain values.
    answers : list of ndarray, each (S, K)
        Where they are kept.
    partial : list of ndarray, each (s, K)
        Answers of the cloud after these, as far as they go.
    n_clipped : int
    """

    values: list[np.ndarray]
    columns: list[tuple[int, int]]
    answers: list[np.ndarray]
    partial: list[np.ndarray]
    n_clipped: int = 0

    @classmethod
    def nothing(cls) -> "Finished":
        """Begin."""
        return cls([], [], [], [])


class Checkpoint:
    """The file of one piece of work.

    Parameters
    ----------
    path : path-like
    settings : dict
        Everything that values depend on, as JSON; another run must have the same.
    probe : ndarray
        What the model answers to a few masked clouds: tells one model from another.
    """

    def __init__(
        self, path: str | os.PathLike[str], settings: dict[str, Any], probe: np.ndarray
    ) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))
        self.probe = np.asarray(probe, dtype=np.float64)
        self._last = time.monotonic()
        self._cost = 0.0

    def read(self) -> Finished:
        """Return what is finished; nothing if there is no file yet.

        Raises
        ------
        CheckpointError
            If the file belongs to other clouds, another model or other settings.
        FileFormatError
            If it is no such file at all.
        """
        if not self.path.exists():
            if not self.path.parent.is_dir():
                raise CheckpointError(
                    f"resume={str(self.path)!r} is in a folder that is not there."
                )
            return Finished.nothing()
        if self.path.is_dir():
            raise CheckpointError(
                f"resume={str(self.path)!r} is a folder; name a file in it, such as "
                f"{str(self.path / 'explanation.part')!r}."
            )
        document, arrays = read_archive(self.path)
        if document.get("format") != FORMAT or document.get("format_number") != FORMAT_NUMBER:
            raise CheckpointError(
                f"{self.path} is not an unfinished explanation that this version can go on with: "
                f"it holds {document.get('format')!r}, layout {document.get('format_number')!r}."
            )
        self._check_same(document.get("settings"))
        try:
            found = dict(zip(document["arrays"], arrays, strict=True))
            self._check_same_model(found["probe"])
            return _unpack(found, int(document["n_clipped"]))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{self.path} is damaged ({error!r}).") from error

    def write(self, finished: Finished, *, now: bool = False) -> None:
        """Write what is finished, unless that was done only just now."""
        waited = time.monotonic() - self._last
        if not now and waited < max(SECONDS_BETWEEN, TIMES_LAST_WRITE * self._cost):
            return
        started = time.monotonic()
        arrays = {"probe": self.probe, **_pack(finished)}
        document = {
            "format": FORMAT,
            "format_number": FORMAT_NUMBER,
            "settings": self.settings,
            "n_clipped": finished.n_clipped,
            "arrays": list(arrays),
        }
        write_archive(self.path, document, list(arrays.values()))
        self._last = time.monotonic()
        self._cost = self._last - started

    def _check_same(self, settings: Any) -> None:
        if not isinstance(settings, dict):
            raise CheckpointError(f"{self.path} does not say what it belongs to.")
        names = [
            name
            for name in {**self.settings, **settings}
            if settings.get(name, ...) != self.settings.get(name, ...)
        ]
        if names:
            raise CheckpointError(
                f"{self.path} was begun with another {', '.join(names)}: there "
                f"{settings.get(names[0])!r}, now {self.settings.get(names[0])!r}. Give this work "
                "a file of its own, or delete that one."
            )

    def _check_same_model(self, probe: np.ndarray) -> None:
        scale = max(1e-12, float(np.abs(self.probe).max()))
        same = probe.shape == self.probe.shape
        # Another machine rounds otherwise; another model is further away than that.
        if not same or float(np.abs(probe - self.probe).max()) > 1e-3 * scale:
            raise CheckpointError(
                f"{self.path} was begun with another model: this one answers the first cloud "
                "otherwise. Give this work a file of its own, or delete that one."
            )


def digest(arrays: Sequence[np.ndarray]) -> str:
    """Fingerprint of arrays: their shapes, types and bytes."""
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype.str}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()[:32]


def _pack(finished: Finished) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    n_clouds = len(finished.values)
    if n_clouds:
        arrays["values"] = np.stack(finished.values)
        # An interruption may have come in the middle of a cloud's being noted.
        arrays["columns"] = np.array(finished.columns[:n_clouds], dtype=np.int64)
        if finished.answers:
            arrays["answers"] = np.stack(finished.answers[:n_clouds])
    if finished.partial:
        arrays["partial"] = np.concatenate(finished.partial)
    return arrays


def _unpack(found: dict[str, np.ndarray], n_clipped: int) -> Finished:
    finished = Finished.nothing()
    finished.n_clipped = n_clipped
    if "values" in found:
        finished.values = list(found["values"])
        finished.columns = [(int(target), int(best)) for target, best in found["columns"]]
        if len(finished.columns) != len(finished.values):
            raise ValueError("columns and values are of different clouds")
    if "answers" in found:
        finished.answers = list(found["answers"])
        if len(finished.answers) != len(finished.values):
            raise ValueError("answers and values are of different clouds")
    if "partial" in found:
        finished.partial = [found["partial"]]
    return finished
