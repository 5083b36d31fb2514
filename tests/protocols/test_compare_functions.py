"""Functions as protocols of a comparison: what is read off their results, and what they refuse."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, is_classifier

from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import (
    FewShotSplit,
    NotApplicableError,
    compare,
    few_shot,
    find_published,
    frozen_head,
    linear_probe,
)

FITS: list[int] = []
SPLIT = FewShotSplit(3, 5, n_query=3, n_folds=3)
MAE = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8)


class Majority(ClassifierMixin, BaseEstimator):
    """Answers the commonest class; no features."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.classes_, counts = np.unique(y, return_counts=True)
        self.answer_ = self.classes_[counts.argmax()]
        return self

    def predict(self, X):
        return np.repeat(self.answer_, len(X))


class Means(BaseEstimator):
    """Mean of each cloud; notes its fits."""

    def fit(self, X, y=None):
        FITS.append(len(X))
        self.fitted_ = True
        return self

    def transform(self, X):
        return np.mean(X, axis=1)


@pytest.fixture
def data():
    FITS.clear()
    generator = np.random.default_rng(0)
    y = np.tile(["flat", "ball", "rod"], 16)
    scale = {"flat": (1, 1, 0.4), "ball": (1, 1, 1), "rod": (0.5, 0.5, 1)}
    X = generator.normal(size=(48, 24, 3)) * np.array([scale[name] for name in y])[:, None]
    return X[:30].astype(np.float32), y[:30], X[30:].astype(np.float32), y[30:]


def episodes(estimator, X, y, X_test, y_test, random_state=None, **settings):
    """Few shots by a function of a user, with the split that the built-in protocol takes."""
    if is_classifier(estimator):
        raise NotApplicableError("it has no features")
    groups = np.repeat(["train", "test"], [len(y), len(y_test)])
    settings = {"split": FewShotSplit(5, 10, n_query=3, n_folds=2)} | settings
    return few_shot(estimator, np.concatenate([X, X_test]), np.concatenate([y, y_test]),
                    groups=groups, random_state=random_state, **settings)  # fmt: skip


def test_a_result_shows_its_figure_and_spread_as_the_built_in_protocol_does(data):
    settings = {"split": SPLIT, "protocol": "mlp_linear", "max_epochs": 2, "report": "published"}
    frame = compare(
        {"mae": MAE}, data, protocol=["few_shot", episodes], random_states=[0],
        params={"few_shot": settings, "episodes": settings},
    ).frame  # fmt: skip

    builtin, own = (frame[frame["protocol"] == name] for name in ("few_shot", "episodes"))
    assert own["variant"].tolist() == ["", "published: best epoch"]
    for column in ("mean", "within_sd"):
        np.testing.assert_array_equal(own[column], builtin[column])
    assert own["selection"].iloc[0] == builtin["selection"].iloc[0]
    assert own["within_sd"].notna().all()
    assert (own["published_label"] == "").all()  # none was published for three classes


@pytest.mark.parametrize("published", ["ModelNet40", "ModelNet10", None])
def test_a_figure_stands_beside_if_it_is_of_the_data_set_asked_for(data, published):
    settings = {"block": "recon", "n_groups": 4, "group_size": 8}
    given = {"mae": PointMAEPretrainer(max_epochs=1, **settings),
             "untrained": PointMAEPretrainer(max_epochs=0, **settings)}  # fmt: skip

    def figure(estimator, X, y, X_test, y_test, random_state=None):
        result = frozen_head(estimator, X, y, X_test, y_test, max_epochs=1, n_runs=2,
                             random_state=random_state)  # fmt: skip
        found = find_published(estimator, "few_shot", setting="5w10s", trained="MLP-LINEAR")
        return replace(result, published=found)

    frame = compare(given, data, protocol=figure, random_states=[0], published=published).frame
    frame = frame.set_index("method")

    shown = published == "ModelNet40"
    label = "Point-MAE (ReCon block), ModelNet40, few-shot, 5w10s, MLP-LINEAR, 91.1"
    assert frame.loc["mae", "published_label"] == (label if shown else "")
    assert frame.loc["mae", "published"] == pytest.approx(0.911 if shown else np.nan, nan_ok=True)
    assert frame.loc["untrained", "published_label"] == ""
    assert frame["within_sd"].notna().all()  # of the two runs


def test_a_protocol_that_does_not_apply_is_no_failure_and_not_asked_again(data, tmp_path):
    def of_classifiers(estimator, X, y, X_test, y_test, random_state=None):
        if not is_classifier(estimator):
            raise NotApplicableError("it names no class")
        return 1.0

    settings = {"protocol": of_classifiers, "random_states": [0, 1], "store": tmp_path}
    report = compare({"means": Means(), "majority": Majority()}, data, **settings)

    frame = report.frame.set_index("method")
    assert frame.loc["means", "error"] == "not applicable: it names no class"
    assert (frame.loc["means", "n"], frame.loc["majority", "n"]) == (0, 2)
    assert report.pivot()["of_classifiers"].tolist() == ["–", "100.0 ± 0.0"]
    assert FITS == [30, 30]
    compare({"means": Means()}, data, **settings)
    assert FITS == [30, 30]


def test_a_probe_inside_a_function_does_not_apply_to_classifiers(data):
    def probe(estimator, X, y, X_test, y_test, random_state=None):
        return linear_probe(estimator, X, y, X_test, y_test, C=1.0, random_state=random_state)

    report = compare([Means(), Majority()], data, protocol=probe, random_states=[0])

    assert report.frame["n"].tolist() == [1, 0]
    assert report.frame["error"][1].startswith("not applicable: pretrainer must have a method")


@pytest.mark.parametrize("answer", [None, "0.5", float("nan"), float("inf"), np.ones(3)])
def test_what_is_no_accuracy_is_a_failure_of_that_run(data, tmp_path, answer):
    def odd(estimator, X, y, X_test, y_test, random_state=None):
        return answer

    report = compare(Means(), data, protocol=odd, random_states=[0], store=tmp_path)

    assert report.frame["error"][0].startswith("ValueError: odd must return an accuracy")
    assert report.pivot()["odd"].tolist() == ["failed"]


def test_a_number_of_numpy_is_an_accuracy_without_spread(data):
    def share(estimator, X, y, X_test, y_test, random_state=None):
        return np.float32(0.25)

    frame = compare(Means(), data, protocol=share, random_states=[0]).frame

    assert frame["mean"][0] == 0.25
    assert frame["within_sd"].isna().all()


def test_names_of_functions_must_differ_from_each_other_and_from_ours(data):
    twice = [partial(frozen_head, head=head) for head in ("linear", "mlp3")]

    with pytest.raises(ValueError, match="write one for each setting"):
        compare(Means(), data, protocol=twice)
    with pytest.raises(ValueError, match="give that as a string"):
        compare(Means(), data, protocol=linear_probe)


def test_labels_with_nothing_in_common_are_an_error_and_no_score_of_zero(data):
    X, y, X_test, _ = data

    report = compare(Majority(), (X, y, X_test, np.arange(len(X_test))), protocol="fine_tune",
                     random_states=[0])  # fmt: skip

    assert "y_test has no class of y: it holds [0, 1, 2" in report.frame["error"][0]
