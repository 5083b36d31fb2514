"""Cutting: clouds of any length, by any way, the same as alone; errors name the cloud in X."""

import numpy as np
import pytest
import torch

from pointinteract.exceptions import CloudError
from pointinteract.explanation._regions import PLAYERS, check_regions, cut_clouds
from pointinteract.ops import farthest_point_sample, gather
from pointinteract.ops.regions import (
    kmeans_regions,
    partition_regions,
    patch_regions,
    voxel_regions,
)


@pytest.fixture
def ragged():
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(n, 3)).astype(np.float32) for n in (30, 24, 30, 17))


def patches(points):
    centers = gather(points, farthest_point_sample(points, 8))
    return torch.zeros(len(points), 8, 4, dtype=torch.int64), centers


@pytest.mark.parametrize("players", PLAYERS)
def test_clouds_of_any_length_are_cut_as_alone(ragged, players):
    regions = cut_clouds(ragged, 5, players, "far", patches=patches)

    operations = {
        "fps": lambda points: partition_regions(points, 5, start="far"),
        "kmeans": lambda points: kmeans_regions(points, 5, start="far"),
        "voxels": lambda points: voxel_regions(points, 5),
        "patches": lambda points: patch_regions(points, patches(points)[1], 5, start="far")[0],
    }
    for cloud, ids in zip(ragged, regions, strict=True):
        assert ids.dtype == np.int64
        assert np.array_equal(ids, operations[players](torch.from_numpy(cloud)[None])[0])


def test_start_matters_where_there_is_one(ragged):
    for players in ("fps", "kmeans", "patches"):
        first = cut_clouds(ragged, 5, players, "first", patches=patches)
        far = cut_clouds(ragged, 5, players, "far", patches=patches)

        assert not all(map(np.array_equal, first, far)), players


def test_what_was_cut_passes_as_given(ragged):
    for players in PLAYERS:
        cut = cut_clouds(ragged, 5, players, patches=patches)

        assert all(map(np.array_equal, check_regions(cut, ragged, 5), cut))


def test_too_few_different_points_are_refused_by_the_number_in_X(ragged):
    same = np.repeat(ragged[0][:2], 15, axis=0)

    for players in ("fps", "kmeans", "voxels"):
        with pytest.raises(CloudError, match="cloud 2 of X has 2 .*fewer than n_regions=4"):
            cut_clouds((ragged[0], ragged[1], same), 4, players)


def test_more_regions_than_points_are_refused_by_the_number_in_X(ragged):
    with pytest.raises(CloudError, match="cloud 3 of X: cannot cut a cloud of 17 points"):
        cut_clouds(ragged, 20)


def test_more_regions_than_patches_are_refused(ragged):
    with pytest.raises(CloudError, match="cloud 0 of X: cannot cut a cloud of 8 patches.*9"):
        cut_clouds(ragged, 9, "patches", patches=patches)


def test_patches_need_a_network_that_has_some(ragged):
    with pytest.raises(ValueError, match="structure.. gives PatchTokens"):
        cut_clouds(ragged, 4, "patches")


def test_unknown_players_are_refused(ragged):
    with pytest.raises(ValueError, match="players must be one of 'fps', .*got 'slices'"):
        cut_clouds(ragged, 4, "slices")
