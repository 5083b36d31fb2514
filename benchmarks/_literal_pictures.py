"""Literal SimpleView, MVTN and P2P; see `_literal_common`."""

import math

import torch
import torch.nn.functional as F
from _literal_common import conv, conv_norm, look_up, nearest
from torch import Tensor, nn

_QUARTERS = ((0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1), (0, -1, 1), (0, 1, 1))


def convolution(n_in: int, n_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, stride, padding=size // 2, bias=False)


class ResidualBlock(nn.Module):
    def __init__(self, n_in: int, n_out: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = convolution(n_in, n_out, 3, stride), nn.BatchNorm2d(n_out)
        self.conv2, self.bn2 = convolution(n_out, n_out, 3), nn.BatchNorm2d(n_out)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            past = (convolution(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out))
            self.downsample = nn.Sequential(*past)

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(x)) + past, inplace=True)


def stages(widths) -> list[nn.Sequential]:
    found, n_in = [], widths[0]
    for i, width in enumerate(widths):
        first = ResidualBlock(n_in, width, 2 if i else 1)
        found.append(nn.Sequential(first, ResidualBlock(width, width)))
        n_in = width
    return found


class ResNet18(nn.Module):
    def __init__(self, n_classes: int | None):
        super().__init__()
        self.conv1, self.bn1 = convolution(3, 64, 7, 2), nn.BatchNorm2d(64)
        for i, stage in enumerate(stages((64, 128, 256, 512)), start=1):
            self.add_module(f"layer{i}", stage)
        self.fc = nn.Identity() if n_classes is None else nn.Linear(512, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def turn(x: float, y: float, z: float) -> Tensor:
    """Rotation by x, then y, then z as Rx Ry Rz."""
    about = []
    for axis, angle in enumerate((x, y, z)):
        a, b = [(1, 2), (2, 0), (0, 1)][axis]
        matrix = torch.eye(3, dtype=torch.float64)
        matrix[a, a] = matrix[b, b] = math.cos(angle)
        matrix[b, a] = math.sin(angle)
        matrix[a, b] = -math.sin(angle)
        about.append(matrix)
    return about[0] @ about[1] @ about[2]


class Fusion(nn.Module):
    def __init__(self, n_classes: int):
        super().__init__()
        first = nn.Module()
        first.bn = nn.BatchNorm1d(128)
        self.model = nn.ModuleDict(
            {"0": first, "3": nn.Linear(768, 128), "4": nn.BatchNorm1d(128),
             "7": nn.Linear(128, n_classes)}
        )  # fmt: skip
        self.dropout1, self.dropout2 = nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, views: Tensor) -> Tensor:  # (B 6, 128)
        x = self.dropout1(self.model["0"].bn(views)).view(-1, 768)
        x = F.relu(self.model["4"](self.model["3"](x)))
        return self.model["7"](self.dropout2(x))


class LiteralSimpleView(nn.Module):
    """Depth pictures of one pixel to a point, by adding up in a flat picture."""

    def __init__(self, n_classes: int = 40, *, size: int = 128):
        super().__init__()
        self.size = size
        turns = [turn(*(0.5 * math.pi * n for n in quarters)).round() for quarters in _QUARTERS]
        self.register_buffer("turns", torch.stack(turns).float(), persistent=False)
        layers = (convolution(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        self.img_model = nn.Sequential(
            *layers, *stages((16, 32, 64, 128)), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.final_fc = Fusion(n_classes)

    def render(self, points: Tensor) -> Tensor:
        n_views, n_points = len(self.turns), points.shape[1]
        cloud = points.repeat_interleave(n_views, dim=0)  # (B V, N, 3)
        turns = self.turns.repeat(len(points), 1, 1)
        cloud = torch.bmm(cloud, turns.transpose(1, 2))
        depth = cloud[..., 2] + 1.4
        plane = cloud[..., :2] / depth.unsqueeze(2)
        cell = torch.ceil((plane + 1) * (self.size / 2) - 0.5)
        inside = ((cell >= 0) & (cell <= self.size - 1)).all(2) & (depth >= 0)
        flat = (cell[..., 0] * self.size + cell[..., 1]).long()
        flat = torch.where(inside, flat, 0)
        weight = torch.where(inside, 1 / depth, 0.0)
        canvas = depth.new_zeros(len(cloud), self.size**2)
        total = canvas.scatter_add(1, flat, weight * depth)
        shares = canvas.scatter_add(1, flat, weight)
        pictures = torch.where(shares > 0, total / torch.where(shares > 0, shares, 1.0), 0.0)
        assert flat.shape == (len(cloud), n_points)
        return pictures.view(-1, 1, self.size, self.size)

    def forward(self, points: Tensor) -> Tensor:
        return self.final_fc(self.img_model(self.render(points)))


class Alignment(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.convs = nn.ModuleList(
            [conv_norm(width, 64, bias=True), conv_norm(64, 128, bias=True),
             nn.Sequential(conv(128, 1024, bias=True))]
        )  # fmt: skip
        self.fcs = nn.ModuleList(
            [conv_norm(1024, 512, bias=True), conv_norm(512, 256, bias=True),
             nn.Sequential(conv(256, width * width, bias=True))]
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        rows = self.convs[2](F.relu(self.convs[1](F.relu(self.convs[0](x)))))
        rows = rows.max(dim=2, keepdim=True).values
        rows = self.fcs[2](F.relu(self.fcs[1](F.relu(self.fcs[0](rows)))))
        matrix = rows.view(-1, self.width, self.width)
        return torch.bmm(matrix + torch.eye(self.width, dtype=x.dtype), x)


def score_layers(widths) -> nn.Sequential:
    layers = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers)


class ShapeEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_transform, self.feature_transform = Alignment(3), Alignment(64)
        self.conv1 = conv_norm(3, 64, bias=True)
        self.conv2s = nn.Sequential(
            *(*conv_norm(64, 128, bias=True), nn.ReLU()),
            *(*conv_norm(128, 1024, bias=True), nn.ReLU()),
        )
        self.classifier = score_layers((1024, 512, 256, 40))

    def forward(self, points: Tensor) -> Tensor:
        x = self.input_transform(points.transpose(1, 2))
        x = self.feature_transform(F.relu(self.conv1(x)))
        return self.classifier(self.conv2s(x).max(dim=2).values)


class ViewPredictor(nn.Module):
    def __init__(self, n_views: int):
        super().__init__()
        for name in ("azim", "elev", "dist"):
            self.register_buffer(f"views_{name}", torch.ones(n_views))
        widths = (40 + 2 * n_views, 40, 40, 5 * n_views, 2 * n_views)
        last = nn.Sequential(nn.Linear(2 * n_views, 2 * n_views), nn.Tanh())
        self.view_transformer = nn.Sequential(score_layers(widths), last)

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        start = torch.cat([self.views_azim, self.views_elev]).expand(len(scores), -1)
        moved = self.view_transformer(torch.cat([scores, start], dim=1))
        azimuth, elevation = moved.chunk(2, dim=1)
        step = 180.0 / len(self.views_azim)
        return self.views_azim + azimuth * step, self.views_elev + elevation * 90.0


class LiteralMVTN(nn.Module):
    """Pictures by looking at every point from every pixel, view after view."""

    def __init__(self, n_classes: int = 40, *, n_views: int = 6, size: int = 64):
        super().__init__()
        self.size, self.radius = size, 1.344 / size
        self.mvtn = nn.Module()
        self.mvtn.feature_extractor = nn.Module()
        self.mvtn.feature_extractor.fe_model = ShapeEncoder()
        self.mvtn.view_selector = nn.Module()
        self.mvtn.view_selector.chosen_view_selector = ViewPredictor(n_views)
        self.mvnetwork = nn.Module()
        self.mvnetwork.aggregation_model = nn.Module()
        self.mvnetwork.aggregation_model.model = ResNet18(None)
        self.mvnetwork.fc = nn.Sequential(nn.LayerNorm(512), nn.Linear(512, n_classes))

    def cameras(self, azimuth: Tensor, elevation: Tensor) -> tuple[Tensor, Tensor]:
        a, e = (angle * (math.pi / 180) for angle in (azimuth, elevation))
        toward = torch.stack([e.cos() * a.sin(), e.sin(), e.cos() * a.cos()], dim=-1)
        z = -toward
        up = torch.zeros_like(z)
        up[..., 1] = 1.0
        x = F.normalize(torch.linalg.cross(up, z), dim=-1, eps=1e-12)
        y = F.normalize(torch.linalg.cross(z, x), dim=-1)
        return torch.stack([x, y, z], dim=-1), toward  # axes are columns

    def draw(self, cloud: Tensor, frame: Tensor, eye: Tensor) -> Tensor:
        """One picture (3, S, S) of one cloud (N, 3)."""
        place = torch.arange(self.size, dtype=cloud.dtype)
        place = 1 - (2 * place + 1) / self.size
        centers = torch.cartesian_prod(place, place).flip(1)  # (S S, 2), row is y
        view = (cloud - eye) @ frame
        step = centers.unsqueeze(1) - view[:, :2]
        squared = (step**2).sum(-1)  # (S S, N)
        with torch.no_grad():
            covers = (squared < self.radius**2) & (view[:, 2] >= 0)
            depth = torch.where(covers, view[:, 2], torch.inf)
            near = depth.topk(2, largest=False).indices
        weight = 1 - squared.gather(1, near) / self.radius**2
        weight = torch.where(covers.gather(1, near), weight, 0.0)
        color = (cloud + 1) / 2
        total = weight.sum(1, keepdim=True).clamp_min(1e-4)
        return ((weight.unsqueeze(2) * color[near]).sum(1) / total).T.unflatten(1, (self.size, -1))

    def forward(self, points: Tensor) -> Tensor:
        scores = self.mvtn.feature_extractor.fe_model(points)
        predictor = self.mvtn.view_selector.chosen_view_selector
        frames, eyes = self.cameras(*predictor(scores))
        pictures = [
            self.draw(cloud, frame, eye)
            for cloud, views, places in zip(points, frames, eyes, strict=True)
            for frame, eye in zip(views, places, strict=True)
        ]
        views = self.mvnetwork.aggregation_model.model(torch.stack(pictures))
        return self.mvnetwork.fc(views.view(len(points), -1, 512).max(dim=1).values)


class PictureEncoder(nn.Module):
    def __init__(self, object_size: int, picture_size: int, k: int = 32):
        super().__init__()
        self.object_size, self.picture_size, self.k = object_size, picture_size, k
        self.input_trans = conv(3, 8, bias=True)
        norm = (nn.GroupNorm(4, 64), nn.LeakyReLU(0.2))
        self.graph_layer = nn.Sequential(conv(16, 64, 2), *norm)
        self.proj_layer = conv(64, 64, bias=True)
        self.img_block = nn.Sequential(ResidualBlock(64, 64), conv(64, 64, 2, bias=True))
        self.img_layer = conv(64, 3, 2, bias=True)

    def forward(self, cloud: Tensor, turned: Tensor) -> Tensor:
        x = self.input_trans(cloud.transpose(1, 2).contiguous())
        near = look_up(x, nearest(cloud, cloud, self.k))
        own = x.unsqueeze(3).expand_as(near)
        x = self.graph_layer(torch.cat([near - own, own], dim=1)).max(dim=3).values
        x = self.proj_layer(x)
        size, picture_size = self.object_size, self.picture_size
        plane = turned[..., :2]
        low = plane.amin(1, keepdim=True)
        side = (plane.amax(1, keepdim=True) - low).amax(2, keepdim=True)
        cell = ((plane - low) / side * (size - 3)).floor()
        steps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).to(cell)
        cells = cell.unsqueeze(2) + steps + 1  # (B, N, 9, 2)
        middle = ((cells.amax((1, 2)) + cells.amin((1, 2))) / 2).floor()
        cells = (cells + (size / 2 - middle - 1)[:, None, None]).long()
        place = (cells[..., 0] * size + cells[..., 1]).flatten(1)  # (B, 9 N)
        canvas = x.new_zeros(len(x), 64, size * size).scatter_add(
            2, place.unsqueeze(1).expand(-1, 64, -1), x.repeat_interleave(9, dim=2)
        )
        canvas = canvas.unflatten(2, (size, size))
        canvas = F.pad(canvas, [(picture_size - size) // 2] * 4)
        picture = self.img_layer(self.img_block(canvas)).sigmoid()
        mean = picture.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        return (picture - mean) / picture.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class LiteralP2P(nn.Module):
    """Nine pixels written for every point, on a canvas of 64 channels."""

    def __init__(self, n_classes: int = 40, *, object_size: int = 224, picture_size: int = 224):
        super().__init__()
        self.enc = PictureEncoder(object_size, picture_size)
        self.base_model = ResNet18(n_classes)
        theta, phi = 0.575 * math.pi, -0.35 * math.pi
        cross = torch.tensor([[0.0, 0.0, -math.cos(theta)], [0.0, 0.0, -math.sin(theta)],
                              [math.cos(theta), math.sin(theta), 0.0]])  # fmt: skip
        tilt = torch.matrix_exp(-phi * cross.double())
        self.register_buffer("rotation", turn(0, 0, -theta) @ tilt, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        cloud = points[..., [2, 0, 1]] * points.new_tensor([-1.0, -1.0, 1.0])
        turned = cloud @ self.rotation.T.to(cloud)
        return self.base_model(self.enc(cloud, turned))
