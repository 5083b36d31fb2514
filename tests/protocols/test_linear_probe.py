"""Linear SVM on frozen features: what is learned from what, and what is said of it."""

import warnings

import numpy as np
import pytest
from sklearn.base import BaseEstimator, TransformerMixin

from pointinteract.classification import PointClassifier
from pointinteract.pretraining import (
    ACTPretrainer,
    CrossPointPretrainer,
    I2PMAEPretrainer,
    IAEPretrainer,
    MoCoPretrainer,
    OcCoPretrainer,
    PointBERTPretrainer,
    PointM2AEPretrainer,
    PointMAEPretrainer,
    ReConPretrainer,
    STRLPretrainer,
)
from pointinteract.protocols import linear_probe
from pointinteract.protocols._linear_probe import _convention_of
from pointinteract.protocols._poolings import pooled_features


class Extents(TransformerMixin, BaseEstimator):
    """Deviation of every cloud along each axis, times a factor; counts what is asked of it."""

    calls: list[str] = []

    def __init__(self, factor=1.0, random_state=None):
        self.factor = factor
        self.random_state = random_state

    def fit(self, X, y=None):
        self.calls.append("fit" if y is None else "fit with labels")
        self.seed_ = self.random_state
        return self

    def transform(self, X):
        self.calls.append("transform")
        return self.factor * np.stack([np.std(cloud, axis=0) for cloud in X])


@pytest.fixture
def data():
    """60 clouds to learn from and 30 to test, of three kinds that overlap a little."""
    generator = np.random.default_rng(0)
    names = generator.permutation(np.repeat(["flat", "ball", "rod"], 30))
    scale = {"flat": (1, 1, 0.45), "ball": (1, 1, 1), "rod": (0.5, 0.45, 1)}
    points = generator.normal(size=(90, 24, 3)).astype(np.float32)
    points *= np.array([scale[name] for name in names], np.float32)[:, None]
    Extents.calls = []
    return points[:60], names[:60], points[60:], names[60:]


def test_both_columns_come_from_one_extraction(data):
    result = linear_probe(Extents(), *data, random_state=0)

    assert result.table["rule"].tolist() == ["cv", "default"]  # nobody published one
    assert Extents.calls == ["fit", "transform", "transform"]
    assert result.accuracy == result.table["accuracy"][0] > 0.7
    assert result.selection == result.table["selection"][0]
    assert (result.n_train, result.n_test) == (60, 30)


def test_accuracy_is_the_share_of_right_predictions(data):
    result = linear_probe(Extents(), *data, C=[1.0, "published"], random_state=0)

    for rule, accuracy in zip(result.table["rule"], result.table["accuracy"], strict=True):
        assert accuracy == np.mean(result.predictions[rule] == data[3])
    assert result.accuracy == result.table["accuracy"][0]


def test_what_is_chosen_does_not_look_at_test_labels(data):
    X, y, X_test, y_test = data

    one = linear_probe(Extents(), X, y, X_test, y_test, C="cv", random_state=0)
    other = linear_probe(Extents(), X, y, X_test, y_test[::-1], C="cv", random_state=0)

    assert one.table["C"][0] == other.table["C"][0]
    np.testing.assert_array_equal(one.predictions["cv"], other.predictions["cv"])


def test_cross_validation_takes_the_best_of_the_grid_and_of_equals_the_smallest(data):
    result = linear_probe(Extents(), *data, C="cv", grid=(10.0, 1e-6, 0.1), random_state=0)

    search = result.search
    assert search["C"].tolist() == [1e-6, 0.1, 10.0]
    best = search[search["mean"] == search["mean"].max()]
    assert result.table["C"][0] == best["C"].min()
    assert search["mean"].max() > 0.7
    assert "from 3 values by 5-fold cross-validation on the 60 training clouds" in result.selection


def test_a_choice_at_the_edge_of_the_grid_is_said(data):
    result = linear_probe(Extents(), *data, C="cv", grid=(1e-7, 1e-2), random_state=0)

    assert result.table["C"][0] == 1e-2
    assert "at the edge of the grid" in result.selection


def test_fewer_folds_where_a_class_is_small(data):
    X, y, X_test, y_test = data
    kept = np.concatenate([np.flatnonzero(y == "rod")[:3], np.flatnonzero(y != "rod")])

    result = linear_probe(Extents(), X[kept], y[kept], X_test, y_test, C="cv", random_state=0)

    assert "3-fold" in result.selection


def test_features_are_standardized_for_cross_validation_only(data):
    plain = linear_probe(Extents(), *data, random_state=0)
    large = linear_probe(Extents(factor=1e-3), *data, random_state=0)

    assert plain.table["scaled"].tolist() == [True, False]
    np.testing.assert_array_equal(plain.predictions["cv"], large.predictions["cv"])
    assert large.table["accuracy"][1] < plain.table["accuracy"][1]
    assert linear_probe(Extents(), *data, scale=True).table["scaled"].all()


def test_a_fitted_transformer_is_used_as_it_is(data):
    fitted = Extents().fit(data[0])

    linear_probe(fitted, *data, C=1.0, random_state=0)

    assert Extents.calls == ["fit", "transform", "transform"]


def test_one_that_is_not_fitted_is_cloned_and_seeded(data):
    given = Extents()

    linear_probe(given, *data, C=1.0, random_state=0)

    assert not hasattr(given, "seed_")
    assert "fit with labels" not in Extents.calls


def test_same_seed_same_numbers(data):
    one = linear_probe(Extents(), *data, random_state=3)
    other = linear_probe(Extents(), *data, random_state=3, n_jobs=1)

    assert one.table.drop(columns="selection").equals(other.table.drop(columns="selection"))
    assert one.search.equals(other.search)


def test_a_solver_that_did_not_finish_is_reported_and_not_warned_of(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # More features than clouds: the solver goes round the clouds, and gives up in the end.
        result = linear_probe(
            Extents(), *data, C=(1e4, 1e-9), random_state=0,
            pooling=lambda fitted, X: X[:, 0, :1] + 1e-3 * np.reshape(X, (len(X), -1)),
        )  # fmt: skip

    assert result.table["converged"].tolist() == [False, True]
    gave_up = ["gave up" in said for said in result.table["selection"]]
    assert gave_up == [True, False]


@pytest.mark.parametrize(
    ("pretrainer", "kind", "C", "pooling"),
    [
        (ReConPretrainer(), "LinearSVC", 0.075, None),
        (PointBERTPretrainer(), "LinearSVC", 1.0, "contrast"),
        (ACTPretrainer(), "LinearSVC", 1.0, None),
        (PointM2AEPretrainer(), "SVC", 0.012, None),
        (I2PMAEPretrainer(), "SVC", 0.0093, None),
        (CrossPointPretrainer(), "SVC", 0.01, None),
        (OcCoPretrainer(), "SVC", 1.0, None),
        (STRLPretrainer(), "SVC", 1.0, None),
        (IAEPretrainer(), "LinearSVC", 1.0, None),
    ],
)
def test_published_rule_is_that_of_the_authors(pretrainer, kind, C, pooling):
    convention, words = _convention_of(pretrainer)

    assert convention == (kind, C, pooling)
    assert "authors" in words


@pytest.mark.parametrize("pretrainer", [MoCoPretrainer(), Extents()])
def test_where_no_convention_is_known_it_says_so(pretrainer):
    assert "no published convention" in _convention_of(pretrainer)[1]


def test_published_figure_stands_beside_with_its_data_set(clouds, labels):
    pretrainer = PointMAEPretrainer(max_epochs=0, n_groups=6, group_size=8, random_state=0)

    result = linear_probe(pretrainer, clouds, labels, clouds, labels, C="published")

    assert str(result).endswith(" Published: Point-MAE, ModelNet40, linear SVM, 91.0.")
    frame = result.to_frame()
    assert frame["published"].tolist() == pytest.approx([0.91])
    assert frame["published_label"].tolist() == ["Point-MAE, ModelNet40, linear SVM, 91.0"]


def test_published_rule_takes_the_classifier_of_the_authors(clouds, labels):
    # The way to probe is theirs whatever the backbone; the published figure is DGCNN's alone.
    pretrainer = OcCoPretrainer("pointnet_basic", max_epochs=0, n_coarse=8, random_state=0)

    result = linear_probe(pretrainer, clouds, labels, clouds, labels, C="published")

    assert result.table[["rule", "classifier"]].values.tolist() == [
        ["published", "SVC(kernel='linear')"]
    ]
    assert result.published is None


@pytest.mark.parametrize(
    ("pretrainer", "pooling"),
    [
        (ReConPretrainer(n_groups=6, group_size=8), "queries"),
        (PointMAEPretrainer(n_groups=6, group_size=8), "max_mean"),
        (PointMAEPretrainer(block="recon", n_groups=6, group_size=8), "max_mean"),
        (PointM2AEPretrainer(), "mean_plus_max"),
        (I2PMAEPretrainer(), "max"),
    ],
    ids=["recon", "point_mae", "point_mae_recon_block", "point_m2ae", "i2p_mae"],
)
def test_the_papers_pooling_of_tokens_is_what_transform_gives(clouds, pretrainer, pooling):
    fitted = pretrainer.set_params(max_epochs=0, random_state=0).fit(clouds)

    pooled = pooled_features(fitted, clouds, pooling)

    np.testing.assert_allclose(pooled, fitted.transform(clouds), rtol=1e-5, atol=1e-6)


def test_every_pooling_has_its_width(clouds):
    fitted = ReConPretrainer(max_epochs=0, n_groups=6, group_size=8, random_state=0).fit(clouds)

    width = fitted.architecture_["width"]
    names = ("max", "mean", "max_mean", "mean_plus_max", "cls", "queries")
    widths = {name: pooled_features(fitted, clouds, name).shape[1] for name in names}

    assert widths == {"max": width, "mean": width, "max_mean": 2 * width,
                      "mean_plus_max": width, "cls": width, "queries": 2 * width}  # fmt: skip
    tokens = {name: pooled_features(fitted, clouds, name) for name in ("max", "mean")}
    assert (tokens["max"] >= tokens["mean"] - 1e-6).all()


def test_point_bert_is_probed_on_its_contrast_feature_by_the_published_rule(clouds, labels):
    pretrainer = PointBERTPretrainer(max_epochs=0, tokenizer_epochs=0, n_groups=6, group_size=8,
                                     contrast_width=20, random_state=0).fit(clouds)  # fmt: skip

    result = linear_probe(pretrainer, clouds, labels, clouds, labels, n_folds=2, random_state=0)

    assert result.table["pooling"].tolist() == ["transform", "contrast"]
    assert result.table["n_features"].tolist() == [pretrainer.transform(clouds).shape[1], 20]


def test_pooling_may_be_a_function(data):
    result = linear_probe(
        Extents(), *data, C=1.0, pooling=lambda fitted, X: fitted.transform(X)[:, :2]
    )

    assert result.table["n_features"].tolist() == [2]


def test_a_pooling_that_cannot_be_is_refused(clouds, data):
    fitted = PointMAEPretrainer(max_epochs=0, n_groups=6, group_size=8).fit(clouds)

    with pytest.raises(TypeError, match="did not learn"):
        pooled_features(fitted, clouds, "cls")
    with pytest.raises(TypeError, match="a head to contrast"):
        pooled_features(fitted, clouds, "contrast")
    with pytest.raises(TypeError, match="leave pooling=None"):
        linear_probe(Extents(), *data, pooling="max")
    with pytest.raises(ValueError, match="pooling must be one of"):
        linear_probe(Extents(), *data, pooling="median")


def test_features_that_are_no_rows_are_refused(data):
    with pytest.raises(ValueError, match="one row for each cloud"):
        linear_probe(Extents(), *data, C=1.0, pooling=lambda fitted, X: np.asarray(X))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"C": "best"}, ValueError, "C must be"),
        ({"C": -1.0}, ValueError, "C must be in"),
        ({"C": []}, ValueError, "one or more different rules"),
        ({"C": [1.0, 1.0]}, ValueError, "one or more different rules"),
        ({"C": np.array([1.0, 1.0])}, ValueError, "one or more different rules"),
        ({"C": "cv", "y": ["flat"] * 59 + ["rod"]}, ValueError, "classes of y have \\[59, 1\\]"),
        ({"grid": []}, ValueError, "grid must hold"),
        ({"y": ["flat"] * 60}, ValueError, "at least two classes"),
        ({"y": ["flat"] * 59}, ValueError, "one label for each of the 60 clouds"),
        ({"y_test": np.arange(30)}, ValueError, "y_test has no class of y"),
        ({"pretrainer": PointClassifier("pointnet_basic")}, TypeError, "without labels"),
        ({"pretrainer": BaseEstimator()}, TypeError, "method transform"),
    ],
)
def test_bad_input_says_what_would_be_right(data, changes, error, message):
    names = ("pretrainer", "X", "y", "X_test", "y_test")
    given = dict(zip(names, (Extents(), *data), strict=True)) | changes
    first = [given.pop(name) for name in names]

    with pytest.raises(error, match=message):
        linear_probe(*first, **given)
