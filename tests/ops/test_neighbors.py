import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.ops import ball_query, knn, square_distance


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
