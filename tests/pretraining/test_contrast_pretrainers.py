"""What all pre-training methods do that compare two views of a cloud, and what each does alone."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses import bootstrap_loss
from pointinteract.models.contrast import BootstrapNetwork, MomentumContrast
from pointinteract.nn.mlp import LinearNorm
from pointinteract.ops import jitter
from pointinteract.persistence import load, save
from pointinteract.pretraining import (
    BYOLPretrainer,
    CrossPointPretrainer,
    MoCoPretrainer,
    SimCLRPretrainer,
    STRLPretrainer,
)
from pointinteract.pretraining._queue import choose_queue_length
from pointinteract.pretraining._views import CROSSPOINT_VIEWS, STRL_VIEWS, spread, told_apart
from pointinteract.training.data import AUGMENTATIONS, augment
from pointinteract.training.loop import TrainingRun

SMALL = dict(projection_hidden=16, projection_width=8, max_epochs=2, batch_size=4, random_state=0)
KINDS = [SimCLRPretrainer, MoCoPretrainer, BYOLPretrainer, STRLPretrainer, CrossPointPretrainer]


class TinyNet(nn.Module):
    """The least that is asked of a backbone, for tests of many fits."""

    num_features = 24

    def __init__(self, n_channels=3, n_classes=0):
        super().__init__()
        self.layers = nn.Sequential(LinearNorm(n_channels, 16), LinearNorm(16, 24))

    def forward_pool(self, points):
        return self.layers(points).amax(dim=1)


def make(kind, backbone="pointnet_basic", **settings):
    pictures = {"image_size": 12} if kind is CrossPointPretrainer else {}
    return kind(backbone, **SMALL | pictures | settings)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted_ones(X):
    return {kind: make(kind).fit(X) for kind in KINDS}


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def fitted(request, fitted_ones):
    return fitted_ones[request.param]


def rods():
    """Rods and plates along one axis or another: six kinds, of sixteen clouds."""
    generator = np.random.default_rng(0)
    X = 0.05 * generator.normal(size=(48, 32, 3))
    X[np.arange(48), :, np.arange(48) % 3] *= 20
    X[24:, :, 0] += np.linspace(-1, 1, 24)[:, None] * generator.normal(size=(24, 32))
    return X


# All of them -----------------------------------------------------------------------------------


def test_features_are_the_pooled_ones(fitted, X):
    with torch.inference_mode():
        expected = fitted.module_.encoder.forward_pool(torch.from_numpy(fitted._prepare(X)))

    np.testing.assert_allclose(fitted.transform(X), expected, atol=1e-6)
    assert len(fitted.get_feature_names_out()) == 1024


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    for name, value in fitted.module_.state_dict().items():
        assert torch.equal(again.module_.state_dict()[name], value), name
    assert not np.array_equal(other, fitted.transform(X))


def test_views_are_shown_as_training_makes_them(fitted, X):
    shown, again = fitted.draw_views(X), fitted.draw_views(X)
    other = fitted.draw_views(X, random_state=1)

    for i in range(len(X)):
        assert shown.first[i].shape == shown.second[i].shape == (32, 3)
        assert not np.array_equal(shown.first[i], shown.second[i])
        np.testing.assert_array_equal(again.first[i], shown.first[i])
        assert not np.array_equal(other.first[i], shown.first[i])


def test_similarity_is_the_cosine_between_views(fitted, X):
    shown = fitted.similarity(X)

    network = fitted.module_
    second = getattr(network, "keys", getattr(network, "targets", network))
    with torch.inference_mode():
        rows = network(torch.from_numpy(np.stack(shown.first)))
        columns = second(torch.from_numpy(np.stack(shown.second)))
    expected = F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).T
    np.testing.assert_allclose(shown.similarity, expected, atol=1e-5)
    assert shown.accuracy == np.mean(shown.similarity.argmax(axis=1) == np.arange(8))


@pytest.mark.parametrize("kind", KINDS)
def test_training_teaches_what_it_says(kind):
    X = rods()
    pre = make(kind, TinyNet, max_epochs=25, batch_size=16, views=("jitter", "scale_mild"))
    if kind in (MoCoPretrainer, CrossPointPretrainer):
        pre.set_params(temperature=0.2)

    pre.fit(X)

    record = pre.history_
    assert np.isfinite(record.to_numpy()).all()
    # From the second epoch: random keys in a new queue are told apart too easily.
    assert record.loss.iloc[-3:].mean() < 0.9 * record.loss.iloc[1]
    own = np.diag(pre.similarity(X).similarity)
    assert own.mean() > pre.similarity(X).similarity.mean() + 0.1


@pytest.mark.parametrize("backbone, width", [
    ("pointnet", 1024), ("dgcnn", 2048), ("recon_nano", 768)
])
@pytest.mark.parametrize("kind", [MoCoPretrainer, STRLPretrainer])
def test_every_network_with_a_pooled_feature_can_be_trained(kind, backbone, width, X):
    pre = make(kind, backbone, max_epochs=1).fit(X)

    assert pre.transform(X).shape == (8, width)
    assert np.isfinite(pre.history_.to_numpy()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_file_to_the_last_bit(kind, X, tmp_path, monkeypatch):
    whole = make(kind, max_epochs=4).fit(X)
    path, run_epoch = tmp_path / "state", TrainingRun.run_epoch

    def stop_in_the_third(self, *args):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return run_epoch(self, *args)

    monkeypatch.setattr(TrainingRun, "run_epoch", stop_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        make(kind, max_epochs=4, checkpoint=path).fit(X)
    monkeypatch.undo()
    resumed = make(kind, max_epochs=4, checkpoint=path).fit(X)

    for name, value in whole.module_.state_dict().items():
        assert torch.equal(resumed.module_.state_dict()[name], value), name
    assert resumed.history_.loss.tolist() == whole.history_.loss.tolist()


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "pre.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.similarity(X).similarity, fitted.similarity(X).similarity)
        assert copied.partial_fit(X).n_epochs_ == 3


def test_a_classifier_starts_from_it(fitted, X):
    y = np.arange(8) % 2
    model = PointClassifier(pretrained=fitted, max_epochs=1, batch_size=4, random_state=0)

    assert model.fit(X, y).predict(X).shape == (8,)
    fresh = clone(model).set_params(pretrained=clone(fitted)).fit(X, y)  # fits it first
    assert np.array_equal(fresh.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_clouds_and_further_channels(kind, X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small, wide = make(kind, max_epochs=1).fit(ragged), make(kind, max_epochs=1).fit(with_normals)

    assert small.transform(ragged).shape == (8, 1024)
    assert small.similarity(ragged).similarity.shape == (8, 8)
    assert wide.draw_views(with_normals).first[0].shape == (32, 6)
    assert wide.similarity(with_normals).similarity.shape == (8, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_each_option_changes_the_result(kind, X):
    reference = make(kind, TinyNet).fit(X)
    features = reference.transform(X)
    own = {"temperature": 0.5, "momentum": 0.3, "queue_length": 3, "image_weight": 0.0,
           "image_size": 16, "image_jitter": 0.0, "up": "y"}
    settings = {name: value for name, value in own.items() if hasattr(reference, name)}
    settings |= {"views": "jitter", "projection_hidden": 8, "projection_width": 4, "n_points": 16,
                 "learning_rate": 1e-2, "weight_decay": 0.9, "warmup_epochs": 0, "batch_size": 8,
                 "schedule": "constant", "normalize": False}  # fmt: skip

    for name, value in settings.items():
        changed = clone(reference).set_params(**{name: value}).fit(X)
        assert not np.array_equal(changed.transform(X), features), name


def test_warm_start_goes_on_and_refuses_another_network(fitted, X):
    pre = clone(fitted).set_params(warm_start=True).fit(X)

    assert pre.fit(X).n_epochs_ == 4
    with pytest.raises(ValueError, match="width was 8 and is 9"):
        pre.set_params(projection_width=9).fit(X)


@pytest.mark.parametrize("kind", KINDS)
def test_one_cloud_is_warned_of(kind, X):
    with pytest.warns(PointInteractWarning, match="nothing to tell apart"):
        pre = make(kind, max_epochs=1).fit(X[:1])

    assert np.isfinite(pre.history_.to_numpy()).all()


@pytest.mark.parametrize("kind, settings, error, message", [
    (SimCLRPretrainer, {"backbone": "dgcn"}, ValueError, "Did you mean 'dgcnn'"),
    (SimCLRPretrainer, {"views": None}, ValueError, "both would be the same"),
    (BYOLPretrainer, {"views": ("crop", "flip")}, ValueError, "views must be None, a callable"),
    (SimCLRPretrainer, {"temperature": 0.0}, ValueError, r"temperature must be in \(0"),
    (SimCLRPretrainer, {"projection_hidden": 0}, ValueError, "projection_hidden must be at"),
    (STRLPretrainer, {"projection_width": 1.5}, TypeError, "projection_width must be an integer"),
    (MoCoPretrainer, {"momentum": 1.1}, ValueError, r"momentum must be in \[0"),
    (STRLPretrainer, {"momentum": -0.1}, ValueError, r"momentum must be in \[0"),
    (MoCoPretrainer, {"queue_length": 0}, ValueError, "queue_length must be at least 1"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(kind, settings, error, message, X):
    pre = make(kind, **settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


# Views and measures ----------------------------------------------------------------------------


def test_every_list_of_views_works_and_a_function_stands_for_one(X):
    points, generator = torch.from_numpy(X), torch.Generator().manual_seed(0)
    for views in (*AUGMENTATIONS, STRL_VIEWS, CROSSPOINT_VIEWS):
        assert augment(points, views, generator).shape == points.shape

    def shake(points, generator):
        return jitter(points, generator=generator)

    named, function = (make(SimCLRPretrainer, views=views).fit(X) for views in ("jitter", shake))

    assert np.array_equal(named.transform(X), function.transform(X))


def test_spread_tells_a_collapse_and_told_apart_counts_own_rows():
    rows = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))

    assert float(spread(rows)) == pytest.approx(1.0, abs=0.05)
    assert float(spread(torch.ones(9, 4))) == pytest.approx(0.0, abs=1e-6)
    assert told_apart(rows, 2 * rows) == 1 and told_apart(rows, rows.roll(1, 0)) == 0
    assert told_apart(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]]) == 0.5


# MoCo ------------------------------------------------------------------------------------------


def test_keys_are_made_after_the_update_and_pushed_after_the_loss(X, monkeypatch):
    calls = []
    for name in ("forward", "follow", "keys"):
        method = getattr(MomentumContrast, name)
        monkeypatch.setattr(MomentumContrast, name, lambda self, *args, m=method, n=name: (
            calls.append(n) or m(self, *args)
        ))  # fmt: skip

    make(MoCoPretrainer, max_epochs=1).fit(X)

    assert calls == ["forward", "follow", "keys"] * 2


@pytest.mark.parametrize(
    ("given", "n_clouds", "length"), [(None, 16, 8), (None, 1, 1), (None, 10**6, 9), (5, 2, 5)]
)
def test_a_queue_nobody_chose_is_shorter_than_the_clouds_are_many(given, n_clouds, length):
    assert choose_queue_length(given, n_clouds, most=9) == length


def test_the_queue_holds_half_of_the_clouds_or_what_is_asked_for(X):
    half, more = make(MoCoPretrainer).fit(X), make(MoCoPretrainer, queue_length=11).fit(X)

    assert half.module_.queue.queue.shape == (8, 4) and more.module_.queue.queue.shape == (8, 11)
    torch.testing.assert_close(more.module_.queue.queue.norm(dim=0), torch.ones(11))
    assert more.module_.queue.queue_ptr.tolist() == [16 % 11]
    again = clone(more).set_params(max_epochs=0).fit(X).module_.queue.queue
    assert not (again == more.module_.queue.queue).all(dim=0).any()  # none is left of the start


def test_momentum_one_keeps_the_keys_network_as_it_was(X):
    start = make(MoCoPretrainer, max_epochs=0).fit(X).module_
    kept = make(MoCoPretrainer, momentum=1.0).fit(X).module_
    near = make(MoCoPretrainer, momentum=0.5).fit(X).module_

    for name, value in start.key_encoder.named_parameters():
        assert torch.equal(kept.key_encoder.get_parameter(name), value)
    weights = [m.layer1.linear.weight for m in (start.encoder, near.key_encoder, near.encoder)]
    assert 0 < (weights[1] - weights[0]).norm() < (weights[2] - weights[0]).norm()
    # Statistics are what the keys' network saw itself.
    means = [m.layer1.norm.running_mean for m in (near.key_encoder, near.encoder)]
    assert means[0].norm() > 0 and not torch.equal(*means)


# BYOL and STRL ---------------------------------------------------------------------------------


def test_the_target_follows_after_each_step_ever_more_slowly(X, monkeypatch):
    calls = []
    follow = BootstrapNetwork.follow

    def note(self, momentum, *, buffers=False):
        calls.append((momentum, buffers))
        follow(self, momentum, buffers=buffers)

    monkeypatch.setattr(BootstrapNetwork, "follow", note)

    make(STRLPretrainer, momentum=0.9, max_epochs=4).fit(X)

    # t of T steps, two in each epoch, as the published code counts them.
    expected = [1 - (1 - 0.9) * (math.cos(math.pi * t / 8) + 1) / 2 for t in range(8)]
    assert [momentum for momentum, _ in calls] == pytest.approx(expected)
    assert all(buffers for _, buffers in calls)


@pytest.mark.parametrize("average", [False, True])
def test_a_target_without_momentum_is_the_network_after_the_step(average, X):
    pre = make(BYOLPretrainer, momentum=0.0, average_buffers=average, max_epochs=1, batch_size=8,
               warmup_epochs=0)
    start = clone(pre).set_params(max_epochs=0).fit(X).module_

    network = pre.fit(X).module_

    for name, value in network.encoder.named_parameters():
        assert torch.equal(network.target_encoder.get_parameter(name), value)
    weights = network.encoder.layer1.linear.weight
    assert not torch.equal(weights, start.encoder.layer1.linear.weight)
    for name, value in network.encoder.named_buffers():
        if "running" in name:
            target = network.target_encoder.get_buffer(name)
            assert torch.equal(target, value) == average
            # In training mode it has statistics of its own.
            assert not torch.equal(target, start.target_encoder.get_buffer(name))


def test_both_directions_are_in_the_loss(X):
    pre = make(BYOLPretrainer, max_epochs=1).fit(X)
    points, generator = torch.from_numpy(X), torch.Generator().manual_seed(3)
    network = pre.module_  # in evaluation, so that the order of passes does not matter

    loss, parts = pre._compute_loss(points, torch.arange(8), None, generator)

    generator.manual_seed(3)
    first, second = (augment(points, pre.views, generator) for _ in range(2))
    expected = bootstrap_loss(network(first), network.targets(second))
    expected = expected + bootstrap_loss(network(second), network.targets(first))
    torch.testing.assert_close(loss, expected)
    assert set(parts) == {"bootstrap", "spread", "momentum"}


def test_strl_is_byol_with_its_own_views_and_statistics(X):
    assert (STRLPretrainer().views, STRLPretrainer().average_buffers) == (STRL_VIEWS, True)

    strl = make(STRLPretrainer).fit(X)
    byol = make(BYOLPretrainer, views=STRL_VIEWS, average_buffers=True).fit(X)

    assert np.array_equal(strl.transform(X), byol.transform(X))
