import joblib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from pointinteract.ops import CORRUPTIONS, corrupt
from pointinteract.plotting import RobustnessDisplay
from pointinteract.protocols import corruption_robustness, published_robustness


class Extents(TransformerMixin, BaseEstimator):
    """Spread of a cloud along each axis; counts what it learned from."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        self.n_clouds_ = len(X)
        return self

    def transform(self, X):
        return np.stack([np.asarray(cloud).std(axis=0) for cloud in X])


class Parity(ClassifierMixin, BaseEstimator):
    """Names clouds rightly while they have the number of points that it expects."""

    def __init__(self, n_points=64):
        self.n_points = n_points

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.array(["flat" if len(cloud) == self.n_points else "ball" for cloud in X])


@pytest.fixture
def fitted(clouds, labels):
    return make_pipeline(Extents(), LogisticRegression()).fit(clouds, labels)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_table_is_what_a_user_would_count(fitted, clouds, labels):
    result = corruption_robustness(
        fitted, clouds, labels, corruptions=["jitter", "drop_local"], levels=[5, 1],
        random_state=4,
    )  # fmt: skip

    assert result.table.columns.tolist() == [5, 1]
    for kind in ("jitter", "drop_local"):
        for level in (1, 5):
            right = fitted.predict(corrupt(clouds, kind, level, 4)) == labels
            assert result.table.loc[kind, level] == right.mean()
    assert result.clean_accuracy == fitted.score(clouds, labels)
    assert result.accuracy == pytest.approx(result.table.to_numpy().mean())
    assert result.n_clouds == 8


def test_all_seven_corruptions_at_five_levels_by_default(clouds, labels):
    everyone_flat = Parity().fit(clouds, labels)

    result = corruption_robustness(everyone_flat, clouds[::2], labels[::2], random_state=0)

    assert result.table.shape == (7, 5)
    assert result.table.index.tolist() == list(CORRUPTIONS)
    # This classifier is lost as soon as the number of points changes.
    keep = ["scale", "jitter", "rotate"]
    assert (result.table.loc[keep] == 1).all(axis=None)
    assert (result.table.drop(keep) == 0).all(axis=None)


def test_errors_are_relative_to_a_baseline_given_as_a_frame(clouds, labels):
    baseline = pd.DataFrame(
        [("clean", 0, 0.9), ("jitter", 1, 0.7), ("jitter", 2, 0.5), ("add_local", 1, 0.8),
         ("add_local", 2, 0.6), ("scale", 1, 0.0)],
        columns=["corruption", "level", "accuracy"],
    )  # fmt: skip
    classifier = Parity().fit(clouds, labels)

    result = corruption_robustness(
        classifier, clouds[::2], labels[::2], corruptions=["jitter", "add_local"], levels=[1, 2],
        baseline=baseline, random_state=0,
    )  # fmt: skip

    # Ours: always right under jitter, always wrong once points were added.
    assert result.errors["corruption_error"].tolist() == pytest.approx([0, 2 / (0.2 + 0.4)])
    assert result.errors["relative_corruption_error"].tolist() == pytest.approx(
        [0, (1 - 0) / (0.9 - 0.7)]
    )
    assert result.mce == pytest.approx((0 + 2 / 0.6) / 2)
    assert result.rmce == pytest.approx(2.5)


def test_an_equal_baseline_gives_one(clouds, labels):
    features, kinds = Extents(), ["rotate", "drop_global"]
    noisy = clouds + np.random.default_rng(0).normal(size=clouds.shape).astype("float32")
    settings = dict(corruptions=kinds, X_train=clouds, y_train=labels, random_state=0)
    first = corruption_robustness(features, noisy, labels, **settings)

    # From the same clouds, from an earlier result, and from a file of it.
    for baseline in (Extents(), first, first.to_frame()):
        result = corruption_robustness(features, noisy, labels, **settings, baseline=baseline)
        assert result.accuracy == first.accuracy < 1
        assert result.mce == 1
    assert first.baseline is None and np.isnan(first.mce)


def test_published_baseline_is_named_and_needs_all_levels(clouds, labels):
    classifier = Parity().fit(clouds, labels)
    settings = dict(corruptions=["jitter", "add_global"], baseline="published_dgcnn")

    result = corruption_robustness(classifier, clouds[::2], labels[::2], **settings)

    assert result.mce == pytest.approx((0 + 1 / (1 - 0.705)) / 2)
    assert result.rmce == pytest.approx((0 + 1 / (0.926 - 0.705)) / 2)
    assert "DGCNN as published" in result.baseline
    assert "ModelNet40" in result.selection
    with pytest.raises(ValueError, match=r"mean over levels 1 to 5.*not \[1, 2\]"):
        corruption_robustness(classifier, clouds, labels, levels=[1, 2], **settings)


def test_published_figures_are_relative_to_dgcnn():
    published = published_robustness()

    assert published.loc["DGCNN"].tolist() == [1, 1, 0.926]
    assert published.loc["PointNet", "mce"] == 1.422


def test_fitted_is_used_as_it_is_and_unfitted_is_left_unfitted(clouds, labels):
    frozen, fresh = Extents().fit(clouds[:3]), Extents()
    test = dict(corruptions=["scale"], levels=[1], X_train=clouds, y_train=labels)

    told_frozen = corruption_robustness(frozen, clouds, labels, **test).selection
    told_fresh = corruption_robustness(fresh, clouds, labels, **test).selection

    assert frozen.n_clouds_ == 3
    assert not hasattr(fresh, "n_clouds_")
    assert "as it came" in told_frozen and "a clone fitted" in told_fresh
    assert "linear SVM" in told_fresh and "C = 0.01" in told_fresh
    unfitted = corruption_robustness(Parity(), clouds, labels, **test)
    assert "a clone of Parity was fitted on the 8 training clouds" in unfitted.selection


def test_another_probe_may_read_the_features(clouds, labels):
    settings = dict(corruptions=["scale"], levels=[1], X_train=clouds, y_train=labels)

    told = corruption_robustness(
        Extents(), clouds, labels, probe=LogisticRegression(C=1e-9), **settings
    )

    assert "LogisticRegression" in told.selection and "SVM" not in told.selection


def test_jobs_and_lists_of_unequal_clouds_change_no_number(fitted, clouds, labels):
    settings = dict(corruptions=["drop_local", "add_local"], random_state=0)
    ragged = [cloud[: 64 - i] for i, cloud in enumerate(clouds)]

    alone = corruption_robustness(fitted, ragged, labels, **settings)
    with joblib.parallel_config(backend="threading"):
        beside = corruption_robustness(fitted, ragged, labels, n_jobs=2, **settings)

    pd.testing.assert_frame_equal(alone.table, beside.table)


@pytest.mark.slow
def test_processes_change_no_number(clouds, labels):
    from pointinteract.classification import PointClassifier

    classifier = PointClassifier("pointnet_basic", max_epochs=2, random_state=0)
    settings = dict(X_train=clouds, y_train=labels, levels=[3], random_state=0)

    alone = corruption_robustness(classifier, clouds, labels, **settings)
    beside = corruption_robustness(classifier, clouds, labels, n_jobs=2, **settings)

    pd.testing.assert_frame_equal(alone.table, beside.table)


def test_progress_is_told(fitted, clouds, labels):
    calls = []

    corruption_robustness(
        fitted, clouds, labels, corruptions=["jitter"], progress=lambda *call: calls.append(call)
    )

    assert calls == [(n, 6) for n in range(1, 7)]


def test_one_result_is_drawn_with_a_line_for_each_corruption(fitted, clouds, labels):
    result = corruption_robustness(fitted, clouds, labels, levels=[1, 3], random_state=0)
    _, ax = plt.subplots()

    display = result.plot(ax)

    assert display.ax_ is ax
    assert len(ax.lines) == 7
    assert ax.lines[0].get_xdata().tolist() == [0, 1, 3]
    assert ax.lines[0].get_ydata()[0] == result.clean_accuracy
    styles = {(line.get_color(), line.get_linestyle()) for line in ax.lines}
    assert len(styles) == 7


def test_several_results_are_drawn_with_a_panel_for_each_corruption(fitted, clouds, labels):
    result = corruption_robustness(fitted, clouds, labels, corruptions=["jitter", "scale"])

    display = RobustnessDisplay.from_results({"a": result, "b": result}, chance=0.5).plot()

    assert [ax.get_title() for ax in display.axes_] == ["jitter", "scale"]
    assert all(len(ax.lines) == 3 for ax in display.axes_)
    given = plt.subplots(2, 1)[1]
    drawn = RobustnessDisplay.from_results({"a": result, "b": result}).plot(given)
    assert drawn.axes_ == list(given)
    with pytest.raises(ValueError, match="axes must be 2"):
        RobustnessDisplay.from_results({"a": result, "b": result}).plot([display.ax_])


def test_bad_input_is_refused_with_words(fitted, clouds, labels):
    def ask(estimator=fitted, X=clouds, y=labels, **settings):
        return corruption_robustness(estimator, X, y, **settings)

    with pytest.raises(ValueError, match="Extents gives features and no classes; give X_train"):
        ask(Extents().fit(clouds))
    with pytest.raises(ValueError, match="Parity is not fitted; give X_train"):
        ask(Parity())
    with pytest.raises(TypeError, match="classifier .with predict.*got str"):
        ask("dgcnn")
    with pytest.raises(ValueError, match="one label for each of the 8 clouds"):
        ask(y=labels[:5])
    with pytest.raises(ValueError, match=r"that estimator was taught.*'flat'.* y has \[0, 1\]"):
        ask(y=(labels == "flat").astype(int))
    earlier = ask(corruptions=["jitter"], levels=[1])
    with pytest.raises(ValueError, match="tested on the same clouds, got 8 clouds against 7"):
        ask(X=clouds[1:], y=labels[1:], corruptions=["jitter"], levels=[1], baseline=earlier)
    with pytest.raises(ValueError, match="each of corruptions must be one of 'scale'"):
        ask(corruptions=["blur"])
    with pytest.raises(ValueError, match="all different; got"):
        ask(levels=[1, 1])
    with pytest.raises(ValueError, match="each of levels must be from 1 to 5, got 0"):
        ask(levels=[0])
    with pytest.raises(ValueError, match="must be one of 'published_dgcnn'; got 'dgcnn'"):
        ask(baseline="dgcnn")
    with pytest.raises(ValueError, match="with columns corruption, level and accuracy"):
        ask(baseline=pd.DataFrame({"mce": [1.0]}))
    lacking = pd.DataFrame({"corruption": ["clean"], "level": [0], "accuracy": [1.0]})
    with pytest.raises(ValueError, match=r"missing \[\('jitter', 2\)\]"):
        ask(corruptions=["jitter"], levels=[2], baseline=lacking)
