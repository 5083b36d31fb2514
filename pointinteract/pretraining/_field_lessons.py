"""What an implicit autoencoder learns from: surfaces, places to ask about, spoiled clouds."""

import math

import numpy as np
import torch
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.ops import gather, rotation_matrix, thin_clouds
from pointinteract.ops.distance_fields import disk_areas
from pointinteract.ops.normals import estimate_normals

__all__ = [
    "cut_column",
    "draw_queries",
    "has_normals",
    "reference_surfaces",
    "spoil_clouds",
    "turn_all",
]

_UNIT_TOLERANCE = 0.01
_CLOUDS_AT_ONCE = 64
_N_TURNS = 24


def has_normals(clouds: Clouds) -> bool:
    """Whether channels 4 to 6 of all points are vectors of length 1."""
    if clouds[0].shape[-1] < 6:
        return False
    lengths = (np.linalg.norm(cloud[:, 3:6], axis=1) for cloud in clouds)
    return all(bool((np.abs(length - 1) < _UNIT_TOLERANCE).all()) for length in lengths)


def reference_surfaces(clouds: Clouds, n_points: int, *, given: bool, orient: bool) -> Tensor:
    """Points, normals and areas of the surfaces of clouds, (n_clouds, R, 7).

    Parameters
    ----------
    clouds : array (n_clouds, N, C) or list of (N_i, C)
    n_points : int
        Larger clouds are thinned to so many. Smaller ones in a list repeat points, with area 0.
    given : bool
        Whether channels 4 to 6 are the normals, or they are to be estimated.
    orient : bool
        Whether estimated normals are to point outwards.
    """
    if isinstance(clouds, np.ndarray):
        parts = torch.from_numpy(clouds).split(_CLOUDS_AT_ONCE)
        return torch.cat([_surfaces(part, n_points, given, orient) for part in parts])
    found = [
        _surfaces(torch.from_numpy(cloud)[None], n_points, given, orient)[0] for cloud in clouds
    ]
    size = max(map(len, found))
    filled = []
    for surface in found:
        row = surface[torch.arange(size) % len(surface)]
        row[len(surface) :, 6] = 0
        filled.append(row)
    return torch.stack(filled)


def _surfaces(clouds: Tensor, n_points: int, given: bool, orient: bool) -> Tensor:
    # Normals of the whole cloud: thinned ones say less of the surface between them.
    normals = clouds[..., 3:6] if given else estimate_normals(clouds, orient=orient)
    thinned = thin_clouds(torch.cat([clouds[..., :3], normals], dim=-1), n_points)
    return torch.cat([thinned, disk_areas(thinned).unsqueeze(-1)], dim=-1)


def draw_queries(
    surface: Tensor,
    n_queries: int,
    *,
    near_share: float,
    near_sigma: float,
    extent: float,
    generator: torch.Generator,
) -> Tensor:
    """Places to ask about, near the surface and anywhere in the box: (B, R, 3) to (B, Q, 3).

    The first ``near_share`` of them are points with Gaussian steps of s.d. `near_sigma`, the
    others are uniform in [-extent, extent)^3, in which all lie.
    """
    n_clouds, n_points = surface.shape[:2]
    n_near = round(near_share * n_queries)
    index = torch.randint(n_points, (n_clouds, n_near), generator=generator)
    steps = near_sigma * torch.randn(n_clouds, n_near, 3, generator=generator)
    near = gather(surface, index.to(surface.device)) + steps.to(surface)
    anywhere = 2 * torch.rand(n_clouds, n_queries - n_near, 3, generator=generator) - 1
    queries = torch.cat([near, extent * anywhere.to(surface)], dim=1)
    return queries.clamp(-extent, extent)


def cut_column(
    points: Tensor, max_share: float, up: str, generator: torch.Generator
) -> Tensor:
    """Mark what is left when the middle of clouds is cut out: (B, N, C) to bool (B, N).

    Of each cloud a vertical column goes, around the middle of its bounding box, whose two
    horizontal extents are a share of the cloud's, uniform in [0, max_share). At least one point
    is left.
    """
    level = [i for i in range(3) if i != "xyz".index(up)]
    ground = points[..., level]
    low, high = ground.amin(dim=1, keepdim=True), ground.amax(dim=1, keepdim=True)
    share = max_share * torch.rand(len(points), 1, 1, generator=generator).to(points)
    # What is cut lies strictly within a share below 1, so that the outermost points stay.
    inside = (2 * ground - low - high).abs() < share * (high - low)
    return ~inside.all(dim=-1)


def spoil_clouds(
    points: Tensor,
    *,
    n_points: int | None,
    max_cut: float,
    noise: float,
    up: str,
    generator: torch.Generator,
) -> Tensor:
    """Cut, sample with replacement and blur clouds: (B, N, C) to (B, V, C).

    `n_points` None takes as many as there are.
    """
    left = cut_column(points, max_cut, up, generator)
    size = n_points or points.shape[1]
    index = torch.multinomial(left.float().cpu(), size, replacement=True, generator=generator)
    taken = gather(points, index.to(points.device))
    blur = noise * torch.randn(*taken.shape[:2], 3, generator=generator)
    return torch.cat([taken[..., :3] + blur.to(taken), taken[..., 3:]], dim=-1)


def turn_all(
    points: Tensor, queries: Tensor, up: str, with_normals: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Turn clouds (B, N, C) and places (B, Q, 3) about the vertical by multiples of 15 degrees.

    Channels 4 to 6 turn too if they are normals.
    """
    step = torch.randint(_N_TURNS, (len(points),), generator=generator)
    matrix = rotation_matrix(step * (2 * math.pi / _N_TURNS), up).to(points)
    n_turned = 6 if with_normals else 3
    turned = [part @ matrix for part in points[..., :n_turned].split(3, dim=-1)]
    return torch.cat([*turned, points[..., n_turned:]], dim=-1), queries @ matrix
