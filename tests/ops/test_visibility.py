import pytest
import torch

from pointinteract.ops import visible_points


def test_a_wall_hides_what_is_behind_it_and_nothing_before_it():
    line = torch.linspace(-1, 1, 12)
    wall = torch.cartesian_prod(line, line, torch.zeros(1))
    spot = torch.tensor([[0.1, 0.1, -0.6], [0.1, 0.1, 0.6]])  # behind and before
    points = torch.cat([wall, spot]).unsqueeze(0)

    seen = visible_points(points, torch.tensor([[0.0, 0.0, 4.0]]))[0]

    assert seen[:-2].float().mean() > 0.8
    assert seen[-2:].tolist() == [False, True]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"cameras must be \(2, 3\), .* got \(3,\)"):
        visible_points(torch.randn(2, 9, 3), torch.zeros(3))
    with pytest.raises(ValueError, match=r"points must have shape \(B, N, C\)"):
        visible_points(torch.randn(9, 3), torch.zeros(1, 3))
