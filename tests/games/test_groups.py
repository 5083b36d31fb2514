"""Interactions of groups are sums of interactions of their members."""

import numpy as np
import pytest
import torch

from pointinteract.games import (
    all_coalitions,
    coalition_index,
    group_coalitions,
    group_interactions,
    group_values,
    moebius_transform,
    triple_order_shares,
)

GROUPS = [(0, 1), (2, 4, 6), (3,)]


@pytest.fixture
def values():
    return np.random.default_rng(1).normal(size=(4, 2**7))


def total(effects, inside, meeting):
    """Sum the interactions of T inside some groups that meet some groups."""
    coalitions = all_coalitions(7)
    outside = [i for i in range(7) if i not in {m for g in inside for m in GROUPS[g]}]
    rows = ~coalitions[:, outside].any(axis=1)
    for g in meeting:
        rows &= coalitions[:, GROUPS[g]].any(axis=1)
    return effects[:, rows].sum(axis=1)


def test_each_difference_is_the_sum_it_is_said_to_be(values):
    effects = moebius_transform(values)

    found = group_interactions(group_values(values, GROUPS))

    for i in range(3):
        np.testing.assert_allclose(found.single[:, i], total(effects, [i], [i]))
    for k, pair in enumerate([(0, 1), (0, 2), (1, 2)]):
        np.testing.assert_allclose(found.pair[:, k], total(effects, pair, pair))
        np.testing.assert_allclose(found.pair_given[:, k], total(effects, [0, 1, 2], pair))
    np.testing.assert_allclose(found.triple, total(effects, [0, 1, 2], [0, 1, 2]))


def test_differences_are_written_out_as_in_their_definition(values):
    def v(*which):
        return values[:, coalition_index([i for g in which for i in GROUPS[g]])]

    found = group_interactions(group_values(values, GROUPS))

    np.testing.assert_allclose(found.single[:, 1], v(1) - v())
    np.testing.assert_allclose(found.pair[:, 0], v(0, 1) - v(0) - v(1) + v())
    np.testing.assert_allclose(found.pair_given[:, 0], v(0, 1, 2) - v(0, 2) - v(1, 2) + v(2))
    np.testing.assert_allclose(
        found.triple,
        v(0, 1, 2) - v(0, 1) - v(0, 2) - v(1, 2) + v(0) + v(1) + v(2) - v(),
    )


def test_tensors_give_the_same_and_pass_gradients(values):
    unions = group_values(values, GROUPS)

    tensor = torch.tensor(unions, requires_grad=True)
    found = group_interactions(tensor)

    for ours, theirs in zip(found, group_interactions(unions), strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-12)
    found.triple.sum().backward()
    np.testing.assert_allclose(tensor.grad[0], [-1, 1, 1, -1, 1, -1, -1, 1])


def test_unions_come_in_the_order_of_coalitions_of_groups():
    unions = group_coalitions(GROUPS, 7)

    assert unions.shape == (8, 7) and unions.dtype == bool
    assert np.flatnonzero(unions[0b101]).tolist() == [0, 1, 3]
    assert not unions[0].any()


@pytest.mark.parametrize(
    ("sizes", "published"),
    [
        ((1, 1, 1), [1]),
        ((2, 2, 2), [0.30, 0.44, 0.22, 0.04]),
        ((3, 3, 3), [0.08, 0.24, 0.31, 0.24, 0.10, 0.03]),
        ((4, 4, 4), [0.02, 0.09, 0.18, 0.25, 0.23, 0.15]),
    ],
)
def test_terms_of_three_groups_are_of_the_published_orders(sizes, published):
    shares = triple_order_shares(sizes)

    assert shares.sum() == pytest.approx(1) and len(shares) == sum(sizes)
    np.testing.assert_allclose(shares[:2], 0)
    np.testing.assert_allclose(shares[2 : 2 + len(published)], published, atol=6e-3)


def test_groups_that_overlap_or_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="disjoint"):
        group_coalitions([(0, 1), (1, 2)], 4)
    with pytest.raises(ValueError, match="from 0 to 3"):
        group_coalitions([(0, 4)], 4)
    with pytest.raises(TypeError, match="integer"):
        group_coalitions([(0, 1.5)], 4)
    with pytest.raises(ValueError, match="eight unions"):
        group_interactions(np.zeros((2, 4)))
