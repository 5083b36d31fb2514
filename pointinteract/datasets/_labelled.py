"""One labelled data set from one file (npz, h5) or from a folder."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch, stack_clouds
from pointinteract.datasets._files import load_cloud_files
from pointinteract.io._arrays import read_h5, read_npz
from pointinteract.io._errors import bad_file, check_exists, check_numbers, check_points
from pointinteract.io._points import H5_SUFFIXES

NPZ_KEYS = (
    "points", "points_cm", "offsets", "label", "labels", "split", "split_names", "class_names",
    "quant_scale", "normals", "fold", "object_id",
)  # fmt: skip
CENTIMETER = 0.01
PER_CLOUD = ("fold", "object_id")
RIGHT = (
    "arrays 'points' of shape (n_clouds, n_points, 3) and 'label' of shape (n_clouds,), with "
    "'split', 'class_names' and 'quant_scale' if you like; or 'points_cm' with 'offsets'"
)


def load_cloud_dataset(
    path: str | Path, *, split: str | None = None, return_X_y: bool = False
) -> Bunch | tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Load labelled clouds from an npz or h5 file, or from a folder of classes.

    Parameters
    ----------
    path : str or Path
        One of

        - an npz file with ``points`` of shape (n_clouds, n_points, 3) and ``label`` (numbers, or
          names), and optionally ``class_names``, ``split`` (names, or numbers into
          ``split_names``, by default 0 train and 1 test) and ``quant_scale``, by which integer
          points are multiplied;
        - an npz file of clouds of differing length: all points one after another in ``points``
          or, in centimetres, ``points_cm``, where cloud i begins at ``offsets[i]``;
        - an h5 file with data sets ``data`` and ``label``;
        - a folder, see :func:`load_cloud_files`; it is read in sorted order.
    split : str, default=None
        Return the clouds of one split only, for example ``"train"``.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    clouds : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, float32 of shape (n_clouds, n_points, 3), or a list of such arrays
          (n_points_i, 3) if the clouds differ in their number of points;
        * ``target``, int64 of shape (n_clouds,), an index into ``target_names``, list of str;
        * ``split``, array of str of shape (n_clouds,), or None;
        * ``normals`` (like ``data``), ``fold`` and ``object_id`` where the file has them;
        * ``DESCR``, str.

    Raises
    ------
    FileFormatError
        If the file is broken, lacks points or labels, or they do not fit together.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from pointinteract.datasets import load_cloud_dataset
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "clouds.npz"
    >>> np.savez(path, points=np.ones((4, 8, 3)), label=[0, 1, 0, 1], class_names=["a", "b"])
    >>> clouds = load_cloud_dataset(path)
    >>> clouds.data.shape, clouds.target_names
    ((4, 8, 3), ['a', 'b'])
    """
    path = Path(path)
    if path.is_dir():
        return load_cloud_files(path, shuffle=False, split=split, return_X_y=return_X_y)
    check_exists(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = read_npz(path, NPZ_KEYS)
    elif suffix in H5_SUFFIXES:
        arrays = read_h5(path, ["data", "label", "normal"])
        renamed = {"data": "points", "normal": "normals"}
        arrays = {renamed.get(name, name): array for name, array in arrays.items()}
    else:
        raise bad_file(
            path,
            f"the suffix is {suffix!r}",
            "an .npz or .h5 file, or a folder with a sub-folder per class",
        )

    data, extra = _clouds(path, arrays)
    target, names = _labels(path, arrays, len(data))
    which = _splits(path, arrays, len(data))
    for name in PER_CLOUD:
        if name in arrays and len(arrays[name]) == len(data):
            extra[name] = arrays[name]
    if split is not None:
        chosen = np.zeros(len(data), bool) if which is None else which == split
        if not chosen.any():
            known = [] if which is None else sorted(set(which.tolist()))
            raise ValueError(f"{path} has no clouds of split {split!r}; it has {known}.")
        rows = np.flatnonzero(chosen)
        data, target = _take(data, rows), target[rows]
        which = which[rows] if which is not None else None
        extra = {name: _take(values, rows) for name, values in extra.items()}
    return make_bunch(
        data,
        target,
        names,
        description=f"{len(data)} clouds of {len(names)} classes from {path}.",
        extra={"split": which, **extra},
        return_X_y=return_X_y,
    )


def _take(values: Any, rows: np.ndarray) -> Any:
    return [values[i] for i in rows] if isinstance(values, list) else values[rows]


def _clouds(path: Path, arrays: dict[str, np.ndarray]):
    """The clouds, and what goes with them."""
    name = "points" if "points" in arrays else "points_cm"
    if name not in arrays:
        raise bad_file(path, f"the arrays are {sorted(arrays)}, without points", RIGHT)
    scale = arrays.get("quant_scale", np.float32(1.0 if name == "points" else CENTIMETER))
    if np.size(scale) != 1 or scale.dtype.kind not in "fiu" or not np.isfinite(scale).all():
        raise bad_file(path, f"quant_scale is {scale!r:.60}", "one number")
    factor = np.float32(np.asarray(scale).item())
    points = check_points(path, arrays[name], stack=True) * factor
    if "offsets" in arrays:
        return _cut(path, points, arrays["offsets"]), {}
    if points.ndim != 3:
        raise bad_file(path, f"{name} has shape {points.shape} and there are no offsets", RIGHT)
    extra = {}
    if "normals" in arrays:
        normals = check_numbers(path, arrays["normals"], "normals")
        if normals.shape[:2] != points.shape[:2]:
            raise bad_file(
                path, f"normals have shape {normals.shape}", f"{(*points.shape[:2], 3)}"
            )
        factor = factor if normals.dtype.kind in "iu" else np.float32(1.0)
        extra["normals"] = normals.astype(np.float32) * factor
    return points[..., :3], extra


def _cut(path: Path, points: np.ndarray, offsets: np.ndarray):
    right = "offsets from 0 to the number of points, rising by at least 1"
    if points.ndim != 2 or offsets.ndim != 1 or offsets.dtype.kind not in "iu":
        came = f"points have shape {points.shape}, offsets {offsets.shape} of {offsets.dtype}"
        raise bad_file(path, came, right)
    bounds = offsets.astype(np.int64)
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(points) or np.diff(bounds).min() < 1:
        came = f"offsets run from {bounds[:1]} to {bounds[-1:]} for {len(points)} points"
        raise bad_file(path, came, right)
    clouds = [points[a:b, :3] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    return stack_clouds(clouds)


def _labels(path: Path, arrays: dict[str, np.ndarray], n_clouds: int):
    label = arrays.get("label", arrays.get("labels"))
    if label is None:
        raise bad_file(path, f"the arrays are {sorted(arrays)}, without labels", RIGHT)
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]  # some h5 collections store labels as a column
    if label.shape != (n_clouds,):
        raise bad_file(
            path, f"label has shape {label.shape} for {n_clouds} clouds", f"shape ({n_clouds},)"
        )
    names = [str(name) for name in np.atleast_1d(arrays.get("class_names", []))]
    if label.dtype.kind in "US":
        text = label.astype(str)
        names = names or sorted(set(text.tolist()))
        unknown = sorted(set(text.tolist()) - set(names))
        if unknown:
            raise bad_file(path, f"labels {unknown[:5]} are not in class_names", f"{names}")
        index = {name: i for i, name in enumerate(names)}
        return np.array([index[name] for name in text.tolist()], dtype=np.int64), names
    check_numbers(path, label, "label")
    target = label.astype(np.int64)
    if (target != label).any() or target.min() < 0:
        raise bad_file(path, "a label is negative or not whole", "whole numbers from 0, or names")
    highest = int(target.max())
    if names and highest >= len(names):
        raise bad_file(
            path, f"label {highest} has no name among {len(names)} class_names", "one per label"
        )
    if not names and highest >= 100_000:
        raise bad_file(path, f"the highest label is {highest}", "labels counted from 0")
    return target, names or [str(i) for i in range(highest + 1)]


def _splits(path: Path, arrays: dict[str, np.ndarray], n_clouds: int) -> np.ndarray | None:
    split = arrays.get("split")
    if split is None:
        return None
    if split.shape != (n_clouds,):
        raise bad_file(
            path, f"split has shape {split.shape} for {n_clouds} clouds", f"shape ({n_clouds},)"
        )
    if split.dtype.kind in "US":
        return split.astype(str)
    names = np.atleast_1d(arrays.get("split_names", np.array(["train", "test"]))).astype(str)
    if split.dtype.kind not in "biu" or split.min() < 0 or split.max() >= len(names):
        raise bad_file(
            path,
            f"split holds {np.unique(split)[:5]}",
            f"names, or numbers below {len(names)} ({', '.join(names)})",
        )
    return names[split.astype(np.int64)]
