import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier

from pointinteract.protocols import unseen_classes
from pointinteract.protocols._unseen_scores import (
    average_precision,
    neighbor_purity,
    prototype_accuracy,
)

FITS = []


class OnlyKnown(TransformerMixin, BaseEstimator):
    """Means of clouds, in the directions in which the clouds that it learned from differ."""

    def __init__(self, max_epochs=1, random_state=None):
        self.max_epochs = max_epochs
        self.random_state = random_state

    def fit(self, X, y=None):
        assert y is None
        FITS.append((self.max_epochs, self.random_state, np.asarray(X)))
        means = np.asarray(X).mean(axis=1)
        self.known_ = (means.std(axis=0) > 0.5) if self.max_epochs else np.zeros(3, dtype=bool)
        return self

    def transform(self, X):
        return np.asarray(X).mean(axis=1) * self.known_


@pytest.fixture(autouse=True)
def no_fits():
    FITS.clear()


def make_data(n, seed):
    """Six classes: two in each direction of space, told apart by their side."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(["x-", "x+", "y-", "y+", "z-", "z+"], n)
    places = np.stack([np.eye(3)["xyz".index(a)] * (1 if b == "+" else -1) for a, b in labels])
    clouds = 4 * places[:, None] + rng.normal(size=(len(labels), 8, 3))
    order = rng.permutation(len(labels))
    return clouds[order].astype(np.float32), labels[order]


@pytest.fixture
def data():
    return *make_data(8, 0), *make_data(6, 1)


def ask(data, **settings):
    return unseen_classes(
        OnlyKnown(), *data, **{"held_out": ["z-", "z+"], "random_state": 0, **settings}
    )


def test_arms_differ_where_classes_were_not_seen(data):
    result = ask(data)
    probe = result.table[("linear_probe", "mean")]

    # Without them, it never learned to look along z, and x and y are noise.
    assert probe["unseen", "without them"] == result.accuracy < 0.8
    assert probe["unseen", "with them"] == 1
    assert probe["unseen", "random weights"] == 0.5
    assert result.difference == 1 - result.accuracy
    assert result.chance == 0.5
    assert probe["seen", "without them"] == probe["seen", "with them"] == 1
    assert probe["seen", "random weights"] == 0.25
    for score in ("prototypes", "mean_average_precision", "purity"):
        means = result.table[(score, "mean")]
        assert means["unseen", "with them"] == pytest.approx(1)
        assert means["unseen", "without them"] < 0.8
    assert result.table.index.tolist()[0] == ("unseen", "without them")
    assert result.held_out == ["z+", "z-"]


def test_pretraining_never_meets_the_held_out_classes_or_the_test(data):
    ask(data)

    (_, _, without), (_, _, with_them), (untrained, _, control) = FITS
    X, y, X_test, _ = data
    np.testing.assert_array_equal(without, X[~np.isin(y, ["z-", "z+"])])
    np.testing.assert_array_equal(control, without)
    assert untrained == 0
    # As many clouds with all classes as without some of them, and none of the test.
    assert len(with_them) == len(without) == 32
    rows = [int(np.flatnonzero((cloud == X).all(axis=(1, 2)))[0]) for cloud in with_them]
    assert np.isin(y[rows], ["z-", "z+"]).any()
    assert len(set(rows)) == 32


def test_all_clouds_on_request(data):
    result = ask(data, match_size=False)

    assert len(FITS[1][2]) == 48
    assert "with them it learned from more clouds than without" in result.selection


def test_runs_have_seeds_of_their_own_that_arms_share(data):
    result = ask(data, n_runs=2)

    seeds = [seed for _, seed, _ in FITS]
    assert seeds[0] == seeds[1] == seeds[2] != seeds[3]
    assert seeds[3] == seeds[4] == seeds[5]
    assert len(result.runs) == 2 * 3 * 2
    by_hand = result.runs.query("classes == 'unseen' and arm == 'with them'")["prototypes"]
    row = result.table.loc[("unseen", "with them"), "prototypes"]
    assert row["mean"] == pytest.approx(by_hand.mean())
    assert row["sd"] == pytest.approx(by_hand.std(ddof=1))


def test_a_seed_of_the_users_own_stays(data):
    unseen_classes(OnlyKnown(random_state=5), *data, held_out=["x-", "x+"])

    assert {seed for _, seed, _ in FITS} == {5}


def test_classes_may_be_drawn(data):
    first, again = ask(data, held_out=3), ask(data, held_out=3)
    draws = {tuple(ask(data, held_out=3, random_state=seed).held_out) for seed in range(4)}

    assert len(first.held_out) == 3
    assert first.held_out == again.held_out
    assert len(draws) > 1
    assert "3 classes, drawn at random" in first.selection
    pd.testing.assert_frame_equal(first.table, again.table)


def test_one_that_came_fitted_is_fitted_anew_and_left_alone(data):
    fitted = OnlyKnown().fit(data[0])
    known = fitted.known_.copy()

    result = unseen_classes(fitted, *data, held_out=["z-", "z+"], random_state=0)

    assert result.accuracy == ask(data).accuracy < 0.8
    assert fitted.known_.tolist() == known.tolist() == [True] * 3


def test_control_can_be_another_or_none(data):
    other = ask(data, control=OnlyKnown(max_epochs=7))
    assert FITS[2][0] == 7
    assert ("unseen", "random weights") in other.table.index

    without = ask(data, control=False)
    assert without.table.index.unique("arm").tolist() == ["without them", "with them"]
    assert "no control with random weights" in without.selection


def test_one_class_left_is_not_asked_about(data):
    keep = [np.isin(labels, ["x-", "z-", "z+"]) for labels in (data[1], data[3])]
    few = data[0][keep[0]], data[1][keep[0]], data[2][keep[1]], data[3][keep[1]]

    result = ask(few)

    assert result.table.index.unique("classes").tolist() == ["unseen"]


def test_numbers_do_as_labels_and_jobs_change_no_number(data):
    X, y, X_test, y_test = data
    codes = {name: code for code, name in enumerate(np.unique(y))}
    numbered = X, [codes[name] for name in y], X_test, [codes[name] for name in y_test]

    named = ask(data, n_runs=2)
    with joblib.parallel_config(backend="threading"):
        result = ask(numbered, held_out=[codes["z-"], codes["z+"]], n_runs=2, n_jobs=2)

    pd.testing.assert_frame_equal(
        named.runs.drop(columns="seconds"), result.runs.drop(columns="seconds")
    )


def test_progress_is_told(data):
    calls = []

    ask(data, n_runs=2, progress=lambda *call: calls.append(call))

    assert calls == [(n, 6) for n in range(1, 7)]


def test_average_precision_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 3))
    labels = rng.integers(3, size=20)
    likeness = rows @ rows.T

    oracle = [
        average_precision_score(np.delete(labels == labels[i], i), np.delete(likeness[i], i))
        for i in range(20)
    ]

    assert average_precision(likeness, labels) == pytest.approx(np.mean(oracle))
    # One that is alone in its class asks for nothing.
    labels[0] = 9
    with_lone = [
        average_precision_score(np.delete(labels == labels[i], i), np.delete(likeness[i], i))
        for i in range(1, 20)
    ]
    assert average_precision(likeness, labels) == pytest.approx(np.mean(with_lone))


def test_purity_is_the_share_of_neighbors_of_the_same_class():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(15, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = rng.integers(3, size=15)

    nearest = KNeighborsClassifier(n_neighbors=4).fit(rows, labels).kneighbors(
        return_distance=False
    )

    purity = neighbor_purity(rows @ rows.T, labels, 4)
    assert purity == pytest.approx(np.mean(labels[nearest] == labels[:, None]))
    assert neighbor_purity(rows @ rows.T, labels, 99) == pytest.approx(
        np.mean([np.mean(np.delete(labels, i) == labels[i]) for i in range(15)])
    )


def test_prototypes_are_means_of_the_few():
    unit = np.array([[1.0, 0], [0, 1.0], [0.6, 0.8], [0.8, 0.6]])
    test = np.array([[0.95, 0.05], [0.05, 0.95]])

    rng = np.random.default_rng(0)
    right = prototype_accuracy(unit[:2], np.array([0, 1]), test, np.array([0, 1]), 1, rng)
    half = prototype_accuracy(unit[:2], np.array([0, 1]), test, np.array([1, 1]), 1, rng)
    both = prototype_accuracy(
        unit, np.array([0, 1, 1, 0]), test, np.array([0, 1]), 2, np.random.default_rng(0)
    )

    assert (right, half, both) == (1, 0.5, 1)


def test_bad_input_is_refused_with_words(data):
    with pytest.raises(TypeError, match="pretrainer must give features"):
        unseen_classes("recon", *data, held_out=2)
    with pytest.raises(ValueError, match=r"held_out must name two or more.*got \['q', 'z-'\]"):
        ask(data, held_out=["q", "z-"])
    with pytest.raises(ValueError, match="held_out must name two or more"):
        ask(data, held_out=["z-"])
    with pytest.raises(ValueError, match="held_out must be from 2 to 5, got 6"):
        ask(data, held_out=6)
    with pytest.raises(ValueError, match="must leave a class"):
        ask(data, held_out=np.unique(data[1]))
    with pytest.raises(TypeError, match="must be a list of labels or a number, got 'z-'"):
        ask(data, held_out="z-")
    with pytest.raises(ValueError, match="has 8 clouds in X, fewer than n_shot=9"):
        ask(data, n_shot=9)
    with pytest.raises(ValueError, match="y_test must hold one label for each of the 36"):
        unseen_classes(OnlyKnown(), *data[:3], data[3][:4], held_out=2)
