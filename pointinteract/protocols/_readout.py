"""A classifier out of whatever a protocol was given: fitted or not, classifier or features."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "FeatureClassifier",
    "call_single_threaded",
    "check_labels",
    "fit_classifier",
    "fit_features",
    "is_fitted",
    "is_predictor",
    "keep_start",
    "make_probe",
    "name_of",
    "seeded",
    "single_thread",
    "unit_rows",
]

PROBE_WORDS = "linear SVM (standardized features, C = 0.01, not tuned)"


class FeatureClassifier:
    """Frozen features with a classifier on top of them.

    Parameters
    ----------
    transformer : fitted estimator with ``transform``
    probe : fitted classifier of the rows that it gives
    """

    def __init__(self, transformer: Any, probe: Any) -> None:
        self.transformer = transformer
        self.probe = probe

    @property
    def classes_(self) -> np.ndarray:
        return self.probe.classes_

    def predict(self, X: Any) -> np.ndarray:
        return self.probe.predict(np.asarray(self.transformer.transform(X)))


def is_fitted(estimator: Any) -> bool:
    """Whether the estimator can be asked as it is: fitted, or not made to be fitted at all."""
    if not hasattr(estimator, "fit"):
        return True
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True


def is_predictor(estimator: Any) -> bool:
    """Whether the estimator names classes by itself; else it must give features, or we raise."""
    predicts, transforms = hasattr(estimator, "predict"), hasattr(estimator, "transform")
    if predicts and transforms:
        return is_classifier(estimator)
    if not predicts and not transforms:
        raise TypeError(
            "estimator must be a classifier (with predict) or give features (with transform), "
            f"got {type(estimator).__name__}."
        )
    return predicts


def make_probe(probe: Any, seed: int) -> Any:
    """A clone of the user's classifier of features, or our linear SVM."""
    if probe is not None:
        return seeded(clone(probe), seed)
    return make_pipeline(StandardScaler(), LinearSVC(C=0.01, dual=False, random_state=seed))


def fit_features(estimator: Any, X: Any, seed: int) -> Any:
    """The transformer as it is if fitted, else a clone that learned from X without labels."""
    if is_fitted(estimator):
        return estimator
    return seeded(clone(estimator), seed).fit(X)


def fit_classifier(
    estimator: Any, X: Any, y: Any, *, probe: Any = None, seed: int = 0
) -> tuple[Any, str]:
    """Make something with ``predict``, and say in words how.

    A fitted classifier is used as it is, and X and y may be None; an unfitted one is cloned and
    fitted. A transformer gets a linear classifier on its features.
    """
    name = name_of(estimator)
    predicts = is_predictor(estimator)
    frozen = is_fitted(estimator)
    if predicts:
        if frozen:
            return estimator, f"{name} was used as it came, fitted"
        check_given(X, y, f"{name} is not fitted")
        return keep_start(seeded(clone(estimator), seed), estimator).fit(X, y), (
            f"a clone of {name} was fitted on the {len(y)} training clouds"
        )
    check_given(X, y, f"{name} gives features and no classes")
    features = fit_features(estimator, X, seed)
    head = make_probe(probe, seed).fit(np.asarray(features.transform(X)), y)
    how = "as it came, fitted" if frozen else "a clone fitted on them without labels"
    words = PROBE_WORDS if probe is None else name_of(probe)
    return FeatureClassifier(features, head), (
        f"a {words} was taught by the {len(y)} training clouds on the features of {name}, {how}"
    )


def check_given(X: Any, y: Any, reason: str) -> None:
    """Raise unless there are clouds and labels to learn from."""
    if X is None or y is None:
        raise ValueError(f"{reason}; give X_train and y_train for it to learn from.")


def check_labels(name: str, y: Any, clouds: Any) -> np.ndarray:
    """Labels as a one-dimensional array, as many as there are clouds, or raise."""
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != len(clouds):
        raise ValueError(
            f"{name} must hold one label for each of the {len(clouds)} clouds, got an array of "
            f"shape {labels.shape}."
        )
    return labels


def seeded(estimator: Any, seed: int) -> Any:
    """Give the estimator a seed wherever the user left it open."""
    parameters = estimator.get_params(deep=True)
    open_ = {
        name: seed
        for name, value in parameters.items()
        if (name == "random_state" or name.endswith("__random_state")) and value is None
    }
    return estimator.set_params(**open_) if open_ else estimator


def keep_start(copy: Any, estimator: Any) -> Any:
    """Let a clone of a classifier start from what the classifier does, where that is fitted.

    Cloned along, a fitted pretrainer would be pre-trained anew on the clouds of the classifier.
    """
    start = getattr(estimator, "pretrained", None)
    if start is not None and hasattr(start, "get_params") and is_fitted(start):
        copy.set_params(pretrained=start)
    return copy


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Vectors along the last axis brought to length 1; those of zeros stay."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def name_of(estimator: Any) -> str:
    """What to call an estimator in a sentence: its class, and its network where it names one."""
    if isinstance(estimator, FeatureClassifier):
        return f"features of {name_of(estimator.transformer)}"
    network = next(
        (
            value
            for value in (getattr(estimator, key, None) for key in ("model", "backbone"))
            if isinstance(value, str)
        ),
        None,
    )
    kind = type(estimator).__name__
    return kind if network is None else f"{kind}({network!r})"


@contextmanager
def single_thread(active: bool = True) -> Iterator[None]:
    """Keep torch to one thread, so that jobs side by side do not fight for cores."""
    before = torch.get_num_threads()
    if active:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def call_single_threaded(function: Callable[..., Any], active: bool, *arguments: Any) -> Any:
    """Call a function under :func:`single_thread`; a name that joblib can send to a process."""
    with single_thread(active):
        return function(*arguments)
