"""Pictures of point clouds: cameras, projection, and splats onto pixels.

A picture is made in three steps. A camera (`view_rotations`, `look_at`, `euler_rotations`)
turns the cloud, `project_points` says where its points appear and how far away they are, and
a splat makes pixels of them:

=================  =============================  ==========================  ================
splat              pixel                          footprint of a point        gradients reach
=================  =============================  ==========================  ================
`splat_maximum`    largest value, as a z-buffer   square of pixels            values
`splat_harmonic`   harmonic mean of the depths    one pixel                   depths
`splat_nearest`    k nearest, weighted by place   disc on the plane           features, places
`splat_sum`        sum of feature vectors         square of pixels            features
=================  =============================  ==========================  ================

Plain tensor operations on whole batches throughout. The pixel of a point is a whole number
(`pixel_cells`) and has no gradient; what stands in it has. On one device the same input gives
the same numbers, and the order of the points does not matter, up to the rounding of sums.
"""

import math

import torch
from torch import Tensor

from pointinteract.ops._cameras import (
    euler_rotations,
    look_at,
    project_points,
    spherical_views,
    view_rotations,
)
from pointinteract.ops._splatting import (
    draw_maximum,
    pixel_cells,
    splat_harmonic,
    splat_maximum,
    splat_nearest,
    splat_sum,
)
from pointinteract.utils._params import check_int, check_real

__all__ = [
    "euler_rotations",
    "look_at",
    "pixel_cells",
    "project_points",
    "render_depth",
    "spherical_views",
    "splat_harmonic",
    "splat_maximum",
    "splat_nearest",
    "splat_sum",
    "view_rotations",
]

# The far end of the picture's depth range is drawn this bright, so that no point of the cloud
# can be mistaken for background, which is 0.
FAR_BRIGHTNESS = 0.2


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
    # As `pixel_cells` has it, except that the lower and right edge belong to the last pixel.
    column = torch.where(inside, (x + 1) * (0.5 * size), 0).long().clamp_(0, size - 1)
    row = torch.where(inside, (1 - y) * (0.5 * size), 0).long().clamp_(0, size - 1)
    return draw_maximum(brightness, row * size + column, inside, (size, size), radius)
