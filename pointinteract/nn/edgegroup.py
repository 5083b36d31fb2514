"""Edge convolution normalized in each cloud by itself, with group normalization (Wu and He 2018).

As in :mod:`pointinteract.nn.edgeconv` the linear map of an edge is a sum of what its two ends
say, W [x_j - x_i, x_i] = W1 x_j + (W2 - W1) x_i, so no edge is mapped. The normalization wants
mean and variance of all mapped edges, in evaluation too; they follow from mean m and covariance S
of the edges *before* the map,

    mean of channel c = w_c m,    variance of channel c = w_c S w_c,

which are small where x has few channels. What comes out is monotone in each channel, so the
maximum over the neighbors is that of one end.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.edgeconv import neighbor_max
from pointinteract.nn.mlp import rectify_
from pointinteract.ops.grouping import gather

__all__ = ["EdgeConvGroup"]


class EdgeConvGroup(nn.Module):
    """Linear map of edges, group normalization, leaky rectifier, maximum over neighbors.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before and after. The linear map has 2 `n_in` inputs: the
        difference to the neighbor first, then the point itself. Made for a few: the
        statistics cost n_in^2 for every edge.
    n_groups : int, default=4
        Groups of channels with a common mean and variance, found over a cloud's edges.
    negative_slope : float, default=0.2
        Slope of the rectifier below zero.
    """

    def __init__(self, n_in: int, n_out: int, *, n_groups: int = 4, negative_slope: float = 0.2):
        super().__init__()
        self.n_in = n_in
        self.negative_slope = negative_slope
        self.linear = nn.Linear(2 * n_in, n_out, bias=False)
        self.norm = nn.GroupNorm(n_groups, n_out)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, n_in), with neighbor indices (B, N, k), to (B, N, n_out)."""
        scale, shift = (x.unsqueeze(1) for x in self._scale_and_shift(features, neighbors))
        to_neighbor, to_self = self.linear.weight.split(self.n_in, dim=1)
        # The scale first: where it is negative, the smallest neighbor becomes the largest.
        a = scale * F.linear(features, to_neighbor)
        b = scale * F.linear(features, to_self - to_neighbor) + shift
        return rectify_(neighbor_max(a, neighbors) + b, self.negative_slope)

    def _scale_and_shift(self, features: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
        """The normalization of each cloud as y = scale * x + shift: (B, n_out) each."""
        norm = self.norm
        with torch.autocast(features.device.type, enabled=False):
            exact = torch.float64 if features.dtype == torch.float64 else torch.float32
            weight = self.linear.weight.to(exact)
            mean, covariance = edge_moments_by_cloud(features.to(exact), neighbors)
            means = mean @ weight.t()  # (B, n_out)
            variances = ((weight @ covariance) * weight).sum(-1)
            means = means.unflatten(1, (norm.num_groups, -1))  # (B, groups, n_out / groups)
            between, of_group = torch.var_mean(means, 2, unbiased=False, keepdim=True)
            within = variances.unflatten(1, (norm.num_groups, -1)).mean(2, keepdim=True)
            deviation = torch.rsqrt(within.clamp_min(0.0) + between + norm.eps)
            deviation = deviation.expand_as(means).flatten(1)
            scale = norm.weight.to(exact) * deviation
            shift = norm.bias.to(exact) - scale * of_group.expand_as(means).flatten(1)
        return scale, shift

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


def edge_moments_by_cloud(features: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the edges [x_j - x_i, x_i] of each cloud.

    Parameters
    ----------
    features : Tensor of shape (B, N, C)
    neighbors : int64 Tensor of shape (B, N, k)

    Returns
    -------
    mean : Tensor of shape (B, 2 C)
    covariance : Tensor of shape (B, 2 C, 2 C)
        The biased one.

    Notes
    -----
    From deviations, so that nothing cancels for a small cloud far from the origin.
    """
    n_edges = neighbors.shape[1] * neighbors.shape[2]
    steps = gather(features, neighbors) - features.unsqueeze(2)  # (B, N, k, C)
    mean_step, mean = steps.mean((1, 2)), features.mean(1)
    steps = steps - mean_step[:, None, None]
    centered = features - mean.unsqueeze(1)
    of_steps = steps.flatten(1, 2).transpose(1, 2) @ steps.flatten(1, 2) / n_edges  # (B, C, C)
    mixed = steps.sum(2).transpose(1, 2) @ centered / n_edges
    of_points = centered.transpose(1, 2) @ centered / neighbors.shape[1]
    upper = torch.cat([of_steps, mixed], dim=2)
    lower = torch.cat([mixed.transpose(1, 2), of_points], dim=2)
    return torch.cat([mean_step, mean], dim=1), torch.cat([upper, lower], dim=1)
