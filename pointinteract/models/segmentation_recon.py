"""Part segmentation with ReCon's trunk (Qi et al., ICML 2023).

Patch tokens of three depths, a third, two thirds and the whole of the trunk, are spread to
the points and read together with what the whole cloud is like: maximum and mean of the same
tokens, the largest answers of the three queries, and the category of the object.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
)
from pointinteract.models._segmentation_base import SegmentationNetwork
from pointinteract.models._segmentation_parts import (
    HEAD_LAYOUTS,
    HEAD_RENAMES,
    category_layer,
    head_numbers,
    head_sizes,
    tapped_blocks,
)
from pointinteract.models._segmentation_registry import continues, register_segmentation_model
from pointinteract.models.recon import N_QUERIES, ReCon, recon_sizes
from pointinteract.models.recon_pretraining import RECON_FORMAT, recon_trunk_numbers
from pointinteract.nn.propagation import FeaturePropagation
from pointinteract.nn.segmentation_head import SegmentationHead

__all__ = ["ReConSegmentation"]


@continues(ReCon)
class ReConSegmentation(SegmentationNetwork):
    """ReCon with features of every point.

    Parameters
    ----------
    encoder : mapping, optional
        Numbers of the trunk, as in the ``config`` of :class:`pointinteract.models.ReCon`.
    n_classes : int, default=50
        Parts of all categories together.
    n_categories : int, optional
        Categories of objects, if each cloud comes with its own.
    hidden : sequence of int, optional
        Widths of the layers that spread tokens to points. By default 1536 and 1024, as
        published, or a quarter of that where the trunk is narrower than 384.
    head_hidden : sequence of two int, optional
        Widths of the layers after them; 512 and 256, or a quarter.
    category_width : int, default=64
        Channels that say the category.
    dropout : float, default=0.5
        Share of the first layer of the head that is dropped in training.

    Notes
    -----
    The tokens are normed, all by the trunk's last normalization; the queries are not. In the
    published network the positions of the queries start from a normal distribution of
    deviation 1 where no pre-trained ones are loaded; here as in the trunk, of 0.02.

    References
    ----------
    Qi, Dong, Fan, Ge, Zhang, Ma, Yi, "Contrast with Reconstruct: Contrastive 3D Representation
    Learning Guided by Generative Pretraining", ICML 2023, arXiv 2302.02318.
    """

    encoder_type = ReCon
    official_system = "recon_segmentation"

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | None = None,
        n_classes: int = 50,
        n_categories: int | None = None,
        hidden: Sequence[int] | None = None,
        head_hidden: Sequence[int] | None = None,
        category_width: int = 64,
        dropout: float = 0.5,
    ):
        super().__init__(encoder, n_categories)
        width = self.encoder.width
        sizes = head_sizes(width)
        hidden = tuple(hidden or sizes["hidden"])
        self.head_hidden = tuple(head_hidden or sizes["head_hidden"])
        self.config |= {
            "hidden": hidden,
            "head_hidden": self.head_hidden,
            "category_width": category_width,
            "dropout": dropout,
        }
        self.taps = tapped_blocks(len(self.encoder.blocks))
        n_levels = len(self.taps) * width
        self.category = category_layer(n_categories, category_width)
        self.propagation = FeaturePropagation(self.n_channels, n_levels, hidden)
        self.n_whole = 2 * n_levels + width + (category_width if n_categories else 0)
        self.dropout = dropout
        self.reset_classifier(n_classes)

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        levels, queries, centers = self._levels(points)
        whole = [levels.amax(1), levels.mean(1), queries.amax(1)]
        if self.category is not None:
            whole.append(self.category(told))
        local = self.propagation(points[..., :3], centers, points, levels)
        return local, torch.cat(whole, dim=1)

    def _levels(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of three depths (B, G, 3 C), queries of the last (B, 3, C), centers."""
        trunk = cast(ReCon, self.encoder)
        neighborhoods, centers = trunk.patches(points)
        queries = torch.cat([trunk.cls_token, trunk.img_token, trunk.text_token], dim=1)
        places = torch.cat([trunk.cls_pos, trunk.img_pos, trunk.text_pos], dim=1)
        patches = trunk.patch_embedding(neighborhoods)
        tokens = torch.cat([queries.expand(len(points), -1, -1), patches], dim=1)
        positions = torch.cat(
            [places.expand(len(points), -1, -1), trunk.position(centers)], dim=1
        )
        after = []
        for block in trunk.blocks:
            tokens = block(tokens + positions)
            after.append(tokens)
        levels = [trunk.norm(after[number - 1][:, N_QUERIES:]) for number in self.taps]
        return torch.cat(levels, dim=-1), tokens[:, :N_QUERIES], centers

    def _make_head(self, n_classes: int) -> SegmentationHead:
        return SegmentationHead(
            self.propagation.n_out,
            self.n_whole,
            self.head_hidden,
            n_classes,
            dropout=(self.dropout, 0.0),
        )


def _named(
    size: str, n_channels: int, n_classes: int, n_categories: int | None, n_groups: int
) -> ReConSegmentation:
    numbers = recon_sizes(size) | {"n_channels": n_channels, "n_groups": n_groups}
    del numbers["decoder_depth"]
    return ReConSegmentation(encoder=numbers, n_classes=n_classes, n_categories=n_categories)


@register_segmentation_model
def recon_base(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 128,
) -> ReConSegmentation:
    """ReCon, width 384, as published for 2048 points (48.5 million parameters)."""
    return _named("base", n_channels, n_classes, n_categories, n_groups)


@register_segmentation_model
def recon_nano(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 64,
) -> ReConSegmentation:
    """ReCon for a laptop: width 192, four blocks, 64 patches."""
    return _named("nano", n_channels, n_classes, n_categories, n_groups)


def _build(state: OfficialState, sizes: OfficialSizes) -> ReConSegmentation:
    # The shapes do not tell how many patches there are; classification has half as many.
    n_groups = sizes.get("num_group", 128)
    trunk = recon_trunk_numbers(state, "", sizes, OfficialSizes("recon_segmentation", {}))
    return ReConSegmentation(
        encoder=trunk | {"n_groups": n_groups}, **head_numbers(state, sizes)
    )


# qizekun/ReCon, segmentation
register_official(
    OfficialFormat(
        system="recon_segmentation",
        build=_build,
        renames=(*HEAD_RENAMES, *RECON_FORMAT.renames),
        layouts=(*HEAD_LAYOUTS, *RECON_FORMAT.layouts),
    )
)
