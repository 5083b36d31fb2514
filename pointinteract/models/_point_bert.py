"""Checkpoints of Point-BERT's original: tokenizer, pre-training and classifier."""

from typing import Any

from torch import nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models.discrete_vae import DiscreteVAE
from pointinteract.models.point_bert import PointBERTPretraining
from pointinteract.models.point_transformer import TRANSFORMER_RENAMES, build_transformer

__all__ = ["TOKENIZER_LAYOUTS", "TOKENIZER_RENAMES", "tokenizer_numbers"]

_QUERY = "transformer_q."
_TOKENIZER = "dvae."


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that a checkpoint belongs to, of either stage or downstream."""
    if f"{_QUERY}cls_token" in state:
        return _build_pretraining(state, sizes)
    if "codebook" in state:
        for name in ("NAME", "ckpt"):  # of a class and of a file in the original
            sizes.get(name, None)
        return DiscreteVAE(**tokenizer_numbers(state, sizes))
    return build_transformer(state, sizes)


def tokenizer_numbers(
    state: OfficialState, sizes: OfficialSizes, prefix: str = ""
) -> dict[str, Any]:
    """What :class:`DiscreteVAE` is made from, by tensors of which the names begin alike."""

    def shape(name: str, n_axes: int | None = None) -> tuple[int, ...]:
        return state.shape(f"{prefix}{name}", n_axes)

    first, second = (shape(f"encoder.first_conv.{i}.weight", 3) for i in (0, 3))
    third, fourth = (shape(f"encoder.second_conv.{i}.weight", 3) for i in (0, 3))
    n_tokens, token_width = shape("codebook", 2)
    edges = [shape(f"dgcnn_1.layer{i}.0.weight", 4)[0] for i in (1, 2, 3, 4)]
    # Four fine points a coarse one, as many as a patch has.
    n_points = 4 * (shape("decoder.mlp.4.weight", 2)[0] // 3)
    return {
        "n_channels": first[1],
        "n_groups": sizes.get("num_group", 64),
        "group_size": sizes.check("group_size", n_points),
        "n_tokens": sizes.check("num_tokens", n_tokens),
        "width": sizes.check("encoder_dims", fourth[0]),
        "token_width": sizes.check("tokens_dims", token_width),
        "feature_width": sizes.check("decoder_dims", shape("dgcnn_2.layer5.0.weight", 3)[0]),
        "patch_hidden": (first[0], second[0], third[0]),
        "graph_hidden": shape("dgcnn_1.input_trans.weight", 3)[0],
        "graph_widths": tuple(edges),
        "coarse_width": shape("decoder.mlp.0.weight", 2)[0],
        "fold_width": shape("decoder.final_conv.0.weight", 3)[0],
        "skip_near_origin": sizes.get("skip_near_origin", False),
    }


def _build_pretraining(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    # The original nests the numbers of both networks.
    of_transformer = OfficialSizes("point_bert", sizes.get("transformer_config", {}))
    of_tokenizer = OfficialSizes(
        "point_bert",
        {"skip_near_origin": sizes.get("skip_near_origin", False)}
        | dict(sizes.get("dvae_config", {})),
    )
    of_tokenizer.get("ckpt", None)  # a file of the original
    tokenizer = DiscreteVAE(**tokenizer_numbers(state, of_tokenizer, _TOKENIZER))
    width = of_transformer.check("trans_dim", state.shape(f"{_QUERY}cls_token", 3)[2])
    depth = state.count(f"{_QUERY}blocks.blocks.{{}}.norm1.weight")
    contrast_width, queue_length = state.shape("queue", 2)
    # Which losses a training script computed is no part of the network's tensors.
    for name in ("dvae_loss", "return_all_tokens", "moco_loss"):
        of_transformer.get(name, None)
    for name in ("NAME", "T"):
        sizes.get(name, None)
    low, high = of_transformer.get("mask_ratio", (0.25, 0.45))
    module = PointBERTPretraining(
        tokenizer,
        width=width,
        depth=of_transformer.check("depth", depth),
        n_heads=of_transformer.get("num_heads", max(1, width // 64)),
        drop_path=of_transformer.get("drop_path_rate", 0.1),
        contrast_width=of_transformer.check("cls_dim", contrast_width),
        queue_length=sizes.check("K", queue_length),
        momentum=sizes.get("m", 0.999),
        mask_range=(low, high),
        replace_share=of_transformer.get("replace_pob", 0.0),
        mixing=of_transformer.get("cutmix_loss", True),
    )
    for nested in (of_transformer, of_tokenizer):
        nested.refuse_unknown()
    return module


TOKENIZER_RENAMES: tuple[tuple[str, str], ...] = (
    (r"(^|\.)(token|feature)_graph\.enter\.", r"\1\2_graph.input_trans."),
    *(
        entry
        for i in range(4)
        for entry in (
            (rf"_graph\.edges\.{i}\.linear\.", rf"_graph.layer{i + 1}.0."),
            (rf"_graph\.edges\.{i}\.norm\.", rf"_graph.layer{i + 1}.1."),
        )
    ),
    (r"_graph\.join\.", "_graph.layer5.0."),
    (r"_graph\.join_norm\.", "_graph.layer5.1."),
    (r"(^|\.)token_graph\.", r"\1dgcnn_1."),
    (r"(^|\.)feature_graph\.", r"\1dgcnn_2."),
    (r"(^|\.)decoder\.coarse\.", r"\1decoder.mlp."),
    (r"(^|\.)decoder\.fold_in\.", r"\1decoder.final_conv.0."),
    (r"(^|\.)decoder\.fold_norm\.", r"\1decoder.final_conv.1."),
    (r"(^|\.)decoder\.fold_mid\.linear\.", r"\1decoder.final_conv.3."),
    (r"(^|\.)decoder\.fold_mid\.norm\.", r"\1decoder.final_conv.4."),
    (r"(^|\.)decoder\.fold_out\.", r"\1decoder.final_conv.6."),
)
TOKENIZER_LAYOUTS: tuple[tuple[str, Any], ...] = (
    (r"encoder\.(first|second)_conv\.[03]\.weight$", unit_axes(1)),
    (r"decoder\.final_conv\.[036]\.weight$", unit_axes(1)),
    (r"dgcnn_[12]\.(input_trans|layer5\.0)\.weight$", unit_axes(1)),
    (r"dgcnn_[12]\.layer[1-4]\.0\.weight$", unit_axes(2)),
)


def _below_prefixes(renames: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """The renames of the plain transformer, for its tensors within a larger module too."""
    inside = r"^(transformer_[qk]\.|dvae\.)?"
    return tuple(
        (inside + pattern[1:], r"\g<1>" + replacement) if pattern.startswith("^") else
        (pattern, replacement)
        for pattern, replacement in renames
    )


# lulutang0608/Point-BERT
register_official(
    OfficialFormat(
        system="point_bert",
        build=_build,
        renames=(
            (r"^query\.(encoder\.)?", "transformer_q."),
            (r"^key\.(encoder\.)?", "transformer_k."),
            (r"^tokenizer\.", "dvae."),
            (r"^queue\.", ""),
            (r"\.token_head\.", ".lm_head."),
            (r"\.contrast_head\.", ".cls_head."),
            *_below_prefixes(TRANSFORMER_RENAMES),
            # After the others, which take "mlp" for that of a block.
            *TOKENIZER_RENAMES,
        ),
        layouts=TOKENIZER_LAYOUTS,
    )
)
