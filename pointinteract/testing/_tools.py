"""What the checks share: clouds to feed, questions to ask, answers to compare."""

import unittest
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import set_random_state

# The number of points is unlike any number of features that an estimator is likely to give.
N_CLOUDS, N_POINTS = 12, 37
QUERIES = ("predict", "predict_proba", "decision_function", "transform")
# Two routes to one number differ by the order of float32 sums, not by more.
TOLERANCE = 1e-4


def make_clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Discs, rods and balls, float32 (12, 37, 3), and their names, (12,)."""
    generator = np.random.default_rng(seed)
    kinds = np.arange(N_CLOUDS) % 3
    sizes = np.array([[1, 1, 0.1], [0.1, 0.1, 1], [1, 1, 1]])[kinds]
    points = generator.normal(size=(N_CLOUDS, N_POINTS, 3)) * sizes[:, None, :]
    return points.astype(np.float32), np.array(["disc", "rod", "ball"])[kinds]


def ragged_clouds() -> tuple[list[np.ndarray], np.ndarray]:
    """The same with from 26 to 37 points."""
    X, y = make_clouds()
    return [cloud[: N_POINTS - number] for number, cloud in enumerate(X)], y


def fresh(estimator: BaseEstimator) -> Any:
    """A clone whose random numbers are fixed."""
    estimator = clone(estimator)
    set_random_state(estimator, 0)
    return estimator


def fit(estimator: BaseEstimator, X: Any = None, y: Any = None) -> Any:
    """Fit a fresh clone, with labels where it needs them."""
    if X is None:
        X, y = make_clouds()
    elif y is None:
        y = make_clouds()[1][: len(X)]
    needs_labels = is_classifier(estimator) or get_tags(estimator).target_tags.required
    return fresh(estimator).fit(X, y) if needs_labels else fresh(estimator).fit(X)


def answers(estimator: Any, X: Any) -> dict[str, Any]:
    """What every query method gives; labels only where nothing continuous stands behind them."""
    found = {name: getattr(estimator, name)(X) for name in QUERIES if hasattr(estimator, name)}
    if len(found) > 1:
        found.pop("predict", None)
    if not found:
        raise unittest.SkipTest("answers no query")
    return found


def assert_same(left: Any, right: Any, what: str, tolerance: float = 0.0) -> None:
    """Compare two answers, which may be arrays, tables or lists of arrays."""
    if isinstance(left, dict):
        for name in left:
            assert_same(left[name], right[name], f"{name}: {what}", tolerance)
        return
    if isinstance(left, list):
        assert len(left) == len(right), f"{what}: {len(left)} answers and {len(right)}"
        for one, other in zip(left, right, strict=True):
            assert_same(one, other, what, tolerance)
        return
    left, right = np.asarray(left), np.asarray(right)
    assert left.shape == right.shape, f"{what}: shapes {left.shape} and {right.shape}"
    if left.dtype.kind not in "fc" or tolerance == 0:
        assert np.array_equal(left, right), (
            f"{what}: {np.mean(left != right):.0%} of values differ"
        )
        return
    gap = float(np.max(np.abs(left - right), initial=0))
    scale = max(1.0, float(np.max(np.abs(left), initial=0)))
    assert gap <= tolerance * scale, f"{what}: values differ by up to {gap:.2g}"


def skip_if_random(estimator: Any) -> None:
    if get_tags(estimator).non_deterministic:
        raise unittest.SkipTest("answers at random, says its tag")


def assert_refused(method: Callable[..., Any], X: Any, words: list[str], *rest: Any) -> None:
    """Assert a ValueError whose message holds one of the words."""
    what = f"{np.asarray(X).shape}" if not isinstance(X, list) else f"a list of {len(X)}"
    try:
        method(X, *rest)
    except ValueError as error:
        message = str(error)
        assert any(word in message for word in words), (
            f"{method.__name__} refuses {what} without saying any of {words}: {message!r}"
        )
        return
    raise AssertionError(f"{method.__name__} takes {what} without a ValueError")
