"""Name made shapes by words alone: cross-modal ReCon with the offline teachers.

    python benchmarks/zero_shot.py

Two questions to one pre-trained network, whose text query predicts text features from points:

* Classes: stools, sofas, shelves and vases are left out of pre-training altogether. What is
  known of them afterwards is words: captions of other objects of these classes, without the
  name of the class. The words in them (legs, seats, boards, a mouth) also stand in captions of
  chairs, beds, cabinets or bottles, and that is all that can help.
* Styles: clouds of the trained classes whose caption never occurred in training, such as the
  first round chair with a ladder back. Which of all such captions is theirs?

A cloud is given the words whose features are most like the predicted ones (cosine, after the
mean features of the training captions are taken off both). Each question is asked of networks
of several seeds, which also make other shapes; intervals are of all their answers together.
"""

import argparse
import math
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _runs import write_results  # noqa: E402

from pointinteract.datasets import SHAPE_CLASSES, make_shapes  # noqa: E402
from pointinteract.models.teachers import TextEncoder  # noqa: E402
from pointinteract.pretraining import ReConPretrainer  # noqa: E402

# One of each family of shapes; relatives of each stay in training. This set was chosen after
# seeing answers with seed 0, which is therefore not asked again; the larger one stands beside
# it, in which cabinets and vases tend to be called bowls.
HELD_OUT = ("stool", "sofa", "shelf", "vase")
SIX_HELD_OUT = (*HELD_OUT, "cabinet", "bowl")
N_DESCRIPTIONS = 64  # captions that describe a class
N_POINTS = 256
# About a minute on one core.
SMALL = {
    "n_points": N_POINTS,
    "n_groups": 16,
    "group_size": 16,
    "batch_size": 16,
    "stop_gradient": False,
    "augmentation": None,
}


@dataclass(frozen=True)
class ZeroShotResult:
    """Accuracy of naming clouds by words that did not stand beside them in training."""

    question: str
    n_choices: int
    n_right: int
    n_test: int
    untrained: float  # accuracy of the network before training

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.n_right / self.n_test

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy (Wilson)."""
        return wilson_interval(self.n_right, self.n_test)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.question}: {self.accuracy:.1%} [{low:.1%}, {high:.1%}] of {self.n_test} "
            f"clouds, {self.n_choices} choices, chance {1 / self.n_choices:.1%}, "
            f"before training {self.untrained:.1%}"
        )


def zero_shot_shapes(
    *,
    held_out: tuple[str, ...] = HELD_OUT,
    n_train: int = 1200,
    n_test: int = 400,
    n_styles: int = 3000,
    max_epochs: int = 9,
    random_state: int = 1,
    settings: dict[str, Any] | None = None,
) -> tuple[ZeroShotResult, ZeroShotResult, float]:
    """Pre-train once, ask for held-out classes and for held-out styles.

    Parameters
    ----------
    held_out : tuple of str
        Classes that are not trained on, among which to choose.
    n_train, n_test : int
        Clouds to train on, and of held-out classes.
    n_styles : int
        Clouds of the trained classes from which those of new styles are taken: about a tenth.
    max_epochs : int, default=9
    random_state : int, default=1
        Seed of the shapes and of the training.
    settings : dict, optional
        Further parameters of ReConPretrainer, instead of those of a minute.

    Returns
    -------
    classes, styles : ZeroShotResult
    seconds : float
        Of one core, for all of it.
    """
    started = time.process_time()
    seen = [name for name in SHAPE_CLASSES if name not in held_out]
    train = make_shapes(n_train, n_points=N_POINTS, classes=seen, random_state=random_state)
    others = make_shapes(
        n_test, n_points=N_POINTS, classes=held_out, random_state=1000 + random_state
    )
    same = make_shapes(n_styles, n_points=N_POINTS, classes=seen, random_state=2000 + random_state)
    new = ~np.isin(same.captions, train.captions)
    styles, style = np.unique(np.asarray(same.captions)[new], return_inverse=True)

    network = ReConPretrainer(
        image_teacher="depth_descriptor",
        text_teacher="hashed_ngrams",
        max_epochs=max_epochs,
        random_state=random_state,
        **(SMALL if settings is None else settings),
    ).fit(train.data, texts=train.captions)
    untrained = ReConPretrainer(**network.get_params() | {"max_epochs": 0}).fit(
        train.data, texts=train.captions
    )
    common = TextEncoder().encode(train.captions).mean(axis=0)
    results = []
    for question, X, truth, words in (
        ("held-out classes", others.data, others.target, _describe(held_out, 3000 + random_state)),
        ("held-out styles", same.data[new], style, TextEncoder().encode(list(styles))),
    ):
        right = [
            int((_answers(pre, X, words, common) == truth).sum()) for pre in (network, untrained)
        ]
        results.append(
            ZeroShotResult(question, len(words), right[0], len(truth), right[1] / len(truth))
        )
    return results[0], results[1], time.process_time() - started


def wilson_interval(n_right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    share = n_right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return middle - half, middle + half


def _describe(classes: tuple[str, ...], seed: int) -> np.ndarray:
    """Mean text features of captions of other objects, the name of the class taken out."""
    rows = []
    for name in classes:
        captions = make_shapes(
            N_DESCRIPTIONS, n_points=1, classes=[name], random_state=seed, normalize=False
        ).captions
        unnamed = [caption.replace(name, "object") for caption in captions]
        rows.append(TextEncoder().encode(unnamed).mean(axis=0))
    return np.stack(rows)


def _predict_words(pre: ReConPretrainer, X: np.ndarray) -> np.ndarray:
    """Text features that the text query predicts of clouds: (n_clouds, D)."""
    network = pre.module_.eval()
    rows = []
    with torch.inference_mode():
        for points in torch.from_numpy(pre._prepare(X)).split(64):
            tokens = network.encoder.forward_features(points.to(pre.device_))
            rows.append(network.text_projection(tokens[:, 2]).cpu())
    return torch.cat(rows).numpy()


def _answers(
    pre: ReConPretrainer, X: np.ndarray, words: np.ndarray, common: np.ndarray
) -> np.ndarray:
    """For each cloud the row of `words` (k, D) that is most like the predicted ones."""
    vectors = []
    for features in (_predict_words(pre, X) - common, words - common):
        vectors.append(features / np.linalg.norm(features, axis=1, keepdims=True))
    return (vectors[0] @ vectors[1].T).argmax(axis=1)


def join(results: list[ZeroShotResult]) -> ZeroShotResult:
    """All answers to one question together."""
    return ZeroShotResult(
        results[0].question,
        round(sum(r.n_choices for r in results) / len(results)),
        sum(r.n_right for r in results),
        sum(r.n_test for r in results),
        sum(r.untrained * r.n_test for r in results) / sum(r.n_test for r in results),
    )


def main() -> None:
    arguments = parse()
    asked: dict[str, list[ZeroShotResult]] = {}
    for seed in arguments.seeds:
        for name, held_out in (("four", HELD_OUT), ("six", SIX_HELD_OUT)):
            classes, styles, seconds = zero_shot_shapes(held_out=held_out, random_state=seed)
            asked.setdefault(f"{name} held-out classes", []).append(classes)
            if name == "four":
                asked.setdefault("held-out styles", []).append(styles)
            print(f"seed {seed}, {name} left out, {seconds:.0f} s: {classes}", flush=True)
    rows = ["| question | accuracy | 95 % interval | per seed | clouds | choices | chance | "
            "before training |", "| --- " * 8 + "|"]  # fmt: skip
    for question, results in asked.items():
        whole = join(results)
        low, high = whole.interval
        rows.append(
            f"| {question} | {whole.accuracy:.1%} | {low:.1%} to {high:.1%} | "
            f"{', '.join(f'{r.accuracy:.1%}' for r in results)} | {whole.n_test} | "
            f"{whole.n_choices} | {1 / whole.n_choices:.1%} | {whole.untrained:.1%} |"
        )
    print("\n".join(rows))
    command = shlex.join(["python", "benchmarks/zero_shot.py", *sys.argv[1:]])
    text = "## Zero-shot: made shapes named by words\n\n" + f"```\n{command}\n```\n\n"
    text += f"{INTRODUCTION}\n\n" + "\n".join(rows)
    write_results(Path(arguments.results), "zero-shot", text)


INTRODUCTION = (
    "ReConPretrainer with depth pictures and captions as offline teachers (about a minute of one "
    "core each): which held-out class, or which caption that never occurred, do words predicted "
    "from points fit best? The four classes were chosen after seeing answers of another seed; the "
    "six were not. Intervals (Wilson) are of all answers together, as if clouds of one network "
    "were independent."
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--results", default=str(Path(__file__).parent / "RESULTS.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
