"""What BatchNorm remembers after `refresh_statistics`: the clouds, by the weights of now."""

import pytest
import torch
from torch import nn

from pointinteract.nn.mlp import LinearNorm
from pointinteract.training.loop import TrainingRun
from pointinteract.training.statistics import refresh_statistics

CLOUDS = torch.randn(10, 7, 3, generator=torch.Generator().manual_seed(0)) + 5


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.ours = LinearNorm(3, 4)
        self.theirs = nn.BatchNorm1d(3, momentum=None)
        self.kept = nn.BatchNorm1d(3)

    def forward(self, points):
        self.kept.eval()
        for norm in (self.theirs, self.kept):
            norm(points.flatten(0, 1))
        return self.ours(points)


@pytest.fixture
def run():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = Network()
    return TrainingRun(module, seed=3, max_epochs=2, batch_size=4, learning_rate=1e-3,
                       weight_decay=0.0)


def refresh(run):
    refresh_statistics(run, CLOUDS, lambda points, index: run.module(points))


def test_remembered_is_the_mean_over_all_clouds_and_no_weight_moves(run):
    before = {name: value.clone() for name, value in run.module.named_parameters()}

    refresh(run)

    torch.testing.assert_close(run.module.theirs.running_mean, CLOUDS.mean((0, 1)))
    rows = run.module.ours.linear(CLOUDS)
    torch.testing.assert_close(run.module.ours.norm.running_mean, rows.mean((0, 1)))
    spread = rows.flatten(0, 1).var(0)
    torch.testing.assert_close(run.module.ours.norm.running_var, spread, rtol=0.1, atol=0)
    assert all(torch.equal(value, before[name]) for name, value in run.module.named_parameters())
    assert not run.module.training


def test_layers_kept_in_evaluation_mode_stay_and_momenta_come_back(run):
    refresh(run)

    assert torch.equal(run.module.kept.running_mean, torch.zeros(3))
    norms = (run.module.ours.norm, run.module.theirs, run.module.kept)
    assert [norm.momentum for norm in norms] == [0.1, None, 0.1]


def test_momenta_come_back_after_a_failure_too(run):
    with pytest.raises(ZeroDivisionError):
        refresh_statistics(run, CLOUDS, lambda points, index: 1 / 0)

    assert run.module.ours.norm.momentum == 0.1
    assert not run.module.training


def test_second_call_gives_the_same_bits_and_the_random_state_of_the_caller_stays(run):
    run.augmentation = ("scale", "drop")
    state = torch.get_rng_state()

    refresh(run)
    first = {name: value.clone() for name, value in run.module.state_dict().items()}
    refresh(run)

    counts = "num_batches_tracked"
    again = run.module.state_dict()
    assert all(torch.equal(again[k], v) for k, v in first.items() if not k.endswith(counts))
    assert torch.equal(torch.get_rng_state(), state)
