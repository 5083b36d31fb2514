"""Drawing plain clouds, and training histories."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import HistoryDisplay, draw_cloud, draw_clouds  # noqa: E402
from pointinteract.plotting._cloud import project, region_colors  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.mark.parametrize(("up", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_vertical_axis_of_the_data_is_vertical_in_the_picture(up, axis):
    plane, _ = project(np.eye(3)[[axis]], view=(0, -60), up=up)

    np.testing.assert_allclose(plane, [[0, 1]], atol=1e-12)


def test_view_is_a_rotation():
    points = np.random.default_rng(0).normal(size=(20, 3))

    plane, depth = project(points, view=(35, 20))

    np.testing.assert_allclose(
        np.column_stack([plane, depth]) @ np.column_stack([plane, depth]).T, points @ points.T
    )


def test_nearer_points_are_drawn_last():
    points = np.random.default_rng(0).normal(size=(30, 3))
    _, ax = pyplot.subplots()

    draw_cloud(ax, points)

    plane, depth = project(points)
    drawn = ax.collections[0].get_offsets()
    np.testing.assert_allclose(drawn, plane[np.argsort(depth)])


def test_a_single_point_and_a_flat_cloud_can_be_drawn():
    _, ax = pyplot.subplots()

    draw_cloud(ax, np.zeros((1, 3)), title="point")
    draw_cloud(ax, np.zeros((5, 3)))

    assert ax.get_title() == "point"


def test_clouds_side_by_side_leave_no_empty_frame():
    clouds = np.random.default_rng(0).normal(size=(5, 20, 3))

    figure = draw_clouds(clouds, titles=list("abcde"))

    shown = [ax for ax in figure.axes if ax.collections]
    assert [ax.get_title() for ax in shown] == list("abcde")
    assert all(not ax.axison for ax in figure.axes)


def test_neighboring_regions_differ_in_color():
    colors = region_colors(40)

    assert len(colors) == 40 and len(set(colors[:16])) == 16


def history():
    return pd.DataFrame(
        {
            "loss": [3.0, 2.0, 1.5],
            "validation_loss": [3.1, 2.5, np.nan],
            "validation_score": [0.2, 0.5, 0.6],
            "learning_rate": [0.1, 0.1, 0.1],
        },
        index=pd.Index([1, 2, 3], name="epoch"),
    )


def test_history_has_losses_and_scores_apart():
    display = HistoryDisplay(history()).plot()

    labels = [[line.get_label() for line in ax.get_lines()] for ax in display.axes_]
    assert labels == [["loss", "validation loss"], ["validation score"]]
    np.testing.assert_array_equal(display.axes_[0].get_lines()[0].get_xdata(), [1, 2, 3])


def test_history_with_epoch_as_a_column_is_the_same():
    display = HistoryDisplay(history().reset_index(), columns=["loss"]).plot()

    assert len(display.axes_) == 1
    np.testing.assert_array_equal(display.axes_[0].get_lines()[0].get_xdata(), [1, 2, 3])


def test_history_is_taken_from_a_fitted_estimator():
    display = HistoryDisplay.from_estimator(SimpleNamespace(history_=history()))

    assert display.history.shape == (3, 4)
    with pytest.raises(ValueError, match="call fit"):
        HistoryDisplay.from_estimator(SimpleNamespace())


def test_unknown_column_is_refused():
    with pytest.raises(ValueError, match="no columns .'nothing'.; it holds .'loss'"):
        HistoryDisplay(history(), columns=["nothing"]).plot()
