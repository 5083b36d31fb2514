"""What compare found, for reading: the table, and the picture."""

import numpy as np
import pytest

from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import compare

PROBE = {"linear_probe": {"grid": (0.01, 1.0), "n_folds": 2}}


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    y = np.tile(["flat", "ball", "rod"], 16)
    scale = {"flat": (1, 1, 0.4), "ball": (1, 1, 1), "rod": (0.5, 0.5, 1)}
    X = generator.normal(size=(48, 24, 3)) * np.array([scale[name] for name in y])[:, None]
    return X[:30].astype(np.float32), y[:30], X[30:].astype(np.float32), y[30:]


def test_markdown_names_the_figure_its_data_set_and_every_selection(data):
    pretrainer = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8)
    settings = {"params": PROBE, "random_states": [0, 1]}

    report = compare({"mae": pretrainer}, data, **settings)

    text = report.to_markdown()
    assert "Point-MAE, ModelNet40, linear SVM, 91.0" in text
    assert "± " in text
    for said in report.frame["selection"]:
        assert said in text
    assert text.count("| mae |") == 2
    none = compare({"mae": pretrainer}, data, published=None, **settings)
    assert none.frame["published"].isna().all()


def test_plot_has_a_mark_for_every_mean_and_an_open_one_for_every_figure(data):
    collections = pytest.importorskip("matplotlib.collections")
    pretrainer = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8)

    # Random weights have no figure.
    given = {"a": PointMAEPretrainer(max_epochs=0, n_groups=4, group_size=8), "mae": pretrainer}
    report = compare(given, data, params=PROBE, random_states=[0, 1])

    display = report.plot()

    ax = display.ax_
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "mae"]
    means = np.concatenate([bars[0].get_xdata() for bars in ax.containers])
    assert sorted(means) == pytest.approx(sorted(100 * report.frame["mean"]))
    marks = [mark for mark in ax.collections if isinstance(mark, collections.PathCollection)]
    open_marks = [mark for mark in marks if not len(mark.get_facecolors())]
    places = np.concatenate([np.asarray(mark.get_offsets())[:, 0] for mark in open_marks])
    assert places.tolist() == pytest.approx([91.0, 91.0])
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[-1] == "published, ModelNet40, by its own protocol"
