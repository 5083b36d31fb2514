"""PointNeXt against a literal formulation: every place of every ball on its own."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointNeXt, create_model, load_official, to_official
from pointinteract.nn.abstraction_residual import ResidualBallPool
from pointinteract.ops import farthest_point_sample

SMALL = {"width": 4, "radius": 0.4, "radius_growth": 1.3, "n_neighbors": 6}


class LiteralLevel(nn.Module):
    def __init__(self, n_in, n_out, radius, k, change):
        super().__init__()
        self.radius, self.k, self.change = radius, k, change
        self.convs = nn.Sequential(
            nn.Sequential(nn.Conv2d(3 + n_in, n_in, 1, bias=False), nn.BatchNorm2d(n_in)),
            nn.Sequential(nn.Conv2d(n_in, n_out, 1, bias=False), nn.BatchNorm2d(n_out)),
        )
        self.skipconv = nn.Sequential(nn.Conv1d(n_in, n_out, 1))

    def forward(self, xyz, x):
        rows = torch.arange(len(xyz))
        n_balls = max(1, xyz.shape[1] // 2)
        picked = farthest_point_sample(xyz, n_balls, start=self.change == "second point first")
        centers = xyz[rows[:, None], picked]
        index = self.fill(centers, xyz)  # (B, S, K)
        places = xyz[rows[:, None, None], index] - centers[:, :, None]
        if self.change != "places not divided by the radius":
            places = places / self.radius
        features = x.mT[rows[:, None, None], index]
        grouped = torch.cat([places, features], dim=-1).permute(0, 3, 1, 2)
        grouped = self.convs[1](F.relu(self.convs[0](grouped)))
        if self.change == "rectifier before the shortcut":
            grouped = F.relu(grouped)
        own = (
            x if self.change == "shortcut of the first points" else x.mT[rows[:, None], picked].mT
        )
        return centers, F.relu(grouped.max(dim=3).values + self.skipconv(own[:, :, :n_balls]))

    def fill(self, centers, xyz):
        distance = (centers[:, :, None] - xyz[:, None]).square().sum(-1)
        index = torch.empty(*centers.shape[:2], self.k, dtype=torch.int64)
        for b, i in np.ndindex(*centers.shape[:2]):
            inside = (distance[b, i] < self.radius**2).nonzero()[:, 0]
            if self.change == "nearest points of the ball":
                inside = inside[distance[b, i][inside].argsort()]
            inside = inside[: self.k].tolist()
            index[b, i] = torch.tensor(inside + inside[:1] * (self.k - len(inside)))
        return index


class LiteralPointNeXt(nn.Module):
    """The network as its specification tells it, on (B, C, S, K) with convolutions."""

    def __init__(self, width, radius, radius_growth, n_neighbors, n_channels=3, change=None):
        super().__init__()
        self.change = change
        stem = nn.Sequential(nn.Sequential(nn.Conv1d(n_channels, width, 1)))
        levels = [
            LiteralLevel(
                width * 2**s, width * 2 ** (s + 1), radius * radius_growth**s, n_neighbors, change
            )
            for s in range(4)
        ]
        n_all = 16 * width
        everything = [
            nn.Sequential(nn.Conv2d(n, n_all, 1, bias=False), nn.BatchNorm2d(n_all))
            for n in (3 + n_all, n_all)
        ]
        named = [{"convs": nn.Sequential(stem[0])}, *levels, {"convs": nn.Sequential(*everything)}]
        self.encoder = nn.ModuleDict({"encoder": nn.ModuleList()})
        for each in named:
            module = nn.ModuleDict(each) if isinstance(each, dict) else each
            self.encoder["encoder"].append(nn.ModuleList([module]))
        dense = [
            nn.Sequential(nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU())
            for n_in, n_out in ((n_all, 512), (512, 256))
        ]
        head = [dense[0], nn.Identity(), dense[1], nn.Identity(), nn.Sequential(nn.Linear(256, 5))]
        self.prediction = nn.ModuleDict({"head": nn.Sequential(*head)})

    def forward(self, points):
        stem, *levels, everything = (each[0] for each in self.encoder["encoder"])
        xyz, x = points[..., :3], stem["convs"](points.mT)
        for level in levels:
            xyz, x = level(xyz, x)
        if self.change == "last places centered":
            xyz = xyz - xyz.mean(1, keepdim=True)
        x = torch.cat([xyz.mT, x], dim=1)[..., None]
        for layer in everything["convs"]:
            x = F.relu(layer(x))
        return self.prediction["head"](x.flatten(2).max(dim=2).values)


def shake(module):
    """Weights with norms that turn channels around, so that a mistaken sign is seen."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.square())
            elif "norm." in name and name.endswith("weight"):
                tensor.copy_(1 + noise)
            elif name.endswith(("bias", "running_mean")):
                tensor.copy_(0.1 * noise)
            elif name.endswith("weight"):
                tensor.copy_(noise / tensor.shape[1] ** 0.5)
    return module


def make_pair(change=None, n_channels=3):
    ours = shake(PointNeXt(**SMALL, n_channels=n_channels, n_classes=5, dropout=0.0).double())
    literal = LiteralPointNeXt(**SMALL, n_channels=n_channels, change=change).double()
    ours.official_system = "pointnext_s"
    literal.load_state_dict(to_official(ours))
    return literal, ours


@pytest.fixture(scope="module")
def pair():
    return make_pair()


@pytest.fixture
def points():
    """Balls in it have from one to more than six points."""
    generator = torch.Generator().manual_seed(1)
    return 0.25 * torch.randn(3, 70, 3, generator=generator, dtype=torch.float64)


def written_gradients(module):
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_the_literal_form(pair, points, training):
    literal, ours = (copy.deepcopy(module).train(training) for module in pair)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
    results = []
    for module in (literal, ours):
        cloud = points.clone().requires_grad_()
        logits = module(cloud)
        (logits * weights).sum().backward()
        results.append((logits.detach(), cloud.grad))

    torch.testing.assert_close(results[1], results[0], rtol=1e-8, atol=1e-9)
    written = written_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-7, atol=1e-9, msg=name)


def test_running_statistics_count_the_copies_that_fill_a_ball(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_shapes_without_regard_to_the_data_give_the_same(pair, points, training, monkeypatch):
    ours = copy.deepcopy(pair[1]).train(training)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: False)
    expected = copy.deepcopy(ours)(points)

    for level in ours.levels:
        monkeypatch.setattr(
            level,
            "_pool_different",
            lambda *args, level=level: ResidualBallPool._pool_filled(level, *args),
        )

    torch.testing.assert_close(ours(points), expected, rtol=1e-9, atol=1e-10)


def test_frozen_statistics_are_used_and_stay(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)
    for module in (*literal.modules(), *ours.modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    before = copy.deepcopy(ours.state_dict())

    torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)

    assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    "change",
    [
        "second point first",
        "places not divided by the radius",
        "rectifier before the shortcut",
        "shortcut of the first points",
        "nearest points of the ball",
        "last places centered",
    ],
)
def test_other_networks_give_other_numbers(points, change):
    literal, ours = (module.eval() for module in make_pair(change))
    with torch.no_grad():
        found, other = ours(points), literal(points)

    assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize("n_points", [1, 2, 3, 17, 31])
def test_any_number_of_points_halves_like_the_literal_form(pair, n_points):
    literal, ours = (module.eval() for module in pair)
    generator = torch.Generator().manual_seed(n_points)
    points = torch.randn(2, n_points, 3, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


def test_copies_of_points_give_what_the_literal_form_gives(pair, points):
    literal, ours = (module.eval() for module in pair)
    points = points[:, :9].repeat(1, 5, 1)  # fewer different points than samples

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


def test_single_precision_does_not_cancel_far_from_the_origin(points):
    """Places in a ball are small and coordinates large: only differences may be scaled up."""
    layer = shake(ResidualBallPool(4, 6, 0.002, 6).double()).eval()
    points = (64.0 + points / 128).float()  # all of them single precision exactly
    features = torch.randn(3, 70, 4, generator=torch.Generator().manual_seed(2)).double()
    with torch.no_grad():
        exact = layer(points.double(), features, 20)
        found = layer.float()(points, features.float(), 20)

    assert (found - exact).norm() < 1e-5 * exact.norm()


def test_height_is_a_fourth_feature(points):
    literal, ours = (module.eval() for module in make_pair(n_channels=4))
    points = torch.cat([points, points[..., 1:2] + 1.0], dim=-1)

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["pointnext_s", "pointnext_s_c64"])
def test_sizes_are_read_from_the_checkpoint(name):
    ours = create_model(name, n_channels=4, n_classes=3)

    again = load_official(name, to_official(ours))

    assert again.config == ours.config
    assert ours.official_system == name


def test_radii_come_from_the_configuration():
    state = to_official(create_model("pointnext_s", n_classes=3))

    ours = load_official("pointnext_s", state, encoder_args={"radius": 0.2, "nsample": 16})

    assert [level.radius for level in ours.levels] == [0.2 * 1.5**s for s in range(4)]
    assert {level.n_neighbors for level in ours.levels} == {16}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"encoder_args": {"blocks": [1, 2, 3, 2, 2, 1]}}, "blocks="),
        ({"encoder_args": {"radii": 0.2}}, "radii"),
        ({"encoder_args": {"width": 64}}, "width=32"),
        ({"cls_args": {"mlps": [256]}}, "mlps="),
        ({"encoder_args": 3}, "encoder_args must be"),
        ({"k": 3}, "encoder_args"),
    ],
)
def test_other_variants_are_refused_by_name(sizes, words):
    state = to_official(create_model("pointnext_s", n_classes=3))

    with pytest.raises(CheckpointError, match=words):
        load_official("pointnext_s", state, **sizes)
