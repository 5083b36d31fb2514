"""What a camera sees of a cloud: points hidden behind others are left out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.ops import gather
from pointinteract.ops.visibility import visible_points

__all__ = ["choose_visible", "random_cameras", "take_visible", "visible_points"]


def random_cameras(points: Tensor, generator: torch.Generator, distance: float) -> Tensor:
    """Places of cameras around clouds: (B, N, C) to (B, 3).

    Directions are uniform on the sphere; `distance` is counted from the mean of each cloud in
    units of its radius.
    """
    xyz = points[..., :3]
    center = xyz.mean(dim=1)
    radius = (xyz - center.unsqueeze(1)).norm(dim=-1).amax(dim=1, keepdim=True)
    direction = torch.randn(len(points), 3, generator=generator).to(points)
    return center + distance * radius * F.normalize(direction, dim=1)


def take_visible(
    points: Tensor, visible: Tensor, n_points: int, generator: torch.Generator
) -> Tensor:
    """Choose `n_points` of the visible points of each cloud at random: (B, N, C) to (B, M, C).

    Where fewer are visible they are repeated in turn.
    """
    return gather(points, choose_visible(visible, n_points, generator))


def choose_visible(visible: Tensor, n_points: int, generator: torch.Generator) -> Tensor:
    """Which points :func:`take_visible` takes: bool (B, N) to int64 (B, M)."""
    lot = torch.rand(visible.shape, generator=generator).to(visible.device)
    order = torch.where(visible, lot, 2.0).argsort(dim=1)  # the visible ones first
    count = visible.sum(dim=1, keepdim=True)
    turn = torch.arange(n_points, device=visible.device) % count  # (B, M)
    return order.gather(1, turn)
