import copy
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from pointinteract.exceptions import PointInteractWarning
from pointinteract.ops import chamfer_distance
from pointinteract.persistence import load, save
from pointinteract.pretraining import OcCoPretrainer
from pointinteract.pretraining._camera import random_cameras, take_visible, visible_points

SMALL = dict(n_coarse=8, decoder_width=16, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return OcCoPretrainer("pointnet_basic", **SMALL).fit(X)


@pytest.fixture
def spheres():
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(4, 1024, 3, generator=generator), dim=2)


# The camera ------------------------------------------------------------------------------------


def test_cameras_stand_around_the_cloud_at_their_distance(spheres):
    generator = torch.Generator().manual_seed(0)
    clouds = 3 * spheres.repeat(16, 1, 1) + torch.tensor([5.0, 0, -2])
    center = clouds.mean(dim=1)

    cameras = random_cameras(clouds, generator, 2.0)

    radius = (clouds - center.unsqueeze(1)).norm(dim=2).amax(dim=1)
    torch.testing.assert_close((cameras - center).norm(dim=1), 2 * radius)
    directions = F.normalize(cameras - center, dim=1)
    assert directions.mean(dim=0).norm() < 0.4 and (directions.std(dim=0) > 0.4).all()


def test_of_a_sphere_the_cap_towards_the_camera_is_seen(spheres):
    cameras = random_cameras(spheres, torch.Generator().manual_seed(1), 2.0)

    seen = visible_points(spheres, cameras)

    # A tangent from distance 2 touches the unit sphere at height 1 / 2 towards the camera.
    truly = (spheres * F.normalize(cameras, dim=1).unsqueeze(1)).sum(dim=2) > 0.5
    assert seen[truly].float().mean() > 0.85
    assert seen[~truly].float().mean() < 0.15


def test_a_wall_hides_what_stands_behind_it_and_not_what_stands_beside():
    generator = torch.Generator().manual_seed(0)
    wall = torch.rand(400, 3, generator=generator) * torch.tensor([1.0, 1, 0])
    behind = 0.3 + 0.4 * torch.rand(50, 3, generator=generator) - torch.tensor([0, 0, 1.5])
    beside = behind + torch.tensor([1.5, 0, 0])
    cloud = torch.cat([wall, behind, beside])[None]

    seen = visible_points(cloud, torch.tensor([[0.5, 0.5, 50.0]]), n_bins=24)[0].float()

    assert seen[:400].mean() == 1 and seen[400:450].mean() == 0 and seen[450:].mean() > 0.7


def test_what_is_seen_does_not_depend_on_scale_place_or_order(spheres):
    cameras = random_cameras(spheres, torch.Generator().manual_seed(1), 2.0)
    seen = visible_points(spheres, cameras)
    order = torch.randperm(1024, generator=torch.Generator().manual_seed(0))

    moved = visible_points(4 * spheres + 8, 4 * cameras + 8)
    shuffled = visible_points(spheres[:, order], cameras)

    assert (moved == seen).float().mean() > 0.995  # rounding at the edges of bins
    assert torch.equal(shuffled, seen[:, order])


@pytest.mark.parametrize("n_points", [1, 2])
def test_a_cloud_of_hardly_any_points_is_seen(n_points):
    points = torch.ones(3, n_points, 3)

    assert visible_points(points, random_cameras(points, torch.Generator(), 2.0)).all()


def test_only_visible_points_are_taken_and_repeated_where_they_are_few():
    points = torch.arange(10.0).view(1, 10, 1).expand(2, 10, 3)
    visible = torch.zeros(2, 10, dtype=torch.bool)
    visible[0, [2, 5, 7]], visible[1, 1:] = True, True

    taken = take_visible(points, visible, 6, torch.Generator().manual_seed(0))[..., 0]

    assert sorted(taken[0].tolist()) == [2, 2, 5, 5, 7, 7]
    assert len(set(taken[1].tolist())) == 6 and 0 not in taken[1]


# The estimator ---------------------------------------------------------------------------------


def test_features_are_the_pooled_ones_of_the_whole_cloud(fitted, X):
    with torch.inference_mode():
        expected = fitted.module_.encoder.forward_pool(torch.from_numpy(fitted._prepare(X)))

    np.testing.assert_allclose(fitted.transform(X), expected, atol=1e-6)
    assert len(fitted.get_feature_names_out()) == 1024


@pytest.mark.parametrize("backbone, width", [
    ("pointnet", 1024), ("dgcnn", 2048), ("recon_nano", 768)
])
def test_every_network_with_a_pooled_feature_can_be_trained(backbone, width, X):
    pre = OcCoPretrainer(backbone, **SMALL | {"max_epochs": 1}).fit(X)

    assert pre.transform(X).shape == (8, width)
    terms = set(pre.history_.columns) - {"loss", "learning_rate", "seconds"}
    assert terms == {"coarse", "fine", "fine_weight"}
    assert np.isfinite(pre.history_.to_numpy()).all()


def test_training_makes_clouds_whole():
    # Rods along one axis or another, anywhere: only the feature can tell which.
    generator = np.random.default_rng(0)
    X = 0.05 * generator.normal(size=(16, 48, 3))
    X[np.arange(16), :, np.arange(16) % 3] *= 20
    pre = OcCoPretrainer("pointnet_basic", **SMALL | {"max_epochs": 60, "decoder_width": 64})
    start = clone(pre).set_params(max_epochs=0).fit(X)

    pre.fit(X)

    assert pre.history_.coarse.iloc[-1] < 0.5 * pre.history_.coarse.iloc[0]
    assert np.mean(pre.complete(X).error) < 0.5 * np.mean(start.complete(X).error)


def test_completion_shows_what_was_seen_and_what_was_made(fitted, X):
    shown = fitted.complete(X)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        assert shown.partial[i].shape == (16, 3) and shown.completed[i].shape == (32, 3)
        assert shown.coarse[i].shape == (8, 3)
        np.testing.assert_array_equal(shown.target[i], prepared[i])
        rows = {tuple(row) for row in prepared[i]}
        assert {tuple(row) for row in shown.partial[i]} < rows
        pair = [torch.from_numpy(part)[None] for part in (shown.completed[i], shown.target[i])]
        assert shown.error[i] == pytest.approx(float(chamfer_distance(*pair)), rel=1e-4)
    again, other = fitted.complete(X), fitted.complete(X, random_state=1)
    assert np.array_equal(again.partial[0], shown.partial[0])
    assert not np.array_equal(other.partial[0], shown.partial[0])


def test_a_scan_is_completed_as_it_is(fitted, X):
    shown = fitted.complete(X, occlude=False)

    assert set(shown) == {"partial", "coarse", "completed"}
    np.testing.assert_array_equal(np.stack(shown.partial), fitted._prepare(X))


def test_the_fine_cloud_comes_to_count_as_training_goes_on(X):
    rising = OcCoPretrainer("pointnet_basic", **SMALL | {"max_epochs": 16}).fit(X).history_
    fixed = OcCoPretrainer("pointnet_basic", fine_weight=0.25, **SMALL).fit(X).history_

    assert rising.fine_weight.round(4).tolist() == [0.01, 0.01, 0.1, 0.5, 0.5, 0.5] + 10 * [1.0]
    assert fixed.fine_weight.tolist() == [0.25, 0.25]
    np.testing.assert_allclose(fixed.loss, fixed.coarse + 0.25 * fixed.fine, rtol=1e-5)


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"n_visible": 5}, {"camera_distance": 1.1}, {"n_coarse": 9}, {"n_fold": 3},
                     {"decoder_width": 8}, {"reconstruction_loss": "cdl2"}, {"fine_weight": 1.0},
                     {"learning_rate": 1e-2}, {"weight_decay": 0.9}, {"warmup_epochs": 0},
                     {"schedule": "constant"}, {"augmentation": "jitter"}, {"n_points": 16},
                     {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_ragged_clouds_and_further_channels(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small = OcCoPretrainer("pointnet_basic", **SMALL).fit(ragged)
    wide = OcCoPretrainer("pointnet_basic", **SMALL).fit(with_normals)

    assert small.transform(ragged).shape == (8, 1024) and len(small.complete(ragged).error) == 8
    assert wide.complete(with_normals).partial[0].shape == (16, 6)
    assert wide.complete(with_normals).target[0].shape == (32, 3)


def test_warm_start_goes_on_and_refuses_another_network(fitted, X):
    pre = clone(fitted).set_params(warm_start=True).fit(X)

    pre.fit(X)

    assert pre.n_epochs_ == 4
    with pytest.raises(ValueError, match="n_coarse was 8 and is 9"):
        pre.set_params(n_coarse=9).fit(X)


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "occo.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.complete(X).completed[0], fitted.complete(X).completed[0])
        assert copied.partial_fit(X).n_epochs_ == 3


@pytest.mark.parametrize("settings, error, message", [
    ({"backbone": "dgcn"}, ValueError, "Did you mean 'dgcnn'"),
    ({"n_visible": 0}, ValueError, "n_visible must be at least 1"),
    ({"camera_distance": 1.0}, ValueError, r"camera_distance must be in \(1"),
    ({"n_coarse": 0}, ValueError, "n_coarse must be at least 1"),
    ({"n_fold": 1.5}, TypeError, "n_fold must be an integer"),
    ({"decoder_width": -4}, ValueError, "decoder_width must be at least 1"),
    ({"reconstruction_loss": "emd"}, ValueError, "reconstruction_loss must be one of 'cdl1'"),
    ({"fine_weight": "falling"}, ValueError, "fine_weight must be one of 'rising'"),
    ({"fine_weight": -1.0}, ValueError, r"fine_weight must be in \[0"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = OcCoPretrainer(**{"backbone": "pointnet_basic", **SMALL, **settings})

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_point_are_warned_of(X):
    with pytest.warns(PointInteractWarning, match="nothing to complete"):
        OcCoPretrainer("pointnet_basic", **SMALL).fit(X[:, :1])
