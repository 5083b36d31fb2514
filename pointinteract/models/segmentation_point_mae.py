"""Part segmentation with the plain transformer as Point-MAE does it (Pang et al., ECCV 2022).

Patch tokens of three depths, a third, two thirds and the whole of the trunk, are spread to
the points and read together with what the whole cloud is like: maximum and mean of the same
tokens, and the category of the object. ReCon took this head over.
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
from pointinteract.models.point_transformer import (
    TRANSFORMER_LAYOUTS,
    TRANSFORMER_RENAMES,
    PointTransformer,
    build_transformer,
    transformer_sizes,
)
from pointinteract.nn.propagation import FeaturePropagation
from pointinteract.nn.segmentation_head import SegmentationHead

__all__ = ["PointMAESegmentation"]


@continues(PointTransformer, when=lambda encoder: not encoder.config["patch_width"])
class PointMAESegmentation(SegmentationNetwork):
    """Plain transformer with features of every point, by the head of Point-MAE.

    Parameters
    ----------
    encoder : mapping, optional
        Numbers of the trunk, as in the ``config`` of
        :class:`pointinteract.models.PointTransformer`.
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
    There is no class token, in segmentation as in pre-training; the trunk has one all the same,
    which learns nothing here.

    References
    ----------
    Pang, Wang, Tay, Liu, Tian, Yuan, "Masked Autoencoders for Point Cloud Self-supervised
    Learning", ECCV 2022, arXiv 2203.06604.
    """

    encoder_type = PointTransformer
    official_system = "point_mae_segmentation"

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
        trunk = cast(PointTransformer, self.encoder)
        width = int(self.encoder.config["width"])
        sizes = head_sizes(width)
        hidden = tuple(hidden or sizes["hidden"])
        self.head_hidden = tuple(head_hidden or sizes["head_hidden"])
        self.config |= {
            "hidden": hidden,
            "head_hidden": self.head_hidden,
            "category_width": category_width,
            "dropout": dropout,
        }
        self.taps = tapped_blocks(len(trunk.blocks))
        n_levels = len(self.taps) * width
        self.category = category_layer(n_categories, category_width)
        self.propagation = FeaturePropagation(self.n_channels, n_levels, hidden)
        self.n_whole = 2 * n_levels + (category_width if n_categories else 0)
        self.dropout = dropout
        self.reset_classifier(n_classes)

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        trunk = cast(PointTransformer, self.encoder)
        neighborhoods, centers = trunk.patches(points)
        tokens = trunk.embed_patches(neighborhoods)
        positions = trunk.position(centers)
        after = []
        for block in trunk.blocks:
            tokens = block(tokens + positions)
            after.append(tokens)
        levels = torch.cat([trunk.norm(after[number - 1]) for number in self.taps], dim=-1)
        whole = [levels.amax(1), levels.mean(1)]
        if self.category is not None:
            whole.append(self.category(told))
        local = self.propagation(points[..., :3], centers, points, levels)
        return local, torch.cat(whole, dim=1)

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
) -> PointMAESegmentation:
    numbers = transformer_sizes(size) | {"n_channels": n_channels, "n_groups": n_groups}
    return PointMAESegmentation(
        encoder=numbers, n_classes=n_classes, n_categories=n_categories
    )


@register_segmentation_model
def point_mae(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 128,
) -> PointMAESegmentation:
    """Point-MAE as published for 2048 points, 27.1 million parameters."""
    return _named("base", n_channels, n_classes, n_categories, n_groups)


@register_segmentation_model
def point_mae_nano(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 64,
) -> PointMAESegmentation:
    """Plain transformer with Point-MAE's head for a laptop: width 192, four blocks."""
    return _named("nano", n_channels, n_classes, n_categories, n_groups)


def _build(state: OfficialState, sizes: OfficialSizes) -> PointMAESegmentation:
    n_groups = sizes.get("num_group", 128)
    # There is no class token to read the width from; the last normalization is as wide.
    token = {"cls_token": state["norm.weight"].view(1, 1, -1)}
    with torch.device("meta"):  # only its numbers are wanted
        built: Any = build_transformer(OfficialState(state.system, {**state, **token}), sizes)
    return PointMAESegmentation(
        encoder=built.config | {"n_groups": n_groups}, **head_numbers(state, sizes)
    )


# Pang-Yatian/Point-MAE, segmentation
register_official(
    OfficialFormat(
        system="point_mae_segmentation",
        build=_build,
        renames=(
            (r"^encoder\.cls_(token|pos)$", ""),  # there is none in the original
            *HEAD_RENAMES,
            *TRANSFORMER_RENAMES,
        ),
        layouts=(*HEAD_LAYOUTS, *TRANSFORMER_LAYOUTS),
    )
)
