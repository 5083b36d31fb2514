"""What the other transforms share with the first: sums that define them, gradients, blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pointinteract.games import (
    all_coalitions,
    fourier_transform,
    inverse_fourier_transform,
    moebius_transform,
    or_interactions,
    or_values,
    superset_sums,
    zeta_transform,
)

FUNCTIONS = [
    moebius_transform,
    zeta_transform,
    superset_sums,
    fourier_transform,
    inverse_fourier_transform,
    or_interactions,
    or_values,
]
FINITE = st.floats(-100, 100, width=32)


@st.composite
def random_values(draw):
    n_players = draw(st.integers(1, 7))
    return draw(arrays(np.float64, (2, 2**n_players), elements=FINITE))


@pytest.mark.parametrize("n_players", [1, 2, 3, 4, 6])
def test_superset_sums_equal_the_defining_sum(n_players):
    numbers = np.random.default_rng(0).normal(size=2**n_players)
    coalitions = all_coalitions(n_players)

    holds = ~(coalitions[:, None] & ~coalitions[None]).any(axis=-1)  # row inside column

    np.testing.assert_allclose(superset_sums(numbers), holds @ numbers, atol=1e-12)


@pytest.mark.parametrize("n_players", [1, 2, 3, 4, 6])
def test_fourier_coefficients_equal_the_defining_mean(n_players):
    values = np.random.default_rng(0).normal(size=2**n_players)
    coalitions = all_coalitions(n_players).astype(int)

    parity = (-1.0) ** (coalitions @ coalitions.T)

    np.testing.assert_allclose(
        fourier_transform(values), parity @ values / len(values), atol=1e-12
    )


@given(random_values())
@settings(max_examples=30, deadline=None)
def test_inverse_fourier_gives_the_values_back_and_energy_is_kept(values):
    coefficients = fourier_transform(values)

    np.testing.assert_allclose(inverse_fourier_transform(coefficients), values, atol=1e-9)
    np.testing.assert_allclose(
        (coefficients**2).sum(axis=-1), (values**2).mean(axis=-1), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("function", FUNCTIONS)
@given(values=random_values(), factor=st.floats(-3, 3))
@settings(max_examples=15, deadline=None)
def test_transforms_are_linear(function, values, factor):
    first, second = values

    np.testing.assert_allclose(
        function(first + factor * second),
        function(first) + factor * function(second),
        atol=1e-6,
    )


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("n_players", [1, 2, 3, 5])
def test_tensors_agree_with_arrays(function, n_players, device):
    values = np.random.default_rng(0).normal(size=(3, 2**n_players))

    of_tensor = function(torch.tensor(values, device=device))

    np.testing.assert_allclose(of_tensor.cpu().numpy(), function(values), atol=1e-10)


# The rules that torch keeps for forward gradients are scripted when they are first looked up.
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_are_those_of_the_linear_map(function):
    values = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(function, (values,), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(function, (values,))


def test_tensors_can_be_mapped_over():
    values = torch.randn(4, 3, 8, dtype=torch.float64)

    torch.testing.assert_close(
        torch.func.vmap(moebius_transform)(values), moebius_transform(values)
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_input_is_left_alone_and_may_be_read_only_strided_or_whole_numbers(function):
    values = np.random.default_rng(0).integers(-9, 9, size=(4, 64))
    expected = function(values.astype(float))

    strided = np.repeat(values, 2, axis=1)[:, ::2]
    strided.flags.writeable = False
    before = strided.copy()

    np.testing.assert_array_equal(function(strided), expected)
    np.testing.assert_array_equal(strided, before)
    np.testing.assert_array_equal(function(values.T.copy().T), expected)


def test_one_sample_longer_than_a_block_is_transformed_like_any_other():
    effects = np.zeros(2**18)
    effects[[1, 2**17 + 5, 2**18 - 1]] = [2.0, -1.0, 4.0]

    values = zeta_transform(effects)

    assert values[-1] == 5 and values[2**17 + 2**16 + 7] == 1 and values[2**17 - 1] == 2
    np.testing.assert_array_equal(moebius_transform(values), effects)


def test_no_samples_give_no_results():
    assert moebius_transform(np.zeros((0, 8))).shape == (0, 8)
    assert or_interactions(np.zeros((2, 0, 8))).shape == (2, 0, 8)


def test_a_missing_value_spoils_its_supersets_only():
    values = np.arange(8.0)
    values[2] = np.nan

    spoiled = np.isnan(moebius_transform(values))

    np.testing.assert_array_equal(spoiled, all_coalitions(3)[:, 1])
