"""Engines for networks on balls of sampled points, against plain forwards."""

import numpy as np
import pytest
import torch

from pointinteract.explanation import InteractionExplainer
from pointinteract.explanation._engines import _ball_tables
from pointinteract.explanation._engines._abstraction import (
    AbstractionEngine,
    FrozenCentroidsEngine,
)
from pointinteract.explanation._engines._choice import choose_engines
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._models import TorchModel
from pointinteract.games.coalitions import all_coalitions
from pointinteract.models.pointnet2 import PointNet2
from pointinteract.ops.regions import partition_regions

N_REGIONS = 5
COALITIONS = all_coalitions(N_REGIONS)
# Balls so full that points push each other out.
SIZES = {
    "single": {
        "radii": ((0.4,), (0.9,)),
        "n_neighbors": ((4,), (5,)),
        "hidden": (((8, 12),), ((12, 16),)),
    },
    "multi": {
        "radii": ((0.2, 0.5), (0.6, 1.1)),
        "n_neighbors": ((3, 6), (4, 7)),
        "hidden": (((8, 8), (8, 8, 10)), ((10, 12), (12, 14))),
    },
}
ABSENCES = ["center", "remove"]


def make_network(name="single", seed=0, **numbers):
    small = {"n_samples": (24, 9), "last_hidden": (16, 24), "n_classes": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PointNet2(**small | SIZES[name] | numbers).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def make_points(n_points=60, n_channels=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 * torch.randn(n_points, n_channels, generator=generator)


def make_game(network, absence="center", points=None, regions=None, n_regions=N_REGIONS):
    points = make_points() if points is None else points
    if regions is None:
        regions = partition_regions(points[None, :, :3], n_regions)[0]
    model = TorchModel(network, "auto", None)
    return CloudGame(points.numpy(), np.asarray(regions), n_regions, model, absence=absence)


def answer(engine, game, coalitions=None):
    with game.model.session():
        return engine(game.model).answers(game, coalitions)


def assert_equal_answers(found, expected):
    scale = np.abs(expected).max()
    assert np.abs(expected - expected[:1]).max() > 1e-2 * scale  # coalitions matter
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("absence", ABSENCES)
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("start", [0, 37])
def test_engine_equals_plain_forwards_for_every_coalition(name, absence, start):
    game = make_game(make_network(name, start=start), absence)

    assert AbstractionEngine.supports(game.model, absence, "fps")
    assert_equal_answers(answer(AbstractionEngine, game), game.answers())


@pytest.mark.parametrize("absence", ABSENCES)
def test_engine_minds_further_channels(absence):
    game = make_game(make_network(n_channels=5), absence, make_points(n_channels=5))

    assert_equal_answers(answer(AbstractionEngine, game), game.answers())


@pytest.mark.parametrize("absence", ABSENCES)
def test_engine_serves_clouds_of_fewer_points_than_samples(absence):
    game = make_game(make_network(), absence, make_points(13))

    assert_equal_answers(answer(AbstractionEngine, game), game.answers())


def test_absent_points_at_the_center_push_others_out_of_balls():
    points = make_points()
    points[30:] *= 0.3  # near the center, where absent ones come to stand before them
    game = make_game(make_network(), "center", points)

    found = answer(AbstractionEngine, game)

    assert_equal_answers(found, game.answers())
    once = np.stack([plain_on_different_points(game, row) for row in COALITIONS])
    assert np.abs(found - once).max() > 1e-4


def plain_on_different_points(game, coalition):
    """The network on the kept points and the center once at the end, sampled as always."""
    kept = torch.tensor(coalition)[game.regions]
    center = game.absence.center if not coalition.all() else game.points[:0]
    with torch.no_grad():
        return game.model.module(torch.cat([game.points[kept], center])[None])[0].double().numpy()


@pytest.mark.parametrize("engine", [AbstractionEngine, FrozenCentroidsEngine])
def test_chosen_coalitions_are_answered_in_their_order(engine):
    game = make_game(make_network("multi"))
    rows = [9, 0, 31, 3, 9]

    found = answer(engine, game, COALITIONS[rows])

    np.testing.assert_allclose(found, answer(engine, game)[rows], atol=1e-6)


@pytest.mark.parametrize("engine", [AbstractionEngine, FrozenCentroidsEngine])
def test_pieces_and_missing_tables_change_nothing(engine, monkeypatch):
    game = make_game(make_network("multi"))
    whole = answer(engine, game)
    monkeypatch.setattr(_ball_tables, "TABLE_PAIRS", 0)
    monkeypatch.setattr(_ball_tables, "CPU_PAIRS", 7)
    monkeypatch.setattr(_ball_tables, "MEMBERS", 200)

    np.testing.assert_allclose(answer(engine, game), whole, atol=1e-6)


@pytest.mark.parametrize("absence", ABSENCES)
@pytest.mark.parametrize("engine", [AbstractionEngine, FrozenCentroidsEngine])
def test_many_regions_are_told_apart(engine, absence):
    points = make_points(70)
    game = make_game(make_network(), absence, points, torch.arange(70), n_regions=70)
    coalitions = np.random.default_rng(0).random((40, 70)) < 0.5

    found = answer(engine, game, coalitions)

    with game.model.session():
        assert_equal_answers(found, engine(game.model).reference(game, coalitions))


@pytest.mark.parametrize("absence", ABSENCES)
@pytest.mark.parametrize("name", SIZES)
def test_frozen_engine_equals_the_network_with_samples_given(name, absence):
    game = make_game(make_network(name), absence)

    found = answer(FrozenCentroidsEngine, game)

    with game.model.session():
        expected = FrozenCentroidsEngine(game.model).reference(game, COALITIONS)
    assert_equal_answers(found, expected)


@pytest.mark.parametrize("absence", ABSENCES)
def test_frozen_samples_are_those_of_the_full_cloud(absence):
    game = make_game(make_network(), absence)
    found = answer(FrozenCentroidsEngine, game)

    plain = game.answers()

    np.testing.assert_allclose(found[-1], plain[-1], atol=1e-5)  # nothing is missing
    np.testing.assert_allclose(found[0], plain[0], atol=1e-5)  # only the center is there
    assert np.abs(found - plain).max() > 1e-3 * np.abs(plain).max()


def test_frozen_reference_reads_the_samples_that_are_kept():
    network = make_network()
    game = make_game(network, "remove")
    kept = torch.tensor(COALITIONS[11])[game.regions]
    from pointinteract.ops import farthest_point_sample

    picked = farthest_point_sample(game.points[None], 24)[0]
    first = [i for i in picked[:9].tolist() if kept[i]]
    rest = [i for i in picked[9:].tolist() if kept[i]]
    places = kept.nonzero().squeeze(1).tolist()
    index = torch.tensor([[places.index(i) for i in first + rest]])
    with torch.no_grad():
        expected = network.structure().forward(game.points[kept][None], index, len(first))

    found = answer(FrozenCentroidsEngine, game, COALITIONS[[11]])

    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_a_frozen_cloud_without_any_sample_is_still_answered():
    points = make_points(40)
    points[:3] = 0.01 * points[:3] + points.mean(0)  # never far from the others
    regions = torch.ones(40, dtype=torch.int64)
    regions[1:3] = 0
    game = make_game(make_network(n_samples=(6, 4)), "remove", points, regions, n_regions=2)

    found = answer(FrozenCentroidsEngine, game)

    with game.model.session():
        expected = FrozenCentroidsEngine(game.model).reference(game, all_coalitions(2))
        alone = game.model.module.structure().forward(points[None, 1:3], torch.tensor([[0]]), 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found[1], alone[0].numpy(), atol=1e-5)


def test_auto_shares_exactly_and_never_freezes():
    model = TorchModel(make_network(), "auto", None)

    auto = [engine.name for engine in choose_engines("auto", model, "center", "fps")]
    named = [engine.name for engine in choose_engines("frozen_centroids", model, "center", "fps")]

    assert auto == ["abstraction", "generic"]
    assert named == ["frozen_centroids"]  # plain forwards answer something else


def test_absences_that_are_not_served_go_the_plain_way():
    model = TorchModel(make_network(), "auto", None)

    names = [engine.name for engine in choose_engines("auto", model, "background", "fps")]

    assert names == ["generic"]
    with pytest.raises(ValueError, match="frozen_centroids"):
        choose_engines("frozen_centroids", model, "background", "fps")


def test_explainer_takes_the_engine_and_says_so():
    clouds = torch.stack([make_points(seed=1), make_points(seed=2)]).numpy()
    network = make_network()

    shared = InteractionExplainer(4).explain(network, clouds)
    plain = InteractionExplainer(4, engine="generic").explain(network, clouds)

    assert shared.meta["engine"] == "abstraction"
    assert shared.meta["max_error"] < 1e-5
    np.testing.assert_allclose(shared.values, plain.values, atol=1e-4)


@pytest.mark.parametrize("absence", ABSENCES)
def test_explainer_freezes_when_asked_by_name_and_says_so(absence):
    clouds = torch.stack([make_points(seed=1), make_points(seed=2)]).numpy()
    explainer = InteractionExplainer(4, absence=absence, engine="frozen_centroids")

    frozen = explainer.explain(make_network(), clouds)
    plain = InteractionExplainer(4, absence=absence).explain(make_network(), clouds)

    assert frozen.meta["engine"] == "frozen_centroids" and frozen.meta["max_error"] < 1e-5
    assert np.abs(frozen.values - plain.values).max() > 1e-3
    np.testing.assert_allclose(frozen.values[:, [0, -1]], plain.values[:, [0, -1]], atol=1e-4)
