"""Naming clouds by words: vectors of names, queries of networks, and one classifier over all."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from pointinteract.classification import ZeroShotPointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import CloudError, PointInteractWarning
from pointinteract.models._teacher_prompts import TEMPLATE_SETS, check_templates
from pointinteract.models.teachers import CallableTeacher, TextEncoder, TransformersTeacher
from pointinteract.persistence import load, save
from pointinteract.pretraining import (
    CLIP2PointPretrainer,
    PointCLIPPretrainer,
    ReConPretrainer,
    ULIPPretrainer,
)

NAMES = ["table", "chair", "lamp"]
SMALL = {"n_groups": 6, "group_size": 8, "max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(6, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def texts():
    return ["a red chair", "a table", "a tall lamp"] * 2


@pytest.fixture(scope="module")
def recon(X, texts):
    """Both teachers in one space: ready features of pictures as wide as those of texts."""
    pictures = np.random.default_rng(1).normal(size=(6, 256))
    return ReConPretrainer(
        **SMALL, image_teacher=pictures, text_teacher="hashed_ngrams", self_contrast=True
    ).fit(X, texts=texts)


@pytest.fixture(scope="module")
def pointclip(X, clip_folder):
    return PointCLIPPretrainer(str(clip_folder), picture_size=24, n_views=2).fit(X)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


# --- prompts --------------------------------------------------------------------------------


def test_ensemble_is_twenty_beginnings_and_three_ends():
    prompts = check_templates("ensemble")

    assert len(set(prompts)) == 60 and check_templates("single") == list(TEMPLATE_SETS["single"])
    assert prompts[:4] == ["{}.", "A {}.", "A model of {}.", "A model of a {}."]
    assert prompts[19] == "A 3D rendering image of a {}."
    assert prompts[20] == "{} with white background." and prompts[41] == "A {} with black context."
    assert all(prompt.count("{}") == 1 for prompt in prompts)
    assert check_templates("my {}") == ["my {}"]
    assert check_templates(("{}", "a {}")) == ["{}", "a {}"]


@pytest.mark.parametrize("bad", ["ensembles", [], ["a chair"], ["{} {}"], [3], 3])
def test_bad_templates_are_named(bad):
    with pytest.raises(ValueError, match="templates must"):
        check_templates(bad)


# --- ReCon ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["recon", "multitask", "two_tower"])
def test_recon_projects_the_query_of_each_teacher(X, texts, architecture):
    pictures = np.random.default_rng(1).normal(size=(6, 256))
    pre = ReConPretrainer(
        **SMALL | {"max_epochs": 0}, architecture=architecture, image_teacher=pictures,
        text_teacher="hashed_ngrams",
    ).fit(X, texts=texts)

    found = {f: pre.encode_clouds(X, feature=f, ratio=0.3) for f in ("text", "image", "full")}

    module = pre.module_.eval()
    with torch.no_grad():
        tokens = module.encoder.forward_features(torch.from_numpy(pre._prepare(X)))
        image = module.image_projection(tokens[:, 1]).numpy()
        text = module.text_projection(tokens[:, 2]).numpy()
    np.testing.assert_allclose(found["image"], image, atol=1e-5)
    np.testing.assert_allclose(found["text"], text, atol=1e-5)
    np.testing.assert_allclose(found["full"], 0.3 * text + image, atol=1e-5)
    assert np.array_equal(pre.encode_clouds(X), found["text"])


def test_recon_adds_features_of_prompts_as_they_are(X, recon):
    def read(texts):  # vectors of very different lengths
        return [[100.0, 0.0] if text.startswith("my") else [0.0, 1.0] for text in texts]

    vectors = recon.encode_classes(["chair"], templates=["my {}", "a {}"], text_encoder=read)

    np.testing.assert_allclose(vectors, unit(np.array([[100.0, 1.0]])), rtol=1e-5)


def test_recon_names_the_class_of_largest_cosine(X, recon):
    named = recon.classify(X, NAMES, templates="ensemble")

    prompts = TEMPLATE_SETS["ensemble"]
    sums = [TextEncoder().encode([p.replace("{}", n) for p in prompts]).sum(axis=0) for n in NAMES]
    cosines = unit(recon.encode_clouds(X)) @ unit(np.stack(sums)).T
    np.testing.assert_allclose(named.scores, cosines, atol=1e-5)
    assert named.labels.tolist() == [NAMES[i] for i in cosines.argmax(axis=1)]
    assert np.array_equal(recon.classify(X, NAMES).scores, named.scores)  # the default
    other = recon.classify(X, NAMES, templates="single", feature="image")
    assert not np.allclose(other.scores, named.scores, atol=1e-3)


def test_scores_are_cosines_whatever_the_length_of_the_vectors(X, recon, pointclip):
    for pre in (recon, pointclip):
        vectors = pre.encode_classes(NAMES)
        scores = pre.score_classes(X, vectors).scores

        scaled = pre.score_classes(X, (vectors * [[1], [10], [100]]).tolist()).scores
        np.testing.assert_allclose(scaled, scores, atol=1e-6)
        with pytest.raises(ValueError, match=r"one vector a class.*got shape \(\d+,\)"):
            pre.score_classes(X, vectors[0])


def test_a_feature_whose_teacher_was_left_out_is_refused(X, texts):
    words = ReConPretrainer(**SMALL, text_teacher="hashed_ngrams").fit(X, texts=texts)
    pictures = ReConPretrainer(**SMALL, image_teacher="depth_descriptor").fit(X)
    narrow = ReConPretrainer(
        **SMALL, image_teacher=np.ones((6, 4)), text_teacher="hashed_ngrams"
    ).fit(X, texts=texts)

    for feature in ("image", "full"):
        with pytest.raises(ValueError, match="fitted without images; pass image_teacher"):
            words.encode_clouds(X, feature=feature)
        with pytest.raises(ValueError, match="depth_descriptor' has no words|without texts"):
            pictures.encode_clouds(X, feature=feature)
    with pytest.raises(ValueError, match=r"fitted without texts; pass fit\(X, texts"):
        pictures.classify(X, NAMES)
    with pytest.raises(ValueError, match="one width; got 256 and 4"):
        narrow.encode_clouds(X, feature="full")
    with pytest.raises(ValueError, match="width 4 and classes of width 256"):
        narrow.classify(X, NAMES, feature="image")
    with pytest.raises(ValueError, match="feature must be one of"):
        words.encode_clouds(X, feature="sound")
    with pytest.raises(NotFittedError):
        ReConPretrainer(text_teacher="hashed_ngrams").encode_clouds(X)


# --- the classifier -------------------------------------------------------------------------


def test_classifier_answers_as_each_pretrainer_does(X, texts, recon, pointclip, clip_folder):
    ulip = ULIPPretrainer("pointnet_basic", image_teacher=None, max_epochs=1, random_state=0).fit(
        X, texts=texts
    )
    clip2point = CLIP2PointPretrainer(
        str(clip_folder), picture_size=16, n_views=2, max_epochs=0, random_state=0
    ).fit(X)

    for pre in (recon, ulip, clip2point, pointclip):
        for templates in ("single", "ensemble", ["my {}", "the {}"], None):
            clf = ZeroShotPointClassifier(pre, class_names=NAMES, templates=templates).fit()
            direct = pre.classify(X, sorted(NAMES), templates=templates)
            assert clf.classes_.tolist() == sorted(NAMES) and clf.pretrainer_ is pre
            assert np.array_equal(clf.predict_proba(X), direct.probabilities)
            assert np.array_equal(clf.predict(X), direct.labels)


def test_classifier_takes_the_feature_asked_for(X, recon):
    found = {}
    for feature, ratio in ((None, 0.25), ("text", 0.25), ("image", 0.25), ("full", 0.0),
                           ("full", 0.5)):
        clf = ZeroShotPointClassifier(recon, class_names=NAMES, feature=feature, ratio=ratio)
        found[feature, ratio] = clf.fit(X).predict_proba(X)

    assert np.array_equal(found[None, 0.25], found["text", 0.25])
    assert np.array_equal(found["full", 0.0], found["image", 0.25])
    assert not np.allclose(found["full", 0.5], found["full", 0.0], atol=1e-3)
    assert not np.allclose(found["image", 0.25], found["text", 0.25], atol=1e-3)


def test_ulip_has_a_vector_for_each_teacher_too(X, texts, clip_folder):
    clip = str(clip_folder)
    pre = ULIPPretrainer(
        "pointnet_basic", image_teacher=clip, text_teacher=clip, projection="separate",
        max_epochs=0, random_state=0,
    ).fit(X, texts=texts)

    text, image = (pre.encode_clouds(X, feature=name) for name in ("text", "image"))

    with torch.no_grad():
        expected = pre.module_.eval()(torch.from_numpy(pre._prepare(X)))
    np.testing.assert_allclose(image, expected[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(text, expected[1].numpy(), atol=1e-5)
    clf = ZeroShotPointClassifier(pre, class_names=NAMES, feature="full", ratio=0.7).fit(X)
    scores = unit(0.7 * text + image) @ clf.class_vectors_.T
    assert np.array_equal(clf.predict(X), clf.classes_[scores.argmax(axis=1)])


def test_sentences_have_no_place_for_pictures(X, clip_folder):
    with pytest.raises(ValueError, match="words and pictures in one space"):
        PointCLIPPretrainer(str(clip_folder), text_teacher="all-minilm-l6-v2").fit(X)


def test_words_of_a_clip_folder_read_for_a_network_taught_by_its_pictures(X, clip_folder):
    pre = ReConPretrainer(**SMALL, image_teacher=str(clip_folder)).fit(X)
    clf = ZeroShotPointClassifier(pre, str(clip_folder), class_names=NAMES, feature="image")

    chances = clf.fit(X).predict_proba(X)

    encoder = TransformersTeacher(clip_folder, modality="text")
    sums = [encoder.encode([p.replace("{}", name) for p in TEMPLATE_SETS["ensemble"]]).sum(axis=0)
            for name in sorted(NAMES)]
    logits = 100 * unit(pre.encode_clouds(X, feature="image")) @ unit(np.stack(sums)).T
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(chances, expected / expected.sum(axis=1, keepdims=True), atol=1e-3)
    with pytest.raises(ValueError, match="width 10 and classes of width 256"):
        clone(clf).set_params(text_encoder="hashed_ngrams", pretrainer=FrozenEstimator(pre)).fit(X)


def test_words_name_what_was_learned_from_captions():
    kinds = ["airplane", "bottle", "table"]
    shapes = make_shapes(60, n_points=64, classes=kinds, random_state=0)
    new = make_shapes(30, n_points=64, classes=kinds, random_state=1)
    names = np.asarray(shapes.target_names)
    pre = ULIPPretrainer(
        "pointnet_basic", image_teacher=None, batch_size=16, max_epochs=12, random_state=0
    ).fit(shapes.data, texts=[f"a {name}" for name in names[shapes.target]])

    clf = ZeroShotPointClassifier(pre, class_names=dict(enumerate(shapes.target_names))).fit()

    assert clf.score(new.data, new.target) > 0.8
    swapped = dict(zip([1, 2, 0], shapes.target_names, strict=True))
    assert clf.fit(class_names=swapped).score(new.data, new.target) < 0.2


def test_labels_may_be_numbers_or_other_words(X, recon):
    numbers = {7: "table", 3: "chair"}
    words = {"night_stand": "night stand", "chair": "chair"}

    for given in (numbers, words):
        clf = ZeroShotPointClassifier(recon, class_names=given).fit()
        plain = ZeroShotPointClassifier(recon, class_names=sorted(given.values())).fit()
        assert clf.classes_.tolist() == sorted(given)
        assert clf.class_names_ == [given[label] for label in sorted(given)]
        assert [given[label] for label in clf.predict(X).tolist()] == plain.predict(X).tolist()


def test_names_come_from_labels_too_and_numbers_are_warned_of(X, recon):
    clf = ZeroShotPointClassifier(recon)

    assert clf.fit(X, NAMES * 2).classes_.tolist() == sorted(NAMES)
    assert clf.fit(None, NAMES).classes_.tolist() == sorted(NAMES)
    assert clf.fit(class_names=["b", "a"]).class_names_ == ["a", "b"]
    with pytest.warns(PointInteractWarning, match="0 are read as words"):
        assert clf.fit(X, [0, 1, 2] * 2).class_names_ == ["0", "1", "2"]


def test_cross_validation_keeps_a_frozen_pretrainer_and_refits_one_that_learns_nothing(
    X, recon, pointclip
):
    for pre in (FrozenEstimator(recon), clone(pointclip)):
        clf = ZeroShotPointClassifier(pre, class_names=NAMES)
        shares = cross_val_score(clf, X, NAMES * 2, cv=2)
        assert ((0 <= shares) & (shares <= 1)).all()


def test_scale_sharpens_and_leaves_labels(X, recon):
    soft, sharp = (
        ZeroShotPointClassifier(recon, class_names=NAMES, logit_scale=scale).fit()
        for scale in (1.0, 1000.0)
    )

    assert sharp.predict_proba(X).max() > soft.predict_proba(X).max() + 0.2
    assert np.array_equal(soft.predict(X), sharp.predict(X))


def test_ragged_clouds_are_named_as_if_alone(X, recon):
    ragged = [cloud[: 20 + 2 * i] for i, cloud in enumerate(X)]
    clf = ZeroShotPointClassifier(recon, class_names=NAMES).fit(ragged)

    together = clf.predict_proba(ragged)

    alone = np.concatenate([clf.predict_proba(cloud[None]) for cloud in ragged])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_copies_and_files_answer_the_same_without_reading_words_again(X, recon, tmp_path):
    clf = ZeroShotPointClassifier(recon, class_names={"a": "chair", "b": "table"}).fit(X)

    for copied in (pickle.loads(pickle.dumps(clf)), load(save(clf, tmp_path / "named.npz"))):
        assert np.array_equal(copied.predict_proba(X), clf.predict_proba(X))
        assert copied.pretrainer_ is copied.pretrainer
    assert not hasattr(clone(clf), "classes_")


def test_what_cannot_be_compared_is_named(X, recon, pointclip):
    class_ = ZeroShotPointClassifier
    named = {"class_names": NAMES}

    with pytest.raises(TypeError, match="must compare clouds with words"):
        class_(TextEncoder(), **named).fit()
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        class_(clone(recon), **named).fit(X)
    with pytest.raises(NotFittedError, match="FrozenEstimator"):
        class_(clone(pointclip), **named).fit()
    with pytest.raises(ValueError, match="has one vector a cloud"):
        class_(pointclip, **named, feature="image").fit(X)
    with pytest.raises(ValueError, match="target y is None; or class_names"):
        class_(recon).fit(X)
    with pytest.raises(ValueError, match="not among class_names.*dict"):
        class_(recon, **named).fit(X, [0, 1, 2] * 2)
    with pytest.raises(ValueError, match="got 2 labels for 6 clouds"):
        class_(recon, **named).fit(X, ["chair", "lamp"])
    with pytest.raises(TypeError, match="class_names must be strings"):
        class_(recon, class_names=[1, 2]).fit()
    with pytest.raises(ValueError, match="one of them is blank"):
        class_(recon, class_names=["chair", " "]).fit()
    for labels in ([None, 1], [("a", "b"), ("c", "d")], ["a", 1]):
        with pytest.raises(TypeError, match="labels must be all strings or all numbers"):
            class_(recon, class_names=dict(zip(labels, NAMES, strict=False))).fit()
    with pytest.raises(ValueError, match="templates must be sentences"):
        class_(recon, **named, templates="a chair").fit()
    with pytest.raises(ValueError, match="holds ready features"):
        class_(recon, np.ones((3, 256)), **named).fit()
    with pytest.raises(CloudError, match="4 features"):
        class_(recon, **named).fit().predict(np.ones((2, 32, 4)))
    with pytest.raises(NotFittedError):
        class_(recon, **named).predict(X)


def test_a_failed_fit_leaves_what_was(X, recon):
    clf = ZeroShotPointClassifier(recon, class_names=NAMES).fit(X)
    before = clf.predict_proba(X)

    def broken(texts):
        raise RuntimeError("no words today")

    with pytest.raises(RuntimeError, match="no words"):
        clf.set_params(text_encoder=CallableTeacher(broken, takes="texts")).fit(
            np.ones((3, 8, 4)), class_names=["a", "b"]
        )

    assert np.array_equal(clf.predict_proba(X), before)
