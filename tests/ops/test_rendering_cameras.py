"""Cameras look where they are told to, and projections keep what pictures need."""

import math

import pytest
import torch

from pointinteract.ops.rendering import (
    euler_rotations,
    look_at,
    project_points,
    spherical_views,
    view_rotations,
)


def random_angles(n=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    azimuth = 720 * torch.rand(n, generator=generator, dtype=torch.float64) - 360
    elevation = 270 * torch.rand(n, generator=generator, dtype=torch.float64) - 135
    return azimuth, elevation


@pytest.mark.parametrize("up", ["z", "y"])
def test_cameras_face_the_origin_and_stand_upright(up):
    azimuth, elevation = random_angles()

    cameras = look_at(azimuth, elevation, up=up, upright=True)

    a, e = azimuth.deg2rad(), elevation.deg2rad()
    direction = torch.stack([a.cos() * e.cos(), a.sin() * e.cos(), e.sin()], dim=1)
    vertical = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    if up == "y":
        direction, vertical = direction[:, [1, 2, 0]], vertical[[1, 2, 0]]
    # The textbook's look-at: right is across the vertical and the way to the camera.
    right = torch.nn.functional.normalize(torch.linalg.cross(vertical.expand(20, 3), direction))
    torch.testing.assert_close(cameras[:, 2], direction)
    torch.testing.assert_close(cameras[:, 0], right)
    torch.testing.assert_close(cameras[:, 1], torch.linalg.cross(direction, right))
    assert (cameras[:, 1] @ vertical > 0).all()


def test_camera_beyond_a_pole_hangs_upside_down_unless_upright():
    azimuth = torch.tensor([10.0, 10.0])
    elevation = torch.tensor([60.0, 120.0])

    hanging, upright = (look_at(azimuth, elevation, upright=u) for u in (False, True))

    turned = torch.tensor([-1.0, -1.0, 1.0])[:, None]
    torch.testing.assert_close(upright[0], hanging[0])
    torch.testing.assert_close(upright[1], turned * hanging[1])


def test_look_at_agrees_with_view_rotations():
    azimuth, elevation = random_angles()

    found = look_at(azimuth, elevation, up="y").float()

    expected = view_rotations(azimuths=azimuth.tolist(), elevations=elevation.tolist(), up="y")
    assert torch.equal(found, expected)


def test_angles_have_gradients():
    angles = [a.requires_grad_() for a in random_angles(n=4)]

    assert torch.autograd.gradcheck(lambda a, e: look_at(a, e, up="y", upright=True), angles)
    assert torch.autograd.gradcheck(euler_rotations, torch.stack(angles[:1] * 3, dim=-1))


def test_euler_rotations_are_products_of_the_three():
    x, y, z = 0.3, -1.1, 2.5

    def turn(axis, angle):
        c, s = math.cos(angle), math.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[i, i] = matrix[j, j] = c
        matrix[i, j], matrix[j, i] = -s, s
        return matrix

    found = euler_rotations(torch.tensor([x, y, z], dtype=torch.float64))

    torch.testing.assert_close(found, turn(0, x) @ turn(1, y) @ turn(2, z))


@pytest.mark.parametrize(
    ("n_views", "rings"),
    [
        (1, {0.0: 1}),
        (4, {30.0: 4}),
        (6, {-45.0: 3, 45.0: 3}),
        (8, {-60.0: 2, 0.0: 4, 60.0: 2}),
        (12, {-60.0: 3, 0.0: 6, 60.0: 3}),
    ],
)
def test_spherical_views_stand_in_rings(n_views, rings):
    azimuth, elevation = spherical_views(n_views)

    assert azimuth.shape == elevation.shape == (n_views,)
    found = {round(e, 4): 0 for e in elevation.tolist()}
    for e in elevation.tolist():
        found[round(e, 4)] += 1
    assert found == rings
    pairs = set(zip(azimuth.tolist(), elevation.tolist(), strict=True))
    assert len(pairs) == n_views


@pytest.mark.parametrize("n_views", range(1, 30))
def test_there_are_as_many_spherical_views_as_asked_for(n_views):
    assert len(spherical_views(n_views)[0]) == n_views


@pytest.mark.parametrize("perspective", [False, True])
def test_projection_equals_the_textbook(perspective):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 9, 3, generator=generator, dtype=torch.float64)
    cameras = look_at(*random_angles(n=6)).view(2, 3, 3, 3)

    plane, depth = project_points(points, cameras, distance=5.0, perspective=perspective)

    for b in range(2):
        for v in range(3):
            turned = points[b] @ cameras[b, v].T
            away = 5.0 - turned[:, 2]
            expected = turned[:, :2] / away[:, None] if perspective else turned[:, :2]
            torch.testing.assert_close(depth[b, v], away)
            torch.testing.assert_close(plane[b, v], expected)
    shared = project_points(points, cameras[0], distance=5.0, perspective=perspective)
    torch.testing.assert_close(shared[0][0], plane[0])


def test_points_behind_a_pinhole_appear_nowhere_and_leave_no_trace_in_gradients():
    points = torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, 3.0], [0.1, 0.1, 0.0]]])
    points.requires_grad_()

    plane, depth = project_points(points, torch.eye(3)[None], distance=2.0, perspective=True)
    (plane[0, 0, 2].sum() + depth.sum()).backward()

    assert torch.isinf(plane[0, 0, :2]).all()
    assert depth[0, 0].tolist() == [0.0, -1.0, 2.0]
    assert torch.isfinite(points.grad).all()


def test_autocast_leaves_places_alone():
    points = torch.randn(1, 9, 3, generator=torch.Generator().manual_seed(0))
    cameras = view_rotations(3)
    expected = project_points(points, cameras)

    with torch.autocast("cpu", torch.bfloat16):
        found = project_points(points, cameras)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: look_at(torch.zeros(2), torch.zeros(3)), r"one shape, got \(2,\) and \(3,\)"),
        (lambda: look_at(torch.zeros(2), torch.zeros(2), up="x"), "up must be one of"),
        (lambda: euler_rotations(torch.zeros(2)), r"\(\.\.\., 3\), got \(2,\)"),
        (lambda: spherical_views(0), "n_views must be at least 1"),
        (
            lambda: project_points(torch.zeros(4, 3), torch.zeros(1, 3, 3)),
            r"\(B, N, 3\), got \(4, 3\)",
        ),
        (
            lambda: project_points(torch.zeros(1, 4, 3), torch.zeros(3, 3)),
            r"\(B, V, 3, 3\), got \(3, 3\)",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
