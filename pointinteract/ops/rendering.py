"""Depth pictures of point clouds: rotate, project, keep the nearest point of each pixel.

Plain tensor operations throughout. The nearest point wins by a maximum, which does not
depend on the order of the points, so that pictures are equal to the last bit whatever the
order and the device's scheduling.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["render_depth", "view_rotations"]

# The far end of the picture's depth range is drawn this bright, so that no point of the cloud
# can be mistaken for background, which is 0.
FAR_BRIGHTNESS = 0.2


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
    a = torch.deg2rad(torch.tensor(list(azimuths), dtype=torch.float64))
    e = torch.deg2rad(torch.tensor(list(elevations), dtype=torch.float64))
    zero = torch.zeros_like(a)
    toward = torch.stack([a.cos() * e.cos(), a.sin() * e.cos(), e.sin()], dim=-1)
    right = torch.stack([-a.sin(), a.cos(), zero], dim=-1)
    rotations = torch.stack([right, torch.linalg.cross(toward, right), toward], dim=1)
    if up == "y":
        # (x, y, z) of a y-up cloud is (z, x, y) of a z-up one: a rotation, not a mirror.
        rotations = rotations[:, :, [1, 2, 0]]
    return rotations.float()


def render_depth(
    points: Tensor,
    *,
    n_views: int = 6,
    size: int = 64,
    radius: int = 1,
    extent: float = 1.0,
    distance: float | None = None,
    elevation: float = 20.0,
    azimuth_start: float = 0.0,
    poles: bool = False,
    up: str = "z",
    rotations: Tensor | None = None,
) -> Tensor:
    """Render each cloud from several sides as pictures of its nearest surface.

    Parameters
    ----------
    points : Tensor (B, N, 3)
        Clouds, expected within the ball of radius `extent` around the origin. What lies
        outside of the picture's volume, or is not finite, is not drawn.
    n_views : int, default=6
        Number of views, as in :func:`view_rotations`.
    size : int, default=64
        Height and width of the pictures in pixels.
    radius : int, default=1
        Each point covers a square of ``2 * radius + 1`` pixels. Larger closes the gaps
        between the points of a thin cloud and blurs its outline.
    extent : float, default=1.0
        Half the width of the world that a picture shows.
    distance : float, default=None
        Distance of the camera from the origin, larger than `extent`, for pictures in
        perspective; the ball of radius `extent` then just fits. None is the orthographic
        camera.
    elevation, azimuth_start, poles, up
        As in :func:`view_rotations`.
    rotations : Tensor (V, 3, 3), default=None
        Views made beforehand; the parameters of the views are then ignored.

    Returns
    -------
    pictures : Tensor (B, V, S, S)
        Float32 in [0, 1]: 0 for background, else brighter for nearer, from 0.2 at the far
        end of the ball to 1 at its near end. The first row of a picture is its top.

    Notes
    -----
    Time and memory are O(B V (N + S^2)). A point is scattered into one pixel and the picture
    is widened afterwards, which gives the same maximum as drawing every point wide.
    The brightness, not the position, carries gradients to `points`.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.ops.rendering import render_depth
    >>> render_depth(torch.zeros(2, 10, 3), n_views=4, size=32).shape
    torch.Size([2, 4, 32, 32])
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise ValueError(f"points must be (B, N, 3), got {tuple(points.shape)}.")
    size = check_int("size", size)
    radius = check_int("radius", radius, minimum=0)
    extent = check_real("extent", extent, open_minimum=True)
    if rotations is None:
        rotations = view_rotations(
            n_views, elevation=elevation, azimuth_start=azimuth_start, poles=poles, up=up
        )
    elif rotations.ndim != 3 or rotations.shape[1:] != (3, 3):
        raise ValueError(f"rotations must be (V, 3, 3), got {tuple(rotations.shape)}.")
    n_clouds, n_points, _ = points.shape
    n_views = len(rotations)

    # (B, 3, N) is multiplied from the left so that x, y and z come out contiguous.
    scene = (points.float() / extent).transpose(1, 2)
    turn = rotations.to(scene).reshape(n_views * 3, 3)
    camera = (turn @ scene).view(n_clouds, n_views, 3, n_points)
    x, y, z = camera.unbind(2)  # each (B, V, N)
    if distance is not None:
        apart = check_real("distance", distance, minimum=extent, open_minimum=True) / extent
        # The tangent cone of the unit ball fills the picture.
        zoom = math.sqrt(apart**2 - 1) / (apart - z)
        x, y = x * zoom, y * zoom
    inside = (x.abs() <= 1) & (y.abs() <= 1) & (z.abs() <= 1)
    brightness = FAR_BRIGHTNESS + (1 - FAR_BRIGHTNESS) * 0.5 * (z + 1)
    brightness = torch.where(inside, brightness, torch.zeros_like(brightness))
    column = torch.where(inside, (x + 1) * (0.5 * size), 0).long().clamp_(0, size - 1)
    row = torch.where(inside, (1 - y) * (0.5 * size), 0).long().clamp_(0, size - 1)
    pixel = row * size + column  # (B, V, N)

    pictures = brightness.new_zeros(n_clouds, n_views, size * size)
    pictures = pictures.scatter_reduce(2, pixel, brightness, "amax", include_self=True)
    pictures = pictures.view(n_clouds, n_views, size, size)
    # A square maximum is a maximum along columns, then along rows.
    return _widen(_widen(pictures, radius, dim=2), radius, dim=3)


def _widen(pictures: Tensor, radius: int, *, dim: int) -> Tensor:
    """Take the maximum over ``2 * radius + 1`` neighbors along one axis.

    Shifted maxima, because torch's max pooling is several times slower on CPU.
    """
    size = pictures.shape[dim]
    padding = [0, 0, radius, radius] if dim == 2 else [radius, radius]
    padded = F.pad(pictures, padding)
    widened = padded.narrow(dim, 0, size)
    for shift in range(1, 2 * radius + 1):
        widened = torch.maximum(widened, padded.narrow(dim, shift, size))
    return widened
