"""Tensor names of the package torch-pointcloud, as those of the originals.

The package (Apache-2.0) keeps copies of released checkpoints with names of its own, all as
linear layers. Here each of its systems has renames to the names that the originals gave, by
which `load_official` goes on; where an original has a convolution over single points, the axes
of length one come back. Two more things differ in places: layers before a normalization have a
bias that the original does without, and columns of a layer come in another order.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from pointinteract.exceptions import CheckpointError

__all__ = ["is_torch_pointcloud", "to_official_names"]

Renames = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


@dataclass(frozen=True)
class _Copies:
    """How the copies of one system differ from the original.

    ``renames`` go from their names to the official ones; the other patterns are of official
    names. Of what `dropped` finds no network of ours has a place. `folded` names, for a bias,
    the running mean from which it can be taken instead. `columns` orders those of a weight as
    our layers do, so that the layout of the system holds for it. `prefix` says what to put
    before all names, knowing them.
    """

    renames: Renames
    dropped: tuple[str, ...] = ()
    folded: tuple[tuple[str, str], ...] = ()
    columns: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = ()
    prefix: Callable[[Iterable[str]], str] = lambda names: ""


# An MLP of theirs holds lins.i and norms.i.module; what the originals call those differs.
_PATCH_EMBEDDING: Renames = (
    # The deeper one of the large PointGPT, at the end of which is the third linear layer.
    (r"\blocal_mlp\.norms\.1\.(?:module\.)?", "first_conv.4."),
    (r"\blocal_mlp\.lins\.2\.", "first_conv.6."),
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
    # The decoder of the discrete autoencoder; before "mlp" is taken for that of a block.
    (r"^decoder\.mlp\.lins\.0\.", "decoder.mlp.0."),
    (r"^decoder\.mlp\.lins\.1\.", "decoder.mlp.2."),
    (r"^decoder\.mlp\.lins\.2\.", "decoder.mlp.4."),
    (r"^decoder\.final_conv\.lins\.0\.", "decoder.final_conv.0."),
    (r"^decoder\.final_conv\.norms\.0\.(?:module\.)?", "decoder.final_conv.1."),
    (r"^decoder\.final_conv\.lins\.1\.", "decoder.final_conv.3."),
    (r"^decoder\.final_conv\.norms\.1\.(?:module\.)?", "decoder.final_conv.4."),
    (r"^decoder\.final_conv\.lins\.2\.", "decoder.final_conv.6."),
    (r"^encoder\.(cls_token|cls_pos|encoder\.|reduce_dim\.|pos_embed\.|blocks\.|norm\.)", r"\1"),
    *_TRANSFORMER,
    (r"^blocks\.", "blocks.blocks."),
    (r"^head\.lins\.0\.", "cls_head_finetune.0."),
    (r"^head\.lins\.1\.", "cls_head_finetune.3."),
    (r"^(input_trans|mlp)\.lins\.", r"\1."),
    # The graphs of the discrete autoencoder.
    (r"\.input_trans\.lins\.0\.", ".input_trans."),
    (r"\.(layer\d)\.conv\.", r".\1.0."),
    (r"\.(layer\d)\.norm\.", r".\1.1."),
    (r"\.layer5_conv\.", ".layer5.0."),
    (r"\.layer5_norm\.", ".layer5.1."),
)
_POINT_M2AE: Renames = (
    (r"^token_prop\.0\.fp\.mlp\.lins\.0\.", "token_prop.0.fuse.net.0."),
    (r"^token_prop\.0\.fp\.mlp\.norms\.0\.(?:module\.)?", "token_prop.0.fuse.net.1."),
    *_TRANSFORMER,
    *_HEAD,
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

_NORM = r"norms\.{}(?:\.module)?\."
_THREE_LAYERS = tuple(  # of the head, each but the last with a normalization
    (rf"^head\.lins\.{i}\.", f"fc{i + 1}.") for i in range(3)
) + tuple((rf"^head\.{_NORM.format(i)}", f"bn{i + 1}.") for i in range(2))
_DGCNN: Renames = (
    *((rf"^encoder\.blocks\.{i}\.conv\.nn\.lins\.0\.", f"conv{i + 1}.0.") for i in range(4)),
    *(
        (rf"^encoder\.blocks\.{i}\.conv\.nn\.{_NORM.format(0)}", f"conv{i + 1}.1.")
        for i in range(4)
    ),
    (r"^proj\.lins\.0\.", "conv5.0."),
    (rf"^proj\.{_NORM.format(0)}", "conv5.1."),
    *((rf"^head\.lins\.{i}\.", f"linear{i + 1}.") for i in range(3)),
    *((rf"^head\.{_NORM.format(i)}", f"bn{i + 6}.") for i in range(2)),
)
_POINTNET2_SHARED: Renames = (
    (r"^aggr\.lins\.(\d)\.", r"sa3.mlp_convs.\1."),
    (r"^aggr\.norms\.(\d)(?:\.module)?\.", r"sa3.mlp_bns.\1."),
    *_THREE_LAYERS,
)
_LEVEL = r"^encoder\.sa_blocks\.(\d)\.convs\.(\d)\.local_nn\."
_POINTNET2_SSG: Renames = (
    (rf"{_LEVEL}lins\.(\d)\.", lambda found: f"sa{int(found[1]) + 1}.mlp_convs.{found[3]}."),
    (
        rf"{_LEVEL}norms\.(\d)(?:\.module)?\.",
        lambda found: f"sa{int(found[1]) + 1}.mlp_bns.{found[3]}.",
    ),
    *_POINTNET2_SHARED,
)
_POINTNET2_MSG: Renames = (
    (
        rf"{_LEVEL}lins\.(\d)\.",
        lambda found: f"sa{int(found[1]) + 1}.conv_blocks.{found[2]}.{found[3]}.",
    ),
    (
        rf"{_LEVEL}norms\.(\d)(?:\.module)?\.",
        lambda found: f"sa{int(found[1]) + 1}.bn_blocks.{found[2]}.{found[3]}.",
    ),
    *_POINTNET2_SHARED,
)
_POINTNEXT: Renames = (
    (r"^stem\.lins\.0\.", "encoder.encoder.0.0.convs.0.0."),
    (
        r"^encoder\.blocks\.(\d)\.downsample\.",
        lambda found: f"encoder.encoder.{int(found[1]) + 1}.0.",
    ),
    (r"\.skip_convs\.0\.lins\.0\.", ".skipconv.0."),
    (r"^global_sa\.", "encoder.encoder.5.0.convs.0.local_nn."),
    (r"\.convs\.0\.local_nn\.lins\.(\d)\.", r".convs.\1.0."),
    (r"\.convs\.0\.local_nn\.norms\.(\d)(?:\.module)?\.", r".convs.\1.1."),
    # There is a dropout between the layers of the head, which counts in the original.
    (r"^head\.lins\.(\d)\.", lambda found: f"prediction.head.{2 * int(found[1])}.0."),
    (
        r"^head\.norms\.(\d)(?:\.module)?\.",
        lambda found: f"prediction.head.{2 * int(found[1])}.1.",
    ),
)


def _coordinates_first(weight: Tensor) -> Tensor:
    """Columns of the three coordinates, last in these copies, before those of features."""
    return weight.roll(3, dims=1)


def _differences_first(weight: Tensor) -> Tensor:
    """Columns of what a neighbor differs by before those of the point itself."""
    return weight.roll(weight.shape[1] // 2, dims=1)


def _gpt_prefix(names: Iterable[str]) -> str:
    """Of pre-training, where the original keeps the transformer in a part of the network."""
    return "" if "cls_token" in names else "GPT_Transformer."


_COPIES: dict[str, _Copies] = {
    "act": _Copies((*_TRANSFORMER, *_HEAD)),
    "dgcnn": _Copies(
        _DGCNN,
        folded=(
            (r"^(conv\d)\.0\.bias$", r"\1.1.running_mean"),
            (r"^linear1\.bias$", "bn6.running_mean"),
        ),
        columns=((r"^conv[1-4]\.0\.weight$", _differences_first),),
    ),
    # Of pre-training the copies hold the student alone, so that what remains is an encoder.
    "point_bert": _Copies(_POINT_BERT, dropped=(r"^mask_token$", r"^lm_head\.", r"^cls_head\.")),
    "point_gpt": _Copies(_POINT_GPT, prefix=_gpt_prefix),
    "point_m2ae": _Copies(_POINT_M2AE),
    "point_mae": _Copies((*_TRANSFORMER, *_HEAD)),
    "pointmlp": _Copies(_POINT_MLP),
    "pointmlp_elite": _Copies(_POINT_MLP),
    "pointnet2_msg": _Copies(
        _POINTNET2_MSG,
        columns=(
            (r"^sa[12]\.conv_blocks\.\d\.0\.weight$", _coordinates_first),
            (r"^sa3\.mlp_convs\.0\.weight$", _coordinates_first),
        ),
    ),
    "pointnet2_ssg": _Copies(
        _POINTNET2_SSG,
        columns=((r"^sa[123]\.mlp_convs\.0\.weight$", _coordinates_first),),
    ),
    **dict.fromkeys(
        ("pointnext_s", "pointnext_s_c64"),
        _Copies(
            _POINTNEXT,
            folded=(
                (r"(convs\.\d)\.0\.bias$", r"\1.1.running_mean"),
                (r"^(prediction\.head\.\d)\.0\.bias$", r"\1.1.running_mean"),
            ),
        ),
    ),
    "recon": _Copies((*_TRANSFORMER, *_HEAD)),
}


def is_torch_pointcloud(names: Iterable[str]) -> bool:
    """Whether tensors are named as that package does."""
    return any(re.search(r"(^|\.)lins\.\d+\.(weight|bias)$", name) for name in names)


def to_official_names(system: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a copy, and make of them what the original would hold.

    Weights stay those of linear layers, (n_out, n_in), with columns ordered as ours are.

    Raises
    ------
    CheckpointError
        If copies of this system are not known.
    """
    if system not in _COPIES:
        raise CheckpointError(
            f"Copies of {system!r} with the names of torch-pointcloud are not known here, only "
            f"of {', '.join(sorted(_COPIES))}. Read the released file of the original instead."
        )
    copies = _COPIES[system]
    prefix = copies.prefix(tensors)
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in copies.renames:
            name = re.sub(pattern, replacement, name)
        if not any(re.search(pattern, name) for pattern in copies.dropped):
            renamed[prefix + name] = tensor
    for pattern, order in copies.columns:
        for name in renamed:
            if re.search(pattern, name):
                renamed[name] = order(renamed[name])
    for pattern, mean in copies.folded:
        _fold(renamed, pattern, mean)
    return renamed


def _fold(tensors: dict[str, Tensor], pattern: str, mean: str) -> None:
    """Take a bias before a normalization from its running mean, where there is one.

    The normalization subtracts its mean: W x + b less m is W x less m - b.
    """
    for name in [name for name in tensors if re.search(pattern, name)]:
        of_norm = re.sub(pattern, mean, name)
        if of_norm in tensors:
            tensors[of_norm] = tensors[of_norm] - tensors.pop(name)
