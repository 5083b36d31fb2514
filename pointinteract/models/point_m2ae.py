"""Point-M2AE: a transformer of three scales (Zhang et al., NeurIPS 2022), for classification.

Patches become the tokens of the finest scale. A coarser scale gathers patches of the finer
centers and merges the tokens in them, and at every scale blocks of self-attention let a token
read those near it. Mean and maximum over the coarsest tokens enter the head. How the network is
pre-trained, and the checkpoints of the original, are in `point_m2ae_pretraining`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.nn.transformer import (
    PreNormBlock,
    drop_path_rates,
    position_embedding,
    start_small,
)
from pointinteract.ops.grouping import gather, group_index, take_groups
from pointinteract.ops.neighbors import square_distance

__all__ = ["N_SCALES", "POOLINGS", "PointM2AE", "Scale", "point_m2ae_sizes"]

N_SCALES = 3
POOLINGS = ("sum", "concat")
_HEAD_WIDTHS = (256, 256)

_SIZES: dict[str, dict[str, Any]] = {
    "base": {"widths": (96, 192, 384), "depths": (5, 5, 5), "n_heads": 6,
             "n_groups": (512, 256, 64), "patch_hidden": (128, 256, 512)},
    # Ours, for two cores: heads and tokens as narrow as in the other "nano" transformers.
    "nano": {"widths": (48, 96, 192), "depths": (2, 2, 2), "n_heads": 3,
             "n_groups": (128, 64, 16), "patch_hidden": (32, 64, 128)},
}


def point_m2ae_sizes(size: str) -> dict[str, Any]:
    """Numbers of a named size: ``"base"``, the published one, or ``"nano"``."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"group_sizes": (16, 8, 8)} | _SIZES[size]


@dataclass(frozen=True)
class Scale:
    """The patches of one scale: G of K members each."""

    index: Tensor  # (B, G, K) int64: points of the cloud, or centers of the finer scale
    centers: Tensor  # (B, G, 3)
    patches: Tensor  # (B, G, K, C): coordinates of the members relative to the center


class PointM2AE(nn.Module):
    """Hierarchical transformer of three scales, the finest first.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a point, coordinates first.
    n_classes : int, default=40
    widths, depths : three int
        Channels of a token and number of blocks at each scale.
    n_heads : int, default=6
        Attention heads at every scale.
    n_groups, group_sizes : three int
        Patches and members of a patch at each scale. A scale has no more patches than the
        finer one, or the cloud, has points.
    radii : three float, default=(0.32, 0.64, 1.28)
        A token reads those whose centers are nearer than this; 0 lets it read all. In units of
        the cloud, which is expected in the unit ball. Pre-training reads all.
    patch_hidden : (int, int, int)
        Hidden widths of the embedding of the finest patches.
    pooling : {"sum", "concat"}, default="sum"
        Mean plus maximum of the coarsest tokens (published for ModelNet40), or both side by
        side (published for ScanObjectNN).
    skip_first : bool, default=False
        Whether the maximum leaves the first token out, as the published network for
        ScanObjectNN does; there it is a patch like any other and not a class token.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the last scale; grows linearly from 0.
    skip_near_origin : bool, default=False
        Choose centers as the published CUDA kernel does; see
        :func:`pointinteract.ops.farthest_point_sample`.

    References
    ----------
    Zhang, Guo, Gao, Fang, Zhao, Wang, Qiao, Li, "Point-M2AE: Multi-scale Masked Autoencoders
    for Hierarchical Point Cloud Pre-training", NeurIPS 2022, arXiv 2205.14401.
    """

    official_system = "point_m2ae"
    permutation_invariant = False  # the first point is always a patch center

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        widths: Sequence[int] = (96, 192, 384),
        depths: Sequence[int] = (5, 5, 5),
        n_heads: int = 6,
        n_groups: Sequence[int] = (512, 256, 64),
        group_sizes: Sequence[int] = (16, 8, 8),
        radii: Sequence[float] = (0.32, 0.64, 1.28),
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        pooling: str = "sum",
        skip_first: bool = False,
        drop_path: float = 0.1,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}.")
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "widths": _three("widths", widths),
            "depths": _three("depths", depths),
            "n_heads": n_heads,
            "n_groups": _three("n_groups", n_groups),
            "group_sizes": _three("group_sizes", group_sizes),
            "radii": _three("radii", radii),
            "patch_hidden": tuple(patch_hidden),
            "pooling": pooling,
            "skip_first": skip_first,
            "drop_path": drop_path,
            "skip_near_origin": skip_near_origin,
        }
        self.n_groups, self.group_sizes = tuple(n_groups), tuple(group_sizes)
        self.radii = tuple(radii)
        self.pooling, self.skip_first = pooling, skip_first
        self.skip_near_origin = skip_near_origin
        self.num_features = widths[-1] * (2 if pooling == "concat" else 1)
        embeddings = [PatchEmbedding(widths[0], n_channels=n_channels, hidden=patch_hidden)]
        for finer, width in zip(widths[:-1], widths[1:], strict=True):
            hidden = (finer, finer, width)
            embeddings.append(PatchEmbedding(width, n_channels=finer, hidden=hidden))
        self.embeddings = nn.ModuleList(embeddings)
        self.positions = nn.ModuleList(position_embedding(width, width) for width in widths)
        rates = iter(drop_path_rates(drop_path, sum(depths)))
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                PreNormBlock(width, n_heads, drop_path=next(rates)) for _ in range(depth)
            )
            for width, depth in zip(widths, depths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1])
        start_small(self)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the tokens of the coarsest scale, (B, G, width)."""
        tokens = None
        for i, scale in enumerate(self.cut(points)):
            near = None
            if self.radii[i] > 0:
                apart = square_distance(scale.centers, scale.centers)
                near = (apart < self.radii[i] ** 2).unsqueeze(1)  # (B, 1, G, G)
            tokens = self.attend(i, self.embed(i, scale, tokens), scale.centers, near)
        return self.norm(tokens)

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return mean and maximum over the coarsest tokens, (B, num_features)."""
        tokens = self.forward_features(points)
        mean = tokens.mean(dim=1)
        if self.skip_first and tokens.shape[1] > 1:
            tokens = tokens[:, 1:]
        maximum = tokens.amax(dim=1)
        return torch.cat([mean, maximum], 1) if self.pooling == "concat" else mean + maximum

    def cut(self, points: Tensor) -> list[Scale]:
        """Cut clouds (B, N, n_channels) into the patches of all scales, the finest first."""
        scales: list[Scale] = []
        for n_groups, group_size in zip(self.n_groups, self.group_sizes, strict=True):
            members = scales[-1].centers if scales else points
            index, centers = group_index(
                members, n_groups, group_size, skip_near_origin=self.skip_near_origin
            )
            scales.append(Scale(index, centers, take_groups(members, index)))
        return scales

    def embed(self, i: int, scale: Scale, finer: Tensor | None) -> Tensor:
        """Make the tokens (B, G, C) of scale i: of points, or by merging finer tokens."""
        members = scale.patches if finer is None else gather(finer, scale.index)
        return self.embeddings[i](members)

    def attend(
        self, i: int, tokens: Tensor, centers: Tensor, readable: Tensor | None = None
    ) -> Tensor:
        """Take tokens (B, T, C) at centers (B, T, 3) through the blocks of scale i.

        `readable` is as in :class:`pointinteract.nn.attention.SelfAttention`.
        """
        positions = self.positions[i](centers)
        blocks: Any = self.blocks[i]
        for block in blocks:
            tokens = block(tokens + positions, readable)
        return tokens

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes on; 0 takes it off."""
        head = ClassifierHead(self.num_features, _HEAD_WIDTHS, n_classes, dropout=(0.5, 0.5))
        self.head = start_small(head).to(self.norm.weight).train(self.training)


def _three(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if len(values) != N_SCALES:
        raise ValueError(
            f"{name} must be {N_SCALES} numbers, the finest scale first; got {values!r}."
        )
    return tuple(values)


@register_model
def point_m2ae(*, n_channels: int = 3, n_classes: int = 40) -> PointM2AE:
    """Point-M2AE as published for ModelNet40, 12.8 million parameters."""
    return PointM2AE(n_channels=n_channels, n_classes=n_classes, **point_m2ae_sizes("base"))


@register_model
def point_m2ae_nano(*, n_channels: int = 3, n_classes: int = 40) -> PointM2AE:
    """Point-M2AE for a laptop: widths 48, 96 and 192, six blocks, 128, 64 and 16 patches."""
    return PointM2AE(n_channels=n_channels, n_classes=n_classes, **point_m2ae_sizes("nano"))
