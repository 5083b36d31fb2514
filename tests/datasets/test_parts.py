"""Invented objects with parts, in the layout of ShapeNetPart."""

import numpy as np
import pytest

from pointinteract.datasets import SHAPE_CLASSES, make_parts, make_shapes
from pointinteract.datasets._bodies import PART_NAMES
from pointinteract.datasets._generated import build_objects
from pointinteract.datasets._parts import CLASS_PARTS


@pytest.mark.parametrize("name", SHAPE_CLASSES)
def test_table_of_parts_is_what_the_formulas_make(name):
    surfaces, _ = build_objects([name] * 400, np.random.default_rng(3))

    made = [PART_NAMES[part] for part in np.unique(surfaces.part)]

    assert tuple(made) == CLASS_PARTS[name]


def test_labels_say_the_part_that_the_shape_has():
    options = {"n_points": 64, "classes": ["table", "mug", "chair"], "random_state": 5}
    shapes = make_shapes(12, **options)

    parts = make_parts(12, **options)

    assert np.array_equal(parts.data, shapes.data)
    assert np.array_equal(parts.target, shapes.target)
    for row, category in enumerate(parts.target):
        words = [parts.part_names[label] for label in parts.parts[row]]
        there = [PART_NAMES[label] for label in shapes.parts[row]]
        assert words == [f"{parts.target_names[category]} {part}" for part in there]


def test_labels_of_a_category_are_among_its_own():
    bunch = make_parts(40, n_points=128, random_state=1)

    for labels, category in zip(bunch.parts, bunch.target, strict=True):
        name = bunch.target_names[category]
        assert np.isin(labels, bunch.category_parts[name]).all()
    labels = sorted(label for own in bunch.category_parts.values() for label in own)
    assert labels == list(range(len(bunch.part_names)))


def test_parts_can_be_shared_between_categories():
    bunch = make_parts(
        6, n_points=64, classes=["table", "chair"], share_parts=True, random_state=0
    )

    assert bunch.part_names.count("leg") == 1
    leg = bunch.part_names.index("leg")
    assert all(leg in own for own in bunch.category_parts.values())
    assert bunch.parts.min() >= 0 and bunch.parts.max() < len(bunch.part_names)


def test_pair_is_data_and_parts():
    X, y = make_parts(3, n_points=32, return_X_y=True, random_state=0)

    assert X.shape == (3, 32, 3)
    assert y.shape == (3, 32)
