"""Invented objects: fields, repeatability, and whether they can be learned."""

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from pointinteract.datasets import SHAPE_CLASSES, make_shapes
from pointinteract.datasets._bodies import Body, Draw, assemble
from pointinteract.datasets._generated import NUMBERS_PER_OBJECT, RECIPES


def test_fields_have_the_promised_shapes():
    shapes = make_shapes(40, n_points=32, random_state=0)

    assert shapes.data.shape == shapes.normals.shape == (40, 32, 3)
    assert shapes.data.dtype == shapes.normals.dtype == np.float32
    assert shapes.target.dtype == np.int64 and shapes.target_names == list(SHAPE_CLASSES)
    assert shapes.parts.shape == (40, 32)
    assert 0 <= shapes.parts.min() and shapes.parts.max() < len(shapes.part_names)
    assert len(shapes.captions) == 40 and "40 objects of 20 classes" in shapes.DESCR
    np.testing.assert_allclose(np.linalg.norm(shapes.normals, axis=2), 1, atol=1e-5)


def test_there_are_at_least_sixteen_balanced_classes():
    _, y = make_shapes(100, n_points=4, random_state=0, return_X_y=True)

    assert len(SHAPE_CLASSES) >= 16
    assert set(np.bincount(y)) == {5}


@pytest.mark.parametrize("options", [{}, {"noise": 0.1, "random_yaw": True}])
def test_same_seed_gives_the_same_bytes_and_a_prefix(options):
    whole = make_shapes(50, n_points=2000, random_state=3, **options)
    again = make_shapes(50, n_points=2000, random_state=3, **options)
    part = make_shapes(37, n_points=2000, random_state=3, **options)
    other = make_shapes(50, n_points=2000, random_state=4, **options)

    assert whole.data.tobytes() == again.data.tobytes()
    assert whole.captions == again.captions
    np.testing.assert_array_equal(part.data, whole.data[:37])
    np.testing.assert_array_equal(part.parts, whole.parts[:37])
    assert part.captions == whole.captions[:37]
    assert not np.array_equal(whole.data, other.data)


def test_clouds_are_centred_on_the_unit_sphere():
    X, _ = make_shapes(20, n_points=64, random_state=0, return_X_y=True)

    np.testing.assert_allclose(X.mean(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(X, axis=2).max(axis=1), 1, atol=1e-6)


def test_without_normalizing_furniture_stands_on_the_floor():
    X, _ = make_shapes(
        9, n_points=2000, classes=["chair", "table", "bed"], normalize=False, random_state=0,
        return_X_y=True,
    )  # fmt: skip

    lowest = X[..., 2].min(axis=1)
    assert np.all((lowest > -0.05) & (lowest < 0.1))
    assert X[..., 2].max() < 2.5


def test_yaw_turns_about_the_vertical_axis_only():
    still = make_shapes(8, n_points=64, random_state=0)
    turned = make_shapes(8, n_points=64, random_state=0, random_yaw=True)

    np.testing.assert_allclose(turned.data[..., 2], still.data[..., 2], atol=1e-6)
    np.testing.assert_allclose(turned.normals[..., 2], still.normals[..., 2], atol=1e-6)
    assert np.abs(turned.data - still.data).max() > 0.1


def test_classes_are_chosen_by_name_in_the_given_order():
    shapes = make_shapes(4, n_points=8, classes=["table", "bed"], random_state=0)

    assert shapes.target_names == ["table", "bed"]
    for label, caption in zip(shapes.target, shapes.captions, strict=True):
        assert shapes.target_names[label] in caption
    with pytest.raises(ValueError, match=r"unknown \['unicorn'\]. Known classes: airplane"):
        make_shapes(4, classes=["table", "unicorn"])
    with pytest.raises(ValueError, match="one or more different"):
        make_shapes(4, classes=["bed", "bed"])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_clouds": 0}, "n_clouds must be at least 1, got 0"),
        ({"n_points": -1}, "n_points must be at least 1, got -1"),
        ({"noise": -0.1}, "noise must be in"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_shapes(**options)


@pytest.mark.parametrize("name", SHAPE_CLASSES)
def test_every_recipe_builds_within_its_random_numbers_and_varies(name):
    rng = np.random.default_rng(0)
    captions, parts = set(), set()
    for numbers in [*rng.random((60, NUMBERS_PER_OBJECT)), np.full(NUMBERS_PER_OBJECT, 1 - 1e-12)]:
        body = Body()
        captions.add(RECIPES[name](Draw(numbers.tolist()), body))
        surfaces = assemble([body])
        parts |= set(surfaces.part.tolist())
        assert np.isfinite(surfaces.columns).all() and np.isfinite(surfaces.area).all()
        assert surfaces.area.min() >= 0 and surfaces.area.sum() > 0

    assert len(captions) >= 4 and len(parts) >= 2
    for caption in captions:
        assert caption.startswith(("an ", "a ")) and "  " not in caption
        assert (caption.split()[1][0] in "aeiou") == caption.startswith("an ")


def test_a_linear_model_fails_where_simple_shape_features_work():
    X, y = make_shapes(600, n_points=128, random_state=0, return_X_y=True)
    rng = np.random.default_rng(0)
    i, j = rng.integers(0, 128, (2, 600))
    distances = np.linalg.norm(X[:, i] - X[:, j], axis=2)
    features = np.hstack([
        np.percentile(distances, np.arange(5, 100, 6), axis=1).T,
        np.percentile(X[..., 2], np.arange(5, 100, 6), axis=1).T,
        np.linalg.eigvalsh(np.einsum("bnc,bnd->bcd", X, X)),
    ])  # fmt: skip
    train, test = slice(0, 400), slice(400, None)

    raw = X.reshape(600, -1)
    linear = LogisticRegression(max_iter=30).fit(raw[train], y[train]).score(raw[test], y[test])
    forest = RandomForestClassifier(60, random_state=0).fit(features[train], y[train])

    assert linear < 0.25
    assert forest.score(features[test], y[test]) > 0.65
