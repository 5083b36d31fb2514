"""The set-pool engine and its rivals against brute force, for every absence and pool."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation import InteractionExplainer
from pointinteract.explanation._engines import _set_pool
from pointinteract.explanation._engines._linear_head import split_head
from pointinteract.explanation._engines._selfcheck import CheckedEngines
from pointinteract.explanation._engines._set_pool import ABSENCES, SetPoolEngine
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._models import as_cloud_model
from pointinteract.games import all_coalitions
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.structure import SetPool

N_REGIONS = 5


class PoolNet(nn.Module):
    """Encode each point, pool, classify; says so in `structure`."""

    def __init__(self, pool="max", seed=0):
        super().__init__()
        self.pool = pool
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encode = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 12))
            self.head = nn.Sequential(nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))

    def forward(self, points):
        features = self.encode(points)
        if self.pool == "max":
            return self.head(features.amax(dim=1))
        return self.head(features.mean(dim=1) if self.pool == "mean" else features.sum(dim=1))

    def structure(self):
        return SetPool(encode=self.encode, head=self.head, pool=self.pool)


@pytest.fixture
def cloud(clouds):
    return clouds[1] + 0.3


@pytest.fixture
def regions():
    # Of very different sizes, one of them a single point.
    return np.repeat(np.arange(N_REGIONS), [1, 5, 11, 17, 30])


def brute_force(network, game, coalitions):
    """One forward for each coalition, on the cloud that its absence makes."""
    network.eval()
    answers = []
    for row in torch.tensor(coalitions):
        ((_, points),) = game.absence.batches(row[None], 1)
        with torch.no_grad():
            answers.append(network(points)[0].double().numpy())
    return np.stack(answers)


def make_game(network, cloud, regions, absence="center"):
    return CloudGame(cloud, regions, N_REGIONS, as_cloud_model(network), absence=absence, seed=3)


def engine_answers(game, coalitions=None):
    engine = SetPoolEngine(game.model)
    with game.model.session():
        return engine.answers(game, coalitions)


@pytest.mark.parametrize("pool", ["max", "mean", "sum"])
@pytest.mark.parametrize("absence", ABSENCES)
def test_all_coalitions_equal_brute_force(cloud, regions, absence, pool):
    network = PoolNet(pool)
    game = make_game(network, cloud, regions, absence)
    expected = brute_force(network, game, all_coalitions(N_REGIONS))

    answers = engine_answers(game)

    assert answers.dtype == np.float64
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("absence", ABSENCES)
def test_chosen_coalitions_equal_those_among_all(cloud, regions, absence, pool, monkeypatch):
    # Small tables and batches, so that there are several of each.
    monkeypatch.setattr(_set_pool, "LOOKUP_REGIONS", 2)
    monkeypatch.setattr(_set_pool, "HEAD_ROWS", 3)
    game = make_game(PoolNet(pool), cloud, regions, absence)
    rows = np.array([31, 0, 7, 7, 16, 1, 30])

    answers = engine_answers(game, all_coalitions(N_REGIONS)[rows])

    np.testing.assert_allclose(answers, engine_answers(game)[rows], atol=1e-5)


@pytest.mark.parametrize("absence", ["center", "remove"])
def test_enumeration_in_blocks_keeps_the_order(cloud, regions, absence, monkeypatch):
    game = make_game(PoolNet(), cloud, regions, absence)
    whole = engine_answers(game)
    monkeypatch.setattr(_set_pool, "TABLE_REGIONS", 2)

    np.testing.assert_allclose(engine_answers(game), whole, atol=1e-6)


@pytest.mark.parametrize("absence", ABSENCES)
@pytest.mark.parametrize("score", ["log_odds", "logit", "margin"])
def test_explanation_is_that_of_the_generic_engine(clouds, absence, score):
    def explain(engine):
        explainer = InteractionExplainer(
            4, absence=absence, score=score, engine=engine, random_state=0
        )
        return explainer.explain(PoolNet(), clouds[:3]), explainer

    found, explainer = explain("auto")

    assert explainer.engine_ == found.meta["engine"] == "set_pool"
    assert 0 <= explainer.max_error_ < 1e-5
    assert found.meta["speedup"] == explainer.speedup_ > 0
    np.testing.assert_allclose(found.values, explain("generic")[0].values, atol=1e-4)


def test_head_takes_smaller_pieces_when_memory_is_short(cloud, regions):
    network = PoolNet()
    sizes = []

    def narrow_head(pooled):
        sizes.append(len(pooled))
        if len(pooled) > 8:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
        return network.head(pooled)

    structure = SetPool(encode=network.encode, head=narrow_head)
    game = make_game(network, cloud, regions)
    model = as_cloud_model(network, structure=structure)
    engine = SetPoolEngine(model)

    with model.session():
        answers = engine.answers(game)

    np.testing.assert_allclose(answers, engine_answers(game), atol=1e-6)
    assert max(sizes) > 8 and sizes[-1] <= 8


def test_wrong_structure_is_left_with_a_warning(clouds):
    class Liar(PoolNet):
        def structure(self):
            return SetPool(encode=self.encode, head=self.head, pool="mean")

    calls = []
    explainer = InteractionExplainer(4, progress=lambda done, total: calls.append((done, total)))
    with pytest.warns(PointInteractWarning, match="'set_pool' is off by .* on Liar.*'generic'"):
        explanation = explainer.explain(Liar(), clouds[:2])

    assert explainer.engine_ == "generic" and explainer.max_error_ == 0
    assert explanation.meta["engines_left"][0] == "set_pool"
    assert calls[-1] == (32, 32) and max(done for done, _ in calls) == 32
    reference = InteractionExplainer(4, engine="generic").explain(PoolNet(), clouds[:2])
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-6)


def test_structure_that_fails_is_left_with_a_warning(clouds):
    class Broken(PoolNet):
        def structure(self):
            return SetPool(encode=self.encode, head=nn.Linear(7, 3))

    explainer = InteractionExplainer(4, engine="set_pool")
    with pytest.warns(PointInteractWarning, match="'set_pool' failed \\(.* on Broken"):
        explainer.explain(Broken(), clouds[:2])

    assert explainer.engine_ == "generic"


def test_engine_that_goes_wrong_on_a_later_cloud_is_noticed(clouds):
    class Moody(PoolNet):
        """Points see each other in clouds that are large."""

        def forward(self, points):
            offset = (points.abs().amax(dim=(1, 2)) > 50).float()
            return super().forward(points) + offset[:, None] * points.sum(dim=(1, 2))[:, None]

    X = clouds[:3].copy()
    X[2] *= 100

    with pytest.warns(PointInteractWarning, match="off by"):
        explanation = InteractionExplainer(3).explain(Moody(), X)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reference = InteractionExplainer(3, engine="generic").explain(Moody(), X)
    np.testing.assert_allclose(explanation.values, reference.values, rtol=1e-4, atol=1e-4)


@pytest.fixture
def groups(monkeypatch):
    """Checks of up to four clouds share a batch, however long they take; lists the sizes."""
    sizes = []
    together = CheckedEngines._answers_together

    def counted(self, games, coalitions, advance):
        sizes.append(len(games))
        return together(self, games, coalitions, advance)

    def size(self, n_coalitions):
        return 4 if self._own_seconds else 1

    monkeypatch.setattr(CheckedEngines, "group_size", size)
    monkeypatch.setattr(CheckedEngines, "_answers_together", counted)
    return sizes


@pytest.mark.parametrize("absence", ["center", "region"])
def test_checks_of_several_clouds_share_a_batch(clouds, groups, absence):
    X = [*clouds[:3], *clouds[3:5, :40], clouds[5]]
    calls = []
    together = InteractionExplainer(
        3, absence=absence, keep_answers=True, progress=lambda done, total: calls.append(done)
    )

    explanation = together.explain(PoolNet(), X)

    assert groups == [2, 2]  # of one size each; the first and the last are alone
    assert together.engine_ == "set_pool" and together.max_error_ < 1e-5
    assert calls[-1] == 6 * 8
    reference = InteractionExplainer(3, absence=absence, engine="generic").explain(PoolNet(), X)
    np.testing.assert_allclose(explanation.values, reference.values, atol=1e-5)


def test_one_wrong_cloud_of_a_group_is_noticed(clouds, groups):
    class Moody(PoolNet):
        def forward(self, points):
            offset = (points.abs().amax(dim=(1, 2)) > 50).float()
            return super().forward(points) + offset[:, None] * points.sum(dim=(1, 2))[:, None]

    X = clouds[:7].copy()
    X[5] *= 100

    with pytest.warns(PointInteractWarning, match="off by"):
        explanation = InteractionExplainer(3).explain(Moody(), X)

    assert groups == [4, 2]
    reference = InteractionExplainer(3, engine="generic").explain(Moody(), X)
    np.testing.assert_allclose(explanation.values, reference.values, rtol=1e-4, atol=1e-4)


def test_cheap_engines_are_checked_in_groups_of_bounded_memory():
    engines = CheckedEngines([])
    assert engines.group_size(1024) == 1  # nothing is known yet

    engines._plain_seconds, engines._own_seconds = [1.0], [1e-3]
    engines._answer_bytes, engines._n_clouds = 80, 1
    assert engines.group_size(1024) == 8
    assert engines.group_size(2**16) == 1  # 5 MiB a cloud
    assert engines.group_size(2**15) == 3

    engines._own_seconds = [1.0]  # as slow as plain forwards: several checks of each cloud
    assert engines.group_size(1024) == 1


def test_right_structure_raises_no_warning_and_progress_counts_every_coalition(clouds):
    calls = []
    explainer = InteractionExplainer(4, progress=lambda done, total: calls.append((done, total)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explainer.explain(PoolNet(), clouds[:3])

    assert calls[-1] == (48, 48) and calls == sorted(calls)


def test_structure_can_be_said_for_a_network_that_is_silent(clouds):
    class Silent(PoolNet):
        structure = None

    network = Silent()
    said = SetPool(encode=network.encode, head=network.head)
    explainer = InteractionExplainer(4, structure=said)

    explainer.explain(network, clouds[:2])

    assert explainer.engine_ == "set_pool"


def test_named_engine_that_cannot_serve_is_refused(clouds):
    with pytest.raises(ValueError, match=r"engine='set_pool' cannot serve .* declares no struct"):
        InteractionExplainer(3, engine="set_pool").explain(nn.Flatten(), clouds)


def test_tokens_need_patches_and_a_network_that_has_some(clouds):
    with pytest.raises(ValueError, match="needs players='patches'"):
        InteractionExplainer(3, absence="token_drop").explain(PoolNet(), clouds)
    regions = np.tile(np.arange(64) % 3, (8, 1))
    explainer = InteractionExplainer(3, absence="token_drop", players="patches")
    with pytest.raises(ValueError, match="no engine can serve PoolNet.*declares SetPool"):
        explainer.explain(PoolNet(), clouds, regions=regions)


def test_pool_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="max, mean, sum; got 'median'"):
        SetPool(encode=nn.Identity(), head=nn.Identity(), pool="median")


HEADS = {
    "linear": lambda: nn.Linear(12, 3),
    "no bias": lambda: nn.Sequential(nn.Linear(12, 8, bias=False), nn.ReLU(), nn.Linear(8, 3)),
    "ours": lambda: ClassifierHead(12, (8, 6), 3, negative_slope=0.2, dropout=(0.5, 0.5)),
    "ours, linear": lambda: ClassifierHead(12, (), 3),
    "normalized first": lambda: nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 3)),
    "parametrized": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(12, 3)),
}


@pytest.mark.parametrize("absence", ["center", "remove"])
@pytest.mark.parametrize("name", HEADS)
def test_first_layer_by_transform_equals_brute_force(cloud, regions, name, absence, monkeypatch):
    monkeypatch.setattr(_set_pool, "TABLE_REGIONS", 3)  # more than one block
    network = PoolNet()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network.head = HEADS[name]()
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d):  # statistics that do not cancel out
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    game = make_game(network, cloud, regions, absence)
    # Also features of which the center gives more than any region, and equal ones.
    network.encode[2].weight.data[0], network.encode[2].weight.data[1] = 0, -1

    expected = brute_force(network, game, all_coalitions(N_REGIONS))

    assert (split_head(network.head) is None) == (name in ("normalized first", "parametrized"))
    np.testing.assert_allclose(engine_answers(game), expected, rtol=1e-5, atol=1e-5)


def test_head_that_is_watched_is_not_taken_apart():
    head = nn.Sequential(nn.Linear(12, 3))
    head[0].register_forward_hook(lambda module, given, answer: answer + 1)

    assert split_head(head) is None


@pytest.mark.parametrize("absence", ["center", "region", "remove"])
def test_center_that_gives_most_is_gone_when_everything_is_there(cloud, regions, absence):
    middle = torch.from_numpy(cloud).mean(dim=0)

    class Peak(nn.Module):
        """Answers most at the middle of the cloud, where no point is."""

        def forward(self, points):
            return -4 * (points - middle).abs().repeat(1, 1, 4)

    network = PoolNet()
    network.encode, network.head = Peak(), nn.Linear(12, 3)
    game = make_game(network, cloud, regions, absence)
    expected = brute_force(network, game, all_coalitions(N_REGIONS))

    answers = engine_answers(game)

    if absence == "center":
        assert np.abs(expected[-1] - expected[-2]).max() > 1e-3
    np.testing.assert_allclose(answers, expected, rtol=1e-5, atol=1e-5)
