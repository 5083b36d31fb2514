"""CLIP2Point: a copy of a picture network learns to read depth pictures; the original stays."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from pointinteract.classification import PointClassifier
from pointinteract.losses import pair_contrast_loss
from pointinteract.models import DepthViewEncoder
from pointinteract.models.teachers import CallableTeacher
from pointinteract.ops.depth_views import disc_depth_views, side_cameras
from pointinteract.persistence import load, save
from pointinteract.pretraining import CLIP2PointPretrainer

SMALL = dict(max_epochs=2, batch_size=4, n_training_views=4, learning_rate=1e-3, random_state=0)


def network(width=6):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(48, width))


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X, clip_folder):
    return CLIP2PointPretrainer(str(clip_folder), radius=0.1, **SMALL).fit(X)


@pytest.fixture(scope="module")
def of_module(X):
    return CLIP2PointPretrainer(network(), picture_size=16, radius=0.1, **SMALL).fit(X)


def test_untrained_the_copy_says_what_the_clip_says(X, clip_folder):
    from transformers import CLIPModel

    pre = CLIP2PointPretrainer(str(clip_folder), radius=0.1, max_epochs=0).fit(X)

    points = torch.from_numpy(pre._prepare(X))
    pictures = disc_depth_views(points, side_cameras(6, up="z", mirrored=False), size=16,
                                radius=0.1)
    np.testing.assert_allclose(pre.views(X).pictures, pictures, atol=1e-6)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = (pictures.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1) - 0.5) / 0.25
    with torch.no_grad():
        vectors = model.visual_projection(model.vision_model(pixels).pooler_output)
    mean = nn.functional.normalize(vectors, dim=1).view(8, 6, 10).mean(dim=1)
    np.testing.assert_allclose(pre.transform(X), mean, atol=1e-5)


def test_the_copy_is_trained_and_the_original_stays(fitted, X, clip_folder):
    untrained = clone(fitted).set_params(max_epochs=0).fit(X)

    frozen = fitted._teacher("images").model
    theirs = fitted.module_.encoder.picture_network.state_dict()

    assert not np.allclose(fitted.transform(X), untrained.transform(X), atol=1e-4)
    assert all(not p.requires_grad for p in frozen.parameters())
    moved = [name for name, value in untrained.module_.encoder.picture_network.named_parameters()
             if not torch.equal(value, theirs[name])]
    assert len(moved) > 10


def test_the_loss_is_image_plus_balanced_depth(fitted):
    history = fitted.history_

    w = history.balance
    assert w.iloc[1] != pytest.approx(1.0, abs=1e-7)
    # The record holds means over batches, in which the balance hardly moves.
    expected = history.image + history.depth / w**2 + np.log1p(w)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-2)


def test_both_contrasts_are_of_one_side_seen_twice(of_module, X):
    start = copy.deepcopy(clone(of_module).set_params(max_epochs=0, distance_jitter=0.0,
                                                      n_training_views=1).fit(X))
    points = torch.from_numpy(start._prepare(X))
    targets = start._make_targets(start._prepare(X), {"images": None})

    _, parts = start._compute_loss(points, torch.arange(8), targets, torch.Generator())

    with torch.no_grad():
        encoder = start.module_.encoder
        seen = encoder.encode_pictures(encoder.draw(points, encoder.cameras[:1])[:, 0])
        depth = pair_contrast_loss(seen, seen, temperature=0.07)
        image = pair_contrast_loss(seen, targets[:, 0], temperature=0.07)
    assert float(parts["depth"].detach()) == pytest.approx(float(depth), rel=1e-4)
    assert float(parts["image"].detach()) == pytest.approx(float(image), rel=1e-4)


def test_training_brings_depth_to_the_picture_of_the_object():
    generator = np.random.default_rng(0)
    X = 0.05 * generator.normal(size=(12, 64, 3)).astype("f4")
    X[np.arange(12), :, np.arange(12) % 3] *= 20
    pre = CLIP2PointPretrainer(
        network(16), picture_size=16, radius=0.1, max_epochs=25, batch_size=12,
        learning_rate=3e-3, n_training_views=2, random_state=0,
    ).fit(X)

    assert pre.history_.image.tail(3).mean() < 0.95 * pre.history_.image.head(3).mean()


def test_pictures_of_objects_take_the_place_of_drawn_ones(of_module, X):
    images = np.random.default_rng(1).random((8, 16, 16, 3)).astype(np.float32)

    given = clone(of_module).fit(X, images=images)

    assert not np.array_equal(given.transform(X), of_module.transform(X))
    with pytest.raises(ValueError, match="images must hold one entry a cloud: got 3 for 8"):
        clone(of_module).fit(X, images=images[:3])


def test_words_name_clouds(fitted, X):
    named = fitted.classify(X, ["chair", "lamp"])

    vectors = fitted.encode_texts(["image of a chair.", "image of a lamp."])
    clouds = fitted.encode_clouds(X)
    cosines = clouds / np.linalg.norm(clouds, axis=1, keepdims=True) @ vectors.T
    np.testing.assert_allclose(named.scores, cosines, atol=1e-5)
    np.testing.assert_allclose(named.probabilities.sum(axis=1), 1, atol=1e-5)


def test_same_seed_same_bits_and_other_seed_other_ones(of_module, X):
    again = clone(of_module).fit(X).transform(X)
    other = clone(of_module).set_params(random_state=1).fit(X).transform(X)

    assert np.array_equal(again, of_module.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(of_module, X):
    reference = of_module.transform(X)

    for settings in ({"n_views": 4}, {"n_training_views": 1}, {"radius": 0.2}, {"up": "y"},
                     {"distance_jitter": 0.5}, {"temperature": 0.5}, {"weight_decay": 0.9},
                     {"augmentation": "jitter"}, {"n_points": 16}, {"normalize": False}):
        changed = clone(of_module).set_params(**settings).fit(X).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "c2p.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.encode_texts(["a chair"]), fitted.encode_texts(["a chair"]))
        assert copied.partial_fit(X).n_epochs_ == 3


def test_a_cache_keeps_what_the_frozen_encoder_said(of_module, X, tmp_path):
    first = clone(of_module).set_params(teacher_cache=str(tmp_path)).fit(X)
    files = sorted(tmp_path.rglob("*.npz"))
    again = clone(first).fit(X)

    assert len(files) == 1 and sorted(tmp_path.rglob("*.npz")) == files
    assert np.array_equal(again.transform(X), first.transform(X))


def test_a_classifier_starts_from_the_encoder_and_sizes_may_differ(fitted, X, tmp_path):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]

    classifier = PointClassifier(pretrained=fitted, max_epochs=1).fit(X, np.arange(8) % 2)

    assert isinstance(classifier.module_, DepthViewEncoder)
    loaded = load(save(classifier, tmp_path / "classifier.npz"))
    assert np.array_equal(loaded.predict_proba(X), classifier.predict_proba(X))
    assert fitted.transform(ragged).shape == (8, 10)


@pytest.mark.parametrize("settings, error, message", [
    ({"image_teacher": None}, ValueError, "CLIP2PointPretrainer needs an image_teacher"),
    ({"image_teacher": "depth_descriptor"}, ValueError, "no words and pictures in one space"),
    ({"image_teacher": CallableTeacher(len, takes="images")}, TypeError, "copied and trained"),
    ({"n_views": 11}, ValueError, "n_views must be from 1 to 10"),
    ({"n_training_views": 0}, ValueError, "n_training_views must be from 1 to 10"),
    ({"picture_size": 0}, ValueError, "picture_size must be at least 1"),
    ({"radius": 0}, ValueError, r"radius must be in \(0"),
    ({"distance_jitter": 1.0}, ValueError, r"distance_jitter must be in \[0"),
    ({"temperature": 0}, ValueError, r"temperature must be in \(0"),
    ({"up": "x"}, ValueError, "up must be one of"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = CLIP2PointPretrainer(network(), picture_size=16, **SMALL).set_params(**settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "module_")


def test_a_model_without_words_is_refused(X, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        image_size=16, patch_size=8,
    )
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="copies the picture encoder of a CLIP"):
        CLIP2PointPretrainer(str(tmp_path), text_teacher=len, **SMALL).fit(X)


def test_a_training_that_broke_off_goes_on_to_the_last_bit(of_module, X, tmp_path):
    class BrokenOff(Exception):
        pass

    path = tmp_path / "training.npz"
    pre = clone(of_module).set_params(checkpoint=path)
    compute = pre._compute_loss

    def compute_or_stop(*arguments):
        if pre._run.epoch == 1:
            raise BrokenOff
        return compute(*arguments)

    pre._compute_loss = compute_or_stop
    with pytest.raises(BrokenOff):
        pre.fit(X)
    resumed = clone(of_module).set_params(checkpoint=path).fit(X)

    assert np.array_equal(resumed.transform(X), of_module.transform(X))
    assert resumed.history_.balance.equals(of_module.history_.balance)
