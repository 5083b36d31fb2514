"""PointCNN against a literal formulation: convolutions over the neighbors, by official names."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointCNN, load_official, to_official
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.xconv import XConv
from pointinteract.ops import gather, knn

NUMBERS = {
    "n_neighbors": (4, 3, 3, 2),
    "dilations": (1, 2, 2, 3),
    "n_queries": (None, 12, 7, 7),
    "widths": (16, 24, 32, 40),
    "hidden": (12, 10),
    "dropout": 0.0,
}
LAYERS = [
    {"K": 4, "D": 1, "P": -1, "C": 16},
    {"K": 3, "D": 2, "P": 12, "C": 24},
    {"K": 3, "D": 2, "P": 7, "C": 32},
    {"K": 2, "D": 3, "P": 7, "C": 40},
]


class Literal:
    """The network as section 4 of the specification tells it; tensors by official names."""

    def __init__(self, state, training):
        self.state, self.training = state, training

    def norm(self, x, name):  # channels last
        gamma, beta, mean, var = (
            self.state[f"{name}_bn/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        rows = x.reshape(-1, x.shape[-1])
        rows = F.batch_norm(rows, mean, var, gamma, beta, self.training, 0.01, 1e-3)
        return rows.view(x.shape)

    def dense(self, x, name):
        return self.norm(F.elu(x @ self.state[f"{name}/kernel"]), name)

    def depthwise(self, x, kernel):
        """(B, P, K, C) with (1, K, C, D): one output in place of K, channel-major (B, P, C D)."""
        weight = kernel.permute(2, 3, 0, 1).flatten(0, 1).unsqueeze(1)  # (C D, 1, 1, K)
        return F.conv2d(x.permute(0, 3, 1, 2), weight, groups=x.shape[-1])[..., 0].mT

    def xconv(self, xyz, features, tag, k, dilation, n_queries):
        queries = xyz[:, :n_queries]
        distance = (queries.unsqueeze(2) - xyz.unsqueeze(1)).square().sum(-1)
        nearest = distance.argsort(dim=-1, stable=True)[..., : k * dilation]
        index = nearest[..., ::dilation]
        offsets = gather(xyz, index) - queries.unsqueeze(2)
        rows = self.dense(self.dense(offsets, f"{tag}_nn_fts_from_pts_0"),
                          f"{tag}_nn_fts_from_pts")  # fmt: skip
        if features is not None:
            rows = torch.cat([rows, gather(features, index)], dim=-1)
        kernel = self.state[f"{tag}_X_0/kernel"].permute(3, 2, 0, 1)  # (K K, 3, 1, K)
        x = F.conv2d(offsets.permute(0, 3, 1, 2), kernel)[..., 0].mT
        x = self.norm(F.elu(x), f"{tag}_X_0").unflatten(-1, (k, k))
        x = self.depthwise(x, self.state[f"{tag}_X_1/depthwise_weights"])
        x = self.norm(F.elu(x), f"{tag}_X_1").unflatten(-1, (k, k))
        x = self.depthwise(x, self.state[f"{tag}_X_2/depthwise_weights"])
        x = self.norm(x, f"{tag}_X_2").unflatten(-1, (k, k))
        rows = self.depthwise(x @ rows, self.state[f"{tag}_fts_conv/depthwise_kernel"])
        rows = rows @ self.state[f"{tag}_fts_conv/pointwise_kernel"][0, 0]
        rows = self.norm(F.elu(rows), f"{tag}_fts_conv")
        if f"{tag}_fts_global/kernel" in self.state:
            places = self.dense(self.dense(queries, f"{tag}_fts_global_0"), f"{tag}_fts_global")
            rows = torch.cat([places, rows], dim=-1)
        return queries, rows

    def scores(self, points):
        """Of each representative, (B, P, n_classes)."""
        xyz, features = points[..., :3], None
        if points.shape[-1] > 3:
            features = self.dense(points[..., 3:], "features_hd")
        for i, layer in enumerate(LAYERS, start=1):
            n_queries = xyz.shape[1] if layer["P"] == -1 else layer["P"]
            xyz, features = self.xconv(
                xyz, features, f"xconv_{i}", layer["K"], layer["D"], n_queries
            )
        rows = self.dense(self.dense(features, "fc0"), "fc1")
        return rows @ self.state["logits/kernel"] + self.state["logits/bias"]


@pytest.fixture(params=[3, 5], ids=["coordinates", "channels"])
def ours(request):
    """A small network in float64, some gains negative, its statistics moved."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = PointCNN(n_channels=request.param, n_classes=5, **NUMBERS).double().eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            for name, buffer in network.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_(std=0.1)
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 2.0)
    return network


@pytest.fixture
def points(ours):
    generator = torch.Generator().manual_seed(1)
    shape = (3, 29, ours.config["n_channels"])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_outputs_and_gradients_equal_the_literal_form_in_evaluation(ours, points):
    state = with_gradients(ours)
    weights = torch.linspace(-1, 1, 15, dtype=torch.float64).view(3, 5)
    clouds = [points.clone().requires_grad_() for _ in range(2)]

    logits = ours(clouds[0])
    expected = Literal(state, training=False).scores(clouds[1]).mean(1)
    (logits * weights).sum().backward()
    (expected * weights).sum().backward()

    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(clouds[0].grad, clouds[1].grad, rtol=1e-8, atol=1e-10)
    assert_same_gradients(ours, state)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_training_supervises_every_representative_as_the_original(ours, points, smoothing):
    state = with_gradients(ours)
    target = torch.tensor([1, 0, 4])
    ours.train()

    scores = Literal(state, training=True).scores(points)
    every = target.unsqueeze(1).expand(scores.shape[:2]).flatten()
    expected = F.cross_entropy(scores.flatten(0, 1), every, label_smoothing=smoothing)
    expected.backward()
    loss = F.cross_entropy(ours(points), target, label_smoothing=smoothing)
    added = ours.auxiliary_loss()
    (loss + added).backward()

    assert added > 0.01
    torch.testing.assert_close(loss + added, expected, rtol=1e-9, atol=1e-11)
    assert_same_gradients(ours, state)
    written = to_official(ours)
    for key in state:
        torch.testing.assert_close(written[key], state[key], rtol=1e-9, atol=1e-11, msg=key)


def with_gradients(ours):
    """The official state of a module, asking for gradients of all but statistics."""
    state = to_official(ours)
    return {key: value.requires_grad_("moving" not in key) for key, value in state.items()}


def assert_same_gradients(ours, state):
    carrier = copy.deepcopy(ours)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), ours.parameters(), strict=True):
            parameter.copy_(source.grad)
    written = to_official(carrier)
    compared = [key for key in state if state[key].grad is not None]
    assert len(compared) == len(list(ours.parameters()))
    for key in compared:
        torch.testing.assert_close(written[key], state[key].grad, rtol=1e-7, atol=1e-9, msg=key)


def test_auxiliary_loss_belongs_to_one_pass_in_training_mode(ours, points):
    ours(points)
    assert ours.auxiliary_loss() == 0
    ours.train()(points)

    assert pickle.loads(pickle.dumps(ours)).auxiliary_loss() == 0
    assert ours.auxiliary_loss() > 0 and ours.auxiliary_loss() == 0
    ours.reset_classifier(0)
    ours(points)
    assert ours.auxiliary_loss() == 0


def test_official_checkpoint_comes_back_with_its_layers(ours, points):
    again = load_official("pointcnn", to_official(ours), xconv=LAYERS, x=1, dropout=0.0)

    assert again.config == ours.config
    with torch.no_grad():
        assert torch.equal(again(points), ours(points))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xconv", [layer | {"K": 4} for layer in LAYERS]),
        ("x", 3),
        ("fc", [12, 11]),
        ("with_global", False),
        ("activation", "ReLU"),
    ],
)
def test_sizes_that_do_not_fit_are_named(ours, name, value):
    with pytest.raises(CheckpointError, match=f"{name}="):
        load_official("pointcnn", to_official(ours), **{"xconv": LAYERS, name: value})


def test_neighbors_are_every_other_of_the_nearest():
    xyz = torch.arange(20.0).view(1, 20, 1).expand(1, 20, 3)
    layer = XConv(0, 4, n_lifted=2, n_neighbors=3, dilation=2)

    assert layer._neighbors(xyz[:, :1], xyz).tolist() == [[[0, 2, 4]]]


@pytest.mark.parametrize(
    ("n_points", "expected"),
    [(6, [0, 2, 4]), (5, [0, 1, 2]), (3, [0, 1, 2]), (2, [0, 1, 0]), (1, [0, 0, 0])],
)
def test_in_small_clouds_neighbors_stand_nearer_and_the_nearest_fills_up(n_points, expected):
    xyz = torch.arange(float(n_points)).view(1, -1, 1).expand(1, n_points, 3)
    layer = XConv(0, 4, n_lifted=2, n_neighbors=3, dilation=2)

    assert layer._neighbors(xyz[:, :1], xyz).tolist() == [[expected]]


def test_order_of_neighbors_matters(ours, points, monkeypatch):
    """Nearest last is another network; so are the nearest without leaving any out."""
    expected = ours(points)

    for change in (
        lambda index: index.flip(-1),
        lambda index: index.roll(1, -1),
    ):
        with monkeypatch.context() as patch:
            patch.setattr("pointinteract.nn.xconv.knn", lambda q, p, k, c=change: c(knn(q, p, k)))
            assert (ours(points) - expected).abs().max() > 1e-2


def test_representatives_are_the_first_points(ours, points):
    moved = points.clone()
    moved[:, [0, -1]] = points[:, [-1, 0]]  # a representative changes places with another point
    unmoved = points.clone()
    unmoved[:, [-2, -1]] = points[:, [-1, -2]]  # two that represent nothing after layer 1

    features = ours.forward_features(points)

    assert features.shape == (3, 7, 10)
    assert (ours(moved) - ours(points)).abs().max() > 1e-3
    torch.testing.assert_close(ours(unmoved), ours(points), rtol=1e-9, atol=1e-11)


def test_layers_of_different_number_are_refused():
    with pytest.raises(ValueError, match="as many layers each.* got 4, 4, 4, 3"):
        PointCNN(widths=(48, 96, 192))


@pytest.mark.parametrize("n_channels", [2, 5])
def test_channels_that_would_not_be_looked_at_are_refused(n_channels):
    network = PointCNN(n_channels=3, n_classes=2).eval()

    with pytest.raises(ValueError, match=rf"\(B, N, 3\).*got \(2, 9, {n_channels}\)"):
        network(torch.zeros(2, 9, n_channels))


def test_a_head_that_is_not_linear_sees_the_mean_in_both_modes(ours, points):
    network = copy.deepcopy(ours).train()
    network.dropout.p = 0.0
    network.head = ClassifierHead(network.num_features, (6,), 5).to(points)

    logits = network(points)

    torch.testing.assert_close(logits, network.head(network.forward_pool(points)))
    assert network.auxiliary_loss() == 0
