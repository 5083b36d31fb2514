import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.models import I2PMAEPretraining
from pointinteract.models._picture_guides import PictureGuide, PictureMaps
from pointinteract.persistence import load, save
from pointinteract.pretraining import I2PMAEPretrainer

SMALL = dict(n_groups=(16, 12, 6), group_sizes=(4, 3, 3), max_epochs=2, batch_size=4,
             random_state=0)


class RightHalf(PictureGuide):
    """Finds the right half of a picture salient; its feature is the column."""

    feature_dim = 1
    picture_size = 32
    splat_radius = 1

    def look(self, pictures):
        column = torch.linspace(-1 + 1 / 32, 1 - 1 / 32, 32).expand(len(pictures), 32, 32)
        return PictureMaps(column.unsqueeze(1), 2.0 * (column > 0))


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return I2PMAEPretrainer(**SMALL).fit(X)


def make_network():
    torch.manual_seed(0)
    return I2PMAEPretraining(
        2, widths=(12, 18, 24), depths=(1, 1, 1), n_heads=3, patch_hidden=(8, 8, 8),
        n_groups=(16, 12, 6), group_sizes=(4, 3, 3),
    ).eval()


# The network -----------------------------------------------------------------------------------


def test_salient_patches_stay_visible_in_proportion_to_their_chances():
    saliency = torch.tensor([3.0, 2.0, 1.0]).log().expand(6000, 3)
    model = make_network()
    model.mask_ratio = 0.7  # of 3, 2 are hidden

    mask = model.draw_salient_mask(saliency, torch.Generator().manual_seed(0))

    assert (mask.sum(1) == 2).all()
    shares = (~mask).float().mean(0)
    torch.testing.assert_close(shares, torch.tensor([3.0, 2.0, 1.0]) / 6, atol=0.03, rtol=0)
    extreme = torch.tensor([[0.0, 5000.0, 0.0, 0.0, 0.0, 0.0]] * 50)
    model.mask_ratio = 0.5
    drawn = model.draw_salient_mask(extreme, torch.Generator().manual_seed(0))
    assert not drawn[:, 1].any() and (drawn.sum(1) == 3).all()


def test_as_many_points_are_rebuilt_as_a_patch_has(X):
    model = make_network()
    out = model(torch.from_numpy(X), generator=torch.Generator().manual_seed(0))

    assert out.rebuilt.shape == out.target.shape
    n_visible = int((~out.masks[-2]).sum())
    assert model.describe_visible(out).shape == (n_visible, 3, 3, 2)


# The estimator ---------------------------------------------------------------------------------


def test_both_losses_fall():
    X, _ = make_shapes(12, n_points=64, return_X_y=True, random_state=0)
    settings = SMALL | {"n_groups": (24, 12, 6), "max_epochs": 6, "augmentation": None}

    history = I2PMAEPretrainer(**settings).fit(X).history_

    for name in ("reconstruction", "pictures"):
        assert history[name].iloc[-1] < 0.8 * history[name].iloc[0], name
    np.testing.assert_allclose(history.loss, history.reconstruction + history.pictures, rtol=1e-5)


def test_targets_are_what_the_guide_says_at_the_members_of_visible_patches(X):
    pre = I2PMAEPretrainer(**SMALL | {"max_epochs": 0}, guide=RightHalf()).fit(X)
    points = torch.from_numpy(np.stack(pre._prepare(X)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        out, features = pre._complete_and_look(points, generator)
        _, parts = pre._compute_loss(points, None, None, torch.Generator().manual_seed(0))
        described = pre.module_.describe_visible(out)  # (n, K, 3, 1)

    # Each view's first coordinate, in units of half of what the picture shows.
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    side = high - low
    half = torch.maximum(side, side.roll(-1, 2)) / 2 * 32 / 29
    truth = (points - (low + high) / 2) / half
    centers = out.scales[0].centers
    nearest = torch.cdist(centers, points).argmin(2)
    wanted = torch.stack([t[i] for t, i in zip(truth, nearest, strict=True)])
    torch.testing.assert_close(features.squeeze(-1), wanted, atol=1e-4, rtol=0)
    members = torch.stack([w[i] for w, i in zip(wanted, out.scales[1].index, strict=True)])
    error = (described.squeeze(-1) - members[~out.masks[1]]).square().mean()
    assert float(parts["pictures"]) == pytest.approx(float(error), rel=1e-3)


def test_what_the_guide_finds_salient_is_seen_more_often(X):
    settings = SMALL | {"max_epochs": 0, "normalize": False}
    clouds = X.copy()
    clouds[..., 1:] *= 0.01  # a rod: in two views its length runs to the right or up
    strong = I2PMAEPretrainer(**settings, guide=RightHalf(), saliency_weight=5.0).fit(clouds)
    even = clone(strong).set_params(saliency_weight=0.0).fit(clouds)

    seen = [np.concatenate(pre.reconstruct(clouds).visible)[:, 0].mean() for pre in (strong, even)]
    shown = strong.show_guidance(clouds)

    assert seen[0] > seen[1] + 0.2
    assert shown.pictures[0].shape == (3, 32, 32) and shown.maps[0].shape == (3, 32, 32)
    right = np.concatenate(shown.centers)[:, 0], np.concatenate(shown.saliency)
    assert np.corrcoef(*right)[0, 1] > 0.4


def test_transform_is_the_maximum_of_the_coarsest_tokens_of_each_cloud(fitted, X):
    features = fitted.transform(X)

    points = torch.from_numpy(np.stack(fitted._prepare(X)))
    with torch.no_grad():
        tokens = fitted.module_.forward_tokens(points)
    assert features.shape == (8, 192)
    np.testing.assert_allclose(features, tokens.amax(1).numpy(), atol=1e-5)
    np.testing.assert_allclose(fitted.transform(X[3:4]), features[3:4], atol=1e-5)


def test_same_seed_same_bits_and_options_change_them(fitted, X):
    reference = fitted.transform(X)

    assert np.array_equal(clone(fitted).fit(X).transform(X), reference)
    for settings in ({"random_state": 1}, {"guide": RightHalf()}, {"saliency_weight": 3.0},
                     {"mask_ratio": 0.5}):
        changed = clone(fitted).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_copies_files_and_classifiers_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "i2p.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert copied.partial_fit(X).n_epochs_ == 3
    classifier = PointClassifier(pretrained=fitted, max_epochs=1, batch_size=4, random_state=0)
    classifier.fit(X, np.arange(8) % 2)
    assert classifier.module_.radii == (0.48, 0.96, 1.92)


@pytest.mark.parametrize("settings, error, message", [
    ({"guide": 3}, TypeError, "guide must be 'depth'"),
    ({"guide": "./nowhere"}, FileNotFoundError, "no folder"),
    ({"saliency_weight": -1.0}, ValueError, "saliency_weight must be in"),
    ({"n_groups": 16}, ValueError, "n_groups must be 3 integers"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = I2PMAEPretrainer(**SMALL | settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")
