"""Linear layers with normalization on rows."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.nn.mlp import BatchNorm, LinearNorm, rectify_


@pytest.fixture
def norm():
    norm = BatchNorm(4).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return norm


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_equals_torch_on_channels_first(norm, training):
    plain = nn.BatchNorm1d(4).double().train(training)
    plain.load_state_dict(norm.state_dict())
    rows = torch.randn(3, 7, 4, dtype=torch.float64)

    out = norm.train(training)(rows)

    torch.testing.assert_close(out, plain(rows.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(norm.state_dict(), plain.state_dict())


def test_single_row_is_normalized_with_stored_statistics_and_leaves_them(norm):
    before = copy.deepcopy(norm.state_dict())
    row = torch.randn(1, 4, dtype=torch.float64)

    out = norm.train()(row)

    torch.testing.assert_close(norm.state_dict(), before)
    torch.testing.assert_close(out, norm.eval()(row))


def test_statistics_found_elsewhere_do_the_same(norm):
    other = copy.deepcopy(norm)
    rows = torch.randn(9, 4, dtype=torch.float64)
    var, mean = torch.var_mean(rows, 0, unbiased=False)

    out = other.train().normalize(rows, mean, var, 9)

    torch.testing.assert_close(out, norm.train()(rows))
    torch.testing.assert_close(other.state_dict(), norm.state_dict())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("slope", [None, 0.0, 0.2])
def test_folded_layer_equals_its_parts_with_all_gradients(norm, bias, slope):
    layer = LinearNorm(3, 4, bias=bias, negative_slope=slope).double()
    layer.norm.load_state_dict(norm.state_dict())
    layer.eval()
    rows = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    wanted = [rows, *layer.parameters()]

    parts = layer.norm(layer.linear(rows))
    parts = parts if slope is None else F.leaky_relu(parts, slope)
    out = layer(rows)

    torch.testing.assert_close(out, parts)
    torch.testing.assert_close(
        torch.autograd.grad(out.square().sum(), wanted),
        torch.autograd.grad(parts.square().sum(), wanted),
    )


def test_dropout_stands_before_the_normalization():
    torch.manual_seed(0)
    layer = LinearNorm(3, 200, dropout=0.5, negative_slope=None)
    nn.init.constant_(layer.linear.bias, 100.0)

    out = layer(torch.randn(64, 3))

    # Zeros among values near 200 leave two clusters, one standard deviation from the mean.
    assert out.abs().sub(1).abs().median() < 0.5
    assert torch.equal(layer.eval()(torch.ones(2, 3))[0], layer(torch.ones(2, 3))[1])


def test_rectifier_works_in_place():
    rows = torch.tensor([-1.0, 2.0])

    assert rectify_(rows, None) is rows
    assert rectify_(rows, 0.5).tolist() == [-0.5, 2.0]
    assert rectify_(rows, 0.0).tolist() == [0.0, 2.0]
    assert rows.tolist() == [0.0, 2.0]
