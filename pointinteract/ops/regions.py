"""Cut a cloud into regions, and take regions away from it.

A new way of cutting is one function here that returns region ids; a new way of taking away is
one function that returns what masked points become, and a line in ``_BASELINES``.
"""

import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops._checks import check_points
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample

__all__ = ["assign_regions", "mask_regions", "partition_regions", "region_centers"]


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
        If a cloud has fewer than R distinct points.

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
    if not 1 <= n_regions <= points.shape[1]:
        raise CloudError(
            f"cannot cut a cloud of {points.shape[1]} points into n_regions={n_regions} regions: "
            "each needs a point of its own."
        )
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


def mask_regions(
    points: Tensor, regions: Tensor, keep: Tensor, *, baseline: str = "center"
) -> Tensor:
    """Make one copy of a cloud per coalition, with the regions outside it taken away.

    Parameters
    ----------
    points : Tensor of shape (N, C) or (B, N, C)
    regions : int64 Tensor of shape (N,) or (B, N)
        Region id of every point.
    keep : bool Tensor of shape (S, R)
        Which regions each of the S coalitions keeps.
    baseline : {"center", "region"}, default="center"
        Where masked points go. ``"center"``: all to the mean of the cloud, as in the
        published work. ``"region"``: each to the mean of its own region, which leaves a
        skeleton of the shape and so takes less away. Further channels become means likewise.

    Returns
    -------
    masked : Tensor of shape (S, N, C) or (B, S, N, C)
        The number of points stays. Nothing is moved or scaled to make up for the loss.
    """
    if points.ndim == 2:
        return mask_regions(points[None], regions[None], keep, baseline=baseline)[0]
    check_points("points", points)
    if regions.shape != points.shape[:2]:
        raise ValueError(
            f"regions must have shape {tuple(points.shape[:2])} to go with points "
            f"{tuple(points.shape)}, got {tuple(regions.shape)}."
        )
    if keep.ndim != 2 or keep.dtype != torch.bool:
        raise ValueError(
            f"keep must be bool (S, R), got {keep.dtype} of shape {tuple(keep.shape)}."
        )
    if baseline not in _BASELINES:
        raise ValueError(f"baseline must be one of {', '.join(BASELINES)}; got {baseline!r}.")
    n_regions = keep.shape[1]
    if regions.numel() and not 0 <= int(regions.min()) <= int(regions.max()) < n_regions:
        raise ValueError(
            f"regions must be from 0 to {n_regions - 1}, the columns of keep; got "
            f"{int(regions.min())} to {int(regions.max())}."
        )
    absent = _BASELINES[baseline](points, regions, n_regions)  # (B, N, C) or (B, 1, C)
    kept = keep[:, regions].transpose(0, 1)  # (B, S, N)
    return torch.where(kept[..., None], points[:, None], absent[:, None])


def _cloud_center(points: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    return points.mean(dim=1, keepdim=True)


def _region_center(points: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    index = regions[..., None].expand_as(points)
    sums = points.new_zeros(len(points), n_regions, points.shape[2])
    sums = sums.scatter_add(1, index, points)
    counts = torch.zeros_like(sums).scatter_add(1, index, torch.ones_like(points))
    return (sums / counts.clamp(min=1)).gather(1, index)


_BASELINES = {"center": _cloud_center, "region": _region_center}
BASELINES = tuple(_BASELINES)


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
    same = (centers[:, :, None] == centers[:, None, :]).all(-1).sum((1, 2)) > n_regions
    if bool(same.any()):
        cloud = int(same.nonzero()[0, 0])
        n_distinct = len(torch.unique(points[cloud], dim=0))
        raise CloudError(
            f"cloud {cloud} has {n_distinct} distinct points, fewer than n_regions={n_regions}; "
            "lower n_regions or leave the cloud out."
        )
