"""Part segmentation with the plain transformer as Point-BERT does it (Yu et al., CVPR 2022).

Patch tokens of three depths are spread over three levels of ever more farthest points: those
of the first third of the blocks to the finest of the three, those of the last stay at the
centers of the patches. Graphs then carry what the coarse levels know to the fine ones, and the
finest level is spread to all points.
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
    unit_axes,
)
from pointinteract.models._segmentation_base import SegmentationNetwork
from pointinteract.models._segmentation_parts import PUBLISHED_WIDTH, tapped_blocks
from pointinteract.models._segmentation_registry import continues, register_segmentation_model
from pointinteract.models.point_transformer import (
    TRANSFORMER_LAYOUTS,
    TRANSFORMER_RENAMES,
    PointTransformer,
    build_transformer,
    transformer_sizes,
)
from pointinteract.nn.graph_propagation import GraphPropagation
from pointinteract.nn.propagation import FeaturePropagation
from pointinteract.nn.segmentation_head import SegmentationHead
from pointinteract.ops.grouping import gather
from pointinteract.ops.sampling import farthest_point_sample

__all__ = ["PointBERTSegmentation"]


@continues(PointTransformer, when=lambda encoder: bool(encoder.config["patch_width"]))
class PointBERTSegmentation(SegmentationNetwork):
    """Plain transformer with features of every point, by the head of Point-BERT.

    Parameters
    ----------
    encoder : mapping, optional
        Numbers of the trunk, as in the ``config`` of
        :class:`pointinteract.models.PointTransformer`.
    n_classes : int, default=50
        Parts of all categories together.
    n_categories : int, optional
        Categories of objects, if each cloud comes with its own.
    n_samples : sequence of two int, default=(512, 256)
        Points of the two levels between the patches and all points, the larger first. Clouds of
        fewer points use all they have.
    hidden, graph_hidden, head_hidden : int, optional
        Widths of the first layer that spreads, between the layers of a graph, and of the head.
        By default 1536, 512 and 128, as published, or a quarter of the first two and half of
        the last where the trunk is narrower than 384.
    n_neighbors : int, default=4
        Of a point in the graphs.
    dropout : float, default=0.5
        Share of the hidden layer of the head that is dropped in training.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, arXiv 2111.14819.
    """

    encoder_type = PointTransformer
    official_system = "point_bert_segmentation"

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | None = None,
        n_classes: int = 50,
        n_categories: int | None = None,
        n_samples: Sequence[int] = (512, 256),
        hidden: int | None = None,
        graph_hidden: int | None = None,
        head_hidden: int | None = None,
        n_neighbors: int = 4,
        dropout: float = 0.5,
    ):
        super().__init__(encoder, n_categories)
        width = self.encoder.config["width"]
        share = 1 if width >= PUBLISHED_WIDTH else 4
        hidden = hidden or 1536 // share
        graph_hidden = graph_hidden or 512 // share
        self.head_hidden = head_hidden or (128 if share == 1 else 64)
        self.n_samples = tuple(n_samples)
        self.dropout = dropout
        self.config |= {
            "n_samples": self.n_samples,
            "hidden": hidden,
            "graph_hidden": graph_hidden,
            "head_hidden": self.head_hidden,
            "n_neighbors": n_neighbors,
            "dropout": dropout,
        }
        self.taps = tapped_blocks(len(self.encoder.blocks))
        self.to_second = FeaturePropagation(self.n_channels, width, (hidden, width))
        self.to_first = FeaturePropagation(self.n_channels, width, (hidden, width))
        self.graph_second = GraphPropagation(width, hidden=graph_hidden, n_neighbors=n_neighbors)
        self.graph_first = GraphPropagation(width, hidden=graph_hidden, n_neighbors=n_neighbors)
        n_told = n_categories or 0
        self.to_points = FeaturePropagation(n_told + self.n_channels, width, (hidden, width))
        self.reset_classifier(n_classes)

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, None]:
        (low, middle, high), centers = self._levels(points)
        # Farthest points come farthest first, so the coarse level is the first of the fine one.
        n_first, n_second = (min(n, points.shape[1]) for n in self.n_samples)
        picked = farthest_point_sample(
            points[..., :3], n_first, skip_near_origin=self.encoder.skip_near_origin
        )
        first = gather(points, picked)
        second = first[:, :n_second]
        xyz, xyz1, xyz2 = points[..., :3], first[..., :3], second[..., :3]
        rows2 = self.to_second(xyz2, centers, second, middle)
        rows1 = self.to_first(xyz1, centers, first, low)
        rows2 = self.graph_second(xyz2, centers, rows2, high)
        rows1 = self.graph_first(xyz1, xyz2, rows1, rows2)
        told = told.unsqueeze(1).expand(-1, points.shape[1], -1)
        return self.to_points(xyz, xyz1, torch.cat([told, points], dim=-1), rows1), None

    def _levels(self, points: Tensor) -> tuple[list[Tensor], Tensor]:
        """Tokens of three depths, (B, G, C) each, and centers (B, G, 3)."""
        trunk = cast(PointTransformer, self.encoder)
        neighborhoods, centers = trunk.patches(points)
        n_clouds = len(points)
        tokens = torch.cat(
            [trunk.cls_token.expand(n_clouds, -1, -1), trunk.embed_patches(neighborhoods)], dim=1
        )
        positions = torch.cat(
            [trunk.cls_pos.expand(n_clouds, -1, -1), trunk.position(centers)], dim=1
        )
        after = []
        for block in trunk.blocks:
            tokens = block(tokens + positions)
            after.append(tokens)
        return [trunk.norm(after[number - 1])[:, 1:] for number in self.taps], centers

    def _make_head(self, n_classes: int) -> SegmentationHead:
        return SegmentationHead(
            self.encoder.config["width"],
            0,
            (self.head_hidden,),
            n_classes,
            dropout=(self.dropout,),
        )


def _named(
    size: str, n_channels: int, n_classes: int, n_categories: int | None, n_groups: int
) -> PointBERTSegmentation:
    numbers = transformer_sizes(size) | {"n_channels": n_channels, "n_groups": n_groups}
    return PointBERTSegmentation(
        encoder=numbers | {"patch_width": 256 if size == "base" else 128, "head": "mlp2"},
        n_classes=n_classes,
        n_categories=n_categories,
    )


@register_segmentation_model
def point_bert(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 128,
) -> PointBERTSegmentation:
    """Point-BERT as published for 2048 points, 27.1 million parameters."""
    return _named("base", n_channels, n_classes, n_categories, n_groups)


@register_segmentation_model
def point_bert_nano(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_groups: int = 64,
) -> PointBERTSegmentation:
    """Plain transformer with Point-BERT's head for a laptop: width 192, four blocks."""
    return _named("nano", n_channels, n_classes, n_categories, n_groups)


def _build(state: OfficialState, sizes: OfficialSizes) -> PointBERTSegmentation:
    n_groups = sizes.get("num_group", 128)
    with torch.device("meta"):  # only its numbers are wanted
        built: Any = build_transformer(state, sizes)
    trunk = built.config
    n_told = state.shape("propagation_0.mlp_convs.0.weight", 3)[1] - trunk["width"]
    return PointBERTSegmentation(
        encoder=trunk | {"n_groups": n_groups, "head": "mlp2"},
        n_classes=sizes.check("cls_dim", state.shape("conv2.weight", 3)[0]),
        n_categories=n_told - trunk["n_channels"] or None,
        hidden=state.shape("propagation_0.mlp_convs.0.weight", 3)[0],
        graph_hidden=state.shape("dgcnn_pro_1.layer1.0.weight", 4)[0],
        head_hidden=state.shape("conv1.weight", 3)[0],
    )


# lulutang0608/Point-BERT, segmentation
register_official(
    OfficialFormat(
        system="point_bert_segmentation",
        build=_build,
        renames=(
            (r"^encoder\.", ""),
            (r"^to_points\.", "propagation_0."),
            (r"^to_first\.", "propagation_1."),
            (r"^to_second\.", "propagation_2."),
            (r"^(propagation_\d)\.layers\.(\d)\.linear\.", r"\1.mlp_convs.\2."),
            (r"^(propagation_\d)\.layers\.(\d)\.norm\.", r"\1.mlp_bns.\2."),
            (r"^graph_first\.", "dgcnn_pro_1."),
            (r"^graph_second\.", "dgcnn_pro_2."),
            (r"^(dgcnn_pro_\d)\.down\.", r"\1.layer1."),
            (r"^(dgcnn_pro_\d)\.across\.", r"\1.layer2."),
            (r"^(dgcnn_pro_\d\.layer\d)\.linear\.", r"\1.0."),
            (r"^(dgcnn_pro_\d\.layer\d)\.norm\.", r"\1.1."),
            (r"^head\.layers\.0\.linear\.", "conv1."),
            (r"^head\.layers\.0\.norm\.", "bn1."),
            (r"^head\.out\.", "conv2."),
            *TRANSFORMER_RENAMES,
        ),
        layouts=(
            (r"^(propagation_\d\.mlp_convs\.\d|conv\d)\.weight$", unit_axes(1)),
            (r"^dgcnn_pro_\d\.layer\d\.0\.weight$", unit_axes(2)),
            *TRANSFORMER_LAYOUTS,
        ),
    )
)
