"""Read-outs of frozen features: do they serve on other data, and on classes never seen?

Each takes anything with ``transform`` (clouds to one vector each) and returns an
:class:`~pointinteract.games.Estimate` of an accuracy. None trains the network.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import check_random_state

from pointinteract.explanation._study_statistics import wilson_interval
from pointinteract.games.orders import Estimate
from pointinteract.utils._params import check_int

__all__ = ["few_shot_readout", "knn_readout", "linear_readout"]

PENALTIES = (0.001, 0.01, 0.1, 1.0)


def linear_readout(
    model: Any,
    X: Any,
    y: Sequence[Any],
    X_test: Any,
    y_test: Sequence[Any],
    *,
    penalties: Sequence[float] = PENALTIES,
    n_splits: int = 3,
    random_state: int | np.random.RandomState | None = 0,
) -> Estimate:
    """Linear SVM on frozen features, for data of another set or another domain.

    Parameters
    ----------
    model : object with ``transform(X)``
        Gives one feature vector a cloud; it is not trained further.
    X, y : clouds and labels to fit the SVM on
    X_test, y_test : clouds and labels to judge it on
    penalties : sequence of float
        Values of C, one of which is chosen by cross-validation on `X`.
    n_splits : int, default=3
        Of the cross-validation; fewer where a class has fewer clouds.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    accuracy : Estimate
        value, low and high (Wilson, 95 %) on the test clouds.

    Examples
    --------
    >>> import numpy as np
    >>> from types import SimpleNamespace
    >>> from pointinteract.explanation import linear_readout
    >>> X = np.random.default_rng(0).normal(size=(24, 16, 3))
    >>> y = np.arange(24) % 2
    >>> X[y == 1, :, 2] *= 4
    >>> encoder = SimpleNamespace(transform=lambda clouds: clouds.std(axis=1))
    >>> float(linear_readout(encoder, X[:12], y[:12], X[12:], y[12:]).value)
    1.0
    """
    labels, truth = np.asarray(y), np.asarray(y_test)
    features, features_test = _features(model, X), _features(model, X_test)
    seed = check_random_state(random_state).randint(2**31)
    svm = make_pipeline(StandardScaler(), LinearSVC(dual=False, random_state=seed))
    n_splits = min(check_int("n_splits", n_splits, minimum=2), _smallest_class(labels))
    if n_splits >= 2:
        folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        svm = GridSearchCV(svm, {"linearsvc__C": list(penalties)}, cv=folds)
    hits = svm.fit(features, labels).predict(features_test) == truth
    return wilson_interval(hits.sum(), len(hits))


def few_shot_readout(
    model: Any,
    X: Any,
    y: Sequence[Any],
    *,
    n_way: int = 5,
    n_shot: int = 10,
    n_queries: int = 15,
    n_episodes: int = 20,
    random_state: int | np.random.RandomState | None = 0,
) -> Estimate:
    """Few-shot accuracy of frozen features on classes that the network never saw.

    Each episode draws `n_way` classes, fits a linear SVM on `n_shot` clouds of each and is
    judged on `n_queries` others.

    Parameters
    ----------
    model : object with ``transform(X)``
    X, y : clouds and labels of the unseen classes
    n_way, n_shot, n_queries : int
        Lowered to what the data has: all classes, and as many queries as are left.
    n_episodes : int, default=20
        More gives a narrower interval over the choice of clouds.
    random_state : int, RandomState instance or None, default=0
        Same integer, same episodes for every model: compare models in pairs.

    Returns
    -------
    accuracy : Estimate
        Mean over episodes with its 95 % interval (Student's).
    """
    labels = np.asarray(y)
    check_int("n_episodes", n_episodes)
    features = _features(model, X)
    classes = np.unique(labels)
    n_way = min(check_int("n_way", n_way, minimum=2), len(classes))
    n_queries = min(check_int("n_queries", n_queries), _smallest_class(labels) - n_shot)
    if n_queries < 1 or n_way < 2:
        raise ValueError(
            f"few-shot episodes need at least 2 classes of more than n_shot={n_shot} clouds; got "
            f"{len(classes)} classes, the smallest of {_smallest_class(labels)} clouds."
        )
    rng = check_random_state(random_state)
    accuracies = []
    for _ in range(n_episodes):
        support, query = [], []
        for label in rng.permutation(classes)[:n_way]:
            members = rng.permutation(np.flatnonzero(labels == label))
            support.append(members[:n_shot])
            query.append(members[n_shot : n_shot + n_queries])
        rows, asked = np.concatenate(support), np.concatenate(query)
        svm = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False, random_state=0))
        accuracies.append(
            svm.fit(features[rows], labels[rows]).score(features[asked], labels[asked])
        )
    return _mean_with_interval(np.array(accuracies))


def knn_readout(
    model: Any,
    X: Any,
    y: Sequence[Any],
    X_test: Any,
    y_test: Sequence[Any],
    *,
    n_neighbors: int = 5,
) -> Estimate:
    """Nearest-neighbor accuracy of frozen features, by the angle between them.

    Parameters
    ----------
    model : object with ``transform(X)``
    X, y : clouds and labels to find neighbors among
    X_test, y_test : clouds and labels to judge
    n_neighbors : int, default=5

    Returns
    -------
    accuracy : Estimate
        value, low and high (Wilson, 95 %).
    """
    labels, truth = np.asarray(y), np.asarray(y_test)
    n_neighbors = min(check_int("n_neighbors", n_neighbors), len(labels))
    nearest = make_pipeline(Normalizer(), KNeighborsClassifier(n_neighbors))
    hits = nearest.fit(_features(model, X), labels).predict(_features(model, X_test)) == truth
    return wilson_interval(hits.sum(), len(hits))


def _features(model: Any, X: Any) -> np.ndarray:
    if not callable(getattr(model, "transform", None)):
        raise TypeError(
            "a read-out needs a model with transform(X), which gives one vector a cloud; "
            f"{type(model).__name__} has none."
        )
    features = np.asarray(model.transform(X), dtype=np.float64)
    if features.ndim != 2 or len(features) != len(X):
        raise ValueError(
            f"transform must return ({len(X)}, n_features) for {len(X)} clouds, got shape "
            f"{features.shape}."
        )
    return features


def _smallest_class(y: np.ndarray) -> int:
    return int(np.unique(y, return_counts=True)[1].min())


def _mean_with_interval(values: np.ndarray) -> Estimate:
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, np.nan, np.nan)
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)
