"""Edge convolution against the edges written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.nn import pooling
from pointinteract.nn.edgeconv import EdgeConv, _EdgeMax, _sum_over_followers, neighbor_max
from pointinteract.ops import gather, knn


@pytest.fixture
def values():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 9, 4, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def neighbors(values):
    """A graph in which points are followed by very different numbers of others."""
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(0, 5, (2, 9, 3), generator=generator)
    index[..., 0] = torch.arange(9)
    return index


@pytest.fixture(params=[1, 1 << 20])
def chunk(request, monkeypatch):
    """Work on one point, or on all at a time."""
    monkeypatch.setattr(pooling, "_CHUNK_CPU", request.param)


def test_neighbor_maximum_passes_gradcheck(values, neighbors, chunk):
    assert torch.autograd.gradcheck(lambda v: neighbor_max(v, neighbors), (values,))
    expected = gather(values, neighbors).amax(2)
    assert torch.equal(neighbor_max(values, neighbors), expected)
    assert torch.equal(neighbor_max(values.detach(), neighbors), expected)


def test_extremum_and_statistics_pass_gradcheck(values, neighbors, chunk):
    sign = torch.tensor([1.0, -1, -1, 1], dtype=torch.float64)
    own = torch.randn(2, 9, 4, dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(
        lambda a, b: _EdgeMax.apply(a, b, neighbors, sign), (values, own)
    )
    highest, mean, var = _EdgeMax.apply(values, own, neighbors, sign)
    edges = gather(values, neighbors) + own.unsqueeze(2)
    torch.testing.assert_close(highest, torch.where(sign > 0, edges.amax(2), edges.amin(2)))
    torch.testing.assert_close(mean, edges.mean((0, 1, 2)))
    torch.testing.assert_close(var, edges.flatten(0, 2).var(0, unbiased=False))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_layer_equals_the_edges_written_out(values, training, k):
    layer = EdgeConv(4, 6).double().train(training)
    nn.init.normal_(layer.norm.weight)
    nn.init.normal_(layer.norm.running_mean)
    nn.init.uniform_(layer.norm.running_var, 0.5, 2.0)
    index = knn(values, values, k)
    near = gather(values, index)
    own = values.unsqueeze(2).expand_as(near)
    z = layer.linear(torch.cat([near - own, own], dim=-1))
    statistics = [layer.norm.running_mean, layer.norm.running_var]
    if training:
        statistics = [z.mean((0, 1, 2)), z.var((0, 1, 2), unbiased=False)]
    z = (z - statistics[0]) / (statistics[1] + layer.norm.eps).sqrt()
    literal = F.leaky_relu(z * layer.norm.weight + layer.norm.bias, 0.2).amax(2)

    out = layer(values, index)

    torch.testing.assert_close(out, literal)
    wanted = [values, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(out.square().sum(), wanted),
        torch.autograd.grad(literal.square().sum(), wanted),
    )


def test_followers_are_summed_and_counted(values, neighbors):
    matrix = torch.zeros(2, 9, 9, dtype=torch.float64)
    matrix.scatter_add_(2, neighbors, torch.ones_like(neighbors, dtype=torch.float64))

    total, count = _sum_over_followers(values.detach(), neighbors)

    torch.testing.assert_close(total, matrix.transpose(1, 2) @ values.detach())
    torch.testing.assert_close(count.squeeze(2), matrix.sum(1))


def test_graph_gets_no_gradient(values):
    layer = EdgeConv(4, 6).double()
    index = knn(values, values, 3)

    out = layer(values, index)

    assert not index.requires_grad and out.requires_grad
