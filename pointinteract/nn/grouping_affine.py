"""Groups of neighbors on one scale (Ma et al., PointMLP, ICLR 2022), mapped and pooled.

PointMLP describes the neighbor j of a chosen point i by

    [alpha * (f_j - f_i) / (sigma + 1e-5) + beta, f_i],

where sigma, one number for a cloud, is the standard deviation of all entries of all its
differences. The first layer W = [W1, W2] is linear in this, so with a_j = W1 (alpha f_j)

    W [...] = (a_j - a_i) / (sigma + 1e-5) + W2 f_i + W1 beta

needs a product per point and not one per neighbor of every group. Features are first centered
on their cloud, which no difference notices and rounding does: nothing large cancels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import chunk_size
from pointinteract.nn.residual import ResidualBlock
from pointinteract.ops.grouping import gather

__all__ = ["AffineGroupPool", "difference_deviation"]

_EPSILON = 1e-5


class AffineGroupPool(nn.Module):
    """Map neighbors by a linear layer and residual blocks, and keep the maximum of each group.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before, and per group after.
    n_blocks : int
        Number of residual blocks between the first layer and the maximum.
    n_hidden : int
        Channels inside a residual block.
    """

    def __init__(self, n_in: int, n_out: int, n_blocks: int, n_hidden: int):
        super().__init__()
        self.n_in = n_in
        self.alpha = nn.Parameter(torch.ones(n_in))
        self.beta = nn.Parameter(torch.zeros(n_in))
        self.transfer = LinearNorm(2 * n_in, n_out, bias=False)
        self.blocks = nn.ModuleList(ResidualBlock(n_out, n_hidden) for _ in range(n_blocks))

    def forward(self, features: Tensor, neighbors: Tensor, picked: Tensor | None = None) -> Tensor:
        """Describe the groups of the chosen points.

        Parameters
        ----------
        features : Tensor of shape (B, N, n_in)
        neighbors : int64 Tensor of shape (B, S, K)
            Which points are in the group of each of the S chosen ones.
        picked : int64 Tensor of shape (B, S) or None, default=None
            Which points are chosen; None means the first S.

        Returns
        -------
        pooled : Tensor of shape (B, S, n_out)
        """
        n_clouds, n_groups, n_neighbors = neighbors.shape
        as_neighbor, as_center = self._project(features, neighbors, picked)
        if self.transfer.norm.training or torch.compiler.is_compiling():
            rows = gather(as_neighbor, neighbors) + as_center.unsqueeze(2)
            return self._encode(rows.flatten(0, 2)).unflatten(0, neighbors.shape).amax(2)
        # A few groups at a time, from the look-up to the maximum, stay near at hand.
        start = torch.arange(n_clouds, device=neighbors.device) * features.shape[1]
        index = (neighbors + start.view(-1, 1, 1)).view(-1, n_neighbors)
        chunk = chunk_size(features, n_neighbors * as_center.shape[-1])
        flat = as_neighbor.flatten(0, 1)
        pooled = []
        for places, own in zip(
            index.split(chunk), as_center.flatten(0, 1).split(chunk), strict=True
        ):
            rows = flat.index_select(0, places.reshape(-1)).unflatten(0, places.shape)
            rows = self._encode((rows + own.unsqueeze(1)).flatten(0, 1))
            pooled.append(rows.unflatten(0, places.shape).amax(1))
        return torch.cat(pooled).view(n_clouds, n_groups, -1)

    def _project(
        self, features: Tensor, neighbors: Tensor, picked: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """What a point says as a neighbor (B, N, n_out), and what as the center of a group.

        Their sum enters the normalization; in evaluation it is contained.
        """
        own = _take(features, neighbors.shape[1], picked)
        deviation = difference_deviation(features, own, neighbors)
        # Where no two differ there is nothing to scale, and 1 / epsilon would only blow up
        # rounding errors and gradients.
        scale = torch.where(deviation > 0, 1.0 / (deviation + _EPSILON), 0.0)
        to_difference, to_own = self.transfer.linear.weight.split(self.n_in, dim=1)
        shift = None
        if not self.transfer.norm.training:
            gain, shift = self.transfer.norm.scale_and_shift()
            to_difference = to_difference * gain.unsqueeze(1)
            to_own = to_own * gain.unsqueeze(1)
        constant = to_difference @ self.beta
        constant = constant if shift is None else constant + shift
        centered = features - features.detach().mean(1, keepdim=True)
        as_neighbor = F.linear(centered * scale.view(-1, 1, 1), to_difference * self.alpha)
        as_center = F.linear(own, to_own, constant)
        return as_neighbor, as_center - _take(as_neighbor, neighbors.shape[1], picked)

    def _encode(self, rows: Tensor) -> Tensor:
        norm = self.transfer.norm
        rows = norm.rectified(rows, 0.0) if norm.training else F.relu(rows)
        for block in self.blocks:
            rows = block(rows)
        return rows


def difference_deviation(features: Tensor, own: Tensor, neighbors: Tensor) -> Tensor:
    """Standard deviation of all entries of all differences f_j - f_i of each cloud.

    Parameters
    ----------
    features : Tensor of shape (B, N, C)
    own : Tensor of shape (B, S, C)
        Features f_i of the points that groups are around.
    neighbors : int64 Tensor of shape (B, S, K)

    Returns
    -------
    deviation : Tensor of shape (B,)
        Over S K C numbers, the sum of squares divided by one less. Where it is 0 it has
        gradient 0. In single precision even if features come in half.
    """
    if torch.compiler.is_compiling():
        difference = gather(features, neighbors) - own.unsqueeze(2)
        exact = torch.promote_types(features.dtype, torch.float32)
        return difference.to(exact).flatten(1).std(1)
    return _DifferenceDeviation.apply(features, own, neighbors)


def _take(values: Tensor, n_groups: int, picked: Tensor | None) -> Tensor:
    return values[:, :n_groups] if picked is None else gather(values, picked)


class _DifferenceDeviation(torch.autograd.Function):
    """`difference_deviation`, a few clouds at a time, holding no difference in between.

    The gradient, (f_j - f_i - mean) / ((n - 1) sigma) for every entry, is summed over i for
    f_j and over j for f_i.
    """

    @staticmethod
    def forward(ctx, features, own, neighbors):
        exact = torch.promote_types(features.dtype, torch.float32)
        means, squares = [], []
        n_entries = neighbors[0].numel() * features.shape[-1]
        for part in _differences(features, own, neighbors, exact):
            part = part.flatten(1)
            mean = part.mean(1)
            squares.append(part.sub_(mean.unsqueeze(1)).square_().sum(1))
            means.append(mean)
        deviation = (torch.cat(squares) / (n_entries - 1)).sqrt()
        ctx.save_for_backward(features, own, neighbors, torch.cat(means), deviation)
        return deviation

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        features, own, neighbors, mean, deviation = ctx.saved_tensors
        n_clouds, n_points, n_channels = features.shape
        n_entries = neighbors[0].numel() * n_channels
        steepness = torch.where(deviation > 0, grad / deviation, 0.0) / (n_entries - 1)
        grad_features = torch.zeros(
            n_clouds, n_points, n_channels, dtype=deviation.dtype, device=features.device
        )
        grad_own = []
        first = 0
        for part in _differences(features, own, neighbors, deviation.dtype):
            last = first + len(part)
            shape = (-1, 1, 1, 1)
            part.sub_(mean[first:last].view(shape)).mul_(steepness[first:last].view(shape))
            grad_own.append(part.sum(2).neg_())
            places = torch.arange(len(part), device=part.device).view(-1, 1, 1) * n_points
            places = (places + neighbors[first:last]).view(-1)
            into = grad_features[first:last].view(-1, n_channels)
            into.index_add_(0, places, part.view(-1, n_channels))
            first = last
        return grad_features.to(features.dtype), torch.cat(grad_own).to(own.dtype), None


def _differences(features: Tensor, own: Tensor, neighbors: Tensor, dtype: torch.dtype):
    """Yield f_j - f_i of a few clouds, (b, S, K, C), free to be written over."""
    chunk = chunk_size(features, neighbors[0].numel() * features.shape[-1])
    for cloud, centers, index in zip(
        features.split(chunk), own.split(chunk), neighbors.split(chunk), strict=True
    ):
        yield gather(cloud.to(dtype), index).sub_(centers.to(dtype).unsqueeze(2))
