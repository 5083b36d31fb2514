"""Confusion matrices: what is counted, listed and drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

pyplot = pytest.importorskip("matplotlib.pyplot")

from pointinteract.plotting import CloudConfusionDisplay  # noqa: E402

TRUTH = np.array(["bed", "bed", "bed", "bed", "cup", "cup", "jar", "jar"])
SAID = np.array(["bed", "cup", "cup", "jar", "cup", "cup", "cup", "jar"])
SURE = np.array([0.9, 0.4, 0.8, 0.5, 0.6, 0.7, 0.5, 0.9])
X = np.random.default_rng(0).normal(size=(8, 30, 3)) * np.arange(1, 9)[:, None, None]


@pytest.fixture(autouse=True)
def no_window(monkeypatch):
    monkeypatch.setattr(pyplot, "show", lambda *args, **kwargs: pytest.fail("show was called"))
    yield
    pyplot.close("all")


class Classifier:
    classes_ = np.array(["bed", "cup", "jar"])

    def predict_proba(self, X):
        rows = np.array([list(self.classes_).index(said) for said in SAID])
        chances = np.tile((1 - SURE)[:, None] / 2, (1, 3))
        chances[np.arange(8), rows] = SURE
        return chances

    def predict(self, X):
        return SAID


def widest(ax):
    """How far the dots of a picture reach, which tells the clouds above apart."""
    return np.ptp(ax.collections[0].get_offsets(), axis=0).max()


def test_counts_and_order_of_the_worst():
    display = CloudConfusionDisplay.from_predictions(X, TRUTH, SAID, sureness=SURE)

    assert display.matrix.tolist() == [[1, 2, 1], [0, 2, 0], [0, 1, 1]]
    worst = display.worst()
    assert worst[["true", "predicted", "count"]].to_numpy().tolist() == [
        ["bed", "cup", 2], ["jar", "cup", 1], ["bed", "jar", 1],
    ]
    assert worst["share"].tolist() == [0.5, 0.5, 0.25]
    assert worst["clouds"].tolist() == [[2, 1], [6], [3]]  # the surest mistake first
    assert len(display.worst(1)) == 1


def test_classifier_is_asked_and_its_sureness_kept():
    display = CloudConfusionDisplay.from_estimator(Classifier(), X, TRUTH)

    np.testing.assert_array_equal(display.y_pred, SAID)
    np.testing.assert_allclose(display.sureness, SURE)


def test_a_classifier_that_decides_by_a_threshold_is_taken_at_its_word():
    class Cautious(Classifier):
        def predict(self, X):
            return np.where(SURE > 0.6, SAID, "bed")

    display = CloudConfusionDisplay.from_estimator(Cautious(), X, TRUTH)

    np.testing.assert_array_equal(display.y_pred, np.where(SURE > 0.6, SAID, "bed"))
    np.testing.assert_allclose(display.sureness, np.where(SURE > 0.6, SURE, (1 - SURE) / 2))


def test_classifier_without_probabilities_is_asked_for_labels():
    class Plain:
        def predict(self, X):
            return SAID

    display = CloudConfusionDisplay.from_estimator(Plain(), X, TRUTH)

    assert display.sureness is None
    assert display.worst()["clouds"][0] == [1, 2]


def test_cells_hold_the_counts_and_frames_the_worst():
    display = CloudConfusionDisplay.from_predictions(X, TRUTH, SAID).plot(n_pairs=2)

    texts = {text.get_position(): text.get_text() for text in display.ax_.texts}
    assert texts[1, 0] == "2" and texts[0, 0] == "1"
    assert (0, 1) not in texts  # nothing is written where nothing is
    frames = [(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in display.ax_.patches]
    assert frames == [(1, 0), (1, 2)]
    assert display.ax_.get_title() == "50.0% of 8 right"


def test_right_is_blue_and_wrong_is_orange():
    display = CloudConfusionDisplay.from_predictions(X, TRUTH, SAID).plot(n_pairs=0)

    cells = display.ax_.images[0].get_array()
    red, _, blue = cells[1, 1, :3]
    assert blue > red
    red, _, blue = cells[0, 1, :3]
    assert red > blue
    assert cells[1, 0, :3].tolist() == [1, 1, 1]
    assert np.allclose(cells[1, 1, :3], to_rgb("#0060A0"), atol=0.01)  # all of the cups


def test_pictures_are_of_the_confused_clouds():
    display = CloudConfusionDisplay.from_predictions(X, TRUTH, SAID, sureness=SURE)

    display.plot(n_pairs=1, n_examples=2)

    assert len(display.axes_) == 3  # two beds taken for cups, and a true cup
    wide = [widest(ax) for ax in display.axes_]
    pyplot.close("all")
    single = [
        widest(CloudConfusionDisplay(X[[i]], ["a"], ["b"]).plot(n_examples=1).axes_[0])
        for i in (2, 1)
    ]
    np.testing.assert_allclose(wide[:2], single)
    assert display.axes_[2].get_title() == "true cup"


def test_in_given_axes_there_is_the_matrix_alone():
    _, ax = pyplot.subplots()

    display = CloudConfusionDisplay.from_predictions(X, TRUTH, SAID).plot(ax)

    assert display.ax_ is ax and display.axes_ == [] and display.figure_ is ax.figure
    assert not ax.patches


def test_without_mistakes_there_are_no_pictures():
    display = CloudConfusionDisplay.from_predictions(X, TRUTH, TRUTH).plot()

    assert display.axes_ == []
    assert display.ax_.get_title() == "100.0% of 8 right"


def test_many_classes_are_drawn_without_numbers():
    labels = np.arange(24)

    display = CloudConfusionDisplay.from_predictions(
        np.tile(X, (3, 1, 1)), labels, (labels + 1) % 24
    ).plot(n_pairs=0)

    assert not display.ax_.texts
    assert len(display.ax_.get_xticklabels()) == 24


def test_labels_order_the_matrix_and_must_name_all():
    display = CloudConfusionDisplay.from_predictions(
        X, TRUTH, SAID, labels=["jar", "cup", "bed", "pot"]
    )

    assert display.matrix[2].tolist() == [1, 2, 1, 0]
    with pytest.raises(ValueError, match="missing: {'jar'}"):
        CloudConfusionDisplay.from_predictions(X, TRUTH, SAID, labels=["bed", "cup"])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        CloudConfusionDisplay.from_predictions(X, TRUTH, SAID[:3])
