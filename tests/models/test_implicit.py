import pytest
import torch
import torch.nn.functional as F

from pointinteract.models import ImplicitNetwork, PointEmbeddingNetwork, create_model
from pointinteract.models.implicit import FieldPlanes
from pointinteract.nn.point_head import PointHead
from pointinteract.nn.unet import UNet

SMALL = dict(n_channels=3, resolution=8, unet_depth=2, unet_width=4, width=8, hidden=16)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    encoder = create_model("dgcnn", n_classes=0, n_neighbors=4)
    network = ImplicitNetwork(encoder, **SMALL)
    torch.nn.init.normal_(network.decoder.out.weight)
    return network.eval()


@pytest.fixture
def clouds():
    return 0.4 * torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unet_keeps_the_size_and_sees_farther_the_deeper_it_is(depth):
    torch.manual_seed(0)
    net = UNet(2, 3, depth=depth, width=4)
    pictures = torch.randn(1, 2, 16, 16, requires_grad=True)

    out = net(pictures)
    out[0, :, 8, 8].sum().backward()

    assert out.shape == (1, 3, 16, 16)
    reach = (pictures.grad[0].abs().sum(0) > 0).sum()
    assert reach > {1: 8, 2: 60, 3: 200}[depth]
    if depth > 1:
        with pytest.raises(ValueError, match=f"multiples of {2 ** (depth - 1)} for {depth} level"):
            net(torch.zeros(1, 2, 15, 16))


def test_head_is_a_map_of_own_features_and_their_maximum():
    torch.manual_seed(0)
    head = PointHead(6, 4, hidden=8).eval()
    features = torch.randn(2, 10, 6)

    both = torch.cat([features, features.amax(1, keepdim=True).expand_as(features)], dim=2)

    expected = head.out(F.relu(head.first.norm(head.first.linear(both))))
    torch.testing.assert_close(head(features), expected)


def test_planes_hold_means_of_cells_and_are_read_at_their_middles():
    planes = FieldPlanes(2, resolution=4, depth=1, width=2)
    planes.unet = torch.nn.Identity()
    places = torch.tensor([[[-0.75, 0.25, 0.75], [-0.8, 0.3, 0.7], [0.75, 0.25, -0.25]]])
    features = torch.tensor([[[1.0, 10], [3, 30], [5, 50]]])

    laid = planes(places, features)

    assert laid.shape == (1, 3, 2, 4, 4)
    # Three planes: each gives the mean of the first two points at the middle of their cell.
    read = planes.read(laid, places[:, [0, 2]])
    torch.testing.assert_close(read, torch.tensor([[[6.0, 60], [15, 150]]]))


def test_a_place_reads_its_own_corner_of_the_field():
    planes = FieldPlanes(1, resolution=8, depth=1, width=2)
    planes.unet = torch.nn.Identity()
    axes = torch.eye(3).repeat(2, 1) * torch.tensor([[0.6]] * 3 + [[-0.6]] * 3)
    for place in axes:
        laid = planes(place.view(1, 1, 3), torch.ones(1, 1, 1))

        read = planes.read(laid, axes[None])[0, :, 0]

        assert read.argmax() == (axes - place).norm(dim=1).argmin()


def test_field_does_not_depend_on_the_order_of_points_or_places(network, clouds):
    places = torch.rand(2, 9, 3, generator=torch.Generator().manual_seed(1)) - 0.5

    field = network(clouds, places)

    assert field.shape == (2, 9) and field.std() > 0
    torch.testing.assert_close(network(clouds.flip(1), places.flip(1)).flip(1), field)
    torch.testing.assert_close(network(clouds[:1], places[:1]), field[:1])
    assert network.permutation_invariant


def test_what_is_outside_of_the_box_counts_to_its_border(network, clouds):
    assert network(9 * clouds, 9 * clouds).isfinite().all()
    assert (network(clouds, clouds).abs() < 2.2).all()


def test_a_new_network_answers_zero_and_every_weight_is_reached(clouds):
    network = ImplicitNetwork(create_model("pointnet_basic", n_classes=0), **SMALL)
    assert not network(clouds, clouds).any()
    torch.nn.init.ones_(network.decoder.out.weight)
    for block in network.decoder.blocks:
        torch.nn.init.normal_(block[-1].weight)

    network(clouds, clouds).sum().backward()

    without = [name for name, weight in network.named_parameters()
               if weight.grad is None or not weight.grad.isfinite().all()]
    assert without == []


def test_vectors_of_points_are_unit_ones(clouds):
    network = PointEmbeddingNetwork(
        create_model("pointnet_basic", n_classes=0), n_channels=3, n_embedding=5, hidden=8
    )

    vectors = network(clouds)

    assert vectors.shape == (2, 20, 5)
    torch.testing.assert_close(vectors.norm(dim=2), torch.ones(2, 20))


@pytest.mark.parametrize("make", [ImplicitNetwork, PointEmbeddingNetwork])
def test_encoders_of_tokens_are_refused(make):
    with pytest.raises(ValueError, match="one row of features a point is needed.*ReCon answers"):
        make(create_model("recon_nano", n_classes=0), n_channels=3)


def test_an_encoder_that_cannot_be_asked_stays_as_it_was():
    encoder = create_model("pointnet_basic", n_classes=0)
    frozen = next(layer for layer in encoder.modules() if isinstance(layer, torch.nn.BatchNorm1d))
    frozen.eval()
    before = [layer.training for layer in encoder.modules()]

    with pytest.raises(RuntimeError):
        ImplicitNetwork(encoder, n_channels=5)

    assert [layer.training for layer in encoder.modules()] == before and any(before)
