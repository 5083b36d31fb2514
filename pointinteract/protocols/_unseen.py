"""Unseen classes: what features know of classes that were left out of the pre-training."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone

from pointinteract.base import Clouds, check_clouds
from pointinteract.classification._votes import pick_clouds
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.protocols._readout import (
    call_single_threaded,
    check_labels,
    name_of,
    seeded,
)
from pointinteract.protocols._unseen_scores import score_features
from pointinteract.utils._params import check_int
from pointinteract.utils._random import MAX_SEED, draw_seed

__all__ = ["UnseenClassesResult", "unseen_classes"]

WITHOUT, WITH, RANDOM = "without them", "with them", "random weights"


@dataclass(frozen=True)
class UnseenClassesResult:
    """What :func:`unseen_classes` found.

    Attributes
    ----------
    accuracy : float
        Linear classifier on the held-out classes, on features pre-trained without them; mean
        over runs.
    difference : float
        The same with them minus without: what not having seen the classes costs.
    table : DataFrame
        Indexed by (classes, arm): ``unseen`` and ``seen`` classes; pre-trained ``without
        them``, ``with them``, or not at all (``random weights``). Columns (score, ``mean`` or
        ``sd``) over runs, sd with n - 1 in its denominator, NaN for one run. Scores:
        ``linear_probe``, a linear classifier taught by all labels of these classes;
        ``prototypes``, the nearest mean of a few labeled clouds, itself a mean over draws;
        ``mean_average_precision`` and ``purity`` of retrieval among the test clouds.
    runs : DataFrame
        One row for each run, arm and group of classes, with the scores, ``prototypes_sd`` (over
        draws of labeled clouds), ``n_pretraining`` and ``seconds``.
    held_out : list
        The classes that were left out.
    chance : float
        Accuracy of guessing among the held-out classes, 1 by their number.
    selection : str
        What was chosen, and on which data.
    seconds : float
    """

    accuracy: float
    difference: float
    table: pd.DataFrame
    runs: pd.DataFrame
    held_out: list[Any]
    chance: float
    selection: str
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """Return `runs`."""
        return self.runs.copy()


def unseen_classes(
    pretrainer: Any,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    held_out: Any,
    n_shot: int = 5,
    n_draws: int = 10,
    n_neighbors: int = 5,
    n_runs: int = 1,
    match_size: bool = True,
    control: Any = None,
    probe: Any = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    progress: ProgressOption = False,
) -> UnseenClassesResult:
    """Pre-train without some classes, then ask what the features know of them.

    Three arms: the same pre-trainer without clouds of the held-out classes; with them; and with
    the weights it was born with, since features of a random network are surprisingly good. All
    see the same initial weights in a run.

    Parameters
    ----------
    pretrainer : transformer
        Cloned for every arm and fitted without labels; one that came fitted is cloned all the
        same, as nobody could tell which classes it has seen.
    X, y : clouds and labels to pre-train on, and to teach the questions
        The labels choose clouds and teach the classifiers of features; the pre-training does
        not see them.
    X_test, y_test : clouds and labels that decide
    held_out : int or sequence of labels
        The classes to leave out, two or more; or how many, drawn at random.
    n_shot : int, default=5
        Labeled clouds of each class for the prototypes, drawn from X.
    n_draws : int, default=10
        How often they are drawn; the same clouds for every arm.
    n_neighbors : int, default=5
        Neighbors that purity looks at: the mean share of a test cloud's nearest that are of its
        class.
    n_runs : int, default=1
        Pre-trainings of every arm, with other seeds; fewer than three say little.
    match_size : bool, default=True
        Whether the arm with all classes learns from as many clouds as the one without, drawn at
        random. False: from all, so that it has more clouds, too, and more steps.
    control : transformer, False or None, default=None
        Pre-trainer of the third arm. None: that of the others with ``max_epochs=0``, where it
        has such a parameter, else no third arm. False: no third arm.
    probe : classifier or None, default=None
        In place of the linear SVM.
    n_jobs : int or None, default=None
        Runs and arms side by side, through joblib.
    random_state : int, RandomState instance or None, default=None
        Of all draws, and of the pre-trainer if its own was left open (else every run has the
        same initial weights).
    progress : bool or callable, default=False
        True shows a bar; ``progress(n_done, n_total)`` is called after every pre-training.

    Returns
    -------
    result : UnseenClassesResult

    Notes
    -----
    For prototypes and retrieval, features of every arm are standardized by mean and s.d. over
    the training clouds of the seen classes and compared by cosine. A test cloud's average
    precision ranks the other test clouds of the group of classes.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import OcCoPretrainer
    >>> from pointinteract.protocols import unseen_classes
    >>> shapes = make_shapes(
    ...     32, n_points=64, classes=["chair", "lamp", "bench", "mug"], random_state=0
    ... )
    >>> X, y = shapes.data, [shapes.target_names[label] for label in shapes.target]
    >>> pretrainer = OcCoPretrainer("pointnet_basic", n_coarse=16, max_epochs=1)
    >>> result = unseen_classes(
    ...     pretrainer, X[:16], y[:16], X[16:], y[16:], held_out=["lamp", "mug"], n_shot=2,
    ...     random_state=0,
    ... )
    >>> result.table.shape
    (6, 8)
    """
    begun = time.perf_counter()
    if not hasattr(pretrainer, "transform"):
        raise TypeError(
            f"pretrainer must give features (with transform), got {type(pretrainer).__name__}."
        )
    n_shot, n_draws = check_int("n_shot", n_shot), check_int("n_draws", n_draws)
    n_neighbors, n_runs = check_int("n_neighbors", n_neighbors), check_int("n_runs", n_runs)
    X, X_test = check_clouds(X), check_clouds(X_test, name="X_test")
    y, y_test = check_labels("y", y, X), check_labels("y_test", y_test, X_test)
    seed = draw_seed(random_state)
    unseen, seen = _split_classes(y, y_test, held_out, seed)
    groups = {"unseen": unseen} | ({"seen": seen} if len(seen) > 1 else {})
    _check_counts(y, y_test, groups, n_shot)

    asked = {"n_shot": n_shot, "n_draws": n_draws, "n_neighbors": n_neighbors, "probe": probe}
    arms = list(_arms(pretrainer, control, y, unseen, match_size, n_runs, seed))
    alone = effective_n_jobs(n_jobs) == 1
    jobs = (
        delayed(call_single_threaded)(
            _run, not alone, *arm, X, y, X_test, y_test, groups, asked, seed
        )
        for arm in arms
    )
    rows: list[dict[str, Any]] = []
    with progress_hook(progress, len(arms), "pre-training") as advance:
        for found in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            rows += found
            advance(1)
    runs = pd.DataFrame(rows)
    table = _summary(runs)
    accuracy = table[("linear_probe", "mean")]
    return UnseenClassesResult(
        accuracy=float(accuracy["unseen", WITHOUT]),
        difference=float(accuracy["unseen", WITH] - accuracy["unseen", WITHOUT]),
        table=table,
        runs=runs,
        held_out=unseen.tolist(),
        chance=1 / len(unseen),
        selection=_selection(pretrainer, unseen, held_out, match_size, n_runs, probe, runs),
        seconds=time.perf_counter() - begun,
    )


def _split_classes(
    y: np.ndarray, y_test: np.ndarray, held_out: Any, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    classes = np.intersect1d(y, y_test)
    if isinstance(held_out, int | np.integer) and not isinstance(held_out, bool):
        count = check_int("held_out", held_out, minimum=2, maximum=len(classes) - 1)
        rng = np.random.default_rng([seed, 0])
        unseen = np.sort(rng.choice(classes, size=count, replace=False))
    elif isinstance(held_out, str):
        raise TypeError(f"held_out must be a list of labels or a number, got {held_out!r}.")
    else:
        unseen = np.unique(np.asarray(held_out))
        unknown = [label for label in unseen.tolist() if label not in classes.tolist()]
        if unknown or len(unseen) < 2:
            raise ValueError(
                "held_out must name two or more classes that are in y and y_test; got "
                f"{unseen.tolist()}, there are {classes.tolist()}."
            )
    seen = np.setdiff1d(classes, unseen)
    if not len(seen):
        raise ValueError("held_out must leave a class to pre-train on; it names them all.")
    return unseen, seen


def _check_counts(
    y: np.ndarray, y_test: np.ndarray, groups: dict[str, np.ndarray], n_shot: int
) -> None:
    for label in np.concatenate(list(groups.values())):
        n_train, n_test = int(np.sum(y == label)), int(np.sum(y_test == label))
        if n_train < n_shot:
            raise ValueError(
                f"class {label!r} has {n_train} clouds in X, fewer than n_shot={n_shot}."
            )
        if n_test < 2:
            raise ValueError(f"class {label!r} needs two or more clouds in X_test for retrieval.")


def _arms(
    pretrainer: Any,
    control: Any,
    y: np.ndarray,
    unseen: np.ndarray,
    match_size: bool,
    n_runs: int,
    seed: int,
) -> Iterator[tuple[Any, str, int, np.ndarray]]:
    """Each pre-training: an unfitted pre-trainer, its arm, its run and rows of X to learn from."""
    rows_seen = np.flatnonzero(~np.isin(y, unseen))
    if control is None and "max_epochs" in pretrainer.get_params(deep=False):
        control = clone(pretrainer).set_params(max_epochs=0)
    for run in range(n_runs):
        rng = np.random.default_rng([seed, 1, run])
        first = int(rng.integers(MAX_SEED))
        rows_all = np.arange(len(y))
        if match_size:
            rows_all = np.sort(rng.permutation(len(y))[: len(rows_seen)])
        yield seeded(clone(pretrainer), first), WITHOUT, run, rows_seen
        yield seeded(clone(pretrainer), first), WITH, run, rows_all
        if control is not None and control is not False:
            yield seeded(clone(control), first), RANDOM, run, rows_seen


def _run(
    pretrainer: Any,
    arm: str,
    run: int,
    rows: np.ndarray,
    X: Clouds,
    y: np.ndarray,
    X_test: Clouds,
    y_test: np.ndarray,
    groups: dict[str, np.ndarray],
    asked: dict[str, Any],
    seed: int,
) -> list[dict[str, Any]]:
    begun = time.perf_counter()
    pretrainer.fit(pick_clouds(X, rows))
    seconds = time.perf_counter() - begun
    train = np.asarray(pretrainer.transform(X), dtype=np.float64)
    test = np.asarray(pretrainer.transform(X_test), dtype=np.float64)
    standard = train[~np.isin(y, groups["unseen"])]
    spread = standard.std(axis=0)
    center, spread = standard.mean(axis=0), np.where(spread > 0, spread, 1.0)
    found = []
    for number, (group, classes) in enumerate(groups.items()):
        chosen, chosen_test = np.isin(y, classes), np.isin(y_test, classes)
        # The same draws for every arm, so that arms differ by their features alone.
        rng = np.random.default_rng([seed, 2, run, number])
        scores = score_features(
            train[chosen], y[chosen], test[chosen_test], y_test[chosen_test],
            center=center, spread=spread, rng=rng, seed=seed, **asked,
        )  # fmt: skip
        found.append({"run": run, "classes": group, "arm": arm, **scores,
                      "n_pretraining": 0 if arm == RANDOM else len(rows),
                      "seconds": seconds})  # fmt: skip
    return found


def _summary(runs: pd.DataFrame) -> pd.DataFrame:
    scores = ["linear_probe", "prototypes", "mean_average_precision", "purity"]
    ordered = runs.sort_values("classes", ascending=False, kind="stable")  # unseen first
    by_arm = ordered.groupby(["classes", "arm"], sort=False)[scores]
    return by_arm.agg(["mean", "std"]).rename(columns={"std": "sd"}, level=1)


def _selection(
    pretrainer: Any,
    unseen: np.ndarray,
    held_out: Any,
    match_size: bool,
    n_runs: int,
    probe: Any,
    runs: pd.DataFrame,
) -> str:
    drawn = "drawn at random" if isinstance(held_out, int | np.integer) else "named by the caller"
    sizes = (
        "with and without them it learned from equally many clouds"
        if match_size
        else "with them it learned from more clouds than without"
    )
    linear = "a linear SVM with fixed C = 0.01" if probe is None else name_of(probe)
    control = "" if RANDOM in set(runs["arm"]) else "; there is no control with random weights"
    return (
        f"Nothing was selected on test clouds: {len(unseen)} classes, {drawn}, were left out of "
        f"the pre-training of {name_of(pretrainer)}, {n_runs} time(s), every run counts and the "
        f"last epoch is taken; {sizes}; the linear classifier is {linear}{control}."
    )
