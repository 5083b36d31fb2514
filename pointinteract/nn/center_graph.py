"""Graph convolution on the centers of patches: what the neighbors of a patch say about it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import rectify_
from pointinteract.ops import gather, knn

__all__ = ["CenterGraph"]

_N_NORM_GROUPS = 4
_SLOPE = 0.2


class CenterGraph(nn.Module):
    """Four edge convolutions over the nearest centers, all outputs joined by one more layer.

    The network before and after the codebook of Point-BERT's tokenizer (Yu et al., CVPR 2022,
    section 3.1). Unlike in DGCNN the graph is that of the centers in space, the same in every
    layer, and the normalization is by groups of channels, within each cloud.

    Parameters
    ----------
    n_in, n_out : int
        Channels of a patch before and after.
    hidden : int, default=128
        Channels that enter the first edge convolution.
    widths : tuple of int, default=(256, 512, 512, 1024)
        Channels after each of them; multiples of 4, as `n_out`.
    n_neighbors : int, default=4
        Nearest centers that are looked at, the center itself included; all, if there are fewer.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        hidden: int = 128,
        widths: tuple[int, ...] = (256, 512, 512, 1024),
        n_neighbors: int = 4,
    ):
        super().__init__()
        self.n_neighbors = n_neighbors
        self.enter = nn.Linear(n_in, hidden)
        sizes = [hidden, *widths]
        self.edges = nn.ModuleList(
            _GroupedEdges(before, after)
            for before, after in zip(sizes[:-1], sizes[1:], strict=True)
        )
        self.join = nn.Linear(sum(widths), n_out, bias=False)
        self.join_norm = nn.GroupNorm(_N_NORM_GROUPS, n_out)

    def forward(self, features: Tensor, centers: Tensor) -> Tensor:
        """Map (B, G, n_in), of patches at centers (B, G, 3), to (B, G, n_out)."""
        neighbors = knn(centers, centers, min(self.n_neighbors, centers.shape[1]))
        features = self.enter(features)
        levels = []
        for layer in self.edges:
            features = layer(features, neighbors)
            levels.append(features)
        joined = self.join(torch.cat(levels, dim=-1))
        mean, deviation = _group_statistics(joined, self.join_norm)
        return rectify_(_scaled(joined, mean, deviation, self.join_norm), _SLOPE)


class _GroupedEdges(nn.Module):
    """Linear map of [neighbor - self, self], group norm, leaky rectifier, maximum.

    The map is linear, so one product a patch serves all its edges; and norm and rectifier are
    monotone in each channel, so the maximum over the neighbors is taken first.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.n_in = n_in
        self.linear = nn.Linear(2 * n_in, n_out, bias=False)
        self.norm = nn.GroupNorm(_N_NORM_GROUPS, n_out)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, G, n_in), with neighbor indices (B, G, k), to (B, G, n_out)."""
        to_neighbor, to_self = self.linear.weight.split(self.n_in, dim=1)
        weight = torch.cat([to_neighbor, to_self - to_neighbor])
        said, heard = F.linear(features, weight).chunk(2, dim=-1)
        edges = gather(said.contiguous(), neighbors) + heard.unsqueeze(2)  # (B, G, k, C)
        mean, deviation = _group_statistics(edges, self.norm)
        # A channel that the norm turns around has its maximum where the edge is least.
        gain = self.norm.weight.detach()
        sign = torch.ones_like(gain).copysign(gain)
        best = (edges * sign).amax(dim=2) * sign
        return rectify_(_scaled(best, mean, deviation, self.norm), _SLOPE)


def _group_statistics(values: Tensor, norm: nn.GroupNorm) -> tuple[Tensor, Tensor]:
    """Mean and deviation by which (B, ..., C) are normalised, one a channel: (B, 1, C)."""
    n_clouds, n_channels = len(values), values.shape[-1]
    grouped = values.reshape(n_clouds, -1, norm.num_groups, n_channels // norm.num_groups)
    var, mean = torch.var_mean(grouped, dim=(1, 3), correction=0)  # (B, groups)
    repeats = n_channels // norm.num_groups
    deviation = (var + norm.eps).sqrt()
    mean, deviation = (
        each.repeat_interleave(repeats, dim=1).unsqueeze(1) for each in (mean, deviation)
    )
    return mean, deviation


def _scaled(values: Tensor, mean: Tensor, deviation: Tensor, norm: nn.GroupNorm) -> Tensor:
    return torch.addcmul(norm.bias, (values - mean) / deviation, norm.weight)
