import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import CheckpointError
from pointinteract.losses import patch_chamfer_loss
from pointinteract.persistence import load, save
from pointinteract.pretraining import DiscreteVAEPretrainer

SMALL = dict(n_groups=4, group_size=8, n_tokens=16, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return DiscreteVAEPretrainer(**SMALL).fit(X)


@pytest.mark.slow
def test_training_makes_patches_again():
    # Rods along one axis or another: a word has to tell which.
    X = 0.02 * np.random.default_rng(0).normal(size=(12, 16, 3)).astype("f4")
    X[np.arange(12), :, np.arange(12) % 3] *= 50
    vae = DiscreteVAEPretrainer(**SMALL | {"n_groups": 2, "max_epochs": 40})
    start = clone(vae).set_params(max_epochs=0).fit(X)

    vae.fit(X)

    assert vae.history_.loss.iloc[-1] < 0.7 * vae.history_.loss.iloc[0]
    assert np.mean(vae.reconstruct(X).error) < 0.7 * np.mean(start.reconstruct(X).error)


def test_loss_falls(X):
    history = DiscreteVAEPretrainer(**SMALL | {"max_epochs": 8}).fit(X).history_

    assert history.reconstruction.iloc[-1] < 0.9 * history.reconstruction.iloc[0]


def test_reconstruction_says_words_and_what_they_say(fitted, X):
    shown = fitted.reconstruct(X)

    words, prepared = fitted.tokenize(X), fitted._prepare(X)
    assert words.shape == (8, 4) and words.dtype == np.int64
    assert words.min() >= 0 and words.max() < 16
    for i in range(len(X)):
        assert np.array_equal(shown.words[i], words[i])
        assert shown.coarse[i].shape == (4 * 2, 3) and shown.rebuilt[i].shape == (4 * 8, 3)
        assert {tuple(c) for c in shown.centers[i]} <= {tuple(p) for p in prepared[i]}
        patches = [torch.from_numpy(part[i]).view(1, 4, 8, 3)
                   for part in (shown.rebuilt, shown.target)]
        assert shown.error[i] == pytest.approx(float(patch_chamfer_loss(*patches)), rel=1e-4)


def test_equal_words_at_equal_places_say_equal_points(fitted, X):
    module = fitted.module_
    centers = torch.from_numpy(X[:1, :4])
    words = torch.tensor([[0, 1, 0, 1]])
    with torch.inference_mode():
        first = module.decode(module.features(module.codebook[words], centers))[1]
        again = module.decode(module.features(module.codebook[words], centers + 5))[1]
        other = module.decode(module.features(module.codebook[words + 2], centers))[1]

    torch.testing.assert_close(first, again)  # places count only relative to each other
    assert (first - other).abs().max() > 1e-6


def test_temperature_falls_and_uniformity_comes_to_count(X):
    settings = SMALL | {"max_epochs": 8, "uniformity_weight": 0.5}
    history = DiscreteVAEPretrainer(**settings).fit(X).history_
    last = history.iloc[-1]

    assert history.temperature.iloc[0] > 0.9 and last.temperature == pytest.approx(0.0625)
    assert (history.temperature.diff().iloc[1:] <= 0).all()
    first = history.iloc[0]
    assert first.loss == pytest.approx(first.reconstruction, rel=0.02)
    assert last.loss == pytest.approx(last.reconstruction + 0.5 * last.uniformity, rel=1e-4)
    assert history.n_words.between(1, 16).all()


def test_features_do_not_depend_on_the_batch(fitted, X):
    features = fitted.transform(X)

    assert features.shape == (8, len(fitted.get_feature_names_out()))
    np.testing.assert_allclose(fitted.transform(X[3:4]), features[3:4], atol=1e-5)


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"n_groups": 5}, {"group_size": 4}, {"n_tokens": 20}, {"logit_gain": 1.0},
                     {"temperature": (2.0, 0.0625)}, {"temperature": (1.0, 0.5)},
                     {"uniformity_weight": 5.0}, {"anneal_share": 0.2}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_ragged_tiny_and_wide_clouds(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    vae = DiscreteVAEPretrainer(**SMALL).fit(ragged)
    wide = DiscreteVAEPretrainer(**SMALL).fit(with_normals)
    one_point = DiscreteVAEPretrainer(**SMALL | {"group_size": 1}).fit(X[:, :1])

    assert vae.tokenize(ragged).shape == (8, 4)
    assert wide.reconstruct(with_normals).target[0].shape == (32, 3)
    assert one_point.tokenize(X[:, :1]).shape == (8, 1)
    assert wide.tokenize([with_normals[0], with_normals[1, :2]])[1].tolist()[2:] == [-1, -1]


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "vae.npz"))):
        assert np.array_equal(copied.tokenize(X), fitted.tokenize(X))
        assert np.array_equal(copied.reconstruct(X).rebuilt[0], fitted.reconstruct(X).rebuilt[0])
        assert copied.partial_fit(X).n_epochs_ == 3


def test_a_tokenizer_is_no_classifier(fitted, X):
    with pytest.raises(CheckpointError, match="no encoder that a classifier could start from"):
        PointClassifier(pretrained=fitted, max_epochs=1).fit(X, np.arange(8) % 2)


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "huge"}, ValueError, "size must be one of"),
    ({"n_tokens": 10}, ValueError, "n_tokens must be a multiple of 4"),
    ({"n_groups": 0}, ValueError, "n_groups must be at least 1"),
    ({"temperature": 1.0}, ValueError, "temperature must be two numbers"),
    ({"temperature": (1.0, 0.0)}, ValueError, r"every temperature must be in \(0"),
    ({"uniformity_weight": -1.0}, ValueError, r"uniformity_weight must be in \[0"),
    ({"logit_gain": 0.0}, ValueError, r"logit_gain must be in \(0"),
    ({"anneal_share": "half"}, TypeError, "anneal_share must be a number"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    vae = DiscreteVAEPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        vae.fit(X)

    assert not hasattr(vae, "module_")
