"""PCT against a literal formulation: all edges written out, each level sampled anew."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.models import PCT, create_model, load_official, to_official
from pointinteract.models.pct import NeighborEmbedding, OffsetAttention
from pointinteract.ops import farthest_point_sample, gather, knn

SAMPLES, NEIGHBORS = (18, 9), 5


class LiteralLocal(nn.Module):
    """Sample, find neighbors, join [f_j - f_i, f_i], two convolutions, maximum."""

    def __init__(self, width, n_samples):
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, 1, bias=False)
        self.conv2 = nn.Conv1d(width, width, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)
        self.n_samples = n_samples

    def forward(self, xyz, x):  # (B, N, 3), (B, N, C)
        picked = farthest_point_sample(xyz, min(self.n_samples, xyz.shape[1]))
        places, own = gather(xyz, picked), gather(x, picked)
        distance = (places.unsqueeze(2) - xyz.unsqueeze(1)).square().sum(-1)
        index = distance.argsort(dim=-1, stable=True)[..., :NEIGHBORS]
        own = own.unsqueeze(2).expand(-1, -1, index.shape[2], -1)
        edges = torch.cat([gather(x, index) - own, own], dim=-1)  # (B, M, K, 2C)
        rows = edges.flatten(0, 1).transpose(1, 2)
        rows = F.relu(self.bn1(self.conv1(rows)))
        rows = F.relu(self.bn2(self.conv2(rows)))
        return places, rows.amax(2).view(*picked.shape, -1)


class LiteralAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.q_conv = nn.Conv1d(width, width // 4, 1, bias=False)
        self.k_conv = nn.Conv1d(width, width // 4, 1, bias=False)
        self.k_conv.weight = self.q_conv.weight
        self.v_conv = nn.Conv1d(width, width, 1)
        self.trans_conv = nn.Conv1d(width, width, 1)
        self.after_norm = nn.BatchNorm1d(width)

    def forward(self, x):  # (B, C, N)
        energy = self.q_conv(x).transpose(1, 2) @ self.k_conv(x)
        attention = energy.softmax(-1)
        attention = attention / (1e-9 + attention.sum(dim=1, keepdim=True))
        offset = x - self.v_conv(x) @ attention
        return x + F.relu(self.after_norm(self.trans_conv(offset)))


class LiteralStack(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(256, 256, 1, bias=False)
        self.conv2 = nn.Conv1d(256, 256, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(256), nn.BatchNorm1d(256)
        self.sa1, self.sa2, self.sa3, self.sa4 = (LiteralAttention(256) for _ in range(4))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        found = []
        for layer in (self.sa1, self.sa2, self.sa3, self.sa4):
            x = layer(x)
            found.append(x)
        return torch.cat(found, dim=1)


class LiteralPCT(nn.Module):
    """The network as section 5 of the specification tells it, without dropout."""

    def __init__(self, n_classes=5):
        super().__init__()
        self.conv1 = nn.Conv1d(3, 64, 1, bias=False)
        self.conv2 = nn.Conv1d(64, 64, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(64), nn.BatchNorm1d(64)
        self.gather_local_0 = LiteralLocal(128, SAMPLES[0])
        self.gather_local_1 = LiteralLocal(256, SAMPLES[1])
        self.pt_last = LiteralStack()
        self.conv_fuse = nn.Sequential(
            nn.Conv1d(1280, 1024, 1, bias=False), nn.BatchNorm1d(1024), nn.LeakyReLU(0.2)
        )
        self.linear1, self.bn6 = nn.Linear(1024, 512, bias=False), nn.BatchNorm1d(512)
        self.linear2, self.bn7 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.linear3 = nn.Linear(256, n_classes)

    def forward(self, points):
        x = F.relu(self.bn1(self.conv1(points.transpose(1, 2))))
        x = F.relu(self.bn2(self.conv2(x))).transpose(1, 2)
        xyz, x = self.gather_local_0(points, x)
        xyz, x = self.gather_local_1(xyz, x)
        x = x.transpose(1, 2)
        x = self.conv_fuse(torch.cat([self.pt_last(x), x], dim=1)).amax(2)
        x = F.leaky_relu(self.bn6(self.linear1(x)), 0.2)
        x = F.leaky_relu(self.bn7(self.linear2(x)), 0.2)
        return self.linear3(x)


def unsettle(module):
    """Give normalizations gains of both signs and statistics of their own."""
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return module


@pytest.fixture(scope="module")
def pair():
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        literal = unsettle(LiteralPCT().double())
    ours = load_official("pct", literal.state_dict(), dropout=0.0)
    ours.n_samples, ours.n_neighbors = SAMPLES, NEIGHBORS
    return literal, ours


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 29, 3, generator=generator, dtype=torch.float64)


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

    torch.testing.assert_close(results[1], results[0], rtol=1e-7, atol=1e-9)
    carrier = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), ours.parameters(), strict=True):
            parameter.copy_(source.grad)
    written = to_official(carrier)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-6, atol=1e-8, msg=name)


def test_running_statistics_follow_the_literal_form(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-8, atol=1e-10, msg=name)


def test_without_gradients_few_clouds_at_a_time_give_the_same(pair, points, monkeypatch):
    ours = pair[1]
    expected = ours(points).detach()

    monkeypatch.setattr("pointinteract.nn.pooling._CHUNK_CPU", 1)
    with torch.no_grad():
        torch.testing.assert_close(ours(points), expected, rtol=1e-9, atol=1e-11)


def test_shares_are_normalized_over_those_who_read():
    """The other axis, or no second normalization, is another network."""
    torch.manual_seed(0)
    layer = OffsetAttention(8).double().eval()
    x = 2.0 * torch.randn(2, 6, 8, dtype=torch.float64)
    query, value = layer.query_key(x), layer.value(x)
    rows = (query @ query.mT).softmax(-1)

    def passed_on(shares):
        return x + layer.update(x - shares @ value)

    columns = rows / (1e-9 + rows.sum(1, keepdim=True))
    torch.testing.assert_close(layer(x), passed_on(columns.mT), rtol=1e-10, atol=1e-12)
    for wrong in (columns, rows, rows.mT):
        assert (layer(x) - passed_on(wrong)).abs().max() > 1e-3


def test_a_place_that_nobody_reads_reads_nothing():
    """Where all shares vanish, the small constant keeps what was read at zero, not NaN."""
    layer = OffsetAttention(4).double().eval()
    torch.nn.init.ones_(layer.query_key.weight)
    x = torch.tensor([[[1.0], [50.0]]], dtype=torch.float64).expand(1, 2, 4).contiguous()
    shares = (x.sum(-1, keepdim=True) @ x.sum(-1).unsqueeze(1)).softmax(-1)
    assert shares[0, :, 0].sum() < 1e-30

    found = layer(x)

    expected = x[:, :1] + layer.update(x[:, :1])
    torch.testing.assert_close(found[:, :1], expected, rtol=1e-10, atol=1e-12)


def test_edges_begin_with_the_difference():
    """[f_i, f_j - f_i] instead of [f_j - f_i, f_i] is another network."""
    torch.manual_seed(1)
    layer = NeighborEmbedding(3, 4).eval()
    features = torch.randn(1, 7, 3)
    neighbors = knn(features[:, :2], features, 4)
    near = gather(features, neighbors)
    own = features[:, :2].unsqueeze(2).expand_as(near)

    def described(edges):
        rows = F.relu(layer.norm(layer.linear(edges)))
        return F.relu(layer.last.norm(layer.last.linear(rows))).amax(2)

    found = layer(features, features[:, :2], neighbors)
    torch.testing.assert_close(found, described(torch.cat([near - own, own], -1)))
    assert not torch.allclose(found, described(torch.cat([own, near - own], -1)), atol=1e-3)


@pytest.mark.parametrize("n_points", [1, 3, 20, 33])
def test_clouds_smaller_than_samples_and_neighborhoods(n_points):
    model = create_model("pct", n_classes=3).eval()

    with torch.no_grad():
        features = model.forward_features(torch.randn(2, n_points, 3))

    assert features.shape == (2, n_points, 1024) and torch.isfinite(features).all()


def test_further_channels_do_not_decide_on_neighbors():
    model = PCT(n_channels=5, n_classes=3, n_samples=(12, 6), n_neighbors=4).eval()
    seen = []
    for layer in (model.embed1, model.embed2):
        layer.register_forward_hook(lambda layer, args, out: seen.append(args[2]))
    points = torch.randn(2, 16, 5)

    with torch.no_grad():
        model(points)
        model(torch.cat([points[..., :3], torch.randn(2, 16, 2)], dim=-1))

    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert seen[0].shape == (2, 12, 4) and seen[1].shape == (2, 6, 4)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"n_samples": (4, 8)}, r"n_samples .* got \(4, 8\)"),
        ({"n_samples": (4, 0)}, r"n_samples .* got \(4, 0\)"),
        ({"n_neighbors": 0}, "n_neighbors must be at least 1, got 0"),
    ],
)
def test_impossible_numbers_are_refused(numbers, said):
    with pytest.raises(ValueError, match=said):
        PCT(**numbers)


@pytest.mark.golden
def test_golden_samples(shared):
    with np.load(shared / "golden" / "pct" / "golden.npz", allow_pickle=False) as arrays:
        points, expected = torch.from_numpy(arrays["input"]), arrays["fps_index"]

    first = farthest_point_sample(points, 512)
    again = farthest_point_sample(gather(points, first), 256)

    np.testing.assert_array_equal(first, expected)
    assert torch.equal(again, torch.arange(256).expand(2, -1))  # samples of samples come first
