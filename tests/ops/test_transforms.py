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
