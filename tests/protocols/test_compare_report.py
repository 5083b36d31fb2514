"""What compare found, for reading: the table, and the picture."""

import numpy as np
import pytest
from sklearn.svm import SVC

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import compare
from pointinteract.protocols._compare_report import make_report

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


def record(method, protocol, seed, *accuracies, error="", **more):
    """A run as compare keeps it; `accuracies` are (variant, accuracy)."""
    results = [{"variant": variant, "accuracy": accuracy, "selection": "as it is"} | more
               for variant, accuracy in accuracies]  # fmt: skip
    return {"method": method, "protocol": protocol, "seed": seed, "results": results,
            "seconds": 1.0, "fit_seconds": 0.0, "error": error}  # fmt: skip


@pytest.fixture
def report():
    cv = "C by cross-validation"
    records = [
        # The published rule may come first, and is still not the number to quote.
        record("mae", "linear_probe", 0, ("published C", 0.99), (cv, 0.5)),
        record("mae", "linear_probe", 1, ("published C", 0.99), (cv, 0.7)),
        record("mae", "votes", 0, ("", 0.25)),
        record("mae", "vote", 0, ("mean of votes", 0.8), ("published: best round", 0.9)),
        record("svm", "linear_probe", 0, ("default C, none published", 0.4)),
        record("svm", "votes", 0, error="MemoryError: too | much"),
        record("svm", "vote", 0, error="not applicable: it is no classifier"),
    ]
    return make_report(records, {"mae": SVC(), "svm": SVC()}, None, None)


def test_pivot_has_one_cell_for_a_method_and_protocol(report):
    table = report.pivot()

    assert table.index.tolist() == ["mae", "svm"]
    # Two columns may have one name: a user's function is called as ours reads.
    assert table.columns.tolist() == ["linear SVM", "votes", "votes: mean of votes"]
    assert table.to_numpy().tolist() == [["60.0 ± 14.1", "25.0", "80.0"], ["40.0", "failed", "–"]]
    assert report.pivot(digits=0).iloc[0, 0] == "60 ± 14"
    assert str(report).splitlines()[-1].split() == ["svm", "40.0", "failed", "–"]


def test_markdown_of_several_protocols_begins_with_an_overview(report):
    lines = report.to_markdown().splitlines()

    assert lines[2] == "| method | linear SVM | votes | votes: mean of votes |"
    assert lines[4] == "| mae | 60.0 ± 14.1 | 25.0 | 80.0 |"
    assert lines[5] == "| svm | 40.0 | failed | – |"
    assert sum(line.startswith("| mae |") for line in lines) == 1 + 5
    assert sum("MemoryError: too | much" in line for line in lines) == 1


def test_seeds_with_the_same_words_are_named_together():
    records = [record("a", "vote", seed, ("x", 0.5), selection=words)
               for seed, words in enumerate(["well", "badly", "well"])]  # fmt: skip

    report = make_report(records, {"a": SVC()}, None, None)

    assert report.frame["selection"].tolist() == ["seeds 0, 2: well; seed 1: badly"]


def test_a_table_of_one_protocol_has_no_overview():
    report = make_report([record("a", "vote", 0, ("x", 0.5))], {"a": SVC()}, None, None)

    assert report.to_markdown().startswith("| method | protocol |")


def test_votes_of_a_fitted_classifier_say_whose_spread_it_is(data):
    X, y, X_test, y_test = data
    fitted = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(X, y)
    params = {"vote": {"n_votes": 2, "n_rounds": 1}}

    frame = compare({"ready": fitted}, data, protocol=["vote", "fine_tune"], params=params,
                    random_states=[0, 1]).frame.set_index("protocol")  # fmt: skip

    assert "it came fitted" in frame.loc["vote", "selection"]
    assert "it came fitted" not in frame.loc["fine_tune", "selection"]  # a clone was trained


def test_a_data_set_without_figures_is_refused_with_those_that_have_some(data):
    with pytest.raises(ValueError, match="published must be one of .*ModelNet40.*modelnet"):
        compare(PointMAEPretrainer(), data, published="modelnet40")


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
