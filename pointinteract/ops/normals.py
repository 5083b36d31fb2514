"""Which way the surface looks that points lie on, found from the points alone."""

import math

import torch
from torch import Tensor

from pointinteract.ops._checks import check_points
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn
from pointinteract.ops.visibility import visible_points

__all__ = ["estimate_normals"]

# Cameras that look at a cloud from all around, and their distance in units of its radius.
_N_CAMERAS, _CAMERA_DISTANCE = 26, 4.0


def estimate_normals(points: Tensor, *, k: int = 12, orient: bool = True) -> Tensor:
    """Estimate unit normals of the surface that clouds were sampled from.

    The direction in which the k nearest points vary least is the normal up to its sign (Hoppe,
    DeRose, Duchamp, McDonald, Stuetzle, "Surface Reconstruction from Unorganized Points",
    SIGGRAPH 1992, section 3.2). The sign is chosen so that it looks towards the places from
    which the point is seen.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        The first three channels are the coordinates.
    k : int, default=12
        Neighbors that say how the surface lies, each point's own included. More smooth noise
        and edges away.
    orient : bool, default=True
        Whether to point outwards; otherwise signs mean nothing.

    Returns
    -------
    normals : Tensor of shape (B, N, 3)
        Without gradient. A point that has fewer than two others apart from it gets some unit
        vector.

    Notes
    -----
    Costs O(N k) and a search of neighbors a cloud.

    Signs are a guess, made from 26 cameras around the cloud. They are right on closed surfaces
    that can be seen and are sampled more densely than they bend and fold (on spheres all of
    them). A sheet without thickness looks to the more visible of its sides, the inside of an
    open vessel with a narrow neck may look either way, and so may the two sides of plates that
    are thinner than the points are apart.
    """
    check_points("points", points)
    xyz = points[..., :3].detach()
    index = knn(xyz, xyz, min(k, xyz.shape[1]))  # (B, N, k)
    near = gather(xyz, index)
    near = near - near.mean(dim=2, keepdim=True)
    # In double precision: of a flat neighborhood the least eigenvalue is a difference of sums.
    spread = (near.transpose(2, 3) @ near).double()
    normals = torch.linalg.eigh(spread).eigenvectors[..., 0].to(xyz)  # smallest first
    if not orient:
        return normals
    facing = (normals * _open_direction(xyz)).sum(-1, keepdim=True)
    return torch.where(facing < 0, -normals, normals)


def _open_direction(xyz: Tensor) -> Tensor:
    """Sum of the directions from which each point is seen, (B, N, 3) to (B, N, 3)."""
    center = xyz.mean(dim=1)
    radius = (xyz - center.unsqueeze(1)).norm(dim=-1).amax(dim=1, keepdim=True)
    # As evenly as can be: on a spiral from pole to pole that turns by the golden angle.
    step = torch.arange(_N_CAMERAS, device=xyz.device) + 0.5
    height = 1 - 2 * step / _N_CAMERAS
    angle = (math.pi * (1 + math.sqrt(5))) * step
    ring = (1 - height.square()).sqrt()
    directions = torch.stack([ring * angle.cos(), ring * angle.sin(), height], dim=1).to(xyz)
    total = torch.zeros_like(xyz)
    for direction in directions:
        seen = visible_points(xyz, center + _CAMERA_DISTANCE * radius * direction)
        total += seen.unsqueeze(-1) * direction
    return total
