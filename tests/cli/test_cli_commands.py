"""pretrain, train, predict, explain: the way through on tiny clouds, and Ctrl-C."""

import csv
import io
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pointinteract import PointClassifier, load, save
from pointinteract.cli import main
from pointinteract.cli._commands import parse_augmentation
from pointinteract.cli._data import (
    CloudSet,
    choose_training,
    draw_evenly,
    draw_per_class,
    measure_accuracy,
    read_clouds,
)
from pointinteract.explanation import Explanation
from pointinteract.io import write_points

N_TRAIN, N_TEST = 8, 4


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """12 clouds of 48 points, flat ones and balls, 8 to train and 4 to test."""
    path = tmp_path_factory.mktemp("data") / "clouds.npz"
    rng = np.random.default_rng(0)
    points = rng.normal(size=(12, 48, 3))
    points[::2, :, 2] *= 0.05
    np.savez(
        path,
        points=points.astype(np.float32),
        label=np.arange(12) % 2,
        class_names=["flat one", "ball"],
        split=np.repeat([0, 1], [N_TRAIN, N_TEST]),
    )
    return str(path)


@pytest.fixture(scope="module")
def pretrained(data):
    path = data.replace("clouds.npz", "pretrained.npz")
    code = main(["pretrain", data, "-o", path, "--epochs", "1", "--n-points", "32", "--quiet"])
    assert code == 0
    return path


@pytest.fixture(scope="module")
def model(data, pretrained):
    path = data.replace("clouds.npz", "model.npz")
    line = ["train", data, "-o", path, "--pretrained", pretrained, "--epochs", "2"]
    assert main([*line, "--n-points", "32", "--batch-size", "4", "--quiet"]) == 0
    return path


def test_pretrain_saves_what_was_asked(pretrained):
    pretrainer = load(pretrained)

    assert pretrainer.n_epochs_ == 1
    assert pretrainer.n_points == 32
    assert len(pretrainer.transform(np.zeros((1, 8, 3)) + np.eye(8, 3))) == 1


def test_train_learns_names_and_measures_the_test_split(data, pretrained, tmp_path, capsys):
    line = ["train", data, "-o", str(tmp_path / "m.npz"), "--pretrained", pretrained]

    code = main([*line, "--epochs", "1", "--n-points", "32", "--labels-per-class", "2"])

    answer = capsys.readouterr()
    assert code == 0
    assert "Training on 4 clouds of 2 classes" in answer.err
    assert f"of {N_TEST} clouds; 95 % interval" in answer.out
    assert load(tmp_path / "m.npz").classes_.tolist() == ["ball", "flat one"]


def test_train_by_name_with_every_option(data, tmp_path, capsys):
    output = str(tmp_path / "m.npz")

    code = main(
        ["train", data, "-o", output, "--model", "pointnet_basic", "--epochs", "1"]
        + ["--n-points", "32", "--label-smoothing", "0.1", "--balanced", "--protocol", "linear"]
        + ["--augmentation", "rotate_z,jitter", "--learning-rate", "0.01", "--split", "test"]
    )

    classifier = load(output)
    assert code == 0
    assert classifier.augmentation == ("rotate_z", "jitter")
    assert classifier.class_weight == "balanced"
    assert classifier.protocol == "linear"
    assert "on 4 clouds" in capsys.readouterr().err


def test_progress_is_written_to_stderr_and_quiet_is_quiet(data, tmp_path, capsys):
    line = ["train", data, "-o", str(tmp_path / "m.npz"), "--model", "pointnet_basic"]

    main([*line, "--epochs", "2", "--n-points", "32"])
    loud = capsys.readouterr()
    main([*line, "--epochs", "2", "--n-points", "32", "--quiet"])
    quiet = capsys.readouterr()

    assert "Training: 2 epochs, done, loss" in loud.err
    assert quiet.err == ""
    assert quiet.out == loud.out


def test_predict_writes_one_line_a_cloud(data, model, tmp_path, capsys):
    path = tmp_path / "answers.csv"

    code = main(["predict", model, data, "-o", str(path), "--split", "test"])

    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert code == 0
    assert "Accuracy: " in capsys.readouterr().out
    assert [row["label"] for row in rows] == ["flat one", "ball"] * 2
    for row in rows:
        chances = {"ball": float(row["p_ball"]), "flat one": float(row["p_flat one"])}
        assert sum(chances.values()) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(chances, key=chances.get)


def test_predict_reads_a_single_cloud_without_label(model, tmp_path, capsys):
    write_points(tmp_path / "scan.ply", np.random.default_rng(1).normal(size=(40, 3)))

    code = main(["predict", model, str(tmp_path / "scan.ply")])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[0] == "cloud,predicted,p_ball,p_flat one"
    assert len(lines) == 2


def test_explain_writes_an_explanation_and_a_page(data, model, tmp_path, capsys):
    output, page = tmp_path / "why.npz", tmp_path / "why.html"

    code = main(
        ["explain", model, data, "-o", str(output), "--html", str(page)]
        + ["--n-regions", "4", "--clouds", "2"]
    )

    explanation = Explanation.load(output)
    assert code == 0
    assert explanation.n_clouds == 2 and explanation.n_regions == 4
    assert explanation.classes.tolist() == ["ball", "flat one"]
    assert sorted(explanation.labels) == [0, 1]
    assert page.read_text().count("<img src=\"data:image/png;base64,") == 3
    assert str(page) in capsys.readouterr().out


def test_info_describes_what_the_commands_wrote(data, pretrained, model, tmp_path, capsys):
    why = str(tmp_path / "why.npz")
    main(["explain", model, data, "-o", why, "--n-regions", "3", "--clouds", "1", "--quiet"])
    capsys.readouterr()

    for path, words in (
        (pretrained, ("ReConPretrainer", "1 of 1 epochs", "n_points=32")),
        (model, ("PointClassifier", "2 of 2 epochs", "ball, flat one")),
        (why, ("Explanation", "3, so 8 masked clouds")),
    ):
        assert main(["info", path]) == 0
        shown = capsys.readouterr().out
        assert all(word in shown for word in words), shown


def start_pretraining(data, output, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "pointinteract.cli", "pretrain", data, "-o", output]
        + ["--n-points", "32", "--epochs", "100000", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def wait_for(stream, words, *, seconds=120):
    """Read lines until one holds `words`; the lines read."""
    read, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        read.append(stream.readline())
        if words in read[-1]:
            return read
        if not read[-1]:
            break
    pytest.fail(f"never said {words!r}: {''.join(read)}")


def test_interrupt_leaves_a_usable_checkpoint(data, tmp_path):
    output = tmp_path / "stopped.npz"
    process = start_pretraining(data, str(output))

    wait_for(process.stderr, "/100000 epochs")
    process.send_signal(signal.SIGINT)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # a second press must not spoil the saving
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130, said
    assert f"is saved and can be used: {output}" in said
    assert "Traceback" not in said
    reached = load(output)
    assert 0 < reached.n_epochs_ < 100000
    assert np.isfinite(reached.transform(np.random.default_rng(0).normal(size=(2, 16, 3)))).all()
    assert [path.name for path in tmp_path.iterdir()] == ["stopped.npz"]
    line = ["train", data, "-o", str(tmp_path / "m.npz"), "--pretrained", str(output)]
    assert main([*line, "--epochs", "1", "--n-points", "32", "--quiet"]) == 0


def test_interrupt_before_the_first_epoch_saves_nothing(data, tmp_path, monkeypatch, capsys):
    from pointinteract import ReConPretrainer

    def interrupted(self, X, y=None, *, images=None, texts=None):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ReConPretrainer, "fit", interrupted)
    before = signal.getsignal(signal.SIGINT)

    code = main(["pretrain", data, "-o", str(tmp_path / "none.npz")])

    assert code == 130
    assert "nothing was saved" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_while_saving_waits(data, tmp_path, monkeypatch, capsys):
    from pointinteract import persistence

    save = persistence.save

    def save_slowly(estimator, path):
        signal.raise_signal(signal.SIGINT)
        return save(estimator, path)

    monkeypatch.setattr(persistence, "save", save_slowly)
    output = tmp_path / "m.npz"

    code = main(["pretrain", data, "-o", str(output), "--n-points", "32", "--epochs", "1"])

    assert code == 0
    assert load(output).n_epochs_ == 1


def test_training_clouds_and_the_rest():
    clouds = np.zeros((6, 4, 3), dtype=np.float32)
    labels = np.array(list("ababab"))
    whole = CloudSet(clouds, labels)
    split = CloudSet(clouds, labels, np.array(["train", "train", "train", "val", "test", "test"]))

    assert [len(part) if part else None for part in choose_training(whole, None)] == [6, None]
    assert [len(part) for part in choose_training(split, None)] == [3, 2]
    assert [len(part) for part in choose_training(split, "test")] == [2, 4]


def test_classes_of_one_name_stay_apart(tmp_path):
    path = tmp_path / "twins.npz"
    np.savez(path, points=np.ones((4, 5, 3)), label=[0, 1, 0, 1], class_names=["a", "a"])

    assert read_clouds(str(path), labeled=True).labels.tolist() == ["a (0)", "a (1)"] * 2


def test_draws_are_even_over_classes():
    labels = np.array(["a"] * 50 + ["b"] * 3 + ["c"] * 2)
    rng = np.random.default_rng(0)

    assert sorted(labels[draw_evenly(labels, 55, 6, rng)]) == list("aabbcc")
    assert sorted(labels[draw_per_class(labels, 3, rng)]) == list("aaabbbcc")
    assert len(draw_evenly(None, 5, 9, rng)) == 5


def test_accuracy_has_the_wilson_interval():
    accuracy = measure_accuracy(np.array(["a"] * 8 + ["b"] * 2), np.array(["a"] * 10))

    # By hand: centre (0.8 + z^2/20) / (1 + z^2/10), z = 1.96.
    assert (accuracy.n_right, accuracy.n, accuracy.value) == (8, 10, 0.8)
    assert accuracy.low == pytest.approx(0.4901, abs=1e-3)
    assert accuracy.high == pytest.approx(0.9433, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [("none", None), ("jitter", "jitter"), ("scale, drop", ("scale", "drop")), ("", None)],
)
def test_augmentation_as_typed(text, parsed):
    assert parse_augmentation(text) == parsed


def test_explain_knows_labels_that_are_numbers_in_the_model(tmp_path, capsys):
    points = np.random.default_rng(0).normal(size=(8, 32, 3)).astype("f4")
    y = np.arange(8) % 2
    np.savez(tmp_path / "numbers.npz", points=points, label=y)
    classifier = PointClassifier("pointnet_basic", max_epochs=1, random_state=0).fit(points, y)
    save(classifier, tmp_path / "numbers.model")

    code = main(["explain", str(tmp_path / "numbers.model"), str(tmp_path / "numbers.npz"),
                 "-o", str(tmp_path / "why.npz"), "--n-regions", "3", "--clouds", "2", "--quiet"])

    assert code == 0, capsys.readouterr().err
    assert sorted(Explanation.load(tmp_path / "why.npz").labels) == [0, 1]
