"""Balls with a shortcut, and statistics of rows that count several times."""

import pytest
import torch

from pointinteract.nn import pooling
from pointinteract.nn.abstraction_residual import ResidualBallPool, normalize_counted
from pointinteract.nn.mlp import BatchNorm


@pytest.mark.parametrize("training", [False, True])
def test_balls_come_out_the_same_a_few_clouds_at_a_time(training, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 9, 4, generator=generator, dtype=torch.float64)
    picked = torch.rand(3, 9, generator=generator).argsort(1)[:, :5]
    xyz = features[..., :3]
    layer = ResidualBallPool(4, 8, 1.0, 3).double().train(training)
    together = layer(xyz, features, 5, picked)
    monkeypatch.setattr(pooling, "_CHUNK_CPU", 1)

    torch.testing.assert_close(layer(xyz, features, 5, picked), together, rtol=1e-11, atol=1e-12)


def test_counted_rows_are_normalized_like_rows_that_are_repeated():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    times = torch.tensor([1, 4, 1, 2, 7, 1])
    upstream = torch.randn(16, 4, generator=generator, dtype=torch.float64)
    which = torch.repeat_interleave(torch.arange(6), times)
    results = []
    for counted in (False, True):
        norm = BatchNorm(4).double()
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))
        values = rows.clone().requires_grad_()
        if counted:
            out = normalize_counted(norm, values, times.double(), 16)[which]
        else:
            out = norm(values[which])
        (out * upstream).sum().backward()
        gradients = (values.grad, norm.weight.grad, norm.bias.grad)
        results.append((out.detach(), *gradients, norm.running_mean, norm.running_var))

    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)


def test_statistics_of_the_batch_do_not_depend_on_the_mode_of_the_module(monkeypatch):
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(3, 9, 4, generator=generator, dtype=torch.float64)
    layer = ResidualBallPool(4, 8, 1.0, 3).double()
    trained = layer(features[..., :3], features, 5)
    monkeypatch.setattr(pooling, "_CHUNK_CPU", 1)

    layer.eval()
    layer.first.norm.train()
    layer.last.norm.train()

    torch.testing.assert_close(layer(features[..., :3], features, 5), trained)


def test_a_single_row_is_normalized_by_stored_statistics():
    norm = BatchNorm(2)
    rows = torch.tensor([[3.0, -1.0]], requires_grad=True)

    out = normalize_counted(norm, rows, torch.ones(1), 1)

    torch.testing.assert_close(out, norm(rows))
    assert norm.num_batches_tracked == 0
