import pytest
import torch

from pointinteract.ops import nearest_order


def slow_order(points, start):
    """The definition, one cloud and one step at a time."""
    order = []
    for cloud in points:
        walk, left = [start], [i for i in range(len(cloud)) if i != start]
        while left:
            distances = [float((cloud[i] - cloud[walk[-1]]).square().sum()) for i in left]
            walk.append(left.pop(distances.index(min(distances))))
        order.append(walk)
    return torch.tensor(order)


@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("n_points", [4, 5, 17])
def test_goes_to_the_nearest_that_is_left(n_points, start, device):
    generator = torch.Generator().manual_seed(n_points)
    points = torch.randn(6, n_points, 3, generator=generator, dtype=torch.float64)

    found = nearest_order(points.to(device), start=start)

    assert found.dtype == torch.int64 and found.device.type == device.type
    assert torch.equal(found.cpu(), slow_order(points, start))


def test_walks_along_a_line_and_jumps_back():
    points = torch.tensor([0.0, 1, 2, -1.5, 4]).view(1, 5, 1)

    assert nearest_order(points).tolist() == [[0, 1, 2, 4, 3]]


def test_ties_go_to_the_smallest_index():
    corners = torch.tensor([[0.0, 0], [1, 0], [0, 1], [1, 1]]).unsqueeze(0)

    assert nearest_order(corners).tolist() == [[0, 1, 3, 2]]
    assert nearest_order(torch.zeros(2, 4, 3)).tolist() == 2 * [[0, 1, 2, 3]]


@pytest.mark.parametrize("strange", [float("inf"), float("nan"), 1e30])
def test_is_a_permutation_whatever_the_numbers(strange):
    points = torch.randn(3, 9, 3, generator=torch.Generator().manual_seed(0))
    points[:, [0, 4, 5]] = strange

    order = nearest_order(points)

    assert torch.equal(order.sort(dim=1).values, torch.arange(9).expand(3, 9))


def test_does_not_depend_on_place_or_size():
    # Halves and eighths: moving and scaling them is exact.
    points = torch.randint(-64, 64, (4, 12, 3), generator=torch.Generator().manual_seed(1)) / 8

    assert torch.equal(nearest_order(4 * points + 2), nearest_order(points))


def test_one_point_and_no_cloud():
    assert nearest_order(torch.zeros(2, 1, 3)).tolist() == [[0], [0]]
    assert nearest_order(torch.zeros(0, 4, 3)).shape == (0, 4)


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="start must be an index from 0 to 3, got 4"):
        nearest_order(torch.zeros(1, 4, 3), start=4)
    with pytest.raises(ValueError, match=r"points must have shape \(B, N, C\), got \(4, 3\)"):
        nearest_order(torch.zeros(4, 3))
