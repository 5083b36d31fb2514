"""Answers for every point, from what an encoder says of it and of the whole cloud."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.modes import evaluation_mode
from pointinteract.nn.pooling import first_maximum

__all__ = ["PointHead", "point_feature_width"]

_PROBE_POINTS = 64


class PointHead(nn.Module):
    """Map [features of a point, their maximum over the cloud] to numbers of the point.

    A layer with normalization and rectifier, and a linear one.

    Parameters
    ----------
    n_features : int
        Width of the features.
    n_out : int
    hidden : int, default=256
    """

    def __init__(self, n_features: int, n_out: int, *, hidden: int = 256):
        super().__init__()
        self.n_features = n_features
        self.first = LinearNorm(2 * n_features, hidden, bias=False)
        self.out = nn.Linear(hidden, n_out)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, N, n_features) to (B, N, n_out)."""
        # By the place of the maximum, whose gradient is one row a cloud and not a dense one.
        place = first_maximum(features.detach())[1].unsqueeze(1)
        whole = features.gather(1, place)  # (B, 1, C)
        # The map of [own, whole] is a sum of two, and that of the whole is needed once a cloud.
        of_point, of_whole = self.first.linear.weight.split(self.n_features, dim=1)
        rows = F.linear(features, of_point) + F.linear(whole, of_whole)
        return self.out(self.first.activate(self.first.norm(rows)))


def point_feature_width(encoder: Any, n_channels: int) -> int:
    """Channels of the features that an encoder answers for every point; raises if it does not.

    Asked by a made cloud, since networks say the width of their pooled vector only.
    """
    if not hasattr(encoder, "forward_features"):
        raise ValueError(
            "the encoder must have a method forward_features(points) that answers one row a "
            f"point, (B, N, C); {type(encoder).__name__} lacks it."
        )
    weight = next(encoder.parameters(), torch.empty(0))
    probe = torch.linspace(-1, 1, _PROBE_POINTS * n_channels).to(weight)
    # In evaluation nothing random is drawn and no statistic moves.
    with torch.no_grad(), evaluation_mode(encoder):
        features = encoder.forward_features(probe.view(1, _PROBE_POINTS, n_channels))
    if features.ndim != 3 or features.shape[1] != _PROBE_POINTS:
        raise ValueError(
            "one row of features a point is needed, (B, N, C); forward_features of "
            f"{type(encoder).__name__} answers {tuple(features.shape)} for a cloud of "
            f"{_PROBE_POINTS} points. Networks of the PointNet or DGCNN kind answer points."
        )
    return features.shape[2]
