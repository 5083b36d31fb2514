"""GDANet against a literal formulation: every edge mapped, all pairs of points multiplied."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import create_model, load_official, to_official
from pointinteract.models.gdanet import EdgeLayers, SetAttention, disentangle


def pairwise(x):
    return (x.unsqueeze(3) - x.unsqueeze(2)).square().sum(1)  # (B, N, N)


def literal_variation(x, k, *, reach=0.2, sigma=2.0, skip=1):
    """Variation of features (B, C, N) with the whole normalized graph, as the paper has it."""
    distance = pairwise(x)
    weight = torch.exp(-distance / sigma**2) * (distance.sqrt() < reach)
    graph = torch.diag_embed(1.0 / weight.sum(1)) @ weight
    near = distance.topk(min(k, x.shape[2]), dim=2, largest=False).indices[..., skip:]
    local = torch.zeros_like(graph).scatter_(2, near, graph.gather(2, near))
    return (x - x @ local.transpose(1, 2)).square().sum(1)


class LiteralAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv1d(c, c // 2, 1) for _ in range(3))
        self.W = nn.Sequential(nn.Conv1d(c // 2, c, 1), nn.BatchNorm1d(c))

    def forward(self, x, members):
        weights = self.theta(x).transpose(1, 2) @ self.phi(members) / members.shape[2]
        return x + self.W((weights @ self.g(members).transpose(1, 2)).transpose(1, 2))


class LiteralGDANet(nn.Module):
    """The network as its description tells it, on (B, C, N) with convolutions."""

    def __init__(self, k=6, n_members=9, n_smooth=5, num_classes=5):
        super().__init__()
        self.k, self.n_members, self.n_smooth = k, n_members, n_smooth
        for number, n_in, n_out in ((1, 6, 64), (2, 134, 64), (3, 262, 128)):
            n_fused = 128
            for suffix, conv in (
                ("", nn.Conv2d(n_in, n_out, 1)),
                ("1", nn.Conv2d(n_out, n_out, 1)),
                ("2", nn.Conv1d(n_fused, n_out, 1)),
            ):
                self.add(f"{number}{suffix}", conv)
        self.add("4", nn.Conv1d(256, 512, 1))
        for name in ("1s", "1g", "2s", "2g"):
            self.add_module(f"SGCAM_{name}", LiteralAttention(64))
        self.linear1, self.bn6 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.linear2, self.bn7 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, num_classes)

    def add(self, name, conv):
        norm = (nn.BatchNorm2d if isinstance(conv, nn.Conv2d) else nn.BatchNorm1d)(
            conv.out_channels
        )
        self.add_module(f"bn{name}", norm)
        self.add_module(f"conv{name}", nn.Sequential(conv, norm))

    def layer(self, name, x):
        return F.relu(self.get_submodule(f"conv{name}")(x))

    def edges(self, x):
        b, c, n = x.shape
        index = pairwise(x).topk(min(self.k, n), dim=2, largest=False).indices.flatten(1)
        near = x.gather(2, index.unsqueeze(1).expand(-1, c, -1)).view(b, c, n, -1)
        return torch.cat([near - x.unsqueeze(3), near], dim=1)  # (B, 2C, N, k)

    def block(self, number, x):
        x = self.layer(f"{number}1", self.layer(f"{number}", self.edges(x))).max(dim=3).values
        if number == 3:
            return self.layer("32", x)
        variation = literal_variation(x.detach(), self.n_smooth)
        read = []
        for name, largest in (("s", True), ("g", False)):
            chosen = variation.topk(min(self.n_members, x.shape[2]), largest=largest).indices
            members = x.gather(2, chosen.unsqueeze(1).expand(-1, x.shape[1], -1))
            read.append(self.get_submodule(f"SGCAM_{number}{name}")(x, members))
        return self.layer(f"{number}2", torch.cat(read, dim=1))

    def forward(self, points):
        x = points.transpose(1, 2)
        z1 = self.block(1, x)
        z2 = self.block(2, torch.cat([x, z1], dim=1))
        z3 = self.block(3, torch.cat([x, z1, z2], dim=1))
        x = self.layer("4", torch.cat([z1, z2, z3], dim=1))
        x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
        x = F.relu(self.bn6(self.linear1(x)))
        return self.linear3(F.relu(self.bn7(self.linear2(x))))


@pytest.fixture(scope="module")
def pair():
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = LiteralGDANet().double()
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        for norm in (m for m in literal.modules() if isinstance(m, norms)):
            nn.init.normal_(norm.weight)  # half of them turn their channel around
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    sizes = {"k_local": 6, "M": 9, "k_gdm": 5, "dropout": 0.0}
    return literal, load_official("gdanet", literal.state_dict(), **sizes)


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 29, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("n_points", [29, 4])
def test_outputs_and_gradients_equal_the_literal_form(pair, points, training, n_points):
    literal, ours = (copy.deepcopy(module).train(training) for module in pair)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
    results = []
    for module in (literal, ours):
        cloud = points[:, :n_points].clone().requires_grad_()
        logits = module(cloud)
        (logits * weights).sum().backward()
        results.append((logits.detach(), cloud.grad))

    torch.testing.assert_close(results[1], results[0], rtol=1e-7, atol=1e-9)
    written = _official_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-6, atol=1e-8, msg=name)


def test_running_statistics_follow_the_literal_form(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-8, atol=1e-10, msg=name)


@pytest.fixture
def near_features():
    """Features of which many are within reach of each other: (2, 60, 8)."""
    generator = torch.Generator().manual_seed(3)
    return 0.05 * torch.randn(2, 60, 8, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 12, 60, 64])
def test_sets_are_those_of_the_whole_graph(near_features, k):
    variation = literal_variation(near_features.transpose(1, 2), k)

    sharp, gentle = disentangle(near_features, 20, k)

    expected = [variation.topk(20, largest=largest).indices for largest in (True, False)]
    assert torch.equal(sharp, expected[0]) and torch.equal(gentle, expected[1])
    assert not set(sharp[0].tolist()) & set(gentle[0].tolist())


@pytest.mark.parametrize("change", [{"reach": 0.25}, {"skip": 0}, {"sigma": 0.1}])
def test_sets_depend_on_every_number_of_the_graph(near_features, change):
    """What the test before would not notice is not tested by it."""
    changed = literal_variation(near_features.transpose(1, 2), 12, **change)

    sharp, _ = disentangle(near_features, 20, 12)

    assert not torch.equal(sharp, changed.topk(20).indices)


def test_choosing_sets_ignores_the_order_of_copies():
    features = torch.randn(1, 7, 4).repeat_interleave(3, dim=1)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))

    one = [features[0, chosen[0]] for chosen in disentangle(features, 6, 8)]
    two = [features[0, order][chosen[0]] for chosen in disentangle(features[:, order], 6, 8)]

    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_attention_equals_the_matrix_of_all_pairs():
    module = SetAttention(16).double().eval()
    x, members = torch.randn(2, 11, 16).double(), torch.randn(2, 5, 16).double()

    read = module(x, members)

    weights = module.query(x) @ module.key(members).transpose(1, 2) / 5
    expected = x + module.out(weights @ module.value(members))
    torch.testing.assert_close(read, expected)


def test_edges_carry_the_neighbor_and_not_the_center():
    module = EdgeLayers(3, 8).double().eval()
    points = torch.randn(1, 6, 3).double()
    neighbors = torch.tensor([[[1, 2], [0, 3], [4, 5], [2, 0], [3, 3], [1, 4]]])

    found = module(points, neighbors)

    near = points[0, neighbors[0]]
    own = points[0].unsqueeze(1).expand_as(near)
    edges = {name: torch.cat([near - own, x], -1) for name, x in (("j", near), ("i", own))}
    mapped = {
        name: module.second.forward_points(module.first(each)).amax(1)
        for name, each in edges.items()
    }
    torch.testing.assert_close(found[0], mapped["j"])
    assert not torch.allclose(found[0], mapped["i"])


def test_pieces_of_a_cloud_at_a_time_change_nothing(monkeypatch, pair, points):
    with torch.no_grad():
        whole = pair[1](points)
        monkeypatch.setattr("pointinteract.models.gdanet.chunk_size", lambda like, n_each: 1)
        pieces = pair[1](points)

    torch.testing.assert_close(pieces, whole)


def test_first_graph_is_that_of_the_coordinates():
    model = create_model("gdanet", n_channels=5, n_classes=3, n_neighbors=4)
    points = torch.randn(2, 16, 5)
    seen = []
    model.block1.edges.register_forward_hook(lambda module, args, out: seen.append(args[1]))

    model(points)
    model(torch.cat([points[..., :3], torch.randn(2, 16, 2)], dim=-1))

    assert torch.equal(seen[0], seen[1])


def test_a_checkpoint_of_another_graph_is_refused(pair):
    with pytest.raises(CheckpointError, match="tau"):
        load_official("gdanet", to_official(pair[1]), tau=0.5)


def _official_gradients(module):
    """Gradients of our parameters under official names, through the public way of writing."""
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)
