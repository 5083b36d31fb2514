"""From features of some points to features of all of them: the way back of segmentation.

A point listens to the three nearest of the points that have features (Qi et al., PointNet++,
NeurIPS 2017, section 3.4), and layers read what it hears beside what it knows itself.
"""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm, fold_norm
from pointinteract.ops.grouping import interpolate

__all__ = ["FeaturePropagation", "SumLinearNorm"]


class SumLinearNorm(LinearNorm):
    """The same as `LinearNorm` for rows that are made of parts, mapped part by part.

    W [u, v] = W1 u + W2 v, and where one part is the same for many rows, or spread to them by
    a linear rule, it is mapped before that and not after.

    Parameters
    ----------
    n_parts : sequence of int
        Channels of each part.
    n_out : int
    bias, negative_slope
        As in :class:`pointinteract.nn.mlp.LinearNorm`.
    """

    def __init__(
        self,
        n_parts: Sequence[int],
        n_out: int,
        *,
        bias: bool = True,
        negative_slope: float | None = 0.0,
    ):
        super().__init__(sum(n_parts), n_out, bias=bias, negative_slope=negative_slope)
        self.n_parts = list(n_parts)

    def split(self) -> tuple[list[Tensor], Tensor | None]:
        """Weights (n_out, C) of the parts and the bias (n_out,), normalized in evaluation."""
        weight: Tensor = self.linear.weight
        bias: Tensor | None = self.linear.bias
        if not self.norm.training:
            weight, bias = fold_norm(self.linear, self.norm)
        return list(weight.split(self.n_parts, dim=1)), bias

    def finish(self, rows: Tensor) -> Tensor:
        """Take the sum of the mapped parts (..., n_out), in place, through what comes after."""
        if self.norm.training:
            return self.norm.rectified(rows, self.negative_slope)
        return self.activate(rows)


class FeaturePropagation(nn.Module):
    """Spread features of centers to points and map them together with the points' own.

    Parameters
    ----------
    n_skip : int
        Channels that a point has itself.
    n_features : int
        Channels of a center.
    hidden : sequence of int
        Widths of the layers, at least one, each with normalization and rectifier.

    Notes
    -----
    The layers read [own, spread], in this order. Spreading is a mean with weights that do not
    depend on the channel, so the first layer is applied to the centers, of which there are
    fewer, and what comes out is spread.
    """

    def __init__(self, n_skip: int, n_features: int, hidden: Sequence[int]):
        super().__init__()
        first = SumLinearNorm((n_skip, n_features), hidden[0])
        rest = [LinearNorm(a, b) for a, b in zip(hidden[:-1], hidden[1:], strict=True)]
        self.n_out = hidden[-1]
        self.layers = nn.ModuleList([first, *rest])

    def forward(self, points: Tensor, centers: Tensor, skip: Tensor, features: Tensor) -> Tensor:
        """Map features of centers to points.

        Parameters
        ----------
        points : Tensor of shape (B, N, 3)
        centers : Tensor of shape (B, S, 3)
            A single one speaks to all points alike.
        skip : Tensor of shape (B, N, n_skip)
        features : Tensor of shape (B, S, n_features)

        Returns
        -------
        propagated : Tensor of shape (B, N, W), W the last of `hidden`
        """
        first = cast(SumLinearNorm, self.layers[0])
        (of_skip, of_features), bias = first.split()
        said = F.linear(features, of_features, bias)
        if centers.shape[1] > 1:
            said = interpolate(points, centers, said)
        rows = first.finish(said + F.linear(skip, of_skip))
        for layer in self.layers[1:]:
            rows = layer(rows)
        return rows
