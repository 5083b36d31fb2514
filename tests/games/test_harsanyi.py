"""The transforms against the sums that define them, and the identities of the theory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointinteract.games import (
    all_coalitions,
    and_interactions,
    coalition_index,
    moebius_transform,
    or_interactions,
    or_values,
    zeta_transform,
)

N_PLAYERS = st.integers(1, 7)
FINITE = st.floats(-100, 100, width=32)


@st.composite
def random_values(draw):
    n_players = draw(N_PLAYERS)
    return draw(arrays(np.float64, (2, 2**n_players), elements=FINITE))


def defining_sum(values):
    """I(S) by the definition, subset by subset."""
    n_players = len(values).bit_length() - 1
    coalitions = all_coalitions(n_players)
    orders = coalitions.sum(axis=1)
    result = np.zeros(len(values))
    for s, members in enumerate(coalitions):
        for t in range(len(values)):
            if not (coalitions[t] & ~members).any():
                result[s] += (-1.0) ** (orders[s] - orders[t]) * values[t]
    return result


@pytest.mark.parametrize("n_players", range(1, 9))
def test_transform_equals_the_defining_sum(n_players):
    values = np.random.default_rng(n_players).normal(size=2**n_players)

    np.testing.assert_allclose(moebius_transform(values), defining_sum(values), atol=1e-10)


@given(random_values())
@settings(max_examples=30, deadline=None)
def test_zeta_undoes_moebius(values):
    np.testing.assert_allclose(zeta_transform(moebius_transform(values)), values, atol=1e-9)


@given(random_values())
@settings(max_examples=30, deadline=None)
def test_interactions_sum_to_the_value_of_everybody(values):
    np.testing.assert_allclose(moebius_transform(values).sum(axis=-1), values[:, -1], atol=1e-9)


@given(random_values())
@settings(max_examples=30, deadline=None)
def test_or_values_undo_or_interactions(values):
    np.testing.assert_allclose(or_values(or_interactions(values)), values, atol=1e-9)


def test_or_interactions_match_values_by_summing_over_all_that_meet():
    values = np.random.default_rng(0).normal(size=16)
    coalitions = all_coalitions(4)

    effects = or_interactions(values)

    meets = (coalitions[:, None] & coalitions[None]).any(axis=-1)
    np.testing.assert_allclose(effects[0] + meets @ effects, values, atol=1e-12)


def test_or_and_and_interactions_of_single_players_of_an_additive_game_agree():
    values = all_coalitions(4) @ np.array([1.0, -2.0, 3.0, 0.5])

    np.testing.assert_allclose(or_interactions(values), and_interactions(values), atol=1e-12)


def test_leading_axes_are_a_batch():
    values = np.random.default_rng(0).normal(size=(3, 2, 32))

    together = moebius_transform(values)

    for i in range(3):
        for j in range(2):
            np.testing.assert_array_equal(together[i, j], moebius_transform(values[i, j]))


def test_more_samples_than_fit_one_block_change_nothing():
    values = np.random.default_rng(0).normal(size=(70, 2**10))

    np.testing.assert_array_equal(
        moebius_transform(values), np.stack([moebius_transform(row) for row in values])
    )


def test_tensors_and_arrays_agree(device):
    values = np.random.default_rng(0).normal(size=(2, 64))
    tensor = torch.tensor(values, device=device)

    for function in (moebius_transform, zeta_transform, or_interactions, or_values):
        np.testing.assert_allclose(
            function(tensor).cpu().numpy(), function(values), atol=1e-10, err_msg=str(function)
        )


def test_input_is_not_changed_and_float32_is_computed_in_float64():
    values = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    before = values.copy()

    result = moebius_transform(values)

    assert result.dtype == np.float64
    np.testing.assert_array_equal(values, before)


def test_gradient_is_that_of_the_linear_map():
    values = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(moebius_transform, (values,))


def test_group_identities():
    """D1, D2 and D3 of disjoint groups are sums of interactions that meet the groups."""
    values = np.random.default_rng(1).normal(size=2**7)
    effects, coalitions = moebius_transform(values), all_coalitions(7)
    groups = [(0, 1), (2, 4, 6), (3,)]

    def v(*which):
        return values[coalition_index([i for g in which for i in groups[g]])]

    def total(inside, meeting):
        outside = [i for i in range(7) if i not in {m for g in inside for m in groups[g]}]
        rows = ~coalitions[:, outside].any(axis=1)
        for g in meeting:
            rows &= coalitions[:, groups[g]].any(axis=1)
        return effects[rows].sum()

    everything = v(0, 1, 2)
    d3 = everything - v(0, 1) - v(0, 2) - v(1, 2) + v(0) + v(1) + v(2) - v()
    assert v(0) - v() == pytest.approx(total([0], [0]))
    assert v(0, 1) - v(0) - v(1) + v() == pytest.approx(total([0, 1], [0, 1]))
    assert everything - v(0, 2) - v(1, 2) + v(2) == pytest.approx(total([0, 1, 2], [0, 1]))
    assert d3 == pytest.approx(total([0, 1, 2], [0, 1, 2]))


def test_wrong_length_is_refused():
    with pytest.raises(ValueError, match="got length 12"):
        moebius_transform(np.zeros(12))
    with pytest.raises(ValueError, match="got length 12"):
        or_interactions(np.zeros(12))
