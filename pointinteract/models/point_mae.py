"""Pre-training of Point-MAE: encode what is visible of a cloud, rebuild the rest.

Pang, Wang, Tay, Liu, Tian, Yuan, "Masked Autoencoders for Point Cloud Self-supervised
Learning", ECCV 2022, arXiv 2203.06604. Hidden patches enter the decoder only, as copies of one
learned token with their places, so that the encoder never learns where they are. There is no
class token; a classifier begins with a fresh one. Checkpoints of the original, of pre-training
and of fine-tuning, are described at the end.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._masked_autoencoder import MaskedAutoencoder
from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    after_prefix,
    register_official,
    unit_axes,
)
from pointinteract.models.point_transformer import (
    TRANSFORMER_LAYOUTS,
    TRANSFORMER_RENAMES,
    PointTransformer,
    build_transformer,
)
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather

__all__ = ["PointMAEOutput", "PointMAEPretraining"]


@dataclass(frozen=True)
class PointMAEOutput:
    """What one pre-training pass gives: M hidden and V visible patches of K points each."""

    mask: Tensor  # (B, G) bool, True where hidden
    centers: Tensor  # (B, G, 3)
    tokens: Tensor  # (B, V, C), normed
    decoded: Tensor  # (B, M, C)
    rebuilt: Tensor  # (B, M, K, 3) relative to the centre of the patch
    target: Tensor  # (B, M, K, 3)


class PointMAEPretraining(MaskedAutoencoder):
    """Encoder and decoder of pre-training.

    Parameters
    ----------
    n_channels, width, depth, n_heads, n_groups, group_size, patch_hidden, skip_near_origin
        As in :class:`PointTransformer`, which the encoder is.
    decoder_depth : int, default=4
    decoder_n_heads : int, optional
        As many as in the encoder unless given.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of the decoder.
    mask_ratio : float, default=0.6
        Share of patches hidden from the encoder, int(ratio x G) of them.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches at random, or the ones nearest to one of them.
    """

    official_system = "point_mae"

    def __init__(
        self,
        *,
        n_channels: int = 3,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        decoder_depth: int = 4,
        decoder_n_heads: int | None = None,
        drop_path: float = 0.1,
        mask_ratio: float = 0.6,
        mask_type: str = "rand",
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
            group_size=group_size,
            drop_path=drop_path,
            mask_ratio=mask_ratio,
            mask_type=mask_type,
        )
        self._initialize_decoder()

    def forward(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> PointMAEOutput:
        """One pass over clouds (B, N, C_in); `generator` draws the mask unless it is given."""
        neighborhoods, centers = self.encoder.patches(points)
        mask = self._settle_mask(centers, mask, generator)
        visible, _ = split_by_mask(mask)
        # Every patch is embedded, hidden ones too: BatchNorm's statistics see all of them.
        patches = self.encoder.embed_patches(neighborhoods)
        tokens = self.encoder.encode(
            gather(patches, visible), gather(centers, visible), with_class=False
        )
        decoded, rebuilt, target = self._guess(tokens, neighborhoods, centers, mask)
        return PointMAEOutput(
            mask=mask,
            centers=centers,
            tokens=tokens,
            decoded=decoded,
            rebuilt=rebuilt,
            target=target,
        )

    def forward_tokens(self, points: Tensor) -> Tensor:
        """Tokens of whole clouds as pre-training taught them, (B, N, C_in) to (B, G, C).

        Without the class token, which pre-training never showed to it.
        """
        neighborhoods, centers = self.encoder.patches(points)
        patches = self.encoder.embed_patches(neighborhoods)
        return self.encoder.encode(patches, centers, with_class=False)


_PREFIX = "MAE_encoder."


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that an official checkpoint belongs to, pre-training or downstream."""
    if "mask_token" not in state:
        return build_transformer(state, sizes)
    # The configuration of pre-training nests the numbers of the transformer.
    sizes.unfold("transformer_config")
    trunk = {
        name.removeprefix(_PREFIX): state[name] for name in state if name.startswith(_PREFIX)
    }
    # There is no class token to read the width from; the mask token is as wide.
    trunk["cls_token"] = state["mask_token"]
    numbers: dict[str, Any] = build_transformer(OfficialState("point_mae", trunk), sizes).config
    for name in ("head", "patch_width"):
        del numbers[name]
    rows = state.shape("increase_dim.0.weight", 3)[0]
    numbers["group_size"] = sizes.check("group_size", rows // 3)
    depth = state.count("MAE_decoder.blocks.{}.norm1.weight")
    sizes.get("loss", None)  # no part of the network
    return PointMAEPretraining(
        decoder_depth=sizes.check("decoder_depth", depth),
        decoder_n_heads=sizes.get("decoder_num_heads", numbers["n_heads"]),
        mask_ratio=sizes.get("mask_ratio", 0.6),
        mask_type=sizes.get("mask_type", "rand"),
        **numbers,
    )


register_official(
    OfficialFormat(
        system="point_mae",
        build=_build,
        renames=(
            # Parts of pre-training first, so that "decoder" and "encoder" cannot be confused.
            (r"^encoder\.cls_(token|pos)$", ""),  # fresh downstream
            (r"^decoder\.", "MAE_decoder.blocks."),
            (r"^decoder_norm\.", "MAE_decoder.norm."),
            (r"^decoder_position\.", "decoder_pos_embed."),
            (r"^rebuild\.", "increase_dim.0."),
            (r"^encoder\.", _PREFIX),
            *after_prefix(r"MAE_encoder\.", TRANSFORMER_RENAMES),
        ),
        layouts=(
            (r"^increase_dim\.0\.weight$", unit_axes(1)),
            *TRANSFORMER_LAYOUTS,
        ),
    )
)
