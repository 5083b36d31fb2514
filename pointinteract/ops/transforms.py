"""Move, turn, scale and disturb clouds. Random forms draw from an explicit generator."""

import math

import torch
from torch import Tensor

from pointinteract.ops._checks import check_points

__all__ = [
    "drop_points",
    "jitter",
    "normalize_unit_sphere",
    "random_cosine_scale",
    "random_crop",
    "random_cut_out",
    "random_gaussian_scale",
    "random_rotate",
    "random_scale",
    "random_tilt",
    "random_translate",
    "rotate",
    "rotation_matrix",
    "scale",
    "shuffle_points",
    "translate",
]

_AXES = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}


def normalize_unit_sphere(points: Tensor) -> Tensor:
    """Move the mean of each cloud to the origin and its farthest point to distance 1.

    (B, N, C) to (B, N, C); channels past the third are left alone. A cloud whose points all
    coincide is only moved.
    """
    check_points("points", points)
    xyz = points[..., :3] - points[..., :3].mean(dim=1, keepdim=True)
    radius = xyz.norm(dim=-1).amax(dim=1)[:, None, None]
    xyz = xyz / torch.where(radius > 0, radius, 1.0)
    return torch.cat([xyz, points[..., 3:]], dim=-1)


def rotation_matrix(angle: Tensor, axis: str = "z") -> Tensor:
    """Rotation about a coordinate axis for row vectors, ``points @ matrix``.

    Parameters
    ----------
    angle : Tensor of shape (B,)
        In radians. Positive about y takes z towards x in the row-vector convention of ReCon:
        [[c, 0, s], [0, 1, 0], [-s, 0, c]].
    axis : {"x", "y", "z"}, default="z"

    Returns
    -------
    matrix : Tensor of shape (B, 3, 3)
    """
    if axis not in _AXES:
        raise ValueError(f"axis must be 'x', 'y' or 'z', got {axis!r}.")
    i, j = _AXES[axis]
    cosine, sine = angle.cos(), angle.sin()
    matrix = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
    k = 3 - i - j
    matrix[..., k, k] = 1.0
    matrix[..., i, i] = cosine
    matrix[..., j, j] = cosine
    matrix[..., i, j] = -sine
    matrix[..., j, i] = sine
    return matrix


def rotate(points: Tensor, matrix: Tensor) -> Tensor:
    """Apply ``xyz @ matrix``: (B, N, C), (3, 3) or (B, 3, 3) to (B, N, C)."""
    check_points("points", points)
    return torch.cat([points[..., :3] @ matrix.to(points), points[..., 3:]], dim=-1)


def scale(points: Tensor, factor: Tensor) -> Tensor:
    """Scale coordinates: (B, N, C) with one factor a cloud (B, 1) or one an axis (B, 3)."""
    check_points("points", points)
    return torch.cat([points[..., :3] * factor.to(points)[:, None], points[..., 3:]], dim=-1)


def translate(points: Tensor, shift: Tensor) -> Tensor:
    """Shift coordinates: (B, N, C) by (B, 3)."""
    check_points("points", points)
    return torch.cat([points[..., :3] + shift.to(points)[:, None], points[..., 3:]], dim=-1)


def random_rotate(points: Tensor, *, generator: torch.Generator, axis: str = "z") -> Tensor:
    """Turn each cloud about `axis` by an angle uniform in [0, 2 pi)."""
    angle = torch.rand(len(points), generator=generator) * (2 * math.pi)
    return rotate(points, rotation_matrix(angle, axis).to(points))


def random_scale(
    points: Tensor,
    *,
    generator: torch.Generator,
    low: float = 2 / 3,
    high: float = 3 / 2,
    anisotropic: bool = True,
) -> Tensor:
    """Scale each cloud by a factor uniform in [low, high), one an axis if `anisotropic`."""
    draws = torch.rand(len(points), 3 if anisotropic else 1, generator=generator)
    return scale(points, low + (high - low) * draws)


def random_translate(
    points: Tensor, *, generator: torch.Generator, limit: float = 0.2, relative: bool = False
) -> Tensor:
    """Shift each cloud by a vector uniform in [-limit, limit)^3.

    If `relative`, the limit counts in extents of the cloud along each axis.
    """
    draws = torch.rand(len(points), 3, generator=generator)
    shift = (limit * (2 * draws - 1)).to(points)
    return translate(points, shift * _extent(points)[1] if relative else shift)


def random_tilt(
    points: Tensor, *, generator: torch.Generator, sigma: float = 0.06, clip: float = 0.18
) -> Tensor:
    """Turn each cloud a little about x, then y, then z, by Gaussian angles in radians.

    Angles have s.d. `sigma` and are cut off at `clip`, as in the training of PointNet++.
    """
    check_points("points", points)
    angles = (torch.randn(len(points), 3, generator=generator) * sigma).clamp(-clip, clip)
    matrix = rotation_matrix(angles[:, 0], "x")
    for i, axis in enumerate("yz", start=1):
        matrix = matrix @ rotation_matrix(angles[:, i], axis)
    return rotate(points, matrix)


def random_gaussian_scale(
    points: Tensor, *, generator: torch.Generator, sigma: float = 0.1, clip: float = 3.0
) -> Tensor:
    """Scale each axis of each cloud by 1 + `sigma` times a Gaussian number, cut at `clip` s.d."""
    return scale(points, _gaussian_factors(points, generator, sigma, clip))


def random_cosine_scale(
    points: Tensor, *, generator: torch.Generator, sigma: float = 0.1, clip: float = 3.0
) -> Tensor:
    """Do to each cloud what PointCNN's released training does in place of a rotation.

    Its code multiplies the matrix of a rotation about y and the diagonal matrix of
    :func:`random_gaussian_scale` element by element, so that only the diagonal is left: x and z
    are scaled by the cosine of an angle uniform in [-pi, pi), which flattens and mirrors clouds
    but turns none. What was meant is :func:`random_gaussian_scale` and :func:`random_rotate`.
    """
    factors = _gaussian_factors(points, generator, sigma, clip)
    cosine = ((2 * torch.rand(len(points), generator=generator) - 1) * math.pi).cos()
    return scale(points, factors * torch.stack([cosine, torch.ones_like(cosine), cosine], dim=1))


def _gaussian_factors(
    points: Tensor, generator: torch.Generator, sigma: float, clip: float
) -> Tensor:
    check_points("points", points)
    return 1 + sigma * torch.randn(len(points), 3, generator=generator).clamp(-clip, clip)


def shuffle_points(points: Tensor, *, generator: torch.Generator) -> Tensor:
    """Put the points of each cloud into an order of its own.

    Networks that are indifferent to the order lose nothing; a ball query that takes the first
    points it meets sees others every time.
    """
    check_points("points", points)
    order = torch.rand(points.shape[:2], generator=generator).argsort(dim=1).to(points.device)
    return points.gather(1, order[..., None].expand_as(points))


def jitter(
    points: Tensor, *, generator: torch.Generator, sigma: float = 0.01, clip: float = 0.05
) -> Tensor:
    """Add Gaussian noise of s.d. `sigma`, cut off at `clip`, to every coordinate."""
    check_points("points", points)
    noise = torch.randn(*points.shape[:2], 3, generator=generator) * sigma
    noise = noise.clamp(-clip, clip).to(points)
    return torch.cat([points[..., :3] + noise, points[..., 3:]], dim=-1)


def drop_points(
    points: Tensor, *, generator: torch.Generator, max_ratio: float = 0.875
) -> Tensor:
    """Overwrite a random share of points, uniform in [0, max_ratio), by the first point.

    The number of points stays, as in PointNet's training; the dropped ones become duplicates.
    """
    check_points("points", points)
    ratio = torch.rand(len(points), 1, generator=generator) * max_ratio
    dropped = torch.rand(points.shape[:2], generator=generator) <= ratio
    return torch.where(dropped.to(points.device).unsqueeze(-1), points[:, :1], points)


def random_crop(
    points: Tensor,
    *,
    generator: torch.Generator,
    probability: float = 0.5,
    low: float = 0.6,
    high: float = 1.1,
    aspect: tuple[float, float] = (0.75, 1.33),
    min_ratio: float = 0.5,
    n_tries: int = 10,
) -> Tensor:
    """Keep of some clouds only what lies in a random box.

    Parameters
    ----------
    points : Tensor (B, N, C)
    generator : torch.Generator
    probability : float, default=0.5
        Of a cloud to be cropped.
    low, high : float, default=0.6, 1.1
        The box is a share, uniform in [low, high), of the cloud's extent along x,
    aspect : (float, float), default=(0.75, 1.33)
        along y that share times a number uniform in here, and along z divided by it.
    min_ratio : float, default=0.5
        Share of the points that must be left,
    n_tries : int, default=10
        else another box is tried, so many times; then the cloud stays whole.

    Returns
    -------
    cropped : Tensor (B, N, C)
        The number of points stays: those outside of the box give their places to copies of
        random ones inside.

    Notes
    -----
    The crop of STRL (Huang, Xie, Zhu, Zhu, ICCV 2021), which thickens clouds to 2 N points
    before and takes N of what is left.
    """
    check_points("points", points)
    draws = torch.rand(len(points), n_tries, 5, generator=generator)
    share = low + (high - low) * draws[..., 0]
    ratio = aspect[0] + (aspect[1] - aspect[0]) * draws[..., 1]
    sizes = torch.stack([share, share * ratio, share / ratio], dim=-1)  # (B, T, 3)
    inside = _in_boxes(points, sizes, draws[..., 2:])
    return _keep_some(points, inside, generator, probability, min_ratio)


def random_cut_out(
    points: Tensor,
    *,
    generator: torch.Generator,
    probability: float = 0.5,
    low: float = 0.3,
    high: float = 0.6,
    min_ratio: float = 0.5,
    n_tries: int = 10,
) -> Tensor:
    """Take what lies in a random box out of some clouds.

    The box is a share, uniform in [low, high), of the cloud's extent along each axis; else as
    :func:`random_crop`, and of the same source.
    """
    check_points("points", points)
    draws = torch.rand(len(points), n_tries, 6, generator=generator)
    inside = _in_boxes(points, low + (high - low) * draws[..., :3], draws[..., 3:])
    return _keep_some(points, ~inside, generator, probability, min_ratio)


def _extent(points: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest corner and extent of each cloud, both (B, 3)."""
    lowest = points[..., :3].amin(dim=1)
    return lowest, points[..., :3].amax(dim=1) - lowest


def _in_boxes(points: Tensor, sizes: Tensor, draws: Tensor) -> Tensor:
    """Whether points lie in boxes of given sizes, placed by `draws`: (B, T, 3) to (B, T, N)."""
    lowest, extent = (each[:, None] for each in _extent(points))
    start = lowest + extent * (draws * (1 - sizes)).to(points)  # (B, T, 3)
    end = start + extent * sizes.to(points)
    xyz = points[:, None, :, :3]
    return ((xyz >= start.unsqueeze(2)) & (xyz <= end.unsqueeze(2))).all(dim=-1)


def _keep_some(
    points: Tensor,
    kept: Tensor,
    generator: torch.Generator,
    probability: float,
    min_ratio: float,
) -> Tensor:
    """Overwrite points that are not kept by the first valid try of (B, T, N) by others."""
    n_clouds, n_points = points.shape[:2]
    n_kept = kept.sum(dim=-1)  # (B, T)
    least = max(1, math.ceil(min_ratio * n_points))
    valid = (n_kept >= least) & (n_kept < n_points)
    first = valid.byte().argmax(dim=1)  # the first of equal ones
    rows = torch.arange(n_clouds, device=points.device)
    chosen = torch.rand(n_clouds, generator=generator).to(points.device) < probability
    whole = ~(chosen & valid.any(dim=1))
    mask = kept[rows, first] | whole.unsqueeze(1)  # (B, N)
    shuffled, places = torch.rand(2, n_clouds, n_points, generator=generator).to(points.device)
    order = (shuffled + (~mask)).argsort(dim=1)  # kept ones first
    n_left = mask.sum(dim=1, keepdim=True)
    # Rounding must not make a place of the one past the last.
    copies = order.gather(1, torch.minimum((places * n_left).long(), n_left - 1))
    index = torch.where(mask, torch.arange(n_points, device=points.device), copies)
    return points.gather(1, index.unsqueeze(-1).expand_as(points))
