"""Engines for networks that count points or read patches, against plain forwards."""

import dataclasses

import numpy as np
import pytest
import torch

from pointinteract.explanation._engines._patches import PatchEngine
from pointinteract.explanation._engines._weighted import WeightedEngine, answer_by_size
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._models import TorchModel
from pointinteract.games.coalitions import all_coalitions
from pointinteract.nn.structure import PatchTokens, SetPool
from pointinteract.ops.regions import partition_regions

N_REGIONS = 4
TOKEN_ABSENCES = ("token_drop", "token_baseline")
COALITIONS = all_coalitions(N_REGIONS)


class CountingNetwork(torch.nn.Module):
    """The maximum of features of points, read by a head; says so by hand."""

    def __init__(self):
        super().__init__()
        self.encode = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh())
        self.head = torch.nn.Linear(16, 3)

    def forward(self, points):
        return self.head(self.encode(points).amax(1))

    def structure(self):
        return SetPool(encode=self.encode, head=self.head, pool="max")


class TokenNetwork(torch.nn.Module):
    """Patches of three points in a row; softmax-weighted mean and maximum of their tokens."""

    def __init__(self, n_patches=6):
        super().__init__()
        self.n_patches = n_patches
        self.to_token = torch.nn.Linear(9, 8)
        self.position = torch.nn.Linear(3, 8)
        self.head = torch.nn.Linear(16, 3)
        self.n_embedded = 0

    def patches(self, points):
        index = torch.arange(3 * self.n_patches).view(1, -1, 3).expand(len(points), -1, -1)
        return index, points[:, ::3][:, : self.n_patches]

    def embed(self, points, index):
        self.n_embedded += 1
        taken = points[torch.arange(len(points))[:, None, None], index]
        return self.to_token(taken.flatten(2)).tanh()

    def read(self, tokens, centers, counts):
        tokens = tokens + self.position(centers).sin()
        weight = tokens[..., :1].exp() * counts[..., None]
        mean = (weight * tokens).sum(1) / weight.sum(1)
        highest = tokens.masked_fill(counts[..., None] == 0, -torch.inf).amax(1)
        return self.head(torch.cat([mean, highest], dim=-1))

    def baseline(self):
        return self.to_token(torch.zeros(9)).tanh(), torch.zeros(3)

    def forward(self, points):
        index, centers = self.patches(points)
        counts = torch.ones(index.shape[:2], dtype=torch.long)
        return self.read(self.embed(points, index), centers, counts)

    def structure(self):
        return PatchTokens(self.patches, self.embed, self.read, self.baseline)


def make_network(name, seed=0):
    from pointinteract.models.dgcnn import DGCNN
    from pointinteract.models.pointnet import PointNet, PointNetBasic
    from pointinteract.models.recon import ReCon

    makers = {
        "dgcnn": lambda: DGCNN(n_classes=3, n_neighbors=7, n_features=16),
        "pointnet": lambda: PointNet(n_classes=3),
        "pointnet_basic": lambda: PointNetBasic(n_classes=3, n_features=32),
        "recon": lambda: ReCon(
            n_classes=3, width=24, depth=2, n_heads=3, n_groups=10, group_size=5,
            patch_hidden=(8, 16, 24),
        ),
        "tokens": TokenNetwork,
        "counting": CountingNetwork,
    }  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = makers[name]().eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def make_game(network, absence, regions=None, n_points=40, seed=0):
    points = torch.randn(n_points, 3, generator=torch.Generator().manual_seed(seed))
    if regions is None:
        regions = partition_regions(points[None], N_REGIONS)[0]
    model = TorchModel(network, "auto", None)
    return CloudGame(
        points.numpy(), np.asarray(regions), N_REGIONS, model, absence=absence, seed=1
    )


def make_patch_game(network, absence, seed=0):
    """A game whose regions are unions of patches: each point goes with the nearest center."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(1, 40, 3, generator=generator)
    _, centers = network.structure().patches(points)
    of_patch = torch.arange(centers.shape[1]) % N_REGIONS
    if isinstance(network, TokenNetwork):
        regions = of_patch[torch.arange(40).div(3, rounding_mode="floor") % len(of_patch)]
    else:
        regions = of_patch[torch.cdist(points, centers)[0].argmin(1)]
    return make_game(network, absence, regions, seed=seed), of_patch


def answer(engine, game, coalitions=None, advance=None):
    with game.model.session():
        return engine.answers(game, coalitions, advance)


def assert_equal_answers(found, expected):
    scale = np.abs(expected).max()
    assert np.abs(expected - expected[:1]).max() > 1e-3 * scale  # coalitions matter
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("absence", ["center", "region", "remove", "resample"])
@pytest.mark.parametrize("name", ["dgcnn", "pointnet", "pointnet_basic", "counting"])
def test_weighted_engine_equals_plain_forwards_for_every_coalition(name, absence):
    game = make_game(make_network(name), absence)

    found = answer(WeightedEngine(game.model), game)

    assert WeightedEngine.supports(game.model, absence, "fps")
    assert_equal_answers(found, game.answers())


def test_weighted_engine_answers_chosen_coalitions_in_their_order():
    game = make_game(make_network("dgcnn"), "center")
    chosen = COALITIONS[[9, 0, 15, 3, 9]]

    found = answer(WeightedEngine(game.model), game, chosen)

    np.testing.assert_allclose(found, game.answers(chosen), atol=1e-5)


def test_weighted_engine_serves_no_background_and_no_silent_network():
    model = TorchModel(make_network("dgcnn"), "auto", None)
    silent = TorchModel(torch.nn.Sequential(torch.nn.Linear(3, 2)), "auto", None)

    assert not WeightedEngine.supports(model, "background", "fps")
    assert not WeightedEngine.supports(model, "token_drop", "patches")
    assert not WeightedEngine.supports(silent, "center", "fps")


def test_weighted_engine_tells_how_far_it_is():
    game = make_game(make_network("pointnet_basic"), "center")
    steps = []

    answer(WeightedEngine(game.model), game, advance=steps.append)

    assert sum(steps) == 16 and len(steps) > 1


@pytest.mark.parametrize("absence", TOKEN_ABSENCES)
@pytest.mark.parametrize("name", ["recon", "tokens"])
def test_patch_engine_equals_its_reference_for_every_coalition(name, absence):
    network = make_network(name)
    game, _ = make_patch_game(network, absence)
    engine = PatchEngine(game.model)

    found = answer(engine, game)
    with game.model.session():
        expected = engine.reference(game, COALITIONS)

    assert PatchEngine.supports(game.model, absence, "patches")
    assert_equal_answers(found, expected)


@pytest.mark.parametrize("absence", TOKEN_ABSENCES)
@pytest.mark.parametrize("name", ["recon", "tokens"])
def test_patch_engine_drops_or_replaces_the_tokens_of_absent_regions(name, absence):
    network = make_network(name)
    structure = network.structure()
    game, of_patch = make_patch_game(network, absence)

    found = answer(PatchEngine(game.model), game, COALITIONS[[5]])

    with torch.no_grad():
        index, centers = structure.patches(game.points[None])
        tokens = structure.embed(game.points[None], index)
        present = torch.tensor(COALITIONS[5])[of_patch]
        empty, _ = structure.baseline()
        if absence == "token_drop":
            tokens, centers = tokens[:, present], centers[:, present]
        else:
            tokens = torch.where(present[:, None], tokens, empty)
            centers = centers * present[:, None]
        once = torch.ones(tokens.shape[:2], dtype=torch.long)
        expected = structure.forward_tokens(tokens, centers, once)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("absence", TOKEN_ABSENCES)
def test_patches_belong_to_a_region_in_any_order_of_their_points(absence):
    network = make_network("recon")
    game, _ = make_patch_game(network, absence)
    expected = answer(PatchEngine(game.model), game)
    said = network.structure()

    def far_points_first(points):
        index, centers = said.patches(points)
        return index.flip(-1), centers

    game.model.structures = (
        dataclasses.replace(
            said,
            patches=far_points_first,
            embed=lambda points, index: said.embed(points, index.flip(-1)),
        ),
    )
    found = answer(PatchEngine(game.model), game)

    assert_equal_answers(found, expected)


@pytest.mark.parametrize("name", ["recon", "tokens"])
def test_patch_engine_gives_the_full_cloud_the_answer_of_the_network(name):
    game, _ = make_patch_game(make_network(name), "token_drop")

    found = answer(PatchEngine(game.model), game, COALITIONS[[-1]])

    with torch.no_grad():
        expected = game.model.module(game.points[None])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_patch_engine_leaves_one_empty_patch_of_nothing():
    network = make_network("tokens")
    drop, _ = make_patch_game(network, "token_drop")
    baseline, _ = make_patch_game(network, "token_baseline")

    found = [answer(PatchEngine(game.model), game, COALITIONS[:1]) for game in (drop, baseline)]

    # All tokens are equal in both, so how many there are is not seen.
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_patch_engine_embeds_a_cloud_once():
    network = make_network("tokens")
    game, _ = make_patch_game(network, "token_drop")
    network.n_embedded = 0

    answer(PatchEngine(game.model), game)

    assert network.n_embedded == 1


def test_patch_engine_wants_whole_patches_and_an_empty_one():
    model = TorchModel(make_network("recon"), "auto", None)
    bare = TorchModel(make_network("tokens"), "auto", None)
    bare.structures = (PatchTokens(*[getattr(bare.module, name) for name in ("patches", "embed")],
                                   forward_tokens=bare.module.read),)  # fmt: skip

    assert not PatchEngine.supports(model, "token_drop", "fps")
    assert not PatchEngine.supports(model, "center", "patches")
    assert not PatchEngine.supports(bare, "token_drop", "patches")


def test_coalitions_of_like_size_are_answered_together_and_put_back():
    sizes = torch.tensor([30, 5, 31, 5, 30, 60])
    batches = []

    def echo(rows):
        batches.append(sizes[rows].tolist())
        return rows[:, None].float()

    logits = answer_by_size(echo, sizes, n_items=100, n_clouds=8)

    assert logits[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert batches == [[5, 5], [30, 30, 31], [60]]


def test_batches_shrink_when_memory_runs_out():
    largest = []

    def hungry(rows):
        if len(rows) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        largest.append(len(rows))
        return rows[:, None].float()

    logits = answer_by_size(hungry, torch.full((9,), 4), n_items=1000, n_clouds=9)

    assert logits[:, 0].tolist() == list(range(9))
    assert max(largest) == 2
