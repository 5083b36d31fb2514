"""Put the points of a cloud in an order that walks through it."""

import torch
from torch import Tensor

from pointinteract.ops._checks import check_points
from pointinteract.ops.neighbors import square_distance

__all__ = ["nearest_order"]


def nearest_order(points: Tensor, *, start: int = 0) -> Tensor:
    """Walk from point to point, each time to the nearest one not visited yet.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        Coordinates; distances use all C channels.
    start : int, default=0
        Index of the point that the walk begins at, the same in every cloud.

    Returns
    -------
    order : int64 Tensor of shape (B, N)
        Every index of a cloud once, in the order of the walk. Ties go to the smallest index. No
        gradient flows through the choice.

    Notes
    -----
    Costs O(B N^2) time and memory, so it is meant for the centers of patches and not for whole
    clouds. Neighbors on the walk are near in space, but for the jumps that a greedy walk cannot
    avoid when it has closed itself in.
    """
    check_points("points", points)
    n_clouds, n_points, _ = points.shape
    if not 0 <= start < n_points:
        raise ValueError(f"start must be an index from 0 to {n_points - 1}, got {start}.")
    points = points.detach()
    distance = square_distance(points, points)
    # Only what has been visited is infinitely far, or it could be visited again.
    largest = torch.finfo(distance.dtype).max
    distance = distance.nan_to_num(nan=largest, posinf=largest)
    current = torch.full((n_clouds, 1), start, dtype=torch.int64, device=points.device)
    visited = torch.zeros(n_clouds, n_points, dtype=torch.bool, device=points.device)
    walk = [current]
    for _ in range(n_points - 1):
        visited = visited.scatter(1, current, True)
        row = distance.gather(1, current.unsqueeze(2).expand(-1, -1, n_points)).squeeze(1)
        current = row.masked_fill(visited, torch.inf).argmin(dim=1, keepdim=True)
        walk.append(current)
    return torch.cat(walk, dim=1)
