"""Learning rates against closed forms and the framework's own schedules; who decays."""

import numpy as np
import pytest
import torch
from torch import nn

from pointinteract.training import TrainingRun
from pointinteract.training.schedules import (
    annealed_schedule,
    parameter_groups,
    plateau_schedule,
    staircase_schedule,
    step_schedule,
)


def rates_of_framework(make, n_epochs, losses=None):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, rates = make(optimizer), []
    for epoch in range(n_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([] if losses is None else [losses[epoch]]))
    return rates


def test_annealing_is_that_of_the_framework():
    wanted = rates_of_framework(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12, eta_min=0.005), 12
    )

    rates = [annealed_schedule(e, 0.1, max_epochs=12, minimum=0.005) for e in range(12)]

    assert rates == pytest.approx(wanted)
    assert annealed_schedule(40, 0.1, max_epochs=12, minimum=0.005) == pytest.approx(0.005)
    assert annealed_schedule(5, 1e-4, max_epochs=12, minimum=0.005) == 1e-4


def test_plateau_is_that_of_the_framework():
    losses = np.random.default_rng(0).uniform(0.9, 1.1, 60) - np.linspace(0, 0.3, 60).round(1)
    wanted = rates_of_framework(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(
            o, factor=0.5, patience=3, min_lr=0.003
        ), 60, losses
    )  # fmt: skip

    rates = [
        plateau_schedule(losses[:e], 0.1, factor=0.5, patience=3, minimum=0.003) for e in range(60)
    ]

    assert rates == pytest.approx(wanted) and len(set(rates)) > 3 and rates[-1] == 0.003


def test_a_staircase_goes_down_in_steps_and_stops_at_the_floor():
    rates = [staircase_schedule(n, 1.0, every=2, factor=0.5, minimum=0.2) for n in range(8)]

    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert staircase_schedule(0.6, 1.0, every=0.2, factor=0.5) == 0.125
    assert staircase_schedule(5, 0.1, every=9, factor=0.5, minimum=0.3) == 0.1


def test_a_cosine_ends_where_it_is_told():
    assert step_schedule(1.0, 1.0, warmup=0.1, minimum=0.02) == pytest.approx(0.02)


def make_run(**settings):
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 1))
    return TrainingRun(
        net, seed=0, max_epochs=4, batch_size=4, learning_rate=0.1, weight_decay=0.0, **settings
    )


def rates_of(run, n_epochs=4, n_clouds=12):
    """The rate of every step of a run of three steps an epoch."""
    rates = []

    def loss(points, index):
        rates.append(run.optimizer.param_groups[-1]["lr"])
        return run.module(points).square().mean(), {}

    for _ in range(n_epochs):
        run.run_epoch(torch.ones(n_clouds, 4, 3), loss)
    return rates


@pytest.mark.parametrize(
    ("unit", "every", "stairs"),
    [
        ("epochs", 2, [0] * 6 + [1] * 6),
        ("steps", 5, [0] * 5 + [1] * 5 + [2] * 2),
        ("clouds", 16, [0] * 4 + [1] * 4 + [2] * 4),
    ],
)
def test_stairs_are_counted_in_epochs_steps_or_clouds(unit, every, stairs):
    run = make_run(
        schedule="staircase",
        step_every=every,
        step_unit=unit,
        step_factor=0.5,
        min_learning_rate=0.0,
    )

    assert rates_of(run) == pytest.approx([0.1 * 0.5**stair for stair in stairs])


def test_annealing_holds_for_a_whole_epoch_and_goes_on_past_the_end():
    run = make_run(schedule="annealed", min_learning_rate=0.02)

    rates = rates_of(run, n_epochs=5)

    wanted = [annealed_schedule(e, 0.1, max_epochs=4, minimum=0.02) for e in range(4)] + [0.01]
    assert rates == pytest.approx(np.repeat(wanted, 3))


def test_a_plateau_follows_the_losses_of_the_run():
    run = make_run(schedule="plateau", patience=0, step_factor=0.1, min_learning_rate=0.0)
    run.losses = [1.0, 1.0]

    assert rates_of(run, n_epochs=1) == pytest.approx([0.01] * 3)
    assert len(run.losses) == 3


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
    ],
)
def test_the_optimizer_is_the_one_asked_for(name, kind):
    optimizer = make_run(optimizer=name, momentum=0.3, epsilon=1e-3).optimizer

    group = optimizer.param_groups[0]
    assert type(optimizer) is kind
    assert group["momentum"] == 0.3 if name == "sgd" else group["eps"] == 1e-3


@pytest.mark.parametrize(
    ("decay_on", "decaying"),
    [
        ("weights", {"0.weight", "2.weight"}),
        ("weights_and_norms", {"0.weight", "1.weight", "1.bias", "2.weight"}),
        ("all", {"0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"}),
    ],
)
def test_what_decays(decay_on, decaying):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    names = {id(p): name for name, p in net.named_parameters()}

    groups = parameter_groups(
        net, learning_rate=0.1, weight_decay=0.5, decay_on=decay_on, rate_factors=(("0.", 0.1),)
    )

    decays = {names[id(p)] for g in groups if g["weight_decay"] == 0.5 for p in g["params"]}
    slow = {names[id(p)] for g in groups if g["lr"] == pytest.approx(0.01) for p in g["params"]}
    assert decays == decaying and slow == {"0.weight", "0.bias"}
    assert sum(len(g["params"]) for g in groups) == 6
    assert groups[-1]["lr"] == 0.1


def test_tokens_and_single_numbers_do_not_decay_but_layers_about_tokens_do():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mask_token = nn.Parameter(torch.zeros(1, 1, 4))
            self.deep_prompt_tokens = nn.Parameter(torch.zeros(2, 3, 4))
            self.log_scale = nn.Parameter(torch.zeros(()))
            self.token_graph = nn.Linear(3, 4)
            self.head = nn.ModuleDict({"token_head": nn.Linear(4, 2)})
            self.cls_pos = nn.Parameter(torch.zeros(1, 1, 4))

    net = Net()
    names = {id(p): name for name, p in net.named_parameters()}

    groups = parameter_groups(net, learning_rate=0.1, weight_decay=0.5)

    decaying = {names[id(p)] for g in groups if g["weight_decay"] == 0.5 for p in g["params"]}
    assert decaying == {"token_graph.weight", "head.token_head.weight", "cls_pos"}
