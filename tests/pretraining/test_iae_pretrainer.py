import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses import field_loss
from pointinteract.ops import surface_distance
from pointinteract.persistence import load, save
from pointinteract.pretraining import IAEPretrainer
from pointinteract.pretraining._field_lessons import (
    cut_column,
    draw_queries,
    has_normals,
    reference_surfaces,
    spoil_clouds,
    turn_all,
)


class Coordinates(torch.nn.Module):
    """A backbone of our own: a little network on every point, no more."""

    permutation_invariant = True
    num_features = 16

    def __init__(self, n_channels=3, n_classes=40):
        super().__init__()
        self.points = torch.nn.Sequential(
            torch.nn.Linear(n_channels, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16)
        )

    def forward_features(self, points):
        return self.points(points)

    def forward_pool(self, points):
        return self.forward_features(points).amax(1)


SMALL = dict(n_queries=32, plane_resolution=8, unet_depth=2, unet_width=4, decoder_width=8,
             hidden=16, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def spheres():
    """Ellipsoids of different widths with their normals, (8, 64, 6)."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(8, 64, 3))
    points /= np.linalg.norm(points, axis=2, keepdims=True)
    widths = generator.uniform(0.4, 1, size=(8, 1, 3))
    normals = points / widths
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.concatenate([points * widths, normals], axis=2).astype("f4")


@pytest.fixture(scope="module")
def X(spheres):
    return spheres[..., :3]


@pytest.fixture(scope="module")
def fitted(X):
    return IAEPretrainer(Coordinates, **SMALL).fit(X)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# What is learned from --------------------------------------------------------------------------


def test_only_unit_vectors_count_as_normals(spheres, X):
    colors = np.concatenate([X, np.full_like(X, 0.5)], axis=2)

    assert has_normals(spheres) and has_normals(list(spheres))
    assert not has_normals(X) and not has_normals(colors)


def test_surfaces_keep_given_normals_and_estimate_missing_ones(spheres):
    given = reference_surfaces(spheres, 64, given=True, orient=True)
    found = reference_surfaces(spheres, 64, given=False, orient=True)
    thinned = reference_surfaces(spheres, 16, given=True, orient=True)

    assert torch.equal(given[..., :6], torch.from_numpy(spheres))
    assert (given[..., 3:6] * found[..., 3:6]).sum(2).mean() > 0.9
    assert thinned.shape == (8, 16, 7)
    assert thinned[..., 6].sum(1).mean() == pytest.approx(float(given[..., 6].sum(1).mean()),
                                                          rel=0.3)


def test_repeated_points_of_smaller_clouds_have_no_area(spheres):
    ragged = [cloud[: 40 + i] for i, cloud in enumerate(spheres)]

    surfaces = reference_surfaces(ragged, 64, given=True, orient=True)

    assert surfaces.shape == (8, 47, 7)
    assert (surfaces[0, 40:, 6] == 0).all() and (surfaces[0, :40, 6] > 0).all()
    assert torch.equal(surfaces[0, 40:, :6], surfaces[0, :7, :6])


def test_places_are_near_the_surface_and_anywhere_in_the_box(X, generator):
    surface = torch.from_numpy(X)

    queries = draw_queries(surface, 400, near_share=0.25, near_sigma=0.02, extent=1.1,
                           generator=generator)

    distance = surface_distance(queries, surface)
    assert queries.shape == (8, 400, 3) and queries.abs().max() <= 1.1
    assert distance[:, :100].max() < 0.15 < distance[:, 100:].mean()
    assert queries[:, 100:].amax() > 1.05 and queries[:, 100:].mean().abs() < 0.05


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_the_middle_column_goes_whole_and_the_rim_stays(up, generator):
    points = 2 * torch.rand(16, 500, 3, generator=generator) - 1
    level = [i for i in range(3) if i != "xyz".index(up)]

    left = cut_column(points, 0.5, up, generator)

    reach = points[..., level].abs().amax(2)
    assert left[reach > 0.52].all()
    shares = 1 - left.float().mean(1)
    assert shares.max() > 0.1 and shares.max() < 0.3 and shares.std() > 0.02
    inner = torch.where(left, reach, 2.0).amin(1)  # of what is left
    outer = torch.where(left, 0.0, reach).amax(1)  # of what is cut
    assert (outer < inner + 0.05).all()
    assert cut_column(points, 0.0, up, generator).all()
    assert cut_column(torch.ones(2, 5, 3), 0.5, up, generator).all()


def test_spoiled_clouds_are_blurred_samples_of_what_is_left(spheres, generator):
    points = torch.from_numpy(spheres)
    seen = spoil_clouds(points, n_points=30, max_cut=0.0, noise=0.0, up="z", generator=generator)
    blurred = spoil_clouds(points, n_points=None, max_cut=0.5, noise=0.01, up="z",
                           generator=generator)

    assert seen.shape == (8, 30, 6) and blurred.shape == (8, 64, 6)
    rows = {tuple(row) for row in points[0].tolist()}
    assert {tuple(row) for row in seen[0].tolist()} < rows
    distance = surface_distance(blurred[..., :3].contiguous(), points[..., :3].contiguous())
    assert 0.005 < distance.mean() < 0.03


def test_cloud_places_and_normals_turn_together_by_steps(spheres, generator):
    points = torch.from_numpy(spheres)

    turned, queries = turn_all(points, points[..., :3], "y", True, generator)

    assert torch.equal(turned[..., :3], queries)
    torch.testing.assert_close(turned[..., 1], points[..., 1])
    along = (points[..., :3] * points[..., 3:]).sum(2)
    torch.testing.assert_close((turned[..., :3] * turned[..., 3:]).sum(2), along)
    flat, start = queries[..., [0, 2]], points[..., [0, 2]]
    angles = torch.atan2(flat[..., 1], flat[..., 0]) - torch.atan2(start[..., 1], start[..., 0])
    steps = torch.rad2deg(angles) / 15
    assert (steps - steps.round()).abs().max() < 1e-3
    assert torch.equal(turn_all(points, queries, "y", False, generator)[0][..., 3:],
                       points[..., 3:])


# The estimator ---------------------------------------------------------------------------------


def test_features_are_the_pooled_ones_of_the_whole_cloud(fitted, X):
    with torch.inference_mode():
        expected = fitted.module_.encoder.forward_pool(torch.from_numpy(fitted._prepare(X)))

    np.testing.assert_allclose(fitted.transform(X), expected, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(X[2:3])[0], expected[2], atol=1e-6)
    assert len(fitted.get_feature_names_out()) == 16


@pytest.mark.parametrize("target", ["signed", "unsigned"])
def test_training_finds_the_surface(target, X):
    pre = IAEPretrainer(Coordinates, target=target, max_cut=0.0, turn=False,
                        **SMALL | {"max_epochs": 50, "learning_rate": 0.01, "n_queries": 128,
                                   "unet_width": 8, "decoder_width": 16})

    pre.fit(X)

    assert pre.history_.error.iloc[-1] < 0.45 * pre.history_.error.iloc[0]
    np.testing.assert_allclose(pre.history_.loss, 128 * pre.history_.error, rtol=1e-4)
    shown = pre.reconstruct(X, n_points=200, resolution=16)
    assert np.mean(shown.error) < 0.12 and max(map(len, shown.reconstructed)) <= 200
    field = pre.implicit_field(X, resolution=5).field
    assert (field[:, 0, 0, 0] > 0.3).all()
    if target == "signed":
        assert (field[:, 2, 2, 2] < 0).all()


def test_field_stands_on_the_grid_that_it_names(fitted, X):
    shown = fitted.implicit_field(X, resolution=6)

    axis = torch.from_numpy(shown.axis)
    assert shown.field.shape == (8, 6, 6, 6) and axis[0] == -1.1 and axis[-1] == 1.1
    with torch.inference_mode():
        place = torch.stack([axis[1], axis[4], axis[2]]).view(1, 1, 3)
        value = fitted.module_(torch.from_numpy(fitted._prepare(X)[3:4]), place)
    assert shown.field[3, 1, 4, 2] == pytest.approx(float(value), abs=1e-6)


def test_reconstruction_shows_what_was_seen(fitted, X):
    whole, spoiled = fitted.reconstruct(X), fitted.reconstruct(X, spoil=True)

    prepared = fitted._prepare(X)
    np.testing.assert_array_equal(np.stack(whole.seen), prepared)
    np.testing.assert_array_equal(np.stack(spoiled.target), prepared)
    assert not np.array_equal(spoiled.seen[0], prepared[0])
    again, other = (fitted.reconstruct(X, spoil=True, random_state=i) for i in (0, 1))
    assert np.array_equal(again.seen[0], spoiled.seen[0])
    assert not np.array_equal(other.seen[0], spoiled.seen[0])


def test_a_field_without_zeros_has_no_surface(X):
    pre = IAEPretrainer(Coordinates, **SMALL | {"max_epochs": 0}).fit(X)
    torch.nn.init.constant_(pre.module_.decoder.out.bias, 0.5)

    shown = pre.reconstruct(X)

    assert shown.reconstructed[0].shape == (0, 3) and np.isnan(shown.error).all()


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"target": "unsigned"}, {"surface": "points"}, {"n_surface": 32},
                     {"n_queries": 16}, {"near_share": 0.1}, {"near_sigma": 0.3},
                     {"n_input": 16}, {"max_cut": 0.0}, {"noise": 0.1}, {"turn": False},
                     {"up": "y"}, {"plane_resolution": 16}, {"unet_depth": 1},
                     {"unet_width": 8}, {"decoder_width": 16}, {"hidden": 8},
                     {"learning_rate": 1e-2}, {"weight_decay": 0.9}, {"warmup_epochs": 0},
                     {"schedule": "constant"}, {"augmentation": "scale"}, {"n_points": 32},
                     {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_given_normals_are_used_and_missing_ones_are_refused(spheres, X):
    pre = IAEPretrainer(Coordinates, **SMALL)
    auto = clone(pre).fit(spheres)
    given = clone(pre).set_params(normals="given").fit(spheres)
    estimated = clone(pre).set_params(normals="estimated").fit(spheres)

    assert np.array_equal(auto.transform(spheres), given.transform(spheres))
    assert not np.array_equal(auto.transform(spheres), estimated.transform(spheres))
    with pytest.raises(ValueError, match="channels 4 to 6 of X; these clouds have 3 channels"):
        clone(pre).set_params(normals="given").fit(X)


def test_surface_and_places_move_with_the_augmented_cloud(X):
    seen = []

    def stretch(points, generator):
        seen.append(points.shape)
        return points * torch.tensor([0.5, 0.5, 1.0])

    pre = IAEPretrainer(Coordinates, augmentation=stretch, **SMALL).fit(X)

    assert set(seen) == {(4, 64 + 64 + 32, 3)} and np.isfinite(pre.history_.loss).all()


def test_ragged_clouds_files_and_a_classifier(X, tmp_path):
    ragged = [cloud[: 30 + i] for i, cloud in enumerate(X)]
    settings = SMALL | {"max_epochs": 1}

    pre = IAEPretrainer("pointnet_basic", **settings).fit(ragged)

    assert pre.transform(ragged).shape == (8, 1024)
    for copied in (pickle.loads(pickle.dumps(pre)), load(save(pre, tmp_path / "iae.npz"))):
        assert np.array_equal(copied.transform(X), pre.transform(X))
        field = copied.implicit_field(X, resolution=4).field
        assert np.array_equal(field, pre.implicit_field(X, resolution=4).field)
        assert copied.partial_fit(X).n_epochs_ == 2
    classifier = PointClassifier(pretrained=pre, max_epochs=1, batch_size=4, random_state=0)
    assert classifier.fit(X, np.arange(8) % 2).predict(X).shape == (8,)


def test_training_resumes_where_it_was_killed(fitted, X, tmp_path, monkeypatch):
    pre = clone(fitted).set_params(checkpoint=tmp_path / "state")
    calls = []

    def killed(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:  # in the second of two epochs
            raise SystemExit
        return field_loss(*args, **kwargs)

    monkeypatch.setattr("pointinteract.pretraining._iae.field_loss", killed)
    with pytest.raises(SystemExit):
        clone(pre).fit(X)
    assert pre.fit(X).n_epochs_ == 2

    assert len(calls) == 4 + 2
    assert np.array_equal(pre.transform(X), fitted.transform(X))


@pytest.mark.parametrize("settings, error, message", [
    ({"backbone": "recon_nano"}, ValueError, "one row of features a point is needed"),
    ({"target": "occupancy"}, ValueError, "target must be one of 'signed'"),
    ({"surface": "mesh"}, ValueError, "surface must be one of 'disks'"),
    ({"normals": "none"}, ValueError, "normals must be one of 'auto'"),
    ({"up": "w"}, ValueError, "up must be one of 'z'"),
    ({"max_cut": 1.0}, ValueError, r"max_cut must be in \[0.0, 1.0\)"),
    ({"near_share": 1.5}, ValueError, "near_share must be in"),
    ({"n_queries": 0}, ValueError, "n_queries must be at least 1"),
    ({"n_input": 0}, ValueError, "n_input must be at least 1"),
    ({"plane_resolution": 9}, ValueError, "plane_resolution must be a multiple of 2"),
    ({"augmentation": ("scale", "drop")}, ValueError, "which 'drop' does not"),
    ({"augmentation": "jitter"}, ValueError, "which 'jitter' does not"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = IAEPretrainer(**{"backbone": Coordinates, **SMALL, **settings})

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_point_are_warned_of(X):
    with pytest.warns(PointInteractWarning, match="no surface to learn"):
        IAEPretrainer(Coordinates, **SMALL).fit(X[:, :1])


def test_true_distances_of_ellipsoids_are_what_is_asked_for(spheres):
    # The lesson itself: a network that answers the truth has (almost) no loss.
    pre = IAEPretrainer(Coordinates, normalize=False, turn=False,
                        **SMALL | {"max_epochs": 0}).fit(F.normalize(torch.from_numpy(
                            spheres[..., :3]), dim=2).numpy())
    ball = F.normalize(torch.randn(4, 900, 3, generator=torch.Generator().manual_seed(0)), dim=2)
    targets = reference_surfaces(ball.numpy(), 900, given=False, orient=True)

    class Truth(torch.nn.Module):
        extent = 1.1
        encoder = pre.module_.encoder

        def forward(self, points, queries):
            return queries.norm(dim=2) - 1

    pre.module_ = Truth()
    _, parts = pre._compute_loss(ball, torch.arange(4), targets, torch.Generator())

    assert parts["error"] < 0.015
