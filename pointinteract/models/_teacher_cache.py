"""What teachers said, kept on disk: a frozen teacher looks at each object once.

An entry is found by two digests. One is of the teacher: its class, its settings and its
weights. The other is of the bytes of the item. So a folder may be shared by teachers, by data
sets and by processes, and nothing has to be deleted when one of them changes.
"""

import copy
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from pointinteract.exceptions import FileFormatError
from pointinteract.models._teacher_base import Teacher
from pointinteract.utils._archive import read_archive, write_archive

__all__ = ["CachedTeacher", "digest_of"]

FORMAT = "pointinteract teacher features"
# Items encoded, and written, at once: what an interruption loses.
CHUNK = 256


class CachedTeacher(Teacher):
    """A teacher whose answers are kept in a folder and not asked for again.

    Parameters
    ----------
    teacher : Teacher
        One that says by `identity` what its answers depend on, as those of this package do.
    folder : path-like
        Where to. Made if it does not exist; any number of teachers and processes may share it.
    name : str, default=None
        Stands for the identity of a teacher that cannot say it, such as a function. Another
        name must be given whenever the answers change.

    Notes
    -----
    Files are written whole or not at all, after every 256 items; a file that is damaged is
    taken away and its items are encoded anew. Equal items are encoded once. The last bits of
    features may depend on what else was in the batch, so they may differ from those without a
    cache; from one run to the next with the same folder they do not.

    Examples
    --------
    >>> import tempfile
    >>> from pointinteract.models.teachers import CachedTeacher, TextEncoder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     teacher = CachedTeacher(TextEncoder(), folder)
    ...     teacher.encode(["a chair", "a table", "a chair"]).shape
    (3, 256)
    """

    def __init__(
        self, teacher: Teacher, folder: str | os.PathLike[str], *, name: str | None = None
    ) -> None:
        if teacher.takes == "ready":
            raise ValueError("Ready features are computed already; there is nothing to cache.")
        if name is None and not callable(getattr(teacher, "identity", None)):
            raise TypeError(_no_identity(teacher))
        self.teacher = teacher
        self.folder = os.fspath(folder)
        self.name = name
        self.takes = teacher.takes
        self.feature_dim = teacher.feature_dim

    def fit(self, items: Sequence[Any]) -> "CachedTeacher":
        """Let a copy of the teacher look at all training items; its answers are then others."""
        if hasattr(self.teacher, "fit"):
            self.teacher = copy.copy(self.teacher)
            self.teacher.fit(items)
            self.feature_dim = self.teacher.feature_dim
        return self

    def identity(self) -> tuple[Any, ...]:
        """What the answers depend on."""
        return ("name", self.name) if self.name is not None else tuple(self.teacher.identity())

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Give the features of n items, (n, feature_dim), asking only for unknown ones."""
        if len(items) == 0 or isinstance(items, str):
            return self.teacher.encode(items)  # which says what is wrong
        folder = Path(self.folder).expanduser() / digest_of(self.identity())
        keys = [_item_digest(item, self.takes) for item in items]
        known = self._read(folder, set(keys))
        # By key, so that equal items are asked for once; in the order they came.
        unknown = {key: item for key, item in zip(keys, items, strict=True) if key not in known}
        for chunk in _chunks(list(unknown), CHUNK):
            features = self._checked(self._ask([unknown[key] for key in chunk]), len(chunk))
            folder.mkdir(parents=True, exist_ok=True)
            document = {"format": FORMAT, "keys": chunk, "digest": _checksum(chunk, features)}
            write_archive(folder / f"{digest_of(chunk)}.npz", document, [features])
            known.update(zip(chunk, features, strict=True))
        return self._checked(np.stack([known[key] for key in keys]), len(items))

    def _ask(self, items: Any) -> np.ndarray:
        """Ask the teacher itself, in the form that items come in without a cache."""
        arrays = all(isinstance(item, np.ndarray) for item in items)
        if arrays and len({(item.shape, item.dtype) for item in items}) == 1:
            items = np.stack(items)
        return self.teacher.encode(items)

    def _read(self, folder: Path, wanted: set[str]) -> dict[str, np.ndarray]:
        """Find features of wanted keys in the files of one teacher."""
        known: dict[str, np.ndarray] = {}
        for path in sorted(folder.glob("*.npz")):
            if len(known) == len(wanted):
                break
            found = _read_file(path)
            if found is None:
                path.unlink(missing_ok=True)  # damaged; another process may have seen it too
                continue
            pairs = zip(*found, strict=True)
            known.update({key: row for key, row in pairs if key in wanted})
        return known


def digest_of(*parts: Any) -> str:
    """Digest plain values, arrays and tensors, nested in any depth, to 40 letters.

    Types and lengths count, so that different values do not run into each other.
    """
    state = hashlib.blake2b(digest_size=20)
    _feed(state, parts)
    return state.hexdigest()


def _item_digest(item: Any, takes: str) -> str:
    """Digest what a teacher is shown: a text, an array, a picture, or a file of one."""
    if takes == "images" and isinstance(item, str | os.PathLike):
        return digest_of("file", Path(item).read_bytes())  # another picture, same name
    if isinstance(item, str | np.ndarray | Tensor):
        return digest_of(item)
    if hasattr(item, "tobytes") and hasattr(item, "mode"):  # a Pillow picture
        return digest_of("picture", item.mode, item.size, item.tobytes())
    return digest_of(np.asarray(item))


def _feed(state: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # NumPy lacks bfloat16, which single precision holds exactly.
        value = value.float().numpy() if value.is_floating_point() else value.numpy()
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "O":
            raise TypeError("objects in an array have no bytes to digest.")
        head, content = f"array {value.dtype.str} {value.shape}", np.ascontiguousarray(value).data
    elif isinstance(value, bytes):
        head, content = f"bytes {len(value)}", memoryview(value)
    elif isinstance(value, dict):
        return _feed(state, ["dict", *value.items()])
    elif isinstance(value, list | tuple):
        state.update(f"list {len(value)};".encode())
        for part in value:
            _feed(state, part)
        return None
    elif value is None or isinstance(value, str | bool | int | float | np.generic):
        text = repr(value.item() if isinstance(value, np.generic) else value).encode()
        head, content = f"{type(value).__name__} {len(text)}", memoryview(text)
    else:
        raise TypeError(f"{type(value).__name__} has no bytes to digest.")
    state.update(f"{head};".encode())
    state.update(content.cast("B") if content.nbytes else b"")
    return None


def _checksum(keys: list[str], features: np.ndarray) -> str:
    return digest_of(keys, features)


def _read_file(path: Path) -> tuple[list[str], np.ndarray] | None:
    """Read keys and features of one file; None if it is not as it was written."""
    try:
        document, (features,) = read_archive(path)
        keys = document["keys"]
        sound = document["format"] == FORMAT and features.ndim == 2 and len(keys) == len(features)
        if sound and document["digest"] == _checksum(keys, features):
            return keys, features
    except (FileFormatError, OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _chunks(values: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _no_identity(teacher: Any) -> str:
    return (
        f"The answers of a {type(teacher).__name__} cannot be cached, since it does not say what "
        "they depend on. Give it a name: CachedTeacher(teacher, folder, name=...), or a method "
        "identity() that returns its settings and weights."
    )
