"""The plain Transformer of the tables: tokens of patches, standard blocks, a head.

The classification network of Point-BERT (Yu et al., CVPR 2022) and Point-MAE (Pang et al.,
ECCV 2022), which the tables also list trained from scratch. A cloud is cut into patches around
farthest points, a small PointNet makes a token of each, and a class token reads them through
blocks of self-attention. The place of each patch is added again before every block. Class
token and maximum over the others enter the head.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._official import OfficialSizes, OfficialState, unit_axes
from pointinteract.models._registry import register_model
from pointinteract.nn.attention import count_bias
from pointinteract.nn.mlp import BatchNorm
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.nn.pooling import present_max
from pointinteract.nn.structure import PatchTokens
from pointinteract.nn.transformer import (
    PreNormBlock,
    drop_path_rates,
    position_embedding,
    start_small,
)
from pointinteract.ops.grouping import group, group_index, take_groups

__all__ = [
    "TRANSFORMER_LAYOUTS",
    "TRANSFORMER_RENAMES",
    "PointTransformer",
    "build_transformer",
    "transformer_sizes",
]

HEADS = ("mlp", "mlp2", "linear")
_HEAD_WIDTH = 256

_SIZES: dict[str, dict[str, Any]] = {
    "base": {"width": 384, "depth": 12, "n_heads": 6, "n_groups": 64,
             "patch_hidden": (128, 256, 512)},
    # Ours, for two cores; the sizes are those of ReCon's "nano".
    "nano": {"width": 192, "depth": 4, "n_heads": 3, "n_groups": 32,
             "patch_hidden": (32, 64, 128)},
}


def transformer_sizes(size: str) -> dict[str, Any]:
    """Numbers of a named size: ``"base"``, the published one, or ``"nano"``."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"group_size": 32} | _SIZES[size]


class PointTransformer(nn.Module):
    """Standard transformer on patch tokens, for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a point, coordinates first.
    n_classes : int, default=40
    width, depth, n_heads : int
        Channels of a token, number of blocks, attention heads.
    n_groups, group_size : int
        Patches a cloud and points a patch. Clouds of fewer points give fewer patches. 128
        patches are usual for 2048 points.
    patch_hidden : (int, int, int)
        Hidden widths of the patch embedding.
    patch_width : int, optional
        Width of the embedded patches, where one more linear layer brings them to the width of
        the tokens: 256 in Point-BERT. None leaves that layer out, as Point-MAE does.
    head : {"mlp", "mlp2", "linear"}, default="mlp"
        Three layers with BatchNorm and dropout 0.5 (Point-MAE), two layers with dropout 0.5
        (Point-BERT), or one.
    drop_path : float, default=0.1
        Stochastic depth of the last block; grows linearly from 0 at the first.
    skip_near_origin : bool, default=False
        Choose centers as the published CUDA kernel does; see
        :func:`pointinteract.ops.farthest_point_sample`.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, arXiv 2111.14819.

    Pang, Wang, Tay, Liu, Tian, Yuan, "Masked Autoencoders for Point Cloud Self-supervised
    Learning", ECCV 2022, arXiv 2203.06604.
    """

    official_system = "point_mae"
    permutation_invariant = False  # the first point is always a patch center

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        patch_width: int | None = None,
        head: str = "mlp",
        drop_path: float = 0.1,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "width": width,
            "depth": depth,
            "n_heads": n_heads,
            "n_groups": n_groups,
            "group_size": group_size,
            "patch_hidden": tuple(patch_hidden),
            "patch_width": patch_width,
            "head": head,
            "drop_path": drop_path,
            "skip_near_origin": skip_near_origin,
        }
        self.n_groups, self.group_size = n_groups, group_size
        self.skip_near_origin = skip_near_origin
        self.num_features = 2 * width
        self.patch_embedding = PatchEmbedding(
            patch_width or width, n_channels=n_channels, hidden=patch_hidden
        )
        self.bridge = nn.Linear(patch_width, width) if patch_width else nn.Identity()
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.cls_pos = nn.Parameter(torch.empty(1, 1, width))
        self.position = position_embedding(width)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        for parameter in (self.cls_token, self.cls_pos):
            nn.init.trunc_normal_(parameter, std=0.02)
        start_small(self)
        self.head_type = head
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the tokens, (B, 1 + G, width): class token first, then the patches."""
        neighborhoods, centers = self.patches(points)
        return self.encode(self.embed_patches(neighborhoods), centers)

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return class token and maximum over the patches, (B, 2 width)."""
        tokens = self.forward_features(points)
        return torch.cat([tokens[:, 0], tokens[:, 1:].amax(1)], dim=1)

    def patches(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cut into patches: (B, N, n_channels) to (B, G, K, n_channels) and centers (B, G, 3)."""
        return group(
            points, self.n_groups, self.group_size, skip_near_origin=self.skip_near_origin
        )

    def embed_patches(self, neighborhoods: Tensor) -> Tensor:
        """Make a token of each patch, (B, G, K, n_channels) to (B, G, width)."""
        return self.bridge(self.patch_embedding(neighborhoods))

    def encode(
        self,
        patches: Tensor,
        centers: Tensor,
        *,
        counts: Tensor | None = None,
        with_class: bool = True,
    ) -> Tensor:
        """Take tokens through all blocks.

        Parameters
        ----------
        patches : Tensor of shape (B, P, width)
        centers : Tensor of shape (B, P, 3)
        counts : int64 Tensor of shape (B, P), optional
            How often each patch stands there; once if not given.
        with_class : bool, default=True
            Whether the class token is there; Point-MAE pre-trains without it.

        Returns
        -------
        tokens : Tensor of shape (B, 1 + P, width)
            Class token first, or (B, P, width) without it.
        """
        n_clouds = patches.shape[0]
        tokens, positions = patches, self.position(centers)
        if with_class:
            tokens = torch.cat([self.cls_token.expand(n_clouds, -1, -1), tokens], dim=1)
            positions = torch.cat([self.cls_pos.expand(n_clouds, -1, -1), positions], dim=1)
        bias = None
        if counts is not None:
            if with_class:
                counts = torch.cat([counts.new_ones(n_clouds, 1), counts], dim=1)
            bias = count_bias(counts, patches.dtype)
        for block in self.blocks:
            tokens = block(tokens + positions, bias)
        return self.norm(tokens)

    def reset_classifier(self, n_classes: int, *, head: str | None = None) -> None:
        """Put a fresh head for `n_classes` classes on, of another kind if said; 0 takes it off."""
        kind = head or self.head_type
        if kind not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}, got {kind!r}.")
        self.head_type = kind
        fresh = start_small(_make_head(kind, self.num_features, n_classes))
        self.head = fresh.to(self.cls_token).train(self.training)

    def structure(self) -> PatchTokens:
        """Say that a cloud is a set of patch tokens, of which equal ones can be merged.

        Nothing but attention and the final maximum looks across patches. Equal tokens stay
        equal through every block, so one that is read as several is enough.
        """
        return PatchTokens(
            patches=self._patch_index,
            embed=self._embed,
            forward_tokens=self._forward_tokens,
            baseline=self._empty_patch,
        )

    def _patch_index(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return group_index(
            points, self.n_groups, self.group_size, skip_near_origin=self.skip_near_origin
        )

    def _embed(self, points: Tensor, index: Tensor) -> Tensor:
        return self.embed_patches(take_groups(points, index))

    def _forward_tokens(self, tokens: Tensor, centers: Tensor, counts: Tensor) -> Tensor:
        read = self.encode(tokens, centers, counts=counts)
        pooled = present_max(read[:, 1:], counts)
        return self.head(torch.cat([read[:, 0], pooled], dim=1))

    def _empty_patch(self) -> tuple[Tensor, Tensor]:
        n_channels = self.patch_embedding.linear1.in_features
        empty = self.cls_token.new_zeros(1, 1, 1, n_channels)
        return self.embed_patches(empty)[0, 0], self.cls_token.new_zeros(3)


def _make_head(kind: str, n_features: int, n_classes: int) -> nn.Module:
    if n_classes == 0:
        return nn.Identity()
    if kind == "linear":
        return nn.Sequential(nn.Linear(n_features, n_classes))
    first = nn.Linear(n_features, _HEAD_WIDTH)
    last = nn.Linear(_HEAD_WIDTH, n_classes)
    if kind == "mlp2":
        return nn.Sequential(first, nn.ReLU(), nn.Dropout(0.5), last)
    return nn.Sequential(
        first,
        BatchNorm(_HEAD_WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(_HEAD_WIDTH, _HEAD_WIDTH),
        BatchNorm(_HEAD_WIDTH),
        nn.ReLU(),
        nn.Dropout(0.5),
        last,
    )


@register_model
def transformer(*, n_channels: int = 3, n_classes: int = 40) -> PointTransformer:
    """Plain transformer as published for 1024 points, 22.1 million parameters."""
    numbers = transformer_sizes("base")
    return PointTransformer(n_channels=n_channels, n_classes=n_classes, **numbers)


@register_model
def transformer_nano(*, n_channels: int = 3, n_classes: int = 40) -> PointTransformer:
    """Plain transformer for a laptop: width 192, four blocks, 32 patches."""
    numbers = transformer_sizes("nano")
    return PointTransformer(n_channels=n_channels, n_classes=n_classes, **numbers)


def build_transformer(state: OfficialState, sizes: OfficialSizes) -> PointTransformer:
    """Make the classifier that an official checkpoint of any of these systems belongs to."""
    first, second = (state.shape(f"encoder.first_conv.{i}.weight", 3) for i in (0, 3))
    third, fourth = (state.shape(f"encoder.second_conv.{i}.weight", 3) for i in (0, 3))
    width = sizes.check("trans_dim", state.shape("cls_token", 3)[2])
    depth = state.count("blocks.blocks.{}.norm1.weight")
    patch_width = sizes.check("encoder_dims", fourth[0])
    kind, n_classes = _find_head(state)
    for name in ("NAME", "type"):  # of a class and of a loss in the original
        sizes.get(name, None)
    return PointTransformer(
        n_channels=first[1],
        n_classes=sizes.check("cls_dim", n_classes) if n_classes else 0,
        width=width,
        depth=sizes.check("depth", depth),
        # Published heads have 64 channels; another number has to be told.
        n_heads=sizes.get("num_heads", max(1, width // 64)),
        n_groups=sizes.get("num_group", 64),
        group_size=sizes.get("group_size", 32),
        patch_hidden=(first[0], second[0], third[0]),
        patch_width=patch_width if "reduce_dim.weight" in state else None,
        head=kind,
        drop_path=sizes.get("drop_path_rate", 0.1),
        skip_near_origin=sizes.get("skip_near_origin", False),
    )


def _find_head(state: OfficialState) -> tuple[str, int]:
    for kind, place in (("mlp", 8), ("mlp2", 3), ("linear", 0)):
        key = f"cls_head_finetune.{place}.weight"
        if key in state:
            return kind, state.shape(key, 2)[0]
    return "mlp", 0


TRANSFORMER_RENAMES: tuple[tuple[str, str], ...] = (
    (r"^patch_embedding\.linear1\.", "encoder.first_conv.0."),
    (r"^patch_embedding\.norm1\.", "encoder.first_conv.1."),
    (r"^patch_embedding\.linear2\.", "encoder.first_conv.3."),
    (r"^patch_embedding\.linear3\.", "encoder.second_conv.0."),
    (r"^patch_embedding\.norm2\.", "encoder.second_conv.1."),
    (r"^patch_embedding\.linear4\.", "encoder.second_conv.3."),
    (r"^bridge\.", "reduce_dim."),
    (r"^position\.", "pos_embed."),
    (r"^blocks\.", "blocks.blocks."),
    (r"\.attention\.projection\.", ".attn.proj."),
    (r"\.attention\.qkv\.", ".attn.qkv."),
    (r"\.mlp\.0\.", ".mlp.fc1."),
    (r"\.mlp\.2\.", ".mlp.fc2."),
    (r"^head\.", "cls_head_finetune."),
)
TRANSFORMER_LAYOUTS: tuple[tuple[str, Any], ...] = (
    (r"(^|\.)encoder\.(first|second)_conv\.[03]\.weight$", unit_axes(1)),
)
