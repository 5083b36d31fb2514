import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.ops import ball_query, knn, square_distance
from pointinteract.ops.neighbors import knn_of_repeated


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_channels=st.sampled_from([2, 3, 7]), k=st.integers(1, 6))
def test_neighbors_are_those_of_a_full_sort(seed, n_channels, k):
    generator = torch.Generator().manual_seed(seed)
    # Small whole numbers make many exact ties.
    points = torch.randint(0, 3, (2, 12, n_channels), generator=generator).float()
    query = torch.randint(0, 3, (2, 5, n_channels), generator=generator).float()

    index, distance = knn(query, points, k, return_distances=True)

    exact = (query.unsqueeze(2) - points.unsqueeze(1)).square().sum(-1)
    expected = exact.sort(dim=-1, stable=True)
    assert torch.equal(index, expected.indices[..., :k])
    assert torch.equal(distance, expected.values[..., :k])


def test_distances_of_many_channels_keep_near_ties_in_order(device):
    # Far from the origin, the expanded form in float32 loses what tells these points apart.
    base = torch.full((1, 1, 16), 100.0, device=device)
    points = base + torch.linspace(0, 0.05, 40, device=device).view(1, -1, 1)

    assert knn(base, points, 40).tolist() == [[list(range(40))]]


def test_square_distance_is_never_negative_and_has_gradient():
    a = torch.randn(1, 4, 8, dtype=torch.float64, requires_grad=True)

    distance = square_distance(a, a)

    assert (distance >= 0).all()
    b = a.detach() + 1
    assert torch.autograd.gradcheck(lambda x: square_distance(x, b), (a,))


def test_ball_query_takes_the_first_in_index_order_and_fills_up():
    points = torch.tensor([[[0.3, 0, 0], [0.1, 0, 0], [5, 0, 0], [0.2, 0, 0]]])
    query = torch.tensor([[[0.0, 0, 0], [9, 0, 0]]])

    index = ball_query(query, points, radius=1.0, k=2)
    assert index.tolist() == [[[0, 1], [0, 0]]]

    more = ball_query(query, points, radius=0.25, k=6)
    assert more.tolist() == [[[1, 3, 1, 1, 1, 1], [0] * 6]]


def test_the_radius_itself_is_outside():
    points = torch.tensor([[[0.5, 0, 0], [0.25, 0, 0]]])

    assert ball_query(torch.zeros(1, 1, 3), points, radius=0.5, k=1).tolist() == [[[1]]]


def test_impossible_requests_are_refused():
    points = torch.zeros(1, 3, 3)

    with pytest.raises(ValueError, match="k must be from 1 to the 3 points"):
        knn(points, points, 4)
    with pytest.raises(ValueError, match="radius must be positive"):
        ball_query(points, points, 0.0, 1)
    with pytest.raises(ValueError, match="agree in B and C"):
        knn(points, torch.zeros(1, 3, 2), 1)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n_channels=st.sampled_from([3, 7]), k=st.integers(1, 30))
def test_neighbors_of_repeated_points_are_those_of_the_cloud_written_out(seed, n_channels, k):
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(1, 10, n_channels, generator=generator)
    counts = torch.randint(0, 6, (1, 10), generator=generator)
    counts[0, 4] = 2
    who = torch.arange(10).repeat_interleave(counts[0])  # of the cloud written out

    found = knn_of_repeated(points, counts, k)

    full = points[:, who]
    expected = who[knn(points, full, min(k, len(who)))]
    for i in counts[0].nonzero()[:, 0].tolist():
        assert set(found[0, i].tolist()) == set(expected[0, i].tolist())
    assert found.shape == (1, 10, min(k, 10))


def test_counts_must_be_one_a_point():
    with pytest.raises(ValueError, match=r"counts must be \(B, M\) = \(2, 5\).*got \(2, 4\)"):
        knn_of_repeated(torch.zeros(2, 5, 3), torch.ones(2, 4, dtype=torch.long), 2)


@pytest.mark.parametrize("shape", [(1, 700, 3), (3, 600, 6), (90, 64, 3), (0, 8, 3)])
def test_neighbors_do_not_depend_on_how_the_work_is_cut(shape):
    points = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    counts = torch.ones(shape[:2], dtype=torch.long)

    index = knn(points, points, 5)

    exact = square_distance(points, points).sort(dim=-1, stable=True).indices[..., :5]
    assert torch.equal(index, exact)
    assert torch.equal(knn_of_repeated(points, counts, 5), exact)
