"""Intersection over union of parts: what counts, and what does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointinteract.metrics import (
    allowed_parts,
    class_miou,
    instance_miou,
    part_iou_table,
    restricted_argmax,
    shape_ious,
)

PARTS = {"mug": [0, 1, 2], "cap": [3, 4]}


def slow_score(truth, guess, parts):
    """The published rule, word by word."""
    scores = []
    for part in parts:
        a = {i for i, label in enumerate(truth) if label == part}
        b = {i for i, label in enumerate(guess) if label == part}
        scores.append(len(a & b) / len(a | b) if a | b else 1.0)
    return sum(scores) / len(scores)


def labels(of):
    return st.lists(st.sampled_from(of), min_size=6, max_size=6)


def cloud_of(name):
    return st.tuples(labels(PARTS[name]), labels(range(5)), st.just(name))


@given(st.lists(st.sampled_from(["mug", "cap"]).flatmap(cloud_of), min_size=1))
def test_scores_are_those_of_the_rule_word_by_word(clouds):
    truth, guess, names = zip(*clouds, strict=True)

    found = shape_ious(truth, guess, names, category_parts=PARTS)

    expected = [slow_score(a, b, PARTS[name]) for a, b, name in clouds]
    np.testing.assert_allclose(found, expected)


def test_part_absent_from_both_counts_one_only_with_the_category():
    truth, guess = [[0, 0, 0, 0]], [[0, 0, 1, 1]]

    assert shape_ious(truth, guess)[0] == pytest.approx((0.5 + 0) / 2)
    found = shape_ious(truth, guess, ["mug"], category_parts=PARTS)
    assert found[0] == pytest.approx((0.5 + 0 + 1) / 3)


def test_part_of_another_category_is_a_mistake():
    truth, guess = [[0, 0, 1, 1]], [[0, 0, 3, 3]]

    found = shape_ious(truth, guess, ["mug"], category_parts=PARTS)

    assert found[0] == pytest.approx((1 + 0 + 1) / 3)


def test_instance_weighs_clouds_and_class_weighs_categories():
    truth = [[0, 0, 1, 1]] * 3 + [[3, 3, 4, 4]]
    guess = [[0, 0, 1, 1]] * 3 + [[3, 3, 3, 3]]
    names = ["mug"] * 3 + ["cap"]

    scores = shape_ious(truth, guess, names, category_parts=PARTS)

    assert scores.tolist() == [1, 1, 1, 0.25]
    assert instance_miou(truth, guess, names, category_parts=PARTS) == pytest.approx(3.25 / 4)
    assert class_miou(truth, guess, names, category_parts=PARTS) == pytest.approx(1.25 / 2)


def test_parts_of_a_category_are_learned_from_the_truth_if_not_given():
    truth, guess = [[0, 0], [1, 1]], [[0, 0], [1, 1]]

    table = part_iou_table(truth, [[0, 0], [0, 1]], ["mug", "mug"])

    assert instance_miou(truth, guess, ["mug", "mug"]) == 1
    # Cloud 0: part 0 right, part 1 absent; cloud 1: part 0 wrongly there, part 1 half.
    assert table.iou.tolist() == pytest.approx([(1 + 0) / 2, (1 + 0.5) / 2])


def test_table_tells_what_is_there_from_what_is_absent():
    truth = [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    guess = [[0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 2]]

    table = part_iou_table(truth, guess, ["mug"] * 3, category_parts=PARTS).set_index("part")

    assert table.n_with_part.tolist() == [3, 1, 0]
    assert table.n_clouds.tolist() == [3, 3, 3]
    np.testing.assert_allclose(table.iou, [(2 / 3 + 1 + 0.75) / 3, (0.5 + 1 + 1) / 3, 2 / 3])
    np.testing.assert_allclose(table.iou_present, [(2 / 3 + 1 + 0.75) / 3, 0.5, 0.0])


def test_mean_of_the_table_is_the_mean_of_shapes_in_one_category():
    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 4, (2, 7, 20))

    table = part_iou_table(truth, guess)

    assert table.iou.mean() == pytest.approx(instance_miou(truth, guess, ["all"] * 7))


def test_clouds_of_unequal_size_and_labels_in_words():
    truth = [np.array(["rim", "body"]), np.array(["body", "body", "rim"])]
    guess = [np.array(["rim", "rim"]), np.array(["body", "body", "rim"])]

    assert shape_ious(truth, guess).tolist() == [0.25, 1.0]


def test_best_part_is_sought_among_those_of_the_category():
    scores = np.array([[[5.0, 1.0, 2.0, 9.0, 0.0]], [[5.0, 1.0, 2.0, -9.0, -7.0]]])

    found = restricted_argmax(scores, ["mug", "cap"], PARTS)

    assert found.tolist() == [[0], [4]]
    words = restricted_argmax(
        list(scores), ["m", "c"], {"m": ["a", "b"], "c": ["d"]}, part_classes=list("abcde")
    )
    assert [row.tolist() for row in words] == [["a"], ["d"]]


def test_mask_of_parts():
    mask = allowed_parts(["cap", "mug", "cap"], PARTS, np.arange(5))

    assert mask.astype(int).tolist() == [[0, 0, 0, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shape_ious([[0, 1]], [[0, 1], [1, 1]]), "same clouds; got 1 and 2"),
        (lambda: shape_ious([[0, 1]], [[0]]), "cloud 0 has 2 points in y_true and 1 in y_pred"),
        (lambda: shape_ious([0, 1], [0, 1]), r"\(n_clouds, n_points\)"),
        (lambda: shape_ious([[]], [[]]), "none of them empty"),
        (lambda: shape_ious([[0.5]], [[0.5]]), "integers or strings; got float64"),
        (lambda: shape_ious([["a"]], [[0]]), "name parts alike"),
        (lambda: shape_ious([[0]], [[0]], ["hat"], category_parts=PARTS), "parts of hat"),
        (lambda: shape_ious([[0]], [[0]], ["mug", "cap"]), "got 2 for 1 clouds"),
        (lambda: shape_ious([[0]], [[0]], category_parts=PARTS), "without categories"),
        (lambda: shape_ious(None, [[0]]), "y_true must be the part of every point"),
        (lambda: class_miou([[0]], [[0]], None), "needs the category"),
        (lambda: restricted_argmax([[[1.0]]], ["mug", "mug"], PARTS), "got 2 for 1 clouds"),
        (lambda: restricted_argmax([[[1.0]]], ["cap"], PARTS), "none of the parts"),
        (lambda: restricted_argmax([[1.0]], ["cap"], PARTS), "n_parts"),
        (lambda: restricted_argmax([[[1.0]]], ["mug"], [[0]]), "must be a dict .* got list"),
        (lambda: allowed_parts([], PARTS, [0]), r"got an array of shape \(0,\)"),
        (lambda: shape_ious(3, [[0]]), "y_true must be the part of every point"),
        (lambda: shape_ious([[b"a"]], [[b"a"]]), "integers or strings"),
        (lambda: shape_ious(np.array([[0]], object), [[0]]), "integers or strings; got object"),
    ],
)
def test_bad_input_is_refused_with_what_came(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


@pytest.mark.parametrize("score", [shape_ious, instance_miou, class_miou, part_iou_table])
@pytest.mark.parametrize(
    ("truth", "parts", "message"),
    [
        # Without the check, a cloud that has none of these parts would score 1.
        (["rim", "body"], [0, 1], r"cloud 0 has \['body', 'rim'\], .* category 'mug': \[0, 1\]"),
        ([0, 5], [0, 1], r"cloud 0 has \[5\]"),
        ([0, 5], [], r"cloud 0 has \[0, 5\]"),
    ],
)
def test_parts_that_the_category_lacks_are_no_perfect_score(score, truth, parts, message):
    with pytest.raises(ValueError, match=message):
        score([truth], [truth], ["mug"], category_parts={"mug": parts})
