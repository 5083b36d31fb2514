"""Read named tensors from files and dictionaries of all the forms in which they are found."""

import pickle
import re
from collections.abc import Iterable, Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.exceptions import CheckpointError
from pointinteract.utils._optional import import_optional

_WRAPPERS = ("base_model", "model_state_dict", "state_dict", "model", "module")
# Under which training scripts keep a running average of the weights beside these.
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "model_ema_state_dict")
_N_SHOWN = 5


def read_tensors(
    checkpoint: str | PathLike[str] | Mapping[str, Any], *, ema: bool = False
) -> dict[str, Tensor]:
    """Read a checkpoint, whatever it is wrapped in, as names without ``module.`` to tensors.

    Parameters
    ----------
    checkpoint : path or mapping
        A file of torch, npz or safetensors, or what such a file holds: tensors or arrays by
        name, or a dictionary with them under one of the usual keys.
    ema : bool, default=False
        Read the running average of the weights that a file holds beside these, not the weights.

    Raises
    ------
    CheckpointError
        If it cannot be read without unpickling objects, holds other things than tensors, or
        lacks the weights or the average that is asked for.
    """
    content = _unwrap(checkpoint, ema)
    tensors: dict[str, Tensor] = {}
    for key, value in content.items():
        if not isinstance(value, (Tensor, np.ndarray, np.generic)):
            raise CheckpointError(
                f"A checkpoint must map names to tensors; {key!r} is of type "
                f"{type(value).__name__}. Its entries are {list_some(map(str, content))}."
            )
        name = re.sub(r"(^|\.)(module\.)+", r"\1", str(key))
        if name in tensors:
            raise CheckpointError(f"The checkpoint holds {name!r} twice, with and without module.")
        if not isinstance(value, Tensor):
            value = torch.from_numpy(np.array(value))
        tensors[name] = value.detach().cpu()
    return tensors


def list_some(names: Iterable[str]) -> str:
    """Join the first few names for a message."""
    listed = list(names)
    return ", ".join(listed[:_N_SHOWN]) + (", ..." if len(listed) > _N_SHOWN else "")


def _unwrap(checkpoint: str | PathLike[str] | Mapping[str, Any], ema: bool) -> Mapping[str, Any]:
    """Return the mapping of names to values, out of its file and its wrappers."""
    content = checkpoint
    if isinstance(checkpoint, (str, PathLike)):
        content = _read_file(fspath(checkpoint))
    found = False
    while isinstance(content, Mapping):
        average = _first_mapping(content, _AVERAGES)
        inner = _first_mapping(content, _WRAPPERS)
        if average and ema and not found:
            inner, found = average, True
        elif average and not inner:
            raise CheckpointError(
                f"The checkpoint holds no weights but their running average, under {average!r}. "
                "Read that with load_official(..., ema=True)."
            )
        if not inner:
            break
        content = content[inner]
    if ema and not found:
        raise CheckpointError(
            "ema=True asks for a running average of the weights, which the checkpoint does not "
            f"hold under any of {', '.join(_AVERAGES)}."
        )
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            "A checkpoint must be a file or a mapping of names to tensors, got "
            f"{'an empty mapping' if isinstance(content, Mapping) else type(content).__name__}."
        )
    return content


def _first_mapping(content: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """The first of the keys under which there is a mapping."""
    return next((key for key in keys if isinstance(content.get(key), Mapping)), None)


def _read_file(path: str) -> Any:
    try:
        if path.endswith(".npz"):
            with np.load(path, allow_pickle=False) as archive:
                return dict(archive)
        if path.endswith(".safetensors"):
            safetensors = import_optional(
                "safetensors.torch", extra="share", purpose="reading .safetensors files"
            )
            return safetensors.load_file(path)
        with torch.serialization.safe_globals(_numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (ImportError, FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a file of tensors: it is damaged, or holds other Python objects, "
            f"which are not loaded for safety. ({_first_line(error)})"
        ) from error
    except Exception as error:  # torch, numpy and zipfile each have their own
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint; it may be truncated or of another "
            f"format. ({type(error).__name__}: {_first_line(error)})"
        ) from error


def _numpy_scalars() -> list[Any]:
    """List what is needed to read accuracies that were saved as numpy scalars."""
    multiarray = getattr(np, "_core", None) or np.core
    scalar = multiarray.multiarray.scalar
    kinds = [type(np.dtype(code)) for code in "?bBhHiIlLqQefd"]
    return [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        np.dtype,
        *dict.fromkeys(kinds),
    ]


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no further word"
