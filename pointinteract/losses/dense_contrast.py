"""Pull views of one point together, push other points away (PointContrast).

Xie, Gu, Guo, Qi, Guibas, Litany, "PointContrast: Unsupervised Pre-training for 3D Point Cloud
Understanding", ECCV 2020.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["hardest_contrast_loss", "point_contrast_loss"]


def point_contrast_loss(first: Tensor, second: Tensor, *, temperature: float = 0.07) -> Tensor:
    """PointInfoNCE: tell each point's match among the matches of all (equation 2 there).

    Parameters
    ----------
    first, second : Tensor of shape (M, D)
        Row i of both belongs to one point, of any cloud. Normalised here.
    temperature : float, default=0.07
        Smaller values look at the most similar of the wrong points only. The published script
        has 0.4.

    Returns
    -------
    loss : Tensor of shape ()
        One direction only, as published: rows of `first` look for those of `second`.
    """
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "first and second must both be (M, D) with at least one row, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def hardest_contrast_loss(
    first: Tensor,
    second: Tensor,
    match: Tensor,
    point_of_first: Tensor,
    point_of_second: Tensor,
    *,
    n_candidates: int = 256,
    positive_margin: float = 0.1,
    negative_margin: float = 1.4,
    generator: torch.Generator,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Matches nearer than a margin, the most similar of other points farther than another.

    Equation 1 there, which is that of Choy, Park, Koltun, "Fully Convolutional Geometric
    Features", ICCV 2019.

    Parameters
    ----------
    first, second : Tensor of shape (V, D) and (W, D)
        Features of the points of two views of one cloud. Normalised here.
    match : int64 Tensor of shape (M, 2)
        Rows of `first` and of `second` that are one point.
    point_of_first, point_of_second : int64 Tensor of shape (V,) and (W,)
        Which point of the cloud each row is.
    n_candidates : int, default=256
        Rows of each view, drawn at random, among which the most similar wrong one is found.
    positive_margin, negative_margin : float, default=0.1 and 1.4
        Distances between unit vectors: matches within the first, and wrong pairs beyond the
        second, cost nothing.
    generator : torch.Generator
        Draws the candidates.

    Returns
    -------
    loss : Tensor of shape ()
        Squares of what lies beyond the margins: the mean over matches and half of each of the
        two means over hardest wrong pairs.
    parts : dict
        ``positive`` and ``negative``, which add up to it.
    """
    if match.ndim != 2 or match.shape[1] != 2 or len(match) == 0:
        raise ValueError(
            f"match must be (M, 2) with at least one row, got {tuple(match.shape)}."
        )
    first, second = F.normalize(first, dim=1), F.normalize(second, dim=1)
    here, there = first[match[:, 0]], second[match[:, 1]]  # (M, D)
    points = point_of_first[match[:, 0]]
    apart = _distance((here - there).square().sum(1))
    positive = (apart - positive_margin).relu().square().mean()
    negative = positive.new_zeros(())
    for rows, others, names in ((here, second, point_of_second), (there, first, point_of_first)):
        drawn = torch.randperm(len(others), generator=generator)[:n_candidates].to(others.device)
        squared = (2 - 2 * rows @ others[drawn].T).clamp_min(0)  # (M, K)
        squared = squared.masked_fill(points.unsqueeze(1) == names[drawn], torch.inf)
        nearest = _distance(squared.amin(1))
        negative = negative + (negative_margin - nearest).relu().square().mean() / 2
    return positive + negative, {"positive": positive, "negative": negative}


def _distance(squared: Tensor) -> Tensor:
    # A square root has no slope at zero: a hair above keeps the gradient finite there.
    return (squared + 1e-7).sqrt()
