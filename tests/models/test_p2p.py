"""P2P against a literal formulation: every edge mapped, nine pixels written for every point."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import P2P, create_model, load_official, to_official
from pointinteract.nn.painting import object_cells, tilted_rotations
from pointinteract.nn.resnet import BasicBlock, ResNet

OBJECT, PICTURE = 20, 24


class LiteralEncoder(nn.Module):
    """Section 10 of the specification on (B, C, N) and (B, C, H, W), with convolutions."""

    def __init__(self, n_neighbors):
        super().__init__()
        self.k = n_neighbors
        self.input_trans = nn.Conv1d(3, 8, 1)
        self.graph_layer = nn.Sequential(
            nn.Conv2d(16, 64, 1, bias=False), nn.GroupNorm(4, 64), nn.LeakyReLU(0.2)
        )
        self.proj_layer = nn.Conv1d(64, 64, 1)
        self.img_block = nn.Sequential(BasicBlock(64, 64), nn.Conv2d(64, 64, 1))
        self.img_layer = nn.Conv2d(64, 3, 1)

    def features(self, cloud):
        f = self.input_trans(cloud.transpose(1, 2))
        index = torch.cdist(cloud, cloud).topk(self.k, largest=False).indices.flatten(1)
        near = f.gather(2, index.unsqueeze(1).expand(-1, 8, -1)).unflatten(2, (-1, self.k))
        own = f.unsqueeze(3).expand_as(near)
        edges = self.graph_layer(torch.cat([near - own, own], dim=1))
        return self.proj_layer(edges.max(dim=3).values)  # (B, 64, N)

    def forward(self, cloud, turned):
        f = self.features(cloud)
        low, high = turned.min(1).values[:, :2], turned.max(1).values[:, :2]
        side = (high - low).max(1).values / (OBJECT - 3)
        cell = ((turned[..., :2] - low[:, None]) / side[:, None, None]).floor()
        steps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2)).to(cell)
        cells = cell[:, :, None] + steps + 1  # (B, N, 9, 2)
        middle = ((cells.amax((1, 2)) + cells.amin((1, 2))) / 2).floor()
        cells = (cells + (OBJECT / 2 - middle - 1)[:, None, None]).long()
        assert cells.min() >= 0 and cells.max() < OBJECT
        canvas = f.new_zeros(len(f), 64, OBJECT * OBJECT)
        place = (cells[..., 0] * OBJECT + cells[..., 1]).flatten(1)  # (B, 9 N)
        canvas = canvas.scatter_add(
            2, place.unsqueeze(1).expand(-1, 64, -1), f.repeat_interleave(9, dim=2)
        )
        margin = (PICTURE - OBJECT) // 2
        canvas = F.pad(canvas.unflatten(2, (OBJECT, OBJECT)), [margin] * 4)
        picture = self.img_layer(self.img_block(canvas)).sigmoid()
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        return (picture - mean) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class LiteralP2P(nn.Module):
    def __init__(self, n_neighbors=6, n_classes=5):
        super().__init__()
        self.enc = LiteralEncoder(n_neighbors)
        self.base_model = ResNet(n_classes=n_classes, widths=(8, 8, 16, 16), n_blocks=(1,) * 4)

    def forward(self, points):
        cloud = points[..., [2, 0, 1]] * torch.tensor([-1.0, -1.0, 1.0])
        turned = cloud @ rotation(0.575 * math.pi, -0.35 * math.pi).T.to(cloud)
        return self.base_model(self.enc(cloud, turned))


def rotation(theta, phi):
    """R1(-theta about z) R2(-phi about (sin theta, -cos theta, 0)), by the exponential."""

    def about(axis, angle):
        x, y, z = axis
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        return torch.matrix_exp(angle * cross)

    axis = (math.sin(theta), -math.cos(theta), 0.0)
    return about((0.0, 0.0, 1.0), -theta) @ about(axis, -phi)


@pytest.fixture(scope="module")
def pair():
    """The literal network and ours with the same weights, some gains negative; float64."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        literal = LiteralP2P().double()
        norms = (nn.BatchNorm2d, nn.GroupNorm)
        for norm in (m for m in literal.modules() if isinstance(m, norms)):
            nn.init.normal_(norm.weight)  # half of them turn their channel around
            nn.init.normal_(norm.bias)
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.normal_(norm.running_mean, std=0.1)
                nn.init.uniform_(norm.running_var, 0.5, 2.0)
    ours = load_official(
        "p2p", literal.state_dict(), local_size=6, obj_size=OBJECT, img_size=PICTURE
    )
    return literal, ours


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 29, 3, generator=generator, dtype=torch.float64)


def small(**numbers):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ResNet(widths=(8, 8, 8, 8), n_blocks=(1,) * 4)
        sizes = {"object_size": OBJECT, "picture_size": PICTURE, "n_neighbors": 6}
        return P2P(n_classes=4, **{"picture_network": network, **sizes, **numbers})


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

    torch.testing.assert_close(results[1], results[0], rtol=1e-9, atol=1e-10)
    written = _official_gradients(ours)
    for name, parameter in literal.named_parameters():
        torch.testing.assert_close(written[name], parameter.grad, rtol=1e-8, atol=1e-9, msg=name)


def test_point_features_equal_the_literal_form_far_from_the_origin(pair, points):
    """Edges are small and offsets large: the variance must not be a difference of squares."""
    literal, ours = pair
    far = 20.0 + 0.05 * points
    cloud = far[..., [2, 0, 1]] * torch.tensor([-1.0, -1.0, 1.0])
    with torch.no_grad():
        expected = literal.enc.features(cloud).transpose(1, 2)
        found = copy.deepcopy(ours).float().forward_features(far.float())

    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-3)


def test_rotations_are_the_published_ones():
    thetas = torch.tensor([0.1, 1.3, 4.0], dtype=torch.float64)
    phis = torch.tensor([-0.9, 0.2, -1.2], dtype=torch.float64)

    found = tilted_rotations(thetas, phis)

    expected = [rotation(*pair) for pair in zip(thetas.tolist(), phis.tolist(), strict=True)]
    torch.testing.assert_close(found, torch.stack(expected))


def test_a_cloud_fills_its_square_to_the_last_cell_whatever_its_size():
    generator = torch.Generator().manual_seed(3)
    plane = torch.randn(200, 40, 2, generator=generator) * torch.rand(200, 1, 1) * 9.0

    cells = object_cells(plane, 48)

    low, high = cells.amin(1) - 1, cells.amax(1) + 1  # footprints are 3x3
    longer = (high - low).amax(1)
    assert (longer == 47).all()  # by rounding, some would end a cell earlier
    assert (low >= 0).all() and (high <= 47).all()
    assert ((low + high - 47).abs() <= 1).all()  # in the middle


def test_a_cloud_of_one_point_stands_in_the_middle():
    cells = object_cells(torch.full((1, 4, 2), 3.0), 10)

    assert (cells == 4).all()


def test_views_are_averaged_in_evaluation(points):
    several = small(n_views=3, n_tilts=2, theta=0.1).eval().double()
    pictures = several.forward_pictures(points)
    with torch.no_grad():
        found = several(points)
        one_by_one = [several.head(several.picture_network(p)) for p in pictures.unbind(1)]

    assert pictures.shape == (3, 6, 3, PICTURE, PICTURE)
    torch.testing.assert_close(found, torch.stack(one_by_one).mean(0))
    expected = rotation((0.1 + 4 / 3) * math.pi, -0.2 * math.pi).float()
    torch.testing.assert_close(several.rotations[5].float(), expected)


def test_training_sees_one_fixed_view_unless_asked(points):
    fixed, varied = small(n_views=3).train(), small(random_views=True).train()
    points = points.float()

    fixed_pictures = [fixed.forward_pictures(points) for _ in range(2)]
    varied_pictures = [varied.forward_pictures(points) for _ in range(2)]

    assert fixed_pictures[0].shape[1] == 1
    torch.testing.assert_close(fixed_pictures[0], fixed_pictures[1])
    assert not torch.allclose(varied_pictures[0], varied_pictures[1])
    assert torch.equal(varied.eval()(points), varied(points))


def test_many_clouds_without_gradient_are_seen_a_few_at_a_time(points, monkeypatch):
    network = small().eval().double()
    many = points.repeat(4, 1, 1)
    seen = []
    network.picture_network.register_forward_hook(lambda *args: seen.append(len(args[2])))
    monkeypatch.setattr("pointinteract.models.p2p.chunk_size", lambda like, n_each: 1)
    with torch.no_grad():
        found = network(many)

    assert seen == [4, 4, 4]
    torch.testing.assert_close(found, network(many).detach())


def test_freezing_leaves_norms_token_and_head_to_be_trained(points):
    network = small(frozen=True).train()
    network(points.float()).sum().backward()
    trained = {n for n, p in network.picture_network.named_parameters() if p.grad is not None}

    assert "bn1.weight" in trained and "layer3.0.bn2.bias" in trained
    assert not any("conv" in name or "downsample" in name for name in trained)
    assert network.head.out.weight.grad is not None
    assert network.painter.point.weight.grad is not None
    before = network.picture_network.bn1.running_mean.clone()
    network(points.float())
    assert not torch.equal(before, network.picture_network.bn1.running_mean)


def test_takes_weights_in_the_names_of_torchvision():
    """Those names are a stable fact of published checkpoints."""
    network = create_model("p2p", object_size=8, picture_size=8).picture_network
    names = set(network.state_dict())

    assert {"conv1.weight", "bn1.running_var", "layer2.0.downsample.0.weight"} <= names
    assert {"layer4.1.conv2.weight", "layer4.1.bn2.bias"} <= names
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 - 513_000


def test_takes_any_module_that_maps_pictures_to_vectors(points):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * PICTURE**2, 7))

    network = small(picture_network=flat, n_picture_features=7, hidden=(6,), dropout=0.5)

    assert network.num_features == 7 and network(points.float()).shape == (3, 4)
    with pytest.raises(ValueError, match="give n_picture_features"):
        small(picture_network=flat)


@pytest.mark.parametrize("sizes", [(21, 24), (20, 25), (20, 18), (2, 8)])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="_size must be"):
        small(object_size=sizes[0], picture_size=sizes[1])


def test_color_of_points_comes_from_their_extra_channels(points):
    network = small(n_channels=6).eval()
    first = torch.cat([points, torch.rand(3, 29, 3)], dim=-1).float()
    second = torch.cat([points, torch.rand(3, 29, 3)], dim=-1).float()
    with torch.no_grad():
        pictures = [network.forward_pictures(cloud) for cloud in (first, second)]

    assert not torch.allclose(*pictures)


def test_other_picture_networks_are_refused_by_name(pair):
    state = {k: v for k, v in to_official(pair[1]).items() if "layer1" not in k}

    with pytest.raises(CheckpointError, match="ResNet of basic blocks"):
        load_official("p2p", state)


def test_wrong_sizes_are_named(pair):
    with pytest.raises(CheckpointError, match="classes=6"):
        load_official("p2p", pair[0].state_dict(), classes=6)


def _official_gradients(module):
    """Gradients of our parameters under official names, through the public way of writing."""
    carrier = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, source in zip(carrier.parameters(), module.parameters(), strict=True):
            parameter.copy_(source.grad)
    return to_official(carrier)


def test_somebody_elses_picture_network_cannot_be_made_again_from_numbers():
    assert P2P().config["picture_size"] == 224
    assert P2P(picture_network=P2P().picture_network).config is None
