"""ULIP: clouds find their pictures and words, and words find clouds of classes not seen before."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.losses import alignment_loss
from pointinteract.models.teachers import TextEncoder
from pointinteract.persistence import load, save
from pointinteract.pretraining import ULIPPretrainer

SMALL = dict(max_epochs=2, batch_size=4, random_state=0)
COLORS = ["red", "blue", "green", "gray"]


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def texts():
    return [f"a {COLORS[i % 4]} thing" for i in range(8)]


@pytest.fixture(scope="module")
def fitted(X, texts):
    return ULIPPretrainer("pointnet_basic", **SMALL).fit(X, texts=texts)


def test_features_are_the_pooled_ones_and_not_the_projected(fitted, X):
    with torch.inference_mode():
        points = torch.from_numpy(fitted._prepare(X))
        pooled = fitted.module_.encoder.forward_pool(points)
        projected = fitted.module_.text_projection(pooled)

    np.testing.assert_allclose(fitted.transform(X), pooled, atol=1e-6)
    np.testing.assert_allclose(fitted.encode_clouds(X), projected, atol=1e-5)
    assert set(fitted.history_.columns) == {
        "loss", "image", "text", "scale", "learning_rate", "seconds"
    }
    np.testing.assert_allclose(
        fitted.history_.loss, fitted.history_.image + fitted.history_.text, rtol=1e-5
    )


@pytest.mark.parametrize("equal_texts", ["positives", "negatives"])
def test_the_loss_is_the_sum_of_both_alignments(X, texts, equal_texts):
    pre = ULIPPretrainer(
        "pointnet_basic", equal_texts=equal_texts, augmentation=None,
        **SMALL | {"max_epochs": 0, "batch_size": 8},
    ).fit(X, texts=texts)
    start = copy.deepcopy(pre.module_).train()

    pre.partial_fit(X, texts=texts)

    points = torch.from_numpy(pre._prepare(X))
    image, text = start(points)
    teachers = pre._ask_teachers(list(pre._prepare(X)), {"images": None, "texts": texts})
    groups = torch.arange(8) % 4 if equal_texts == "positives" else None
    scale = 1 / 0.07
    expected = alignment_loss(image, teachers["image"], scale=scale)
    expected = expected + alignment_loss(text, teachers["text"], scale=scale, groups=groups)
    assert pre.history_.loss.iloc[0] == pytest.approx(float(expected.detach()), rel=1e-3)


def test_training_lets_words_find_clouds():
    shapes = make_shapes(48, n_points=64, classes=["airplane", "bottle", "table"], random_state=0)
    new = make_shapes(30, n_points=64, classes=["airplane", "bottle", "table"], random_state=1)
    names = [shapes.target_names[i] for i in shapes.target]
    pre = ULIPPretrainer(
        "pointnet_basic", templates=["a {}", "the {}"], max_epochs=12, batch_size=16,
        random_state=0,
    ).fit(shapes.data, texts=names)

    named = pre.classify(new.data, shapes.target_names)

    truth = np.asarray(new.target_names)[new.target]
    assert (named.labels == truth).mean() > 0.8
    assert pre.history_.loss.iloc[-1] < 0.8 * pre.history_.loss.iloc[0]
    np.testing.assert_allclose(named.probabilities.sum(axis=1), 1, atol=1e-5)


def test_templates_are_averaged_in_training_too(X, texts):
    pre = ULIPPretrainer(
        "pointnet_basic", templates=["{}", "form of {}"], **SMALL | {"max_epochs": 0}
    ).fit(X, texts=texts)

    found = pre._ask_teachers(list(X), {"images": None, "texts": texts})["text"]

    plain = TextEncoder().encode(texts)
    longer = TextEncoder().encode([f"form of {text}" for text in texts])
    np.testing.assert_allclose(found, (plain + longer) / 2, atol=1e-6)


def test_without_texts_clouds_are_aligned_with_pictures_only(X):
    pre = ULIPPretrainer("pointnet_basic", **SMALL).fit(X)

    assert "text" not in pre.history_ and "image" in pre.history_
    with pytest.raises(ValueError, match=r"fitted without texts; pass fit\(X, texts"):
        pre.classify(X, ["chair", "table"])
    with pytest.raises(ValueError, match="made without texts; call fit"):
        pre.partial_fit(X, texts=["a"] * 8)


def test_ready_features_of_both_teachers_need_neither_images_nor_texts(X):
    ready = np.random.default_rng(0).normal(size=(2, 8, 5))
    pre = ULIPPretrainer(
        "pointnet_basic", image_teacher=ready[0], text_teacher=ready[1], projection="shared",
        **SMALL,
    ).fit(X)

    assert pre.module_.shared_projection.out_features == 5
    assert pre.encode_clouds(X).shape == (8, 5)
    with pytest.raises(ValueError, match="holds ready features only"):
        pre.encode_texts(["a chair"])


def test_one_clip_for_pictures_and_words_shares_a_projection(X, texts, clip_folder, tmp_path):
    pre = ULIPPretrainer(
        "pointnet_basic", image_teacher=str(clip_folder), text_teacher=str(clip_folder),
        teacher_cache=str(tmp_path / "cache"), **SMALL,
    ).fit(X, texts=texts)

    assert pre.architecture_["shared"] and pre.module_.text_projection is None
    loaded = load(save(pre, tmp_path / "ulip.npz"))
    assert np.array_equal(loaded.encode_texts(["a chair"]), pre.encode_texts(["a chair"]))
    assert loaded.classify(X, ["chair", "lamp"]).scores.shape == (8, 2)
    apart = clone(pre).set_params(projection="separate").fit(X, texts=texts)
    assert apart.module_.shared_projection is None


def test_the_scale_is_learned_and_kept_at_100(X, texts):
    pre = ULIPPretrainer("pointnet_basic", **SMALL | {"max_epochs": 0}).fit(X, texts=texts)
    with torch.no_grad():
        pre.module_.log_scale.fill_(9.0)

    pre.partial_fit(X, texts=texts)

    assert float(pre.module_.log_scale.detach().exp()) == pytest.approx(100, rel=1e-2)
    free = clone(pre).set_params(max_epochs=2).fit(X, texts=texts)
    assert float(free.module_.log_scale.detach().exp()) != pytest.approx(1 / 0.07, rel=1e-6)


def test_same_seed_same_bits_and_other_seed_other_ones(fitted, X, texts):
    again = clone(fitted).fit(X, texts=texts).transform(X)
    other = clone(fitted).set_params(random_state=1).fit(X, texts=texts).transform(X)

    assert np.array_equal(again, fitted.transform(X)) and not np.array_equal(other, again)


def test_each_option_changes_the_result(fitted, X, texts):
    reference = fitted.transform(X)

    for settings in ({"image_teacher": None}, {"text_teacher": None}, {"templates": "my {}"},
                     {"equal_texts": "negatives"}, {"weight_decay": 0.9}, {"augmentation": None},
                     {"n_points": 16}, {"normalize": False}, {"batch_size": 8}):
        changed = clone(fitted).set_params(**settings).fit(X, texts=texts).transform(X)
        assert not np.array_equal(changed, reference), settings


def test_copies_and_files_answer_the_same_and_can_go_on(fitted, X, texts, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted),
                   load(save(fitted, tmp_path / "ulip.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.classify(X, ["a", "b"]).scores,
                              fitted.classify(X, ["a", "b"]).scores)
        assert copied.partial_fit(X, texts=texts).n_epochs_ == 3


def test_ragged_clouds_warm_start_and_a_classifier_on_top(fitted, X, texts):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]
    pre = clone(fitted).set_params(warm_start=True).fit(ragged, texts=texts)

    pre.fit(ragged, texts=texts)
    classifier = PointClassifier(pretrained=fitted, max_epochs=1).fit(X, np.arange(8) % 2)

    assert pre.n_epochs_ == 4 and pre.transform(ragged).shape == (8, 1024)
    assert classifier.predict(X).shape == (8,)
    with pytest.raises(ValueError, match="backbone was 'pointnet_basic' and is 'dgcnn'"):
        pre.set_params(backbone="dgcnn").fit(ragged, texts=texts)


@pytest.mark.parametrize("settings, message", [
    ({"backbone": "dgcn"}, "Did you mean 'dgcnn'"),
    ({"projection": "one"}, "projection must be one of"),
    ({"projection": "shared"}, "features of one width, got 7 of images and 256 of texts"),
    ({"equal_texts": "none"}, "equal_texts must be one of"),
    ({"templates": "a chair"}, r"templates must be sentences with \{\} once"),
    ({"image_teacher": None, "text_teacher": None}, "at least one of image_teacher"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, message, X, texts):
    pre = ULIPPretrainer(**{"backbone": "pointnet_basic", **SMALL, **settings})

    with pytest.raises(ValueError, match=message):
        pre.fit(X, texts=texts)

    assert not hasattr(pre, "module_")


def test_sources_must_be_as_many_as_clouds(X, texts):
    with pytest.raises(ValueError, match="texts must hold one entry a cloud: got 3 for 8"):
        ULIPPretrainer("pointnet_basic", **SMALL).fit(X, texts=texts[:3])
    with pytest.raises(ValueError, match="no teacher to align with"):
        ULIPPretrainer("pointnet_basic", image_teacher=None, **SMALL).fit(X)


def test_a_training_that_broke_off_goes_on_to_the_last_bit(X, texts, tmp_path):
    class BrokenOff(Exception):
        pass

    settings = SMALL | {"max_epochs": 4, "checkpoint": tmp_path / "training.npz"}
    pre = ULIPPretrainer("pointnet_basic", **settings)
    compute = pre._compute_loss

    def compute_or_stop(*arguments):
        if pre._run.epoch == 2:
            raise BrokenOff
        return compute(*arguments)

    pre._compute_loss = compute_or_stop
    with pytest.raises(BrokenOff):
        pre.fit(X, texts=texts)
    resumed = ULIPPretrainer("pointnet_basic", **settings).fit(X, texts=texts)

    whole = ULIPPretrainer("pointnet_basic", **settings | {"checkpoint": None}).fit(X, texts=texts)
    assert np.array_equal(resumed.transform(X), whole.transform(X))
    assert resumed.history_.text.equals(whole.history_.text)
