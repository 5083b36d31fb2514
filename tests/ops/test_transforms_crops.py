"""Boxes that are kept of clouds, or taken out of them; and shifts in extents of the cloud."""

import pytest
import torch

from pointinteract.ops import random_crop, random_cut_out, random_translate

KINDS = [random_crop, random_cut_out]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def clouds():
    """Rods, plates and balls with a fourth channel that numbers the points."""
    points = torch.rand(12, 200, 3, generator=generator(3)) - 0.5
    points[::3, :, 0] *= 9
    points[1::3, :, 2] *= 0.01
    numbers = torch.arange(200.0).expand(12, 200).unsqueeze(-1)
    return torch.cat([points + 4, numbers], dim=-1)


def kept_numbers(points):
    return [sorted({int(n) for n in cloud[:, 3]}) for cloud in points]


@pytest.mark.parametrize("operation", KINDS)
def test_what_is_left_are_points_of_the_cloud_in_their_places(operation, clouds):
    out = operation(clouds, generator=generator(), probability=1.0)

    assert out.shape == clouds.shape
    for cloud, after, numbers in zip(clouds, out, kept_numbers(out), strict=True):
        assert torch.equal(after, cloud[after[:, 3].long()])
        assert 100 <= len(numbers) < 200
        # A kept point keeps its place; those that are gone are filled by copies.
        assert torch.equal(after[numbers], cloud[numbers])


def box_of(cloud, numbers):
    inside = cloud[numbers, :3]
    return inside.amin(dim=0), inside.amax(dim=0)


def test_a_crop_keeps_all_of_a_box_and_nothing_else(clouds):
    out = random_crop(clouds, generator=generator(), probability=1.0)

    for cloud, numbers in zip(clouds, kept_numbers(out), strict=True):
        low, high = box_of(cloud, numbers)
        inside = ((cloud[:, :3] >= low) & (cloud[:, :3] <= high)).all(dim=1)
        assert inside.sum() == len(numbers)


def test_a_cut_out_takes_all_of_a_box_and_nothing_else(clouds):
    out = random_cut_out(clouds, generator=generator(), probability=1.0)

    for cloud, numbers in zip(clouds, kept_numbers(out), strict=True):
        gone = sorted(set(range(200)) - set(numbers))
        low, high = box_of(cloud, gone)
        inside = ((cloud[:, :3] >= low) & (cloud[:, :3] <= high)).all(dim=1)
        assert inside.sum() == len(gone)
        extent = cloud[:, :3].amax(dim=0) - cloud[:, :3].amin(dim=0)
        assert ((high - low) <= 0.6 * extent + 1e-5).all()


def test_boxes_have_the_published_sizes():
    # On a fine line the share that is left is the side of the box.
    line = torch.zeros(600, 400, 3)
    line[..., 0] = torch.linspace(0, 1, 400)

    shares = {
        operation: torch.tensor([
            cloud[:, 0].unique().numel() / 400
            for cloud in operation(line, generator=generator(), probability=1.0, min_ratio=0.0)
        ])
        for operation in KINDS
    }

    crop, rest = shares[random_crop], shares[random_cut_out]
    assert 0.59 < crop.min() < 0.63 and 0.96 < crop.max() < 1  # whole clouds are tried again
    assert 0.39 < rest.min() < 0.43 and 0.67 < rest.max() < 0.71


@pytest.mark.parametrize("operation", KINDS)
def test_half_of_the_clouds_are_left_whole_by_default(operation, clouds):
    many = clouds.repeat(40, 1, 1)

    out = operation(many, generator=generator())

    whole = torch.tensor([len(numbers) == 200 for numbers in kept_numbers(out)])
    assert 0.42 < whole.float().mean() < 0.58
    assert torch.equal(out[whole], many[whole])
    assert torch.equal(operation(clouds, generator=generator(), probability=0.0), clouds)


@pytest.mark.parametrize("operation", KINDS)
def test_clouds_of_which_too_little_would_be_left_stay_whole(operation, clouds):
    for points in (clouds[:, :1], clouds[:, :1].repeat(1, 20, 1)):
        assert torch.equal(operation(points, generator=generator(), probability=1.0), points)
    assert torch.equal(
        operation(clouds, generator=generator(), probability=1.0, min_ratio=1.0), clouds
    )


@pytest.mark.parametrize("operation", KINDS)
def test_same_generator_same_clouds_and_scale_and_place_do_not_matter(operation, clouds):
    first = operation(clouds, generator=generator(1), probability=1.0)
    again = operation(clouds, generator=generator(1), probability=1.0)
    moved = operation(clouds * 4, generator=generator(1), probability=1.0)

    assert torch.equal(first, again)
    assert torch.equal(moved, first * 4)  # a power of two: not even rounding differs
    other = operation(clouds, generator=generator(2), probability=1.0)
    assert not torch.equal(first, other)


def test_relative_shifts_count_in_extents(clouds):
    moved = random_translate(clouds, generator=generator(), limit=0.5, relative=True)
    plain = random_translate(clouds, generator=generator(), limit=0.5)

    extent = clouds[..., :3].amax(dim=1) - clouds[..., :3].amin(dim=1)
    shift = (plain - clouds)[:, 0, :3]
    torch.testing.assert_close((moved - clouds)[:, 0, :3], shift * extent, atol=1e-4, rtol=1e-4)
