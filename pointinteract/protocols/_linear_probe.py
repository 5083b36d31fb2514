"""Linear SVM on frozen features: the papers' fixed C, and C chosen on the training clouds."""

import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from pointinteract.protocols._compare_errors import NotApplicableError, check_common_class
from pointinteract.protocols._poolings import check_pooling, pooled_features
from pointinteract.protocols._published import PublishedFigure, find_published, method_of_class
from pointinteract.protocols._readout import check_labels, fit_features, is_fitted
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed

__all__ = ["LinearProbeResult", "linear_probe"]

GRID = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class _Convention(NamedTuple):
    """How the authors of a method probe it."""

    kind: str
    C: float
    pooling: str | None = None  # None: what transform gives


# From their evaluation code; on ModelNet40, none of them with scaled features.
_CONVENTIONS = {
    "ReCon": _Convention("LinearSVC", 0.075),
    "Point-BERT": _Convention("LinearSVC", 1.0, "contrast"),
    "MaskPoint": _Convention("LinearSVC", 1.0),
    "ACT": _Convention("LinearSVC", 1.0),
    "Point-M2AE": _Convention("SVC", 0.012),
    "I2P-MAE": _Convention("SVC", 0.0093),
    "CrossPoint": _Convention("SVC", 0.01),
    "OcCo": _Convention("SVC", 1.0),
    "STRL": _Convention("SVC", 1.0),
    "IAE": _Convention("LinearSVC", 1.0),
}
_WITHOUT_ONE = _Convention("LinearSVC", 1.0)


@dataclass(frozen=True)
class LinearProbeResult:
    """What :func:`linear_probe` found.

    Attributes
    ----------
    accuracy : float
        Share of the test clouds that are named rightly: with C by cross-validation if that was
        asked, else by the first rule.
    table : DataFrame
        A row for each rule: ``rule`` ("cv", "published", "given"), ``classifier``, ``C``,
        ``pooling``, ``n_features``, ``scaled``, ``accuracy``, ``converged`` (whether the solver
        came to its end) and ``selection``. Where no published convention is known, the rule
        "published" is named "default".
    selection : str
        How the C of ``accuracy`` came about.
    published : PublishedFigure or None
        What the paper of the method reports, on its data.
    search : DataFrame
        With cross-validation, ``C``, and mean and standard deviation over folds of the accuracy
        on held-back training clouds.
    predictions : dict of str to array of shape (n_test,)
        By rule.
    n_train, n_test : int
    seconds : float
        Of everything but the pre-training.
    """

    accuracy: float
    table: pd.DataFrame
    selection: str
    published: PublishedFigure | None
    search: pd.DataFrame = field(repr=False)
    predictions: dict[str, np.ndarray] = field(repr=False)
    n_train: int
    n_test: int
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """The table, with the published figure and its label beside."""
        figure = self.published
        return self.table.assign(
            published=np.nan if figure is None else figure.accuracy,
            published_label="" if figure is None else figure.label,
        )

    def __str__(self) -> str:
        text = f"linear SVM: {100 * self.accuracy:.1f} %. {self.selection}."
        return text if self.published is None else f"{text} Published: {self.published.label}."


def linear_probe(
    pretrainer: Any,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    C: str | float | Sequence[str | float] = ("cv", "published"),
    pooling: Any = None,
    scale: bool | None = None,
    grid: Sequence[float] = GRID,
    n_folds: int = 5,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> LinearProbeResult:
    """Score features by a linear SVM: learned on training clouds, tested once on others.

    The C of the published numbers is fixed in the authors' code, a different one in each, and
    seems to have been chosen on the test split. Both columns come from one extraction of the
    features, unless the published convention reads others.

    Parameters
    ----------
    pretrainer : transformer
        Any with ``transform``. Used as it is if fitted, else cloned and fitted on X without
        labels.
    X, y : clouds and labels to learn from
    X_test, y_test : clouds and labels that decide
    C : "cv", "published", float, or several of them, default=("cv", "published")
        ``"cv"``: the best of `grid` in cross-validation on the training clouds, with LinearSVC.
        ``"published"``: classifier, C and feature of the method's authors (ReCon: LinearSVC,
        0.075; Point-BERT, MaskPoint, ACT: LinearSVC, 1, Point-BERT on its contrast feature;
        Point-M2AE: SVC, 0.012; I2P-MAE: SVC, 0.0093; CrossPoint: SVC, 0.01; OcCo, STRL: SVC, 1;
        IAE: LinearSVC, 1); for others LinearSVC with 1. A number: LinearSVC with that.
    pooling : None, str or callable, default=None
        What of the tokens to read. None: what ``transform`` gives, and for the published rule
        the authors' feature. Or ``"max"``, ``"mean"``, ``"max_mean"`` (side by side),
        ``"mean_plus_max"``, ``"cls"``, ``"queries"`` (ReCon's), ``"contrast"`` (Point-BERT's),
        or a function of (fitted transformer, clouds), for all rules.
    scale : bool or None, default=None
        Whether to standardize features by mean and deviation of the training clouds. None: with
        "cv" only, as the papers do not.
    grid : sequence of float, default=(0.0001, 0.001, 0.01, 0.1, 1.0)
        Values that "cv" tries; of equals the smallest is taken.
    n_folds : int, default=5
        Of the cross-validation; fewer if a class has fewer clouds.
    n_jobs : int or None, default=None
        Processes of the cross-validation.
    random_state : int, RandomState instance or None, default=None
        For the folds, the solver, and a pretrainer that is not fitted and has no seed.

    Returns
    -------
    result : LinearProbeResult

    Notes
    -----
    ReCon's own script leaves the last, incomplete batch of the training clouds out; here all
    clouds count, in every rule.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> from pointinteract.protocols import linear_probe
    >>> X, y = make_shapes(48, n_points=64, return_X_y=True, random_state=0)
    >>> pretrainer = ReConPretrainer(max_epochs=0, n_groups=8, group_size=8, random_state=0)
    >>> result = linear_probe(pretrainer, X[:32], y[:32], X[32:], y[32:], random_state=0)
    >>> dict(zip(result.table["rule"], result.table["classifier"]))
    {'cv': 'LinearSVC', 'published': 'LinearSVC'}
    """
    start = time.perf_counter()
    rules = _check_rules(C)
    check_pooling(pooling)
    check_int("n_folds", n_folds, minimum=2)
    values = sorted(check_real("each of grid", value, open_minimum=True) for value in grid)
    if not values:
        raise ValueError("grid must hold at least one value of C, got none.")
    y, y_test = check_labels("y", y, X), check_labels("y_test", y_test, X_test)
    _check_classes(y, y_test)
    if not hasattr(pretrainer, "transform"):
        raise NotApplicableError(
            f"pretrainer must have a method transform, which {type(pretrainer).__name__} lacks."
        )
    if not is_fitted(pretrainer) and is_classifier(pretrainer):
        raise NotApplicableError(
            f"{type(pretrainer).__name__} is a classifier that is not fitted; a probe reads "
            "features learned without labels. Give a pretrainer, or fit the classifier first."
        )
    seed = draw_seed(random_state)
    # Pre-training is not what this measures.
    before = time.perf_counter()
    fitted = fit_features(pretrainer, X, seed)
    start += time.perf_counter() - before

    convention, whose = _convention_of(pretrainer)
    features: dict[Any, tuple[np.ndarray, np.ndarray]] = {}
    rows, predictions, search = [], {}, pd.DataFrame(columns=["C", "mean", "sd"])
    for rule in rules:
        own = pooling
        if rule == "published" and pooling is None:
            own = convention.pooling
        if own not in features:
            features[own] = (
                pooled_features(fitted, X, own), pooled_features(fitted, X_test, own)
            )  # fmt: skip
        train, test = features[own]
        kind, scaled = "LinearSVC", bool(scale)
        if rule == "cv":
            scaled = scale is None or scale
            strength, search, words = _choose(train, y, values, n_folds, scaled, seed, n_jobs)
        elif rule == "published":
            kind, strength = convention.kind, convention.C
            words = f"C = {strength:g} and {_SPELLED[kind]} {whose}; nothing chosen on these data"
            rule = "published" if convention is not _WITHOUT_ONE else "default"
        else:
            strength = float(rule)
            words = f"C = {strength:g} as given"
        svm = _make_svm(kind, strength, scaled, seed)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm.fit(train, y)
        converged = not any(issubclass(note.category, ConvergenceWarning) for note in caught)
        words += "" if converged else " (the solver gave up before its end)"
        name = rule if isinstance(rule, str) else f"given {rule:g}"
        predictions[name] = svm.predict(test)
        rows.append({
            "rule": name,
            "classifier": _SPELLED[kind],
            "C": strength,
            "pooling": "transform" if own is None else str(getattr(own, "__name__", own)),
            "n_features": train.shape[1],
            "scaled": scaled,
            "accuracy": float(np.mean(predictions[name] == y_test)),
            "converged": converged,
            "selection": f"{words}; scored once on the {len(y_test)} test clouds",
        })  # fmt: skip
    table = pd.DataFrame(rows)
    first = table[table["rule"] == "cv"] if "cv" in rules else table
    return LinearProbeResult(
        accuracy=float(first["accuracy"].iloc[0]),
        table=table,
        selection=str(first["selection"].iloc[0]),
        published=find_published(pretrainer, "linear_probe"),
        search=search,
        predictions=predictions,
        n_train=len(y),
        n_test=len(y_test),
        seconds=time.perf_counter() - start,
    )


_SPELLED = {"LinearSVC": "LinearSVC", "SVC": "SVC(kernel='linear')"}


def _check_rules(C: Any) -> list[str | float]:
    several = isinstance(C, Sequence | np.ndarray) and not isinstance(C, str)
    given = list(C) if several else [C]
    rules: list[str | float] = []
    for rule in given:
        if isinstance(rule, str):
            if rule not in ("cv", "published"):
                raise ValueError(f"C must be 'cv', 'published', numbers, or several, got {C!r}.")
            rules.append(rule)
        else:
            rules.append(check_real("C", rule, open_minimum=True))
    if not rules or len(set(rules)) < len(rules):
        raise ValueError(f"C must hold one or more different rules, got {C!r}.")
    return rules


def _check_classes(y: np.ndarray, y_test: np.ndarray) -> None:
    if len(set(y.tolist())) < 2:
        raise ValueError(f"y must hold at least two classes, got only {y[:1].tolist()}.")
    check_common_class("y_test", y_test, "y", y)


def _convention_of(pretrainer: Any) -> tuple[_Convention, str]:
    """How the authors probe, and in words whose way it is."""
    name = method_of_class(pretrainer)
    if name in _CONVENTIONS:
        return _CONVENTIONS[name], f"of {name}'s authors, fixed for ModelNet40"
    return _WITHOUT_ONE, "by scikit-learn's default, as no published convention is known"


def _make_svm(kind: str, C: float, scaled: bool, seed: int) -> Any:
    if kind == "SVC":
        svm = SVC(kernel="linear", C=C)
    else:
        svm = LinearSVC(C=C, random_state=seed)
    return make_pipeline(StandardScaler(), svm) if scaled else make_pipeline(svm)


def _choose(
    features: np.ndarray,
    y: np.ndarray,
    values: list[float],
    n_folds: int,
    scaled: bool,
    seed: int,
    n_jobs: int | None,
) -> tuple[float, pd.DataFrame, str]:
    """The best C in cross-validation, all scores, and a sentence."""
    counts = np.unique(y, return_counts=True)[1]
    if np.sum(counts >= 2) < 2:  # or a fold may have but one class to learn
        raise ValueError(
            "C='cv' needs two classes or more with at least two clouds each, to hold some back; "
            f"the classes of y have {counts.tolist()}. Give a number or C='published'."
        )
    n_folds = max(2, min(n_folds, int(counts.min())))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    svm = _make_svm("LinearSVC", 1.0, scaled, seed)
    search = GridSearchCV(svm, {"linearsvc__C": values}, cv=folds, refit=False, n_jobs=n_jobs)
    with warnings.catch_warnings():
        # Told for the chosen C by the column "converged"; and of a class with a single cloud
        # every fold lacks it on one side, which costs nothing but that cloud.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", message="The least populated class")
        search.fit(features, y)
    scores = search.cv_results_
    table = pd.DataFrame({
        "C": values, "mean": scores["mean_test_score"], "sd": scores["std_test_score"],
    })  # fmt: skip
    best = int(np.argmax(table["mean"]))
    words = (
        f"C = {values[best]:g} chosen from {len(values)} values by {n_folds}-fold "
        f"cross-validation on the {len(y)} training clouds"
    )
    if len(values) > 1 and best in (0, len(values) - 1):
        words += " (at the edge of the grid)"
    return values[best], table, words
