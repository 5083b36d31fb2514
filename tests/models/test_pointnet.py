"""PointNet, both kinds, against literal formulations with convolutions on (B, C, N)."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.models import create_model, load_official, to_official


class LiteralTransform(nn.Module):
    def __init__(self, n_in, size):
        super().__init__()
        self.size = size
        widths = [n_in, 64, 128, 1024]
        for i in range(3):
            self.add_module(f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 1))
        self.fc1, self.fc2 = nn.Linear(1024, 512), nn.Linear(512, 256)
        self.fc3 = nn.Linear(256, size * size)
        for i, width in enumerate([64, 128, 1024, 512, 256]):
            self.add_module(f"bn{i + 1}", nn.BatchNorm1d(width))

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.relu(self.bn3(self.conv3(x))).max(dim=2).values
        x = F.relu(self.bn5(self.fc2(F.relu(self.bn4(self.fc1(x))))))
        return self.fc3(x).view(-1, self.size, self.size) + torch.eye(self.size).to(x)


class LiteralTrunk(nn.Module):
    def __init__(self, n_channels):
        super().__init__()
        self.stn, self.fstn = LiteralTransform(n_channels, 3), LiteralTransform(64, 64)
        widths = [n_channels, 64, 128, 1024]
        for i in range(3):
            self.add_module(f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 1))
            self.add_module(f"bn{i + 1}", nn.BatchNorm1d(widths[i + 1]))

    def forward(self, x):
        turned = self.stn(x).transpose(1, 2) @ x[:, :3]
        x = F.relu(self.bn1(self.conv1(torch.cat([turned, x[:, 3:]], dim=1))))
        transform = self.fstn(x)
        x = F.relu(self.bn2(self.conv2(transform.transpose(1, 2) @ x)))
        return self.bn3(self.conv3(x)).max(dim=2).values, transform


class LiteralPointNet(nn.Module):
    """Section 1.2 of the specification; dropout left out, so that training can be compared."""

    def __init__(self, n_channels=3, k=40):
        super().__init__()
        self.feat = LiteralTrunk(n_channels)
        self.fc1, self.fc2, self.fc3 = nn.Linear(1024, 512), nn.Linear(512, 256), nn.Linear(256, k)
        self.bn1, self.bn2 = nn.BatchNorm1d(512), nn.BatchNorm1d(256)

    def forward(self, points):
        x, transform = self.feat(points.transpose(1, 2))
        x = F.relu(self.bn2(self.fc2(F.relu(self.bn1(self.fc1(x))))))
        gram = transform @ transform.transpose(1, 2) - torch.eye(64).to(x)
        self.penalty = 0.001 * torch.linalg.norm(gram, dim=(1, 2)).mean()
        return self.fc3(x)


class LiteralPointNetBasic(nn.Module):
    """Section 1.5 of the specification, without dropout."""

    def __init__(self, emb_dims=1024, output_channels=40):
        super().__init__()
        widths = [3, 64, 64, 64, 128, emb_dims]
        for i in range(5):
            self.add_module(f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 1, bias=False))
            self.add_module(f"bn{i + 1}", nn.BatchNorm1d(widths[i + 1]))
        self.linear1, self.bn6 = nn.Linear(emb_dims, 512, bias=False), nn.BatchNorm1d(512)
        self.linear2 = nn.Linear(512, output_channels)

    def forward(self, points):
        x = points.transpose(1, 2)
        for i in range(1, 6):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        return self.linear2(F.relu(self.bn6(self.linear1(x.max(dim=2).values))))


SYSTEMS = {
    "pointnet": lambda: LiteralPointNet(k=5),
    "pointnet_basic": lambda: LiteralPointNetBasic(emb_dims=48, output_channels=5),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def pair(request):
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = SYSTEMS[request.param]().double()
        for norm in (m for m in literal.modules() if isinstance(m, nn.BatchNorm1d)):
            nn.init.normal_(norm.weight, mean=0.3)  # some turn their channel around
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    ours = load_official(request.param, literal.state_dict())
    for layer in ours.head.layers:
        layer.dropout = 0.0
    for dropout in ours.head.dropouts:
        dropout.p = 0.0
    return literal, ours


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 27, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
def test_outputs_and_gradients_equal_the_literal_form(pair, points, training):
    literal, ours = (copy.deepcopy(module).train(training) for module in pair)
    weights = torch.linspace(-1, 1, 20, dtype=torch.float64).view(4, 5)
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
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-6, atol=1e-9, msg=name)


def test_running_statistics_follow_the_literal_form(pair, points):
    literal, ours = (copy.deepcopy(module).train() for module in pair)

    for module in (literal, ours):
        module(points)

    written = to_official(ours)
    for name, tensor in literal.state_dict().items():
        torch.testing.assert_close(written[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


def test_pooled_feature_is_the_maximum_of_the_point_features(pair, points):
    for training in (False, True):
        ours = copy.deepcopy(pair[1]).train(training)
        with torch.no_grad():
            rows = copy.deepcopy(ours).forward_features(points)
            pooled = ours.forward_pool(points)

        torch.testing.assert_close(pooled, rows.amax(1), rtol=1e-9, atol=1e-9)


def test_regularizer_equals_the_literal_form_and_is_used_once(points):
    literal = LiteralPointNet(k=5).double()
    ours = load_official("pointnet", literal.state_dict(), k=5).train()
    literal(points)
    ours(points)

    loss = ours.auxiliary_loss()
    loss.backward()

    torch.testing.assert_close(loss, literal.penalty)
    assert ours.feature_transform.out.weight.grad.abs().sum() > 0
    assert ours.auxiliary_loss() == 0
    ours.eval()(points)
    assert ours.auxiliary_loss() == 0


def test_transforms_begin_as_identity_with_finite_gradient(points):
    model = create_model("pointnet", n_classes=5).double()
    rows = model.input_transform(points)

    torch.testing.assert_close(rows, torch.eye(3, dtype=rows.dtype).expand_as(rows))
    (model(points).sum() + model.auxiliary_loss()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_model_can_be_copied_and_pickled_between_forward_and_loss(points):
    model = create_model("pointnet", n_classes=5).double()
    model(points)

    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]

    for each in copies:
        assert torch.equal(each.eval()(points), copies[0].eval()(points))
    assert model.auxiliary_loss().requires_grad


def test_normals_pass_by_the_input_transform():
    literal = LiteralPointNet(n_channels=6, k=5).double().eval()
    ours = load_official("pointnet", literal.state_dict(), k=5, normal_channel=True)
    points = torch.randn(2, 20, 6, dtype=torch.float64)

    torch.testing.assert_close(ours(points), literal(points), rtol=1e-8, atol=1e-10)
