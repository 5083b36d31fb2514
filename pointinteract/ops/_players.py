"""More ways to cut clouds into regions: k-means, voxels, and whole patches of a network.

Public through :mod:`pointinteract.ops.regions`, where the usual way is.
"""

import numpy as np
import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops._checks import check_points
from pointinteract.ops._partition import (
    assign_regions,
    check_region_count,
    partition_regions,
    region_centers,
)
from pointinteract.ops.grouping import gather

__all__ = ["kmeans_regions", "patch_regions", "voxel_regions"]

# Finer than this along the longest edge, cells are told apart by rounding.
_FINEST_GRID = 1 << 20
# Up to here the number of cells along the longest edge grows one by one, then it doubles.
_SMALL_GRID = 32


def kmeans_regions(
    points: Tensor, n_regions: int, *, start: str = "first", n_steps: int = 50
) -> Tensor:
    """Cut clouds into regions by k-means: rounder and more equal ones than by FPS alone.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        The first three channels are the coordinates.
    n_regions : int
        Number of regions R of every cloud.
    start : {"first", "far"}, default="first"
        First of the farthest points that Lloyd's steps begin with, see
        :func:`partition_regions`. With ``"far"`` the order of the points does not matter.
    n_steps : int, default=50
        Largest number of steps. A cloud is done earlier when no point changes its region, or
        when a step would leave a region empty; it then keeps the regions it had.

    Returns
    -------
    regions : int64 Tensor of shape (B, N)
        Region id of every point, from 0 to R - 1; no region is empty.

    Raises
    ------
    CloudError
        If a cloud has fewer than R distinct points.

    Notes
    -----
    Costs O(B N R) a step.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.ops.regions import kmeans_regions
    >>> x = torch.tensor([0.0, 0.1, 0.2, 0.6, 1.0, 1.1])
    >>> kmeans_regions(torch.stack([x, 0 * x, 0 * x], dim=1)[None], 2)
    tensor([[0, 0, 0, 1, 1, 1]])
    """
    centers = gather(points, region_centers(points, n_regions, start=start))
    regions = assign_regions(points, centers)
    # Sums in float64, so that the order of the points shows in no digit that matters.
    coordinates = points[..., :3].double()
    moving = torch.arange(len(points), device=points.device)
    for _ in range(n_steps):
        before = regions[moving]
        found = coordinates[moving]
        after = assign_regions(found, _means(found, before, n_regions))
        whole = (_sizes(after, n_regions) > 0).all(dim=1)
        changed = (after != before).any(dim=1) & whole
        regions[moving[changed]] = after[changed]
        moving = moving[changed]
        if len(moving) == 0:
            break
    return regions


def voxel_regions(points: Tensor, n_regions: int) -> Tensor:
    """Cut clouds into regions that are groups of cells of a cubic grid.

    The rule: lay a grid of cubes over the bounding box, with 1, 2, 3, ... cubes along its
    longest edge, until at least R cells hold a point. Then, while there are more than R groups
    of cells, join the group with the fewest points to the one whose mean is nearest to its
    own. Groups are numbered by their first cell, in the order of x, then y, then z.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        The first three channels are the coordinates.
    n_regions : int
        Number of regions R of every cloud.

    Returns
    -------
    regions : int64 Tensor of shape (B, N)
        Region id of every point, from 0 to R - 1; no region is empty. The order of the points
        does not matter.

    Raises
    ------
    CloudError
        If a cloud has fewer than R distinct points, or they lie too close together to be told
        apart by a grid of a million cells along its edge.

    Notes
    -----
    Costs O(N log N + V^2) a cloud, V cells; clouds are cut one after another on the CPU.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.ops.regions import voxel_regions
    >>> x = torch.tensor([0.0, 0.1, 0.2, 0.35, 0.8, 0.9, 0.95, 1.0])
    >>> voxel_regions(torch.stack([x, 0 * x, 0 * x], dim=1)[None], 2)
    tensor([[0, 0, 0, 0, 1, 1, 1, 1]])
    """
    check_points("points", points)
    check_region_count(n_regions, points.shape[1], "points")
    coordinates = points[..., :3].detach().cpu().double().numpy()
    ids = [_cut_by_cells(cloud, n_regions, number) for number, cloud in enumerate(coordinates)]
    return torch.from_numpy(np.stack(ids)).to(points.device)


def patch_regions(
    points: Tensor, centers: Tensor, n_regions: int, *, start: str = "first"
) -> tuple[Tensor, Tensor]:
    """Cut clouds into regions that are unions of whole patches of a network.

    Every point belongs to the patch whose center is nearest. Farthest point sampling over the
    centers spreads the regions, and every patch joins the nearest of those it picked.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
    centers : Tensor of shape (B, G, 3)
        Centers of the patches, as the network chooses them.
    n_regions : int
        Number of regions R, at most G.
    start : {"first", "far"}, default="first"
        The region that comes first forms around the first center, or around the one farthest
        from the mean of the centers.

    Returns
    -------
    regions : int64 Tensor of shape (B, N)
        Region of every point; no region is empty.
    of_patches : int64 Tensor of shape (B, G)
        Region of every patch.

    Raises
    ------
    CloudError
        If there are fewer than R distinct patches, or a region would hold no point, which
        happens only where centers are far from all points.

    Notes
    -----
    Costs O(B N G).
    """
    check_points("points", points)
    check_points("centers", centers)
    check_region_count(n_regions, centers.shape[1], "patches")
    centers = centers.to(points.dtype)
    try:
        of_patches = partition_regions(centers, n_regions, start=start)
    except CloudError as error:
        raise CloudError(f"among the centers of patches, {error}") from error
    regions = of_patches.gather(1, assign_regions(points, centers))
    empty = (_sizes(regions, n_regions) == 0).nonzero()
    if len(empty):
        cloud, region = empty[0].tolist()
        raise CloudError(
            f"cloud {cloud} has no point in region {region}: no point is nearest to the centers "
            "of its patches. Centers must lie on the cloud; lower n_regions otherwise."
        )
    return regions, of_patches


def _means(points: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    index = regions[..., None].expand_as(points)
    sums = points.new_zeros(len(points), n_regions, points.shape[2])
    sums = sums.scatter_add(1, index, points)
    return sums / _sizes(regions, n_regions)[..., None]


def _sizes(regions: Tensor, n_regions: int) -> Tensor:
    """Points of every region, (B, N) to int64 (B, R)."""
    sizes = regions.new_zeros(len(regions), n_regions)
    return sizes.scatter_add_(1, regions, torch.ones_like(regions))


def _cut_by_cells(points: np.ndarray, n_regions: int, number: int) -> np.ndarray:
    """Regions (N,) of one cloud (N, 3) by the rule of :func:`voxel_regions`."""
    low = points.min(axis=0)
    edge = float((points.max(axis=0) - low).max()) or 1.0
    if not np.isfinite(edge):
        raise CloudError(
            f"cloud {number} has points that are not finite numbers; remove them first."
        )
    n_cells = 1
    while True:
        # The far faces of the box belong to the last cells.
        cells = np.minimum(((points - low) * (n_cells / edge)).astype(np.int64), n_cells - 1)
        keys = (cells[:, 0] * n_cells + cells[:, 1]) * n_cells + cells[:, 2]
        occupied, cell_of_point, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        if len(occupied) >= n_regions:
            break
        if n_cells >= _FINEST_GRID:
            raise CloudError(
                f"cloud {number} has {len(occupied)} points that a grid can tell apart, fewer "
                f"than n_regions={n_regions}; lower n_regions or leave the cloud out."
            )
        n_cells = n_cells + 1 if n_cells < _SMALL_GRID else 2 * n_cells
    sums = np.stack([np.bincount(cell_of_point, weights=axis) for axis in points.T], axis=1)
    groups = _join_smallest(sums / sizes[:, None], sizes, n_regions)
    return groups[cell_of_point.reshape(-1)]


def _join_smallest(means: np.ndarray, sizes: np.ndarray, n_groups: int) -> np.ndarray:
    """Join V cells with means (V, 3) until `n_groups` are left; returns groups (V,).

    A group carries the number of its first cell. Ties go to the smallest number.
    """
    means, weights = means.copy(), sizes.astype(np.float64)
    group = np.arange(len(sizes))
    for _ in range(len(sizes) - n_groups):
        smallest = int(weights.argmin())
        distance = np.square(means - means[smallest]).sum(axis=1)
        distance[smallest] = np.inf
        distance[np.isinf(weights)] = np.inf
        nearest = int(distance.argmin())
        first, last = sorted((smallest, nearest))
        both = weights[first] + weights[last]
        means[first] = (weights[first] * means[first] + weights[last] * means[last]) / both
        weights[first], weights[last] = both, np.inf  # infinite: joined, out of the game
        group[group == last] = first
    return np.unique(group, return_inverse=True)[1].reshape(-1)
