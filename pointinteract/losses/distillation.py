"""A student says of patches what its teacher says of them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.losses.contrastive import pair_contrast_loss

__all__ = ["DISTILLATION_LOSSES", "distillation_loss", "redundancy_loss"]

DISTILLATION_LOSSES = ("cosine", "l2", "smooth_l1", "nt_xent", "barlow")
_TEMPERATURE = 0.07
_OFF_DIAGONAL = 5e-3
_VARIANCE_FLOOR = 1e-6


def distillation_loss(guessed: Tensor, target: Tensor, *, kind: str = "cosine") -> Tensor:
    """How far guesses are from the features of a teacher (ACT, section 3.3).

    Parameters
    ----------
    guessed, target : Tensor of shape (B, M, D)
        Of M hidden patches of each cloud; `target` gets no gradient.
    kind : {"cosine", "l2", "smooth_l1", "nt_xent", "barlow"}, default="cosine"
        ``"cosine"``: 1 minus the cosine, which leaves the lengths of guesses open. ``"l2"`` and
        ``"smooth_l1"``: differences of channels, squared or softly. The last two look at the
        patches of one cloud at a time: ``"nt_xent"`` is to tell a patch's feature among those of
        the others (:func:`pair_contrast_loss` at temperature 0.07), ``"barlow"`` wants channels
        to agree and not to repeat each other (:func:`redundancy_loss`).

    Returns
    -------
    loss : Tensor of shape ()
    """
    if kind not in DISTILLATION_LOSSES:
        raise ValueError(f"kind must be one of {', '.join(DISTILLATION_LOSSES)}, got {kind!r}.")
    if guessed.ndim != 3 or guessed.shape != target.shape or guessed.numel() == 0:
        raise ValueError(
            "guesses and features must both be (B, M, D) with at least one hidden patch, got "
            f"{tuple(guessed.shape)} and {tuple(target.shape)}."
        )
    target = target.detach()
    if kind == "cosine":
        return 1 - F.cosine_similarity(guessed, target, dim=2).mean()
    if kind == "l2":
        return F.mse_loss(guessed, target)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(guessed, target)
    pairs = zip(guessed, target, strict=True)
    if kind == "nt_xent":
        each = [pair_contrast_loss(*pair, temperature=_TEMPERATURE) for pair in pairs]
    else:
        each = [redundancy_loss(*pair) for pair in pairs]
    return torch.stack(each).mean()


def redundancy_loss(first: Tensor, second: Tensor, *, weight: float = _OFF_DIAGONAL) -> Tensor:
    """Let each channel agree with itself across two views, and with no other (Barlow Twins).

    Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: Self-Supervised Learning via Redundancy
    Reduction", ICML 2021, equation 1: sum over i of (1 - C_ii)^2, and `weight` times the sum
    over i and j other than i of C_ij^2, where C is the correlation of channels over the rows.

    Parameters
    ----------
    first, second : Tensor of shape (N, D)
        Row i of both belongs to one thing. A channel that is the same in all rows correlates
        with nothing.
    weight : float, default=5e-3

    Returns
    -------
    loss : Tensor of shape ()
    """
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "two views must both be (N, D) with at least one row, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
    scaled = []
    for view in (first, second):
        centered = view - view.mean(dim=0)
        # A hair above zero: a channel that hardly varies must not get gradients without bound.
        scaled.append(centered * torch.rsqrt(centered.square().sum(dim=0) + _VARIANCE_FLOOR))
    correlation = scaled[0].T @ scaled[1]  # (D, D)
    diagonal = correlation.diagonal()
    off_diagonal = correlation.square().sum() - diagonal.square().sum()
    return (1 - diagonal).square().sum() + weight * off_diagonal
