"""The battery is itself put to the test: a sound estimator passes, every break is caught."""

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from pointinteract.testing import (
    check_cloud_estimator,
    cloud_checks,
    parametrize_with_cloud_checks,
)


def read_clouds(X):
    """The validation of a sound estimator: a list of float64 clouds."""
    if not isinstance(X, list | np.ndarray):
        raise ValueError(f"expected clouds (n_clouds, n_points, 3), got the scalar {X!r}")
    clouds = [np.asarray(cloud, dtype=np.float64) for cloud in X]
    shapes = [cloud.shape for cloud in clouds]
    if not clouds or any(len(s) != 2 or s[0] == 0 or s[1] != 3 for s in shapes):
        came = X.shape if isinstance(X, np.ndarray) else shapes
        raise ValueError(f"expected clouds (n_clouds, n_points, 3), got {came}")
    if not all(np.isfinite(cloud).all() for cloud in clouds):
        raise ValueError("the clouds hold NaN or infinity")
    return clouds


class Sound(ClassifierMixin, TransformerMixin, BaseEstimator):
    """Nearest centroid of a few moments, seen through a random projection."""

    def __init__(self, batch_size=4, random_state=None):
        self.batch_size = batch_size
        self.random_state = random_state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        return tags

    def describe(self, clouds):
        return np.array([np.r_[cloud.std(axis=0), np.abs(cloud).max(axis=0)] for cloud in clouds])

    def fit(self, X, y):
        check_classification_targets(y)
        clouds, y = read_clouds(X), np.asarray(y)
        if len(clouds) != len(y):
            raise ValueError(f"{len(clouds)} clouds, but {len(y)} labels")
        generator = check_random_state(self.random_state)
        self.n_features_in_ = 3
        self.classes_ = np.unique(y)
        self.projection_ = generator.normal(size=(6, 5))
        features = self.describe(clouds) @ self.projection_
        self.centroids_ = np.array([features[y == c].mean(axis=0) for c in self.classes_])
        return self

    def transform(self, X):
        check_is_fitted(self)
        return self.describe(read_clouds(X)) @ self.projection_

    def predict_proba(self, X):
        features = np.asarray(self.transform(X))
        gaps = np.linalg.norm(features[:, None] - self.centroids_, axis=2)
        weights = np.exp(-gaps)
        return weights / weights.sum(axis=1, keepdims=True)

    def predict(self, X):
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def get_feature_names_out(self, input_features=None):
        return np.array([f"sound{number}" for number in range(5)], dtype=object)


class ChangesParameterInConstructor(Sound):
    def __init__(self, batch_size=4, random_state=None):
        self.batch_size = [batch_size]
        self.random_state = random_state


class MakesMoreInConstructor(Sound):
    def __init__(self, batch_size=4, random_state=None):
        super().__init__(batch_size, random_state)
        self.module = object()


class FitReturnsNone(Sound):
    def fit(self, X, y):
        super().fit(X, y)


class FitChangesParameter(Sound):
    def fit(self, X, y):
        super().fit(X, y)
        self.batch_size = 8
        return self


class AttributeWithoutUnderscore(Sound):
    def fit(self, X, y):
        self.loss = 0.5
        return super().fit(X, y)


class CountsPointsAsFeatures(Sound):
    def fit(self, X, y):
        super().fit(X, y)
        self.n_features_in_ = len(X[0])
        return self


class AnswersUnfitted(Sound):
    def transform(self, X):
        return super().transform(X) if hasattr(self, "classes_") else np.zeros((len(X), 5))

    def predict_proba(self, X):
        return super().predict_proba(X) if hasattr(self, "classes_") else np.ones((len(X), 1))


class RemembersEarlierFit(Sound):
    def fit(self, X, y):
        before = getattr(self, "centroids_", 0)
        super().fit(X, y)
        self.centroids_ = self.centroids_ + before
        return self


class IgnoresSeed(Sound):
    def fit(self, X, y):
        super().fit(X, y)
        self.projection_ = np.random.default_rng().normal(size=(6, 5))
        return self


class KeepsStateInClones(Sound):
    def __sklearn_clone__(self):
        copy = type(self)(**self.get_params())
        vars(copy).update(vars(self))
        return copy


class SeedsGlobally(Sound):
    def fit(self, X, y):
        torch.manual_seed(0)
        torch.rand(3)
        return super().fit(X, y)


class MovesGlobalNumpy(Sound):
    def transform(self, X):
        np.random.rand()
        return super().transform(X)


class Prints(Sound):
    def fit(self, X, y):
        print("epoch 1")
        return super().fit(X, y)


class CentersInPlace(Sound):
    def transform(self, X):
        if isinstance(X, np.ndarray) and X.ndim == 3 and X.flags.writeable:
            X -= 1e-3
        return super().transform(X)


class NeedsWritableMemory(Sound):
    def fit(self, X, y):
        if isinstance(X, np.ndarray) and X.ndim == 3:
            X += 0
        return super().fit(X, y)


class TrustsMemoryLayout(Sound):
    def transform(self, X):
        if isinstance(X, np.ndarray) and X.ndim == 3:
            raw = np.ravel(X, order="K")
            X = raw.reshape(X.shape)
        return super().transform(X)


class RoundsFloat32(Sound):
    def transform(self, X):
        scale = 1.1 if getattr(X, "dtype", None) == np.float64 else 1.0
        return super().transform(X) * scale


class TreatsListsOtherwise(Sound):
    def transform(self, X):
        return super().transform(X) * (1.1 if isinstance(X, list) else 1.0)


class PadsWithZeros(Sound):
    def describe(self, clouds):
        size = max(len(cloud) for cloud in clouds)
        padded = [np.pad(cloud, ((0, size - len(cloud)), (0, 0))) for cloud in clouds]
        return super().describe(padded)


class LooksAtFirstPoint(Sound):
    def describe(self, clouds):
        return super().describe(clouds) + np.array([cloud[0, 0] for cloud in clouds])[:, None]


class NormalizesOverBatch(Sound):
    def transform(self, X):
        features = super().transform(X)
        parts = [
            features[start : start + self.batch_size]
            for start in range(0, len(features), self.batch_size)
        ]
        return np.concatenate([part - part.mean(axis=0) for part in parts])


class TakesNaN(Sound):
    def fit(self, X, y):
        return super().fit(np.nan_to_num(X) if isinstance(X, np.ndarray) else X, y)


class TakesInfinityAtPrediction(Sound):
    def transform(self, X):
        return super().transform(np.nan_to_num(X) if isinstance(X, np.ndarray) else X)


class TakesTwoCoordinates(Sound):
    def fit(self, X, y):
        if isinstance(X, np.ndarray) and X.ndim == 3 and X.shape[2] == 2:
            X = np.pad(X, ((0, 0), (0, 0), (0, 1)))
        return super().fit(X, y)


class RefusesWithoutShape(Sound):
    def fit(self, X, y):
        try:
            return super().fit(X, y)
        except ValueError as error:
            raise ValueError("bad input" if "expected" in str(error) else str(error)) from error


class IgnoresLabelLength(Sound):
    def fit(self, X, y):
        if len(y) < len(X) and isinstance(X, np.ndarray) and X.ndim == 3:
            y = np.r_[y, y[: len(X) - len(y)]]
        return super().fit(X, y)


class LosesStateInPickle(Sound):
    def __getstate__(self):
        state = super().__getstate__().copy()
        state["projection_"] = np.round(state["projection_"], 3)
        return state


class ProbabilitiesDoNotSum(Sound):
    def predict_proba(self, X):
        return super().predict_proba(X) * 0.9


class PredictsAgainstProbability(Sound):
    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmin(axis=1)]


class PredictsNumbers(Sound):
    def fit(self, X, y):
        super().fit(X, y)
        self.classes_ = np.arange(len(self.classes_))
        return self


class TooFewNames(Sound):
    def get_feature_names_out(self, input_features=None):
        return super().get_feature_names_out()[:4]


BREAKS = {
    ChangesParameterInConstructor: "check_constructor_only_stores",
    MakesMoreInConstructor: "check_constructor_only_stores",
    FitReturnsNone: "check_fit_returns_self",
    FitChangesParameter: "check_fit_keeps_parameters",
    AttributeWithoutUnderscore: "check_fitted_attributes_end_with_underscore",
    CountsPointsAsFeatures: "check_n_features_in_is_channels",
    AnswersUnfitted: "check_not_fitted_error",
    RemembersEarlierFit: "check_fit_forgets_the_fit_before",
    IgnoresSeed: "check_equal_seed_gives_equal_bits",
    KeepsStateInClones: "check_clone_is_unfitted_and_refits",
    SeedsGlobally: "check_global_state_is_left_alone",
    MovesGlobalNumpy: "check_global_state_is_left_alone",
    Prints: "check_silent",
    CentersInPlace: "check_input_is_not_changed",
    NeedsWritableMemory: "check_read_only_memory",
    TrustsMemoryLayout: "check_non_contiguous_memory",
    RoundsFloat32: "check_float32_and_float64_agree",
    TreatsListsOtherwise: "check_lists_and_arrays_agree",
    PadsWithZeros: "check_clouds_of_differing_sizes",
    LooksAtFirstPoint: "check_point_order",
    NormalizesOverBatch: "check_batch_size_does_not_matter",
    TakesNaN: "check_bad_values_are_refused",
    TakesInfinityAtPrediction: "check_bad_values_are_refused",
    TakesTwoCoordinates: "check_bad_shapes_are_refused",
    RefusesWithoutShape: "check_bad_shapes_are_refused",
    IgnoresLabelLength: "check_labels_of_another_length_are_refused",
    LosesStateInPickle: "check_pickle_and_joblib_give_equal_bits",
    ProbabilitiesDoNotSum: "check_probabilities",
    PredictsAgainstProbability: "check_probabilities",
    PredictsNumbers: "check_predicts_the_labels_it_was_given",
    TooFewNames: "check_feature_names_and_pandas_output",
}


@parametrize_with_cloud_checks([Sound()])
def test_sound_estimator_passes(estimator, check):
    check(estimator)


def test_sound_estimator_passes_all_at_once():
    results = check_cloud_estimator(Sound())

    assert len(results) == len(cloud_checks()) >= 25
    assert set(results["status"]) == {"passed"}


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_break_is_caught(broken):
    check = next(check for check in cloud_checks() if check.__name__ == BREAKS[broken])

    with pytest.raises((AssertionError, ValueError)):
        check(broken())


def test_every_check_has_a_break_that_it_catches():
    assert {check.__name__ for check in cloud_checks()} == set(BREAKS.values())


def test_first_failure_is_raised_with_estimator_and_check():
    with pytest.raises(AssertionError, match="Prints: check_silent: .*epoch 1"):
        check_cloud_estimator(Prints())


def test_failures_are_recorded_on_request():
    results = check_cloud_estimator(Prints(), on_fail="record").set_index("check")

    assert results.loc["check_silent", "status"] == "failed"
    assert (results["status"] == "failed").sum() == 1


def test_expected_failure_is_allowed():
    results = check_cloud_estimator(Prints(), expected_failed_checks={"check_silent": "it talks"})

    status = results.set_index("check").loc["check_silent"]
    assert tuple(status) == ("xfail", "it talks")


def test_unexpected_pass_is_a_failure():
    with pytest.raises(AssertionError, match="passed, but was expected to fail: it talks"):
        check_cloud_estimator(Sound(), expected_failed_checks={"check_silent": "it talks"})


def test_unknown_expected_failure_is_refused():
    with pytest.raises(ValueError, match="check_nothing"):
        check_cloud_estimator(Sound(), expected_failed_checks={"check_nothing": "a typing error"})


def test_point_order_may_be_promised_less():
    estimator = LooksAtFirstPoint()
    estimator_class = type(
        "PromisesLess", (LooksAtFirstPoint,), {"_point_order_tolerance": np.inf}
    )
    check = next(check for check in cloud_checks() if check.__name__ == "check_point_order")

    check(estimator_class())

    with pytest.raises(AssertionError, match="another order"):
        check(estimator)
