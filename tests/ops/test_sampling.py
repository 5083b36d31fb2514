import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.ops import farthest_point_sample, random_sample, thin_clouds


def farthest_points_slowly(points, n_samples):
    """The definition, one cloud and one point at a time."""
    picked = [0]
    for _ in range(n_samples - 1):
        distance = ((points[:, None] - points[picked]) ** 2).sum(-1).min(1)
        picked.append(int(distance.argmax()))
    return picked


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_points=st.integers(2, 40))
def test_sampling_follows_the_definition(seed, n_points):
    points = np.random.default_rng(seed).normal(size=(2, n_points, 3))
    n_samples = max(1, n_points // 2)

    index = farthest_point_sample(torch.from_numpy(points), n_samples)

    assert index.tolist() == [farthest_points_slowly(cloud, n_samples) for cloud in points]


def test_ties_go_to_the_smallest_index(device):
    square = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0]]], device=device)

    assert farthest_point_sample(square, 2).tolist() == [[0, 1]]


def test_a_sample_is_a_prefix_of_a_larger_one(device):
    points = torch.randn(3, 50, 3, device=device)

    assert torch.equal(farthest_point_sample(points, 20)[:, :7], farthest_point_sample(points, 7))


def test_far_start_does_not_depend_on_the_order_of_points(device):
    points = torch.randn(1, 30, 3, device=device)
    turned = points.flip(1)

    first, second = (farthest_point_sample(cloud, 5, start="far") for cloud in (points, turned))

    assert torch.equal(points[0, first[0]], turned[0, second[0]])


def test_points_near_the_origin_are_skipped_only_on_request():
    points = torch.tensor([[[1.0, 0, 0], [0.01, 0, 0], [-1, 0, 0]]])

    assert farthest_point_sample(points, 3).tolist() == [[0, 2, 1]]
    assert farthest_point_sample(points, 3, skip_near_origin=True).tolist() == [[0, 2, 0]]


@pytest.mark.parametrize("n_samples", [0, 6])
def test_impossible_numbers_are_refused(n_samples):
    with pytest.raises(ValueError, match="from 1 to the 5 points"):
        farthest_point_sample(torch.zeros(1, 5, 3), n_samples)


def test_wrong_shapes_and_starts_are_refused():
    with pytest.raises(ValueError, match=r"\(B, N, C\), got \(5, 3\)"):
        farthest_point_sample(torch.zeros(5, 3), 2)
    with pytest.raises(ValueError, match="start must be from 0 to 4"):
        farthest_point_sample(torch.zeros(1, 5, 3), 2, start=5)
    with pytest.raises(ValueError, match='"far"'):
        farthest_point_sample(torch.zeros(1, 5, 3), 2, start="near")


def test_random_sample_repeats_with_its_seed_and_has_no_duplicates():
    points = torch.randn(4, 20, 3)

    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]

    draws = [random_sample(points, 9, generator=generator) for generator in generators]

    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert all(len(set(row)) == 9 for row in draws[0].tolist())


def test_thin_clouds_keeps_small_ones_and_orders_large_ones():
    points = torch.randn(2, 12, 4)

    assert torch.equal(thin_clouds(points, 12), points)
    thinned = thin_clouds(points, 5)
    index = farthest_point_sample(points[..., :3], 5)
    assert torch.equal(thinned[1], points[1, index[1]])


def test_coordinates_of_any_size_are_sampled_alike():
    points = torch.randn(1, 40, 3, dtype=torch.float64)

    assert torch.equal(farthest_point_sample(points * 1e7, 9), farthest_point_sample(points, 9))
