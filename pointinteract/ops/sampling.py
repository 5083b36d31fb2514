"""Choose points of a cloud: farthest point sampling and random subsets."""

import torch
from torch import Tensor

from pointinteract.ops import _fast, _search
from pointinteract.ops._checks import check_count, check_points

__all__ = ["farthest_point_sample", "random_sample", "thin_clouds"]

# Points nearer to the origin than this squared norm are left out by the published CUDA kernel.
NEAR_ORIGIN_SQUARED_NORM = 1e-3
_FAR = float("inf")


def farthest_point_sample(
    points: Tensor,
    n_samples: int,
    *,
    start: int | str | Tensor = 0,
    skip_near_origin: bool = False,
) -> Tensor:
    """Pick points one after another, each the farthest from those already picked.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        Coordinates; distances use all C channels.
    n_samples : int
        Number M of points to pick, 1 <= M <= N.
    start : int, "far" or Tensor of shape (B,), default=0
        Index of the first pick. ``"far"`` starts at the point farthest from the mean of the
        cloud, which does not depend on the order of the points.
    skip_near_origin : bool, default=False
        Follow the published CUDA kernel: a point of squared norm at most 1e-3 is never picked
        (unless it is the start). Needed only to reproduce networks trained with that kernel.

    Returns
    -------
    index : int64 Tensor of shape (B, M)
        Indices in the order of picking. Ties go to the smallest index. Should every point be
        skipped, index 0 fills the rest, as in the kernel.

    Notes
    -----
    Costs O(B N M). Distances come from coordinate differences, not from the expanded form.
    """
    check_points("points", points)
    check_count("n_samples", n_samples, points.shape[1])
    first = _first_picks(points, start)
    # A recorded graph gets one node instead of a step for every sample.
    pick = _sample_node if torch.compiler.is_compiling() else _pick_farthest
    return pick(points.detach(), n_samples, first, skip_near_origin)


def random_sample(points: Tensor, n_samples: int, *, generator: torch.Generator) -> Tensor:
    """Pick M different points of each cloud at random.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
    n_samples : int
        Number M of points to pick, 1 <= M <= N.
    generator : torch.Generator
        Source of randomness, on the CPU.

    Returns
    -------
    index : int64 Tensor of shape (B, M)
    """
    check_points("points", points)
    check_count("n_samples", n_samples, points.shape[1])
    scores = torch.rand(points.shape[:2], generator=generator)
    return scores.argsort(dim=1)[:, :n_samples].to(points.device)


def thin_clouds(points: Tensor, n_points: int) -> Tensor:
    """Keep at most `n_points` farthest points of each cloud, (B, N, C) to (B, min(N, M), C).

    Points come in the order of sampling, so that a prefix is itself a farthest point sample.
    Clouds that are small enough come back as they are. Distances use the first three channels.
    """
    check_points("points", points)
    if points.shape[1] <= n_points:
        return points
    kept = []
    for part in points.split(64):  # bounds the memory of the running distances
        index = farthest_point_sample(part[..., :3], n_points)
        kept.append(part[torch.arange(len(part), device=part.device).unsqueeze(1), index])
    return torch.cat(kept)


def _pick_farthest(
    points: Tensor, n_samples: int, first: Tensor, skip_near_origin: bool
) -> Tensor:
    n_clouds, n_points, _ = points.shape
    coordinates = points.permute(2, 0, 1).contiguous()  # (C, B, N)
    current = first

    distance = coordinates.new_full((n_clouds, n_points), _FAR)
    if skip_near_origin:
        # A negative running minimum never wins the maximum and is never lowered to a winner.
        near = coordinates.square().sum(0) <= NEAR_ORIGIN_SQUARED_NORM
        distance.masked_fill_(near, -1.0)
    if n_clouds and _fast.is_fast(points):
        return _search.farthest_points(points, current, n_samples, distance)
    picked = torch.empty(n_clouds, n_samples, dtype=torch.int64, device=points.device)
    rows = torch.arange(n_clouds, device=points.device)
    step = torch.empty_like(distance)
    squared = torch.empty_like(distance)
    for m in range(n_samples):
        picked[:, m] = current
        if m + 1 == n_samples:
            break
        for c, axis in enumerate(coordinates):
            torch.sub(axis, axis[rows, current].unsqueeze(1), out=step)
            if c == 0:
                torch.mul(step, step, out=squared)
            else:
                squared.addcmul_(step, step)
        torch.minimum(distance, squared, out=distance)
        current = _first_argmax(distance)
    return picked


def _first_picks(points: Tensor, start: int | str | Tensor) -> Tensor:
    n_clouds, n_points, _ = points.shape
    if isinstance(start, Tensor):
        if start.shape != (n_clouds,):
            raise ValueError(f"start must have shape ({n_clouds},), got {tuple(start.shape)}.")
        picks = start.to(device=points.device, dtype=torch.int64)
        outside = (picks < 0) | (picks >= n_points)
        # A recorded graph holds no values that could be looked at.
        wrong = not torch.compiler.is_compiling() and bool(outside.any())
    elif start == "far":
        centered = points.detach() - points.detach().mean(dim=1, keepdim=True)
        return _first_argmax(centered.square().sum(-1))
    elif isinstance(start, (int, torch.SymInt)):
        picks = torch.full((n_clouds,), start, dtype=torch.int64, device=points.device)
        wrong = not 0 <= start < n_points
    else:
        raise ValueError(f'start must be an index, "far" or a tensor (B,), got {start!r}.')
    if wrong:
        raise ValueError(f"start must be from 0 to {n_points - 1}, got {start!r}.")
    return picks


def _first_argmax(values: Tensor) -> Tensor:
    """Index of the first maximum of each row (B, N) -> (B,).

    On the CPU NumPy looks at the same memory: its argmax is many times faster than torch's,
    and it is the whole cost of the sampling loop for small clouds.
    """
    known = values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64)
    if known and not torch.compiler.is_compiling():
        return torch.from_numpy(values.numpy().argmax(axis=1))
    return values.argmax(dim=1)


# The same as one node of recorded graphs, with the shape that it has there.
@torch.library.custom_op("pointinteract::farthest_point_sample", mutates_args=())
def _sample_node(points: Tensor, n_samples: int, first: Tensor, skip_near_origin: bool) -> Tensor:
    return _pick_farthest(points, n_samples, first, skip_near_origin)


@_sample_node.register_fake
def _(points: Tensor, n_samples: int, first: Tensor, skip_near_origin: bool) -> Tensor:
    return points.new_empty((points.shape[0], n_samples), dtype=torch.int64)
