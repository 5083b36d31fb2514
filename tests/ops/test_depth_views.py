"""Depth pictures of published systems, held against their formulas written out slowly."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointinteract.ops.depth_views import disc_depth_views, harmonic_depth_views, side_cameras

QUARTERS = [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, -1, 1), (0, 1, 1)]


def ball(n_clouds=2, n_points=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n_clouds, n_points, 3, generator=generator)
    return points / points.norm(dim=2).amax(dim=1)[:, None, None]


def turn(axis, angle):
    c, s = math.cos(angle), math.sin(angle)
    return np.array({
        0: [[1, 0, 0], [0, c, -s], [0, s, c]],
        1: [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        2: [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis])  # fmt: skip


def slow_harmonic(cloud, size, distance):
    """Point by point, as the specification of PointCLIP has it."""
    pictures = np.zeros((6, size, size))
    for view, quarters in enumerate(QUARTERS):
        matrix = np.eye(3)
        for axis, quarter in enumerate(quarters):
            matrix = matrix @ turn(axis, quarter * math.pi / 2)
        turned = cloud.astype(np.float64) @ matrix.T
        inverse, count = np.zeros((size, size)), np.zeros((size, size))
        for x, y, z in turned:
            z += distance
            row = math.ceil((x / z + 1) * size / 2 - 0.5)
            column = math.ceil((y / z + 1) * size / 2 - 0.5)
            inverse[row, column] += 1 / z
            count[row, column] += 1
        pictures[view] = np.where(count > 0, count / np.where(count > 0, inverse, 1), 0)
    return pictures


def test_harmonic_pictures_are_those_of_the_formula():
    points = ball()

    pictures = harmonic_depth_views(points, side_cameras(6), size=24, shown_size=24)

    expected = np.stack([slow_harmonic(cloud, 24, 1.6) for cloud in points.numpy()])
    # A point on the border of two pixels may fall into the other one.
    assert np.isclose(pictures.numpy(), expected, atol=1e-5).mean() > 0.999


def test_harmonic_pictures_are_blown_up_with_corners_on_corners():
    small = harmonic_depth_views(ball(), side_cameras(6), size=24, shown_size=24)

    large = harmonic_depth_views(ball(), side_cameras(6), size=24, shown_size=47)

    # 46 steps over 23: every second pixel is one of before.
    torch.testing.assert_close(large[..., ::2, ::2], small)
    expected = F.interpolate(small, size=47, mode="bilinear", align_corners=True)
    torch.testing.assert_close(large, expected)


def test_cameras_of_a_z_up_cloud_see_what_those_of_the_y_up_one_see():
    points = ball()

    y_up = harmonic_depth_views(points[..., [1, 2, 0]], side_cameras(10), size=24)
    z_up = harmonic_depth_views(points, side_cameras(10, up="z"), size=24)

    torch.testing.assert_close(y_up, z_up)


def test_up_is_up_in_the_first_four_and_the_last_four_pictures():
    tip = torch.tensor([[[0.0, 0.0, 0.9], [0.0, 0.0, -0.1]]])

    pictures = harmonic_depth_views(tip, side_cameras(10, up="z"), size=32, shown_size=32)[0]

    for view in [0, 1, 2, 3, 6, 7, 8, 9]:
        rows = pictures[view].nonzero()[:, 0]
        assert rows.min() < 10 and rows.max() < 20
    assert side_cameras(10).shape == (10, 3, 3)
    unit = side_cameras(10) @ side_cameras(10).mT
    torch.testing.assert_close(unit, torch.eye(3).expand(10, 3, 3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("up", ["y", "z"])
def test_only_cameras_that_are_not_mirrored_are_rotations(up):
    mirrored = side_cameras(10, up=up)
    plain = side_cameras(10, up=up, mirrored=False)

    torch.testing.assert_close(torch.linalg.det(mirrored), -torch.ones(10))
    torch.testing.assert_close(torch.linalg.det(plain), torch.ones(10))
    torch.testing.assert_close(mirrored[:, 1:], plain[:, 1:])


def test_discs_run_from_zero_at_the_nearest_to_200_of_255_at_the_farthest():
    points = ball(n_points=200)

    pictures = disc_depth_views(points, side_cameras(6, up="z"), size=48, radius=0.05)

    assert pictures.shape == (2, 6, 48, 48)
    drawn = pictures < 1
    assert pictures.amin(dim=(2, 3)).abs().max() == 0
    farthest = torch.where(drawn, pictures, 0.0).amax(dim=(2, 3))
    torch.testing.assert_close(farthest, torch.full((2, 6), 200 / 255))
    assert 0.05 < drawn.float().mean() < 0.9


def test_discs_show_the_nearest_point_and_zoom_with_the_distance():
    camera = side_cameras(1, up="z")
    toward = camera[0, 2]
    behind = torch.stack([0.9 * toward, -0.5 * toward, 0.5 * camera[0, 0] - 0.9 * toward])[None]

    picture = disc_depth_views(behind, camera, size=41, radius=0.1)[0, 0]
    near = disc_depth_views(behind, camera, size=41, radius=0.1, distance=torch.tensor([[0.8]]))

    assert picture[20, 20] == 0  # the middle shows the point in front, not the one behind it
    columns = [(p < 1).nonzero()[:, 1].float().max() - 20 for p in (picture, near[0, 0])]
    assert columns[0] == pytest.approx(12, abs=1) and columns[1] == pytest.approx(15, abs=1)


def test_pictures_of_one_point_and_of_none_in_sight_are_finite():
    far = torch.full((1, 4, 3), 9.0)

    for points in (torch.zeros(1, 1, 3), far):
        assert disc_depth_views(points, side_cameras(6), size=16).isfinite().all()
        assert harmonic_depth_views(points, side_cameras(6), size=16).isfinite().all()


def test_unfit_input_is_named():
    with pytest.raises(ValueError, match="n_views must be from 1 to 10"):
        side_cameras(11)
    with pytest.raises(ValueError, match="up must be one of"):
        side_cameras(6, up="x")
    with pytest.raises(ValueError, match=r"distance must be \(2, 6\)"):
        disc_depth_views(ball(), side_cameras(6), distance=torch.ones(6))
