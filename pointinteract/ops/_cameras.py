"""Cameras: which way is right, up and towards the viewer, and where points then appear.

A camera is a matrix whose rows are its right, its up and the direction from the scene to the
camera, so that ``points @ camera.T`` has x to the right, y up and z towards the viewer.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pointinteract.utils._params import check_int, check_option

__all__ = [
    "euler_rotations",
    "look_at",
    "project_points",
    "spherical_views",
    "view_rotations",
]


def view_rotations(
    n_views: int = 6,
    *,
    elevation: float = 20.0,
    azimuth_start: float = 0.0,
    poles: bool = False,
    up: str = "z",
    azimuths: Sequence[float] | None = None,
    elevations: Sequence[float] | None = None,
) -> Tensor:
    """Make the rotations that turn clouds towards cameras standing around them.

    Parameters
    ----------
    n_views : int, default=6
        Number of cameras, evenly spaced around the vertical axis. With `poles`, the last two
        of them look straight down and straight up instead.
    elevation : float, default=20.0
        Degrees the ring of cameras stands above the horizon.
    azimuth_start : float, default=0.0
        Degrees of the first camera around the vertical axis; 0 is the first horizontal axis.
    poles : bool, default=False
        Whether two of the `n_views` cameras stand above and below.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds.
    azimuths, elevations : sequence of float, default=None
        Degrees of every camera, instead of the ring that the other parameters describe;
        `n_views` is then ignored. `elevations` may be left out (`elevation` for all).

    Returns
    -------
    rotations : Tensor (V, 3, 3)
        Float32. The rows of each are the camera's right, its up and the direction from the
        cloud to the camera, so that ``points @ rotation.T`` has x to the right, y up and z
        towards the viewer.

    See Also
    --------
    look_at : The same for angles in a tensor, differentiable.

    Examples
    --------
    >>> from pointinteract.ops.rendering import view_rotations
    >>> view_rotations(8, poles=True).shape
    torch.Size([8, 3, 3])
    """
    check_option("up", up, ("z", "y"))
    if azimuths is None:
        n_views = check_int("n_views", n_views, minimum=3 if poles else 1)
        if elevations is not None:
            raise ValueError("elevations were given without azimuths; give both, or neither.")
        n_ring = n_views - 2 * poles
        azimuths = [azimuth_start + 360.0 * i / n_ring for i in range(n_ring)]
        elevations = [elevation] * n_ring
        if poles:
            azimuths += [azimuth_start, azimuth_start]
            elevations += [90.0, -90.0]
    elif elevations is None:
        elevations = [elevation] * len(azimuths)
    if len(azimuths) != len(elevations) or len(azimuths) == 0:
        raise ValueError(
            "azimuths and elevations must be of one length, at least 1; "
            f"got {len(azimuths)} and {len(elevations)}."
        )
    a = torch.tensor(list(azimuths), dtype=torch.float64)
    e = torch.tensor(list(elevations), dtype=torch.float64)
    return look_at(a, e, up=up).float()


def spherical_views(n_views: int) -> tuple[Tensor, Tensor]:
    """Spread views evenly over a sphere, in rings of equal height.

    Parameters
    ----------
    n_views : int
        Six are two rings of three; 12 are rings of 3, 6 and 3. Four, and numbers that no
        rings are found for, stand in one ring 30 degrees above the horizon. (Hamdi et al.
        2021, "spherical".)

    Returns
    -------
    azimuth, elevation : Tensor (n_views,)
        Degrees, float32.
    """
    n_views = check_int("n_views", n_views)
    area = 4 * math.pi / n_views
    n_rings = round(math.pi / math.sqrt(area))
    height = math.pi / n_rings
    views = []
    for ring in range(n_rings):
        polar = (ring + 0.5) * height
        n_ring = round(2 * math.pi * math.sin(polar) * height / area)
        views += [(360 * n / n_ring, math.degrees(polar) - 90) for n in range(n_ring)]
    if n_views == 4 or len(views) < n_views:
        views = [(360 * n / n_views - 180, 30.0) for n in range(n_views)]
    azimuth, elevation = torch.tensor(views[:n_views]).unbind(1)
    return azimuth.clone(), elevation.clone()


def look_at(azimuth: Tensor, elevation: Tensor, *, up: str = "z", upright: bool = False) -> Tensor:
    """Make cameras that look at the origin from given directions.

    Parameters
    ----------
    azimuth, elevation : Tensor (...)
        Degrees around the vertical axis, from the first horizontal one, and above the horizon.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds. With "y" the horizontal ones are z and x, in this
        order.
    upright : bool, default=False
        What a camera does that has climbed beyond a pole (elevation above 90 or below -90):
        turn upright, as a look-at camera does, or hang upside down, which is the smooth
        continuation.

    Returns
    -------
    rotations : Tensor (..., 3, 3)
        The rows of each are the camera's right, its up and the direction from the scene to
        the camera. Carries gradients to both angles.
    """
    check_option("up", up, ("z", "y"))
    if azimuth.shape != elevation.shape:
        raise ValueError(
            "azimuth and elevation must have one shape, got "
            f"{tuple(azimuth.shape)} and {tuple(elevation.shape)}."
        )
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    zero = torch.zeros_like(a)
    toward = torch.stack([a.cos() * e.cos(), a.sin() * e.cos(), e.sin()], dim=-1)
    right = torch.stack([-a.sin(), a.cos(), zero], dim=-1)
    if upright:
        right = torch.where(e.cos().unsqueeze(-1) < 0, -right, right)
    rotations = torch.stack([right, torch.linalg.cross(toward, right), toward], dim=-2)
    if up == "y":
        # (x, y, z) of a y-up cloud is (z, x, y) of a z-up one: a rotation, not a mirror.
        rotations = rotations[..., [1, 2, 0]]
    return rotations


def euler_rotations(angles: Tensor) -> Tensor:
    """Make rotations about x, y and z, applied in the order z, y, x.

    Parameters
    ----------
    angles : Tensor (..., 3)
        Radians about the three axes.

    Returns
    -------
    rotations : Tensor (..., 3, 3)
        Rx Ry Rz, for columns: ``points @ rotation.T``. Carries gradients to `angles`.
    """
    if angles.shape[-1:] != (3,):
        raise ValueError(f"angles must be (..., 3), got {tuple(angles.shape)}.")
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        torch.stack([cy * cz, -cy * sz, sy], dim=-1),
        torch.stack([cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy], dim=-1),
        torch.stack([sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def project_points(
    points: Tensor, rotations: Tensor, *, distance: float = 0.0, perspective: bool = False
) -> tuple[Tensor, Tensor]:
    """Find where points appear in the pictures of several cameras.

    Parameters
    ----------
    points : Tensor (B, N, 3)
    rotations : Tensor (V, 3, 3) or (B, V, 3, 3)
        Cameras for all clouds, or for each its own; see :func:`look_at`.
    distance : float, default=0.0
        Distance of the cameras from the origin.
    perspective : bool, default=False
        Whether far points move together, as through a pinhole of focal length 1, or the
        camera is orthographic.

    Returns
    -------
    plane : Tensor (B, V, N, 2)
        Coordinates to the right and upwards; [-1, 1] of both is the picture. Where a pinhole
        camera has nothing to show, behind it, they are infinite.
    depth : Tensor (B, V, N)
        Distance from the camera along its axis; negative behind it.

    Notes
    -----
    Both carry gradients to `points` and `rotations`. Half precision is widened to single,
    and autocasting does not apply: eight bits of a coordinate are fewer than pixels.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be (B, N, 3), got {tuple(points.shape)}.")
    if rotations.ndim not in (3, 4) or rotations.shape[-2:] != (3, 3):
        raise ValueError(
            f"rotations must be (V, 3, 3) or (B, V, 3, 3), got {tuple(rotations.shape)}."
        )
    if points.dtype != torch.float64:
        points = points.float()
    rotations = rotations.to(points)
    if rotations.ndim == 3:
        rotations = rotations.unsqueeze(0)
    # Products and sums instead of a matrix product: the type stays, and as fast for 3 x 3.
    x, y, z = points.unsqueeze(1).unbind(-1)  # each (B, 1, N)
    turned = [
        rotations[..., i, 0, None] * x
        + rotations[..., i, 1, None] * y
        + rotations[..., i, 2, None] * z
        for i in range(3)
    ]
    depth = distance - turned[2]
    plane = torch.stack(turned[:2], dim=-1)  # (B, V, N, 2)
    if perspective:
        ahead = (depth > 0).unsqueeze(-1)
        # Not a division by what may be zero, whose gradient would be no number.
        shown = plane / torch.where(ahead, depth.unsqueeze(-1), 1.0)
        plane = torch.where(ahead, shown, torch.inf)
    return plane, depth
