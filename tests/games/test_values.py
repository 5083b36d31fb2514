"""Shapley-like indices: closed forms, axioms, and another library's exact computer."""

import importlib.util
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointinteract.games import (
    INDICES,
    additive_game,
    all_coalitions,
    banzhaf_values,
    coalition_index,
    coalition_orders,
    evaluate_all,
    interaction_index,
    moebius_transform,
    shapley_values,
    to_shapiq,
    unanimity_game,
    values_from_index,
    zeta_transform,
)

EFFICIENT = ("k-SII", "STII", "FSII")
needs_shapiq = pytest.mark.skipif(
    importlib.util.find_spec("shapiq") is None, reason="shapiq, the oracle here, is not installed"
)


@st.composite
def random_values(draw):
    n_players = draw(st.integers(2, 6))
    return draw(arrays(np.float64, (2, 2**n_players), elements=st.floats(-10, 10, width=32)))


@given(random_values())
@settings(max_examples=30, deadline=None)
def test_shapley_values_share_out_the_whole_value(values):
    shares = shapley_values(values)

    np.testing.assert_allclose(shares.sum(axis=-1), values[:, -1] - values[:, 0], atol=1e-9)


@given(random_values())
@settings(max_examples=20, deadline=None)
def test_banzhaf_values_are_mean_additions(values):
    n_players = values.shape[-1].bit_length() - 1
    inside = all_coalitions(n_players)[:, 0]

    expected = values[:, inside].mean(axis=-1) - values[:, ~inside].mean(axis=-1)

    np.testing.assert_allclose(banzhaf_values(values)[:, 0], expected, atol=1e-9)


def test_shapley_values_of_a_unanimity_game_are_equal_among_members():
    values = evaluate_all(unanimity_game(5, [0, 2, 4]))

    np.testing.assert_allclose(shapley_values(values), [1 / 3, 0, 1 / 3, 0, 1 / 3], atol=1e-12)


@given(random_values(), st.sampled_from(EFFICIENT), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_additive_explanations_sum_to_the_value_of_everybody(values, index, order):
    n_players = values.shape[-1].bit_length() - 1

    terms = interaction_index(values, index, order=min(order, n_players))

    np.testing.assert_allclose(terms.sum(axis=-1), values[:, -1], atol=1e-6)


@pytest.mark.parametrize("index", INDICES)
@given(values=random_values())
@settings(max_examples=10, deadline=None)
def test_players_who_add_nothing_have_no_interactions(index, values):
    n_players = values.shape[-1].bit_length() - 1
    with_dummy = np.concatenate([values, values], axis=-1)  # the last player changes nothing

    terms = interaction_index(with_dummy, index, order=min(3, n_players))

    has_dummy = all_coalitions(n_players + 1)[:, -1]
    np.testing.assert_allclose(terms[:, has_dummy], 0, atol=1e-6)


@pytest.mark.parametrize("index", INDICES)
@given(permutation=st.permutations(range(5)))
@settings(max_examples=10, deadline=None)
def test_indices_follow_the_numbering_of_players(index, permutation):
    values = np.random.default_rng(0).normal(size=32)
    rows = all_coalitions(5)[:, permutation] @ (2 ** np.arange(5))

    np.testing.assert_allclose(
        interaction_index(values[rows], index, order=3),
        interaction_index(values, index, order=3)[rows],
        atol=1e-10,
    )


@pytest.mark.parametrize("index", INDICES)
def test_additive_games_have_nothing_above_order_one(index):
    weights = np.array([1.0, -2.0, 3.0, 0.5])
    values = evaluate_all(additive_game(weights))

    terms = interaction_index(values, index, order=3)

    np.testing.assert_allclose(terms[coalition_orders(4) > 1], 0, atol=1e-12)
    scale = -0.5 if index == "Fourier" else 1.0
    np.testing.assert_allclose(terms[coalition_orders(4) == 1], scale * weights, atol=1e-12)


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ("Moebius", 0),
        ("Co-Moebius", 1),
        ("SII", 1 / 3),  # 1 / (t - s + 1), t = 4 members, s = 2
        ("BII", 1 / 4),  # 2^-(t - s)
        ("CHII", 2 / 4),  # s / t
        ("STII", 1 / 6),  # 1 / C(t, s)
        ("Fourier", 1 / 16),  # (-1)^s 2^-t
        ("FSII", 3 / 10),  # s/(k+s) C(k,s) C(t-1,k) / C(t+k-1,k+s), k = 2
    ],
)
def test_pairs_of_a_unanimity_game_have_closed_forms(index, expected):
    values = evaluate_all(unanimity_game(6, [0, 1, 3, 5]))

    terms = interaction_index(values, index, order=2)

    assert terms[coalition_index([0, 3])] == pytest.approx(expected)
    assert terms[coalition_index([0, 2])] == pytest.approx(0)


def test_order_one_of_additive_explanations_is_the_shapley_value():
    values = np.random.default_rng(0).normal(size=(3, 32))
    singles = 2 ** np.arange(5)

    for index in EFFICIENT:
        terms = interaction_index(values, index, order=1)
        np.testing.assert_allclose(terms[:, singles], shapley_values(values), atol=1e-10)


@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII", "FBII"])
def test_of_full_order_additive_explanations_are_the_moebius_interactions(index):
    values = np.random.default_rng(0).normal(size=(2, 32))

    np.testing.assert_allclose(
        interaction_index(values, index, order=5), moebius_transform(values), atol=1e-10
    )


def test_faithful_banzhaf_is_the_least_squares_fit_of_its_order():
    values = np.random.default_rng(0).normal(size=32)
    coalitions = all_coalitions(5)
    low = np.flatnonzero(coalition_orders(5) <= 2)
    inside = ~(coalitions[low][None] & ~coalitions[:, None]).any(axis=-1)

    fit = np.linalg.lstsq(inside.astype(float), values, rcond=None)[0]

    np.testing.assert_allclose(interaction_index(values, "FBII", order=2)[low], fit, atol=1e-10)


@pytest.mark.parametrize("index", ["Moebius", "Co-Moebius", "Fourier", "SII", "BII"])
@given(values=random_values())
@settings(max_examples=15, deadline=None)
def test_indices_of_all_orders_give_the_values_back(index, values):
    terms = interaction_index(values, index)

    np.testing.assert_allclose(values_from_index(terms, index), values, atol=1e-7)


@pytest.mark.parametrize("index", INDICES)
def test_leading_axes_are_a_batch_and_interactions_will_do_as_well_as_values(index):
    values = np.random.default_rng(0).normal(size=(2, 3, 16))

    terms = interaction_index(values, index, order=2)

    np.testing.assert_allclose(terms[1, 2], interaction_index(values[1, 2], index, order=2))
    np.testing.assert_allclose(
        interaction_index(moebius_transform(values), index, order=2, from_moebius=True),
        terms,
        atol=1e-12,
    )
    assert (terms[..., coalition_orders(4) > 2] == 0).all()


def test_input_interactions_are_left_alone():
    effects = np.random.default_rng(0).normal(size=16)
    before = effects.copy()

    interaction_index(effects, "Moebius", order=1, from_moebius=True)
    shapley_values(effects, from_moebius=True)

    np.testing.assert_array_equal(effects, before)


def test_explained_values_of_a_low_order_game_are_exact():
    effects = np.where(coalition_orders(6) <= 2, np.random.default_rng(0).normal(size=64), 0)
    values = zeta_transform(effects)

    for index in ("k-SII", "STII", "FSII", "FBII"):
        np.testing.assert_allclose(
            zeta_transform(interaction_index(values, index, order=2)), values, atol=1e-9
        )


def test_unknown_indices_and_orders_are_refused():
    with pytest.raises(ValueError, match="index"):
        interaction_index(np.zeros(8), "shapley")
    with pytest.raises(ValueError, match="order"):
        interaction_index(np.zeros(8), "SII", order=4)
    with pytest.raises(ValueError, match="index"):
        values_from_index(np.zeros(8), "STII")


@needs_shapiq
@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("index", [name for name in INDICES if name != "Fourier"])
def test_indices_agree_with_shapiq(index, order):
    from shapiq.game_theory.exact import ExactComputer

    values = np.random.default_rng(7).normal(size=32)
    computer = ExactComputer(
        n_players=5, game=lambda rows: values[np.asarray(rows, dtype=int) @ (2 ** np.arange(5))]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = computer(index=index, order=order)

    ours = interaction_index(values, index, order=order)

    # shapiq puts v(empty) at the empty coalition of some base indices, whatever they say of it.
    compared = [s for s in theirs.dict_values if 0 < len(s) <= order]
    assert len(compared) == int((coalition_orders(5) <= order).sum()) - 1
    np.testing.assert_allclose(
        [ours[coalition_index(s)] for s in compared],
        [theirs[s] for s in compared],
        # shapiq solves FSII as a least-squares problem with huge weights for two constraints.
        atol=1e-6 if index == "FSII" else 1e-10,
    )
    if index in ("k-SII", "STII", "FSII", "FBII"):
        assert ours[0] == pytest.approx(theirs[()])


@needs_shapiq
def test_shapiq_objects_hold_the_same_numbers():
    terms = interaction_index(np.random.default_rng(0).normal(size=32), "k-SII", order=2)

    handed_over = to_shapiq(terms, "k-SII", order=2)

    assert handed_over.index == "k-SII" and not handed_over.estimated
    assert (handed_over.n_players, handed_over.min_order, handed_over.max_order) == (5, 0, 2)
    assert len(handed_over.values) == 16
    assert handed_over[(1, 4)] == terms[coalition_index([1, 4])]
    assert handed_over.baseline_value == terms[0]


def test_shapiq_objects_are_of_one_sample():
    with pytest.raises(ValueError, match=r"got shape \(2, 8\)"):
        to_shapiq(np.zeros((2, 8)))
