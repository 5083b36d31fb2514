import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models import PointM2AEPretraining
from pointinteract.models.point_m2ae_pretraining import visible_finer
from pointinteract.ops import chamfer_distance
from pointinteract.persistence import load, save
from pointinteract.pretraining import PointM2AEPretrainer

SMALL = dict(n_groups=(16, 12, 6), group_sizes=(4, 3, 3), max_epochs=2, batch_size=4,
             random_state=0)


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return PointM2AEPretrainer(**SMALL).fit(X)


def make_network(**numbers):
    torch.manual_seed(0)
    return PointM2AEPretraining(
        widths=(12, 18, 24), depths=(1, 1, 1), n_heads=3, patch_hidden=(8, 8, 8),
        **{"n_groups": (16, 12, 6), "group_sizes": (4, 3, 3), **numbers},
    ).eval()


# The network -----------------------------------------------------------------------------------


def test_a_finer_center_is_visible_if_any_visible_patch_holds_it():
    index = torch.tensor([[[0, 1], [1, 2], [3, 4]], [[0, 0], [1, 2], [2, 5]]])
    visible = torch.tensor([[True, False, False], [False, False, True]])

    finer = visible_finer(visible, index, 6)

    assert finer.tolist() == [[True, True, False, False, False, False],
                              [False, False, True, False, False, True]]


def test_visible_patches_hold_nothing_hidden(X):
    model, points = make_network(), torch.from_numpy(X)
    out = model(points, generator=torch.Generator().manual_seed(0))

    for scale, mask, finer in zip(out.scales[1:], out.masks[1:], out.masks[:-1], strict=True):
        for cloud in range(len(X)):
            members = scale.index[cloud][~mask[cloud]].flatten().unique()
            assert members.tolist() == (~finer[cloud]).nonzero().flatten().tolist()
    assert out.masks[-1].sum(dim=1).tolist() == [4] * len(X)  # int(0.8 x 6)


def batch_of_two():
    """Clouds that hold different numbers of visible tokens under one mask."""
    points = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(3)) * 0.2
    points[1, :30] = points[1, :30] * 0.01  # its patches overlap more
    return points, torch.tensor([[False, True, True, True, False, True]] * 2)


def test_what_is_padded_does_not_change_unless_asked_to():
    points, mask = batch_of_two()
    ours, theirs = make_network(), make_network(published_padding=True)
    with torch.no_grad():
        together = ours(points, mask=mask)
        alone = [ours(points[i : i + 1], mask=mask[i : i + 1]) for i in range(2)]
        published = theirs(points, mask=mask)
        published_alone = theirs(points[1:], mask=mask[1:])

    counts = together.valid[0].sum(dim=1)
    assert counts[0] != counts[1]
    for i in range(2):
        torch.testing.assert_close(together.decoded[i], alone[i].decoded[0])
    assert (published.decoded - together.decoded).abs().max() > 1e-3
    assert (published.decoded[1] - published_alone.decoded[0]).abs().max() > 1e-4


def test_first_center_of_a_batch_is_shown_only_if_asked_to():
    points, _ = batch_of_two()
    ours = make_network()
    scales = ours.encoder.cut(points)
    hides_it = torch.tensor([[True, False, True, True, True, True]] * 2)

    masks = ours.spread_mask(scales, hides_it)
    published = make_network(published_padding=True).spread_mask(scales, hides_it)

    for mask, shown in zip(masks[:-1], published[:-1], strict=True):
        assert mask[0, 0] and not shown[0, 0]
        assert torch.equal(mask[1], shown[1])


def test_hidden_points_leave_no_trace_in_the_tokens(X):
    model, points = make_network(), torch.from_numpy(X)
    mask = torch.tensor([[False, True, True, True, True, True]] * len(X))
    out = model(points, mask=mask)
    finest = out.scales[0]
    moved = points.clone()
    for cloud in range(len(X)):
        seen = finest.index[cloud][~out.masks[0][cloud]].flatten()
        hidden = torch.tensor([i for i in range(32) if i not in seen])
        # Not where patches are: only who else is in hidden ones.
        centers = (points[cloud, hidden, None] == finest.centers[cloud]).all(-1).any(-1)
        moved[cloud, hidden[~centers]] += 1e-4

    again = model(moved, mask=mask)

    assert not torch.equal(moved, points) and torch.equal(again.masks[0], out.masks[0])
    assert torch.equal(again.scales[0].index, finest.index)
    for tokens, other in zip(out.tokens, again.tokens, strict=True):
        torch.testing.assert_close(tokens, other, rtol=0, atol=0)


def test_radii_narrow_attention_downstream_and_not_in_pretraining(X):
    wide, narrow = make_network(radii=(0, 0, 0)), make_network(radii=(0.01, 0.01, 0.01))
    points, mask = torch.from_numpy(X), torch.tensor([[False, True, True, True, True, True]] * 8)
    with torch.no_grad():
        assert torch.equal(wide(points, mask=mask).decoded, narrow(points, mask=mask).decoded)
        assert torch.equal(wide.forward_probe(points), narrow.forward_probe(points))
        everywhere, nearby = (m.encoder.forward_features(points) for m in (wide, narrow))

    assert (everywhere - nearby).abs().max() > 1e-3
    # Without radii, classifiers read as in pre-training with nothing hidden.
    probe = everywhere.mean(dim=1) + everywhere.amax(dim=1)
    torch.testing.assert_close(probe, wide.forward_probe(points))


# The estimator ---------------------------------------------------------------------------------


def test_loss_falls_and_patches_are_rebuilt():
    X, _ = make_shapes(16, n_points=96, return_X_y=True, random_state=0)
    settings = {**SMALL, "n_groups": (32, 16, 6), "group_sizes": (6, 6, 4), "max_epochs": 6}

    pre = PointM2AEPretrainer(**settings, augmentation=None).fit(X)
    untrained = PointM2AEPretrainer(**settings | {"max_epochs": 0}).fit(X)

    assert pre.history_.loss.iloc[-1] < 0.5 * pre.history_.loss.iloc[0]
    shown, before = pre.reconstruct(X[:4]), untrained.reconstruct(X[:4])
    assert sum(shown.error) < 0.5 * sum(before.error)


def test_reconstruct_answers_in_the_normalised_cloud(fitted, X):
    shown = fitted.reconstruct(X[:3])
    same, other = fitted.reconstruct(X[:3]), fitted.reconstruct(X[:3], random_state=1)
    clouds = fitted._prepare(X[:3])

    for i, cloud in enumerate(clouds):
        n_hidden = len(shown.target[i]) // 3
        assert n_hidden > 0 and shown.rebuilt[i].shape == (4 * n_hidden, 3)
        for part in (shown.visible[i], shown.target[i]):  # true points of the cloud
            gaps = np.abs(part[:, None] - cloud[None]).sum(-1).min(1)
            assert gaps.max() < 1e-5
        patches = [torch.from_numpy(part[i]).view(n_hidden, -1, 3)
                   for part in (shown.rebuilt, shown.target)]
        assert shown.error[i] == pytest.approx(float(chamfer_distance(*patches)), rel=1e-4)
    assert all(np.array_equal(a, b) for a, b in zip(shown.visible, same.visible, strict=True))
    assert any(a.shape != b.shape or not np.array_equal(a, b)
               for a, b in zip(shown.visible, other.visible, strict=True))


def test_transform_does_not_depend_on_the_batch(fitted, X):
    features = fitted.transform(X)

    assert features.shape == (8, 192) and features.dtype == np.float32
    np.testing.assert_allclose(fitted.transform(X[3:4]), features[3:4], atol=1e-5)


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X):
    again = clone(fitted).fit(X).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X):
    short = clone(fitted).set_params(max_epochs=1)
    reference = short.fit(X).transform(X)

    for settings in ({"n_groups": (16, 12, 5)}, {"group_sizes": (4, 3, 2)}, {"mask_ratio": 0.5},
                     {"published_padding": True}, {"drop_path": 0.5}, {"weight_decay": 0.9},
                     {"augmentation": None}, {"n_points": 24}, {"normalize": False}):
        changed = clone(short).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_a_classifier_starts_from_the_encoder(fitted, X):
    y = np.arange(8) % 2
    classifier = PointClassifier(pretrained=fitted, max_epochs=1, batch_size=4, random_state=0)

    classifier.fit(X, y)
    frozen = clone(classifier).set_params(protocol="linear").fit(X, y)

    assert classifier.predict_proba(X).shape == (8, 2)
    pretrained = dict(fitted.module_.encoder.named_parameters())
    start = dict(frozen.module_.named_parameters())
    assert pretrained and all(torch.equal(start[name], p) for name, p in pretrained.items())
    trained = dict(classifier.module_.named_parameters())
    assert not all(torch.equal(trained[name], p) for name, p in pretrained.items())


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "m2ae.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert copied.partial_fit(X).n_epochs_ == 3


def test_ragged_clouds_further_channels_and_tiny_clouds(X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    with_normals = np.concatenate([X, X], axis=2)

    settings = SMALL | {"max_epochs": 1}
    assert PointM2AEPretrainer(**settings).fit(ragged).transform(ragged).shape == (8, 192)
    wide = PointM2AEPretrainer(**settings).fit(with_normals)
    assert wide.reconstruct(with_normals[:1]).target[0].shape[1] == 3
    with pytest.warns(PointInteractWarning, match="nothing to learn from"):
        tiny = PointM2AEPretrainer(**settings).fit(X[:, :1])
    assert tiny.reconstruct(X[:1, :1]).error == [0.0]


@pytest.mark.parametrize("settings, error, message", [
    ({"size": "huge"}, ValueError, "size must be one of"),
    ({"n_groups": 16}, ValueError, "n_groups must be 3 integers"),
    ({"group_sizes": (4, 4)}, ValueError, "group_sizes must be 3 integers"),
    ({"n_groups": (16, 8, 0)}, ValueError, "n_groups must be at least 1"),
    ({"mask_ratio": 1.0}, ValueError, "mask_ratio must be in"),
    ({"drop_path": -0.1}, ValueError, "drop_path must be in"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = PointM2AEPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")
