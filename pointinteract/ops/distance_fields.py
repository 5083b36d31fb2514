"""How far places in space are from the surface that points were sampled from, and on which side.

A cloud with normals stands for its surface as little disks, one around each point.
"""

import math

import torch
from torch import Tensor

from pointinteract.ops._checks import check_points, check_same_batch
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn

__all__ = [
    "disk_areas",
    "level_crossings",
    "signed_distance",
    "surface_distance",
    "winding_number",
]

_MAX_ELEMENTS = 1 << 22


def disk_areas(points: Tensor, *, k: int = 12) -> Tensor:
    """Area of the surface that each point stands for: (B, N, C) to (B, N).

    Of the disk that reaches to the k-th nearest other point, a k-th. In squared units of the
    coordinates. With k = 12 this is right to a tenth for points that lie at random, on squares
    or on triangles.
    """
    check_points("points", points)
    xyz = points[..., :3].detach()
    k = min(k, xyz.shape[1] - 1)
    if k == 0:
        return xyz.new_zeros(xyz.shape[:2])
    _, squared = knn(xyz, xyz, k + 1, return_distances=True)
    return (math.pi / k) * squared[..., -1]


def surface_distance(
    queries: Tensor,
    points: Tensor,
    normals: Tensor | None = None,
    areas: Tensor | None = None,
    *,
    k: int = 8,
) -> Tensor:
    """Distance of places to the surface that a cloud was sampled from, never negative.

    Parameters
    ----------
    queries : Tensor of shape (B, Q, 3)
    points : Tensor of shape (B, N, 3)
    normals : Tensor of shape (B, N, 3), optional
        Unit vectors, whose signs do not matter. Without them the distance is that to the
        nearest point, which between the points of a sparse cloud is too large.
    areas : Tensor of shape (B, N), optional
        Sizes of the disks, by default those of :func:`disk_areas`. Only with `normals`.
    k : int, default=8
        Nearest points whose disks are looked at.

    Returns
    -------
    distance : Tensor of shape (B, Q)
        In units of the coordinates, with gradient to `queries` (zero or undefined only on the
        surface).

    Notes
    -----
    A disk is made twice as large as the area that its point stands for, so that disks leave no
    gaps; they stick out over sharp edges by as much. Costs one search of neighbors.
    """
    _check_pair(queries, points)
    n_found = 1 if normals is None else min(k, points.shape[1])
    index = knn(queries, points, n_found)  # (B, Q, k)
    away = queries.unsqueeze(2) - gather(points, index)
    squared = away.square().sum(-1)
    if normals is not None:
        areas = disk_areas(points) if areas is None else areas
        radius = (gather(areas.unsqueeze(-1), index)[..., 0] * (2 / math.pi)).sqrt()
        height = (away * gather(normals, index)).sum(-1)
        # A square root has no slope at zero: a hair above keeps the gradient finite there.
        aside = (squared - height.square()).clamp_min(1e-24).sqrt()
        squared = height.square() + (aside - radius).clamp_min(0).square()
    return squared.amin(-1).clamp_min(1e-24).sqrt()


def winding_number(
    queries: Tensor, points: Tensor, normals: Tensor, areas: Tensor | None = None
) -> Tensor:
    """How often the surface of a cloud goes around places: 1 inside, 0 outside, about.

    Parameters
    ----------
    queries : Tensor of shape (B, Q, 3)
    points : Tensor of shape (B, N, 3)
    normals : Tensor of shape (B, N, 3)
        Unit vectors pointing outwards.
    areas : Tensor of shape (B, N), optional
        By default those of :func:`disk_areas`.

    Returns
    -------
    number : Tensor of shape (B, Q)
        Without gradient.

    Notes
    -----
    The sum of Barill, Dickson, Schmidt, Levin, Jacobson, "Fast Winding Numbers for Soups and
    Clouds", SIGGRAPH 2018, equation 5, over all points, O(B Q N). A point's part is softened
    within the radius of its disk, where the sum over points says little about the integral
    over the surface: on the surface the number is about one half. A few wrong normals change
    it a little, and holes in the surface make the way from 0 to 1 a gradual one.
    """
    _check_pair(queries, points)
    queries, points, normals = queries.detach(), points.detach(), normals.detach()
    areas = disk_areas(points) if areas is None else areas
    soft = (areas / math.pi).unsqueeze(1)
    weighted = normals * (areas / (4 * math.pi)).unsqueeze(-1)
    offset = (weighted * points).sum(-1).unsqueeze(1)  # (B, 1, N)
    n_rows = max(1, _MAX_ELEMENTS // (len(points) * points.shape[1]))
    numbers = []
    for rows in queries.split(n_rows, dim=1):
        # (p - q) . n for all pairs, and their distance
        facing = torch.baddbmm(offset, rows, weighted.transpose(1, 2), alpha=-1.0)
        distance = torch.cdist(rows, points, compute_mode="donot_use_mm_for_euclid_dist")
        softened = distance.square_().add_(soft).clamp_min_(1e-24)
        numbers.append((facing * softened.rsqrt().pow_(3)).sum(-1))
    return torch.cat(numbers, dim=1)


def signed_distance(
    queries: Tensor,
    points: Tensor,
    normals: Tensor,
    areas: Tensor | None = None,
    *,
    k: int = 8,
) -> Tensor:
    """Distance to the surface of a cloud, negative inside of it; parameters as there.

    Inside is where :func:`winding_number` is above one half, and the amount is that of
    :func:`surface_distance`; (B, Q). Parts thinner than the points are apart have no inside.
    """
    areas = disk_areas(points) if areas is None else areas
    inside = winding_number(queries, points, normals, areas) > 0.5
    distance = surface_distance(queries, points, normals, areas, k=k)
    return torch.where(inside, -distance, distance)


def level_crossings(values: Tensor, axis: Tensor) -> Tensor:
    """Places where a field on a grid changes its sign, on the edges of the grid.

    Parameters
    ----------
    values : Tensor of shape (R, R, R)
        ``values[i, j, k]`` at x, y and z equal to ``axis[i]``, ``axis[j]`` and ``axis[k]``.
    axis : Tensor of shape (R,)

    Returns
    -------
    points : Tensor of shape (L, 3)
        One for each edge with values of different sign at its ends, where the straight line
        between them is zero; those of edges along x first. L is 0 if no sign changes.
    """
    if values.ndim != 3 or values.shape != 3 * axis.shape:
        raise ValueError(
            "values must be (R, R, R) and axis (R,), got "
            f"{tuple(values.shape)} and {tuple(axis.shape)}."
        )
    points = []
    for along in range(3):
        start, end = values.narrow(along, 0, len(axis) - 1), values.narrow(along, 1, len(axis) - 1)
        place = ((start < 0) != (end < 0)).nonzero()  # (L, 3)
        first, last = start[tuple(place.T)], end[tuple(place.T)]
        share = first / (first - last)
        point = axis[place]
        step = axis[place[:, along] + 1] - axis[place[:, along]]
        point[:, along] += share * step
        points.append(point)
    return torch.cat(points)


def _check_pair(queries: Tensor, points: Tensor) -> None:
    check_points("queries", queries, n_channels=3)
    check_points("points", points, n_channels=3)
    check_same_batch("queries", queries, "points", points)
