"""Sparse Fourier recovery: sparse games exactly, others well; conversions."""

from itertools import combinations

import numpy as np
import pytest

from pointinteract.games import (
    _fourier_solver,
    all_coalitions,
    banzhaf_values,
    coalition_index,
    moebius_transform,
    shapley_values,
)
from pointinteract.games._fourier_solver import _kernel
from pointinteract.games.fourier import SparseFourier, pad_members, r2_score, recover_fourier
from pointinteract.games.sampling import random_coalitions


def random_sets(rng, n_players, n_sets):
    sizes = rng.integers(1, 5, size=n_sets)
    return sorted({tuple(sorted(rng.choice(n_players, s, replace=False).tolist())) for s in sizes})


def parities(coalitions, sets, weights):
    x = 1 - 2.0 * coalitions
    return sum(w * x[:, list(one)].prod(axis=1) for one, w in zip(sets, weights, strict=True))


def smooth_game(coalitions, seed=0):
    """A saturating score of weighted players: all orders, decaying."""
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(coalitions.shape[1], 3)) ** 2
    return np.tanh(coalitions @ weights / weights.sum(axis=0) * 3 - 1).prod(axis=1)


def test_sparse_game_is_recovered_exactly():
    rng = np.random.default_rng(3)
    sets = random_sets(rng, 40, 30)
    weights = rng.choice([-1, 1], len(sets)) * rng.uniform(0.2, 2, len(sets))
    rows = random_coalitions(40, 2500, random_state=0)
    values = parities(rows, sets, weights)

    found = recover_fourier(rows[:2000], values[:2000], held_out=(rows[2000:], values[2000:]))

    by_set = dict(zip(found.sets(), found.coefficients, strict=True))
    assert set(by_set) == set(sets)
    np.testing.assert_allclose([by_set[one] for one in sets], weights, atol=1e-9)
    assert found.r2 == pytest.approx(1) and found.error < 1e-9


def test_sparse_and_interactions_come_out_of_the_conversion():
    rng = np.random.default_rng(1)
    sets = random_sets(rng, 24, 12)
    effects = rng.choice([-1, 1], len(sets)) * rng.uniform(0.5, 2, len(sets))
    rows = random_coalitions(24, 2000, random_state=1)
    values = sum(e * rows[:, list(one)].all(axis=1) for one, e in zip(sets, effects, strict=True))

    members, found, errors = recover_fourier(rows, values).interactions()

    strong = np.abs(found) > 1e-6
    by_set = {tuple(row[row >= 0].tolist()): e for row, e in zip(members, found, strict=True)}
    assert {one for one, kept in zip(by_set, strong, strict=True) if kept} == set(sets)
    np.testing.assert_allclose([by_set[one] for one in sets], effects, atol=1e-9)
    assert np.isnan(errors).all()  # nothing was held out


def test_dense_game_is_followed_on_coalitions_not_seen():
    rows = random_coalitions(30, 3000, random_state=2)
    values = smooth_game(rows)

    found = recover_fourier(rows[:2000], values[:2000], held_out=(rows[2000:], values[2000:]))

    x = np.hstack([np.ones((3000, 1)), 1 - 2.0 * rows])
    linear = x @ np.linalg.lstsq(x[:2000], values[:2000], rcond=None)[0]
    assert found.r2 > 0.95
    assert 1 - found.r2 < 0.2 * (1 - r2_score(values[2000:], linear[2000:]))
    assert found.r2 == pytest.approx(r2_score(values[2000:], found.predict(rows[2000:])))


def test_kernel_is_the_sum_over_all_sets_up_to_order_four():
    x = 1 - 2.0 * random_coalitions(7, 12, random_state=0)
    scales, weights = np.linspace(0.2, 1.1, 7), np.array([0.3, 1.0, 0.7, 0.4, 0.9])

    expected = np.zeros((5, 12))
    for order in range(5):
        for one in map(list, combinations(range(7), order)):
            terms = x[:5, one].prod(axis=1)[:, None] * x[:, one].prod(axis=1)
            expected += weights[order] * scales[one].prod() * terms

    found = _kernel(x[:5].astype(np.float32), x.astype(np.float32), scales, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_strong_terms_are_looked_at_again(monkeypatch):
    """Some strong pairs among many weak terms: a prior of players alone smears them out."""
    rng = np.random.default_rng(0)
    rows = random_coalitions(24, 1500, random_state=3)
    pairs = random_sets(rng, 24, 60)
    values = parities(rows, pairs, rng.normal(size=len(pairs)) ** 3) + 0.5 * smooth_game(rows)
    held_out = (rows[1000:], values[1000:])

    found = recover_fourier(rows[:1000], values[:1000], held_out=held_out)
    monkeypatch.setattr(_fourier_solver, "_SECOND_LOOKS", 0)
    once = recover_fourier(rows[:1000], values[:1000], held_out=held_out)

    assert 1 - found.r2 < 0.5 * (1 - once.r2)


def test_second_look_is_ridge_regression_on_the_features():
    """With the first prior taken away, alpha of the dual and the primal solution agree."""
    x = 1 - 2.0 * random_coalitions(6, 40, random_state=1)
    y = np.random.default_rng(1).normal(size=40)
    features = np.random.default_rng(2).normal(size=(40, 5)).astype(np.float32)

    alpha = _fourier_solver._solve_kernel(x, y, np.ones(6), np.zeros(5), features, 0.3)

    wide = features.astype(np.float64)
    primal = np.linalg.solve(wide.T @ wide + 0.3 * np.eye(5), wide.T @ y)
    np.testing.assert_allclose(wide.T @ alpha, primal, rtol=1e-3, atol=1e-4)


def test_same_input_same_bits():
    rows = random_coalitions(12, 300, random_state=0)
    values = smooth_game(rows)

    first, second = recover_fourier(rows, values), recover_fourier(rows, values)

    np.testing.assert_array_equal(first.members, second.members)
    np.testing.assert_array_equal(first.coefficients, second.coefficients)


def test_fewer_terms_keep_the_strongest():
    rows = random_coalitions(20, 500, random_state=0)
    values = smooth_game(rows)
    whole = recover_fourier(rows, values)

    few = recover_fourier(rows, values, max_terms=50)

    assert few.n_terms == 50 and few.sets()[0] == ()
    smallest = np.abs(few.coefficients[1:]).min()
    assert (np.abs(whole.coefficients[1:]) > smallest * (1 + 1e-9)).sum() == 48


def test_fewer_terms_than_a_sparse_game_has_keep_its_strongest_too():
    rows = random_coalitions(20, 400, random_state=0)
    values = 1.0 * rows[:, 3] + 6.0 * rows[:, 11] + 0.5 * rows[:, 17]

    few = recover_fourier(rows, values, max_terms=2)

    assert few.sets() == [(), (11,)]
    np.testing.assert_allclose(few.coefficients, [3.75, -3.0])


@pytest.mark.parametrize("truth", [np.ones((50, 1)), np.ones(49), np.full(50, np.nan)])
def test_held_out_values_must_go_with_their_coalitions(truth):
    rows = random_coalitions(6, 50, random_state=0)

    with pytest.raises(ValueError, match=r"held_out must be coalitions \(S, 6\)"):
        recover_fourier(rows, 1.0 * rows[:, 0], held_out=(rows, truth))


def test_scale_and_shift_of_the_game_pass_through():
    rows = random_coalitions(15, 400, random_state=0)
    values = smooth_game(rows)

    found, other = recover_fourier(rows, values), recover_fourier(rows, 1000 * values - 50)

    np.testing.assert_allclose(other.predict(rows), 1000 * found.predict(rows) - 50, rtol=1e-3)


@pytest.mark.parametrize("n_players", [1, 2, 3])
def test_tiny_games_are_solved(n_players):
    rows = random_coalitions(n_players, 60, random_state=0)
    values = rows @ np.arange(1.0, n_players + 1)

    np.testing.assert_allclose(recover_fourier(rows, values).predict(rows), values, atol=1e-9)


def test_constant_game_is_its_constant():
    rows = random_coalitions(10, 50, random_state=0)

    found = recover_fourier(rows, np.full(50, 2.5), held_out=(rows, np.full(50, 2.5)))

    assert found.sets() == [()] and found.coefficients.tolist() == [2.5] and found.r2 == 1


def test_conversions_agree_with_those_of_all_values():
    rng = np.random.default_rng(0)
    sets = [(), (0,), (2,), (0, 1), (1, 3), (0, 2, 3), (0, 1, 2, 4)]
    game = SparseFourier(5, pad_members(sets, 4), rng.normal(size=7), error=0.1)

    values = game.predict(all_coalitions(5))

    np.testing.assert_allclose(game.shapley_values(), shapley_values(values), atol=1e-12)
    np.testing.assert_allclose(game.banzhaf_values(), banzhaf_values(values), atol=1e-12)
    members, effects, errors = game.interactions()
    expected = moebius_transform(values)
    numbers = [coalition_index(row[row >= 0]) for row in members]
    np.testing.assert_allclose(effects, expected[numbers], atol=1e-12)
    rest = np.delete(expected, numbers)
    np.testing.assert_allclose(rest, 0, atol=1e-12)
    # (0, 2) is inside two terms.
    assert errors[numbers.index(0b101)] == pytest.approx(4 * np.sqrt(2) * 0.1)


def test_error_of_coefficients_is_that_of_repeated_samples():
    sets = [(0,), (1,), (0, 1), (2, 3)]
    found = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = random_coalitions(12, 1200, random_state=seed)
        values = parities(rows, sets, [1, 1, 1, 1]) + rng.normal(size=1200)
        result = recover_fourier(rows[:800], values[:800], held_out=(rows[800:], values[800:]))
        found.append((result.banzhaf_values()[0] / -2, result.error))

    coefficients, errors = np.array(found).T
    # Noise of 1 over the root of 800 rows; shrinking keeps the held-out error near the noise.
    assert 0.03 < errors.mean() < 0.05
    assert coefficients.std() < 3 * errors.mean()


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        (np.zeros((5, 3)), np.zeros(4), "must belong together"),
        (np.zeros(5), np.zeros(5), "must belong together"),
        (np.zeros((5, 300)), np.arange(5.0), "from 1 to 256"),
        (np.zeros((5, 3)), np.array([1, 2, np.nan, 4, 5]), "finite"),
    ],
)
def test_wrong_input_is_named(rows, values, message):
    with pytest.raises(ValueError, match=message):
        recover_fourier(rows, values)


def test_prediction_wants_coalitions_of_its_players():
    game = SparseFourier(5, pad_members([(0,)], 4), np.ones(1))

    with pytest.raises(ValueError, match=r"\(n_coalitions, 5\), got \(2, 4\)"):
        game.predict(np.zeros((2, 4), dtype=bool))
