"""Depth pictures show the nearest surface from where the camera stands."""

import numpy as np
import pytest
import torch

from pointinteract.ops.rendering import render_depth, view_rotations


def random_clouds(n_clouds: int = 3, n_points: int = 40, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(n_clouds, n_points, 3, generator=generator)
    return points / points.norm(dim=2).amax(dim=1)[:, None, None]


def slow_pictures(points, rotations, size, radius, distance=None):
    """Draw every point as a square, one after the other."""
    pictures = np.zeros((len(points), len(rotations), size, size))
    for b, cloud in enumerate(points.numpy()):
        for v, rotation in enumerate(rotations.numpy()):
            for point in cloud:
                x, y, z = rotation @ point
                if distance is not None:
                    zoom = np.sqrt(distance**2 - 1) / (distance - z)
                    x, y = x * zoom, y * zoom
                if max(abs(x), abs(y), abs(z)) > 1:
                    continue
                column = min(int((x + 1) / 2 * size), size - 1)
                row = min(int((1 - y) / 2 * size), size - 1)
                picture = pictures[b, v]
                rows = slice(max(row - radius, 0), row + radius + 1)
                columns = slice(max(column - radius, 0), column + radius + 1)
                brightness = 0.2 + 0.8 * (z + 1) / 2
                picture[rows, columns] = np.maximum(picture[rows, columns], brightness)
    return pictures


@pytest.mark.parametrize("radius", [0, 1, 2])
@pytest.mark.parametrize("distance", [None, 2.5])
def test_pictures_equal_those_drawn_point_by_point(radius, distance, device):
    points = random_clouds()
    rotations = view_rotations(4, poles=True)

    pictures = render_depth(
        points.to(device), rotations=rotations, size=15, radius=radius, distance=distance
    )

    expected = slow_pictures(points, rotations, 15, radius, distance)
    # A point on the border of two pixels may fall either way in another precision.
    differs = np.abs(pictures.cpu().numpy() - expected) > 1e-5
    assert pictures.shape == (3, 4, 15, 15)
    assert pictures.device.type == device.type
    assert differs.mean() < 0.005


def test_point_order_does_not_matter_to_the_last_bit():
    points = random_clouds()
    shuffled = points[:, torch.randperm(40, generator=torch.Generator().manual_seed(1))]

    assert torch.equal(render_depth(points), render_depth(shuffled))


def test_nearest_point_hides_those_behind():
    points = torch.tensor([[[0.5, 0.0, 0.0], [-0.5, 0.0, 0.0]]])

    front, back = render_depth(
        points, rotations=view_rotations(2, elevation=0.0), size=9, radius=0
    )[0]

    assert front[4, 4] == pytest.approx(0.2 + 0.8 * 0.75)
    assert back[4, 4] == pytest.approx(0.2 + 0.8 * 0.75)
    assert (front > 0).sum() == 1


def test_top_of_the_object_is_at_the_top_of_the_picture():
    points = torch.tensor([[[0.0, 0.0, 0.9]]])

    picture = render_depth(points, n_views=1, elevation=0.0, size=10, radius=0)[0, 0]

    assert (picture > 0).nonzero().tolist() == [[0, 5]]


def test_y_up_cloud_looks_like_the_same_cloud_z_up():
    points = random_clouds()

    z_up = render_depth(points, n_views=5, poles=True, up="z")
    y_up = render_depth(points[:, :, [1, 2, 0]], n_views=5, poles=True, up="y")

    assert (z_up != y_up).float().mean() < 0.01


def test_turning_the_cloud_is_turning_the_camera():
    points = random_clouds()
    turned = points[:, :, [1, 0, 2]] * torch.tensor([-1.0, 1.0, 1.0])  # a quarter about z

    pictures = render_depth(points, n_views=4, size=16)
    of_turned = render_depth(turned, n_views=4, size=16)

    assert (pictures.roll(1, dims=1) - of_turned).abs().gt(1e-4).float().mean() < 0.01


def test_rotations_are_rotations_of_the_directions_asked_for():
    rotations = view_rotations(azimuths=[0.0, 90.0, 30.0], elevations=[0.0, 0.0, 90.0])

    identity = torch.eye(3).expand(3, 3, 3)
    assert torch.allclose(rotations @ rotations.mT, identity, atol=1e-6)
    assert torch.allclose(torch.linalg.det(rotations), torch.ones(3), atol=1e-6)
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert torch.allclose(rotations[:, 2], expected, atol=1e-6)
    assert torch.allclose(rotations[0, 1], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)


def test_points_outside_or_not_finite_are_not_drawn():
    nan, infinite = float("nan"), float("inf")
    points = torch.tensor([[[2.0, 0, 0], [0, 0, -1.5], [nan, 0, 0], [0, infinite, 0]]])

    pictures = render_depth(points, n_views=4, poles=True)

    assert torch.equal(pictures, torch.zeros_like(pictures))


def test_values_are_background_or_between_far_and_near():
    pictures = render_depth(random_clouds())

    assert pictures.dtype == torch.float32
    drawn = pictures[pictures > 0]
    assert 0.2 <= drawn.min() and drawn.max() <= 1.0


def test_brightness_carries_gradients_to_the_points():
    points = random_clouds().requires_grad_()

    render_depth(points, n_views=2, size=8).sum().backward()

    assert points.grad.abs().sum() > 0


def test_extent_zooms_out():
    points = random_clouds()

    assert torch.equal(render_depth(points * 4, extent=4.0), render_depth(points))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": torch.zeros(4, 3)}, r"\(B, N, 3\), got \(4, 3\)"),
        ({"points": torch.zeros(1, 4, 2)}, r"\(B, N, 3\), got \(1, 4, 2\)"),
        ({"size": 0}, "size must be at least 1"),
        ({"radius": -1}, "radius must be at least 0"),
        ({"distance": 0.5}, "distance must be in"),
        ({"up": "x"}, "up must be one of"),
        ({"n_views": 2, "poles": True}, "n_views must be at least 3"),
        ({"rotations": torch.zeros(3, 3)}, r"\(V, 3, 3\), got \(3, 3\)"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        render_depth(**{"points": torch.zeros(1, 4, 3), **arguments})


def test_uneven_lists_of_angles_are_refused():
    with pytest.raises(ValueError, match="of one length"):
        view_rotations(azimuths=[0.0, 1.0], elevations=[0.0])
    with pytest.raises(ValueError, match="without azimuths"):
        view_rotations(elevations=[0.0])
