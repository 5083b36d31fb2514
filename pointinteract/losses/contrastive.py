"""Pull clouds that belong together, push the others away."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["self_contrast_loss"]


def self_contrast_loss(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """ReCon's self-contrast: clouds of equal label are positives of each other.

    For each cloud i the logits are the mean cosine similarity to its positives (itself
    included) and the similarity to every negative, all over `temperature`; the loss is the
    cross-entropy against the first.

    Parameters
    ----------
    embeddings : Tensor of shape (B, D)
        Normalised here.
    labels : int Tensor of shape (B,)
        Equal labels make positives; all different makes each cloud its own only positive.
    temperature : float, default=0.1
        Smaller values look at the hardest negatives only.

    Returns
    -------
    loss : Tensor of shape ()
    """
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise ValueError(
            "embeddings must be (B, D) and labels (B,), got "
            f"{tuple(embeddings.shape)} and {tuple(labels.shape)}."
        )
    unit = F.normalize(embeddings, dim=1)
    return contrast_from_similarity(unit @ unit.T, labels, temperature=temperature)


def contrast_from_similarity(
    similarity: Tensor, labels: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """The loss of :func:`self_contrast_loss` from similarities (B, B) computed elsewhere."""
    positive = labels.unsqueeze(0) == labels.unsqueeze(1)
    attraction = (similarity * positive).sum(1) / positive.sum(1)  # (B,)
    repulsion = similarity.masked_fill(positive, -torch.inf)
    logits = torch.cat([attraction.unsqueeze(1), repulsion], dim=1) / temperature
    return (logits.logsumexp(dim=1) - logits[:, 0]).mean()
