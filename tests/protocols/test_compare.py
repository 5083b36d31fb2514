"""Methods in the same protocols: every number with its words, and nothing done twice."""

import functools
import json

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.utils import Bunch

from pointinteract.classification import PointClassifier
from pointinteract.exceptions import FileFormatError
from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import FewShotSplit, compare

FITS: list[str] = []


class Extents(TransformerMixin, BaseEstimator):
    """Deviation of every cloud along each axis, with noise by the seed; notes its fits."""

    def __init__(self, noise=0.1, random_state=None):
        self.noise = noise
        self.random_state = random_state

    def fit(self, X, y=None):
        FITS.append(f"features {self.random_state}" + ("" if y is None else " with labels"))
        self.seed_ = self.random_state or 0
        return self

    def transform(self, X):
        rows = np.stack([np.std(cloud, axis=0) for cloud in X])
        return rows + self.noise * np.random.default_rng(self.seed_).normal(size=rows.shape)


class NearestExtent(ClassifierMixin, BaseEstimator):
    """The class of the training cloud with the most similar deviations."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        FITS.append(f"classifier {self.random_state}")
        self.classes_ = np.unique(y)
        self.rows_, self.labels_ = np.std(X, axis=1), np.asarray(y)
        return self

    def predict_proba(self, X):
        distance = np.square(np.std(X, axis=1)[:, None] - self.rows_).sum(axis=2)
        nearest = [np.stack([d[self.labels_ == c].min() for c in self.classes_]) for d in distance]
        chances = np.exp(-np.stack(nearest))
        return chances / chances.sum(axis=1, keepdims=True)

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Broken(Extents):
    """Fails while it is told to."""

    works = False

    def fit(self, X, y=None):
        if not self.works:
            FITS.append("broken")
            raise MemoryError("the clouds are too large")
        return super().fit(X, y)


def count_parts(estimator, X, y, X_test, y_test, random_state=None, offset=0.0):
    """A protocol of a user: the share of test clouds, and nothing else."""
    return len(X_test) / (len(X) + len(X_test)) + offset


@pytest.fixture
def data():
    generator = np.random.default_rng(0)
    y = np.tile(["flat", "ball", "rod"], 20)
    scale = {"flat": (1, 1, 0.4), "ball": (1, 1, 1), "rod": (0.5, 0.5, 1)}
    X = generator.normal(size=(60, 24, 3)) * np.array([scale[name] for name in y])[:, None]
    FITS.clear()
    return X[:36].astype(np.float32), y[:36], X[36:].astype(np.float32), y[36:]


PROBE = {"linear_probe": {"grid": (0.01, 1.0), "n_folds": 2}}


def rows(report):
    """Numbers of a report without the time they took."""
    return report.frame.drop(columns=["seconds", "fit_seconds"])


def test_a_row_has_mean_and_spread_over_seeds(data):
    report = compare({"a": Extents()}, data, params=PROBE, random_states=[0, 1, 2])

    runs = report.runs[report.runs["variant"] == "default C, none published"]
    row = report.frame.set_index("variant").loc["default C, none published"]
    assert runs["seed"].tolist() == [0, 1, 2]
    assert runs["accuracy"].nunique() > 1
    assert row["mean"] == pytest.approx(runs["accuracy"].mean())
    assert row["sd"] == pytest.approx(runs["accuracy"].std(ddof=1))
    assert row["n"] == 3
    assert "no published convention" in row["selection"]
    assert FITS == ["features 0", "features 1", "features 2"]


def test_one_seed_has_no_spread(data):
    report = compare(Extents(), data, params=PROBE, random_states=[0])

    assert report.frame["sd"].isna().all()
    assert report.frame["method"].unique().tolist() == ["Extents"]
    assert " ± " not in report.to_markdown().split("over seeds")[1].split("How the")[0]


def test_several_protocols_share_what_is_fitted(data):
    split = FewShotSplit(2, 3, n_query=3, n_folds=2)
    params = PROBE | {"few_shot": {"split": split}, "vote": {"n_votes": 2}}

    report = compare(
        {"features": Extents(), "classifier": NearestExtent()},
        data,
        protocol=["linear_probe", "few_shot", "fine_tune", "vote"],
        params=params,
        random_states=[4],
    )

    assert FITS.count("features 4") == 1
    frame = report.frame.groupby(["method", "protocol"]).first()
    # Once for both fine_tune and vote, and in each of two episodes.
    assert FITS.count("classifier 4") == 3
    assert frame.loc[("features", "few_shot"), "n"] == 1
    assert frame.loc[("features", "few_shot"), "within_sd"] >= 0
    assert frame.loc[("classifier", "vote"), "variant"] == "mean of votes"
    assert "after the last epoch" in frame.loc[("classifier", "fine_tune"), "selection"]
    for skipped in (("features", "fine_tune"), ("classifier", "linear_probe")):
        assert frame.loc[skipped, "n"] == 0
        assert frame.loc[skipped, "error"].startswith("not applicable")


def test_fine_tune_is_the_score_of_the_fitted_classifier(data):
    X, y, X_test, y_test = data

    report = compare(NearestExtent(), data, protocol="fine_tune", random_states=[0])

    assert report.frame["mean"][0] == np.mean(NearestExtent().fit(X, y).predict(X_test) == y_test)


def test_the_luckiest_round_has_a_row_of_its_own(data):
    params = {"vote": {"n_votes": 1, "n_rounds": 6, "report": "published"}}

    report = compare(NearestExtent(), data, protocol="vote", params=params, random_states=[0])

    frame = report.frame.set_index("variant")
    assert list(frame.index) == ["mean of votes", "published: best round"]
    assert frame["mean"].is_monotonic_increasing
    assert "maximum over 6 rounds" in frame["selection"].iloc[1]


def test_a_finished_run_is_read_and_not_repeated(data, tmp_path):
    settings = {"params": PROBE, "store": tmp_path, "random_states": [0, 1]}
    first = compare({"a": Extents()}, data, **settings)
    FITS.clear()

    again = compare({"renamed": Extents()}, data, **settings)

    assert FITS == []
    assert again.frame["method"].unique().tolist() == ["renamed"]
    assert rows(again).drop(columns="method").equals(rows(first).drop(columns="method"))
    assert again.frame["seconds"].equals(first.frame["seconds"])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json"]


def test_a_run_of_other_settings_data_or_seed_is_another_run(data, tmp_path):
    X, y, X_test, y_test = data

    def fits(estimator=None, given=data, seed=0, params=PROBE):
        FITS.clear()
        compare(estimator or Extents(), given, params=params, random_states=[seed], store=tmp_path)
        return len(FITS)

    assert fits() == 1
    assert fits() == 0
    assert fits(Extents(noise=0.2)) == 1
    assert fits(seed=1) == 1
    assert fits(given=(X, y, X_test, y_test[::-1])) == 1
    assert fits(params={"linear_probe": {"grid": (0.02, 1.0), "n_folds": 2}}) == 1
    assert fits() == 0


def test_a_fitted_estimator_counts_with_what_was_fitted(data, tmp_path):
    fitted = [Extents(random_state=seed).fit(data[0]) for seed in (0, 5)]
    for estimator in fitted:
        estimator.set_params(random_state=0)

    one, other, again = (
        compare(given, data, params=PROBE, random_states=[0], store=tmp_path)
        for given in (*fitted, fitted[0])
    )

    assert len(list(tmp_path.iterdir())) == 2
    assert not rows(one).equals(rows(other))
    assert rows(one).equals(rows(again))
    assert "it came fitted" in one.frame["selection"][0]


def test_a_failure_stops_no_other_and_is_tried_again(data, tmp_path, monkeypatch):
    given = {"broken": Broken(), "fine": Extents()}
    settings = {"params": PROBE, "store": tmp_path, "random_states": [0, 1],
                "protocol": ["linear_probe", count_parts]}  # fmt: skip

    report = compare(given, data, **settings)

    frame = report.frame.set_index("method")
    assert frame.loc["fine", "n"].tolist() == [2, 2, 2]
    assert frame.loc["broken", "n"].tolist() == [0, 0]
    assert frame.loc["broken", "error"].tolist() == ["MemoryError: the clouds are too large"] * 2
    assert "too large" in report.to_markdown()
    # What failed once is not tried again for the next protocol of the same run.
    assert FITS.count("broken") == 2
    kept = [json.loads(path.read_text())["run"] for path in tmp_path.iterdir()]
    assert any("MemoryError" in run.get("traceback", "") for run in kept)

    monkeypatch.setattr(Broken, "works", True)
    FITS.clear()
    frame = compare(given, data, **settings).frame.set_index("method")

    assert frame.loc["broken", "n"].tolist() == [2, 2, 2]
    assert FITS == ["features 0", "features 1"]


def test_a_seed_that_failed_is_counted_out(data):
    def sometimes(estimator, X, y, X_test, y_test, random_state=None):
        if random_state == 1:
            raise RuntimeError("no luck")
        return 0.25 * random_state

    row = compare(Extents(), data, protocol=sometimes, random_states=[0, 1, 2]).frame.iloc[0]

    assert (row["n"], row["mean"]) == (2, 0.25)
    assert row["error"] == "1 of 3 runs failed: RuntimeError: no luck"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"made_from": 1, "run": {"results": []}}'])
def test_a_broken_file_in_the_store_is_named(data, tmp_path, content):
    settings = {"params": PROBE, "store": tmp_path, "random_states": [0]}
    compare(Extents(), data, **settings)
    (path,) = tmp_path.iterdir()
    path.write_text(content)

    with pytest.raises(FileFormatError, match=path.name):
        compare(Extents(), data, **settings)


def test_results_do_not_depend_on_the_number_of_jobs(data):
    settings = {"params": PROBE, "random_states": [0, 1, 2]}
    given = {"features": Extents(), "others": Extents(noise=0.2)}

    one = compare(given, data, n_jobs=1, **settings)
    with joblib.parallel_config("threading"):  # quicker to start; torch wants processes
        two = compare(given, data, n_jobs=2, **settings)

    assert rows(one).equals(rows(two))


@pytest.mark.slow
def test_processes_give_the_same_and_write_the_store(data, tmp_path):
    pretrainer = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8)
    settings = {"params": PROBE, "random_states": [0, 1]}

    one = compare(pretrainer, data, n_jobs=1, **settings)
    two = compare(pretrainer, data, n_jobs=2, store=tmp_path, **settings)

    assert rows(one).equals(rows(two))
    assert len(list(tmp_path.iterdir())) == 2


def test_progress_counts_runs(data):
    calls = []

    compare({"a": Extents(), "b": Extents()}, data, params=PROBE, random_states=[0],
            progress=lambda done, total: calls.append((done, total)))  # fmt: skip

    assert calls == [(1, 2), (2, 2)]


def test_a_bunch_is_taken_apart_by_its_split(data):
    X, y, X_test, y_test = data
    order = np.random.default_rng(0).permutation(60)
    bunch = Bunch(
        data=np.concatenate([X, X_test])[order],
        target=np.concatenate([y, y_test])[order],
        split=np.repeat(["train", "test"], [36, 24])[order],
    )

    def sizes(estimator, X, y, X_test, y_test, random_state=None):
        return len(X) + len(X_test) / 1000 + 10 * np.mean(y == np.sort(y)[0])

    report = compare(Extents(), bunch, protocol=sizes, random_states=[0])

    assert report.frame["mean"][0] == pytest.approx(36.024 + 10 / 3)
    with pytest.raises(ValueError, match="'train' and 'test', got"):
        compare(Extents(), bunch | {"split": np.array(["train", "val"] * 30)})


def test_a_function_is_a_protocol_and_its_text_counts(data, tmp_path):
    def asked(function):
        settings = {"protocol": function, "random_states": [0], "store": tmp_path}
        return compare(Extents(), data, **settings).frame

    frame = asked(count_parts)

    assert frame["protocol"].tolist() == ["count_parts"]
    assert frame["mean"][0] == 0.4
    assert asked(functools.partial(count_parts, offset=0.1))["mean"][0] == 0.5
    assert len(list(tmp_path.iterdir())) == 2


def test_controls_have_random_weights_and_no_published_figure(data):
    pretrainer = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8)
    classifier = PointClassifier(pretrained=clone(pretrainer), max_epochs=1)

    report = compare(
        {"mae": pretrainer, "tuned": classifier, "plain": NearestExtent()},
        data,
        protocol=["linear_probe", "fine_tune"],
        params=PROBE,
        classifier=PointClassifier(max_epochs=1),
        controls=True,
        random_states=[0],
    )

    frame = report.frame[report.frame["n"] > 0].set_index(["method", "protocol"])
    assert frame.index.get_level_values(0).unique().tolist() == [
        "mae", "mae, random weights", "tuned", "tuned, random weights", "plain",
    ]  # fmt: skip
    labels = frame["published_label"].groupby(level=[0, 1]).first()
    assert labels["mae", "linear_probe"] == "Point-MAE, ModelNet40, linear SVM, 91.0"
    assert labels["mae", "fine_tune"].endswith("fine-tuned, 1k points, 93.2")
    assert labels["tuned", "fine_tune"].endswith("fine-tuned, 1k points, 93.2")
    for name in ("mae, random weights", "tuned, random weights"):
        assert (labels.xs(name) == "").all()


def test_a_fitted_pretrainer_inside_a_classifier_stays_as_it_is(data):
    pretrainer = PointMAEPretrainer(max_epochs=1, n_groups=4, group_size=8, random_state=7)
    pretrainer.fit(data[0])
    started = []

    def look(estimator, X, y, X_test, y_test, random_state=None):
        started.append(estimator)
        return 0.0

    compare(PointClassifier(pretrained=pretrainer), data, protocol=look, random_states=[3])

    assert started[0].pretrained is pretrainer
    assert (started[0].random_state, pretrainer.random_state) == (3, 7)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"estimators": []}, ValueError, "at least one"),
        ({"estimators": [Extents]}, TypeError, "method fit"),
        ({"estimators": PointMAEPretrainer(checkpoint="a.pt")}, ValueError, "checkpoint"),
        ({"data": (1, 2, 3)}, TypeError, "tuple \\(X, y, X_test, y_test\\)"),
        ({"data": Bunch(data=1, target=2)}, ValueError, "one without \\['split'\\]"),
        ({"protocol": "svm"}, ValueError, "protocol must be"),
        ({"protocol": []}, ValueError, "one or more"),
        ({"protocol": ["vote", "vote"]}, ValueError, "different names"),
        ({"params": {"vote": {}}}, ValueError, "none of the protocols"),
        ({"params": {"linear_probe": {"random_state": 0}}}, ValueError, "use random_states"),
        ({"random_states": []}, ValueError, "random_states must be"),
        ({"random_states": [0, 0]}, ValueError, "random_states must be"),
    ],
)
def test_bad_input_says_what_would_be_right(data, changes, error, message):
    given = {"estimators": Extents(), "data": data} | changes

    with pytest.raises(error, match=message):
        compare(given.pop("estimators"), given.pop("data"), **given)
