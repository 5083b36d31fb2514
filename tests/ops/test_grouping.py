import pytest
import torch

from pointinteract.ops import gather, group, interpolate


def test_gather_looks_up_each_cloud_in_itself(device):
    values = torch.arange(12.0, device=device).view(2, 3, 2)
    index = torch.tensor([[[0, 2]], [[1, 1]]], device=device)

    assert gather(values, index).tolist() == [[[[0, 1], [4, 5]]], [[[8, 9], [8, 9]]]]


def test_groups_are_relative_to_their_centers():
    points = torch.randn(2, 40, 3)

    neighborhoods, centers = group(points, 5, 8)

    assert neighborhoods.shape == (2, 5, 8, 3) and centers.shape == (2, 5, 3)
    assert (neighborhoods[:, :, 0] == 0).all()  # the nearest to a centre is the centre
    placed = neighborhoods + centers.unsqueeze(2)
    distance = (placed.view(2, -1, 1, 3) - points.unsqueeze(1)).square().sum(-1).amin(-1)
    assert distance.max() < 1e-10


def test_further_channels_are_carried_along_unchanged():
    points = torch.randn(1, 20, 5)

    neighborhoods, _ = group(points, 4, 6)

    extra = {tuple(row) for row in points[0, :, 3:].tolist()}
    assert all(tuple(row) in extra for row in neighborhoods[0, ..., 3:].flatten(0, 1).tolist())


def test_clouds_smaller_than_a_group_still_give_full_groups():
    neighborhoods, centers = group(torch.randn(1, 3, 3), 8, 6)

    assert neighborhoods.shape == (1, 3, 6, 3) and centers.shape == (1, 3, 3)
    assert torch.equal(neighborhoods[:, :, 3:], neighborhoods[:, :, :1].expand(-1, -1, 3, -1))


def test_interpolation_returns_the_features_of_a_coinciding_center():
    centers = torch.randn(1, 6, 3)
    features = torch.randn(1, 6, 4)

    spread = interpolate(centers, centers, features)

    torch.testing.assert_close(spread, features, atol=1e-4, rtol=1e-4)


def test_interpolation_of_a_constant_is_that_constant():
    spread = interpolate(torch.randn(2, 9, 3), torch.randn(2, 2, 3), torch.full((2, 2, 1), 7.0))

    torch.testing.assert_close(spread, torch.full((2, 9, 1), 7.0))


def test_disagreeing_shapes_are_refused():
    with pytest.raises(ValueError, match="agree in B and S"):
        interpolate(torch.zeros(1, 4, 3), torch.zeros(1, 2, 3), torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match=r"values must be \(B, N, C\)"):
        gather(torch.zeros(2, 3), torch.zeros(2, 1, dtype=torch.int64))


def test_interpolation_of_half_precision_features_is_single():
    points, features = torch.randn(2, 9, 3), torch.randn(2, 5, 4)

    spread = interpolate(points, points[:, :5], features.bfloat16())

    expected = interpolate(points, points[:, :5], features.bfloat16().float())
    assert torch.equal(spread, expected)
