"""Literal PointNet, PointNet++, PCN and PointNeXt; see `_literal_common`."""

import torch
import torch.nn.functional as F
from _literal_common import Head, ball, conv, conv_norm, farthest, look_up, take
from torch import Tensor, nn


class TransformNet(nn.Module):
    def __init__(self, n_in: int, size: int):
        super().__init__()
        self.size = size
        self.conv1, self.bn1 = conv(n_in, 64, bias=True), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = conv(64, 128, bias=True), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = conv(128, 1024, bias=True), nn.BatchNorm1d(1024)
        self.fc1, self.bn4 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn5 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, size * size)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x)))
        x = x.max(2).values
        x = F.relu(self.bn4(self.fc1(x)))
        x = self.fc3(F.relu(self.bn5(self.fc2(x))))
        return x.view(-1, self.size, self.size) + torch.eye(self.size, dtype=x.dtype)


class PointNetFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.stn = TransformNet(3, 3)
        self.conv1, self.bn1 = conv(3, 64, bias=True), nn.BatchNorm1d(64)
        self.fstn = TransformNet(64, 64)
        self.conv2, self.bn2 = conv(64, 128, bias=True), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = conv(128, 1024, bias=True), nn.BatchNorm1d(1024)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.bmm(x.transpose(2, 1), self.stn(x)).transpose(2, 1)
        x = F.relu(self.bn1(self.conv1(x)))
        x = torch.bmm(x.transpose(2, 1), self.fstn(x)).transpose(2, 1)
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x)).max(2).values


class LiteralPointNet(nn.Module):
    def __init__(self, n_classes: int = 40):
        super().__init__()
        self.feat = PointNetFeatures()
        self.fc1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.dropout = nn.Dropout(0.4)
        self.fc3 = nn.Linear(256, n_classes)

    def forward(self, points: Tensor) -> Tensor:
        x = self.feat(points.transpose(2, 1))
        x = F.relu(self.bn1(self.fc1(x)))
        return self.fc3(F.relu(self.bn2(self.dropout(self.fc2(x)))))


class LiteralPointNetBasic(nn.Module):
    def __init__(self, n_classes: int = 40):
        super().__init__()
        widths = (3, 64, 64, 64, 128, 1024)
        for i, (n_in, n_out) in enumerate(zip(widths[:-1], widths[1:], strict=True), start=1):
            self.add_module(f"conv{i}", conv(n_in, n_out))
            self.add_module(f"bn{i}", nn.BatchNorm1d(n_out))
        self.linear1, self.bn6 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512)
        self.dp1 = nn.Dropout(0.5)
        self.linear2 = nn.Linear(512, n_classes)

    def forward(self, points: Tensor) -> Tensor:
        x = points.transpose(2, 1)
        for i in range(1, 6):
            x = F.relu(self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x)))
        x = F.adaptive_max_pool1d(x, 1).squeeze(2)
        return self.linear2(self.dp1(F.relu(self.bn6(self.linear1(x)))))


class Abstraction(nn.Module):
    """Balls of one radius; the whole cloud as one ball where `n_samples` is None."""

    def __init__(self, n_samples, radius, k, n_in: int, widths):
        super().__init__()
        self.n_samples, self.radius, self.k = n_samples, radius, k
        widths = (3 + n_in, *widths)
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.mlp_convs = nn.ModuleList(conv(*pair, 2, bias=True) for pair in pairs)
        self.mlp_bns = nn.ModuleList(nn.BatchNorm2d(n_out) for _, n_out in pairs)

    def forward(self, xyz: Tensor, features):  # (B, N, 3), (B, N, C)
        if self.n_samples is None:
            centers, grouped = None, torch.cat([xyz, features], dim=-1).unsqueeze(1)
        else:
            centers = take(xyz, farthest(xyz, self.n_samples))
            index = ball(centers, xyz, self.radius, self.k)
            grouped = take(xyz, index) - centers.unsqueeze(2)
            if features is not None:
                grouped = torch.cat([grouped, take(features, index)], dim=-1)
        x = grouped.permute(0, 3, 2, 1)  # (B, C, K, M)
        for layer, norm in zip(self.mlp_convs, self.mlp_bns, strict=True):
            x = F.relu(norm(layer(x)))
        return centers, x.max(2).values.permute(0, 2, 1)


class MultiAbstraction(nn.Module):
    def __init__(self, n_samples: int, radii, numbers, n_in: int, widths):
        super().__init__()
        self.n_samples, self.radii, self.numbers = n_samples, radii, numbers
        self.conv_blocks, self.bn_blocks = nn.ModuleList(), nn.ModuleList()
        for each in widths:
            pairs = list(zip((n_in + 3, *each[:-1]), each, strict=True))
            self.conv_blocks.append(nn.ModuleList(conv(*pair, 2, bias=True) for pair in pairs))
            self.bn_blocks.append(nn.ModuleList(nn.BatchNorm2d(n_out) for _, n_out in pairs))

    def forward(self, xyz: Tensor, features):
        centers = take(xyz, farthest(xyz, self.n_samples))
        found = []
        for i, (radius, k) in enumerate(zip(self.radii, self.numbers, strict=True)):
            index = ball(centers, xyz, radius, k)
            x = take(xyz, index) - centers.unsqueeze(2)
            if features is not None:
                x = torch.cat([take(features, index), x], dim=-1)
            x = x.permute(0, 3, 2, 1)
            for layer, norm in zip(self.conv_blocks[i], self.bn_blocks[i], strict=True):
                x = F.relu(norm(layer(x)))
            found.append(x.max(2).values)
        return centers, torch.cat(found, dim=1).permute(0, 2, 1)


class LiteralPointNet2(Head):
    def __init__(self, n_classes: int = 40, *, several: bool = False):
        super().__init__()
        if several:
            first = ((32, 32, 64), (64, 64, 128), (64, 96, 128))
            second = ((64, 64, 128), (128, 128, 256), (128, 128, 256))
            self.sa1 = MultiAbstraction(512, (0.1, 0.2, 0.4), (16, 32, 128), 0, first)
            self.sa2 = MultiAbstraction(128, (0.2, 0.4, 0.8), (32, 64, 128), 320, second)
        else:
            self.sa1 = Abstraction(512, 0.2, 32, 0, (64, 64, 128))
            self.sa2 = Abstraction(128, 0.4, 64, 128, (128, 128, 256))
        self.sa3 = Abstraction(None, None, None, 640 if several else 256, (256, 512, 1024))
        self.add_head(1024, n_classes, (0.4, 0.5 if several else 0.4))

    def forward(self, points: Tensor) -> Tensor:
        xyz, x = self.sa1(points, None)
        xyz, x = self.sa2(xyz, x)
        return self.classify(self.sa3(xyz, x)[1].squeeze(1))


class PCNFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(3, 128, bias=True), conv(128, 256, bias=True)
        self.conv3, self.conv4 = conv(512, 512, bias=True), conv(512, 1024, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(F.relu(self.conv1(x)))
        whole = x.max(2, keepdim=True).values.repeat(1, 1, x.shape[2])
        x = self.conv4(F.relu(self.conv3(torch.cat([x, whole], dim=1))))
        return x.max(2).values


class LiteralPCN(Head):
    def __init__(self, n_classes: int = 40):
        super().__init__()
        self.feat = PCNFeatures()
        self.add_head(1024, n_classes, (0.3, 0.3))

    def forward(self, points: Tensor) -> Tensor:
        return self.classify(self.feat(points.transpose(2, 1)))


class ResidualAbstraction(nn.Module):
    """Balls of places divided by the radius, two layers, maximum, shortcut of the middle."""

    def __init__(self, n_in: int, radius: float, k: int = 32):
        super().__init__()
        self.radius, self.k = radius, k
        self.convs = nn.ModuleList([conv_norm(3 + n_in, n_in, 2), conv_norm(n_in, 2 * n_in, 2)])
        self.skipconv = nn.Sequential(conv(n_in, 2 * n_in, bias=True))

    def forward(self, xyz: Tensor, x: Tensor):  # (B, N, 3), (B, C, N)
        picked = farthest(xyz, xyz.shape[1] // 2)
        centers = take(xyz, picked)
        own = x.gather(2, picked.unsqueeze(1).expand(-1, x.shape[1], -1))
        index = ball(centers, xyz, self.radius, self.k)
        step = (take(xyz, index) - centers.unsqueeze(2)) / self.radius
        grouped = torch.cat([step.permute(0, 3, 1, 2), look_up(x, index)], dim=1)
        found = self.convs[1](F.relu(self.convs[0](grouped), inplace=True)).max(3).values
        return centers, F.relu(found + self.skipconv(own))


class WholeAbstraction(nn.Module):
    def __init__(self, n_in: int):
        super().__init__()
        self.convs = nn.ModuleList([conv_norm(3 + n_in, n_in, 2), conv_norm(n_in, n_in, 2)])

    def forward(self, xyz: Tensor, x: Tensor) -> Tensor:
        x = torch.cat([xyz.transpose(1, 2), x], dim=1).unsqueeze(2)
        for layer in self.convs:
            x = F.relu(layer(x), inplace=True)
        return x.flatten(2).max(2).values


class LiteralPointNeXt(nn.Module):
    def __init__(self, n_classes: int = 40, *, width: int = 32):
        super().__init__()
        stem = nn.Module()
        stem.convs = nn.Sequential(nn.Sequential(conv(3, width, bias=True)))
        levels = [ResidualAbstraction(width * 2**i, 0.15 * 1.5**i) for i in range(4)]
        blocks = [stem, *levels, WholeAbstraction(16 * width)]
        self.encoder = nn.Module()
        self.encoder.encoder = nn.ModuleList(nn.ModuleList([block]) for block in blocks)
        self.prediction = nn.Module()
        self.prediction.head = nn.Sequential(
            _hidden(16 * width, 512), nn.Dropout(0.5),
            _hidden(512, 256), nn.Dropout(0.5),
            nn.Sequential(nn.Linear(256, n_classes)),
        )  # fmt: skip

    def forward(self, points: Tensor) -> Tensor:
        (stem,), *levels, (last,) = self.encoder.encoder
        xyz, x = points, stem.convs(points.transpose(1, 2).contiguous())
        for (level,) in levels:
            xyz, x = level(xyz, x)
        return self.prediction.head(last(xyz, x))


def _hidden(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU())
