"""ACT's second stage: a transformer on patches learns to say what the autoencoder says.

The teacher (:mod:`pointinteract.models.act_autoencoder`, where the paper is cited) sees whole
clouds; the student sees a fifth of the patches and guesses the teacher's features of the
others. What downstream tasks use is the student's encoder, a
:class:`pointinteract.models.PointTransformer`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._masked_autoencoder import MaskedPatches
from pointinteract.models.act_autoencoder import ACTAutoencoder
from pointinteract.models.point_transformer import PointTransformer
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather

__all__ = ["ACTOutput", "ACTPretraining"]


@dataclass(frozen=True)
class ACTOutput:
    """What one pass gives, of M hidden and V visible patches and D channels of the teacher."""

    mask: Tensor  # (B, G) bool, True where hidden
    centers: Tensor  # (B, G, 3)
    tokens: Tensor  # (B, 1 + V, C), normed
    decoded: Tensor  # (B, M, C)
    guessed: Tensor  # (B, M, D)
    target: Tensor  # (B, M, D), the teacher's, without gradient
    taught: Tensor  # (B, G, D), the teacher's of all patches
    decoded_global: Tensor | None  # (B, M, C), by way of the class token
    guessed_global: Tensor | None  # (B, M, D)


class ACTPretraining(MaskedPatches):
    """Student, decoder and frozen teacher.

    Parameters
    ----------
    teacher : dict
        Numbers of :class:`ACTAutoencoder`, which must cut clouds into patches as the student
        does. Its weights are random until others are loaded into ``.teacher``.
    n_channels, width, depth, n_heads, n_groups, group_size, patch_hidden, drop_path, \
skip_near_origin
        As in :class:`pointinteract.models.PointTransformer`.
    decoder_depth : int, default=2
    decoder_n_heads : int, optional
        As many as in the encoder unless given.
    mask_ratio : float, default=0.8
        Share of patches hidden from the student, int(ratio x G) of them.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches at random, or the ones nearest to one of them.
    class_guess : bool, default=False
        Whether to guess a second time with the class token, from patches as they stood early
        in the encoder; the class token is trained by nothing else.
    early_block : int, optional
        Index of the block after which they are taken: 9 of 12 as published, or as far through
        the blocks.
    teacher_batch_statistics : bool, default=False
        Whether the teacher, while the student is trained, works as in its own training: BatchNorm
        by statistics of the batch, and moved by them, and prompts dropped. So it is in the
        original, where a frozen teacher goes on changing.
    class_width : int, optional
        Width of a projection of the class token that published checkpoints have, and that
        nothing trains; None leaves it out.
    """

    official_system = "act"

    def __init__(
        self,
        *,
        teacher: dict[str, Any],
        n_channels: int = 3,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        decoder_depth: int = 2,
        decoder_n_heads: int | None = None,
        drop_path: float = 0.1,
        mask_ratio: float = 0.8,
        mask_type: str = "rand",
        class_guess: bool = False,
        early_block: int | None = None,
        teacher_batch_statistics: bool = False,
        class_width: int | None = None,
        skip_near_origin: bool = False,
    ):
        encoder = PointTransformer(
            n_channels=n_channels,
            n_classes=0,
            width=width,
            depth=depth,
            n_heads=n_heads,
            n_groups=n_groups,
            group_size=group_size,
            patch_hidden=patch_hidden,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
        )
        super().__init__(
            encoder,
            width=width,
            n_heads=decoder_n_heads or n_heads,
            depth=decoder_depth,
            drop_path=drop_path,
            mask_ratio=mask_ratio,
            mask_type=mask_type,
        )
        self.early_block = max(5 * depth // 6 - 1, 0) if early_block is None else early_block
        if not 0 <= self.early_block < depth:
            raise ValueError(
                f"early_block must be the index of one of {depth} blocks, got {early_block}."
            )
        self.guess = nn.Linear(width, teacher["width"])
        # Where the class token stands for the decoder; the encoder has a place of its own.
        self.cls_pos = nn.Parameter(torch.empty(1, 1, width)) if class_guess else None
        self.class_projection = None
        if class_width is not None:
            self.class_projection = nn.Sequential(
                nn.Linear(width, class_width), nn.GELU(), nn.Linear(class_width, class_width)
            )
        self.teacher = ACTAutoencoder(**teacher).requires_grad_(False)
        self.teacher_batch_statistics = teacher_batch_statistics
        self._initialize_decoder()
        if self.cls_pos is not None:
            nn.init.trunc_normal_(self.cls_pos, std=0.02)
        self.train()  # but the teacher

    def train(self, mode: bool = True) -> "ACTPretraining":
        """Set the mode of the student, and of the teacher if it is to follow."""
        super().train(mode)
        self.teacher.train(mode and self.teacher_batch_statistics)
        return self

    def forward(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ACTOutput:
        """One pass over clouds (B, N, C_in).

        `generator` draws the mask unless it is given; `noise` is that of the teacher's words,
        see :meth:`pointinteract.models.discrete_vae.DiscreteVAE.sample`.
        """
        neighborhoods, centers = self.encoder.patches(points)
        mask = self._settle_mask(centers, mask, generator)
        visible, hidden = split_by_mask(mask)
        taught = self.teach(neighborhoods, centers, noise=noise)
        # Every patch is embedded, hidden ones too: BatchNorm's statistics see all of them.
        patches = self.encoder.embed_patches(neighborhoods)
        tokens, early = self._encode(gather(patches, visible), gather(centers, visible))
        positions = self.decoder_position(gather(centers, torch.cat([visible, hidden], dim=1)))
        decoded = self._decode(tokens[:, 1:], positions)
        decoded_global = None
        if self.cls_pos is not None:
            decoded_global = self._decode_global(tokens[:, :1], early, positions, self.cls_pos)
        return ACTOutput(
            mask=mask,
            centers=centers,
            tokens=tokens,
            decoded=decoded,
            guessed=self.guess(decoded),
            target=gather(taught, hidden),
            taught=taught,
            decoded_global=decoded_global,
            guessed_global=None if decoded_global is None else self.guess(decoded_global),
        )

    @torch.no_grad()
    def teach(
        self, neighborhoods: Tensor, centers: Tensor, *, noise: Tensor | None = None
    ) -> Tensor:
        """What the teacher says of all patches, one word drawn for each, (B, G, D)."""
        logits = self.teacher.token_logits(neighborhoods, centers)
        sampled = self.teacher.sample(logits, hard=True, noise=noise)
        return self.teacher.features(sampled, centers)

    def _encode(self, patches: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens at the end, (B, 1 + V, C) normed, and as they left an early block."""
        kept: list[Tensor] = []
        block = self.encoder.blocks[self.early_block]
        handle = block.register_forward_hook(lambda _, __, output: kept.append(output))
        try:
            return self.encoder.encode(patches, centers), kept[0]
        finally:
            handle.remove()

    def _decode_global(
        self, summary: Tensor, early: Tensor, positions: Tensor, place: Tensor
    ) -> Tensor:
        """Guess them from the class token (B, 1, C) and patches of an early block."""
        tokens = torch.cat([summary, early[:, 1:]], dim=1)
        return self._decode(
            tokens, torch.cat([place.expand(len(tokens), -1, -1), positions], dim=1)
        )
