"""Absence: seven meanings of "not there", one interface, every form of a masked cloud the same."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pointinteract.exceptions import CloudError
from pointinteract.explanation._absence import (
    ABSENCES,
    POINT_ABSENCES,
    TOKEN_ABSENCES,
    check_background,
    make_absence,
)
from pointinteract.games import all_coalitions
from pointinteract.ops.regions import mask_regions, partition_regions

N_REGIONS = 4
CONSTANT = tuple(name for name in POINT_ABSENCES if name != "remove")


def cloud_of(seed, n_points=23, n_channels=3):
    points = torch.randn(n_points, n_channels, generator=torch.Generator().manual_seed(seed))
    return points, partition_regions(points[None], N_REGIONS)[0]


def absence_of(name, cloud=0, device="cpu", **options):
    points, regions = (tensor.to(device) for tensor in cloud_of(cloud))
    return make_absence(name, points, regions, N_REGIONS, **options)


def everything():
    return torch.from_numpy(all_coalitions(N_REGIONS).copy())


def rows_of(points):
    return sorted(map(tuple, points.tolist()))


def one_by_one(absence, keep):
    """Masked clouds without sharing a batch, as lists of rows."""
    for row in range(len(keep)):
        ((_, points),) = absence.batches(keep[row : row + 1], 1)
        yield rows_of(points[0])


@pytest.mark.parametrize("name", POINT_ABSENCES)
@given(seed=st.integers(0, 1000), n_asked=st.integers(1, 16))
@settings(max_examples=15, deadline=None)
def test_unique_points_repeated_are_the_masked_cloud(name, seed, n_asked):
    absence = absence_of(name, seed, seed=seed)
    asked = torch.randperm(16, generator=torch.Generator().manual_seed(seed))[:n_asked]
    keep = everything()[asked]

    points, counts = absence.unique(keep)

    for row, expected in enumerate(one_by_one(absence, keep)):
        assert rows_of(points[row].repeat_interleave(counts[row], dim=0)) == expected
    # No slot of the batch is padding everywhere, and padding comes last.
    present = counts > 0
    assert present.any(dim=0).all()
    assert torch.equal(present, present.sort(dim=1, descending=True, stable=True).values)


@pytest.mark.parametrize("name", POINT_ABSENCES)
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_hold_every_coalition_once(name, batch_size):
    absence = absence_of(name)
    keep = everything()
    expected = list(one_by_one(absence, keep))
    seen = []

    for rows, points in absence.batches(keep, batch_size):
        assert len(rows) == len(points) <= batch_size
        seen += rows.tolist()
        for row, cloud in zip(rows.tolist(), points, strict=True):
            assert rows_of(cloud) == expected[row]

    assert sorted(seen) == list(range(16))


@pytest.mark.parametrize("name", POINT_ABSENCES)
def test_everything_present_is_the_cloud_itself(name):
    absence = absence_of(name)
    keep = torch.ones(1, N_REGIONS, dtype=torch.bool)

    points, counts = absence.unique(keep)

    assert torch.equal(points[0], absence.points)
    assert (counts == 1).all()


@pytest.mark.parametrize("name", CONSTANT)
def test_kept_points_stay_in_their_places(name, device):
    absence = absence_of(name, device=device)
    keep = everything().to(device)

    masked = absence.masked(keep)

    kept = keep[:, absence.regions]
    assert absence.constant and masked.shape == (16, 23, 3)
    assert torch.equal(masked[kept], absence.points.expand(16, -1, -1)[kept])


@pytest.mark.parametrize("name", ["center", "region", "background"])
def test_fixed_replacements_are_those_of_the_operation(name):
    absence = absence_of(name)

    masked = absence.masked(everything())

    again = mask_regions(
        absence.points,
        absence.regions,
        everything(),
        absence=name,
        background=absence.replacement if name == "background" else None,
    )
    assert torch.equal(masked, again)


def test_removal_leaves_exactly_the_kept_points():
    absence = absence_of("remove")
    keep = everything()
    kept = keep[:, absence.regions]

    for rows, points in absence.batches(keep, 5):
        for row, cloud in zip(rows, points, strict=True):
            if keep[row].any():
                assert torch.equal(cloud, absence.points[kept[row]])

    assert not absence.constant
    assert absence.n_kept(keep).tolist() == kept.sum(dim=1).tolist()


@pytest.mark.parametrize(("name", "n_left"), [("remove", 1), ("center", 23), ("resample", 23)])
def test_of_nothing_the_center_is_left(name, n_left):
    absence = absence_of(name)
    nothing = torch.zeros(1, N_REGIONS, dtype=torch.bool)

    points, counts = absence.unique(nothing)

    assert torch.equal(points, absence.points.mean(dim=0, keepdim=True)[None])
    assert counts.tolist() == [[n_left]]


def test_regions_of_equal_size_make_few_batches_of_removal():
    points = torch.randn(24, 3)
    absence = make_absence("remove", points, torch.arange(24) % 4, 4)

    sizes = [len(rows) for rows, _ in absence.batches(everything(), 100)]

    assert sizes == [1, 4, 6, 4, 1]


def test_absent_regions_are_one_point_each_when_merged():
    absence = absence_of("region")
    keep = torch.tensor([[True, False, False, True]])

    points, counts = absence.unique(keep)

    sizes = torch.bincount(absence.regions)
    assert points.shape[1] == sizes[0] + sizes[3] + 2
    assert sorted(counts[0, -2:].tolist()) == sorted(sizes[1:3].tolist())


@pytest.mark.parametrize("name", ["background", "resample"])
def test_seed_and_sample_decide_what_is_drawn(name):
    keep = torch.tensor([[True, False, False, True]])

    def draw(seed, sample):
        return absence_of(name, seed=seed, sample=sample).masked(keep)

    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3))
    assert not torch.equal(draw(1, 2), draw(2, 2))


def test_resampling_keeps_only_points_that_are_there():
    absence = absence_of("resample")
    keep = everything()[1:]

    masked = absence.masked(keep)

    for row, cloud in zip(keep, masked, strict=True):
        assert set(rows_of(cloud)) <= set(rows_of(absence.points[row[absence.regions]]))


def test_given_background_is_what_is_left_of_nothing():
    background = np.random.default_rng(0).normal(size=(6, 3))
    absence = absence_of("background", background=background)

    masked = absence.masked(torch.zeros(1, N_REGIONS, dtype=torch.bool))[0]

    different, counts = torch.unique(masked, dim=0, return_counts=True)
    assert set(rows_of(different)) == set(rows_of(torch.tensor(background, dtype=torch.float32)))
    assert sorted(counts.tolist()) == [3, 4, 4, 4, 4, 4]


def test_background_of_one_point_is_merged_into_one():
    absence = absence_of("background", background=[[1.0, 2.0, 3.0]])
    keep = torch.tensor([[True, False, False, False]])

    points, counts = absence.unique(keep)

    n_kept = int((absence.regions == 0).sum())
    assert points[0, n_kept:].tolist() == [[1.0, 2.0, 3.0]]
    assert counts[0, n_kept:].tolist() == [23 - n_kept]


@pytest.mark.parametrize("name", TOKEN_ABSENCES)
def test_tokens_are_not_among_the_points(name):
    absence = absence_of(name)

    assert absence.replacement is None and not absence.constant
    with pytest.raises(ValueError, match='needs players="patches"'):
        absence.unique(everything())


def test_removal_has_no_masked_cloud_of_all_points():
    with pytest.raises(ValueError, match="use batches or unique"):
        absence_of("remove").masked(everything())


@pytest.mark.parametrize("keep", [torch.ones(3, 5, dtype=torch.bool), torch.ones(3, 4)])
def test_wrong_coalitions_are_refused(keep):
    with pytest.raises(ValueError, match=r"keep must be bool \(S, 4\)"):
        absence_of("center").unique(keep)


def test_unknown_absence_is_refused():
    with pytest.raises(ValueError, match="absence must be one of 'center'.*got 'gone'"):
        absence_of("gone")
    assert len(ABSENCES) == 7


def test_one_background_serves_all_clouds_and_a_list_one_each():
    one, other = np.zeros((4, 3)), np.ones((9, 3))

    assert check_background(None, 2, 3) == (None, None)
    assert [len(cloud) for cloud in check_background(one, 2, 3)] == [4, 4]
    assert [len(cloud) for cloud in check_background([one, torch.tensor(other)], 2, 3)] == [4, 9]


@pytest.mark.parametrize(
    ("background", "message"),
    [
        (np.zeros((4, 2)), r"background must have shape \(n_points, 3\).*got \(4, 2\)"),
        (np.zeros((0, 3)), r"at least one point; got \(0, 3\)"),
        ([np.zeros((4, 3)), np.zeros((4, 6))], r"background 1 must have .*got \(4, 6\)"),
        ([np.zeros((4, 3))], "each of the 2 clouds, got 1"),
        (np.full((4, 3), np.nan), "4 of 4 points that are not finite"),
        (np.full((4, 3), "a"), "must hold numbers"),
    ],
)
def test_wrong_backgrounds_are_refused(background, message):
    with pytest.raises(CloudError, match=message):
        check_background(background, 2, 3)
