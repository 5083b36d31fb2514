"""Corruptions of clouds as the robustness benchmarks define them, at five levels each.

The seven kinds and their numbers are those of ModelNet-C (also called PointCloud-C): Ren, Pan,
Liu, "Benchmarking and Analyzing Point Cloud Classification under Corruptions", ICML 2022. Where
its text and its released generator disagree, the generator counts, because it made the data.

There, clouds have 1024 points in the unit sphere. Here, lengths are in units of a cloud's own
radius (largest distance from its mean) and counts are shares of its points, so that clouds of
any size and place are corrupted alike; for 1024 points in the unit sphere both are the same.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops._checks import check_points
from pointinteract.ops.transforms import rotate, rotation_matrix
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed, make_generator

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_LEVELS",
    "corrupt",
    "corrupt_add_global",
    "corrupt_add_local",
    "corrupt_drop_global",
    "corrupt_drop_local",
    "corrupt_jitter",
    "corrupt_rotate",
    "corrupt_scale",
]

Clouds = np.ndarray | list[np.ndarray]

_N_POINTS = 1024  # of the benchmark's clouds, which its counts of points refer to
_MAX_CLUSTERS = 7  # the text says up to 8, the generator excludes its upper end
_CLUSTER_SIGMA = (0.075, 0.125)
_CORRUPT = 211  # stream of random numbers for corruptions, apart from all others

# What the five levels of each kind mean. Order of the published tables.
CORRUPTION_LEVELS: dict[str, tuple[float, ...]] = {
    "scale": (1.6, 1.7, 1.8, 1.9, 2.0),
    "jitter": (0.01, 0.02, 0.03, 0.04, 0.05),
    "rotate": (math.pi / 30, math.pi / 15, math.pi / 10, math.pi / 7.5, math.pi / 6),
    # Of the fourth, the text says 0.675.
    "drop_global": (0.25, 0.375, 0.5, 0.625, 0.75),
    "drop_local": tuple(count / _N_POINTS for count in (100, 200, 300, 400, 500)),
    "add_global": tuple(count / _N_POINTS for count in (10, 20, 30, 40, 50)),
    "add_local": tuple(count / _N_POINTS for count in (100, 200, 300, 400, 500)),
}
CORRUPTIONS: tuple[str, ...] = tuple(CORRUPTION_LEVELS)


def corrupt_scale(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Stretch each axis by its own factor, then bring the cloud back to its old size.

    Factors are uniform in [1/S, S) with S = 1.6, 1.7, 1.8, 1.9, 2.0 at levels 1 to 5. Mean and
    radius stay as they were, so that what changes are the proportions.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        Coordinates first; further channels are left alone, here and in the other corruptions.
    level : int
        From 1 to 5.
    generator : torch.Generator
        On the CPU; all draws come from it.

    Returns
    -------
    corrupted : Tensor of shape (B, N, C)
    """
    limit = _strength(points, "scale", level)
    low = 1 / limit
    factor = low + (limit - low) * _uniform(generator, len(points), 1, 3)
    center, radius = _sphere(points)
    xyz = (points[..., :3] - center) * factor.to(points)
    xyz = xyz - xyz.mean(dim=1, keepdim=True)
    xyz = xyz / _radius(xyz) * radius
    return _with_channels(xyz + center, points)


def corrupt_jitter(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise of s.d. 0.01, 0.02, 0.03, 0.04, 0.05 radii to every coordinate.

    (B, N, C) to (B, N, C); not cut off. Parameters as for :func:`corrupt_scale`.
    """
    sigma = _strength(points, "jitter", level)
    noise = torch.randn(*points.shape[:2], 3, generator=generator, dtype=torch.float64)
    _, radius = _sphere(points)
    return _with_channels(points[..., :3] + sigma * radius * noise.to(points), points)


def corrupt_rotate(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Turn each cloud about its mean, by one angle about each of z, y and x.

    (B, N, C) to (B, N, C); the angles are uniform within 6, 12, 18, 24, 30 degrees to either
    side. Channels past the third, normals too, are left alone. Parameters as for
    :func:`corrupt_scale`.
    """
    limit = _strength(points, "rotate", level)
    angle = (2 * _uniform(generator, len(points), 3) - 1) * limit
    matrix = rotation_matrix(angle[:, 0], "z")
    for i, axis in enumerate("yx", start=1):
        matrix = matrix @ rotation_matrix(angle[:, i], axis)
    center, _ = _sphere(points)
    turned = rotate(points[..., :3] - center, matrix)
    return _with_channels(turned + center, points)


def corrupt_drop_global(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Take points away at random: 25, 37.5, 50, 62.5, 75 % of them.

    (B, N, C) to (B, M, C) with M = max(1, floor(N * (1 - share))); what is left keeps its order.
    Parameters as for :func:`corrupt_scale`.
    """
    share = _strength(points, "drop_global", level)
    n_kept = max(1, int(points.shape[1] * (1 - share)))
    order = _uniform(generator, *points.shape[:2]).argsort(dim=1)
    index = order[:, :n_kept].sort(dim=1).values.to(points.device)
    return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))


def corrupt_drop_local(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Tear holes: take away the nearest neighbors of up to seven random points.

    (B, N, C) to (B, N - K, C) with K = 100, 200, 300, 400, 500 points of 1024, in proportion
    for other N (9.8 to 48.8 %). From one to seven holes, equally likely; each of the K points
    is counted to one of them at random. A hole takes a random point of those left, and the
    nearest to it. What is left keeps its order. Parameters as for :func:`corrupt_scale`.
    """
    n_dropped = _n_of(points, "drop_local", level)
    kept = []
    for cloud in points:
        left = torch.arange(len(cloud), device=cloud.device)
        for size in _cluster_sizes(n_dropped, generator):
            center = int(torch.randint(len(left), (1,), generator=generator))
            xyz = cloud[left, :3]
            distance = (xyz - xyz[center]).square().sum(dim=1)
            distance[center] = -1.0  # itself first, also among points in the same place
            left = left[distance.argsort(stable=True)[size:].sort().values]
        kept.append(cloud[left])
    return torch.stack(kept)


def corrupt_add_global(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Add points that are uniform in the ball around the cloud.

    (B, N, C) to (B, N + K, C) with K = 10, 20, 30, 40, 50 points for 1024, in proportion for
    other N (1 to 4.9 %), after the others. Channels past the third are those of the nearest
    point. Parameters as for :func:`corrupt_scale`.
    """
    n_added = _n_of(points, "add_global", level)
    normal = torch.randn(len(points), n_added, 3, generator=generator, dtype=torch.float64)
    distance = _uniform(generator, len(points), n_added, 1) ** (1 / 3)
    inside = (normal / normal.norm(dim=-1, keepdim=True) * distance).to(points)
    center, radius = _sphere(points)
    xyz = center + radius * inside
    if points.shape[2] == 3 or n_added == 0:
        return torch.cat([points, _with_channels(xyz, points[:, :n_added])], dim=1)
    nearest = torch.cdist(xyz, points[..., :3]).argmin(dim=2)
    index = nearest[..., None].expand(-1, -1, points.shape[2])
    return torch.cat([points, _with_channels(xyz, points.gather(1, index))], dim=1)


def corrupt_add_local(points: Tensor, level: int, *, generator: torch.Generator) -> Tensor:
    """Add clumps: Gaussian clouds about up to seven points of the cloud.

    (B, N, C) to (B, N + K, C) with K = 100, 200, 300, 400, 500 points for 1024, in proportion
    for other N, after the others. From one to seven clumps, equally likely, about different
    points; each of the K points is counted to one of them at random; the s.d. of a clump is
    uniform in [0.075, 0.125) radii. A point x that falls outside the ball around the cloud
    comes to x / |x|^2 (in radii, from the mean), which is inside. Channels past the third are
    those of the point in the middle. Parameters as for :func:`corrupt_scale`.
    """
    n_added = _n_of(points, "add_local", level)
    centers, radii = _sphere(points)
    low, high = _CLUSTER_SIGMA
    grown = []
    for cloud, center, radius in zip(points, centers, radii, strict=True):
        sizes = _cluster_sizes(n_added, generator)
        middles = torch.randperm(len(cloud), generator=generator)
        sigmas = low + (high - low) * _uniform(generator, len(sizes))
        noise = torch.randn(n_added, 3, generator=generator, dtype=torch.float64)
        clump = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        # A cloud of fewer points than clumps has several about one of them.
        middle = cloud[middles[clump % len(cloud)].to(cloud.device)]
        offset = (sigmas[clump, None] * noise).to(cloud)
        unit = (middle[:, :3] - center) / radius + offset
        squared = unit.square().sum(dim=1, keepdim=True)
        unit = torch.where(squared > 1, unit / squared.clamp(min=1), unit)
        grown.append(torch.cat([cloud, _with_channels(center + radius * unit, middle)]))
    return torch.stack(grown)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "scale": corrupt_scale,
    "jitter": corrupt_jitter,
    "rotate": corrupt_rotate,
    "drop_global": corrupt_drop_global,
    "drop_local": corrupt_drop_local,
    "add_global": corrupt_add_global,
    "add_local": corrupt_add_local,
}


def corrupt(
    X: Any,
    kind: str,
    level: int,
    random_state: int | np.random.RandomState | None = None,
) -> Clouds:
    """Corrupt clouds in one way, at one level.

    Parameters
    ----------
    X : array of shape (n_clouds, n_points, n_channels) or sequence of (n_points_i, n_channels)
        Coordinates first. They need not be normalized.
    kind : str
        One of ``CORRUPTIONS``: ``"scale"``, ``"jitter"``, ``"rotate"``, ``"drop_global"``,
        ``"drop_local"``, ``"add_global"``, ``"add_local"``.
    level : int
        From 1 to 5; ``CORRUPTION_LEVELS`` says what it means.
    random_state : int, RandomState instance or None, default=None
        What happens to cloud i follows from the seed, `kind`, `level` and i alone: the clouds
        before and after it make no difference.

    Returns
    -------
    corrupted : array of shape (n_clouds, m_points, n_channels), or list of (m_i, n_channels)
        An array for an array, a list for a list; float64 if that was what came, else float32.
        Drops leave fewer points, adds leave more.

    Raises
    ------
    CloudError
        If a cloud is not two-dimensional, has fewer than 3 channels or no point.

    References
    ----------
    Ren, Pan, Liu, "Benchmarking and Analyzing Point Cloud Classification under Corruptions",
    ICML 2022.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.ops import corrupt
    >>> X, y = make_shapes(4, n_points=256, return_X_y=True, random_state=0)
    >>> corrupt(X, "jitter", 5, random_state=0).shape
    (4, 256, 3)
    >>> corrupt(X, "drop_local", 5, random_state=0).shape
    (4, 131, 3)
    """
    check_option("kind", kind, CORRUPTIONS)
    level = check_int("level", level, maximum=5)
    is_list = isinstance(X, Sequence) or getattr(X, "ndim", 3) == 1  # of objects
    seed = draw_seed(random_state)
    number = CORRUPTIONS.index(kind)
    done = []
    for i, cloud in enumerate(X):
        generator = make_generator(seed, _CORRUPT, number, level, i)
        points = _as_tensor(cloud, i)
        done.append(_FUNCTIONS[kind](points[None], level, generator=generator)[0].numpy())
    if not done:
        raise CloudError("X must hold at least one cloud, got none.")
    return done if is_list else np.stack(done)


def _as_tensor(cloud: Any, i: int) -> Tensor:
    array = cloud.detach().cpu().numpy() if isinstance(cloud, Tensor) else np.asarray(cloud)
    if array.ndim != 2 or array.shape[1] < 3 or len(array) == 0:
        raise CloudError(
            "X must be an array (n_clouds, n_points, n_channels) with at least 3 channels, or a "
            f"list of arrays (n_points_i, n_channels); cloud {i} has shape {array.shape}."
        )
    floating = array.dtype in (np.float32, np.float64)
    # A copy: what came may be read-only, and stays as it is.
    return torch.from_numpy(np.array(array, dtype=array.dtype if floating else np.float32))


def _strength(points: Tensor, kind: str, level: int) -> float:
    check_points("points", points)
    if points.shape[2] < 3:
        raise ValueError(f"points must have 3 or more channels, got {tuple(points.shape)}.")
    return CORRUPTION_LEVELS[kind][check_int("level", level, maximum=5) - 1]


def _n_of(points: Tensor, kind: str, level: int) -> int:
    return round(_strength(points, kind, level) * points.shape[1])


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    # Double, so that clouds in float32 and float64 meet the same corruption.
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def _cluster_sizes(total: int, generator: torch.Generator) -> list[int]:
    n_clusters = int(torch.randint(1, _MAX_CLUSTERS + 1, (1,), generator=generator))
    member_of = torch.randint(n_clusters, (total,), generator=generator)
    return torch.bincount(member_of, minlength=n_clusters).tolist()


def _sphere(points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 1, 3) of each cloud and its largest distance from it, (B, 1, 1)."""
    center = points[..., :3].mean(dim=1, keepdim=True)
    return center, _radius(points[..., :3] - center)


def _radius(xyz: Tensor) -> Tensor:
    radius = xyz.norm(dim=-1).amax(dim=1)[:, None, None]
    return torch.where(radius > 0, radius, 1.0)


def _with_channels(xyz: Tensor, like: Tensor) -> Tensor:
    return torch.cat([xyz, like[..., 3:]], dim=-1)
