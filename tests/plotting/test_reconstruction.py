"""Clouds seen, made and true, side by side."""

import numpy as np
import pytest
from sklearn.utils import Bunch

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import ReconstructionDisplay  # noqa: E402

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def clouds(*sizes):
    return [RANDOM.normal(size=(size, 3)) for size in sizes]


def n_drawn(ax):
    return sum(len(dots.get_offsets()) for dots in ax.collections)


@pytest.mark.parametrize(
    ("seen", "made", "only_missing"),
    [
        ("visible", "rebuilt", True),
        ("given", "generated", True),
        ("partial", "completed", False),
        ("seen", "reconstructed", False),
        ("centers", "rebuilt", False),
    ],
)
def test_fields_of_every_pretext_are_known(seen, made, only_missing):
    result = Bunch(**{seen: clouds(5, 6), made: clouds(7, 8), "target": clouds(9, 10)})

    display = ReconstructionDisplay.from_result(result).plot()

    assert len(display.axes_) == 6
    beneath = 6 if only_missing else 0
    assert [n_drawn(ax) for ax in display.axes_[3:]] == [6, 8 + beneath, 10 + beneath]
    assert display.axes_[1].get_title() == made


def test_clouds_are_chosen_and_errors_written():
    result = Bunch(
        visible=clouds(5, 6), rebuilt=clouds(7, 8), target=clouds(7, 8), error=[0.5, 0.0123]
    )

    display = ReconstructionDisplay.from_result(result, clouds=[1]).plot()

    assert [n_drawn(ax) for ax in display.axes_] == [6, 14, 14]
    assert display.axes_[1].get_title() == "rebuilt\nerror 0.012"


def test_without_truth_there_are_two_panels():
    result = Bunch(partial=clouds(5), completed=clouds(7))

    display = ReconstructionDisplay.from_result(result).plot()

    assert len(display.axes_) == 2


def test_panels_of_a_row_have_the_same_scale():
    display = ReconstructionDisplay(clouds(5), [3 * clouds(9)[0]], clouds(7)).plot()

    assert len({ax.get_xlim() for ax in display.axes_}) == 1
    assert len({ax.get_ylim() for ax in display.axes_}) == 1


def test_nothing_made_is_drawn_as_nothing():
    nothing = [np.empty((0, 3))]

    display = ReconstructionDisplay(clouds(5), nothing, clouds(7), error=[np.nan]).plot()

    assert [n_drawn(ax) for ax in display.axes_] == [5, 0, 7]
    assert display.axes_[1].get_title() == "made"


def test_given_axes_are_used_and_counted():
    _, axes = pyplot.subplots(1, 3)
    display = ReconstructionDisplay(clouds(5), clouds(6), clouds(7))

    assert display.plot(axes).figure_ is axes[0].figure
    with pytest.raises(ValueError, match=r"axes must be 3, 3 for each of 1 clouds; got 2\."):
        display.plot(axes[:2])


def test_other_results_are_refused_by_name():
    with pytest.raises(ValueError, match=r"visible and rebuilt.*got score\."):
        ReconstructionDisplay.from_result(Bunch(score=[1]))


def test_no_cloud_is_no_picture():
    with pytest.raises(ValueError, match="no cloud"):
        ReconstructionDisplay([], []).plot()
