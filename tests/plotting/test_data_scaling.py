"""Accuracy against the share of the data: means, spread, names and control."""

import numpy as np
import pandas as pd
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import DataScalingDisplay  # noqa: E402

SHARES = (0.05, 0.25, 1.0)


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


def make_table(n_seeds=2, control=False):
    rows = [
        (method, share, seed, level + 0.1 * share + 0.02 * seed)
        for seed in range(n_seeds)
        for method, level in (("generative", 0.7), ("contrastive", 0.71))
        for share in reversed(SHARES)
    ]
    table = pd.DataFrame(rows, columns=["method", "share", "seed", "accuracy"])
    return table.assign(control=0.6 + 0.02 * table["seed"]) if control else table


def test_lines_are_means_over_seeds_by_share():
    display = DataScalingDisplay.from_frame(make_table()).plot()

    line = {line.get_label(): line for line in display.ax_.get_lines()}["generative"]
    np.testing.assert_allclose(line.get_xdata(), SHARES)
    np.testing.assert_allclose(line.get_ydata(), [0.715, 0.735, 0.81])


def test_bands_are_one_deviation_and_dots_are_runs():
    display = DataScalingDisplay.from_frame(make_table()).plot()

    band, dots = display.ax_.collections[:2]
    vertices = band.get_paths()[0].vertices
    at = np.isclose(vertices[:, 0], 1.0)
    np.testing.assert_allclose(np.ptp(vertices[at, 1]), 2 * np.std([0.8, 0.82], ddof=1))
    assert len(dots.get_offsets()) == 6


def test_one_seed_has_no_band():
    display = DataScalingDisplay.from_frame(make_table(n_seeds=1)).plot()

    assert len(display.ax_.collections) == 2  # the dots of two methods
    assert display.summary()["std"].isna().all()


def test_axis_is_logarithmic_and_in_percent():
    display = DataScalingDisplay.from_frame(make_table(), title="ours").plot()

    assert display.ax_.get_xscale() == "log"
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == ["5%", "25%", "100%"]
    assert display.ax_.get_title(loc="left") == "ours"


def test_names_stand_at_the_ends_without_touching():
    display = DataScalingDisplay.from_frame(make_table(control=True)).plot()

    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in display.ax_.texts]
    names = [text.get_text() for text in display.ax_.texts]
    assert names == ["generative", "contrastive", "no pre-training"]
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(3) for j in range(i))
    assert boxes[1].y0 > boxes[0].y0 > boxes[2].y0  # in the order of the curves


def test_control_is_one_level_over_all_shares():
    display = DataScalingDisplay.from_frame(make_table(control=True)).plot()

    line = {line.get_label(): line for line in display.ax_.get_lines()}["no pre-training"]
    np.testing.assert_allclose(line.get_ydata(), [0.61, 0.61])


def test_methods_of_different_networks_have_their_own_controls():
    table = make_table(control=True)
    table.loc[table["method"] == "generative", "control"] -= 0.1

    display = DataScalingDisplay.from_frame(table).plot()

    lines = {line.get_label(): line for line in display.ax_.get_lines()}
    assert "no pre-training" not in lines
    for method, level in (("generative", 0.51), ("contrastive", 0.61)):
        control = lines[f"{method}, no pre-training"]
        np.testing.assert_allclose(control.get_ydata(), [level, level])
        assert control.get_color() == lines[method].get_color()


def test_methods_are_chosen_and_ordered():
    chosen = DataScalingDisplay.from_frame(make_table(), methods=["contrastive"])

    assert set(chosen.summary()["method"]) == {"contrastive"}
    both = DataScalingDisplay.from_frame(make_table()).summary()
    assert both["method"].tolist() == ["generative"] * 3 + ["contrastive"] * 3
    assert both["share"].tolist() == [*SHARES, *SHARES]


@pytest.mark.parametrize(
    ("table", "asked", "words"),
    [
        (make_table().drop(columns="seed"), {}, "must have the columns method, share, seed"),
        (make_table().head(0), {}, "got 0 rows"),
        (make_table().assign(share=5), {}, r"share must be above 0 and at most 1; got \[5\]"),
        (make_table().assign(accuracy=81.2), {}, "accuracy must be numbers from 0 to 1; got"),
        (make_table().assign(control=True), {}, "control must be numbers from 0 to 1"),
        (make_table().assign(accuracy="81%"), {}, "accuracy must be numbers, got .'81%'"),
        (make_table(), {"methods": ["ReCon"]}, "no method 'ReCon'; it has .'generative'"),
    ],
)
def test_tables_of_another_kind_are_refused(table, asked, words):
    with pytest.raises(ValueError, match=words):
        DataScalingDisplay.from_frame(table, **asked)


def test_without_any_accuracy_there_is_nothing_to_name():
    display = DataScalingDisplay.from_frame(make_table().assign(accuracy=np.nan)).plot()

    assert not display.ax_.texts
