"""What networks say about themselves is what they do: merged input, same answer."""

import pytest
import torch
from torch import nn

from pointinteract.models.dgcnn import DGCNN
from pointinteract.models.pointnet import PointNet, PointNetBasic
from pointinteract.models.recon import ReCon
from pointinteract.nn.pooling import weighted_mean
from pointinteract.nn.structure import PatchTokens, SetPool, WeightedPoints, structures_of


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def make_lively(network, generator):
    """Give every weight and statistic a value that training might have left there."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name == "running_mean":
                buffer.copy_(0.3 * torch.randn(buffer.shape, generator=generator))
            if name == "running_var":
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(0.1 * noise.to(parameter.dtype))  # some normalizations turn around
    return network.eval()


def small_dgcnn(generator, n_neighbors=6, n_channels=3):
    network = DGCNN(n_channels=n_channels, n_classes=4, n_neighbors=n_neighbors, n_features=16)
    return make_lively(network, generator)


def small_recon(generator):
    network = ReCon(
        n_classes=4, width=24, depth=2, n_heads=3, n_groups=8, group_size=6,
        patch_hidden=(8, 16, 24),
    )  # fmt: skip
    return make_lively(network, generator)


def make_weighted_cloud(generator, n_unique, n_padding, n_channels=3, heavy=0):
    """Points (1, M, C), counts (1, M) with zeros anywhere, and the cloud written out."""
    n_rows = n_unique + n_padding
    points = torch.randn(1, n_rows, n_channels, generator=generator)
    counts = torch.randint(1, 4, (1, n_rows), generator=generator)
    order = torch.randperm(n_rows, generator=generator)
    counts[0, order[:n_padding]] = 0
    points[0, order[:n_padding]] *= 0.01  # padding that would be everybody's neighbor
    if heavy:
        counts[0, order[-1]] = heavy
    written_out = points[0].repeat_interleave(counts[0], dim=0)
    shuffled = written_out[torch.randperm(len(written_out), generator=generator)]
    return points, counts, shuffled[None]


def assert_close(weighted, plain):
    scale = plain.abs().max()
    assert scale > 1e-3
    assert (weighted - plain).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize(
    ("n_unique", "n_padding", "heavy"),
    [(24, 0, 0), (24, 7, 0), (20, 3, 40), (4, 2, 0), (1, 3, 5), (3, 0, 2)],
)
def test_dgcnn_answers_a_merged_cloud_like_the_full_one(n_unique, n_padding, heavy, generator):
    network = small_dgcnn(generator)
    points, counts, full = make_weighted_cloud(generator, n_unique, n_padding, heavy=heavy)

    with torch.no_grad():
        weighted = network.structure().forward(points, counts)
        plain = network(full)

    assert_close(weighted, plain)


def test_dgcnn_takes_more_neighbors_than_there_are_different_points(generator):
    network = small_dgcnn(generator, n_neighbors=30)
    points, counts, full = make_weighted_cloud(generator, 12, 4)

    with torch.no_grad():
        assert full.shape[1] < 30
        assert_close(network.structure().forward(points, counts), network(full))


def test_dgcnn_minds_how_often_a_point_stands_there(generator):
    network = small_dgcnn(generator)
    points, counts, _ = make_weighted_cloud(generator, 16, 0)
    once = torch.ones_like(counts)

    with torch.no_grad():
        weighted = network.structure().forward(points, counts)
        alone = network.structure().forward(points, once)

    assert (weighted - alone).abs().max() > 1e-3


def test_dgcnn_works_in_batches_of_differently_padded_clouds(generator):
    network = small_dgcnn(generator, n_channels=5)
    made = [make_weighted_cloud(generator, 18 - i, i, n_channels=5) for i in range(4)]
    points, counts = (torch.cat([cloud[i] for cloud in made]) for i in range(2))

    with torch.no_grad():
        weighted = network.structure().forward(points, counts)
        plain = torch.cat([network(cloud[2]) for cloud in made])

    assert_close(weighted, plain)


def test_pointnet_answers_a_merged_cloud_like_the_full_one(generator):
    network = make_lively(PointNet(n_channels=4, n_classes=4), generator)
    points, counts, full = make_weighted_cloud(generator, 16, 5, n_channels=4)
    points[counts == 0] = 50.0  # would win every maximum

    with torch.no_grad():
        weighted = network.structure().forward(points, counts)
        plain = network(full)

    assert isinstance(network.structure(), WeightedPoints)
    assert_close(weighted, plain)


def test_pointnet_finds_its_first_transform_from_a_maximum_over_points(generator):
    network = make_lively(PointNet(n_channels=4, n_classes=4), generator)
    points, counts, full = make_weighted_cloud(generator, 16, 5, n_channels=4)
    structure = network.structure()

    with torch.no_grad():
        pose = structure.pose.head(structure.pose.encode(full).amax(1))
        turned = structure.forward_posed(points, counts, pose)
        elsewhere = structure.forward_posed(points, counts, 2.0 * pose)

        assert_close(turned, network(full))
        assert (elsewhere - turned).abs().max() > 1e-3


def test_pointnet_basic_is_a_pool_over_points_and_a_head(generator):
    network = make_lively(PointNetBasic(n_classes=4, n_features=32), generator)
    points = torch.randn(3, 20, 3, generator=generator)

    (structure,) = structures_of(network)
    with torch.no_grad():
        plain = network(points)
        encoded = structure.encode(points)

        assert isinstance(structure, SetPool) and structure.pool == "max"
        assert_close(structure.head(encoded.amax(1)), plain)
        assert_close(structure.head(structure.encode_max(points)), plain)
        assert_close(structure.encode(points[:, :7]), encoded[:, :7])


def test_pointnet_basic_names_the_head_it_has_now(generator):
    network = make_lively(PointNetBasic(n_classes=4, n_features=32), generator)

    network.reset_classifier(7)

    assert network.structure().head(torch.zeros(2, 32)).shape == (2, 7)


def test_recon_goes_through_its_patches_to_the_same_logits(generator):
    network = small_recon(generator)
    points = torch.randn(2, 40, 3, generator=generator)
    structure = network.structure()

    with torch.no_grad():
        index, centers = structure.patches(points)
        tokens = structure.embed(points, index)
        answer = structure.forward_tokens(tokens, centers, torch.ones(2, 8, dtype=torch.long))
        plain = network(points)

    assert isinstance(structure, PatchTokens)
    assert index.shape == (2, 8, 6) and tokens.shape == (2, 8, 24)
    assert_close(answer, plain)


def test_recon_cuts_clouds_smaller_than_a_patch(generator):
    network = small_recon(generator)
    points = torch.randn(1, 5, 3, generator=generator)
    structure = network.structure()

    with torch.no_grad():
        index, centers = structure.patches(points)
        tokens = structure.embed(points, index)
        answer = structure.forward_tokens(tokens, centers, torch.ones(1, 5, dtype=torch.long))

        assert index.shape == (1, 5, 6)
        assert_close(answer, network(points))


@pytest.mark.parametrize(("n_unique", "n_padding"), [(8, 0), (6, 3), (1, 4)])
def test_recon_answers_merged_tokens_like_repeated_ones(n_unique, n_padding, generator):
    network = small_recon(generator)
    rows, counts, _ = make_weighted_cloud(generator, n_unique, n_padding, n_channels=24 + 3)
    rows[counts == 0] = 20.0  # would draw all attention and win the maximum
    written_out = rows[0].repeat_interleave(counts[0], dim=0)[None]
    forward = network.structure().forward_tokens

    with torch.no_grad():
        weighted = forward(rows[..., :24], rows[..., 24:], counts)
        once = torch.ones(1, written_out.shape[1], dtype=torch.long)
        plain = forward(written_out[..., :24], written_out[..., 24:], once)
        uncounted = forward(rows[..., :24], rows[..., 24:], (counts > 0).long())

    assert_close(weighted, plain)
    if n_unique > 1:
        assert (weighted - uncounted).abs().max() > 1e-4


def test_recon_knows_the_token_of_an_empty_patch(generator):
    network = small_recon(generator)

    token, center = network.structure().baseline()

    with torch.no_grad():
        expected = network.patch_embedding(torch.zeros(1, 1, 6, 3))[0, 0]
    assert torch.allclose(token, expected, atol=1e-6)
    assert torch.equal(center, torch.zeros(3))


def test_weighted_mean_counts_every_row_as_often_as_it_stands_there():
    rows = torch.tensor([[[1.0], [5.0], [100.0]]])

    assert weighted_mean(rows, torch.tensor([[3, 1, 0]])).item() == 2.0


class Building(nn.Module):
    """A network of somebody who calls something else a structure."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def structure(self):
        return self.answer


class Floors(nn.Module):
    def structure(self, n_floors):
        return n_floors


@pytest.mark.parametrize("network", [Building("brick"), Building(None), Floors()])
def test_a_method_of_that_name_with_another_meaning_is_ignored(network):
    assert structures_of(network) == ()


def test_several_records_keep_their_order():
    first, second = SetPool(encode=abs, head=abs), WeightedPoints(forward=max)

    assert structures_of(Building((first, second))) == (first, second)
    assert structures_of(Building("brick"), declared=second) == (second,)
