import math

import pytest
import torch

from pointinteract.losses import query_discrimination_loss

# One cloud: a real query told right, a fake one told wrong, and one that may be either.
LOGITS = torch.tensor([[[-1.0, 2.0], [-0.5, 0.5], [9.0, 9.0]]])
LABELS = torch.tensor([[1, 0, -1]])


def chance(x):
    return 1 / (1 + math.exp(-x))


def test_losses_are_those_computed_by_hand():
    right = [[1 - chance(-1.0), chance(2.0)], [chance(-0.5), 1 - chance(0.5)]]
    weights = [[0.75, 0.25], [0.25, 0.75]]  # the column that is true weighs alpha
    expected = {
        "bce": -sum(math.log(p) for row in right for p in row) / 4,
        "focal": -sum(w * (1 - p) ** 2 * math.log(p)
                      for row, ws in zip(right, weights, strict=True)
                      for p, w in zip(row, ws, strict=True)) / 4,
        "softmax": (math.log(1 + math.exp(-3.0)) + math.log(1 + math.exp(1.0))) / 2,
    }

    for kind, value in expected.items():
        found = query_discrimination_loss(LOGITS, LABELS, kind=kind)
        assert found.item() == pytest.approx(value, rel=1e-5), kind


def test_without_focus_it_is_half_of_the_plain_loss():
    focal = query_discrimination_loss(LOGITS, LABELS, alpha=0.5, gamma=0.0)

    torch.testing.assert_close(focal, query_discrimination_loss(LOGITS, LABELS, kind="bce") / 2)


def test_ambiguous_queries_get_no_gradient():
    logits = LOGITS.clone().requires_grad_()

    query_discrimination_loss(logits, LABELS).backward()

    assert (logits.grad[0, 2] == 0).all() and (logits.grad[0, :2] != 0).all()


@pytest.mark.parametrize("logits, labels, kind, message", [
    (LOGITS, LABELS, "hinge", "kind must be one of focal, bce, softmax"),
    (LOGITS[..., :1], LABELS, "bce", r"logits must be \(B, Q, 2\)"),
    (LOGITS, LABELS[:, :2], "bce", r"got \(1, 3, 2\) and \(1, 2\)"),
    (LOGITS, torch.full((1, 3), -1), "bce", "all queries are ambiguous"),
])
def test_what_cannot_be_compared_is_refused(logits, labels, kind, message):
    with pytest.raises(ValueError, match=message):
        query_discrimination_loss(logits, labels, kind=kind)
