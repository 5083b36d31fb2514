"""The layouts in which ModelNet is found: h5 lists, text folders, caches and meshes."""

from collections.abc import Sequence
from pathlib import Path

import joblib
import numpy as np

from pointinteract.datasets._h5lists import (
    PointChoice,
    check_labels,
    read_identifiers,
    read_labelled_h5,
    read_lines,
    read_rows,
)
from pointinteract.datasets._progress import progress_bar
from pointinteract.exceptions import FileFormatError
from pointinteract.io import read_mesh, sample_surface
from pointinteract.io._errors import bad_file, check_points
from pointinteract.utils._archive import read_archive, write_archive
from pointinteract.utils._restricted_pickle import check_unfolded, load_arrays_pickle

N_COLUMNS = 6
BATCH = 64
Pair = tuple[np.ndarray, np.ndarray]


def has_h5(folder: Path) -> bool:
    """Whether the folder is that of the archive with h5 files."""
    return (folder / "train_files.txt").is_file() and (folder / "test_files.txt").is_file()


def has_text(folder: Path) -> bool:
    """Whether the folder is that of the resampled text files."""
    return (folder / "modelnet40_train.txt").is_file()


def has_meshes(folder: Path) -> bool:
    """Whether the folder has classes with meshes for training and test."""
    return any(folder.glob("*/train/*.off")) and any(folder.glob("*/test/*.off"))


def read_h5_split(
    folder: Path, split: str, classes: Sequence[str], choose: PointChoice
) -> list[Pair]:
    """Points (N, n, 3 or 6) and labels of each file in the list of a split."""
    listed = read_lines(folder / f"{split}_files.txt")
    # The list names the files as they lay on the machine of its author.
    paths = [folder / line.replace("\\", "/").rsplit("/", 1)[-1] for line in listed]
    if not paths:
        raise bad_file(folder / f"{split}_files.txt", "it is empty", "names of h5 files")
    parts = []
    for path in paths:
        points, labels = read_labelled_h5(path, len(classes))
        parts.append((choose.stack(path, points), labels))
    return parts


def read_text_split(
    folder: Path, number: int, split: str, classes: Sequence[str], choose: PointChoice,
    verbose: bool,
) -> Pair:  # fmt: skip
    """Points (N, n, 6) and labels of the text files in the list of a split."""
    listing = folder / f"modelnet{number}_{split}.txt"
    if not listing.is_file():
        raise OSError(
            f"{listing} is missing, which says what belongs to ModelNet{number}. Some copies of "
            "the archive do not have it."
        )
    names = read_identifiers(listing)
    labels = np.empty(len(names), np.int64)
    clouds = []
    with progress_bar(f"ModelNet{number} {split}", len(names), verbose=verbose) as told:
        for i, name in enumerate(names):
            kind = name.rpartition("_")[0]
            if kind not in classes:
                raise bad_file(listing, f"{name!r} is of no class in the list", "class_number")
            labels[i] = classes.index(kind)
            path = folder / kind / f"{name}.txt"
            rows = read_rows(path, N_COLUMNS, separator=",", n_rows=choose.n_rows)
            clouds.append(choose(path, rows))
            told(1)
    return _stack(listing, clouds), labels


def read_cache_split(
    folders: Sequence[Path], number: int, split: str, n_classes: int, choose: PointChoice
) -> Pair:
    """Points (N, n, 3 or 6) and labels of a cache with 8192 points a cloud."""
    name = f"modelnet{number}_{split}_8192pts_fps.dat"
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if path is None:
        looked = ", ".join(str(folder) for folder in folders)
        raise OSError(
            f"{name} is in none of {looked}. It is made by the released code of Point-BERT and "
            'its successors and not downloaded here; version="resampled" reads what it is made '
            "from."
        )
    content = load_arrays_pickle(path)
    right = "a list of points of shape (n_points, 3 or 6), and one of labels"
    if not isinstance(content, list | tuple) or len(content) != 2:
        raise bad_file(path, f"it holds one {type(content).__name__} of another form", right)
    points, labels = content
    if not isinstance(points, list) or not isinstance(labels, list) or not points:
        raise bad_file(path, "it does not hold two lists with something in them", right)
    for cloud in points:
        # Only arrays are looked into: lists in lists could take for ever.
        came = f"shape {cloud.shape}" if isinstance(cloud, np.ndarray) else type(cloud).__name__
        if not isinstance(cloud, np.ndarray) or cloud.ndim != 2 or cloud.shape[1] not in (3, 6):
            raise bad_file(path, f"it holds a cloud of {came}", right)
        if cloud.dtype.kind not in "iuf":
            raise bad_file(path, f"it holds a cloud of dtype {cloud.dtype}", right)
    if not all(isinstance(label, int | float | np.number | np.ndarray) for label in labels):
        raise bad_file(path, "a label is not one number", right)
    # Before the first copy: one array may stand in for a million clouds.
    check_unfolded(path, sum(cloud.size * np.dtype(np.float32).itemsize for cloud in points))
    clouds = [choose(path, cloud).astype(np.float32) for cloud in points]
    numbers = [np.asarray(label).reshape(-1) for label in labels]
    if any(number.shape != (1,) for number in numbers):
        raise bad_file(path, "a label is not one number", right)
    found = check_labels(path, np.concatenate(numbers), len(clouds), n_classes)
    return check_points(path, _stack(path, clouds), stack=True), found


def read_mesh_split(
    folder: Path,
    split: str,
    classes: Sequence[str],
    n_points: int,
    sampling: str,
    *,
    seed: tuple[int, int],
    keep: bool,
    n_jobs: int | None,
    verbose: bool,
) -> Pair:
    """Sampled points with normals (N, n, 6) and labels of the meshes of a split.

    With `keep`, what was sampled is kept beside the meshes and used the next time.
    """
    paths: list[Path] = []
    labels: list[int] = []
    for label, kind in enumerate(classes):
        found = sorted((folder / kind / split).glob("*.off"), key=lambda path: path.name)
        if not found:
            raise FileFormatError(
                f"{folder} has no meshes {kind}/{split}/*.off. Expected all ten classes."
            )
        paths += found
        labels += [label] * len(found)
    key = {
        "names": [path.name for path in paths],
        "sizes": [path.stat().st_size for path in paths],
    }
    store = folder / f".sampled_{split}_{n_points}_{sampling}_{seed[0]}.npz"
    kept = _read_kept(store, key, n_points) if keep else None
    if kept is not None:
        return kept, np.array(labels, np.int64)
    # Each mesh has its own numbers, so that they do not depend on the number of jobs.
    root = np.random.SeedSequence(seed)
    seeds = [int(child.generate_state(1)[0] >> 1) for child in root.spawn(len(paths))]
    clouds: list[np.ndarray] = []
    with (
        progress_bar(f"meshes, {split}", len(paths), verbose=verbose) as told,
        joblib.Parallel(n_jobs=n_jobs) as parallel,
    ):
        for start in range(0, len(paths), BATCH):
            batch = slice(start, start + BATCH)
            pairs = zip(paths[batch], seeds[batch], strict=True)
            clouds += parallel(
                joblib.delayed(_sample)(path, n_points, sampling, number) for path, number in pairs
            )
            told(len(paths[batch]))
    points = np.stack(clouds)
    if keep:
        _keep(store, key, points)
    return points, np.array(labels, np.int64)


def _sample(path: Path, n_points: int, method: str, seed: int) -> np.ndarray:
    vertices, faces = read_mesh(path)
    points, normals = sample_surface(vertices, faces, n_points, method=method, random_state=seed)
    return np.concatenate([points, normals], axis=1)


def _read_kept(store: Path, key: dict, n_points: int) -> np.ndarray | None:
    """Points that were sampled from these very meshes, if they were kept."""
    try:
        document, arrays = read_archive(store)
    except (OSError, FileFormatError):
        return None
    shape = (len(key["names"]), n_points, N_COLUMNS)
    fits = document == key and len(arrays) == 1 and arrays[0].shape == shape
    return arrays[0] if fits else None


def _keep(store: Path, key: dict, points: np.ndarray) -> None:
    try:
        write_archive(store, key, [points])
    except OSError:
        pass  # a folder that may only be read costs the time again, nothing else


def _stack(path: Path, clouds: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({cloud.shape for cloud in clouds})
    if len(shapes) != 1:
        raise FileFormatError(f"{path}: its clouds have the shapes {shapes[:5]}. Expected one.")
    return np.stack(clouds)
