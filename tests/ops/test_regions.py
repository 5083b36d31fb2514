"""Regions: cut by spread centers, taken away, the same on every device."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.exceptions import CloudError
from pointinteract.ops.regions import (
    assign_regions,
    mask_regions,
    partition_regions,
    region_centers,
)


@pytest.fixture
def points(device):
    return torch.randn(4, 48, 3, generator=torch.Generator().manual_seed(0)).to(device)


def slow_partition(points, n_regions):
    """One cloud, point by point."""
    points = points.cpu().double().numpy()
    centers = [0]
    while len(centers) < n_regions:
        nearest = [min(((p - points[c]) ** 2).sum() for c in centers) for p in points]
        centers.append(int(np.argmax(nearest)))
    return [int(np.argmin([((p - points[c]) ** 2).sum() for c in centers])) for p in points]


def test_partition_equals_the_slow_version(points):
    regions = partition_regions(points, 6)

    assert regions.dtype == torch.int64 and regions.device == points.device
    for cloud, ids in zip(points, regions, strict=True):
        assert ids.tolist() == slow_partition(cloud, 6)


@given(seed=st.integers(0, 100), n_regions=st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_every_region_is_inhabited_and_holds_its_center(seed, n_regions):
    cloud = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(seed))

    regions = partition_regions(cloud, n_regions)[0]
    centers = region_centers(cloud, n_regions)[0]

    assert sorted(regions.unique().tolist()) == list(range(n_regions))
    assert regions[centers].tolist() == list(range(n_regions))


def test_first_center_is_the_first_point(points):
    assert (region_centers(points, 5)[:, 0] == 0).all()


def test_far_start_ignores_the_order_of_points(points):
    order = torch.randperm(48, generator=torch.Generator().manual_seed(1))

    before = partition_regions(points, 5, start="far")
    after = partition_regions(points[:, order], 5, start="far")

    assert torch.equal(after, before[:, order])


def test_ties_go_to_the_smallest_region():
    # The third point lies exactly between the two centers.
    cloud = torch.tensor([[[0.0, 0, 0], [2, 0, 0], [1, 0, 0]]])

    assert partition_regions(cloud, 2)[0].tolist() == [0, 1, 0]


def test_further_channels_do_not_move_regions(points):
    wide = torch.cat([points, 100 * torch.rand_like(points)], dim=-1)

    assert torch.equal(partition_regions(wide, 5), partition_regions(points, 5))


def test_second_sample_joins_the_same_centers(points):
    centers = points[:, :4]

    regions = assign_regions(points, centers)

    distance = torch.cdist(points, centers)
    assert torch.equal(regions, distance.argmin(dim=2))


def test_too_few_distinct_points_are_refused_with_numbers():
    clouds = torch.randn(3, 8, 3)
    clouds[1, 3:] = clouds[1, 0]

    with pytest.raises(CloudError, match="cloud 1 has 3 distinct points, fewer than n_regions=4"):
        partition_regions(clouds, 4)


def test_exactly_as_many_distinct_points_as_regions_are_enough():
    cloud = torch.randn(1, 3, 3).repeat(1, 4, 1)

    assert sorted(partition_regions(cloud, 3)[0].tolist()) == [0] * 4 + [1] * 4 + [2] * 4


def test_more_regions_than_points_are_refused():
    with pytest.raises(CloudError, match="cloud of 4 points into n_regions=5"):
        partition_regions(torch.randn(1, 4, 3), 5)


def test_unknown_start_is_refused(points):
    with pytest.raises(ValueError, match="'first' or 'far', got 'last'"):
        partition_regions(points, 3, start="last")


def test_masked_points_move_to_the_center_and_kept_ones_stay(points):
    regions = partition_regions(points, 3)
    keep = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])

    masked = mask_regions(points, regions, keep.to(points.device))

    assert masked.shape == (4, 3, 48, 3)
    center = points.mean(dim=1)
    for cloud in range(4):
        for row in range(3):
            for region in range(3):
                inside = masked[cloud, row][regions[cloud] == region]
                original = points[cloud][regions[cloud] == region]
                expected = original if keep[row, region] else center[cloud].expand_as(original)
                assert torch.equal(inside, expected)


def test_region_absence_moves_points_to_the_mean_of_their_region(points):
    regions = partition_regions(points, 4)

    masked = mask_regions(
        points,
        regions,
        torch.zeros(1, 4, dtype=torch.bool, device=points.device),
        absence="region",
    )[:, 0]

    for cloud in range(4):
        for region in range(4):
            inside = regions[cloud] == region
            mean = points[cloud][inside].mean(dim=0)
            torch.testing.assert_close(masked[cloud][inside], mean.expand(int(inside.sum()), 3))


def test_one_cloud_needs_no_batch_axis(points):
    regions = partition_regions(points, 3)
    keep = torch.tensor([[True, False, True]], device=points.device)

    alone = mask_regions(points[1], regions[1], keep)

    assert torch.equal(alone, mask_regions(points, regions, keep)[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"regions": torch.zeros(4, 7, dtype=torch.int64)}, r"got \(4, 7\)"),
        ({"keep": torch.zeros(2, 3)}, "keep must be bool"),
        ({"keep": torch.zeros(2, 2, dtype=torch.bool)}, "from 0 to 1, the columns of keep"),
        ({"absence": "nowhere"}, "center, region, background; got 'nowhere'"),
    ],
)
def test_wrong_masks_are_refused(points, change, message):
    right = {
        "regions": partition_regions(points, 3),
        "keep": torch.ones(2, 3, dtype=torch.bool),
        "absence": "center",
    } | change
    regions, keep = right["regions"].to(points.device), right["keep"].to(points.device)

    with pytest.raises(ValueError, match=message):
        mask_regions(points, regions, keep, absence=right["absence"])
