"""Pull clouds that belong together, push the others away."""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "bootstrap_loss",
    "mixture_contrast_loss",
    "pair_contrast_loss",
    "queue_contrast_loss",
    "self_contrast_loss",
]


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


def pair_contrast_loss(first: Tensor, second: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Contrast two views of each cloud with all other views of the batch (NT-Xent).

    Chen, Kornblith, Norouzi, Hinton, "A Simple Framework for Contrastive Learning of Visual
    Representations", ICML 2020, equation 1: each of the 2 B embeddings is to be told its other
    view among the 2 B - 1 others.

    Parameters
    ----------
    first, second : Tensor of shape (B, D)
        Row i of both belongs to cloud i. Normalised here.
    temperature : float, default=0.1

    Returns
    -------
    loss : Tensor of shape ()
    """
    _check_pair(first, second)
    unit = F.normalize(torch.cat([first, second]), dim=1)
    logits = unit @ unit.T / temperature
    logits.fill_diagonal_(-torch.inf)
    n_clouds = len(first)
    other = torch.arange(2 * n_clouds, device=first.device).roll(n_clouds)
    return F.cross_entropy(logits, other)


def queue_contrast_loss(
    queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float = 0.07
) -> Tensor:
    """Contrast each query with its key and a queue of keys of other clouds (MoCo).

    He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation
    Learning", CVPR 2020, equation 1.

    Parameters
    ----------
    queries, keys : Tensor of shape (B, D)
        Row i of both belongs to cloud i. Normalised here; the keys get no gradient.
    queue : Tensor of shape (D, L)
        Unit columns.
    temperature : float, default=0.07

    Returns
    -------
    loss : Tensor of shape ()
    """
    _check_pair(queries, keys)
    queries, keys = F.normalize(queries, dim=1), F.normalize(keys.detach(), dim=1)
    # The queue is written to after the loss and before its gradient is taken, so it is copied.
    logits = torch.cat(
        [(queries * keys).sum(1, keepdim=True), queries @ queue.detach().clone()], dim=1
    )
    right = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(logits / temperature, right)


def mixture_contrast_loss(
    mixed: Tensor, keys: Tensor, queue: Tensor, share: Tensor, *, temperature: float = 0.07
) -> Tensor:
    """Tell of which two clouds of the batch a mixed one was made, among these and a queue.

    Yu et al., "Point-BERT", CVPR 2022, equation 5. Mixed cloud i consists to the share s_i of
    cloud i and otherwise of the one as far from the end of the batch; the loss is s_i times the
    cross-entropy against the first plus 1 - s_i times that against the second.

    Parameters
    ----------
    mixed, keys : Tensor of shape (B, D)
        Row i of `keys` belongs to cloud i. Normalised here; the keys get no gradient.
    queue : Tensor of shape (D, L)
        Unit columns.
    share : Tensor of shape (B,)
        In [0, 1].
    temperature : float, default=0.07

    Returns
    -------
    loss : Tensor of shape ()
    """
    _check_pair(mixed, keys)
    mixed, keys = F.normalize(mixed, dim=1), F.normalize(keys.detach(), dim=1)
    # A copy of the queue, as in `queue_contrast_loss`.
    logits = torch.cat([mixed @ keys.T, mixed @ queue.detach().clone()], dim=1) / temperature
    own = torch.arange(len(mixed), device=mixed.device)
    to_own = F.cross_entropy(logits, own, reduction="none")
    to_other = F.cross_entropy(logits, own.flip(0), reduction="none")
    return (share * to_own + (1.0 - share) * to_other).mean()


def bootstrap_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean of 2 - 2 cos between predictions and targets (B, D), which get no gradient (BYOL).

    Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, equation 2.
    """
    _check_pair(predictions, targets)
    cosine = F.cosine_similarity(predictions, targets.detach(), dim=1)
    return (2.0 - 2.0 * cosine).mean()


def _check_pair(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "two embeddings must both be (B, D) with at least one row, got "
            f"{tuple(first.shape)} and {tuple(second.shape)}."
        )
