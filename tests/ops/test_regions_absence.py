"""Absence: what points become, and masked clouds written in fewer points."""

import pytest
import torch

from pointinteract.exceptions import CloudError
from pointinteract.ops.regions import (
    absent_points,
    keep_points,
    mask_regions,
    merge_points,
    partition_regions,
    resample_index,
    sphere_background,
    spread_background,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def points(device):
    return torch.randn(3, 20, 3, generator=generator()).to(device)


def test_sphere_is_as_large_as_the_cloud(points):
    cloud = 2 * points + 5

    sphere = sphere_background(cloud, generator=generator())

    middle = cloud.mean(dim=1, keepdim=True)
    wanted = (cloud - middle).square().sum(-1).mean(-1).sqrt()
    radii = (sphere - middle).norm(dim=-1)
    torch.testing.assert_close(radii, wanted[:, None].expand_as(radii))


def test_sphere_has_no_preferred_direction():
    sphere = sphere_background(torch.randn(1, 4000, 3), generator=generator())[0]
    direction = torch.nn.functional.normalize(sphere - sphere.mean(dim=0), dim=1)

    second_moment = direction.T @ direction / len(direction)

    torch.testing.assert_close(second_moment, torch.eye(3) / 3, atol=0.03, rtol=0)


def test_further_channels_of_the_sphere_are_the_mean():
    cloud = torch.randn(1, 20, 5, generator=generator())

    sphere = sphere_background(cloud, generator=generator())

    torch.testing.assert_close(sphere[..., 3:], cloud[..., 3:].mean(1, True).expand(1, 20, 2))


@pytest.mark.parametrize(("n_background", "n_points"), [(5, 12), (12, 12), (30, 12)])
def test_background_is_used_evenly(n_background, n_points):
    background = torch.arange(3.0 * n_background).view(n_background, 3)

    laid_out = spread_background(background, n_points, generator=generator())

    _, counts = torch.unique(laid_out, dim=0, return_counts=True)
    assert laid_out.shape == (n_points, 3)
    assert len(counts) == min(n_background, n_points)
    assert int(counts.max() - counts.min()) <= 1


def test_background_without_points_is_refused():
    with pytest.raises(CloudError, match=r"at least one point, got \(0, 3\)"):
        spread_background(torch.zeros(0, 3), 4, generator=generator())


def test_masked_points_become_their_background_points(points):
    regions = partition_regions(points, 3)
    keep = torch.tensor([[True, False, False]], device=points.device)
    background = points.flip(1) + 9

    masked = mask_regions(points, regions, keep, absence="background", background=background)

    kept = (regions == 0)[..., None]
    assert torch.equal(masked[:, 0], torch.where(kept, points, background))


@pytest.mark.parametrize("background", [None, torch.zeros(7, 3), torch.zeros(20, 4)])
def test_background_must_go_with_the_points(points, background):
    regions = partition_regions(points, 3)

    with pytest.raises(CloudError, match="one point for each of the 20 points, with their 3"):
        absent_points(points, regions, 3, absence="background", background=background)


def test_copies_are_of_kept_points_and_the_same_every_time(device):
    kept = (torch.rand(40, 20, generator=generator(1)) < 0.4).to(device)
    kept[0] = False
    draws = torch.rand(20, generator=generator(2)).to(device)

    index = resample_index(kept, draws)

    own = torch.arange(20, device=device)
    assert (index[0] == 20).all()
    for row, places in zip(kept[1:], index[1:], strict=True):
        members = row.nonzero()[:, 0]
        expected = members[(draws.double() * len(members)).long()]
        assert torch.equal(places, torch.where(row, own, expected))
    for row in range(40):
        assert torch.equal(resample_index(kept[row : row + 1], draws)[0], index[row])


def test_a_draw_that_was_rounded_up_to_one_takes_the_last_kept_point(device):
    kept = torch.tensor([[True, True, False], [False, True, False]], device=device)

    index = resample_index(kept, torch.ones(3, device=device))

    assert index.tolist() == [[0, 1, 1], [1, 1, 1]]


def test_kept_points_come_in_their_order(points):
    kept = torch.tensor([[i % 2 == 0 for i in range(20)], [i < 10 for i in range(20)]])

    left = keep_points(points[0], kept.to(points.device))

    assert torch.equal(left, torch.stack([points[0, ::2], points[0, :10]]))


@pytest.mark.parametrize(("sizes", "message"), [((3, 4), "got 3 to 4"), ((0, 0), "got 0 to 0")])
def test_only_equal_and_positive_numbers_can_be_kept(points, sizes, message):
    kept = torch.tensor([[i < size for i in range(20)] for size in sizes])

    with pytest.raises(ValueError, match=message):
        keep_points(points[0], kept.to(points.device))


def test_merged_cloud_is_kept_then_absent_then_padding(points):
    cloud, absent = points[0, :4], points[1, :2]
    kept = torch.tensor([[True, False, True, True], [False, True, False, False]])
    absent_counts = torch.tensor([[0, 1], [1, 2]])

    merged, counts = merge_points(
        cloud, kept.to(points.device), absent, absent_counts.to(points.device)
    )

    assert counts.tolist() == [[1, 1, 1, 1], [1, 1, 2, 0]]
    assert torch.equal(merged[0], torch.stack([cloud[0], cloud[2], cloud[3], absent[1]]))
    assert torch.equal(merged[1, :3], torch.stack([cloud[1], absent[0], absent[1]]))
    torch.testing.assert_close(merged[1, 3], cloud.mean(dim=0))


def test_merging_nothing_gives_nothing(points):
    none = torch.zeros(0, 20, dtype=torch.bool, device=points.device)

    merged, counts = merge_points(points[0], none, points[1, :1], none[:, :1].long())

    assert merged.shape == (0, 0, 3) and counts.shape == (0, 0)


@pytest.mark.parametrize(
    ("kept", "absent_counts", "message"),
    [((2, 19), (2, 1), r"shape \(S, 20\)"), ((2, 20), (2, 3), r"shape \(2, 1\), got \(2, 3\)")],
)
def test_wrong_shapes_are_refused(points, kept, absent_counts, message):
    with pytest.raises(ValueError, match=message):
        merge_points(
            points[0],
            torch.zeros(kept, dtype=torch.bool),
            points[1, :1],
            torch.zeros(absent_counts, dtype=torch.int64),
        )
