import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models import PointTransformer, ReCon
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import chamfer_distance
from pointinteract.persistence import load, save
from pointinteract.pretraining import PointMAEPretrainer, ReConPretrainer

SMALL = dict(n_groups=8, group_size=8, max_epochs=2, batch_size=4, random_state=0)


@pytest.fixture(scope="module")
def X():
    return make_shapes(8, n_points=64, return_X_y=True, random_state=0)[0]


@pytest.fixture(scope="module")
def fitted(X):
    return PointMAEPretrainer(**SMALL).fit(X)


def test_features_are_maximum_and_mean_of_patches_without_a_class_token(fitted, X):
    encoder = fitted.module_.encoder
    with torch.inference_mode():
        neighborhoods, centers = encoder.patches(torch.from_numpy(fitted._prepare(X)))
        tokens = encoder.encode(encoder.embed_patches(neighborhoods), centers, with_class=False)
        expected = torch.cat([tokens.amax(1), tokens.mean(1)], dim=1)

    features = fitted.transform(X)

    np.testing.assert_allclose(features, expected, atol=1e-5)
    assert features.dtype == np.float32 and features.shape == (8, 384)
    assert len(fitted.get_feature_names_out()) == 384


def test_features_do_not_depend_on_the_batch_or_on_the_untrained_class_token(fitted, X):
    together = fitted.transform(X)
    copied = pickle.loads(pickle.dumps(fitted))
    with torch.no_grad():
        copied.module_.encoder.cls_token += 10.0

    alone = np.concatenate([fitted.transform(X[i : i + 1]) for i in range(8)])

    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.array_equal(copied.transform(X), together)


def test_the_class_token_is_not_trained(fitted, X):
    start = clone(fitted).set_params(max_epochs=0).fit(X)

    for name in ("cls_token", "cls_pos"):
        before, after = (getattr(pre.module_.encoder, name) for pre in (start, fitted))
        assert torch.equal(before, after)
    assert not torch.equal(start.module_.mask_token, fitted.module_.mask_token)


def test_training_rebuilds_better(X):
    pre = PointMAEPretrainer(**SMALL | {"max_epochs": 15, "augmentation": None})
    start = clone(pre).set_params(max_epochs=0).fit(X)

    pre.fit(X)

    assert pre.history_.reconstruction.iloc[-1] < 0.5 * pre.history_.reconstruction.iloc[0]
    assert np.mean(pre.reconstruct(X).error) < 0.5 * np.mean(start.reconstruct(X).error)


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


@pytest.mark.slow
def test_each_option_changes_the_result(fitted, X):
    reference = fitted.transform(X)

    for settings in ({"block": "recon"}, {"mask_ratio": 0.3}, {"mask_type": "block"},
                     {"decoder_depth": 2}, {"reconstruction_loss": "cdl1"}, {"drop_path": 0.0},
                     {"learning_rate": 1e-2}, {"weight_decay": 0.9}, {"warmup_epochs": 0},
                     {"schedule": "constant"}, {"augmentation": None}, {"n_points": 32},
                     {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_with_the_block_of_recon_it_is_recon_without_teachers(X):
    ours = PointMAEPretrainer(block="recon", **SMALL).fit(X)
    theirs = ReConPretrainer(**SMALL).fit(X)

    shown, expected = ours.reconstruct(X), theirs.reconstruct(X)

    assert ours.history_.loss.tolist() == theirs.history_.loss.tolist()
    assert all(map(np.array_equal, shown.rebuilt, expected.rebuilt))
    assert shown.error == expected.error
    # What nothing trained is left out of the features.
    assert ours.transform(X).shape == (8, 384)
    tokens = ours.module_.encoder.forward_features(torch.from_numpy(ours._prepare(X)))[:, 3:]
    np.testing.assert_allclose(
        ours.transform(X)[:, :192], tokens.amax(dim=1).detach(), atol=1e-5
    )


def test_reconstruction_shows_what_was_seen_and_what_was_guessed(fitted, X):
    shown = fitted.reconstruct(X)

    prepared = fitted._prepare(X)
    for i in range(len(X)):
        assert shown.visible[i].shape == shown.rebuilt[i].shape == (32, 3)
        pair = [torch.from_numpy(part.reshape(4, 8, 3)) for part in
                (shown.rebuilt[i], shown.target[i])]
        assert shown.error[i] == pytest.approx(float(chamfer_distance(*pair)), rel=1e-4)
        for part in (shown.visible[i], shown.target[i]):  # in their places
            distance = ((part[:, None] - prepared[i][None]) ** 2).sum(-1).min(1)
            assert distance.max() < 1e-9
    again, other = fitted.reconstruct(X), fitted.reconstruct(X, random_state=1)
    assert np.array_equal(again.rebuilt[0], shown.rebuilt[0])
    assert not np.array_equal(other.target[0], shown.target[0])


def test_hidden_points_cannot_be_known_to_the_encoder(fitted, X):
    """What the encoder says of visible patches must not change with what is hidden."""
    module = fitted.module_.eval()
    points = torch.from_numpy(fitted._prepare(X))
    mask = module.draw_mask(module.encoder.patches(points)[1], torch.Generator().manual_seed(0))
    neighborhoods, centers = module.encoder.patches(points)
    hidden = split_by_mask(mask)[1]
    rows = torch.arange(len(points)).unsqueeze(1)
    disturbed = neighborhoods.clone()
    disturbed[rows, hidden] += 1.0
    module.encoder.patches = lambda _: (disturbed, centers)

    changed = module(points, mask=mask)

    del module.encoder.patches
    plain = module(points, mask=mask)
    assert torch.equal(changed.tokens, plain.tokens)
    assert torch.equal(changed.rebuilt, plain.rebuilt)
    assert not torch.equal(changed.target, plain.target)


@pytest.mark.parametrize("block, network", [("plain", PointTransformer), ("recon", ReCon)])
def test_a_classifier_starts_from_it(block, network, X):
    pre = PointMAEPretrainer(block=block, **SMALL | {"max_epochs": 1}).fit(X)

    classifier = PointClassifier(pretrained=pre, max_epochs=1, random_state=0)
    classifier.fit(X, np.arange(8) % 2)

    assert type(classifier.module_) is network
    assert classifier.predict_proba(X).shape == (8, 2)


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)),
                   load(save(fitted, tmp_path / "mae.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert copied.partial_fit(X).n_epochs_ == 3


def test_ragged_clouds_and_further_channels(X):
    ragged = [cloud[: 30 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    small = PointMAEPretrainer(**SMALL).fit(ragged)
    wide = PointMAEPretrainer(**SMALL).fit(with_normals)

    assert small.transform(ragged).shape == (8, 384) and len(small.reconstruct(ragged).error) == 8
    assert wide.reconstruct(with_normals).visible[0].shape == (32, 3)


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "huge"}, ValueError, "size must be one of"),
    ({"block": "swin"}, ValueError, "block must be one of 'plain', 'recon'"),
    ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in"),
    ({"mask_type": "stripes"}, ValueError, "mask_type must be one of"),
    ({"decoder_depth": 0}, ValueError, "decoder_depth must be at least 1"),
    ({"reconstruction_loss": "emd"}, ValueError, "reconstruction_loss must be one of"),
    ({"drop_path": -0.1}, ValueError, "drop_path must be in"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = PointMAEPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_clouds_of_one_point_are_warned_of_and_pass(X):
    with pytest.warns(PointInteractWarning, match="nothing to learn from"):
        pre = PointMAEPretrainer(**SMALL).fit(X[:, :1])

    assert np.isfinite(pre.transform(X[:, :1])).all()
