"""Literal DGCNN, GDANet and PCT; see `_literal_common`."""

import torch
import torch.nn.functional as F
from _literal_common import (
    EdgeHead,
    conv,
    conv_norm,
    farthest,
    look_up,
    nearest,
    square_distance,
    take,
)
from torch import Tensor, nn


class LiteralDGCNN(EdgeHead):
    """All edges [x_j - x_i, x_i] as (B, 2C, N, k) before each convolution."""

    def __init__(self, n_classes: int = 40, *, k: int = 20):
        super().__init__()
        self.k = k
        widths = ((6, 64), (128, 64), (128, 128), (256, 256))
        for i, pair in enumerate(widths, start=1):
            layer = nn.Sequential(*conv_norm(*pair, 2), nn.LeakyReLU(0.2))
            self.add_module(f"conv{i}", layer)
            self.add_module(f"bn{i}", layer[1])
        self.conv5 = nn.Sequential(*conv_norm(512, 1024), nn.LeakyReLU(0.2))
        self.bn5 = self.conv5[1]
        self.add_head(2048, n_classes, dropout=0.5, slope=0.2, bias=False)

    def edges(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2)
        near = look_up(x, nearest(rows, rows, self.k))
        own = x.unsqueeze(3).expand_as(near)
        return torch.cat([near - own, own], dim=1)

    def forward(self, points: Tensor) -> Tensor:
        x, found = points.transpose(2, 1), []
        for i in range(1, 5):
            x = self.get_submodule(f"conv{i}")(self.edges(x)).max(dim=-1).values
            found.append(x)
        x = self.conv5(torch.cat(found, dim=1))
        maximum = F.adaptive_max_pool1d(x, 1).squeeze(2)
        mean = F.adaptive_avg_pool1d(x, 1).squeeze(2)
        return self.classify(torch.cat([maximum, mean], dim=1))


class SetAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.g, self.theta, self.phi = (conv(width, width // 2, bias=True) for _ in range(3))
        self.W = conv_norm(width // 2, width, bias=True)

    def forward(self, x: Tensor, members: Tensor) -> Tensor:
        weights = torch.matmul(self.theta(x).transpose(1, 2), self.phi(members))
        read = torch.matmul(weights / members.shape[2], self.g(members).transpose(1, 2))
        return x + self.W(read.transpose(1, 2).contiguous())


class LiteralGDANet(EdgeHead):
    """Edges [f_j - f_i, f_j], two layers on each; graphs and attention as N x N matrices."""

    def __init__(self, n_classes: int = 40):
        super().__init__()
        self.k, self.n_members, self.n_smooth = 30, 256, 64
        for number, n_in, n_out in ((1, 6, 64), (2, 134, 64), (3, 262, 128)):
            self.add(f"{number}", conv_norm(n_in, n_out, 2, bias=True))
            self.add(f"{number}1", conv_norm(n_out, n_out, 2, bias=True))
            self.add(f"{number}2", conv_norm(128, n_out, bias=True))
        self.add("4", conv_norm(256, 512, bias=True))
        for name in ("1s", "1g", "2s", "2g"):
            self.add_module(f"SGCAM_{name}", SetAttention(64))
        self.add_head(1024, n_classes, dropout=0.4, slope=0.0, bias=True)

    def add(self, name: str, layer: nn.Sequential) -> None:
        self.add_module(f"bn{name}", layer[1])
        self.add_module(f"conv{name}", layer)

    def layer(self, name: str, x: Tensor) -> Tensor:
        return F.relu(self.get_submodule(f"conv{name}")(x))

    def edges(self, x: Tensor) -> Tensor:
        rows = x.transpose(1, 2)
        near = look_up(x, nearest(rows, rows, self.k))
        return torch.cat([near - x.unsqueeze(3), near], dim=1)

    def variation(self, x: Tensor) -> Tensor:
        """Squared difference from the features smoothed over the normalized graph, (B, N)."""
        rows = x.transpose(1, 2)
        distance = square_distance(rows, rows).clamp_min(0.0)
        weight = torch.exp(-distance / 4) * (distance.sqrt() < 0.2)
        graph = torch.matmul(torch.diag_embed(1.0 / weight.sum(1)), weight)
        near = distance.topk(self.n_smooth, dim=-1, largest=False).indices[..., 1:]
        share = graph.gather(2, near)
        smooth = (take(rows, near) * share.unsqueeze(3)).sum(2)
        return ((rows - smooth) ** 2).sum(2)

    def block(self, number: int, x: Tensor) -> Tensor:
        x = self.layer(f"{number}1", self.layer(f"{number}", self.edges(x))).max(dim=3).values
        if number == 3:
            return self.layer("32", x)
        variation = self.variation(x.detach())
        read = []
        for name, largest in (("s", True), ("g", False)):
            chosen = variation.topk(self.n_members, largest=largest).indices
            members = x.gather(2, chosen.unsqueeze(1).expand(-1, x.shape[1], -1))
            read.append(self.get_submodule(f"SGCAM_{number}{name}")(x, members))
        return self.layer(f"{number}2", torch.cat(read, dim=1))

    def forward(self, points: Tensor) -> Tensor:
        x = points.transpose(2, 1)
        z1 = self.block(1, x)
        z2 = self.block(2, torch.cat([x, z1], dim=1))
        z3 = self.block(3, torch.cat([x, z1, z2], dim=1))
        x = self.layer("4", torch.cat([z1, z2, z3], dim=1))
        return self.classify(torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1))


class NeighborEmbedding(nn.Module):
    """Sample, find neighbors, join [f_j - f_i, f_i], two layers on each edge, maximum."""

    def __init__(self, width: int, n_samples: int):
        super().__init__()
        self.conv1, self.conv2 = conv(width, width), conv(width, width)
        self.bn1, self.bn2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.n_samples = n_samples

    def forward(self, xyz: Tensor, x: Tensor):  # (B, N, 3), (B, N, C)
        picked = farthest(xyz, self.n_samples)
        places, own = take(xyz, picked), take(x, picked)
        near = take(x, nearest(places, xyz, 32))
        own = own.unsqueeze(2).expand_as(near)
        rows = torch.cat([near - own, own], dim=-1)  # (B, M, K, 2C)
        rows = rows.permute(0, 1, 3, 2).reshape(-1, rows.shape[3], rows.shape[2])
        rows = F.relu(self.bn1(self.conv1(rows)))
        rows = F.relu(self.bn2(self.conv2(rows)))
        return places, F.adaptive_max_pool1d(rows, 1).view(*picked.shape, -1)


class OffsetAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.q_conv, self.k_conv = conv(width, width // 4), conv(width, width // 4)
        self.k_conv.weight = self.q_conv.weight
        self.v_conv, self.trans_conv = (conv(width, width, bias=True) for _ in range(2))
        self.after_norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.bmm(self.q_conv(x).permute(0, 2, 1), self.k_conv(x))
        shares = energy.softmax(dim=-1)
        shares = shares / (1e-9 + shares.sum(dim=1, keepdim=True))
        read = torch.bmm(self.v_conv(x), shares)
        return x + F.relu(self.after_norm(self.trans_conv(x - read)))


class AttentionStack(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(256, 256), conv(256, 256)
        self.bn1, self.bn2 = nn.BatchNorm1d(256), nn.BatchNorm1d(256)
        self.sa1, self.sa2, self.sa3, self.sa4 = (OffsetAttention(256) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        found = []
        for layer in (self.sa1, self.sa2, self.sa3, self.sa4):
            x = layer(x)
            found.append(x)
        return torch.cat(found, dim=1)


class LiteralPCT(EdgeHead):
    def __init__(self, n_classes: int = 40):
        super().__init__()
        self.conv1, self.conv2 = conv(3, 64), conv(64, 64)
        self.bn1, self.bn2 = nn.BatchNorm1d(64), nn.BatchNorm1d(64)
        self.gather_local_0 = NeighborEmbedding(128, 512)
        self.gather_local_1 = NeighborEmbedding(256, 256)
        self.pt_last = AttentionStack()
        self.conv_fuse = nn.Sequential(*conv_norm(1280, 1024), nn.LeakyReLU(0.2))
        self.add_head(1024, n_classes, dropout=0.5, slope=0.2, bias=False)

    def forward(self, points: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(points.transpose(2, 1))))
        x = F.relu(self.bn2(self.conv2(x))).transpose(1, 2)
        xyz, x = self.gather_local_0(points, x)
        xyz, x = self.gather_local_1(xyz, x)
        x = x.transpose(1, 2)
        x = self.conv_fuse(torch.cat([self.pt_last(x), x], dim=1))
        return self.classify(F.adaptive_max_pool1d(x, 1).squeeze(2))
