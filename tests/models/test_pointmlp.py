"""PointMLP against a literal formulation: every neighbor of every group on its own."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointMLP, create_model, load_official, to_official
from pointinteract.nn.mlp import BatchNorm

SMALL = {
    "n_samples": (24, 12, 6, 3),
    "n_neighbors": 5,
    "n_embedded": 8,
    "widths": (16, 24, 32, 32),
    "inner_widths": (16, 6, 8, 8),
    "n_blocks": (2, 1, 2, 1),
}


def layer(n_in, n_out):
    return nn.Sequential(nn.Conv1d(n_in, n_out, 1, bias=False), nn.BatchNorm1d(n_out))


class LiteralBlock(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.net1, self.net2 = layer(width, inner), layer(inner, width)

    def forward(self, x):
        return F.relu(x + self.net2(F.relu(self.net1(x))))


class LiteralBlocks(nn.Module):
    def __init__(self, width, inner, n_blocks, n_in=None):
        super().__init__()
        if n_in is not None:
            self.transfer = nn.ModuleDict({"net": layer(n_in, width)})
        self.operation = nn.Sequential(*(LiteralBlock(width, inner) for _ in range(n_blocks)))

    def forward(self, x):
        return self.operation(F.relu(self.transfer["net"](x)) if hasattr(self, "transfer") else x)


class LiteralGrouper(nn.Module):
    def __init__(self, n_in):
        super().__init__()
        self.affine_alpha = nn.Parameter(torch.ones(1, 1, 1, n_in))
        self.affine_beta = nn.Parameter(torch.zeros(1, 1, 1, n_in))

    def forward(self, xyz, features, n_samples, k, change):
        n_samples = min(n_samples, xyz.shape[1])
        start = 1 if change == "start at the second point" else 0
        picked = literal_sample(xyz, n_samples, start)
        rows = torch.arange(len(xyz))[:, None]
        centers, own = xyz[rows, picked], features[rows, picked]
        distance = (centers[:, :, None] - xyz[:, None]).square().sum(-1)
        near = distance.topk(min(k, xyz.shape[1]), dim=2, largest=False).indices
        grouped = features[rows[..., None], near]  # (B, S, K, C)
        middle = own[:, :, None]
        if change == "middle of the group":
            middle = grouped.mean(2, keepdim=True)
        step = grouped - middle
        if change == "scale of the batch":
            sigma = step.std()
        elif change == "scale of the group":
            sigma = step.flatten(2).std(2)[..., None, None]
        else:
            sigma = step.flatten(1).std(1)[:, None, None, None]
        step = self.affine_alpha * step / (sigma + 1e-5) + self.affine_beta
        own = own[:, :, None].expand_as(step)
        pair = [own, step] if change == "own features first" else [step, own]
        return centers, torch.cat(pair, dim=-1)


class LiteralPointMLP(nn.Module):
    """The network as its specification tells it, on (B S, C, K) with convolutions."""

    def __init__(self, sizes, n_channels=3, n_classes=5, change=None):
        super().__init__()
        self.sizes, self.change = sizes, change
        widths, inner, n_blocks = sizes["widths"], sizes["inner_widths"], sizes["n_blocks"]
        n_in = (sizes["n_embedded"], *widths[:-1])
        self.embedding = nn.ModuleDict({"net": layer(n_channels, n_in[0])})
        self.local_grouper_list = nn.ModuleList(LiteralGrouper(n) for n in n_in)
        self.pre_blocks_list = nn.ModuleList(
            LiteralBlocks(*numbers, 2 * n)
            for *numbers, n in zip(widths, inner, n_blocks, n_in, strict=True)
        )
        self.pos_blocks_list = nn.ModuleList(
            LiteralBlocks(*numbers) for numbers in zip(widths, inner, n_blocks, strict=True)
        )
        self.classifier = nn.Sequential(
            *(nn.Linear(widths[-1], 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Identity()),
            *(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Identity()),
            nn.Linear(256, n_classes),
        )

    def forward(self, points):
        xyz = points[..., :3]
        x = F.relu(self.embedding["net"](points.mT))
        stages = (
            self.sizes["n_samples"],
            self.local_grouper_list,
            self.pre_blocks_list,
            self.pos_blocks_list,
        )
        for n_samples, grouper, before, after in zip(*stages, strict=True):
            xyz, rows = grouper(xyz, x.mT, n_samples, self.sizes["n_neighbors"], self.change)
            b, s, k, c = rows.shape
            x = before(rows.reshape(b * s, k, c).mT).max(dim=2).values
            x = after(x.view(b, s, -1).mT)
        return self.classifier(x.max(dim=2).values)


def literal_sample(xyz, n_samples, start=0):
    """Farthest points in the coordinates given, in a loop."""
    distance = torch.full(xyz.shape[:2], 1e10, dtype=xyz.dtype)
    rows = torch.arange(len(xyz))
    current = torch.full((len(xyz),), min(start, xyz.shape[1] - 1))
    picked = []
    for _ in range(n_samples):
        picked.append(current)
        step = (xyz - xyz[rows, current][:, None]).square().sum(-1)
        distance = torch.minimum(distance, step)
        current = torch.from_numpy(distance.detach().numpy().argmax(1))
    return torch.stack(picked, dim=1)


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
            elif name.endswith(("bias", "running_mean", "beta")):
                tensor.copy_(0.1 * noise)
            elif name.endswith("alpha"):
                tensor.copy_(1 + 0.3 * noise)
            elif name.endswith("weight"):
                tensor.copy_(noise / tensor.shape[1] ** 0.5)
    return module


def make_pair(change=None, n_channels=3):
    ours = shake(PointMLP(**SMALL, n_channels=n_channels, n_classes=5, dropout=0.0).double())
    literal = LiteralPointMLP(SMALL, n_channels, change=change).double()
    ours.official_system = "pointmlp"
    literal.load_state_dict(to_official(ours))
    return literal, ours


@pytest.fixture(scope="module")
def pair():
    return make_pair()


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 33, 3, generator=generator, dtype=torch.float64)


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
    carrier = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), ours.parameters(), strict=True):
            parameter.copy_(source.grad)
    written = to_official(carrier)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-7, atol=1e-9, msg=name)


def test_running_statistics_follow_the_literal_form(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("training", [False, True])
def test_single_precision_is_as_good_as_the_literal_form(pair, points, training):
    literal, ours = (copy.deepcopy(module).train(training) for module in pair)
    # A small cloud far from the origin: its features, and so all differences, are nearly equal.
    points = 3.0 + 0.05 * points
    with torch.no_grad():
        exact = copy.deepcopy(literal)(points)
        plain = literal.float()(points.float())
        found = ours.float()(points.float())

    # Both round coordinates to single precision first, which moves everything a little.
    error, allowed = ((each - exact).norm() / exact.norm() for each in (found, plain))
    assert error < 2 * allowed + 1e-5


@pytest.mark.parametrize(
    "change",
    [
        "start at the second point",
        "middle of the group",
        "scale of the batch",
        "scale of the group",
        "own features first",
    ],
)
def test_other_networks_give_other_numbers(points, change):
    literal, ours = (module.eval() for module in make_pair(change))
    with torch.no_grad():
        found, other = ours(points), literal(points)

    assert (found - other).abs().max() > 1e-3


@pytest.mark.parametrize("n_points", [1, 2, 4, 9, 24, 25, 40])
def test_any_number_of_points_is_sampled_like_the_literal_form(pair, n_points):
    literal, ours = (module.eval() for module in pair)
    generator = torch.Generator().manual_seed(n_points)
    points = torch.randn(2, n_points, 3, generator=generator, dtype=torch.float64)

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kind", ["grid", "copies"])
def test_first_rows_are_the_samples_of_samples_with_ties_too(kind):
    if kind == "grid":  # nearly all distances are tied
        axis = torch.arange(4.0)
        points = torch.cartesian_prod(axis, axis, axis)[torch.randperm(64)][None]
    else:  # more samples than different points
        points = torch.randn(1, 7, 3).repeat(1, 8, 1)
    first = literal_sample(points, 32)
    chosen = points[:, first[0]]

    second = literal_sample(chosen, 16)

    torch.testing.assert_close(chosen[:, second[0]], chosen[:, :16], rtol=0, atol=0)


def test_copies_of_points_give_what_the_literal_form_gives(pair, points):
    literal, ours = (module.eval() for module in pair)
    points = points[:, :9].repeat(1, 5, 1)  # fewer different points than samples

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


def test_extra_channels_are_read_and_do_not_choose(points):
    literal, ours = (module.eval() for module in make_pair(n_channels=5))
    points = torch.cat([points, 9.0 * points[..., 1:].sin()], dim=-1)

    with torch.no_grad():
        torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-9)


def test_scale_does_not_see_the_batch(pair, points):
    ours = pair[1].eval()
    points = points * torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64).view(3, 1, 1)

    with torch.no_grad():
        alone = torch.cat([ours(cloud[None]) for cloud in points])
        torch.testing.assert_close(ours(points), alone, rtol=1e-9, atol=1e-10)


def test_sizes_are_read_from_the_checkpoint():
    ours = create_model("pointmlp_elite", n_channels=4, n_classes=3)

    again = load_official("pointmlp_elite", to_official(ours))

    assert again.config == ours.config
    assert sum(isinstance(module, BatchNorm) for module in again.modules()) == 27


def test_network_that_a_checkpoint_cannot_tell_is_not_written():
    with pytest.raises(CheckpointError, match="no published original"):
        to_official(PointMLP(**SMALL))


def test_factory_of_the_other_system_is_refused():
    state = to_official(create_model("pointmlp_elite", n_classes=3))

    with pytest.raises(CheckpointError, match="factory='pointMLP'"):
        load_official("pointmlp_elite", state, factory="pointMLP")


def test_a_cloud_of_copies_does_not_blow_up_the_gradients_of_the_others():
    points = torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(0))
    largest = []
    for copies in (False, True):
        torch.manual_seed(0)
        network = create_model("pointmlp_elite", n_classes=5).train()
        points[1] = 0.3 if copies else points[0]
        network(points).square().sum().backward()
        largest.append(max(parameter.grad.abs().max() for parameter in network.parameters()))

    assert largest[1] < 100 * largest[0]


def test_stages_of_different_number_are_refused():
    with pytest.raises(ValueError, match="as many stages each.*got 4, 3, 4, 4"):
        PointMLP(widths=(8, 8, 8))
