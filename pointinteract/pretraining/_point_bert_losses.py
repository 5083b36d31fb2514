"""The loss of Point-BERT: guess hidden words, and contrast clouds and mixed clouds."""

import torch.nn.functional as F
from torch import Tensor

from pointinteract.losses import mixture_contrast_loss, queue_contrast_loss
from pointinteract.models.point_bert import PointBERTOutput

__all__ = ["point_bert_losses"]


def point_bert_losses(
    out: PointBERTOutput, queue: Tensor, *, temperature: float = 0.07, moco: bool = True
) -> dict[str, Tensor]:
    """The terms of Point-BERT's loss, whose plain sum is minimised.

    Parameters
    ----------
    out : PointBERTOutput
    queue : Tensor of shape (D, L)
        Unit columns, before the keys of `out` are put in.
    temperature : float, default=0.07
        Of the two contrasts.
    moco : bool, default=True
        Whether clouds are contrasted that are not mixed.

    Returns
    -------
    losses : dict of str to Tensor of shape ()
        ``"tokens"`` and ``"mixed_tokens"`` (cross-entropy of the words), ``"contrast"`` and
        ``"mixed_contrast"``; only those that the network gave something for.
    """
    losses = {"tokens": F.cross_entropy(out.logits, out.labels[out.guessed])}
    if out.mixed_logits is not None and out.mixed_labels is not None:
        losses["mixed_tokens"] = F.cross_entropy(
            out.mixed_logits, out.mixed_labels[out.mixed_guessed]
        )
    if out.keys is not None and moco:
        losses["contrast"] = queue_contrast_loss(
            out.features, out.keys, queue, temperature=temperature
        )
    if out.keys is not None and out.mixed_features is not None:
        losses["mixed_contrast"] = mixture_contrast_loss(
            out.mixed_features, out.keys, queue, out.draws.share, temperature=temperature
        )
    return losses
