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
from pointinteract.nn.pooling import max_and_mean
from pointinteract.ops.neighbors import knn

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
        x1 = self.edge1(points, self._neighbors(points[..., :3]))  # (B, N, 64)
        x2 = self.edge2(x1, self._neighbors(x1))  # (B, N, 64)
        x3 = self.edge3(x2, self._neighbors(x2))  # (B, N, 128)
        x4 = self.edge4(x3, self._neighbors(x3))  # (B, N, 256)
        return self.embed(torch.cat([x1, x2, x3, x4], dim=-1))

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

    def _neighbors(self, features: Tensor) -> Tensor:
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
register_official(
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
