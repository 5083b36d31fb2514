"""Noise and scale controls."""

import numpy as np
import pytest

from pointinteract.exceptions import CloudError
from pointinteract.explanation import InteractionExplainer
from pointinteract.games import noise_floor


def corners(points):
    """A smooth function of the shape: soft extents along three directions."""
    return np.log(np.exp(3 * points).mean(axis=1)) @ np.array([[4.0, 1, 0], [0, 5, 1], [1, 0, 3]])


@pytest.fixture
def dense():
    return np.random.default_rng(0).normal(size=(6, 400, 3)).clip(-2, 2)


def test_effects_of_the_shape_come_back_in_the_other_half(dense):
    control = InteractionExplainer(4, random_state=0).noise_control(corners, dense)

    frame = control.to_frame()

    assert (frame["correlation"][:3] > 0.5).all()
    np.testing.assert_allclose(frame["noise_floor"], noise_floor(4))
    assert len(control.first.points[0]) + len(control.second.points[0]) == 400


def test_effects_of_noise_do_not_come_back(dense):
    def grain(points):
        # Depends on the last bits of every point, and on nothing that two samples share.
        return np.sin(1e6 * points).sum(axis=1)

    frame = InteractionExplainer(4, random_state=0).noise_control(grain, dense).to_frame()

    assert (frame["correlation"][:3].abs() < 0.5).all()


def test_halves_share_no_point_and_keep_their_regions(dense):
    control = InteractionExplainer(4, random_state=0).noise_control(corners, dense)
    whole = InteractionExplainer(4).explain(corners, dense)

    for cloud in range(6):
        region_of = {
            tuple(point): region
            for point, region in zip(dense[cloud], whole.regions[cloud], strict=True)
        }
        first = {tuple(point) for point in control.first.points[cloud]}
        second = {tuple(point) for point in control.second.points[cloud]}
        assert not first & second and first | second == set(region_of)
        for half in (control.first, control.second):
            assert set(half.regions[cloud]) == {0, 1, 2, 3}
            for point, region in zip(half.points[cloud], half.regions[cloud], strict=True):
                assert region_of[tuple(point)] == region


def test_split_follows_random_state(dense):
    def first_points(seed):
        explainer = InteractionExplainer(4, random_state=seed)
        return explainer.noise_control(corners, dense).first.points[0]

    np.testing.assert_array_equal(first_points(0), first_points(0))
    assert not np.array_equal(first_points(0), first_points(1))


def test_second_sample_is_cut_around_the_first_ones_centers(dense):
    control = InteractionExplainer(4).noise_control(corners, dense, X_resampled=dense[:, ::-1])

    np.testing.assert_array_equal(
        control.second.regions[2], np.asarray(control.first.regions[2])[::-1]
    )
    np.testing.assert_allclose(control.to_frame()["correlation"], 1)


def test_sample_of_another_surface_is_refused(dense):
    with pytest.raises(CloudError, match="cloud 0 of X_resampled has no point in the regions"):
        InteractionExplainer(4).noise_control(corners, dense, X_resampled=dense * 0.01 + 9)


def test_other_number_of_clouds_is_refused(dense):
    with pytest.raises(CloudError, match="holds 2 clouds, X holds 6"):
        InteractionExplainer(4).noise_control(corners, dense, X_resampled=dense[:2])


def test_logit_does_not_see_the_temperature_and_probability_does(dense):
    by_logit = InteractionExplainer(4, score="logit").scale_control(corners, dense)
    by_probability = InteractionExplainer(4, score="probability").scale_control(corners, dense)

    assert list(by_logit.columns) == ["order", "T=0.5", "T=1", "T=2"]
    np.testing.assert_allclose(by_logit["T=0.5"], by_logit["T=2"])
    assert np.abs(by_probability["T=0.5"] - by_probability["T=2"]).max() > 1e-3


def test_temperature_one_is_the_plain_explanation(dense):
    explainer = InteractionExplainer(4)

    frame = explainer.scale_control(corners, dense)

    np.testing.assert_allclose(
        frame["T=1"], explainer.explain(corners, dense).strength_by_order()["strength"]
    )
