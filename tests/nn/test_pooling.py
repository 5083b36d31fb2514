"""Maxima over points with gradients of their own."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pointinteract.nn import pooling
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import (
    LinearNormMax,
    _LinearMax,
    chunk_size,
    first_maximum,
    linear_max,
    max_and_mean,
)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 7, 4, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.fixture
def weight():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.fixture(params=[1, 30, 1 << 20])
def chunk(request, monkeypatch):
    """Work on one cloud, two or all at a time."""
    monkeypatch.setattr(pooling, "_CHUNK_CPU", request.param)


def test_extremum_and_statistics_pass_gradcheck(rows, weight, chunk):
    sign = torch.tensor([1.0, -1, 1, -1, 1], dtype=torch.float64)

    assert torch.autograd.gradcheck(
        lambda x, w: _LinearMax.apply(x, w, sign, True), (rows, weight)
    )
    highest, mean, var = _LinearMax.apply(rows, weight, sign, True)
    z = F.linear(rows, weight)
    torch.testing.assert_close(highest, torch.where(sign > 0, z.amax(1), z.amin(1)))
    torch.testing.assert_close(mean, z.mean((0, 1)))
    torch.testing.assert_close(var, z.flatten(0, 1).var(0, unbiased=False))


def test_maximum_of_a_linear_map_passes_gradcheck(rows, weight, chunk):
    assert torch.autograd.gradcheck(linear_max, (rows, weight))
    with torch.no_grad():
        assert torch.equal(linear_max(rows, weight), F.linear(rows, weight).amax(1))


@pytest.mark.parametrize("training", [False, True])
def test_fused_layer_equals_layer_and_maximum(rows, training):
    fused = LinearNormMax(4, 6).double()
    nn.init.normal_(fused.norm.weight)
    nn.init.uniform_(fused.norm.running_var, 0.5, 2.0)
    plain = LinearNorm(4, 6).double()
    plain.load_state_dict(fused.state_dict())
    results = []
    for layer, pool in ((fused, lambda x: x), (plain, lambda x: x.amax(1))):
        layer.train(training)
        out = pool(layer(rows))
        gradients = torch.autograd.grad(out.square().sum(), [rows, *layer.parameters()])
        results.append((out, gradients, layer.state_dict()))

    torch.testing.assert_close(results[0], results[1])


def test_variance_of_rows_far_from_the_origin_is_exact(weight):
    near = torch.randn(4, 50, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    far = (1000 + near).float()
    z = F.linear(far.double(), weight.float().double())

    _, _, var = _LinearMax.apply(far, weight.detach().float(), torch.ones(5), True)

    torch.testing.assert_close(var.double(), z.flatten(0, 1).var(0, unbiased=False), rtol=1e-3,
                               atol=0)


def test_first_of_equal_maxima_is_found():
    values = torch.tensor([[[1.0, 5], [3, 5], [3, 4]]])

    maximum, place = first_maximum(values)

    assert maximum.tolist() == [[3, 5]] and place.tolist() == [[1, 0]]


def test_place_stays_valid_for_nan():
    _, place = first_maximum(torch.full((1, 3, 2), float("nan")))

    assert ((place >= 0) & (place < 3)).all()


def test_maximum_and_mean_pass_gradcheck(rows, chunk):
    assert torch.autograd.gradcheck(max_and_mean, (rows,))
    expected = torch.cat([rows.amax(1), rows.mean(1)], dim=1)
    torch.testing.assert_close(max_and_mean(rows), expected)
    torch.testing.assert_close(max_and_mean(rows.detach()), expected.detach())


def test_ties_send_their_gradient_to_the_first():
    rows = torch.ones(1, 4, 2, requires_grad=True)

    max_and_mean(rows)[:, :2].sum().backward()

    assert rows.grad[0, :, 0].tolist() == [1, 0, 0, 0]


def test_at_least_one_item_is_worked_on():
    assert chunk_size(torch.ones(1), 1 << 40) == 1
    assert chunk_size(torch.ones(1), 0) > 1
