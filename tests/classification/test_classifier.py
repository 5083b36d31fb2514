import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC
from torch import nn

from pointinteract import save
from pointinteract.classification import PointClassifier
from pointinteract.classification._labels import hold_back
from pointinteract.models import ReCon, to_official
from pointinteract.pretraining import ReConPretrainer

QUICK = dict(max_epochs=2, batch_size=4, random_state=0)


class Tiny(nn.Module):
    """A user's own network that knows nothing of ours."""

    def __init__(self, n_channels=3, n_classes=2):
        super().__init__()
        self.layer = nn.Linear(n_channels, 16)
        self.out = nn.Linear(16, n_classes)

    def forward(self, points):
        return self.out(self.layer(points).relu().amax(1))


@pytest.fixture(scope="module")
def easy():
    """Flat clouds and balls, 12 of each: learnable in a few epochs."""
    points = np.random.default_rng(0).normal(size=(24, 32, 3))
    points[::2, :, 2] *= 0.05
    return points.astype("f4"), np.array(["flat", "ball"] * 12)


@pytest.fixture(scope="module")
def pretrainer(easy):
    return ReConPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(easy[0])


@pytest.mark.parametrize("model, max_epochs, learning_rate", [
    ("recon_nano", 10, 1e-3), ("pointnet_basic", 25, 1e-3), ("dgcnn", 15, 1e-3), (Tiny, 40, 0.03),
])
def test_learns_what_is_easy(easy, model, max_epochs, learning_rate):
    X, y = easy
    clf = PointClassifier(model, max_epochs=max_epochs, learning_rate=learning_rate, batch_size=4,
                          random_state=0)

    clf.fit(X[:14], y[:14])

    assert clf.score(X[14:], y[14:]) >= 0.9
    assert list(clf.classes_) == ["ball", "flat"] and clf.n_epochs_ == max_epochs
    assert {"loss", "accuracy", "learning_rate", "seconds"} <= set(clf.history_.columns)


def test_a_module_is_copied_and_left_alone(easy):
    X, y = easy
    module = Tiny()
    before = [p.detach().clone() for p in module.parameters()]

    clf = PointClassifier(module, **QUICK).fit(X, y)

    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert clf.predict(X).shape == (24,)


def test_scores_agree_with_each_other(easy):
    X, y = easy
    two = PointClassifier("pointnet_basic", **QUICK).fit(X, y)
    labels = np.arange(24) % 3
    three = PointClassifier("pointnet_basic", **QUICK).fit(X, labels)

    assert two.decision_function(X).shape == (24,)
    assert np.array_equal(two.classes_[(two.decision_function(X) > 0).astype(int)], two.predict(X))
    logits = three.predict_logits(X)
    np.testing.assert_allclose(three.decision_function(X), logits)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(three.predict_proba(X), shares, rtol=1e-4)
    assert np.array_equal(three.predict(X), three.predict_proba(X).argmax(1))
    assert three.transform(X).shape == (24, 1024)


def test_starts_from_the_weights_of_a_pretrainer(easy, pretrainer):
    X, y = easy

    clf = PointClassifier(pretrained=pretrainer, learning_rate=1e-12, max_epochs=1,
                          weight_decay=0.0, random_state=0).fit(X, y)

    ours = clf.module_.state_dict()
    for name, value in pretrainer.module_.encoder.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("protocol, n_layers", [("linear", 1), ("mlp3", 3)])
def test_frozen_protocols_change_only_the_head_and_the_class_query(
    easy, pretrainer, protocol, n_layers
):
    X, y = easy

    clf = PointClassifier(pretrained=pretrainer, protocol=protocol, **QUICK).fit(X, y)

    start = pretrainer.module_.encoder.state_dict()
    moved = {name for name, value in clf.module_.named_parameters()
             if name in start and not torch.equal(value, start[name])}
    assert moved == {"cls_token", "cls_pos"}
    layers = [m for m in clf.module_.head.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == n_layers
    # The published rule: statistics keep following the data all the same.
    norm = "patch_embedding.norm1.running_mean"
    assert not torch.equal(clf.module_.state_dict()[norm], start[norm])


@pytest.mark.parametrize("protocol", ["linear", "mlp3"])
def test_frozen_protocols_work_for_other_networks(easy, protocol):
    X, y = easy

    clf = PointClassifier("pointnet_basic", protocol=protocol, **QUICK).fit(X, y)

    trained = {name.split(".")[0] for name, p in clf.module_.named_parameters() if p.requires_grad}
    assert trained == {"head"}


def test_an_unfitted_pretrainer_is_fitted_and_a_frozen_one_is_not(easy, pretrainer):
    X, y = easy
    weight = pretrainer.module_.encoder.norm.weight.detach().clone()
    frozen = PointClassifier(pretrained=FrozenEstimator(pretrainer), **QUICK)
    loose = PointClassifier(pretrained=clone(pretrainer), **QUICK)

    kept = clone(frozen).fit(X, y)  # clone keeps what is frozen
    again = loose.fit(X, y)

    assert not hasattr(loose.pretrained, "module_")  # parameters are never changed
    assert torch.equal(pretrainer.module_.encoder.norm.weight, weight)
    assert np.array_equal(kept.predict_logits(X), again.predict_logits(X))


def test_starts_from_files_of_ours_and_of_the_original(easy, pretrainer, tmp_path):
    X, y = easy
    reference = PointClassifier(pretrained=pretrainer, **QUICK).fit(X, y).predict_logits(X)
    save(pretrainer, tmp_path / "ours.pointinteract")
    ours = PointClassifier(pretrained=tmp_path / "ours.pointinteract", **QUICK).fit(X, y)
    np.testing.assert_array_equal(ours.predict_logits(X), reference)

    network = ReCon(width=64, depth=1, n_heads=1, n_groups=64, n_classes=4)
    torch.save({"base_model": to_official(network)}, tmp_path / "official.pth")
    theirs = PointClassifier(pretrained=str(tmp_path / "official.pth"), **QUICK).fit(X[:4], y[:4])
    assert theirs.module_.width == 64 and theirs.predict_logits(X[:4]).shape == (4, 2)


def test_clouds_of_different_sizes(easy):
    X, y = easy
    ragged = [cloud[: 10 + i % 20] for i, cloud in enumerate(X)]

    clf = PointClassifier(n_points=20, **QUICK).fit(ragged, y)

    together = clf.predict_logits(ragged)
    alone = np.concatenate([clf.predict_logits([cloud]) for cloud in ragged])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_prepared_clouds_are_not_prepared_again(easy):
    X, y = easy
    clf = PointClassifier(n_points=20, **QUICK).fit(X, y)

    prepared = clf.prepare_clouds(X * 100 + 7)

    assert prepared.shape == (24, 20, 3)
    assert np.abs(np.linalg.norm(prepared, axis=-1).max(1) - 1).max() < 1e-3
    np.testing.assert_allclose(clf.predict_logits(X * 100 + 7),
                               clf.predict_logits(prepared, prepared=True))
    shrunk = prepared * 0.5
    assert not np.allclose(clf.predict_logits(shrunk, prepared=True), clf.predict_logits(shrunk))


def test_votes_average_and_repeat(easy):
    X, y = easy
    clf = PointClassifier(n_points=20, **QUICK).fit(X, y)
    single = clf.decision_function(X)

    clf.set_params(n_votes=3)

    voted = clf.decision_function(X)
    assert np.array_equal(voted, clf.decision_function(X)) and not np.allclose(voted, single)
    np.testing.assert_allclose(voted[:3], clf.decision_function(X[:3]), atol=1e-5)


def test_votes_fill_small_clouds_up_as_a_single_prediction_does(easy, monkeypatch):
    X, y = easy
    sizes = 8 + np.arange(24)
    clouds = [cloud[:size] for cloud, size in zip(X, sizes, strict=True)]
    clf = PointClassifier("dgcnn", **QUICK).fit(clouds, y)
    single = clf.decision_function(clouds)

    def unchanged(stored, n_points, seed, vote):
        return [points[0].numpy() for points in stored]

    monkeypatch.setattr("pointinteract.classification._classifier.another_look", unchanged)

    np.testing.assert_allclose(clf.set_params(n_votes=2).decision_function(clouds), single,
                               atol=1e-5)


def test_early_stopping_returns_to_the_best_weights(easy):
    X, y = easy

    clf = PointClassifier("pointnet_basic", early_stopping=True, validation_fraction=0.25,
                          n_iter_no_change=2, max_epochs=40, batch_size=8, random_state=0)
    clf.fit(X, y)

    accuracy = clf.history_.validation_accuracy
    assert clf.n_epochs_ < 40
    assert accuracy[clf.best_epoch_] == accuracy.max()
    _, held_back = hold_back(np.searchsorted(clf.classes_, y), 0.25, clf.seed_)
    assert clf.score(X[held_back], y[held_back]) == pytest.approx(accuracy.max())


def test_warm_start_goes_on_and_a_plain_fit_does_not(easy):
    X, y = easy
    clf = PointClassifier("pointnet_basic", warm_start=True, **QUICK).fit(X, y)

    clf.fit(X, y)
    assert clf.n_epochs_ == 4 and len(clf.history_) == 4

    clf.set_params(warm_start=False).fit(X, y)
    assert clf.n_epochs_ == 2


def test_partial_fit_equals_fit_and_takes_classes_in_advance(easy):
    X, y = easy
    whole = PointClassifier("pointnet_basic", **QUICK).fit(X, y)

    steps = clone(whole).partial_fit(X, y).partial_fit(X, y)
    pairs = zip(steps.module_.parameters(), whole.module_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)  # fit measures BatchNorm's memory anew

    first = clone(whole).partial_fit(X[y == "flat"], y[y == "flat"], classes=["ball", "flat"])
    assert first.partial_fit(X, y).predict(X).shape == (24,)
    with pytest.raises(ValueError, match="not seen at the start: \\['cube'\\]"):
        first.partial_fit(X[:2], ["cube", "flat"])


@pytest.mark.parametrize("settings", [
    {"label_smoothing": 0.3}, {"class_weight": {"ball": 5.0, "flat": 1.0}}, {"augmentation": None},
    {"learning_rate": 1e-2}, {"head_factor": 10.0}, {"weight_decay": 0.9}, {"max_norm": 1e-3},
    {"schedule": "constant"}, {"schedule": "cosine_epoch"}, {"warmup_epochs": 0},
    {"normalize": False}, {"n_points": 20}, {"batch_size": 7}, {"random_state": 1},
])
def test_each_option_changes_the_result(easy, settings):
    X, y = easy
    reference = PointClassifier("pointnet_basic", **QUICK).fit(X, y)

    changed = clone(reference).set_params(**settings).fit(X, y)

    assert not np.array_equal(changed.predict_logits(X), reference.predict_logits(X))


def test_balanced_weights_help_the_rare_class(easy):
    X, y = easy
    rare = np.r_[np.flatnonzero(y == "flat"), np.flatnonzero(y == "ball")[:2]]
    plain = PointClassifier("pointnet_basic", **QUICK).fit(X[rare], y[rare])

    balanced = clone(plain).set_params(class_weight="balanced").fit(X[rare], y[rare])

    assert balanced.predict_proba(X)[:, 0].mean() > plain.predict_proba(X)[:, 0].mean()


def test_copies_pickle_and_repeat(easy, pretrainer):
    X, y = easy
    for settings in ({"model": "dgcnn"}, {"pretrained": pretrainer, "protocol": "mlp3"},
                     {"model": Tiny}):
        clf = PointClassifier(**settings, **QUICK).fit(X, y)
        reference = clf.predict_logits(X)
        assert np.array_equal(pickle.loads(pickle.dumps(clf)).predict_logits(X), reference)
        assert np.array_equal(clf.fit(X, y).predict_logits(X), reference)


def test_works_inside_scikit_learn(easy):
    X, y = easy
    clf = PointClassifier("pointnet_basic", **QUICK)

    search = GridSearchCV(clf, {"learning_rate": [1e-6, 1e-2]}, cv=2).fit(X, y)
    assert search.best_params_["learning_rate"] in (1e-6, 1e-2)
    assert cross_val_score(clf, X, y, cv=2).shape == (2,)
    piped = make_pipeline(clone(clf), LinearSVC()).fit(X, y)
    assert piped.score(X, y) > 0.5
    frame = clone(clf).set_output(transform="pandas").fit(X, y).transform(X)
    assert isinstance(frame, pd.DataFrame) and frame.columns[0] == "pointclassifier0"


@pytest.mark.parametrize("settings, message", [
    ({"model": "pointnett"}, "Did you mean"),
    ({"model": 3}, "model must be a name"),
    ({"model": "dgcnn", "pretrained": "x.pth"}, "not both"),
    ({"pretrained": "missing.pth"}, "no such file"),
    ({"pretrained": 3}, "pretrained must be"),
    ({"protocol": "half"}, "protocol must be one of"),
    ({"label_smoothing": 1.0}, "label_smoothing must be in"),
    ({"n_votes": 0}, "n_votes must be at least 1"),
    ({"early_stopping": True, "validation_fraction": 0.01}, "could not hold 1% of 24"),
])
def test_wrong_settings_are_refused_in_fit(easy, settings, message):
    X, y = easy

    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=message):
        PointClassifier(**QUICK | settings).fit(X, y)


def test_networks_of_other_channels_and_wrong_outputs_are_named(easy, pretrainer):
    X, y = easy
    with_normals = np.concatenate([X, X], axis=2)

    with pytest.raises(ValueError, match="reads 3 channels a point, and X has 6"):
        PointClassifier(pretrained=pretrainer, **QUICK).fit(with_normals, y)
    with pytest.raises(ValueError, match=r"logits of shape \(4, 2\), got \(4, 5\)"):
        PointClassifier(Tiny(3, 5), **QUICK).fit(X, y)


def test_an_interruption_keeps_the_best_weights_of_early_stopping(easy):
    X, y = easy
    calls = []

    def interrupt_later(points, generator):
        calls.append(1)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return points

    clf = PointClassifier("pointnet_basic", early_stopping=True, validation_fraction=0.25,
                          batch_size=8, augmentation=interrupt_later, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        clf.fit(X, y)

    _, codes, stopper = clf._hold_back(X, np.searchsorted(clf.classes_, y))
    held = clf._infer(stopper.clouds, clf.module_).argmax(1) == stopper.codes
    assert not clf.module_.training
    assert held.mean() == pytest.approx(clf.history_.validation_accuracy[clf.best_epoch_])


def test_warm_start_refuses_another_network_and_partial_fit_early_stopping(easy):
    X, y = easy
    clf = PointClassifier("pointnet_basic", warm_start=True, **QUICK).fit(X, y)

    with pytest.raises(ValueError, match="warm_start=False"):
        clf.set_params(protocol="linear").fit(X, y)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        clf.set_params(protocol="full", early_stopping=True).partial_fit(X, y)


def test_a_fit_that_fails_leaves_the_record_as_it_was(easy):
    X, y = easy
    clf = PointClassifier("pointnet_basic", warm_start=True, **QUICK).fit(X, y)
    calls = []

    def fail_later(points, generator):
        calls.append(1)
        if len(calls) > 8:
            raise RuntimeError("no")
        return points

    with pytest.raises(RuntimeError):
        clf.set_params(augmentation=fail_later).fit(X, y)

    assert list(clf.set_params(augmentation=None).fit(X, y).history_.index) == [1, 2, 3, 4]


def test_map_coordinates_keep_their_shape(easy):
    X, y = easy
    clf = PointClassifier("pointnet_basic", **QUICK).fit(X, y)

    far = X.astype(np.float64) + [5e5, 5.2e6, 300.0]

    np.testing.assert_allclose(clf.prepare_clouds(far), clf.prepare_clouds(X), atol=1e-5)
    np.testing.assert_allclose(clf.prepare_clouds(list(far)), clf.prepare_clouds(X), atol=1e-5)
    ragged = [cloud[: 20 + i % 5] for i, cloud in enumerate(far)]
    near = [cloud[: 20 + i % 5] for i, cloud in enumerate(X)]
    for moved, kept in zip(clf.prepare_clouds(ragged), clf.prepare_clouds(near), strict=True):
        np.testing.assert_allclose(moved, kept, atol=1e-5)


def test_small_clouds_are_filled_alike_in_training_and_in_queries(easy):
    X, y = easy
    ragged = [cloud[: 8 + i % 20] for i, cloud in enumerate(X)]

    clf = PointClassifier("pointnet_basic", **QUICK).fit(ragged, y)

    assert clf.n_points_fit_ == 27 and clf.prepare_clouds(ragged).shape == (len(X), 27, 3)
    repeated = clf._normalized(ragged)[0][np.arange(27) % 8]
    np.testing.assert_array_equal(clf.prepare_clouds(ragged[:1])[0], repeated)
    assert PointClassifier("pointnet_basic", **QUICK).fit(X, y).n_points_fit_ is None
