"""Clouds for a command: read, split, thinned; and the interval that goes with an accuracy."""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

from pointinteract.datasets import load_cloud_dataset
from pointinteract.exceptions import FileFormatError
from pointinteract.io import read_mesh, read_points, sample_surface
from pointinteract.utils._optional import import_optional

MESH_SUFFIXES = (".off", ".obj", ".stl")
MESH_POINTS = 1024
LABEL_NAMES = {"label", "labels"}
TRAIN_NAME, TEST_NAME = "train", "test"

Clouds = np.ndarray | list[np.ndarray]


@dataclass(frozen=True)
class CloudSet:
    """Clouds with what is known of them.

    Attributes
    ----------
    clouds : float32 array (n_clouds, n_points, 3), or list of (n_points_i, 3)
    labels : array of str, (n_clouds,), or None
        Class names, not numbers, so that a model answers in words.
    split : array of str, (n_clouds,), or None
    """

    clouds: Any
    # Arrays, or None where they are unknown; which, each command asks for when it reads.
    labels: Any = None
    split: Any = None

    def __len__(self) -> int:
        return len(self.clouds)

    def take(self, rows: np.ndarray) -> "CloudSet":
        """The clouds of some rows, in that order."""
        clouds = self.clouds
        return replace(
            self,
            clouds=[clouds[i] for i in rows] if isinstance(clouds, list) else clouds[rows],
            labels=None if self.labels is None else self.labels[rows],
            split=None if self.split is None else self.split[rows],
        )

    def of_split(self, name: str) -> "CloudSet":
        """The clouds of one split; an error lists those there are."""
        known = [] if self.split is None else sorted(set(self.split.tolist()))
        if name not in known:
            has = f"the splits are {', '.join(known)}" if known else "the data name no splits"
            raise ValueError(f"--split {name}: there are no such clouds; {has}.")
        return self.take(np.flatnonzero(self.split == name))


def read_clouds(path: str, *, labeled: bool) -> CloudSet:
    """Read DATA; without `labeled`, also what has no labels and single clouds."""
    if not labeled and not _has_labels(Path(path)):
        clouds = _read_single(Path(path))
        return CloudSet(clouds[None] if clouds.ndim == 2 else clouds)
    bunch: Any = load_cloud_dataset(path)
    names = np.array([str(name) for name in bunch.target_names])
    if len(set(names.tolist())) < len(names):
        # Two classes of one name would silently become one.
        names = np.array([f"{name} ({i})" for i, name in enumerate(names)])
    return CloudSet(bunch.data, names[bunch.target], bunch.get("split"))


def choose_training(data: CloudSet, split: str | None) -> tuple[CloudSet, CloudSet | None]:
    """The clouds to learn from, and those to measure on, if there are any."""
    names = [] if data.split is None else sorted(set(data.split.tolist()))
    if split is None:
        if TRAIN_NAME not in names:
            return data, None
        split = TRAIN_NAME
    chosen = data.of_split(split)
    if data.split is None or len(chosen) == len(data):
        return chosen, None
    rest = TEST_NAME if TEST_NAME in names and split != TEST_NAME else None
    rows = np.flatnonzero(data.split == rest if rest else data.split != split)
    return chosen, data.take(rows)


def draw_per_class(labels: np.ndarray, n_each: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of at most `n_each` random clouds of each class, sorted."""
    rows = [
        rng.permutation(np.flatnonzero(labels == name))[:n_each] for name in np.unique(labels)
    ]
    return np.sort(np.concatenate(rows))


def draw_evenly(
    labels: np.ndarray | None, n_clouds: int, n_wanted: int, rng: np.random.Generator
) -> np.ndarray:
    """At most `n_wanted` random rows, spread over the classes as evenly as they allow."""
    order = rng.permutation(n_clouds)
    if labels is not None:
        codes = np.unique(labels, return_inverse=True)[1][order]
        # The how-manieth of its class each row is; all firsts come before all seconds.
        rank = np.empty(n_clouds, dtype=np.int64)
        for code in np.unique(codes):
            rank[codes == code] = np.arange((codes == code).sum())
        order = order[np.argsort(rank, kind="stable")]
    return np.sort(order[:n_wanted])


class Accuracy(NamedTuple):
    """A share of right answers with its Wilson 95 % interval."""

    n_right: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        return self.n_right / self.n

    def __str__(self) -> str:
        return (
            f"{self.value:.1%} ({self.n_right} of {self.n} clouds; 95 % interval "
            f"{self.low:.0%} to {self.high:.0%})"
        )


def measure_accuracy(answers: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Count right answers."""
    right = int(np.sum(np.asarray(answers).astype(str) == np.asarray(labels).astype(str)))
    interval = binomtest(right, len(labels)).proportion_ci(0.95, method="wilson")
    return Accuracy(right, len(labels), float(interval.low), float(interval.high))


def check_output(path: str) -> Path:
    """Refuse now what could not be written after hours of training."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file to write to.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} of the output {path} does not exist.")
    return target


def _has_labels(path: Path) -> bool:
    """Whether the data set reader is the right one: for folders, and files with labels."""
    suffix = path.suffix.lower()
    if path.is_dir() or not path.exists():
        return True
    if suffix == ".npz":
        try:
            with zipfile.ZipFile(path) as archive:
                names = {name.removesuffix(".npy") for name in archive.namelist()}
        except zipfile.BadZipFile:
            return False
        return bool(names & LABEL_NAMES)
    if suffix in (".h5", ".hdf5"):
        h5py = import_optional("h5py", extra="io", purpose="reading .h5 files")
        try:
            with h5py.File(path, "r") as file:
                return "label" in file
        except OSError:
            return False
    return False


def _read_single(path: Path) -> np.ndarray:
    """One cloud (N, 3), or a stack of them (n, N, 3), from a file without labels."""
    if path.suffix.lower() not in MESH_SUFFIXES:
        return read_points(path)
    vertices, faces = read_mesh(path)
    if len(faces) == 0:
        raise FileFormatError(f"{path}: the mesh has no faces to draw points on.")
    points: Any = sample_surface(vertices, faces, MESH_POINTS, random_state=0)[0]
    return points
