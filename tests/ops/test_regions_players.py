"""Players: every way of cutting gives each point a region and leaves no region empty."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.exceptions import CloudError
from pointinteract.ops import farthest_point_sample, gather
from pointinteract.ops.regions import (
    kmeans_regions,
    partition_regions,
    patch_regions,
    voxel_regions,
)


def sample(seed, n_clouds=2, n_points=30):
    return torch.randn(n_clouds, n_points, 3, generator=torch.Generator().manual_seed(seed))


def centers_of(points, n_patches=12):
    # The first point of a cloud depends on its order; the farthest from the mean does not.
    return gather(points, farthest_point_sample(points, n_patches, start="far"))


def cut_by_patches(points, n_regions, start="far"):
    return patch_regions(points, centers_of(points), n_regions, start=start)[0]


WAYS = {
    "fps": lambda points, n: partition_regions(points, n, start="far"),
    "kmeans": lambda points, n: kmeans_regions(points, n, start="far"),
    "voxels": voxel_regions,
    "patches": cut_by_patches,
}


def spread_within(points, regions):
    """Mean squared distance of points to the mean of their region."""
    spread = 0.0
    for region in regions.unique():
        inside = points[regions == region]
        spread += float((inside - inside.mean(dim=0)).square().sum())
    return spread / len(points)


@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 1000), n_regions=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_every_point_has_a_region_and_every_region_a_point(way, seed, n_regions):
    points = sample(seed)

    regions = WAYS[way](points, n_regions)

    assert regions.shape == (2, 30) and regions.dtype == torch.int64
    for ids in regions:
        assert ids.unique().tolist() == list(range(n_regions))


@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_order_of_points_does_not_matter_from_the_far_start(way, seed):
    points = sample(seed)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed + 1))

    before, after = WAYS[way](points, 5), WAYS[way](points[:, order], 5)

    assert torch.equal(after, before[:, order])


@pytest.mark.parametrize("way", WAYS)
def test_clouds_of_a_batch_are_cut_as_alone(way):
    points = sample(0, n_clouds=4)

    together = WAYS[way](points, 6)

    alone = torch.cat([WAYS[way](cloud[None], 6) for cloud in points])
    assert torch.equal(together, alone)


@pytest.mark.parametrize("way", WAYS)
def test_points_may_repeat_as_long_as_enough_are_different(way):
    points = sample(3, n_clouds=1, n_points=6).repeat(1, 5, 1)

    if way == "patches":
        regions = patch_regions(points, points[:, :6], 6)[0]
    else:
        regions = WAYS[way](points, 6)

    assert regions[0].view(5, 6).eq(regions[0, :6]).all()
    assert regions[0].unique().tolist() == list(range(6))


@pytest.mark.parametrize("way", ["fps", "kmeans", "voxels"])
def test_too_few_different_points_are_refused(way):
    points = sample(0, n_clouds=2, n_points=8)
    points[1, 3:] = points[1, 0]

    with pytest.raises(CloudError, match="cloud 1 has 3 .*fewer than n_regions=4"):
        WAYS[way](points, 4)


@pytest.mark.parametrize("way", ["fps", "kmeans", "voxels"])
@pytest.mark.parametrize("n_regions", [0, 9])
def test_more_regions_than_points_are_refused(way, n_regions):
    with pytest.raises(CloudError, match=f"8 points into n_regions={n_regions}.*from 1 to 8"):
        WAYS[way](sample(0, n_points=8), n_regions)


@pytest.mark.parametrize("way", ["fps", "kmeans", "voxels"])
def test_coordinates_that_are_no_numbers_are_refused(way):
    points = sample(0)
    points[1, 7, 1] = float("nan")

    with pytest.raises(CloudError, match="cloud 1 has points that are not finite"):
        WAYS[way](points, 4)


@pytest.mark.parametrize("way", ["fps", "kmeans", "voxels"])
def test_numbers_of_regions_are_whole(way):
    with pytest.raises(TypeError, match="n_regions must be an integer, got 4.0"):
        WAYS[way](sample(0), 4.0)


def test_kmeans_is_where_lloyds_steps_end():
    points = sample(5, n_clouds=3, n_points=60)

    regions = kmeans_regions(points, 5, n_steps=500)

    for cloud, ids in zip(points.double(), regions, strict=True):
        means = torch.stack([cloud[ids == region].mean(dim=0) for region in range(5)])
        assert torch.equal(torch.cdist(cloud, means).argmin(dim=1), ids)


def test_kmeans_regions_are_tighter_than_those_it_starts_from():
    points = sample(6, n_clouds=3, n_points=60)

    first, last = partition_regions(points, 5), kmeans_regions(points, 5)

    for cloud, before, after in zip(points, first, last, strict=True):
        assert spread_within(cloud, after) < spread_within(cloud, before)


def test_kmeans_without_a_step_is_the_partition():
    points = sample(7)

    assert torch.equal(kmeans_regions(points, 4, n_steps=0), partition_regions(points, 4))


def test_voxels_of_a_plain_grid_are_its_cells():
    # Eight corners of a cube, three points each: a grid of two cells an edge tells them apart.
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
    points = corners.repeat_interleave(3, dim=0)[None] + 0.01 * torch.rand(1, 24, 3)

    regions = voxel_regions(points, 8)

    assert regions[0].tolist() == np.repeat(np.arange(8), 3).tolist()


def test_voxels_join_the_smallest_group_to_the_nearest_until_few_enough_are_left():
    # Four cells with 3, 1, 4 and 4 points; the lone one lies nearest to the last cell.
    x = torch.tensor([0.0, 0.1, 0.1, 0.4, 1.0, 0.9, 0.9, 1.0, 1.0, 0.9, 0.9, 1.0])
    y = torch.tensor([0.0, 0.0, 0.1, 1.0, 0.0, 0.0, 0.1, 0.1, 1.0, 1.0, 0.9, 0.9])
    points = torch.stack([x, y, 0 * x], dim=1)[None]

    assert voxel_regions(points, 4)[0].tolist() == [0] * 3 + [1] + [2] * 4 + [3] * 4
    assert voxel_regions(points, 3)[0].tolist() == [0] * 3 + [1] + [2] * 4 + [1] * 4
    # The three points are the fewest now, and nearer to the cell below than to the joined two.
    assert voxel_regions(points, 2)[0].tolist() == [0] * 3 + [1] + [0] * 4 + [1] * 4


def test_voxels_part_points_that_lie_close_together():
    # Two pairs far from each other: a fine grid is needed to part either of them.
    x = torch.tensor([0.0, 1e-4, 1.0, 1.0 + 2e-4], dtype=torch.float64)
    points = torch.stack([x, 0 * x, 0 * x], dim=1)[None]

    assert sorted(voxel_regions(points, 4)[0].tolist()) == [0, 1, 2, 3]


@given(seed=st.integers(0, 1000), n_regions=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_patches_stay_whole(seed, n_regions):
    points = sample(seed)
    centers = centers_of(points)

    regions, of_patches = patch_regions(points, centers, n_regions)

    patches = torch.cdist(points, centers).argmin(dim=2)
    assert torch.equal(regions, of_patches.gather(1, patches))
    assert torch.equal(of_patches, partition_regions(centers, n_regions))



def test_more_regions_than_patches_are_refused():
    points = sample(0)

    with pytest.raises(CloudError, match="12 patches into n_regions=13.*from 1 to 12"):
        cut_by_patches(points, 13)


def test_patches_in_too_few_places_are_refused():
    points = sample(0)
    centers = points[:, :3].repeat(1, 4, 1)

    with pytest.raises(CloudError, match="centers of patches, cloud 0 has 3 distinct points"):
        patch_regions(points, centers, 4)


def test_a_region_that_no_point_is_near_to_is_refused():
    points = sample(0, n_clouds=1)
    centers = torch.cat([points[:, :2], points[:, :1] + 100], dim=1)

    with pytest.raises(CloudError, match="no point in region 1.*must lie on the cloud"):
        patch_regions(points, centers, 3)
