"""Does training towards other interactions help? Every way at equal steps or equal time."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from pointinteract.classification._classifier import PointClassifier
from pointinteract.classification._comparison_store import ComparisonStore, describe
from pointinteract.losses import InteractionLoss
from pointinteract.losses.interaction import find_interaction_loss
from pointinteract.training.data import index_batches
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["LossComparison", "compare_interaction_losses"]

Measure = Callable[[PointClassifier, Any, Any], Mapping[str, float]]
Progress = Callable[[dict[str, Any], int, int], None]

_LOG_RATIO = {"interaction_loss": "default"}
# What each arm changes of the classifier; those of the second table start from `pretrained`.
_FROM_SCRATCH: dict[str, dict[str, Any]] = {
    "scratch": {},
    "augmentation": {"interaction_loss": InteractionLoss("augmentation", weight=1.0)},
    "paper": {"interaction_loss": "paper"},
    "log_ratio": _LOG_RATIO,
    "differences": {"interaction_loss": InteractionLoss("D", weight=0.3)},
}
_FROM_PRETRAINED: dict[str, dict[str, Any]] = {
    "pretrained": {},
    "pretrained_log_ratio": _LOG_RATIO,
}
# Columns of the frame that are not measured on the test clouds.
_COST = ("seconds", "n_epochs", "n_steps", "n_parameters")


@dataclass(frozen=True)
class LossComparison:
    """What :func:`compare_interaction_losses` found.

    Attributes
    ----------
    frame : DataFrame
        One row for each arm and seed: ``arm``, ``seed``, ``accuracy`` on the test clouds after
        the last epoch, ``seconds`` of training, ``n_epochs``, ``n_steps``, ``n_parameters``, and
        what `measure` gave.
    budget : str
        What was the same for all arms: ``"steps"`` or ``"time"``.
    classifiers : dict of (arm, seed) to PointClassifier
        Empty with ``keep_classifiers=False``. A classifier that the store could not hold (one
        with a network of the user's own) is missing after a resumption.
    """

    frame: pd.DataFrame
    budget: str
    classifiers: dict[tuple[str, int], PointClassifier] = field(default_factory=dict, repr=False)

    def summary(self, baseline: str = "scratch") -> pd.DataFrame:
        """Mean and spread over seeds of every arm, and its difference to a baseline.

        Parameters
        ----------
        baseline : str, default="scratch"
            The arm that others are compared with, seed by seed.

        Returns
        -------
        summary : DataFrame
            Indexed by arm, columns (quantity, "mean" | "sd" | "difference"). sd is that of
            single runs (n - 1 in its denominator), NaN for one seed; difference is the mean over
            the seeds that both arms have.
        """
        if baseline not in set(self.frame["arm"]):
            raise ValueError(
                f"baseline must be one of {sorted(set(self.frame['arm']))}, got {baseline!r}."
            )
        table = self.frame.set_index(["arm", "seed"])
        by_arm = table.groupby(level="arm", sort=False)
        differences = table - table.xs(baseline, level="arm").reindex(table.index, level="seed")
        parts = {
            "mean": by_arm.mean(),
            "sd": by_arm.std(ddof=1),
            "difference": differences.groupby(level="arm", sort=False).mean(),
        }
        measured = [name for name in table.columns if name not in _COST]
        return pd.concat(
            {
                **{(name, key): part[name] for name in measured for key, part in parts.items()},
                **{(name, "mean"): parts["mean"][name] for name in _COST},
            },
            axis=1,
        )


def compare_interaction_losses(
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    *,
    model: Any = "dgcnn",
    arms: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    n_seeds: int = 3,
    budget: str = "steps",
    seconds: float | None = None,
    pretrained: Any = None,
    measure: Measure | None = None,
    store: str | os.PathLike[str] | None = None,
    keep_classifiers: bool = True,
    progress: Progress | None = None,
) -> LossComparison:
    """Train the same network in every arm with the same seeds, and compare.

    Parameters
    ----------
    X, y : clouds and labels to train on
    X_test, y_test : clouds and labels that decide
        Seen by nothing but the final score and `measure`.
    model : PointClassifier, str or Module class, default="dgcnn"
        A classifier with the settings that all arms share, or just its network. For the
        pre-trained arms to be comparable it names the architecture that `pretrained` has; the
        column ``n_parameters`` tells.
    arms : sequence of str, mapping or None, default=None
        Names among ``"scratch"``; ``"augmentation"``, the masked clouds of estimator A as
        plain augmentation; ``"paper"``, estimator A in the literal form; ``"log_ratio"``, our
        default; ``"differences"``, estimator D; ``"pretrained"``; ``"pretrained_log_ratio"``.
        Or a mapping from names of your own to parameters of the classifier that the arm
        changes. None: all, the last two only where `pretrained` is given.
    n_seeds : int, default=3
        Runs of each arm, with ``random_state`` 0, 1, ... Fewer than three say little.
    budget : {"steps", "time"}, default="steps"
        ``"steps"``: every arm trains for the epochs of `model`. ``"time"``: every arm gets the
        same wall time, so that a cheap one trains for more epochs, its schedule stretched over
        them. A trial of two epochs of each arm says how many fit in.
    seconds : float or None, default=None
        The wall time of a run with ``budget="time"``. None: what the dearest arm needs for the
        epochs of `model`.
    pretrained : fitted pretrainer, path, module or None, default=None
        As in PointClassifier. Time spent on pre-training is not counted.
    measure : callable or None, default=None
        ``measure(classifier, X_test, y_test)`` gives a dictionary of further numbers, such as
        kappa-high of an InteractionExplainer.
    store : path or None, default=None
        A folder where every finished run is kept. Called again, the function goes on where it
        was interrupted, and refuses runs made with other data or settings.
    keep_classifiers : bool, default=True
        Whether the result holds the fitted classifiers.
    progress : callable or None, default=None
        ``progress(row, n_done, n_runs)`` after every run.

    Returns
    -------
    comparison : LossComparison

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier, compare_interaction_losses
    >>> from pointinteract.datasets import make_shapes
    >>> X, y = make_shapes(24, n_points=32, return_X_y=True, random_state=0)
    >>> quick = PointClassifier("pointnet_basic", max_epochs=1)
    >>> result = compare_interaction_losses(
    ...     X[:16], y[:16], X[16:], y[16:], model=quick, arms=["scratch", "paper"], n_seeds=1
    ... )
    >>> result.frame["arm"].tolist()
    ['scratch', 'paper']
    """
    n_seeds = check_int("n_seeds", n_seeds)
    check_option("budget", budget, ("steps", "time"))
    if seconds is not None:
        if budget == "steps":
            raise ValueError("seconds goes with budget='time'; with equal steps it means nothing.")
        check_real("seconds", seconds, open_minimum=True)
    template = _make_template(model)
    settings = _settings_of_arms(arms, pretrained)
    if store is not None:
        runs = ComparisonStore(store, data=(X, y, X_test, y_test))
    else:
        runs = None
    epochs = dict.fromkeys(settings, template._setting("max_epochs"))
    if budget == "time":
        epochs = _epochs_in_equal_time(template, settings, X, y, seconds, runs)

    rows: list[dict[str, Any]] = []
    classifiers: dict[tuple[str, int], PointClassifier] = {}
    n_runs = n_seeds * len(settings)
    # Seeds outside: what is done after an interruption is a fair comparison of fewer seeds.
    for seed in range(n_seeds):
        for arm, changes in settings.items():
            classifier = _make_classifier(template, changes, epochs[arm], seed)
            made_from = {"classifier": describe(classifier.get_params()), "measure":
                         describe(measure)}
            found = None if runs is None else runs.read(arm, seed, made_from)
            if found is not None:
                row, fitted = found
            else:
                fitted = classifier.fit(X, y)
                row = _score(fitted, arm, seed, len(X), X_test, y_test, measure)
                if runs is not None:
                    runs.write(arm, seed, made_from, row, fitted)
            rows.append(row)
            if keep_classifiers and fitted is not None:
                classifiers[arm, seed] = fitted
            if progress is not None:
                progress(row, len(rows), n_runs)
    return LossComparison(pd.DataFrame(rows), budget, classifiers)


def _make_template(model: Any) -> PointClassifier:
    template = clone(model) if isinstance(model, PointClassifier) else PointClassifier(model)
    if template.early_stopping:
        raise ValueError(
            "runs that stop early have neither equal steps nor equal time; set "
            "early_stopping=False."
        )
    if template.pretrained is not None or template.interaction_loss is not None:
        raise ValueError(
            "model must hold what all arms share; give pretrained= and the losses to "
            "compare_interaction_losses, not to its classifier."
        )
    return template


def _settings_of_arms(arms: Any, pretrained: Any) -> dict[str, dict[str, Any]]:
    """Parameters of the classifier that every arm changes, by its name."""
    if isinstance(pretrained, BaseEstimator):
        check_is_fitted(pretrained, "module_")
    if isinstance(arms, Mapping):
        return {str(name): dict(changes) for name, changes in arms.items()}
    known = dict(_FROM_SCRATCH)
    if pretrained is not None:
        for name, changes in _FROM_PRETRAINED.items():
            known[name] = {"model": None, "pretrained": pretrained, **changes}
    if arms is None:
        return known
    names = [arms] if isinstance(arms, str) else list(arms)
    for name in names:
        if name in _FROM_PRETRAINED and pretrained is None:
            raise ValueError(f"the arm {name!r} starts from pre-trained weights; give pretrained.")
        check_option("each of arms", name, (*_FROM_SCRATCH, *_FROM_PRETRAINED))
    return {name: known[name] for name in names}


def _make_classifier(
    template: PointClassifier, changes: Mapping[str, Any], max_epochs: int, seed: int
) -> PointClassifier:
    # What an arm changes is set after the copy: copied, a fitted pretrainer would be unfitted.
    return clone(template).set_params(
        **{"max_epochs": max_epochs, "random_state": seed, **changes}
    )


def _epochs_in_equal_time(
    template: PointClassifier,
    settings: Mapping[str, Mapping[str, Any]],
    X: Any,
    y: Any,
    seconds: float | None,
    runs: ComparisonStore | None,
) -> dict[str, int]:
    """Epochs of every arm that take about as long as those of the others."""
    costs = {}
    for arm, changes in settings.items():
        trial = _make_classifier(template, changes, 2, 0)
        loss = find_interaction_loss(trial.interaction_loss)
        if loss is not None:
            # An epoch of cross-entropy alone is not what the rest of the training costs.
            trial.set_params(interaction_loss=clone(loss).set_params(warmup=0))
        made_from = describe(trial.get_params())
        cost = None if runs is None else runs.read_cost(arm, made_from)
        if cost is None:
            cost = float(trial.fit(X, y).history_["seconds"].min())
            if runs is not None:
                runs.write_cost(arm, made_from, cost)
        costs[arm] = cost
    if seconds is None:
        seconds = max(costs.values()) * template._setting("max_epochs")
    return {arm: max(1, round(seconds / cost)) for arm, cost in costs.items()}


def _score(
    classifier: PointClassifier,
    arm: str,
    seed: int,
    n_clouds: int,
    X_test: Any,
    y_test: Any,
    measure: Measure | None,
) -> dict[str, Any]:
    batch_size = classifier.recipe_.batch_size
    n_batches = len(list(index_batches(n_clouds, batch_size, torch.Generator())))
    row: dict[str, Any] = {
        "arm": arm,
        "seed": seed,
        "accuracy": float(np.mean(classifier.predict(X_test) == np.asarray(y_test))),
        "seconds": float(classifier.history_["seconds"].sum()),
        "n_epochs": classifier.n_epochs_,
        "n_steps": classifier.n_epochs_ * n_batches,
        "n_parameters": sum(weights.numel() for weights in classifier.module_.parameters()),
    }
    measured = {} if measure is None else measure(classifier, X_test, y_test)
    taken = sorted(set(row) & set(measured))
    if taken:
        raise ValueError(f"measure gave {taken}, which are columns of the comparison already.")
    return row | {str(name): float(value) for name, value in measured.items()}
