"""Votes: one honest number, the luckiest round apart, and clouds that do not see each other."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError

from pointinteract.classification import PointClassifier, _votes
from pointinteract.pretraining import PointMAEPretrainer
from pointinteract.protocols import vote
from pointinteract.protocols._voting import VOTING_SYSTEMS, _settle, _sizes_of_rounds


class Scripted(ClassifierMixin, BaseEstimator):
    """Answers with probabilities from a list, one entry for each time it is asked."""

    def __init__(self, answers=()):
        self.answers = answers

    def fit(self, X=None, y=None):
        self.classes_ = np.array(["a", "b", "c"])
        self.n_asked_ = 0
        return self

    def predict_proba(self, X):
        self.n_asked_ += 1
        answer = self.answers[(self.n_asked_ - 1) % len(self.answers)]
        return np.tile(answer, (len(X), 1))


class Margin(ClassifierMixin, BaseEstimator):
    """Two classes by the sign of the mean of x, as one column; notes what it sees."""

    def fit(self, X=None, y=None):
        self.classes_ = np.array([0, 1])
        self.seen_ = []
        return self

    def decision_function(self, X):
        self.seen_.append(np.asarray(X).copy())
        return np.array([np.mean(cloud[:, 0]) for cloud in X])


@pytest.fixture(scope="module")
def trained():
    """A network that is often wrong, and 24 clouds of 80 points of which it sees 48."""
    generator = np.random.default_rng(0)
    y = np.tile(["flat", "ball", "rod"], 24)
    scale = {"flat": (1, 1, 0.6), "ball": (1, 1, 1), "rod": (0.6, 0.6, 1)}
    X = generator.normal(size=(72, 80, 3)) * np.array([scale[name] for name in y])[:, None]
    X = X.astype(np.float32)
    classifier = PointClassifier("pointnet_basic", n_points=48, max_epochs=10, batch_size=12,
                                 augmentation=None, random_state=0)  # fmt: skip
    return classifier.fit(X[:48], y[:48]), X[48:], y[48:]


def test_the_number_is_the_same_whatever_is_reported(trained):
    plain = vote(*trained, n_votes=3, random_state=0)
    published = vote(*trained, n_votes=3, n_rounds=6, report="published", random_state=0)

    assert plain.accuracy == published.accuracy == published.rounds["accuracy"][0]
    np.testing.assert_array_equal(plain.predictions, published.predictions)
    assert np.isnan(plain.published_accuracy)
    assert plain.n_rounds == 1


def test_published_number_is_the_best_round_in_a_row_of_its_own(trained):
    result = vote(*trained, n_votes=2, n_rounds=8, report="published", random_state=0)

    rounds = result.rounds["accuracy"]
    assert rounds.nunique() > 1
    assert result.published_accuracy == rounds.max()
    assert result.mean == pytest.approx(rounds.mean())
    assert result.sd == pytest.approx(rounds.std(ddof=1))
    frame = result.to_frame().set_index("number")
    assert frame.loc["published way", "accuracy"] == rounds.max()
    assert "maximum over 8 rounds of 2 votes" in frame.loc["published way", "selection"]
    assert "fixed before looking" in frame.loc["votes", "selection"]


def test_rounds_that_are_not_reported_the_published_way_have_no_maximum(trained):
    result = vote(*trained, n_votes=2, n_rounds=3, random_state=0)

    assert result.to_frame()["number"].tolist() == ["without votes", "votes", "mean of rounds"]


def test_probabilities_are_averaged_and_no_majority_is_counted():
    # "a" wins two of three votes narrowly; "b" has the higher mean.
    answers = [[0.2, 0.3, 0.5]] + [[0.0, 1.0, 0.0], [0.45, 0.4, 0.15], [0.45, 0.4, 0.15]]
    classifier = Scripted(answers).fit()

    result = vote(classifier, np.ones((4, 8, 3)), ["b"] * 4, n_votes=3, augmentation=None)

    assert result.predictions.tolist() == ["b"] * 4
    assert result.accuracy == 1.0
    assert result.single_accuracy == 0.0  # asked first, and alone


def test_clouds_do_not_see_each_other(trained):
    classifier, X, y = trained

    together = vote(classifier, X, y, n_votes=2, random_state=0)
    order = np.random.default_rng(0).permutation(len(X))[:9]
    apart = vote(classifier, X[order], y[order], n_votes=2, random_state=0)

    np.testing.assert_array_equal(apart.predictions, together.predictions[order])


def test_every_cloud_has_draws_of_its_own():
    classifier = Margin().fit()
    X = np.random.default_rng(0).normal(size=(2, 10, 3))
    X[1, :, :] += 1.0

    vote(classifier, X, [0, 1], n_votes=2, random_state=0)

    _, first, second = classifier.seen_  # the first time without any change
    factors = first / X
    assert np.allclose(factors, factors[:, :1], rtol=1e-4)  # one factor an axis
    assert not np.allclose(factors[0, 0], factors[1, 0])
    assert not np.allclose(first, second)


def test_points_are_chosen_from_a_thinned_cloud_anew_for_each_vote():
    classifier = Margin().fit()
    X = np.random.default_rng(0).normal(size=(1, 300, 3)).astype(np.float32)

    vote(classifier, X, [0], n_votes=30, n_points=60, augmentation=None, random_state=0)

    drawn = [{tuple(point) for point in seen[0]} for seen in classifier.seen_[1:]]
    assert {len(points) for points in drawn} == {60}
    assert len(set.union(*drawn)) == round(60 * 1200 / 1024)
    assert drawn[0] != drawn[1]


def test_clouds_are_thinned_once(trained, monkeypatch):
    calls = []
    thin = _votes.store_clouds
    monkeypatch.setattr(_votes, "store_clouds", lambda *given: calls.append(1) or thin(*given))

    vote(*trained, n_votes=2, n_rounds=4, random_state=0)

    assert len(calls) == len(trained[1])


def test_votes_without_any_change_are_the_plain_prediction(trained):
    classifier, X, y = trained

    # As many points as the network takes: nothing to choose.
    result = vote(classifier, X[:, :48], y, n_votes=2, augmentation=None, random_state=0)

    np.testing.assert_array_equal(result.predictions, classifier.predict(X[:, :48]))
    assert result.accuracy == result.single_accuracy
    assert result.augmentation == "none"
    share = f"{100 * result.accuracy:.1f} %"
    assert str(result).startswith(f"votes: {share}, without votes {share}. mean of 2 votes")


def test_small_clouds_are_filled_up_for_votes_as_they_were_in_training():
    generator = np.random.default_rng(0)
    X = [generator.normal(size=(size, 3)).astype(np.float32) for size in (8, 20, 32, 12)]
    y = ["a", "b", "a", "b"]
    # Neighbors decide here, so that repeated points change the answer.
    classifier = PointClassifier("dgcnn", max_epochs=1, random_state=0).fit(X, y)
    assert not np.allclose(classifier._infer(classifier._normalized(X), classifier.module_)[0],
                           classifier.predict_logits(X)[0], atol=1e-4)  # fmt: skip

    seen = []
    infer = classifier._infer
    classifier._infer = lambda looks, module: seen.append(looks) or infer(looks, module)
    vote(classifier, X, y, n_votes=1, augmentation=None, random_state=0)

    plain, voted = seen
    assert [cloud.shape for cloud in voted] == [(32, 3)] * 4
    np.testing.assert_array_equal(np.stack(voted), plain)


def test_same_seed_same_rounds(trained):
    one, same, other = (
        vote(*trained, n_votes=2, n_rounds=5, random_state=seed).rounds["accuracy"]
        for seed in (0, 0, 1)
    )

    assert one.equals(same)
    assert not one.equals(other)


@pytest.mark.parametrize(
    ("system", "sizes"),
    [("recon", [10] * 299), ("point_gpt", [5] * 299), ("point_m2ae", [10] * 49),
     ("point_bert", [10] * 9), ("maskpoint", list(range(1, 10)))],
)  # fmt: skip
def test_systems_vote_as_their_authors(system, sizes):
    assert _sizes_of_rounds(VOTING_SYSTEMS[system], None, None, "published") == sizes
    assert _sizes_of_rounds(VOTING_SYSTEMS[system], None, None, "mean") == [max(sizes)]


def test_where_rounds_grow_the_longest_is_the_number():
    classifier = Scripted([[0.0, 1.0, 0.0]] + [[1.0, 0.0, 0.0]] * 44 + [[0.0, 0.0, 9.0]]).fit()

    result = vote(classifier, np.ones((2, 8, 3)), ["a", "c"], system="maskpoint",
                  report="published", random_state=0)  # fmt: skip

    assert result.rounds["n_votes"].tolist() == list(range(1, 10))
    assert result.n_votes == 9
    assert result.predictions.tolist() == ["c", "c"]
    assert "1 to 9 votes" in result.to_frame()["selection"].iloc[-1]


def test_the_system_is_that_of_the_pretrainer():
    assert _settle(PointClassifier(pretrained=PointMAEPretrainer()), None).name == "Point-MAE"
    assert _settle(PointClassifier("dgcnn"), None).name == "ReCon"


def test_progress_counts_votes(trained):
    calls = []

    vote(*trained, n_votes=2, n_rounds=2, progress=lambda done, total: calls.append((done, total)))

    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_bad_input_says_what_would_be_right(trained):
    classifier, X, y = trained

    with pytest.raises(NotFittedError):
        vote(PointClassifier(), X, y)
    with pytest.raises(ValueError, match="report must be one of"):
        vote(classifier, X, y, report="best")
    with pytest.raises(ValueError, match="system must be one of"):
        vote(classifier, X, y, system="pointnet")
    with pytest.raises(ValueError, match="augmentation must be"):
        vote(classifier, X, y, augmentation="rotate")
    with pytest.raises(ValueError, match="one label for each of the 24"):
        vote(classifier, X, y[:3])
    with pytest.raises(ValueError, match="n_votes must be at least 1"):
        vote(classifier, X, y, n_votes=0)
    with pytest.raises(ValueError, match="y has no class of the classifier: it holds \\[0, 1, 2"):
        vote(classifier, X, np.arange(len(y)))
