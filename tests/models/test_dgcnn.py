"""DGCNN against a literal formulation: every edge mapped, normalized, rectified, then pooled."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.models import create_model, load_official, to_official


class LiteralDGCNN(nn.Module):
    """The network as section 3 of the specification tells it, on (B, C, N) with convolutions."""

    def __init__(self, k=20, emb_dims=1024, output_channels=40, dropout=0.5):
        super().__init__()
        self.k = k
        self.bn1, self.bn2 = nn.BatchNorm2d(64), nn.BatchNorm2d(64)
        self.bn3, self.bn4 = nn.BatchNorm2d(128), nn.BatchNorm2d(256)
        self.bn5 = nn.BatchNorm1d(emb_dims)
        slope = nn.LeakyReLU(0.2)
        self.conv1 = nn.Sequential(nn.Conv2d(6, 64, 1, bias=False), self.bn1, slope)
        self.conv2 = nn.Sequential(nn.Conv2d(128, 64, 1, bias=False), self.bn2, slope)
        self.conv3 = nn.Sequential(nn.Conv2d(128, 128, 1, bias=False), self.bn3, slope)
        self.conv4 = nn.Sequential(nn.Conv2d(256, 256, 1, bias=False), self.bn4, slope)
        self.conv5 = nn.Sequential(nn.Conv1d(512, emb_dims, 1, bias=False), self.bn5, slope)
        self.linear1 = nn.Linear(2 * emb_dims, 512, bias=False)
        self.bn6, self.dp1 = nn.BatchNorm1d(512), nn.Dropout(dropout)
        self.linear2 = nn.Linear(512, 256)
        self.bn7, self.dp2 = nn.BatchNorm1d(256), nn.Dropout(dropout)
        self.linear3 = nn.Linear(256, output_channels)

    def edges(self, x):
        b, c, n = x.shape
        norms = (x * x).sum(1, keepdim=True)
        distance = norms.transpose(1, 2) - 2 * x.transpose(1, 2) @ x + norms
        index = distance.topk(min(self.k, n), dim=2, largest=False).indices.flatten(1)
        near = x.gather(2, index.unsqueeze(1).expand(-1, c, -1)).view(b, c, n, -1)
        own = x.unsqueeze(3).expand_as(near)
        return torch.cat([near - own, own], dim=1)  # (B, 2C, N, k)

    def forward(self, points):
        x = points.transpose(1, 2)
        found = []
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = conv(self.edges(x)).max(dim=3).values
            found.append(x)
        x = self.conv5(torch.cat(found, dim=1))
        x = torch.cat([x.max(dim=2).values, x.mean(dim=2)], dim=1)
        x = self.dp1(F.leaky_relu(self.bn6(self.linear1(x)), 0.2))
        x = self.dp2(F.leaky_relu(self.bn7(self.linear2(x)), 0.2))
        return self.linear3(x)


@pytest.fixture(scope="module")
def pair():
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = LiteralDGCNN(k=6, emb_dims=32, output_channels=5, dropout=0.0).double()
        norms = (nn.BatchNorm1d, nn.BatchNorm2d)
        for norm in (m for m in literal.modules() if isinstance(m, norms)):
            nn.init.normal_(norm.weight)  # half of them turn their channel around
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    ours = load_official("dgcnn", literal.state_dict(), k=6, emb_dims=32, dropout=0.0)
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

    torch.testing.assert_close(results[1], results[0], rtol=1e-8, atol=1e-10)
    written = _official_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(
            written[name], parameter.grad, rtol=1e-7, atol=1e-10, msg=name
        )


def test_running_statistics_follow_the_literal_form(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


def test_training_statistics_do_not_cancel_for_clouds_far_from_the_origin(pair):
    """Edges are small and offsets large: the variance must not be a difference of squares."""
    literal, ours = (copy.deepcopy(module).train() for module in pair)
    generator = torch.Generator().manual_seed(2)
    points = 20.0 + 0.01 * torch.randn(4, 32, 3, generator=generator, dtype=torch.float64)
    literal(points)

    ours.float()(points.float())

    rows = literal.bn1.running_var - 0.9 * pair[0].bn1.running_var
    found = to_official(ours)["bn1.running_var"].double() - 0.9 * pair[0].bn1.running_var
    assert (found > 0).all()
    torch.testing.assert_close(found, rows, rtol=2e-2, atol=2e-6)


def test_graph_is_found_anew_in_every_layer(pair, points):
    ours = pair[1]
    with torch.no_grad():
        once = ours._neighbors(points)
        x = ours.edge1(points, once)
        moved, still = ours.edge2(x, ours._neighbors(x)), ours.edge2(x, once)

    assert not torch.allclose(moved, still)


def test_fewer_points_than_neighbors_use_what_there_is():
    model = create_model("dgcnn", n_classes=3).eval()

    with torch.no_grad():
        logits = model(torch.randn(2, 5, 3))

    assert logits.shape == (2, 3) and torch.isfinite(logits).all()


def test_first_graph_is_that_of_the_coordinates():
    model = create_model("dgcnn", n_channels=5, n_classes=3, n_neighbors=4)
    points = torch.randn(2, 16, 5)
    seen = []
    model.edge1.register_forward_hook(lambda module, args, out: seen.append(args[1]))

    model(points)
    model(torch.cat([points[..., :3], torch.randn(2, 16, 2)], dim=-1))

    assert torch.equal(seen[0], seen[1])


def _official_gradients(module):
    """Gradients of our parameters under official names, through the public way of writing."""
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)
