"""Splats against pictures drawn point by point, one pixel after the other."""

import numpy as np
import pytest
import torch

from pointinteract.ops.rendering import (
    pixel_cells,
    splat_harmonic,
    splat_maximum,
    splat_nearest,
    splat_sum,
)


def scene(n_points=30, seed=0, lead=(2, 3)):
    """Points on the plane (some outside), depths (some behind), features of two channels."""
    generator = torch.Generator().manual_seed(seed)
    plane = 2.4 * torch.rand(*lead, n_points, 2, generator=generator) - 1.2
    depth = 2 * torch.rand(*lead, n_points, generator=generator) - 0.2
    features = torch.randn(*lead, n_points, 2, generator=generator)
    return plane.double(), depth.double(), features.double()


def slow_nearest(features, plane, depth, size, radius, n_nearest, background):
    """Look at every point from every pixel."""
    picture = np.full((size, size, features.shape[-1]), background)
    for i in range(size):
        for j in range(size):
            y, x = 1 - (2 * i + 1) / size, (2 * j + 1) / size - 1
            squared = ((plane - np.array([x, y])) ** 2).sum(-1)
            hit = [p for p in np.argsort(depth) if depth[p] >= 0 and squared[p] < radius**2]
            weights = [1 - squared[p] / radius**2 for p in hit[:n_nearest]]
            if hit:
                total = sum(w * features[p] for w, p in zip(weights, hit, strict=False))
                picture[i, j] = total / max(sum(weights), 1e-4)
    return picture


@pytest.mark.parametrize("radius", [0.05, 0.2, 0.7])
@pytest.mark.parametrize("n_nearest", [1, 2, 50])
@pytest.mark.parametrize("background", [0.0, 1.0])
def test_nearest_equals_looking_from_every_pixel(radius, n_nearest, background):
    plane, depth, features = scene()

    pictures = splat_nearest(
        features, plane, depth, 9, radius=radius, n_nearest=n_nearest, background=background
    )

    assert pictures.shape == (2, 3, 9, 9, 2)
    for b in range(2):
        for v in range(3):
            each = (a[b, v].numpy() for a in (features, plane, depth))
            expected = slow_nearest(*each, 9, radius, n_nearest, background)
            np.testing.assert_allclose(pictures[b, v], expected, rtol=1e-10, atol=1e-12)


def test_sum_equals_adding_square_by_square():
    _, _, features = scene()
    cells = torch.randint(-2, 9, (2, 3, 30, 2), generator=torch.Generator().manual_seed(1))

    pictures = splat_sum(features, cells, (7, 8), radius=1)

    expected = np.zeros((2, 3, 9 + 20, 10 + 20, 2))  # with a margin that is cut off again
    for b, v, p in np.ndindex(2, 3, 30):
        row, column = cells[b, v, p].tolist()
        square = expected[b, v, 9 + row : 12 + row, 9 + column : 12 + column]
        square += features[b, v, p].numpy()
    np.testing.assert_allclose(pictures, expected[:, :, 10:17, 10:18], rtol=1e-10, atol=1e-12)


def test_harmonic_mean_and_mean_of_features_with_the_same_weights():
    depth = torch.tensor([[1.0, 2.0, 4.0, -1.0, 3.0]])
    features = torch.tensor([[[0.0], [1.0], [1.0], [9.0], [9.0]]])
    cells = torch.tensor([[[0, 1], [0, 1], [1, 0], [1, 0], [2, 0]]])

    picture = splat_harmonic(depth, cells, 2, features=features)[0]

    assert picture[0, 1].tolist() == pytest.approx([2 / (1 + 0.5), 0.5 / 1.5])
    assert picture[1, 0].tolist() == pytest.approx([4.0, 1.0])
    assert picture[0, 0].tolist() == picture[1, 1].tolist() == [0.0, 0.0]


def test_maximum_keeps_the_largest_in_each_square():
    values = torch.tensor([[0.3, 0.7, 0.5, 0.9]])
    cells = torch.tensor([[[0, 0], [0, 1], [3, 3], [-1, 1]]])

    assert splat_maximum(values, cells, 4)[0].max() == pytest.approx(0.7)
    expected = [[0.7, 0.7, 0.7, 0], [0.7, 0.7, 0.7, 0], [0, 0, 0.5, 0.5], [0, 0, 0.5, 0.5]]
    torch.testing.assert_close(
        splat_maximum(values, cells, 4, radius=1)[0], torch.tensor(expected)
    )


@pytest.mark.parametrize("rule", ["floor", "half_down"])
def test_rounding_rules(rule):
    # In pixels of a picture of 8: distance from the left and from the top.
    places = torch.tensor([[0.0, 0.0], [0.5, 1.5], [0.6, 7.4], [7.5, 7.6], [8.1, -0.1]])
    plane = torch.stack([places[:, 0] / 4 - 1, 1 - places[:, 1] / 4], dim=-1)

    cells = pixel_cells(plane, 8, rule=rule).tolist()  # row, column

    expected = {
        "floor": [[0, 0], [1, 0], [7, 0], [7, 7], [-1, 8]],
        "half_down": [[0, 0], [1, 0], [7, 1], [8, 7], [0, 8]],
    }
    assert cells == expected[rule]


def test_what_is_not_finite_has_no_pixel_and_no_trace():
    nan, infinite = float("nan"), float("inf")
    plane = torch.tensor([[[nan, 0.0], [0.0, infinite], [-infinite, 0.0], [0.1, 0.1]]])
    depth = torch.tensor([[1.0, 1.0, 1.0, nan]])
    features = torch.ones(1, 4, 1)

    cells = pixel_cells(plane, 4)
    picture = splat_nearest(features, plane, depth, 4, radius=0.5)

    outside = (cells[0, :3] < 0) | (cells[0, :3] > 3)
    assert outside.any(-1).all()
    assert torch.equal(picture, torch.zeros_like(picture))


@pytest.mark.parametrize("tied", [False, True])
def test_order_of_points_does_not_matter(tied):
    plane, depth, features = scene(n_points=60)
    if tied:
        depth = torch.ones_like(depth)
        plane[..., 0] = (2 * plane[..., 0]).round() / 2  # columns of points at one depth
    cells = pixel_cells(plane, 6)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(2))

    def draw(which):
        near = [a[:, :, which] for a in (features, plane, depth)]
        return [
            splat_nearest(*near, 6, radius=0.3, n_nearest=2),
            splat_sum(near[0], cells[:, :, which], 6, radius=1),
            splat_harmonic(near[2], cells[:, :, which], 6, features=near[0]),
            splat_maximum(near[2].abs(), cells[:, :, which], 6),
        ]

    for before, after in zip(draw(slice(None)), draw(order), strict=True):
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("blending", ["nearest", "sum", "harmonic", "maximum"])
def test_gradients_are_slopes(blending):
    plane, depth, features = scene(n_points=12, lead=(2,))
    depth = depth.abs() + 0.1
    cells = pixel_cells(plane, 5)
    draw = {
        "nearest": lambda f, p, d: splat_nearest(f, p, d, 5, radius=0.4, n_nearest=2),
        "sum": lambda f, p, d: splat_sum(f, cells, 5, radius=1),
        "harmonic": lambda f, p, d: splat_harmonic(d, cells, 5, features=f),
        "maximum": lambda f, p, d: splat_maximum(d, cells, 5, radius=1),
    }[blending]
    inputs = [a.clone().requires_grad_() for a in (features, plane, depth)]

    assert torch.autograd.gradcheck(draw, inputs)


def test_one_point_to_a_pixel_says_nothing_about_its_place():
    plane, depth, features = scene()
    plane.requires_grad_()
    found = []
    for n_nearest in (1, 2):
        pictures = splat_nearest(features, plane, depth, 9, radius=0.4, n_nearest=n_nearest)
        found.append(torch.autograd.grad(pictures.square().sum(), plane)[0].norm())

    assert found[0] < 1e-8 < 1e-2 < found[1]


def test_repeats_to_the_last_bit(device):
    plane, depth, features = (a.float().to(device) for a in scene(n_points=500))
    cells = pixel_cells(plane, 4)

    pictures = [
        (
            splat_nearest(features, plane, depth, 4, radius=0.5, n_nearest=3),
            splat_sum(features, cells, 4, radius=1),
            splat_harmonic(depth, cells, 4),
        )
        for _ in range(3)
    ]

    for again in pictures[1:]:
        assert all(torch.equal(a, b) for a, b in zip(pictures[0], again, strict=True))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pixel_cells(torch.zeros(2, 3), 4), ValueError, r"\(\.\.\., 2\), got \(2, 3\)"),
        (lambda: pixel_cells(torch.zeros(2, 2), 4, rule="up"), ValueError, "rule must be one of"),
        (
            lambda: splat_sum(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2).long(), 4),
            ValueError,
            r"cells must be \(1, 2, 2\) to go with features, got \(1, 3, 2\)",
        ),
        (
            lambda: splat_maximum(torch.zeros(1, 2), torch.zeros(1, 2, 2), 4),
            TypeError,
            "cells must be integers, got torch.float32",
        ),
        (
            lambda: splat_sum(torch.zeros(1, 2, 3), torch.zeros(1, 2, 2).long(), (4, 0)),
            ValueError,
            "size must be at least 1",
        ),
        (
            lambda: splat_nearest(
                torch.zeros(1, 2, 3), torch.zeros(1, 2, 2), torch.zeros(1, 3), 4, radius=0.1
            ),
            ValueError,
            r"must agree, got \(1, 2, 3\), \(1, 2, 2\) and \(1, 3\)",
        ),
        (
            lambda: splat_nearest(
                torch.zeros(1, 2, 3), torch.zeros(1, 2, 2), torch.zeros(1, 2), 4, radius=0.0
            ),
            ValueError,
            "radius must be in",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
