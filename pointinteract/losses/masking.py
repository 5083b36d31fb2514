"""What a network answers to clouds with regions taken away, as training needs it."""

import torch
from torch import Tensor, nn

from pointinteract.ops import mask_regions

__all__ = ["masked_logits", "permute_regions"]

# Centers this near to each other count as one, so one empty cloud serves a whole batch.
_SAME_CENTER = 1e-6


def permute_regions(regions: Tensor, n_regions: int, generator: torch.Generator) -> Tensor:
    """Give the regions of every cloud new ids at random; (B, N) to (B, N).

    One fixed table of coalitions then means another random choice of regions in each cloud.
    """
    shuffled = torch.rand(len(regions), n_regions, generator=generator).argsort(dim=1)
    return shuffled.to(regions.device).gather(1, regions)


def masked_logits(module: nn.Module, points: Tensor, regions: Tensor, keep: Tensor) -> Tensor:
    """Logits of every coalition of regions of every cloud, in one call of the network.

    Parameters
    ----------
    module : torch.nn.Module
        Maps points (B, N, C) to logits (B, K).
    points : Tensor of shape (B, N, C)
    regions : int64 Tensor of shape (B, N)
        Region id of every point.
    keep : bool Tensor of shape (S, R)
        Regions that each coalition keeps; all others move to the center of their cloud.

    Returns
    -------
    logits : Tensor of shape (B, S, K)
        The empty coalition, if it stands first, is asked only once where the clouds share their
        center (normalised and not moved since): it is then the same cloud for all of them.
    """
    masked = mask_regions(points, regions, keep)  # (B, S, N, C)
    if bool(keep[0].any()):
        return module(masked.flatten(0, 1)).unflatten(0, masked.shape[:2])
    empty = masked[:, 0]  # (B, N, C)
    if bool(((empty - empty[:1]).abs() <= _SAME_CENTER).all()):
        empty = empty[:1]
    logits = module(torch.cat([empty, masked[:, 1:].flatten(0, 1)]))
    of_empty = logits[: len(empty)].unsqueeze(1).expand(len(points), 1, -1)
    rest = logits[len(empty) :].unflatten(0, (len(points), len(keep) - 1))
    return torch.cat([of_empty, rest], dim=1)
