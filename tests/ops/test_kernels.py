"""Compiled kernels against the torch forms, which are the reference."""

import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pointinteract.ops import (
    _fast,
    _search,
    ball_query,
    chamfer_distance,
    farthest_point_sample,
    knn,
    nearest_neighbor,
)
from pointinteract.ops.neighbors import ball_members, knn_of_repeated

pytest.importorskip("numba")


@pytest.fixture
def with_torch(monkeypatch):
    """Call a function with the kernels switched off."""

    def call(function):
        with monkeypatch.context() as patch:
            patch.setenv(_fast.SWITCH, "0")
            return function()

    return call


def clouds(seed, n_clouds, n_points, n_channels, dtype, kind):
    """Clouds with near ties, with many exact ties, or with every point twice."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_clouds, n_points, n_channels)
    if kind == "lattice":
        return torch.randint(0, 3, shape, generator=generator).to(dtype)
    points = torch.randn(shape, generator=generator, dtype=dtype)
    if kind == "twice":
        points[:, n_points // 2 :] = points[:, : n_points - n_points // 2]
    return points + 100.0 if kind == "far" else points


CASES = {
    "seed": st.integers(0, 10_000),
    "n_points": st.sampled_from([1, 2, 7, 127, 129, 300]),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
    "kind": st.sampled_from(["normal", "lattice", "twice", "far"]),
}
# The fixture only calls functions; nothing is left behind between examples.
REUSED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@REUSED
@given(n_channels=st.sampled_from([1, 3, 4, 7, 33]), share=st.sampled_from([0, 0.1, 1]), **CASES)
def test_nearest_neighbors(with_torch, seed, n_points, dtype, kind, n_channels, share):
    points = clouds(seed, 2, n_points, n_channels, dtype, kind)
    query = points[:, : 1 + n_points // 3]
    k = max(1, int(share * n_points))

    index, distance = knn(query, points, k, return_distances=True)

    expected = with_torch(lambda: knn(query, points, k, return_distances=True))
    # Many channels: the expanded form of the reference rounds on the scale of the norms.
    scale = points.square().sum(-1).max() * (1e-13 if n_channels > 4 else 0)
    bound = torch.finfo(dtype).eps * expected[1] + scale
    assert ((distance - expected[1]).abs() <= bound).all()
    if n_channels <= 4 or kind == "lattice":
        assert torch.equal(index, expected[0])
    assert len(set(index[0, 0].tolist())) == k


@pytest.mark.parametrize("scale", [1e-21, 1e-15, 1e15, 1e19])
def test_many_channels_of_any_size(with_torch, scale):
    points = scale * clouds(0, 1, 200, 9, torch.float32, "normal")

    assert torch.equal(knn(points, points, 5), with_torch(lambda: knn(points, points, 5)))


@REUSED
@given(k=st.integers(1, 300), n_lows=st.sampled_from([1, 2, 64]), **CASES)
def test_selection_is_that_of_a_stable_sort(seed, n_points, dtype, kind, k, n_lows):
    distance = clouds(seed, 3, 5, n_points, dtype, kind).abs()
    k = min(k, n_points)
    found = torch.empty(15, k, dtype=torch.int64)

    rows = distance.view(-1, n_points).numpy()
    n_lows = max(n_lows, k)
    _fast.kernels().select_nearest(0, 15, _search._whole(rows), n_lows, found.numpy())

    expected = distance.sort(dim=-1, stable=True).indices[..., :k]
    assert torch.equal(found.view(3, 5, k), expected)


def test_selection_survives_numbers_that_are_none():
    distance = torch.rand(4, 400)
    distance[0] = torch.nan
    distance[1, ::2] = torch.inf
    distance[2, ::3] = -torch.nan

    index = _search.select_nearest(distance, 9)

    assert ((index >= 0) & (index < 400)).all()
    assert (index[1] % 2 == 1).all()
    wild = torch.full((1, 300, 8), torch.nan)
    assert ((found := knn(wild, wild, 5)) >= 0).all() and (found < 300).all()


@REUSED
@given(radius=st.sampled_from([0.1, 1.0, 2.0**0.5, 3.0]), k=st.integers(1, 40), **CASES)
def test_balls(with_torch, seed, n_points, dtype, kind, radius, k):
    points = clouds(seed, 2, n_points, 3, dtype, kind)
    query = points[:, : 1 + n_points // 3] + (seed % 2) * 0.05

    found = ball_members(query, points, radius, k)

    expected = with_torch(lambda: ball_members(query, points, radius, k))
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@REUSED
@given(share=st.sampled_from([0, 0.3, 1]), skip=st.booleans(), **CASES)
def test_farthest_points(with_torch, seed, n_points, dtype, kind, share, skip):
    points = clouds(seed, 2, n_points, 3, dtype, kind)
    points[:, ::5] *= 1e-3
    n_samples = max(1, int(share * n_points))
    start = torch.tensor([0, n_points - 1])

    def pick():
        return farthest_point_sample(points, n_samples, start=start, skip_near_origin=skip)

    assert torch.equal(pick(), with_torch(pick))


@REUSED
@given(**CASES)
def test_nearest_one_and_chamfer(with_torch, seed, n_points, dtype, kind):
    a = clouds(seed, 2, n_points, 3, dtype, kind).requires_grad_()
    b = clouds(seed + 1, 2, 5, 3, dtype, kind)

    def measure():
        distance, index = nearest_neighbor(a, b)
        loss = chamfer_distance(a, b)
        return distance, index, loss, torch.autograd.grad(loss, a)[0]

    for ours, expected in zip(measure(), with_torch(measure), strict=True):
        assert torch.equal(ours, expected)


def test_repeated_points(with_torch):
    points = clouds(3, 2, 200, 3, torch.float32, "normal")
    counts = torch.randint(0, 4, (2, 200), generator=torch.Generator().manual_seed(0))

    def search():
        return knn_of_repeated(points, counts, 11)

    assert torch.equal(search(), with_torch(search))


def test_clouds_in_pieces_of_memory(with_torch):
    points = clouds(0, 3, 150, 6, torch.float32, "normal").transpose(0, 1)[::2, :, 1:4]
    assert not points.is_contiguous()

    for operation in (
        lambda: knn(points, points, 2),
        lambda: ball_query(points, points, 1.0, 4),
        lambda: farthest_point_sample(points, 2),
        lambda: nearest_neighbor(points, points)[1],
    ):
        assert torch.equal(operation(), with_torch(operation))


def test_no_clouds_at_all():
    nothing = torch.zeros(0, 5, 3)

    assert farthest_point_sample(nothing, 2).shape == (0, 2)
    assert ball_query(nothing, nothing, 1.0, 2).shape == (0, 5, 2)


def test_threads_change_nothing():
    points = clouds(0, 4, 600, 3, torch.float32, "normal")
    before = torch.get_num_threads()
    answers = []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            answers.append((knn(points, points, 9), farthest_point_sample(points, 99)))
    finally:
        torch.set_num_threads(before)

    for index, picked in answers[1:]:
        assert torch.equal(index, answers[0][0]) and torch.equal(picked, answers[0][1])


def test_several_callers_at_once(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    points = clouds(0, 4, 300, 3, torch.float32, "normal")
    expected = knn(points, points, 9)
    wrong = []

    def search():
        for _ in range(5):
            if not torch.equal(knn(points, points, 9), expected):
                wrong.append(threading.get_ident())

    callers = [threading.Thread(target=search) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert not wrong


def test_errors_of_any_part_are_raised(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    def fail(first, last):
        if first > 0:
            raise ArithmeticError(f"part from {first}")

    with pytest.raises(ArithmeticError, match="part from"):
        _fast.run(fail, 9, 1 << 20)


FORK = """
import os, torch
torch.set_num_threads(2)
from pointinteract.ops import knn
points = torch.randn(4, 300, 3)
expected = knn(points, points, 5)
child = os.fork()
if child == 0:
    torch.set_num_threads(1)  # of torch itself; ours are asked for below
    torch.get_num_threads = lambda: 2
    os._exit(0 if torch.equal(knn(points, points, 5), expected) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs fork")
def test_a_forked_process_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)


def test_where_kernels_are_not_used(monkeypatch):
    points = torch.zeros(1, 3, 3)

    assert _fast.is_fast(points)
    assert not _fast.is_fast(points.half())
    assert not _fast.is_fast(points.to("meta"))
    with torch._subclasses.FakeTensorMode():
        assert not _fast.is_fast(torch.zeros(1, 3, 3))
    assert not torch.func.vmap(lambda each: each + _fast.is_fast(each))(points).any()
    monkeypatch.setenv(_fast.SWITCH, "0")
    assert not _fast.is_fast(points)


def test_exported_programs_hold_the_torch_form():
    class Search(torch.nn.Module):
        def forward(self, points):
            return knn(points, points, 3)

    points = torch.randn(2, 40, 3)

    program = torch.export.export(Search(), (points,))

    assert torch.equal(program.module()(points), knn(points, points, 3))
