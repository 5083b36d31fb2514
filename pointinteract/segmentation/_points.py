"""From clouds of any size to one row of scores a point, and from points with labels to both."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.ops import farthest_point_sample, gather, interpolate
from pointinteract.training.data import Augmentation

__all__ = ["LabelsApart", "join_labels", "score_points", "split_labels"]

Score = Callable[[Tensor, Any], Tensor]


def join_labels(clouds: Clouds, codes: list[np.ndarray]) -> Clouds:
    """Put the label of each point behind its channels, where everything that is done to points
    (thinning, drawing, dropping, another order) is done to it as well.

    Whole numbers below 2^24 are exact in float32.
    """
    joined = [
        np.concatenate([cloud, code[:, None].astype(np.float32)], axis=1)
        for cloud, code in zip(clouds, codes, strict=True)
    ]
    return np.stack(joined) if isinstance(clouds, np.ndarray) else joined


def split_labels(points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, N, C) and labels (B, N) of what `join_labels` made."""
    return points[..., :-1].contiguous(), points[..., -1].long()


class LabelsApart:
    """An augmentation of the user's, which gets points without the channel of labels.

    It must leave points in their places.
    """

    def __init__(self, function: Augmentation):
        self.function = function

    def __call__(self, points: Tensor, generator: torch.Generator) -> Tensor:
        changed = self.function(points[..., :-1], generator)
        if changed.shape != points[..., :-1].shape:
            raise ValueError(
                "augmentation must keep the number, the order and the channels of points, since "
                f"each has a label; it made {tuple(changed.shape)} of "
                f"{tuple(points[..., :-1].shape)}."
            )
        return torch.cat([changed, points[..., -1:]], dim=-1)


def score_points(
    clouds: Clouds,
    categories: np.ndarray | None,
    score: Score,
    *,
    n_points: int | None,
    filled_to: int | None,
    batch_size: int,
    device: Any,
) -> list[np.ndarray]:
    """Scores of every point of normalised clouds, a list of float32 (n_points_i, n_classes).

    Parameters
    ----------
    clouds : array (n_clouds, N, C) or list of (n_points_i, C)
    categories : int64 array (n_clouds,) or None
    score : callable
        ``score(points (B, N, C), categories (B,) or None)`` gives (B, N, n_classes).
    n_points : int or None
        Larger clouds are thinned to so many farthest points; the scores of the others are
        interpolated from the three nearest that were scored.
    filled_to : int or None
        Smaller clouds repeat their points up to so many, as they did in training.
    batch_size : int
    device : torch device
    """
    by_size: dict[int, list[int]] = {}
    for i, cloud in enumerate(clouds):
        by_size.setdefault(len(cloud), []).append(i)
    rows: list[np.ndarray] = [np.empty(0)] * len(clouds)
    with torch.inference_mode():
        for members in by_size.values():
            for start in range(0, len(members), batch_size):
                chosen = members[start : start + batch_size]
                points = torch.from_numpy(np.stack([clouds[i] for i in chosen])).to(device)
                kinds = None
                if categories is not None:
                    kinds = torch.from_numpy(categories[chosen]).to(device)
                found = _score_batch(points, kinds, score, n_points, filled_to)
                for i, row in zip(chosen, found.float().cpu().numpy(), strict=True):
                    rows[i] = row
    return rows


def _score_batch(
    points: Tensor,
    kinds: Tensor | None,
    score: Score,
    n_points: int | None,
    filled_to: int | None,
) -> Tensor:
    n_given = points.shape[1]
    if filled_to is not None and n_given < filled_to:
        places = torch.arange(filled_to, device=points.device) % n_given
        return score(points[:, places], kinds)[:, :n_given]
    if n_points is None or n_given <= n_points:
        return score(points, kinds)
    index = farthest_point_sample(points[..., :3], n_points)
    sample = gather(points, index)
    scores = score(sample, kinds)
    spread = interpolate(points[..., :3], sample[..., :3], scores)
    # Points that the network has seen keep what it said of them, to the last bit.
    return spread.scatter(1, index[..., None].expand_as(scores), scores)
