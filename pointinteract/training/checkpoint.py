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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.utils._archive import read_archive, write_archive

__all__ = ["TrainingCheckpoint", "fingerprint"]

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
        self.path = Path(path)
        self.settings = dict(settings)
        self._write_again = 0.0
        if not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint={str(path)!r}: there is no folder {str(self.path.parent)!r}; make it "
                "first."
            )

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
        tensors = [torch.from_numpy(array) for array in arrays]
        return _joined(document["state"], tensors)

    def write(self, state: Mapping[str, Any], *, last: bool = False) -> None:
        """Write a state: nested dictionaries and lists of tensors, numbers, texts and None.

        Without `last`, it does so only if the last write is long enough ago.
        """
        started = time.perf_counter()
        if started < self._write_again and not last:
            return
        arrays: list[np.ndarray] = []
        document = {
            "format": FORMAT,
            "format_number": FORMAT_NUMBER,
            "settings": self.settings,
            "state": _parted(state, arrays),
        }
        for half in self.path.parent.glob(f".{glob.escape(self.path.name)}.*.part"):
            half.unlink()  # left by a write that was killed
        write_archive(self.path, document, arrays)
        finished = time.perf_counter()
        self._write_again = finished + TIMES_LAST_WRITE * (finished - started)


def fingerprint(value: Any) -> str:
    """Describe a value so that equal texts mean equal values, as far as can be told.

    Plain values are written out, arrays, tensors and modules by a digest of their numbers,
    estimators with their parameters, functions by name.
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
    if isinstance(value, Mapping):
        return repr({str(key): fingerprint(inner) for key, inner in value.items()})
    if isinstance(value, (list, tuple)):
        return repr([fingerprint(inner) for inner in value])
    if value is None or isinstance(value, (bool, int, float, str, np.generic)):
        return repr(value)
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def _parted(value: Any, arrays: list[np.ndarray]) -> Any:
    """Replace tensors by their number in `arrays`, and mark the kinds that JSON lacks."""
    if isinstance(value, Tensor):
        arrays.append(value.detach().cpu().numpy())
        return {"array": len(arrays) - 1}
    if isinstance(value, Mapping):
        return {"items": [[key, _parted(inner, arrays)] for key, inner in value.items()]}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_parted(inner, arrays) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):  # infinities too, which JSON has no word for
        return {"float": value.hex()}
    return value


def _joined(value: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(value, list):
        return [_joined(inner, tensors) for inner in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return tensors[value["array"]]
    if "float" in value:
        return float.fromhex(value["float"])
    return {key: _joined(inner, tensors) for key, inner in value["items"]}


def _short(text: str | None) -> str:
    if text is None:
        return "not there"
    return text if len(text) <= 60 else text[:57] + "..."
