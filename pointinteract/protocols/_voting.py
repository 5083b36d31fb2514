"""Test-time votes: one number, and beside it the luckiest of many rounds that papers print."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from pointinteract.base import check_clouds
from pointinteract.classification._votes import another_look, clouds_to_vote_on
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.protocols._compare_errors import check_common_class
from pointinteract.protocols._published import PublishedFigure, find_published, method_names
from pointinteract.protocols._readout import check_labels
from pointinteract.training.data import check_augmentation, store_clouds
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

__all__ = ["VOTING_SYSTEMS", "VotingResult", "vote"]


class _System(NamedTuple):
    """How the authors of a system vote on ModelNet40."""

    name: str
    n_votes: int
    n_rounds: int
    augmentation: str
    growing: bool = False  # round r has r passes, up to n_votes


VOTING_SYSTEMS = {
    "recon": _System("ReCon", 10, 299, "scale"),
    "point_mae": _System("Point-MAE", 10, 299, "scale_translate"),
    "act": _System("ACT", 10, 299, "scale_translate"),
    "point_gpt": _System("PointGPT", 5, 299, "scale_translate"),
    "point_m2ae": _System("Point-M2AE", 10, 49, "scale_translate"),
    "point_bert": _System("Point-BERT", 10, 9, "scale_translate"),
    "maskpoint": _System("MaskPoint", 9, 9, "scale_translate", growing=True),
}


@dataclass(frozen=True)
class VotingResult:
    """What :func:`vote` found.

    Attributes
    ----------
    accuracy : float
        Share named rightly by the averaged scores of one round, fixed before looking: the first,
        or the longest where rounds grow. The same whatever `report` was.
    single_accuracy : float
        Without votes.
    published_accuracy : float
        The best round by the test labels, as papers report; NaN unless asked.
    rounds : DataFrame
        ``round``, ``n_votes``, ``accuracy``.
    mean, sd : float
        Over rounds; sd (n - 1 in its denominator) is NaN for one.
    predictions : array of shape (n_clouds,)
        Labels by the round of ``accuracy``.
    n_votes, n_rounds : int
    augmentation : str
    selection : str
    published : PublishedFigure or None
    seconds : float
    """

    accuracy: float
    single_accuracy: float
    published_accuracy: float
    rounds: pd.DataFrame = field(repr=False)
    mean: float
    sd: float
    predictions: np.ndarray = field(repr=False)
    n_votes: int
    n_rounds: int
    augmentation: str
    selection: str
    published: PublishedFigure | None
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """Every number with the words that belong to it: ``number``, ``accuracy``, ``selection``.

        The best round has a row only if it was asked for.
        """
        rows = [
            ("without votes", self.single_accuracy, "nothing was chosen"),
            ("votes", self.accuracy, self.selection),
        ]
        if self.n_rounds > 1:
            words = f"all {self.n_rounds} rounds count; sd {self.sd:.4f}"
            rows.append(("mean of rounds", self.mean, words))
        if not np.isnan(self.published_accuracy):
            rows.append(("published way", self.published_accuracy, _words_of_maximum(self.rounds)))
        return pd.DataFrame(rows, columns=["number", "accuracy", "selection"])

    def __str__(self) -> str:
        text = (
            f"votes: {100 * self.accuracy:.1f} %, without votes {100 * self.single_accuracy:.1f} %"
            f". {self.selection}."
        )
        return text if self.published is None else f"{text} Published: {self.published.label}."


def vote(
    classifier: Any,
    X: Any,
    y: Any,
    *,
    n_votes: int | None = None,
    augmentation: Any = "system",
    n_rounds: int | None = None,
    report: str = "mean",
    system: str | None = None,
    n_points: int | None = None,
    random_state: int | np.random.RandomState | None = None,
    progress: ProgressOption = False,
) -> VotingResult:
    """Score the average of predictions for several altered copies of each cloud.

    Clouds are thinned once, by farthest point sampling to about 1.17 times the points that the
    network takes; each vote chooses among these anew and augments. What is drawn for a cloud
    follows from the seed and its own points, so the answer does not depend on other clouds.

    Papers repeat such a round up to 299 times and print the best, by the labels of the test
    clouds. That is a number of ``report="published"``, in a column of its own.

    Parameters
    ----------
    classifier : fitted classifier
        One of ours, or any that takes clouds and has ``predict_proba`` or ``decision_function``.
    X, y : clouds and labels that decide
    n_votes : int or None, default=None
        Copies of each cloud in a round. None: of the system, which is 10 for most.
    augmentation : "system", None, str, tuple of str or callable, default="system"
        What is done to each copy; names as in PointClassifier. ``"system"``: of the system on
        ModelNet40. For the rotated variant of ScanObjectNN ReCon takes ``"rotate_y"``, for the
        others None.
    n_rounds : int or None, default=None
        None: one round with ``report="mean"``, as many as the authors with ``"published"``.
    report : {"mean", "published"}, default="mean"
        ``"published"`` adds the maximum over rounds.
    system : str or None, default=None
        Whose passes, rounds and augmentation: ``"recon"``, ``"point_mae"``, ``"act"``,
        ``"point_gpt"``, ``"point_m2ae"``, ``"point_bert"`` or ``"maskpoint"`` (a round of one
        vote, one of two, up to nine). None: that of the classifier's pretrainer if it is one of
        them, else ``"recon"``.
    n_points : int or None, default=None
        Points of a copy. None: what a classifier of ours takes, or all for others.
    random_state : int, RandomState instance or None, default=None
    progress : bool or callable, default=False
        True for a bar, or a function of (votes done, votes in all).

    Returns
    -------
    result : VotingResult

    Examples
    --------
    >>> from pointinteract.classification import PointClassifier
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.protocols import vote
    >>> X, y = make_shapes(24, n_points=64, return_X_y=True, random_state=0)
    >>> clf = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(X, y)
    >>> result = vote(clf, X, y, n_votes=2, n_rounds=3, report="published", random_state=0)
    >>> result.to_frame()["number"].tolist()
    ['without votes', 'votes', 'mean of rounds', 'published way']
    """
    start = time.perf_counter()
    check_is_fitted(classifier)
    check_option("report", report, ("mean", "published"))
    settings = _settle(classifier, system)
    if isinstance(augmentation, str) and augmentation == "system":
        augmentation = settings.augmentation
    check_augmentation(augmentation)
    sizes = _sizes_of_rounds(settings, n_votes, n_rounds, report)
    if n_points is not None:
        check_int("n_points", n_points)
    y = check_labels("y", y, X)
    seed = draw_seed(random_state)
    classes = np.asarray(classifier.classes_)
    check_common_class("y", y, "the classifier", classes)
    single, stored, n_points, ask = _prepare(classifier, X, n_points)
    total_votes = int(sum(sizes))

    predictions, accuracies, number = [], [], 0
    with progress_hook(progress, total_votes, "voting") as advance:
        for size in sizes:
            total: Any = 0.0
            for _ in range(size):
                looks = another_look(
                    stored, n_points, seed, number, augmentation=augmentation, apart=True
                )
                total = total + ask(looks)
                number += 1
                advance(1)
            predictions.append(classes[total.argmax(axis=1)])
            accuracies.append(float(np.mean(predictions[-1] == y)))
    fixed = int(np.argmax(sizes))
    rounds = pd.DataFrame({
        "round": np.arange(1, len(sizes) + 1), "n_votes": sizes, "accuracy": accuracies,
    })  # fmt: skip
    return VotingResult(
        accuracy=accuracies[fixed],
        single_accuracy=float(np.mean(classes[single.argmax(axis=1)] == y)),
        published_accuracy=max(accuracies) if report == "published" else float("nan"),
        rounds=rounds,
        mean=float(rounds["accuracy"].mean()),
        sd=float(rounds["accuracy"].std(ddof=1)),
        predictions=predictions[fixed],
        n_votes=sizes[fixed],
        n_rounds=len(sizes),
        augmentation=_words_of(augmentation),
        selection=(
            f"mean of {sizes[fixed]} votes in one round, fixed before looking; nothing was chosen "
            f"on the {len(y)} test clouds"
        ),
        published=find_published(classifier, "vote"),
        seconds=time.perf_counter() - start,
    )


def _settle(classifier: Any, system: str | None) -> _System:
    if system is not None:
        return VOTING_SYSTEMS[check_option("system", system, tuple(VOTING_SYSTEMS))]
    names = method_names(classifier)
    known = (
        found
        for found in VOTING_SYSTEMS.values()
        if any(name.startswith(found.name) for name in names)
    )
    return next(known, VOTING_SYSTEMS["recon"])


def _sizes_of_rounds(
    settings: _System, n_votes: int | None, n_rounds: int | None, report: str
) -> list[int]:
    """Votes of each round."""
    if n_votes is not None:
        check_int("n_votes", n_votes)
    if n_rounds is not None:
        check_int("n_rounds", n_rounds)
    else:
        n_rounds = settings.n_rounds if report == "published" else 1
    if settings.growing and n_votes is None and n_rounds > 1:
        return list(range(1, n_rounds + 1))
    return [n_votes or settings.n_votes] * n_rounds


def _prepare(
    classifier: Any, X: Any, n_points: int | None
) -> tuple[np.ndarray, list[Any], int | None, Callable[[list[np.ndarray]], np.ndarray]]:
    """Scores without votes, stored clouds, points of a copy, and how to ask for scores."""
    if hasattr(classifier, "predict_logits") and hasattr(classifier, "_infer"):
        n_points = classifier._setting("n_points") if n_points is None else n_points
        single = classifier.predict_logits(X)
        stored = clouds_to_vote_on(classifier, X, n_points)

        def ask(looks: list[np.ndarray]) -> np.ndarray:
            return classifier._infer(looks, classifier.module_)

    else:
        scores = _scores_of(classifier)
        stored = [store_clouds(cloud[None], n_points) for cloud in check_clouds(X)]
        single = scores(X)

        def ask(looks: list[np.ndarray]) -> np.ndarray:
            same = len({look.shape for look in looks}) == 1
            return scores(np.stack(looks) if same else looks)

    return single, stored, n_points, ask


def _scores_of(classifier: Any) -> Callable[[Any], np.ndarray]:
    names = [name for name in ("predict_proba", "decision_function") if hasattr(classifier, name)]
    if not names:
        raise TypeError(
            "classifier must have predict_proba or decision_function for votes to be averaged; "
            f"{type(classifier).__name__} has neither."
        )
    ask = getattr(classifier, names[0])

    def scores(X: Any) -> np.ndarray:
        rows = np.asarray(ask(X), dtype=np.float64)
        # Two classes may have but one column, positive for the second.
        return np.stack([-rows, rows], axis=1) if rows.ndim == 1 else rows

    return scores


def _words_of(augmentation: Any) -> str:
    if augmentation is None:
        return "none"
    if callable(augmentation):
        return str(getattr(augmentation, "__name__", type(augmentation).__name__))
    return augmentation if isinstance(augmentation, str) else " + ".join(augmentation)


def _words_of_maximum(rounds: pd.DataFrame) -> str:
    sizes = sorted(set(rounds["n_votes"]))
    votes = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"maximum over {len(rounds)} rounds of {votes} votes, chosen by the labels of the test "
        "clouds: as papers report, and biased upward"
    )
