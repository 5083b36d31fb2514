"""frozen_head: a head on a network that stands still, the rows MLP-LINEAR and MLP-3."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone

from pointinteract.protocols._few_shot_result import figure_columns
from pointinteract.protocols._heads import HEADS, HeadClassifier
from pointinteract.protocols._published import PublishedFigure, find_published
from pointinteract.protocols._readout import call_single_threaded, check_labels
from pointinteract.protocols._trunks import (
    as_clouds,
    fitted_trunk,
    make_extractor,
    network_classifier,
    say_epochs,
    score_run,
    seed_of_run,
)
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

__all__ = ["FrozenHeadResult", "frozen_head"]

_NAMES = {"linear": "MLP-LINEAR", "mlp3": "MLP-3"}
_EPOCHS = 300  # of the published trainings on ModelNet40 with 1024 points, as the rates below
_RATE, _HEAD_FACTOR = 1e-4, 10.0


@dataclass(frozen=True)
class FrozenHeadResult:
    """What :func:`frozen_head` found.

    Attributes
    ----------
    runs : DataFrame
        One row for each seed: ``seed``, ``accuracy`` on the test clouds after the last epoch,
        ``seconds``; with ``report="published"`` also ``best_test_epoch`` and
        ``best_test_epoch_accuracy``.
    protocol : str
        ``"MLP-LINEAR"`` or ``"MLP-3"``, and what the network under it did.
    selection : str
        What was chosen, and on which data.
    seconds : float
        Wall time of everything, features included.
    published : PublishedFigure or None
        What the paper of the method reports for ModelNet40, chosen its way.
    classifiers : tuple
        The fitted heads (or classifiers, with ``trunk="published"``), one for each run.
    """

    runs: pd.DataFrame
    protocol: str
    selection: str
    seconds: float
    published: PublishedFigure | None = None
    classifiers: tuple[Any, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of test clouds named rightly, mean over runs."""
        return float(self.runs["accuracy"].mean())

    @property
    def std(self) -> float:
        """Standard deviation of single runs, n - 1 in its denominator; NaN for one."""
        return float(self.runs["accuracy"].std(ddof=1))

    @property
    def best_epoch_accuracy(self) -> float | None:
        """Mean over runs of the epoch best on the test clouds; None unless asked for."""
        if "best_test_epoch_accuracy" not in self.runs:
            return None
        return float(self.runs["best_test_epoch_accuracy"].mean())

    def to_frame(self) -> pd.DataFrame:
        """One row: mean and standard deviation as shares, selection in words."""
        row = {
            "protocol": self.protocol,
            "n_runs": len(self.runs),
            "accuracy": self.accuracy,
            "std": self.std,
        }
        if self.best_epoch_accuracy is not None:
            row["best epoch on the test clouds (published selection)"] = self.best_epoch_accuracy
        return pd.DataFrame(
            [row | {"selection": self.selection, "seconds": self.seconds}
             | figure_columns(self.published)]
        )  # fmt: skip


def frozen_head(
    pretrainer: Any,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    head: str = "linear",
    trunk: str = "frozen",
    classifier: Any = None,
    max_epochs: int | None = None,
    n_runs: int = 1,
    report: str | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> FrozenHeadResult:
    """Train a head on a frozen network, and score it on test clouds.

    Parameters
    ----------
    pretrainer : pretrainer, transformer, fitted classifier, module or path
        Fitted, it is used as it is; otherwise a clone is fitted on X first, without labels.
    X, y : clouds and labels to train on
    X_test, y_test : clouds and labels that decide
        Seen by nothing but the final score (and ``report="published"``).
    head : {"linear", "mlp3"}, default="linear"
        One layer (MLP-LINEAR), or three with BatchNorm and dropout (MLP-3).
    trunk : {"frozen", "published"}, default="frozen"
        ``"frozen"``: features are computed once, in evaluation mode, from clouds as they are.
        ``"published"``: as ReCon's authors do, the network passes clouds in training mode and
        augmented, so BatchNorm follows them, and ReCon's class query learns too. Takes as long
        as fine-tuning.
    classifier : HeadClassifier, PointClassifier or None, default=None
        Settings of the training; a PointClassifier with ``trunk="published"``. None: the
        published ones for ModelNet40, a rate of 1e-4, which is 1e-3 for heads, in batches of 32.
        Its ``random_state`` is not used: every run has another.
    max_epochs : int or None, default=None
        None: 300, as published, or what `classifier` says.
    n_runs : int, default=1
        Trainings with different seeds; published figures are a mean and deviation of several.
    report : {None, "published"}, default=None
        ``"published"`` adds, in a column of its own, the epoch best on the test clouds.
    n_jobs : int or None, default=None
        Runs at once, through joblib, each with one torch thread.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    result : FrozenHeadResult

    References
    ----------
    Qi et al., "Contrast with Reconstruct", ICML 2023.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointMAEPretrainer
    >>> from pointinteract.protocols import frozen_head
    >>> X, y = make_shapes(40, n_points=32, return_X_y=True, random_state=0)
    >>> pre = PointMAEPretrainer(n_groups=4, group_size=8, max_epochs=0, random_state=0).fit(X)
    >>> found = frozen_head(pre, X[:30], y[:30], X[30:], y[30:], max_epochs=2, random_state=0)
    >>> found.protocol, 0 <= found.accuracy <= 1
    ('MLP-LINEAR', True)
    """
    started = time.perf_counter()
    check_option("head", head, tuple(HEADS))
    check_option("trunk", trunk, ("frozen", "published"))
    check_option("report", report, (None, "published"))
    check_int("n_runs", n_runs)
    if max_epochs is not None:
        check_int("max_epochs", max_epochs)
    X, X_test = as_clouds(X), as_clouds(X_test)
    y, y_test = check_labels("y", y, X), check_labels("y_test", y_test, X_test)
    seed = draw_seed(random_state)
    base, source = fitted_trunk(pretrainer, X, np.arange(len(X)), seed)
    if trunk == "published":
        settings = {"learning_rate": _RATE, "head_factor": _HEAD_FACTOR, "batch_size": 32}
        learner = network_classifier(base, classifier, X, protocol=head, **settings)
        inputs, test_inputs = X, X_test
    else:
        extract, kind = make_extractor(base, X, pooled=True)
        learner = _head_learner(classifier, head)
        inputs, test_inputs = extract(X), extract(X_test)
        source = f"frozen features ({kind}) of {source}"
    if max_epochs is not None or classifier is None:
        learner.set_params(max_epochs=max_epochs or _EPOCHS)
    if classifier is None:
        learner.set_params(warmup_epochs=10 * learner.max_epochs / _EPOCHS)
    learner.set_params(random_state=None)  # each run brings its own
    done = Parallel(n_jobs=n_jobs)(
        delayed(call_single_threaded)(
            score_run, True, learner, seed_of_run(seed, run), report is not None,
            inputs, y, test_inputs, y_test,
        )
        for run in range(n_runs)
    )  # fmt: skip
    return FrozenHeadResult(
        runs=pd.DataFrame(
            [{"seed": seed_of_run(seed, run), **row} for run, (row, _) in enumerate(done)]
        ),
        protocol=_NAMES[head] + (", trunk in training mode" if trunk == "published" else ""),
        selection=_say_selection(learner, source, n_runs, report),
        seconds=time.perf_counter() - started,
        published=_find_figure(pretrainer, head),
        classifiers=tuple(fitted for _, fitted in done),
    )


def _head_learner(classifier: Any, head: str) -> HeadClassifier:
    if classifier is None:
        return HeadClassifier(head, learning_rate=_RATE * _HEAD_FACTOR)
    if not isinstance(classifier, HeadClassifier):
        raise TypeError(
            "classifier must be a HeadClassifier, whose settings are taken (or, with "
            f'trunk="published", a PointClassifier); got {type(classifier).__name__}.'
        )
    return clone(classifier).set_params(head=head)


def _find_figure(pretrainer: Any, head: str) -> PublishedFigure | None:
    if not isinstance(pretrainer, BaseEstimator):
        return None
    setting, trained = "1k points", _NAMES[head]
    return find_published(pretrainer, "fine_tune", setting=setting, trained=trained)


def _say_selection(learner: Any, source: str, n_runs: int, report: str | None) -> str:
    runs = "one run" if n_runs == 1 else f"mean of {n_runs} runs"
    chosen = say_epochs(learner, "the training clouds", "the test clouds")
    text = f"{chosen}; {runs}; {source}."
    if report is not None:
        text += (
            " The columns best_test_epoch take the epoch that is best on the test clouds, as "
            "published tables do, which flatters."
        )
    return text
