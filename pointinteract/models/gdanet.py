"""GDANet (Xu et al., AAAI 2021): sharp and gentle parts of a cloud, each read by every point.

Points are joined with their neighbors in feature space. Where a point's features differ much
from the smoothed features around it the shape varies sharply (edges, corners), elsewhere
gently. The sharpest and the gentlest points make two sets, and every point adds to itself what
it reads from each. Two such blocks and a plain one are joined and pooled.

The original maps every edge [f_j - f_i, f_j]. The first layer is linear in both,

    W [f_j - f_i, f_j] = (W1 + W2) f_j - W1 f_i,

so it takes two products per point instead of one per edge. Its attention has no softmax, so
(theta phi^T) g = theta (phi^T g): a matrix of channels replaces one of points.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm, fold_norm
from pointinteract.nn.pooling import LinearNormMax, chunk_size, max_and_mean, split_together
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn, square_distance
from pointinteract.utils._params import check_int

# Of the graph that features are smoothed on: reach, and width of the Gaussian of its weights.
_REACH = 0.2
_SIGMA = 2.0


class EdgeLayers(nn.Module):
    """Two layers over the edges [f_j - f_i, f_j], then the maximum over the neighbors j.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before and after.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.first = LinearNorm(2 * n_in, n_out)
        self.second = LinearNormMax(n_out, n_out)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, n_in), with neighbor indices (B, N, k), to (B, N, n_out)."""
        first = self.first
        if first.norm.training:
            a, b = _project(features, first.linear.weight, first.linear.bias)
            edges = gather(a, neighbors) + b.unsqueeze(2)  # (B, N, k, n_out)
            edges = first.norm.rectified(edges, first.negative_slope)
            return self.second(edges.flatten(0, 1)).view_as(a)
        a, b = _project(features, *fold_norm(first.linear, first.norm))
        start = torch.arange(a.shape[0], device=a.device).view(-1, 1, 1) * a.shape[1]
        ends = (neighbors + start).flatten(0, 1)  # (B N, k) among the points of all clouds
        flat = a.flatten(0, 1).unsqueeze(0)
        # A few points at a time, so that their edges stay near.
        chunk = chunk_size(a, 2 * ends.shape[1] * a.shape[-1])
        found = []
        for index, own in split_together(chunk, ends, b.flatten(0, 1)):
            edges = gather(flat, index.unsqueeze(0)).squeeze(0).add_(own.unsqueeze(1))
            found.append(self.second(first.activate(edges)))
        return torch.cat(found).view_as(a)


def _project(features: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return what each point says as a neighbor, and what it says as the center."""
    to_step, to_neighbor = weight.chunk(2, dim=1)
    return F.linear(features, to_step + to_neighbor), F.linear(features, -to_step, bias)


class SetAttention(nn.Module):
    """Every point reads a set of points, and adds what it read: (B, N, C), (B, M, C) to (B, N, C).

    With theta, phi and g linear, x + norm(W theta(x) (phi(s)^T g(s)) / M): no softmax.
    """

    def __init__(self, n_channels: int):
        super().__init__()
        inner = n_channels // 2
        self.query = nn.Linear(n_channels, inner)
        self.key = nn.Linear(n_channels, inner)
        self.value = nn.Linear(n_channels, inner)
        self.out = LinearNorm(inner, n_channels, negative_slope=None)

    def forward(self, points: Tensor, members: Tensor) -> Tensor:
        key = self.key(members) / members.shape[1]
        summary = key.transpose(1, 2) @ self.value(members)  # (B, C/2, C/2)
        return points + self.out(self.query(points) @ summary)


class GDABlock(nn.Module):
    """Edges, the two sets, attention to each, and both readings mapped to `n_out` channels."""

    def __init__(self, n_in: int, n_out: int, *, n_members: int, n_smooth: int):
        super().__init__()
        self.n_members = n_members
        self.n_smooth = n_smooth
        self.edges = EdgeLayers(n_in, n_out)
        self.sharp = SetAttention(n_out)
        self.gentle = SetAttention(n_out)
        self.fuse = LinearNorm(2 * n_out, n_out)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Map (B, N, n_in), with neighbor indices (B, N, k), to (B, N, n_out)."""
        x = self.edges(features, neighbors)
        sharp, gentle = disentangle(x, self.n_members, self.n_smooth)
        read = [self.sharp(x, gather(x, sharp)), self.gentle(x, gather(x, gentle))]
        return self.fuse(torch.cat(read, dim=-1))


@torch.no_grad()
def disentangle(features: Tensor, n_members: int, n_smooth: int) -> tuple[Tensor, Tensor]:
    """Choose the points whose features vary most around them, and those that vary least.

    Parameters
    ----------
    features : Tensor of shape (B, N, C)
    n_members : int
        Size M of either set; in smaller clouds both are the whole cloud.
    n_smooth : int
        Nearest points that the features are smoothed over, the point itself included in the
        count though not in the sum.

    Returns
    -------
    sharp, gentle : int64 Tensor of shape (B, min(M, N))
        Ties go to the smallest index. No gradient flows through the choice.

    Notes
    -----
    Equations 2 to 6 of the paper: with w_ij = exp(-d_ij^2 / sigma^2) where d_ij < 0.2 and 0
    elsewhere, the variation of i is |f_i - sum_j (w_ij / sum_l w_il) f_j|^2.
    """
    features = features if features.dtype == torch.float64 else features.float()
    n_points = features.shape[1]
    index = knn(features, features, min(n_smooth, n_points))[..., 1:]  # (B, N, k - 1)
    chunk = chunk_size(features, n_points**2)
    shares = []
    for part, near in split_together(chunk, features, index):
        weight = _closeness(square_distance(part, part))  # (b, N, N)
        shares.append(weight.gather(2, near) / weight.sum(2, keepdim=True))
    smooth = _weighted_sum(features, index, torch.cat(shares))
    variation = (features - smooth).square().sum(-1)  # (B, N)
    sharp = variation.argsort(dim=1, descending=True, stable=True)
    gentle = variation.argsort(dim=1, stable=True)
    return sharp[:, :n_members], gentle[:, :n_members]


def _closeness(squared: Tensor) -> Tensor:
    """Weight of edges by squared length, 0 for those out of reach."""
    weight = squared.mul(-1.0 / _SIGMA**2).exp_()
    return weight.masked_fill_(squared >= _REACH**2, 0.0)


def _weighted_sum(values: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """Sum of weighted rows: (B, N, C), (B, N, k), (B, N, k) to (B, N, C)."""
    if torch.compiler.is_compiling() or index.shape[2] == 0:
        return (gather(values, index) * weight.unsqueeze(-1)).sum(2)
    start = torch.arange(values.shape[0], device=index.device).view(-1, 1, 1) * values.shape[1]
    total = F.embedding_bag(
        (index + start).flatten(0, 1),
        values.flatten(0, 1),
        mode="sum",
        per_sample_weights=weight.flatten(0, 1),
    )
    return total.view_as(values)


class GDANet(nn.Module):
    """Geometry-disentangled attention network for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. The first graph is that of the coordinates, the first three.
    n_classes : int, default=40
    n_neighbors : int, default=30
        Neighbors of a point, itself included. More look farther and cost time in proportion.
        Clouds of fewer points use all they have.
    n_members : int, default=256
        Points of the sharp and of the gentle set of each block. In clouds of fewer points both
        are the whole cloud, and in those of fewer than twice as many they overlap.
    n_smooth : int, default=64
        Nearest points that features are compared with to tell sharp from gentle.
    dropout : float, default=0.4
        Share of both hidden layers of the head that is dropped in training.

    Notes
    -----
    Features count as neighbors for smoothing within a distance of 0.2, whatever their scale:
    where they are far larger, points have no neighbors and vary as much as they are long.
    """

    official_system = "gdanet"
    permutation_invariant = True

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_neighbors: int = 30,
        n_members: int = 256,
        n_smooth: int = 64,
        dropout: float = 0.4,
    ):
        super().__init__()
        check_int("n_neighbors", n_neighbors)
        check_int("n_members", n_members)
        check_int("n_smooth", n_smooth)
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_neighbors": n_neighbors,
            "n_members": n_members,
            "n_smooth": n_smooth,
            "dropout": dropout,
        }
        self.n_neighbors = n_neighbors
        self.num_features = 1024
        self.dropout = dropout
        self.block1 = GDABlock(n_channels, 64, n_members=n_members, n_smooth=n_smooth)
        self.block2 = GDABlock(n_channels + 64, 64, n_members=n_members, n_smooth=n_smooth)
        self.edges3 = EdgeLayers(n_channels + 128, 128)
        self.fuse3 = LinearNorm(128, 128)
        self.embed = LinearNorm(256, 512)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each point before pooling, (B, N, 512)."""
        z1 = self.block1(points, self._neighbors(points[..., :3]))  # (B, N, 64)
        x2 = torch.cat([points, z1], dim=-1)
        z2 = self.block2(x2, self._neighbors(x2))  # (B, N, 64)
        x3 = torch.cat([points, z1, z2], dim=-1)
        z3 = self.fuse3(self.edges3(x3, self._neighbors(x3)))  # (B, N, 128)
        return self.embed(torch.cat([z1, z2, z3], dim=-1))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return maximum and mean over the points, (B, 1024)."""
        return max_and_mean(self.forward_features(points))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512, 256), n_classes, dropout=(self.dropout, self.dropout)
        )
        self.head = head.to(self.embed.linear.weight).train(self.training)

    def _neighbors(self, features: Tensor) -> Tensor:
        return knn(features, features, min(self.n_neighbors, features.shape[1]))


@register_model
def gdanet(
    *, n_channels: int = 3, n_classes: int = 40, n_neighbors: int = 30, dropout: float = 0.4
) -> GDANet:
    """GDANet as published for 1024 points, 0.94 million parameters."""
    return GDANet(
        n_channels=n_channels, n_classes=n_classes, n_neighbors=n_neighbors, dropout=dropout
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> GDANet:
    for name, value in (("tau", _REACH), ("sigma", _SIGMA)):
        sizes.check(name, value)
    return GDANet(
        n_channels=state.shape("conv1.0.weight", 4)[1] // 2,
        n_classes=sizes.check("num_classes", state.shape("linear3.weight", 2)[0]),
        n_neighbors=sizes.get("k_local", 30),
        n_members=sizes.get("M", 256),
        n_smooth=sizes.get("k_gdm", 64),
        dropout=sizes.get("dropout", 0.4),
    )


# mutianxu/GDANet, model/GDANet_cls.py
register_official(
    OfficialFormat(
        system="gdanet",
        build=_build,
        renames=(
            (r"^block(\d)\.(?:(s)harp|(g)entle)\.", r"SGCAM_\1\2\3."),
            (r"\.query\.", ".theta."),
            (r"\.key\.", ".phi."),
            (r"\.value\.", ".g."),
            (r"\.out\.linear\.", ".W.0."),
            (r"\.out\.norm\.", ".W.1."),
            (r"^(?:block)?(?:edges)?(\d)\.(?:edges\.)?first\.", r"conv\1."),
            (r"^(?:block)?(?:edges)?(\d)\.(?:edges\.)?second\.", r"conv\g<1>1."),
            (r"^(?:block(\d)\.fuse|fuse(\d))\.", r"conv\1\g<2>2."),
            (r"^embed\.", "conv4."),
            (r"^head\.layers\.0\.linear", "linear1"),
            (r"^head\.layers\.1\.linear", "linear2"),
            (r"^head\.layers\.0\.norm", "bn6"),
            (r"^head\.layers\.1\.norm", "bn7"),
            (r"^head\.out", "linear3"),
            (r"^(conv\d+)\.linear\.", r"\1.0."),
            (r"^(conv\d+)\.norm\.", r"\1.1."),
        ),
        layouts=(
            (r"^conv(4|\d2)\.0\.weight$", unit_axes(1)),
            (r"^conv\d+\.0\.weight$", unit_axes(2)),
            (r"^SGCAM_.*\.(g|theta|phi|W\.0)\.weight$", unit_axes(1)),
        ),
        aliases=((r"^conv(\d+)\.1\.", r"bn\1."),),
    )
)
