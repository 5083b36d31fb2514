"""What the readers of published data sets share: h5 files, lists, labels, choice of points."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pointinteract.exceptions import FileFormatError
from pointinteract.io._arrays import read_h5
from pointinteract.io._errors import bad_file, check_exists, check_numbers, check_points
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

SUBSETS = ("train", "test", "all")
SAMPLINGS = ("first", "random")
IDENTIFIER = re.compile(r"[\w-]+")


def check_choice(subset: str, n_points: int | None, sampling: str) -> list[str]:
    """Check what all readers take, and return the splits to read."""
    check_option("subset", subset, SUBSETS)
    check_option("sampling", sampling, SAMPLINGS)
    if n_points is not None:
        check_int("n_points", n_points)
    return ["train", "test"] if subset == "all" else [subset]


class PointChoice:
    """Chooses `n_points` rows of one cloud after another, or all of them.

    Parameters
    ----------
    n_points : int or None
    sampling : {"first", "random"}
    random_state : int, RandomState instance or None
    """

    def __init__(
        self,
        n_points: int | None,
        sampling: str,
        random_state: int | np.random.RandomState | None,
    ) -> None:
        self.n_points, self.sampling = n_points, sampling
        self.rng = np.random.default_rng(draw_seed(random_state))

    @property
    def n_rows(self) -> int | None:
        """How many rows of a file are enough."""
        return self.n_points if self.sampling == "first" else None

    def __call__(self, path: Path, cloud: np.ndarray) -> np.ndarray:
        """Choose from (n, C)."""
        if self.n_points is None:
            return cloud
        if len(cloud) < self.n_points:
            raise ValueError(
                f"n_points={self.n_points} is more than the {len(cloud)} points of {path}."
            )
        if self.sampling == "first":
            return cloud[: self.n_points]
        return cloud[self.rng.choice(len(cloud), self.n_points, replace=False)]

    def stack(self, path: Path, clouds: np.ndarray) -> np.ndarray:
        """Choose from each of (N, n, C)."""
        if self.sampling == "first" and len(clouds):
            self(path, clouds[0])
            return clouds[:, : self.n_points]
        return np.stack([self(path, cloud) for cloud in clouds])


def read_labelled_h5(path: Path, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Points with normals, if there, as (N, n, 3 or 6), and labels, from one h5 file."""
    arrays = read_h5(path, ["data", "label", "normal"])
    for name in ("data", "label"):
        if name not in arrays:
            raise bad_file(path, f"it has no data set {name!r}", "'data' and 'label'")
    points = check_points(path, arrays["data"], stack=True)
    if points.ndim != 3:
        raise bad_file(path, f"data has shape {points.shape}", "shape (n_clouds, n_points, 3)")
    points = points[..., :3]
    labels = check_labels(path, arrays["label"], len(points), n_classes)
    if "normal" in arrays:
        normals = check_numbers(path, arrays["normal"], "normal")
        if normals.shape != points.shape:
            raise bad_file(path, f"normal has shape {normals.shape}", f"shape {points.shape}")
        points = np.concatenate([points, normals.astype(np.float32)], axis=-1)
    return points, labels


def check_labels(path: Path, label: np.ndarray, n_clouds: int, n_classes: int) -> np.ndarray:
    """Return labels as int64 (n_clouds,), or raise if one names no class."""
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.shape != (n_clouds,):
        raise bad_file(
            path, f"label has shape {label.shape} for {n_clouds} clouds", f"shape ({n_clouds},)"
        )
    check_numbers(path, label, "label")
    wrong = (label != np.floor(label)) | (label < 0) | (label >= n_classes)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise bad_file(
            path,
            f"label {first} is {label[first].item()}",
            f"whole numbers from 0 to {n_classes - 1}",
        )
    return label.astype(np.int64)


def read_lines(path: Path) -> list[str]:
    """The lines of a small text file that are not empty."""
    try:
        lines = check_exists(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise bad_file(path, "it is not text", "one name a line") from error
    return [line.strip() for line in lines if line.strip()]


def read_identifiers(path: Path) -> list[str]:
    """The lines of a list of names, none of which can lead out of its folder."""
    lines = read_lines(path)
    for line in lines:
        if not IDENTIFIER.fullmatch(line):
            raise bad_file(path, f"it has the line {line!r:.60}", "one name a line")
    return lines


def read_rows(
    path: Path, n_columns: int, *, separator: str, n_rows: int | None = None
) -> np.ndarray:
    """Numbers of a text file, float32 of shape (n, n_columns)."""
    check_exists(path)
    try:
        # Several times as fast as numpy.
        rows = pd.read_csv(path, header=None, sep=separator, dtype=np.float32, nrows=n_rows)
    except (ValueError, OSError) as error:
        right = f"{n_columns} numbers a line"
        raise bad_file(path, f"a line is broken ({str(error)[:100]})", right) from error
    if rows.shape[1] != n_columns:
        raise bad_file(path, f"its lines have {rows.shape[1]} columns", f"{n_columns}")
    return check_points(path, rows.to_numpy())


def join_splits(
    parts: Sequence[tuple[np.ndarray, np.ndarray]], splits: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, labels and splits (names, one a file) of several files as one."""
    shapes = sorted({points.shape[1:] for points, _ in parts})
    if len(shapes) != 1:
        raise FileFormatError(
            f"The files hold clouds of different shapes, {shapes}. Expected one shape; with "
            "n_points the smallest number of points can be had from all."
        )
    return (
        np.concatenate([points for points, _ in parts]),
        np.concatenate([labels for _, labels in parts]),
        np.repeat(splits, [len(points) for points, _ in parts]),
    )
