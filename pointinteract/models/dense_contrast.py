"""A feature of every point that says which point it is, as PointContrast pre-trains.

Xie et al., ECCV 2020, train a sparse convolutional U-Net; here it is any encoder that answers
features of points.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.point_head import PointHead, point_feature_width

__all__ = ["PointEmbeddingNetwork"]


class PointEmbeddingNetwork(nn.Module):
    """Encoder and a small network that makes a unit vector of every point.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its ``forward_features`` must answer one row a point, (B, N, C).
    n_channels : int
        Channels of a point.
    n_embedding : int, default=32
        Width of the vectors.
    hidden : int, default=256
        Channels between features of points and vectors.

    Raises
    ------
    ValueError
        If the encoder answers tokens or anything else than one row a point.
    """

    def __init__(
        self, encoder: Any, *, n_channels: int, n_embedding: int = 32, hidden: int = 256
    ):
        super().__init__()
        self.encoder = encoder
        width = point_feature_width(encoder, n_channels)
        self.head = PointHead(width, n_embedding, hidden=hidden)

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to unit vectors (B, N, n_embedding)."""
        return F.normalize(self.head(self.encoder.forward_features(points)), dim=-1)
