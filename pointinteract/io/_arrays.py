"""Named arrays from npy, npz and HDF5 files, without ever unpickling.

Sizes that a file declares are compared with the bytes it holds before memory is taken.
"""

import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from pointinteract.io._errors import bad_file, check_exists, describe_start
from pointinteract.utils._optional import import_optional

# No compression that npz or HDF5 use shrinks below a thousandth.
MAX_RATIO = 1100
BROKEN = (ValueError, EOFError, OSError, KeyError, SyntaxError, TypeError, MemoryError,
          zlib.error, zipfile.BadZipFile, RuntimeError, tokenize.TokenError)  # fmt: skip


def read_npy(path: Path | str) -> np.ndarray:
    """Read one array from an npy file."""
    path = check_exists(path)
    with path.open("rb") as file:
        start = file.read(8)
        if not start.startswith(b"\x93NUMPY"):
            raise bad_file(path, describe_start(start), "an npy file")
        file.seek(0)
        return _read_array(path, file, path.stat().st_size, "the array")


def read_npz(path: Path | str, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read the arrays of an npz archive, or those of the given names that it has."""
    path = check_exists(path)
    with path.open("rb") as file:
        start = file.read(8)
    if not start.startswith(b"PK"):
        raise bad_file(path, describe_start(start), "an npz archive")
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if names is not None and name not in names:
                    continue
                if not info.filename.endswith(".npy"):
                    raise bad_file(path, f"it holds {info.filename!r}", "npy arrays only")
                if info.file_size > MAX_RATIO * info.compress_size + 1024:
                    raise bad_file(
                        path,
                        f"{name!r} claims {info.file_size} bytes from {info.compress_size} packed",
                        "an archive written by numpy.savez",
                    )
                with archive.open(info) as member:
                    arrays[name] = _read_array(path, member, info.file_size, repr(name))
    except (zipfile.BadZipFile, RuntimeError, OSError, EOFError) as error:
        raise bad_file(
            path, f"the archive is damaged or cut short ({error})", "a whole npz archive"
        ) from error
    return arrays


def read_h5(path: Path | str, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read those of the named top-level data sets that an HDF5 file has."""
    path = check_exists(path)
    with path.open("rb") as file:
        start = file.read(8)
    if start != b"\x89HDF\r\n\x1a\n":
        raise bad_file(path, describe_start(start), "an HDF5 file")
    h5py = import_optional("h5py", extra="io", purpose="reading .h5 files")
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            for name in names:
                # External links would make a file read other files of this machine.
                link = file.get(name, getlink=True)
                if link is None or not isinstance(link, h5py.HardLink):
                    continue
                item = file[name]
                if not isinstance(item, h5py.Dataset) or item.is_virtual or item.external:
                    raise bad_file(path, f"{name!r} is no plain data set", "an array in the file")
                if item.dtype.kind not in "fiu":
                    raise bad_file(path, f"{name!r} has dtype {item.dtype}", "real numbers")
                stored = item.id.get_storage_size()
                if item.size * item.dtype.itemsize > MAX_RATIO * stored:
                    raise bad_file(
                        path,
                        f"{name!r} claims shape {item.shape} but {stored} bytes are stored",
                        "a whole HDF5 file",
                    )
                arrays[name] = item[()]
    except (OSError, KeyError, RuntimeError, MemoryError, EOFError) as error:
        raise bad_file(
            path, f"it is damaged or cut short ({error})", "a whole HDF5 file"
        ) from error
    return arrays


def _read_array(path: Path, file, size: int, name: str) -> np.ndarray:
    """Read one npy array of `size` bytes from an open binary file."""
    right = "an array of plain numbers or text, saved with allow_pickle=False"
    try:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read_header(file)
        head = file.tell()
    except (zipfile.BadZipFile, zlib.error) as error:
        raise bad_file(path, f"{name} is damaged or cut short ({error})", right) from error
    except BROKEN as error:
        raise bad_file(path, f"{name} has no valid npy header ({error})", right) from error
    if dtype.hasobject:
        raise bad_file(
            path, f"{name} holds pickled Python objects, which are never loaded", right
        )
    n_items = 1
    for length in shape:
        n_items *= int(length)
    if n_items < 0 or head + n_items * dtype.itemsize > size:
        raise bad_file(
            path,
            f"{name} claims shape {shape} of {dtype} but only {size - head} bytes follow; the "
            "file is cut short",
            f"{n_items * dtype.itemsize} bytes",
        )
    try:
        raw = file.read(n_items * dtype.itemsize)
        array = np.frombuffer(bytearray(raw), dtype=dtype)
        return array.reshape(shape, order="F" if fortran else "C")
    except BROKEN as error:
        raise bad_file(path, f"{name} is damaged or cut short ({error})", right) from error
