"""Depth pictures of clouds as networks that were trained on photographs are shown them.

`render_depth` draws what suits our own teachers. The pictures here are those of two published
systems whose numbers depend on how a picture is made: PointCLIP (Zhang et al., CVPR 2022) puts
the harmonic mean of the depths into single pixels and blows the picture up; CLIP2Point (Huang
et al., ICCV 2023) draws every point as a small disc, the nearest in front.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.ops._cameras import euler_rotations, project_points
from pointinteract.ops._splatting import pixel_cells, splat_harmonic, splat_nearest
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["disc_depth_views", "harmonic_depth_views", "side_cameras"]

# Quarter turns about x, y and z: four around, one above, one below; then four between those
# around.
_QUARTERS = (
    (0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, -1, 1), (0, 1, 1),
    (0.5, 0, 1), (1.5, 0, 1), (2.5, 0, 1), (3.5, 0, 1),
)  # fmt: skip
# A pixel at the far end of the depths; the background is 1.
_FARTHEST = 200 / 255


def side_cameras(n_views: int = 6, *, up: str = "y", mirrored: bool = True) -> Tensor:
    """Make the cameras of PointCLIP and SimpleView: six sides of a cube, or ten.

    Parameters
    ----------
    n_views : int, default=6
        The first so many of: four around the vertical axis, one from above, one from below, and
        four between those around.
    up : {"z", "y"}, default="y"
        The vertical axis of the clouds; "y" as published.
    mirrored : bool, default=True
        Whether left and right are exchanged, as in the pictures of these systems. False shows
        what a photograph would.

    Returns
    -------
    cameras : Tensor (n_views, 3, 3)
        Float32, for :func:`project_points`.

    Notes
    -----
    The originals turn a cloud, push it away along z and let x be the row of the picture. So the
    row that turns x points down, the one that turns y to the right, and the one that turns z
    away from the camera, which mirrors the pictures.
    """
    n_views = check_int("n_views", n_views, maximum=len(_QUARTERS))
    check_option("up", up, ("z", "y"))
    angles = 0.5 * math.pi * torch.tensor(_QUARTERS[:n_views], dtype=torch.float64)
    turns = euler_rotations(angles)
    # Of quarter turns every entry is 0, 1 or -1, to the last bit.
    turns = torch.where((turns - turns.round()).abs() < 1e-9, turns.round(), turns)
    cameras = torch.stack([turns[:, 1], -turns[:, 0], -turns[:, 2]], dim=1).float()
    if not mirrored:
        cameras[:, 0] *= -1
    if up == "z":  # (x, y, z) of a z-up cloud is (y, z, x) of a y-up one
        cameras = cameras[..., [2, 0, 1]]
    return cameras


def harmonic_depth_views(
    points: Tensor,
    cameras: Tensor,
    *,
    size: int = 128,
    distance: float = 1.6,
    shown_size: int = 224,
) -> Tensor:
    """Draw perspective depth pictures with one pixel a point, and blow them up (PointCLIP).

    Parameters
    ----------
    points : Tensor (B, N, 3)
        Within the unit ball.
    cameras : Tensor (V, 3, 3)
    size : int, default=128
        Height and width that points are drawn at. Smaller ones have fewer holes.
    distance : float, default=1.6
        From the origin, of a camera of focal length 1.
    shown_size : int, default=224
        Height and width of the pictures, by linear interpolation between corners.

    Returns
    -------
    pictures : Tensor (B, V, shown_size, shown_size)
        The harmonic mean of the depths in a pixel, from ``distance - 1`` to ``distance + 1``,
        and 0 where there is no point. Carries gradients to `points`.
    """
    check_real("distance", distance, open_minimum=True)
    shown_size = check_int("shown_size", shown_size)
    plane, depth = project_points(points, cameras, distance=distance, perspective=True)
    cells = pixel_cells(plane, size, rule="half_down")
    pictures = splat_harmonic(depth, cells, size)[..., 0]  # (B, V, S, S)
    if shown_size == size:
        return pictures
    return F.interpolate(pictures, size=shown_size, mode="bilinear", align_corners=True)


def disc_depth_views(
    points: Tensor,
    cameras: Tensor,
    *,
    size: int = 224,
    radius: float = 0.02,
    distance: Tensor | None = None,
) -> Tensor:
    """Draw orthographic depth pictures with a small disc a point (CLIP2Point).

    Parameters
    ----------
    points : Tensor (B, N, 3)
        Within the unit ball.
    cameras : Tensor (V, 3, 3) or (B, V, 3, 3)
    size : int, default=224
    radius : float, default=0.02
        Of the discs, where the picture covers [-1, 1].
    distance : Tensor (B, V), default=None
        How far away the camera stands, 1 being where the ball just fits: twice as far, half as
        large. An orthographic camera would see no difference in distance, so it is a zoom.

    Returns
    -------
    pictures : Tensor (B, V, size, size)
        0 at the nearest pixel of a picture to 200 / 255 at the farthest; 1 where there is no
        point.
    """
    plane, depth = project_points(points, cameras, distance=2.0)
    if distance is not None:
        if distance.shape != depth.shape[:2]:
            raise ValueError(
                f"distance must be {tuple(depth.shape[:2])}, a number a picture, got "
                f"{tuple(distance.shape)}."
            )
        plane = plane / distance[..., None, None].to(plane)
    # Beside the depth a one: their ratio is the depth also where the weight of a disc fades.
    drawn = splat_nearest(
        torch.stack([depth, torch.ones_like(depth)], dim=-1), plane, depth, size, radius=radius
    )
    depth, covered = drawn[..., 0] / drawn[..., 1].clamp_min(1e-12), drawn[..., 1] > 0
    nearest = depth.masked_fill(~covered, torch.inf).amin(dim=(-2, -1), keepdim=True)
    nearest = torch.where(nearest.isfinite(), nearest, 0.0)
    depth = torch.where(covered, depth - nearest, 0.0)
    farthest = depth.amax(dim=(-2, -1), keepdim=True).clamp_min(1e-6)
    return torch.where(covered, depth / farthest * _FARTHEST, 1.0)
