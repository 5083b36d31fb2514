"""Tell points of a cloud from other places, where some places are left out."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["QUERY_LOSSES", "query_discrimination_loss"]

QUERY_LOSSES = ("focal", "bce", "softmax")


def query_discrimination_loss(
    logits: Tensor,
    labels: Tensor,
    *,
    kind: str = "focal",
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """MaskPoint's loss on queries (Liu, Cai, Lee, ECCV 2022, section 3.2).

    Parameters
    ----------
    logits : Tensor of shape (B, Q, 2)
        Of being fake and of being real.
    labels : int Tensor of shape (B, Q)
        1 real, 0 fake, -1 ambiguous: left out.
    kind : {"focal", "bce", "softmax"}, default="focal"
        ``"bce"``: binary cross-entropy of each of the two columns. ``"focal"`` (Lin et al.,
        ICCV 2017, equation 5): the same weighted by the chance of being wrong to the power
        `gamma`, so that what is settled already counts little. ``"softmax"``: cross-entropy of
        the two columns against each other.
    alpha : float, default=0.25
        Weight of the right column in ``"focal"``, the other having 1 - alpha.
    gamma : float, default=2.0

    Returns
    -------
    loss : Tensor of shape ()
        Mean over the queries kept, and over the two columns except in ``"softmax"``.
    """
    if kind not in QUERY_LOSSES:
        raise ValueError(f"kind must be one of {', '.join(QUERY_LOSSES)}, got {kind!r}.")
    if logits.ndim != 3 or logits.shape[2] != 2 or labels.shape != logits.shape[:2]:
        raise ValueError(
            "logits must be (B, Q, 2) and labels (B, Q), got "
            f"{tuple(logits.shape)} and {tuple(labels.shape)}."
        )
    kept = labels >= 0
    if not kept.any():
        raise ValueError("all queries are ambiguous (label -1), so there is nothing to tell.")
    logits, right = logits[kept], labels[kept].long()
    if kind == "softmax":
        return F.cross_entropy(logits, right)
    target = F.one_hot(right, 2).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    if kind == "focal":
        chance = torch.sigmoid(logits)
        wrong = (1 - chance) * target + chance * (1 - target)
        loss = loss * (alpha * target + (1 - alpha) * (1 - target)) * wrong**gamma
    return loss.mean()
