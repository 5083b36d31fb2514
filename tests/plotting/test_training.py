"""Training curves: which scale shows all terms of a loss."""

import pandas as pd
import pytest

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import HistoryDisplay  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def history(small, large=1.0):
    epochs = pd.RangeIndex(1, 4, name="epoch")
    return pd.DataFrame({"loss": large, "reconstruction": small, "accuracy": 0.5}, index=epochs)


@pytest.mark.parametrize(
    ("small", "scale", "drawn"),
    [
        (0.3, "auto", "linear"),
        (0.02, "auto", "log"),
        (0.02, "linear", "linear"),
        (0.3, "log", "log"),
        (0.0, "auto", "linear"),  # zero has no logarithm
        (-0.02, "auto", "linear"),
    ],
)
def test_small_terms_are_seen_beside_large_ones(small, scale, drawn):
    display = HistoryDisplay(history(small), scale=scale).plot()

    losses, scores = display.axes_
    assert losses.get_yscale() == drawn
    assert scores.get_yscale() == "linear"


def test_one_curve_that_falls_far_stays_linear():
    table = history(0.01)[["reconstruction"]]

    assert HistoryDisplay(table).plot().axes_[0].get_yscale() == "linear"


def test_unknown_scales_are_named():
    with pytest.raises(ValueError, match="scale must be one of 'auto', 'linear', 'log'"):
        HistoryDisplay(history(0.3), scale="sqrt").plot()
