"""Scanned objects: one side, clutter, noise, repeatability."""

import numpy as np
import pytest

from pointinteract.datasets import make_scans

CLEAN = dict(occlusion=0.0, noise=0.0, clutter=0.0, normalize=False)


def test_fields_have_the_promised_shapes():
    scans = make_scans(9, n_points=100, random_state=0)

    assert scans.data.shape == scans.normals.shape == (9, 100, 3)
    assert scans.data.dtype == np.float32 and scans.parts.shape == (9, 100)
    assert scans.viewpoints.shape == (9, 3) and len(scans.captions) == 9
    np.testing.assert_allclose(np.linalg.norm(scans.viewpoints, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(scans.data, axis=2).max(axis=1), 1, atol=1e-6)


def test_scans_of_differing_length_come_as_lists():
    scans = make_scans(6, n_points=None, random_state=0)

    lengths = {len(cloud) for cloud in scans.data}
    assert len(lengths) > 1 and min(lengths) >= 32
    assert [p.shape for p in scans.parts] == [c.shape[:1] for c in scans.data]
    assert [n.shape for n in scans.normals] == [c.shape for c in scans.data]


@pytest.mark.parametrize("n_points", [64, None])
def test_same_seed_gives_the_same_bytes_and_a_prefix(n_points):
    whole = make_scans(40, n_points=n_points, random_state=1)
    again = make_scans(40, n_points=n_points, random_state=1)
    part = make_scans(17, n_points=n_points, random_state=1)

    for i in range(40):
        assert whole.data[i].tobytes() == again.data[i].tobytes()
    for i in range(17):
        assert whole.data[i].tobytes() == part.data[i].tobytes()
    np.testing.assert_array_equal(whole.target[:17], part.target)


def test_a_cabinet_shows_only_faces_turned_to_the_sensor():
    scans = make_scans(10, n_points=300, classes=["cabinet"], random_state=0, **CLEAN)

    facing = np.einsum("bnc,bc->bn", scans.normals, scans.viewpoints)
    assert facing.min() >= 0


def test_the_far_side_is_missing():
    scans = make_scans(10, n_points=300, classes=["cabinet"], random_state=0, **CLEAN)

    depth = np.einsum("bnc,bc->bn", scans.data, scans.viewpoints)
    assert depth.mean() > 0.1  # the whole object, centred, has mean depth 0


def test_a_body_in_front_takes_points_away():
    options = {**CLEAN, "classes": ["bed", "sofa"], "n_points": None, "random_state": 0}
    free = make_scans(20, **options)
    hidden = make_scans(20, **{**options, "occlusion": 1.0})

    n_free = sum(len(cloud) for cloud in free.data)
    assert sum(len(cloud) for cloud in hidden.data) < 0.95 * n_free


def test_clutter_stays_below_its_share_and_can_be_switched_off():
    stray = make_scans(30, n_points=200, clutter=0.3, random_state=0)
    without = make_scans(30, n_points=200, clutter=0.0, random_state=0)

    label = stray.part_names.index("clutter")
    shares = (stray.parts == label).mean(axis=1)
    assert 0.05 < shares.mean() and shares.max() <= 0.3
    assert not (without.parts == label).any()


def test_clutter_is_mixed_into_the_order():
    scans = make_scans(30, n_points=200, clutter=0.3, random_state=0)

    position = np.nonzero(scans.parts == scans.part_names.index("clutter"))[1]
    assert 80 < position.mean() < 120


def test_noise_moves_points_along_the_line_of_sight():
    still = make_scans(4, n_points=200, random_state=0, **CLEAN)
    noisy = make_scans(4, n_points=200, random_state=0, **{**CLEAN, "noise": 0.05})

    moved = noisy.data - still.data
    along = np.einsum("bnc,bc->bn", moved, still.viewpoints)
    assert along.std() == pytest.approx(0.05, rel=0.15)
    np.testing.assert_allclose(moved, along[..., None] * still.viewpoints[:, None], atol=1e-5)


@pytest.mark.parametrize("name, value", [("occlusion", 1.5), ("clutter", 1.0), ("noise", -1)])
def test_wrong_numbers_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} must be in"):
        make_scans(2, **{name: value})
