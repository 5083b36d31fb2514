"""Literal PointMLP, PointCNN and plain Transformer; see `_literal_common`."""

import torch
import torch.nn.functional as F
from _literal_common import conv, conv_norm, farthest, nearest, take
from torch import Tensor, nn


class Grouper(nn.Module):
    def __init__(self, n_in: int, n_samples: int):
        super().__init__()
        self.n_samples = n_samples
        self.affine_alpha = nn.Parameter(torch.ones(1, 1, 1, n_in))
        self.affine_beta = nn.Parameter(torch.zeros(1, 1, 1, n_in))

    def forward(self, xyz: Tensor, features: Tensor):  # (B, N, 3), (B, N, C)
        picked = farthest(xyz, self.n_samples)
        centers, own = take(xyz, picked), take(features, picked)
        near = take(features, nearest(centers, xyz, 24))  # (B, S, K, C)
        own = own.unsqueeze(2)
        step = near - own
        sigma = step.reshape(len(step), -1).std(dim=-1).view(-1, 1, 1, 1)
        step = self.affine_alpha * (step / (sigma + 1e-5)) + self.affine_beta
        return centers, torch.cat([step, own.expand_as(step)], dim=-1)


class ResidualBlock(nn.Module):
    def __init__(self, width: int, inner: int):
        super().__init__()
        self.net1 = nn.Sequential(*conv_norm(width, inner), nn.ReLU(inplace=True))
        self.net2 = conv_norm(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.net2(self.net1(x)) + x, inplace=True)


class Blocks(nn.Module):
    def __init__(self, width: int, inner: int, n_blocks: int, n_in: int | None = None):
        super().__init__()
        self.transfer = None
        if n_in is not None:
            layers = (*conv_norm(n_in, width), nn.ReLU(inplace=True))
            self.transfer = nn.ModuleDict({"net": nn.Sequential(*layers)})
        self.operation = nn.Sequential(*(ResidualBlock(width, inner) for _ in range(n_blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x if self.transfer is None else self.transfer["net"](x))


class LiteralPointMLP(nn.Module):
    def __init__(self, n_classes: int = 40, *, elite: bool = False):
        super().__init__()
        first, widths = (32, (64, 128, 256, 256)) if elite else (64, (128, 256, 512, 1024))
        inner = [width // 4 for width in widths] if elite else widths
        counts = (1, 1, 2, 1) if elite else (2, 2, 2, 2)
        n_in = (first, *widths[:-1])
        layers = (*conv_norm(3, first), nn.ReLU(inplace=True))
        self.embedding = nn.ModuleDict({"net": nn.Sequential(*layers)})
        self.local_grouper_list = nn.ModuleList(
            Grouper(n, n_samples) for n, n_samples in zip(n_in, (512, 256, 128, 64), strict=True)
        )
        sizes = list(zip(widths, inner, counts, strict=True))
        self.pre_blocks_list = nn.ModuleList(
            Blocks(*size, 2 * n) for size, n in zip(sizes, n_in, strict=True)
        )
        self.pos_blocks_list = nn.ModuleList(Blocks(*size) for size in sizes)
        self.classifier = nn.Sequential(
            *(nn.Linear(widths[-1], 512), nn.BatchNorm1d(512), nn.ReLU(True), nn.Dropout(0.5)),
            *(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(True), nn.Dropout(0.5)),
            nn.Linear(256, n_classes),
        )

    def forward(self, points: Tensor) -> Tensor:
        xyz, x = points, self.embedding["net"](points.transpose(1, 2))
        for grouper, before, after in zip(
            self.local_grouper_list, self.pre_blocks_list, self.pos_blocks_list, strict=True
        ):
            xyz, rows = grouper(xyz, x.permute(0, 2, 1))
            b, s, k, c = rows.shape
            x = before(rows.permute(0, 1, 3, 2).reshape(b * s, c, k))
            x = F.adaptive_max_pool1d(x, 1).view(b, s, -1).permute(0, 2, 1)
            x = after(x)
        return self.classifier(F.adaptive_max_pool1d(x, 1).squeeze(2))


_PREFIX = "xconv_"
# Neighbors, dilation, representatives, width, channels of the lift, multiplier.
_XCONV = (
    (8, 1, None, 48, 24, 4),
    (12, 2, 384, 96, 12, 2),
    (16, 2, 128, 192, 24, 2),
    (16, 3, 128, 384, 48, 2),
)


class LiteralPointCNN(nn.Module):
    """Tensors by the names and in the shapes of the original, which is not written in torch."""

    def __init__(self, n_classes: int = 40):
        super().__init__()
        n_in = 0
        for i, (k, _, _, width, n_lifted, multiplier) in enumerate(_XCONV, start=1):
            tag = f"{_PREFIX}{i}"
            self.add(f"{tag}_nn_fts_from_pts_0/kernel", 3, n_lifted)
            self.add(f"{tag}_nn_fts_from_pts/kernel", n_lifted, n_lifted)
            self.add(f"{tag}_X_0/kernel", 1, k, 3, k * k)
            for part in (1, 2):
                self.add(f"{tag}_X_{part}/depthwise_weights", 1, k, k, k, norm=k * k)
            n_read = n_lifted + n_in
            self.add(f"{tag}_fts_conv/depthwise_kernel", 1, k, n_read, multiplier, norm=0)
            self.add(f"{tag}_fts_conv/pointwise_kernel", 1, 1, n_read * multiplier, width)
            n_in = width
        self.add(f"{tag}_fts_global_0/kernel", 3, 96)
        self.add(f"{tag}_fts_global/kernel", 96, 96)
        self.add("fc0/kernel", 480, 384)
        self.add("fc1/kernel", 384, 192)
        self.add("logits/kernel", 192, n_classes, norm=0)
        self.register_parameter("logits/bias", nn.Parameter(torch.zeros(n_classes)))
        self.dropout = nn.Dropout(0.8)

    def add(self, name: str, *shape: int, norm: int | None = None) -> None:
        self.register_parameter(name, nn.Parameter(0.1 * torch.randn(shape)))
        width = shape[-1] if norm is None else norm
        if width:
            tag = name.rpartition("/")[0]
            for part, value in (("gamma", 1.0), ("beta", 0.0)):
                value = nn.Parameter(torch.full((width,), value))
                self.register_parameter(f"{tag}_bn/{part}", value)
            for part, value in (("moving_mean", 0.0), ("moving_variance", 1.0)):
                self.register_buffer(f"{tag}_bn/{part}", torch.full((width,), value))

    def get(self, name: str) -> Tensor:
        return getattr(self, name)

    def norm(self, x: Tensor, tag: str) -> Tensor:
        gamma, beta, mean, var = (
            self.get(f"{tag}_bn/{part}")
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        rows = x.reshape(-1, x.shape[-1])
        rows = F.batch_norm(rows, mean, var, gamma, beta, self.training, 0.01, 1e-3)
        return rows.view(x.shape)

    def dense(self, x: Tensor, tag: str) -> Tensor:
        return self.norm(F.elu(F.linear(x, self.get(f"{tag}/kernel").mT)), tag)

    def depthwise(self, x: Tensor, kernel: Tensor) -> Tensor:
        """(B, P, K, C) with (1, K, C, D) to channel-major (B, P, C D)."""
        weight = kernel.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)  # (C D, 1, 1, K)
        return F.conv2d(x.permute(0, 3, 1, 2), weight, groups=x.shape[-1])[..., 0].mT

    def xconv(self, xyz: Tensor, features, tag: str, k: int, dilation: int, n_queries):
        queries = xyz if n_queries is None else xyz[:, :n_queries]
        index = nearest(queries, xyz, k * dilation)[..., ::dilation]
        offsets = take(xyz, index) - queries.unsqueeze(2)
        rows = self.dense(offsets, f"{tag}_nn_fts_from_pts_0")
        rows = self.dense(rows, f"{tag}_nn_fts_from_pts")
        if features is not None:
            rows = torch.cat([rows, take(features, index)], dim=-1)
        kernel = self.get(f"{tag}_X_0/kernel").permute(3, 2, 0, 1)  # (K K, 3, 1, K)
        x = F.conv2d(offsets.permute(0, 3, 1, 2), kernel)[..., 0].mT
        x = self.norm(F.elu(x), f"{tag}_X_0").unflatten(-1, (k, k))
        x = self.depthwise(x, self.get(f"{tag}_X_1/depthwise_weights"))
        x = self.norm(F.elu(x), f"{tag}_X_1").unflatten(-1, (k, k))
        x = self.depthwise(x, self.get(f"{tag}_X_2/depthwise_weights"))
        x = self.norm(x, f"{tag}_X_2").unflatten(-1, (k, k))
        rows = self.depthwise(x @ rows, self.get(f"{tag}_fts_conv/depthwise_kernel"))
        rows = F.linear(rows, self.get(f"{tag}_fts_conv/pointwise_kernel")[0, 0].mT)
        rows = self.norm(F.elu(rows), f"{tag}_fts_conv")
        if hasattr(self, f"{tag}_fts_global/kernel"):
            places = self.dense(self.dense(queries, f"{tag}_fts_global_0"), f"{tag}_fts_global")
            rows = torch.cat([places, rows], dim=-1)
        return queries, rows

    def forward(self, points: Tensor) -> Tensor:
        xyz, features = points, None
        for i, (k, dilation, n_queries, *_) in enumerate(_XCONV, start=1):
            xyz, features = self.xconv(xyz, features, f"{_PREFIX}{i}", k, dilation, n_queries)
        rows = self.dropout(self.dense(self.dense(features, "fc0"), "fc1"))
        scores = F.linear(rows, self.get("logits/kernel").mT, self.get("logits/bias"))
        return scores.mean(1)


class PatchEncoder(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.first_conv = nn.Sequential(
            *conv_norm(3, 128, bias=True), nn.ReLU(inplace=True), conv(128, 256, bias=True)
        )
        self.second_conv = nn.Sequential(
            *conv_norm(512, 512, bias=True), nn.ReLU(inplace=True), conv(512, width, bias=True)
        )

    def forward(self, groups: Tensor) -> Tensor:  # (B, G, K, 3) to (B, G, width)
        x = self.first_conv(groups.flatten(0, 1).transpose(2, 1))
        whole = x.max(dim=2, keepdim=True).values.expand_as(x)
        x = self.second_conv(torch.cat([whole, x], dim=1))
        return x.max(dim=2).values.view(*groups.shape[:2], -1)


class Attention(nn.Module):
    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads, self.scale = n_heads, (width // n_heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.n_heads, c // self.n_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = ((q @ k.transpose(-2, -1)) * self.scale).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Feedforward(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width: int, n_heads: int, rate: float):
        super().__init__()
        self.rate = rate
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width, n_heads), Feedforward(width)

    def drop(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        kept = torch.rand(len(x), 1, 1) >= self.rate
        return x / (1 - self.rate) * kept

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop(self.attn(self.norm1(x)))
        return x + self.drop(self.mlp(self.norm2(x)))


class LiteralTransformer(nn.Module):
    def __init__(self, n_classes: int = 40, *, width: int = 384, depth: int = 12):
        super().__init__()
        self.encoder = PatchEncoder(width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        rates = torch.linspace(0, 0.1, depth).tolist()
        self.blocks = nn.Module()
        self.blocks.blocks = nn.ModuleList(Block(width, 6, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.cls_head_finetune = nn.Sequential(
            *(nn.Linear(2 * width, 256), nn.BatchNorm1d(256), nn.ReLU(True), nn.Dropout(0.5)),
            *(nn.Linear(256, 256), nn.BatchNorm1d(256), nn.ReLU(True), nn.Dropout(0.5)),
            nn.Linear(256, n_classes),
        )

    def forward(self, points: Tensor) -> Tensor:
        centers = take(points, farthest(points, 64))
        groups = take(points, nearest(centers, points, 32)) - centers.unsqueeze(2)
        tokens = self.encoder(groups)
        start = (len(points), -1, -1)
        x = torch.cat([self.cls_token.expand(start), tokens], dim=1)
        place = torch.cat([self.cls_pos.expand(start), self.pos_embed(centers)], dim=1)
        for block in self.blocks.blocks:
            x = block(x + place)
        x = self.norm(x)
        return self.cls_head_finetune(torch.cat([x[:, 0], x[:, 1:].max(1).values], dim=-1))
