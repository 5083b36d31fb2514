"""Patch tokens of a cloud and the masks that hide some of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PatchEmbedding", "block_patch_mask", "n_masked_patches", "random_patch_mask",
           "split_by_mask"]


class PatchEmbedding(nn.Module):
    """A small PointNet that turns each patch into a token, (B, G, K, C_in) to (B, G, C).

    Two layers, the maximum over the patch joined to every point of it, two more layers, and
    the maximum again (Point-BERT; ReCon section 3 of our notes on it).

    Parameters
    ----------
    width : int
        Number C of channels of a token.
    n_channels : int, default=3
        Channels of a point.
    hidden : (int, int, int), default=(128, 256, 512)
        Widths of the first, second and third layer. The published networks use the default;
        most of the time of a small network goes here.
    """

    def __init__(
        self, width: int, *, n_channels: int = 3, hidden: tuple[int, int, int] = (128, 256, 512)
    ):
        super().__init__()
        self.linear1 = nn.Linear(n_channels, hidden[0])
        self.norm1 = nn.BatchNorm1d(hidden[0])
        self.linear2 = nn.Linear(hidden[0], hidden[1])
        self.linear3 = nn.Linear(2 * hidden[1], hidden[2])  # reads [patch maximum, point]
        self.norm2 = nn.BatchNorm1d(hidden[2])
        self.linear4 = nn.Linear(hidden[2], width)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        n_clouds, n_groups, group_size, _ = neighborhoods.shape
        rows = neighborhoods.reshape(n_clouds * n_groups * group_size, -1)
        rows = self._first(rows)
        rows = self.linear2(rows)  # (B G K, hidden)
        pooled = rows.view(n_clouds * n_groups, group_size, -1).amax(dim=1)
        # The product with [maximum, point] is the sum of two: one a patch and one a point.
        n_half = pooled.shape[-1]
        of_patch, of_point = self.linear3.weight.split(n_half, dim=1)
        joined = F.linear(rows, of_point).view(n_clouds * n_groups, group_size, -1)
        joined = joined + F.linear(pooled, of_patch, self.linear3.bias).unsqueeze(1)
        joined = F.relu(self.norm2(joined.view(len(rows), -1)), inplace=True)
        tokens = self.linear4(joined).view(n_clouds * n_groups, group_size, -1).amax(dim=1)
        return tokens.view(n_clouds, n_groups, -1)

    def _first(self, rows: Tensor) -> Tensor:
        return F.relu(self.norm1(self.linear1(rows)), inplace=True)


def n_masked_patches(n_groups: int, mask_ratio: float) -> int:
    """Patches hidden at a ratio: int(ratio x G), but at least one stays visible."""
    return min(int(mask_ratio * n_groups), n_groups - 1)


def random_patch_mask(
    n_clouds: int, n_groups: int, n_masked: int, *, generator: torch.Generator
) -> Tensor:
    """Hide `n_masked` patches of each cloud at random: bool (B, G), True where hidden."""
    order = torch.rand(n_clouds, n_groups, generator=generator).argsort(dim=1)
    return torch.zeros(n_clouds, n_groups, dtype=torch.bool).scatter_(
        1, order[:, :n_masked], True
    )


def block_patch_mask(
    centers: Tensor,
    n_masked: int,
    *,
    generator: torch.Generator | None = None,
    seed_index: Tensor | None = None,
) -> Tensor:
    """Hide the `n_masked` patches nearest to one of them: bool (B, G), True where hidden.

    Parameters
    ----------
    centers : Tensor of shape (B, G, 3)
    n_masked : int
        Patches to hide, the chosen one included.
    generator : torch.Generator, optional
        Draws the chosen patch of each cloud, unless `seed_index` (B,) gives it.
    """
    if seed_index is None:
        if generator is None:
            raise ValueError("block_patch_mask needs a generator or a seed_index.")
        seed_index = torch.randint(centers.shape[1], (len(centers),), generator=generator)
    rows = torch.arange(len(centers), device=centers.device)
    chosen = centers[rows, seed_index.to(centers.device)].unsqueeze(1)
    distance = (centers - chosen).square().sum(-1)
    # The chosen patch is at distance 0; a stable order settles ties by index.
    nearest = distance.sort(dim=1, stable=True).indices[:, :n_masked]
    mask = torch.zeros(centers.shape[:2], dtype=torch.bool, device=centers.device)
    return mask.scatter_(1, nearest, True)


def split_by_mask(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of visible and of hidden patches, each in group order: (B, V) and (B, M).

    Every cloud must hide the same number.
    """
    n_masked = mask.sum(dim=1)
    if bool((n_masked != n_masked[0]).any()):
        raise ValueError("every cloud of a batch must hide the same number of patches, got "
                         f"{n_masked.tolist()}.")
    order = mask.to(torch.int8).sort(dim=1, stable=True).indices
    n_visible = mask.shape[1] - int(n_masked[0])
    return order[:, :n_visible], order[:, n_visible:]
