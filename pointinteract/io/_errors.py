"""How every reader says that a file is no good: which file, what came, what would be right."""

from pathlib import Path

import numpy as np

from pointinteract.exceptions import FileFormatError

MAGIC = {
    b"PK": "a zip archive (npz)",
    b"\x93NUMPY": "an npy file",
    b"\x89HDF": "an HDF5 file",
    b"ply": "a ply file",
    b"OFF": "an OFF mesh",
    b"\x1f\x8b": "a gzip file",
}


def bad_file(path: Path | str, came: str, right: str) -> FileFormatError:
    """Make the error; `came` and `right` are phrases without a full stop."""
    return FileFormatError(f"{path}: {came}. Expected {right}.")


def check_exists(path: Path | str) -> Path:
    """Return the path of an existing file that is not empty."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist (looked from {Path.cwd()}).")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a file; see load_cloud_files.")
    if path.stat().st_size == 0:
        raise bad_file(path, "the file is empty", "a file with at least one point")
    return path


def describe_start(start: bytes) -> str:
    """Name what a file is, from its first bytes."""
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            return f"its first bytes are those of {name}"
    if start[:1] == b"\x80" and start[1:2] and start[1] <= 5:
        return "it is a Python pickle, which is never loaded because it can run any code"
    return f"its first bytes are {start[:8]!r}"


def check_numbers(path: Path | str, array: np.ndarray, name: str = "points") -> np.ndarray:
    """Return a real array without NaN or infinite values, or raise."""
    if array.dtype.kind not in "fiu":
        raise bad_file(path, f"{name} has dtype {array.dtype}", "real numbers")
    if array.dtype.kind == "f":
        wrong = ~np.isfinite(array)
        if wrong.any():
            first = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise bad_file(
                path,
                f"{name} holds {int(wrong.sum())} values that are NaN or infinite, the first at "
                f"index {first}",
                "finite numbers only",
            )
    return array


def check_points(path: Path | str, points: np.ndarray, *, stack: bool = False) -> np.ndarray:
    """Return float32 points of shape (N, C), or also (n, N, C), with C at least 3."""
    shapes = "(n_points, 3 or more)" + (" or (n_clouds, n_points, 3 or more)" if stack else "")
    if points.ndim not in ((2, 3) if stack else (2,)) or points.shape[-1] < 3:
        raise bad_file(path, f"points have shape {points.shape}", f"shape {shapes}")
    if 0 in points.shape:
        raise bad_file(path, f"points have shape {points.shape}: none", "at least one point")
    check_numbers(path, points)
    with np.errstate(over="ignore"):
        small = points.astype(np.float32)
    if not np.isfinite(small).all():
        raise bad_file(path, "a coordinate is too large for float32", "values below 3.4e38")
    return small
