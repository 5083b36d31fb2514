"""PCN's encoder against a literal formulation, on (B, C, N) with convolutions."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import create_model, load_official, to_official


class LiteralPCN(nn.Module):
    """Point MLP, maximum, the maximum beside every point, point MLP, maximum, head."""

    def __init__(self, num_class=40, num_channel=3, dropout=0.3):
        super().__init__()
        self.feat = nn.Module()
        self.feat.conv1 = nn.Conv1d(num_channel, 128, 1)
        self.feat.conv2 = nn.Conv1d(128, 256, 1)
        self.feat.conv3 = nn.Conv1d(512, 512, 1)
        self.feat.conv4 = nn.Conv1d(512, 1024, 1)
        self.fc1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.dp1, self.dp2 = nn.Dropout(dropout), nn.Dropout(dropout)
        self.fc3 = nn.Linear(256, num_class)

    def rows(self, points):
        local = self.feat.conv2(F.relu(self.feat.conv1(points.transpose(1, 2))))
        whole = local.max(dim=2, keepdim=True).values.expand_as(local)
        return self.feat.conv4(F.relu(self.feat.conv3(torch.cat([local, whole], dim=1))))

    def forward(self, points):
        x = self.rows(points).max(dim=2).values
        x = self.dp1(F.relu(self.bn1(self.fc1(x))))
        x = self.dp2(F.relu(self.bn2(self.fc2(x))))
        return self.fc3(x)


@pytest.fixture(scope="module")
def pair():
    """The literal network and ours with the same weights; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = LiteralPCN(num_class=5, num_channel=4, dropout=0.0).double()
        for norm in (literal.bn1, literal.bn2):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    ours = load_official("pcn", literal.state_dict(), num_class=5, num_channel=4, dropout=0.0)
    return literal, ours


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 21, 4, generator=generator, dtype=torch.float64)


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

    torch.testing.assert_close(results[1], results[0], rtol=1e-8, atol=1e-11)
    written = _official_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-7, atol=1e-11, msg=name)


def test_point_features_are_what_the_maximum_is_taken_of(pair, points):
    literal, ours = pair
    with torch.no_grad():
        expected = literal.rows(points).transpose(1, 2)
        found, pooled = ours.forward_features(points), ours.forward_pool(points)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(pooled, expected.amax(1))


def test_a_point_is_judged_in_view_of_the_others(pair, points):
    """Removing others changes a point's own feature: this is no plain pooling over a set."""
    ours = pair[1]
    with torch.no_grad():
        among_all, among_few = ours.forward_features(points), ours.forward_features(points[:, :3])

    assert not torch.allclose(among_all[:, :3], among_few)


def test_structure_answers_for_repeated_and_absent_points(pair, points):
    ours = pair[1]
    counts = torch.tensor([[1, 2, 0, 3, 1], [0, 0, 4, 1, 2], [5, 0, 0, 0, 0]])
    with torch.no_grad():
        found = ours.structure().forward(points[:, :5], counts)
        expected = [
            ours(cloud.repeat_interleave(times, dim=0)[None])
            for cloud, times in zip(points[:, :5], counts, strict=True)
        ]

    torch.testing.assert_close(found, torch.cat(expected))


def test_state_comes_back_to_the_last_bit(pair):
    literal, ours = pair
    state, written = literal.state_dict(), to_official(ours)

    assert set(written) == set(state)
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_published_size():
    model = create_model("pcn")

    n_parameters = sum(p.numel() for p in model.parameters())

    # 512 + 33,024 + 262,656 + 525,312 in the encoder, then the head
    assert n_parameters == 821_504 + 524_800 + 1_024 + 131_328 + 512 + 10_280


def test_wrong_sizes_are_named(pair):
    with pytest.raises(CheckpointError, match="num_class=6"):
        load_official("pcn", pair[0].state_dict(), num_class=6)


def _official_gradients(module):
    """Gradients of our parameters under official names, through the public way of writing."""
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)
