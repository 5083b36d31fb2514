"""Neighbours of points: k nearest, and all within a radius."""

from collections.abc import Iterator
from typing import Literal, overload

import torch
from torch import Tensor

from pointinteract.ops import _search
from pointinteract.ops._checks import check_count, check_points, check_same_batch

__all__ = ["ball_query", "knn", "knn_of_repeated", "square_distance"]

# Rows of distances are made a few clouds at a time, so that memory does not grow with B, and
# on a CPU so few that they stay near.
_MAX_ELEMENTS = 1 << 24
_MAX_ELEMENTS_CPU = 1 << 18


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
    if query.shape[-1] <= _search.FEW_CHANNELS:
        axes = zip(query.unbind(-1), points.unbind(-1), strict=True)
        steps = (a.unsqueeze(2) - b.unsqueeze(1) for a, b in axes)  # of (B, M, N)
        distance = next(steps).square()
        for step in steps:
            distance = torch.addcmul(distance, step, step)
        return distance
    a, b = query.double(), points.double()
    norms = a.square().sum(-1, keepdim=True) + b.square().sum(-1).unsqueeze(1)
    if norms.requires_grad:
        expanded = torch.baddbmm(norms, a, b.transpose(1, 2), alpha=-2.0)
    else:  # large arrays: every copy less is felt
        expanded = norms.baddbmm_(a, b.transpose(1, 2), alpha=-2.0)
    return expanded.clamp_min_(0.0).to(query.dtype)


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
    # A recorded graph gets one node: what is inside chooses among kernels and looks at values.
    find = _knn_node if torch.compiler.is_compiling() else _find_nearest
    index = find(query, points, k)
    return (index, _distance_to(query, points, index)) if return_distances else index


def knn_of_repeated(points: Tensor, counts: Tensor, k: int) -> Tensor:
    """Who the k nearest neighbors are, in clouds that are given without their repetitions.

    Parameters
    ----------
    points : Tensor of shape (B, M, C)
        Different points of each cloud.
    counts : int64 Tensor of shape (B, M)
        How often each of them stands in its cloud. A point that stands there 0 times is
        padding: it is no neighbor of any other, and its own neighbors mean nothing.
    k : int
        Neighbors looked for among the points *with* repetitions, each point's own included. A
        cloud that has fewer gives all it has.

    Returns
    -------
    index : int64 Tensor of shape (B, M, min(k, M))
        The different points among the k nearest, the nearest first, ties to the smallest
        index. A point standing in a cloud c times fills c of the k places, so fewer different
        ones than k may be left; the nearest then stands in the places left over, where a
        maximum over the neighbors does not notice it.

    Notes
    -----
    Repetitions of near points push farther ones out. As sets of different points, neighbors
    are those that :func:`knn` finds in the cloud with its repetitions; only where two
    different points are at exactly equal distances can the order of that cloud matter. Costs
    as much as :func:`knn` on the M points.
    """
    check_points("points", points)
    if counts.shape != points.shape[:2]:
        raise ValueError(
            f"counts must be (B, M) = {tuple(points.shape[:2])} as points are "
            f"{tuple(points.shape)}, got {tuple(counts.shape)}."
        )
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}.")
    points = points.detach()
    n_points = points.shape[1]
    n_found = min(k, n_points)
    found = []
    for queries, candidates, clouds in _blocks(points, points):
        distance = square_distance(queries, candidates)
        absent = counts[clouds] == 0
        if bool(absent.any()):
            distance.masked_fill_(absent.unsqueeze(1), torch.inf)
        index = _nearest(distance, n_found)  # (b, m, n_found)
        found.append(_fill_by_count(index, counts[clouds], k).view(-1, n_found))
    return torch.cat(found).view(*counts.shape, n_found)


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
    return ball_members(query, points, radius, k)[0]


def ball_members(query: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    """Return what :func:`ball_query` does, and how many places are not filled up, (B, M)."""
    find = _ball_node if torch.compiler.is_compiling() else _find_members
    return find(query.detach(), points.detach(), radius, k)


def _find_nearest(query: Tensor, points: Tensor, k: int) -> Tensor:
    if _search.can_search(query, points):
        return _search.nearest_few(query, points, k)
    if _search.can_refine(query, points, k):
        return _search.nearest_many(query, points, k)
    found = [
        _nearest(square_distance(queries, candidates), k).view(-1, k)
        for queries, candidates, _ in _blocks(query, points)
    ]
    return torch.cat(found).view(*query.shape[:2], k)


def _find_members(query: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    if _search.can_search(query, points):
        return _search.first_within(query, points, radius, k)
    inside = square_distance(query, points) < radius * radius  # (B, M, N)
    n_points = points.shape[1]
    order = torch.arange(n_points, device=points.device).expand_as(inside)
    order = order.masked_fill(~inside, n_points)
    index = order.topk(min(k, n_points), dim=-1, largest=False, sorted=True).values
    count = (index < n_points).sum(-1)
    first = index[..., :1]
    first = torch.where(first == n_points, 0, first)
    index = torch.where(index == n_points, first, index)
    if k > n_points:
        index = torch.cat([index, first.expand(*first.shape[:-1], k - n_points)], dim=-1)
    return index, count


def _blocks(query: Tensor, points: Tensor) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """Yield queries, the points of their clouds, and which clouds: not too many pairs at once.

    Some clouds, or some queries of one.
    """
    n_queries, n_points = query.shape[1], points.shape[1]
    limit = _MAX_ELEMENTS_CPU if query.device.type == "cpu" else _MAX_ELEMENTS
    n_clouds = max(1, limit // max(1, n_queries * n_points))
    n_rows = n_queries if n_clouds > 1 else max(1, limit // max(1, n_points))
    for first in range(0, max(1, len(query)), n_clouds):
        clouds = slice(first, first + n_clouds)
        for rows in query[clouds].split(max(1, n_rows), dim=1):
            yield rows, points[clouds], clouds


def _distance_to(query: Tensor, points: Tensor, index: Tensor) -> Tensor:
    """Squared distances (B, M, k) of queries (B, M, C) to the points that `index` names."""
    clouds = torch.arange(len(points), device=points.device).view(-1, 1, 1)
    near = points[clouds, index].flatten(0, 1)  # (B M, k, C)
    return square_distance(query.reshape(-1, 1, query.shape[-1]), near).view(index.shape)


def _nearest(distance: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of the last axis, in order, ties to the smallest index."""
    if _search.can_select(distance, k):
        return _search.select_nearest(distance, k)
    if distance.dtype != torch.float32:
        return distance.sort(dim=-1, stable=True).indices[..., :k]
    # The bits of a float that is not negative order like the float. With the index below them
    # no two keys are equal, so the choice is unique; selecting whole numbers is also faster.
    place = torch.arange(distance.shape[-1], device=distance.device)
    key = distance.view(torch.int32).long().bitwise_left_shift_(32).bitwise_or_(place)
    return key.topk(k, dim=-1, largest=False, sorted=True).values.bitwise_and_(0xFFFFFFFF)


def _fill_by_count(index: Tensor, counts: Tensor, k: int) -> Tensor:
    """Keep the neighbors that k places suffice for; the first stands in for the others.

    (B, M, j) nearest first and (B, M) to (B, M, j).
    """
    times = counts.unsqueeze(1).expand(-1, index.shape[1], -1).gather(2, index)
    filled_before = times.cumsum(-1) - times
    stays = (filled_before < k) & (times > 0)
    return torch.where(stays, index, index[..., :1])


# The same as nodes of recorded graphs, with the shapes that they have there.
@torch.library.custom_op("pointinteract::knn", mutates_args=())
def _knn_node(query: Tensor, points: Tensor, k: int) -> Tensor:
    return _find_nearest(query, points, k)


@_knn_node.register_fake
def _(query: Tensor, points: Tensor, k: int) -> Tensor:
    return query.new_empty((*query.shape[:2], k), dtype=torch.int64)


@torch.library.custom_op("pointinteract::ball_members", mutates_args=())
def _ball_node(query: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    return _find_members(query, points, radius, k)


@_ball_node.register_fake
def _(query: Tensor, points: Tensor, radius: float, k: int) -> tuple[Tensor, Tensor]:
    index = query.new_empty((*query.shape[:2], k), dtype=torch.int64)
    return index, query.new_empty(query.shape[:2], dtype=torch.int64)
