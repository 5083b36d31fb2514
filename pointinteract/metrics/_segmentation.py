"""Scores of part segmentation: intersection over union of parts, by shape and by category.

The published rules of ShapeNetPart, by which all papers since PointNet count: the parts of a
shape are those of its category; the score of a part is intersection over union of its points,
and 1 if neither the truth nor the prediction has any; the score of a shape is the mean over the
parts of its category. *Instance* mIoU is the mean over shapes, *class* mIoU the mean over
categories of the means over their shapes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "allowed_parts",
    "class_miou",
    "instance_miou",
    "part_iou_table",
    "restricted_argmax",
    "shape_ious",
]


def shape_ious(
    y_true: Any,
    y_pred: Any,
    categories: Any = None,
    *,
    category_parts: Mapping[Any, Sequence[Any]] | None = None,
) -> np.ndarray:
    """Mean intersection over union of the parts of every cloud.

    Parameters
    ----------
    y_true, y_pred : array (n_clouds, n_points), or list of (n_points_i,)
        Part of every point; integers or strings, the same kind in both.
    categories : array of shape (n_clouds,), optional
        Category of every cloud. Without it, the parts that count for a cloud are those that
        its truth or its prediction has: no part that neither has brings the score up, so it is
        at most the published one.
    category_parts : dict of category to parts, optional
        The parts of each category, among them all that `y_true` has. Left out, they are those
        that occur in `y_true` of its clouds; give those of the whole data set if `y_true` is a
        small piece of it.

    Returns
    -------
    scores : float64 array of shape (n_clouds,)
        From 0 to 1.

    Notes
    -----
    A point that is said to be of a part of another category counts as wrong: it is missing
    where it belongs. Published predictions cannot be; see :func:`restricted_argmax`.

    Examples
    --------
    >>> from pointinteract.metrics import shape_ious
    >>> truth, guess = [[0, 0, 1, 1]], [[0, 1, 1, 1]]
    >>> shape_ious(truth, guess)                       # (1/2 + 2/3) / 2
    array([0.58333333])
    >>> shape_ious(truth, guess, ["mug"], category_parts={"mug": [0, 1, 2]}).round(3)
    array([0.722])
    """
    truth, guess = _check_pairs(y_true, y_pred)
    if categories is None:
        if category_parts is not None:
            raise ValueError("category_parts is of no use without categories; give both.")
        rows = [
            _ious(a, b, np.union1d(a, b)).mean() for a, b in zip(truth, guess, strict=True)
        ]
        return np.array(rows)
    names, parts = _check_categories(categories, category_parts, truth)
    return np.array(
        [
            _ious(a, b, parts[name]).mean()
            for a, b, name in zip(truth, guess, names, strict=True)
        ]
    )


def instance_miou(
    y_true: Any,
    y_pred: Any,
    categories: Any = None,
    *,
    category_parts: Mapping[Any, Sequence[Any]] | None = None,
) -> float:
    """Mean over clouds of :func:`shape_ious`; parameters as there.

    Examples
    --------
    >>> from pointinteract.metrics import instance_miou
    >>> instance_miou([[0, 0, 1, 1], [2, 2, 2, 2]], [[0, 0, 1, 1], [2, 2, 3, 3]])
    0.625
    """
    return float(shape_ious(y_true, y_pred, categories, category_parts=category_parts).mean())


def class_miou(
    y_true: Any,
    y_pred: Any,
    categories: Any,
    *,
    category_parts: Mapping[Any, Sequence[Any]] | None = None,
) -> float:
    """Mean over categories of the means over their clouds of :func:`shape_ious`.

    A category with few clouds counts as much as one with many; parameters as there.

    Examples
    --------
    >>> from pointinteract.metrics import class_miou
    >>> truth = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]
    >>> guess = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 2, 2]]
    >>> class_miou(truth, guess, ["mug", "mug", "cap"])
    0.625
    """
    if categories is None:
        raise ValueError("class_miou needs the category of every cloud; see instance_miou.")
    scores = shape_ious(y_true, y_pred, categories, category_parts=category_parts)
    names = np.asarray(categories)
    return float(np.mean([scores[names == name].mean() for name in np.unique(names)]))


def part_iou_table(
    y_true: Any,
    y_pred: Any,
    categories: Any = None,
    *,
    category_parts: Mapping[Any, Sequence[Any]] | None = None,
) -> pd.DataFrame:
    """Intersection over union of every part of every category.

    Parameters
    ----------
    y_true, y_pred, categories, category_parts
        As in :func:`shape_ious`; without categories, all clouds are of one that is called
        ``"all"`` and has all parts in `y_true`.

    Returns
    -------
    table : DataFrame
        One row a category and part, with the columns ``category``, ``part``, ``n_clouds`` (of
        the category), ``n_with_part`` (of them, whose truth has the part), ``iou`` (mean over
        the category, where absence from both counts 1, as it goes into the published scores)
        and ``iou_present`` (mean over the clouds whose truth or prediction has the part; the
        stricter number, NaN if there is none).

    Examples
    --------
    >>> from pointinteract.metrics import part_iou_table
    >>> table = part_iou_table([[0, 0, 1, 1], [0, 0, 0, 0]], [[0, 0, 1, 1], [0, 0, 1, 1]])
    >>> table[["part", "n_with_part", "iou"]].values.tolist()
    [[0.0, 2.0, 0.75], [1.0, 1.0, 0.5]]
    """
    truth, guess = _check_pairs(y_true, y_pred)
    given = ["all"] * len(truth) if categories is None else categories
    names, parts = _check_categories(given, category_parts, truth)
    rows = []
    for name in np.unique(np.asarray(names)).tolist():
        members = [i for i, other in enumerate(names) if other == name]
        known = parts[name]
        scores = np.array([_ious(truth[i], guess[i], known) for i in members])
        in_truth = np.array([np.isin(known, truth[i]) for i in members])
        present = in_truth | np.array([np.isin(known, guess[i]) for i in members])
        for column, part in enumerate(known.tolist()):
            seen = scores[present[:, column], column]
            rows.append(
                {
                    "category": name,
                    "part": part,
                    "n_clouds": len(members),
                    "n_with_part": int(in_truth[:, column].sum()),
                    "iou": scores[:, column].mean(),
                    "iou_present": seen.mean() if len(seen) else np.nan,
                }
            )
    return pd.DataFrame(rows)


def allowed_parts(
    categories: Any,
    category_parts: Mapping[Any, Sequence[Any]],
    part_classes: Any,
) -> np.ndarray:
    """Which of `part_classes` a cloud of each category may have, bool (n_clouds, n_parts).

    Raises ValueError naming a category that `category_parts` lacks, or one of whose parts none
    is in `part_classes`.

    Examples
    --------
    >>> from pointinteract.metrics import allowed_parts
    >>> allowed_parts(["cap", "mug"], {"cap": [0, 1], "mug": [2]}, [0, 1, 2]).astype(int)
    array([[1, 1, 0],
           [0, 0, 1]])
    """
    classes = np.asarray(part_classes)
    names = _plain(categories)
    _check_known(names, category_parts)
    masks = {
        name: np.isin(classes, np.asarray(category_parts[name])) for name in dict.fromkeys(names)
    }
    for name, mask in masks.items():
        if not mask.any():
            raise ValueError(
                f"none of the parts of category {name!r}, {list(category_parts[name])}, is among "
                f"part_classes {classes.tolist()}."
            )
    return np.stack([masks[name] for name in names])


def restricted_argmax(
    scores: Any,
    categories: Any,
    category_parts: Mapping[Any, Sequence[Any]],
    *,
    part_classes: Any = None,
) -> Any:
    """Best part of every point among the parts of its cloud's category.

    Parameters
    ----------
    scores : array (n_clouds, n_points, n_parts), or list of (n_points_i, n_parts)
        Logits or probabilities.
    categories : array of shape (n_clouds,)
    category_parts : dict of category to parts
    part_classes : array of shape (n_parts,), optional
        The part that each column of `scores` is of; 0, 1, 2 ... if left out.

    Returns
    -------
    parts : array (n_clouds, n_points), or list of (n_points_i,)
        A list if `scores` is one.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.metrics import restricted_argmax
    >>> scores = np.array([[[0.1, 0.2, 0.7], [0.3, 0.1, 0.6]]])
    >>> restricted_argmax(scores, ["mug"], {"mug": [0, 1], "cap": [2]})
    array([[1, 0]])
    """
    rows = [np.asarray(row) for row in scores]
    if not rows or any(row.ndim != 2 for row in rows):
        raise ValueError(
            "scores must be (n_clouds, n_points, n_parts) or a list of (n_points_i, n_parts); "
            f"got {[row.shape for row in rows][:3]}."
        )
    classes = np.arange(rows[0].shape[1]) if part_classes is None else np.asarray(part_classes)
    if any(row.shape[1] != len(classes) for row in rows):
        raise ValueError(
            f"scores must have one column for each of {len(classes)} parts; got "
            f"{sorted({row.shape[1] for row in rows})}."
        )
    allowed = allowed_parts(categories, category_parts, classes)
    if len(allowed) != len(rows):
        raise ValueError(
            f"categories must be one a cloud: got {len(allowed)} for {len(rows)} clouds."
        )
    best = [
        classes[np.where(mask, row, -np.inf).argmax(axis=1)]
        for row, mask in zip(rows, allowed, strict=True)
    ]
    return best if isinstance(scores, (list, tuple)) else np.stack(best)


def _ious(truth: np.ndarray, guess: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Intersection over union of each of `parts` in one cloud; 1 where neither has it."""
    in_truth, in_guess = truth == parts[:, None], guess == parts[:, None]
    union = (in_truth | in_guess).sum(axis=1)
    return np.where(union == 0, 1.0, (in_truth & in_guess).sum(axis=1) / np.maximum(union, 1))


def _check_pairs(y_true: Any, y_pred: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Truth and prediction as lists of arrays that fit each other."""
    truth, guess = _rows(y_true, "y_true"), _rows(y_pred, "y_pred")
    if len(truth) != len(guess):
        raise ValueError(
            f"y_true and y_pred must be of the same clouds; got {len(truth)} and {len(guess)}."
        )
    for i, (a, b) in enumerate(zip(truth, guess, strict=True)):
        if len(a) != len(b):
            raise ValueError(
                f"cloud {i} has {len(a)} points in y_true and {len(b)} in y_pred."
            )
        if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
            raise ValueError(
                f"y_true and y_pred must name parts alike; cloud {i} has {a.dtype} and {b.dtype}."
            )
    return truth, guess


def _rows(labels: Any, name: str) -> list[np.ndarray]:
    if isinstance(labels, (str, bytes)) or not np.iterable(labels):
        raise ValueError(f"{name} must be the part of every point of every cloud; got {labels!r}.")
    rows = [np.asarray(row) for row in labels]
    rows = [
        row.astype(str)
        if row.dtype.kind == "O" and all(isinstance(label, str) for label in row.flat)
        else row
        for row in rows
    ]
    wrong = [row.shape for row in rows if row.ndim != 1 or len(row) == 0]
    if not rows or wrong:
        came = f"a row of shape {wrong[0]}" if wrong else "no cloud"
        raise ValueError(
            f"{name} must be an array (n_clouds, n_points) or a list of arrays (n_points_i,), "
            f"none of them empty; got {came}."
        )
    other = [row.dtype for row in rows if row.dtype.kind not in "iubU"]
    if other:
        raise ValueError(f"{name} must hold integers or strings; got {other[0]}.")
    return rows


def _check_categories(
    categories: Any,
    category_parts: Mapping[Any, Sequence[Any]] | None,
    truth: list[np.ndarray],
) -> tuple[list[Any], dict[Any, np.ndarray]]:
    """Category of every cloud, and the parts of each, sorted."""
    names = _plain(categories)
    if len(names) != len(truth):
        raise ValueError(
            f"categories must be one a cloud: got {len(names)} for {len(truth)} clouds."
        )
    if category_parts is None:
        return names, {
            name: np.unique(
                np.concatenate([t for t, other in zip(truth, names, strict=True) if other == name])
            )
            for name in set(names)
        }
    _check_known(names, category_parts)
    parts = {name: np.unique(np.asarray(category_parts[name])) for name in set(names)}
    for i, (labels, name) in enumerate(zip(truth, names, strict=True)):
        # Points of such parts would not count, and a cloud of nothing else would score 1.
        known = set(parts[name].tolist())
        beyond = [part for part in np.unique(labels).tolist() if part not in known]
        if beyond:
            raise ValueError(
                f"y_true of cloud {i} has {beyond}, which category_parts does not name among the "
                f"parts of its category {name!r}: {list(category_parts[name])}."
            )
    return names, parts


def _check_known(names: list[Any], category_parts: Mapping[Any, Sequence[Any]]) -> None:
    if not isinstance(category_parts, Mapping):
        raise TypeError(
            "category_parts must be a dict from each category to its parts, such as "
            f"{{'mug': [0, 1]}}; got {type(category_parts).__name__}."
        )
    unknown = sorted({str(name) for name in names if name not in category_parts})
    if unknown:
        raise ValueError(
            f"category_parts does not say the parts of {', '.join(unknown)}; it knows "
            f"{', '.join(map(str, category_parts))}."
        )


def _plain(categories: Any) -> list[Any]:
    """Categories as plain Python values, (n_clouds,)."""
    array = np.asarray(categories)
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(
            f"categories must be one a cloud, (n_clouds,); got an array of shape {array.shape}."
        )
    return array.tolist()
