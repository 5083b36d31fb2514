"""PointCLIP: pictures of clouds and words, compared in the space of a CLIP that is not ours."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import CheckpointError
from pointinteract.models.teachers import CallableTeacher
from pointinteract.ops.depth_views import harmonic_depth_views, side_cameras
from pointinteract.persistence import load, save
from pointinteract.pretraining import PointCLIPPretrainer


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(5, 32, 3)).astype("f4")


@pytest.fixture(scope="module")
def fitted(X, clip_folder):
    return PointCLIPPretrainer(str(clip_folder), picture_size=24).fit(X)


def look(pictures):
    """Mean brightness of the upper and of the lower half."""
    halves = np.split(np.asarray(pictures)[..., 0], 2, axis=1)
    return np.stack([half.mean(axis=(1, 2)) for half in halves], axis=1) + 1e-6


def read(texts):
    return [[1.0, 0.0] if "top" in text else [0.0, 1.0] for text in texts]


def pair(**settings):
    return PointCLIPPretrainer(
        CallableTeacher(look, takes="images"),
        text_teacher=CallableTeacher(read, takes="texts"),
        **{"normalize": False, **settings},
    )


def test_clip_is_shown_raw_depths_of_six_sides(fitted, X, clip_folder):
    from transformers import CLIPModel

    views = fitted.views(X).pictures
    features = fitted.transform(X)

    points = torch.from_numpy(fitted._prepare(X))
    expected = harmonic_depth_views(points, side_cameras(6, up="z"), size=24, shown_size=16)
    np.testing.assert_allclose(views, expected, atol=1e-6)
    assert views.max() > 1.2  # depths, not brightness
    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = expected.flatten(0, 1).unsqueeze(1).expand(-1, 3, -1, -1)
    with torch.no_grad():
        vectors = model.visual_projection(model.vision_model(pixels).pooler_output)
    unit = torch.nn.functional.normalize(vectors, dim=1).view(5, 60)
    np.testing.assert_allclose(features, unit, atol=1e-5)
    assert len(fitted.get_feature_names_out()) == 60


def test_agreement_is_that_of_repeated_text_and_views_side_by_side(fitted, X):
    names = ["chair", "lamp", "car"]

    named = fitted.classify(X, names)

    texts = fitted.encode_texts([f"point cloud depth map of a {name}." for name in names])
    repeated = np.tile(texts, (1, 6)) / np.sqrt(6)
    logits = 100 * fitted.transform(X) @ repeated.T
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(100 * named.scores, logits, atol=1e-3)
    np.testing.assert_allclose(named.probabilities, chances, atol=1e-3)
    assert named.classes == names
    assert named.labels.tolist() == [names[i] for i in logits.argmax(axis=1)]


def test_several_templates_are_averaged_on_the_sphere(fitted, X):
    prompts = ["a {}.", "the form of a {}"]

    scores = fitted.classify(X, ["chair", "lamp"], templates=prompts).scores

    vectors = [fitted.encode_texts([p.format(n) for p in prompts]).mean(0)
               for n in ("chair", "lamp")]
    vectors = np.stack([v / np.linalg.norm(v) for v in vectors])
    np.testing.assert_allclose(scores, fitted.encode_clouds(X) @ vectors.T, atol=1e-5)


def test_clouds_are_named_by_a_pair_of_teachers_that_share_a_space():
    generator = np.random.default_rng(0)
    X = generator.uniform(-0.3, 0.3, size=(8, 200, 3)).astype("f4")
    X[:4, :, 2] += 0.6  # in the upper half of the pictures from around
    X[4:, :, 2] -= 0.6
    # Seen from above and below there is no upper half.
    pre = pair(view_weights=[1, 1, 1, 1, 0, 0]).fit(X)

    named = pre.classify(X, ["top", "bottom"], templates="{}")

    assert named.labels.tolist() == ["top"] * 4 + ["bottom"] * 4
    assert named.probabilities[0, 0] > 0.9


def test_pooling_the_mean_is_the_mean_of_the_views(fitted, X):
    mean = clone(fitted).set_params(pooling="mean").fit(X).transform(X)

    expected = fitted.transform(X).reshape(5, 6, 10).mean(axis=1)
    np.testing.assert_allclose(mean, expected, atol=1e-6)


def test_each_cloud_is_looked_at_as_if_alone_and_sizes_may_differ(fitted, X):
    ragged = [cloud[: 20 + i] for i, cloud in enumerate(X)]

    together = fitted.transform(ragged)

    alone = np.concatenate([fitted.transform(cloud[None]) for cloud in ragged])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_each_option_changes_the_result(fitted, X):
    reference = fitted.encode_clouds(X)

    for settings in ({"n_views": 4}, {"picture_size": 12}, {"camera_distance": 2.5}, {"up": "y"},
                     {"view_weights": [1, 1, 1, 1, 1, 0]}, {"n_points": 16},
                     {"normalize": False}):
        changed = clone(fitted).set_params(**settings).fit(X).encode_clouds(X)
        assert not np.allclose(changed, reference, atol=1e-6), settings


def test_copies_and_files_answer_the_same(fitted, X, tmp_path):
    for copied in (pickle.loads(pickle.dumps(fitted)), load(save(fitted, tmp_path / "pc.npz"))):
        assert np.array_equal(copied.transform(X), fitted.transform(X))
        assert np.array_equal(copied.encode_texts(["a chair"]), fitted.encode_texts(["a chair"]))


def test_a_cache_keeps_features_of_clouds(X, clip_folder, tmp_path):
    pre = PointCLIPPretrainer(str(clip_folder), teacher_cache=str(tmp_path)).fit(X)
    features = pre.transform(X)

    again = clone(pre).fit(X)
    again._teacher("clouds").teacher.encode = None  # not asked again

    assert np.array_equal(again.transform(X), features)
    assert again.views(X).pictures.shape == (5, 6, 16, 16)


@pytest.mark.parametrize("settings, error, message", [
    ({"image_teacher": None}, ValueError, "PointCLIPPretrainer needs an image_teacher: give a CL"),
    ({"image_teacher": "depth_descriptor"}, ValueError, "no words and pictures in one space"),
    ({"text_teacher": "hashed_ngrams"}, ValueError, r"given as text_teacher \(hashed_ngrams\)"),
    ({"text_teacher": np.ones((5, 2))}, ValueError, "class names that come later"),
    ({"image_teacher": np.ones((5, 2))}, ValueError, "ArrayTeacher takes ready"),
    ({"text_teacher": lambda texts: [[1.0]] * len(texts)}, ValueError,
     "gives 2 features and the text teacher 1"),
    ({"n_views": 11}, ValueError, "n_views must be from 1 to 10"),
    ({"picture_size": 0}, ValueError, "picture_size must be at least 1"),
    ({"camera_distance": 1.0}, ValueError, r"camera_distance must be in \(1"),
    ({"view_weights": [1.0]}, ValueError, "view_weights must hold 6 numbers"),
    ({"pooling": "max"}, ValueError, "pooling must be one of 'concat', 'mean'"),
    ({"up": "x"}, ValueError, "up must be one of"),
    ({"logit_scale": 0}, ValueError, r"logit_scale must be in \(0"),
])
def test_wrong_settings_are_refused_in_fit_and_leave_nothing(settings, error, message, X):
    pre = pair().set_params(**settings)

    with pytest.raises(error, match=message):
        pre.fit(X)

    assert not hasattr(pre, "n_features_in_")


def test_wrong_questions_are_named(fitted, X):
    without_words = PointCLIPPretrainer(CallableTeacher(look, takes="images")).fit(X)

    with pytest.raises(ValueError, match="give a text_teacher of the same space"):
        without_words.classify(X, ["top", "bottom"])
    with pytest.raises(TypeError, match="got one string"):
        fitted.classify(X, "chair")
    with pytest.raises(ValueError, match="one or more different classes"):
        fitted.classify(X, ["chair", "chair"])
    with pytest.raises(ValueError, match=r"templates must be sentences with \{\} once"):
        fitted.classify(X, ["chair", "lamp"], templates="a chair")
    with pytest.raises(CheckpointError, match="has no encoder that a classifier could start from"):
        PointClassifier(pretrained=fitted, max_epochs=1).fit(X, [0, 1, 0, 1, 0])
