"""Arms at equal steps or equal time, resumable."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from torch import nn

from pointinteract.classification import (
    LossComparison,
    PointClassifier,
    compare_interaction_losses,
)
from pointinteract.exceptions import FileFormatError
from pointinteract.losses import InteractionLoss
from pointinteract.models import PointNet
from pointinteract.pretraining import JigsawPretrainer, ReConPretrainer
from pointinteract.training import loop


class Net(nn.Module):
    def __init__(self, n_channels=3, n_classes=2):
        super().__init__()
        self.layer, self.out = nn.Linear(n_channels, 8), nn.Linear(8, n_classes)

    n_seen = 0

    def forward(self, points):
        Net.n_seen += len(points)
        return self.out(self.layer(points).relu().amax(1))


@pytest.fixture(scope="module")
def data():
    """Flat clouds and balls: 12 to train on and 8 to test."""
    points = np.random.default_rng(0).normal(size=(20, 32, 3)).astype("f4")
    points[::2, :, 2] *= 0.05
    labels = np.array(["flat", "ball"] * 10)
    return points[:12], labels[:12], points[12:], labels[12:]


@pytest.fixture
def quick():
    return PointClassifier(Net, max_epochs=2, batch_size=5)


def test_every_arm_gets_the_same_steps(data, quick):
    rows = []

    result = compare_interaction_losses(
        *data, model=quick, n_seeds=2, progress=lambda row, done, total: rows.append((done, total))
    )

    frame = result.frame
    arms = ["scratch", "augmentation", "paper", "log_ratio", "differences"]
    assert frame["arm"].tolist() == arms * 2 and frame["seed"].tolist() == [0] * 5 + [1] * 5
    assert set(frame["n_epochs"]) == {2} and set(frame["n_steps"]) == {6}
    assert frame["accuracy"].between(0, 1).all() and (frame["seconds"] > 0).all()
    assert rows == [(i + 1, 10) for i in range(10)]
    for (arm, seed), classifier in result.classifiers.items():
        row = frame[(frame["arm"] == arm) & (frame["seed"] == seed)].iloc[0]
        assert classifier.score(data[2], data[3]) == row["accuracy"]
        assert classifier.seed_ == result.classifiers["scratch", seed].seed_


def test_arms_train_as_their_names_say(data, quick):
    result = compare_interaction_losses(*data, model=quick, n_seeds=1)

    fitted = {arm: classifier for (arm, _), classifier in result.classifiers.items()}
    by_hand = PointClassifier(Net, max_epochs=2, batch_size=5, random_state=0,
                              interaction_loss="paper").fit(*data[:2])

    logits = {arm: clf.predict_logits(data[2]) for arm, clf in fitted.items()}
    assert np.array_equal(logits["paper"], by_hand.predict_logits(data[2]))
    assert fitted["scratch"].interaction_loss is None
    assert fitted["augmentation"].interaction_loss.estimator == "augmentation"
    assert fitted["differences"].interaction_loss.estimator == "D"
    assert len({values.tobytes() for values in logits.values()}) == 5


@pytest.fixture
def clock(monkeypatch):
    """Time that passes with clouds through the network, a second for each."""
    Net.n_seen = 0
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: Net.n_seen))


@pytest.mark.parametrize("batch_size", [5, 12])
def test_equal_time_gives_cheap_arms_more_epochs(data, quick, clock, batch_size):
    result = compare_interaction_losses(
        *data, model=quick.set_params(batch_size=batch_size), n_seeds=1, budget="time",
        arms=["scratch", "augmentation", "log_ratio", "differences"],
    )

    # Clouds an epoch: 12 clean ones, and 7, 8 and 4 masked ones for each.
    epochs = result.frame.set_index("arm")["n_epochs"]
    assert epochs.to_dict() == {
        "scratch": 18, "augmentation": round(18 / 8), "log_ratio": 2, "differences": round(18 / 5)
    }


def test_equal_time_can_be_given_in_seconds(data, quick, clock):
    for seconds, n_epochs in ((61, 5), (0.1, 1)):
        result = compare_interaction_losses(
            *data, model=quick, arms=["scratch"], n_seeds=1, budget="time", seconds=seconds
        )

        assert result.frame["n_epochs"].tolist() == [n_epochs]
        assert result.frame["seconds"].tolist() == [12 * n_epochs]


def test_pretrained_arms_start_from_given_weights(data):
    pretrainer = ReConPretrainer(n_groups=4, group_size=8, max_epochs=1, random_state=0)
    model = PointClassifier("recon_nano", max_epochs=1, learning_rate=1e-9, batch_size=6)

    with pytest.raises(NotFittedError):
        compare_interaction_losses(*data, model=model, pretrained=pretrainer)
    pretrainer.fit(data[0])
    result = compare_interaction_losses(
        *data, model=model, pretrained=pretrainer, n_seeds=1,
        arms=["pretrained", "pretrained_log_ratio"],
    )

    start = pretrainer.module_.encoder.state_dict()
    for classifier in result.classifiers.values():
        ours = classifier.module_.state_dict()
        name = next(name for name in start if name.endswith("weight") and start[name].ndim > 1)
        np.testing.assert_allclose(ours[name], start[name], atol=1e-6)
    assert result.classifiers["pretrained_log_ratio", 0].interaction_loss == "default"


def test_arms_of_ones_own_and_further_measures(data, quick):
    arms = {"mine": {"interaction_loss": InteractionLoss("B")}, "longer": {"max_epochs": 3}}

    result = compare_interaction_losses(
        *data, model=quick, arms=arms, n_seeds=1, keep_classifiers=False,
        measure=lambda clf, X, y: {"logit_size": np.abs(clf.predict_logits(X)).mean()},
    )

    assert result.classifiers == {}
    assert result.frame["n_epochs"].tolist() == [2, 3]
    assert (result.frame["logit_size"] > 0).all()
    with pytest.raises(ValueError, match="measure gave \\['accuracy'\\]"):
        compare_interaction_losses(*data, model=quick, arms=["scratch"],
                                   measure=lambda clf, X, y: {"accuracy": 1.0})


def test_goes_on_where_it_was_interrupted(data, tmp_path):
    model = PointClassifier("pointnet_basic", max_epochs=1)
    options = dict(model=model, arms=["scratch", "paper"], store=tmp_path / "runs")

    def stop(row, done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare_interaction_losses(*data, **options, n_seeds=2, progress=stop)
    stored = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*.json")}
    result = compare_interaction_losses(*data, **options, n_seeds=2)
    fresh = compare_interaction_losses(*data, **options | {"store": None}, n_seeds=2)

    assert len(stored) == 3
    assert all(path.stat().st_mtime_ns == time for path, time in stored.items())
    columns = ["arm", "seed", "accuracy", "n_epochs", "n_steps", "n_parameters"]
    assert result.frame[columns].equals(fresh.frame[columns])
    loaded, trained = result.classifiers["scratch", 0], fresh.classifiers["scratch", 0]
    assert np.array_equal(loaded.predict_logits(data[2]), trained.predict_logits(data[2]))


def test_a_store_keeps_numbers_where_it_cannot_keep_the_network(data, quick, tmp_path):
    options = dict(model=quick, arms=["scratch"], n_seeds=1, store=tmp_path, budget="time")

    first = compare_interaction_losses(*data, **options)
    second = compare_interaction_losses(*data, **options)

    assert second.frame.equals(first.frame)
    assert second.classifiers == {}


def test_a_store_refuses_other_data_settings_and_mangled_files(data, quick, tmp_path):
    options = dict(arms={"scratch": {}, "a/b": {}}, n_seeds=1, store=tmp_path)
    compare_interaction_losses(*data, model=quick, **options)

    with pytest.raises(ValueError, match="made from other data"):
        compare_interaction_losses(data[0] + 1, *data[1:], model=quick, **options)
    with pytest.raises(ValueError, match="made from other settings"):
        compare_interaction_losses(*data, model=quick.set_params(batch_size=6), **options)
    (tmp_path / "scratch-seed0.json").write_text("{")
    with pytest.raises(FileFormatError, match="delete it to train it again"):
        compare_interaction_losses(*data, model=quick, **options)


def test_a_store_refuses_other_weights_to_start_from(data, tmp_path):
    first, second = (
        JigsawPretrainer("pointnet_basic", hidden=(8,), max_epochs=1, random_state=0).fit(clouds)
        for clouds in (data[0], data[2])
    )
    options = dict(model=PointClassifier("pointnet_basic", max_epochs=1), n_seeds=1,
                   arms=["pretrained"], store=tmp_path)

    trained = compare_interaction_losses(*data, pretrained=first, **options)
    again = compare_interaction_losses(*data, pretrained=first, **options)

    assert again.frame.equals(trained.frame)
    with pytest.raises(ValueError, match="made from other settings"):
        compare_interaction_losses(*data, pretrained=second, **options)


def test_summary_pairs_arms_by_seed():
    cost = dict(seconds=1.0, n_epochs=2, n_steps=4, n_parameters=9)
    rows = [("scratch", 0, 0.5), ("scratch", 1, 0.7), ("paper", 0, 0.6), ("paper", 1, 0.9)]
    frame = pd.DataFrame([{"arm": a, "seed": s, "accuracy": v, **cost} for a, s, v in rows])

    summary = LossComparison(frame, "steps").summary()

    assert summary.index.tolist() == ["scratch", "paper"]
    assert summary.loc["paper", ("accuracy", "mean")] == pytest.approx(0.75)
    assert summary.loc["paper", ("accuracy", "sd")] == pytest.approx(0.3 / 2**0.5)
    assert summary.loc["paper", ("accuracy", "difference")] == pytest.approx(0.15)
    assert summary.loc["scratch", ("accuracy", "difference")] == 0
    assert summary.loc["paper", ("n_steps", "mean")] == 4
    with pytest.raises(ValueError, match="baseline must be one of"):
        LossComparison(frame, "steps").summary("other")


@pytest.mark.parametrize("options, message", [
    ({"arms": ["scratch", "papers"]}, "each of arms must be one of 'scratch'"),
    ({"arms": ["pretrained"]}, "give pretrained"),
    ({"budget": "epochs"}, "budget must be one of"),
    ({"seconds": 3.0}, "seconds goes with budget='time'"),
    ({"n_seeds": 0}, "n_seeds must be at least 1"),
    ({"model": PointClassifier(Net, early_stopping=True)}, "early_stopping=False"),
    ({"model": PointClassifier(Net, interaction_loss="paper")}, "what all arms share"),
])
def test_wrong_settings_are_named(data, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        compare_interaction_losses(*data, **{"model": PointNet} | options)
