import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.ops import (
    drop_points,
    jitter,
    normalize_unit_sphere,
    random_rotate,
    random_scale,
    random_translate,
    rotate,
    rotation_matrix,
    scale,
    translate,
)
from pointinteract.ops.transforms import (
    random_cosine_scale,
    random_gaussian_scale,
    random_tilt,
    shuffle_points,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=20, deadline=None)
@given(angle=st.floats(-7, 7), axis=st.sampled_from("xyz"))
def test_rotation_keeps_distances_and_its_axis(angle, axis):
    points = torch.randn(1, 6, 3, generator=generator(), dtype=torch.float64)

    turned = rotate(points, rotation_matrix(torch.tensor([angle], dtype=torch.float64), axis))

    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(points, points),
                               atol=1e-7, rtol=1e-7)
    kept = "xyz".index(axis)
    torch.testing.assert_close(turned[..., kept], points[..., kept])


def test_rotation_about_y_has_the_published_matrix():
    matrix = rotation_matrix(torch.tensor([0.3]), "y")[0]

    cosine, sine = math.cos(0.3), math.sin(0.3)
    expected = torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    torch.testing.assert_close(matrix, expected)


def test_normalized_clouds_are_centered_in_the_unit_sphere():
    points = torch.randn(3, 50, 5) * 40 + 7

    done = normalize_unit_sphere(points)

    torch.testing.assert_close(done[..., :3].mean(1), torch.zeros(3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(done[..., :3].norm(dim=-1).amax(1), torch.ones(3))
    assert torch.equal(done[..., 3:], points[..., 3:])


def test_a_cloud_of_one_place_is_only_moved():
    done = normalize_unit_sphere(torch.full((1, 4, 3), 5.0))

    assert torch.equal(done, torch.zeros(1, 4, 3))


@pytest.mark.parametrize("change", [
    random_rotate, random_scale, random_translate, jitter, drop_points,
])
def test_random_changes_repeat_with_the_seed_and_spare_further_channels(change, device):
    points = torch.randn(4, 30, 4, generator=generator(5)).to(device)

    first, again, other = (change(points, generator=generator(s)) for s in (1, 1, 2))

    assert torch.equal(first, again) and not torch.equal(first, other)
    if change is not drop_points:
        assert torch.equal(first[..., 3:], points[..., 3:])


def test_limits_of_random_changes_hold():
    points = torch.randn(500, 3, 3)

    factors = random_scale(points, generator=generator()) / points
    assert factors.min() >= 2 / 3 - 1e-4 and factors.max() <= 1.5 + 1e-4
    assert (factors.std(dim=2) > 0).all()  # one factor an axis
    shift = random_translate(points, generator=generator()) - points
    assert shift.abs().max() <= 0.2 + 1e-5
    assert (jitter(points, generator=generator(), sigma=1.0) - points).abs().max() <= 0.0501


def test_one_factor_a_cloud_when_asked():
    points = torch.randn(5, 4, 3)

    factors = random_scale(points, generator=generator(), anisotropic=False) / points

    torch.testing.assert_close(factors, factors[:, :1, :1].expand_as(factors))


def test_dropped_points_become_the_first_one():
    points = torch.randn(20, 100, 3)

    dropped = drop_points(points, generator=generator())

    changed = (dropped != points).any(-1)
    first = points[:, :1].expand_as(points)
    assert changed.any() and torch.equal(dropped[changed], first[changed])


def test_scale_and_translate_use_one_row_a_cloud():
    points = torch.ones(2, 1, 3)

    assert scale(points, torch.tensor([[2.0], [3.0]])).tolist() == [[[2, 2, 2]], [[3, 3, 3]]]
    assert translate(points, torch.tensor([[1.0, 0, 0], [0, 0, 5]])).tolist() == [
        [[2, 1, 1]], [[1, 1, 6]]
    ]
    with pytest.raises(ValueError, match="axis"):
        rotation_matrix(torch.zeros(1), "w")


def test_tilts_turn_a_little_about_every_axis():
    points = torch.randn(400, 20, 3, generator=generator(1))

    tilted = random_tilt(points, generator=generator())

    assert torch.allclose(tilted.norm(dim=-1), points.norm(dim=-1), atol=1e-5)  # rigid
    moved = torch.linalg.lstsq(points, tilted).solution  # (400, 3, 3) rotations
    angles = torch.stack([moved[:, 1, 2], moved[:, 0, 2], moved[:, 0, 1]])
    assert torch.allclose(angles.std(dim=1), torch.full((3,), 0.06), atol=0.01)
    assert angles.abs().max() < 0.23  # each angle is cut at 0.18; they mix a little


def test_gaussian_scales_are_those_of_pointcnn():
    points = torch.ones(5000, 2, 3)

    meant = random_gaussian_scale(points, generator=generator())
    released = random_cosine_scale(points, generator=generator())

    assert torch.equal(meant[:, 0], meant[:, 1])
    assert meant.std(dim=0).sub(0.1).abs().max() < 0.01 and meant.sub(1).abs().max() <= 0.3 + 1e-6
    assert torch.equal(released[..., 1], meant[..., 1])
    cosine = released[:, 0] / meant[:, 0]
    assert torch.allclose(cosine[:, 0], cosine[:, 2], atol=1e-5)  # one angle for x and z
    # The cosine of a uniform angle: mean 0, mean square a half.
    assert cosine[:, 0].mean().abs() < 0.05 and abs(cosine[:, 0].square().mean() - 0.5) < 0.03


def test_shuffling_keeps_the_points_of_each_cloud():
    points = torch.arange(60.0).view(2, 10, 3)

    shuffled = shuffle_points(points, generator=generator())

    assert torch.equal(shuffled.sort(dim=1).values, points)
    order = (shuffled[:, :, 0] - points[:, :1, 0]) / 3
    assert not torch.equal(order[0], order[1])
