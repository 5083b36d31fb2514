"""Part segmentation with PointNet++ (Qi, Yi, Su and Guibas, NeurIPS 2017).

What two levels of balls and the last PointNet have found goes back the way it came: from the
whole cloud to the samples of the second level, from these to those of the first, and from
these to all points. On every level what was known there before is read beside it.

The numbers are those of the paper's appendix B.1 and of the authors' public networks for
ShapeNetPart: three steps back of widths 256, 256; 256, 128; and 128, 128, 128 (the last 128 is
missing with balls of several radii); category and coordinates of a point at the last of them; a
hidden layer of 128 with dropout 0.5. The trunk with balls of one radius is that of the classifier,
but for 64 points in the balls of the first level instead of 32.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pointinteract.models._segmentation_base import SegmentationNetwork
from pointinteract.models._segmentation_registry import continues, register_segmentation_model
from pointinteract.models.pointnet2 import PointNet2
from pointinteract.nn.propagation import FeaturePropagation
from pointinteract.nn.segmentation_head import SegmentationHead
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample

__all__ = ["PointNet2Segmentation"]

# Of the second level the segmentation network with several radii has two, other than the
# classifier.
_MULTI: dict[str, Any] = {
    "radii": ((0.1, 0.2, 0.4), (0.4, 0.8)),
    "n_neighbors": ((32, 64, 128), (64, 128)),
    "hidden": (
        ((32, 32, 64), (64, 64, 128), (64, 96, 128)),
        ((128, 128, 256), (128, 196, 256)),
    ),
}
_SINGLE: dict[str, Any] = {"n_neighbors": ((64,), (64,))}
_HIDDEN_MULTI = ((256, 256), (256, 128), (128, 128))


@continues(PointNet2)
class PointNet2Segmentation(SegmentationNetwork):
    """PointNet++ with features of every point.

    Parameters
    ----------
    encoder : mapping, optional
        Numbers of the trunk, as in the ``config`` of :class:`pointinteract.models.PointNet2`;
        by default that with balls of one radius.
    n_classes : int, default=50
        Parts of all categories together.
    n_categories : int, optional
        Categories of objects, if each cloud comes with its own.
    hidden : sequence of three sequences of int
        Widths of the layers of the steps back, from the whole cloud to the second level first.
    head_hidden : int, default=128
    dropout : float, default=0.5
        Share of the hidden layer of the head that is dropped in training.

    Notes
    -----
    A ball counts its first points in the order of the cloud, so that the order of the points
    matters where there are more; with fewer in every ball another order of all but the first
    only reorders the answer.

    Coordinates are read once. A widespread reimplementation hands them over a second time as
    features of the points, to the first level and at the end; its trunk has other shapes.

    References
    ----------
    Qi, Yi, Su, Guibas, "PointNet++: Deep Hierarchical Feature Learning on Point Sets in a Metric
    Space", NeurIPS 2017, arXiv 1706.02413.
    """

    encoder_type = PointNet2
    permutation_equivariant = False

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | None = None,
        n_classes: int = 50,
        n_categories: int | None = None,
        hidden: Sequence[Sequence[int]] = ((256, 256), (256, 128), (128, 128, 128)),
        head_hidden: int = 128,
        dropout: float = 0.5,
    ):
        super().__init__(encoder, n_categories)
        hidden = tuple(tuple(widths) for widths in hidden)
        self.head_hidden, self.dropout = head_hidden, dropout
        self.config |= {"hidden": hidden, "head_hidden": head_hidden, "dropout": dropout}
        trunk = cast(PointNet2, self.encoder)
        n_first, n_second = trunk.level1.n_out, trunk.level2.n_out
        n_own = (n_categories or 0) + self.n_channels
        self.to_second = FeaturePropagation(n_second, trunk.num_features, hidden[0])
        self.to_first = FeaturePropagation(n_first, self.to_second.n_out, hidden[1])
        self.to_points = FeaturePropagation(n_own, self.to_first.n_out, hidden[2])
        self.reset_classifier(n_classes)

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, None]:
        trunk, n_points = cast(PointNet2, self.encoder), points.shape[1]
        xyz = points[..., :3]
        picked = farthest_point_sample(
            xyz, min(trunk.n_first, n_points), start=min(trunk.start, n_points - 1)
        )
        middles1 = gather(xyz, picked)
        features1 = trunk.level1(xyz, points[..., 3:], middles1)
        # Samples come farthest first, so the farthest of the samples are the first of them.
        middles2 = middles1[:, : trunk.n_second]
        features2 = trunk.level2(middles1, features1, middles2)
        rows = torch.cat([middles2, features2], dim=-1)
        for layer in trunk.layers[:-1]:
            rows = layer(rows)
        whole = trunk.layers[-1](rows).unsqueeze(1)  # (B, 1, num_features)
        rows2 = self.to_second(middles2, middles2[:, :1], features2, whole)
        rows1 = self.to_first(middles1, middles2, features1, rows2)
        own = torch.cat([told.unsqueeze(1).expand(-1, n_points, -1), points], dim=-1)
        return self.to_points(xyz, middles1, own, rows1), None

    def _make_head(self, n_classes: int) -> SegmentationHead:
        return SegmentationHead(
            self.to_points.n_out, 0, (self.head_hidden,), n_classes, dropout=(self.dropout,)
        )


@register_segmentation_model
def pointnet2_ssg(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_first: int = 512,
    n_second: int = 128,
    dropout: float = 0.5,
) -> PointNet2Segmentation:
    """PointNet++ with balls of one radius, 1.4 million parameters."""
    return PointNet2Segmentation(
        encoder={"n_channels": n_channels, "n_samples": (n_first, n_second), **_SINGLE},
        n_classes=n_classes,
        n_categories=n_categories,
        dropout=dropout,
    )


@register_segmentation_model
def pointnet2_msg(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_first: int = 512,
    n_second: int = 128,
    dropout: float = 0.5,
) -> PointNet2Segmentation:
    """PointNet++ with balls of several radii, 1.8 million parameters."""
    return PointNet2Segmentation(
        encoder={"n_channels": n_channels, "n_samples": (n_first, n_second), **_MULTI},
        n_classes=n_classes,
        n_categories=n_categories,
        hidden=_HIDDEN_MULTI,
        dropout=dropout,
    )
