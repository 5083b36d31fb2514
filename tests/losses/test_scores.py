import pytest
import torch

from pointinteract.losses import target_score


@pytest.fixture
def logits():
    return torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_scores_agree_with_probabilities(logits):
    target = torch.tensor([0, 4, 2])
    p = logits.softmax(-1).gather(-1, target[:, None, None].expand(3, 4, 1)).squeeze(-1)

    expected = {"log_odds": (p / (1 - p)).log(), "log_probability": p.log(),
                "logit": torch.stack([logits[i, :, t] for i, t in enumerate(target)])}

    for score, value in expected.items():
        torch.testing.assert_close(target_score(logits, target[:, None], score=score), value)


def test_log_odds_stay_finite_and_steep_where_the_network_is_certain():
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)

    value = target_score(logits, torch.tensor([0]))
    value.sum().backward()

    assert value.item() == pytest.approx(200 - 0.6931, abs=1e-3)
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -0.5, -0.5]]))


def test_wrong_scores_are_named(logits):
    with pytest.raises(ValueError, match="score must be one of 'log_odds'"):
        target_score(logits, torch.tensor(0), score="odds")
    with pytest.raises(ValueError, match="compares one class with others"):
        target_score(logits[..., :1], torch.tensor(0))


@pytest.mark.parametrize("target", [torch.tensor(5), torch.tensor(-1), torch.tensor([0, 1])])
def test_classes_that_do_not_go_with_the_logits_are_named(logits, target):
    with pytest.raises(ValueError, match=r"from 0 to 4 .* broadcasts to \(3, 4\)"):
        target_score(logits, target)
