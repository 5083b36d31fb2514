"""X-convolution (Li et al., PointCNN, NeurIPS 2018): learn an order of neighbors, then convolve.

Rectifiers (ELU) come before normalizations here, and linear layers have no bias.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import BatchNorm
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn

__all__ = ["ChannelMix", "DenseNorm", "XConv"]

# Of every normalization of PointCNN; its framework calls this a momentum of 0.99.
_EPS, _MOMENTUM = 1e-3, 0.01


class DenseNorm(nn.Module):
    """Linear layer without bias, ELU, batch normalization: rows (..., n_in) to (..., n_out)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.linear = nn.Linear(n_in, n_out, bias=False)
        self.norm = BatchNorm(n_out, eps=_EPS, momentum=_MOMENTUM)

    def forward(self, rows: Tensor) -> Tensor:
        return self.norm(F.elu_(self.linear(rows)))


class ChannelMix(nn.Module):
    """Each channel sums its K places with weights of its own, D times over.

    (R, K, C) to (R, C, D); this is a depthwise convolution that covers all K places.
    """

    def __init__(self, n_places: int, n_channels: int, n_each: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_places, n_channels, n_each))
        nn.init.normal_(self.weight, std=n_places**-0.5)

    def forward(self, values: Tensor) -> Tensor:
        return torch.einsum("rkc,kcd->rcd", values, self.weight)


class XConv(nn.Module):
    """One X-convolution (Li et al., 2018, algorithm 1).

    Parameters
    ----------
    n_in : int
        Features of a point beside its coordinates; may be 0.
    n_out : int
        Features of a representative.
    n_lifted : int
        Features made of the place of each neighbor.
    n_neighbors : int
        Neighbors K of a representative.
    dilation : int
        Of the ``n_neighbors * dilation`` nearest points every so many-th is a neighbor. In
        clouds of fewer points it shrinks, and if there are fewer than K points at all, the
        nearest fills the places left.
    multiplier : int
        Outputs of each channel before they are mixed.
    n_global : int, default=0
        Features made of where the representative itself lies, put before the others.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        n_lifted: int,
        n_neighbors: int,
        dilation: int = 1,
        multiplier: int = 1,
        n_global: int = 0,
    ):
        super().__init__()
        self.n_neighbors = n_neighbors
        self.dilation = dilation
        n_entries = n_neighbors**2
        self.lift1 = DenseNorm(3, n_lifted)
        self.lift2 = DenseNorm(n_lifted, n_lifted)
        self.matrix1 = DenseNorm(3 * n_neighbors, n_entries)
        self.matrix2 = ChannelMix(n_neighbors, n_neighbors, n_neighbors)
        self.norm2 = BatchNorm(n_entries, eps=_EPS, momentum=_MOMENTUM)
        self.matrix3 = ChannelMix(n_neighbors, n_neighbors, n_neighbors)
        self.norm3 = BatchNorm(n_entries, eps=_EPS, momentum=_MOMENTUM)
        self.convolve = ChannelMix(n_neighbors, n_lifted + n_in, multiplier)
        self.mix = DenseNorm((n_lifted + n_in) * multiplier, n_out)
        self.place: nn.Sequential | None = None
        if n_global:
            self.place = nn.Sequential(DenseNorm(3, n_global), DenseNorm(n_global, n_global))

    def forward(self, xyz: Tensor, features: Tensor | None, n_queries: int) -> Tensor:
        """Describe the first points of a cloud by their neighbors.

        Parameters
        ----------
        xyz : Tensor of shape (B, N, 3)
        features : Tensor of shape (B, N, n_in) or None
            None for a layer whose `n_in` is 0.
        n_queries : int
            The first P points are the representatives.

        Returns
        -------
        described : Tensor of shape (B, P, n_global + n_out)
        """
        queries = xyz[:, :n_queries]
        index = self._neighbors(queries, xyz)  # (B, P, K)
        offsets = gather(xyz, index) - queries.unsqueeze(2)
        rows = self.lift2(self.lift1(offsets))  # (B, P, K, n_lifted)
        if features is not None:
            rows = torch.cat([rows, gather(features, index)], dim=-1)
        mixed = self._matrix(offsets.flatten(0, 1)) @ rows.flatten(0, 1)  # (B P, K, C)
        described = self.mix(self.convolve(mixed).flatten(1)).view(*queries.shape[:2], -1)
        if self.place is None:
            return described
        return torch.cat([self.place(queries), described], dim=-1)

    def _matrix(self, offsets: Tensor) -> Tensor:
        """From the places of the neighbors, (R, K, 3), to the matrices X, (R, K, K)."""
        shape = (offsets.shape[0], self.n_neighbors, self.n_neighbors)
        entries = self.matrix1(offsets.flatten(1)).view(shape)
        entries = self.norm2(F.elu(self.matrix2(entries)).flatten(1)).view(shape)
        return self.norm3(self.matrix3(entries).flatten(1)).view(shape)

    def _neighbors(self, queries: Tensor, xyz: Tensor) -> Tensor:
        n_points, k = xyz.shape[1], self.n_neighbors
        dilation = max(1, min(self.dilation, n_points // k))
        index = knn(queries, xyz, min(k * dilation, n_points))[..., ::dilation]
        if index.shape[-1] < k:
            rest = index[..., :1].expand(-1, -1, k - index.shape[-1])
            index = torch.cat([index, rest], dim=-1)
        return index

    def extra_repr(self) -> str:
        return f"n_neighbors={self.n_neighbors}, dilation={self.dilation}"
