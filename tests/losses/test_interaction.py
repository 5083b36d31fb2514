"""The loss as a whole: cutting, masking, asking the network, and what comes back."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from pointinteract.exceptions import CloudError
from pointinteract.games import all_coalitions, and_interactions, mean_strength
from pointinteract.losses import InteractionLoss
from pointinteract.losses.interaction import find_interaction_loss
from pointinteract.ops import mask_regions, partition_regions

N_REGIONS = 6


class CountingGame(nn.Module):
    """Worth (clumps in their place)^3: a game on clouds that no relabelling changes."""

    def __init__(self, places):
        super().__init__()
        self.places = nn.Parameter(places, requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, points):
        near = torch.cdist(points, self.places.expand(len(points), -1, -1)) < 0.5
        n_clumps = near.any(1).sum(1).to(points)
        return torch.stack([self.scale * n_clumps**3, torch.zeros_like(n_clumps)], dim=1)


class Net(nn.Module):
    """A small network with all that has two modes."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.points = nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, n_classes))

    def forward(self, points):
        each = self.points(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        return self.head(each.amax(1))


@pytest.fixture
def places():
    """Corners of an octahedron far from the origin, which is their center."""
    return 3.0 * torch.cat([torch.eye(3), -torch.eye(3)])


@pytest.fixture
def clumps(places):
    """4 clouds of 6 clumps of 5 points, so that regions are clumps: (4, 30, 3)."""
    generator = torch.Generator().manual_seed(1)
    return places.repeat_interleave(5, 0) + 0.05 * torch.randn(4, 30, 3, generator=generator)


@pytest.fixture
def batch():
    """Points (8, 40, 3) and classes (8,)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 40, 3, generator=generator), torch.arange(8) % 3


@pytest.fixture
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Net().train()


def call(loss, module, points, target, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return loss(module, points, target, module(points), generator)


def test_terms_are_those_of_the_exact_transform(places, clumps):
    # v = k^3 of k regions present: D1 of one region is 1, D3 of three single ones is
    # 27 - 3 * 8 + 3 = 6, and D2(1,2|3) is 27 - 2 * 8 + 1 = 12.
    game, target = CountingGame(places), torch.zeros(4, dtype=torch.long)
    exact = mean_strength(and_interactions(all_coalitions(N_REGIONS).sum(1)[None] ** 3.0))[0]
    n_sets = np.array([6.0, 15.0, 20.0, 15.0, 6.0, 1.0])

    expected = {
        ("A", "D3"): (1.0, 6.0),
        ("A", "D2"): (1.0, 12.0),
        ("B", "D3"): ((1 + 1 + 6) / 3, 6.0),
        ("C", "D3"): ((exact * n_sets)[:2].sum() / 21, (exact * n_sets)[4:].sum() / 7),
    }

    for (estimator, high), (low, strong) in expected.items():
        loss = InteractionLoss(estimator, n_regions=N_REGIONS, high=high, score="logit",
                               form="literal", weight=0.5, sub_batch=1.0)
        value, parts = call(loss, game, clumps, target)
        value.backward()
        assert float(parts["interaction_low"]) == pytest.approx(low)
        assert float(parts["interaction_high"]) == pytest.approx(strong, abs=1e-4)
        assert float(value.detach()) == pytest.approx(0.5 * (low - strong), abs=1e-4)
        assert float(parts["mean_abs_value"]) == pytest.approx(216)
        assert float(game.scale.grad) == pytest.approx(0.5 * (low - strong), abs=1e-3)
        game.scale.grad = None


def test_the_scaled_form_divides_by_a_size_that_no_gradient_reaches(places, clumps):
    game, target = CountingGame(places), torch.zeros(4, dtype=torch.long)
    loss = InteractionLoss(n_regions=N_REGIONS, score="logit", form="scaled", weight=1.0)

    value, _ = call(loss, game, clumps, target)
    value.backward()

    assert float(value.detach()) == pytest.approx((1 - 6) / 216, rel=1e-4)
    assert float(game.scale.grad) == pytest.approx((1 - 6) / 216, rel=1e-3)


def test_gradients_of_the_scaled_form_are_those_of_the_literal_one_divided(batch, net):
    net.head[1].weight.data *= 20  # so that the size is above 1, and that of no region is not 0
    net.eval()

    (literal, plain), (scaled, divided) = (
        (value, torch.autograd.grad(value, list(net.parameters())))
        for value, _ in (call(InteractionLoss(form=form), net, *batch)
                         for form in ("literal", "scaled"))
    )

    size = float((literal / scaled).detach())
    assert size > 1.5
    for whole, part in zip(plain, divided, strict=True):
        torch.testing.assert_close(part * size, whole, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("estimator", ["A", "B", "C", "D", "augmentation"])
@pytest.mark.parametrize("form", ["literal", "scaled", "log_ratio"])
def test_gradients_reach_the_weights_and_leave_the_state_alone(batch, net, estimator, form):
    points, target = batch
    logits = net(points)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    loss = InteractionLoss(estimator, form=form, n_regions=5)

    value, parts = loss(net, points, target, logits, torch.Generator().manual_seed(0))
    value.backward()

    gradients = [weights.grad for weights in net.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(layer.training for layer in net.modules())
    assert all(np.isfinite(float(part)) and not part.requires_grad for part in parts.values())
    assert ("interaction_low" in parts) == (estimator != "augmentation")


def test_training_mode_lets_masked_clouds_into_the_statistics(batch, net):
    points, target = batch
    logits = net(points)
    before = net.points[1].running_mean.clone()

    InteractionLoss(batch_norm="train")(net, points, target, logits, torch.Generator())

    assert not torch.equal(net.points[1].running_mean, before)


def test_same_generator_same_loss(batch, net):
    points, target = batch
    net.eval()
    loss = InteractionLoss()

    first, again, other = (call(loss, net, points, target, seed)[0] for seed in (0, 0, 1))

    assert torch.equal(first, again) and not torch.equal(first, other)


def test_regions_are_cut_on_the_clouds_given_and_drawn_anew_in_each(places, clumps):
    # Only region 0 counts, so a group holds it or not: a random choice in each of many clouds.
    game = CountingGame(places[:1])
    loss = InteractionLoss(n_regions=N_REGIONS, score="logit")
    points = clumps[:1].expand(300, -1, -1)

    _, parts = call(loss, game, points, torch.zeros(300, dtype=torch.long))

    # One of three single groups holds it with probability 1/2, then low is 1/3.
    assert float(parts["interaction_low"]) == pytest.approx(1 / 6, abs=0.03)


@pytest.mark.parametrize("sub_batch, n_clouds", [(0.25, 2), (3, 3), (1.0, 8), (None, 8), (99, 8)])
def test_a_part_of_the_batch_costs_a_part(batch, net, sub_batch, n_clouds):
    points, target = batch
    logits = net(points)
    seen = []
    net.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))

    InteractionLoss(sub_batch=sub_batch)(net, points, target, logits, torch.Generator())

    assert seen == [8 * n_clouds]
    seen.clear()
    InteractionLoss("C", n_regions=3)(net, points, target, logits, torch.Generator())
    assert seen == [4 * 8]


def low_over_high(net, points, target):
    """Log of low over high strength, measured with none of the code of the loss."""
    regions = partition_regions(points, N_REGIONS)
    masked = mask_regions(points, regions, torch.from_numpy(all_coalitions(N_REGIONS).copy()))
    with torch.no_grad():
        logits = net(masked.flatten(0, 1)).unflatten(0, masked.shape[:2]).double()
    p = logits.softmax(2)[torch.arange(len(points)), :, target]
    strength = mean_strength(and_interactions((p / (1 - p)).log().numpy())).mean(0)
    return float(np.log(strength[0] / strength[3:].mean()))


def train(net, loss, points, target):
    """A copy of a network after 40 steps on cross-entropy and a loss."""
    trained = copy.deepcopy(net)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for step in range(40):
            optimizer.zero_grad()
            cross_entropy = nn.functional.cross_entropy(trained(points), target)
            value, _ = call(loss, trained, points, target, step)
            (cross_entropy + value).backward()
            optimizer.step()
    return trained.eval()


@pytest.mark.parametrize("estimator", ["A", "B", "C"])
def test_following_the_loss_weakens_low_orders_against_high_ones(batch, net, estimator):
    loss = InteractionLoss(estimator, weight=1.0, n_regions=N_REGIONS)

    aimed, plain, opposite = (
        low_over_high(train(net, clone(loss).set_params(**changes), *batch), *batch)
        for changes in ({}, {"weight": 0.0}, {"terms": "reversed"})
    )

    assert aimed < plain - 0.3 and plain < opposite - 0.3


def test_following_masked_differences_lowers_both_of_their_terms(batch, net):
    loss = InteractionLoss("D", weight=1.0, n_regions=N_REGIONS)

    aimed, plain = (
        call(loss, train(net, clone(loss).set_params(weight=weight), *batch), *batch)[1]
        for weight in (1.0, 0.0)
    )

    for term in ("interaction_low", "interaction_high"):
        assert float(aimed[term]) < float(plain[term])


def test_monitor_measures_the_shares_exactly(places, clumps, net):
    game, target = CountingGame(places), torch.zeros(4, dtype=torch.long)
    strength = mean_strength(and_interactions(all_coalitions(N_REGIONS).sum(1)[None] ** 3.0))[0]
    loss = InteractionLoss(n_regions=N_REGIONS, score="logit")

    shares = loss.monitor(game, clumps, target)

    assert shares["kappa_low"] == pytest.approx(strength[0] / strength.sum())
    assert shares["kappa_high"] == pytest.approx(strength[4:].sum() / strength.sum())
    loss.monitor(net, *[torch.randn(2, 20, 3), torch.tensor([0, 2])])
    assert net.training


def test_monitor_measures_as_in_prediction_and_leaves_no_trace(batch, net):
    points, target = batch
    loss = InteractionLoss(n_regions=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}

    shares = loss.monitor(net, points, target)

    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert shares == loss.monitor(net.eval(), points, target)


def test_warmup_counts_epochs_or_a_share():
    assert InteractionLoss(warmup=5).warmup_epochs(200) == 5
    assert InteractionLoss(warmup=0.02).warmup_epochs(200) == 4


def test_is_an_object_of_parameters():
    loss = InteractionLoss("D", weight=0.3, ranges=((0.0, 0.5), (0.5, 1.0)))

    cloned = clone(loss)

    assert cloned is not loss and cloned.get_params() == loss.get_params()
    assert pickle.loads(pickle.dumps(loss)).get_params() == loss.get_params()
    assert "weight=0.3" in repr(loss)


def test_names_stand_for_the_papers_form_and_for_ours():
    paper, ours = find_interaction_loss("paper"), find_interaction_loss("default")

    assert (paper.estimator, paper.form) == ("A", "literal")
    assert (ours.estimator, ours.form) == ("A", "log_ratio")
    assert find_interaction_loss(None) is None and find_interaction_loss(ours) is ours


@pytest.mark.parametrize("settings, message", [
    ({"estimator": "E"}, "estimator must be one of 'A', 'B'"),
    ({"form": "ratio"}, "form must be one of 'log_ratio'"),
    ({"weight": -1}, "weight must be in"),
    ({"weight": "much"}, "weight must be a number, got 'much'"),
    ({"n_regions": 3}, "n_regions of at least 4, got 3"),
    ({"n_regions": 4.5}, "n_regions must be an integer"),
    ({"estimator": "C", "n_regions": 12}, "from 2 to 10, got 12"),
    ({"start": "last"}, "start must be one of"),
    ({"score": "margin"}, "score must be one of"),
    ({"high": "D4"}, "high must be one of 'D3', 'D2'"),
    ({"terms": "none"}, "terms must be one of"),
    ({"warmup": -1}, "warmup must be at least 0"),
    ({"warmup": 1.0}, "warmup must be in"),
    ({"batch_norm": "eval"}, "batch_norm must be one of 'frozen', 'train'"),
    ({"sub_batch": 0.0}, "sub_batch must be in"),
    ({"sub_batch": 0}, "sub_batch must be at least 1"),
    ({"monitor_every": 0}, "monitor_every must be at least 1"),
    ({"monitor_every": 1, "n_regions": 20}, "at most 12, got 20"),
    ({"ranges": ((0.0, 0.5),)}, "ranges must be two pairs"),
    ({"ranges": ((0.5, 0.5), (0.6, 1.0))}, "0 <= r1 < r2 <= 1"),
    ({"ranges": 3}, "ranges must be two pairs"),
])
def test_wrong_settings_are_named(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        InteractionLoss(**settings).check()


def test_wrong_settings_are_named_in_a_training_loop_of_ones_own(batch, net):
    with pytest.raises(ValueError, match="form must be one of"):
        call(InteractionLoss(form="ratio"), net, *batch)
    with pytest.raises(ValueError, match="score must be one of"):
        InteractionLoss(score="margin").monitor(net, *batch)
    with pytest.raises(ValueError, match="n_regions must be at most 12, got 13"):
        InteractionLoss(n_regions=13).monitor(net, *batch)


def test_tensors_that_do_not_belong_together_are_refused(batch, net):
    points, target = batch

    with pytest.raises(ValueError, match=r"shapes \(8, 40, 3\), \(7,\) and \(8, 3\)"):
        call(InteractionLoss(), net, points, target[:7])
    with pytest.raises(ValueError, match=r"\(8, 40, 3\), \(8,\) and \(7, 3\)"):
        InteractionLoss()(net, points, target, net(points)[:7], torch.Generator())


@pytest.mark.parametrize("estimator", ["A", "B", "C", "D", "augmentation"])
def test_works_in_double_precision(batch, net, estimator):
    points, target = batch

    value, _ = call(InteractionLoss(estimator), net.double(), points.double(), target)

    assert value.dtype == torch.float64


@pytest.mark.parametrize("setting, error", [("papr", ValueError), (3, TypeError)])
def test_wrong_losses_are_named(setting, error):
    with pytest.raises(error, match="interaction_loss must be None, 'paper', 'default'"):
        find_interaction_loss(setting)


def test_clouds_of_too_few_points_are_refused(net):
    points = torch.ones(2, 40, 3)
    points[:, :5] = torch.randn(2, 5, 3)

    with pytest.raises(CloudError, match="6 distinct points, fewer than n_regions=10"):
        call(InteractionLoss(), net, points, torch.tensor([0, 1]))
