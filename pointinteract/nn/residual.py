"""Residual blocks on rows: points, groups or clouds, channels last."""

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm

__all__ = ["ResidualBlock"]


class ResidualBlock(nn.Module):
    """Two linear layers with normalization whose result is added to what came in.

    y = relu(x + norm(W2 relu(norm(W1 x)))), as in PointMLP (Ma et al., ICLR 2022, equation 2).

    Parameters
    ----------
    n_channels : int
        Channels before and after.
    n_hidden : int
        Channels in between; fewer than `n_channels` make a bottleneck.
    """

    def __init__(self, n_channels: int, n_hidden: int):
        super().__init__()
        self.net1 = LinearNorm(n_channels, n_hidden, bias=False)
        self.net2 = LinearNorm(n_hidden, n_channels, bias=False, negative_slope=None)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (..., n_channels) to (..., n_channels)."""
        return F.relu(rows + self.net2(self.net1(rows)))
