"""Heads on frozen features, nearest class means, and frozen_head."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import PointMAEPretrainer, ReConPretrainer
from pointinteract.protocols import HeadClassifier, PrototypeClassifier, frozen_head


@parametrize_with_checks(
    [
        HeadClassifier(max_epochs=20, learning_rate=0.1),
        HeadClassifier("mlp3", max_epochs=20),
        PrototypeClassifier(),
        PrototypeClassifier("euclidean"),
    ]
)
def test_scikit_learn_battery(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(120, 8, centers=3, cluster_std=2.0, random_state=0)
    return (X / 5).astype(np.float32), np.array(["a", "b", "c"])[y]


@pytest.fixture(scope="module")
def kinds():
    """48 clouds of 24 points, flat or ball-shaped, and their labels."""
    X = np.random.default_rng(0).normal(size=(48, 24, 3))
    X[::2, :, 2] *= 0.05
    return X.astype(np.float32), np.array(["flat", "ball"] * 24)


@pytest.fixture(scope="module")
def pretrained(kinds):
    return PointMAEPretrainer(
        "nano", n_groups=4, group_size=8, max_epochs=0, random_state=0
    ).fit(kinds[0])


@pytest.mark.parametrize("head", ["linear", "mlp3"])
def test_head_learns_and_is_repeatable(blobs, head):
    X, y = blobs
    once = HeadClassifier(head, max_epochs=15, random_state=0).fit(X[:80], y[:80])
    again = HeadClassifier(head, max_epochs=15, random_state=0).fit(X[:80], y[:80])

    assert once.score(X[80:], y[80:]) > 0.9
    assert np.array_equal(once.predict_proba(X), again.predict_proba(X))
    assert np.allclose(once.predict_proba(X).sum(axis=1), 1)
    assert len(once.history_) == 15
    assert once.history_["loss"].iloc[-1] < once.history_["loss"].iloc[0]


def test_linear_head_is_one_layer_and_mlp3_three(blobs):
    sizes = {
        head: [list(value.shape) for name, value in
               HeadClassifier(head, max_epochs=1).fit(*blobs).module_.named_parameters()
               if value.ndim == 2]
        for head in ("linear", "mlp3")
    }  # fmt: skip

    assert sizes == {"linear": [[3, 8]], "mlp3": [[256, 8], [256, 256], [3, 256]]}


def test_head_survives_pickling_without_its_module(blobs):
    X, y = blobs
    model = HeadClassifier("mlp3", max_epochs=2, random_state=0).fit(X, y)

    copy = pickle.loads(pickle.dumps(model))

    assert np.array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert isinstance(model.__getstate__()["module_"], dict)


def test_standardizing_makes_units_immaterial(blobs):
    X, y = blobs
    model = HeadClassifier(max_epochs=5, standardize=True, random_state=0)
    units = np.array([1e4, 1, 1e-3, 1, 1, 1, 1, 1], dtype=np.float32)

    plain = model.fit(X, y).predict_proba(X)
    other = model.fit(X * units, y).predict_proba(X * units)

    assert np.allclose(plain, other, atol=1e-3)


def test_watching_does_not_change_the_training(blobs):
    X, y = blobs
    plain = HeadClassifier("mlp3", max_epochs=3, random_state=0).fit(X, y)
    watched = HeadClassifier("mlp3", max_epochs=3, random_state=0)._fit(
        X, y, lambda head: head.score(X, y)
    )

    assert np.array_equal(plain.predict_proba(X), watched.predict_proba(X))
    assert watched.history_["test_accuracy"].iloc[-1] == plain.score(X, y)


def test_prototypes_are_class_means_and_the_nearest_wins():
    X = np.array([[1.0, 0.0], [3.0, 0.2], [0.0, 1.0], [0.0, 5.0]])
    y = ["right", "right", "up", "up"]

    cosine, euclidean = (PrototypeClassifier(metric).fit(X, y) for metric in
                         ("cosine", "euclidean"))  # fmt: skip

    assert np.allclose(euclidean.prototypes_, [[2.0, 0.1], [0.0, 3.0]])
    assert np.allclose(np.linalg.norm(cosine.prototypes_, axis=1), 1, atol=1e-2)
    # It points up, and lies nearer to the mean of those at the right.
    assert cosine.predict([[0.5, 1.2]]).tolist() == ["up"]
    assert euclidean.predict([[0.5, 1.2]]).tolist() == ["right"]
    wide = PrototypeClassifier().fit([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], ["a", "a", "b"])
    assert wide.predict([[3**0.5, 1.0]]).tolist() == ["a"]  # 15 degrees off, however short
    with pytest.raises(ValueError, match="metric must be one of 'cosine', 'euclidean'"):
        PrototypeClassifier("l1").fit(X, y)


@pytest.mark.parametrize(
    "change", [{"head": "mlp2"}, {"max_epochs": 0}, {"batch_size": 1}, {"learning_rate": 0},
               {"schedule": "plateau"}]
)  # fmt: skip
def test_head_refuses_bad_settings(blobs, change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        HeadClassifier(**change).fit(*blobs)


@pytest.mark.parametrize(("head", "name"), [("linear", "MLP-LINEAR"), ("mlp3", "MLP-3")])
def test_frozen_head_scores_the_last_epoch_on_test_clouds(kinds, pretrained, head, name):
    X, y = kinds
    given = {"head": head, "max_epochs": 3, "random_state": 0}
    before = pretrained.transform(X)

    plain = frozen_head(pretrained, X[:32], y[:32], X[32:], y[32:], n_runs=2, **given)
    both = frozen_head(pretrained, X[:32], y[:32], X[32:], y[32:], n_runs=2, report="published",
                       **given)  # fmt: skip

    assert plain.protocol == name
    assert len(plain.runs) == len(plain.classifiers) == 2
    assert plain.runs["seed"].nunique() == 2
    assert plain.accuracy == plain.runs["accuracy"].mean()
    assert plain.std == pytest.approx(plain.runs["accuracy"].std(ddof=1))
    assert plain.best_epoch_accuracy is None
    assert both.runs["accuracy"].tolist() == plain.runs["accuracy"].tolist()
    assert both.best_epoch_accuracy >= both.accuracy
    assert "last of 3 epochs" in plain.selection
    assert "flatters" in both.selection
    assert np.array_equal(pretrained.transform(X), before)


def test_frozen_head_reads_what_the_head_of_the_network_reads(kinds):
    X, y = kinds
    fitted = ReConPretrainer(
        "nano", n_groups=4, group_size=8, max_epochs=0, random_state=0
    ).fit(X)

    found = frozen_head(fitted, X, y, X, y, max_epochs=1, random_state=0)

    (head,) = found.classifiers
    assert head.n_features_in_ == fitted.module_.encoder.num_features == 4 * 192
    assert fitted.transform(X[:1]).shape[1] == 2 * 192


def test_published_trunk_trains_the_class_query_and_moves_batch_norm(kinds):
    X, y = kinds
    fitted = ReConPretrainer(
        "nano", n_groups=4, group_size=8, max_epochs=0, random_state=0
    ).fit(X)
    settings = PointClassifier(max_epochs=5, learning_rate=1e-2)

    found = frozen_head(fitted, X, y, X, y, trunk="published", classifier=settings, max_epochs=2,
                        random_state=0)  # fmt: skip

    (model,) = found.classifiers
    came, went = fitted.module_.encoder.state_dict(), model.module_.state_dict()
    moved = {name for name in came if name in went and not (came[name] == went[name]).all()}
    assert model.n_epochs_ == 2
    assert {"cls_token", "cls_pos"} <= moved
    assert all("cls" in name or "running" in name or "batches" in name for name in moved)
    assert any("running" in name for name in moved)
    assert found.protocol == "MLP-LINEAR, trunk in training mode"


@pytest.mark.parametrize("trunk", ["frozen", "published"])
def test_a_fitted_classifier_serves_as_trunk_and_stays_as_it_is(kinds, trunk):
    X, y = kinds
    fitted = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(X, y)
    before = fitted.predict_proba(X)

    found = frozen_head(fitted, X, y, X, y, trunk=trunk, max_epochs=2, random_state=0)

    assert "as it came, fitted" in found.selection
    assert np.array_equal(fitted.predict_proba(X), before)
    with pytest.raises(NotFittedError, match="learns from labels"):
        frozen_head(PointClassifier(), X, y, X, y, trunk=trunk)


def test_early_stopping_is_said_and_runs_have_seeds_of_their_own(kinds, pretrained):
    X, y = kinds
    settings = PointClassifier(max_epochs=2, early_stopping=True, random_state=3)

    found = frozen_head(pretrained, X, y, X, y, trunk="published", classifier=settings,
                        report="published", n_runs=2, random_state=0)  # fmt: skip

    assert "chosen on a part of the training clouds held back" in found.selection
    assert "last of" not in found.selection
    assert [each.seed_ for each in found.classifiers] != [found.classifiers[0].seed_] * 2
    for each in found.classifiers:  # nor do they carry the test clouds along
        assert type(each) is PointClassifier
        assert set(vars(each)) == set(vars(PointClassifier(**each.get_params()).fit(X, y)))
    assert settings.random_state == 3


def test_unfitted_pretrainers_learn_from_the_training_clouds(kinds):
    X, y = kinds
    pre = PointMAEPretrainer("nano", n_groups=4, group_size=8, max_epochs=1, n_points=None)

    found = frozen_head(pre, X[:32], y[:32], X[32:], y[32:], max_epochs=1, random_state=0)

    assert "fitted without labels on 32 clouds" in found.selection
    assert not hasattr(pre, "module_")


def test_frozen_head_refuses_what_does_not_fit(kinds, pretrained):
    X, y = kinds
    with pytest.raises(TypeError, match="must be a HeadClassifier"):
        frozen_head(pretrained, X, y, X, y, classifier=PointClassifier())
    with pytest.raises(TypeError, match="must be a PointClassifier"):
        frozen_head(pretrained, X, y, X, y, trunk="published", classifier=HeadClassifier())
    with pytest.raises(ValueError, match="y_test must hold one label for each of the 48"):
        frozen_head(pretrained, X, y, X, y[:3])
    with pytest.raises(ValueError, match="head must be one of 'linear', 'mlp3'"):
        frozen_head(pretrained, X, y, X, y, head="mlp2")
