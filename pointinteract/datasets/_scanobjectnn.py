"""ScanObjectNN: objects cut out of scanned rooms, from a folder that the user has obtained."""

import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch
from pointinteract.datasets._h5lists import (
    PointChoice,
    check_choice,
    join_splits,
    read_labelled_h5,
)
from pointinteract.datasets._remote import Record, find_data_home
from pointinteract.utils._params import check_option

SCANOBJECTNN = Record(
    name="ScanObjectNN",
    folder="scanobjectnn",
    content="h5_files",
    url="https://hkust-vgd.github.io/scanobjectnn/",
    checksum=None,
    licence="Terms of use that are accepted in the form of the authors; for research.",
    citation=(
        "M. A. Uy, Q.-H. Pham, B.-S. Hua, D. T. Nguyen, S.-K. Yeung, \"Revisiting point cloud "
        "classification: a new benchmark dataset and classification model on real-world data\", "
        "ICCV 2019."
    ),
    gated=True,
)  # fmt: skip
CLASSES = [
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed",
    "pillow", "sink", "sofa", "toilet",
]  # fmt: skip
# Folder, end of the file names, and what it is.
VARIANTS = {
    "pb_t50_rs": (
        "main_split",
        "objectdataset_augmentedrot_scale75.h5",
        "Each object five times, its box shifted by up to half its size, rotated and scaled.",
    ),
    "obj_bg": ("main_split", "objectdataset.h5", "Objects with what lies behind them."),
    "obj_only": ("main_split_nobg", "objectdataset.h5", "Objects without background."),
}
PREFIXES = {"train": "training", "test": "test"}


def fetch_scanobjectnn(
    *,
    variant: str = "pb_t50_rs",
    folder: str | os.PathLike[str] | None = None,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "all",
    n_points: int | None = None,
    sampling: str = "first",
    random_state: int | np.random.RandomState | None = 0,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load ScanObjectNN, 15 classes of scanned objects, from files that you have obtained.

    The authors hand the files out to those who accept their terms of use in a form, at
    https://hkust-vgd.github.io/scanobjectnn/. Nothing is downloaded here. Needs h5py.

    Parameters
    ----------
    variant : {"pb_t50_rs", "obj_bg", "obj_only"}, default="pb_t50_rs"
        The hardest set, 11,416 and 2,882 clouds of objects in shifted boxes, rotated and
        scaled; or 2,309 and 581 objects with their background; or the same without it.
    folder : path-like, default=None
        The folder ``h5_files`` of the authors' archive, or the one around it. None looks in the
        folder ``scanobjectnn`` of `data_home`.
    data_home : path-like, default=None
        Where data sets live. None takes the environment variable POINTINTERACT_DATA, or else
        ``~/pointinteract_data``.
    subset : {"train", "test", "all"}, default="all"
        The official split of the main files.
    n_points : int, default=None
        Points of each cloud; None keeps all 2048.
    sampling : {"first", "random"}, default="first"
        Which points, if not all: the first of the file, or a random choice.
    random_state : int, RandomState instance or None, default=0
        Decides the random choice.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields ``data``, float32 of shape (n_clouds, n_points, 3), as stored, neither
        centered nor scaled; ``target``, int64 of shape (n_clouds,); ``target_names``; ``split``,
        str of shape (n_clouds,), ``"train"`` or ``"test"``; ``DESCR``.

    Raises
    ------
    OSError
        If the files are not there; it says where was looked and how to obtain them.
    FileFormatError
        If a file is not of the layout above, or a label names none of the 15 classes.

    References
    ----------
    .. [1] M. A. Uy et al., "Revisiting point cloud classification: a new benchmark dataset and
       classification model on real-world data", ICCV 2019.

    Examples
    --------
    >>> from pointinteract.datasets import fetch_scanobjectnn
    >>> clouds = fetch_scanobjectnn(folder="h5_files", subset="test")  # doctest: +SKIP
    >>> clouds.data.shape  # doctest: +SKIP
    (2882, 2048, 3)
    """
    check_option("variant", variant, tuple(VARIANTS))
    splits = check_choice(subset, n_points, sampling)
    place, ending, what = VARIANTS[variant]
    home = find_data_home(data_home) / SCANOBJECTNN.folder if folder is None else Path(folder)
    files = [f"{PREFIXES[split]}_{ending}" for split in splits]
    found = _find(home, place, files)
    choose = PointChoice(n_points, sampling, random_state)
    parts = []
    for file in files:
        points, labels = read_labelled_h5(found / file, len(CLASSES))
        parts.append((choose.stack(found / file, points[..., :3]), labels))
    data, target, which = join_splits(parts, splits)
    return make_bunch(
        data,
        target,
        CLASSES,
        description=SCANOBJECTNN.describe(f"Variant {variant}. {what} 15 classes."),
        extra={"split": which},
        return_X_y=return_X_y,
    )


def _find(home: Path, place: str, files: list[str]) -> Path:
    """The folder that has all the files."""
    candidates = [home / place, home / SCANOBJECTNN.content / place]
    if home.absolute().name == place:
        # Both variants of single objects have files of the same names: only the folder tells.
        candidates.insert(0, home)
    for candidate in candidates:
        if all((candidate / file).is_file() for file in files):
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise OSError(
        f"ScanObjectNN was not found: {' and '.join(files)} are in none of {looked}. It is not "
        f"downloaded here, because its authors ask for their terms of use to be accepted. Fill in "
        f"the form at {SCANOBJECTNN.url}, unpack the archive h5_files.zip, and give its folder "
        "as `folder`."
    )
