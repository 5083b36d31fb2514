"""DGCNN (Wang et al., ACM Transactions on Graphics 2019): edge convolutions on moving graphs.

Each of four layers joins every point with its nearest neighbors *in the features of the layer
before*, so that points come to be neighbors by meaning, and keeps the strongest response over
the edges. All four results together are mapped once more and pooled by maximum and mean.
"""

import torch
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.edgeconv import EdgeConv
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import chunk_size, max_and_mean
from pointinteract.nn.structure import WeightedPoints
from pointinteract.ops.neighbors import knn, knn_of_repeated

_SLOPE = 0.2


class DGCNN(nn.Module):
    """Dynamic graph network for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. The first graph is that of the coordinates, the first three.
    n_classes : int, default=40
    n_neighbors : int, default=20
        Neighbors of a point, itself included; 40 is usual for 2048 points. More look farther
        and cost time in proportion. Clouds of fewer points use all they have.
    n_features : int, default=1024
        Features per point before pooling; `num_features` is twice that.
    dropout : float, default=0.5
        Share of both hidden layers of the head that is dropped in training.
    """

    official_system = "dgcnn"
    permutation_invariant = True

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_neighbors: int = 20,
        n_features: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_neighbors": n_neighbors,
            "n_features": n_features,
            "dropout": dropout,
        }
        self.n_neighbors = n_neighbors
        self.num_features = 2 * n_features
        self.dropout = dropout
        self.edge1 = EdgeConv(n_channels, 64, negative_slope=_SLOPE)
        self.edge2 = EdgeConv(64, 64, negative_slope=_SLOPE)
        self.edge3 = EdgeConv(64, 128, negative_slope=_SLOPE)
        self.edge4 = EdgeConv(128, 256, negative_slope=_SLOPE)
        self.embed = LinearNorm(512, n_features, bias=False, negative_slope=_SLOPE)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each point before pooling, (B, N, n_features)."""
        return self.embed(self._edge_features(points))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return maximum and mean over the points, (B, 2 n_features)."""
        return max_and_mean(self.forward_features(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features,
            (512, 256),
            n_classes,
            bias=(False, True),
            negative_slope=_SLOPE,
            dropout=(self.dropout, self.dropout),
        )
        self.head = head.to(self.embed.linear.weight).train(self.training)

    def structure(self) -> WeightedPoints:
        """Say that clouds can be given as different points and how often each stands there.

        Equal points have equal neighbors, so they stay equal through every layer. They fill
        several places of a neighborhood, where the maximum notices only who is in it, and count
        several times in the final mean.
        """
        return WeightedPoints(forward=self._forward_weighted)

    def _forward_weighted(self, points: Tensor, counts: Tensor) -> Tensor:
        rows = self._edge_features(points, counts)
        # The widest layer a few clouds at a time: what it makes of many leaves the cache.
        chunk = chunk_size(rows, rows.shape[1] * self.num_features)
        pooled = [
            max_and_mean(self.embed(part), times)
            for part, times in zip(rows.split(chunk), counts.split(chunk), strict=True)
        ]
        return self.head(torch.cat(pooled))

    def _edge_features(self, points: Tensor, counts: Tensor | None = None) -> Tensor:
        """What the four layers say of each point, (B, N, 512), present `counts` times."""
        x1 = self.edge1(points, self._neighbors(points[..., :3], counts))  # (B, N, 64)
        x2 = self.edge2(x1, self._neighbors(x1, counts))  # (B, N, 64)
        x3 = self.edge3(x2, self._neighbors(x2, counts))  # (B, N, 128)
        x4 = self.edge4(x3, self._neighbors(x3, counts))  # (B, N, 256)
        return torch.cat([x1, x2, x3, x4], dim=-1)

    def _neighbors(self, features: Tensor, counts: Tensor | None = None) -> Tensor:
        if counts is not None:
            return knn_of_repeated(features, counts, self.n_neighbors)
        return knn(features, features, min(self.n_neighbors, features.shape[1]))


@register_model
def dgcnn(
    *, n_channels: int = 3, n_classes: int = 40, n_neighbors: int = 20, dropout: float = 0.5
) -> DGCNN:
    """DGCNN as published for 1024 points, 1.8 million parameters."""
    return DGCNN(
        n_channels=n_channels, n_classes=n_classes, n_neighbors=n_neighbors, dropout=dropout
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> DGCNN:
    return DGCNN(
        n_channels=state.shape("conv1.0.weight", 4)[1] // 2,
        n_classes=sizes.check("output_channels", state.shape("linear3.weight", 2)[0]),
        n_neighbors=sizes.get("k", 20),
        n_features=sizes.check("emb_dims", state.shape("conv5.0.weight", 3)[0]),
        dropout=sizes.get("dropout", 0.5),
    )


# WangYueFt/dgcnn, pytorch/model.py
DGCNN_FORMAT = register_official(
    OfficialFormat(
        system="dgcnn",
        build=_build,
        renames=(
            (r"^edge(\d)\.linear", r"conv\1.0"),
            (r"^edge(\d)\.norm", r"conv\1.1"),
            (r"^embed\.linear", "conv5.0"),
            (r"^embed\.norm", "conv5.1"),
            (r"^head\.layers\.0\.linear", "linear1"),
            (r"^head\.layers\.1\.linear", "linear2"),
            (r"^head\.layers\.0\.norm", "bn6"),
            (r"^head\.layers\.1\.norm", "bn7"),
            (r"^head\.out", "linear3"),
        ),
        layouts=(
            (r"^conv5\.0\.weight$", unit_axes(1)),
            (r"^conv\d\.0\.weight$", unit_axes(2)),
        ),
        aliases=((r"^conv(\d)\.1\.", r"bn\1."),),
    )
)
