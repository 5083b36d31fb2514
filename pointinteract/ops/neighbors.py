"""Neighbours of points: k nearest, and all within a radius."""

from typing import Literal, overload

import torch
from torch import Tensor

from pointinteract.ops._checks import check_count, check_points, check_same_batch

__all__ = ["ball_query", "knn", "square_distance"]

# Rows of distances are made a few clouds at a time, so that memory does not grow with B.
_MAX_ELEMENTS = 1 << 24
# Up to this many channels, coordinate differences are cheaper than a matrix product.
_FEW_CHANNELS = 4


def square_distance(query: Tensor, points: Tensor) -> Tensor:
    """Squared Euclidean distance of every pair.

    Parameters
    ----------
    query : Tensor of shape (B, M, C)
    points : Tensor of shape (B, N, C)

    Returns
    -------
    distance : Tensor of shape (B, M, N)
        Never negative. For few channels from coordinate differences in the dtype given; for
        many from the expanded form in float64, rounded back, so that near-ties keep their order
        either way (in float32 the expanded form would swap them).
    """
    check_points("query", query)
    check_points("points", points)
    check_same_batch("query", query, "points", points)
    if query.shape[-1] <= _FEW_CHANNELS:
        axes = zip(query.unbind(-1), points.unbind(-1), strict=True)
        steps = (a.unsqueeze(2) - b.unsqueeze(1) for a, b in axes)  # of (B, M, N)
        distance = next(steps).square()
        for step in steps:
            distance = torch.addcmul(distance, step, step)
        return distance
    a, b = query.double(), points.double()
    norms = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(1)
    return torch.baddbmm(norms, a, b.transpose(1, 2), alpha=-2.0).clamp_min_(0.0).to(query.dtype)


@overload
def knn(
    query: Tensor, points: Tensor, k: int, *, return_distances: Literal[False] = False
) -> Tensor: ...
@overload
def knn(
    query: Tensor, points: Tensor, k: int, *, return_distances: Literal[True]
) -> tuple[Tensor, Tensor]: ...
def knn(
    query: Tensor, points: Tensor, k: int, *, return_distances: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """Indices of the k nearest points, the nearest first.

    Parameters
    ----------
    query : Tensor of shape (B, M, C)
    points : Tensor of shape (B, N, C)
        A query that is one of the points counts as its own neighbour, at distance 0.
    k : int
        1 <= k <= N.
    return_distances : bool, default=False
        Whether to return the squared distances too.

    Returns
    -------
    index : int64 Tensor of shape (B, M, k)
        Ties go to the smallest index. No gradient flows through the choice.
    distance : Tensor of shape (B, M, k)
        Squared distances, only if `return_distances`.

    Notes
    -----
    Costs O(B M N (C + log k)); memory is bounded by working on a few clouds at a time.
    """
    check_points("query", query)
    check_points("points", points)
    check_same_batch("query", query, "points", points)
    check_count("k", k, points.shape[1])
    query, points = query.detach(), points.detach()
    chunk = max(1, _MAX_ELEMENTS // (query.shape[1] * points.shape[1]))
    found = [
        _nearest(square_distance(a, b), k)
        for a, b in zip(query.split(chunk), points.split(chunk), strict=True)
    ]
    index = torch.cat([pair[0] for pair in found])
    if return_distances:
        return index, torch.cat([pair[1] for pair in found]).to(query.dtype)
    return index


def ball_query(query: Tensor, points: Tensor, radius: float, k: int) -> Tensor:
    """First k points, in index order, that lie within `radius` of each query.

    Parameters
    ----------
    query : Tensor of shape (B, M, C)
    points : Tensor of shape (B, N, C)
    radius : float
        A point belongs to the ball if its distance is strictly below.
    k : int
        Places to fill. Where fewer points are found, the first found fills the rest; where none
        is found, index 0 does.

    Returns
    -------
    index : int64 Tensor of shape (B, M, k)

    Notes
    -----
    This is the rule of PointNet++ (first in index order, not nearest first), so the result
    depends on the order of the points.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    if not radius > 0:
        raise ValueError(f"radius must be positive, got {radius}.")
    inside = square_distance(query.detach(), points.detach()) < radius * radius  # (B, M, N)
    n_points = points.shape[1]
    order = torch.arange(n_points, device=points.device).expand_as(inside)
    order = order.masked_fill(~inside, n_points)
    index = order.topk(min(k, n_points), dim=-1, largest=False, sorted=True).values
    first = index[..., :1]
    first = torch.where(first == n_points, 0, first)
    index = torch.where(index == n_points, first, index)
    if k > n_points:
        index = torch.cat([index, first.expand(*first.shape[:-1], k - n_points)], dim=-1)
    return index


def _nearest(distance: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Indices and values of the k smallest of the last axis, ties to the smallest index."""
    if distance.dtype != torch.float32:
        values, index = distance.sort(dim=-1, stable=True)
        return index[..., :k], values[..., :k]
    # The bits of a float that is not negative order like the float. With the index below them
    # no two keys are equal, so the choice is unique; selecting whole numbers is also faster.
    place = torch.arange(distance.shape[-1], device=distance.device)
    key = (distance.view(torch.int32).long() << 32) | place
    index = key.topk(k, dim=-1, largest=False, sorted=True).values & 0xFFFFFFFF
    return index, distance.gather(-1, index)
