"""Accuracy under corruptions: the seven of ModelNet-C at five levels, and mCE."""

import time
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs

from pointinteract.base import check_clouds
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.ops import CORRUPTIONS, corrupt
from pointinteract.protocols._readout import (
    call_single_threaded,
    check_labels,
    fit_classifier,
    name_of,
)
from pointinteract.protocols._robustness_result import (
    DGCNN_ACCURACY,
    PUBLISHED_NAME,
    RobustnessResult,
)
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

__all__ = ["corruption_robustness"]

LEVELS = (1, 2, 3, 4, 5)
PUBLISHED_DGCNN = "published_dgcnn"


def corruption_robustness(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    X_train: Any = None,
    y_train: Any = None,
    corruptions: Sequence[str] = CORRUPTIONS,
    levels: Sequence[int] = LEVELS,
    baseline: Any = None,
    probe: Any = None,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    progress: ProgressOption = False,
) -> RobustnessResult:
    """Test a classifier, or features, on corrupted clouds.

    Corruptions come at the test only. What the estimator does with a cloud by itself it does
    after the corruption: one that normalizes takes stray points into account, one that thins
    clouds by farthest points prefers them.

    Parameters
    ----------
    estimator : classifier or transformer
        A fitted classifier is used as it is. One that is not fitted is cloned and learns from
        X_train and y_train. A transformer, fitted or not, gets a linear SVM on its features of
        X_train.
    X, y : clouds and labels to test on
        They are corrupted; nothing learns from them.
    X_train, y_train : clouds and labels, default=None
        Needed for everything but fitted classifiers. They stay clean.
    corruptions : sequence of str, default=CORRUPTIONS
        Which of :data:`pointinteract.ops.CORRUPTIONS`.
    levels : sequence of int, default=(1, 2, 3, 4, 5)
    baseline : None, estimator, RobustnessResult, DataFrame or "published_dgcnn", default=None
        What mCE and RmCE are relative to. An estimator as above, tested on the same corrupted
        clouds; or an earlier result, or its ``to_frame()``, of the same clouds, corruptions and
        levels. ``"published_dgcnn"``: what Ren et al. measured with DGCNN on ModelNet40, which
        says something only if X are the test clouds of ModelNet40 and all levels are tested.
        None: neither is computed.
    probe : classifier or None, default=None
        In place of the linear SVM on features.
    n_jobs : int or None, default=None
        Corruptions and levels tested side by side, through joblib.
    random_state : int, RandomState instance or None, default=None
        Of the corruptions, and of what is fitted here where its own was left open. With an
        integer, the clouds tested are those of ``corrupt(X, kind, level, random_state)``.
    progress : bool or callable, default=False
        True shows a bar; ``progress(n_done, n_total)`` is called after every test.

    Returns
    -------
    result : RobustnessResult

    Notes
    -----
    With the accuracy A of corruption c at level l and B that of the baseline,
    CE_c = sum_l (1 - A_cl) / sum_l (1 - B_cl) and
    RCE_c = sum_l (A_clean - A_cl) / sum_l (B_clean - B_cl); mCE and RmCE are their means over c.
    Where the baseline makes no error, or loses nothing, the quotient is infinite or NaN, and so
    is the mean; where it hardly makes any, a few clouds decide, and the quotient rules the
    mean. Look at ``errors`` before quoting ``mce``.

    References
    ----------
    Ren, Pan, Liu, "Benchmarking and Analyzing Point Cloud Classification under Corruptions",
    ICML 2022, section 3.

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.protocols import corruption_robustness
    >>> X, y = make_shapes(24, n_points=64, return_X_y=True, random_state=0)
    >>> classifier = PointClassifier("pointnet_basic", max_epochs=1, random_state=0)
    >>> result = corruption_robustness(
    ...     classifier.fit(X[:16], y[:16]), X[16:], y[16:], corruptions=["jitter", "drop_local"],
    ...     levels=[1, 5], random_state=0,
    ... )
    >>> result.table.shape
    (2, 2)
    """
    begun = time.perf_counter()
    kinds, levels = _check_what(corruptions, levels)
    X = check_clouds(X)
    y = check_labels("y", y, X)
    known = _known_baseline(baseline, kinds, levels)
    if isinstance(baseline, RobustnessResult) and baseline.n_clouds != len(y):
        raise ValueError(
            f"baseline must have been tested on the same clouds, got {baseline.n_clouds} clouds "
            f"against {len(y)}."
        )
    # As it is, so that `corrupt` gives the user the very clouds of the test.
    seed = int(random_state) if isinstance(random_state, Integral) else draw_seed(random_state)
    tested = {}
    tested["estimator"], how = fit_classifier(
        estimator, X_train, y_train, probe=probe, seed=seed
    )
    if baseline is not None and known is None:
        tested["baseline"], _ = fit_classifier(baseline, X_train, y_train, probe=probe, seed=seed)
    for role, classifier in tested.items():
        _check_common(role, classifier, y)
    scores = _score_all(tested, X, y, kinds, levels, seed, n_jobs, progress)
    clean, table = _tables(scores["estimator"], kinds, levels)
    name = None
    if isinstance(baseline, str):
        name = PUBLISHED_NAME
    elif known is not None:
        name = "an earlier result"
    elif baseline is not None:
        name = f"{name_of(baseline)}, tested on the same corrupted clouds"
        clean_of_baseline, by_level = _tables(scores["baseline"], kinds, levels)
        known = clean_of_baseline, by_level.mean(axis=1)
    errors = _errors(clean, table, known)
    return RobustnessResult(
        accuracy=float(errors["accuracy"].mean()),
        clean_accuracy=clean,
        table=table,
        errors=errors,
        mce=float(errors["corruption_error"].mean(skipna=False)),
        rmce=float(errors["relative_corruption_error"].mean(skipna=False)),
        baseline=name,
        n_clouds=len(y),
        selection=_selection(how, len(y), kinds, levels, name),
        seconds=time.perf_counter() - begun,
    )


def _check_what(
    corruptions: Sequence[str], levels: Sequence[int]
) -> tuple[list[str], list[int]]:
    kinds = [corruptions] if isinstance(corruptions, str) else list(corruptions)
    numbers = list(levels) if isinstance(levels, Sequence | np.ndarray | range) else [levels]
    for kind in kinds:
        check_option("each of corruptions", kind, CORRUPTIONS)
    numbers = [check_int("each of levels", level, maximum=5) for level in numbers]
    for name, values in (("corruptions", kinds), ("levels", numbers)):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name} must be one or more, all different; got {values}.")
    return kinds, numbers


def _check_common(name: str, classifier: Any, y: np.ndarray) -> None:
    """Raise where numbers would be compared to names, which are never equal."""
    classes = getattr(classifier, "classes_", None)
    if classes is None:
        return
    classes, labels = list(np.asarray(classes).tolist()), np.unique(y).tolist()
    if not set(classes) & set(labels):
        raise ValueError(
            f"y must be labels of the classes that {name} was taught, some of them at least; "
            f"it has {classes[:10]}, y has {labels[:10]}."
        )


def _known_baseline(
    baseline: Any, kinds: list[str], levels: list[int]
) -> tuple[float, pd.Series] | None:
    """Accuracy on clean clouds, and of each corruption, of a baseline that needs no test."""
    if isinstance(baseline, str):
        check_option("baseline, where a name,", baseline, (PUBLISHED_DGCNN,))
        if sorted(levels) != list(LEVELS):
            raise ValueError(
                f"baseline={baseline!r} was published as a mean over levels 1 to 5; test all of "
                f"them, not {levels}."
            )
        return DGCNN_ACCURACY["clean"], pd.Series({kind: DGCNN_ACCURACY[kind] for kind in kinds})
    if isinstance(baseline, RobustnessResult):
        baseline = baseline.to_frame()
    if not isinstance(baseline, pd.DataFrame):
        return None
    missing = {"corruption", "level", "accuracy"} - set(baseline.columns)
    if missing:
        raise ValueError(
            "baseline, where a frame, must be that of RobustnessResult.to_frame(), with columns "
            f"corruption, level and accuracy; got {list(baseline.columns)}."
        )
    found = baseline.set_index(["corruption", "level"])["accuracy"]
    asked = [("clean", 0), *((kind, level) for kind in kinds for level in levels)]
    absent = [pair for pair in asked if pair not in found.index]
    if absent or not found.index.is_unique:
        raise ValueError(
            "baseline must hold clean clouds (level 0) and each corruption and level tested, "
            f"once; missing {absent}."
        )
    means = {kind: float(found[[(kind, n) for n in levels]].mean()) for kind in kinds}
    return float(found[("clean", 0)]), pd.Series(means)


def _score_all(
    tested: dict[str, Any],
    X: Any,
    y: np.ndarray,
    kinds: list[str],
    levels: list[int],
    seed: int,
    n_jobs: int | None,
    progress: ProgressOption,
) -> dict[str, list[float]]:
    """Accuracy of each of the tested on clean clouds first, then by corruption and level."""
    cells = [("clean", 0), *((kind, level) for kind in kinds for level in levels)]
    alone = effective_n_jobs(n_jobs) == 1
    jobs = (
        delayed(call_single_threaded)(_score, not alone, tested, X, y, kind, level, seed)
        for kind, level in cells
    )
    scores: dict[str, list[float]] = {name: [] for name in tested}
    with progress_hook(progress, len(cells), "corruptions") as advance:
        for found in Parallel(n_jobs=n_jobs, return_as="generator")(jobs):
            for name, accuracy in found.items():
                scores[name].append(accuracy)
            advance(1)
    return scores


def _score(
    tested: dict[str, Any], X: Any, y: np.ndarray, kind: str, level: int, seed: int
) -> dict[str, float]:
    clouds = X if kind == "clean" else corrupt(X, kind, level, seed)
    return {
        name: float(np.mean(np.asarray(classifier.predict(clouds)) == y))
        for name, classifier in tested.items()
    }


def _tables(
    scores: list[float], kinds: list[str], levels: list[int]
) -> tuple[float, pd.DataFrame]:
    values = np.reshape(scores[1:], (len(kinds), len(levels)))
    return scores[0], pd.DataFrame(
        values,
        index=pd.Index(kinds, name="corruption"),
        columns=pd.Index(levels, name="level"),
    )


def _errors(
    clean: float, table: pd.DataFrame, baseline: tuple[float, pd.Series] | None
) -> pd.DataFrame:
    accuracy = table.mean(axis=1)
    errors = pd.DataFrame({"accuracy": accuracy})
    if baseline is None:
        return errors.assign(corruption_error=np.nan, relative_corruption_error=np.nan)
    clean_of_baseline, by_kind = baseline
    return errors.assign(
        corruption_error=(1 - accuracy) / (1 - by_kind),
        relative_corruption_error=(clean - accuracy) / (clean_of_baseline - by_kind),
    )


def _selection(
    how: str, n_clouds: int, kinds: list[str], levels: list[int], baseline: str | None
) -> str:
    asked = f"{len(kinds)} corruptions at levels {', '.join(map(str, levels))}"
    relative = "" if baseline is None else f"; mCE and RmCE are relative to {baseline}"
    if baseline == PUBLISHED_NAME:
        relative += ", measured on test clouds of ModelNet40 and comparable on those alone"
    return (
        f"Nothing was selected on test clouds: {how}, and the {n_clouds} test clouds were tested "
        f"once clean and once under each of {asked}{relative}."
    )
