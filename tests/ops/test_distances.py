from functools import partial

import pytest
import torch

from pointinteract.ops import chamfer_distance, nearest_neighbor


def pairs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64)
    return a, torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("sided", ["both", "left", "right"])
def test_chamfer_follows_the_definition(norm, sided):
    a, b = pairs()
    table = torch.cdist(a, b) ** norm
    left, right = table.amin(2).mean(1), table.amin(1).mean(1)
    both = (left + right) / (2 if norm == 1 else 1)

    ours = chamfer_distance(a, b, norm=norm, sided=sided, reduction="none")

    torch.testing.assert_close(ours, {"both": both, "left": left, "right": right}[sided])


def test_chamfer_gradient_is_that_of_the_chosen_pairs():
    a, b = (x.requires_grad_() for x in pairs())

    for norm in (1, 2):
        distance = partial(chamfer_distance, norm=norm)
        assert torch.autograd.gradcheck(distance, (a, b))


def test_chamfer_of_equal_clouds_is_zero_with_finite_gradient():
    a = torch.randn(1, 6, 3, requires_grad=True)

    loss = chamfer_distance(a, a.detach(), norm=1)
    loss.backward()

    assert loss < 1e-6 and torch.isfinite(a.grad).all()


def test_nearest_neighbor_gives_the_smallest_index_on_ties(device):
    a = torch.zeros(1, 1, 3, device=device)
    b = torch.tensor([[[2.0, 0, 0], [0, 1, 0], [1, 0, 0]]], device=device)

    distance, index = nearest_neighbor(a, b)

    assert index.tolist() == [[1]] and distance.tolist() == [[1.0]]


@pytest.mark.parametrize("wrong", [{"norm": 3}, {"sided": "up"}, {"reduction": "sum"}])
def test_unknown_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        chamfer_distance(*pairs(), **wrong)
