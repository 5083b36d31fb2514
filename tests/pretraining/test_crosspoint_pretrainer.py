"""The pictures of CrossPoint; the rest is in test_contrast_pretrainers.py."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.losses import pair_contrast_loss
from pointinteract.pretraining import CrossPointPretrainer
from pointinteract.pretraining._pictures import (
    check_pictures,
    choose_pictures,
    disturb_pictures,
    render_pictures,
)

SMALL = dict(projection_hidden=16, projection_width=8, image_size=12, max_epochs=1, batch_size=4,
             random_state=0)  # fmt: skip


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X):
    return CrossPointPretrainer("pointnet_basic", **SMALL).fit(X)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pictures_are_of_each_cloud_from_any_side_but_upright():
    tower = torch.zeros(20, 50, 3)
    tower[..., 2] = torch.linspace(-1, 1, 50)
    tower[:, 0, 0] = 0.9  # an arm, seen left or right or not at all

    pictures = render_pictures(tower, generator(), size=24, up="z")
    lying = render_pictures(tower, generator(), size=24, up="y")

    assert pictures.shape == (20, 1, 24, 24) and 0 <= pictures.min() and pictures.max() <= 1
    drawn = pictures[:, 0] > 0
    assert (drawn.any(dim=2).sum(dim=1) >= 20).all()  # as tall as the picture
    columns = drawn.sum(dim=1)
    assert len({tuple(row.tolist()) for row in columns}) > 5
    assert not torch.equal(lying, pictures)


def test_disturbed_pictures_are_mirrored_brightened_and_kept_in_range():
    pictures = torch.rand(200, 3, 6, 6, generator=generator()) * 0.5 + 0.2

    same = disturb_pictures(pictures, generator(), strength=0.0)
    faint = disturb_pictures(pictures, generator(), strength=1e-6)
    strong = disturb_pictures(pictures, generator(), strength=0.9)

    assert torch.equal(same, pictures) and strong.min() >= 0 and strong.max() <= 1
    straight = (faint - pictures).abs().amax(dim=(1, 2, 3)) < 1e-4
    mirrored = (faint - pictures.flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (straight | mirrored).all() and 0.35 < mirrored.float().mean() < 0.65
    assert (strong.mean(dim=(1, 2, 3)) / pictures.mean(dim=(1, 2, 3))).std() > 0.2


@pytest.mark.parametrize("shape, expected", [
    ((5, 8, 9), (5, 1, 8, 9, 1)), ((5, 8, 9, 3), (5, 1, 8, 9, 3)),
    ((5, 4, 8, 9, 3), (5, 4, 8, 9, 3)),
])  # fmt: skip
def test_pictures_of_all_kinds_come_into_one_array(shape, expected):
    numbers = np.random.default_rng(0).integers(0, 256, size=shape).astype(np.uint8)

    array = check_pictures(list(numbers), 5)
    floats = check_pictures(numbers / 255, 5)

    assert array.shape == floats.shape == expected
    assert (array.dtype, floats.dtype) == (torch.uint8, torch.float32)
    chosen = choose_pictures(array, torch.tensor([3, 1]), generator())
    assert torch.allclose(chosen, choose_pictures(floats, torch.tensor([3, 1]), generator()))
    views = (array[3].permute(0, 3, 1, 2) / 255.0 == chosen[0]).flatten(1).all(dim=1)
    assert chosen.shape == (2, expected[-1], 8, 9) and views.any()


@pytest.mark.parametrize("images, message", [
    (np.zeros((4, 8, 8)), "got 4 for 5 clouds"),
    (np.zeros((5, 8)), r"shape \(5, 8\)"),
    (np.zeros((5, 8, 8, 7)), "1 to 4 channels"),
    ([np.zeros((8, 8))] * 4 + [np.zeros((8, 9))], "cannot be stacked"),
    (np.full((5, 8, 8), 200.0), "from 200.0 to 200.0"),
    (np.full((5, 8, 8), np.nan), "from nan to nan"),
    (7, "cannot be stacked"),
])
def test_pictures_that_do_not_fit_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        check_pictures(images, 5)


def test_the_loss_is_that_of_views_and_of_their_mean_with_pictures(fitted, X):
    pre = clone(fitted).set_params(image_weight=0.5).fit(X)
    network, points = pre.module_, torch.from_numpy(X)

    loss, parts = pre._compute_loss(points, torch.arange(8), None, generator())

    first, second = [network(torch.from_numpy(np.stack(views))) for views in _views(pre, points)]
    torch.testing.assert_close(parts["contrast"], pair_contrast_loss(first, second))
    assert loss.item() == pytest.approx(
        parts["contrast"].item() + 0.5 * parts["image_contrast"].item(), rel=1e-5
    )
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0
               for p in network.image_encoder.parameters() if p.ndim > 1)  # fmt: skip


def _views(pre, points):
    from pointinteract.pretraining._views import two_views

    return [view.numpy() for view in two_views(points, pre.views, generator())]


def test_clouds_and_their_own_pictures_find_each_other(X):
    # A bright square is a wide cloud, and a dark one a narrow cloud.
    clouds = np.random.default_rng(0).normal(size=(24, 32, 3))
    clouds[::2, :, 0] *= 10
    images = np.zeros((24, 2, 10, 10, 3), dtype=np.uint8)
    images[::2, ..., 0], images[1::2, ..., 1] = 250, 150
    pre = CrossPointPretrainer("pointnet_basic", **SMALL | {"max_epochs": 20, "batch_size": 12},
                               views="jitter", image_jitter=0.1, image_weight=2.0)  # fmt: skip

    pre.fit(clouds, images=images)
    shown = pre.similarity(clouds, images=images)

    likeness = shown.image_similarity
    own = np.arange(24)[:, None] % 2 == np.arange(24) % 2
    assert likeness[own].mean() > likeness[~own].mean() + 0.3
    assert shown.images.shape == (24, 10, 10, 3) and likeness.shape == (24, 24)


def test_rendered_pictures_are_shown_beside_the_views(fitted, X):
    shown = fitted.similarity(X)

    assert shown.images.shape == (8, 12, 12, 1) and shown.images.max() <= 1
    assert shown.similarity.shape == shown.image_similarity.shape == (8, 8)
    network = fitted.module_
    with torch.inference_mode():
        mean = sum(network(torch.from_numpy(np.stack(v))) for v in (shown.first, shown.second)) / 2
        seen = network.project_pictures(torch.from_numpy(shown.images).permute(0, 3, 1, 2))
        expected = torch.cosine_similarity(mean[:, None], seen[None], dim=2)
    np.testing.assert_allclose(shown.image_similarity, expected, atol=1e-5)


def test_pictures_of_another_kind_are_refused_later(fitted, X):
    images = np.random.default_rng(0).random((8, 10, 10, 3))
    colored = clone(fitted).fit(X, images=images)

    for call in (lambda: colored.partial_fit(X), lambda: colored.similarity(X),
                 lambda: fitted.partial_fit(X, images=images)):
        with pytest.raises(ValueError, match="the network was trained on pictures of"):
            call()
    assert colored.partial_fit(X, images=images).n_epochs_ == 2
    assert not np.array_equal(colored.transform(X), fitted.transform(X))


@pytest.mark.parametrize("settings, message", [
    ({"image_weight": -1.0}, r"image_weight must be in \[0"),
    ({"image_network": "vit"}, "image_network must be one of 'small', 'resnet18'"),
    ({"image_size": 4}, "image_size must be at least 8"),
    ({"image_jitter": 1.0}, r"image_jitter must be in \[0"),
    ({"up": "w"}, "up must be one of"),
])
def test_wrong_settings_are_refused(settings, message, X):
    with pytest.raises(ValueError, match=message):
        CrossPointPretrainer("pointnet_basic", **SMALL | settings).fit(X)
