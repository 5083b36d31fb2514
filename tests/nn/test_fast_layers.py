"""Layers by compiled kernels against the same layers by torch alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.nn import _fast_edges, pooling
from pointinteract.nn._fast_norm import NormRectify, can_normalize
from pointinteract.nn.edgeconv import EdgeConv, neighbor_max
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax, max_and_mean
from pointinteract.ops import _fast, gather

pytest.importorskip("numba")


@pytest.fixture
def with_torch(monkeypatch):
    """Call a function with the kernels switched off."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setenv(_fast.SWITCH, "0")
            return function()

    return call


def make_rows(n_clouds, n_points, n_channels, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(n_clouds, n_points, n_channels, generator=generator, dtype=dtype)
    rows[:, n_points // 2 :: 2] = rows[:, :1]  # ties
    return rows.requires_grad_()


def make_graph(n_clouds, n_points, k):
    generator = torch.Generator().manual_seed(1)
    graph = torch.randint(0, n_points, (n_clouds, n_points, k), generator=generator)
    graph[..., -1] = graph[..., 0]  # a neighbor twice
    return graph


def with_gradients(function, wanted):
    out = function()
    weights = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    return [out, *torch.autograd.grad((out * weights).sum(), wanted)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, 300])
def test_neighbor_maximum(with_torch, dtype, k):
    values = make_rows(3, 20, 70, dtype)
    graph = make_graph(3, 20, k)

    ours = with_gradients(lambda: neighbor_max(values, graph), [values])

    expected = with_torch(lambda: with_gradients(lambda: neighbor_max(values, graph), [values]))
    assert torch.equal(ours[0], expected[0])
    torch.testing.assert_close(ours[1], expected[1])
    assert torch.equal(neighbor_max(values.detach(), graph), expected[0])


def test_neighbor_maximum_passes_gradcheck_and_refuses_a_second_derivative():
    values = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    graph = make_graph(2, 6, 3)

    assert torch.autograd.gradcheck(lambda v: neighbor_max(v, graph), (values,))
    (grad,) = torch.autograd.grad(
        neighbor_max(values, graph).square().sum(), values, create_graph=True
    )
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()


def test_neighbor_maximum_tells_what_is_not_a_number():
    values = make_rows(1, 8, 4).detach()
    values[0, 3, 2] = torch.nan
    graph = torch.full((1, 8, 3), 3)
    graph[..., 1:] = 0

    out = neighbor_max(values, graph)

    assert out[..., 2].isnan().all() and not out[..., :2].isnan().any()


def test_neighbors_that_do_not_exist_are_refused():
    values = make_rows(1, 8, 4).detach()
    for wrong in (8, -1):
        graph = torch.zeros(1, 8, 2, dtype=torch.int64)
        graph[0, 7, 1] = wrong

        assert not _fast_edges.can_pool(values, graph)
    with pytest.raises((IndexError, RuntimeError)):
        neighbor_max(values, graph)


@pytest.mark.parametrize("slope", [0.0, 0.2])
@pytest.mark.parametrize("n_out", [1, 64, 70])
@pytest.mark.parametrize("shape", [(2, 9, 4), (1, 700, 2)])
def test_edge_convolution_equals_the_edges_written_out(slope, n_out, shape):
    n_clouds, n_points, k = shape
    features = make_rows(n_clouds, n_points, 5)
    graph = make_graph(*shape)
    layer = EdgeConv(5, n_out, negative_slope=slope).double()
    torch.manual_seed(0)
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.bias)
    wanted = [features, *layer.parameters()]
    reference = nn.BatchNorm1d(n_out).double()
    reference.load_state_dict(layer.norm.state_dict())

    def literal():
        near = gather(features, graph)
        own = features.unsqueeze(2).expand_as(near)
        edges = F.linear(torch.cat([near - own, own], dim=-1), layer.linear.weight)
        edges = F.batch_norm(
            edges.flatten(0, 2),
            reference.running_mean,
            reference.running_var,
            layer.norm.weight,
            layer.norm.bias,
            training=reference.training,
        )
        return F.leaky_relu(edges, slope).view(*graph.shape, n_out).amax(2)

    # amax shares the gradient among equal edges; without ties there is one winner.
    graph[..., -1] = (graph[..., 0] + 1) % n_points
    assert _fast_edges.can_pool(features, graph)
    ours = with_gradients(lambda: layer(features, graph), wanted)
    expected = with_gradients(literal, wanted)
    torch.testing.assert_close(ours[0], expected[0], rtol=1e-10, atol=1e-10)
    for own, other in zip(ours[1:], expected[1:], strict=True):
        if other.shape != features.shape:  # whichever of equal rows wins, weights get the same
            torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.norm.running_mean, reference.running_mean)
    torch.testing.assert_close(layer.norm.running_var, reference.running_var)

    layer.eval()
    reference.eval()
    with torch.no_grad():
        torch.testing.assert_close(layer(features, graph), literal())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("k", [1, 5])
def test_edge_convolution_equals_the_torch_form(with_torch, training, k):
    features = make_rows(3, 33, 6)
    graph = make_graph(3, 33, k)
    layer = EdgeConv(6, 65).double().train(training)
    with torch.no_grad():
        layer.norm.weight[::3] *= -1
    wanted = [features, *layer.parameters()]

    ours = with_gradients(lambda: layer(features, graph), wanted)

    expected = with_torch(lambda: with_gradients(lambda: layer(features, graph), wanted))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_edge_convolution_repeats_to_the_last_bit_with_any_number_of_threads():
    features = make_rows(2, 700, 5, torch.float32)
    graph = make_graph(2, 700, 6)
    layer = EdgeConv(5, 70)
    before = torch.get_num_threads()
    answers = []
    try:
        for n_threads in (1, 3):
            torch.set_num_threads(n_threads)
            both = layer._project(features, layer.linear.weight).detach().requires_grad_()
            if answers:
                both = answers[0][0]
            parts = layer.norm.weight, layer.norm.bias, layer.norm.eps, 0.2
            out, mean, var = _fast_edges.EdgeNormMax.apply(both, graph, *parts)
            grads = torch.autograd.grad(out.square().sum(), [both, *parts[:2]])
            answers.append((both, out, mean, var, *grads))
    finally:
        torch.set_num_threads(before)

    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_maximum_behind_a_linear_layer(with_torch, monkeypatch, training, chunk):
    monkeypatch.setattr(pooling, "_CHUNK_CPU", chunk)
    rows = make_rows(3, 21, 6)
    layer = LinearNormMax(6, 70).double().train(training)
    with torch.no_grad():
        layer.norm.weight[::3] *= -1
    wanted = [rows, *layer.parameters()]

    ours = with_gradients(lambda: layer(rows), wanted)

    expected = with_torch(lambda: with_gradients(lambda: layer(rows), wanted))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)


def test_maximum_and_mean(with_torch):
    rows = make_rows(3, 21, 70)

    ours = with_gradients(lambda: max_and_mean(rows), [rows])

    expected = with_torch(lambda: with_gradients(lambda: max_and_mean(rows), [rows]))
    torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("slope", [None, 0.0, 0.2])
@pytest.mark.parametrize("shape", [(2, 1100, 9), (600, 33)])
def test_linear_layer_with_normalization(with_torch, slope, shape):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
    layer = LinearNorm(shape[-1], 33, negative_slope=slope).double()
    with torch.no_grad():
        layer.norm.weight[::3] *= -2
        layer.norm.bias.uniform_(-1, 1, generator=generator)
        layer.norm.bias[0] = layer.norm.weight[0] = 0
    start = copy.deepcopy(layer.norm.state_dict())
    wanted = [rows, *layer.parameters()]
    assert can_normalize(layer.linear(rows), layer.norm.weight)

    ours = with_gradients(lambda: layer(rows), wanted)
    remembered = copy.deepcopy(layer.norm.state_dict())

    layer.norm.load_state_dict(start)
    expected = with_torch(lambda: with_gradients(lambda: layer(rows), wanted))
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(remembered, layer.norm.state_dict())


def test_far_from_zero_nothing_cancels(with_torch):
    generator = torch.Generator().manual_seed(0)
    rows = 1e3 + torch.randn(20_000, 4, generator=generator)
    weight, bias = torch.ones(4), torch.zeros(4)

    out, mean, var = NormRectify.apply(rows, weight, bias, 0.0, 1.0)

    exact = rows.double()
    torch.testing.assert_close(mean.double(), exact.mean(0), rtol=1e-7, atol=0)
    torch.testing.assert_close(var.double(), exact.var(0, unbiased=False), rtol=1e-6, atol=0)
