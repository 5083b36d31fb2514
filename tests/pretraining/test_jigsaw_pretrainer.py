import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pointinteract.exceptions import CloudError, PointInteractWarning
from pointinteract.persistence import load, save
from pointinteract.pretraining import JigsawPretrainer
from pointinteract.pretraining._cells import cell_labels, cell_shifts, shuffle_cells

SMALL = dict(hidden=(16,), max_epochs=2, batch_size=4, random_state=0)


class Coordinates(torch.nn.Module):
    """A backbone of our own: a width of 8 on every point, no more."""

    permutation_invariant = True
    num_features = 8

    def __init__(self, n_channels=3, n_classes=40):
        super().__init__()
        self.points = torch.nn.Linear(n_channels, 8)

    def forward_features(self, points):
        return self.points(points).relu()

    def forward_pool(self, points):
        return self.forward_features(points).amax(1)


class PooledOnly(torch.nn.Module):
    """A backbone that says nothing of single points."""

    num_features = 3

    def __init__(self, n_channels=3, n_classes=40):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward_pool(self, points):
        return points.amax(1)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return JigsawPretrainer("pointnet_basic", **SMALL).fit(X)


def all_cells(n_cells):
    """The center of every cell, in the order of the labels: (1, n_cells ** 3, 3)."""
    middle = -1 + (2 * torch.arange(n_cells) + 1) / n_cells
    return torch.cartesian_prod(middle, middle, middle)[None]


# Cells -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_cells", [2, 3, 4])
def test_labels_count_z_first_then_y_then_x(n_cells):
    assert torch.equal(cell_labels(all_cells(n_cells), n_cells)[0], torch.arange(n_cells**3))


def test_points_outside_of_the_cube_count_to_the_nearest_cell():
    points = torch.tensor([[[-9.0, 0, 0], [9, 9, 9], [1, 1, 1], [-1, -1, -1], [0, -9, 9]]])

    assert cell_labels(points, 3).tolist() == [[4, 26, 26, 0, 11]]


def test_a_permutation_carries_every_cell_along_all_axes():
    generator = torch.Generator().manual_seed(0)
    centers = all_cells(3)
    permutation = torch.randperm(27, generator=generator)[None]
    points = centers + 0.3 * (torch.rand(1, 27, 3, generator=generator) - 0.5)

    moved, labels, present = shuffle_cells(points, permutation, 3)

    assert torch.equal(labels[0], torch.arange(27)) and torch.equal(present, permutation)
    assert torch.equal(cell_labels(moved, 3), permutation)
    # Within its cell a point stays where it was.
    offset = moved - centers[:, permutation[0]]
    torch.testing.assert_close(offset, points - centers, atol=1e-6, rtol=0)
    back = moved + cell_shifts(present, labels, 3)
    torch.testing.assert_close(back, points, atol=1e-6, rtol=0)


def test_axes_that_are_not_moved_keep_their_coordinate_and_others_do_not():
    points = all_cells(3)
    permutation = torch.arange(26, -1, -1)[None]

    moved, labels, _ = shuffle_cells(points, permutation, 3, "xz")

    assert torch.equal(moved[..., 1], points[..., 1])
    assert torch.equal(labels, shuffle_cells(points, permutation, 3)[1])
    torch.testing.assert_close(moved[..., 0], -points[..., 0])


def test_further_channels_stay_as_they_are():
    points = torch.cat([all_cells(2), torch.arange(8.0).view(1, 8, 1)], dim=2)

    moved, _, _ = shuffle_cells(points, torch.arange(7, -1, -1)[None], 2)

    assert torch.equal(moved[..., 3], points[..., 3])


# The estimator ---------------------------------------------------------------------------------


def test_features_are_the_pooled_ones_of_the_encoder(fitted, X):
    features = fitted.transform(X)

    with torch.inference_mode():
        expected = fitted.module_.encoder.forward_pool(torch.from_numpy(fitted._prepare(X)))
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert features.dtype == np.float32 and features.shape == (8, 1024)
    assert len(fitted.get_feature_names_out()) == 1024


def test_scores_of_a_point_are_those_of_its_features_beside_the_maximum(fitted, X):
    network, points = fitted.module_, torch.from_numpy(fitted._prepare(X))

    with torch.inference_mode():
        scores = network(points)
        features = network.encoder.forward_features(points)
        both = torch.cat([features, features.amax(1, keepdim=True).expand_as(features)], dim=2)
        expected = network.out(network.first(both))

    torch.testing.assert_close(scores, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone, width", [
    ("pointnet", 1024), ("dgcnn", 2048), (Coordinates, 8)
])
def test_every_network_of_points_can_be_trained(backbone, width, X):
    pre = JigsawPretrainer(backbone, **SMALL | {"max_epochs": 1}).fit(X)

    assert pre.transform(X).shape == (8, width)
    terms = set(pre.history_.columns) - {"loss", "learning_rate", "seconds"}
    assert terms == {"cross_entropy", "accuracy"} and np.isfinite(pre.history_.to_numpy()).all()


def test_pointnet_is_held_to_rotations_by_its_regularizer(X):
    pre = JigsawPretrainer("pointnet", **SMALL | {"learning_rate": 0.01}).fit(X)

    assert (pre.history_.loss > pre.history_.cross_entropy).any()


def test_training_learns_where_points_were():
    # Each point lies in another place within each cell, so it can be known wherever it is sent.
    generator = np.random.default_rng(0)
    X = generator.choice([-0.9, 0.3], size=(16, 64, 3)) + generator.normal(0, 0.02, (16, 64, 3))
    settings = dict(hidden=(32,), n_cells=2, batch_size=8, learning_rate=0.01, normalize=False)

    pre = JigsawPretrainer("pointnet_basic", **settings, max_epochs=30, random_state=0).fit(X)

    assert pre.history_.accuracy.iloc[0] < 0.3
    assert np.mean(pre.reassemble(X).accuracy) > 0.8  # by guessing: 1 / 8


def test_reassembly_puts_points_back_where_the_guess_says(fitted, X):
    shown = fitted.reassemble(X)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        right = shown.cells[i] == shown.predicted[i]
        assert shown.accuracy[i] == pytest.approx(right.mean())
        np.testing.assert_array_equal(shown.cells[i], cell_labels(torch.tensor(prepared), 3)[i])
        offsets = np.abs(shown.reassembled[i] - prepared[i]).max(axis=1)
        assert (offsets[right] < 1e-5).all() and (offsets[~right] > 0.6).all()
    again, other = fitted.reassemble(X), fitted.reassemble(X, random_state=1)
    assert np.array_equal(again.scrambled[0], shown.scrambled[0])
    assert not np.array_equal(other.scrambled[0], shown.scrambled[0])


def test_cells_of_scrambled_clouds_are_those_of_the_reassembly(fitted, X):
    shown = fitted.reassemble(X)

    found = fitted.predict_cells(np.stack(shown.scrambled), prepared=True)

    assert found.shape == (8, 32) and np.array_equal(found, np.stack(shown.predicted))
    assert not np.array_equal(fitted.predict_cells(np.stack(shown.scrambled)), found)


def test_ragged_clouds_are_answered_point_for_point(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    pre = JigsawPretrainer("dgcnn", **SMALL).fit(ragged)

    cells = pre.predict_cells(ragged)

    assert pre.n_points_fit_ == 27 and [len(c) for c in cells] == [len(c) for c in ragged]
    assert np.array_equal(cells[0], pre.predict_cells(ragged[:1])[0])
    assert pre.transform(ragged).shape == (8, 2048)
    assert len(pre.reassemble(ragged).accuracy) == 8


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_labels_are_never_looked_at(fitted, X):
    assert np.array_equal(clone(fitted).fit(X, np.arange(8)).transform(X), fitted.transform(X))


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"n_cells": 2}, {"hidden": (8, 8)}, {"dropout": 0.5}, {"moved_axes": "xz"},
                     {"learning_rate": 1e-2}, {"weight_decay": 0.9}, {"warmup_epochs": 0},
                     {"schedule": "constant"}, {"augmentation": "jitter"}, {"n_points": 16},
                     {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_options_reach_the_backbone(X):
    pre = JigsawPretrainer("dgcnn", backbone_options={"n_neighbors": 3}, **SMALL).fit(X)

    assert pre.module_.encoder.n_neighbors == 3


@pytest.mark.parametrize("name", ["n_channels", "n_classes"])
def test_options_of_the_backbone_may_not_say_what_the_clouds_say(name, X):
    with pytest.raises(ValueError, match=f"backbone_options must not hold {name}"):
        JigsawPretrainer("dgcnn", backbone_options={name: 4}, **SMALL).fit(X)


def test_warm_start_goes_on_and_refuses_another_network(fitted, X):
    pre = clone(fitted).set_params(warm_start=True).fit(X)
    first = pre.transform(X)

    pre.fit(X)

    assert pre.n_epochs_ == 4 and list(pre.history_.index) == [1, 2, 3, 4]
    assert not np.array_equal(pre.transform(X), first)
    with pytest.raises(ValueError, match="n_cells was 3 and is 2.*warm_start=False"):
        pre.set_params(n_cells=2).fit(X)
    with pytest.raises(CloudError, match="expecting 3 features"):
        pre.set_params(n_cells=3).fit(np.concatenate([X, X], axis=2))
    assert pre.n_epochs_ == 4


def test_warm_start_shuffles_anew_and_just_so_every_time(X, monkeypatch):
    drawn = []
    draw = JigsawPretrainer._draw_permutation
    monkeypatch.setattr(
        JigsawPretrainer, "_draw_permutation",
        lambda self, *numbers: drawn.append(draw(self, *numbers).tolist()) or draw(self, *numbers),
    )

    for _ in range(2):
        pre = JigsawPretrainer("pointnet_basic", warm_start=True, **SMALL)
        pre.fit(X).fit(X)

    first, second, *repeated = (drawn[i : i + 4] for i in range(0, 16, 4))
    assert not any(lot in first for lot in second) and repeated == [first, second]


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "jigsaw.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.predict_cells(X), fitted.predict_cells(X))
        assert copied.partial_fit(X).n_epochs_ == 3
    pd.testing.assert_frame_equal(load(tmp_path / "jigsaw.npz").history_, fitted.history_)


def test_works_in_a_pipeline_and_gives_frames(X):
    y = np.arange(8) % 2

    pipe = make_pipeline(JigsawPretrainer("pointnet_basic", **SMALL), StandardScaler(),
                         LinearSVC()).fit(X, y)

    assert set(pipe.predict(X)) <= {0, 1}
    frame = JigsawPretrainer(Coordinates, **SMALL).set_output(transform="pandas").fit_transform(X)
    assert isinstance(frame, pd.DataFrame) and frame.columns[0] == "jigsawpretrainer0"


def test_interruption_leaves_it_fitted_with_what_was_reached(X):
    calls = []

    def interrupt_in_the_third_epoch(points, generator):
        calls.append(1)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return points

    pre = JigsawPretrainer(
        "pointnet_basic", **SMALL | {"max_epochs": 9}, augmentation=interrupt_in_the_third_epoch
    )
    with pytest.raises(KeyboardInterrupt):
        pre.fit(X)

    assert pre.n_epochs_ == 2 and len(pre.history_) == 2
    assert pre.transform(X).shape == (8, 1024)


@pytest.mark.parametrize("settings, error, message", [
    ({"backbone": "pointnett"}, ValueError, "Did you mean 'pointnet"),
    ({"backbone": 3}, TypeError, "backbone must be a name of .* got 3"),
    ({"backbone": "recon_nano"}, ValueError, r"one row of features a point.*\(1, 35, 192\)"),
    ({"backbone": PooledOnly}, ValueError, "forward_features.*PooledOnly lacks it"),
    ({"backbone_options": {"k": 3}}, TypeError, "has no parameter k; it takes n_channels"),
    ({"backbone_options": [3]}, TypeError, "backbone_options must be a dict.*got \\[3\\]"),
    ({"n_cells": 1}, ValueError, "n_cells must be at least 2, got 1"),
    ({"n_cells": 2.5}, TypeError, "n_cells must be an integer"),
    ({"hidden": ()}, TypeError, r"at least one width, got \(\)"),
    ({"hidden": (8, 0)}, ValueError, "every width in hidden must be at least 1"),
    ({"dropout": 1.0}, ValueError, r"dropout must be in \[0"),
    ({"moved_axes": "xw"}, ValueError, "moved_axes must name.*got 'xw'"),
    ({"moved_axes": "xx"}, ValueError, "moved_axes must name"),
    ({"moved_axes": ""}, ValueError, "moved_axes must name"),
    ({"max_epochs": -1}, ValueError, "max_epochs must be at least 0"),
    ({"augmentation": "flip"}, ValueError, "augmentation must be"),
    ({"device": "abacus"}, ValueError, "device must be"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = JigsawPretrainer(**{"backbone": "pointnet_basic", **SMALL, **settings})

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_that_lie_in_one_cell_are_warned_of(X):
    pre = JigsawPretrainer("pointnet_basic", normalize=False, **SMALL)

    with pytest.warns(PointInteractWarning, match="nothing to put together"):
        pre.fit(0.01 * X)
