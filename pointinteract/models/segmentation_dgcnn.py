"""Part segmentation with DGCNN (Wang et al., ACM Transactions on Graphics 2019).

A small network first turns the cloud into a common pose; three edge convolutions on graphs of
features follow; all three results of a point are read beside what they say of the whole cloud.
This trunk is not that of the classifier. A trunk of the classifier, pre-trained maybe, can be
continued by the same head.

The numbers are those of the paper's section 5.4 and figure 3, in the form of the public torch
version: a transform from the graph, 64-64, 64-64 and 64 channels on edges, 1024 of the cloud,
64 of the category, layers of 256, 256 and 128, none with a bias.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from pointinteract.models._segmentation_base import SegmentationNetwork
from pointinteract.models._segmentation_parts import category_layer
from pointinteract.models._segmentation_registry import continues, register_segmentation_model
from pointinteract.models.dgcnn import DGCNN
from pointinteract.nn.edgeconv import EdgeConv
from pointinteract.nn.edgeconv_deep import DeepEdgeConv, EdgeTransformNet
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax
from pointinteract.nn.segmentation_head import SegmentationHead
from pointinteract.ops.neighbors import knn

__all__ = ["DGCNNParts", "DGCNNPartsSegmentation", "DGCNNSegmentation"]

_SLOPE = 0.2
_HIDDEN = (256, 256, 128)


class DGCNNParts(nn.Module):
    """The trunk of the segmentation network, which can be pre-trained and pooled as others.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates pass by the transform.
    n_classes : int, default=0
        Of a classification head; 0 leaves it out.
    n_neighbors : int, default=40
        Neighbors of a point, itself included. Clouds of fewer points use all they have.
    n_features : int, default=1024
        Features of a point before pooling, and of the cloud after.
    """

    official_system = None
    permutation_invariant = True

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 0,
        n_neighbors: int = 40,
        n_features: int = 1024,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels, "n_neighbors": n_neighbors, "n_features": n_features
        }
        self.n_neighbors = n_neighbors
        self.num_features = n_features
        self.n_edge_features = 3 * 64
        self.transform = EdgeTransformNet(negative_slope=_SLOPE)
        self.edge1 = DeepEdgeConv(n_channels, 64, 64, negative_slope=_SLOPE)
        self.edge2 = DeepEdgeConv(64, 64, 64, negative_slope=_SLOPE)
        self.edge3 = EdgeConv(64, 64, negative_slope=_SLOPE)
        self.embed = LinearNormMax(
            self.n_edge_features, n_features, bias=False, negative_slope=_SLOPE
        )
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each point before pooling, (B, N, n_features)."""
        return self.embed.forward_points(self.edge_features(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points, (B, n_features)."""
        return self.embed(self.edge_features(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (256,), n_classes, negative_slope=_SLOPE, dropout=(0.5,)
        )
        self.head = head.to(self.embed.linear.weight).train(self.training)

    def edge_features(self, points: Tensor) -> Tensor:
        """What the three graphs say of each point, (B, N, 192)."""
        xyz = points[..., :3]
        posed = xyz @ self.transform(xyz, self._neighbors(xyz))
        rows = torch.cat([posed, points[..., 3:]], dim=-1)
        x1 = self.edge1(rows, self._neighbors(posed))  # (B, N, 64)
        x2 = self.edge2(x1, self._neighbors(x1))
        x3 = self.edge3(x2, self._neighbors(x2))
        return torch.cat([x1, x2, x3], dim=-1)

    def _neighbors(self, features: Tensor) -> Tensor:
        return knn(features, features, min(self.n_neighbors, features.shape[1]))


class _GraphSegmentation(SegmentationNetwork):
    """Edge features of points, their maximum after one more layer, and the category."""

    def __init__(
        self,
        *,
        encoder: Mapping[str, Any] | None = None,
        n_classes: int = 50,
        n_categories: int | None = None,
        category_width: int = 64,
        dropout: float = 0.5,
    ):
        super().__init__(encoder, n_categories)
        self.config |= {"category_width": category_width, "dropout": dropout}
        self.dropout = dropout
        self.category = category_layer(n_categories, category_width)
        self.n_whole = int(self.encoder.config["n_features"])
        self.n_whole += category_width if n_categories else 0
        self.reset_classifier(n_classes)

    def _edges_and_pooled(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Features of points (B, N, L) and of the cloud (B, n_features)."""
        raise NotImplementedError

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        local, whole = self._edges_and_pooled(points)
        if self.category is not None:
            whole = torch.cat([whole, self.category(told)], dim=1)
        return local, whole

    def _make_head(self, n_classes: int) -> SegmentationHead:
        return SegmentationHead(
            self._n_local(),
            self.n_whole,
            _HIDDEN,
            n_classes,
            dropout=(self.dropout, self.dropout, 0.0),
            bias=False,
            negative_slope=_SLOPE,
        )

    def _n_local(self) -> int:
        raise NotImplementedError


@continues(DGCNNParts)
class DGCNNPartsSegmentation(_GraphSegmentation):
    """DGCNN for segmentation as published, with a trunk of its own.

    Parameters
    ----------
    encoder : mapping, optional
        Numbers of the trunk, as in the ``config`` of :class:`DGCNNParts`.
    n_classes : int, default=50
        Parts of all categories together.
    n_categories : int, optional
        Categories of objects, if each cloud comes with its own.
    category_width : int, default=64
        Channels that say the category.
    dropout : float, default=0.5
        Share of the first two layers of the head that is dropped in training.

    References
    ----------
    Wang, Sun, Liu, Sarma, Bronstein, Solomon, "Dynamic Graph CNN for Learning on Point Clouds",
    ACM Transactions on Graphics 38 (2019), arXiv 1801.07829.
    """

    encoder_type = DGCNNParts
    official_system = "dgcnn_segmentation"

    def _edges_and_pooled(self, points: Tensor) -> tuple[Tensor, Tensor]:
        trunk = cast(DGCNNParts, self.encoder)
        local = trunk.edge_features(points)
        return local, trunk.embed(local)

    def _n_local(self) -> int:
        return int(self.encoder.n_edge_features)


@continues(DGCNN)
class DGCNNSegmentation(_GraphSegmentation):
    """The head of :class:`DGCNNPartsSegmentation` on the trunk of the classifier.

    Ours, for pre-training that knows the trunk of the classifier only. Parameters as there, the
    numbers of `encoder` as in the ``config`` of :class:`pointinteract.models.DGCNN`.
    """

    encoder_type = DGCNN

    def _edges_and_pooled(self, points: Tensor) -> tuple[Tensor, Tensor]:
        trunk = cast(DGCNN, self.encoder)
        local = trunk._edge_features(points)
        return local, trunk.embed(local).amax(1)

    def _n_local(self) -> int:
        return int(cast(LinearNorm, self.encoder.embed).linear.in_features)


@register_segmentation_model
def dgcnn(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_neighbors: int = 40,
    dropout: float = 0.5,
) -> DGCNNPartsSegmentation:
    """DGCNN as published for parts of 2048 points, 1.5 million parameters."""
    return DGCNNPartsSegmentation(
        encoder={"n_channels": n_channels, "n_neighbors": n_neighbors},
        n_classes=n_classes,
        n_categories=n_categories,
        dropout=dropout,
    )


@register_segmentation_model
def dgcnn_classifier(
    *,
    n_channels: int = 3,
    n_classes: int = 50,
    n_categories: int | None = None,
    n_neighbors: int = 20,
    dropout: float = 0.5,
) -> DGCNNSegmentation:
    """The classifier's trunk with the head for parts, for pre-trained weights."""
    return DGCNNSegmentation(
        encoder={"n_channels": n_channels, "n_neighbors": n_neighbors},
        n_classes=n_classes,
        n_categories=n_categories,
        dropout=dropout,
    )
