"""Domain shift: learn from one data set, be tested on another with the same classes."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import confusion_matrix

from pointinteract.protocols._domains import (
    Domain,
    check_synonyms,
    common_classes,
    read_domain,
    spell,
    synonyms_of,
)
from pointinteract.protocols._readout import (
    FeatureClassifier,
    fit_classifier,
    is_fitted,
    is_predictor,
    keep_start,
    make_probe,
)
from pointinteract.utils._params import check_option, check_real
from pointinteract.utils._random import draw_seed

__all__ = ["DomainShiftResult", "domain_shift"]


@dataclass(frozen=True)
class DomainShiftResult:
    """What :func:`domain_shift` found.

    Attributes
    ----------
    accuracy : float
        On the target's test clouds, of what was asked for: adapted if ``adapt="linear"``.
    source_accuracy : float
        Taught by the source, on the source's own test clouds.
    target_accuracy : float
        Taught by the source, on the target's test clouds, without adaptation.
    adapted_accuracy : float or None
        Features taught by the source, a linear classifier on them by the target.
    target_trained_accuracy : float
        The reference: everything taught by the target's training clouds.
    gap : float
        ``target_trained_accuracy - target_accuracy``, what the other data set costs.
    majority : float
        Share of the commonest class among the target's test clouds, which guessing reaches.
    classes : list of str
        Common classes, in one spelling.
    table : DataFrame
        One row for each of these tests: ``taught_by``, ``tested_on``, ``adapted``,
        ``accuracy``, ``balanced_accuracy`` (mean over classes, not moved by how common they
        are), ``n_train`` and ``n_test``.
    confusion : DataFrame
        Target's test clouds by true class (rows) and the class that the source-taught
        classifier names (columns), counts, without adaptation. A classifier that came fitted
        may name classes beyond the common ones, which are further columns and errors.
    reverse : DomainShiftResult or None
        The same with source and target exchanged, if both directions were asked for.
    selection : str
        What was chosen, and on which data.
    seconds : float
        Time of this direction.
    """

    accuracy: float
    source_accuracy: float
    target_accuracy: float
    adapted_accuracy: float | None
    target_trained_accuracy: float
    gap: float
    majority: float
    classes: list[str]
    table: pd.DataFrame
    confusion: pd.DataFrame
    reverse: "DomainShiftResult | None"
    selection: str
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """`table`, with those of the reverse direction below where there are any."""
        tables = {"source to target": self.table}
        if self.reverse is not None:
            tables["target to source"] = self.reverse.table
        stacked = pd.concat(tables, names=["direction", None])
        return stacked.reset_index(level="direction").reset_index(drop=True)


def domain_shift(
    estimator: Any,
    source: Any,
    target: Any,
    *,
    classes: Sequence[str] | Mapping[str, str] | None = None,
    adapt: str = "none",
    both_directions: bool = False,
    test_size: float = 0.3,
    probe: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> DomainShiftResult:
    """Fit on one data set and test on another, on the classes that both have.

    Parameters
    ----------
    estimator : classifier or transformer
        Cloned and fitted on training clouds of the common classes, once on those of each data
        set. A classifier that is fitted already is taken as the one taught by the source, whose
        test clouds must then be given, and cloned for the reference. A transformer gets a
        linear SVM on its features; one that is fitted already stays as it is for both data sets.
    source, target : Bunch, or tuple
        A Bunch with ``data``, ``target`` and ``target_names``, whose ``split`` is used where it
        has ``"train"`` and ``"test"``; a pair of such, to train and to test on; ``(X, y)``,
        split at random by class; or ``(X, y, X_test, y_test)``. Labels in tuples are names.
    classes : sequence of str, mapping or None, default=None
        None: all names that both data sets have to train and to test on; case, hyphens and
        underscores make no difference. A sequence: only these. A mapping: names that shall go
        by another, in either data set, such as ``{"desk": "table"}``; two that go by one name
        are one class.
    adapt : {"none", "linear"}, default="none"
        ``"linear"`` also tests what the source taught as features: a linear classifier on them
        is taught by all labels of the target's training clouds.
    both_directions : bool, default=False
        Whether to exchange source and target, too; not with a classifier fitted before.
    test_size : float, default=0.3
        Share of the clouds of a data set without a test part that are kept for the test.
    probe : classifier or None, default=None
        In place of the linear SVM on features.
    random_state : int, RandomState instance or None, default=None
        Of random splits, and of what is fitted here where its own was left open.

    Returns
    -------
    result : DomainShiftResult

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.protocols import domain_shift
    >>> source = make_shapes(24, n_points=64, classes=["chair", "desk", "lamp"], random_state=0)
    >>> target = make_shapes(24, n_points=64, classes=["chair", "table"], random_state=1)
    >>> classifier = PointClassifier("pointnet_basic", max_epochs=1)
    >>> result = domain_shift(
    ...     classifier, source, target, classes={"desk": "table"}, random_state=0
    ... )
    >>> result.classes
    ['chair', 'table']
    """
    check_option("adapt", adapt, ("none", "linear"))
    test_size = check_real("test_size", test_size, open_minimum=True, maximum=1,
                           open_maximum=True)  # fmt: skip
    if adapt == "linear" and not hasattr(estimator, "transform"):
        raise TypeError(
            'adapt="linear" needs features: an estimator with transform, which '
            f"{type(estimator).__name__} has not."
        )
    came_fitted = is_predictor(estimator) and is_fitted(estimator)
    if both_directions and came_fitted:
        raise ValueError(
            "both_directions needs a classifier that is not fitted: one that came fitted knows "
            "the source only."
        )
    synonyms, wanted = synonyms_of(classes)
    seed = draw_seed(random_state)
    domains = [read_domain(name, data, synonyms, test_size, seed)
               for name, data in (("source", source), ("target", target))]  # fmt: skip
    check_synonyms(domains[0], domains[1], synonyms)
    common = common_classes(domains[0], domains[1], wanted)
    if came_fitted and domains[0].split_here:
        raise ValueError(
            "a classifier that came fitted may know the clouds of source; give source with the "
            "test clouds that it did not learn from, such as (X, y, X_test, y_test)."
        )
    first, second = (domain.only(common) for domain in domains)
    settings = {"adapt": adapt, "probe": probe, "seed": seed, "synonyms": synonyms}
    reverse = None
    if both_directions:
        reverse = _one_way(estimator, second, first, common, **settings)
    return _one_way(estimator, first, second, common, **settings, reverse=reverse)


def _one_way(
    estimator: Any,
    source: Domain,
    target: Domain,
    classes: list[str],
    *,
    adapt: str,
    probe: Any,
    seed: int,
    synonyms: Mapping[str, str],
    reverse: DomainShiftResult | None = None,
) -> DomainShiftResult:
    begun = time.perf_counter()
    taught, how = fit_classifier(estimator, source.X, source.y, probe=probe, seed=seed)
    fresh = estimator
    if is_predictor(estimator):
        fresh = keep_start(clone(estimator), estimator)
    reference, _ = fit_classifier(fresh, target.X, target.y, probe=probe, seed=seed)

    def ask(classifier: Any, domain: Domain) -> np.ndarray:
        return _spoken(classifier.predict(domain.X_test), source.target_names, synonyms)

    on_target = ask(taught, target)
    tests = [
        ("source", "source", False, ask(taught, source), source.y_test, len(source.y)),
        ("source", "target", False, on_target, target.y_test, len(source.y)),
    ]
    if adapt == "linear":
        adapted = ask(_adapted(taught, target, probe, seed), target)
        tests.append(("source", "target", True, adapted, target.y_test, len(target.y)))
    tests.append(
        ("target", "target", False, ask(reference, target), target.y_test, len(target.y))
    )
    table = pd.DataFrame([_row(*test) for test in tests])
    accuracy = table["accuracy"].tolist()
    names = [*classes, *sorted(set(on_target.tolist()) - set(classes))]
    counts = confusion_matrix(target.y_test, on_target, labels=names)[: len(classes)]
    return DomainShiftResult(
        accuracy=accuracy[2] if adapt == "linear" else accuracy[1],
        source_accuracy=accuracy[0],
        target_accuracy=accuracy[1],
        adapted_accuracy=accuracy[2] if adapt == "linear" else None,
        target_trained_accuracy=accuracy[-1],
        gap=accuracy[-1] - accuracy[1],
        majority=float(np.unique(target.y_test, return_counts=True)[1].max()
                       / len(target.y_test)),  # fmt: skip
        classes=list(classes),
        table=table,
        confusion=pd.DataFrame(
            counts,
            index=pd.Index(classes, name="true"),
            columns=pd.Index(names, name="named"),
        ),
        reverse=reverse,
        selection=_selection(how, source, target, classes, adapt),
        seconds=time.perf_counter() - begun,
    )


def _row(
    taught_by: str,
    tested_on: str,
    adapted: bool,
    named: np.ndarray,
    truth: np.ndarray,
    n_train: int,
) -> dict[str, Any]:
    right = named == truth
    # By hand over the true classes: scikit-learn's warns of names beyond them.
    by_class = [right[truth == name].mean() for name in np.unique(truth)]
    return {
        "taught_by": taught_by,
        "tested_on": tested_on,
        "adapted": adapted,
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(by_class)),
        "n_train": n_train,
        "n_test": len(truth),
    }


def _adapted(taught: Any, target: Domain, probe: Any, seed: int) -> FeatureClassifier:
    features = taught.transformer if isinstance(taught, FeatureClassifier) else taught
    rows = np.asarray(features.transform(target.X))
    return FeatureClassifier(features, make_probe(probe, seed).fit(rows, target.y))


def _spoken(
    named: Any, target_names: list[str] | None, synonyms: Mapping[str, str]
) -> np.ndarray:
    """Predictions as spelled names; numbers of a classifier that came fitted are looked up."""
    named = np.asarray(named)
    if named.dtype.kind in "iu":
        if target_names is None:
            raise ValueError(
                "estimator was fitted on numbers, and source has no target_names to tell what "
                "they mean; give the source as a Bunch, or fit on names."
            )
        named = np.asarray(target_names)[named]
    return np.array([spell(name, synonyms) for name in named])


def _selection(
    how: str, source: Domain, target: Domain, classes: list[str], adapt: str
) -> str:
    labels = (
        f"; for the adapted figure, {len(target.y)} labels of the target taught the linear "
        "classifier"
        if adapt == "linear"
        else "; no label of the target was used for the figure of the shift"
    )
    return (
        f"Nothing was selected on test clouds of either data set: {how}, {len(classes)} common "
        f"classes matched by name, source in {source.how}, target in {target.how}{labels}."
    )
