"""Cross-entropy with the label smoothing that point-cloud papers use."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["smoothed_cross_entropy"]


def smoothed_cross_entropy(
    logits: Tensor, target: Tensor, *, smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Cross-entropy against 1 - e on the true class and e / (C - 1) on every other.

    This is the smoothing of DGCNN and its descendants; the framework's own gives every class,
    the true one too, e / C.

    Parameters
    ----------
    logits : Tensor of shape (B, C)
    target : int64 Tensor of shape (B,)
    smoothing : float, default=0.0
        The share e taken from the true class.
    weight : Tensor of shape (C,), optional
        Weight of each class; the loss is the weighted mean, as in the framework.

    Returns
    -------
    loss : Tensor of shape ()
    """
    log_probability = F.log_softmax(logits, dim=1)
    n_classes = logits.shape[1]
    wanted = torch.full_like(log_probability, smoothing / max(n_classes - 1, 1))
    wanted.scatter_(1, target.unsqueeze(1), 1.0 - smoothing)
    loss = -(wanted * log_probability).sum(1)
    if weight is None:
        return loss.mean()
    weight = weight.to(loss)[target]
    return (loss * weight).sum() / weight.sum().clamp_min(torch.finfo(loss.dtype).tiny)
