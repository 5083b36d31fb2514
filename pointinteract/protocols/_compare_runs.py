"""One estimator and one seed of a comparison: everything that is fitted once, fitted once."""

import numbers
import re
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier

from pointinteract.classification import PointClassifier
from pointinteract.protocols._compare_errors import NotApplicableError, check_common_class
from pointinteract.protocols._compare_store import RunStore
from pointinteract.protocols._few_shot import few_shot
from pointinteract.protocols._few_shot_result import BEST_EPOCH_LABEL
from pointinteract.protocols._linear_probe import linear_probe
from pointinteract.protocols._published import PublishedFigure
from pointinteract.protocols._readout import is_fitted, keep_start
from pointinteract.protocols._voting import vote

__all__ = [
    "NOT_APPLICABLE",
    "PROTOCOLS",
    "Data",
    "Protocol",
    "Unit",
    "run_unit",
    "skip_reason",
    "was_settled",
]

PROTOCOLS = ("linear_probe", "few_shot", "fine_tune", "vote")
# How the error of a run begins that is none.
NOT_APPLICABLE = "not applicable: "


class Data(NamedTuple):
    """Clouds and labels to learn from, and those that decide."""

    X: Any
    y: np.ndarray
    X_test: Any
    y_test: np.ndarray


class Protocol(NamedTuple):
    """What to do with every estimator; `function` is None for those of this package."""

    name: str
    function: Callable[..., Any] | None
    params: dict[str, Any]


class Unit(NamedTuple):
    """The runs of one estimator under one seed; `keys` says what each is made from."""

    method: str
    estimator: Any
    seed: int
    protocols: list[Protocol]
    keys: list[dict[str, Any]]


def skip_reason(estimator: Any, protocol: Protocol) -> str:
    """Why a protocol of ours does not apply to an estimator; "" if it does.

    Functions say it themselves, when called.
    """
    if protocol.name == "linear_probe":
        if is_classifier(estimator) or not hasattr(estimator, "transform"):
            return f"{NOT_APPLICABLE}it learns by labels, or gives no features"
    if protocol.name in ("fine_tune", "vote") and not is_classifier(estimator):
        if not _is_ours(estimator):
            return f"{NOT_APPLICABLE}it is no classifier, and no pretrainer to fine-tune"
    return ""


def was_settled(record: Mapping[str, Any]) -> bool:
    """Whether a run need not be done again: it came to numbers, or never will."""
    return not record["error"] or record["error"].startswith(NOT_APPLICABLE)


def run_unit(
    unit: Unit, data: Data, classifier: Any, store: RunStore | None
) -> list[dict[str, Any]]:
    """Run the protocols one after another; what fails is recorded and stops no other."""
    work = _Workshop(unit, data, classifier)
    records = []
    for protocol, key in zip(unit.protocols, unit.keys, strict=True):
        start = time.perf_counter()
        # Training that an earlier protocol did is part of the cost of this one too.
        shared = work.train_seconds if protocol.name in ("fine_tune", "vote") else 0.0
        record: dict[str, Any] = {"method": unit.method, "protocol": protocol.name,
                                  "seed": unit.seed}  # fmt: skip
        try:
            results, waited = _run(work, protocol)
            seconds = shared + time.perf_counter() - start - waited
            # A spread that there is none of is left out: JSON knows no NaN.
            results = [{name: value for name, value in result.items() if value == value}
                       for result in results]  # fmt: skip
            record |= {"results": results, "seconds": seconds, "fit_seconds": work.fit_seconds,
                       "error": ""}  # fmt: skip
        except Exception as error:
            record |= {"results": [], "seconds": time.perf_counter() - start,
                       "fit_seconds": work.fit_seconds}  # fmt: skip
            if isinstance(error, NotApplicableError):
                record["error"] = f"{NOT_APPLICABLE}{error}"
            else:
                record["error"] = f"{type(error).__name__}: {error}"
                record["traceback"] = traceback.format_exc(limit=-6)
        if store is not None:
            store.write(key, record)
        records.append(record)
    return records


class _Workshop:
    """What several protocols share: features learned once, a classifier trained once."""

    def __init__(self, unit: Unit, data: Data, classifier: Any) -> None:
        self.unit, self.data, self.template = unit, data, classifier
        self.fit_seconds = 0.0
        self.train_seconds = 0.0
        self._features: Any = None
        self._features_error: Exception | None = None
        self._trained: Any = None

    def features(self) -> Any:
        """The pretrainer: as it came if fitted, else a clone that saw the training clouds."""
        if self._features_error is not None:
            raise self._features_error
        if self._features is None:
            if is_fitted(self.unit.estimator):
                self._features = self.unit.estimator
            else:
                start = time.perf_counter()
                try:
                    self._features = fresh(self.unit.estimator, self.unit.seed).fit(self.data.X)
                except Exception as error:
                    # It would take as long to fail again.
                    self._features_error = error
                    raise
                finally:
                    self.fit_seconds = time.perf_counter() - start
        return self._features

    def untrained(self) -> Any:
        """A classifier to be trained with this seed."""
        if is_classifier(self.unit.estimator):
            return fresh(self.unit.estimator, self.unit.seed)
        template = PointClassifier() if self.template is None else self.template
        return fresh(template, self.unit.seed).set_params(pretrained=self.features())

    def trained(self) -> Any:
        """A classifier after its last epoch."""
        if self._trained is None:
            classifier = self.untrained()
            start = time.perf_counter()
            self._trained = classifier.fit(self.data.X, self.data.y)
            self.train_seconds = time.perf_counter() - start
        return self._trained


def _run(work: _Workshop, protocol: Protocol) -> tuple[list[dict[str, Any]], float]:
    """Results of a protocol, and seconds of it that belong to the pre-training."""
    start = time.perf_counter()
    if not is_classifier(work.unit.estimator):
        work.features()
    waited = time.perf_counter() - start
    if protocol.function is not None:
        return _run_function(work, protocol, protocol.function), waited
    return _RUNNERS[protocol.name](work, protocol), waited


def _run_linear_probe(work: _Workshop, protocol: Protocol) -> list[dict[str, Any]]:
    features = work.features()
    result = linear_probe(features, *work.data, random_state=work.unit.seed, **protocol.params)
    return [
        {"variant": _VARIANTS_OF_C.get(row["rule"], f"C {row['rule']}"),
         "accuracy": row["accuracy"], "C": row["C"],
         # Without the value, which differs between seeds and stands beside.
         "selection": re.sub(r"^C = \S+ chosen", "C chosen", row["selection"]),
         "converged": row["converged"]}
        for row in result.table.to_dict("records")
    ]  # fmt: skip


_VARIANTS_OF_C = {"cv": "C by cross-validation", "published": "published C",
                  "default": "default C, none published"}  # fmt: skip


def _run_few_shot(work: _Workshop, protocol: Protocol) -> list[dict[str, Any]]:
    data = work.data
    clouds = _joined(data.X, data.X_test)
    labels = np.concatenate([data.y, data.y_test])
    groups = np.repeat(["train", "test"], [len(data.y), len(data.y_test)])
    params = {"groups": groups, **protocol.params}
    if is_classifier(work.unit.estimator):
        estimator = work.untrained()
        params.setdefault("protocol", "full")  # it has no features without labels
    else:
        estimator = work.features()
    result = few_shot(estimator, clouds, labels, random_state=work.unit.seed, **params)
    variant = str(result.protocol)
    if result.n_way is not None and result.n_shot is not None:
        variant += f", {result.n_way}-way {result.n_shot}-shot"
    found = [{"variant": variant, "accuracy": result.accuracy, "within_sd": result.std,
              "selection": result.selection}]  # fmt: skip
    if result.best_epoch_accuracy is not None:
        found.append(
            {"variant": f"{variant}, published: best epoch", "within_sd": result.best_epoch_std,
             "accuracy": result.best_epoch_accuracy, "selection": BEST_EPOCH_LABEL}
        )  # fmt: skip
    return [row | _own_figure(result.published) for row in found]


def _own_figure(figure: PublishedFigure | None) -> dict[str, Any]:
    """What a result that knows its own setting has looked up, as plain data."""
    if figure is None:
        return {}
    return {"published": [figure.accuracy, figure.label], "published_dataset": figure.dataset}


def _run_fine_tune(work: _Workshop, protocol: Protocol) -> list[dict[str, Any]]:
    data = work.data
    check_common_class("y_test", data.y_test, "y", data.y)
    classifier = work.trained()
    accuracy = float(np.mean(np.asarray(classifier.predict(data.X_test)) == data.y_test))
    stopped = getattr(classifier, "early_stopping", False)
    how = (
        "epoch chosen on clouds held back from the training clouds" if stopped
        else "the state after the last epoch"
    )  # fmt: skip
    selection = f"{how}; scored once on the {len(data.y_test)} test clouds"
    return [{"variant": "", "accuracy": accuracy, "selection": selection}]


def _run_vote(work: _Workshop, protocol: Protocol) -> list[dict[str, Any]]:
    given = work.unit.estimator
    ready = is_classifier(given) and is_fitted(given)
    classifier = given if ready else work.trained()
    data = work.data
    result = vote(classifier, data.X_test, data.y_test, random_state=work.unit.seed,
                  **protocol.params)  # fmt: skip
    variants = {"votes": "mean of votes", "published way": "published: best round"}
    return [
        {"variant": variants[row["number"]], "accuracy": row["accuracy"],
         "selection": row["selection"], "n_votes": result.n_votes,
         "within_sd": result.sd if result.n_rounds > 1 else float("nan")}
        for row in result.to_frame().to_dict("records")
        if row["number"] in variants
    ]  # fmt: skip


def _run_function(
    work: _Workshop, protocol: Protocol, function: Callable[..., Any]
) -> list[dict[str, Any]]:
    classifies = is_classifier(work.unit.estimator)
    estimator = work.untrained() if classifies else work.features()
    result = function(
        estimator, *work.data, random_state=work.unit.seed, **protocol.params
    )
    found = [_read_result(protocol.name, result)]
    best = getattr(result, "best_epoch_accuracy", None)
    if best is not None:
        found.append(found[0] | {
            "variant": "published: best epoch",
            "accuracy": float(best),
            "within_sd": _spread(result, "best_epoch_std"),
            "selection": "best epoch by the labels that decide (published selection)",
        })  # fmt: skip
    return found


def _read_result(name: str, result: Any) -> dict[str, Any]:
    """A row of what a function answered: an accuracy, or a result with more to say."""
    accuracy = getattr(result, "accuracy", result)
    if not isinstance(accuracy, numbers.Real) or not np.isfinite(float(accuracy)):
        raise ValueError(
            f"{name} must return an accuracy, a finite number, or a result with a finite "
            f"accuracy; got {result!r:.80}."
        )
    selection = str(getattr(result, "selection", "the protocol does not say"))
    row = {"variant": "", "accuracy": float(accuracy), "selection": selection}
    if hasattr(result, "accuracy"):  # a bare number may have a method std
        row["within_sd"] = _spread(result, "std", "sd")
        figure = getattr(result, "published", None)
        row |= _own_figure(figure if isinstance(figure, PublishedFigure) else None)
    return row


def _spread(result: Any, *names: str) -> float:
    """The first of some attributes that is a finite number; NaN without one."""
    given = (getattr(result, name, None) for name in names)
    found = (float(value) for value in given if isinstance(value, numbers.Real))
    return next((value for value in found if np.isfinite(value)), float("nan"))


_RUNNERS = {
    "linear_probe": _run_linear_probe,
    "few_shot": _run_few_shot,
    "fine_tune": _run_fine_tune,
    "vote": _run_vote,
}


def fresh(estimator: Any, seed: int) -> Any:
    """An unfitted copy with this seed wherever it takes one.

    What a classifier starts from stays fitted: cloned, it would be pre-trained anew.
    """
    copy = clone(estimator)
    params: Mapping[str, Any] = copy.get_params(deep=True)
    seeds = [name for name in params if name.split("__")[-1] == "random_state"]
    return keep_start(copy.set_params(**dict.fromkeys(seeds, seed)), estimator)


def _is_ours(estimator: Any) -> bool:
    """Whether PointClassifier can start from it."""
    inside = getattr(estimator, "estimator", estimator)
    return hasattr(inside, "_build_module")


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        if first.ndim == second.ndim and first.shape[1:] == second.shape[1:]:
            return np.concatenate([first, second])
    return [*first, *second]
