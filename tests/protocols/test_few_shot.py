"""few_shot: every protocol over the same episodes, honest by default."""

import dataclasses

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import PointMAEPretrainer, ReConPretrainer
from pointinteract.protocols import (
    FewShotEpisode,
    FewShotEpisodes,
    FewShotSplit,
    HeadClassifier,
    few_shot,
)

FOLDS = FewShotSplit(2, 3, 4, 3, random_state=0)


def spread(X):
    """Extents along the axes, (n_clouds, 3): which kind a cloud is of shows in the last."""
    return np.stack([np.std(cloud, axis=0) for cloud in X])


EXTENTS = FunctionTransformer(spread)


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


def test_mean_and_spread_are_those_of_the_folds(kinds):
    result = few_shot(EXTENTS, *kinds, split=FOLDS)

    frame = result.folds
    assert list(frame.columns) == [
        "fold", "classes", "n_support", "n_query", "accuracy", "seconds"
    ]  # fmt: skip
    assert frame["fold"].tolist() == [0, 1, 2]
    assert frame["n_support"].tolist() == [6] * 3
    assert frame["n_query"].tolist() == [8] * 3
    assert result.accuracy == pytest.approx(frame["accuracy"].mean())
    assert result.std == pytest.approx(frame["accuracy"].std(ddof=1))
    assert result.accuracy > 0.9
    assert (result.n_way, result.n_shot) == (2, 3)
    assert result.best_epoch_accuracy is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.seconds = 0.0


def test_accuracy_of_a_fold_is_that_of_its_queries_alone(kinds):
    X, y = kinds
    constant = DummyClassifier(strategy="constant", constant="ball")
    support, query = np.array([0, 2]), np.array([3, 6, 9, 5])

    result = few_shot(EXTENTS, X, y, split=[(support, query)], classifier=constant)

    assert result.accuracy == 0.25
    assert np.isnan(result.std)
    assert result.folds["classes"].tolist() == [("ball", "flat")]


@pytest.mark.parametrize("protocol", ["svm", "prototypes", "mlp_linear", "mlp3"])
def test_frozen_protocols_leave_the_network_and_extract_features_once(
    kinds, pretrained, monkeypatch, protocol
):
    X, y = kinds
    looked = []
    infer = PointClassifier._infer
    kind = type(pretrained)
    before = {name: value.clone() for name, value in pretrained.module_.state_dict().items()}
    for owner in (PointClassifier, kind):
        monkeypatch.setattr(owner, "_infer", lambda self, clouds, function: (
            looked.append(len(clouds)) or infer(self, clouds, function)))  # fmt: skip

    result = few_shot(pretrained, X, y, split=FOLDS, protocol=protocol, random_state=0,
                      max_epochs=3 if "mlp" in protocol else None)  # fmt: skip

    assert looked == [len(X)]
    assert 0 <= result.accuracy <= 1
    after = pretrained.module_.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())


def test_full_starts_from_the_pretrained_weights_and_moves_them(kinds, pretrained, monkeypatch):
    fitted = []
    predict = PointClassifier.predict
    monkeypatch.setattr(PointClassifier, "predict", lambda self, X: (
        fitted.append(self.module_.state_dict()) or predict(self, X)))  # fmt: skip
    given = {"split": FewShotSplit(2, 2, 2, 1), "protocol": "full", "random_state": 0}
    barely = PointClassifier(learning_rate=1e-9, max_epochs=7)

    still = few_shot(pretrained, *kinds, classifier=barely, max_epochs=1, **given)
    moved = few_shot(pretrained, *kinds, max_epochs=2, **given)

    came = pretrained.module_.encoder.state_dict()
    name = next(name for name in came if name.startswith("blocks.0") and name in fitted[0])
    assert (fitted[0][name] - came[name]).abs().max() < 1e-6
    assert (fitted[1][name] - came[name]).abs().max() > 1e-5
    assert moved.protocol == "FULL"
    assert "last of 1 epochs" in still.selection
    assert "last of 2 epochs" in moved.selection


def test_what_a_classifier_starts_from_is_not_pretrained_anew(kinds, pretrained, monkeypatch):
    fitted = []
    fit = PointMAEPretrainer.fit
    monkeypatch.setattr(PointMAEPretrainer, "fit", lambda self, *clouds: (
        fitted.append(self) or fit(self, *clouds)))  # fmt: skip
    classifier = PointClassifier(pretrained=pretrained, max_epochs=1)

    few_shot(classifier, *kinds, split=FewShotSplit(2, 2, 2, 1), protocol="full", random_state=0)

    assert not fitted
    assert classifier.pretrained is pretrained
    assert not hasattr(classifier, "module_")


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["svm", "mlp3", "full"])
def test_numbers_do_not_depend_on_the_number_of_jobs(kinds, pretrained, protocol):
    X, y = kinds
    epochs = None if protocol == "svm" else 2
    runs = [
        few_shot(pretrained, X, y, split=FewShotSplit(2, 3, 4, 2), protocol=protocol,
                 max_epochs=epochs, n_jobs=n_jobs, random_state=5)
        for n_jobs in (None, 2)
    ]  # fmt: skip

    first, second = (run.folds.drop(columns="seconds") for run in runs)
    assert first.equals(second)


def test_same_seed_same_numbers_and_another_seed_other_episodes(kinds):
    X, y = kinds
    split = FewShotSplit(2, 1, 4, 4)
    runs = [few_shot(EXTENTS, X, y, split=split, random_state=seed) for seed in (1, 1, 2)]

    frames = [run.folds.drop(columns="seconds") for run in runs]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    assert split.random_state is None


def test_every_episode_is_trained_with_a_seed_of_its_own_unless_the_user_gave_one(kinds):
    seeds = []

    class Remembers(ClassifierMixin, BaseEstimator):
        def __init__(self, random_state=None):
            self.random_state = random_state

        def fit(self, X, y):
            seeds.append(self.random_state)
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.repeat(self.classes_[:1], len(X))

    for random_state in (0, 0, 1):
        few_shot(EXTENTS, *kinds, split=FOLDS, classifier=Remembers(), random_state=random_state)
    few_shot(EXTENTS, *kinds, split=FOLDS, classifier=Remembers(7), random_state=0)

    assert seeds[:3] == seeds[3:6]
    assert len(set(seeds[:3] + seeds[6:9])) == 6
    assert seeds[9:] == [7] * 3


def test_groups_keep_support_and_queries_apart(kinds):
    X, y = kinds
    groups = np.repeat([0, 1], 30)
    seen = []

    class Remembers(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            seen.append(("support", X))
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            seen.append(("query", X))
            return np.repeat(self.classes_[:1], len(X))

    rows = FunctionTransformer(lambda X: np.arange(len(X))[:, None])
    result = few_shot(rows, X, y, split=FOLDS, groups=groups, classifier=Remembers())

    assert all((groups[part.ravel()] == (name == "query")).all() for name, part in seen)
    assert "support from the training split" in result.selection


def test_a_classifier_of_ones_own_is_named_and_no_figure_stands_beside_it(kinds):
    X, y = np.repeat(kinds[0], 4, axis=0), np.repeat([f"class {i}" for i in range(6)], 40)
    pre = ReConPretrainer(n_groups=4, group_size=8, max_epochs=0, random_state=0,
                          image_teacher="depth_descriptor").fit(X)  # fmt: skip
    given = {"split": FewShotSplit(5, 10, 5, 1), "protocol": "mlp_linear", "random_state": 0}
    deep = HeadClassifier("mlp3", max_epochs=1, random_state=0)

    other = few_shot(pre, X, y, classifier=KNeighborsClassifier(1), **given)
    head = few_shot(pre, X, y, classifier=deep, **given)
    same = few_shot(pre, X, y, classifier=HeadClassifier(max_epochs=1, random_state=0), **given)

    assert other.protocol == "KNeighborsClassifier on frozen features"
    assert "saw the support alone" in other.selection
    assert other.published is None
    assert head.protocol == "MLP-LINEAR"
    assert head.published.label.endswith(f"MLP-LINEAR, {100 * head.published.accuracy:.1f}")
    assert head.accuracy == same.accuracy  # the protocol says which head it is
    assert deep.head == "mlp3"


def test_printed_words_leave_out_what_there_is_not(kinds):
    one = few_shot(EXTENTS, *kinds, split=[(np.arange(7), np.arange(7, 12))])

    assert str(one).startswith("3-way mixed-shot, SVM: ")
    assert "nan" not in str(one)
    assert "over 1 episode." in str(one)
    assert "±" in str(few_shot(EXTENTS, *kinds, split=FOLDS))


def test_episodes_of_a_file_are_used_as_they_are(kinds):
    episode = FewShotEpisode(2, 1, 0, ("flat", "long"), np.array([0, 1]), np.array([3, 4, 7]))

    result = few_shot(EXTENTS, *kinds, split=FewShotEpisodes([episode, episode]))

    assert len(result.folds) == 2
    assert (result.n_way, result.n_shot) == (2, 1)
    assert result.folds["n_query"].tolist() == [3, 3]


def test_an_unfitted_transformer_never_sees_queries(kinds):
    X, y = kinds
    groups = np.repeat([0, 1], 30)
    flat = FunctionTransformer(lambda X: np.reshape(X, (len(X), -1)))
    transformer = make_pipeline(flat, PCA(3))

    result = few_shot(transformer, X, y, split=FOLDS, groups=groups, random_state=0)

    assert "fitted without labels on 30 clouds, no queries" in result.selection
    with pytest.raises(ValueError, match="every cloud is a query of some episode"):
        few_shot(transformer, X, y, split=FewShotSplit(2, 3, 4, 30, random_state=0))
    assert not hasattr(transformer[-1], "components_")


def test_a_classifier_is_cloned_and_fitted_in_every_episode(kinds):
    flat = FunctionTransformer(lambda X: spread(X))
    classifier = make_pipeline(flat, KNeighborsClassifier(1))

    result = few_shot(classifier, *kinds, split=FOLDS, protocol="full")

    assert result.accuracy > 0.8
    assert not hasattr(classifier[-1], "classes_")
    assert "a clone of Pipeline" in result.selection


def test_lists_of_unequal_clouds_are_taken(kinds, pretrained):
    X, y = kinds
    ragged = [cloud[: 16 + i % 5] for i, cloud in enumerate(X)]

    for protocol in ("prototypes", "mlp_linear", "full"):
        result = few_shot(pretrained, ragged, y, split=FewShotSplit(2, 2, 2, 1), random_state=0,
                          protocol=protocol, max_epochs=None if protocol[0] == "p" else 1)
        assert 0 <= result.accuracy <= 1  # fmt: skip


@pytest.mark.parametrize(
    ("protocol", "trunk"), [("full", "frozen"), ("mlp_linear", "frozen"), ("mlp3", "published")]
)
def test_published_selection_is_a_column_of_its_own(kinds, pretrained, protocol, trunk):
    X, y = kinds
    given = {"split": FOLDS, "protocol": protocol, "trunk": trunk, "max_epochs": 4,
             "random_state": 0}  # fmt: skip

    plain = few_shot(pretrained, X, y, **given)
    both = few_shot(pretrained, X, y, report="published", **given)

    assert both.folds["accuracy"].tolist() == plain.folds["accuracy"].tolist()
    assert (both.folds["best_test_epoch_accuracy"] >= both.folds["accuracy"]).all()
    assert both.folds["best_test_epoch"].between(1, 4).all()
    assert both.best_epoch_accuracy == both.folds["best_test_epoch_accuracy"].mean()
    assert "which flatters" in both.selection
    assert "flatters" not in plain.selection
    labels = set(both.to_frame()) - set(plain.to_frame())
    assert any("published selection" in label for label in labels)
    assert "published selection" in str(both)


def test_published_trunk_follows_the_support_and_the_frozen_one_stands_still(kinds):
    X, y = kinds
    fitted = ReConPretrainer(
        "nano", n_groups=4, group_size=8, max_epochs=0, random_state=0
    ).fit(X)
    split = FewShotSplit(2, 2, 2, 1)
    published = few_shot(fitted, X, y, split=split, protocol="mlp_linear", trunk="published",
                         max_epochs=1, random_state=0)  # fmt: skip

    assert published.protocol == "MLP-LINEAR, trunk in training mode"
    assert "what the network's head reads" not in published.selection
    frozen = few_shot(fitted, X, y, split=split, protocol="mlp_linear", max_epochs=1)
    assert "what the network's head reads" in frozen.selection


def test_a_frozen_estimator_and_a_module_serve_as_well(kinds, pretrained):
    X, y = kinds
    given = {"split": FOLDS, "protocol": "mlp_linear", "max_epochs": 2, "random_state": 0}
    direct = few_shot(pretrained, X, y, **given)

    frozen = few_shot(FrozenEstimator(pretrained), X, y, **given)
    module = few_shot(pretrained.module_, X, y, **given)

    assert frozen.folds["accuracy"].tolist() == direct.folds["accuracy"].tolist()
    assert module.folds["accuracy"].tolist() == direct.folds["accuracy"].tolist()


def test_progress_counts_episodes(kinds):
    seen = []

    few_shot(EXTENTS, *kinds, split=FOLDS, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_published_figure_stands_beside_with_its_label(kinds, pretrained):
    X, y = np.repeat(kinds[0], 4, axis=0), np.repeat([f"class {i}" for i in range(6)], 40)
    given = {"split": FewShotSplit(5, 10, 5, 1), "random_state": 0}

    heads = few_shot(pretrained, X, y, protocol="full", max_epochs=1, **given)
    svm = few_shot(pretrained, X, y, **given)

    assert heads.published.setting == "5w10s"
    assert "Point-MAE" in heads.to_frame()["published_label"].item()
    assert svm.published is None
    assert svm.to_frame()["published_label"].item() == ""
