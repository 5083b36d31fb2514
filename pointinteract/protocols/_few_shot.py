"""few_shot: one call for every few-shot protocol of the field."""

import copy
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from pointinteract.classification import PointClassifier
from pointinteract.classification._votes import pick_clouds
from pointinteract.explanation._progress import progress_hook
from pointinteract.protocols._few_shot_result import FewShotResult
from pointinteract.protocols._few_shot_split import FewShotSplit, rows_by_split
from pointinteract.protocols._heads import HeadClassifier, PrototypeClassifier
from pointinteract.protocols._published import PublishedFigure, find_published
from pointinteract.protocols._readout import call_single_threaded, check_labels, name_of
from pointinteract.protocols._trunks import (
    as_clouds,
    fitted_trunk,
    is_cloud_classifier,
    make_extractor,
    network_classifier,
    say_epochs,
    score_run,
    seed_of_run,
    unfitted_copy,
)
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

__all__ = ["FEW_SHOT_PROTOCOLS", "few_shot"]

_NAMES = {
    "svm": "SVM",
    "prototypes": "PROTOTYPES",
    "mlp_linear": "MLP-LINEAR",
    "mlp3": "MLP-3",
    "full": "FULL",
}
FEW_SHOT_PROTOCOLS = tuple(_NAMES)
_HEADS = {"mlp_linear": "linear", "mlp3": "mlp3"}
_EPOCHS = 150  # of the published few-shot trainings, as their batch size and rates below
_FULL = {"learning_rate": 5e-4, "weight_decay": 0.05, "batch_size": 32}
_PUBLISHED_TRUNK = {"learning_rate": 1e-3, "head_factor": 10.0, "batch_size": 32}

Episode = tuple[np.ndarray, np.ndarray]


def few_shot(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    split: Any = None,
    groups: Any = None,
    protocol: str = "svm",
    classifier: Any = None,
    trunk: str = "frozen",
    max_epochs: int | None = None,
    report: str | None = None,
    n_jobs: int | None = None,
    progress: bool | Callable[[int, int], None] = False,
    random_state: Any = None,
) -> FewShotResult:
    """Learn new classes from a few clouds of each, over several episodes.

    Parameters
    ----------
    estimator : pretrainer, transformer, classifier, module or path
        What the episodes start from. Fitted, it is used as it is; a pretrainer or transformer
        that is not is cloned and fitted once, without labels, on clouds that are never queries.
        A classifier, with ``protocol="full"``, is cloned and fitted anew in every episode; a
        fitted pretrainer that a PointClassifier starts from stays as it is.
    X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
    y : array of shape (n_clouds,)
        Labels of any kind; they stay what they are.
    split : splitter or iterable of (support, query), default=None
        :class:`FewShotSplit`, :class:`FewShotEpisodes`, or whatever else scikit-learn takes for
        ``cv``; support and query must not share clouds. None: ``FewShotSplit(5, 10)``.
    groups : array of shape (n_clouds,), optional
        Which clouds may be support (0 or ``"train"``) and which queries (1 or ``"test"``); the
        published protocol takes the splits of ModelNet40. Episodes that say otherwise are
        refused.
    protocol : {"svm", "prototypes", "mlp_linear", "mlp3", "full"}, default="svm"
        What is learned in an episode. ``"svm"``: a linear support vector machine with C = 1 on
        standardized features (CrossPoint's rule). ``"prototypes"``: the nearest class mean by
        cosine. ``"mlp_linear"``, ``"mlp3"``: a head of one layer or three on the frozen
        network. ``"full"``: the whole network is fine-tuned.
    classifier : estimator or None, default=None
        Another classifier than the protocol's: for frozen features any of scikit-learn's
        (:class:`PrototypeClassifier` among them; the result is named after it), or a
        :class:`HeadClassifier`, which gets the head of the protocol; where the network
        is trained a PointClassifier, of which the settings are taken. None, with the network
        trained: learning rate 5e-4 (for ``trunk="published"`` 1e-3, for the head ten times
        that), batches of 32, scaling and shifting (Point-BERT's and Point-MAE's way; ReCon and
        ACT turn clouds about the vertical, which here would need to know which way is up).
    trunk : {"frozen", "published"}, default="frozen"
        Of the two heads. ``"frozen"``: the network stands still, so its features are computed
        once for all episodes. ``"published"``: as ReCon's authors do, only the head (and ReCon's
        class query) has a learning rate, but the network is in training mode: BatchNorm follows
        the support, stochastic depth is on, clouds are augmented. Takes as long as ``"full"``.
    max_epochs : int or None, default=None
        Of what is trained; None: 150, as published, or what `classifier` says.
    report : {None, "published"}, default=None
        ``"published"`` adds, in columns of their own, the epoch of each fold that is best on
        the fold's own queries, as published tables have it. Only for trained protocols.
    n_jobs : int or None, default=None
        Episodes at once, through joblib; each has one torch thread, and the numbers are the
        same whatever it is.
    progress : bool or callable, default=False
        Show a bar, or call ``progress(n_done, n_episodes)``.
    random_state : int, RandomState instance or None, default=None
        Of everything random that has no seed of its own: the episodes of a FewShotSplit, and
        in each episode what is trained.

    Returns
    -------
    result : FewShotResult

    References
    ----------
    Yu et al., "Point-BERT", CVPR 2022 (the episodes, fine-tuning); Qi et al., "Contrast with
    Reconstruct", ICML 2023 (the heads); Afham et al., "CrossPoint", CVPR 2022 (the SVM).

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointMAEPretrainer
    >>> from pointinteract.protocols import FewShotSplit, few_shot
    >>> X, y = make_shapes(60, n_points=32, return_X_y=True, random_state=0)
    >>> pre = PointMAEPretrainer(n_groups=4, group_size=8, max_epochs=0, random_state=0).fit(X)
    >>> folds = FewShotSplit(2, 2, n_query=1, n_folds=3)
    >>> result = few_shot(pre, X, y, split=folds, protocol="prototypes", random_state=0)
    >>> len(result.folds), 0 <= result.accuracy <= 1
    (3, True)
    """
    started = time.perf_counter()
    _check_options(protocol, trunk, report, max_epochs)
    X = as_clouds(X)
    y = check_labels("y", y, X)
    seed = draw_seed(random_state)
    episodes = _draw_episodes(split, X, y, groups, seed)
    trains_network = protocol == "full" or (protocol in _HEADS and trunk == "published")
    if protocol == "full" and is_cloud_classifier(estimator):
        if classifier is not None:
            raise ValueError("estimator is a classifier itself; give no other as classifier.")
        if isinstance(estimator, FrozenEstimator):
            raise ValueError(
                'protocol="full" fits the classifier in every episode, and a FrozenEstimator '
                "does not learn; give the classifier that is in it."
            )
        learner, inputs = unfitted_copy(estimator), X
        if max_epochs is not None:
            learner.set_params(max_epochs=max_epochs)
        source = f"a clone of {name_of(estimator)}, fitted anew in every episode"
    else:
        base, source = fitted_trunk(estimator, X, _rows_never_asked(episodes, groups, y), seed)
        if trains_network:
            learner = _network_learner(base, classifier, protocol, max_epochs, X)
            inputs = X
        else:
            extract, kind = make_extractor(base, X, pooled=protocol in _HEADS)
            learner, inputs = _feature_learner(classifier, protocol, max_epochs), extract(X)
            source = f"frozen features ({kind}) of {source}"
    tasks = (
        delayed(call_single_threaded)(
            _run_episode, True, learner, seed_of_run(seed, fold), report is not None,
            pick_clouds(inputs, support), y[support], pick_clouds(inputs, query), y[query],
        )
        for fold, (support, query) in enumerate(episodes)
    )  # fmt: skip
    rows: list[dict[str, Any]] = []
    with progress_hook(progress, len(episodes), "episodes") as advance:
        for row in Parallel(n_jobs=n_jobs, return_as="generator")(tasks):
            rows.append({"fold": len(rows), **row})
            advance(1)
    ways = {len(np.unique(y[support])) for support, _ in episodes}
    shots = {
        int(n) for support, _ in episodes for n in np.unique(y[support], return_counts=True)[1]
    }
    name = _name_protocol(protocol, trunk, None if trains_network else classifier)
    ours = classifier is None and protocol != "full"
    return FewShotResult(
        folds=pd.DataFrame(rows),
        protocol=name,
        n_way=min(ways) if len(ways) == 1 else None,
        n_shot=min(shots) if len(shots) == 1 else None,
        selection=_say_selection(learner, ours, source, len(episodes), groups, report),
        published=_find_figure(estimator, protocol, name, ways, shots),
        seconds=time.perf_counter() - started,
    )


def _check_options(
    protocol: str, trunk: str, report: str | None, max_epochs: int | None
) -> None:
    check_option("protocol", protocol, FEW_SHOT_PROTOCOLS)
    check_option("trunk", trunk, ("frozen", "published"))
    check_option("report", report, (None, "published"))
    if trunk == "published" and protocol not in _HEADS:
        raise ValueError(
            f'trunk="published" goes with "mlp_linear" and "mlp3", not with {protocol!r}.'
        )
    if protocol in ("svm", "prototypes"):
        given = {"report": report, "max_epochs": max_epochs}
        named = [name for name, value in given.items() if value is not None]
        if named:
            raise ValueError(f"protocol={protocol!r} has no epochs; leave {named[0]} out.")
    if max_epochs is not None:
        check_int("max_epochs", max_epochs)


def _draw_episodes(split: Any, X: Any, y: np.ndarray, groups: Any, seed: int) -> list[Episode]:
    if split is None:
        split = FewShotSplit(5, 10)
    if isinstance(split, FewShotSplit) and split.random_state is None:
        split = copy.copy(split)
        split.random_state = seed
    episodes = [
        (_as_rows(support), _as_rows(query))
        for support, query in check_cv(split, y, classifier=True).split(X, y, groups)
    ]
    if not episodes:
        raise ValueError("split gave no episode.")
    may_be = None if groups is None else rows_by_split(groups, len(y))
    for fold, (support, query) in enumerate(episodes):
        if not len(support) or not len(query):
            raise ValueError(
                f"episode {fold} of split has {len(support)} support and {len(query)} query "
                "clouds; both must be there."
            )
        both = np.intersect1d(support, query)
        if len(both):
            raise ValueError(
                f"episode {fold} of split has {len(both)} clouds, the first is {both[0]}, that "
                "are both support and query; what was learned cannot be asked."
            )
        if may_be is not None and not (
            np.isin(support, may_be[0]).all() and np.isin(query, may_be[1]).all()
        ):
            raise ValueError(
                f"episode {fold} of split has support or query clouds that groups does not allow "
                "there: such a split does not read groups; leave groups out, or draw by "
                "FewShotSplit."
            )
    return episodes


def _as_rows(index: Any) -> np.ndarray:
    """Row numbers, also from a mask, which would pick other clouds out of a list."""
    index = np.asarray(index)
    return np.flatnonzero(index) if index.dtype == bool else index


def _rows_never_asked(
    episodes: list[Episode], groups: Any, y: np.ndarray
) -> np.ndarray | None:
    """Clouds that an unfitted estimator may learn from: those that are no query anywhere."""
    queries = np.unique(np.concatenate([query for _, query in episodes]))
    if groups is not None:
        support, _ = rows_by_split(groups, len(y))
    else:
        support = np.unique(np.concatenate([support for support, _ in episodes]))
    return None if np.isin(queries, support).any() else support


def _network_learner(
    base: Any, classifier: Any, protocol: str, max_epochs: int | None, X: Any
) -> PointClassifier:
    name = _HEADS.get(protocol, "full")
    settings = _FULL if name == "full" else _PUBLISHED_TRUNK
    learner = network_classifier(base, classifier, X, protocol=name, **settings)
    if classifier is None:
        learner.set_params(max_epochs=max_epochs or _EPOCHS)
        learner.set_params(warmup_epochs=10 * learner.max_epochs / _EPOCHS)
    elif max_epochs is not None:
        learner.set_params(max_epochs=max_epochs)
    return learner


def _feature_learner(classifier: Any, protocol: str, max_epochs: int | None) -> Any:
    if classifier is not None:
        if isinstance(classifier, PointClassifier):
            raise TypeError(
                f"protocol={protocol!r} classifies rows of features: classifier must be one of "
                'scikit-learn or a HeadClassifier; a PointClassifier goes with "full".'
            )
        learner = clone(classifier)
        if isinstance(learner, HeadClassifier) and protocol in _HEADS:
            learner.set_params(head=_HEADS[protocol])
        return learner if max_epochs is None else learner.set_params(max_epochs=max_epochs)
    if protocol == "svm":
        return make_pipeline(StandardScaler(), SVC(kernel="linear", C=1.0))
    if protocol == "prototypes":
        return PrototypeClassifier()
    return HeadClassifier(_HEADS[protocol], max_epochs=max_epochs or _EPOCHS)


def _run_episode(
    learner: Any,
    seed: int,
    watched: bool,
    X: Any,
    y: np.ndarray,
    X_query: Any,
    y_query: np.ndarray,
) -> dict[str, Any]:
    """Learn from the support, be scored on the queries."""
    row, _ = score_run(learner, seed, watched, X, y, X_query, y_query)
    classes = tuple(np.unique(y).tolist())
    return {"classes": classes, "n_support": len(y), "n_query": len(y_query), **row}


def _find_figure(
    estimator: Any, protocol: str, name: str, ways: set[int], shots: set[int]
) -> PublishedFigure | None:
    """The figure of the paper for such episodes of ModelNet40, if there is one."""
    if len(ways) > 1 or len(shots) > 1 or not isinstance(estimator, BaseEstimator):
        return None
    if not name.startswith(_NAMES[protocol]):
        return None  # it was another classifier than that of the paper
    setting = f"{min(ways)}w{min(shots)}s"
    return find_published(estimator, "few_shot", setting=setting, trained=_NAMES[protocol])


def _name_protocol(protocol: str, trunk: str, classifier: Any) -> str:
    """The field's name; of a classifier that the user put on the features, its own."""
    is_head = isinstance(classifier, HeadClassifier) and protocol in _HEADS
    if classifier is not None and not is_head:
        return f"{name_of(classifier)} on frozen features"
    return _NAMES[protocol] + (", trunk in training mode" if trunk == "published" else "")


def _say_selection(
    learner: Any, ours: bool, source: str, n_episodes: int, groups: Any, report: str | None
) -> str:
    settings = "settings were fixed beforehand" if ours else "classifier saw the support alone"
    chosen = say_epochs(learner, "the support", "queries")
    chosen = chosen or f"The {settings}, and nothing was chosen on queries"
    apart = "" if groups is None else "support from the training split, queries from the test one"
    episodes = "one episode" if n_episodes == 1 else f"mean of {n_episodes} episodes"
    text = f"{chosen}; {episodes}{', ' + apart if apart else ''}; {source}."
    if report is not None:
        text += (
            " The columns best_test_epoch take in each episode the epoch that is best on its own "
            "queries, as published tables do, which flatters."
        )
    return text
