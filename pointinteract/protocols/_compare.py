"""Several methods in the same protocols, beside what their papers print."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier

from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.protocols._compare_report import ComparisonReport, make_report
from pointinteract.protocols._compare_runs import (
    PROTOCOLS,
    Data,
    Protocol,
    Unit,
    run_unit,
    skip_reason,
    was_settled,
)
from pointinteract.protocols._compare_store import (
    RunStore,
    describe_estimator,
    describe_function,
    describe_params,
)
from pointinteract.protocols._published import check_dataset
from pointinteract.protocols._readout import call_single_threaded, check_labels, name_of
from pointinteract.utils._params import check_int

__all__ = ["compare"]

# What a run is; raised when the same settings no longer mean the same numbers.
_VERSION = 1


def compare(
    estimators: Any,
    data: Any,
    *,
    protocol: Any = "linear_probe",
    params: Mapping[str, Mapping[str, Any]] | None = None,
    random_states: Sequence[int] = (0, 1, 2),
    classifier: Any = None,
    controls: bool = False,
    published: str | None = "ModelNet40",
    store: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    progress: ProgressOption = False,
) -> ComparisonReport:
    """Run methods through protocols with several seeds, and put the results in one table.

    For each estimator and seed what can be shared is done once: pre-training for all protocols,
    fine-tuning for ``"fine_tune"`` and ``"vote"``. A run that fails is reported with its error
    and stops no other.

    Parameters
    ----------
    estimators : estimator, sequence of them, or dict of str to estimator
        Pretrainers and other transformers, and classifiers. Those that are not fitted are
        cloned and get each seed in turn. A fitted transformer is used as it is, and the spread
        over seeds is then that of the protocol alone.
    data : Bunch or tuple (X, y, X_test, y_test)
        A Bunch has ``data``, ``target`` and an official ``split`` of "train" and "test", as
        :func:`pointinteract.datasets.load_cloud_dataset` gives.
    protocol : str, callable, or list of them, default="linear_probe"
        ``"linear_probe"``: :func:`linear_probe`, of transformers. ``"few_shot"``:
        :func:`few_shot`, support from the training clouds and queries from the test clouds.
        ``"fine_tune"``: a classifier trained on the training clouds, scored after its last
        epoch. ``"vote"``: :func:`vote` with that classifier, or with a fitted one as it came.
        Or ``function(estimator, X, y, X_test, y_test, random_state=seed)``, such as
        :func:`frozen_head`, which gets a transformer fitted and a classifier not. It returns an
        accuracy, or a result with ``accuracy``, of which ``selection``, ``std`` and
        ``published`` are shown too if it has them. For an estimator of a kind that it says
        nothing about it raises :class:`NotApplicableError`; its row then says so.
    params : dict of str to dict, default=None
        Further parameters by protocol: ``{"few_shot": {"protocol": "prototypes"}}``. Functions
        go by their ``__name__``.
    random_states : sequence of int, default=(0, 1, 2)
    classifier : PointClassifier or None, default=None
        What pretrainers are fine-tuned as. None: PointClassifier with its defaults.
    controls : bool, default=False
        Whether to add to every method that is pre-trained the same network with random weights
        (``max_epochs=0``).
    published : str or None, default="ModelNet40"
        The data set whose published figures to put beside. It is named with each figure, since
        it need not be the one compared on. None: no figures.
    store : path or None, default=None
        A folder where every run is kept as a JSON file. Called again, finished runs are read
        and others done, failed ones once more. A run counts as the same if estimator (with its
        weights), protocol, data and seed are.
    n_jobs : int or None, default=None
        Processes, one for each estimator and seed. With a number, even 1, torch has one thread
        in each, so that results do not depend on it. (Threads, which joblib can be told to use
        instead, share torch's random numbers.)
    progress : bool or callable, default=False
        True for a bar, or a function of (runs done, runs in all).

    Returns
    -------
    report : ComparisonReport

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> from pointinteract.protocols import compare
    >>> X, y = make_shapes(36, n_points=32, return_X_y=True, random_state=0)
    >>> pretrainer = ReConPretrainer(n_groups=4, group_size=8, max_epochs=0)
    >>> report = compare(
    ...     {"untrained": pretrainer}, (X[:24], y[:24], X[24:], y[24:]), random_states=[0]
    ... )
    >>> report.frame[["method", "variant", "n"]].values.tolist()
    [['untrained', 'C by cross-validation', 1], ['untrained', 'published C', 1]]
    """
    named = _name_estimators(estimators)
    given = _read_data(data)
    protocols = _read_protocols(protocol, params)
    seeds = [check_int("each of random_states", seed, minimum=0) for seed in random_states]
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"random_states must be one or more different integers, got {seeds}.")
    if published is not None:
        check_dataset("published", published)
    if controls:
        named = _with_controls(named)
    runs = None if store is None else RunStore(store)
    digest = None if runs is None else joblib.hash(tuple(given))

    done: list[dict[str, Any]] = []
    units: list[Unit] = []
    for seed in seeds:  # outside: what is done after an interruption is fair to all methods
        for method, estimator in named.items():
            unit = Unit(method, estimator, seed, [], [])
            for asked in protocols:
                reason = skip_reason(estimator, asked)
                if reason:
                    done.append(_skipped(method, asked, seed, reason))
                    continue
                key: dict[str, Any] = {}
                found = None
                if runs is not None:
                    key = _made_from(estimator, asked, seed, digest, classifier)
                    found = runs.read(key)
                if found is not None and was_settled(found):
                    done.append(found | {"method": method})  # it may have had another name
                else:
                    unit.protocols.append(asked)
                    unit.keys.append(key)
            if unit.protocols:
                units.append(unit)

    n_runs = sum(len(unit.protocols) for unit in units)
    tasks = (
        delayed(call_single_threaded)(
            run_unit, n_jobs is not None, unit, given, classifier, runs
        )
        for unit in units
    )
    with progress_hook(progress, n_runs, "runs") as advance:
        for records in Parallel(n_jobs=n_jobs, return_as="generator")(tasks):
            done += records
            advance(len(records))
    order = {(method, asked.name): i for i, (method, asked) in enumerate(
        (method, asked) for method in named for asked in protocols
    )}  # fmt: skip
    done.sort(key=lambda run: (order[run["method"], run["protocol"]], run["seed"]))
    return make_report(done, named, classifier, published)


def _name_estimators(estimators: Any) -> dict[str, Any]:
    if isinstance(estimators, Mapping):
        named = {str(name): estimator for name, estimator in estimators.items()}
    else:
        listed = (
            list(estimators)
            if isinstance(estimators, Sequence) and not isinstance(estimators, str)
            else [estimators]
        )
        named = {}
        for estimator in listed:
            name, number = name_of(estimator), 2
            while name in named:
                name, number = f"{name_of(estimator)} {number}", number + 1
            named[name] = estimator
    if not named:
        raise ValueError("estimators must hold at least one, got none.")
    for name, estimator in named.items():
        wanted = ("fit", "get_params", "__sklearn_tags__")
        if isinstance(estimator, type) or not all(hasattr(estimator, has) for has in wanted):
            raise TypeError(
                "estimators must have a method fit, and be made as scikit-learn's are (from its "
                f"BaseEstimator); {name!r} is {estimator!r:.80}."
            )
        if getattr(estimator, "checkpoint", None) is not None:
            raise ValueError(
                f"{name!r} has a checkpoint, one file for one fit, and here are several fits; "
                "leave it out and give compare a store."
            )
    return named


def _read_data(data: Any) -> Data:
    if isinstance(data, Mapping):
        missing = [name for name in ("data", "target") if name not in data]
        split = data.get("split")
        if missing or split is None:
            raise ValueError(
                "data must be a Bunch with data, target and split, or a tuple (X, y, X_test, "
                f"y_test); got one without {missing or ['split']}."
            )
        split = np.asarray(split).astype(str)
        rows = [np.flatnonzero(split == name) for name in ("train", "test")]
        if not all(map(len, rows)):
            raise ValueError(
                f"data.split must have 'train' and 'test', got {sorted(set(split.tolist()))}."
            )
        clouds, target = data["data"], np.asarray(data["target"])
        data = [
            part
            for index in rows
            for part in (
                [clouds[i] for i in index] if isinstance(clouds, list) else clouds[index],
                target[index],
            )
        ]
    if not isinstance(data, Sequence) or len(data) != 4:
        raise TypeError(
            "data must be a Bunch with data, target and split, or a tuple (X, y, X_test, y_test); "
            f"got {type(data).__name__}"
            + (f" of {len(data)}." if isinstance(data, Sequence) else ".")
        )
    X, y, X_test, y_test = data
    return Data(X, check_labels("y", y, X), X_test, check_labels("y_test", y_test, X_test))


def _read_protocols(protocol: Any, params: Any) -> list[Protocol]:
    listed = list(protocol) if isinstance(protocol, Sequence) and not isinstance(
        protocol, str
    ) else [protocol]  # fmt: skip
    given = {} if params is None else {name: dict(found) for name, found in params.items()}
    found = []
    for asked in listed:
        if isinstance(asked, str) and asked in PROTOCOLS:
            found.append(Protocol(asked, None, given.pop(asked, {})))
        elif callable(asked):
            name = _name_of_function(asked)
            if name in PROTOCOLS:
                raise ValueError(
                    f"a function named {name!r} would be taken for the protocol {name!r}: give "
                    "that as a string, with its settings in params, or the function another name."
                )
            found.append(Protocol(name, asked, given.pop(name, {})))
        else:
            raise ValueError(
                f"protocol must be one or several of {list(PROTOCOLS)} and functions, got "
                f"{asked!r}."
            )
    names = [asked.name for asked in found]
    if not names or len(set(names)) < len(names):
        raise ValueError(
            f"protocol must be one or more of different names, got {names}. Functions go by their "
            "__name__; write one for each setting of a protocol."
        )
    if given:
        raise ValueError(f"params has {sorted(given)}, which are none of the protocols {names}.")
    for asked in found:
        if "random_state" in asked.params:
            raise ValueError(f"params of {asked.name} hold random_state; use random_states.")
    return found


def _name_of_function(function: Callable[..., Any]) -> str:
    inside = getattr(function, "func", function)  # of a partial
    return str(getattr(inside, "__name__", type(function).__name__))


def _with_controls(named: dict[str, Any]) -> dict[str, Any]:
    """Behind each method that is pre-trained, its network with random weights."""
    every: dict[str, Any] = {}
    for name, estimator in named.items():
        every[name] = estimator
        inside = getattr(estimator, "estimator", estimator)
        if is_classifier(estimator):
            start: Any = getattr(estimator, "pretrained", None)
            start = getattr(start, "estimator", start)
            if hasattr(start, "get_params") and "max_epochs" in start.get_params(deep=False):
                every[f"{name}, random weights"] = clone(estimator).set_params(
                    pretrained=_untrained(start)
                )
        elif hasattr(inside, "get_params") and "max_epochs" in inside.get_params(deep=False):
            every[f"{name}, random weights"] = _untrained(inside)
    return every


def _untrained(pretrainer: Any) -> Any:
    copy = clone(pretrainer)
    first_stages = ("tokenizer_epochs", "autoencoder_epochs")
    zero = ["max_epochs", *(name for name in first_stages if name in copy.get_params(deep=False))]
    return copy.set_params(**dict.fromkeys(zero, 0))


def _skipped(method: str, asked: Protocol, seed: int, reason: str) -> dict[str, Any]:
    return {"method": method, "protocol": asked.name, "seed": seed, "results": [],
            "seconds": 0.0, "fit_seconds": 0.0, "error": reason}  # fmt: skip


def _made_from(
    estimator: Any, asked: Protocol, seed: int, digest: str | None, classifier: Any
) -> dict[str, Any]:
    """All that the numbers of a run depend on, as plain data."""
    what: dict[str, Any] = {"name": asked.name, "params": describe_params(asked.params)}
    if asked.function is not None:
        what["function"] = describe_function(asked.function)
    if asked.name in ("fine_tune", "vote") and classifier is not None:
        what["classifier"] = describe_estimator(classifier)
    return {
        "version": _VERSION,
        "estimator": describe_estimator(estimator),
        "protocol": what,
        "data": digest,
        "seed": seed,
    }
