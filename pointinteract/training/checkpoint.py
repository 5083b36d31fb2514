"""A training that may be killed: its state lies in a file, and another fit goes on from there.

What a run carries from one epoch to the next is the module (weights, statistics, queues,
momentum copies), the moments of the optimizer, the records and how many epochs there were; all
random streams follow from the seed and the epoch. So a state at the end of an epoch is enough
to give the numbers of a training that nobody killed, to the last bit on the CPU.
"""

import glob
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.utils._archive import read_archive, write_archive
from pointinteract.utils._plain import PlainReader, PlainWriter

__all__ = ["TrainingCheckpoint", "check_checkpoint", "fingerprint"]

FORMAT = "pointinteract unfinished training"
FORMAT_NUMBER = 1
# A write waits until so many times the last one's duration is over: at most a twentieth of the
# time goes there, however large the network.
TIMES_LAST_WRITE = 20.0


class TrainingCheckpoint:
    """The file of one training.

    Parameters
    ----------
    path : path-like
        Replaced whole; its folder must exist.
    settings : dict of str to str
        What the training is of: a file of other settings is refused.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, str]):
        self.path = check_checkpoint(path)
        self.settings = dict(settings)
        self._write_again = 0.0

    def read(self) -> dict[str, Any] | None:
        """Read the state that was written last, as `write` got it; None if there is no file.

        Raises
        ------
        FileFormatError
            If the file is damaged or something else.
        CheckpointError
            If it is of another training.
        """
        if not self.path.exists():
            return None
        document, arrays = read_archive(self.path)
        if document.get("format") != FORMAT or document.get("format_number") != FORMAT_NUMBER:
            raise CheckpointError(
                f"{self.path} holds {document.get('format')!r} in layout "
                f"{document.get('format_number')!r}, not a {FORMAT!r} in layout {FORMAT_NUMBER}; "
                "give another name as checkpoint."
            )
        theirs = document["settings"]
        names = sorted(set(theirs) | set(self.settings))
        differing = [name for name in names if theirs.get(name) != self.settings.get(name)]
        if differing:
            shown = "; ".join(
                f"{name} was {_short(theirs.get(name))} and is {_short(self.settings.get(name))}"
                for name in differing[:3]
            )
            raise CheckpointError(
                f"{self.path} is of another training: {shown}. Give another name as checkpoint, "
                "or delete the file to begin anew."
            )
        return _Reader(arrays).decode(document["state"], str(self.path))

    def write(self, state: Mapping[str, Any], *, last: bool = False) -> None:
        """Write a state: nested dictionaries and lists of tensors, numbers, texts and None.

        Without `last`, it does so only if the last write is long enough ago.
        """
        started = time.perf_counter()
        if started < self._write_again and not last:
            return
        writer = _Writer()
        document = {
            "format": FORMAT,
            "format_number": FORMAT_NUMBER,
            "settings": self.settings,
            "state": writer.encode(state, "state"),
        }
        for half in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.part"):
            half.unlink()  # left by a write that was killed
        write_archive(self.path, document, writer.arrays)
        finished = time.perf_counter()
        self._write_again = finished + TIMES_LAST_WRITE * (finished - started)


class _Writer(PlainWriter):
    """Plain values and tensors."""

    def encode_other(self, value: Any, where: str) -> Any:
        if isinstance(value, Tensor):
            return {"tensor": self._add(value.detach().cpu().numpy(), where)}
        return super().encode_other(value, where)


class _Reader(PlainReader):
    def __init__(self, arrays: list[np.ndarray]) -> None:
        super().__init__(arrays)
        self.kinds["tensor"] = lambda value, where: torch.from_numpy(self._array(value, where))


def check_checkpoint(path: Any) -> Path:
    """Return where a file may be written, or raise."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            "checkpoint must be the name of a file to keep the state of training in, or None; "
            f"got {path!r}."
        )
    file = Path(path)
    if file.is_dir():
        raise IsADirectoryError(
            f"checkpoint={str(path)!r} is a folder; give the name of a file, such as "
            f"{str(file / 'training.npz')!r}."
        )
    if not file.parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint={str(path)!r}: there is no folder {str(file.parent)!r}; make it first."
        )
    return file


def fingerprint(value: Any) -> str:
    """Describe a value so that equal texts mean equal values, as far as can be told.

    Plain values and paths are written out, arrays, tensors and modules by a digest of their
    numbers, estimators with their parameters, functions by name.
    """
    if isinstance(value, (np.ndarray, Tensor)):
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
        if array.dtype == object:
            return f"{type(value).__name__} of {fingerprint(array.tolist())}"
        digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
        return f"{array.dtype} {array.shape} {digest}"
    if isinstance(value, nn.Module):
        digest = hashlib.sha256(
            json.dumps({k: fingerprint(v) for k, v in value.state_dict().items()}).encode()
        ).hexdigest()[:16]
        return f"{type(value).__name__} {digest}"
    if hasattr(value, "get_params") and not isinstance(value, type):
        inner = fingerprint(getattr(value, "module_", None))
        return f"{type(value).__name__} {fingerprint(value.get_params(deep=False))} {inner}"
    if isinstance(value, os.PathLike):
        return repr(os.fspath(value))
    if isinstance(value, Mapping):
        return repr({str(key): fingerprint(inner) for key, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return repr([fingerprint(inner) for inner in value])
    if value is None or isinstance(value, (bool, int, float, str, np.generic)):
        return repr(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _short(text: str | None) -> str:
    if text is None:
        return "not there"
    return text if len(text) <= 60 else text[:57] + "..."
