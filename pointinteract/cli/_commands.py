"""The commands pretrain, train, predict and explain: arguments in, estimators at work."""

import csv
import io
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pointinteract import persistence
from pointinteract.classification import PointClassifier
from pointinteract.cli._console import Console, epochs_shown
from pointinteract.cli._data import (
    TEST_NAME,
    CloudSet,
    check_output,
    choose_training,
    draw_evenly,
    draw_per_class,
    measure_accuracy,
    read_clouds,
)
from pointinteract.cli._interrupt import interrupts_guarded
from pointinteract.exceptions import CheckpointError
from pointinteract.explanation import InteractionExplainer
from pointinteract.pretraining import ReConPretrainer
from pointinteract.utils._archive import atomic_write

# What the estimators call what users type.
IMAGE_TEACHERS = {"none": None, "depth": "depth_descriptor"}
STOPPED = 130


def run_pretrain(args: Namespace, console: Console) -> int:
    """``pointinteract pretrain``."""
    output = check_output(args.output)
    data, _ = choose_training(read_clouds(args.data, labeled=False), args.split)
    pretrainer = ReConPretrainer(
        size=args.size,
        n_points=args.n_points,
        mask_ratio=args.mask_ratio,
        mask_type=args.mask_type,
        image_teacher=IMAGE_TEACHERS.get(args.image_teacher, args.image_teacher),
        self_contrast=args.self_contrast,
        max_epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        augmentation=parse_augmentation(args.augmentation),
        device=args.device,
        random_state=args.random_state,
    )
    console.note(f"Pre-training ReCon {args.size} on {len(data)} clouds, without labels.")
    code = fit_and_save(
        pretrainer, lambda: pretrainer.fit(data.clouds), output, console, "pre-training"
    )
    console.say(f"Use it: pointinteract train {args.data} --pretrained {output} -o model.npz")
    return code


def run_train(args: Namespace, console: Console) -> int:
    """``pointinteract train``."""
    output = check_output(args.output)
    data, rest = choose_training(read_clouds(args.data, labeled=True), args.split)
    if args.labels_per_class is not None:
        rng = np.random.default_rng(args.random_state)
        data = data.take(draw_per_class(data.labels, args.labels_per_class, rng))
    classifier = PointClassifier(
        args.model,
        pretrained=args.pretrained,
        protocol=args.protocol,
        n_points=args.n_points,
        max_epochs=args.epochs,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        augmentation=parse_augmentation(args.augmentation),
        label_smoothing=args.label_smoothing,
        class_weight="balanced" if args.balanced else None,
        early_stopping=args.early_stopping,
        device=args.device,
        random_state=args.random_state,
    )
    console.note(f"Training on {len(data)} clouds of {len(np.unique(data.labels))} classes.")
    code = fit_and_save(
        classifier, lambda: classifier.fit(data.clouds, data.labels), output, console, "training"
    )
    if code == 0 and rest is not None:
        accuracy = measure_accuracy(classifier.predict(rest.clouds), rest.labels)
        console.say(f"Accuracy on clouds not trained on: {accuracy}")
    return code


def fit_and_save(
    estimator: Any, fit: Callable[[], Any], output: Path, console: Console, what: str
) -> int:
    """Fit and save; after Ctrl-C save what was reached, if at least one epoch was."""
    with interrupts_guarded() as guard:
        stopped = False
        try:
            with epochs_shown(console, estimator, what.capitalize()):
                fit()
        except KeyboardInterrupt:
            stopped = True
            if getattr(estimator, "n_epochs_", 0) < 1:
                raise
        with guard.no_interrupts():
            persistence.save(estimator, output)
    n_epochs = f"{estimator.n_epochs_} epoch{'s' if estimator.n_epochs_ > 1 else ''}"
    if stopped:
        console.error(
            f"{what} stopped by Ctrl-C after {n_epochs} of {estimator.max_epochs}; what was "
            f"reached is saved and can be used: {output}"
        )
        return STOPPED
    console.say(f"Saved after {n_epochs}: {output}")
    return 0


def run_predict(args: Namespace, console: Console) -> int:
    """``pointinteract predict``."""
    to_screen = args.output == "-"
    if not to_screen:
        check_output(args.output)
    classifier = load_classifier(args.model)
    data = read_clouds(args.data, labeled=False)
    if args.split is not None:
        data = data.of_split(args.split)
    classifier.n_votes = args.votes
    probabilities = classifier.predict_proba(data.clouds)
    answers = classifier.classes_[probabilities.argmax(axis=1)]
    table = predictions_as_csv(classifier.classes_, answers, probabilities, data.labels)
    if to_screen:
        console.stdout.write(table)
        console.stdout.flush()
    else:
        with atomic_write(args.output) as temporary:
            temporary.write_text(table, encoding="utf-8", newline="")
    report = console.note if to_screen else console.say
    if data.labels is not None:
        report(f"Accuracy: {measure_accuracy(answers, data.labels)}")
        unknown = sorted(set(data.labels.tolist()) - set(map(str, classifier.classes_)))
        if unknown:
            console.note(f"note: the model has never seen the classes {', '.join(unknown)}.")
    if not to_screen:
        console.say(f"Saved {len(data)} predictions: {args.output}")
    return 0


def predictions_as_csv(
    classes: np.ndarray,
    answers: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray | None,
) -> str:
    """One line a cloud: number, class named, true class if known, and all probabilities."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    true_column = [] if labels is None else ["label"]
    writer.writerow(["cloud", "predicted", *true_column, *(f"p_{name}" for name in classes)])
    for number, (answer, row) in enumerate(zip(answers, probabilities, strict=True)):
        true = [] if labels is None else [labels[number]]
        writer.writerow([number, answer, *true, *(f"{p:.6f}" for p in row)])
    return text.getvalue()


def run_explain(args: Namespace, console: Console) -> int:
    """``pointinteract explain``."""
    output = check_output(args.output)
    page = None if args.html is None else check_output(args.html)
    classifier = load_classifier(args.model)
    data = choose_explained(read_clouds(args.data, labeled=False), classifier, args, console)
    n_coalitions = 2**args.n_regions
    console.note(f"Explaining {len(data)} clouds, {n_coalitions} masked clouds each.")
    with console.bar("Explaining", n_coalitions * len(data), "masked clouds") as bar:
        explainer = InteractionExplainer(
            args.n_regions,
            score=args.score,
            target=args.target,
            progress=lambda done, total: bar.update(done),
        )
        explanation = explainer.explain(classifier, data.clouds, known_labels(data, classifier))
    with atomic_write(output) as temporary:
        explanation.save(temporary)
    console.say(f"Saved the explanation of {len(data)} clouds: {output}")
    if page is not None:
        from pointinteract.cli._pages import write_explanation_page

        write_explanation_page(page, explanation, model=args.model, data=args.data, up=args.up)
        console.say(f"Open in a browser: {page.resolve()}")
    return 0


def known_labels(data: CloudSet, classifier: PointClassifier) -> list[Any] | None:
    """The labels of a file, which are text, as the model wrote them: numbers, perhaps."""
    if data.labels is None:
        return None
    places = {str(label): place for place, label in enumerate(classifier.classes_)}
    return [classifier.classes_[places[label]] for label in data.labels.tolist()]


def choose_explained(
    data: CloudSet, classifier: PointClassifier, args: Namespace, console: Console
) -> CloudSet:
    """Draw the clouds to explain; classes that the model does not know are left out."""
    names = set() if data.split is None else set(data.split.tolist())
    split = args.split or (TEST_NAME if TEST_NAME in names else None)
    if split is not None:
        data = data.of_split(split)
    if data.labels is not None:
        known = np.isin(data.labels, classifier.classes_.astype(str))
        if not known.any():
            raise ValueError(
                f"none of the classes in {args.data} is one that the model knows "
                f"({', '.join(map(str, classifier.classes_))})."
            )
        if not known.all():
            left_out = ", ".join(sorted(set(data.labels[~known].tolist())))
            console.note(f"note: left out, since the model does not know them: {left_out}.")
            data = data.take(np.flatnonzero(known))
    rng = np.random.default_rng(args.random_state)
    return data.take(draw_evenly(data.labels, len(data), args.clouds, rng))


def load_classifier(path: str) -> PointClassifier:
    """Read a trained classifier, or say what the file holds instead."""
    estimator = persistence.load(path)
    if not isinstance(estimator, PointClassifier):
        kind = type(estimator).__name__
        raise CheckpointError(
            f"{path} holds a {kind}, which names no clouds; train a classifier from it first: "
            f"pointinteract train DATA --pretrained {path} -o model.npz"
        )
    if not hasattr(estimator, "module_"):
        raise CheckpointError(f"{path} holds a classifier that was never trained.")
    return estimator


def parse_augmentation(text: str) -> str | tuple[str, ...] | None:
    """``none``, or names separated by commas; which exist, the estimators check."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if names in ((), ("none",)):
        return None
    return names[0] if len(names) == 1 else names
