"""Which output column is explained: labels to columns, and the choice for each cloud."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def resolve_target(target: Any, labels: np.ndarray | None) -> Any:
    """Return "true", "predicted" or a label: what "auto" means with or without labels."""
    if isinstance(target, str) and target == "auto":
        return "predicted" if labels is None else "true"
    return target


def target_finder(
    target: Any, labels: np.ndarray | None, classes: np.ndarray | None
) -> Callable[[int, int, int], int]:
    """Return a function (cloud, predicted column, n_columns) to the column to explain."""
    target = resolve_target(target, labels)
    if isinstance(target, str) and target == "predicted":
        return lambda cloud, predicted, n_columns: predicted
    if isinstance(target, str) and target == "true":
        if labels is None:
            raise ValueError("target='true' needs the true labels: pass y.")
        columns = labels
        return lambda cloud, predicted, n_columns: check_column(columns[cloud], n_columns)
    column = encode_labels([target], 1, classes)
    return lambda cloud, predicted, n_columns: check_column(column[0], n_columns)


def encode_labels(y: Sequence[Any], n_clouds: int, classes: np.ndarray | None) -> np.ndarray:
    """Turn labels into numbers of output columns."""
    labels = np.asarray(y)
    if labels.shape != (n_clouds,):
        raise ValueError(
            f"y must hold one label for each of {n_clouds} clouds, got shape {labels.shape}."
        )
    if classes is None:
        if labels.dtype.kind not in "iu" or (labels < 0).any():
            raise ValueError(
                "the model has no classes_, so labels (and a target) must be integers, numbers "
                f"of its output columns from 0; got {labels.tolist()[0]!r}."
            )
        return labels.astype(np.int64)
    columns = {label: column for column, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in columns]
    if unknown:
        raise ValueError(
            f"the model does not know the label {unknown[0]!r}; its classes_ are "
            f"{list(columns)[:10]}."
        )
    return np.array([columns[label] for label in labels.tolist()], dtype=np.int64)


def check_column(column: int, n_columns: int) -> int:
    """Return the target column, or raise if the model has no such output."""
    if column >= n_columns:
        raise ValueError(
            f"the target is output column {column}, but the model has {n_columns} columns."
        )
    return int(column)
