"""Pre-training of PointGPT: guess every patch from those before it.

The network is :class:`pointinteract.models.point_gpt.PointGPT` without its head; the paper is
cited there. Checkpoints of the original, of pre-training and of fine-tuning, are described at
the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models.point_gpt import PointGPT, causal_mask

__all__ = ["PointGPTOutput", "PointGPTPretraining", "n_hidden_patches"]


def n_hidden_patches(n_groups: int, mask_ratio: float, n_always_seen: int) -> int:
    """Patches to hide of those after the first `n_always_seen`: int(ratio x their number)."""
    return int(max(n_groups - n_always_seen, 0) * mask_ratio)


@dataclass(frozen=True)
class PointGPTOutput:
    """What one pass gives: a guess of each of P patches of K points, in the order of the walk."""

    generated: Tensor  # (B, P, K, 3) relative to the center of the patch
    target: Tensor  # (B, P, K, 3)
    centers: Tensor  # (B, P, 3)
    hidden: Tensor  # (G,) bool, True where a place was hidden from all later ones


class PointGPTPretraining(nn.Module):
    """Extractor and generator under a causal mask, some patches hidden besides.

    Parameters
    ----------
    n_channels, width, depth, n_heads, n_groups, group_size, patch_hidden, drop_path,
    generator_depth, generation_weight, generation_target, class_token, temperature,
    skip_near_origin
        As in :class:`PointGPT`. Pre-training itself has no class token, no head, and targets
        relative to the centers.
    mask_ratio : float, default=0.7
        Share of the places after the first `n_always_seen` that no later place can read; the
        causal mask alone leaves little to guess, as the patch before shows most of the next.
    n_always_seen : int, default=10
        Places at the beginning that are never hidden.
    """

    official_system = "point_gpt"

    def __init__(
        self,
        *,
        n_channels: int = 3,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, ...] = (128, 256, 512),
        drop_path: float = 0.0,
        generator_depth: int = 4,
        generation_weight: float = 3.0,
        generation_target: str = "relative",
        class_token: str = "last",
        temperature: float = 10.0,
        mask_ratio: float = 0.7,
        n_always_seen: int = 10,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        if generator_depth < 1:
            raise ValueError(f"generator_depth must be at least 1, got {generator_depth}.")
        self.mask_ratio, self.n_always_seen = mask_ratio, n_always_seen
        self.encoder = PointGPT(
            n_channels=n_channels,
            n_classes=0,
            width=width,
            depth=depth,
            n_heads=n_heads,
            n_groups=n_groups,
            group_size=group_size,
            patch_hidden=patch_hidden,
            drop_path=drop_path,
            generator_depth=generator_depth,
            generation_weight=generation_weight,
            generation_target=generation_target,
            class_token=class_token,
            temperature=temperature,
            skip_near_origin=skip_near_origin,
        )

    def draw_hidden(self, n_groups: int, generator: torch.Generator) -> Tensor:
        """Choose the places to hide, bool (G,): the same for all clouds and in both stacks."""
        seen = min(self.n_always_seen, n_groups)
        n_hidden = n_hidden_patches(n_groups, self.mask_ratio, self.n_always_seen)
        hidden = torch.zeros(n_groups, dtype=torch.bool)
        hidden[seen + torch.randperm(n_groups - seen, generator=generator)[:n_hidden]] = True
        return hidden

    def forward(
        self,
        points: Tensor,
        *,
        hidden: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> PointGPTOutput:
        """One pass over clouds (B, N, C_in); `generator` draws `hidden` unless it is given."""
        neighborhoods, centers = self.encoder.patches(points)
        n_groups = centers.shape[1]
        if hidden is None:
            if generator is None:
                raise ValueError(
                    "PointGPTPretraining needs the hidden places or a generator to draw them."
                )
            hidden = self.draw_hidden(n_groups, generator)
        hidden = hidden.to(points.device)
        readable = _readable(hidden)
        # Every patch is embedded, the last too: BatchNorm's statistics see all of them.
        tokens = self.encoder.patch_embedding(neighborhoods)
        read = self.encoder.encode(tokens, centers, readable)
        generated = self.encoder.generate(read, centers, readable)
        return PointGPTOutput(generated, neighborhoods[..., :3], centers, hidden)

    def continue_cloud(self, points: Tensor, n_given: int) -> PointGPTOutput:
        """Show the first patches of clouds (B, N, C_in) and guess the others, one by one.

        Each guess is read as a true patch when the next is made; only the centers of all
        patches are known. Further channels of guessed points are zero. In the result the first
        `n_given` patches are the true ones.
        """
        neighborhoods, centers = self.encoder.patches(points)
        n_groups = centers.shape[1]
        if not 0 <= n_given < n_groups:
            raise ValueError(
                f"n_given must be from 0 to {n_groups - 1} for clouds of {n_groups} patches, got "
                f"{n_given}."
            )
        embed = self.encoder.patch_embedding
        tokens = embed(neighborhoods[:, :n_given]) if n_given else None
        shown = neighborhoods[:, :n_given, :, :3]
        unknown = neighborhoods.new_zeros(*neighborhoods[:, :1, :, 3:].shape)
        for place in range(n_given, n_groups):
            known = centers[:, : place + 1]
            readable = causal_mask(place + 1, device=points.device)
            # The token in the last place is one that nobody reads.
            blank = self.encoder.cls_token.expand(len(points), -1, -1)
            row = blank if tokens is None else torch.cat([tokens, blank], dim=1)
            read = self.encoder.encode(row, known, readable)
            guess = self.encoder.generate(read, known, readable)[:, -1:]
            token = embed(torch.cat([guess, unknown], dim=-1))
            tokens = token if tokens is None else torch.cat([tokens, token], dim=1)
            shown = torch.cat([shown, guess], dim=1)
        nothing = torch.zeros(n_groups, dtype=torch.bool, device=points.device)
        return PointGPTOutput(shown, neighborhoods[..., :3], centers, nothing)


def _readable(hidden: Tensor) -> Tensor:
    """Bool (G, G): what comes before, unless it is hidden; oneself always."""
    itself = torch.eye(len(hidden), dtype=torch.bool, device=hidden.device)
    return causal_mask(len(hidden), device=hidden.device) & (~hidden | itself)


_PREFIX = "GPT_Transformer."


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that an official checkpoint belongs to, pre-training or downstream."""
    sizes.unfold("transformer_config")
    pretraining = any(key.startswith(_PREFIX) for key in state)
    prefix = _PREFIX if pretraining else ""
    numbers = _trunk_numbers(state, prefix, sizes)
    # What no network of the original depends on.
    for name in ("NAME", "type", "loss", "weight_center", "mask_type", "drop_path_rate",
                 "decoder_num_heads"):
        sizes.get(name, None)
    if pretraining:
        sizes.get("cls_dim", None)
        return PointGPTPretraining(
            mask_ratio=sizes.get("mask_ratio", 0.7),
            n_always_seen=sizes.get("keep_attend", 10),
            generation_target=sizes.get("generation_target", "relative"),
            class_token=sizes.get("class_token", "last"),
            **numbers,
        )
    key = f"{prefix}blocks.cls_head_finetune.8.weight"
    n_classes = state.shape(key, 2)[0] if key in state else 0
    return PointGPT(
        n_classes=sizes.check("cls_dim", n_classes) if n_classes else 0,
        generation_target=sizes.get("generation_target", "absolute"),
        class_token=sizes.get("class_token", "second"),
        **numbers,
    )


def _trunk_numbers(state: OfficialState, prefix: str, sizes: OfficialSizes) -> dict[str, Any]:
    start = f"{prefix}encoder."
    is_deep = f"{start}first_conv.6.weight" in state
    layers = ["first_conv.0", "first_conv.3", *["first_conv.6"] * is_deep, "second_conv.0"]
    widths = [state.shape(f"{start}{layer}.weight", 3) for layer in layers]
    width = state.shape(f"{prefix}blocks.sos", 1)[0]
    depth, generator_depth = (
        _depth(state, f"{prefix}{stack}.layers") for stack in ("blocks", "generator_blocks")
    )
    for name, found in (("trans_dim", width), ("encoder_dims", width), ("depth", depth),
                        ("decoder_depth", generator_depth)):
        sizes.check(name, found)
    group_size = sizes.get("group_size", 32)
    if generator_depth or prefix:  # pre-training is nothing without it
        key = f"{prefix}generator_blocks.increase_dim.0.weight"
        group_size = sizes.check("group_size", state.shape(key, 3)[0] // 3)
    return {
        "n_channels": widths[0][1],
        "width": width,
        "depth": depth,
        # Published heads have 64 channels; another number has to be told.
        "n_heads": sizes.get("num_heads", max(1, width // 64)),
        "n_groups": sizes.get("num_group", 64),
        "group_size": group_size,
        "patch_hidden": tuple(shape[0] for shape in widths),
        "generator_depth": generator_depth,
        "generation_weight": sizes.get("generation_weight", 3.0),
        "temperature": sizes.get("temperature", 1.0),
        "skip_near_origin": sizes.get("skip_near_origin", False),
    }


def _depth(state: OfficialState, stack: str) -> int:
    return state.count(f"{stack}.{{}}.ln_1.weight")


def _unread(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that the original has and never reads; its strict loader asks for them."""
    prefix = _PREFIX if f"{_PREFIX}sos_pos" in state else ""
    start = state[f"{prefix}blocks.sos"]
    rebuild = f"{prefix}generator_blocks.increase_dim.0"
    unread = {
        f"{prefix}norm.weight": torch.ones_like(start),
        f"{prefix}norm.bias": torch.zeros_like(start),
    }
    if f"{rebuild}.weight" in state:
        unread[f"{prefix}generator_blocks.sos"] = torch.zeros_like(start)
        for part in ("weight", "bias"):
            of_generator = state[f"{rebuild}.{part}"]
            unread[f"{prefix}blocks.increase_dim.0.{part}"] = torch.zeros_like(of_generator)
    return unread


_ANY = r"^(GPT_Transformer\.)?"

# PointGPT and PointTransformer in CGuangyan-BIT/PointGPT
register_official(
    OfficialFormat(
        system="point_gpt",
        build=_build,
        renames=(
            # Made afresh downstream: no part of a pre-training checkpoint.
            (r"^encoder\.(cls_token|cls_pos|head_norm\..*)$", ""),
            (r"^encoder\.", _PREFIX),
            (_ANY + r"patch_embedding\.linear1\.", r"\1encoder.first_conv.0."),
            (_ANY + r"patch_embedding\.norm1\.", r"\1encoder.first_conv.1."),
            # Of the deeper embedding first.
            (_ANY + r"patch_embedding\.linear2\.0\.linear\.", r"\1encoder.first_conv.3."),
            (_ANY + r"patch_embedding\.linear2\.0\.norm\.", r"\1encoder.first_conv.4."),
            (_ANY + r"patch_embedding\.linear2\.1\.", r"\1encoder.first_conv.6."),
            (_ANY + r"patch_embedding\.linear2\.", r"\1encoder.first_conv.3."),
            (_ANY + r"patch_embedding\.linear3\.", r"\1encoder.second_conv.0."),
            (_ANY + r"patch_embedding\.norm2\.", r"\1encoder.second_conv.1."),
            (_ANY + r"patch_embedding\.linear4\.", r"\1encoder.second_conv.3."),
            (_ANY + r"generator\.blocks\.", r"\1generator_blocks.layers."),
            (_ANY + r"generator\.norm\.", r"\1generator_blocks.ln_f."),
            (_ANY + r"generator\.rebuild\.", r"\1generator_blocks.increase_dim.0."),
            (_ANY + r"blocks\.", r"\1blocks.layers."),
            (_ANY + r"start_token$", r"\1blocks.sos"),
            (_ANY + r"start_position$", r"\1sos_pos"),
            (_ANY + r"norm\.", r"\1blocks.ln_f."),
            (r"^head_norm\.", "blocks.cls_norm."),
            (r"^head\.layers\.0\.linear\.", "blocks.cls_head_finetune.0."),
            (r"^head\.layers\.0\.norm\.", "blocks.cls_head_finetune.1."),
            (r"^head\.layers\.1\.linear\.", "blocks.cls_head_finetune.4."),
            (r"^head\.layers\.1\.norm\.", "blocks.cls_head_finetune.5."),
            (r"^head\.out\.", "blocks.cls_head_finetune.8."),
            (r"\.norm([12])\.", r".ln_\1."),
            (r"\.attention\.qkv\.", ".attn.in_proj_"),
            (r"\.attention\.projection\.", ".attn.out_proj."),
        ),
        layouts=(
            (r"encoder\.(first|second)_conv\.[036]\.weight$", unit_axes(1)),
            (r"increase_dim\.0\.weight$", unit_axes(1)),
        ),
        ignored=(
            _ANY + r"norm\.",
            _ANY + r"blocks\.increase_dim\.",
            _ANY + r"generator_blocks\.sos$",
        ),
        unread=_unread,
    )
)
