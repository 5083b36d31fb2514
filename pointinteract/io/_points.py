"""Read and write clouds: npy, npz, xyz/txt/csv, ply and h5."""

from pathlib import Path

import numpy as np

from pointinteract.io._arrays import read_h5, read_npy, read_npz
from pointinteract.io._errors import bad_file, check_exists, check_points
from pointinteract.io._ply import read_ply, write_ply
from pointinteract.utils._optional import import_optional

TEXT_SUFFIXES = (".xyz", ".txt", ".csv", ".pts", ".asc")
H5_SUFFIXES = (".h5", ".hdf5")
POINT_SUFFIXES = (".npy", ".npz", *TEXT_SUFFIXES, ".ply", *H5_SUFFIXES)
PLY_CHANNELS = ("x", "y", "z", "nx", "ny", "nz")


def read_points(path: Path | str, *, n_channels: int | None = 3) -> np.ndarray:
    """Read a cloud, or a stack of clouds, from a file.

    The format follows from the suffix: ``.npy``; ``.npz`` (array ``points``, or the only
    one, times ``quant_scale`` if present); ``.xyz``, ``.txt``, ``.csv``, ``.pts``, ``.asc``
    (one point a line, separated by blanks, commas, semicolons or tabs; comments, a line of
    column names and a leading count are skipped); ``.ply`` (vertices only); ``.h5``, ``.hdf5``
    (data set ``data``). Nothing is ever unpickled.

    Parameters
    ----------
    path : str or Path
        The file.
    n_channels : int or None, default=3
        How many leading columns to keep; None keeps all. In a ply file x, y, z come first,
        then nx, ny, nz, then the other properties in their order.

    Returns
    -------
    points : ndarray of shape (n_points, n_channels), float32
        Or (n_clouds, n_points, n_channels) where an npy, npz or h5 file holds a stack.

    Raises
    ------
    FileFormatError
        If the file is empty, cut short, of another format than its suffix says, not
        numeric, or holds NaN or infinite values.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from pointinteract.io import read_points
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cloud.xyz"
    >>> _ = path.write_text("# x, y, z, intensity\\n0, 0, 1, 0.5\\n1, 2, 3, 0.1\\n")
    >>> read_points(path)
    array([[0., 0., 1.],
           [1., 2., 3.]], dtype=float32)
    """
    path = check_exists(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        points = check_points(path, read_npy(path), stack=True)
    elif suffix == ".npz":
        points = _from_npz(path)
    elif suffix in H5_SUFFIXES:
        arrays = read_h5(path, ["data"])
        if "data" not in arrays:
            raise bad_file(path, "there is no data set 'data'", "'data' of shape (n, N, 3)")
        points = check_points(path, arrays["data"], stack=True)
    elif suffix == ".ply":
        vertices, _ = read_ply(path)
        names = [name for name in PLY_CHANNELS if name in vertices]
        names += [name for name in vertices if name not in PLY_CHANNELS]
        points = check_points(path, np.stack([vertices[name] for name in names], axis=1))
    elif suffix in TEXT_SUFFIXES:
        points = check_points(path, _from_text(path))
    else:
        raise bad_file(path, f"the suffix is {suffix!r}", "one of " + ", ".join(POINT_SUFFIXES))
    if n_channels is None:
        return points
    if points.shape[-1] < n_channels:
        raise bad_file(
            path, f"points have {points.shape[-1]} channels", f"at least n_channels={n_channels}"
        )
    return np.ascontiguousarray(points[..., :n_channels])


def write_points(path: Path | str, points: np.ndarray, *, binary: bool = True) -> None:
    """Write a cloud, or a stack of clouds, in the format of the suffix.

    Parameters
    ----------
    path : str or Path
        The file; its suffix is one that :func:`read_points` knows.
    points : array-like of shape (n_points, n_channels)
        At least three channels. npy, npz and h5 also take (n_clouds, n_points, n_channels).
    binary : bool, default=True
        Whether a ply file is written as binary, which is smaller and exact, or as text.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from pointinteract.io import read_points, write_points
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "cloud.ply"
    >>> write_points(path, np.eye(3))
    >>> read_points(path).shape
    (3, 3)
    """
    path, suffix = Path(path), Path(path).suffix.lower()
    if suffix not in POINT_SUFFIXES:
        raise ValueError(
            f"Cannot write {path}: the suffix is {suffix!r}; use one of "
            f"{', '.join(POINT_SUFFIXES)}."
        )
    points = np.asarray(points)
    stack = suffix in (".npy", ".npz", *H5_SUFFIXES)
    ranks = (2, 3) if stack else (2,)
    if points.ndim not in ranks or points.shape[-1] < 3 or points.dtype.kind not in "fiu":
        raise ValueError(
            f"points must be real numbers of shape (n_points, 3 or more)"
            f"{' or a stack of such' if stack else ''}; got {points.shape} of {points.dtype}."
        )
    points = points.astype(np.float32, copy=False)
    if suffix == ".npy":
        np.save(path, points, allow_pickle=False)
    elif suffix == ".npz":
        np.savez_compressed(path, points=points)
    elif suffix in H5_SUFFIXES:
        h5py = import_optional("h5py", extra="io", purpose="writing .h5 files")
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=points, compression="gzip")
    elif suffix == ".ply":
        names = list(PLY_CHANNELS[: points.shape[1]])
        names += [f"c{i}" for i in range(len(names), points.shape[1])]
        write_ply(path, points, names, binary=binary)
    else:
        np.savetxt(path, points, fmt="%.9g", delimiter="," if suffix == ".csv" else " ")


def _from_npz(path: Path) -> np.ndarray:
    arrays = read_npz(path, None)
    scale = arrays.pop("quant_scale", None)
    if "points" in arrays:
        points = arrays["points"]
    elif len(arrays) == 1:
        points = next(iter(arrays.values()))
    else:
        raise bad_file(path, f"the arrays are {sorted(arrays)}", "an array named 'points'")
    points = check_points(path, points, stack=True)
    return points if scale is None else points * np.float32(scale)


def _from_text(path: Path) -> np.ndarray:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_file(path, "it is not text", "numbers as text, one point a line") from error
    text = text.translate(str.maketrans(",;\t", "   "))
    rows = [line.split("#")[0].split("//")[0].split() for line in text.splitlines()]
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if row]
    if numbered and not _is_numeric(numbered[0][1]):
        numbered = numbered[1:]  # column names
    if len(numbered) > 1 and len(numbered[0][1]) == 1 and len(numbered[1][1]) > 1:
        numbered = numbered[1:]  # a leading count, as in pts files
    if not numbered:
        raise bad_file(path, "there is no line of numbers", "one point a line")
    width = len(numbered[0][1])
    for number, row in numbered:
        if len(row) != width:
            raise bad_file(
                path,
                f"line {number} has {len(row)} columns, earlier lines have {width}",
                "the same number in every line",
            )
    try:
        return np.array([row for _, row in numbered], dtype=np.float64)
    except ValueError as error:
        number, row = next(item for item in numbered if not _is_numeric(item[1]))
        raise bad_file(
            path, f"line {number} is not numeric: {' '.join(row)[:60]!r}", "numbers only"
        ) from error


def _is_numeric(words: list[str]) -> bool:
    try:
        [float(word) for word in words]
    except ValueError:
        return False
    return True
