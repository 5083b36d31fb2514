"""Coalitions of large games: random ones and those of low order."""

import numpy as np
import pytest

from pointinteract.games import harsanyi_game
from pointinteract.games.sampling import (
    low_order_coalitions,
    low_order_interactions,
    random_coalitions,
)


def test_random_coalitions_hold_each_player_half_the_time():
    coalitions = random_coalitions(20, 4000, random_state=0)

    assert coalitions.shape == (4000, 20) and coalitions.dtype == bool
    assert not coalitions[0].any() and coalitions[1].all()
    np.testing.assert_allclose(coalitions.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_array_equal(coalitions, random_coalitions(20, 4000, random_state=0))
    assert (coalitions != random_coalitions(20, 4000, random_state=1)).any()


def test_low_order_coalitions_are_each_of_them_once():
    coalitions = low_order_coalitions(7)

    assert coalitions.sum(axis=1).tolist() == [0] + [1] * 7 + [2] * 21
    assert len(np.unique(coalitions, axis=0)) == 29
    np.testing.assert_array_equal(low_order_coalitions(7, 1), coalitions[:8])
    assert len(low_order_coalitions(256)) == 32_897


def test_low_orders_are_exact_whatever_stands_above_them():
    terms = {(): 5.0, (2,): 3.0, (0, 4): -2.0, (1, 2): 1.5, (0, 1, 2, 3, 4): 7.0, (1, 2, 3): 4.0}
    game = harsanyi_game(6, terms)

    singles, pairs = low_order_interactions(game(low_order_coalitions(6)), 6)

    np.testing.assert_allclose(singles, [0, 0, 3, 0, 0, 0], atol=1e-12)
    expected = [terms.get(pair, 0) for pair in zip(*np.triu_indices(6, 1), strict=True)]
    np.testing.assert_allclose(pairs, expected, atol=1e-12)
    alone, none = low_order_interactions(game(low_order_coalitions(6, 1)), 6)
    np.testing.assert_allclose(alone, singles)
    assert none.shape == (0,)


def test_low_orders_of_many_clouds_at_once():
    values = np.random.default_rng(0).normal(size=(3, 2, 11))

    singles, pairs = low_order_interactions(values, 4)

    assert singles.shape == (3, 2, 4) and pairs.shape == (3, 2, 6)
    np.testing.assert_allclose(pairs[1, 1], low_order_interactions(values[1, 1], 4)[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_coalitions(257, 10), "n_players must be from 1 to 256"),
        (lambda: random_coalitions(5, 1), "n_coalitions must be at least 2"),
        (lambda: low_order_coalitions(5, 3), "max_order must be from 1 to 2"),
        (lambda: low_order_interactions(np.zeros(7), 4), "must hold 5 or 11 coalitions"),
    ],
)
def test_wrong_sizes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
