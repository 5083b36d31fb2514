"""Salient sets, strength curves and matching error, against sums over chosen interactions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.games import (
    evaluate_all,
    harsanyi_game,
    matching_error,
    moebius_transform,
    or_interactions,
    or_values,
    salient,
    sparsity_curve,
    zeta_transform,
)


@pytest.fixture
def effects():
    return moebius_transform(np.random.default_rng(0).normal(size=(3, 2, 32)))


def test_salient_interactions_exceed_a_share_of_the_strongest(effects):
    marked = salient(effects, threshold=0.3)

    strength = np.abs(effects)[..., 1:]
    largest = strength.max(axis=-1, keepdims=True)
    np.testing.assert_array_equal(marked[..., 1:], strength > 0.3 * largest)
    assert not marked[..., 0].any()
    assert marked.any(axis=-1).all()


def test_the_value_of_nothing_does_not_set_the_scale():
    assert salient(np.array([1000.0, 1.0, 0.2, 0.0])).tolist() == [False, True, True, False]


def test_and_and_or_interactions_are_judged_together():
    of_and = np.array([0.0, 10.0, 1.0, 0.0])
    of_or = np.array([5.0, 0.0, 0.3, 0.6])

    marked = salient(of_and, of_or)

    np.testing.assert_array_equal(marked[0], [False, True, True, False])
    np.testing.assert_array_equal(marked[1], [False, False, False, True])


def test_nothing_is_salient_where_there_is_nothing():
    assert not salient(np.zeros((2, 8))).any()


def test_a_missing_interaction_is_not_called_negligible():
    with pytest.raises(ValueError, match="some are NaN"):
        salient(np.array([0.0, np.nan, 1.0, 2.0]))


def test_curves_fall_from_one_and_hold_every_strength(effects):
    curve = sparsity_curve(effects)
    absolute = sparsity_curve(effects, relative=False)

    assert curve.shape == (3, 2, 31)
    np.testing.assert_array_equal(curve[..., 0], 1)
    assert (np.diff(curve) <= 0).all()
    np.testing.assert_allclose(absolute.sum(axis=-1), np.abs(effects)[..., 1:].sum(axis=-1))


def test_curves_of_both_kinds_hold_both(effects):
    curve = sparsity_curve(effects, 2 * effects, relative=False)

    assert curve.shape == (3, 2, 62)
    np.testing.assert_allclose(curve.sum(axis=-1), 3 * np.abs(effects)[..., 1:].sum(axis=-1))


def test_curve_of_a_constant_sample_is_undefined():
    assert np.isnan(sparsity_curve(np.zeros(4))).all()


def test_matching_error_is_that_of_the_values_rebuilt_by_hand(effects):
    one = effects[0, 0]
    values = zeta_transform(one)
    strongest = 1 + np.argsort(-np.abs(one[1:]))[:5]
    kept = np.zeros(32)
    kept[[0, *strongest]] = one[[0, *strongest]]

    error = matching_error(effects, n_kept=[5])

    expected = ((zeta_transform(kept) - values) ** 2).sum() / ((values - values[0]) ** 2).sum()
    assert error.shape == (3, 2, 1)
    assert error[0, 0, 0] == pytest.approx(expected)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_matching_error_begins_at_one_and_ends_at_zero(seed):
    effects = moebius_transform(np.random.default_rng(seed).normal(size=16))

    error = matching_error(effects, n_kept=[0, 15, 99])

    np.testing.assert_allclose(error, [1, 0, 0], atol=1e-12)


def test_few_terms_of_a_sparse_game_rebuild_it():
    game = harsanyi_game(6, {(): 2.0, (0,): 1.0, (1, 2, 4): -3.0, (0, 5): 2.0})
    effects = moebius_transform(evaluate_all(game))

    error = matching_error(effects, n_kept=[1, 2, 3])

    assert error[0] > error[1] > error[2]
    assert error[2] == pytest.approx(0, abs=1e-20)


def test_or_interactions_rebuild_their_share():
    rng = np.random.default_rng(0)
    part, other = rng.normal(size=(2, 16))
    of_and, of_or = moebius_transform(part), or_interactions(other)
    both = np.concatenate([of_and[1:], of_or[1:]])
    strongest = np.argsort(-np.abs(both))[:4]
    kept = np.zeros(30)
    kept[strongest] = both[strongest]

    error = matching_error(of_and, of_or, n_kept=[4, 30])

    left = zeta_transform(np.r_[of_and[0], kept[:15]]) + or_values(np.r_[of_or[0], kept[15:]])
    values = part + other
    expected = ((left - values) ** 2).sum() / ((values - values[0]) ** 2).sum()
    np.testing.assert_allclose(error, [expected, 0], atol=1e-12)


def test_noise_that_was_taken_off_counts_as_error(effects):
    values = zeta_transform(effects)
    noisy = values.copy()
    noisy[..., 3] += 0.5

    error = matching_error(effects, n_kept=[31], values=noisy)

    scale = ((noisy - noisy[..., :1]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(error[..., 0], 0.25 / scale)


def test_arrays_that_do_not_belong_together_are_refused(effects):
    with pytest.raises(ValueError, match="or_interactions must have the shape"):
        salient(effects, effects[0])
    with pytest.raises(ValueError, match="values must have the shape"):
        matching_error(effects, n_kept=[1], values=np.zeros(32))
    with pytest.raises(ValueError, match="n_kept"):
        matching_error(effects, n_kept=[-1])
