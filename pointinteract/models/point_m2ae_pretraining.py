"""Pre-training of Point-M2AE: hide patches at three scales, and rebuild those of the middle one.

The encoder is :class:`pointinteract.models.point_m2ae.PointM2AE` without its head; the paper is
cited there.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models.point_m2ae import PointM2AE, Scale
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.patches import n_masked_patches, random_patch_mask, split_by_mask
from pointinteract.nn.transformer import (
    PreNormBlock,
    drop_path_rates,
    position_embedding,
    start_xavier,
)
from pointinteract.ops import gather, interpolate
from pointinteract.ops.neighbors import square_distance

__all__ = ["PointM2AEOutput", "PointM2AEPretraining", "visible_finer"]

_BLOCKED = -1e5  # what the original adds to the score of a pair that is not to be read


@dataclass(frozen=True)
class PointM2AEOutput:
    """What one pre-training pass gives; lists go from the finest of the three scales."""

    scales: list[Scale]
    masks: list[Tensor]  # (B, G) bool each, True where hidden
    tokens: list[Tensor]  # (B, V, C) each, normed: the visible ones, and padding behind
    valid: list[Tensor]  # (B, V) bool each, False where padding
    decoded: Tensor  # (B, G_middle, C_middle), normed
    rebuilt: Tensor  # (n, P, 3) relative to the centers of the n hidden patches of the batch
    target: Tensor  # (n, K_middle, 3)


class PointM2AEPretraining(nn.Module):
    """Encoder and decoder of pre-training.

    Patches are hidden at the coarsest scale; a finer one is visible if it is in any visible
    coarser one. The decoder guesses the coarsest tokens, spreads them to the centers of the
    middle scale, and rebuilds its hidden patches.

    Parameters
    ----------
    n_channels, widths, depths, n_heads, n_groups, group_sizes, patch_hidden, drop_path, \
skip_near_origin
        As in :class:`PointM2AE`.
    radii : three float
        For the encoder once it classifies, and for `published_padding`; pre-training lets
        visible tokens read each other at any distance.
    decoder_depths : (int, int), default=(1, 1)
        Blocks at the coarsest and at the middle scale.
    n_rebuilt : int, optional
        Points of a rebuilt patch. None: as many as a patch of the *finest* scale has, published
        so, against fewer of the middle scale that they are compared with.
    mask_ratio : float, default=0.8
        Share of coarsest patches hidden, int(ratio x G) of them.
    published_padding : bool, default=False
        Clouds of a batch have different numbers of visible tokens, so short ones are padded.
        Here padding is never read. True does as the original: padding stands at the origin, and
        visible tokens nearer to it than the radius read it, so that a cloud's tokens depend on
        its batch; and the first finer center of a batch is visible always, as hidden patches
        count as members of index 0.
    """

    official_system: str | None = "point_m2ae"

    def __init__(
        self,
        *,
        n_channels: int = 3,
        widths: tuple[int, ...] = (96, 192, 384),
        depths: tuple[int, ...] = (5, 5, 5),
        n_heads: int = 6,
        n_groups: tuple[int, ...] = (512, 256, 64),
        group_sizes: tuple[int, ...] = (16, 8, 8),
        radii: tuple[float, ...] = (0.32, 0.64, 1.28),
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        decoder_depths: tuple[int, int] = (1, 1),
        n_rebuilt: int | None = None,
        drop_path: float = 0.1,
        mask_ratio: float = 0.8,
        published_padding: bool = False,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        self.mask_ratio, self.published_padding = mask_ratio, published_padding
        self.encoder = PointM2AE(
            n_channels=n_channels,
            n_classes=0,
            widths=widths,
            depths=depths,
            n_heads=n_heads,
            n_groups=n_groups,
            group_sizes=group_sizes,
            radii=radii,
            patch_hidden=patch_hidden,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
        )
        self.padding_radii = self.encoder.radii
        coarse, middle = widths[-1], widths[-2]
        # The coarsest tokens are normed by the encoder's own norm, which so is trained too.
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths[:-1])
        self.mask_token = nn.Parameter(torch.empty(1, coarse))
        rates = iter(drop_path_rates(drop_path, sum(decoder_depths)))
        self.decoder_positions = nn.ModuleList(
            position_embedding(width, width) for width in (coarse, middle)
        )
        self.decoder = nn.ModuleList(
            nn.ModuleList(
                PreNormBlock(width, n_heads, drop_path=next(rates)) for _ in range(depth)
            )
            for width, depth in zip((coarse, middle), decoder_depths, strict=True)
        )
        self.propagation = Propagation(coarse, middle)
        self.decoder_norm = nn.LayerNorm(middle)
        self.rebuild = nn.Linear(middle, 3 * (n_rebuilt or group_sizes[0]))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for part in (self.decoder, self.decoder_positions):
            start_xavier(part)

    def forward(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> PointM2AEOutput:
        """One pass over clouds (B, N, C_in).

        `mask` (B, G_coarsest) is True where hidden; `generator` draws it unless it is given.
        """
        scales = self.encoder.cut(points)
        if mask is None:
            if generator is None:
                raise ValueError("a pass of pre-training needs a mask or a generator to draw one.")
            mask = self.draw_mask(scales[-1].centers, generator)
        return self.complete(scales, mask)

    def draw_mask(self, centers: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the coarsest patches to hide: centers (B, G, 3) to bool (B, G)."""
        n_clouds, n_groups, _ = centers.shape
        n_masked = n_masked_patches(n_groups, self.mask_ratio)
        mask = random_patch_mask(n_clouds, n_groups, n_masked, generator=generator)
        return mask.to(centers.device)

    def complete(self, scales: list[Scale], mask: Tensor) -> PointM2AEOutput:
        """Encode what `mask` (B, G_coarsest) leaves of patches, and rebuild the rest."""
        masks = self.spread_mask(scales, mask)
        tokens, valid = self._encode(scales, masks)
        decoded = self._decode(scales, masks, tokens, valid)
        middle = masks[-2]
        return PointM2AEOutput(
            scales=scales,
            masks=masks,
            tokens=tokens,
            valid=valid,
            decoded=decoded,
            rebuilt=self.rebuild(decoded[middle]).unflatten(1, (-1, 3)),
            target=scales[-2].patches[middle],
        )

    def forward_tokens(self, points: Tensor) -> Tensor:
        """Tokens of the coarsest scale, (B, G, C), with nothing hidden.

        They read each other at any distance, as in pre-training.
        """
        tokens = None
        for i, scale in enumerate(self.encoder.cut(points)):
            tokens = self.encoder.attend(i, self.encoder.embed(i, scale, tokens), scale.centers)
        return self.encoder.norm(tokens)

    def forward_probe(self, points: Tensor) -> Tensor:
        """Feature for a linear model: mean plus maximum of the coarsest tokens, (B, C)."""
        tokens = self.forward_tokens(points)
        return tokens.mean(dim=1) + tokens.amax(dim=1)

    def spread_mask(self, scales: list[Scale], mask: Tensor) -> list[Tensor]:
        """Carry a mask of the coarsest scale to the finer ones; the finest comes first."""
        masks = [mask]
        for finer, scale in zip(scales[-2::-1], scales[:0:-1], strict=True):
            visible = visible_finer(~masks[0], scale.index, finer.centers.shape[1])
            if self.published_padding and bool(masks[0].any()):
                visible[0, 0] = True
            masks.insert(0, ~visible)
        return masks

    def _encode(
        self, scales: list[Scale], masks: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Tokens of the visible patches of every scale, normed, and which are no padding."""
        full, found, valids = None, [], []
        for i, (scale, mask) in enumerate(zip(scales, masks, strict=True)):
            # Hidden patches are embedded too: BatchNorm's statistics see all of them.
            full = self.encoder.embed(i, scale, full)
            place, valid = _visible_places(mask)
            tokens = gather(full, place) * valid.unsqueeze(-1)
            centers = gather(scale.centers, place) * valid.unsqueeze(-1)
            tokens = self.encoder.attend(i, tokens, centers, self._readable(i, centers, valid))
            # What merges next: hidden patches stay as they were embedded.
            full = full.masked_scatter(~mask.unsqueeze(-1), tokens[valid].to(full))
            found.append(tokens)
            valids.append(valid)
        norms = [*self.norms, self.encoder.norm]
        return [norm(x) for norm, x in zip(norms, found, strict=True)], valids

    def _readable(self, i: int, centers: Tensor, valid: Tensor) -> Tensor | None:
        if bool(valid.all()):
            return None  # no padding, nothing to pay for it
        if not self.published_padding:
            return valid[:, None, None, :]
        blocked = ~(valid.unsqueeze(1) & valid.unsqueeze(2))  # (B, V, V)
        radius = self.padding_radii[i]
        if radius > 0:
            blocked &= square_distance(centers, centers) >= radius**2
        return (blocked.to(centers.dtype) * _BLOCKED).unsqueeze(1)

    def _decode(
        self,
        scales: list[Scale],
        masks: list[Tensor],
        tokens: list[Tensor],
        valid: list[Tensor],
    ) -> Tensor:
        """Guess the tokens of all patches of the middle scale, (B, G_middle, C_middle)."""
        visible, hidden = split_by_mask(masks[-1])
        order = torch.cat([visible, hidden], dim=1)
        coarse = gather(scales[-1].centers, order)
        guesses = self.mask_token.expand(*hidden.shape, -1)
        guessed = torch.cat([tokens[-1], guesses.to(tokens[-1])], dim=1)
        guessed = _through(self.decoder[0], guessed, self.decoder_positions[0](coarse))
        middle = scales[-2].centers
        known = tokens[-2].new_zeros(*middle.shape[:2], tokens[-2].shape[-1])
        known = known.masked_scatter(~masks[-2].unsqueeze(-1), tokens[-2][valid[-2]])
        guessed = self.propagation(known, interpolate(middle, coarse, guessed))
        guessed = _through(self.decoder[1], guessed, self.decoder_positions[1](middle))
        return self.decoder_norm(guessed)


class Propagation(nn.Module):
    """Join what is known at finer centers with what coarser ones say: (B, G, C), (B, G, C')."""

    def __init__(self, coarse: int, width: int):
        super().__init__()
        self.fuse, self.net1, self.net2 = (
            LinearNorm(n_in, width, negative_slope=None) for n_in in (width + coarse, width, width)
        )

    def forward(self, known: Tensor, spread: Tensor) -> Tensor:
        fused = F.gelu(self.fuse(torch.cat([known, spread], dim=-1)))
        return F.gelu(fused + self.net2(F.gelu(self.net1(fused))))


def _through(blocks: Any, tokens: Tensor, positions: Tensor) -> Tensor:
    for block in blocks:
        tokens = block(tokens + positions)
    return tokens


def visible_finer(visible: Tensor, index: Tensor, n_finer: int) -> Tensor:
    """Find the finer centers that are in a visible patch.

    Parameters
    ----------
    visible : bool Tensor of shape (B, G)
    index : int64 Tensor of shape (B, G, K)
        Members of each patch.
    n_finer : int

    Returns
    -------
    visible : bool Tensor of shape (B, n_finer)
    """
    counts = torch.zeros(len(index), n_finer, dtype=torch.int32, device=index.device)
    member = visible.unsqueeze(-1).expand(index.shape).flatten(1).to(torch.int32)
    return counts.scatter_add_(1, index.flatten(1), member) > 0


def _visible_places(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of visible patches in group order, (B, V) for the largest V, and which count."""
    n_visible = (~mask).sum(dim=1)
    order = mask.to(torch.int8).sort(dim=1, stable=True).indices[:, : int(n_visible.max())]
    place = torch.arange(order.shape[1], device=mask.device)
    return order, place < n_visible.unsqueeze(1)
