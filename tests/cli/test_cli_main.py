"""Help, exit codes and the one line that a failure says."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest

import pointinteract
from pointinteract import PointClassifier, save
from pointinteract.classification import Recipe
from pointinteract.cli import main
from pointinteract.cli._console import Bar, Console, EpochReporter, epochs_shown

COMMANDS = ("demo", "pretrain", "train", "predict", "explain", "info")


@pytest.fixture
def write_clouds(tmp_path):
    """Write an npz with 8 clouds of 16 points in two classes; keywords replace arrays."""

    def write(name="clouds.npz", **arrays):
        points = np.random.default_rng(0).normal(size=(8, 16, 3)).astype(np.float32)
        kept = {"points": points, "label": np.arange(8) % 2} | arrays
        np.savez(tmp_path / name, **{key: a for key, a in kept.items() if a is not None})
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_with_an_example(command, capsys):
    code = main([command, "--help"])

    shown = capsys.readouterr().out
    assert code == 0
    assert "examples:" in shown
    assert f"pointinteract {command}" in shown.split("examples:")[1]


@pytest.mark.parametrize("command", ["pretrain", "train", "demo"])
def test_help_states_defaults_but_not_empty_ones(command, capsys):
    main([command, "--help"])

    shown = capsys.readouterr().out
    assert "(default: 0)" in " ".join(shown.split())
    assert "(default: None)" not in shown
    assert "(default: False)" not in shown


def test_top_help_lists_every_command(capsys):
    assert main(["--help"]) == 0

    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert pointinteract.__version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", [[], ["explode"], ["train", "x.npz"], ["train", "x.npz", "-o", "y", "--epochs", "0"]]
)
def test_unreadable_command_line_is_code_2(line, capsys):
    assert main(line) == 2
    assert "usage: pointinteract" in capsys.readouterr().err


def test_help_does_not_wait_for_torch():
    script = (
        "import json, sys; from pointinteract.cli import main; main(['--help']);"
        "print(json.dumps(sorted(sys.modules)))"
    )

    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )

    assert not {"torch", "sklearn", "matplotlib"} & set(json.loads(answer.stdout.splitlines()[-1]))


def failure(capsys, *line):
    """Run a line that must fail with code 1; returns what it said, which must be one line."""
    code = main([str(word) for word in line])
    said = capsys.readouterr().err
    assert code == 1, said
    errors = [text for text in said.splitlines() if text.startswith("pointinteract: ")]
    assert len(errors) == 1
    assert "Traceback" not in said
    return errors[0]


def test_missing_data_file(tmp_path, capsys):
    said = failure(capsys, "train", "nowhere.npz", "-o", tmp_path / "model.npz")

    assert "nowhere.npz does not exist" in said


def test_missing_output_folder_is_found_before_training(write_clouds, tmp_path, capsys):
    said = failure(capsys, "train", write_clouds(), "-o", tmp_path / "no" / "model.npz")

    assert "does not exist" in said and str(tmp_path / "no") in said


def test_output_that_is_a_folder(write_clouds, tmp_path, capsys):
    assert "is a folder" in failure(capsys, "pretrain", write_clouds(), "-o", tmp_path)


def test_one_class(write_clouds, tmp_path, capsys):
    data = write_clouds(label=np.zeros(8, dtype=int))

    assert "2 classes" in failure(capsys, "train", data, "-o", tmp_path / "model.npz")
    assert "2 classes" in failure(capsys, "demo", "--data", data, "-o", tmp_path / "r.html")


def test_damaged_data(tmp_path, capsys):
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\x03\x04 and then nothing")

    assert "broken.npz" in failure(capsys, "train", broken, "-o", tmp_path / "m.npz")
    assert "broken.npz" in failure(capsys, "pretrain", broken, "-o", tmp_path / "m.npz")


def test_data_without_labels(write_clouds, tmp_path, capsys):
    said = failure(capsys, "train", write_clouds(label=None), "-o", tmp_path / "model.npz")

    assert "without labels" in said


def test_points_that_are_not_finite(write_clouds, tmp_path, capsys):
    data = write_clouds(points=np.full((8, 16, 3), np.nan, dtype=np.float32))

    assert "NaN" in failure(capsys, "train", data, "-o", tmp_path / "model.npz")


def test_unknown_split_lists_the_known(write_clouds, tmp_path, capsys):
    data = write_clouds(split=np.arange(8) // 4)

    said = failure(capsys, "train", data, "-o", tmp_path / "m.npz", "--split", "validation")

    assert "test, train" in said


@pytest.mark.parametrize(
    ("option", "value"),
    [("--model", "resnet"), ("--augmentation", "shear"), ("--device", "toaster")],
)
def test_wrong_options_say_what_would_be_right(write_clouds, tmp_path, capsys, option, value):
    said = failure(
        capsys, "train", write_clouds(), "-o", tmp_path / "m.npz", option, value, "--epochs", 1
    )

    assert value in said


def test_model_file_that_is_none(write_clouds, tmp_path, capsys):
    said = failure(capsys, "predict", write_clouds("model.npz"), write_clouds())

    assert "not a file saved by pointinteract" in said


def test_pretrainer_is_not_a_classifier(write_clouds, tmp_path, capsys):
    from pointinteract import ReConPretrainer

    save(ReConPretrainer(), tmp_path / "pre.npz")

    said = failure(capsys, "predict", tmp_path / "pre.npz", write_clouds())

    assert "holds a ReConPretrainer" in said and "--pretrained" in said


def test_debug_shows_where(tmp_path, capsys):
    code = main(["train", "nowhere.npz", "-o", str(tmp_path / "m.npz"), "--debug"])

    said = capsys.readouterr().err
    assert code == 1
    assert "Traceback" in said


def test_fault_of_ours_is_told_apart(monkeypatch, tmp_path, capsys):
    from pointinteract.cli import _main

    def fail(args, console):
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr(_main, "run_command", fail)

    code = main(["info"])

    said = capsys.readouterr().err
    assert code == 70
    assert "unexpected ZeroDivisionError: 1/0" in said and "--debug" in said


def test_info_names_versions_models_and_systems(capsys):
    assert main(["info"]) == 0

    shown = capsys.readouterr().out
    assert pointinteract.__version__ in shown
    assert all(name in shown for name in ("torch", "recon_nano", "dgcnn", "official", "device"))


def test_info_describes_data(write_clouds, capsys):
    data = write_clouds(class_names=["flat", "ball"], split=np.arange(8) // 4)

    assert main(["info", data]) == 0

    shown = capsys.readouterr().out
    assert "8 clouds" in shown and "16" in shown
    assert "flat (4), ball (4)" in shown or "ball (4), flat (4)" in shown
    assert "test (4), train (4)" in shown


@pytest.mark.parametrize(("recipe", "n_epochs"), [(None, 3), (Recipe(max_epochs=2), 2)])
def test_epochs_are_those_of_the_recipe(tmp_path, capsys, recipe, n_epochs):
    clouds = np.random.default_rng(0).normal(size=(8, 16, 3))
    # Left as it is by default, max_epochs is the recipe's; said otherwise, it wins.
    own = {} if recipe is not None else {"max_epochs": n_epochs}
    classifier = PointClassifier("pointnet_basic", recipe=recipe, random_state=0, **own)
    said = io.StringIO()
    with epochs_shown(Console(stderr=said), classifier, "Training"):
        classifier.fit(clouds, np.arange(8) % 2)
    save(classifier, tmp_path / "model.npz")

    assert main(["info", str(tmp_path / "model.npz")]) == 0

    assert f"{n_epochs} of {n_epochs} epochs" in capsys.readouterr().out
    assert f"{n_epochs} epochs, done" in said.getvalue()


def test_bar_goes_to_the_end_of_the_recipe():
    bar = Bar(50)
    reporter = EpochReporter(bar)
    classifier = PointClassifier("pointnet_basic", recipe="paper")
    reporter.setup(classifier, None)
    classifier.recipe_ = Recipe(max_epochs=7)  # as a fit settles it

    reporter.on_fit_task_begin(classifier, None)

    assert bar.total == 7


def test_info_about_nothing(capsys):
    assert "nowhere does not exist" in failure(capsys, "info", "nowhere")
