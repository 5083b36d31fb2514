"""Scores of every point, from what is known of the point and of the whole cloud."""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.propagation import SumLinearNorm

__all__ = ["SegmentationHead"]


class SegmentationHead(nn.Module):
    """Hidden layers with normalization, rectifier and dropout, and a linear layer, on points.

    Parameters
    ----------
    n_local : int
        Channels of a point.
    n_whole : int
        Channels of the cloud, which are the same for all of its points. The first layer reads
        [point, cloud] and maps the second part once a cloud.
    hidden : sequence of int
        Widths of the hidden layers, at least one.
    n_classes : int
        0 leaves the last layer out.
    dropout : sequence of float
        Share of each hidden layer's outputs that is dropped after its rectifier.
    bias : bool, default=True
        Whether the layers have one, the last included.
    negative_slope : float, default=0.0
        Slope of the rectifier below zero.
    """

    def __init__(
        self,
        n_local: int,
        n_whole: int,
        hidden: Sequence[int],
        n_classes: int,
        *,
        dropout: Sequence[float],
        bias: bool = True,
        negative_slope: float = 0.0,
    ):
        super().__init__()
        self.n_features = hidden[-1]
        first = SumLinearNorm(
            (n_local, n_whole), hidden[0], bias=bias, negative_slope=negative_slope
        )
        rest = [
            LinearNorm(a, b, bias=bias, negative_slope=negative_slope)
            for a, b in zip(hidden[:-1], hidden[1:], strict=True)
        ]
        self.layers = nn.ModuleList([first, *rest])
        self.dropouts = nn.ModuleList(nn.Dropout(share) for share in dropout)
        self.out = nn.Linear(hidden[-1], n_classes, bias=bias) if n_classes else nn.Identity()

    def forward(self, local: Tensor, whole: Tensor | None = None) -> Tensor:
        """Map points (B, N, n_local) and clouds (B, n_whole) to scores (B, N, n_classes)."""
        first = cast(SumLinearNorm, self.layers[0])
        (of_point, of_cloud), bias = first.split()
        rows = F.linear(local, of_point, bias)
        if whole is not None:
            rows = rows + F.linear(whole, of_cloud).unsqueeze(1)
        rows = self.dropouts[0](first.finish(rows))
        for layer, dropout in zip(self.layers[1:], self.dropouts[1:], strict=True):
            rows = dropout(layer(rows))
        return self.out(rows)
