"""Checkpoints of the original Point-M2AE, of pre-training and of fine-tuning."""

from typing import Any

from torch import nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models.point_m2ae import N_SCALES, PointM2AE
from pointinteract.models.point_m2ae_pretraining import PointM2AEPretraining


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that an official checkpoint belongs to, pre-training or downstream."""
    numbers = _encoder_numbers(state, sizes)
    sizes.get("NAME", None)
    if "mask_token" in state:
        n_points = state.shape("rec_head.weight")[0] // 3
        depths = [_count(state, f"h_decoder.{i}.blocks") for i in range(N_SCALES - 1)]
        sizes.check("decoder_dims", numbers["widths"][:0:-1])
        sizes.get("decoder_up_blocks", None)  # one unit at every scale, or tensors do not fit
        return PointM2AEPretraining(
            decoder_depths=tuple(sizes.check("decoder_depths", depths)),
            n_rebuilt=n_points,
            mask_ratio=sizes.get("mask_ratio", 0.8),
            published_padding=sizes.get("published_padding", False),
            **numbers,
        )
    for name in ("mask_ratio", "smooth", "type"):  # of pre-training and of a loss
        sizes.get(name, None)
    coarse, n_classes, n_features = numbers["widths"][-1], 0, numbers["widths"][-1]
    if "cls_head_finetune.8.weight" in state:
        n_classes = state.shape("cls_head_finetune.8.weight", 2)[0]
        n_features = state.shape("cls_head_finetune.0.weight", 2)[1]
    concat = n_features == 2 * coarse
    return PointM2AE(
        n_classes=sizes.check("cls_dim", n_classes) if n_classes else 0,
        pooling="concat" if concat else "sum",
        skip_first=sizes.get("skip_first", concat),
        **numbers,
    )


def _encoder_numbers(state: OfficialState, sizes: OfficialSizes) -> dict[str, Any]:
    embedding = "h_encoder.token_embed.{}.{}_conv.{}.weight"
    first, second, third = (
        state.shape(embedding.format(0, *place), 3)
        for place in (("first", 0), ("first", 3), ("second", 0))
    )
    widths = [state.shape(embedding.format(i, "second", 3), 3)[0] for i in range(N_SCALES)]
    depths = [_count(state, f"h_encoder.encoder_blocks.{i}.blocks") for i in range(N_SCALES)]
    return {
        "n_channels": first[1],
        "widths": sizes.check("encoder_dims", widths),
        "depths": sizes.check("encoder_depths", depths),
        "n_heads": sizes.get("num_heads", 6),
        "n_groups": sizes.get("num_groups", (512, 256, 64)),
        "group_sizes": sizes.get("group_sizes", (16, 8, 8)),
        "radii": sizes.get("local_radius", (0.32, 0.64, 1.28)),
        "patch_hidden": (first[0], second[0], third[0]),
        "drop_path": sizes.get("drop_path_rate", 0.1),
        "skip_near_origin": sizes.get("skip_near_origin", False),
    }


def _count(state: OfficialState, blocks: str) -> int:
    return state.count(f"{blocks}.{{}}.norm1.weight")


# Point_M2AE, Point_M2AE_ModelNet40 and Point_M2AE_ScanObjectNN in ZrrSkywalker/Point-M2AE
register_official(
    OfficialFormat(
        system="point_m2ae",
        build=_build,
        renames=(
            (r"^norms\.", "h_encoder.encoder_norms."),
            (r"^encoder\.norm\.", f"h_encoder.encoder_norms.{N_SCALES - 1}."),
            (r"^decoder\.(\d+)\.", r"h_decoder.\1.blocks."),
            (r"^decoder_positions\.", "decoder_pos_embeds."),
            (r"^propagation\.fuse\.linear\.", "token_prop.0.fuse.net.0."),
            (r"^propagation\.fuse\.norm\.", "token_prop.0.fuse.net.1."),
            (r"^propagation\.(net\d)\.linear\.", r"token_prop.0.extraction.operation.0.\1.0."),
            (r"^propagation\.(net\d)\.norm\.", r"token_prop.0.extraction.operation.0.\1.1."),
            (r"^rebuild\.", "rec_head."),
            (r"^(?:encoder\.)?embeddings\.", "h_encoder.token_embed."),
            (r"^(?:encoder\.)?positions\.", "h_encoder.encoder_pos_embeds."),
            (r"^(?:encoder\.)?blocks\.(\d+)\.", r"h_encoder.encoder_blocks.\1.blocks."),
            (r"\.linear1\.", ".first_conv.0."),
            (r"(token_embed\.\d+)\.norm1\.", r"\1.first_conv.1."),
            (r"\.linear2\.", ".first_conv.3."),
            (r"\.linear3\.", ".second_conv.0."),
            (r"(token_embed\.\d+)\.norm2\.", r"\1.second_conv.1."),
            (r"\.linear4\.", ".second_conv.3."),
            (r"\.attention\.projection\.", ".attn.proj."),
            (r"\.attention\.qkv\.", ".attn.qkv."),
            (r"\.mlp\.0\.", ".mlp.fc1."),
            (r"\.mlp\.2\.", ".mlp.fc2."),
            (r"^head\.layers\.0\.linear\.", "cls_head_finetune.0."),
            (r"^head\.layers\.0\.norm\.", "cls_head_finetune.1."),
            (r"^head\.layers\.1\.linear\.", "cls_head_finetune.4."),
            (r"^head\.layers\.1\.norm\.", "cls_head_finetune.5."),
            (r"^head\.out\.", "cls_head_finetune.8."),
        ),
        layouts=(
            (r"(first|second)_conv\.[03]\.weight$", unit_axes(1)),
            (r"^token_prop\..*net\d?\.0\.weight$", unit_axes(1)),
            (r"^rec_head\.weight$", unit_axes(1)),
        ),
    )
)
