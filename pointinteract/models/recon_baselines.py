"""What ReCon is compared with in its paper: the same losses in one plain network, or in two.

Contrast and reconstruction disturb each other in a plain network that both train; in two
networks side by side neither learns from the other. The paper is cited in
:mod:`pointinteract.models.recon`.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._masked_autoencoder import MaskedAutoencoder
from pointinteract.models.point_transformer import PointTransformer
from pointinteract.models.recon import N_QUERIES, ReCon
from pointinteract.models.recon_pretraining import ReConOutput, ReConPretraining
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.patches import PatchEmbedding, split_by_mask
from pointinteract.nn.transformer import (
    PreNormBlock,
    drop_path_rates,
    position_embedding,
    start_small,
)
from pointinteract.ops import gather

__all__ = ["MultiTaskPretraining", "MultiTaskReCon", "TwoTowerPretraining", "TwoTowerReCon"]

STREAMS = ("both", "reconstruction", "contrast")


class JointBlock(PreNormBlock):
    """The usual block on queries and patches together, called as `ReConBlock` is."""

    def forward(  # type: ignore[override]
        self, tokens: Tensor, *, stop_gradient: bool = False, bias: Tensor | None = None
    ) -> Tensor:
        if stop_gradient:
            raise ValueError("in one self-attention no gradient can be stopped.")
        if bias is not None:  # of patches; every query stands there once
            bias = F.pad(bias, (N_QUERIES, 0))
        return super().forward(tokens, bias)


class MultiTaskReCon(ReCon):
    """Vanilla multi-task: queries and patches read each other in one plain transformer.

    Parameters as of :class:`ReCon`. The paper names this baseline; that queries join the patches
    in self-attention is our reading of it.
    """

    official_system = None
    block_type = JointBlock


class MultiTaskPretraining(ReConPretraining):
    """Pre-training whose losses all reach one plain transformer, a :class:`MultiTaskReCon`.

    Parameters as of :class:`ReConPretraining`; `stop_gradient` cannot be True.
    """

    official_system = None
    can_stop_gradient = False
    encoder_type = MultiTaskReCon


class QueryTower(nn.Module):
    """A plain transformer in which two queries, for an image and a text, read all patches."""

    def __init__(
        self,
        *,
        n_channels: int,
        width: int,
        depth: int,
        n_heads: int,
        patch_hidden: tuple[int, int, int],
        drop_path: float,
    ):
        super().__init__()
        self.patch_embedding = PatchEmbedding(width, n_channels=n_channels, hidden=patch_hidden)
        self.queries = nn.Parameter(torch.zeros(1, 2, width))
        self.query_positions = nn.Parameter(torch.randn(1, 2, width))
        self.position = position_embedding(width)
        self.blocks = nn.ModuleList(
            PreNormBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        start_small(self)

    def forward(self, neighborhoods: Tensor, centers: Tensor) -> Tensor:
        """Patches (B, G, K, C_in), centers (B, G, 3) to the two queries, (B, 2, C)."""
        n_clouds = len(centers)
        patches = self.patch_embedding(neighborhoods)
        tokens = torch.cat([self.queries.expand(n_clouds, -1, -1), patches], dim=1)
        positions = torch.cat(
            [self.query_positions.expand(n_clouds, -1, -1), self.position(centers)], dim=1
        )
        for block in self.blocks:
            tokens = block(tokens + positions)
        return self.norm(tokens[:, :2])


class TwoTowerReCon(nn.Module):
    """Two plain transformers that share nothing but how a cloud is cut.

    The tower of reconstruction is the encoder of Point-MAE; that of contrast holds two queries.

    Parameters
    ----------
    n_channels, n_classes, width, depth, n_heads, n_groups, group_size, patch_hidden, drop_path,
    skip_near_origin
        As in :class:`ReCon`; width, depth and n_heads are those of each tower.
    stream : {"both", "reconstruction", "contrast"}, default="both"
        What enters the head: class token and maximum over patches of the one tower, the two
        queries of the other, or all.
    """

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
        drop_path: float = 0.1,
        stream: str = "both",
        skip_near_origin: bool = False,
    ):
        super().__init__()
        if stream not in STREAMS:
            raise ValueError(f"stream must be one of {STREAMS}, got {stream!r}.")
        trunk: dict[str, Any] = {
            "n_channels": n_channels,
            "width": width,
            "depth": depth,
            "n_heads": n_heads,
            "patch_hidden": tuple(patch_hidden),
            "drop_path": drop_path,
        }
        places: dict[str, Any] = {
            "n_groups": n_groups,
            "group_size": group_size,
            "skip_near_origin": skip_near_origin,
        }
        self.config = trunk | places | {"stream": stream}  # what makes another one like it
        self.width, self.stream = width, stream
        self.num_features = (4 if stream == "both" else 2) * width
        self.reconstruction = PointTransformer(n_classes=0, **trunk, **places)
        self.contrast = QueryTower(**trunk)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the tokens, (B, 3 + G, C): class, image, text, patches."""
        neighborhoods, centers = self.patches(points)
        queries = self.contrast(neighborhoods, centers)
        tower = self.reconstruction
        tokens = tower.encode(tower.embed_patches(neighborhoods), centers)
        return torch.cat([tokens[:, :1], queries, tokens[:, 1:]], dim=1)

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return what enters the head, (B, `num_features`)."""
        tokens = self.forward_features(points)
        of_class, queries, patches = tokens.split([1, 2, tokens.shape[1] - 3], dim=1)
        rows = {
            "reconstruction": [of_class[:, 0], patches.amax(dim=1)],
            "contrast": [queries.flatten(1)],
        }
        rows["both"] = rows["reconstruction"] + rows["contrast"]
        return torch.cat(rows[self.stream], dim=1)

    def forward_probe(self, points: Tensor) -> Tensor:
        """The feature for a linear SVM, (B, N, C_in) to (B, 2 C).

        As ReCon's: elementwise maximum of the queries, then maximum plus mean over patches.
        There is no class token, which pre-training never showed to the patches.
        """
        neighborhoods, centers = self.patches(points)
        queries = self.contrast(neighborhoods, centers)
        tower = self.reconstruction
        patches = tower.encode(tower.embed_patches(neighborhoods), centers, with_class=False)
        return torch.cat([queries.amax(dim=1), patches.amax(dim=1) + patches.mean(dim=1)], dim=1)

    def patches(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cut into patches: (B, N, C_in) to (B, G, K, C_in) and centers (B, G, 3)."""
        return self.reconstruction.patches(points)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(self.num_features, (256, 256), n_classes, dropout=(0.5, 0.5))
        self.head = head.to(self.contrast.queries).train(self.training)


class TwoTowerPretraining(MaskedAutoencoder):
    """Pre-training of both towers: one rebuilds hidden patches, the other regresses teachers.

    Parameters
    ----------
    n_channels, width, depth, n_heads, n_groups, group_size, patch_hidden, decoder_depth,
    decoder_n_heads, drop_path, mask_ratio, mask_type, image_width, text_width, skip_near_origin
        As in :class:`ReConPretraining`. Patches are hidden from the tower that rebuilds only.
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
        decoder_depth: int = 4,
        decoder_n_heads: int | None = None,
        drop_path: float = 0.1,
        mask_ratio: float = 0.6,
        mask_type: str = "rand",
        image_width: int | None = None,
        text_width: int | None = None,
        skip_near_origin: bool = False,
    ):
        encoder = TwoTowerReCon(
            n_channels=n_channels,
            n_classes=0,
            width=width,
            depth=depth,
            n_heads=n_heads,
            n_groups=n_groups,
            group_size=group_size,
            patch_hidden=patch_hidden,
            drop_path=drop_path,
            skip_near_origin=skip_near_origin,
        )
        super().__init__(
            encoder,
            width=width,
            n_heads=decoder_n_heads or n_heads,
            depth=decoder_depth,
            group_size=group_size,
            drop_path=drop_path,
            mask_ratio=mask_ratio,
            mask_type=mask_type,
        )
        self.image_projection = None if image_width is None else nn.Linear(width, image_width)
        self.text_projection = None if text_width is None else nn.Linear(width, text_width)
        self._initialize_decoder()

    def forward(
        self,
        points: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> ReConOutput:
        """One pass over clouds (B, N, C_in); `generator` draws the mask unless it is given."""
        neighborhoods, centers = self.encoder.patches(points)
        mask = self._settle_mask(centers, mask, generator)
        visible, _ = split_by_mask(mask)
        tower = self.encoder.reconstruction
        patches = tower.embed_patches(neighborhoods)
        tokens = tower.encode(
            gather(patches, visible), gather(centers, visible), with_class=False
        )
        decoded, rebuilt, target = self._guess(tokens, neighborhoods, centers, mask)
        image, text = self._regress(neighborhoods, centers)
        return ReConOutput(
            mask=mask,
            centers=centers,
            tokens=tokens,
            decoded=decoded,
            rebuilt=rebuilt,
            target=target,
            image=image,
            text=text,
            contrast=None,
        )

    def predict_teachers(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the teachers would say of clouds; as :class:`ReConPretraining` has it."""
        return self._regress(*self.encoder.patches(points))

    def _regress(
        self, neighborhoods: Tensor, centers: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        if self.image_projection is None and self.text_projection is None:
            return None, None
        queries = self.encoder.contrast(neighborhoods, centers)
        return (
            None if self.image_projection is None else self.image_projection(queries[:, 0]),
            None if self.text_projection is None else self.text_projection(queries[:, 1]),
        )
