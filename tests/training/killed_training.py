"""Kill a training with SIGKILL at random points, resume it, and compare with a quiet one.

    python killed_training.py METHOD N_KILLS FOLDER

A process of its own, so that it can fork: torch has started no threads here when children are
made, and each of them begins without the seconds that importing takes.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from pointinteract import pretraining
from pointinteract.datasets import make_shapes

SETTINGS = {"batch_size": 4, "max_epochs": 12, "random_state": 0}
SMALL = {"n_groups": 6, "group_size": 6}


def make(method: str, checkpoint: Path | None):
    """An unfitted pretrainer, small enough to be trained ten times over."""
    if method == "recon":
        return pretraining.ReConPretrainer(
            **SMALL, **SETTINGS, self_contrast=True, image_teacher="depth_descriptor",
            checkpoint=checkpoint,
        )
    if method == "point_bert":
        return pretraining.PointBERTPretrainer(
            **SMALL, **SETTINGS, tokenizer_epochs=4, checkpoint=checkpoint
        )
    return pretraining.MoCoPretrainer("pointnet_basic", **SETTINGS, checkpoint=checkpoint)


def numbers(estimator) -> list[np.ndarray]:
    """Everything that training has left."""
    arrays = [value.numpy() for value in estimator.module_.state_dict().values()]
    history = estimator.history_.drop(columns="seconds").to_numpy()
    return [*arrays, history]


def fit_in_child(method: str, path: Path, clouds: np.ndarray, limit: float | None) -> bool:
    """Fit in another process; kill it after `limit` seconds. Whether it came to an end."""
    child = os.fork()
    if child == 0:
        make(method, path).fit(clouds)
        os._exit(0)
    if limit is not None:
        time.sleep(limit)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "the training failed"
    return True


def main(method: str, n_kills: int, folder: Path) -> None:
    """Kill, resume, compare."""
    torch.set_num_threads(1)
    clouds, _ = make_shapes(12, n_points=40, return_X_y=True, random_state=0)
    started = time.perf_counter()
    quiet = make(method, None).fit(clouds)
    seconds = time.perf_counter() - started

    generator = np.random.default_rng(0)
    path, kills, trainings = folder / "training.npz", 0, 0
    while kills < n_kills:
        # What is finished before it can be killed begins anew under another name.
        path = folder / f"training{trainings}.npz"
        limit = seconds * generator.uniform(0.05, 0.6)
        if fit_in_child(method, path, clouds, limit):
            trainings += 1
        else:
            kills += 1
    resumed = make(method, path).fit(clouds)
    for ours, theirs in zip(numbers(resumed), numbers(quiet), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not list(folder.glob(f".{path.name}.*")), "half a file was left"
    print(f"{kills} kills, equal to the last bit")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
