"""Two partial views of each cloud that overlap, and which of their points are the same."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.ops import gather
from pointinteract.ops.visibility import visible_points
from pointinteract.pretraining._camera import choose_visible

__all__ = ["Overlap", "camera_views", "crop_views", "find_overlap", "turn_views"]


class Overlap(NamedTuple):
    """Which points two views hold, and which of them both do.

    Attributes
    ----------
    first, second : int64 Tensor of shape (B, V)
        Points of the cloud.
    match : int64 Tensor of shape (B, M, 2)
        Rows of `first` and of `second` that are one point.
    valid : bool Tensor of shape (B, M)
        Whether a row of `match` says anything: clouds share differing numbers of points.
    """

    first: Tensor
    second: Tensor
    match: Tensor
    valid: Tensor


def crop_views(points: Tensor, keep: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mark, twice, the share `keep` of points nearest to a random one: bool (B, N) each."""
    return tuple(_crop(points[..., :3], keep, generator) for _ in range(2))  # type: ignore


def _crop(xyz: Tensor, keep: float, generator: torch.Generator) -> Tensor:
    n_clouds, n_points = xyz.shape[:2]
    middle = torch.randint(n_points, (n_clouds, 1), generator=generator).to(xyz.device)
    distance = (xyz - gather(xyz, middle)).square().sum(-1)
    n_kept = min(n_points, math.ceil(keep * n_points))
    nearest = distance.argsort(dim=1, stable=True)[:, :n_kept]
    return torch.zeros_like(distance, dtype=torch.bool).scatter(1, nearest, True)


def camera_views(
    points: Tensor, distance: float, max_angle: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Mark what each of two cameras sees of clouds: bool (B, N) each.

    `distance` is counted from the mean in units of the radius; between the directions of the two
    cameras are at most `max_angle` degrees.
    """
    xyz = points[..., :3]
    center = xyz.mean(dim=1)
    radius = (xyz - center.unsqueeze(1)).norm(dim=-1).amax(dim=1, keepdim=True)
    ahead = F.normalize(torch.randn(len(xyz), 3, generator=generator), dim=1)
    aside = torch.linalg.cross(ahead, torch.randn(len(xyz), 3, generator=generator))
    angle = math.radians(max_angle) * torch.rand(len(xyz), 1, generator=generator)
    turned = angle.cos() * ahead + angle.sin() * F.normalize(aside, dim=1)
    first, second = (
        visible_points(xyz, center + distance * radius * direction.to(xyz))
        for direction in (ahead, turned)
    )
    return first, second


def find_overlap(
    visible: tuple[Tensor, Tensor], n_view: int, n_matches: int, generator: torch.Generator
) -> Overlap:
    """Take `n_view` of the points of each view, and up to `n_matches` that are in both.

    Where a view has fewer points they are repeated in turn; a match is then the first of them.
    """
    first, second = (choose_visible(seen, n_view, generator) for seen in visible)
    n_clouds, n_points = visible[0].shape
    rows = torch.arange(n_view, device=first.device).expand(n_clouds, -1)
    # Row of each point in each view, n_view where it is not in it.
    place_first, place_second = (
        rows.new_full((n_clouds, n_points), n_view).scatter_reduce(1, index, rows, "amin")
        for index in (first, second)
    )
    shared = (place_first < n_view) & (place_second < n_view)
    lot = torch.rand(shared.shape, generator=generator).to(shared.device)
    chosen = torch.where(shared, lot, 2.0).argsort(dim=1)[:, :n_matches]
    valid = shared.gather(1, chosen)
    match = torch.stack([place_first.gather(1, chosen), place_second.gather(1, chosen)], dim=-1)
    # Rows that mean nothing name a row all the same, so that they can be looked up.
    return Overlap(first, second, match.masked_fill(~valid.unsqueeze(-1), 0), valid)


def turn_views(
    points: Tensor, turn: str, noise: float, with_normals: bool, generator: torch.Generator
) -> Tensor:
    """Turn clouds (B, N, C) at random, about all axes or one, and blur their points.

    `turn` is ``"all"``, an axis or ``"none"``. Channels 4 to 6 turn too if they are normals:
    left as they are, they would tell which points match.
    """
    matrix = _random_rotations(len(points), turn, generator).to(points)
    n_turned = 6 if with_normals else 3
    turned = [part @ matrix for part in points[..., :n_turned].split(3, dim=-1)]
    blur = noise * torch.randn(*points.shape[:2], 3, generator=generator)
    turned[0] = turned[0] + blur.to(points)
    return torch.cat([*turned, points[..., n_turned:]], dim=-1)


def _random_rotations(n_clouds: int, turn: str, generator: torch.Generator) -> Tensor:
    """Uniform rotations (B, 3, 3), as quaternions that are uniform on their sphere."""
    w, x, y, z = F.normalize(torch.randn(n_clouds, 4, generator=generator), dim=1).unbind(1)
    if turn != "all":
        angle = math.pi * torch.rand(n_clouds, generator=generator)  # half of that of the turn
        w = angle.cos()
        x, y, z = (angle.sin() * (axis == turn) for axis in "xyz")
        if turn == "none":
            w = torch.ones_like(w)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=-1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=-1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=-1),
    ]
    return torch.stack(rows, dim=-2)
