"""The AND-OR split: it matches the values exactly, finds the sparsest form, stays in bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from pointinteract.games import (
    and_or_interactions,
    coalition_orders,
    evaluate_all,
    harsanyi_game,
    moebius_transform,
    or_game,
    or_interactions,
    or_values,
    unanimity_game,
    zeta_transform,
)
from pointinteract.games._butterfly import Shear, sweep_array
from pointinteract.games._splitting import Split, _factor, _joint_metric, _sandwich
from pointinteract.games.andor import _subgradients


def smallest_objective(values, tau):
    """The optimum by linear programming, for one small game."""
    size = len(values)
    centered = values - values[0]
    of_and, of_or = moebius_transform(np.eye(size)).T, or_interactions(np.eye(size)).T
    zero, one = np.zeros((size, size)), np.eye(size)
    # Unknowns: gamma, noise, and bounds on |I_and| and |I_or|, whose sum is minimized.
    blocks, right = [], []
    for matrix, sign, bounds in ((of_and, 1, (-one, zero)), (of_or, -1, (zero, -one))):
        blocks += [
            np.hstack([sign * matrix, -0.5 * matrix, *bounds]),
            np.hstack([-sign * matrix, 0.5 * matrix, *bounds]),
        ]
        right += [-0.5 * matrix @ centered, 0.5 * matrix @ centered]
    limit = tau * abs(centered[-1])
    noise = [(0, 0)] + [(-limit, limit)] * (size - 1)
    result = linprog(
        np.r_[np.zeros(2 * size), np.ones(2 * size)],
        A_ub=np.vstack(blocks),
        b_ub=np.concatenate(right),
        bounds=[(None, None)] * size + noise + [(0, None)] * (2 * size),
        method="highs",
    )
    assert result.success
    return result.fun


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.normal(size=(2, 32)), axis=1)
    return np.concatenate([smooth, rng.normal(size=(1, 32))]) + 1.5


@pytest.mark.parametrize("solver", ["splitting", "sgd"])
@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_and_part_or_part_and_noise_add_up_to_the_values(values, solver, tau):
    result = and_or_interactions(values, tau=tau, solver=solver, n_steps=20)

    explained = zeta_transform(result.and_interactions) + or_values(result.or_interactions)
    np.testing.assert_allclose(explained + result.residual, values, atol=1e-12)
    np.testing.assert_allclose(result.values, values, atol=1e-12)
    np.testing.assert_allclose(result.merged.values, values, atol=1e-12)


@given(st.integers(0, 10_000), st.floats(0, 0.5), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_any_game_is_matched_within_the_noise_allowed(seed, tau, n_players):
    values = np.random.default_rng(seed).normal(size=(2, 2**n_players))

    result = and_or_interactions(values, tau=tau, n_steps=15)

    np.testing.assert_allclose(result.values, values, atol=1e-12)
    limit = tau * np.abs(values[:, -1:] - values[:, :1])
    assert (np.abs(result.residual) <= limit + 1e-12).all()


@pytest.mark.parametrize("tau", [0.0, 0.1])
def test_objective_reaches_that_of_linear_programming(values, tau):
    best = [smallest_objective(row, tau) for row in values]

    result = and_or_interactions(values, tau=tau, n_steps=400, tol=0)

    assert (result.objective >= np.array(best) - 1e-9).all()
    np.testing.assert_allclose(result.objective, best, rtol=2e-3)


@pytest.mark.parametrize("tau", [0.0, 0.04])
def test_fewer_transforms_than_the_published_recipe_reach_a_lower_objective(values, tau):
    published = and_or_interactions(values, tau=tau, solver="sgd", n_steps=1500)

    ours = and_or_interactions(values, tau=tau, n_steps=100)

    # A step takes 40 sweeps over all players with noise, 8 without, against 4 of descent.
    assert (ours.objective <= published.objective).all()


def test_objective_is_the_sum_of_strengths_and_never_rises(values):
    for solver in ("splitting", "sgd"):
        result = and_or_interactions(values, solver=solver, n_steps=100)

        of_and, of_or = result.and_interactions.copy(), result.or_interactions
        of_and[:, 0] -= values[:, 0]
        total = np.abs(of_and).sum(axis=1) + np.abs(of_or).sum(axis=1)
        np.testing.assert_allclose(result.objective, total)
        np.testing.assert_allclose(result.history[-1], result.objective)
        assert (np.diff(result.history, axis=0) <= 0).all()
        assert (result.history[-1] < result.history[0]).all()


def test_history_begins_with_the_even_split(values):
    half = 0.5 * (values - values[:, :1])

    result = and_or_interactions(values, n_steps=1)

    even = np.abs(moebius_transform(half)).sum(-1) + np.abs(or_interactions(half)).sum(-1)
    np.testing.assert_allclose(result.history[0], even)


def test_ors_are_found_as_ors_and_ands_as_ands():
    game = evaluate_all(or_game(5, [0, 2, 4])) * 2 + evaluate_all(unanimity_game(5, [1, 2, 3]))

    result = and_or_interactions(game, tau=0)

    np.testing.assert_allclose(result.or_interactions, 2 * np.eye(32)[0b10101], atol=1e-2)
    np.testing.assert_allclose(result.and_interactions, np.eye(32)[0b01110], atol=1e-2)


def test_allowed_noise_makes_noisy_values_sparser():
    clean = evaluate_all(harsanyi_game(5, {(0,): 2.0, (1, 2): 3.0, (0, 3, 4): -2.0}))
    noisy = clean + np.random.default_rng(0).uniform(-0.1, 0.1, size=32)

    exact, relaxed = (and_or_interactions(noisy, tau=tau) for tau in (0.0, 0.1))

    assert relaxed.objective < 0.8 * exact.objective
    assert (exact.residual == 0).all()
    assert np.abs(relaxed.residual).max() <= 0.1 * abs(noisy[-1] - noisy[0]) + 1e-12


def test_merging_moves_orders_zero_and_one_of_or_to_and(values):
    result = and_or_interactions(values, tau=0, n_steps=10)

    merged = result.merged

    low = coalition_orders(5) <= 1
    assert (merged.or_interactions[:, low] == 0).all()
    np.testing.assert_allclose(
        merged.and_interactions[:, low],
        result.and_interactions[:, low] + result.or_interactions[:, low],
    )
    np.testing.assert_array_equal(
        merged.and_interactions[:, ~low], result.and_interactions[:, ~low]
    )
    assert (merged.objective <= result.objective + 1e-9).all()
    np.testing.assert_array_equal(
        result.strength, np.abs(merged.and_interactions) + np.abs(merged.or_interactions)
    )


def test_samples_in_one_call_are_solved_as_they_are_alone(values):
    batch = np.stack([values, 2 * values])

    together = and_or_interactions(batch, n_steps=30, tol=0)
    alone = and_or_interactions(values[1], n_steps=30, tol=0)

    assert together.and_interactions.shape == (2, 3, 32) and together.objective.shape == (2, 3)
    assert together.history.shape == (4, 2, 3)
    np.testing.assert_allclose(together.and_interactions[0, 1], alone.and_interactions, atol=1e-9)
    np.testing.assert_allclose(
        together.or_interactions[1, 1], 2 * alone.or_interactions, atol=1e-9
    )


def test_more_samples_than_a_block_holds_keep_their_order():
    values = np.random.default_rng(0).normal(size=(20, 2**12))

    result = and_or_interactions(values, n_steps=2)

    np.testing.assert_allclose(result.values, values, atol=1e-10)
    assert result.history.shape == (2, 20)


def test_offset_of_the_score_only_moves_the_value_of_nothing(values):
    first, second = (and_or_interactions(values + c, n_steps=20, tol=0) for c in (0.0, 7.0))

    np.testing.assert_allclose(
        second.and_interactions - first.and_interactions,
        7 * np.eye(32)[:1].repeat(3, 0),
        atol=1e-9,
    )
    np.testing.assert_allclose(first.residual, second.residual, atol=1e-9)


def test_it_stops_when_nothing_moves(values):
    result = and_or_interactions(values, tau=0, n_steps=5000, tol=1e-3)

    assert result.n_steps < 5000
    assert len(result.history) == 1 + result.n_steps // 10


@pytest.mark.parametrize("solver", ["splitting", "sgd"])
def test_a_constant_game_has_no_interactions(solver):
    result = and_or_interactions(np.full((2, 8), 3.0), solver=solver, n_steps=5)

    np.testing.assert_array_equal(result.and_interactions, 3 * np.eye(8)[:1].repeat(2, 0))
    assert (result.or_interactions == 0).all() and (result.objective == 0).all()


def test_projection_is_the_nearest_point_that_gives_the_values(values):
    """The fast projection against least squares with the maps written out as matrices."""
    centered = values - values[:, :1]
    state = np.random.default_rng(1).normal(size=(2, 3, 32))
    inside = zeta_transform(np.eye(32)).T
    both = np.hstack([inside, -inside[::-1]])  # r holds -q read backwards

    split = Split(centered, np.zeros_like(centered), np.ones((3, 1)))
    found = split.project(state)

    flat = np.concatenate(list(state), axis=1)
    missing = centered - flat @ both.T
    expected = flat + missing @ np.linalg.pinv(both).T
    np.testing.assert_allclose(np.concatenate(list(found), axis=1), expected, atol=1e-8)
    np.testing.assert_allclose(np.concatenate(list(found), axis=1) @ both.T, centered, atol=1e-8)


def test_shrinking_weighs_the_empty_coalition_as_the_objective_does():
    """p(empty) = -q(empty) counts twice there, and r(empty) = -q(N) is no interaction."""
    state = np.full((2, 1, 4), 5.0)

    split = Split(np.zeros((1, 4)), np.zeros((1, 4)), np.ones((1, 1)))

    np.testing.assert_array_equal(split.shrink(state)[0, 0], [3, 4, 4, 4])
    np.testing.assert_array_equal(split.shrink(-state)[1, 0], [-5, -4, -4, -4])


def test_noise_leaves_the_value_of_nothing_alone(values):
    assert (and_or_interactions(values, tau=0.3, n_steps=30).residual[:, 0] == 0).all()


def test_subgradients_are_slopes_of_the_objective():
    p, q = np.random.default_rng(0).normal(size=(2, 1, 16))

    of_and, of_or = _subgradients(p, q)

    step = 1e-6 * np.eye(16)
    np.testing.assert_allclose(
        of_and[0],
        np.abs(moebius_transform(p + step)).sum(-1) / 1e-6
        - np.abs(moebius_transform(p)).sum(-1) / 1e-6,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        of_or[0],
        np.abs(or_interactions(q + step)).sum(-1) / 1e-6
        - np.abs(or_interactions(q)).sum(-1) / 1e-6,
        atol=1e-6,
    )


def test_joint_metric_inverts_the_sum_of_both_squares():
    inside = zeta_transform(np.eye(16)).T
    square = inside @ inside.T + (inside @ inside.T)[::-1, ::-1]
    vectors = np.random.default_rng(0).normal(size=(2, 16))

    factors, weights, largest = _joint_metric(4)
    applied = vectors.copy()
    _sandwich(applied, factors, weights)

    np.testing.assert_allclose(applied @ square, vectors, atol=1e-8)
    eigenvalue = np.linalg.eigvalsh(np.linalg.inv(square)).max()
    assert eigenvalue <= largest <= 1.1 * eigenvalue


def test_two_shears_and_a_scaling_are_a_matrix_per_player():
    matrix = np.array([[2.0, 0.5], [-1.0, 3.0]])
    numbers = np.random.default_rng(0).normal(size=(1, 8))
    lower, upper, scale = _factor(matrix, 3)

    found = numbers.copy()
    sweep_array(found, Shear(True, upper))
    found *= scale
    sweep_array(found, Shear(False, lower))

    np.testing.assert_allclose(found[0], np.kron(matrix, np.kron(matrix, matrix)) @ numbers[0])


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="tau"):
        and_or_interactions(np.zeros(8), tau=-1)
    with pytest.raises(ValueError, match="solver"):
        and_or_interactions(np.zeros(8), solver="adam")
    with pytest.raises(ValueError, match="got length 12"):
        and_or_interactions(np.zeros(12))
    with pytest.raises(ValueError, match="tau must be in"):
        and_or_interactions(np.zeros(8), tau=np.inf)
    with pytest.raises(ValueError, match="some are NaN"):
        and_or_interactions(np.array([0.0, np.nan, 1.0, 2.0]))
