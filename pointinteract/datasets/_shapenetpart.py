"""ShapeNetPart: 16 categories of objects with the part of each point, downloaded once."""

import json
import os
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch
from pointinteract.datasets._h5lists import IDENTIFIER, read_lines, read_rows
from pointinteract.datasets._progress import progress_bar
from pointinteract.datasets._remote import Record, find_or_fetch
from pointinteract.io._errors import bad_file, check_exists
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

SHAPENETPART = Record(
    name="ShapeNetPart",
    folder="shapenetpart",
    content="shapenetcore_partanno_segmentation_benchmark_v0_normal",
    url=(
        "https://shapenet.cs.stanford.edu/media/"
        "shapenetcore_partanno_segmentation_benchmark_v0_normal.zip"
    ),
    checksum=None,
    licence=(
        "Made from ShapeNet, whose terms of use (https://shapenet.org/terms) allow research and "
        "education that are not commercial."
    ),
    citation=(
        'L. Yi et al., "A scalable active framework for region annotation in 3D shape '
        'collections", ACM Transactions on Graphics 35(6), 2016. A. X. Chang et al., "ShapeNet: '
        'an information-rich 3D model repository", arXiv:1512.03012, 2015.'
    ),
    max_bytes=12 * 2**30,
    max_files=60_000,
)
# How many parts each category has, in the order in which the files number them.
CATEGORIES = {
    "Airplane": 4, "Bag": 2, "Cap": 2, "Car": 4, "Chair": 4, "Earphone": 3, "Guitar": 3,
    "Knife": 2, "Lamp": 4, "Laptop": 2, "Motorbike": 6, "Mug": 2, "Pistol": 3, "Rocket": 3,
    "Skateboard": 3, "Table": 3,
}  # fmt: skip
SPLITS = ("train", "val", "test")
SUBSETS = {
    "train": ("train",), "val": ("val",), "test": ("test",), "trainval": ("train", "val"),
    "all": SPLITS,
}  # fmt: skip
N_COLUMNS = 7


def fetch_shapenetpart(
    *,
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "all",
    categories: list[str] | tuple[str, ...] | None = None,
    n_points: int | None = None,
    random_state: int | np.random.RandomState | None = 0,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[list[np.ndarray], list[np.ndarray]]:
    """Load ShapeNetPart, objects whose points are labelled by part, downloading it once.

    16,881 clouds of about 2,600 points with normals, 16 categories, 50 parts: a download of
    about 0.7 GB, and a minute or two of reading.

    Parameters
    ----------
    data_home : path-like, default=None
        Where data sets live; this one in its folder ``shapenetpart``. None takes the
        environment variable POINTINTERACT_DATA, or else ``~/pointinteract_data``. An archive,
        or the folder it unpacks to, that you put there yourself is used as it is.
    subset : {"train", "val", "trainval", "test", "all"}, default="all"
        The official split; published systems train on ``"trainval"``.
    categories : list of str, default=None
        Which to read, for example ``["Chair", "Lamp"]``; labels stay those of the whole set.
    n_points : int, default=None
        Draw this many points of each cloud, none twice unless it has too few. None keeps all.
        (Published loaders draw with repetition.)
    random_state : int, RandomState instance or None, default=0
        Decides the draw.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.
    return_X_y : bool, default=False
        Return ``(data, parts)`` instead of a Bunch.
    n_retries : int, default=3
        How often an interrupted download is taken up again.
    delay : float, default=1.0
        Seconds between the attempts.
    verbose : bool, default=True
        Whether to show progress on the error stream, if rich is installed.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, list of float32 arrays (n_points_i, 3), as stored;
        * ``target``, int64 of shape (n_clouds,), the category, an index into ``target_names``;
        * ``parts``, list of int64 arrays (n_points_i,), from 0 to 49, over all categories;
        * ``normals``, list of float32 arrays (n_points_i, 3);
        * ``part_names``, list of 50 str; the files number the parts of a category and do not
          name them;
        * ``category_parts``, dict from each category to the list of its parts;
        * ``split``, str of shape (n_clouds,), ``"train"``, ``"val"`` or ``"test"``;
        * ``filenames``, list of str, and ``DESCR``, with licence and citation.

    Raises
    ------
    OSError
        If the files are not there and not to be downloaded, or the download fails; it says
        where was looked, and how to go on.
    FileFormatError
        If a file is damaged, of another layout, or has a part that its category has not.

    Notes
    -----
    The authors publish no checksum; see the notes of
    :func:`~pointinteract.datasets.fetch_modelnet40`. The server is at times not reachable.

    References
    ----------
    .. [1] L. Yi et al., "A scalable active framework for region annotation in 3D shape
       collections", ACM Transactions on Graphics 35(6), 2016.

    Examples
    --------
    >>> from pointinteract.datasets import fetch_shapenetpart
    >>> clouds = fetch_shapenetpart(subset="test")  # doctest: +SKIP
    >>> len(clouds.data), clouds.category_parts["Chair"]  # doctest: +SKIP
    (2874, [12, 13, 14, 15])
    """
    check_option("subset", subset, tuple(SUBSETS))
    if n_points is not None:
        check_int("n_points", n_points)
    names = list(CATEGORIES)
    if isinstance(categories, str) or (categories is not None and not len(categories)):
        raise ValueError(
            f"categories must be None or a list of one or more names, got {categories!r}."
        )
    unknown = sorted(set(categories or ()) - set(names))
    if unknown:
        raise ValueError(f"categories {unknown} are not in ShapeNetPart, which has {names}.")
    rng = np.random.default_rng(draw_seed(random_state))
    folder = find_or_fetch(
        SHAPENETPART,
        data_home,
        complete=_is_complete,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        verbose=verbose,
    )
    by_synset = _read_categories(folder / "synsetoffset2category.txt")
    parts_of = category_parts()
    found = [
        (by_synset[synset], synset, model, split)
        for split in SUBSETS[subset]
        for synset, model in _read_list(folder, split, by_synset)
        if categories is None or by_synset[synset] in categories
    ]
    data, normals, parts, files = [], [], [], []
    with progress_bar("ShapeNetPart", len(found), verbose=verbose) as told:
        for category, synset, model, _ in found:
            path = folder / synset / f"{model}.txt"
            rows = read_rows(path, N_COLUMNS, separator=r"\s+")
            label = _check_parts(path, rows[:, 6], category, parts_of[category])
            chosen = _draw(len(rows), n_points, rng)
            data.append(rows[chosen, :3])
            normals.append(rows[chosen, 3:6])
            parts.append(label[chosen])
            files.append(str(path))
            told(1)
    target = np.array([names.index(category) for category, *_ in found], np.int64)
    bunch = make_bunch(
        data,
        target,
        names,
        description=SHAPENETPART.describe(
            f"{len(data)} clouds of subset {subset!r}, of 16 categories with 50 parts."
        ),
        extra={
            "parts": parts,
            "normals": normals,
            "part_names": [
                f"{category} part {number}"
                for category, numbers in parts_of.items()
                for number in range(1, len(numbers) + 1)
            ],
            "category_parts": parts_of,
            "split": np.array([split for *_, split in found]),
            "filenames": files,
        },
    )
    return (data, parts) if return_X_y else bunch


def category_parts() -> dict[str, list[int]]:
    """Category names to the numbers of their parts, which run through all categories."""
    ends = np.cumsum(list(CATEGORIES.values())).tolist()
    return {
        name: list(range(end - count, end))
        for (name, count), end in zip(CATEGORIES.items(), ends, strict=True)
    }


def _is_complete(folder: Path) -> bool:
    return (folder / "synsetoffset2category.txt").is_file() and all(
        _list_path(folder, split).is_file() for split in SPLITS
    )


def _list_path(folder: Path, split: str) -> Path:
    return folder / "train_test_split" / f"shuffled_{split}_file_list.json"


def _read_categories(path: Path) -> dict[str, str]:
    """Synset numbers to category names."""
    by_synset = {}
    for line in read_lines(path):
        words = line.split()
        if len(words) != 2 or words[0] not in CATEGORIES or not IDENTIFIER.fullmatch(words[1]):
            raise bad_file(path, f"it has the line {line!r:.60}", "'Airplane 02691156' and so on")
        by_synset[words[1]] = words[0]
    return by_synset


def _read_list(folder: Path, split: str, known: dict[str, str]) -> list[tuple[str, str]]:
    """Synset and model of each entry ``shape_data/synset/model`` of a split."""
    path = _list_path(folder, split)
    right = "a JSON list of 'shape_data/synset/model'"
    try:
        entries = json.loads(check_exists(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise bad_file(path, f"it is no valid JSON ({error})", right) from error
    if not isinstance(entries, list):
        raise bad_file(path, f"it holds a {type(entries).__name__}", right)
    found = []
    for entry in entries:
        words = entry.split("/") if isinstance(entry, str) else []
        if len(words) != 3 or words[1] not in known or not IDENTIFIER.fullmatch(words[2]):
            raise bad_file(path, f"it has the entry {entry!r:.80}", right)
        found.append((words[1], words[2]))
    return found


def _check_parts(path: Path, column: np.ndarray, category: str, own: list[int]) -> np.ndarray:
    wrong = ~np.isin(column, own)
    if wrong.any():
        raise bad_file(
            path,
            f"point {int(np.argmax(wrong))} is of part {column[wrong][0]:g}",
            f"parts {own} of {category}",
        )
    return column.astype(np.int64)


def _draw(n_there: int, n_points: int | None, rng: np.random.Generator) -> np.ndarray:
    """Rows to take: all, or a draw in which each comes once before any comes again."""
    if n_points is None:
        return np.arange(n_there)
    rounds = [rng.permutation(n_there) for _ in range(-(-n_points // n_there))]
    return np.concatenate(rounds)[:n_points]
