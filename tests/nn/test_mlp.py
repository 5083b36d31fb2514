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


def test_two_forwards_of_different_sizes_before_one_backward():
    """The small one is normalized by torch, the large one may be by a compiled kernel."""
    torch.manual_seed(0)
    layer = LinearNorm(3, 256)
    small, large = torch.randn(4, 3), torch.randn(200, 3)

    (layer(small).square().mean() + layer(large).square().mean()).backward()

    expected = LinearNorm(3, 256)
    expected.load_state_dict({**layer.state_dict(), **_fresh_statistics(expected)})
    one = torch.autograd.grad(expected(small).square().mean(), expected.linear.weight)[0]
    other = torch.autograd.grad(expected(large).square().mean(), expected.linear.weight)[0]
    torch.testing.assert_close(layer.linear.weight.grad, one + other)
    torch.testing.assert_close(layer.norm.running_var, expected.norm.running_var)
    assert layer.norm.num_batches_tracked == 2


@pytest.mark.parametrize("training, n_rows", [(False, 5), (True, 1)])
def test_stored_statistics_that_were_used_are_those_of_the_backward(training, n_rows):
    torch.manual_seed(0)
    layer = LinearNorm(3, 4)
    rows, others = torch.randn(n_rows, 3), 5 + torch.randn(50, 3)
    layer.train(training)
    expected = torch.autograd.grad(layer(rows).square().sum(), [*layer.parameters()])

    loss = layer(rows).square().sum()
    layer.train()(others)  # moves the statistics
    found = torch.autograd.grad(loss, [*layer.parameters()])

    torch.testing.assert_close(found, expected)


def _fresh_statistics(layer):
    return {f"norm.{name}": value for name, value in layer.norm.named_buffers()}
