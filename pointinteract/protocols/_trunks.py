"""What protocols do with a pre-trained network: read features off it, or train it further."""

import time
import warnings
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from torch import Tensor, nn

from pointinteract.classification import PointClassifier
from pointinteract.classification._build import pretrained_encoder
from pointinteract.classification._votes import pick_clouds
from pointinteract.exceptions import CheckpointError
from pointinteract.protocols._heads import HeadClassifier
from pointinteract.protocols._readout import is_fitted, keep_start, name_of, seeded

__all__ = [
    "WatchedClassifier",
    "as_clouds",
    "best_epoch",
    "fit_watched",
    "fitted_trunk",
    "is_cloud_classifier",
    "make_extractor",
    "network_classifier",
    "say_epochs",
    "score_run",
    "seed_of_run",
    "unfitted_copy",
    "with_seed",
]

Extractor = Callable[[Any], np.ndarray]
# Settings that a classifier takes over from the pretrainer whose network it goes on with.
_INPUT_SETTINGS = ("n_points", "normalize", "device")


def as_clouds(X: Any) -> Any:
    """Clouds in a form that rows can be taken from."""
    return X if isinstance(X, (list, np.ndarray)) else np.asarray(X)


def is_cloud_classifier(estimator: Any) -> bool:
    """Whether an estimator names classes by itself, rather than give features."""
    if not hasattr(estimator, "predict"):
        return False
    try:
        return is_classifier(estimator)
    except AttributeError:  # of those that are no scikit-learn estimators and have no tags
        return not hasattr(estimator, "transform")


def fitted_trunk(estimator: Any, X: Any, rows: np.ndarray | None, seed: int) -> tuple[Any, str]:
    """Return something fitted that features can be read off, and say in words what it is.

    What is fitted stays as it is. A clone of what is not learns, without labels, from the
    clouds `rows`; None where there are no clouds that it might learn from.
    """
    if isinstance(estimator, (str, PathLike)):
        return estimator, f"the weights in {estimator}"
    if isinstance(estimator, nn.Module):
        return estimator, f"the {type(estimator).__name__} given"
    if not hasattr(estimator, "transform"):
        raise TypeError(
            "what is frozen or fine-tuned must be a pretrainer or something else with transform, "
            f"a module, or a file of weights; got {type(estimator).__name__}."
        )
    name = name_of(estimator)
    if is_fitted(estimator):
        return estimator, f"{name} as it came, fitted"
    if is_cloud_classifier(estimator):
        raise NotFittedError(
            f"{name} is not fitted, and a classifier learns from labels, which are not shown to "
            "what is frozen: fit it first on other clouds, or give a pretrainer (or fine-tune it: "
            'few_shot with protocol="full").'
        )
    if rows is None:
        raise ValueError(
            f"{name} is not fitted, and every cloud is a query of some episode: fitting it here "
            "would show it the queries. Fit it first on other clouds, or say with groups which "
            "clouds may be support."
        )
    fitted = with_seed(clone(estimator), seed).fit(pick_clouds(as_clouds(X), rows))
    return fitted, f"a clone of {name} fitted without labels on {len(rows)} clouds, no queries"


def make_extractor(trunk: Any, X: Any, *, pooled: bool) -> tuple[Extractor, str]:
    """Return a function from clouds to rows of features, and say in words what they are.

    Pooled features are those that the head of the network reads; the others are what
    ``transform`` answers, the feature of a method's linear probes.
    """
    if not hasattr(trunk, "transform") or (pooled and _gives_network(trunk)):
        try:
            network = pretrained_encoder(_inner(trunk), X)
        except CheckpointError:
            if not hasattr(trunk, "transform"):
                raise
        else:
            return _pooled(trunk, network, X).transform, "what the network's head reads"
    return lambda clouds: np.asarray(trunk.transform(clouds)), "what transform answers"


def _inner(trunk: Any) -> Any:
    return getattr(trunk, "estimator", trunk)  # out of a FrozenEstimator


def _holds_network(trunk: Any) -> bool:
    return isinstance(getattr(_inner(trunk), "module_", None), nn.Module)


def _gives_network(trunk: Any) -> bool:
    """Whether pooled features are to be read off the network, and not off ``transform``."""
    return _holds_network(trunk) and not is_cloud_classifier(_inner(trunk))


def _pooled(trunk: Any, network: Any, X: Any) -> PointClassifier:
    """A classifier that holds the network as it is, for its ``transform``."""
    holder = PointClassifier(pretrained=network, **_input_settings(trunk))
    clouds = holder._validate_clouds(X, reset=True)
    holder.classes_ = np.arange(2)  # of a head that is not asked
    holder._start(clouds)
    holder.n_points_fit_ = getattr(_inner(trunk), "n_points_fit_", holder.n_points_fit_)
    return holder


def _input_settings(trunk: Any) -> dict[str, Any]:
    inner = _inner(trunk)
    return {name: getattr(inner, name) for name in _INPUT_SETTINGS if hasattr(inner, name)}


def network_classifier(
    trunk: Any, template: PointClassifier | None, X: Any, *, protocol: str, **settings: Any
) -> PointClassifier:
    """A classifier that goes on with the network of `trunk`.

    Settings are those of `template`; without one those given, and what clouds are brought to
    as `trunk` has it.
    """
    if not (_holds_network(trunk) or isinstance(trunk, (str, PathLike, nn.Module))):
        raise TypeError(
            f"protocol={protocol!r} trains a network, and {type(trunk).__name__} holds none; "
            "give a pretrainer, a PointClassifier, a module, or weights."
        )
    network = pretrained_encoder(_inner(trunk), X)
    if template is None:
        if getattr(network, "official_system", None) == "recon" and protocol == "full":
            settings["head_factor"] = 10.0  # the published rule of ReCon alone
        classifier = PointClassifier(**settings, **_input_settings(trunk))
    else:
        if not isinstance(template, PointClassifier):
            raise TypeError(
                f"protocol={protocol!r} trains a network: classifier must be a PointClassifier, "
                f"whose settings are taken; got {type(template).__name__}."
            )
        classifier = clone(template)
    # The network, not its pretrainer: jobs need not carry teachers about.
    return classifier.set_params(model=None, pretrained=network, protocol=protocol)


def with_seed(estimator: Any, seed: int) -> Any:
    """Give a clone a seed, where the user left it open.

    Of an estimator with a seed of its own only that: a parameter of it may hold a fitted
    pretrainer, which is not cloned and must not be touched.
    """
    if not hasattr(estimator, "random_state"):
        return seeded(estimator, seed)
    return estimator if estimator.random_state is not None else (
        estimator.set_params(random_state=seed)
    )


def unfitted_copy(learner: Any) -> Any:
    """A copy that has learned nothing.

    What a PointClassifier starts from is not copied and stays fitted: cloned, it would be
    pre-trained anew on the few clouds that it is given.
    """
    return keep_start(clone(learner), learner)


def seed_of_run(seed: int, number: int) -> int:
    """A seed for one of several runs, from nothing but that of all and its number."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


def score_run(
    learner: Any, seed: int, watched: bool, X: Any, y: np.ndarray, X_test: Any, y_test: np.ndarray
) -> tuple[dict[str, Any], Any]:
    """Train a copy and score it: ``accuracy`` and ``seconds``, and the copy.

    With `watched` also the epoch that is best on the test clouds.
    """
    started = time.perf_counter()
    own = with_seed(unfitted_copy(learner), seed)
    with warnings.catch_warnings():
        # Few labels of many classes are what few shots are, and no sign of a regression.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        own = fit_watched(own, X, y, X_test, y_test) if watched else own.fit(X, y)
    row: dict[str, Any] = {"accuracy": float(np.mean(own.predict(X_test) == y_test))}
    if watched:
        row |= best_epoch(own, row["accuracy"])
    return row | {"seconds": time.perf_counter() - started}, own


def say_epochs(learner: Any, training: str, test: str) -> str | None:
    """In words: which epoch is scored, and what chose it; None of what has no epochs."""
    epochs = getattr(learner, "max_epochs", None)
    if isinstance(learner, PointClassifier):
        epochs = learner._setting("max_epochs")  # a recipe may say it
    if epochs is None:
        return None
    if getattr(learner, "early_stopping", False):
        return f"The epoch was chosen on a part of {training} held back, not on {test}"
    return f"The last of {epochs} epochs was scored, and nothing was chosen on {test}"


class WatchedClassifier(PointClassifier):
    """A classifier that writes down its accuracy on the test clouds after every epoch.

    The training does not depend on it.
    """

    def watch(self, X: Any, y: np.ndarray) -> "WatchedClassifier":
        """Say on which clouds; they are prepared once, at the first look."""
        self._watched: Any = (X, np.asarray(y))
        self._prepared_test: Any = None
        return self

    def _watch(self, stored: Tensor, targets: Any) -> dict[str, float]:
        X, y = self._watched
        if self._prepared_test is None:
            self._prepared_test = self.prepare_clouds(X)
        logits = self._infer(self._prepared_test, self.module_)
        right = self.classes_[logits.argmax(axis=1)] == y
        return super()._watch(stored, targets) | {"test_accuracy": float(right.mean())}


def fit_watched(classifier: Any, X: Any, y: np.ndarray, X_test: Any, y_test: np.ndarray) -> Any:
    """Fit, with the accuracy on the test clouds after every epoch in ``history_``."""
    if isinstance(classifier, HeadClassifier):
        return classifier._fit(X, y, lambda head: float((head.predict(X_test) == y_test).mean()))
    if isinstance(classifier, PointClassifier):
        parameters = classifier.get_params(deep=False)
        watched = WatchedClassifier(**parameters).watch(X_test, y_test).fit(X, y)
        # One like that given, without the test clouds, which would be saved with it.
        plain = type(classifier)(**parameters)
        left_out = ("_watched", "_prepared_test")
        kept = {name: it for name, it in watched.__dict__.items() if name not in left_out}
        plain.__dict__.update(kept)
        return plain
    raise TypeError(
        'report="published" looks at the test clouds after every epoch, which needs a '
        f"PointClassifier or a head; got {type(classifier).__name__}."
    )


def best_epoch(fitted: Any, at_last: float) -> dict[str, float]:
    """The epoch with the best accuracy on the test clouds (the first of equals), and that.

    Epochs count as they were. The last also counts as it is after `fit`, which measures the
    statistics of BatchNorm anew: accuracy `at_last`.
    """
    accuracies = fitted.history_["test_accuracy"].to_numpy(copy=True)
    accuracies[-1] = max(accuracies[-1], at_last)
    best = int(accuracies.argmax())
    return {"best_test_epoch": best + 1, "best_test_epoch_accuracy": float(accuracies[best])}
