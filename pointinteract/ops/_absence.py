"""Take regions away from a cloud: what absent points become, and masked clouds made small.

Public through :mod:`pointinteract.ops.regions`. A new way of taking away that puts a fixed
point in the place of each absent one is one function here and a line in ``_REPLACEMENTS``.
"""

import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops._checks import check_points

__all__ = [
    "absent_points",
    "keep_points",
    "mask_regions",
    "merge_points",
    "resample_index",
    "sphere_background",
    "spread_background",
]


def mask_regions(
    points: Tensor,
    regions: Tensor,
    keep: Tensor,
    *,
    absence: str = "center",
    background: Tensor | None = None,
) -> Tensor:
    """Make one copy of a cloud per coalition, with the regions outside it taken away.

    Parameters
    ----------
    points : Tensor of shape (N, C) or (B, N, C)
    regions : int64 Tensor of shape (N,) or (B, N)
        Region id of every point.
    keep : bool Tensor of shape (S, R)
        Which regions each of the S coalitions keeps.
    absence : {"center", "region", "background"}, default="center"
        Where masked points go. ``"center"``: all to the mean of the cloud, as in the
        published work. ``"region"``: each to the mean of its own region, which leaves a
        skeleton of the shape and so takes less away. ``"background"``: each to the point of
        `background` in its row. Further channels become means likewise.
    background : Tensor of shape (N, C) or (B, N, C), optional
        See :func:`sphere_background` and :func:`spread_background`.

    Returns
    -------
    masked : Tensor of shape (S, N, C) or (B, S, N, C)
        The number of points stays. Nothing is moved or scaled to make up for the loss.

    Notes
    -----
    Costs O(B S N C).
    """
    if points.ndim == 2:
        points, regions = points[None], regions[None]
        return mask_regions(points, regions, keep, absence=absence, background=background)[0]
    if keep.ndim != 2 or keep.dtype != torch.bool:
        raise ValueError(
            f"keep must be bool (S, R), got {keep.dtype} of shape {tuple(keep.shape)}."
        )
    absent = absent_points(
        points, regions, keep.shape[1], absence=absence, background=background
    )
    kept = keep[:, regions].transpose(0, 1)  # (B, S, N)
    return torch.where(kept[..., None], points[:, None], absent[:, None])


def absent_points(
    points: Tensor,
    regions: Tensor,
    n_regions: int,
    *,
    absence: str = "center",
    background: Tensor | None = None,
) -> Tensor:
    """Say what each point becomes when its region is absent, (B, N, C) to (B, N, C).

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
    regions : int64 Tensor of shape (B, N)
        From 0 to `n_regions` - 1.
    n_regions : int
        Number of regions R.
    absence, background
        See :func:`mask_regions`; a background (N, C) serves all clouds.
    """
    check_points("points", points)
    if absence not in REPLACEMENTS:
        raise ValueError(f"absence must be one of {', '.join(REPLACEMENTS)}; got {absence!r}.")
    if regions.shape != points.shape[:2]:
        raise ValueError(
            f"regions must have shape {tuple(points.shape[:2])} to go with points "
            f"{tuple(points.shape)}, got {tuple(regions.shape)}."
        )
    if regions.numel() and not 0 <= int(regions.min()) <= int(regions.max()) < n_regions:
        raise ValueError(
            f"regions must be from 0 to {n_regions - 1}, the columns of keep; got "
            f"{int(regions.min())} to {int(regions.max())}."
        )
    if absence == "background":
        if background is None or background.shape[-2:] != points.shape[1:]:
            came = "None" if background is None else str(tuple(background.shape))
            raise CloudError(
                f"background must hold one point for each of the {points.shape[1]} points, with "
                f"their {points.shape[2]} channels, got {came}; spread_background makes one."
            )
        return background.to(points).expand_as(points)
    return _REPLACEMENTS[absence](points, regions, n_regions).expand_as(points)


def sphere_background(points: Tensor, *, generator: torch.Generator) -> Tensor:
    """Draw points uniformly on a sphere as large as the cloud, (B, N, C) to (B, N, C).

    The sphere lies around the mean of the cloud, its radius is the root mean square distance
    of the points from there: as many points, as far out, of no shape. Further channels are
    the mean of the cloud. `generator` is on the CPU.
    """
    check_points("points", points)
    middle = points.double().mean(dim=1, keepdim=True)
    spread = (points[..., :3].double() - middle[..., :3]).square().sum(-1).mean(-1).sqrt()
    shape = (*points.shape[:2], min(3, points.shape[2]))
    direction = torch.randn(shape, generator=generator, dtype=torch.float64)
    direction = torch.nn.functional.normalize(direction, dim=-1).to(points.device)
    background = middle.expand_as(points).clone()
    background[..., :3] += spread[:, None, None] * direction
    return background.to(points.dtype)


def spread_background(
    background: Tensor, n_points: int, *, generator: torch.Generator
) -> Tensor:
    """Lay out a background cloud for `n_points` points, (m, C) to (N, C).

    A random order decides which point stands for which; a background of fewer points is used
    again from its beginning, a larger one in part. `generator` is on the CPU.
    """
    if background.ndim != 2 or len(background) == 0:
        raise CloudError(
            "background must have shape (n_points, n_channels) with at least one point, got "
            f"{tuple(background.shape)}."
        )
    order = torch.randperm(len(background), generator=generator)
    rows = order[torch.arange(n_points) % len(background)]
    return background[rows.to(background.device)]


def resample_index(kept: Tensor, draws: Tensor) -> Tensor:
    """Say which kept point stands in each place when absent points copy kept ones.

    Parameters
    ----------
    kept : bool Tensor of shape (S, N)
        Which points each coalition keeps.
    draws : Tensor of shape (N,)
        A number in [0, 1) for every point: an absent point becomes the kept point at that
        fraction of the row of kept points, so the same coalition always gets the same copies.

    Returns
    -------
    index : int64 Tensor of shape (S, N)
        Kept points stand for themselves. A coalition that keeps nothing gets N, which is no
        point: the caller decides what that is.

    Notes
    -----
    Costs O(S N).
    """
    _check_kept(kept)
    n_points = kept.shape[1]
    if draws.shape != (n_points,):
        raise ValueError(f"draws must have shape ({n_points},), got {tuple(draws.shape)}.")
    columns, counts = kept.nonzero()[:, 1], kept.sum(dim=1)
    first = counts.cumsum(0) - counts
    offset = (draws.double()[None] * counts[:, None]).long()
    offset = torch.minimum(offset, (counts[:, None] - 1).clamp_min(0))
    own = torch.arange(n_points, device=kept.device).expand_as(kept)
    # One row past the end stands in for the rows of coalitions that keep nothing.
    columns = torch.cat([columns, columns.new_full((1,), n_points)])
    place = torch.where(counts[:, None] > 0, first[:, None] + offset, len(columns) - 1)
    copies = columns.index_select(0, place.view(-1)).view(place.shape)
    return torch.where(kept, own, copies)


def keep_points(points: Tensor, kept: Tensor) -> Tensor:
    """Leave only the kept points, in their order: (N, C), bool (S, N) to (S, M, C).

    Every coalition must keep the same number M of points, at least one.
    """
    _check_kept(kept)
    counts = kept.sum(dim=1)
    if len(kept) and (int(counts.min()) != int(counts.max()) or int(counts[0]) == 0):
        raise ValueError(
            "every coalition of a batch must keep the same number of points, at least one; got "
            f"{int(counts.min())} to {int(counts.max())}."
        )
    columns = kept.nonzero()[:, 1]
    return points[columns].view(len(kept), -1, points.shape[1])


def merge_points(
    points: Tensor, kept: Tensor, absent: Tensor, absent_counts: Tensor
) -> tuple[Tensor, Tensor]:
    """Write masked clouds as their different points with multiplicities.

    Parameters
    ----------
    points : Tensor of shape (N, C)
    kept : bool Tensor of shape (S, N), or int64 Tensor of shape (S, N)
        Which points each coalition keeps, or how many times.
    absent : Tensor of shape (A, C)
        Points that absent ones become.
    absent_counts : int64 Tensor of shape (S, A)
        How many become each.

    Returns
    -------
    merged : Tensor of shape (S, M, C)
        Kept points in their order, then absent ones that are there, then padding; M is the
        largest number of different points in the batch.
    counts : int64 Tensor of shape (S, M)
        Multiplicities; 0 is padding.

    Notes
    -----
    Costs O(S (N + A + M C)).
    """
    if kept.ndim != 2 or kept.shape[1] != len(points):
        raise ValueError(
            f"kept must have shape (S, {len(points)}) to go with points "
            f"{tuple(points.shape)}, got {tuple(kept.shape)}."
        )
    if absent_counts.shape != (len(kept), len(absent)):
        raise ValueError(
            f"absent_counts must have shape {(len(kept), len(absent))}, got "
            f"{tuple(absent_counts.shape)}."
        )
    present = kept if kept.dtype == torch.bool else kept > 0
    there = absent_counts > 0
    n_present = present.sum(dim=1)
    n_most = int((n_present + there.sum(dim=1)).max()) if len(kept) else 0
    # The mean is a point like any other for a network that looks at padding before it is told.
    table = torch.cat([points, absent, points.mean(dim=0, keepdim=True)])
    filled = torch.arange(n_most, device=kept.device) < n_present[:, None]
    index = torch.full(filled.shape, len(table) - 1, device=kept.device)
    index.masked_scatter_(filled, present.nonzero()[:, 1])
    counts = filled.long()
    if kept.dtype != torch.bool:
        counts.masked_scatter_(filled, kept[present].long())
    rows, which = there.nonzero().unbind(1)
    places = (n_present[:, None] + there.cumsum(dim=1) - 1)[rows, which]
    index[rows, places] = len(points) + which
    counts[rows, places] = absent_counts[rows, which]
    # index_select of rows is three times faster than indexing with a matrix.
    merged = table.index_select(0, index.view(-1))
    return merged.view(*index.shape, points.shape[1]), counts


def _check_kept(kept: Tensor) -> None:
    if kept.ndim != 2 or kept.dtype != torch.bool:
        raise ValueError(
            f"kept must be bool (S, N), got {kept.dtype} of shape {tuple(kept.shape)}."
        )


def _cloud_center(points: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    return points.mean(dim=1, keepdim=True)


def _region_center(points: Tensor, regions: Tensor, n_regions: int) -> Tensor:
    index = regions[..., None].expand_as(points)
    sums = points.new_zeros(len(points), n_regions, points.shape[2])
    sums = sums.scatter_add(1, index, points)
    counts = torch.zeros_like(sums).scatter_add(1, index, torch.ones_like(points))
    return (sums / counts.clamp(min=1)).gather(1, index)


_REPLACEMENTS = {"center": _cloud_center, "region": _region_center}
REPLACEMENTS = (*_REPLACEMENTS, "background")
