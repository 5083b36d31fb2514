"""Pre-training of MaskPoint: from a few visible patches, tell points of a cloud from others.

Liu, Cai, Lee, "Masked Discrimination for Self-Supervised Learning on Point Clouds", ECCV 2022,
arXiv 2203.11183. Nine tenths of the patches are hidden. Queries, places in space that are points
of the cloud or are not, read the encoded rest in one block of cross-attention and are
classified. Queries do not see each other. A contrast of clouds by their class tokens (MoCo) can
be added. Checkpoints of the original, of pre-training and of fine-tuning, are described at the
end.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    after_prefix,
    register_official,
)
from pointinteract.models.point_transformer import (
    TRANSFORMER_LAYOUTS,
    TRANSFORMER_RENAMES,
    PointTransformer,
    build_transformer,
)
from pointinteract.nn.momentum import FeatureQueue, follow, momentum_copy
from pointinteract.nn.patches import n_masked_patches, random_patch_mask, split_by_mask
from pointinteract.nn.transformer import DropPath, FeedForward, drop_path_rates, start_small
from pointinteract.ops import gather

__all__ = ["MaskPointNetwork", "MaskPointOutput", "MaskPointPretraining"]

_HIDDEN = 64  # of the head that classifies queries


@dataclass(frozen=True)
class MaskPointOutput:
    """What one pass gives: V visible patches and Q queries."""

    mask: Tensor  # (G,) bool, True where hidden
    tokens: Tensor  # (B, 1 + V, C), class token first, normed
    decoded: Tensor  # (B, Q, C)
    logits: Tensor  # (B, Q, 2): fake, real
    projected: Tensor  # (B, D), of the class token, not normalised


class QueryAttention(nn.Module):
    """Some tokens read others whose keys and values differ: (B, Q, C), (B, T, C) to (B, Q, C)."""

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        if n_heads < 1 or width % n_heads:
            raise ValueError(f"n_heads must divide the width {width}, got {n_heads}.")
        self.n_heads = n_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.projection = nn.Linear(width, width)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        query, key, value = (
            layer(tokens).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, ., C/H)
            for layer, tokens in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        read = F.scaled_dot_product_attention(query, key, value)
        return self.projection(read.transpose(1, 2).flatten(2))


class QueryBlock(nn.Module):
    """A block of the decoder. Places add to queries and keys, but not to what is read."""

    def __init__(self, width: int, n_heads: int, *, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = QueryAttention(width, n_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, content: Tensor, position: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        read = self.attention(self.norm1(content) + position, keys, values)
        content = content + self.drop_path(read)
        return content + self.drop_path(self.mlp(self.norm2(content)))


class MaskPointNetwork(nn.Module):
    """Encoder, decoder of queries, and two heads.

    Parameters
    ----------
    n_channels, width, depth, n_heads, n_groups, group_size, patch_hidden, patch_width, \
skip_near_origin
        As in :class:`PointTransformer`, which the encoder is.
    decoder_depth : int, default=1
        Blocks in which queries read.
    n_projected : int, default=512
        Channels D of the projected class token.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of a decoder of several.
    """

    def __init__(
        self,
        *,
        n_channels: int = 3,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        patch_width: int | None = 256,
        decoder_depth: int = 1,
        n_projected: int = 512,
        drop_path: float = 0.1,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        self.encoder = PointTransformer(
            n_channels=n_channels,
            n_classes=0,
            width=width,
            depth=depth,
            n_heads=n_heads,
            n_groups=n_groups,
            group_size=group_size,
            patch_hidden=patch_hidden,
            patch_width=patch_width,
            head="mlp2",
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
        )
        self.n_projected = n_projected
        # Read by nothing, in the original neither; without it, it would refuse our weights.
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.decoder = nn.ModuleList(
            QueryBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, decoder_depth)
        )
        self.query_head = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, 2)
        )
        self.class_head = nn.Sequential(
            nn.Linear(width, n_projected), nn.GELU(), nn.Linear(n_projected, n_projected)
        )
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for part in (self.decoder, self.query_head, self.class_head):
            start_small(part)

    def encode(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode patches that are not hidden.

        Parameters
        ----------
        points : Tensor of shape (B, N, C_in)
        mask : bool Tensor of shape (G,)
            True where hidden, one for the whole batch.

        Returns
        -------
        tokens : Tensor of shape (B, 1 + V, C)
            Class token first.
        positions : Tensor of shape (B, 1 + V, C)
        """
        neighborhoods, centers = self.encoder.patches(points)
        if mask.shape != centers.shape[1:2]:
            raise ValueError(
                f"mask must be ({centers.shape[1]},), one entry a patch, got {tuple(mask.shape)}."
            )
        visible, _ = split_by_mask(mask.expand(len(points), -1))
        # Every patch is embedded, hidden ones too: BatchNorm's statistics see all of them.
        patches = gather(self.encoder.embed_patches(neighborhoods), visible)
        centers = gather(centers, visible)
        of_class = self.encoder.cls_pos.expand(len(points), -1, -1)
        positions = torch.cat([of_class, self.encoder.position(centers)], dim=1)
        return self.encoder.encode(patches, centers), positions

    def project(self, points: Tensor, mask: Tensor) -> Tensor:
        """Class token of what is visible, projected: (B, N, C_in) to (B, D)."""
        return self.class_head(self.encode(points, mask)[0][:, 0])

    def forward(self, points: Tensor, queries: Tensor, mask: Tensor) -> MaskPointOutput:
        """Classify queries (B, Q, 3) from what is visible of clouds (B, N, C_in)."""
        tokens, positions = self.encode(points, mask)
        place = self.encoder.position(queries)
        content = torch.zeros_like(place)
        for block in self.decoder:
            content = block(content, place, tokens + positions, tokens)
        return MaskPointOutput(
            mask=mask,
            tokens=tokens,
            decoded=content,
            logits=self.query_head(content),
            projected=self.class_head(tokens[:, 0]),
        )


class MaskPointPretraining(nn.Module):
    """The network that learns; for the contrast, its momentum copy and a queue as well.

    Parameters
    ----------
    network : MaskPointNetwork
    mask_ratio : float, default=0.9
        Share of patches hidden, int(ratio x G) of them.
    contrast : bool, default=False
        Whether there are a copy and a queue.
    momentum : float, default=0.999
        Share that the copy keeps of itself in a step.
    queue_length : int, default=16384
        Clouds that are remembered as negatives.
    """

    official_system = "maskpoint"

    def __init__(
        self,
        network: MaskPointNetwork,
        *,
        mask_ratio: float = 0.9,
        contrast: bool = False,
        momentum: float = 0.999,
        queue_length: int = 16384,
    ):
        super().__init__()
        self.mask_ratio, self.momentum = mask_ratio, momentum
        self.query = network
        self.key = momentum_copy(self.query) if contrast else None
        self.queue = FeatureQueue(network.n_projected, queue_length) if contrast else None

    @property
    def encoder(self) -> PointTransformer:
        """What downstream tasks use."""
        return self.query.encoder

    def draw_mask(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the patches to hide, the same in every cloud of (B, N, C_in): bool (G,)."""
        n_groups = min(self.encoder.n_groups, points.shape[1])
        n_masked = n_masked_patches(n_groups, self.mask_ratio)
        return random_patch_mask(1, n_groups, n_masked, generator=generator)[0].to(points.device)

    def forward(
        self,
        points: Tensor,
        queries: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> MaskPointOutput:
        """One pass; `generator` draws the mask unless it is given."""
        return self.query(points, queries, self._settle_mask(points, mask, generator))

    @torch.no_grad()
    def keys(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Let the copy follow, and project what it sees under another mask: (B, D).

        The original moves the copy at the start of a pass, before its keys are made.
        """
        if self.key is None:
            raise ValueError("there is no momentum copy; make the network with contrast=True.")
        follow(self.key, self.query, self.momentum)
        return self.key.project(points, self._settle_mask(points, mask, generator))

    def _settle_mask(
        self, points: Tensor, mask: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        if mask is not None:
            return mask
        if generator is None:
            raise ValueError("MaskPointPretraining needs a mask or a generator to draw one.")
        return self.draw_mask(points, generator)


_PREFIX = "transformer_q."
# What the original's configuration keeps beside the network: queries, losses and temperature.
_OF_TRAINING = (
    "T", "use_sigmoid", "use_moco_loss", "query_loss_weight", "moco_loss_weight",
    "use_focal_loss", "focal_loss_alpha", "focal_loss_gamma", "ambiguous_threshold",
    "ambiguous_dynamic_threshold", "dec_query_mode", "dec_query_real_num", "dec_query_fake_num",
)


def _build(state: OfficialState, sizes: OfficialSizes) -> nn.Module:
    """Make the module that an official checkpoint belongs to, pre-training or downstream."""
    if f"{_PREFIX}mask_token" not in state:
        return build_transformer(state, sizes)
    sizes.unfold("transformer_config")
    trunk = {name.removeprefix(_PREFIX): state[name] for name in state if name.startswith(_PREFIX)}
    contrast = "queue" in state
    n_projected = trunk["cls_head.0.weight"].shape[0]
    sizes.check("cls_dim", n_projected)
    # Of the downstream head; there is none here.
    numbers: dict[str, Any] = build_transformer(OfficialState("maskpoint", trunk), sizes).config
    del numbers["head"]
    depth = state.count(f"{_PREFIX}decoder.blocks.{{}}.norm1.weight")
    for name in _OF_TRAINING:
        sizes.get(name, None)
    network = MaskPointNetwork(
        decoder_depth=sizes.check("dec_depth", depth), n_projected=n_projected, **numbers
    )
    return MaskPointPretraining(
        network,
        mask_ratio=sizes.get("mask_ratio", 0.9),
        contrast=contrast,
        momentum=sizes.get("m", 0.999),
        queue_length=sizes.check("K", state.shape("queue", 2)[1]) if contrast else 1,
    )


register_official(
    OfficialFormat(
        system="maskpoint",
        build=_build,
        renames=(
            (r"^queue\.", ""),
            (r"^(query|key)\.decoder\.", r"\1.decoder.blocks."),
            (r"^(query|key)\.query_head\.", r"\1.bin_cls_head."),
            (r"^(query|key)\.class_head\.", r"\1.cls_head."),
            (r"^query\.(encoder\.)?", "transformer_q."),
            (r"^key\.(encoder\.)?", "transformer_k."),
            (r"(\.decoder\..*\.attention)\.query\.", r"\1.q_proj."),
            (r"(\.decoder\..*\.attention)\.key\.", r"\1.k_proj."),
            (r"(\.decoder\..*\.attention)\.value\.", r"\1.v_proj."),
            *after_prefix(r"transformer_[qk]\.", TRANSFORMER_RENAMES),
            (r"(\.decoder\..*)\.attention\.", r"\1.attn."),
        ),
        layouts=TRANSFORMER_LAYOUTS,
    )
)
