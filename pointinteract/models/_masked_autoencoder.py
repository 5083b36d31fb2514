"""What networks share that guess hidden patches: the mask, the decoder, the points it gives."""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.nn.patches import (
    block_patch_mask,
    n_masked_patches,
    random_patch_mask,
    split_by_mask,
)
from pointinteract.nn.transformer import (
    PreNormBlock,
    drop_path_rates,
    position_embedding,
    start_xavier,
)
from pointinteract.ops import gather

__all__ = ["MASK_TYPES", "MaskedAutoencoder", "MaskedPatches"]

MASK_TYPES = ("rand", "block")


class MaskedPatches(nn.Module):
    """An encoder of visible patches and a decoder that says something of hidden ones.

    A subclass encodes what is visible as its paper does, and calls ``_initialize_decoder``
    when all of its parts are made.

    Parameters
    ----------
    encoder : torch.nn.Module
        Answers ``patches(points)``.
    width : int
        Channels C of its tokens.
    n_heads, depth : int
        Of the decoder.
    drop_path : float
        Stochastic depth of the last block of the decoder.
    mask_ratio : float
        Share of patches hidden from the encoder, int(ratio x G) of them.
    mask_type : {"rand", "block"}
        Hide patches at random, or the ones nearest to one of them.
    """

    encoder: Any

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        n_heads: int,
        depth: int,
        drop_path: float,
        mask_ratio: float,
        mask_type: str,
    ):
        super().__init__()
        if mask_type not in MASK_TYPES:
            raise ValueError(f"mask_type must be 'rand' or 'block', got {mask_type!r}.")
        self.mask_ratio, self.mask_type = mask_ratio, mask_type
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.decoder_position = position_embedding(width)
        self.decoder = nn.ModuleList(
            PreNormBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.decoder_norm = nn.LayerNorm(width)

    def draw_mask(self, centers: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the patches to hide: centres (B, G, 3) to bool (B, G)."""
        n_clouds, n_groups, _ = centers.shape
        n_masked = n_masked_patches(n_groups, self.mask_ratio)
        if self.mask_type == "block":
            return block_patch_mask(centers, n_masked, generator=generator)
        mask = random_patch_mask(n_clouds, n_groups, n_masked, generator=generator)
        return mask.to(centers.device)

    def _settle_mask(
        self, centers: Tensor, mask: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """The mask given, or one drawn."""
        if mask is not None:
            return mask
        if generator is None:
            raise ValueError(f"{type(self).__name__} needs a mask or a generator to draw one.")
        return self.draw_mask(centers, generator)

    def _decode(self, before: Tensor, positions: Tensor) -> Tensor:
        """Say something of hidden patches, (B, M, C), from tokens (B, T, C) put before them.

        `positions` (B, T + M, C) are those of all, the hidden patches last.
        """
        n_clouds, n_before, _ = before.shape
        n_hidden = positions.shape[1] - n_before
        tokens = torch.cat([before, self.mask_token.expand(n_clouds, n_hidden, -1)], dim=1)
        for block in self.decoder:
            tokens = block(tokens + positions)
        return self.decoder_norm(tokens[:, n_before:])

    def _initialize_decoder(self) -> None:
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        start_xavier(self.decoder)


class MaskedAutoencoder(MaskedPatches):
    """One whose decoder rebuilds the points of hidden patches.

    Parameters
    ----------
    group_size : int
        Points K that are made for a patch.
    encoder, width, n_heads, depth, drop_path, mask_ratio, mask_type
        As in :class:`MaskedPatches`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        width: int,
        n_heads: int,
        depth: int,
        group_size: int,
        drop_path: float,
        mask_ratio: float,
        mask_type: str,
    ):
        super().__init__(
            encoder,
            width=width,
            n_heads=n_heads,
            depth=depth,
            drop_path=drop_path,
            mask_ratio=mask_ratio,
            mask_type=mask_type,
        )
        self.rebuild = nn.Linear(width, 3 * group_size)

    def _guess(
        self, visible: Tensor, neighborhoods: Tensor, centers: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Guess hidden patches from encoded visible ones (B, V, C).

        Returns what the decoder says of them (B, M, C), the points made of it and the true
        points (B, M, K, 3), both relative to the centres of their patches.
        """
        seen, hidden = split_by_mask(mask)
        positions = self.decoder_position(gather(centers, torch.cat([seen, hidden], dim=1)))
        decoded = self._decode(visible, positions)
        rebuilt = self.rebuild(decoded).unflatten(-1, (self.rebuild.out_features // 3, 3))
        rows = torch.arange(len(centers), device=centers.device).unsqueeze(1)
        return decoded, rebuilt, neighborhoods[rows, hidden][..., :3]
