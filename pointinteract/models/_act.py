"""Checkpoints of ACT's original: autoencoder, distillation and classifiers."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    after_prefix,
    register_official,
)
from pointinteract.models._point_bert import (
    TOKENIZER_LAYOUTS,
    TOKENIZER_RENAMES,
    tokenizer_numbers,
)
from pointinteract.models.act import ACTPretraining
from pointinteract.models.act_autoencoder import ACTAutoencoder
from pointinteract.models.point_transformer import TRANSFORMER_RENAMES, build_transformer

_STUDENT, _TEACHER = "ACT_encoder.", "dvae_tokenizer."


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that a checkpoint belongs to, of either stage or downstream."""
    if "mask_token" in state:
        return _build_pretraining(state, sizes)
    if "codebook" in state:
        return ACTAutoencoder(**_autoencoder_numbers(state, sizes))
    sizes.get("transfer_type", None)  # the head tells, and what is frozen is no part of it
    return build_transformer(state, sizes)


def _autoencoder_numbers(
    state: OfficialState, sizes: OfficialSizes, prefix: str = ""
) -> dict[str, Any]:
    numbers = tokenizer_numbers(state, sizes, prefix)
    # One width for all three, which the shapes of what surrounds the transformer repeat.
    for name in ("token_width", "feature_width"):
        numbers.pop(name)
    _, n_prompts, inner = state.shape(f"{prefix}visual_prompt_token", 3)
    depth = state.count(f"{prefix}visual_embed.0.{{}}.norm1.weight")
    for name in ("NAME", "ckpt", "visual_embed_type", "visual_embed_pos", "freeze_visual_embed",
                 "use_deep_prompt"):  # names in the original, and what it is released with
        sizes.get(name, None)
    numbers["transformer"] = {
        "width": sizes.check("visual_embed_dim", inner),
        "depth": depth,
        # Heads of 64 channels, as in every ViT; another number has to be told.
        "n_heads": sizes.get("visual_num_heads", max(1, inner // 64)),
        "hidden": state.shape(f"{prefix}visual_embed.0.0.mlp.fc1.weight", 2)[0],
        "qkv_bias": f"{prefix}visual_embed.0.0.attn.qkv.bias" in state,
    }
    return numbers | {"n_prompts": sizes.check("num_prompt_token", n_prompts)}


def _build_pretraining(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    # The original nests the numbers of both networks.
    student = OfficialSizes("act", sizes.get("transformer_config", {}))
    given = sizes.get("dvae_config", {})
    skip = sizes.get("skip_near_origin", False)
    teacher = OfficialSizes("act", {"skip_near_origin": skip} | dict(given))
    numbers = _autoencoder_numbers(state, teacher, _TEACHER)
    first, second = (state.shape(f"{_STUDENT}encoder.first_conv.{i}.weight", 3) for i in (0, 3))
    third = state.shape(f"{_STUDENT}encoder.second_conv.0.weight", 3)
    width = state.shape("mask_token", 3)[2]
    depth = state.count(f"{_STUDENT}blocks.blocks.{{}}.norm1.weight")
    decoder_depth = state.count("ACT_decoder.blocks.{}.norm1.weight")
    for name in ("trans_dim", "embed_dim", "encoder_dims"):
        student.check(name, width)
    head = f"{_STUDENT}cls_head.0.weight"
    class_width = state.shape(head, 2)[0] if head in state else None
    # Which losses a training script computed is no part of the network.
    for name in ("proj", "replace_pob", "return_all_tokens"):
        student.get(name, None)
    for name in ("NAME", "loss", "T"):
        sizes.get(name, None)
    n_heads = student.get("num_heads", max(1, width // 64))
    module = ACTPretraining(
        teacher=numbers,
        n_channels=first[1],
        width=width,
        depth=student.check("depth", depth),
        n_heads=n_heads,
        n_groups=sizes.get("num_group", numbers["n_groups"]),
        group_size=sizes.get("group_size", numbers["group_size"]),
        patch_hidden=(first[0], second[0], third[0]),
        decoder_depth=student.check("decoder_depth", decoder_depth),
        decoder_n_heads=student.get("decoder_num_heads", n_heads),
        drop_path=student.get("drop_path_rate", 0.1),
        mask_ratio=student.get("mask_ratio", 0.8),
        mask_type=student.get("mask_type", "rand"),
        class_guess=student.check("cls_loss", "cls_pos" in state),
        early_block=student.get("register_shallow_hook", None),
        class_width=student.check("cls_dim", class_width),
        skip_near_origin=skip,
    )
    for nested in (student, teacher):
        nested.refuse_unknown()
    return module


def _unread(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Heads that the student has from Point-BERT, and that nothing trains."""
    if "mask_token" not in state:
        return {}
    width, n_tokens = state["mask_token"].shape[2], len(state[f"{_TEACHER}codebook"])
    layers = {"lm_head": (n_tokens, width)}
    if f"{_STUDENT}cls_head.0.weight" not in state:
        layers |= {"cls_head.0": (512, width), "cls_head.2": (512, 512)}
    made = {}
    for name, shape in layers.items():
        made[f"{_STUDENT}{name}.weight"] = torch.zeros(shape)
        made[f"{_STUDENT}{name}.bias"] = torch.zeros(shape[0])
    return made


# RunpeiDong/ACT
register_official(
    OfficialFormat(
        system="act",
        build=_build,
        renames=(
            # Parts of pre-training first, so that "decoder" and "encoder" cannot be confused.
            (r"^encoder\.", _STUDENT),
            (r"^decoder\.(\d+)\.", r"ACT_decoder.blocks.\1."),
            (r"^decoder_norm\.", "ACT_decoder.norm."),
            (r"^decoder_position\.", "decoder_pos_embed."),
            (r"^guess\.", "proj_head."),
            (r"^class_projection\.", f"{_STUDENT}cls_head."),
            (r"^teacher\.", _TEACHER),
            (r"(^|\.)image\.blocks\.", r"\1visual_embed.0."),
            (r"(^|\.)image\.norm\.", r"\1visual_embed.1."),
            (r"(^|\.)image_position\.", r"\1visual_pos_embed."),
            (r"(^|\.)prompt_(token|pos)$", r"\1visual_prompt_\2"),
            (r"(^|\.)project_in\.", r"\1proj_pre."),
            (r"(^|\.)project_out\.", r"\1proj_post."),
            *after_prefix(r"ACT_encoder\.|dvae_tokenizer\.", TRANSFORMER_RENAMES),
            # After the others, which take "mlp" for that of a block.
            *TOKENIZER_RENAMES,
        ),
        layouts=TOKENIZER_LAYOUTS,
        ignored=(r"^ACT_encoder\.lm_head\.",),
        unread=_unread,
    )
)
