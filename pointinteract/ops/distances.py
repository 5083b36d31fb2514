"""Distances between clouds."""

import torch
from torch import Tensor

from pointinteract.ops import _search
from pointinteract.ops._checks import check_points, check_same_batch
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import square_distance

__all__ = ["chamfer_distance", "nearest_neighbor"]

_MAX_ELEMENTS = 1 << 24


def nearest_neighbor(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For every point of `a`, the nearest one of `b`.

    Parameters
    ----------
    a : Tensor of shape (B, M, C)
    b : Tensor of shape (B, N, C)

    Returns
    -------
    distance : Tensor of shape (B, M)
        Squared distance, with gradient to both clouds.
    index : int64 Tensor of shape (B, M)
        Ties go to the smallest index.

    Notes
    -----
    The search runs without gradient; only the pairs found are differentiated. This is exact,
    since the choice is constant almost everywhere, and several times faster.
    """
    check_points("a", a)
    check_points("b", b)
    check_same_batch("a", a, "b", b)
    if _search.can_search(a, b):
        index = _search.nearest_one(a.detach(), b.detach())
    else:
        index = _nearest_index(a.detach(), b.detach())
    return (a - gather(b, index)).square().sum(-1), index


def chamfer_distance(
    a: Tensor, b: Tensor, *, norm: int = 2, sided: str = "both", reduction: str = "mean"
) -> Tensor:
    """Chamfer distance of pairs of clouds.

    Parameters
    ----------
    a : Tensor of shape (B, M, C)
    b : Tensor of shape (B, N, C)
    norm : {1, 2}, default=2
        2: squared nearest distances, summed over both directions (``cdl2`` of the literature).
        1: plain nearest distances, averaged over both directions (``cdl1``). Less drawn to
        outliers.
    sided : {"both", "left", "right"}, default="both"
        ``"left"`` looks only from `a` to `b`, ``"right"`` only from `b` to `a`; the one mean is
        returned as it is.
    reduction : {"mean", "none"}, default="mean"
        ``"none"`` keeps one value a pair of clouds, (B,).

    Returns
    -------
    distance : Tensor of shape () or (B,)
        In squared units of the coordinates for norm 2, in their units for norm 1.
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}.")
    if sided not in ("both", "left", "right"):
        raise ValueError(f"sided must be 'both', 'left' or 'right', got {sided!r}.")
    if reduction not in ("mean", "none"):
        raise ValueError(f"reduction must be 'mean' or 'none', got {reduction!r}.")
    terms = []
    if sided != "right":
        terms.append(_directed(a, b, norm))
    if sided != "left":
        terms.append(_directed(b, a, norm))
    total = torch.stack(terms).sum(0)
    if norm == 1 and sided == "both":
        total = total / 2
    return total.mean() if reduction == "mean" else total


def _directed(a: Tensor, b: Tensor, norm: int) -> Tensor:
    distance, _ = nearest_neighbor(a, b)  # (B, M)
    if norm == 1:
        # The square root has no slope at zero: a hair above keeps the gradient finite there.
        distance = distance.clamp_min(1e-24).sqrt()
    return distance.mean(dim=1)


def _nearest_index(a: Tensor, b: Tensor) -> Tensor:
    chunk = max(1, _MAX_ELEMENTS // (a.shape[1] * b.shape[1]))
    return torch.cat(
        [
            square_distance(part_a, part_b).argmin(dim=-1)
            for part_a, part_b in zip(a.split(chunk), b.split(chunk), strict=True)
        ]
    )
