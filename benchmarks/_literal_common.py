"""What the literal networks share: neighbors, sampling and layers as the originals have them.

The literal forms of the network benchmark are written as the original systems compute:
channels first, 1x1 convolutions, every edge and every point of every group written out before
the first of them, full matrices of distances by products, loops of Python where there is no
compiled extension. Parameters have the official names, so that ``to_official(ours)`` loads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_KINDS = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))


def conv(n_in: int, n_out: int, n_axes: int = 1, *, bias: bool = False) -> nn.Module:
    """A pointwise convolution over one axis of places or two."""
    return _KINDS[n_axes - 1][0](n_in, n_out, 1, bias=bias)


def conv_norm(n_in: int, n_out: int, n_axes: int = 1, *, bias: bool = False) -> nn.Sequential:
    return nn.Sequential(conv(n_in, n_out, n_axes, bias=bias), _KINDS[n_axes - 1][1](n_out))


def square_distance(a: Tensor, b: Tensor) -> Tensor:
    """(B, M, C), (B, N, C) to (B, M, N), by |a|^2 - 2 a.b + |b|^2."""
    inner = -2 * torch.matmul(a, b.transpose(1, 2))
    inner = inner + (a**2).sum(-1, keepdim=True)
    return inner + (b**2).sum(-1).unsqueeze(1)


def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """Indices of the k nearest points of each query, (B, M, k), nearest first."""
    k = min(k, points.shape[1])
    return square_distance(queries, points).topk(k, dim=-1, largest=False).indices


def ball(centers: Tensor, points: Tensor, radius: float, k: int) -> Tensor:
    """The first k indices inside each ball, (B, M, k), by sorting a matrix of indices."""
    n_points = points.shape[1]
    index = torch.arange(n_points).expand(*centers.shape[:2], n_points).clone()
    index[square_distance(centers, points) >= radius**2] = n_points
    index = index.sort(dim=-1).values[..., : min(k, n_points)]
    first = index[..., :1].expand_as(index)
    return torch.where(index == n_points, first, index)


def farthest(points: Tensor, n_samples: int) -> Tensor:
    """Indices of farthest points, (B, n_samples), by a loop that begins with point 0."""
    rows = torch.arange(len(points))
    current = torch.zeros_like(rows)
    distance = points.new_full(points.shape[:2], 1e10)
    picked = []
    for _ in range(min(n_samples, points.shape[1])):
        picked.append(current)
        step = ((points - points[rows, current].unsqueeze(1)) ** 2).sum(-1)
        distance = torch.minimum(distance, step)
        current = distance.argmax(1)
    return torch.stack(picked, dim=1)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (B, N, C) at (B, ...) places: (B, ..., C)."""
    cloud = torch.arange(len(rows)).view(-1, *[1] * (index.ndim - 1))
    return rows[cloud, index]


def look_up(maps: Tensor, index: Tensor) -> Tensor:
    """Maps (B, C, N) at places (B, M, k): (B, C, M, k), in memory of its own."""
    found = take(maps.transpose(1, 2).contiguous(), index)
    return found.permute(0, 3, 1, 2).contiguous()


class Head(nn.Module):
    """Linear layers ``fc1`` to ``fc3`` with ``bn1`` and ``bn2``; to be inherited."""

    def add_head(self, width: int, n_classes: int, dropout: tuple[float, float]) -> None:
        self.fc1, self.bn1 = nn.Linear(width, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, n_classes)
        self.drop1, self.drop2 = (nn.Dropout(share) for share in dropout)

    def classify(self, x: Tensor) -> Tensor:
        x = self.drop1(F.relu(self.bn1(self.fc1(x))))
        x = self.drop2(F.relu(self.bn2(self.fc2(x))))
        return self.fc3(x)


class EdgeHead(nn.Module):
    """Layers ``linear1`` to ``linear3`` with ``bn6`` and ``bn7``; to be inherited."""

    def add_head(
        self, width: int, n_classes: int, *, dropout: float, slope: float, bias: bool
    ) -> None:
        self.slope = slope
        self.linear1, self.bn6 = nn.Linear(width, 512, bias=bias), nn.BatchNorm1d(512)
        self.linear2, self.bn7 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, n_classes)
        self.dp1, self.dp2 = nn.Dropout(dropout), nn.Dropout(dropout)

    def classify(self, x: Tensor) -> Tensor:
        x = self.dp1(F.leaky_relu(self.bn6(self.linear1(x)), self.slope))
        x = self.dp2(F.leaky_relu(self.bn7(self.linear2(x)), self.slope))
        return self.linear3(x)
