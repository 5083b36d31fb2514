"""Contrastive losses against loops that follow the papers letter by letter."""

import math

import pytest
import torch

from pointinteract.losses import bootstrap_loss, pair_contrast_loss, queue_contrast_loss


def rows(n, width=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


def cosine(first, second):
    return float(first @ second / (first.norm() * second.norm()))


@pytest.mark.parametrize("n_clouds", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_pair_contrast_follows_the_paper(n_clouds, temperature):
    first, second = rows(n_clouds), 3 * rows(n_clouds, seed=1)
    views = [*first, *second]

    loss = pair_contrast_loss(first, second, temperature=temperature)

    terms = []
    for i, view in enumerate(views):
        partner = (i + n_clouds) % (2 * n_clouds)
        others = [
            math.exp(cosine(view, views[k]) / temperature)
            for k in range(2 * n_clouds)
            if k != i
        ]
        terms.append(-math.log(math.exp(cosine(view, views[partner]) / temperature) / sum(others)))
    assert float(loss) == pytest.approx(sum(terms) / len(terms), rel=1e-9, abs=1e-12)


def test_pair_contrast_does_not_care_which_view_is_first_nor_for_the_order_of_clouds():
    first, second = rows(6), rows(6, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])

    loss = pair_contrast_loss(first, second)

    torch.testing.assert_close(pair_contrast_loss(second, first), loss)
    torch.testing.assert_close(pair_contrast_loss(first[order], second[order]), loss)
    assert pair_contrast_loss(first, second[order]) != loss
    assert pair_contrast_loss(first, first) < loss


def test_queue_contrast_follows_the_paper():
    queries, keys = rows(4), 2 * rows(4, seed=1)
    queue = torch.nn.functional.normalize(rows(9, seed=2), dim=1).T

    loss = queue_contrast_loss(queries, keys, queue, temperature=0.2)

    terms = []
    for query, key in zip(queries, keys, strict=True):
        right = math.exp(cosine(query, key) / 0.2)
        wrong = sum(math.exp(cosine(query, column) / 0.2) for column in queue.T)
        terms.append(-math.log(right / (right + wrong)))
    assert float(loss) == pytest.approx(sum(terms) / 4, rel=1e-9)


def test_no_gradient_reaches_keys_and_queue_which_may_change_before_it_is_taken():
    queries, keys = rows(4).requires_grad_(), rows(4, seed=1).requires_grad_()
    queue = torch.nn.functional.normalize(rows(9, seed=2), dim=1).T.contiguous()
    expected = torch.autograd.grad(queue_contrast_loss(queries, keys, queue.clone()), queries)[0]

    loss = queue_contrast_loss(queries, keys, queue)
    queue.zero_()
    loss.backward()

    assert keys.grad is None and torch.equal(queries.grad, expected)


def test_bootstrap_follows_the_paper_and_takes_no_gradient_of_targets():
    predictions, targets = rows(4).requires_grad_(), rows(4, seed=1).requires_grad_()

    loss = bootstrap_loss(predictions, targets)
    loss.backward()

    expected = 0.0
    for p, t in zip(predictions.detach(), targets.detach(), strict=True):
        # The squared distance of unit vectors, equation 2 before it is expanded.
        expected += float((p / p.norm() - t / t.norm()).square().sum()) / 4
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-9)
    assert targets.grad is None and predictions.grad.abs().min() > 0
    assert float(bootstrap_loss(2 * targets.detach(), targets)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [
    lambda first: pair_contrast_loss(first, rows(3, seed=1), temperature=0.5),
    lambda second: pair_contrast_loss(rows(3, seed=1), second, temperature=0.5),
    lambda queries: queue_contrast_loss(queries, rows(3, seed=1), rows(6, seed=2).T),
    lambda predictions: bootstrap_loss(predictions, rows(3, seed=1)),
], ids=["pair first", "pair second", "queue", "bootstrap"])
def test_gradients_are_the_slopes_of_the_loss(loss):
    assert torch.autograd.gradcheck(loss, rows(3).requires_grad_())


@pytest.mark.parametrize("loss", [
    pair_contrast_loss,
    bootstrap_loss,
    lambda first, second: queue_contrast_loss(first, second, rows(6).T),
])
@pytest.mark.parametrize("first, second", [((3, 5), (4, 5)), ((3,), (3,)), ((0, 5), (0, 5))])
def test_embeddings_that_do_not_pair_are_refused(loss, first, second):
    with pytest.raises(ValueError, match="must both be"):
        loss(torch.zeros(first), torch.zeros(second))
