"""Cut a cloud into regions around spread centers, and the checks that all ways of cutting share.

Public through :mod:`pointinteract.ops.regions`.
"""

from numbers import Integral

import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops._checks import check_points
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample

__all__ = ["assign_regions", "check_region_count", "partition_regions", "region_centers"]


def partition_regions(points: Tensor, n_regions: int, *, start: str = "first") -> Tensor:
    """Cut clouds into regions: spread centers by farthest point sampling, join the nearest.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        The first three channels are the coordinates.
    n_regions : int
        Number of regions R of every cloud; each holds at least its own center.
    start : {"first", "far"}, default="first"
        First center: the point with index 0, as in the published work, or the point farthest
        from the mean, which does not depend on the order of the points.

    Returns
    -------
    regions : int64 Tensor of shape (B, N)
        Region id of every point, from 0 to R - 1. Ties go to the smallest id.

    Raises
    ------
    CloudError
        If a cloud has fewer than R distinct points, or coordinates that are NaN.

    Notes
    -----
    Costs O(B N R).
    """
    centers = gather(points, region_centers(points, n_regions, start=start))
    return assign_regions(points, centers)


def region_centers(points: Tensor, n_regions: int, *, start: str = "first") -> Tensor:
    """Choose the points that regions form around; see :func:`partition_regions`.

    Returns
    -------
    index : int64 Tensor of shape (B, R)
    """
    check_points("points", points)
    if start not in ("first", "far"):
        raise ValueError(f"start must be 'first' or 'far', got {start!r}.")
    check_region_count(n_regions, points.shape[1])
    coordinates = points[..., :3]
    index = farthest_point_sample(coordinates, n_regions, start=0 if start == "first" else start)
    _check_distinct(coordinates, gather(coordinates, index))
    return index


def assign_regions(points: Tensor, centers: Tensor) -> Tensor:
    """Give every point the id of its nearest center; (B, N, C), (B, R, C) to (B, N).

    Only the first three channels count. Ties go to the smallest id.
    """
    check_points("points", points)
    check_points("centers", centers)
    return _squared_distance(points[..., :3], centers[..., :3]).argmin(dim=2)


def check_region_count(n_regions: int, n_available: int, what: str = "points") -> None:
    """Raise unless there are as many points, or patches, as regions asked for."""
    if isinstance(n_regions, bool) or not isinstance(n_regions, Integral):
        raise TypeError(f"n_regions must be an integer, got {n_regions!r}.")
    if not 1 <= n_regions <= n_available:
        raise CloudError(
            f"cannot cut a cloud of {n_available} {what} into n_regions={n_regions} regions: "
            f"each needs one of its own, so n_regions must be from 1 to {n_available}."
        )


def _squared_distance(points: Tensor, centers: Tensor) -> Tensor:
    """Squared distances (B, N, R), from differences so that equal points are exactly tied."""
    distance = points.new_zeros(points.shape[0], points.shape[1], centers.shape[1])
    for channel in range(points.shape[2]):
        difference = points[:, :, None, channel] - centers[:, None, :, channel]
        distance = torch.addcmul(distance, difference, difference)
    return distance


def _check_distinct(points: Tensor, centers: Tensor) -> None:
    """Raise if two centers coincide: sampling repeats a point only when all are taken."""
    n_regions = centers.shape[1]
    n_equal = (centers[:, :, None] == centers[:, None, :]).all(-1).sum((1, 2))
    bad = n_equal != n_regions
    if bool(bad.any()):
        cloud = int(bad.nonzero()[0, 0])
        # NaN is the farthest there is, so it becomes a center; and it does not equal itself.
        if not bool(points[cloud].isfinite().all()):
            raise CloudError(
                f"cloud {cloud} has points that are not finite numbers; remove them first."
            )
        n_distinct = len(torch.unique(points[cloud], dim=0))
        raise CloudError(
            f"cloud {cloud} has {n_distinct} distinct points, fewer than n_regions={n_regions}; "
            "lower n_regions or leave the cloud out."
        )
