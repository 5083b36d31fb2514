"""The checks themselves: each takes an unfitted estimator and raises if it misbehaves."""

import contextlib
import io
import pickle
import tempfile
import unittest
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags

from pointinteract.testing._tools import (
    N_CLOUDS,
    N_POINTS,
    QUERIES,
    TOLERANCE,
    answers,
    assert_refused,
    assert_same,
    fit,
    fresh,
    make_clouds,
    ragged_clouds,
    skip_if_random,
)

# Construction and fitting ----------------------------------------------------------------------


def check_constructor_only_stores(estimator: BaseEstimator) -> None:
    parameters = estimator.get_params(deep=False)
    built = type(estimator)(**parameters)
    assert set(vars(built)) == set(parameters), (
        f"the constructor makes {sorted(set(vars(built)) ^ set(parameters))} besides parameters"
    )
    for name, value in parameters.items():
        assert getattr(built, name) is value, f"the constructor changes {name}"


def check_fit_returns_self(estimator: BaseEstimator) -> None:
    X, y = make_clouds()
    model = fresh(estimator)
    assert model.fit(X, y) is model, "fit does not return self"


def check_fit_keeps_parameters(estimator: BaseEstimator) -> None:
    model = fresh(estimator)
    before = model.get_params(deep=False)
    model.fit(*make_clouds())
    for name, value in model.get_params(deep=False).items():
        assert value is before[name], f"fit changes the parameter {name}"


def check_fitted_attributes_end_with_underscore(estimator: BaseEstimator) -> None:
    model = fit(estimator)
    made = set(vars(model)) - set(model.get_params(deep=False))
    public = {name for name in made if not name.startswith("_")}
    assert any(name.endswith("_") for name in public), "fit leaves no attribute ending in _"
    wrong = sorted(name for name in public if not name.endswith("_"))
    assert not wrong, f"fitted attributes {wrong} do not end with an underscore"


def check_n_features_in_is_channels(estimator: BaseEstimator) -> None:
    found = fit(estimator).n_features_in_
    assert found == 3, f"n_features_in_ is {found} for clouds of 3 channels"


def check_not_fitted_error(estimator: BaseEstimator) -> None:
    X, _ = make_clouds()
    for name in QUERIES:
        if not hasattr(estimator, name):
            continue
        try:
            getattr(fresh(estimator), name)(X)
        except NotFittedError:
            continue
        except Exception as error:
            raise AssertionError(f"{name} before fit raises {error!r}") from error
        raise AssertionError(f"{name} before fit raises no NotFittedError")


def check_fit_forgets_the_fit_before(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, y = make_clouds()
    model = fit(estimator, *make_clouds(seed=1)).fit(X, y)
    assert_same(answers(model, X), answers(fit(estimator), X), "after an earlier fit", 1e-6)


def check_equal_seed_gives_equal_bits(estimator: BaseEstimator) -> None:
    X, _ = make_clouds()
    assert_same(answers(fit(estimator), X), answers(fit(estimator), X), "equal seeds")


def check_clone_is_unfitted_and_refits(estimator: BaseEstimator) -> None:
    X, _ = make_clouds()
    model = fit(estimator)
    copy = clone(model)
    left = [name for name in vars(copy) if name.endswith("_") and not name.startswith("_")]
    assert not left, f"a clone of a fitted estimator keeps {left}"
    assert_same(answers(model, X), answers(fit(copy), X), "a clone fitted alike")


def check_global_state_is_left_alone(estimator: BaseEstimator) -> None:
    def look() -> dict[str, Any]:
        numpy_state: Any = np.random.get_state()
        return {
            "numpy's random state": (numpy_state[1].tobytes(), *numpy_state[2:]),
            "torch's random state": torch.random.get_rng_state().numpy().tobytes(),
            "torch's default dtype": torch.get_default_dtype(),
            "torch's gradient mode": torch.is_grad_enabled(),
        }

    before = look()
    answers(fit(estimator), make_clouds()[0])
    after = look()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"changes {', '.join(moved)}"


def check_silent(estimator: BaseEstimator) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        answers(fit(estimator), make_clouds()[0])
    assert not out.getvalue(), f"prints {out.getvalue()[:60]!r}"


# Input of all kinds ----------------------------------------------------------------------------


def check_input_is_not_changed(estimator: BaseEstimator) -> None:
    X, y = make_clouds()
    X_before, y_before = X.copy(), y.copy()
    answers(fit(estimator, X, y), X)
    assert np.array_equal(X, X_before), "X is changed in place"
    assert np.array_equal(y, y_before), "y is changed in place"


def check_read_only_memory(estimator: BaseEstimator) -> None:
    X, y = make_clouds()
    X.setflags(write=False)
    y.setflags(write=False)
    answers(fit(estimator, X, y), X)


def check_non_contiguous_memory(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, y = make_clouds()
    expected = answers(fit(estimator), X)
    padded = np.zeros((N_CLOUDS, 2 * N_POINTS, 5), dtype=X.dtype)
    padded[:, ::2, 1:4] = X
    for other in (np.asfortranarray(X), padded[:, ::2, 1:4]):
        found = answers(fit(estimator, other, y), other)
        assert_same(expected, found, "the same clouds laid out otherwise in memory", TOLERANCE)


def check_float32_and_float64_agree(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, y = make_clouds()
    wide = X.astype(np.float64)
    found = answers(fit(estimator, wide, y), wide)
    assert_same(answers(fit(estimator), X), found, "float32 and float64", TOLERANCE)


def check_lists_and_arrays_agree(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, y = make_clouds()
    expected = answers(fit(estimator), X)
    for other in (list(X), X.tolist()):
        found = answers(fit(estimator, other, list(y)), other)
        for name, value in expected.items():
            # Lists of clouds may come back as such.
            assert_same(list(value), list(found[name]), f"{name}: list and array", TOLERANCE)


def check_clouds_of_differing_sizes(estimator: BaseEstimator) -> None:
    if not getattr(estimator, "_accepts_ragged", True):
        raise unittest.SkipTest("takes clouds of one size only, says its attribute")
    skip_if_random(estimator)
    X, y = ragged_clouds()
    model = fit(estimator, X, y)
    together = answers(model, X)
    for number in (0, N_CLOUDS - 1):
        alone = answers(model, X[number : number + 1])
        for name, value in together.items():
            what = f"{name}: a cloud of {len(X[number])} points alone and among larger ones"
            assert_same(list(value)[number], list(alone[name])[0], what, TOLERANCE)


def check_point_order(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, _ = make_clouds()
    order = np.random.default_rng(0).permutation(N_POINTS)
    model = fit(estimator)
    tolerance = getattr(model, "_point_order_tolerance", TOLERANCE)
    before, after = answers(model, X), answers(model, X[:, order])
    for name, value in before.items():
        value, other = np.asarray(value), np.asarray(after[name])
        if value.ndim == 3 and value.shape[1] == N_POINTS:
            value = value[:, order]  # one answer per point goes with its point
        if np.isinf(tolerance):
            assert value.shape == other.shape, f"{name}: another shape for another point order"
        else:
            assert_same(value, other, f"{name}: points in another order", tolerance)


def check_batch_size_does_not_matter(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    if "batch_size" not in estimator.get_params(deep=False):
        raise unittest.SkipTest("has no batch_size")
    X, _ = make_clouds()
    model = fit(estimator)
    expected = answers(model, X)
    for size in (1, 5):
        found = answers(model.set_params(batch_size=size), X)
        assert_same(expected, found, f"answers in batches of {size}", TOLERANCE)
    assert_same(
        {name: value[:1] for name, value in expected.items()},
        answers(model, X[:1]),
        "a cloud alone and among others",
        TOLERANCE,
    )


def check_bad_values_are_refused(estimator: BaseEstimator) -> None:
    X, y = make_clouds()
    model = fit(estimator)
    for bad, words in ((np.nan, ["NaN", "finite"]), (np.inf, ["infin", "inf", "finite"])):
        broken = X.copy()
        broken[3, 5, 1] = bad
        assert_refused(fresh(estimator).fit, broken, words, y)
        for name in answers(model, X):
            assert_refused(getattr(model, name), broken, words)


def check_bad_shapes_are_refused(estimator: BaseEstimator) -> None:
    X, y = make_clouds()
    model = fit(estimator)
    broken = [X[:0], X[:, :0], X[:, :, 0], X[:, None], X[:, :, :2], X[0, 0, 0]]
    for bad in broken:
        words = [str(bad.shape), "0-dimensional", "scalar"] if bad.ndim == 0 else [str(bad.shape)]
        assert_refused(fresh(estimator).fit, bad, words, y[: len(bad)] if bad.ndim else y)
        for name in answers(model, X):
            assert_refused(getattr(model, name), bad, words)
    mixed = [X[0], X[1][:, :2], *X[2:]]
    assert_refused(fresh(estimator).fit, mixed, [str(mixed[1].shape)], y)
    for name in answers(model, X):
        assert_refused(getattr(model, name), mixed, [str(mixed[1].shape)])


def check_labels_of_another_length_are_refused(estimator: BaseEstimator) -> None:
    if not is_classifier(estimator):
        raise unittest.SkipTest("is no classifier")
    X, y = make_clouds()
    assert_refused(fresh(estimator).fit, X, [str(len(y) - 1)], y[:-1])


# Answers and leaving the process ---------------------------------------------------------------


def check_pickle_and_joblib_give_equal_bits(estimator: BaseEstimator) -> None:
    skip_if_random(estimator)
    X, _ = make_clouds()
    model = fit(estimator)
    expected = answers(model, X)
    assert_same(expected, answers(pickle.loads(pickle.dumps(model)), X), "after pickling")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "estimator.joblib"
        joblib.dump(model, path)
        assert_same(expected, answers(joblib.load(path), X), "after joblib")
    assert_same(expected, answers(model, X), "the original after being pickled")


def check_probabilities(estimator: BaseEstimator) -> None:
    if not hasattr(estimator, "predict_proba"):
        raise unittest.SkipTest("has no predict_proba")
    X, y = make_clouds()
    model = fit(estimator)
    chances = model.predict_proba(X)
    assert chances.shape == (N_CLOUDS, 3), f"predict_proba has the shape {chances.shape}"
    assert np.all((chances >= 0) & (chances <= 1)), "predict_proba leaves [0, 1]"
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5), "predict_proba does not sum to one"
    likeliest = model.classes_[chances.argmax(axis=1)]
    assert np.array_equal(likeliest, model.predict(X)), "predict is not the likeliest class"


def check_predicts_the_labels_it_was_given(estimator: BaseEstimator) -> None:
    if not is_classifier(estimator):
        raise unittest.SkipTest("is no classifier")
    X, y = make_clouds()
    model = fit(estimator)
    assert np.array_equal(model.classes_, np.unique(y)), f"classes_ is {model.classes_}"
    found = model.predict(X)
    assert found.shape == y.shape, f"predict has the shape {found.shape}"
    assert set(found) <= set(y), f"predict invents {sorted(set(found) - set(y))}"


def check_feature_names_and_pandas_output(estimator: BaseEstimator) -> None:
    if not (hasattr(estimator, "get_feature_names_out") and hasattr(estimator, "transform")):
        raise unittest.SkipTest("makes no table")
    X, _ = make_clouds()
    model = fit(estimator)
    features = model.transform(X)
    if np.ndim(features) != 2:
        raise unittest.SkipTest("makes no table")
    names = model.get_feature_names_out()
    assert len(names) == len(set(names)) == features.shape[1], (
        f"{len(set(names))} feature names for {features.shape[1]} features"
    )
    table = model.set_output(transform="pandas").transform(X)
    assert isinstance(table, pd.DataFrame), f"pandas output is a {type(table).__name__}"
    assert list(table.columns) == list(names), "pandas columns are not the feature names"
    if not get_tags(estimator).non_deterministic:
        assert_same(features, table, "pandas output and array")


CHECKS = [value for name, value in list(globals().items()) if name.startswith("check_")]
