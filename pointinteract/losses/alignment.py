"""Bring clouds and what teachers say of the same objects to one place."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["alignment_loss", "balanced_loss"]


def alignment_loss(
    first: Tensor, second: Tensor, *, scale: Tensor | float, groups: Tensor | None = None
) -> Tensor:
    """Tell the partner of each row among all rows of the other side, in both directions.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    ICML 2021, figure 3; between clouds and a teacher: Xue et al., "ULIP",
    CVPR 2023.

    Parameters
    ----------
    first, second : Tensor of shape (B, D)
        Row i of both belongs to object i. Normalised here.
    scale : Tensor of shape () or float
        Cosines are multiplied by it: the inverse of a temperature. It may be learned.
    groups : int Tensor of shape (B,), default=None
        Rows of equal number are right answers for each other, with equal shares. None: each
        row has its own partner only, also where two objects have the same text.

    Returns
    -------
    loss : Tensor of shape ()
        Mean of both cross entropies.
    """
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "both sides must be (B, D) with at least one row, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    logits = scale * F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    if groups is None:
        right = torch.arange(len(first), device=first.device)
    else:
        if groups.shape != first.shape[:1]:
            raise ValueError(f"groups must be ({len(first)},), got {tuple(groups.shape)}.")
        same = (groups.unsqueeze(0) == groups.unsqueeze(1)).to(logits)
        right = same / same.sum(1, keepdim=True)  # the same for both directions
    return 0.5 * (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right))


def balanced_loss(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Add two losses whose balance is learned: first + second / w^2 + log(1 + w).

    Huang et al., "CLIP2Point", ICCV 2023: the larger the second loss stays, the
    less it comes to count, and the logarithm keeps the weight from growing without need.

    Parameters
    ----------
    first, second, weight : Tensor of shape ()
        `weight` is a parameter above 0 that is trained along.
    """
    return first + second / weight.square() + weight.log1p()
