"""Clouds and meshes from a folder that has a sub-folder per class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch, resample, stack_clouds, unit_sphere
from pointinteract.exceptions import FileFormatError
from pointinteract.io import read_mesh, read_points, sample_surface
from pointinteract.io._meshes import MESH_SUFFIXES
from pointinteract.io._points import POINT_SUFFIXES
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

SPLITS = ("train", "test", "val", "valid", "validation")
DEFAULT_MESH_POINTS = 1024
RIGHT = (
    "Expected FOLDER/class/file, FOLDER/class/train/file (as in ModelNet) or "
    "FOLDER/train/class/file."
)


def load_cloud_files(
    folder: str | Path,
    *,
    pattern: str = "*",
    categories: Sequence[str] | None = None,
    split: str | None = None,
    n_points: int | None = None,
    sampling: str = "uniform",
    normalize: bool = False,
    shuffle: bool = True,
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Load clouds and meshes with the sub-folder names as classes.

    Files lie in ``FOLDER/class/``, in ``FOLDER/class/train/`` and ``FOLDER/class/test/`` as
    ModelNet has them, or in ``FOLDER/train/class/``. Files of other formats are left alone.

    Parameters
    ----------
    folder : str or Path
        The folder.
    pattern : str, default="*"
        Which file names to read, for example ``"*.off"``.
    categories : sequence of str, default=None
        Which classes to read; None reads all. Labels follow the alphabetical order.
    split : str, default=None
        Read one split only, for example ``"train"``. None reads all.
    n_points : int, default=None
        How many points each cloud gets: a random choice from a cloud file (points are repeated
        if it has fewer), or as many samples of a mesh. None keeps clouds as they are and draws
        1024 points from a mesh.
    sampling : {"uniform", "poisson_disk"}, default="uniform"
        How meshes are sampled; the second spreads points evenly and is slow.
    normalize : bool, default=False
        Move the mean of every cloud to 0 and its farthest point to norm 1.
    shuffle : bool, default=True
        Whether to shuffle the clouds, which matters to learners that assume random order.
    random_state : int, RandomState instance or None, default=0
        Decides the order and the choice of points.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, float32 of shape (n_clouds, n_points, 3), or a list of such arrays
          (n_points_i, 3) if the clouds differ in their number of points;
        * ``target``, int64 of shape (n_clouds,), an index into ``target_names``, list of str;
        * ``filenames``, list of str;
        * ``split``, array of str of shape (n_clouds,): name of the split of each cloud, or None
          where the folders do not have that level;
        * ``DESCR``, str.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from pointinteract.datasets import load_cloud_files
    >>> from pointinteract.io import write_points
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("ball", "box"):
    ...     (folder / name).mkdir()
    ...     write_points(folder / name / "a.npy", np.ones((10, 3)))
    >>> clouds = load_cloud_files(folder)
    >>> clouds.data.shape, clouds.target_names
    ((2, 10, 3), ['ball', 'box'])
    """
    folder = Path(folder)
    check_option("sampling", sampling, ("uniform", "poisson_disk"))
    if n_points is not None:
        check_int("n_points", n_points)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder. {RIGHT}")

    found = _find_files(folder, pattern)
    names = sorted({name for name, _, _ in found})
    if categories is not None:
        unknown = sorted(set(categories) - set(names))
        if unknown:
            raise ValueError(f"categories {unknown} are not in {folder}, which has {names}.")
        names = sorted(set(categories))
    found = [item for item in found if item[0] in names]
    if split is not None:
        splits = sorted({item[1] or "" for item in found})
        found = [item for item in found if item[1] == split]
        if not found:
            raise ValueError(f"{folder} has no clouds of split {split!r}; it has {splits}.")
    if not found:
        raise FileFormatError(
            f"{folder}: no file matches {pattern!r} with a suffix of "
            f"{', '.join(sorted({*POINT_SUFFIXES, *MESH_SUFFIXES}))}. {RIGHT}"
        )

    seed = draw_seed(random_state)
    clouds = []
    for index, (_, _, path) in enumerate(found):
        # Each file has its own numbers, so that another file more or less changes no cloud.
        cloud = _load_one(path, n_points, sampling, np.random.default_rng([seed, index]))
        clouds.append(unit_sphere(cloud) if normalize else cloud)
    order = np.arange(len(found))
    if shuffle:
        order = np.random.default_rng(seed).permutation(len(found))
    target = np.array([names.index(name) for name, _, _ in found], dtype=np.int64)
    which = None
    if any(item[1] for item in found):
        which = np.array([item[1] or "" for item in found])[order]
    return make_bunch(
        stack_clouds([clouds[i] for i in order]),
        target[order],
        names,
        description=f"{len(found)} clouds of {len(names)} classes from {folder}.",
        extra={"filenames": [str(found[i][2]) for i in order], "split": which},
        return_X_y=return_X_y,
    )


def _find_files(folder: Path, pattern: str) -> list[tuple[str, str | None, Path]]:
    """Class, split and path of every file, in sorted order."""
    found: list[tuple[str, str | None, Path]] = []
    for first in _folders(folder):
        if first.name in SPLITS:
            for second in _folders(first):
                found += [(second.name, first.name, path) for path in _files(second, pattern)]
            continue
        found += [(first.name, None, path) for path in _files(first, pattern)]
        for second in _folders(first):
            if second.name in SPLITS:
                found += [(first.name, second.name, path) for path in _files(second, pattern)]
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path, pattern: str) -> list[Path]:
    suffixes = {*POINT_SUFFIXES, *MESH_SUFFIXES}
    return sorted(
        path
        for path in folder.glob(pattern)
        if path.is_file() and path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def _load_one(
    path: Path, n_points: int | None, sampling: str, rng: np.random.Generator
) -> np.ndarray:
    suffix = path.suffix.lower()
    if suffix in MESH_SUFFIXES and (suffix != ".ply" or _has_faces(path)):
        vertices, faces = read_mesh(path)
        seed = int(rng.integers(2**31 - 1))
        wanted = n_points or DEFAULT_MESH_POINTS
        return sample_surface(vertices, faces, wanted, method=sampling, random_state=seed)[0]
    cloud = read_points(path)
    if cloud.ndim != 2:
        raise FileFormatError(
            f"{path}: it holds an array of shape {cloud.shape}. Expected one cloud a file, of "
            "shape (n_points, 3)."
        )
    return cloud if n_points is None else resample(cloud, n_points, rng)


def _has_faces(path: Path) -> bool:
    """Whether the header of a ply file declares faces."""
    with path.open("rb") as file:
        head = file.read(1 << 16).split(b"end_header")[0]
    counts = [line.split()[2:3] for line in head.splitlines() if line[:12] == b"element face"]
    return bool(counts) and counts[0] != [b"0"]
