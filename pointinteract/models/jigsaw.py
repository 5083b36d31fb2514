"""Labels of points for jigsaw pre-training (Sauder and Sievers, NeurIPS 2019).

Any encoder that answers features of every point gets a small network on top: what a point
looks like, beside what the whole cloud looks like, decides on the label of the point.
"""

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.point_head import point_feature_width
from pointinteract.nn.pooling import first_maximum

__all__ = ["JigsawNetwork"]


class JigsawNetwork(nn.Module):
    """Encoder and a network that labels points.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its ``forward_features`` must answer one row a point, (B, N, C).
    n_channels : int
        Channels of a point.
    n_labels : int
    hidden : sequence of int, default=(256, 128)
        Widths of the layers between the features and the labels, at least one.
    dropout : float, default=0.0
        Share of the last hidden layer that is dropped in training.

    Raises
    ------
    ValueError
        If the encoder answers tokens or anything else than one row a point.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        n_channels: int,
        n_labels: int,
        hidden: Sequence[int] = (256, 128),
        dropout: float = 0.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.width = point_feature_width(encoder, n_channels)
        self.first = LinearNorm(2 * self.width, hidden[0], bias=False)
        self.layers = nn.ModuleList(
            LinearNorm(n_in, n_out, bias=False)
            for n_in, n_out in zip(hidden[:-1], hidden[1:], strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden[-1], n_labels)

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to scores of the labels, (B, N, n_labels)."""
        features = self.encoder.forward_features(points)  # (B, N, C)
        # By the place of the maximum, whose gradient is one row a cloud and not a dense one.
        place = first_maximum(features.detach())[1].unsqueeze(1)
        whole = features.gather(1, place)  # (B, 1, C)
        # The map of [own, whole] is a sum of two, and that of the whole is needed once a cloud.
        of_point, of_whole = self.first.linear.weight.split(self.width, dim=1)
        rows = F.linear(features, of_point) + F.linear(whole, of_whole)
        rows = self.first.activate(self.first.norm(rows))
        for layer in self.layers:
            rows = layer(rows)
        return self.out(self.dropout(rows))
