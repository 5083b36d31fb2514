"""PointClassifier(interaction_loss=...): what changes in a fit, and what must not."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from pointinteract import load, save
from pointinteract.classification import PointClassifier
from pointinteract.exceptions import CloudError
from pointinteract.losses import InteractionLoss, smoothed_cross_entropy

QUICK = dict(max_epochs=3, batch_size=8, random_state=0)
INTERACTION = ["interaction_low", "interaction_high", "interaction_loss", "mean_abs_value"]


class Net(nn.Module):
    """Small, with all that has two modes."""

    def __init__(self, n_channels=3, n_classes=2):
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(n_channels, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.out = nn.Sequential(nn.Dropout(0.3), nn.Linear(16, n_classes))

    def forward(self, points):
        each = self.layer(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        return self.out(each.amax(1))


@pytest.fixture(scope="module")
def easy():
    """Flat clouds and balls, 10 of each."""
    points = np.random.default_rng(0).normal(size=(20, 48, 3))
    points[::2, :, 2] *= 0.05
    return points.astype("f4"), np.array(["flat", "ball"] * 10)


@pytest.fixture(scope="module")
def plain(easy):
    return PointClassifier(Net, **QUICK).fit(*easy)


def same(first, second, X):
    return np.array_equal(first.predict_logits(X), second.predict_logits(X))


def test_without_a_loss_nothing_changes(easy, plain):
    # The step as it was before there was such a loss, to the last bit.
    class Before(PointClassifier):
        def _compute_loss(self, points, index, targets, generator):
            target = targets[0][index]
            logits = self.module_(points)
            loss = smoothed_cross_entropy(logits, target)
            return loss, {"accuracy": (logits.argmax(1) == target).float().mean()}

    before = Before(Net, **QUICK).fit(*easy)

    assert same(plain, before, easy[0])
    assert list(plain.history_) == ["loss", "accuracy", "learning_rate", "seconds"]
    assert plain.history_.drop(columns="seconds").equals(before.history_.drop(columns="seconds"))


@pytest.mark.parametrize("settings", [
    "paper", "default", InteractionLoss("B"), InteractionLoss("D"),
    InteractionLoss("C", n_regions=4), InteractionLoss("augmentation", weight=1.0),
    InteractionLoss(batch_norm="train"), InteractionLoss(score="logit", high="D2"),
])
def test_every_loss_trains_and_is_logged(easy, plain, settings):
    X, y = easy

    clf = PointClassifier(Net, interaction_loss=settings, **QUICK).fit(X, y)

    logged = clf.history_
    has_terms = getattr(settings, "estimator", "A") != "augmentation"
    names = INTERACTION if has_terms else INTERACTION[2:]
    assert np.isfinite(logged[["loss", "cross_entropy", *names]].to_numpy()).all()
    assert not same(clf, plain, X)
    assert same(clone(clf).fit(X, y), clf, X)


def test_total_is_cross_entropy_plus_weight_times_the_loss(easy):
    loss = InteractionLoss(weight=0.4, warmup=0)

    history = PointClassifier(Net, interaction_loss=loss, **QUICK).fit(*easy).history_

    expected = history.cross_entropy + 0.4 * history.interaction_loss
    np.testing.assert_allclose(history.loss, expected, rtol=1e-5)


def test_weight_zero_trains_as_without(easy, plain):
    loss = InteractionLoss(weight=0.0)

    clf = PointClassifier(Net, interaction_loss=loss, **QUICK).fit(*easy)

    np.testing.assert_allclose(clf.predict_logits(easy[0]), plain.predict_logits(easy[0]), 1e-5)
    for name, value in plain.module_.state_dict().items():
        torch.testing.assert_close(clf.module_.state_dict()[name], value)


def test_warmup_is_cross_entropy_alone(easy, plain):
    X, y = easy

    whole = PointClassifier(Net, interaction_loss=InteractionLoss(warmup=3), **QUICK).fit(X, y)
    two = PointClassifier(Net, interaction_loss=InteractionLoss(warmup=2), **QUICK).fit(X, y)
    part = PointClassifier(Net, interaction_loss=InteractionLoss(warmup=0.5), **QUICK).fit(X, y)

    assert same(whole, plain, X) and "interaction_low" not in whole.history_
    assert not same(two, plain, X)
    assert two.history_.interaction_low.isna().tolist() == [True, True, False]
    # Of three batches an epoch, the second epoch gives one: its mean, not a third of it.
    assert part.history_.interaction_low.isna().tolist() == [True, False, False]
    assert part.history_.mean_abs_value[2] > 0.5 * part.history_.mean_abs_value[3]


def test_monitor_adds_shares_every_few_epochs(easy):
    X, y = easy
    loss = InteractionLoss(n_regions=5, monitor_every=2)
    silent = clone(loss).set_params(monitor_every=None)

    clf = PointClassifier(Net, interaction_loss=loss, **QUICK).fit(X, y)

    shares = clf.history_[["kappa_low", "kappa_high"]]
    assert shares.isna().all(axis=1).tolist() == [True, False, True]
    assert (shares.loc[2] > 0).all() and shares.loc[2].sum() < 1
    assert same(clf, PointClassifier(Net, interaction_loss=silent, **QUICK).fit(X, y), X)


def test_clones_pickles_and_saves(easy, tmp_path):
    X, y = easy
    loss = InteractionLoss("D", weight=0.2, ranges=((0.0, 0.5), (0.5, 1.0)))
    clf = PointClassifier("pointnet_basic", interaction_loss=loss, **QUICK).fit(X, y)

    loaded = load(save(clf, tmp_path / "classifier.npz"))

    assert clone(clf).interaction_loss.get_params() == loss.get_params()
    assert same(pickle.loads(pickle.dumps(clf)), clf, X)
    assert same(loaded, clf, X)
    assert loaded.interaction_loss.get_params() == loss.get_params()
    assert loaded.history_.equals(clf.history_)


def test_partial_fit_equals_fit(easy):
    X, y = easy
    clf = PointClassifier(Net, interaction_loss=InteractionLoss(warmup=1), **QUICK)

    whole, steps = clone(clf).fit(X, y), clone(clf)
    for _ in range(3):
        steps.partial_fit(X, y)

    # fit measures what BatchNorm remembers anew; the weights are the same.
    pairs = zip(steps.module_.parameters(), whole.module_.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_works_with_early_stopping_and_a_search(easy):
    X, y = easy
    stopping = PointClassifier(Net, interaction_loss="default", early_stopping=True,
                               validation_fraction=0.3, **QUICK).fit(X, y)
    assert {"validation_accuracy", "interaction_low"} <= set(stopping.history_)

    clf = PointClassifier(Net, interaction_loss=InteractionLoss(), **QUICK)
    search = GridSearchCV(clf, {"interaction_loss__weight": [0.01, 0.3]}, cv=2).fit(X, y)
    assert search.best_params_["interaction_loss__weight"] in (0.01, 0.3)


def test_auxiliary_losses_stay_those_of_the_clean_clouds(easy):
    # PointNet keeps its feature transform of the last pass in training mode.
    X, y = easy
    settings = QUICK | {"max_epochs": 1, "learning_rate": 1e-9}
    plain = PointClassifier("pointnet", **settings).fit(X, y)

    loss = InteractionLoss(weight=0.0, warmup=0, batch_norm="train")
    clf = PointClassifier("pointnet", interaction_loss=loss, **settings | {"batch_size": 20})
    one_batch = PointClassifier("pointnet", **settings | {"batch_size": 20}).fit(X, y)

    assert clf.fit(X, y).history_.loss[1] == pytest.approx(one_batch.history_.loss[1], rel=1e-5)
    assert plain.history_.loss[1] > 0


@pytest.mark.parametrize("setting, message", [
    ("papr", "interaction_loss must be None, 'paper', 'default' or an InteractionLoss"),
    (InteractionLoss("E"), "estimator must be one of"),
    (InteractionLoss(n_regions=2), "n_regions of at least 4"),
    (InteractionLoss, "interaction_loss must be None"),
])
def test_wrong_losses_are_refused_before_training(easy, setting, message):
    clf = PointClassifier(Net, interaction_loss=setting, **QUICK)

    with pytest.raises((ValueError, TypeError), match=message):
        clf.fit(*easy)

    assert not hasattr(clf, "module_")


def test_clouds_too_small_to_cut_are_told_of(easy):
    X, y = easy
    clf = PointClassifier(Net, interaction_loss="default", **QUICK)

    with pytest.raises(CloudError, match="interaction_loss cuts every cloud .* n_regions=10"):
        clf.fit(X[:, :8], y)
