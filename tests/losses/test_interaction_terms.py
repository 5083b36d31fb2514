"""Each estimator against the exact interactions of a game with every coalition known."""

import numpy as np
import pytest
import torch

from pointinteract.games import all_coalitions, coalition_index, moebius_transform, zeta_transform
from pointinteract.losses.interaction_terms import (
    ExactOrders,
    MaskedClouds,
    MaskedDifferences,
    ThreeGroups,
    combine_terms,
)

N = 7  # groups of two regions each
GROUPS = ({0, 1}, {2, 3}, {4, 5})


@pytest.fixture(scope="module")
def effects():
    """Interactions of two random games of 7 players: (2, 2^7)."""
    return np.random.default_rng(0).normal(size=(2, 2**N))


def answers_of(keep, effects):
    """Two-class logits (B, S, 2) whose first logit plays the game; the target is class 0."""
    rows = [coalition_index(np.flatnonzero(row)) for row in keep.numpy()]
    values = torch.from_numpy(zeta_transform(effects)[:, rows])
    logits = torch.stack([values, torch.zeros_like(values)], dim=2)
    return logits.requires_grad_(), torch.zeros(len(values), dtype=torch.long)


def total(effects, condition):
    """Sum of the interactions of all coalitions (as sets) that a condition holds for."""
    sets = [set(np.flatnonzero(row)) for row in all_coalitions(N)]
    return effects[:, [bool(condition(members)) for members in sets]].sum(axis=1)


def meets(members, *groups):
    return all(members & group for group in groups)


def within(members, *groups):
    return members <= set().union(*groups)


def test_three_groups_sum_exactly_the_interactions_they_should(effects):
    a, b, c = GROUPS
    estimator = ThreeGroups(N)

    low, high = estimator.terms(*answers_of(estimator.keep, effects))
    rival = ThreeGroups(N, high="D2")
    _, high_rival = rival.terms(*answers_of(rival.keep, effects))

    inside = [total(effects, lambda s, g=g: s and within(s, g)) for g in GROUPS]
    all_three = total(effects, lambda s: within(s, a, b, c) and meets(s, a, b, c))
    first_two = total(effects, lambda s: within(s, a, b, c) and meets(s, a, b))
    np.testing.assert_allclose(low.detach(), np.abs(inside).mean(axis=0))
    np.testing.assert_allclose(high.detach(), np.abs(all_three))
    np.testing.assert_allclose(high_rival.detach(), np.abs(first_two))


def test_exact_singles_and_pairs(effects):
    estimator = ThreeGroups(N, exact_low=True)

    low, high = estimator.terms(*answers_of(estimator.keep, effects))

    singles_and_pair = np.abs(effects[:, [1, 2, 3]])  # {0}, {1}, {0, 1}
    np.testing.assert_allclose(low.detach(), singles_and_pair.mean(axis=1))
    plain = ThreeGroups(N)
    torch.testing.assert_close(high, plain.terms(*answers_of(plain.keep, effects))[1])
    assert len(estimator.keep) == 11


def test_groups_are_disjoint_and_a_third_of_the_regions():
    for n_regions, size in ((4, 1), (10, 3), (12, 3), (20, 6)):
        groups = ThreeGroups(n_regions).keep[[1, 2, 4]]

        assert groups.sum(1).tolist() == [size] * 3
        assert groups.sum(0).max() == 1


def test_exact_orders_take_the_mean_of_each_range():
    effects = np.random.default_rng(1).normal(size=(2, 2**6))
    estimator = ExactOrders(6)

    low, high = estimator.terms(*answers_of(estimator.keep, effects))

    orders = all_coalitions(6).sum(1)
    expected = [np.abs(effects[:, np.isin(orders, which)]).mean(1) for which in ((1, 2), (5, 6))]
    np.testing.assert_allclose(low.detach(), expected[0])
    np.testing.assert_allclose(high.detach(), expected[1])


def test_masked_differences_follow_their_definition():
    logits = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([2, 0])
    estimator = MaskedDifferences(10)

    low, high = estimator.terms(logits, target)
    penalised_high = MaskedDifferences(10, reverse=True).terms(logits, target)[1]

    assert estimator.keep.sum(1).tolist() == [0, 3, 7, 10]
    p = (logits[:, 1] - logits[:, 0]).softmax(1)
    q = (logits[:, 3] - 10 / 7 * logits[:, 2]).softmax(1)
    torch.testing.assert_close(low, (p * p.log()).sum(1))
    torch.testing.assert_close(high, -q[[0, 1], target].log())
    torch.testing.assert_close(penalised_high, (q * q.log()).sum(1))


def test_masked_clouds_are_those_of_the_groups_without_the_empty_one():
    control = MaskedClouds(10)
    logits = torch.randn(3, 7, 4)
    target = torch.tensor([0, 3, 1])

    loss = control.loss(logits, target)

    assert torch.equal(control.keep, ThreeGroups(10).keep[1:])
    expected = [-logits[i].log_softmax(1)[:, t].mean() for i, t in enumerate(target)]
    torch.testing.assert_close(loss, torch.stack(expected))


@pytest.mark.parametrize("estimator", [
    ThreeGroups(N), ThreeGroups(N, high="D2"), ThreeGroups(N, exact_low=True), ExactOrders(N),
    MaskedDifferences(N), MaskedDifferences(N, reverse=True),
])
def test_gradients_are_right(estimator, effects):
    logits, target = answers_of(estimator.keep, effects)

    assert torch.autograd.gradcheck(lambda z: estimator.terms(z, target), (logits,))


@pytest.mark.parametrize("form, terms, expected", [
    ("literal", "both", -1.5), ("literal", "low", 1.5), ("literal", "high", -3.0),
    ("literal", "reversed", 1.5), ("scaled", "both", -0.75), ("scaled", "reversed", 0.75),
    ("log_ratio", "low", np.log([1.1, 2.1]).mean()),
    ("log_ratio", "high", -np.log([4.1, 2.1]).mean()),
    ("log_ratio", "both", np.log([1.1 / 4.1, 1.0]).mean()),
    ("log_ratio", "reversed", np.log([4.1 / 1.1, 1.0]).mean()),
])
def test_forms_and_ablations(form, terms, expected):
    low, high = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 2.0])

    loss = combine_terms(low, high, form=form, terms=terms, scale=2.0)

    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_too_few_or_too_many_regions_are_named():
    with pytest.raises(ValueError, match="n_regions of at least 4, got 3"):
        ThreeGroups(3)
    with pytest.raises(ValueError, match="from 2 to 10, got 11"):
        ExactOrders(11)
    with pytest.raises(ValueError, match="at least one of the n_regions=4"):
        MaskedDifferences(4, ranges=((0.0, 0.1), (0.6, 1.0)))


def test_high_term_of_groups_vanishes_for_games_of_low_order():
    orders = all_coalitions(N).sum(1)
    effects = np.where(orders <= 2, np.random.default_rng(2).normal(size=2**N), 0.0)[None]
    estimator = ThreeGroups(N)

    low, high = estimator.terms(*answers_of(estimator.keep, effects))

    assert float(low.detach()) > 0.1
    np.testing.assert_allclose(high.detach(), 0, atol=1e-12)
    assert np.allclose(moebius_transform(zeta_transform(effects)), effects)
