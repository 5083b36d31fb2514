"""Places in space for a network to tell apart: points of a cloud, and others."""

import torch
from torch import Tensor

from pointinteract.ops import knn, nearest_neighbor

__all__ = ["mean_spacing", "place_queries"]


def mean_spacing(points: Tensor) -> Tensor:
    """Mean distance of points to the nearest other, (B, N, 3) to (B,); 0 where there is none."""
    if points.shape[1] < 2:
        return points.new_zeros(len(points))
    # The nearest of all is the point itself, or one that coincides with it: 0 away either way.
    index = knn(points, points, 2)[..., 1]
    nearest = points.gather(1, index.unsqueeze(-1).expand(-1, -1, 3))
    return (points - nearest).norm(dim=2).mean(dim=1)


def place_queries(
    points: Tensor, real: Tensor, draws: Tensor, ambiguous_distance: float | None = None
) -> tuple[Tensor, Tensor]:
    """Put real and fake queries together, and say which are which.

    Parameters
    ----------
    points : Tensor of shape (B, N, 3)
    real : Tensor of shape (B, R, 3)
        Some of the points.
    draws : Tensor of shape (B, F, 3)
        Uniform in the unit cube. They are stretched to the box around the real queries, as in
        MaskPoint's code; with farthest points it is the box of the cloud but for a little.
    ambiguous_distance : float, optional
        A fake query that is nearer than this to a point might as well be one. By default the
        mean spacing of the real queries of each cloud.

    Returns
    -------
    queries : Tensor of shape (B, R + F, 3)
        Real ones first.
    labels : int64 Tensor of shape (B, R + F)
        1 real, 0 fake, -1 ambiguous.
    """
    low, high = real.amin(dim=1, keepdim=True), real.amax(dim=1, keepdim=True)
    fake = draws.to(real) * (high - low) + low
    squared, _ = nearest_neighbor(fake, points)
    if ambiguous_distance is None:
        limit = mean_spacing(real).unsqueeze(1)
    else:
        limit = fake.new_full((1, 1), ambiguous_distance)
    near = squared.sqrt() < limit
    labels = torch.cat([near.new_ones(real.shape[:2], dtype=torch.long), -near.long()], dim=1)
    return torch.cat([real, fake], dim=1), labels
