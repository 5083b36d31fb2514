"""Pairwise interactions by context size: exact, sampled, and what they have to do with others."""

from itertools import combinations

import numpy as np
import pytest

from pointinteract.games import (
    coalition_index,
    context_orders,
    evaluate_all,
    interaction_index,
    moebius_transform,
    pairwise_interactions,
    pairwise_strength,
    sample_pairwise_interactions,
    unanimity_game,
)

N = 5
PAIRS = list(combinations(range(N), 2))


class TableGame:
    """A game with given values that counts what it is asked."""

    def __init__(self, values):
        self.values = values
        self.n_players = len(values).bit_length() - 1
        self.largest_call = 0

    def __call__(self, coalitions):
        self.largest_call = max(self.largest_call, len(coalitions))
        return self.values[coalitions @ (2 ** np.arange(self.n_players))]


class PairsOfMany:
    """Worth the number of neighbors (i, i + 1) present together; any number of players."""

    def __init__(self, n_players):
        self.n_players = n_players

    def __call__(self, coalitions):
        return (coalitions[:, 1:] & coalitions[:, :-1]).sum(axis=1).astype(float)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(3, 2**N))


def by_definition(values, i, j, size):
    others = [k for k in range(N) if k not in (i, j)]
    differences = []
    for context in combinations(others, size):
        s, si, sj, sij = (
            values[coalition_index(context + extra)] for extra in ((), (i,), (j,), (i, j))
        )
        differences.append(sij - si - sj + s)
    return np.mean(differences)


def test_exact_ones_equal_the_mean_over_all_contexts(values):
    found = pairwise_interactions(values)

    assert found.shape == (3, N - 1, len(PAIRS))
    for size in range(N - 1):
        for k, (i, j) in enumerate(PAIRS):
            assert found[1, size, k] == pytest.approx(by_definition(values[1], i, j, size))


def test_their_mean_over_context_sizes_is_the_shapley_interaction(values):
    pairs = [coalition_index(pair) for pair in PAIRS]

    np.testing.assert_allclose(
        pairwise_interactions(values).mean(axis=1),
        interaction_index(values, "SII", order=2)[:, pairs],
        atol=1e-12,
    )


def test_without_context_they_are_the_and_interactions_of_pairs(values):
    effects = moebius_transform(values)

    found = pairwise_interactions(effects, from_moebius=True)

    np.testing.assert_allclose(
        found[:, 0], effects[:, [coalition_index(pair) for pair in PAIRS]], atol=1e-12
    )


def test_an_interaction_of_m_players_shows_in_contexts_that_hold_the_others():
    found = pairwise_interactions(evaluate_all(unanimity_game(6, [0, 1, 2, 3])))

    of_pair = found[:, 0]  # players 0 and 1 wait for 2 and 3 among the four others
    np.testing.assert_allclose(of_pair, [0, 0, 1 / 6, 3 / 6, 1], atol=1e-12)


def test_with_enough_contexts_sampling_is_exact(values):
    game = TableGame(values[0])

    found = sample_pairwise_interactions(game, orders=range(N - 1), n_contexts=10)

    np.testing.assert_array_equal(found.pairs, PAIRS)
    np.testing.assert_allclose(found.values, pairwise_interactions(values[0]), atol=1e-12)
    assert found.n_contexts.tolist() == [1, 3, 3, 1]
    assert (found.errors == 0).all()
    assert found.n_evaluations == 4 * len(PAIRS) * (1 + 3 + 3 + 1)


def test_random_contexts_have_the_size_asked_for_and_never_hold_the_pair():
    sizes = []

    class Recorder(PairsOfMany):
        def __call__(self, coalitions):
            sizes.append(coalitions.reshape(-1, 4, self.n_players).sum(axis=2))
            return super().__call__(coalitions)

    sample_pairwise_interactions(
        Recorder(20), orders=[0, 7, 18], n_pairs=3, n_contexts=5, random_state=0
    )

    for size, counts in zip([0, 7, 18], sizes, strict=True):
        np.testing.assert_array_equal(
            counts, np.tile([size, size + 1, size + 1, size + 2], (len(counts), 1))
        )


def test_estimates_lie_within_their_errors():
    values = np.random.default_rng(3).normal(size=2**9)
    exact = pairwise_interactions(values)[3]

    found = sample_pairwise_interactions(
        TableGame(values), orders=[3], n_contexts=30, random_state=0
    )

    assert found.n_contexts.tolist() == [30] and (found.errors > 0).all()
    off = np.abs(found.values[0] - exact) / found.errors[0]
    assert off.max() < 5 and np.sqrt((off**2).mean()) < 2


def test_256_players_are_no_trouble():
    found = sample_pairwise_interactions(
        PairsOfMany(256), orders=[0, 100], n_contexts=4, pairs=[(3, 4), (3, 5)], batch_size=16
    )

    np.testing.assert_array_equal(found.values, [[1, 0], [1, 0]])


def test_draws_repeat_with_their_seed_and_respect_the_batch_size():
    game = TableGame(np.random.default_rng(3).normal(size=2**8))

    first, again = (
        sample_pairwise_interactions(game, n_pairs=6, n_contexts=5, batch_size=12, random_state=1)
        for _ in range(2)
    )
    other = sample_pairwise_interactions(game, n_pairs=6, n_contexts=5, random_state=2)

    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.pairs, other.pairs)
    assert len({tuple(pair) for pair in first.pairs.tolist()}) == 6
    assert (first.pairs[:, 0] < first.pairs[:, 1]).all()

    game.largest_call = 0
    sample_pairwise_interactions(game, n_pairs=6, n_contexts=5, batch_size=12)
    assert game.largest_call <= 12


def test_default_context_sizes_are_the_published_ones():
    assert context_orders(32).tolist() == [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    assert context_orders(2).tolist() == [0]


def test_strengths_average_sizes_or_take_the_size_of_the_average():
    interactions = np.array([[[1.0, -3.0], [2.0, 2.0]], [[0.0, 0.0], [4.0, 4.0]]])

    np.testing.assert_allclose(pairwise_strength(interactions, normalize=False), [1, 3])
    np.testing.assert_allclose(pairwise_strength(interactions), [0.5, 1.5])
    np.testing.assert_allclose(
        pairwise_strength(interactions, kind="abs_mean", normalize=False), [0.5, 3]
    )
    assert np.isnan(pairwise_strength(np.zeros((2, 3, 4)))).all()


def test_bad_pairs_orders_and_shapes_are_refused():
    game = PairsOfMany(6)
    with pytest.raises(ValueError, match="from 0 to 4"):
        sample_pairwise_interactions(game, orders=[5])
    with pytest.raises(ValueError, match="from 0 to 4"):
        sample_pairwise_interactions(game, orders=[0.5])
    with pytest.raises(ValueError, match="two different players"):
        sample_pairwise_interactions(game, pairs=[(0.5, 1)])
    with pytest.raises(ValueError, match="two different players"):
        sample_pairwise_interactions(game, pairs=[(1, 1)])
    with pytest.raises(ValueError, match="two different players"):
        sample_pairwise_interactions(game, pairs=[(1, 6)])
    with pytest.raises(ValueError, match="two players or more"):
        pairwise_interactions(np.zeros(2))
    with pytest.raises(ValueError, match="n_samples, n_orders, n_pairs"):
        pairwise_strength(np.zeros((3, 4)))
