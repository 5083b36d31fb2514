"""Alignment of clouds with teachers, held against the equation written out."""

import math

import pytest
import torch

from pointinteract.losses import alignment_loss, balanced_loss


def sides(n_rows=5, width=7):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, n_rows, width, generator=generator, dtype=torch.float64)


def slow_alignment(first, second, scale, right):
    """Mean of both directions, row by row; `right` (B, B) holds the shares of right answers."""
    loss = 0.0
    for ours, theirs, shares in ((first, second, right), (second, first, right.T)):
        for i, row in enumerate(ours):
            cosines = [float(row @ o / row.norm() / o.norm()) * scale for o in theirs]
            total = math.log(sum(math.exp(c) for c in cosines))
            loss += sum(float(shares[i, j]) * (total - c) for j, c in enumerate(cosines))
    return loss / (2 * len(first))


@pytest.mark.parametrize("scale", [1.0, 14.3])
def test_alignment_is_the_mean_of_both_cross_entropies(scale):
    first, second = sides()

    loss = alignment_loss(first, second, scale=scale)

    assert float(loss) == pytest.approx(slow_alignment(first, second, scale, torch.eye(5)))


def test_equal_groups_are_right_answers_with_equal_shares():
    first, second = sides()
    groups = torch.tensor([3, 0, 3, 1, 3])
    right = (groups[:, None] == groups).double()

    loss = alignment_loss(first, second, scale=5.0, groups=groups)

    right /= right.sum(1, keepdim=True)
    assert float(loss) == pytest.approx(slow_alignment(first, second, 5.0, right))
    alone = alignment_loss(first, second, scale=5.0, groups=torch.arange(5))
    torch.testing.assert_close(alone, alignment_loss(first, second, scale=5.0))


def test_alignment_is_lower_for_partners_and_is_learned_by_scale_and_sides():
    first, second = sides()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    first.requires_grad_(True)

    apart = alignment_loss(first, second, scale=scale)
    together = alignment_loss(second, second, scale=scale)
    apart.backward()

    assert together < apart
    assert scale.grad is not None and first.grad.abs().sum() > 0


def test_balance_is_least_where_the_equation_says():
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)

    loss = balanced_loss(torch.tensor(3.0), torch.tensor(0.8), weight)
    loss.backward()

    assert float(loss.detach()) == pytest.approx(3.0 + 0.8 + math.log(2))
    assert float(weight.grad) == pytest.approx(-2 * 0.8 + 0.5)


def test_sides_that_do_not_fit_are_named():
    first, second = sides()

    with pytest.raises(ValueError, match=r"must be \(B, D\) with at least one row"):
        alignment_loss(first, second[:4], scale=1.0)
    with pytest.raises(ValueError, match=r"groups must be \(5,\), got \(4,\)"):
        alignment_loss(first, second, scale=1.0, groups=torch.arange(4))
