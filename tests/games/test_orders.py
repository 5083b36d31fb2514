"""Strength by order: its scale laws, its ranges, its interval and the noise floor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.games import (
    all_coalitions,
    bootstrap_interval,
    coalition_orders,
    correlation_by_order,
    kappa,
    mean_strength,
    moebius_transform,
    noise_floor,
    order_range,
    signed_total,
    total_strength,
)


@pytest.fixture
def effects():
    return moebius_transform(np.random.default_rng(0).normal(size=(6, 2**5)))


def test_strengths_are_means_and_sums_over_each_order(effects):
    orders = coalition_orders(5)

    for order in range(1, 6):
        of_order = effects[:, orders == order]
        np.testing.assert_allclose(
            mean_strength(effects)[:, order - 1], np.abs(of_order).mean(axis=1)
        )
        np.testing.assert_allclose(
            total_strength(effects)[:, order - 1], np.abs(of_order).sum(axis=1)
        )
        np.testing.assert_allclose(signed_total(effects)[:, order - 1], of_order.sum(axis=1))


@given(scale=st.floats(0.01, 100), sign=st.sampled_from([-1, 1]), shift=st.floats(-5, 5))
@settings(max_examples=25, deadline=None)
def test_kappa_ignores_scale_sign_and_offset_of_the_score(scale, sign, shift):
    values = np.random.default_rng(3).normal(size=2**5)

    before = kappa(mean_strength(moebius_transform(values)))
    after = kappa(mean_strength(moebius_transform(sign * scale * values + shift)))

    assert before.sum() == pytest.approx(1)
    np.testing.assert_allclose(after, before, atol=1e-9)


@given(st.permutations(range(5)))
@settings(max_examples=25, deadline=None)
def test_kappa_ignores_the_numbering_of_regions(permutation):
    values = np.random.default_rng(4).normal(size=2**5)
    relabeled = values[all_coalitions(5)[:, permutation] @ (2 ** np.arange(5))]

    np.testing.assert_allclose(
        kappa(mean_strength(moebius_transform(relabeled))),
        kappa(mean_strength(moebius_transform(values))),
        atol=1e-12,
    )


def test_additive_game_has_order_one_only():
    values = all_coalitions(4) @ np.array([1.0, -2.0, 3.0, 0.5])

    np.testing.assert_allclose(
        kappa(mean_strength(moebius_transform(values))), [1, 0, 0, 0], atol=1e-12
    )


def test_kappa_of_a_constant_model_is_undefined():
    assert np.isnan(kappa(np.zeros(4))).all()


def test_ranges_are_those_of_the_specification():
    assert order_range(10, "low") == (1, 2, 3)
    assert order_range(10, "high") == (7, 8, 9, 10)
    assert order_range(12, "low") == (1, 2, 3)
    assert order_range(12, "high") == (9, 10, 11, 12)
    assert order_range(9, "low", "thirds") == (1, 2, 3)
    assert order_range(9, "high", "thirds") == (6, 7, 8, 9)
    assert order_range(9, "low", "halves") == (1, 2, 3, 4)
    assert order_range(9, "high", "halves") == (5, 6, 7, 8, 9)


@pytest.mark.parametrize("n_players", range(1, 25))
def test_ranges_are_never_empty_and_halves_share_every_order(n_players):
    low, high = order_range(n_players, "low", "halves"), order_range(n_players, "high", "halves")

    assert sorted({*low, *high}) == list(range(1, n_players + 1))
    for bounds in ("0.3/0.7", "thirds"):
        assert order_range(n_players, "low", bounds)[0] == 1
        assert order_range(n_players, "high", bounds)[-1] == n_players


def test_noise_floor_has_the_published_numbers():
    expected = [0.013, 0.019, 0.027, 0.038, 0.053, 0.076, 0.107, 0.151, 0.214, 0.302]

    np.testing.assert_allclose(noise_floor(10), expected, atol=6e-4)


@pytest.mark.parametrize("share_of_total", [False, True])
def test_noise_floor_is_what_noise_gives(share_of_total):
    noise = np.random.default_rng(0).normal(size=(2000, 2**6))
    strength = total_strength if share_of_total else mean_strength

    measured = kappa(strength(moebius_transform(noise)).mean(axis=0))

    np.testing.assert_allclose(measured, noise_floor(6, share_of_total=share_of_total), rtol=0.05)


def test_interval_covers_the_value_narrows_with_samples_and_repeats_with_its_seed():
    samples = np.random.default_rng(0).exponential(size=(400, 3))

    few = bootstrap_interval(samples[:20], kappa, random_state=0)
    many = bootstrap_interval(samples, kappa, random_state=0)
    again = bootstrap_interval(samples, kappa, random_state=0)

    assert (many.low < many.value).all() and (many.value < many.high).all()
    assert (many.high - many.low < few.high - few.low).all()
    np.testing.assert_array_equal(many.low, again.low)
    np.testing.assert_allclose(many.value, kappa(samples.mean(axis=0)))


def test_wider_confidence_gives_a_wider_interval():
    samples = np.random.default_rng(0).exponential(size=(50, 3))

    narrow = bootstrap_interval(samples, kappa, confidence=0.5, random_state=0)
    wide = bootstrap_interval(samples, kappa, confidence=0.99, random_state=0)

    assert (wide.low < narrow.low).all() and (narrow.high < wide.high).all()


def test_one_sample_has_no_interval():
    estimate = bootstrap_interval(np.ones((1, 3)), kappa)

    np.testing.assert_allclose(estimate.value, 1 / 3)
    assert np.isnan(estimate.low).all() and np.isnan(estimate.high).all()


def test_correlation_is_one_for_copies_and_small_for_strangers(effects):
    other = moebius_transform(np.random.default_rng(9).normal(size=effects.shape))

    np.testing.assert_allclose(correlation_by_order(effects, 2 * effects), 1)
    assert np.abs(correlation_by_order(effects, other)[1:4]).max() < 0.5


def test_correlation_of_a_single_pair_is_undefined(effects):
    correlation = correlation_by_order(effects[:1], effects[:1])

    assert np.isnan(correlation[-1]) and correlation[0] == pytest.approx(1)


@pytest.mark.parametrize("confidence", [0, 1, 95])
def test_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval(np.ones((3, 2)), kappa, confidence=confidence)
