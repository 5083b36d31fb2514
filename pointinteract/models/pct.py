"""PCT (Guo et al., Computational Visual Media 2021): attention between places of a cloud.

Two neighbor embeddings thin the cloud to 256 places and tell each about the points around it.
Four layers of *offset attention* follow: every place reads all others, and what is passed on is
the difference between the place and what it read, as a graph Laplacian takes differences. All
four results and the embedding are mapped together and pooled by the maximum.

This is the layout of the network whose weights are published, not the one of the paper's text:
the softmax runs over the places read from, then the shares are normalized over the readers, and
the neighbor embedding joins the four attention layers before the last map.
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
from pointinteract.nn.mlp import BatchNorm, LinearNorm, rectify_
from pointinteract.nn.pooling import LinearNormMax, chunk_size, split_together
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn
from pointinteract.ops.sampling import farthest_point_sample

__all__ = ["PCT", "NeighborEmbedding", "OffsetAttention"]

_SLOPE = 0.2
_N_ATTENTIONS = 4


class NeighborEmbedding(nn.Module):
    """Two layers on the edges [f_j - f_i, f_i] from places to neighbors, and the maximum.

    Parameters
    ----------
    n_in, n_out : int
        Channels of a point before and of a place after.

    Notes
    -----
    The first layer is linear in the edge, W [f_j - f_i, f_i] = W1 f_j + (W2 - W1) f_i, so it
    takes one product for each point and one for each place instead of one for each edge.
    """

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.n_in = n_in
        self.linear = nn.Linear(2 * n_in, n_out, bias=False)
        self.norm = BatchNorm(n_out)
        self.last = LinearNormMax(n_out, n_out, bias=False)

    def forward(self, features: Tensor, places: Tensor, neighbors: Tensor) -> Tensor:
        """Describe some places of a cloud by the points around them.

        Parameters
        ----------
        features : Tensor of shape (B, N, n_in)
        places : Tensor of shape (B, M, n_in)
            Features of the points that the places are.
        neighbors : int64 Tensor of shape (B, M, K)

        Returns
        -------
        described : Tensor of shape (B, M, n_out)
        """
        if self.norm.training:
            edges = self._edges(features, places, neighbors, self.linear.weight, None)
            edges = self.norm.rectified(edges, 0.0)
            return self.last(edges.flatten(0, 1)).view(*places.shape[:2], -1)
        scale, shift = self.norm.scale_and_shift()
        weight = self.linear.weight * scale.unsqueeze(1)
        if torch.is_grad_enabled():
            n_each = places.shape[0]
        else:  # edges are many: so few clouds at a time that they stay near
            n_each = chunk_size(features, neighbors[0].numel() * len(weight))
        found = []
        for rows, own, near in split_together(n_each, features, places, neighbors):
            edges = rectify_(self._edges(rows, own, near, weight, shift), 0.0)
            found.append(self.last(edges.flatten(0, 1)))
        return torch.cat(found).view(*places.shape[:2], -1)

    def _edges(
        self,
        features: Tensor,
        places: Tensor,
        neighbors: Tensor,
        weight: Tensor,
        bias: Tensor | None,
    ) -> Tensor:
        """What the first layer says of each edge, (B, M, K, n_out)."""
        to_offset, to_place = weight.split(self.n_in, dim=1)
        of_neighbor = F.linear(features, to_offset)
        of_place = F.linear(places, to_place - to_offset, bias)
        return gather(of_neighbor, neighbors) + of_place.unsqueeze(2)


class OffsetAttention(nn.Module):
    """Places read each other and pass on how they differ from what they read.

    With one map for queries and keys, E = q q^T without scaling, A = softmax of each row of E,

        r_j = sum_i A_ij v_i / (1e-9 + sum_i A_ij),    x + ReLU(BN(W (x - r))).

    Parameters
    ----------
    width : int
        Channels of a place; queries have a quarter of them.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query_key = nn.Linear(width, width // 4, bias=False)
        self.value = nn.Linear(width, width)
        self.update = LinearNorm(width, width)

    def forward(self, places: Tensor) -> Tensor:
        """Map (B, M, width) to (B, M, width)."""
        query = self.query_key(places)
        shares = (query @ query.mT).softmax(-1)  # (B, M, M); those who are read from in rows
        total = shares.sum(1).unsqueeze(-1)  # (B, M, 1)
        # The sums divide what was read, M times fewer numbers than the shares are.
        read = (shares.mT @ self.value(places)) / (1e-9 + total)
        return places + self.update(places - read)


class PCT(nn.Module):
    """Point cloud transformer for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Places and neighbors are those of the coordinates, the first three.
    n_classes : int, default=40
    n_samples : (int, int), default=(512, 256)
        Places after the first and after the second embedding, by farthest point sampling.
        Attention costs the square of the second. Clouds of fewer points keep all they have.
    n_neighbors : int, default=32
        Points that describe a place, its own included. Smaller clouds use all they have.
    dropout : float, default=0.5
        Share of both hidden layers of the head that is dropped in training.

    References
    ----------
    Guo, Cai, Liu, Mu, Martin, Hu, "PCT: Point Cloud Transformer", Computational Visual Media
    2021, arXiv 2012.09688.
    """

    official_system = "pct"
    permutation_invariant = False  # the first point is always a place
    num_features = 1024

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_samples: tuple[int, int] = (512, 256),
        n_neighbors: int = 32,
        dropout: float = 0.5,
    ):
        super().__init__()
        n_first, n_second = n_samples
        if not 1 <= n_second <= n_first:
            raise ValueError(
                "n_samples must be two numbers of which the second is at least 1 and not "
                f"larger than the first, got {tuple(n_samples)}."
            )
        if n_neighbors < 1:
            raise ValueError(f"n_neighbors must be at least 1, got {n_neighbors}.")
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_samples": (n_first, n_second),
            "n_neighbors": n_neighbors,
            "dropout": dropout,
        }
        self.n_samples = (n_first, n_second)
        self.n_neighbors = n_neighbors
        self.dropout = dropout
        self.layer1 = LinearNorm(n_channels, 64, bias=False)
        self.layer2 = LinearNorm(64, 64, bias=False)
        self.embed1 = NeighborEmbedding(64, 128)
        self.embed2 = NeighborEmbedding(128, 256)
        self.layer3 = LinearNorm(256, 256, bias=False)
        self.layer4 = LinearNorm(256, 256, bias=False)
        self.attentions = nn.ModuleList(OffsetAttention(256) for _ in range(_N_ATTENTIONS))
        self.fuse = LinearNormMax(
            256 * (_N_ATTENTIONS + 1), self.num_features, bias=False, negative_slope=_SLOPE
        )
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each place, (B, 256, 1024), of which the maximum is taken."""
        return self.fuse.forward_points(self._attend(self._embed(points)))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the places, (B, 1024)."""
        return self.fuse(self._attend(self._embed(points)))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features,
            (512, 256),
            n_classes,
            bias=(False, True),
            negative_slope=_SLOPE,
            dropout=(self.dropout, self.dropout),
        )
        self.head = head.to(self.fuse.linear.weight).train(self.training)

    def _embed(self, points: Tensor) -> Tensor:
        """Thin the cloud twice, (B, N, n_channels) to (B, 256, 256)."""
        n_first = min(self.n_samples[0], points.shape[1])
        n_second = min(self.n_samples[1], n_first)
        xyz = points[..., :3]
        picked = farthest_point_sample(xyz, n_first)
        first = gather(xyz, picked)
        # Farthest points of points in the order of sampling are the first of them.
        second = first[:, :n_second]
        rows = self.layer2(self.layer1(points))
        rows = self.embed1(rows, gather(rows, picked), self._neighbors(first, xyz))
        return self.embed2(rows, rows[:, :n_second], self._neighbors(second, first))

    def _neighbors(self, places: Tensor, points: Tensor) -> Tensor:
        return knn(places, points, min(self.n_neighbors, points.shape[1]))

    def _attend(self, embedded: Tensor) -> Tensor:
        """Join four layers of attention and what they started from, (B, M, 1280)."""
        places = self.layer4(self.layer3(embedded))
        found = []
        for attention in self.attentions:
            places = attention(places)
            found.append(places)
        return torch.cat([*found, embedded], dim=-1)


@register_model
def pct(*, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.5) -> PCT:
    """PCT as published for 1024 points, 2.9 million parameters."""
    return PCT(n_channels=n_channels, n_classes=n_classes, dropout=dropout)


def _build(state: OfficialState, sizes: OfficialSizes) -> PCT:
    return PCT(
        n_channels=state.shape("conv1.weight", 3)[1],
        n_classes=sizes.check("output_channels", state.shape("linear3.weight", 2)[0]),
        dropout=sizes.get("dropout", 0.5),
    )


# Strawberry-Eat-Mango/PCT_Pytorch, model.py
register_official(
    OfficialFormat(
        system="pct",
        build=_build,
        renames=(
            (r"^layer([12])\.linear\.", r"conv\1."),
            (r"^layer([12])\.norm\.", r"bn\1."),
            (r"^layer3\.linear\.", "pt_last.conv1."),
            (r"^layer3\.norm\.", "pt_last.bn1."),
            (r"^layer4\.linear\.", "pt_last.conv2."),
            (r"^layer4\.norm\.", "pt_last.bn2."),
            (r"^embed1\.", "gather_local_0."),
            (r"^embed2\.", "gather_local_1."),
            (r"^(gather_local_.)\.linear\.", r"\1.conv1."),
            (r"^(gather_local_.)\.norm\.", r"\1.bn1."),
            (r"^(gather_local_.)\.last\.linear\.", r"\1.conv2."),
            (r"^(gather_local_.)\.last\.norm\.", r"\1.bn2."),
            *((rf"^attentions\.{i}\.", f"pt_last.sa{i + 1}.") for i in range(_N_ATTENTIONS)),
            (r"\.query_key\.", ".q_conv."),
            (r"\.value\.", ".v_conv."),
            (r"\.update\.linear\.", ".trans_conv."),
            (r"\.update\.norm\.", ".after_norm."),
            (r"^fuse\.linear\.", "conv_fuse.0."),
            (r"^fuse\.norm\.", "conv_fuse.1."),
            (r"^head\.layers\.0\.linear\.", "linear1."),
            (r"^head\.layers\.1\.linear\.", "linear2."),
            (r"^head\.layers\.0\.norm\.", "bn6."),
            (r"^head\.layers\.1\.norm\.", "bn7."),
            (r"^head\.out\.", "linear3."),
        ),
        layouts=(
            (r"(^|\.)conv\d\.weight$", unit_axes(1)),
            (r"_conv\.weight$", unit_axes(1)),
            (r"^conv_fuse\.0\.weight$", unit_axes(1)),
        ),
        aliases=((r"\.q_conv\.", ".k_conv."),),
    )
)
