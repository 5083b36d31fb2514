import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Bunch

from pointinteract.protocols import domain_shift


class Means(TransformerMixin, BaseEstimator):
    """Mean of every cloud."""

    def fit(self, X, y=None):
        self.n_clouds_ = len(X)
        return self

    def transform(self, X):
        return np.stack([np.asarray(cloud).mean(axis=0) for cloud in X])


class NearestMean(ClassifierMixin, BaseEstimator):
    """The class whose clouds have the nearest mean."""

    def fit(self, X, y):
        self.n_clouds_ = len(X)
        self.classes_ = np.unique(y)
        rows = Means().transform(X)
        self.means_ = np.stack([rows[np.asarray(y) == c].mean(axis=0) for c in self.classes_])
        return self

    def predict(self, X):
        distance = np.linalg.norm(Means().transform(X)[:, None] - self.means_, axis=2)
        return self.classes_[distance.argmin(axis=1)]


PLACES = {"chair": (0, 0, 0), "table": (6, 0, 0), "lamp": (0, 6, 0), "bed": (0, 0, 6)}


def clouds_of(names, n=10, seed=0, places=PLACES):
    """Clouds of 8 points about the places of their classes."""
    centers = np.repeat([places[name] for name in names], n, axis=0).astype(float)
    noise = np.random.default_rng(seed).normal(size=(len(centers), 8, 3))
    return (centers[:, None] + noise).astype(np.float32), np.repeat(names, n)


def bunch_of(names, called=None, **settings):
    X, y = clouds_of(names, **settings)
    codes = np.array([names.index(name) for name in y])
    return Bunch(data=X, target=codes, target_names=list(called or names))


def test_common_classes_are_matched_by_name_and_not_by_number():
    source = bunch_of(["lamp", "chair", "bed"])
    target = bunch_of(["chair", "table", "lamp"], seed=1)

    result = domain_shift(NearestMean(), source, target, random_state=0)

    assert result.classes == ["chair", "lamp"]
    assert result.accuracy == result.target_accuracy == 1
    assert result.confusion.index.tolist() == result.confusion.columns.tolist()
    assert result.table["n_test"].tolist() == [6, 6, 6]
    assert result.table["n_train"].tolist() == [14, 14, 14]
    assert result.adapted_accuracy is None and result.reverse is None


def test_spelling_and_synonyms_bring_classes_together():
    source = bunch_of(["chair", "table", "lamp"], ["Chair", "Dining_Table", "floor-lamp"])
    target = bunch_of(["chair", "table", "lamp"], ["chair", "desk", "floor lamp"])

    plain = domain_shift(NearestMean(), source, target, random_state=0)
    mapped = domain_shift(
        NearestMean(), source, target, classes={"dining table": "table", "desk": "table"},
        random_state=0,
    )  # fmt: skip

    assert plain.classes == ["chair", "floor lamp"]
    assert mapped.classes == ["chair", "floor lamp", "table"]
    assert mapped.accuracy == 1


def test_two_classes_that_go_by_one_name_are_merged():
    source = bunch_of(["chair", "table", "bed"])
    target = bunch_of(["chair", "table", "bed"], seed=1)

    result = domain_shift(NearestMean(), source, target, classes={"bed": "table"}, random_state=0)

    assert result.classes == ["chair", "table"]
    assert result.confusion.loc["table"].sum() == 6
    assert result.majority == pytest.approx(6 / 9)


def test_shift_gap_and_adaptation_are_told_apart():
    # In the target, chairs stand where tables stood, and the other way round.
    exchanged = PLACES | {"chair": PLACES["table"], "table": PLACES["chair"]}
    names = ["chair", "table", "lamp"]
    source, target = bunch_of(names), bunch_of(names, seed=1, places=exchanged)

    result = domain_shift(Means(), source, target, adapt="linear", random_state=0)

    assert result.source_accuracy == 1
    assert result.target_accuracy == pytest.approx(1 / 3)
    assert result.accuracy == result.adapted_accuracy == 1
    assert result.target_trained_accuracy == 1
    assert result.gap == pytest.approx(2 / 3)
    assert result.confusion.loc["chair", "table"] == result.confusion.loc["table", "chair"] == 3
    assert result.table["adapted"].tolist() == [False, False, True, False]
    assert "21 labels of the target taught the linear classifier" in result.selection


def test_without_adaptation_no_label_of_the_target_is_used():
    names = ["chair", "table"]
    source, (X, y) = bunch_of(names), clouds_of(names, seed=1)
    X_test, y_test = clouds_of(names, seed=2)

    told = domain_shift(NearestMean(), source, (X, y, X_test, y_test), random_state=0)
    other_labels = domain_shift(NearestMean(), source, (X, y[::-1], X_test, y_test),
                                random_state=0)  # fmt: skip

    assert "no label of the target was used" in told.selection
    assert other_labels.target_accuracy == told.target_accuracy == 1
    assert other_labels.target_trained_accuracy < 1


def test_balanced_accuracy_weighs_classes_alike():
    names = ["chair", "table"]
    (X, y), (X_test, y_test) = clouds_of(names, seed=1), clouds_of(names, n=9, seed=2)
    kept = np.r_[:9, 9:10]  # 9 chairs and a table
    y_test = np.where(y_test == "table", "chair", "table")[kept]  # all named wrongly but none

    result = domain_shift(NearestMean(), (X, y, X_test[kept], y_test), (X, y, X, y))
    confused = result.table.iloc[0]

    assert confused["accuracy"] == 0 and confused["balanced_accuracy"] == 0
    y_test[0] = "chair"
    right_once = domain_shift(NearestMean(), (X, y, X_test[kept], y_test), (X, y, X, y)).table
    assert right_once["accuracy"][0] == pytest.approx(0.1)
    assert right_once["balanced_accuracy"][0] == pytest.approx((1 / 2 + 0) / 2)


def test_splits_that_data_sets_come_with_are_kept():
    names = ["chair", "table"]
    source = bunch_of(names)
    source.split = np.where(np.arange(20) % 4, "train", "test")
    target = (bunch_of(names, seed=1), bunch_of(names, n=3, seed=2))

    result = domain_shift(NearestMean(), source, target)

    assert result.table["n_train"].tolist() == [15, 15, 20]
    assert result.table["n_test"].tolist() == [5, 6, 6]
    assert result.selection.count("the split it came with") == 2


def test_both_directions_are_reported():
    names = ["chair", "table"]
    source, target = bunch_of(names), bunch_of(names, n=20, seed=1)

    result = domain_shift(NearestMean(), source, target, both_directions=True, random_state=0)
    other = domain_shift(NearestMean(), target, source, random_state=0)

    assert result.reverse.table.equals(other.table)
    frame = result.to_frame()
    assert frame["direction"].tolist() == ["source to target"] * 3 + ["target to source"] * 3
    assert frame["n_train"].tolist() == [14, 14, 28, 28, 28, 14]


def test_estimators_are_cloned_unless_they_came_fitted():
    names = ["chair", "table", "lamp"]
    source, target = bunch_of(names), bunch_of(names[:2], seed=1)
    fresh, features = NearestMean(), Means().fit(np.zeros((3, 4, 3)))

    domain_shift(fresh, source, target, random_state=0)
    domain_shift(features, source, target, random_state=0)

    assert not hasattr(fresh, "n_clouds_")
    assert features.n_clouds_ == 3


class FromStart(NearestMean):
    """A classifier that begins with what a pretrainer learned."""

    def __init__(self, pretrained=None):
        self.pretrained = pretrained

    def fit(self, X, y):
        self.start_ = self.pretrained
        return super().fit(X, y)


def test_what_a_classifier_starts_from_stays_fitted(monkeypatch):
    trained = []
    monkeypatch.setattr(
        FromStart, "predict", lambda self, X: trained.append(self) or NearestMean.predict(self, X)
    )
    start = Means().fit(np.zeros((3, 8, 3)))

    domain_shift(FromStart(start), bunch_of(["chair", "table"]), bunch_of(["chair", "table"]),
                 random_state=0)  # fmt: skip

    assert trained and all(classifier.start_ is start for classifier in trained)
    assert start.n_clouds_ == 3


def test_a_classifier_that_came_fitted_may_name_other_classes():
    names = ["chair", "table", "lamp"]
    source = bunch_of(names)
    fitted = NearestMean().fit(source.data, source.target)  # on numbers, of three classes
    moved = PLACES | {"table": PLACES["lamp"]}
    target = bunch_of(names[:2], seed=1, places=moved)

    result = domain_shift(fitted, (source, bunch_of(names, seed=3)), target, random_state=0)

    assert fitted.n_clouds_ == 30
    assert result.classes == ["chair", "table"]
    assert result.confusion.columns.tolist() == ["chair", "table", "lamp"]
    assert result.confusion.loc["table"].tolist() == [0, 0, 3]
    assert result.source_accuracy == 1 and result.target_accuracy == 0.5
    assert result.target_trained_accuracy == 1
    with pytest.raises(ValueError, match="came fitted may know the clouds of source"):
        domain_shift(fitted, source, target)
    with pytest.raises(ValueError, match="both_directions needs"):
        domain_shift(fitted, (source, source), target, both_directions=True)


def test_same_seed_same_numbers():
    names = ["chair", "table", "lamp"]
    near = {name: np.array(place) / 8 for name, place in PLACES.items()}
    data = bunch_of(names, places=near), bunch_of(names, seed=1, places=near)

    tables = [domain_shift(Means(), *data, adapt="linear", random_state=s).table for s in (0, 0)]

    assert tables[0].equals(tables[1])
    assert 0 < tables[0]["accuracy"].iloc[1] < 1


def test_bad_input_is_refused_with_words():
    source, target = bunch_of(["chair", "table"]), bunch_of(["lamp", "chair"])
    X, y = clouds_of(["chair", "table"])
    with pytest.raises(ValueError, match=r"share two or more.*source has \['chair', 'table'\]"):
        domain_shift(NearestMean(), source, target)
    with pytest.raises(ValueError, match=r"classes \['lamp'\] are not in both"):
        domain_shift(NearestMean(), source, source, classes=["chair", "lamp"])
    with pytest.raises(ValueError, match="labels of target must be names"):
        domain_shift(NearestMean(), source, (X, np.arange(20) % 2))
    with pytest.raises(TypeError, match="source must be a Bunch"):
        domain_shift(NearestMean(), X, target)
    with pytest.raises(TypeError, match="classes must be None"):
        domain_shift(NearestMean(), source, source, classes="chair")
    with pytest.raises(ValueError, match=r"must name two or more, got \['chair'\]"):
        domain_shift(NearestMean(), source, source, classes=["chair"])
    with pytest.raises(ValueError, match=r"maps \['chiar'\], which neither data set has"):
        domain_shift(NearestMean(), source, source, classes={"chiar": "seat"})
    with pytest.raises(ValueError, match="labels of source must be names"):
        domain_shift(NearestMean(), (X, (np.arange(20) % 2).astype(float)), source)

    class Unasked(NearestMean):
        def fit(self, X, y):
            pytest.fail("fitted for nothing")

    with pytest.raises(TypeError, match="needs features.*Unasked has not"):
        domain_shift(Unasked(), source, source, adapt="linear")
    with pytest.raises(ValueError, match="adapt must be one of 'none', 'linear'"):
        domain_shift(NearestMean(), source, source, adapt="full")
    with pytest.raises(ValueError, match=r"classes with one: \['table'\]"):
        domain_shift(NearestMean(), (X[:11], y[:11]), source)
    outside = Bunch(data=X, target=np.arange(20) % 3, target_names=["chair", "table"])
    with pytest.raises(ValueError, match="must be from 0 to 1.*got 0 to 2"):
        domain_shift(NearestMean(), outside, source)
