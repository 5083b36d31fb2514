"""Literal CurveNet; see `_literal_common`."""

import torch
import torch.nn.functional as F
from _literal_common import ball, conv, conv_norm, farthest, look_up, nearest, take
from torch import Tensor, nn

_SLOPE = 0.2


class LocalAggregation(nn.Module):
    """Edges of nine numbers [x_i, x_j, x_j - x_i], found anew by every layer."""

    def __init__(self, width: int, k: int, *, initial: bool = False):
        super().__init__()
        self.k = k
        self.xyz2feature = None if initial else conv_norm(9, width, 2)
        layer = (*conv_norm(9 if initial else width, width, 2), nn.LeakyReLU(_SLOPE))
        self.mlp = nn.Sequential(nn.Sequential(*layer))

    def forward(self, x: Tensor, xyz: Tensor) -> Tensor:
        rows = xyz.transpose(1, 2)
        index = nearest(rows, rows, self.k + 1)[..., : self.k]
        near = look_up(xyz, index)
        own = xyz.unsqueeze(3).expand_as(near)
        edges = torch.cat([own, near, near - own], dim=1)
        if self.xyz2feature is None:
            return self.mlp(edges).max(dim=3).values
        moved = look_up(x, index) - x.unsqueeze(3) + self.xyz2feature(edges)
        return self.mlp(F.leaky_relu(moved, _SLOPE)).mean(dim=3)


class CurveGrouping(nn.Module):
    def __init__(self, width: int, n_curves: int, n_steps: int):
        super().__init__()
        self.n_curves, self.n_steps = n_curves, n_steps
        self.att = conv(width, 1)
        self.walk = nn.Module()
        self.walk.agent_mlp = conv_norm(2 * width, 1, 2)
        self.walk.momentum_mlp = conv_norm(2 * width, 2)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        score = self.att(x).sigmoid()
        x = x * score
        place = score[:, 0].topk(self.n_curves, sorted=True).indices  # (B, R)
        state = current = look_up(x, place.unsqueeze(2)).squeeze(3)  # (B, C, R)
        curves = []
        for step in range(self.n_steps):
            if step:
                weight = self.walk.momentum_mlp(torch.cat([current, state], dim=1)).softmax(1)
                # The layout of the original: the same memory read as (B, R, 2).
                weight = weight.contiguous().view(len(x), 1, -1, 2)
                state = weight[..., 0] * current + weight[..., 1] * state
            candidates = index.gather(1, place.unsqueeze(2).expand(-1, -1, index.shape[2]))
            near = look_up(x, candidates)  # (B, C, R, k)
            both = torch.cat([near, state.unsqueeze(3).expand_as(near)], dim=1)
            rating = self.walk.agent_mlp(both).squeeze(1)
            if step:
                last = (current - state).unsqueeze(3)
                angle = F.cosine_similarity(last, near - current.unsqueeze(3), dim=1)
                rating = rating * (1 + angle).clamp(0, 1).detach()
            soft = rating.softmax(2)
            hard = F.one_hot(soft.argmax(2), soft.shape[2])
            current = ((hard - soft.detach() + soft).unsqueeze(1) * near).sum(3)
            place = (hard * candidates).sum(2)
            curves.append(current)
        return torch.stack(curves, dim=3)  # (B, C, R, L)


class CurveAggregation(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        for name in "abc":
            self.add_module(f"conv{name}", conv(width, width // 2))
        for name in "nl":
            self.add_module(f"conv{name}", conv(width // 2, width // 2))
        self.convd = conv_norm(width, width)
        self.line_conv_att = conv(width, 1, 2)

    def forward(self, x: Tensor, curves: Tensor) -> Tensor:
        weight = self.line_conv_att(curves)
        inter = self.conva((curves * weight.softmax(3)).sum(3))
        intra = self.convb((curves * weight.softmax(2)).sum(2))
        query = self.convc(x).transpose(1, 2).contiguous()
        inter_read = torch.bmm(query, inter).softmax(2) @ self.convn(inter).transpose(1, 2)
        intra_read = torch.bmm(query, intra).softmax(2) @ self.convl(intra).transpose(1, 2)
        read = torch.cat([inter_read, intra_read], dim=-1).transpose(1, 2).contiguous()
        return F.leaky_relu(x + self.convd(read), _SLOPE)


class CurveBlock(nn.Module):
    def __init__(self, n_points, radius, k, n_in, n_out, ratio, curved):
        super().__init__()
        self.n_points, self.radius, self.k = n_points, radius, k
        width = n_in // ratio
        self.conv1 = nn.Sequential(*conv_norm(n_in, width), nn.LeakyReLU(_SLOPE, inplace=True))
        self.conv2 = conv_norm(width, n_out)
        self.shortcut = None if n_in == n_out else conv_norm(n_in, n_out)
        self.curvegrouping = self.curveaggregation = None
        if curved:
            self.curvegrouping = CurveGrouping(width, 100, 5)
            self.curveaggregation = CurveAggregation(width)
        self.lpfa = LocalAggregation(width, k)

    def forward(self, xyz: Tensor, x: Tensor):
        if xyz.shape[2] > self.n_points:
            rows = xyz.transpose(1, 2).contiguous()
            centers = take(rows, farthest(rows, self.n_points))
            x = look_up(x, ball(centers, rows, self.radius, self.k)).max(dim=3).values
            xyz = centers.transpose(1, 2)
        past, x = x, self.conv1(x)
        if self.curvegrouping is not None:
            rows = xyz.transpose(1, 2)
            index = nearest(rows, rows, self.k + 1)[..., 1:]
            x = self.curveaggregation(x, self.curvegrouping(x, index))
        x = self.conv2(self.lpfa(x, xyz))
        past = past if self.shortcut is None else self.shortcut(past)
        return xyz, F.leaky_relu(x + past, _SLOPE)


class LiteralCurveNet(nn.Module):
    def __init__(self, n_classes: int = 40, *, k: int = 20):
        super().__init__()
        self.lpfa = LocalAggregation(32, k, initial=True)
        n_in = 32
        for level, (n_points, radius, n_out) in enumerate(
            [(1024, 0.05, 64), (1024, 0.05, 128), (256, 0.1, 256), (64, 0.2, 512)], start=1
        ):
            for place, n_before, ratio in ((1, n_in, 2), (2, n_out, 4)):
                block = CurveBlock(n_points, radius, k, n_before, n_out, ratio, level < 3)
                self.add_module(f"cic{level}{place}", block)
            n_in = n_out
        self.conv0 = nn.Sequential(*conv_norm(512, 1024), nn.ReLU(inplace=True))
        self.conv1, self.bn1 = nn.Linear(2048, 512, bias=False), nn.BatchNorm1d(512)
        self.dp1 = nn.Dropout(0.5)
        self.conv2 = nn.Linear(512, n_classes)

    def forward(self, points: Tensor) -> Tensor:
        xyz = points.transpose(1, 2).contiguous()
        x = self.lpfa(xyz, xyz)
        for level in range(1, 5):
            for place in (1, 2):
                xyz, x = self.get_submodule(f"cic{level}{place}")(xyz, x)
        x = self.conv0(x)
        x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
        return self.conv2(self.dp1(F.relu(self.bn1(self.conv1(x)))))
