"""Layers of segmentation networks against the same written out: join first, then map."""

import pytest
import torch
from torch import nn

from pointinteract.nn.edgeconv_deep import DeepEdgeConv, EdgeTransformNet
from pointinteract.nn.graph_propagation import GraphPropagation
from pointinteract.nn.propagation import FeaturePropagation
from pointinteract.nn.segmentation_head import SegmentationHead
from pointinteract.ops import gather, knn

ATOL = 1e-9  # in float64


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.fixture(params=[True, False], ids=["training", "evaluation"])
def mode(request):
    return request.param


def prepare(module, mode):
    module = module.double().train(mode)
    generator = torch.Generator().manual_seed(9)
    for name, buffer in module.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer += torch.rand(buffer.shape, generator=generator)
    for parameter in module.parameters():  # turned-around channels too
        if parameter.ndim == 1:
            parameter.data = torch.randn(parameter.shape, generator=generator).double()
    return module


def plain(layer, rows):
    """A layer of ours as torch has it: linear, normalization of every channel, rectifier."""
    norm = layer.norm
    rows = nn.functional.linear(rows, layer.linear.weight, layer.linear.bias)
    flat = rows.reshape(-1, rows.shape[-1])
    mean, var = norm.running_mean, norm.running_var
    if norm.training:
        mean, var = flat.mean(0), flat.var(0, unbiased=False)
    normed = (rows - mean) / (var + norm.eps).sqrt() * norm.weight + norm.bias
    return nn.functional.leaky_relu(normed, layer.negative_slope)


def spread(points, centers, features):
    """Inverse squared distances to the three nearest, point by point."""
    rows = []
    for cloud, middle, said in zip(points, centers, features, strict=True):
        for point in cloud:
            squared = (middle - point).square().sum(-1)
            nearest = squared.argsort()[:3]
            weight = 1 / (squared[nearest] + 1e-8)
            rows.append((said[nearest] * (weight / weight.sum())[:, None]).sum(0))
    return torch.stack(rows).view(*points.shape[:2], -1)


def same_with_gradients(ours, theirs, parameters):
    torch.testing.assert_close(ours, theirs, atol=ATOL, rtol=1e-7)
    weights = draw(*ours.shape, seed=8)
    ours_grad, theirs_grad = (
        torch.autograd.grad((out * weights).sum(), parameters, retain_graph=True)
        for out in (ours, theirs)
    )
    for one, other in zip(ours_grad, theirs_grad, strict=True):
        torch.testing.assert_close(one, other, atol=1e-7, rtol=1e-6)


def test_feature_propagation_joins_own_and_spread(mode):
    points, centers = draw(2, 9, 3).requires_grad_(), draw(2, 5, 3, seed=1).requires_grad_()
    skip = draw(2, 9, 4, seed=2).requires_grad_()
    features = draw(2, 5, 6, seed=3).requires_grad_()
    layers = prepare(FeaturePropagation(4, 6, (8, 7)), mode)

    ours = layers(points, centers, skip, features)

    rows = torch.cat([skip, spread(points, centers, features)], dim=-1)
    for layer in layers.layers:
        rows = plain(layer, rows)
    inputs = [points, centers, skip, features]
    same_with_gradients(ours, rows, [*inputs, *layers.parameters()])
    assert layers.n_out == 7


def test_a_single_center_speaks_to_all_points(mode):
    points, skip, features = draw(2, 9, 3), draw(2, 9, 4, seed=1), draw(2, 1, 6, seed=2)
    layers = prepare(FeaturePropagation(4, 6, (8,)), mode)

    ours = layers(points, points[:, :1], skip, features)

    rows = torch.cat([skip, features.expand(-1, 9, -1)], dim=-1)
    torch.testing.assert_close(ours, plain(layers.layers[0], rows), atol=ATOL, rtol=1e-7)


def test_head_reads_point_and_cloud(mode):
    local, whole = draw(2, 9, 4).requires_grad_(), draw(2, 5, seed=1).requires_grad_()
    head = SegmentationHead(4, 5, (8, 7), 3, dropout=(0.0, 0.0), negative_slope=0.2)
    head = prepare(head, mode)

    ours = head(local, whole)

    rows = torch.cat([local, whole.unsqueeze(1).expand(-1, 9, -1)], dim=-1)
    for layer in head.layers:
        rows = plain(layer, rows)
    same_with_gradients(ours, head.out(rows), [local, whole, *head.parameters()])


def test_head_drops_in_training_only():
    head = SegmentationHead(4, 0, (64,), 3, dropout=(0.5,))
    rows = torch.randn(2, 9, 4)

    assert not torch.equal(head(rows), head(rows))
    head.eval()
    assert torch.equal(head(rows), head(rows))


def edges_of(own, theirs, neighbors):
    steps = gather(theirs, neighbors) - own.unsqueeze(2)
    return torch.cat([steps, own.unsqueeze(2).expand_as(steps)], dim=-1)


def test_deep_edge_convolution_maps_every_edge(mode):
    features = draw(2, 9, 5).requires_grad_()
    neighbors = knn(features.detach(), features.detach(), 4)
    layer = prepare(DeepEdgeConv(5, 8, 7), mode)

    ours = layer(features, neighbors)

    rows = plain(layer.second, plain(layer.first, edges_of(features, features, neighbors)))
    same_with_gradients(ours, rows.amax(2), [features, *layer.parameters()])


def test_graph_propagation_asks_coarse_points_then_fine_ones():
    points, centers = draw(2, 9, 3), draw(2, 6, 3, seed=1)
    own = draw(2, 9, 8, seed=2).requires_grad_()
    features = draw(2, 6, 8, seed=3).requires_grad_()
    layers = prepare(GraphPropagation(8, hidden=12, n_neighbors=3), False)

    ours = layers(points, centers, own, features)

    rows, theirs, places = own, features, centers
    for part in (layers.down, layers.across):
        edges = edges_of(rows, theirs, knn(points, places, 3))
        edges = part.linear(edges).movedim(-1, 1)  # (B, C, N, k)
        normed = part.norm(edges)
        rows = nn.functional.leaky_relu(normed, 0.2).amax(-1).mT
        theirs, places = rows, points
    same_with_gradients(ours, rows, [own, features, *layers.parameters()])


def test_transform_begins_as_the_identity():
    points = torch.randn(2, 9, 3)

    matrices = EdgeTransformNet()(points, knn(points, points, 4))

    assert torch.equal(matrices, torch.eye(3).expand(2, -1, -1))
