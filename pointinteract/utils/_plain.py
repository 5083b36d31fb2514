"""Plain Python values, arrays and tables as JSON plus a list of arrays, and back.

JSON knows fewer kinds than Python, so whatever is none of its own becomes an object with one
key that names the kind. `persistence` adds the estimators.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from pointinteract.exceptions import CheckpointError, FileFormatError
from pointinteract.utils._archive import check_plain

TEXT_DTYPES = ("object", "str", "string")


class PlainWriter:
    """Turn a tree of plain values into JSON, collecting the arrays in `arrays`."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []

    def encode(self, value: Any, where: str) -> Any:
        """Encode `value`; `where` is the way to it, for messages."""
        if isinstance(value, np.generic):
            # Before int, float and str, from which some numpy scalars derive.
            return {"scalar": self._add(np.asarray(value), where)}
        if value is None or type(value) in (str, bool, int):
            return value
        if isinstance(value, float):
            return float(value) if np.isfinite(value) else {"float": repr(float(value))}
        if isinstance(value, np.ndarray):
            return self._encode_array(value, where)
        if type(value) in (list, tuple):
            items = [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            return {
                "dict": [
                    [self.encode(key, f"{where} key"), self.encode(item, f"{where}[{key!r}]")]
                    for key, item in value.items()
                ]
            }
        if isinstance(value, pd.DataFrame):
            return self._encode_frame(value, where)
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if isinstance(value, torch.device):
            return {"device": str(value)}
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, np.random.RandomState):
            return {"random_state": self.encode(value.get_state(legacy=False), where)}
        return self.encode_other(value, where)

    def encode_other(self, value: Any, where: str) -> Any:
        """Encode what is not plain; here, refuse it."""
        raise TypeError(
            f"{where} cannot be saved: it is {shorten(value)} of type "
            f"{type(value).__qualname__}. Files hold plain values, arrays, tables and estimators "
            "of pointinteract; replace it by one (a name, an array of ready features), set it to "
            "None if it was only the start of a training, or use joblib.dump among people who "
            "trust each other."
        )

    def _add(self, array: np.ndarray, where: str) -> int:
        try:
            check_plain(array)
        except TypeError as error:
            raise TypeError(f"{where} cannot be saved: {error}") from None
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _encode_array(self, array: np.ndarray, where: str) -> dict[str, Any]:
        if array.dtype.kind != "O":
            return {"array": self._add(array, where)}
        items = [self.encode(item, f"{where}[{i}]") for i, item in enumerate(array.ravel())]
        return {"objects": {"shape": list(array.shape), "items": items}}

    def _encode_frame(self, frame: pd.DataFrame, where: str) -> dict[str, Any]:
        columns = []
        for position, name in enumerate(frame.columns):
            column, place = frame.iloc[:, position], f"{where}[{name!r}]"
            if isinstance(column.dtype, np.dtype):
                values = column.to_numpy()
            elif str(column.dtype) in TEXT_DTYPES:
                values = column.to_numpy(dtype=object)
            else:
                raise TypeError(f"{place} cannot be saved: it is a column of {column.dtype}.")
            columns.append([self.encode(name, place), self.encode(values, place)])
        index = None
        if not (isinstance(frame.index, pd.RangeIndex) and frame.index.name is None):
            values = frame.index.to_numpy()
            index = [self.encode(frame.index.name, where), self.encode(values, f"{where}.index")]
        return {"frame": {"length": len(frame), "columns": columns, "index": index}}


class PlainReader:
    """Turn the JSON of a `PlainWriter` back, believing none of it."""

    def __init__(self, arrays: list[np.ndarray]) -> None:
        self.arrays = arrays
        self.kinds: dict[str, Callable[[Any, str], Any]] = {
            "scalar": lambda value, where: self._array(value, where)[()],
            "float": lambda value, where: float(value),
            "array": self._array,
            "tuple": lambda value, where: tuple(self.decode(list(value), where)),
            "dict": lambda value, where: {
                self.decode(key, where): self.decode(item, f"{where}[{key!r}]")
                for key, item in value
            },
            "objects": self._decode_objects,
            "frame": self._decode_frame,
            "dtype": lambda value, where: np.dtype(str(value)),
            "device": lambda value, where: torch.device(str(value)),
            "path": lambda value, where: Path(value),
            "random_state": self._decode_random_state,
        }

    def decode(self, value: Any, where: str) -> Any:
        """Decode one node; `where` is the way to it, for messages."""
        if value is None or isinstance(value, str | bool | int | float):
            return value
        if isinstance(value, list):
            return [self.decode(item, f"{where}[{i}]") for i, item in enumerate(value)]
        kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else None
        if kind not in self.kinds:
            raise FileFormatError(f"{where} is of an unknown kind: {shorten(value)}.")
        try:
            return self.kinds[kind](value[kind], where)
        except (FileFormatError, CheckpointError, RecursionError):
            raise
        except Exception as error:
            # What a mangled node does to the calls above is not worth telling apart.
            raise FileFormatError(f"{where} is not a valid {kind} ({error!r}).") from error

    def _array(self, number: Any, where: str) -> np.ndarray:
        if type(number) is not int or not 0 <= number < len(self.arrays):
            raise FileFormatError(
                f"{where} refers to array {number!r} of {len(self.arrays)} in the file."
            )
        return self.arrays[number]

    def _decode_objects(self, value: Any, where: str) -> np.ndarray:
        items = self.decode(list(value["items"]), where)
        array = np.empty(len(items), dtype=object)
        for position, item in enumerate(items):
            array[position] = item
        return array.reshape(value["shape"])

    def _decode_frame(self, value: Any, where: str) -> pd.DataFrame:
        names = [self.decode(name, where) for name, _ in value["columns"]]
        columns = {
            number: self.decode(column, f"{where}[{number}]")
            for number, (_, column) in enumerate(value["columns"])
        }
        if value["index"] is not None:
            name, labels = self.decode(value["index"], where)
            index = pd.Index(labels, name=name)
        else:
            index = pd.RangeIndex(value["length"])
        frame = pd.DataFrame(columns, index=index)
        frame.columns = pd.Index(names)
        return frame

    def _decode_random_state(self, value: Any, where: str) -> np.random.RandomState:
        random_state = np.random.RandomState()
        random_state.set_state(self.decode(value, where))
        return random_state


def shorten(value: Any) -> str:
    """The repr of a value, cut where it would drown the message around it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
