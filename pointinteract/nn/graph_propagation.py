"""Up-sampling by graphs: fine points ask coarse ones, then each other (Point-BERT).

Every edge reads the difference between two points' features and the feature of the one that
asks; the strongest response over the edges stays.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn

__all__ = ["GraphPropagation"]

_N_NORM_GROUPS = 4
_SLOPE = 0.2


class GraphPropagation(nn.Module):
    """Bring features of coarse points into those of fine ones.

    Parameters
    ----------
    width : int
        Channels of both, and of what comes out; a multiple of 4, as `hidden`.
    hidden : int, default=512
        Channels between the two layers.
    n_neighbors : int, default=4
        Coarse points that a fine one asks, and then fine ones, itself included. All, if there
        are fewer.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, arXiv 2111.14819.
    """

    def __init__(self, width: int, *, hidden: int = 512, n_neighbors: int = 4):
        super().__init__()
        self.n_neighbors = n_neighbors
        self.down = GraphEdges(width, width, hidden)
        self.across = GraphEdges(hidden, hidden, width)

    def forward(
        self, points: Tensor, centers: Tensor, own: Tensor, features: Tensor
    ) -> Tensor:
        """Map features of centers to points.

        Parameters
        ----------
        points : Tensor of shape (B, N, 3)
        centers : Tensor of shape (B, S, 3)
        own : Tensor of shape (B, N, width)
            What is known of the points before.
        features : Tensor of shape (B, S, width)

        Returns
        -------
        propagated : Tensor of shape (B, N, width)
        """
        to_center = knn(points, centers, min(self.n_neighbors, centers.shape[1]))
        to_point = knn(points, points, min(self.n_neighbors, points.shape[1]))
        rows = self.down(own, features, to_center)
        return self.across(rows, rows, to_point)


class GraphEdges(nn.Module):
    """Linear map of [theirs - own, own], group norm, leaky rectifier, maximum over the edges."""

    def __init__(self, n_own: int, n_theirs: int, n_out: int):
        super().__init__()
        self.n_theirs = n_theirs
        self.linear = nn.Linear(n_own + n_theirs, n_out, bias=False)
        self.norm = nn.GroupNorm(_N_NORM_GROUPS, n_out)

    def forward(self, own: Tensor, theirs: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, C) and (B, S, C), of which (B, N, k) are asked, to (B, N, n_out)."""
        # The map is linear: one product a point serves all of its edges.
        to_theirs, to_own = self.linear.weight.split(self.n_theirs, dim=1)
        said = F.linear(theirs, to_theirs)
        heard = F.linear(own, to_own - to_theirs)
        edges = gather(said, neighbors) + heard.unsqueeze(2)  # (B, N, k, n_out)
        normed = self.norm(edges.flatten(1, 2).mT).mT.view_as(edges)
        return F.leaky_relu(normed, _SLOPE).amax(2)
