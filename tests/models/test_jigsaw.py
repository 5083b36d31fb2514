"""Labels of points from the features of any encoder."""

import pytest
import torch

from pointinteract.models import create_model
from pointinteract.models.jigsaw import JigsawNetwork


def make(name, **settings):
    return JigsawNetwork(create_model(name, n_classes=0), n_channels=3, n_labels=8, **settings)


@pytest.fixture
def points():
    return torch.randn(3, 10, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["pointnet", "pointnet_basic", "dgcnn"])
@pytest.mark.parametrize("hidden", [(6,), (6, 5, 4)])
def test_every_point_gets_scores_in_its_order(name, hidden, points):
    network = make(name, hidden=hidden, dropout=0.5).eval()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))

    scores = network(points)

    assert scores.shape == (3, 10, 8)
    torch.testing.assert_close(network(points[:, order]), scores[:, order], atol=1e-4, rtol=1e-4)


def test_the_gradient_of_the_maximum_reaches_the_points(points):
    network = make("pointnet_basic", hidden=(6,)).double()
    features = torch.randn(2, 5, network.width, dtype=torch.float64, requires_grad=True)
    network.encoder.forward_features = lambda _: features
    network.train()

    gradient, = torch.autograd.grad(network(points[:2, :5].double()).square().sum(), features)

    both = torch.cat([features, features.amax(1, keepdim=True).expand_as(features)], dim=2)
    expected = network.out(network.first(both)).square().sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, features)[0])


def test_looking_at_the_encoder_leaves_no_trace():
    encoder = create_model("pointnet", n_classes=0)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}

    network = JigsawNetwork(encoder, n_channels=3, n_labels=8, hidden=(6,))

    assert encoder.training and network.width == 1024
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_frozen_layers_and_double_precision_are_kept():
    encoder = create_model("pointnet_basic", n_classes=0).double()
    encoder.layer1.eval()
    before = [layer.training for layer in encoder.modules()]

    JigsawNetwork(encoder, n_channels=3, n_labels=8)

    assert [layer.training for layer in encoder.modules()] == before


def test_networks_of_tokens_are_refused():
    with pytest.raises(ValueError, match=r"row of features a point.*ReCon answers \(1, 35, 192"):
        make("recon_nano")
