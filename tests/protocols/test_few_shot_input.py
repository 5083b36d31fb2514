"""few_shot: which splits it takes, and what it refuses."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import FunctionTransformer

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import (
    FewShotEpisode,
    FewShotEpisodes,
    FewShotSplit,
    HeadClassifier,
    PrototypeClassifier,
    few_shot,
)

FOLDS = FewShotSplit(2, 3, 4, 3, random_state=0)
# Extents along the axes: which kind a cloud is of shows in them.
EXTENTS = FunctionTransformer(lambda X: np.stack([np.std(cloud, axis=0) for cloud in X]))


@pytest.fixture(scope="module")
def kinds():
    """60 clouds of 24 points: flat, ball-shaped and long; (X, y)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 24, 3))
    X[::3, :, 2] *= 0.05
    X[1::3, :, 1:] *= 0.05
    return X.astype(np.float32), np.array(["flat", "long", "ball"] * 20)


@pytest.fixture(scope="module")
def pretrained(kinds):
    """A small network with random weights."""
    return PointMAEPretrainer(
        "nano", n_groups=4, group_size=8, max_epochs=0, random_state=0
    ).fit(kinds[0])


def test_episodes_that_groups_forbid_are_refused(kinds):
    X, y = kinds
    episode = FewShotEpisode(2, 1, 0, ("flat", "long"), np.array([0, 1]), np.array([33, 34]))
    given = {"split": FewShotEpisodes([episode])}

    allowed = few_shot(EXTENTS, X, y, groups=np.repeat(["train", "test"], 30), **given)
    assert "support from the training split" in allowed.selection
    with pytest.raises(ValueError, match="groups does not allow"):
        few_shot(EXTENTS, X, y, groups=np.repeat(["test", "train"], 30), **given)


def test_whatever_scikit_learn_takes_for_cv_draws_the_same_clouds(kinds):
    X, y = kinds
    order = np.argsort(y, kind="stable")  # folds that are not stratified would miss classes
    halves = np.arange(60) < 30
    by_mask, by_rows = (
        few_shot(EXTENTS, list(X), y, split=[split], protocol="svm").folds
        for split in ((halves, ~halves), (np.arange(30), np.arange(30, 60)))
    )

    assert few_shot(EXTENTS, X[order], y[order], split=3).accuracy > 0.9
    assert by_mask.drop(columns="seconds").equals(by_rows.drop(columns="seconds"))


@pytest.mark.parametrize("protocol", ["svm", "prototypes", "mlp_linear"])
def test_one_shot_is_not_taken_for_a_regression(kinds, protocol):
    epochs = 1 if protocol == "mlp_linear" else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = few_shot(EXTENTS, kinds[0], np.arange(60) // 2, split=FewShotSplit(25, 1, 1, 1),
                          protocol=protocol, max_epochs=epochs, random_state=0)  # fmt: skip

    assert result.n_shot == 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"protocol": "knn"}, ValueError, "'svm', 'prototypes'"),
        ({"report": "best"}, ValueError, "report must be one of"),
        ({"report": "published"}, ValueError, "protocol='svm' has no epochs; leave report out"),
        ({"max_epochs": 3}, ValueError, "leave max_epochs out"),
        ({"trunk": "published"}, ValueError, "goes with \"mlp_linear\""),
        ({"protocol": "full"}, TypeError, "FunctionTransformer holds none"),
        ({"estimator": 3}, TypeError, "got int"),
        ({"y": [1, 2]}, ValueError, "one label for each of the 60 clouds"),
        ({"split": []}, ValueError, "gave no episode"),
        ({"split": [([0, 1], [1, 2])]}, ValueError, "1 clouds, the first is 1, that are both"),
        ({"split": [([0, 1], [])]}, ValueError, "2 support and 0 query"),
        ({"estimator": PointClassifier()}, NotFittedError, "is not fitted.*learns from labels"),
        ({"estimator": FrozenEstimator(KNeighborsClassifier()), "protocol": "full"}, ValueError,
         "does not learn"),
        ({"classifier": PointClassifier()}, TypeError, "goes with \"full\""),
    ],
)
def test_bad_input_says_what_would_be_right(kinds, change, error, words):
    X, y = kinds
    given = {"estimator": EXTENTS, "X": X, "y": y, "split": FOLDS} | change

    with pytest.raises(error, match=words):
        few_shot(given.pop("estimator"), given.pop("X"), given.pop("y"), **given)


def test_classifiers_that_do_not_fit_the_protocol_are_refused(kinds, pretrained):
    X, y = kinds
    with pytest.raises(TypeError, match="must be a PointClassifier"):
        few_shot(pretrained, X, y, split=FOLDS, protocol="full", classifier=HeadClassifier())
    with pytest.raises(TypeError, match="needs a PointClassifier or a head"):
        few_shot(pretrained, X, y, split=FOLDS, protocol="mlp3", report="published",
                 classifier=PrototypeClassifier())  # fmt: skip
