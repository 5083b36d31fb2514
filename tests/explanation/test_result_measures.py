"""What an explanation measures and converts without asking the model again."""

import numpy as np
import pytest

from pointinteract.explanation import Explanation
from pointinteract.games import all_coalitions, coalition_index, mean_strength, or_values


def make_explanation(seed=0, n_clouds=6, n_regions=4, n_classes=3):
    rng = np.random.default_rng(seed)
    answers = rng.normal(size=(n_clouds, 2**n_regions, n_classes)).astype(np.float32)
    labels = np.arange(n_clouds) % n_classes
    predicted = answers[:, -1].argmax(axis=1)
    return Explanation(
        values=np.stack(
            [row[:, y] for row, y in zip(answers.astype(np.float64), labels, strict=True)]
        ),
        points=tuple(rng.normal(size=(12, 3)) for _ in range(n_clouds)),
        regions=tuple(np.arange(12) % n_regions for _ in range(n_clouds)),
        targets=labels,
        predicted=predicted,
        labels=labels,
        classes=np.array(["ball", "cone", "disc"]),
        meta={"score": "logit", "target": "true"},
        answers=answers,
    )


@pytest.fixture
def explanation():
    return make_explanation()


def test_signed_strengths_add_up_to_the_change_of_the_score(explanation):
    frame = explanation.strength_by_order("signed")

    change = (explanation.values[:, -1] - explanation.values[:, 0]).mean()
    assert frame["strength"].sum() == pytest.approx(change)
    assert (frame["strength"] < 0).any()


def test_strength_of_each_class(explanation):
    frame = explanation.strength_by_order("raw", group="class")

    assert list(frame.columns) == ["class", "order", "strength", "low", "high"]
    assert frame["class"].unique().tolist() == ["ball", "cone", "disc"]
    cones = explanation[explanation.labels == 1]
    np.testing.assert_allclose(
        frame.loc[frame["class"] == "cone", "strength"],
        mean_strength(cones.interactions).mean(axis=0),
    )


def test_strength_of_right_and_wrong_clouds(explanation):
    frame = explanation.strength_by_order(group="correct")

    right = explanation.correct
    assert 0 < right.sum() < len(right)
    assert frame["correct"].tolist() == [True] * 4 + [False] * 4
    np.testing.assert_allclose(
        frame.loc[~frame["correct"].astype(bool), "strength"],
        explanation[~right].strength_by_order()["strength"],
    )


def test_unknown_group_is_named(explanation):
    with pytest.raises(ValueError, match="group must be one of 'class', 'correct'"):
        explanation.strength_by_order(group="size")


@pytest.mark.parametrize("bounds", ["thirds", "0.3/0.7", "halves"])
def test_low_and_high_of_every_normalization(explanation, bounds):
    for normalize in ("raw", "kappa", "z", "sum", "cancellation", "signed"):
        low = explanation.kappa_low(bounds, normalize=normalize)
        strength = explanation.strength_by_order(normalize)["strength"]
        n_low = {"thirds": 1, "0.3/0.7": 1, "halves": 2}[bounds]
        assert low.value == pytest.approx(strength[:n_low].sum())


def test_salient_are_above_the_threshold_of_their_cloud(explanation):
    marked = explanation.salient(0.5)

    strength = np.abs(explanation.interactions[:, 1:])
    assert not marked[:, 0].any()
    np.testing.assert_array_equal(
        marked[:, 1:], strength > 0.5 * strength.max(axis=1, keepdims=True)
    )


def test_sparsity_falls_and_matching_error_reaches_zero(explanation):
    curve = explanation.sparsity_curve()
    error = explanation.matching_error([0, 5, 15])

    assert curve.shape == (6, 15) and (np.diff(curve) <= 0).all()
    assert error.shape == (6, 3)
    np.testing.assert_allclose(error[:, 0], 1)
    np.testing.assert_allclose(error[:, 2], 0, atol=1e-12)


def test_pairs_by_context_are_means_over_contexts(explanation):
    frame = explanation.pairwise_by_order()

    assert len(frame) == 6 * 3 * 6
    value = explanation.values[2]
    terms = []
    for row in all_coalitions(4):
        if row.sum() == 1 and not row[[0, 3]].any():
            alone = coalition_index(np.flatnonzero(row))
            terms.append(value[alone + 9] - value[alone + 1] - value[alone + 8] + value[alone])
    here = frame.query("cloud == 2 and order == 1 and first == 0 and second == 3")
    assert here["interaction"].item() == pytest.approx(np.mean(terms))


def test_or_interactions_match_the_values(explanation):
    np.testing.assert_allclose(or_values(explanation.or_interactions), explanation.values)


def test_and_or_split_matches_the_values(explanation):
    split = explanation.and_or(tau=0)

    np.testing.assert_allclose(split.values, explanation.values, atol=1e-9)
    both = np.abs(split.and_interactions).sum() + np.abs(split.or_interactions).sum()
    assert both < np.abs(explanation.interactions).sum()


def test_shapley_values_share_the_change(explanation):
    frame = explanation.to_index("Shapley")

    assert list(frame.columns) == ["cloud", "members", "order", "value"]
    assert len(frame) == 6 * 4 and frame["members"][1] == (1,)
    np.testing.assert_allclose(
        frame.groupby("cloud")["value"].sum(),
        explanation.values[:, -1] - explanation.values[:, 0],
    )


@pytest.mark.parametrize("index", ["SII", "k-SII", "STII", "FSII", "Co-Moebius", "Fourier"])
def test_every_index_has_a_row_for_each_set_up_to_its_order(explanation, index):
    frame = explanation.to_index(index, 2)

    assert len(frame) == 6 * 10 and frame["order"].max() == 2
    if index in ("k-SII", "STII", "FSII"):
        # Efficiency: all effects together are the change of the score.
        np.testing.assert_allclose(
            frame.groupby("cloud")["value"].sum(),
            explanation.values[:, -1] - explanation.values[:, 0],
        )


def test_moebius_index_is_the_interactions(explanation):
    frame = explanation.to_index("Moebius")

    assert len(frame) == 6 * 15
    row = frame.query("cloud == 3 and order == 3").iloc[1]
    assert row["members"] == (0, 1, 3)
    assert row["value"] == pytest.approx(explanation.interactions[3, 0b1011])


def test_shapiq_receives_the_same_numbers(explanation):
    pytest.importorskip("shapiq")

    handed = explanation.to_shapiq(2, "k-SII", order=2)

    frame = explanation.to_index("k-SII", 2).query("cloud == 2")
    for members, value in zip(frame["members"], frame["value"], strict=True):
        assert handed[members] == pytest.approx(value)


def test_another_score_comes_from_the_kept_answers(explanation):
    margin = explanation.rescore("margin", target="cone")

    logits = explanation.answers[4].astype(np.float64)
    np.testing.assert_allclose(
        margin.values[4], logits[:, 1] - np.maximum(logits[:, 0], logits[:, 2])
    )
    assert (margin.targets == 1).all()
    assert margin.meta["score"] == "margin" and margin.meta["target"] == "cone"
    np.testing.assert_array_equal(explanation.rescore("logit").values, explanation.values)
    predicted = explanation.rescore("logit", target="predicted")
    np.testing.assert_array_equal(predicted.targets, explanation.predicted)


def test_scores_of_every_class(explanation):
    values = explanation.class_values()

    assert values.shape == (6, 3, 16)
    np.testing.assert_array_equal(values[:, 2], explanation.rescore("logit", "disc").values)
    odds = explanation.class_values("probability")
    np.testing.assert_allclose(odds.sum(axis=1), 1)


def test_scoring_again_needs_kept_answers():
    without = Explanation(values=np.zeros((1, 4)), points=(np.zeros((2, 3)),), regions=((0, 1),))

    for call in (lambda: without.rescore("logit"), without.class_values):
        with pytest.raises(ValueError, match="keep_answers=True"):
            call()


def test_slices_share_the_large_arrays(explanation):
    for some in (explanation[2], explanation[1:4], explanation[[3]]):
        assert np.shares_memory(some.answers, explanation.answers)
        assert np.shares_memory(some.values, explanation.values)
    picked = explanation[[4, 1]]
    np.testing.assert_array_equal(picked.answers, explanation.answers[[4, 1]])
    np.testing.assert_array_equal(explanation[::-2].values, explanation.values[::-2])
    assert explanation[::-2].points[0] is explanation.points[5]
