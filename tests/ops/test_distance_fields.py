import math

import pytest
import torch
import torch.nn.functional as F

from pointinteract.datasets import make_shapes
from pointinteract.ops import (
    estimate_normals,
    level_crossings,
    signed_distance,
    surface_distance,
    winding_number,
)
from pointinteract.ops.distance_fields import disk_areas


@pytest.fixture(scope="module")
def sphere():
    generator = torch.Generator().manual_seed(0)
    return F.normalize(torch.randn(2, 600, 3, generator=generator), dim=2)


@pytest.fixture(scope="module")
def places():
    return 2.2 * torch.rand(2, 200, 3, generator=torch.Generator().manual_seed(1)) - 1.1


@pytest.fixture(scope="module")
def box():
    """Points of the surface of the cube [-0.5, 0.5]^3 and their normals, on a grid."""
    line = (torch.arange(12) + 0.5) / 12 - 0.5
    u, v = (part.flatten() for part in torch.meshgrid(line, line, indexing="ij"))
    points, normals = [], []
    for axis in range(3):
        for side in (-0.5, 0.5):
            face = torch.stack([u, v, v], dim=1)
            face[:, [i for i in range(3) if i != axis]] = torch.stack([u, v], dim=1)
            face[:, axis] = side
            points.append(face)
            normals.append(torch.eye(3)[axis].mul(2 * side).expand_as(face))
    return torch.cat(points)[None], torch.cat(normals)[None]


# Normals ---------------------------------------------------------------------------------------


def test_normals_of_a_sphere_point_outwards(sphere):
    normals = estimate_normals(3 * sphere + 5)

    torch.testing.assert_close(normals.norm(dim=2), torch.ones(2, 600))
    assert (normals * sphere).sum(2).min() > 0.95


def test_normals_of_a_box_are_those_of_its_faces(box):
    points, normals = box

    agreement = (estimate_normals(points, k=9) * normals).sum(2)

    assert (agreement > 0.99).float().mean() > 0.6 and (agreement > 0).float().mean() > 0.99


def test_normals_turn_with_the_cloud_and_follow_its_order(sphere):
    cloud = sphere * torch.tensor([1.0, 0.7, 0.4])
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(2)))[0]
    order = torch.randperm(600, generator=torch.Generator().manual_seed(3))
    normals = estimate_normals(cloud)

    turned = estimate_normals(cloud @ matrix)
    shuffled = estimate_normals(cloud[:, order])

    assert ((turned * (normals @ matrix)).sum(2) > 0.999).float().mean() > 0.98
    assert ((shuffled * normals[:, order]).sum(2) > 0.999).float().mean() > 0.98


def test_most_normals_of_vessels_point_outwards():
    shapes = make_shapes(6, n_points=512, classes=["bottle", "lamp"], random_state=0)

    found = estimate_normals(torch.from_numpy(shapes.data))

    agreement = (found * torch.from_numpy(shapes.normals)).sum(2)
    assert (agreement > 0).float().mean() > 0.9


@pytest.mark.parametrize("n_points", [1, 2, 3])
def test_clouds_of_hardly_any_points_have_some_normals(n_points):
    normals = estimate_normals(torch.randn(2, n_points, 3))

    torch.testing.assert_close(normals.norm(dim=2), torch.ones(2, n_points))


# Distances -------------------------------------------------------------------------------------


def test_areas_add_up_to_the_surface(sphere, box):
    assert disk_areas(sphere).sum(1).mean() == pytest.approx(4 * math.pi, rel=0.1)
    torch.testing.assert_close(disk_areas(2 * box[0]), 4 * disk_areas(box[0]))
    assert torch.equal(disk_areas(torch.ones(1, 1, 3)), torch.zeros(1, 1))


def test_without_normals_it_is_the_distance_to_the_nearest_point(sphere, places):
    expected = (places.unsqueeze(2) - sphere.unsqueeze(1)).norm(dim=3).amin(2)

    torch.testing.assert_close(surface_distance(places, sphere), expected)


def test_disks_fill_the_gaps_between_points(sphere, places):
    true = (places.norm(dim=2) - 1).abs()

    by_disks = (surface_distance(places, sphere, sphere) - true).abs().mean()
    by_points = (surface_distance(places, sphere) - true).abs().mean()

    assert by_disks < 0.01 and by_disks < by_points / 2


def test_signs_of_normals_do_not_matter_to_the_amount(sphere, places):
    flipped = sphere * torch.where(torch.arange(600) % 2 == 0, 1.0, -1.0).view(1, -1, 1)

    torch.testing.assert_close(
        surface_distance(places, sphere, flipped), surface_distance(places, sphere, sphere)
    )


def test_distance_has_slope_one_away_from_the_surface(sphere):
    places = (0.5 * sphere[:, :50]).requires_grad_()

    surface_distance(places, sphere, sphere).sum().backward()

    torch.testing.assert_close(places.grad.norm(dim=2), torch.ones(2, 50), atol=0.02, rtol=0)


def test_a_surface_goes_once_around_what_is_inside(sphere, places, box):
    radius = places.norm(dim=2)
    number = winding_number(places, sphere, sphere)

    assert (number[radius < 0.8] - 1).abs().max() < 0.15
    assert number[radius > 1.2].abs().max() < 0.15
    assert winding_number(places, sphere, -sphere)[radius < 0.8].max() < -0.85
    assert winding_number(0.3 * places[:1], *box).min() > 0.85


def test_signed_distance_of_a_box_is_the_true_one(box):
    line = torch.linspace(-0.9, 0.9, 9)
    places = torch.cartesian_prod(line, line, line)[None]
    outside = (places.abs() - 0.5).clamp_min(0).norm(dim=2)
    true = outside + (places.abs().amax(2) - 0.5).clamp_max(0)

    found = signed_distance(places, *box)

    assert ((found < 0) == (true < 0)).float().mean() > 0.99
    assert (found - true).abs().mean() < 0.02


def test_distances_grow_with_the_cloud_and_move_with_it(sphere, places):
    reference = signed_distance(places, sphere, sphere)

    moved = signed_distance(3 * places + 2, 3 * sphere + 2, sphere)

    torch.testing.assert_close(moved, 3 * reference, atol=1e-3, rtol=1e-3)


def test_wrong_shapes_are_named(sphere):
    with pytest.raises(ValueError, match=r"queries must have shape \(B, N, 3\), got \(5, 3\)"):
        surface_distance(torch.zeros(5, 3), sphere)
    with pytest.raises(ValueError, match="must agree in B and C"):
        winding_number(torch.zeros(1, 4, 3), sphere, sphere)


# Crossings -------------------------------------------------------------------------------------


def test_crossings_of_a_linear_field_lie_on_its_plane():
    axis = torch.linspace(-1, 1, 6)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")

    points = level_crossings(x + 2 * y - 3 * z - 0.1, axis)

    assert points.shape[1] == 3 and len(points) > 50
    height = points @ torch.tensor([1.0, 2.0, -3.0]) - 0.1
    torch.testing.assert_close(height, torch.zeros(len(points)), atol=1e-5, rtol=0)


def test_each_crossing_stands_on_an_edge_of_the_grid():
    axis = torch.linspace(-1.5, 1.5, 9)
    grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)

    points = level_crossings(grid.norm(dim=3) - 1, axis)

    on_grid = ((points.unsqueeze(2) - axis).abs().amin(2) < 1e-5).sum(1)
    assert (on_grid >= 2).all() and ((points.norm(dim=1) - 1).abs() < 0.1).all()
    assert level_crossings(grid.norm(dim=3) + 1, axis).shape == (0, 3)
    with pytest.raises(ValueError, match=r"values must be \(R, R, R\)"):
        level_crossings(torch.zeros(3, 3), axis)
