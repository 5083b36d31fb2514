"""Patch tokens of a cloud and the masks that hide some of them."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import BatchNorm

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
        self.norm1 = BatchNorm(hidden[0])
        self.linear2 = nn.Linear(hidden[0], hidden[1])
        self.linear3 = nn.Linear(2 * hidden[1], hidden[2])  # reads [patch maximum, point]
        self.norm2 = BatchNorm(hidden[2])
        self.linear4 = nn.Linear(hidden[2], width)

    def forward(self, neighborhoods: Tensor) -> Tensor:
        n_clouds, n_groups, group_size, n_channels = neighborhoods.shape
        n_patches = n_clouds * n_groups
        rows = neighborhoods.reshape(n_patches * group_size, n_channels)
        rows = F.relu_(F.linear(rows, *self._first_layer(rows)))
        rows = self.linear2(rows)  # (B G K, hidden)
        pooled = rows.view(n_patches, group_size, -1).amax(dim=1)
        joined = self._join(rows, pooled, group_size)
        tokens = self.linear4(joined).view(n_patches, group_size, -1).amax(dim=1)
        return tokens.view(n_clouds, n_groups, -1)

    def _first_layer(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Weight and bias of the first layer with its normalisation folded in.

        A linear map of few channels needs no look at its outputs to be normalised: their mean
        and variance follow from the mean and covariance of the inputs.
        """
        weight, bias = self.linear1.weight, self.linear1.bias
        if not self.training or len(rows) == 1:
            scale, shift = self.norm1.scale_and_shift()
        else:
            center = rows.mean(dim=0)
            covariance = torch.cov(rows.T, correction=0).view(len(center), len(center))
            mean = weight @ center + bias
            var = ((weight @ covariance) * weight).sum(dim=1)
            self.norm1.remember(mean.detach(), var.detach(), len(rows))
            scale = self.norm1.weight * torch.rsqrt(var + self.norm1.eps)
            shift = self.norm1.bias - scale * mean
        return weight * scale.unsqueeze(1), bias * scale + shift

    def _join(self, rows: Tensor, pooled: Tensor, group_size: int) -> Tensor:
        """Third layer, normalised and rectified, on every point joined to its patch's maximum.

        The product with [maximum, point] is the sum of two, one a patch and one a point.
        """
        of_patch, of_point = self.linear3.weight.split(pooled.shape[-1], dim=1)
        bias = self.linear3.bias
        if self.training:
            patch_part = F.linear(pooled, of_patch, bias).unsqueeze(1)
            joined = F.linear(rows, of_point).view(pooled.shape[0], group_size, -1) + patch_part
            return F.relu_(self.norm2(joined.view(rows.shape[0], -1)))
        scale, shift = self.norm2.scale_and_shift()
        patch_part = F.linear(pooled, of_patch * scale.unsqueeze(1), bias * scale + shift)
        joined = F.linear(rows, of_point * scale.unsqueeze(1))
        joined = joined.view(pooled.shape[0], group_size, -1) + patch_part.unsqueeze(1)
        return F.relu_(joined).view(rows.shape[0], -1)


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
