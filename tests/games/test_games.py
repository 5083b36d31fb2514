"""Games: caching, evaluation, and the oracles against the transform."""

import numpy as np
import pytest

from pointinteract.games import (
    CachedGame,
    Game,
    additive_game,
    all_coalitions,
    evaluate_all,
    harsanyi_game,
    moebius_transform,
    or_game,
    or_interactions,
    threshold_game,
    unanimity_game,
)

ORACLES = {
    "unanimity": unanimity_game(5, [1, 3]),
    "additive": additive_game([1.0, -2.0, 0.5, 3.0]),
    "harsanyi": harsanyi_game(5, {(): 2.0, (0,): 1.0, (1, 2, 4): -3.0}),
    "or of two": or_game(2, [0, 1]),
    "or of three in five": or_game(5, [0, 2, 4]),
    "threshold": threshold_game(6, 3),
}


@pytest.mark.parametrize("name", ORACLES)
def test_oracle_interactions_are_those_of_its_values(name):
    game = ORACLES[name]

    assert isinstance(game, Game)
    np.testing.assert_allclose(
        moebius_transform(evaluate_all(game)), game.interactions, atol=1e-12
    )


def test_or_of_two_players_is_one_one_minus_one():
    np.testing.assert_array_equal(or_game(2, [0, 1]).interactions, [0, 1, 1, -1])


def test_or_game_has_a_single_or_interaction():
    effects = or_interactions(evaluate_all(or_game(4, [1, 3])))

    np.testing.assert_allclose(effects, np.eye(16)[0b1010], atol=1e-12)


def test_evaluation_in_batches_equals_one_call():
    game = threshold_game(5, 2)

    np.testing.assert_array_equal(evaluate_all(game, batch_size=7), game(all_coalitions(5)))


def test_cache_asks_for_each_coalition_once():
    game = CachedGame(additive_game([1.0, 2.0, 4.0]))
    rows = all_coalitions(3)

    first = game(rows[[1, 3, 1]])
    second = game(rows[[3, 7]])

    assert game.n_evaluations == 3
    np.testing.assert_array_equal(first, [1, 3, 1])
    np.testing.assert_array_equal(second, [3, 7])


def test_coalitions_of_another_game_are_refused():
    with pytest.raises(ValueError, match=r"\(n_coalitions, 3\), got \(8, 4\)"):
        additive_game([1.0, 2.0, 4.0])(np.zeros((8, 4), dtype=bool))
