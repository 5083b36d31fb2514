"""A killed training ends as an undisturbed one would have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pointinteract.classification import PointClassifier
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import CheckpointError, FileFormatError
from pointinteract.pretraining import (
    DiscreteVAEPretrainer,
    JigsawPretrainer,
    MoCoPretrainer,
    PointBERTPretrainer,
    ReConPretrainer,
)
from pointinteract.training.checkpoint import TrainingCheckpoint, fingerprint
from pointinteract.utils._archive import read_archive

NANO = {"n_groups": 6, "group_size": 6, "batch_size": 4, "random_state": 0}


@pytest.fixture(scope="module")
def clouds():
    return make_shapes(12, n_points=40, return_X_y=True, random_state=0)


class _StopAfterError(Exception):
    pass


def _stopped_after(estimator, n_epochs):
    """An estimator whose training breaks off in the epoch after `n_epochs`."""
    compute, run_of = estimator._compute_loss, lambda: estimator._run

    def compute_or_stop(*arguments):
        if run_of().epoch >= n_epochs:
            raise _StopAfterError
        return compute(*arguments)

    estimator._compute_loss = compute_or_stop
    return estimator


def _weights(estimator):
    return {name: value.numpy() for name, value in estimator.module_.state_dict().items()}


def _assert_same(first, second):
    for name, value in _weights(first).items():
        np.testing.assert_array_equal(value, _weights(second)[name], err_msg=name)
    left, right = (each.history_.drop(columns="seconds") for each in (first, second))
    assert left.equals(right)


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: ReConPretrainer(max_epochs=4, **NANO, **more),
        lambda **more: JigsawPretrainer("pointnet_basic", max_epochs=4, batch_size=4,
                                        random_state=0, **more),
        lambda **more: MoCoPretrainer("pointnet_basic", max_epochs=4, batch_size=4,
                                      random_state=0, **more),
    ],
    ids=["recon", "jigsaw", "moco"],
)
@pytest.mark.parametrize("n_epochs", [1, 3])
def test_interrupted_pretraining_goes_on_to_the_last_bit(make, n_epochs, clouds, tmp_path):
    path = tmp_path / "training.npz"
    with pytest.raises(_StopAfterError):
        _stopped_after(make(checkpoint=path), n_epochs).fit(clouds[0])
    assert path.exists()
    resumed = make(checkpoint=path).fit(clouds[0])
    _assert_same(resumed, make().fit(clouds[0]))
    assert resumed.n_epochs_ == 4


def test_interrupted_classifier_with_early_stopping(clouds, tmp_path):
    X, y = clouds[0], clouds[1] % 2
    settings = dict(model="pointnet_basic", max_epochs=6, batch_size=4, early_stopping=True,
                    validation_fraction=0.4, n_iter_no_change=3, random_state=1)
    path = tmp_path / "training.npz"
    with pytest.raises(_StopAfterError):
        _stopped_after(PointClassifier(**settings, checkpoint=path), 2).fit(X, y)
    resumed = PointClassifier(**settings, checkpoint=path).fit(X, y)
    whole = PointClassifier(**settings).fit(X, y)
    _assert_same(resumed, whole)
    assert resumed.best_epoch_ == whole.best_epoch_


def test_finished_file_gives_the_result_without_training(clouds, tmp_path, monkeypatch):
    path = tmp_path / "training.npz"
    first = ReConPretrainer(max_epochs=2, **NANO, checkpoint=path).fit(clouds[0])
    again = _stopped_after(ReConPretrainer(max_epochs=2, **NANO, checkpoint=path), 0)
    _assert_same(again.fit(clouds[0]), first)


def test_without_a_random_state_the_file_keeps_the_seed(clouds, tmp_path):
    path = tmp_path / "training.npz"
    settings = NANO | {"random_state": None, "max_epochs": 3, "checkpoint": path}
    with pytest.raises(_StopAfterError):
        _stopped_after(ReConPretrainer(**settings), 1).fit(clouds[0])
    seed = dict(read_archive(path)[0]["state"]["dict"])["seed"]
    resumed = ReConPretrainer(**settings).fit(clouds[0])
    assert resumed.seed_ == seed
    assert resumed.n_epochs_ == 3


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"mask_ratio": 0.5}, "mask_ratio was 0.6 and is 0.5"),
        ({"random_state": 1}, "seed"),
        ({"max_epochs": 5}, "max_epochs"),
    ],
)
def test_file_of_another_training_is_refused(change, word, clouds, tmp_path):
    path = tmp_path / "training.npz"
    settings = NANO | {"max_epochs": 1, "checkpoint": path}
    ReConPretrainer(**settings).fit(clouds[0])
    with pytest.raises(CheckpointError, match=word):
        ReConPretrainer(**settings | change).fit(clouds[0])


def test_file_of_other_clouds_is_refused(clouds, tmp_path):
    path = tmp_path / "training.npz"
    settings = NANO | {"max_epochs": 1, "checkpoint": path}
    ReConPretrainer(**settings).fit(clouds[0])
    with pytest.raises(CheckpointError, match="clouds was"):
        ReConPretrainer(**settings).fit(clouds[0][::-1].copy())


def test_damaged_file_is_named_and_left_alone(clouds, tmp_path):
    path = tmp_path / "training.npz"
    settings = NANO | {"max_epochs": 1, "checkpoint": path}
    ReConPretrainer(**settings).fit(clouds[0])
    cut = path.read_bytes()[:-100]
    path.write_bytes(cut)
    with pytest.raises(FileFormatError, match="training.npz"):
        ReConPretrainer(**settings).fit(clouds[0])
    assert path.read_bytes() == cut


def test_missing_folder_is_named(clouds, tmp_path):
    pre = ReConPretrainer(max_epochs=1, **NANO, checkpoint=tmp_path / "no" / "file.npz")
    with pytest.raises(FileNotFoundError, match="make it first"):
        pre.fit(clouds[0])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [(".", IsADirectoryError, "is a folder"), (True, TypeError, "got True")],
)
def test_checkpoint_that_is_no_file_is_named_before_anything_is_trained(
    given, error, message, clouds
):
    tokenizer = DiscreteVAEPretrainer(max_epochs=10**9)
    pre = PointBERTPretrainer(tokenizer=tokenizer, checkpoint=given)
    with pytest.raises(error, match=message):
        pre.fit(clouds[0])


def test_what_a_killed_write_left_is_cleared_away(tmp_path):
    (tmp_path / ".state.npz.abc.part").write_bytes(b"half")
    (tmp_path / ".other.npz.abc.part").write_bytes(b"half")
    TrainingCheckpoint(tmp_path / "state.npz", {}).write({}, last=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == [".other.npz.abc.part", "state.npz"]


def test_state_survives_the_file(tmp_path):
    state = {"a": [1, None, "x", 0.1, float("inf")], "b": {3: torch.arange(4.0), "c": True}}
    file = TrainingCheckpoint(tmp_path / "state.npz", {"what": "test"})
    assert file.read() is None
    file.write(state, last=True)
    back = file.read()
    assert back["a"] == state["a"]
    assert back["b"]["c"] is True
    assert torch.equal(back["b"][3], state["b"][3])


def test_writes_keep_their_distance_but_for_the_last(tmp_path):
    file = TrainingCheckpoint(tmp_path / "state.npz", {})
    file.write({"epoch": 1})
    file._write_again += 1000.0
    file.write({"epoch": 2})
    assert file.read() == {"epoch": 1}
    file.write({"epoch": 3}, last=True)
    assert file.read() == {"epoch": 3}


@pytest.mark.parametrize(
    ("first", "second", "equal"),
    [
        (np.arange(3), np.arange(3), True),
        (np.arange(3), np.arange(1, 4), False),
        (torch.zeros(2), torch.zeros(3), False),
        ({"a": np.zeros(2)}, {"a": np.ones(2)}, False),
        (PointClassifier(max_epochs=3), PointClassifier(max_epochs=4), False),
        (PointClassifier(), PointClassifier(), True),
        (np.sum, np.mean, False),
        (Path("a.pth"), Path("b.pth"), False),
        (Path("a.pth"), Path("a.pth"), True),
    ],
)
def test_fingerprint_tells_values_apart(first, second, equal):
    assert (fingerprint(first) == fingerprint(second)) is equal


@pytest.mark.parametrize(
    ("method", "n_kills"),
    [
        ("recon", 2),
        pytest.param("recon", 10, marks=pytest.mark.slow),
        pytest.param("point_bert", 10, marks=pytest.mark.slow),
        pytest.param("moco", 10, marks=pytest.mark.slow),
    ],
)
def test_killed_at_random_points_and_resumed(method, n_kills, tmp_path):
    """SIGKILL leaves no time for anything; see killed_training.py."""
    script = Path(__file__).with_name("killed_training.py")
    done = subprocess.run(
        [sys.executable, str(script), method, str(n_kills), str(tmp_path)],
        capture_output=True, text=True, timeout=600, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{n_kills} kills, equal to the last bit" in done.stdout
