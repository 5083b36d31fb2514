"""Labels of a classifier: checked and coded, weighed, and split for early stopping."""

from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d
from torch import Tensor

from pointinteract.base import Clouds

__all__ = [
    "check_labels",
    "check_same_route",
    "encode_labels",
    "find_classes",
    "hold_back",
    "weigh_classes",
]


def check_labels(y: Any, clouds: Clouds, owner: str) -> np.ndarray:
    """Labels (n_clouds,) of validated clouds, refused if absent, continuous or of other number."""
    if y is None:
        raise ValueError(
            f"{owner} requires y to be passed, but the target y is None; ReConPretrainer learns "
            "without labels."
        )
    y = column_or_1d(y, warn=True)
    if len(y) != len(clouds):
        raise ValueError(
            f"y must hold one label a cloud: got {len(y)} labels for {len(clouds)} clouds."
        )
    check_classification_targets(y)
    return y


def find_classes(labels: Any) -> np.ndarray:
    """Classes among labels, sorted; at least two."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise ValueError(
            f"a classifier needs clouds of at least 2 classes; got one class: {classes}."
        )
    return classes


def encode_labels(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Places of labels among the sorted `classes`, int64 (n_clouds,)."""
    unknown = np.setdiff1d(y, classes)
    if len(unknown):
        raise ValueError(
            f"y holds labels that were not seen at the start: {unknown}; known are "
            f"{classes}. Name all of them in classes= at the first partial_fit."
        )
    return np.searchsorted(classes, y)


def hold_back(codes: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the clouds to train on, and of those that decide when to stop."""
    try:
        chosen, held_back = train_test_split(
            np.arange(len(codes)), test_size=fraction, stratify=codes, random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping could not hold {fraction:.0%} of {len(codes)} clouds of "
            f"{len(np.unique(codes))} classes back: {error}"
        ) from error
    return chosen, held_back


def weigh_classes(class_weight: Any, classes: np.ndarray, codes: np.ndarray) -> Tensor | None:
    """Weight of every class in the loss, float32 (n_classes,); 1 for classes not among `codes`."""
    if class_weight is None:
        return None
    present = np.unique(codes)
    weights = np.ones(len(classes), dtype=np.float32)
    weights[present] = compute_class_weight(
        class_weight, classes=classes[present], y=classes[codes]
    )
    return torch.from_numpy(weights)


def check_same_route(now: tuple[str, ...], fitted: tuple[str, ...]) -> None:
    """Raise if protocol, model or pretrained are not those that a warm start would go on with."""
    if now != fitted:
        raise ValueError(
            "warm_start goes on with the network it has, so model, pretrained and "
            "protocol cannot change between fits; set warm_start=False to begin anew."
        )
