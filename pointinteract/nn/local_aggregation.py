"""Local aggregation (Xiang et al., CurveNet, ICCV 2021): neighbors, told apart by their place.

The original maps the nine numbers [x_i, x_j, x_j - x_i] of every edge. That map is linear,

    W [x_i, x_j, x_j - x_i] = (Wb + Wc) x_j + (Wa - Wc) x_i,

so it takes two products per point. Its batch statistics, which training needs, are those of a
linear map of six numbers, and follow from their mean and covariance: no edge is held for them.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.edgeconv import EdgeConv
from pointinteract.nn.edgegroup import edge_moments_by_cloud
from pointinteract.nn.mlp import BatchNorm, LinearNorm, rectify_
from pointinteract.nn.pooling import chunk_size
from pointinteract.ops.grouping import gather

__all__ = ["EdgeMoments", "LocalAggregation", "PlaceEdgeConv", "PlaceLinear", "edge_moments"]


class PlaceLinear(nn.Module):
    """Linear map of [x_i, x_j, x_j - x_i], known by what it makes of [x_j - x_i, x_i].

    Parameters
    ----------
    n_in, n_out : int
        Channels per place, and of what comes out.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.joint = nn.Parameter(nn.Linear(3 * n_in, n_out, bias=False).weight.detach())

    @property
    def weight(self) -> Tensor:
        """The map of [x_j - x_i, x_i], (n_out, 2 n_in)."""
        to_self, to_neighbor, to_step = self.joint.chunk(3, dim=1)
        return torch.cat([to_neighbor + to_step, to_self + to_neighbor], dim=1)


class PlaceEdgeConv(EdgeConv):
    """Edge convolution over [x_i, x_j, x_j - x_i] instead of [x_j - x_i, x_i]."""

    linear: PlaceLinear  # type: ignore[assignment]

    def __init__(self, n_in: int, n_out: int, *, negative_slope: float = 0.2):
        super().__init__(n_in, n_out, negative_slope=negative_slope)
        self.linear = PlaceLinear(n_in, n_out)


class EdgeMoments(NamedTuple):
    """Mean (6,) and covariance (6, 6) of [x_j - x_i, x_i] over all edges, and their number."""

    mean: Tensor
    covariance: Tensor
    n_edges: int


def edge_moments(places: Tensor, neighbors: Tensor) -> EdgeMoments:
    """Find the moments of the edges of points (B, N, 3) to their neighbors (B, N, k)."""
    means, covariances = edge_moments_by_cloud(places.double(), neighbors)
    mean = means.mean(0)
    apart = means - mean
    covariance = covariances.mean(0) + apart.t() @ apart / means.shape[0]
    n_edges = neighbors.numel()
    return EdgeMoments(mean.to(places.dtype), covariance.to(places.dtype), n_edges)


class LocalAggregation(nn.Module):
    """Mean over the neighbors j of a layer on rectified f_j - f_i + norm(W [places of the edge]).

    Parameters
    ----------
    n_channels : int
        Channels per point before and after.
    negative_slope : float, default=0.2
        Slope of both rectifiers below zero.
    """

    def __init__(self, n_channels: int, *, negative_slope: float = 0.2):
        super().__init__()
        self.place = PlaceLinear(3, n_channels)
        self.place_norm = BatchNorm(n_channels)
        self.layer = LinearNorm(n_channels, n_channels, bias=False, negative_slope=negative_slope)

    def forward(
        self,
        features: Tensor,
        places: Tensor,
        neighbors: Tensor,
        moments: EdgeMoments | None = None,
    ) -> Tensor:
        """Aggregate over neighborhoods.

        Parameters
        ----------
        features : Tensor of shape (B, N, C)
        places : Tensor of shape (B, N, 3)
        neighbors : int64 Tensor of shape (B, N, k)
        moments : EdgeMoments, optional
            Of these places and neighbors, where they are known; only training asks for them.

        Returns
        -------
        aggregated : Tensor of shape (B, N, C)
        """
        weight = self.place.weight
        if self.place_norm.training:
            moments = moments or edge_moments(places, neighbors)
            scale, shift = self._scale_and_shift(weight, moments)
        else:
            scale, shift = self.place_norm.scale_and_shift()
        to_step, to_self = (weight * scale.unsqueeze(1)).chunk(2, dim=1)
        a = F.linear(places, to_step) + features  # what each point says as a neighbor
        b = F.linear(places, to_self - to_step, shift) - features  # and as the center
        if self.layer.norm.training or torch.compiler.is_compiling():
            return self._map_edges(a, b, neighbors)
        # A few clouds at a time, so that their edges stay near.
        chunk = chunk_size(a, neighbors.shape[1] * neighbors.shape[2] * a.shape[2])
        parts = zip(a.split(chunk), b.split(chunk), neighbors.split(chunk), strict=True)
        return torch.cat([self._map_edges(*part) for part in parts])

    def _map_edges(self, a: Tensor, b: Tensor, neighbors: Tensor) -> Tensor:
        # Not added in place: what `gather` returns is a view, whose gradient would be copied.
        edges = gather(a, neighbors) + b.unsqueeze(2)  # (B, N, k, C)
        return self.layer(rectify_(edges, self.layer.negative_slope)).mean(2)

    def _scale_and_shift(self, weight: Tensor, moments: EdgeMoments) -> tuple[Tensor, Tensor]:
        """Normalize by the statistics of the batch, and remember them."""
        norm = self.place_norm
        if moments.n_edges == 1:
            return norm.scale_and_shift()
        # Element by element: under autocast a matrix product would round to half precision.
        mean = (weight * moments.mean).sum(1)
        spread = (weight.unsqueeze(2) * moments.covariance).sum(1)
        var = (spread * weight).sum(1).clamp_min(0.0)
        norm.remember(mean, var, moments.n_edges)
        scale = norm.weight * torch.rsqrt(var + norm.eps)
        return scale, norm.bias - scale * mean
