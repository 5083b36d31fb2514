"""Coalitions: their order, their sizes, and their numbers."""

import numpy as np
import pytest

from pointinteract.games import (
    all_coalitions,
    coalition_index,
    coalition_members,
    coalition_orders,
    n_players_of,
)


def test_row_number_is_the_sum_of_member_bits():
    coalitions = all_coalitions(5)

    numbers = coalitions @ (2 ** np.arange(5))

    assert coalitions.shape == (32, 5) and coalitions.dtype == bool
    np.testing.assert_array_equal(numbers, np.arange(32))


@pytest.mark.parametrize("n_players", [1, 2, 7])
def test_orders_count_members(n_players):
    np.testing.assert_array_equal(
        coalition_orders(n_players), all_coalitions(n_players).sum(axis=1)
    )


def test_index_and_members_are_inverse():
    for index in range(64):
        assert coalition_index(coalition_members(index)) == index


def test_repeated_members_count_once():
    assert coalition_index([2, 2]) == 4


def test_shared_tables_cannot_be_spoiled():
    with pytest.raises(ValueError, match="read-only"):
        all_coalitions(3)[0, 0] = True
    with pytest.raises(ValueError, match="read-only"):
        coalition_orders(3)[0] = 1


@pytest.mark.parametrize("n_players", [0, 25])
def test_too_few_or_too_many_players_are_refused(n_players):
    with pytest.raises(ValueError, match="from 1 to 24"):
        all_coalitions(n_players)


@pytest.mark.parametrize("length", [0, 1, 3, 12])
def test_axis_that_is_no_power_of_two_is_refused(length):
    with pytest.raises(ValueError, match=f"got length {length}"):
        n_players_of(length)
