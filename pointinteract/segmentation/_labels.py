"""Labels of points and categories of clouds: checked, coded, and how they come back."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from pointinteract.base import Clouds

__all__ = [
    "as_given",
    "check_categories",
    "check_part_labels",
    "encode_labels",
    "parts_of_categories",
    "with_parts_of",
]


def check_part_labels(y: Any, clouds: Clouds, owner: str) -> list[np.ndarray]:
    """Labels of validated clouds as a list of arrays (n_points_i,), or raise."""
    right = (
        "y must hold the part of every point: integers or strings, (n_clouds, n_points) or a "
        "list of (n_points_i,)"
    )
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None. {right}.")
    if isinstance(y, (str, bytes)) or not hasattr(y, "__len__"):
        raise ValueError(f"{right}; got {type(y).__name__}.")
    if len(y) != len(clouds):
        raise ValueError(f"{right}; got {len(y)} rows for {len(clouds)} clouds.")
    rows = [_labels_of(row, i, right) for i, row in enumerate(y)]
    for i, (row, cloud) in enumerate(zip(rows, clouds, strict=True)):
        if len(row) != len(cloud):
            raise ValueError(f"{right}; cloud {i} has {len(cloud)} points, {len(row)} labels.")
    kinds = {row.dtype.kind == "U" for row in rows}
    if len(kinds) > 1:
        raise ValueError(f"{right}, one kind in all clouds; got both.")
    return rows


def _labels_of(row: Any, i: int, right: str) -> np.ndarray:
    labels = np.asarray(row)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        came = "one label" if labels.ndim == 0 else f"labels of shape {labels.shape}"
        raise ValueError(f"{right}; got {came} for cloud {i}.")
    if labels.dtype.kind == "O":
        if not all(isinstance(label, str) for label in labels):
            raise ValueError(f"{right}; those of cloud {i} are objects, not all of them strings.")
        return labels.astype(str)
    if labels.dtype.kind == "f":
        # Tables and files of numbers often give whole numbers as floats.
        if not (np.isfinite(labels).all() and (labels == np.floor(labels)).all()):
            raise ValueError(f"{right}; those of cloud {i} are no whole numbers.")
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise ValueError(f"{right}; those of cloud {i} are {labels.dtype}.")
    return labels


def check_categories(categories: Any, n_clouds: int) -> np.ndarray:
    """Categories (n_clouds,), or raise."""
    array = np.asarray(categories)
    if array.ndim != 1 or len(array) != n_clouds:
        raise ValueError(
            f"categories must hold one category a cloud, ({n_clouds},); got an array of shape "
            f"{array.shape}."
        )
    if array.dtype.kind == "O" and all(isinstance(name, str) for name in array):
        array = array.astype(str)
    if array.dtype.kind not in "iubU":
        raise ValueError(f"categories must be integers or strings; got {array.dtype}.")
    return array


def encode_labels(labels: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """Places of labels among the sorted `classes`, int64."""
    unknown = np.setdiff1d(labels, classes)
    if len(unknown):
        raise ValueError(
            f"{name} holds {unknown.tolist()}, which fit has not seen; known are "
            f"{classes.tolist()}."
        )
    return np.searchsorted(classes, labels)


def parts_of_categories(
    rows: Iterable[np.ndarray], categories: np.ndarray
) -> dict[Any, list[Any]]:
    """Which parts occur in clouds of each category, sorted; plain values throughout."""
    found: dict[Any, set[Any]] = {}
    for row, category in zip(rows, categories.tolist(), strict=True):
        found.setdefault(category, set()).update(np.unique(row).tolist())
    return {category: sorted(found[category]) for category in sorted(found)}


def with_parts_of(
    category_parts: dict[Any, list[Any]], rows: list[np.ndarray], categories: np.ndarray
) -> dict[Any, list[Any]]:
    """Known parts and those that occur in `rows` too, so that a part never learned counts."""
    there = parts_of_categories(rows, categories)
    known = next(iter(category_parts.values()))
    found = next(iter(there.values()))
    if isinstance(known[0], str) != isinstance(found[0], str):
        raise ValueError(
            f"y must name parts as fit has seen them, {known[0]!r} for one; got {found[0]!r}."
        )
    return {
        category: sorted({*parts, *there.get(category, ())})
        for category, parts in category_parts.items()
    }


def as_given(rows: list[np.ndarray], X: Any) -> Any:
    """One entry a cloud as the clouds came: a list for a list, else one array."""
    came_as_list = isinstance(X, (list, tuple)) or getattr(X, "dtype", None) == np.dtype(object)
    return rows if came_as_list else np.stack(rows)
