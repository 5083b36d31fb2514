"""ReCon: one transformer, two streams; the one rebuilds hidden patches, the other contrasts.

Qi, Dong, Fan, Ge, Zhang, Ma, Yi, "Contrast with Reconstruct: Contrastive 3D Representation
Learning Guided by Generative Pretraining", ICML 2023, arXiv 2302.02318.

A *local* stream of patch tokens is trained by masked reconstruction. A *global* stream of three
learned queries, for the class, an image and a text, reads the local tokens by cross-attention
in every block. In pre-training the tokens are detached before they are read, so that the
contrastive losses never reach the local stream.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._registry import register_model
from pointinteract.nn.attention import CrossAttention, SelfAttention, count_bias
from pointinteract.nn.mlp import BatchNorm
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.nn.pooling import present_max
from pointinteract.nn.structure import PatchTokens
from pointinteract.nn.transformer import (
    DropPath,
    FeedForward,
    drop_path_rates,
    position_embedding,
)
from pointinteract.ops import group
from pointinteract.ops.grouping import group_index, take_groups

__all__ = ["N_QUERIES", "ReCon", "recon_sizes"]

N_QUERIES = 3  # class, image, text

_SIZES: dict[str, dict[str, Any]] = {
    "base": {"width": 384, "depth": 12, "n_heads": 6, "decoder_depth": 4},
    "small": {"width": 256, "depth": 12, "n_heads": 4, "decoder_depth": 4},
    "tiny": {"width": 192, "depth": 12, "n_heads": 3, "decoder_depth": 4},
    # Ours, for two cores: a third of tiny's depth. Most of the time of a small network is the
    # patch embedding, so its hidden widths shrink too, and there are half as many patches. The
    # width stays, because a linear model on the features lives on it.
    "nano": {
        "width": 192,
        "depth": 4,
        "n_heads": 3,
        "decoder_depth": 1,
        "n_groups": 32,
        "group_size": 32,
        "patch_hidden": (32, 64, 128),
    },
}


def recon_sizes(size: str) -> dict:
    """Numbers of a named size: ``"base"``, ``"small"``, ``"tiny"`` (published), ``"nano"``."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"n_groups": 64, "group_size": 32, "patch_hidden": (128, 256, 512)} | _SIZES[size]


class ReConBlock(nn.Module):
    """One block of both streams, (B, 3 + P, C) to the same.

    The residual base is the *normalised* value, unlike in the usual pre-norm block; weights of
    the published networks depend on it. Queries read the patches before these update
    themselves, and do not read each other.
    """

    def __init__(self, width: int, n_heads: int, *, drop_path: float = 0.0):
        super().__init__()
        self.norm1_local = nn.LayerNorm(width)
        self.norm2_local = nn.LayerNorm(width)
        self.self_attention = SelfAttention(width, n_heads)
        self.mlp_local = FeedForward(width)
        self.norm1_global = nn.LayerNorm(width)
        self.norm2_global = nn.LayerNorm(width)
        self.cross_attention = CrossAttention(width, n_heads)
        self.mlp_global = FeedForward(width)
        self.drop_path = DropPath(drop_path)

    def forward(
        self, tokens: Tensor, *, stop_gradient: bool = False, bias: Tensor | None = None
    ) -> Tensor:
        queries, patches = tokens[:, :N_QUERIES], tokens[:, N_QUERIES:]
        queries, patches = self.norm1_global(queries), self.norm1_local(patches)
        read = patches.detach() if stop_gradient else patches
        queries = queries + self.drop_path(self.cross_attention(queries, read, bias))
        patches = patches + self.drop_path(self.self_attention(patches, bias))
        queries, patches = self.norm2_global(queries), self.norm2_local(patches)
        queries = queries + self.drop_path(self.mlp_global(queries))
        patches = patches + self.drop_path(self.mlp_local(patches))
        return torch.cat([queries, patches], dim=1)


class ReCon(nn.Module):
    """The network of every downstream task: all patches visible, a head on pooled tokens.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a point, coordinates first.
    n_classes : int, default=40
        Outputs; 0 leaves the head out.
    width, depth, n_heads : int
        Channels of a token, number of blocks, attention heads.
    n_groups, group_size : int
        Patches a cloud and points a patch. Clouds of fewer points give fewer patches.
    patch_hidden : (int, int, int)
        Hidden widths of the patch embedding.
    head : {"mlp", "linear"}, default="mlp"
        Three layers with BatchNorm and dropout 0.5 (protocols FULL and MLP-3), or one
        (MLP-LINEAR).
    drop_path : float, default=0.1
        Stochastic depth of the last block; grows linearly from 0 at the first.
    skip_near_origin : bool, default=False
        Choose centres as the published CUDA kernel does; see
        :func:`pointinteract.ops.farthest_point_sample`.
    """

    official_system: str | None = "recon"
    permutation_invariant = False  # the first point is always a patch centre
    block_type: type[nn.Module] = ReConBlock

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
            "drop_path": drop_path,
            "skip_near_origin": skip_near_origin,
        }
        self.width, self.n_groups, self.group_size = width, n_groups, group_size
        self.skip_near_origin = skip_near_origin
        self.patch_embedding = PatchEmbedding(width, n_channels=n_channels, hidden=patch_hidden)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.img_token = nn.Parameter(torch.empty(1, 1, width))
        self.text_token = nn.Parameter(torch.empty(1, 1, width))
        self.cls_pos = nn.Parameter(torch.empty(1, 1, width))
        self.img_pos = nn.Parameter(torch.empty(1, 1, width))
        self.text_pos = nn.Parameter(torch.empty(1, 1, width))
        self.position = position_embedding(width)
        self.blocks = nn.ModuleList(
            self.block_type(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        for query in (self.img_token, self.text_token, self.cls_pos, self.img_pos, self.text_pos):
            nn.init.trunc_normal_(query, std=0.02)
        self.num_features = 4 * width
        self.head_type = head
        self.head = self._make_head(n_classes)

    def reset_classifier(self, n_classes: int, *, head: str | None = None) -> None:
        """Put a fresh head for `n_classes` classes on; 0 takes the head off."""
        self.head_type = head or self.head_type
        self.head = self._make_head(n_classes).to(self.cls_token.device)

    def _make_head(self, n_classes: int) -> nn.Module:
        if self.head_type not in ("mlp", "linear"):
            raise ValueError(f"head must be 'mlp' or 'linear', got {self.head_type!r}.")
        if n_classes == 0:
            return nn.Identity()
        if self.head_type == "linear":
            return nn.Sequential(nn.Linear(self.num_features, n_classes))
        return nn.Sequential(
            nn.Linear(self.num_features, 256),
            BatchNorm(256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, 256),
            BatchNorm(256),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(256, n_classes),
        )

    def patches(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cut into patches: (B, N, C_in) to (B, G, K, C_in) and centres (B, G, 3)."""
        return group(
            points, self.n_groups, self.group_size, skip_near_origin=self.skip_near_origin
        )

    def encode(
        self,
        patches: Tensor,
        centers: Tensor,
        *,
        stop_gradient: bool = False,
        counts: Tensor | None = None,
    ) -> Tensor:
        """Queries and patch tokens (B, P, C) through all blocks, to (B, 3 + P, C), normed.

        With `counts` (B, P) every patch is read as if it stood there that often.
        """
        bias = None if counts is None else count_bias(counts, patches.dtype)
        n_clouds = patches.shape[0]
        queries = torch.cat([self.cls_token, self.img_token, self.text_token], dim=1)
        query_positions = torch.cat([self.cls_pos, self.img_pos, self.text_pos], dim=1)
        tokens = torch.cat([queries.expand(n_clouds, -1, -1), patches], dim=1)
        positions = torch.cat(
            [query_positions.expand(n_clouds, -1, -1), self.position(centers)], dim=1
        )
        for block in self.blocks:
            tokens = block(tokens + positions, stop_gradient=stop_gradient, bias=bias)
        return self.norm(tokens)

    def forward_features(self, points: Tensor) -> Tensor:
        """Tokens of a cloud, (B, N, C_in) to (B, 3 + G, C): class, image, text, patches."""
        neighborhoods, centers = self.patches(points)
        return self.encode(self.patch_embedding(neighborhoods), centers)

    def forward_pool(self, points: Tensor) -> Tensor:
        """The three queries and the maximum over patches, (B, N, C_in) to (B, 4 C)."""
        tokens = self.forward_features(points)
        pooled = tokens[:, N_QUERIES:].amax(dim=1)
        return torch.cat([tokens[:, :N_QUERIES].flatten(1), pooled], dim=1)

    def forward_probe(self, points: Tensor) -> Tensor:
        """The feature for a linear SVM, (B, N, C_in) to (B, 2 C).

        Elementwise maximum of the three queries, then maximum plus mean over patches.
        """
        tokens = self.forward_features(points)
        queries, patches = tokens[:, :N_QUERIES], tokens[:, N_QUERIES:]
        return torch.cat([queries.amax(dim=1), patches.amax(dim=1) + patches.mean(dim=1)], dim=1)

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
        return self.patch_embedding(take_groups(points, index))

    def _forward_tokens(self, tokens: Tensor, centers: Tensor, counts: Tensor) -> Tensor:
        read = self.encode(tokens, centers, counts=counts)
        pooled = present_max(read[:, N_QUERIES:], counts)
        return self.head(torch.cat([read[:, :N_QUERIES].flatten(1), pooled], dim=1))

    def _empty_patch(self) -> tuple[Tensor, Tensor]:
        n_channels = self.patch_embedding.linear1.in_features
        empty = self.cls_token.new_zeros(1, 1, 1, n_channels)
        return self.patch_embedding(empty)[0, 0], self.cls_token.new_zeros(3)

    def forward(self, points: Tensor) -> Tensor:
        """Logits, (B, N, C_in) to (B, n_classes)."""
        return self.head(self.forward_pool(points))


def _named(size: str, n_channels: int, n_classes: int) -> ReCon:
    numbers = recon_sizes(size)
    del numbers["decoder_depth"]
    return ReCon(n_channels=n_channels, n_classes=n_classes, **numbers)


@register_model
def recon_base(*, n_channels: int = 3, n_classes: int = 40) -> ReCon:
    """ReCon, width 384, as published (43.6 M parameters)."""
    return _named("base", n_channels, n_classes)


@register_model
def recon_small(*, n_channels: int = 3, n_classes: int = 40) -> ReCon:
    """ReCon, width 256, as published (19.7 M parameters)."""
    return _named("small", n_channels, n_classes)


@register_model
def recon_tiny(*, n_channels: int = 3, n_classes: int = 40) -> ReCon:
    """ReCon, width 192, as published (11.4 M parameters)."""
    return _named("tiny", n_channels, n_classes)


@register_model
def recon_nano(*, n_channels: int = 3, n_classes: int = 40) -> ReCon:
    """ReCon for a laptop: width 192, four blocks, 32 patches (3.9 M parameters)."""
    return _named("nano", n_channels, n_classes)
