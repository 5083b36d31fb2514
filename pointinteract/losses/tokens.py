"""What makes words of patches: they say what a patch looks like, and all are in use."""

import math

from torch import Tensor

from pointinteract.losses.reconstruction import patch_chamfer_loss

__all__ = ["token_reconstruction_loss", "token_uniformity_loss"]


def token_reconstruction_loss(coarse: Tensor, fine: Tensor, target: Tensor) -> Tensor:
    """Chamfer distance of the coarse and of the fine points, by plain distances.

    Yu et al., "Point-BERT", CVPR 2022, equation 3 (the first term).

    Parameters
    ----------
    coarse : Tensor of shape (B, G, M, 3)
    fine : Tensor of shape (B, G, L, 3)
    target : Tensor of shape (B, G, K, 3)
        All relative to the centers of their patches.

    Returns
    -------
    loss : Tensor of shape ()
    """
    return patch_chamfer_loss(coarse, target, kind="cdl1") + patch_chamfer_loss(
        fine, target, kind="cdl1"
    )


def token_uniformity_loss(logits: Tensor) -> Tensor:
    """Divergence of the uniform distribution from the mean use of words, cloud by cloud.

    KL(uniform || q), where q is the mean over the patches of a cloud of the softmax of its
    logits: the second term of the same equation, as the published code has it.

    Parameters
    ----------
    logits : Tensor of shape (B, G, V)

    Returns
    -------
    loss : Tensor of shape ()
        0 where every word is used as often as any other.
    """
    n_patches, n_tokens = logits.shape[1:]
    log_use = logits.log_softmax(dim=-1).logsumexp(dim=1) - math.log(n_patches)  # (B, V)
    return (-math.log(n_tokens) - log_use).mean()
