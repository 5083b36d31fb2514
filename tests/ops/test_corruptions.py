import numpy as np
import pytest
import torch

from pointinteract.exceptions import CloudError
from pointinteract.ops import CORRUPTION_LEVELS, CORRUPTIONS, corrupt, corrupt_add_local

LEVELS = (1, 2, 3, 4, 5)


@pytest.fixture
def ball() -> np.ndarray:
    """3 clouds of 1024 points in the unit sphere, as the benchmark has them, float64."""
    points = np.random.default_rng(0).normal(size=(3, 1024, 3)) * [1.0, 0.6, 0.3]
    points -= points.mean(axis=1, keepdims=True)
    return points / np.linalg.norm(points, axis=2).max(axis=1)[:, None, None]


def rows_of(cloud):
    return {tuple(row) for row in cloud}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_what_happens_to_a_cloud_depends_on_seed_and_place_alone(kind, ball):
    others = ball.copy()
    others[0] += 1.0

    whole = corrupt(ball, kind, 3, 7)
    beside_others = corrupt(others, kind, 3, 7)
    first_two = corrupt(list(ball[:2]), kind, 3, 7)

    np.testing.assert_array_equal(whole[1], beside_others[1])
    np.testing.assert_array_equal(whole[1], first_two[1])
    assert not np.array_equal(whole[1], corrupt(ball, kind, 3, 8)[1])
    assert not np.array_equal(corrupt(ball[[1, 1]], kind, 3, 7)[0], whole[1])


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_place_size_and_precision_of_a_cloud_make_no_difference(kind, ball):
    moved = 5.0 * ball + [10.0, -3.0, 2.0]

    plain = corrupt(ball, kind, 4, 0)
    after = corrupt(moved, kind, 4, 0)
    single = corrupt(ball.astype(np.float32), kind, 4, 0)

    np.testing.assert_allclose((after - [10.0, -3.0, 2.0]) / 5.0, plain, atol=1e-9)
    np.testing.assert_allclose(single, plain, atol=1e-5)
    assert single.dtype == np.float32 and plain.dtype == np.float64


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        ("scale", (1024,) * 5),
        ("jitter", (1024,) * 5),
        ("rotate", (1024,) * 5),
        ("drop_global", (768, 640, 512, 384, 256)),
        ("drop_local", (924, 824, 724, 624, 524)),
        ("add_global", (1034, 1044, 1054, 1064, 1074)),
        ("add_local", (1124, 1224, 1324, 1424, 1524)),
    ],
)
def test_counts_of_points_are_the_published_ones(kind, counts, ball):
    assert tuple(corrupt(ball, kind, level, 0).shape[1] for level in LEVELS) == counts


def test_jitter_has_the_published_spread_and_is_not_cut_off(ball):
    for level, sigma in zip(LEVELS, (0.01, 0.02, 0.03, 0.04, 0.05), strict=True):
        noise = corrupt(ball, "jitter", level, 0) - ball

        assert noise.std() == pytest.approx(sigma, rel=0.03)
        assert np.abs(noise).max() > 3 * sigma


def test_rotation_turns_about_the_mean_within_the_published_angles():
    clouds = np.random.default_rng(1).normal(size=(300, 8, 3))
    clouds -= clouds.mean(axis=1, keepdims=True)
    for level, limit in zip(LEVELS, (6, 12, 18, 24, 30), strict=True):
        turned = corrupt(clouds, "rotate", level, 0)
        matrices = np.stack([np.linalg.lstsq(a, b, rcond=None)[0]
                             for a, b in zip(clouds, turned, strict=True)])

        identity = np.broadcast_to(np.eye(3), matrices.shape)
        np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), identity, atol=1e-9)
        # points @ Rz Ry Rx: the entry that is the sine of the angle about y alone.
        sines = np.abs(matrices[:, 2, 0])
        angles = np.degrees(np.arcsin(sines))
        assert angles.max() <= limit
        assert angles.max() > 0.95 * limit


def test_scaling_keeps_mean_and_radius_and_changes_proportions(ball):
    moved = 3.0 * ball + 1.0
    scaled = corrupt(moved, "scale", 5, 0)
    center = moved.mean(axis=1, keepdims=True)

    np.testing.assert_allclose(scaled.mean(axis=1), moved.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(scaled - center, axis=2).max(axis=1), 3.0)
    # Each axis by a factor of its own, the same for all its points.
    factors = (scaled - center) / (moved - center)
    np.testing.assert_allclose(factors, factors[:, :1].repeat(1024, 1), rtol=1e-6)
    ratios = factors[:, 0] / factors[:, 0, :1]
    assert np.all(ratios < 4) and np.all(ratios > 1 / 4)
    assert np.all(np.abs(ratios[:, 1:] - 1) > 1e-3)


def test_factors_of_scaling_reach_from_one_over_s_to_s():
    # A cross with arms of length 1: the longest arm is brought back to 1, others tell ratios.
    cross = np.concatenate([np.eye(3), -np.eye(3)])[None].repeat(800, 0)
    for level, limit in zip(LEVELS, (1.6, 1.7, 1.8, 1.9, 2.0), strict=True):
        arms = corrupt(cross, "scale", level, 0)[:, [0, 1, 2], [0, 1, 2]]

        assert arms.min() > 1 / limit**2
        assert arms.min() < 1.2 / limit**2


@pytest.mark.parametrize("kind", ["drop_global", "drop_local"])
def test_drops_leave_points_in_place_and_order(kind, ball):
    left = corrupt(ball, kind, 3, 0)

    for before, after in zip(ball, left, strict=True):
        places = [int(np.flatnonzero((before == row).all(axis=1))[0]) for row in after]
        assert places == sorted(set(places))


def test_global_drops_are_spread_and_local_ones_tear_holes(ball):
    def distance_to_nearest_left(kind):
        left = corrupt(ball, kind, 3, 0)[0]
        return np.linalg.norm(ball[0][:, None] - left[None], axis=2).min(axis=1).max()

    assert distance_to_nearest_left("drop_local") > 1.5 * distance_to_nearest_left("drop_global")


def test_holes_are_balls_around_points_of_the_cloud():
    line = np.zeros((60, 400, 3))
    line[:, :, 0] = np.arange(400) / 400
    n_holes = []
    for cloud in corrupt(line, "drop_local", 2, 0):
        left = np.isin(line[0, :, 0], cloud[:, 0])
        # Runs of missing points on the line: not more than seven holes.
        n_holes.append(int(np.sum(np.diff(np.concatenate([[1], left, [1]])) == -1)))

    assert min(n_holes) == 1
    assert 4 <= max(n_holes) <= 7


@pytest.mark.parametrize("kind", ["add_global", "add_local"])
def test_adds_keep_the_cloud_and_stay_in_its_ball(kind, ball):
    grown = corrupt(ball, kind, 5, 0)

    np.testing.assert_array_equal(grown[:, :1024], ball)
    assert np.linalg.norm(grown, axis=2).max() <= 1 + 1e-9


def test_global_adds_are_uniform_in_the_ball():
    clouds = np.random.default_rng(0).normal(size=(200, 1024, 3))
    clouds -= clouds.mean(axis=1, keepdims=True)
    clouds /= np.linalg.norm(clouds, axis=2).max(axis=1)[:, None, None]

    added = corrupt(clouds, "add_global", 5, 0)[:, 1024:].reshape(-1, 3)

    # The cube of the radius is uniform in [0, 1], and so is the place of a coordinate.
    cubes = np.linalg.norm(added, axis=1) ** 3
    assert cubes.mean() == pytest.approx(0.5, abs=0.01)
    assert np.mean(cubes < 0.25) == pytest.approx(0.25, abs=0.015)
    np.testing.assert_allclose(added.mean(axis=0), 0, atol=0.015)


def test_local_adds_lie_about_points_of_the_cloud():
    # Two far groups of points; clumps have a s.d. of about a tenth of the radius.
    groups = np.repeat([[-1.0, 0, 0], [1.0, 0, 0]], 512, axis=0)[None]

    added = corrupt(groups, "add_local", 5, 0)[0, 1024:]

    assert np.all(np.minimum(*(np.linalg.norm(added - e, axis=1)
                               for e in ([-1, 0, 0], [1, 0, 0]))) < 0.6)
    assert 0.05 < added[:, 1].std() < 0.13
    # What fell outside was brought in: |x| beyond 1 would be about half of them.
    assert np.linalg.norm(added, axis=1).max() <= 1


def test_further_channels_go_along(ball):
    channels = np.concatenate([ball, np.arange(3 * 1024).reshape(3, 1024, 1)], axis=2)
    for kind in CORRUPTIONS:
        corrupted = corrupt(channels, kind, 2, 0)
        plain = corrupt(ball, kind, 2, 0)

        np.testing.assert_allclose(corrupted[..., :3], plain)
        for before, after in zip(channels, corrupted, strict=True):
            assert set(after[:, 3]) <= set(before[:, 3])

    grown = corrupt(channels, "add_global", 2, 0)[0]
    nearest = np.linalg.norm(ball[0][None] - grown[1024:, None, :3], axis=2).argmin(axis=1)
    np.testing.assert_array_equal(grown[1024:, 3], nearest)


@pytest.mark.parametrize("kind", CORRUPTIONS)
@pytest.mark.parametrize("n_points", [1, 2, 3])
def test_tiny_clouds_keep_a_point_and_stay_finite(kind, n_points):
    cloud = np.arange(3.0 * n_points).reshape(1, n_points, 3)
    for seed in range(5):
        done = corrupt(cloud, kind, 5, seed)

        assert done.shape[1] >= 1
        assert np.isfinite(done).all()


def test_points_in_one_place_make_no_trouble():
    same = np.ones((1, 64, 3))
    for kind, kept in (("drop_local", 33), ("drop_global", 16), ("add_local", 95)):
        assert corrupt(same, kind, 5, 0).shape == (1, kept, 3)


def test_lists_stay_lists_and_what_came_is_not_changed(ball):
    ragged = [ball[0], ball[1, :100]]
    copies = [cloud.copy() for cloud in ragged]
    for cloud in ragged:
        cloud.flags.writeable = False

    done = corrupt(ragged, "drop_local", 1, 0)

    assert isinstance(done, list)
    assert [len(cloud) for cloud in done] == [924, 90]
    for cloud, copy in zip(ragged, copies, strict=True):
        np.testing.assert_array_equal(cloud, copy)
    assert isinstance(corrupt(ragged[:1], "jitter", 1, 0), list)
    assert corrupt(torch.from_numpy(ball), "jitter", 1, 0).shape == ball.shape


def test_functions_take_batches_and_are_driven_by_their_generator(ball):
    points = torch.from_numpy(ball)

    once, again = (
        corrupt_add_local(points, 2, generator=torch.Generator().manual_seed(3)) for _ in "ab"
    )

    assert once.shape == (3, 1224, 3)
    assert torch.equal(once, again)
    # Clouds of a batch meet different corruptions.
    same = corrupt_add_local(points[[0, 0]], 2, generator=torch.Generator().manual_seed(3))
    assert not torch.equal(same[0], same[1])


def test_every_kind_has_five_levels_that_grow():
    assert len(CORRUPTIONS) == 7
    for strengths in CORRUPTION_LEVELS.values():
        assert len(strengths) == 5
        assert list(strengths) == sorted(strengths)


def test_bad_input_is_refused_with_words(ball):
    with pytest.raises(ValueError, match="kind must be one of 'scale'.*got 'blur'"):
        corrupt(ball, "blur", 1)
    with pytest.raises(ValueError, match="level must be from 1 to 5, got 6"):
        corrupt(ball, "jitter", 6)
    with pytest.raises(CloudError, match=r"cloud 1 has shape \(0, 3\)"):
        corrupt([ball[0], ball[0][:0]], "jitter", 1)
    with pytest.raises(CloudError, match=r"cloud 0 has shape \(1024, 2\)"):
        corrupt(ball[..., :2], "jitter", 1)
    with pytest.raises(CloudError, match="got none"):
        corrupt(ball[:0], "jitter", 1)
