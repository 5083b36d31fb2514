import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses import point_contrast_loss
from pointinteract.persistence import load, save
from pointinteract.pretraining import PointContrastPretrainer
from pointinteract.pretraining._overlap import (
    camera_views,
    crop_views,
    find_overlap,
    turn_views,
)


class Coordinates(torch.nn.Module):
    """A backbone of our own: a little network on every point, no more."""

    permutation_invariant = True
    num_features = 32

    def __init__(self, n_channels=3, n_classes=40):
        super().__init__()
        self.points = torch.nn.Sequential(
            torch.nn.Linear(n_channels, 32), torch.nn.ReLU(), torch.nn.Linear(32, 32)
        )

    def forward_features(self, points):
        return self.points(points)

    def forward_pool(self, points):
        return self.forward_features(points).amax(1)


SMALL = dict(n_matches=8, n_embedding=8, hidden=16, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return PointContrastPretrainer(Coordinates, **SMALL).fit(X)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


# Views -----------------------------------------------------------------------------------------


def test_crops_are_balls_of_points_that_always_overlap(X, generator):
    points = torch.from_numpy(X)

    for _ in range(20):
        first, second = crop_views(points, 0.65, generator)

        assert (first.sum(1) == 21).all() and (second.sum(1) == 21).all()
        assert ((first & second).sum(1) >= 10).all()
    assert not torch.equal(first, second)
    for cloud, kept in zip(points, first, strict=True):
        reach = torch.cdist(cloud, cloud)  # from some point, all that are kept come first
        inner = torch.where(kept, reach, 0.0).amax(1)
        outer = torch.where(kept, torch.inf, reach).amin(1)
        assert (inner < outer).any()


def test_cameras_that_stand_close_see_much_the_same(generator):
    ball = torch.nn.functional.normalize(torch.randn(8, 400, 3, generator=generator), dim=2)

    def shared(max_angle):
        first, second = camera_views(ball, 2.0, max_angle, generator)
        assert 0.1 < first.float().mean() < 0.5 and 0.1 < second.float().mean() < 0.5
        return float((first & second).sum() / (first | second).sum())

    assert shared(0.0) == 1 and 0.4 < shared(30.0) < 1 and shared(180.0) < 0.4


def test_matches_are_rows_of_one_point(generator):
    visible = torch.rand(2, 6, 20, generator=generator) < 0.6
    visible[:, 0] = torch.arange(20) < 3  # fewer than are wanted

    overlap = find_overlap((visible[0], visible[1]), 10, 7, generator)

    assert overlap.first.shape == (6, 10) and overlap.match.shape == (6, 7, 2)
    for side, (index, seen) in enumerate(zip(overlap[:2], visible, strict=True)):
        assert seen.gather(1, index).all()
        rows = index.gather(1, overlap.match[..., side])
        other = overlap[1 - side].gather(1, overlap.match[..., 1 - side])
        assert torch.equal(rows[overlap.valid], other[overlap.valid])
    assert overlap.valid[0].sum() == 3
    for i in range(6):
        shared = set(overlap.first[i].tolist()) & set(overlap.second[i].tolist())
        points = overlap.first[i][overlap.match[i, overlap.valid[i], 0]].tolist()
        assert len(set(points)) == len(points) == min(len(shared), 7)


def test_views_without_a_common_point_match_nothing(generator):
    first = torch.arange(10).expand(2, -1) < 5

    overlap = find_overlap((first, ~first), 5, 4, generator)

    assert not overlap.valid.any() and not overlap.match.any()


def test_each_view_turns_its_own_way_and_normals_with_it(X, generator):
    normals = torch.nn.functional.normalize(torch.from_numpy(X), dim=2)
    points = torch.cat([torch.from_numpy(X), normals, torch.ones(8, 32, 1)], dim=2)

    turned = turn_views(points, "all", 0.0, True, generator)

    torch.testing.assert_close(turned[..., :3].norm(dim=2), points[..., :3].norm(dim=2))
    torch.testing.assert_close(
        torch.nn.functional.normalize(turned[..., :3], dim=2), turned[..., 3:6]
    )
    assert torch.equal(turned[..., 6], points[..., 6])
    gram = turned[..., :3] @ turned[..., :3].transpose(1, 2)
    torch.testing.assert_close(gram, points[..., :3] @ points[..., :3].transpose(1, 2),
                               atol=1e-4, rtol=1e-4)
    matrix = torch.linalg.lstsq(points[..., :3], turned[..., :3]).solution
    torch.testing.assert_close(torch.linalg.det(matrix), torch.ones(8))
    assert (matrix[0] - matrix[1]).abs().max() > 0.1
    assert torch.equal(turn_views(points, "none", 0.0, False, generator), points)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_a_turn_about_an_axis_leaves_its_coordinate(axis, X, generator):
    points, kept = torch.from_numpy(X), "xyz".index(axis)

    turned = turn_views(points, axis, 0.0, False, generator)

    torch.testing.assert_close(turned[..., kept], points[..., kept])
    assert (turned - points).abs().amax(dim=(1, 2)).min() > 0.1


# The estimator ---------------------------------------------------------------------------------


def test_features_are_the_pooled_ones_of_the_whole_cloud(fitted, X):
    with torch.inference_mode():
        expected = fitted.module_.encoder.forward_pool(torch.from_numpy(fitted._prepare(X)))

    np.testing.assert_allclose(fitted.transform(X), expected, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(X[2:3])[0], expected[2], atol=1e-6)
    assert len(fitted.get_feature_names_out()) == 32


@pytest.mark.parametrize("loss", ["infonce", "hardest"])
def test_training_finds_points_again(loss, X):
    pre = PointContrastPretrainer(
        Coordinates, loss=loss, turn="none", **SMALL | {"max_epochs": 40, "learning_rate": 0.01}
    )
    start = clone(pre).set_params(max_epochs=0).fit(X)

    pre.fit(X)

    history = pre.history_
    assert history.loss.iloc[-1] < 0.7 * history.loss.iloc[0]
    terms = {"infonce": {"accuracy"}, "hardest": {"positive", "negative"}}[loss]
    assert set(history.columns) == {"loss", "learning_rate", "seconds"} | terms
    found, before = pre.correspondences(X), start.correspondences(X)
    assert np.mean(found.accuracy) > max(0.5, np.mean(before.accuracy))


@pytest.mark.parametrize("views", ["crop", "camera"])
def test_correspondences_show_views_and_what_was_found(views, X):
    pre = PointContrastPretrainer(Coordinates, views=views, turn="none", noise=0.0, **SMALL).fit(X)

    shown = pre.correspondences(X)

    for i in range(8):
        first, second = shown.first[i], shown.second[i]
        right, found = shown.matched[i], shown.predicted[i]
        np.testing.assert_array_equal(first[right[:, 0]], second[right[:, 1]])
        away = np.linalg.norm(second[found] - second[right[:, 1]], axis=1)
        np.testing.assert_allclose(shown.distance[i], away, atol=1e-6)
        if len(right):
            assert shown.accuracy[i] == pytest.approx((away == 0).mean())
    assert sum(map(len, shown.matched)) > 20
    again, other = pre.correspondences(X), pre.correspondences(X, random_state=1)
    assert np.array_equal(again.first[0], shown.first[0])
    assert not np.array_equal(other.first[0], shown.first[0])


def test_cameras_that_share_nothing_teach_nothing_and_do_no_harm(X, monkeypatch):
    half = torch.arange(32) < 16

    def apart(points, distance, max_angle, generator):
        return half.expand(len(points), -1), ~half.expand(len(points), -1)

    monkeypatch.setattr("pointinteract.pretraining._point_contrast.camera_views", apart)
    pre = PointContrastPretrainer(Coordinates, views="camera", **SMALL).fit(X)

    assert (pre.history_.loss == 0).all() and np.isfinite(pre.transform(X)).all()
    assert np.isnan(pre.correspondences(X).accuracy).all()


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    for start, settings in (
        (fitted, {"loss": "hardest"}), (fitted, {"views": "camera"}), (fitted, {"keep": 0.8}),
        (fitted, {"turn": "z"}), (fitted, {"noise": 0.1}), (fitted, {"n_matches": 4}),
        (fitted, {"temperature": 0.4}), (fitted, {"n_embedding": 4}), (fitted, {"hidden": 8}),
        (fitted, {"learning_rate": 1e-2}), (fitted, {"weight_decay": 0.9}),
        (fitted, {"warmup_epochs": 0}), (fitted, {"schedule": "constant"}),
        (fitted, {"augmentation": "jitter"}), (fitted, {"n_points": 16}),
        (fitted, {"normalize": False}), (fitted, {"batch_size": 8}),
        ({"views": "camera"}, {"camera_distance": 1.1}), ({"views": "camera"}, {"max_angle": 9.0}),
        ({"loss": "hardest"}, {"n_candidates": 4}),
    ):
        if isinstance(start, dict):
            start = clone(fitted).set_params(**start).fit(X)
        changed = clone(start).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, start.transform(X)), settings


def test_ragged_clouds_files_and_a_classifier(X, tmp_path):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]

    pre = PointContrastPretrainer("pointnet_basic", **SMALL | {"max_epochs": 1}).fit(ragged)

    assert pre.transform(ragged).shape == (8, 1024)
    for copied in (pickle.loads(pickle.dumps(pre)), load(save(pre, tmp_path / "contrast.npz"))):
        assert np.array_equal(copied.transform(X), pre.transform(X))
        assert np.array_equal(copied.correspondences(X).predicted[0],
                              pre.correspondences(X).predicted[0])
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
        return point_contrast_loss(*args, **kwargs)

    monkeypatch.setattr("pointinteract.pretraining._point_contrast.point_contrast_loss", killed)
    with pytest.raises(SystemExit):
        clone(pre).fit(X)
    assert pre.fit(X).n_epochs_ == 2

    assert len(calls) == 4 + 2
    assert np.array_equal(pre.transform(X), fitted.transform(X))


@pytest.mark.parametrize("settings, error, message", [
    ({"backbone": "recon_nano"}, ValueError, "one row of features a point is needed"),
    ({"loss": "triplet"}, ValueError, "loss must be one of 'infonce'"),
    ({"views": "scan"}, ValueError, "views must be one of 'crop'"),
    ({"turn": "w"}, ValueError, "turn must be one of 'all'"),
    ({"keep": 0.5}, ValueError, r"keep must be in \(0.5, 1.0\]"),
    ({"camera_distance": 1.0}, ValueError, r"camera_distance must be in \(1"),
    ({"max_angle": 200.0}, ValueError, "max_angle must be in"),
    ({"temperature": 0.0}, ValueError, r"temperature must be in \(0"),
    ({"n_matches": 0}, ValueError, "n_matches must be at least 1"),
    ({"n_embedding": 1.5}, TypeError, "n_embedding must be an integer"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = PointContrastPretrainer(**{"backbone": Coordinates, **SMALL, **settings})

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_point_are_warned_of(X):
    with pytest.warns(PointInteractWarning, match="nothing to match"):
        PointContrastPretrainer(Coordinates, **SMALL).fit(X[:, :1])
