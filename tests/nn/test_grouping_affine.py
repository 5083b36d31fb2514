"""Groups on one scale, and the scale, against differences that are all written out."""

import pytest
import torch

from pointinteract.nn import pooling
from pointinteract.nn.grouping_affine import AffineGroupPool, difference_deviation
from pointinteract.ops.grouping import gather


def make_groups(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 9, 4, generator=generator, dtype=dtype)
    picked = torch.rand(3, 9, generator=generator).argsort(1)[:, :5]
    neighbors = torch.randint(9, (3, 5, 6), generator=generator)
    return features, picked, neighbors


def literal_deviation(features, own, neighbors):
    return (gather(features, neighbors) - own[:, :, None]).flatten(1).std(1)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_deviation_and_its_gradient_are_those_of_the_differences(chunk, monkeypatch):
    monkeypatch.setattr(pooling, "_CHUNK_CPU", chunk)
    features, picked, neighbors = make_groups()
    weights = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    results = []
    for deviation in (literal_deviation, difference_deviation):
        values = features.clone().requires_grad_()
        found = deviation(values, gather(values, picked), neighbors)
        (found * weights).sum().backward()
        results.append((found.detach(), values.grad))

    torch.testing.assert_close(results[1], results[0], rtol=1e-11, atol=1e-12)


def test_deviation_does_not_cancel_where_features_are_nearly_equal():
    features, picked, neighbors = make_groups()
    features = (100.0 + 1e-2 * features).float()  # taken as exact from here on
    exact = literal_deviation(features.double(), gather(features, picked).double(), neighbors)

    found = difference_deviation(features, gather(features, picked), neighbors)

    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)


def test_deviation_of_equal_features_is_zero_and_so_is_its_gradient():
    _, picked, neighbors = make_groups()
    features = torch.full((3, 9, 4), 0.3, requires_grad=True)

    found = difference_deviation(features, gather(features, picked), neighbors)
    found.sum().backward()

    assert (found == 0).all() and (features.grad == 0).all()


def test_deviation_of_half_precision_is_found_in_single():
    features, picked, neighbors = make_groups(torch.bfloat16)
    wide = features.float()

    found = difference_deviation(features, gather(features, picked), neighbors)

    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found, literal_deviation(wide, gather(wide, picked), neighbors), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("with_gradient", [False, True])
def test_groups_come_out_the_same_a_few_at_a_time(with_gradient, monkeypatch):
    features, picked, neighbors = make_groups()
    layer = AffineGroupPool(4, 8, n_blocks=2, n_hidden=3).double().eval()
    with torch.set_grad_enabled(with_gradient):
        together = layer(features, neighbors, picked)
        monkeypatch.setattr(pooling, "_CHUNK_CPU", 2 * 6 * 8)  # two groups of six

        torch.testing.assert_close(
            layer(features, neighbors, picked), together, rtol=1e-11, atol=1e-12
        )
