"""Splats: from points on the plane of a picture to pixels.

All are one idea. Every point makes an entry for each pixel of its footprint, entries that
nobody should see are sent to a pixel that is thrown away, and what falls into one pixel is
reduced to one value: by a sum, a harmonic mean, a maximum, or a weighted mean of the nearest.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["pixel_cells", "splat_harmonic", "splat_maximum", "splat_nearest", "splat_sum"]

# A mean whose weights sum to less fades into black instead of being blown up.
_LEAST_WEIGHT = 1e-4


def pixel_cells(plane: Tensor, size: int, *, rule: str = "floor") -> Tensor:
    """Find the pixel of each point of the picture's plane.

    Parameters
    ----------
    plane : Tensor (..., 2)
        Coordinates to the right and upwards; the picture covers [-1, 1] of both.
    size : int
        Height and width of the picture in pixels.
    rule : {"floor", "half_down"}, default="floor"
        "floor" takes the pixel that the point lies in. "half_down" takes the pixel whose
        *first corner* is nearest, halves to the lower one, as SimpleView does: the same
        shifted by half a pixel.

    Returns
    -------
    cells : int64 Tensor (..., 2)
        Row, counted from the top, and column. What lies outside, or is not finite, gets -1 or
        `size`, which no splat draws. No gradient.
    """
    if plane.shape[-1:] != (2,):
        raise ValueError(f"plane must be (..., 2), got {tuple(plane.shape)}.")
    check_option("rule", rule, ("floor", "half_down"))
    right, up = plane.detach().unbind(-1)
    place = torch.stack([1 - up, right + 1], dim=-1) * (0.5 * size)
    place = place.floor() if rule == "floor" else (place - 0.5).ceil()
    return place.nan_to_num_(nan=-1.0).clamp_(-1, size).long()


def splat_sum(
    features: Tensor, cells: Tensor, size: int | tuple[int, int], *, radius: int = 0
) -> Tensor:
    """Add up the features of the points in each pixel.

    Parameters
    ----------
    features : Tensor (..., N, C)
    cells : int64 Tensor (..., N, 2)
        Row and column of each point. The part of a footprint that lies outside of the picture
        is not drawn.
    size : int or (int, int)
        Height and width of the picture in pixels.
    radius : int, default=0
        Each point covers a square of ``2 * radius + 1`` pixels; 1 is the 3x3 neighborhood.

    Returns
    -------
    pictures : Tensor (..., H, W, C)
        0 where there is no point. Carries gradients to `features`.

    Notes
    -----
    Time is O(N (2 radius + 1)^2 C + H W C) a picture.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.ops.rendering import splat_sum
    >>> cells = torch.tensor([[[0, 0], [0, 1]]])
    >>> splat_sum(torch.ones(1, 2, 1), cells, 3, radius=1)[0, ..., 0]
    tensor([[2., 2., 1.],
            [2., 2., 1.],
            [0., 0., 0.]])
    """
    height, width = _check_size(size)
    _check_cells(cells, features.shape[:-1], "features")
    radius = check_int("radius", radius, minimum=0)
    n_channels = features.shape[-1]
    shift = torch.arange(-radius, radius + 1, device=cells.device)
    rows = cells[..., 0, None, None] + shift[:, None]  # (..., N, 2r + 1, 1)
    columns = cells[..., 1, None, None] + shift  # (..., N, 1, 2r + 1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pixel = rows * width + columns  # (..., N, 2r + 1, 2r + 1)
    values = features[..., None, None, :].expand(*pixel.shape, n_channels)
    summed = _accumulate(values, pixel, inside, height * width, cells.ndim - 2)
    return summed.unflatten(-2, (height, width))


def splat_harmonic(
    depth: Tensor,
    cells: Tensor,
    size: int | tuple[int, int],
    *,
    features: Tensor | None = None,
) -> Tensor:
    """Draw in each pixel the harmonic mean of the depths of the points in it.

    Parameters
    ----------
    depth : Tensor (..., N)
        Distances along the camera's axis; what is not positive lies behind it and is not drawn.
    cells : int64 Tensor (..., N, 2)
        Row and column of each point.
    size : int or (int, int)
        Height and width of the picture in pixels.
    features : Tensor (..., N, C), default=None
        Drawn in further channels, as the mean with the same weights.

    Returns
    -------
    pictures : Tensor (..., H, W, 1 + C)
        n / sum(1 / depth) over the n points of a pixel, 0 where there is none: the mean with
        weights 1 / depth (Goyal et al. 2021, section 4), in which near points count more.
        Carries gradients to `depth` and `features`.
    """
    height, width = _check_size(size)
    _check_cells(cells, depth.shape, "depth")
    rows, columns = cells.unbind(-1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width) & (depth > 0)
    inverse = torch.where(inside, depth, 1.0).reciprocal().unsqueeze(-1)
    values = [torch.ones_like(inverse), inverse]
    if features is not None:
        values.insert(1, inverse * features)
    pixel = rows * width + columns
    summed = _accumulate(torch.cat(values, dim=-1), pixel, inside, height * width, depth.ndim - 1)
    total = summed[..., -1:]
    pictures = summed[..., :-1] / torch.where(total > 0, total, 1.0)
    return pictures.unflatten(-2, (height, width))


def splat_maximum(
    values: Tensor, cells: Tensor, size: int | tuple[int, int], *, radius: int = 0
) -> Tensor:
    """Keep the largest value in each pixel: a z-buffer, where larger means nearer.

    Parameters
    ----------
    values : Tensor (..., N)
        Not negative.
    cells : int64 Tensor (..., N, 2)
        Row and column of each point; one outside of the picture is not drawn, nor is what
        would reach into it.
    size : int or (int, int)
        Height and width of the picture in pixels.
    radius : int, default=0
        Each point covers a square of ``2 * radius + 1`` pixels.

    Returns
    -------
    pictures : Tensor (..., H, W)
        0 where there is no point. Equal to the last bit whatever the order of the points.
        Carries gradients to `values`.
    """
    height, width = _check_size(size)
    _check_cells(cells, values.shape, "values")
    radius = check_int("radius", radius, minimum=0)
    rows, columns = cells.unbind(-1)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return draw_maximum(values, rows * width + columns, inside, (height, width), radius)


def splat_nearest(
    features: Tensor,
    plane: Tensor,
    depth: Tensor,
    size: int,
    *,
    radius: float,
    n_nearest: int = 1,
    background: float = 0.0,
) -> Tensor:
    """Blend in each pixel the features of the nearest points that cover it.

    Parameters
    ----------
    features : Tensor (..., N, C)
    plane : Tensor (..., N, 2)
        Coordinates to the right and upwards; the picture covers [-1, 1] of both.
    depth : Tensor (..., N)
        Distances along the camera's axis; what is negative lies behind it and is not drawn.
    size : int
        Height and width of the picture in pixels.
    radius : float
        A point covers the pixels whose centers are nearer than this to it, measured in the
        plane. Time grows with its square.
    n_nearest : int, default=1
        Points that count in a pixel. With 1 the weight cancels out, so that no gradient
        reaches `plane`.
    background : float, default=0.0
        Value of pixels that no point covers.

    Returns
    -------
    pictures : Tensor (..., S, S, C)
        sum(w f) / max(sum(w), 1e-4), with w = 1 - d^2 / radius^2 for a point at distance d
        from the center of the pixel (the renderer of PyTorch3D, Ravi et al. 2020, with its
        normalizing compositor). Carries gradients to `features` and `plane`; which points are
        nearest does not.

    Notes
    -----
    Points of equal depth are ranked by their place in the plane, so the order of the points
    matters for none but such as share all three coordinates and differ in features.
    """
    size = check_int("size", size)
    radius = check_real("radius", radius, open_minimum=True)
    n_nearest = check_int("n_nearest", n_nearest)
    if plane.shape != (*depth.shape, 2) or features.shape[:-1] != depth.shape:
        raise ValueError(
            "features (..., N, C), plane (..., N, 2) and depth (..., N) must agree, got "
            f"{tuple(features.shape)}, {tuple(plane.shape)} and {tuple(depth.shape)}."
        )
    lead, n_points = depth.shape[:-1], depth.shape[-1]
    finite = plane.isfinite().all(-1)
    right, up = torch.where(finite.unsqueeze(-1), plane, 0.0).unbind(-1)

    # A span of 2 radius, in pixels, cannot hold more centers than this in a row.
    n_span = math.floor(radius * size) + 1
    columns = _covered(right, size, radius, n_span)[..., None, :]  # (..., N, 1, n_span)
    rows = _covered(-up, size, radius, n_span)[..., :, None]  # (..., N, n_span, 1)
    # Centers in the type of the plane: whole numbers divided would be single precision.
    across = (2 * columns + 1).to(plane.dtype) / size - 1
    upwards = 1 - (2 * rows + 1).to(plane.dtype) / size
    apart = (right[..., None, None] - across).square() + (up[..., None, None] - upwards).square()
    weight = 1 - apart / radius**2  # (..., N, n_span, n_span)
    visible = (finite & (depth >= 0))[..., None, None] & (weight > 0)
    visible = visible & (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    pixel = torch.where(visible, rows * size + columns, 0).flatten(-3)

    with torch.no_grad():
        rank = _depth_ranks(depth, plane)[..., None, None]
        rank = torch.where(visible, rank, n_points).flatten(-3)
        seen = _among_nearest(rank, pixel, n_nearest, size * size, n_points)
    seen = seen.view(visible.shape)
    weight = torch.where(seen, weight, 0.0).unsqueeze(-1)
    weighted = torch.cat([weight * features[..., None, None, :], weight], dim=-1)
    summed = _accumulate(weighted, pixel.view(visible.shape), seen, size * size, len(lead))
    total = summed[..., -1:]
    pictures = summed[..., :-1] / total.clamp_min(_LEAST_WEIGHT)
    if background:
        pictures = torch.where(total > 0, pictures, background)
    return pictures.unflatten(-2, (size, size))


def _covered(place: Tensor, size: int, radius: float, n_span: int) -> Tensor:
    """Numbers of the pixels in a row whose centers a point may cover: (...,) to (..., n)."""
    first = ((place.detach() + 1 - radius) * (0.5 * size) - 0.5).ceil()
    first = first.clamp(-n_span, size).long()
    return first.unsqueeze(-1) + torch.arange(n_span, device=place.device)


def _depth_ranks(depth: Tensor, plane: Tensor) -> Tensor:
    """Place of each point in the order of depth, ties by place in the plane: int64 (..., N)."""
    order = _stable_order(plane[..., 1])
    for key in (plane[..., 0], depth):
        order = order.gather(-1, _stable_order(key.gather(-1, order)))
    places = torch.arange(depth.shape[-1], device=depth.device).expand_as(order)
    return torch.zeros_like(order).scatter(-1, order, places)


def _stable_order(keys: Tensor) -> Tensor:
    if torch.compiler.is_exporting():
        # ONNX knows one sort, which is stable, but not by that name.
        return keys.sort(dim=-1).indices
    return keys.argsort(dim=-1, stable=True)


def _among_nearest(
    rank: Tensor, pixel: Tensor, n_nearest: int, n_pixels: int, n_points: int
) -> Tensor:
    """Which entries are among the first of their pixel; entries of rank `n_points` are not.

    rank, pixel (..., E) to bool (..., E). Each round finds the best of every pixel and takes
    it out of the running; ranks differ, so one entry wins a pixel.
    """
    empty = rank.new_full((*rank.shape[:-1], n_pixels), n_points)
    running = rank
    for _ in range(n_nearest):
        best = empty.scatter_reduce(-1, pixel, running, "amin").gather(-1, pixel)
        running = torch.where(running == best, n_points, running)
    return (rank < n_points) & (running == n_points)


def _accumulate(
    values: Tensor, pixel: Tensor, inside: Tensor, n_pixels: int, n_lead: int
) -> Tensor:
    """Add entries (*lead, *entries, C) up by pixel (*lead, *entries) to (*lead, n_pixels, C).

    All pictures are one long list of pixels, with one more at its end for what is not inside.
    """
    lead = pixel.shape[:n_lead]
    n_pictures = math.prod(lead)
    first = torch.arange(n_pictures, device=pixel.device) * n_pixels
    place = pixel + first.view(*lead, *(1,) * (pixel.ndim - n_lead))
    place = torch.where(inside, place, n_pictures * n_pixels).reshape(-1)
    rows = values.reshape(-1, values.shape[-1])
    pictures = rows.new_zeros(n_pictures * n_pixels + 1, rows.shape[1])
    if rows.is_cuda:  # sorts the entries first: the same sums every time, as atomics are not
        pictures = pictures.index_put((place,), rows, accumulate=True)
    else:
        pictures = pictures.index_add(0, place, rows)
    return pictures[:-1].view(*lead, n_pixels, rows.shape[1])


def draw_maximum(
    values: Tensor, pixel: Tensor, inside: Tensor, size: tuple[int, int], radius: int
) -> Tensor:
    """Do what `splat_maximum` says, for pixels (..., N) numbered row by row."""
    pixel = torch.where(inside, pixel, 0)
    values = torch.where(inside, values, 0.0)
    pictures = values.new_zeros(*values.shape[:-1], size[0] * size[1])
    pictures = pictures.scatter_reduce(-1, pixel, values, "amax", include_self=True)
    pictures = pictures.unflatten(-1, size)
    # Widening the picture is drawing every point wide, and a square maximum is a maximum
    # along columns, then along rows.
    return _widen(_widen(pictures, radius, dim=-2), radius, dim=-1)


def _widen(pictures: Tensor, radius: int, *, dim: int) -> Tensor:
    """Take the maximum over ``2 * radius + 1`` neighbors along one of the last two axes.

    Shifted maxima, because torch's max pooling is several times slower on CPU.
    """
    size = pictures.shape[dim]
    padding = [0, 0, radius, radius] if dim == -2 else [radius, radius]
    padded = F.pad(pictures, padding)
    widened = padded.narrow(dim, 0, size)
    for shift in range(1, 2 * radius + 1):
        widened = torch.maximum(widened, padded.narrow(dim, shift, size))
    return widened


def _check_size(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = size if isinstance(size, tuple) else (size, size)
    return check_int("size", height), check_int("size", width)


def _check_cells(cells: Tensor, expected: torch.Size, name: str) -> None:
    if cells.shape != (*expected, 2):
        raise ValueError(
            f"cells must be {(*expected, 2)} to go with {name}, got {tuple(cells.shape)}."
        )
    if cells.is_floating_point() or cells.is_complex():
        raise TypeError(f"cells must be integers, got {cells.dtype}; see pixel_cells.")
