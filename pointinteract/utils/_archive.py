"""One file of JSON and plain arrays: written whole or not at all, read without trusting it.

The file is an uncompressed zip, laid out so that ``numpy.load`` opens it too. Nothing in it is
ever unpickled, no array is allocated before its bytes are known to be there, and storing
without compression leaves no room for a small file that unfolds into a huge one.
"""

import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pointinteract.exceptions import FileFormatError

DOCUMENT = "document.json"
ARRAY = "arrays/{:05d}.npy"
# Booleans, numbers, text, times; not objects (pickle) and not records (which may hold objects).
PLAIN_KINDS = "biufcSUmM"
# The date is fixed so that equal content gives equal bytes.
DATE = (1980, 1, 1, 0, 0, 0)

FOREIGN = {
    b"\x89HDF": "an HDF5 file",
    b"\x93NUM": "a single numpy array (.npy)",
    b"\x80": "a pickle, which is never opened here",
    b"PK": "a zip archive of something else, or one cut short",
}


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to, and move it over `path` only if the body succeeds.

    An interrupted or failing write leaves what was at `path` before, and no half of a file.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp is stricter than what the user's umask asks of new files.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_archive(
    path: str | os.PathLike[str], document: dict[str, Any], arrays: Sequence[np.ndarray]
) -> None:
    """Write a JSON document and the plain arrays that it refers to by number.

    Parameters
    ----------
    path : path-like
        Replaced in one step; the folder must exist.
    document : dict
        Whatever JSON holds; infinities and not-a-number are refused.
    arrays : sequence of ndarray
        Of plain dtype: numbers, booleans, text, times.
    """
    text = json.dumps(document, allow_nan=False, ensure_ascii=False, indent=1)
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(zipfile.ZipInfo(DOCUMENT, DATE), text.encode())
        for number, array in enumerate(arrays):
            check_plain(array)
            with archive.open(
                zipfile.ZipInfo(ARRAY.format(number), DATE), "w", force_zip64=True
            ) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Read what `write_archive` wrote.

    Raises
    ------
    FileFormatError
        If the file is truncated, was not written by `write_archive`, or is made to do harm.
    """
    with open(path, "rb") as file:
        start = file.read(8)
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_members(archive)
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        # RuntimeError is what zipfile raises for an encrypted member.
        found = next((text for magic, text in FOREIGN.items() if start.startswith(magic)), None)
        found = found or ("empty" if not start else f"something that starts with {start!r}")
        raise FileFormatError(
            f"{path} is not a complete file saved by pointinteract: it is {found} ({error})."
        ) from error
    except FileFormatError as error:
        raise FileFormatError(f"{path} is not a file saved by pointinteract: {error}") from error


def check_plain(array: np.ndarray) -> None:
    """Raise a TypeError unless the array can be stored without pickling."""
    if array.dtype.kind not in PLAIN_KINDS:
        raise TypeError(f"an array of dtype {array.dtype} cannot be stored as plain numbers.")


def _read_members(archive: zipfile.ZipFile) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Check the list of members first, then read them in order."""
    members = {info.filename: info for info in archive.infolist()}
    if DOCUMENT not in members:
        hint = ""
        if any(name.endswith("data.pkl") for name in members):
            hint = " It looks like a PyTorch checkpoint, which `load_official` reads."
        raise FileFormatError(f"it holds no {DOCUMENT}, but {sorted(members)[:5]}.{hint}")
    names = [ARRAY.format(number) for number in range(len(members) - 1)]
    if set(members) != {DOCUMENT, *names} or len(archive.infolist()) != len(members):
        unexpected = sorted(set(members) - {DOCUMENT, *names})[:5]
        raise FileFormatError(f"its arrays are not numbered without gaps: {unexpected}.")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise FileFormatError("its members are compressed, which ours never are.")
    try:
        document = json.loads(archive.read(DOCUMENT))
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"its {DOCUMENT} is not valid JSON ({error}).") from error
    if not isinstance(document, dict):
        raise FileFormatError(f"its {DOCUMENT} holds no object but a {type(document).__name__}.")
    return document, [_read_array(archive.read(name), name) for name in names]


def _read_array(content: bytes, name: str) -> np.ndarray:
    """Read one .npy member, comparing what its header promises with the bytes there."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.kind not in PLAIN_KINDS:
            raise FileFormatError(f"{name} holds {dtype}, not plain numbers or text.")
        promised = dtype.itemsize
        for length in shape:
            promised *= length
        present = len(content) - stream.tell()
        if promised != present or any(length < 0 for length in shape):
            raise FileFormatError(
                f"{name} promises {dtype} of shape {shape}, {promised} bytes, and has {present}."
            )
        stream.seek(0)
        return np.lib.format.read_array(stream, allow_pickle=False)
    except FileFormatError:
        raise
    except Exception as error:
        # numpy reports a broken header by half a dozen kinds of exception.
        raise FileFormatError(f"{name} is not a readable array ({error}).") from error
