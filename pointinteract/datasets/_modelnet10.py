"""ModelNet10: meshes sampled here, or the share of ModelNet40's clouds."""

import os
from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._h5lists import PointChoice, check_choice
from pointinteract.datasets._modelnet import (
    LICENCE,
    MODELNET40_TEXT,
    WU,
    modelnet_bunch,
    read_caches,
)
from pointinteract.datasets._modelnet_files import (
    has_meshes,
    has_text,
    read_mesh_split,
    read_text_split,
)
from pointinteract.datasets._remote import Record, find_or_fetch
from pointinteract.utils._params import check_option
from pointinteract.utils._random import draw_seed

MODELNET10_MESHES = Record(
    name="ModelNet10, meshes",
    folder="modelnet10",
    content="ModelNet10",
    url="http://3dvision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip",
    checksum=None,
    licence=LICENCE,
    citation=WU,
    max_bytes=10 * 2**30,
    max_files=30_000,
)
MODELNET10_CLASSES = [
    "bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table",
    "toilet",
]  # fmt: skip
MESH_POINTS = 2048


def fetch_modelnet10(
    *,
    version: str = "meshes",
    data_home: str | os.PathLike[str] | None = None,
    subset: str = "all",
    n_points: int | None = None,
    sampling: str | None = None,
    random_state: int | np.random.RandomState | None = 0,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    n_retries: int = 3,
    delay: float = 1.0,
    n_jobs: int | None = None,
    verbose: bool = True,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Load ModelNet10, ten classes of furniture, downloading it the first time.

    Parameters
    ----------
    version : {"meshes", "resampled", "fps_8192"}, default="meshes"
        - ``"meshes"``: 3,991 and 908 meshes, the same way up, from which points are drawn here
          (a download of about 0.5 GB). Drawing takes minutes; with an integer `random_state`
          the points are kept beside the meshes, and the next time takes a second;
        - ``"resampled"``: the share of ModelNet40's resampled clouds, 10,000 points with
          normals, that its lists ``modelnet10_{train,test}.txt`` name. Not all copies of that
          archive have the lists;
        - ``"fps_8192"``: files ``modelnet10_{train,test}_8192pts_fps.dat`` that you have.
    data_home : path-like, default=None
        Where data sets live; this one in its folder ``modelnet10``, and of the other versions
        in ``modelnet40``. None takes the environment variable POINTINTERACT_DATA, or else
        ``~/pointinteract_data``. An archive, or the folder it unpacks to, that you put there
        yourself is used as it is.
    subset : {"train", "test", "all"}, default="all"
        The official split.
    n_points : int, default=None
        Points of each cloud; None draws 2048 from a mesh, or keeps all of a cloud.
    sampling : {"uniform", "poisson_disk", "first", "random"}, default=None
        How meshes are sampled, one of the first two (None: uniform by area), or which points
        of a cloud are taken, one of the last two (None: the first).
    random_state : int, RandomState instance or None, default=0
        Decides the drawing of points.
    download_if_missing : bool, default=True
        If False, raise an OSError instead of downloading.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.
    n_retries : int, default=3
        How often an interrupted download is taken up again.
    delay : float, default=1.0
        Seconds between the attempts.
    n_jobs : int, default=None
        Processes that sample meshes; the points do not depend on it.
    verbose : bool, default=True
        Whether to show progress on the error stream, if rich is installed.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        As of :func:`fetch_modelnet40`.

    Raises
    ------
    OSError, FileFormatError
        As of :func:`fetch_modelnet40`.

    Notes
    -----
    The authors publish no checksum; see the notes of :func:`fetch_modelnet40`. The archive
    comes over a connection without encryption, the only one its authors name.

    References
    ----------
    .. [1] Z. Wu et al., "3D ShapeNets: a deep representation for volumetric shapes", CVPR 2015.

    Examples
    --------
    >>> from pointinteract.datasets import fetch_modelnet10
    >>> clouds = fetch_modelnet10(subset="test", n_points=1024)  # doctest: +SKIP
    >>> clouds.data.shape, clouds.target_names[:2]  # doctest: +SKIP
    ((908, 1024, 3), ['bathtub', 'bed'])
    """
    check_option("version", version, ("meshes", "resampled", "fps_8192"))
    from_meshes = version == "meshes"
    sampling = sampling or ("uniform" if from_meshes else "first")
    methods = ("uniform", "poisson_disk") if from_meshes else ("first", "random")
    check_option("sampling", sampling, methods)
    cloud_sampling = "first" if from_meshes else sampling
    splits = check_choice(subset, n_points, cloud_sampling)
    choose = PointChoice(n_points, cloud_sampling, random_state)
    record = MODELNET10_MESHES if from_meshes else MODELNET40_TEXT
    if version == "fps_8192":
        parts = read_caches(10, MODELNET10_CLASSES, splits, data_home, choose)
        return modelnet_bunch(parts, MODELNET10_CLASSES, record, version, return_X_y)
    folder = find_or_fetch(
        record,
        data_home,
        complete=has_meshes if from_meshes else has_text,
        download_if_missing=download_if_missing,
        n_retries=n_retries,
        delay=delay,
        verbose=verbose,
    )
    parts, seed = [], draw_seed(random_state)
    for number, split in enumerate(("train", "test")):
        if split not in splits:
            continue
        if from_meshes:
            # Only what an integer has drawn would be drawn again, and is worth keeping.
            keep = isinstance(random_state, Integral)
            pair = read_mesh_split(
                folder,
                split,
                MODELNET10_CLASSES,
                n_points or MESH_POINTS,
                sampling,
                seed=(seed, number),
                keep=keep,
                n_jobs=n_jobs,
                verbose=verbose,
            )
        else:
            pair = read_text_split(folder, 10, split, MODELNET10_CLASSES, choose, verbose)
        parts.append((split, pair))
    return modelnet_bunch(parts, MODELNET10_CLASSES, record, version, return_X_y)
