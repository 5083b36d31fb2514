"""Pre-training of ReCon: rebuild hidden patches, and regress teachers from the queries.

The encoder is :class:`pointinteract.models.recon.ReCon` without its head; the paper is cited
there. Checkpoints of the original, of pre-training and of fine-tuning, are described at the end.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pointinteract.models._masked_autoencoder import MaskedAutoencoder
from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models.recon import N_QUERIES, ReCon
from pointinteract.nn.mlp import BatchNorm
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather

__all__ = ["ReConOutput", "ReConPretraining"]

CONTRAST_WIDTH = 128


@dataclass(frozen=True)
class ReConOutput:
    """What one pre-training pass gives: M hidden and V visible patches of K points each."""

    mask: Tensor  # (B, G) bool, True where hidden
    centers: Tensor  # (B, G, 3)
    tokens: Tensor  # (B, 3 + V, C), normed
    decoded: Tensor  # (B, M, C)
    rebuilt: Tensor  # (B, M, K, 3) relative to the centre of the patch
    target: Tensor  # (B, M, K, 3)
    image: Tensor | None  # (B, D_image)
    text: Tensor | None  # (B, D_text)
    contrast: Tensor | None  # (B, 128), not normalised


class ReConPretraining(MaskedAutoencoder):
    """Encoder, decoder and projections of pre-training.

    Parameters
    ----------
    width, depth, n_heads, n_groups, group_size, patch_hidden, n_channels, skip_near_origin
        As in :class:`ReCon`.
    decoder_depth : int, default=4
    decoder_n_heads : int, optional
        As many as in the encoder unless given.
    drop_path : float, default=0.1
    mask_ratio : float, default=0.6
        Share of patches hidden from the encoder, int(ratio x G) of them.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches at random, or the ones nearest to one of them.
    image_width, text_width : int, optional
        Widths of the teachers' features; None leaves that branch out.
    self_contrast : bool, default=False
        Whether to project the class query for the contrast of clouds.
    stop_gradient : bool, optional
        Whether queries read detached patches. They do unless told otherwise, where they can.
    """

    official_system: str | None = "recon"
    can_stop_gradient = True
    encoder_type = ReCon

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
        image_width: int | None = None,
        text_width: int | None = None,
        self_contrast: bool = False,
        stop_gradient: bool | None = None,
        skip_near_origin: bool = False,
    ):
        encoder = self.encoder_type(
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
        if stop_gradient and not self.can_stop_gradient:
            raise ValueError(f"stop_gradient must be False in {type(self).__name__}.")
        self.stop_gradient = self.can_stop_gradient if stop_gradient is None else stop_gradient
        self.image_projection = None if image_width is None else nn.Linear(width, image_width)
        self.text_projection = None if text_width is None else nn.Linear(width, text_width)
        self.contrast_projection = _contrast_projection(width) if self_contrast else None
        self._initialize()

    def _initialize(self) -> None:
        for module in self.encoder.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.encoder.cls_token, std=0.02)
        self._initialize_decoder()
        branches = [self.image_projection, self.text_projection, self.contrast_projection]
        for branch in branches:
            for module in branch.modules() if branch is not None else []:
                if isinstance(module, nn.Linear):
                    nn.init.normal_(module.weight, mean=0.02, std=0.01)  # mean not 0: as published
                    nn.init.zeros_(module.bias)

    def forward(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ReConOutput:
        """One pass over clouds (B, N, C_in); `generator` draws the mask unless it is given."""
        neighborhoods, centers = self.encoder.patches(points)
        mask = self._settle_mask(centers, mask, generator)
        visible, _ = split_by_mask(mask)
        # Every patch is embedded, hidden ones too: BatchNorm's statistics see all of them.
        patches = self.encoder.patch_embedding(neighborhoods)
        tokens = self.encoder.encode(
            gather(patches, visible), gather(centers, visible), stop_gradient=self.stop_gradient
        )
        decoded, rebuilt, target = self._guess(tokens[:, N_QUERIES:], neighborhoods, centers, mask)
        return ReConOutput(
            mask=mask,
            centers=centers,
            tokens=tokens,
            decoded=decoded,
            rebuilt=rebuilt,
            target=target,
            image=None if self.image_projection is None else self.image_projection(tokens[:, 1]),
            text=None if self.text_projection is None else self.text_projection(tokens[:, 2]),
            contrast=(
                None
                if self.contrast_projection is None
                else self.contrast_projection(tokens[:, 0])
            ),
        )

    def predict_teachers(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the teachers would say of whole clouds (B, N, C_in).

        (B, D_image) and (B, D_text), each None without its branch.
        """
        tokens = self.encoder.forward_features(points)
        return (
            None if self.image_projection is None else self.image_projection(tokens[:, 1]),
            None if self.text_projection is None else self.text_projection(tokens[:, 2]),
        )


def _contrast_projection(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, CONTRAST_WIDTH),
        BatchNorm(CONTRAST_WIDTH),
        nn.ReLU(),
        nn.Linear(CONTRAST_WIDTH, CONTRAST_WIDTH),
        BatchNorm(CONTRAST_WIDTH),
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that an official checkpoint belongs to, pre-training or downstream."""
    pretraining = "mask_token" in state
    prefix = "MAE_encoder." if pretraining else ""
    # The configuration of pre-training nests the numbers of the transformer.
    nested = OfficialSizes("recon", sizes.get("transformer_config", {}))
    numbers = recon_trunk_numbers(state, prefix, sizes, nested)
    sizes.get("NAME", None)
    if pretraining:
        module = _build_pretraining(state, sizes, nested, numbers)
    else:
        head, n_classes = _find_head(state)
        sizes.check("cls_dim", n_classes) if n_classes else sizes.get("cls_dim", None)
        sizes.get("type", None)
        module = ReCon(n_classes=n_classes, head=head, **numbers)
    nested.refuse_unknown()
    return module


def recon_trunk_numbers(
    state: OfficialState, prefix: str, sizes: OfficialSizes, nested: OfficialSizes
) -> dict:
    first, second = (state.shape(f"{prefix}encoder.{name}.weight", 3)
                     for name in ("first_conv.0", "first_conv.3"))
    third = state.shape(f"{prefix}encoder.second_conv.0.weight", 3)
    width = state.shape(f"{prefix}cls_token", 3)[2]
    depth = state.count(f"{prefix}blocks.blocks.{{}}.norm1.weight")
    for name, found in (("trans_dim", width), ("encoder_dims", width), ("depth", depth)):
        sizes.check(name, found)
        nested.check(name, found)
    # Published heads have 64 channels; another number has to be told.
    n_heads = nested.get("num_heads", sizes.get("num_heads", max(1, width // 64)))
    drop_path = nested.get("drop_path_rate", sizes.get("drop_path_rate", 0.1))
    return {
        "n_channels": first[1],
        "width": width,
        "depth": depth,
        "n_heads": n_heads,
        "n_groups": sizes.get("num_group", 64),
        "group_size": sizes.get("group_size", 32),
        "patch_hidden": (first[0], second[0], third[0]),
        "drop_path": drop_path,
        "skip_near_origin": sizes.get("skip_near_origin", False),
    }


def _build_pretraining(
    state: OfficialState, sizes: OfficialSizes, nested: OfficialSizes, numbers: dict
) -> nn.Module:
    numbers["group_size"] = sizes.check("group_size", state.shape("increase_dim.0.weight")[0] // 3)
    decoder_depth = state.count("MAE_decoder.blocks.{}.norm1.weight")
    branches = {}
    for ours, key, size in (("image_width", "img_proj", "img_dim"),
                            ("text_width", "text_proj", "text_dim")):
        found = state.shape(f"{key}.weight")[0] if f"{key}.weight" in state else None
        branches[ours] = sizes.check(size, found)
    contrast = sizes.check("self_contrastive", "cls_proj.0.weight" in state)
    # Which losses a training script computed is no part of the network.
    for name in ("loss", "img_encoder", "text_encoder"):
        sizes.get(name, None)
    return ReConPretraining(
        decoder_depth=nested.check("decoder_depth", decoder_depth),
        decoder_n_heads=nested.get(
            "decoder_num_heads", sizes.get("decoder_num_heads", numbers["n_heads"])
        ),
        mask_ratio=nested.get("mask_ratio", sizes.get("mask_ratio", 0.6)),
        mask_type=nested.get("mask_type", sizes.get("mask_type", "rand")),
        self_contrast=contrast,
        **branches,
        **numbers,
    )


def _find_head(state: OfficialState) -> tuple[str, int]:
    for head, key in (("mlp", "cls_head_finetune.8.weight"),
                      ("linear", "cls_head_finetune.0.weight")):
        if key in state:
            return head, state.shape(key)[0]
    return "linear", 0


RECON_FORMAT = register_official(
    OfficialFormat(
        system="recon",
        build=_build,
        renames=(
            # Parts of pre-training first, so that "decoder" and "encoder" cannot be confused.
            (r"^encoder\.", "MAE_encoder."),
            (r"^decoder\.", "MAE_decoder.blocks."),
            (r"^decoder_norm\.", "MAE_decoder.norm."),
            (r"^decoder_position\.", "decoder_pos_embed."),
            (r"^rebuild\.", "increase_dim.0."),
            (r"^image_projection\.", "img_proj."),
            (r"^text_projection\.", "text_proj."),
            (r"^contrast_projection\.", "cls_proj."),
            (r"(^|\.)patch_embedding\.linear1\.", r"\1encoder.first_conv.0."),
            (r"(^|\.)patch_embedding\.norm1\.", r"\1encoder.first_conv.1."),
            (r"(^|\.)patch_embedding\.linear2\.", r"\1encoder.first_conv.3."),
            (r"(^|\.)patch_embedding\.linear3\.", r"\1encoder.second_conv.0."),
            (r"(^|\.)patch_embedding\.norm2\.", r"\1encoder.second_conv.1."),
            (r"(^|\.)patch_embedding\.linear4\.", r"\1encoder.second_conv.3."),
            (r"^(MAE_encoder\.)?position\.", r"\1pos_embed."),
            (r"^(MAE_encoder\.)?blocks\.", r"\1blocks.blocks."),
            (r"\.(norm[12])_local\.", r".\1."),
            (r"\.(norm[12])_global\.", r".\1_contrast."),
            (r"\.mlp(_local)?\.0\.", ".mlp.fc1."),
            (r"\.mlp(_local)?\.2\.", ".mlp.fc2."),
            (r"\.mlp_global\.0\.", ".mlp_contrast.fc1."),
            (r"\.mlp_global\.2\.", ".mlp_contrast.fc2."),
            (r"\.(self_)?attention\.projection\.", ".attn.proj."),
            (r"\.(self_)?attention\.qkv\.", ".attn.qkv."),
            (r"\.cross_attention\.projection\.", ".attn_contrast.proj."),
            (r"\.cross_attention\.query\.", ".attn_contrast.q."),
            (r"\.cross_attention\.key_value\.", ".attn_contrast.kv."),
            (r"^head\.", "cls_head_finetune."),
        ),
        layouts=(
            (r"encoder\.(first|second)_conv\.[03]\.weight$", unit_axes(1)),
            (r"^increase_dim\.0\.weight$", unit_axes(1)),
        ),
        ignored=(r"^(img|text)_encoder\.",),
    )
)
