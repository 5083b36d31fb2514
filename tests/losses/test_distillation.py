import pytest
import torch

from pointinteract.losses import distillation_loss, pair_contrast_loss, redundancy_loss
from pointinteract.losses.distillation import DISTILLATION_LOSSES


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 6, 5, generator=generator).unbind(0)


def test_equal_features_cost_least(pair):
    guessed, target = pair

    for kind in DISTILLATION_LOSSES:
        assert distillation_loss(target, target, kind=kind) < distillation_loss(
            guessed, target, kind=kind)
    for kind in ("cosine", "l2", "smooth_l1"):
        assert distillation_loss(target, target, kind=kind) == pytest.approx(0, abs=1e-6)


def test_cosine_is_blind_to_lengths_and_differences_are_not(pair):
    guessed, target = pair

    assert distillation_loss(3 * guessed, target) == pytest.approx(
        float(distillation_loss(guessed, target)), rel=1e-5)
    for kind in ("l2", "smooth_l1"):
        assert distillation_loss(3 * guessed, target, kind=kind) > distillation_loss(
            guessed, target, kind=kind)


def test_patches_are_contrasted_with_those_of_their_own_cloud(pair):
    guessed, target = pair

    loss = distillation_loss(guessed, target, kind="nt_xent")

    pairs = zip(guessed, target, strict=True)
    each = [pair_contrast_loss(a, b, temperature=0.07) for a, b in pairs]
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_redundancy_by_the_equation():
    generator = torch.Generator().manual_seed(1)
    first, second = torch.randn(2, 20, 4, generator=generator, dtype=torch.float64)
    joined = torch.corrcoef(torch.cat([first, second], dim=1).T)[:4, 4:]
    expected = sum((1 - joined[i, i]) ** 2 for i in range(4)) + 0.1 * sum(
        joined[i, j] ** 2 for i in range(4) for j in range(4) if i != j)

    assert redundancy_loss(first, second, weight=0.1) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("kind", DISTILLATION_LOSSES)
def test_single_patches_and_constant_channels_give_finite_gradients(kind):
    target = torch.randn(2, 1, 4)
    for guessed in (torch.randn(2, 1, 4), torch.ones(2, 1, 4)):
        guessed.requires_grad_()
        distillation_loss(guessed, target, kind=kind).backward()
        assert guessed.grad.isfinite().all()


def test_the_teacher_gets_no_gradient(pair):
    guessed, target = (each.requires_grad_() for each in pair)

    distillation_loss(guessed, target).backward()

    assert guessed.grad is not None and target.grad is None


def test_wrong_kinds_and_shapes_are_refused(pair):
    guessed, target = pair

    with pytest.raises(ValueError, match="kind must be one of cosine, l2"):
        distillation_loss(guessed, target, kind="l1")
    with pytest.raises(ValueError, match=r"got \(3, 6, 5\) and \(3, 5, 5\)"):
        distillation_loss(guessed, target[:, :5])
    with pytest.raises(ValueError, match="at least one hidden patch"):
        distillation_loss(guessed[:, :0], target[:, :0])
    with pytest.raises(ValueError, match=r"must both be \(N, D\)"):
        redundancy_loss(guessed[0], target)
