"""Edge convolution of two layers, and the pose that such a one predicts (Wang et al., 2019).

Only the first layer is a sum of what both ends of an edge say; the second sees what the
rectifier left of it, so every edge is held.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax, chunk_size, split_together
from pointinteract.nn.propagation import SumLinearNorm
from pointinteract.ops.grouping import gather

__all__ = ["DeepEdgeConv", "EdgeTransformNet"]


class DeepEdgeConv(nn.Module):
    """Two layers on edges [x_j - x_i, x_i], then the maximum over the neighbors.

    Parameters
    ----------
    n_in : int
        Channels of a point.
    hidden, n_out : int
        Widths of the layers, each with normalization and leaky rectifier.
    negative_slope : float, default=0.2
        Slope of the rectifier below zero.
    """

    def __init__(self, n_in: int, hidden: int, n_out: int, *, negative_slope: float = 0.2):
        super().__init__()
        self.first = SumLinearNorm(
            (n_in, n_in), hidden, bias=False, negative_slope=negative_slope
        )
        self.second = LinearNormMax(hidden, n_out, bias=False, negative_slope=negative_slope)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, n_in), with neighbor indices (B, N, k), to (B, N, n_out)."""
        if self.training:
            return self._forward_whole(features, neighbors)
        # A few clouds at a time: the edges are many times larger than what they come from.
        chunk = chunk_size(features, neighbors.shape[1:].numel() * self.first.norm.num_features)
        parts = split_together(chunk, features, neighbors)
        return torch.cat([self._forward_whole(*part) for part in parts])

    def _forward_whole(self, features: Tensor, neighbors: Tensor) -> Tensor:
        (to_step, to_own), bias = self.first.split()
        said = F.linear(features, to_step)
        heard = F.linear(features, to_own - to_step, bias)
        edges = self.first.finish(gather(said, neighbors) + heard.unsqueeze(2))
        return self.second(edges.flatten(0, 1)).unflatten(0, neighbors.shape[:2])


class EdgeTransformNet(nn.Module):
    """Predict a matrix that turns a cloud into a common pose, from the edges of its graph.

    It begins as the identity.

    Parameters
    ----------
    negative_slope : float, default=0.2
        Slope of all rectifiers below zero.
    """

    def __init__(self, *, negative_slope: float = 0.2):
        super().__init__()
        slope = negative_slope
        self.edges = DeepEdgeConv(3, 64, 128, negative_slope=slope)
        self.pool = LinearNormMax(128, 1024, bias=False, negative_slope=slope)
        self.layer1 = LinearNorm(1024, 512, bias=False, negative_slope=slope)
        self.layer2 = LinearNorm(512, 256, bias=False, negative_slope=slope)
        self.out = nn.Linear(256, 9)
        nn.init.zeros_(self.out.weight)
        with torch.no_grad():
            self.out.bias.copy_(torch.eye(3).flatten())

    def forward(self, xyz: Tensor, neighbors: Tensor) -> Tensor:
        """Map coordinates (B, N, 3), with neighbor indices (B, N, k), to matrices (B, 3, 3)."""
        pooled = self.pool(self.edges(xyz, neighbors))
        return self.out(self.layer2(self.layer1(pooled))).view(-1, 3, 3)
