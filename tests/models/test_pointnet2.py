"""PointNet++ against a literal formulation: every place of a ball mapped."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models import PointNet2, create_model, load_official, to_official
from pointinteract.nn.abstraction import BallPool, ball_pairs, max_by_row
from pointinteract.ops import farthest_point_sample

SINGLE = {
    "radii": ((0.5,), (0.9,)),
    "n_neighbors": ((6,), (5,)),
    "hidden": (((8, 8, 12),), ((12, 16),)),
}
MULTI = {
    "radii": ((0.3, 0.6), (0.7, 1.1)),
    "n_neighbors": ((3, 7), (4, 6)),
    "hidden": (((6, 8), (8, 8, 10)), ((10, 12), (12, 14))),
}
SMALL = {"n_samples": (20, 8), "last_hidden": (16, 24), "n_classes": 4}


def literal_balls(xyz, centers, radius, k):
    """Of each ball the first k points, and the first again and again where there are fewer."""
    found = []
    for center in centers:
        near = [j for j in range(len(xyz)) if (xyz[j] - center).square().sum() < radius**2][:k]
        found.append(near + [near[0]] * (k - len(near)))
    return torch.tensor(found)


def literal_layer(layer, rows):
    """Linear layer, normalization and rectifier on rows, with batch statistics in training."""
    norm = layer.norm
    z = F.linear(rows, layer.linear.weight, layer.linear.bias)
    flat = F.batch_norm(
        z.reshape(-1, z.shape[-1]), norm.running_mean, norm.running_var, norm.weight, norm.bias,
        norm.training, norm.momentum, norm.eps,
    )  # fmt: skip
    return flat.relu().view_as(z)


def literal_level(level, xyz, features, picked):
    """Every place of every ball through every layer; (B, N, 3), (B, N, F), (B, G)."""
    clouds = torch.arange(len(xyz))[:, None]
    centers = xyz[clouds, picked]
    pooled = []
    for ball in level.balls:
        pairs = zip(xyz, centers, strict=True)
        index = torch.stack([literal_balls(a, b, ball.radius, ball.n_neighbors) for a, b in pairs])
        offsets = xyz[clouds[..., None], index] - centers[:, :, None]
        rows = torch.cat([offsets, features[clouds[..., None], index]], dim=-1)
        for layer in ball.layers:
            rows = literal_layer(layer, rows)
        pooled.append(rows.max(dim=2).values)
    return centers, torch.cat(pooled, dim=-1)


def literal_logits(network, points):
    xyz = points[..., :3]
    picked = farthest_point_sample(xyz, min(network.n_first, xyz.shape[1]), start=network.start)
    centers, features = literal_level(network.level1, xyz, points[..., 3:], picked)
    # Sampled anew, where the network takes the first ones.
    picked = farthest_point_sample(centers, min(network.n_second, centers.shape[1]))
    centers, features = literal_level(network.level2, centers, features, picked)
    rows = torch.cat([centers, features], dim=-1)
    for layer in network.layers:
        rows = literal_layer(layer, rows)
    return network.head(rows.max(dim=1).values)


def make_network(sizes, seed=0, **numbers):
    """A small network in float64 with lively statistics, some gains negative."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PointNet2(**SMALL | sizes | {"dropout": (0.0, 0.0)} | numbers).double()
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm1d)):
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return network.eval()


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(1)
    return 0.5 * torch.randn(3, 33, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("sizes", [SINGLE, MULTI], ids=["single", "multi"])
def test_outputs_gradients_and_statistics_equal_the_literal_form(sizes, training, points):
    networks = [make_network(sizes, n_channels=5).train(training) for _ in range(2)]
    weights = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)

    results = []
    for network, forward in zip(networks, (lambda n, x: n(x), literal_logits), strict=True):
        cloud = points.clone().requires_grad_()
        logits = forward(network, cloud)
        (logits * weights).sum().backward()
        results.append((logits.detach(), cloud.grad))

    torch.testing.assert_close(results[0], results[1], rtol=1e-8, atol=1e-10)
    ours, literal = networks
    for (name, a), b in zip(ours.named_parameters(), literal.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-7, atol=1e-9, msg=name)
    for (name, a), b in zip(ours.named_buffers(), literal.buffers(), strict=True):
        if not name.endswith("tracked"):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12, msg=name)


def test_a_level_of_one_layer_is_trained_like_the_literal_form(points):
    sizes = SINGLE | {"hidden": (((8,),), ((12,),))}
    network = make_network(sizes, n_channels=5).train()

    torch.testing.assert_close(
        copy.deepcopy(network)(points), literal_logits(network, points), rtol=1e-8, atol=1e-10
    )


def test_begins_at_the_same_point_each_time_or_at_another_one(points):
    network, other = (make_network(MULTI, n_channels=5, start=start) for start in (0, 7))
    swapped = points.clone()
    swapped[:, [0, 7]] = points[:, [7, 0]]

    with torch.no_grad():
        assert torch.equal(network(points), network(points))
        assert not torch.allclose(network(points), other(points))
        torch.testing.assert_close(other(points), literal_logits(other, points))
        assert other(points[:, :3]).isfinite().all()  # fewer points than `start`


def test_balls_count_the_first_points_in_the_order_of_the_cloud():
    network = make_network(SINGLE)
    generator = torch.Generator().manual_seed(3)
    points = 0.2 * torch.randn(1, 60, 3, generator=generator, dtype=torch.float64)
    turned = torch.cat([points[:, :1], points[:, 1:].flip(1)], dim=1)

    with torch.no_grad():
        assert not torch.allclose(network(points), network(turned))
    assert not network.permutation_invariant


def test_smaller_clouds_than_samples_give_all_they_have(points):
    network = make_network(SINGLE, n_channels=5)

    with torch.no_grad():
        features = network.forward_features(points[:, :6])

        assert features.shape == (3, 6, 24)
        assert network.forward_features(points).shape == (3, 8, 24)
        torch.testing.assert_close(features.amax(1), network.forward_pool(points[:, :6]))
        torch.testing.assert_close(network(points[:, :6]), literal_logits(network, points[:, :6]))


def test_copies_of_points_do_not_matter_where_nothing_is_pushed_out():
    roomy = SINGLE | {"n_neighbors": ((50,), (50,))}
    network = make_network(roomy, n_samples=(50, 50))
    points = torch.randn(2, 12, 3, dtype=torch.float64) * 0.3
    repeated = torch.cat([points, points[:, :5], points[:, :1].expand(-1, 9, -1)], dim=1)

    with torch.no_grad():
        torch.testing.assert_close(network(repeated), network(points))


@pytest.mark.parametrize("sizes", [SINGLE, MULTI], ids=["single", "multi"])
def test_config_makes_another_one_like_it(sizes):
    network = make_network(sizes, n_channels=5, start=2)

    again = PointNet2(n_classes=4, **network.config)

    shapes = {name: value.shape for name, value in again.state_dict().items()}
    assert shapes == {name: value.shape for name, value in network.state_dict().items()}
    assert again.config == network.config


def test_named_sizes_have_as_many_parameters_as_published():
    counts = [
        sum(p.numel() for p in create_model(name, n_classes=15).parameters())
        for name in ("pointnet2_ssg", "pointnet2_msg")
    ]

    assert counts == [1_469_263, 1_740_943]


def test_pairs_are_the_first_inside_row_by_row():
    inside = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]]).bool()

    rows, columns = ball_pairs(inside, 2)

    assert rows.tolist() == [0, 0, 2, 2]
    assert columns.tolist() == [1, 2, 0, 3]


def test_maximum_of_nothing_is_below_everything():
    pooled = max_by_row(torch.tensor([[1.0], [3.0], [-2.0]]), torch.tensor([0, 0, 2]), 3)

    assert pooled[:, 0].tolist() == [3.0, -torch.inf, -2.0]


def test_ball_describes_what_it_does_to_pairs(points):
    ball = BallPool(2, (6, 7), 0.5, 4).double().eval()
    record = ball.describe()
    xyz, features = points[..., :3], points[..., 3:]

    with torch.no_grad():
        pooled = ball(xyz, features, xyz[:, :1])[0, 0]
        index = literal_balls(xyz[0], xyz[0, :1], 0.5, 4)[0]
        encoded = record.encode(xyz[0, index] - xyz[0, 0], record.project(features[0, index]))

    torch.testing.assert_close(encoded.amax(0), pooled)


def test_mode_of_the_normalization_decides_whose_statistics_count(points):
    """As when statistics are adapted to new clouds while the rest stays in evaluation."""
    ball = BallPool(2, (6, 7), 0.5, 4).double()
    xyz, features = points[..., :3], points[..., 3:]
    expected = ball(xyz, features, xyz[:, :5])

    adapted = copy.deepcopy(ball).eval()
    for layer in adapted.layers:
        layer.norm.train()

    torch.testing.assert_close(adapted(xyz, features, xyz[:, :5]), expected)
    frozen = copy.deepcopy(ball).train()
    for layer in frozen.layers:
        layer.norm.eval()
    torch.testing.assert_close(
        frozen(xyz, features, xyz[:, :5]), copy.deepcopy(ball).eval()(xyz, features, xyz[:, :5])
    )


# --- checkpoints ------------------------------------------------------------------------------


def test_several_radii_put_features_before_coordinates_in_the_original():
    network = create_model("pointnet2_msg", n_channels=6)

    written = to_official(network)["sa1.conv_blocks.1.0.weight"]

    weight = network.level1.balls[1].layers[0].linear.weight
    assert torch.equal(written[:, 3:, 0, 0], weight[:, :3])
    assert torch.equal(written[:, :3, 0, 0], weight[:, 3:])


def test_normals_are_seen_in_the_checkpoint():
    state = to_official(create_model("pointnet2_ssg", n_channels=6))

    assert load_official("pointnet2_ssg", state, normal_channel=True).config["n_channels"] == 6
    with pytest.raises(CheckpointError, match="normal_channel"):
        load_official("pointnet2_ssg", state, normal_channel=False)


def test_radii_that_a_checkpoint_does_not_tell_are_not_written():
    with pytest.raises(CheckpointError, match="no published original"):
        to_official(make_network(SINGLE))


def test_a_checkpoint_that_lacks_a_level_is_named():
    state = to_official(create_model("pointnet2_ssg"))
    kept = {key: value for key, value in state.items() if not key.startswith("sa2")}

    with pytest.raises(CheckpointError, match=r"sa2\.mlp_convs\.0\.weight"):
        load_official("pointnet2_ssg", kept)
