"""``pointinteract demo``: pre-train, classify with few labels, explain, and report."""

import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pointinteract.classification import PointClassifier
from pointinteract.cli._console import Console, epochs_shown
from pointinteract.cli._data import Accuracy, check_output, draw_evenly, measure_accuracy
from pointinteract.cli._demo_data import (
    FULL,
    QUICK,
    DemoData,
    DemoSettings,
    epochs_for,
    make_demo_data,
    read_demo_data,
)
from pointinteract.cli._report import write_report
from pointinteract.explanation import Explanation, InteractionExplainer
from pointinteract.models.teachers import DepthDescriptorTeacher
from pointinteract.pretraining import ReConPretrainer
from pointinteract.utils._optional import import_optional

N_STEPS = 6
N_REBUILT = 3


@dataclass
class DemoResult:
    """All that the report says, measured.

    Attributes
    ----------
    accuracies : dict of str to Accuracy
        On the test clouds; ``"frozen"`` and ``"random"`` are linear rules on features of the
        pre-trained and of an untrained network that see all labels, with ``"_few"`` only the
        few; ``"fine_tuned"`` and ``"scratch"`` are networks trained with the few.
    answers : dict of str to array of str
        What each of them answers.
    rebuilt : Bunch, or None before that step
        Of ``ReConPretrainer.reconstruct``, on test clouds.
    explained : array of int
        Rows of the test clouds that were explained.
    explanations : dict of str to Explanation
        ``"fine_tuned"`` and ``"scratch"``, of the true class.
    wrong : Explanation or None
        Of one test cloud that the fine-tuned network gets wrong, for the class that it names.
    resampled : DataFrame
        Of ``NoiseControl.to_frame``.
    seconds : dict of str to float
        Wall time of each step; ``"cpu"`` is the processor time of all.
    """

    data: DemoData
    settings: DemoSettings
    seed: int
    command: str
    pretrainer: ReConPretrainer
    untrained: Any = None
    accuracies: dict[str, Accuracy] = field(default_factory=dict)
    answers: dict[str, np.ndarray] = field(default_factory=dict)
    classifiers: dict[str, PointClassifier] = field(default_factory=dict)
    rebuilt: Any = None
    explained: Any = None
    explanations: dict[str, Explanation] = field(default_factory=dict)
    wrong: Explanation | None = None
    wrong_row: int | None = None
    resampled: Any = None
    seconds: dict[str, float] = field(default_factory=dict)


def run_demo(args: Namespace, console: Console) -> int:
    """``pointinteract demo``."""
    # Before minutes of work, not after them.
    output = check_output(args.output)
    import_optional("matplotlib", extra="demo", purpose="the pictures of the report")
    settings = replace(QUICK if args.quick else FULL, up=args.up)
    result = measure_demo(args.data, settings, args.random_state, console)
    result.command = "pointinteract demo" + "".join(
        f" {option}"
        for option, given in (
            (f"--data {args.data}", args.data), ("--quick", args.quick),
            (f"--up {args.up}", args.up != "z"),
            (f"--random-state {args.random_state}", args.random_state != 0),
        )
        if given
    )
    with step(console, result, 6, "Writing the report"):
        write_report(output, result)
    summarize(result, console)
    console.say(f"Report: {output.resolve()}")
    return 0


def measure_demo(
    path: str | None, settings: DemoSettings, seed: int, console: Console
) -> DemoResult:
    """Do the work of the demo; every step adds to the result."""
    cpu = time.process_time()
    started = time.perf_counter()
    data = (
        make_demo_data(settings, seed) if path is None else read_demo_data(path, settings, seed)
    )
    result = DemoResult(data, settings, seed, "", make_pretrainer(data, settings, seed))
    result.seconds["data"] = time.perf_counter() - started
    console.note(
        f"{len(data.train)} training and {len(data.test)} test clouds of {len(data.classes)} "
        f"classes: {data.source}"
    )
    for note in data.notes:
        console.note(f"  {note}")
    for number, title, work in (
        (1, "Learning without labels", pretrain),
        (2, "A linear rule on frozen features", compare_features),
        (3, "Learning from few labels, pre-trained", fine_tune),
        (4, "Learning from few labels, from scratch", train_from_scratch),
        (5, "Explaining answers", explain),
    ):
        with step(console, result, number, title):
            work(result, console)
    result.seconds["cpu"] = time.process_time() - cpu
    return result


@contextmanager
def step(console: Console, result: DemoResult, number: int, title: str) -> Iterator[None]:
    """Announce a step and time it."""
    console.note(f"[{number}/{N_STEPS}] {title}")
    started = time.perf_counter()
    yield
    result.seconds[title] = time.perf_counter() - started


def make_pretrainer(data: DemoData, settings: DemoSettings, seed: int) -> ReConPretrainer:
    """ReCon of the smallest size, guided by depth pictures.

    The built-in shapes have captions too, which ReCon could learn from. They name the object,
    though, and would be labels under another name.
    """
    return ReConPretrainer(
        size="nano",
        n_points=settings.n_points,
        group_size=16,
        # Few components: fine differences of the pictures are not learned in so short a time.
        image_teacher=DepthDescriptorTeacher(64, up="y" if settings.up == "y" else "z"),
        # Within minutes the pictures teach more if they reach the whole network, and if they
        # are of the very cloud that the network sees.
        stop_gradient=False,
        augmentation=None,
        max_epochs=epochs_for(settings.pretrain_steps, len(data.train), settings.batch_size),
        batch_size=settings.batch_size,
        learning_rate=1e-3,
        random_state=seed,
    )


def pretrain(result: DemoResult, console: Console) -> None:
    """Learn from all training clouds, without labels, and rebuild test clouds."""
    data, pretrainer = result.data, result.pretrainer
    with epochs_shown(console, pretrainer, "  pre-training"):
        pretrainer.fit(data.train.clouds)
    rng = np.random.default_rng(result.seed)
    rows = draw_evenly(data.test.labels, len(data.test), N_REBUILT, rng)
    result.rebuilt = pretrainer.reconstruct(data.test.take(rows).clouds)
    result.rebuilt.labels = data.test.labels[rows]


def compare_features(result: DemoResult, console: Console) -> None:
    """Linear rules on features of the pre-trained and of an untrained network."""
    data = result.data
    untrained = clone(result.pretrainer).set_params(image_teacher=None, max_epochs=0)
    result.untrained = untrained.fit(data.train.clouds)
    for name, network in (("frozen", result.pretrainer), ("random", untrained)):
        features, unseen = (network.transform(part.clouds) for part in (data.train, data.test))
        for suffix, rows in (("", np.arange(len(data.train))), ("_few", data.few)):
            rule = make_pipeline(StandardScaler(), LinearSVC(C=0.01, max_iter=20_000))
            rule.fit(features[rows], data.train.labels[rows])
            keep(result, name + suffix, rule.predict(unseen))


def fine_tune(result: DemoResult, console: Console) -> None:
    """Train the pre-trained network with few labels: slowly, and its fresh head fast."""
    train_classifier(
        result, "fine_tuned", result.pretrainer, console, learning_rate=5e-4, head_factor=10.0
    )


def train_from_scratch(result: DemoResult, console: Console) -> None:
    """Train the same network from random weights with the same labels."""
    train_classifier(
        result, "scratch", result.untrained, console, learning_rate=1e-3, head_factor=1.0
    )


def train_classifier(
    result: DemoResult,
    name: str,
    start: BaseEstimator,
    console: Console,
    *,
    learning_rate: float,
    head_factor: float,
) -> None:
    settings = result.settings
    few = result.data.train.take(result.data.few)
    classifier = PointClassifier(
        pretrained=start,
        n_points=settings.n_points,
        max_epochs=epochs_for(settings.train_steps, len(few), settings.batch_size),
        batch_size=settings.batch_size,
        learning_rate=learning_rate,
        head_factor=head_factor,
        random_state=result.seed,
    )
    with epochs_shown(console, classifier, "  training"):
        classifier.fit(few.clouds, few.labels)
    result.classifiers[name] = classifier
    keep(result, name, classifier.predict(result.data.test.clouds))


def keep(result: DemoResult, name: str, answers: np.ndarray) -> None:
    result.answers[name] = np.asarray(answers).astype(str)
    result.accuracies[name] = measure_accuracy(answers, result.data.test.labels)


def explain(result: DemoResult, console: Console) -> None:
    """Interactions of both networks on the same clouds, and how much of them is chance."""
    test, settings = result.data.test, result.settings
    rng = np.random.default_rng(result.seed + 1)
    rows = result.explained = draw_evenly(test.labels, len(test), settings.n_explained, rng)
    wrong_rows = np.flatnonzero(result.answers["fine_tuned"] != test.labels)
    n_clouds = 2 * len(rows) + min(1, len(wrong_rows)) + 2 * settings.n_resampled
    n_each = 2**settings.n_regions
    fine_tuned = result.classifiers["fine_tuned"]
    with console.bar("  explaining", n_clouds * n_each, "masked clouds") as bar:
        ask = Asker(settings.n_regions, bar.update)
        chosen = test.take(rows)
        for name, classifier in result.classifiers.items():
            explanation = ask.explainer().explain(classifier, chosen.clouds, chosen.labels)
            result.explanations[name] = name_parts(result, explanation, rows)
        if len(wrong_rows):
            result.wrong_row = int(wrong_rows[rng.integers(len(wrong_rows))])
            row = np.array([result.wrong_row])
            one = test.take(row)
            wrong = ask.explainer("predicted").explain(fine_tuned, one.clouds, one.labels)
            result.wrong = name_parts(result, wrong, row)
        part = chosen.take(np.arange(min(settings.n_resampled, len(chosen))))
        control = ask.explainer().noise_control(fine_tuned, part.clouds, part.labels)
        # The last order has one effect a cloud: nothing to correlate.
        result.resampled = control.to_frame().iloc[:-1]


class Asker:
    """Makes explainers that all move one bar."""

    def __init__(self, n_regions: int, update: Callable[[int], None]) -> None:
        self.n_regions, self.update = n_regions, update
        self.before = self.last = 0

    def explainer(self, target: str = "auto") -> InteractionExplainer:
        return InteractionExplainer(
            self.n_regions, target=target, progress=self._move, random_state=0
        )

    def _move(self, done: int, total: int) -> None:
        if done <= self.last:  # the next explanation counts from nothing again
            self.before += self.last
        self.last = done
        self.update(self.before + done)


def name_parts(result: DemoResult, explanation: Explanation, rows: np.ndarray) -> Explanation:
    """Name regions by the parts they lie on, where these are known point by point."""
    parts = result.data.parts
    if parts is None or any(len(ids) != parts.shape[1] for ids in explanation.regions):
        return explanation
    return explanation.name_regions(parts[rows], result.data.part_names)


def summarize(result: DemoResult, console: Console) -> None:
    """The numbers of the report, for those who do not open it."""
    n_few = len(result.data.few)
    for name, text in (
        ("fine_tuned", f"pre-trained, then {n_few} labels"),
        ("scratch", f"from scratch, {n_few} labels"),
        ("frozen_few", f"linear rule on frozen features, {n_few} labels"),
        ("frozen", "linear rule on frozen features, all labels"),
        ("random", "the same on an untrained network"),
    ):
        console.say(f"{text:<46} {result.accuracies[name]}")
