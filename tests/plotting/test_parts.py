"""Parts of clouds in color: truth, prediction, mistakes."""

import numpy as np
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from matplotlib.colors import to_rgb  # noqa: E402

from pointinteract.plotting import PartsDisplay  # noqa: E402
from pointinteract.plotting._cloud import OPPOSE_COLOR, REGION_COLORS  # noqa: E402

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def clouds(*sizes):
    return [RANDOM.normal(size=(size, 3)) for size in sizes]


def n_of_color(ax, color):
    """Dots of one color, which fades with depth towards white."""
    faces = np.concatenate([dots.get_facecolors()[:, :3] for dots in ax.collections])
    direction = 1 - np.array(to_rgb(color))
    pale = 1 - faces
    along = pale @ direction / (direction @ direction)
    return int((np.abs(pale - along[:, None] * direction).max(axis=1) < 0.02).sum())


def test_three_panels_show_truth_prediction_and_mistakes():
    truth, guess = [np.array([0] * 6 + [1] * 4)], [np.array([0] * 8 + [1] * 2)]

    display = PartsDisplay(clouds(10), truth, guess, titles=["mug"]).plot()

    first, second = display.colors_[0], display.colors_[1]
    assert [n_of_color(display.axes_[0], color) for color in (first, second)] == [6, 4]
    assert [n_of_color(display.axes_[1], color) for color in (first, second)] == [8, 2]
    assert n_of_color(display.axes_[2], OPPOSE_COLOR) == 2
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == ["mug: truth", "prediction\nmIoU 0.62", "mistakes\n2 of 10"]


@pytest.mark.parametrize("given, title", [("truth", "truth"), ("predicted", "prediction")])
def test_one_side_alone_is_one_panel_a_cloud(given, title):
    display = PartsDisplay(clouds(5, 7), **{given: [np.zeros(5, int), np.ones(7, int)]}).plot()

    assert [ax.get_title() for ax in display.axes_] == [title, title]


def test_parts_that_meet_differ_and_others_may_share_a_color():
    labels = [np.array(["leg", "seat"]), np.array(["rim", "body"])]

    colors = PartsDisplay(clouds(2, 2), labels).plot().colors_

    assert colors["leg"] != colors["seat"] and colors["rim"] != colors["body"]
    assert set(colors.values()) == set(REGION_COLORS[:2])


def test_more_parts_than_colors_are_drawn_all_the_same():
    n_parts = len(REGION_COLORS) + 3

    colors = PartsDisplay(clouds(n_parts), [np.arange(n_parts)]).plot().colors_

    assert len(colors) == n_parts
    assert len(set(colors.values())) == len(REGION_COLORS)


@pytest.mark.parametrize(
    "names, written",
    [
        (["rim", "body", "handle"], ["rim", "handle"]),
        ({2: "$x"}, ["0", r"\$x"]),
        (["rim"], ["rim", "2"]),
        (None, ["0", "2"]),
    ],
)
def test_legend_names_the_parts_that_are_there(names, written):
    display = PartsDisplay(clouds(3), [np.array([0, 2, 2])], part_names=names).plot()

    texts = [text.get_text() for text in display.axes_[0].get_legend().get_texts()]
    assert texts == written
    assert display.plot(legend=False).axes_[0].get_legend() is None


class Halves:
    """Says of every point on which side it lies; knows the published rule."""

    category_parts_ = {"cap": ["left", "right", "top"]}

    def predict(self, X, categories=None):
        return [np.where(cloud[:, 0] < 0, "left", "right") for cloud in X]


def test_segmenter_is_asked_and_scored_by_the_rule_of_its_categories():
    X = clouds(8, 9)
    y = [np.where(cloud[:, 0] < 0, "left", "right") for cloud in X]
    y[1][:] = "right"

    alone = PartsDisplay.from_estimator(Halves(), X)
    told = PartsDisplay.from_estimator(Halves(), X, y, ["cap", "cap"]).plot()

    assert alone.truth is None and len(alone.plot().axes_) == 2
    n_right = (X[1][:, 0] >= 0).sum()
    assert told.scores == pytest.approx([1.0, (0 + n_right / 9 + 1) / 3])
    assert told.axes_[2].get_title() == "no mistake"
    y[1] = y[1].astype("U9")
    y[1][0] = "brim"
    novel = PartsDisplay.from_estimator(Halves(), X, y, ["cap", "cap"])
    assert novel.scores[0] == pytest.approx(1.0) and novel.scores[1] < told.scores[1]


def test_given_axes_are_used_and_counted():
    _, axes = pyplot.subplots(1, 3)
    labels = [np.zeros(4, int)]
    display = PartsDisplay(clouds(4), labels, labels)

    assert display.plot(axes).figure_ is axes[0].figure
    with pytest.raises(ValueError, match=r"axes must be 3, 3 for each of 1 clouds; got 2\."):
        display.plot(axes[:2])
    assert PartsDisplay(clouds(4), labels).plot(axes[0]).axes_ == [axes[0]]


@pytest.mark.parametrize(
    ("display", "message"),
    [
        (PartsDisplay(clouds(3)), "truth, predicted or both; got neither"),
        (PartsDisplay([], []), "no cloud"),
        (PartsDisplay(clouds(3), []), "got 0 rows of labels for 1 clouds"),
        (PartsDisplay(clouds(3), [[0, 1]]), r"cloud 0 has 3 points, and labels of shape \(2,\)"),
        (PartsDisplay(clouds(3)[0], np.zeros(3, int)), r"cloud 0 has shape \(3,\)"),
        (PartsDisplay(clouds(2), [[0, 1]], titles=[]), "titles must be one a cloud; got 0 for 1"),
        (PartsDisplay(clouds(2), [[0, 1]], scores=[1, 1]), "scores must be one a cloud; got 2"),
        (PartsDisplay(clouds(1), [[0]], [["a"]]), "name parts alike; cloud 0 has int64 and <U1"),
    ],
)
def test_what_does_not_fit_is_refused(display, message):
    with pytest.raises(ValueError, match=message):
        display.plot()
