"""ModelNet40: downloaded once, in the layouts that published work reads."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch
from pointinteract.datasets._h5lists import PointChoice, check_choice, join_splits, read_lines
from pointinteract.datasets._modelnet_files import (
    Pair,
    has_h5,
    has_text,
    read_cache_split,
    read_h5_split,
    read_text_split,
)
from pointinteract.datasets._remote import Record, find_data_home, find_or_fetch
from pointinteract.io._errors import bad_file
from pointinteract.utils._params import check_option

LICENCE = (
    "For academic research only. The meshes were collected from the internet, and their authors "
    "hold the copyright; the labels are given freely by the authors of ModelNet."
)
WU = (
    'Z. Wu, S. Song, A. Khosla, F. Yu, L. Zhang, X. Tang, J. Xiao, "3D ShapeNets: a deep '
    'representation for volumetric shapes", CVPR 2015.'
)
MODELNET40_H5 = Record(
    name="ModelNet40, h5 files",
    folder="modelnet40",
    content="modelnet40_ply_hdf5_2048",
    url="https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip",
    checksum=None,
    licence=LICENCE,
    citation=f'{WU} Points: C. R. Qi, H. Su, K. Mo, L. J. Guibas, "PointNet", CVPR 2017.',
    max_bytes=4 * 2**30,
    max_files=200,
)
MODELNET40_TEXT = Record(
    name="ModelNet40, resampled with normals",
    folder="modelnet40",
    content="modelnet40_normal_resampled",
    url="https://shapenet.cs.stanford.edu/media/modelnet40_normal_resampled.zip",
    checksum=None,
    licence=LICENCE,
    citation=f'{WU} Points: C. R. Qi, L. Yi, H. Su, L. J. Guibas, "PointNet++", NeurIPS 2017.',
    max_bytes=20 * 2**30,
    max_files=30_000,
)
MODELNET40_CLASSES = [
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone",
    "cup", "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard",
    "lamp", "laptop", "mantel", "monitor", "night_stand", "person", "piano", "plant", "radio",
    "range_hood", "sink", "sofa", "stairs", "stool", "table", "tent", "toilet", "tv_stand",
    "vase", "wardrobe", "xbox",
]  # fmt: skip


def fetch_modelnet40(
    *,
    version: str = "hdf5",
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "all",
    n_points: int | None = None,
    sampling: str = "first",
    random_state: int | np.random.RandomState | None = 0,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
    verbose: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load ModelNet40, 40 classes of everyday objects, downloading it the first time.

    Parameters
    ----------
    version : {"hdf5", "resampled", "fps_8192"}, default="hdf5"
        The points that published work trains on:

        - ``"hdf5"``: 9,840 and 2,468 clouds of 2048 points with normals, as made for PointNet
          (a download of about 0.4 GB; needs h5py);
        - ``"resampled"``: 9,843 and 2,468 clouds of 10,000 points with normals, as made for
          PointNet++ (about 1.7 GB; reading takes a minute, with all points several);
        - ``"fps_8192"``: what the code of Point-BERT and its successors keeps of the latter,
          8192 points in the order of farthest point sampling, in the files
          ``modelnet40_{train,test}_8192pts_fps.dat``. Read if you have them, not downloaded.
    data_home : path-like, default=None
        Where data sets live; this one in its folder ``modelnet40``. None takes the environment
        variable POINTINTERACT_DATA, or else ``~/pointinteract_data``. An archive, or the folder
        it unpacks to, that you put there yourself is used as it is.
    subset : {"train", "test", "all"}, default="all"
        The official split.
    n_points : int, default=None
        Points of each cloud; None keeps all.
    sampling : {"first", "random"}, default="first"
        Which points, if not all: the first of the file, as published loaders take, or a random
        choice without repeating any.
    random_state : int, RandomState instance or None, default=0
        Decides the random choice.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    n_retries : int, default=3
        How often an interrupted download is taken up again.
    delay : float, default=1.0
        Seconds between the attempts.
    verbose : bool, default=True
        Whether to show progress on the error stream, if rich is installed.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields ``data``, float32 of shape (n_clouds, n_points, 3), as stored;
        ``target``, int64 of shape (n_clouds,); ``target_names``; ``split``, str of shape
        (n_clouds,), ``"train"`` or ``"test"``; ``normals``, like ``data``, where the files
        have them; ``DESCR``, with licence and citation.

    Raises
    ------
    OSError
        If the files are not there and not to be downloaded, or the download fails; it says
        where was looked, and how to go on.
    FileFormatError
        If a file is damaged, of another layout, or a label names no class.

    Notes
    -----
    The authors publish no checksum of the archives. The SHA-256 of the first complete download
    is therefore kept beside it, and later downloads must agree with it; until then only the
    checks inside the archive speak for it. An interrupted download is taken up where it ended.
    The server at Stanford is at times not reachable.

    References
    ----------
    .. [1] Z. Wu et al., "3D ShapeNets: a deep representation for volumetric shapes", CVPR 2015.

    Examples
    --------
    >>> from pointinteract.datasets import fetch_modelnet40
    >>> clouds = fetch_modelnet40(subset="test", n_points=1024)  # doctest: +SKIP
    >>> clouds.data.shape, clouds.target_names[:2]  # doctest: +SKIP
    ((2468, 1024, 3), ['airplane', 'bathtub'])
    """
    check_option("version", version, ("hdf5", "resampled", "fps_8192"))
    splits = check_choice(subset, n_points, sampling)
    choose = PointChoice(n_points, sampling, random_state)
    record = MODELNET40_H5 if version == "hdf5" else MODELNET40_TEXT
    if version == "fps_8192":
        parts = read_caches(40, MODELNET40_CLASSES, splits, data_home, choose)
    else:
        folder = find_or_fetch(
            record,
            data_home,
            complete=has_h5 if version == "hdf5" else has_text,
            download_if_missing=download_if_missing,
            n_retries=n_retries,
            delay=delay,
            verbose=verbose,
        )
        name = "shape_names.txt" if version == "hdf5" else "modelnet40_shape_names.txt"
        _check_names(folder / name, MODELNET40_CLASSES)
        parts = []
        for split in splits:
            if version == "hdf5":
                found = read_h5_split(folder, split, MODELNET40_CLASSES, choose)
            else:
                found = [read_text_split(folder, 40, split, MODELNET40_CLASSES, choose, verbose)]
            parts += [(split, pair) for pair in found]
    return modelnet_bunch(parts, MODELNET40_CLASSES, record, version, return_X_y)


def read_caches(
    number: int,
    classes: Sequence[str],
    splits: Sequence[str],
    data_home: str | os.PathLike[str] | None,
    choose: PointChoice,
) -> list[tuple[str, Pair]]:
    """The caches of the splits, from the data home or from the folder they are made in."""
    home = find_data_home(data_home)
    inner = home / MODELNET40_TEXT.folder
    folders = [inner, inner / MODELNET40_TEXT.content, home / f"modelnet{number}"]
    return [
        (
            split,
            read_cache_split(list(dict.fromkeys(folders)), number, split, len(classes), choose),
        )
        for split in splits
    ]


def modelnet_bunch(
    parts: Sequence[tuple[str, Pair]],
    classes: list[str],
    record: Record,
    version: str,
    return_X_y: bool,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """One Bunch of splits, whose points carry their normals behind."""
    points, target, which = join_splits([pair for _, pair in parts], [n for n, _ in parts])
    extra: dict[str, np.ndarray] = {"split": which}
    data = points
    if points.shape[-1] == 6:
        data, extra["normals"] = points[..., :3].copy(), points[..., 3:].copy()
    return make_bunch(
        data,
        target,
        classes,
        description=record.describe(f"Version {version}: {len(data)} clouds."),
        extra=extra,
        return_X_y=return_X_y,
    )


def _check_names(path: Path, classes: list[str]) -> None:
    """Labels mean what we say only if the list of the archive, where there is one, agrees."""
    if path.is_file() and read_lines(path) != classes:
        raise bad_file(path, "it lists other classes", f"{', '.join(classes[:3])}, ...")
