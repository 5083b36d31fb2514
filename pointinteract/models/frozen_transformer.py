"""The blocks of a trained transformer as a part of our networks that does not learn.

Where the weights come from does not matter afterwards: a transformer of pictures of the
`transformers` library, of timm or of ours is read into the same blocks. Patch embedding, class
token and places of the original are left out; whoever puts tokens in brings his own.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.nn.transformer import PreNormBlock
from pointinteract.utils._optional import import_optional

__all__ = ["FrozenTransformer", "read_frozen_transformer"]

_RIGHT = (
    "a frozen transformer must be a folder or hub name of a vision transformer of the "
    "`transformers` library (ViT, DeiT, MAE), such a model itself, or a module with `blocks`, "
    "each made of norm1, attention with packed qkv, norm2 and mlp, and a `norm` after them"
)
# Names of the originals to ours, applied one after the other; queries, keys and values that are
# three products there are packed into one afterwards.
_RENAMES = (
    (r"^(vit|deit)\.", ""),
    (r"^(encoder\.layer|layers)\.", "blocks."),
    (r"^layernorm\.", "norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(attention\.)?(query|q_proj)\.", ".query."),
    (r"\.attention\.(attention\.)?(key|k_proj)\.", ".key."),
    (r"\.attention\.(attention\.)?(value|v_proj)\.", ".value."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attention.projection."),
    (r"\.(intermediate\.dense|mlp\.fc1)\.", ".mlp.0."),
    (r"\.(output\.dense|mlp\.fc2)\.", ".mlp.2."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.attn\.proj\.", ".attention.projection."),
)


class FrozenTransformer(nn.Module):
    """Pre-norm blocks and a last norm, without gradients of their own.

    Gradients pass through to what was put in.

    Parameters
    ----------
    width, depth, n_heads : int
        Channels of a token, blocks, attention heads. The defaults are those of ViT-B.
    hidden : int, optional
        Inner width of the blocks; 4 `width` unless given.
    qkv_bias : bool, default=True
    eps : float, default=1e-6
        Of the normalization.
    """

    def __init__(
        self,
        *,
        width: int = 768,
        depth: int = 12,
        n_heads: int = 12,
        hidden: int | None = None,
        qkv_bias: bool = True,
        eps: float = 1e-6,
    ):
        super().__init__()
        self.numbers = {  # what makes another one like it
            "width": width,
            "depth": depth,
            "n_heads": n_heads,
            "hidden": hidden or 4 * width,
            "qkv_bias": qkv_bias,
            "eps": eps,
        }
        self.width = width
        self.blocks = nn.ModuleList(
            PreNormBlock(width, n_heads, qkv_bias=qkv_bias, hidden=hidden, eps=eps)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=eps)
        self.requires_grad_(False)

    def forward(
        self, tokens: Tensor, refresh: Callable[[int, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Take tokens (B, T, width) through all blocks and the last norm.

        ``refresh(i, tokens)``, if given, says what block i is to read instead of what block
        i - 1 answered, such as the same with places added or prompts replaced.
        """
        for i, block in enumerate(self.blocks):
            tokens = block(tokens if refresh is None else refresh(i, tokens))
        return self.norm(tokens)


def read_frozen_transformer(source: Any) -> FrozenTransformer:
    """Copy blocks and last norm of a trained transformer.

    Parameters
    ----------
    source : str, path-like or torch.nn.Module
        A vision transformer of the `transformers` library by local folder (read without asking
        the network) or hub name, from safetensors only; a model of that library, of timm or of
        ours, which stays as it is.

    Returns
    -------
    transformer : FrozenTransformer

    Raises
    ------
    CheckpointError
        If it is of another make, such as one with gates or another activation.
    """
    if isinstance(source, (str, os.PathLike)):
        source = _load_transformers(os.fspath(source))
    if not isinstance(source, nn.Module):
        raise TypeError(f"{_RIGHT}; got {type(source).__name__}.")
    state = {}
    for name, tensor in source.state_dict().items():
        for pattern, replacement in _RENAMES:
            name = re.sub(pattern, replacement, name)
        if name.startswith(("blocks.", "norm.")):
            state[name] = tensor.detach().float().cpu()
    numbers = _read_numbers(source, _packed(state))
    transformer = FrozenTransformer(**numbers)
    missing = sorted(set(transformer.state_dict()) - set(state))
    unknown = sorted(set(state) - set(transformer.state_dict()))
    if missing or unknown:
        raise CheckpointError(
            f"{_RIGHT}; {type(source).__name__} lacks {missing[:3]} and has {unknown[:3]} beside."
        )
    transformer.load_state_dict(state)
    return transformer


def _load_transformers(name: str) -> nn.Module:
    transformers: Any = import_optional(
        "transformers", extra="teachers", purpose=f"the frozen transformer {name!r}"
    )
    local = Path(name).expanduser()
    offline = local.is_dir()
    if not offline and (local.is_absolute() or name.startswith((".", "~"))):
        raise FileNotFoundError(f"there is no folder {name!r} to read a transformer from.")
    where = str(local) if offline else name
    try:
        model, report = transformers.AutoModel.from_pretrained(
            where, local_files_only=offline, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{_RIGHT}; {name!r} could not be read: {error}") from error
    # A pooling layer that is missing is not used here either; anything else would be random.
    missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
    if missing:
        raise CheckpointError(
            f"{name!r} lacks {len(missing)} weights of its own architecture, such as {missing[0]}."
        )
    return model


def _packed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pack products for queries, keys and values into one, in place."""
    for name in [name for name in state if ".query." in name]:
        names = [name.replace(".query.", f".{part}.", 1) for part in ("query", "key", "value")]
        if all(part in state for part in names):
            packed = torch.cat([state.pop(part) for part in names])
            state[name.replace(".query.", ".attention.qkv.", 1)] = packed
    return state


def _read_numbers(source: Any, state: Mapping[str, Tensor]) -> dict[str, Any]:
    first = "blocks.0.attention.qkv.weight"
    if first not in state or "blocks.0.mlp.0.weight" not in state or "norm.weight" not in state:
        raise CheckpointError(f"{_RIGHT}; got {type(source).__name__}, which is not built so.")
    width = state[first].shape[1]
    config: Any = getattr(source, "config", None)
    if hasattr(config, "num_attention_heads"):
        n_heads, eps = config.num_attention_heads, config.layer_norm_eps
        rectifiers = [config.hidden_act]
    else:
        block = source.blocks[0]
        attention = getattr(block, "attention", None) or block.attn
        n_heads = getattr(attention, "n_heads", None) or attention.num_heads
        eps = block.norm1.eps
        rectifiers = [_name_rectifier(layer) for layer in block.mlp.children()
                      if not isinstance(layer, nn.Linear | nn.Dropout | nn.Identity)]  # fmt: skip
    for rectifier in rectifiers:
        if rectifier != "gelu":
            raise CheckpointError(
                f"{_RIGHT}; {type(source).__name__} rectifies by {rectifier!r} and not by 'gelu'."
            )
    return {
        "width": width,
        "depth": 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        "n_heads": int(n_heads),
        "hidden": state["blocks.0.mlp.0.weight"].shape[0],
        "qkv_bias": "blocks.0.attention.qkv.bias" in state,
        "eps": float(eps),
    }


def _name_rectifier(layer: nn.Module) -> str:
    """Name of an activation as transformers has it: "gelu" is the erf form."""
    name, approximate = type(layer).__name__.lower(), getattr(layer, "approximate", "none")
    return name if approximate == "none" else f"{name}_{approximate}"
