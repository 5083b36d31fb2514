"""Tensor names of the package torch-pointcloud, as those of the originals.

The package (Apache-2.0) keeps copies of released checkpoints with names of its own, all as
linear layers. Here each of its systems has renames to the names that the originals gave, by
which `load_official` goes on; where an original has a convolution over single points, the axes
of length one come back.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from pointinteract.exceptions import CheckpointError

__all__ = ["is_torch_pointcloud", "to_official_names"]

Renames = tuple[tuple[str, str | Callable[[re.Match], str]], ...]

# An MLP of theirs holds lins.i and norms.i.module; what the originals call those differs.
_PATCH_EMBEDDING: Renames = (
    (r"\blocal_mlp\.lins\.0\.", "first_conv.0."),
    (r"\blocal_mlp\.norms\.0\.(?:module\.)?", "first_conv.1."),
    (r"\blocal_mlp\.lins\.1\.", "first_conv.3."),
    (r"\bglobal_mlp\.lins\.0\.", "second_conv.0."),
    (r"\bglobal_mlp\.norms\.0\.(?:module\.)?", "second_conv.1."),
    (r"\bglobal_mlp\.lins\.1\.", "second_conv.3."),
)
_TRANSFORMER: Renames = (
    *_PATCH_EMBEDDING,
    (r"(pos_embeds?(?:\.\d)?)\.lins\.0\.", r"\1.0."),
    (r"(pos_embeds?(?:\.\d)?)\.lins\.1\.", r"\1.2."),
    (r"\.mlp\.lins\.0\.", ".mlp.fc1."),
    (r"\.mlp\.lins\.1\.", ".mlp.fc2."),
    (r"^norm_f\.", "norm."),
    (r"^increase_dim\.lins\.0\.", "increase_dim.0."),
)
_HEAD: Renames = tuple(
    (rf"^head\.{theirs}\.", f"cls_head_finetune.{place}.")
    for theirs, place in (("lins.0", 0), ("norms.0(?:.module)?", 1), ("lins.1", 4),
                          ("norms.1(?:.module)?", 5), ("lins.2", 8))
)
_POINT_BERT: Renames = (
    (r"^encoder\.(cls_token|cls_pos|encoder\.|reduce_dim\.|pos_embed\.|blocks\.|norm\.)", r"\1"),
    *_TRANSFORMER,
    (r"^blocks\.", "blocks.blocks."),
    (r"^head\.lins\.0\.", "cls_head_finetune.0."),
    (r"^head\.lins\.1\.", "cls_head_finetune.3."),
    (r"^(input_trans|mlp)\.lins\.", r"\1."),
    # The discrete autoencoder.
    (r"\.input_trans\.lins\.0\.", ".input_trans."),
    (r"\.(layer\d)\.conv\.", r".\1.0."),
    (r"\.(layer\d)\.norm\.", r".\1.1."),
    (r"\.layer5_conv\.", ".layer5.0."),
    (r"\.layer5_norm\.", ".layer5.1."),
    (r"^decoder\.mlp\.lins\.0\.", "decoder.mlp.0."),
    (r"^decoder\.mlp\.lins\.1\.", "decoder.mlp.2."),
    (r"^decoder\.mlp\.lins\.2\.", "decoder.mlp.4."),
    (r"^decoder\.final_conv\.lins\.0\.", "decoder.final_conv.0."),
    (r"^decoder\.final_conv\.norms\.0\.(?:module\.)?", "decoder.final_conv.1."),
    (r"^decoder\.final_conv\.lins\.1\.", "decoder.final_conv.3."),
    (r"^decoder\.final_conv\.norms\.1\.(?:module\.)?", "decoder.final_conv.4."),
    (r"^decoder\.final_conv\.lins\.2\.", "decoder.final_conv.6."),
)
_POINT_M2AE: Renames = (
    *_TRANSFORMER,
    *_HEAD,
    (r"^token_prop\.0\.fp\.mlp\.lins\.0\.", "token_prop.0.fuse.net.0."),
    (r"^token_prop\.0\.fp\.mlp\.norms\.0\.(?:module\.)?", "token_prop.0.fuse.net.1."),
    (r"^token_prop\.0\.extraction\.", "token_prop.0.extraction.operation."),
    (r"\.(net\d)\.lins\.0\.", r".\1.0."),
    (r"\.(net\d)\.norms\.0\.(?:module\.)?", r".\1.1."),
)
_POINT_GPT: Renames = (
    *_TRANSFORMER,
    *_HEAD,
    (r"^(cls_head_finetune|cls_norm)\.", r"blocks.\1."),
    (r"\bmlp\.fc1\.", "mlp.0."),
    (r"\bmlp\.fc2\.", "mlp.2."),
    (r"\.increase_dim\.lins\.0\.", ".increase_dim.0."),
)
_POINT_MLP: Renames = (
    (r"^stem\.lins\.0\.", "embedding.net.0."),
    (r"^stem\.norms\.0\.(?:module\.)?", "embedding.net.1."),
    (r"^encoder\.blocks\.(\d)\.conv\.(alpha|beta)$", r"local_grouper_list.\1.affine_\2"),
    (r"^encoder\.blocks\.(\d)\.conv\.local_nn\.0\.stem\.", r"pre_blocks_list.\1.transfer.net.0."),
    (r"^encoder\.blocks\.(\d)\.conv\.local_nn\.0\.norm\.(?:module\.)?",
     r"pre_blocks_list.\1.transfer.net.1."),
    # They count the transfer as the first block, the original does not.
    (r"^encoder\.blocks\.(\d)\.conv\.local_nn\.(\d+)\.",
     lambda found: f"pre_blocks_list.{found[1]}.operation.{int(found[2]) - 1}."),
    (r"^encoder\.blocks\.(\d)\.pos_mlp\.", r"pos_blocks_list.\1.operation."),
    (r"\.lin([12])\.", r".net\1.0."),
    (r"\.norm([12])\.(?:module\.)?", r".net\1.1."),
    (r"^head\.", "classifier."),
    (r"^classifier\.lins\.0\.", "classifier.0."),
    (r"^classifier\.norms\.0\.(?:module\.)?", "classifier.1."),
    (r"^classifier\.lins\.1\.", "classifier.4."),
    (r"^classifier\.norms\.1\.(?:module\.)?", "classifier.5."),
    (r"^classifier\.lins\.2\.", "classifier.8."),
)


# What no network of ours has a place for, once renamed.
_DROPPED = {"point_bert": (r"^mask_token$", r"^lm_head\.", r"^cls_head\.")}
_RENAMES: dict[str, Renames] = {
    "act": (*_TRANSFORMER, *_HEAD),
    "point_bert": _POINT_BERT,
    "point_gpt": _POINT_GPT,
    "point_m2ae": _POINT_M2AE,
    "point_mae": (*_TRANSFORMER, *_HEAD),
    "pointmlp": _POINT_MLP,
    "pointmlp_elite": _POINT_MLP,
    "recon": (*_TRANSFORMER, *_HEAD),
}


def is_torch_pointcloud(names: Iterable[str]) -> bool:
    """Whether tensors are named as that package does."""
    return any(re.search(r"(^|\.)lins\.\d+\.(weight|bias)$", name) for name in names)


def to_official_names(system: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a copy; what they hold is left as it is.

    Raises
    ------
    CheckpointError
        If copies of this system are not known.
    """
    if system not in _RENAMES:
        raise CheckpointError(
            f"Copies of {system!r} with the names of torch-pointcloud are not known here, only "
            f"of {', '.join(sorted(_RENAMES))}. Read the released file of the original instead."
        )
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in _RENAMES[system]:
            name = re.sub(pattern, replacement, name)
        if not any(re.search(pattern, name) for pattern in _DROPPED.get(system, ())):
            renamed[name] = tensor
    return renamed
