import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses import patch_chamfer_loss
from pointinteract.persistence import load, save
from pointinteract.pretraining import PointGPTPretrainer

SMALL = dict(n_groups=8, group_size=6, n_always_seen=2, max_epochs=2, batch_size=4,
             random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return PointGPTPretrainer(**SMALL).fit(X)


def test_loss_falls_and_guesses_get_better():
    X, _ = make_shapes(24, n_points=64, return_X_y=True, random_state=0)
    pre = PointGPTPretrainer(**SMALL | {"max_epochs": 6, "batch_size": 8})
    start = clone(pre).set_params(max_epochs=0).fit(X)

    pre.fit(X)

    assert pre.history_.loss.iloc[-1] < 0.7 * pre.history_.loss.iloc[0]
    np.testing.assert_allclose(pre.history_.loss, pre.history_.cdl1 + pre.history_.cdl2,
                               rtol=1e-5)
    assert np.mean(pre.generate(X).error) < 0.7 * np.mean(start.generate(X).error)


def test_generation_shows_what_was_given_and_what_was_made(fitted, X):
    shown = fitted.generate(X, n_given=5)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        assert shown.given[i].shape == (5 * 6, 3)
        assert shown.generated[i].shape == shown.target[i].shape == (3 * 6, 3)
        rows = {tuple(row) for row in prepared[i].round(5).tolist()}
        for part in (shown.given[i], shown.target[i]):
            assert {tuple(row) for row in part.round(5).tolist()} <= rows
        pair = [torch.from_numpy(part).view(1, 3, 6, 3)
                for part in (shown.generated[i], shown.target[i])]
        assert shown.error[i] == pytest.approx(float(patch_chamfer_loss(*pair)), rel=1e-4)
    assert fitted.generate(X).given[0].shape == (4 * 6, 3)  # half of them
    assert fitted.generate(X, n_given=0).generated[0].shape == (8 * 6, 3)


@pytest.mark.parametrize(("n_given", "error", "message"), [
    (8, ValueError, "n_given must be from 0 to 7 for clouds of 8 patches, got 8"),
    (-1, ValueError, "n_given must be at least 0"),
    (2.5, TypeError, "n_given must be an integer"),
])
def test_wrong_numbers_of_given_patches_are_named(fitted, X, n_given, error, message):
    with pytest.raises(error, match=message):
        fitted.generate(X, n_given=n_given)


def test_features_are_maximum_and_mean_of_the_patches(fitted, X):
    with torch.inference_mode():
        tokens = fitted.module_.encoder.forward_features(torch.from_numpy(fitted._prepare(X)))
    expected = torch.cat([tokens[:, 1:].amax(1), tokens[:, 1:].mean(1)], dim=1)

    found = fitted.transform(X)

    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(X[2:3]), found[2:3], atol=1e-5)
    assert len(fitted.get_feature_names_out()) == found.shape[1] == 384


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"n_groups": 7}, {"group_size": 5}, {"mask_ratio": 0.2},
                     {"n_always_seen": 4}, {"temperature": 1.0}, {"drop_path": 0.5},
                     {"class_token": "second"}, {"learning_rate": 1e-2}, {"weight_decay": 0.9},
                     {"warmup_epochs": 0}, {"schedule": "constant"}, {"augmentation": None},
                     {"n_points": 16}, {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_ragged_clouds_and_further_channels(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small = PointGPTPretrainer(**SMALL).fit(ragged)
    wide = PointGPTPretrainer(**SMALL).fit(with_normals)

    assert small.transform(ragged).shape == (8, 384) and len(small.generate(ragged).error) == 8
    assert wide.generate(with_normals).given[0].shape == (4 * 6, 3)


def test_a_classifier_goes_on_guessing_patches_unless_told_not_to(fitted, X):
    y = np.arange(8) % 2
    settings = dict(max_epochs=2, batch_size=4, random_state=0)

    def moved(pretrained, **more):
        classifier = PointClassifier(pretrained=pretrained, **settings | more).fit(X, y)
        generator = classifier.module_.generator.state_dict()
        before = pretrained.module_.encoder.generator.state_dict()
        assert classifier.predict(X).shape == (8,)
        return any(not torch.equal(generator[name], before[name]) for name in before)

    quiet = PointGPTPretrainer(generation_weight=0.0, **SMALL).fit(X)
    assert moved(fitted)
    assert not moved(quiet)
    assert not moved(fitted, protocol="linear")


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "gpt.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.generate(X).generated[0], fitted.generate(X).generated[0])
        assert copied.partial_fit(X).n_epochs_ == 3


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "tiny"}, ValueError, "size must be one of .*'large', 'nano', 'small'"),
    ({"n_groups": 0}, ValueError, "n_groups must be at least 1"),
    ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in"),
    ({"n_always_seen": -1}, ValueError, "n_always_seen must be at least 0"),
    ({"temperature": 0.5}, ValueError, "temperature must be in"),
    ({"class_token": "first"}, ValueError, "class_token must be one of 'last', 'second'"),
    ({"generation_weight": -1.0}, ValueError, "generation_weight must be in"),
    ({"drop_path": 1.0}, ValueError, "drop_path must be in"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = PointGPTPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_patch_are_warned_of(X):
    with pytest.warns(PointInteractWarning, match="of a single patch there is no next one"):
        PointGPTPretrainer(**SMALL).fit(X[:, :1])
