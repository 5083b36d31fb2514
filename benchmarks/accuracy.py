"""Every network on real ModelNet10, under one equal budget.

    python benchmarks/accuracy.py --data ../shared/data/modelnet10.npz --models all

Official split; accuracy of the last epoch; nothing is chosen on the test clouds. ``--budget
small`` (the default) is for two cores: 512 points a cloud, the recipe "strong" for all networks,
and the same time of one core for each network and seed (``--budget-minutes``): a first pass over
all networks measures how long a cloud takes, and the number of epochs follows, up to
``--max-epochs``. The time is that of the process itself, so what else runs does not count.
``--budget full`` is for a GPU: 1024 points, the recipe of each network's paper pressed into as
many epochs as fit, three seeds, half an hour for all.

Every finished run is a JSON file in the store. Run the command again to go on from there. The
store also keeps how many epochs were chosen, so that the same seeds give the same numbers; delete
its plan_*.json to measure anew.
"""

import argparse
import hashlib
import json
import os
import shlex
import statistics
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _runs import Clock, own_seconds, read_json, run_all, write_json, write_results  # noqa: E402
from sklearn.metrics import balanced_accuracy_score  # noqa: E402

from pointinteract import PointClassifier, create_model, list_models  # noqa: E402
from pointinteract.classification import get_recipe  # noqa: E402
from pointinteract.datasets import load_cloud_dataset  # noqa: E402

# Larger sizes of one architecture, which a budget for two cores says nothing about.
LEFT_OUT = ("point_gpt", "point_m2ae", "recon_base", "recon_small", "recon_tiny")
# Networks of which no paper tells how to train them from random weights.
STRONG_ONLY = ("pcn", "recon_*")
# Steps of each of the three timings (on a GPU ten times as many), and the share of the budget
# that is planned: timings are noisy.
STEPS_TIMED, PLANNED = 1, 0.85
# Where fewer steps than these fit, batches get smaller: one epoch of 640 clouds brought DGCNN to
# 18 % in batches of 32, 51 % in batches of 16, 68 % in batches of 8 (training clouds held back).
FEW_STEPS, SMALLEST_BATCH = 500, 8


@dataclass(frozen=True)
class Settings:
    """What is the same for all networks; part of the store's name by way of a digest."""

    data: str
    n_points: int = 512
    recipe: str = "strong"
    minutes: float = 10.0
    device: str = "cpu"
    n_train: int | None = None
    n_test: int | None = None
    max_epochs: int | None = None


@dataclass(frozen=True)
class Plan:
    """How much a network trains: the same for all seeds."""

    epochs: int
    clouds: int
    batch_size: int
    milliseconds: float


class Data:
    """Training and test clouds of the official split."""

    def __init__(self, path: str, settings: Settings) -> None:
        clouds = load_cloud_dataset(path)
        # The order of points within each object is random, so the first ones are a sample.
        points = np.ascontiguousarray(clouds.data[:, : settings.n_points])
        rng = np.random.default_rng(0)
        train, test = (
            np.sort(rng.permutation(np.flatnonzero(clouds.split == part))[:number])
            for part, number in (("train", settings.n_train), ("test", settings.n_test))
        )
        self.X, self.y = points[train], clouds.target[train]
        self.X_test, self.y_test = points[test], clouds.target[test]

    def subset(self, n_clouds: int, seed: int) -> np.ndarray:
        """Rows of so many training clouds, each class with its share."""
        order = np.random.default_rng(1000 + seed).permutation(len(self.y))
        order = order[np.argsort(self.y[order], kind="stable")]
        # Evenly spread over the clouds sorted by class.
        return order[np.linspace(0, len(order) - 1, n_clouds).round().astype(int)]


def recipe_of(model: str, settings: Settings) -> str:
    known = not any(model.startswith(name.rstrip("*")) for name in STRONG_ONLY)
    return settings.recipe if known else "strong"


def make_classifier(model: str, settings: Settings, seed: int, **changed) -> PointClassifier:
    # All read the same clouds, whatever their paper took.
    recipe = replace(get_recipe(model, recipe_of(model, settings)), n_points=settings.n_points)
    return PointClassifier(
        model, recipe=recipe, device=settings.device, random_state=seed, **changed
    )


def make_plan(model: str, path: str, settings: Settings, store: str) -> str:
    """Measure how long a training step takes, and choose the epochs that fit."""
    torch.set_num_threads(1)
    data = Data(path, settings)
    clf = make_classifier(model, settings, 0, max_epochs=1)
    n_steps = STEPS_TIMED * (10 if settings.device == "cuda" else 1)
    rows = data.subset(min(n_steps * clf.recipe.batch_size, len(data.y)), 0)
    seconds = []
    for _ in range(3):
        started = own_seconds(settings.device)
        clf.partial_fit(data.X[rows], data.y[rows], classes=np.unique(data.y))
        seconds.append((own_seconds(settings.device) - started) / len(rows))
    each = min(seconds[1:])  # the first holds what is done once
    passes = PLANNED * settings.minutes * 60 / each
    longest = settings.max_epochs or clf.recipe.max_epochs
    epochs = int(min(max(passes // len(data.y), 1), longest))
    clouds = int(min(len(data.y), max(passes, 4 * SMALLEST_BATCH)))
    batch_size = min(clf.recipe.batch_size, max(epochs * clouds // FEW_STEPS, SMALLEST_BATCH))
    plan = Plan(epochs, clouds, batch_size, 1000 * each)
    write_json(Path(store) / f"plan_{model}.json", asdict(plan))
    return f"{model:16s} {plan.milliseconds:8.1f} ms a cloud: {epochs} epochs of {clouds} clouds"


def run_job(model: str, seed: int, path: str, settings: Settings, store: str) -> str:
    """Train one network with one seed and write what came of it."""
    torch.set_num_threads(1)
    data = Data(path, settings)
    plan = Plan(**read_json(Path(store) / f"plan_{model}.json"))
    rows = np.arange(len(data.y))
    if plan.clouds < len(data.y):
        rows = data.subset(plan.clouds, seed)
    clf = make_classifier(model, settings, seed, max_epochs=plan.epochs)
    clf.set_params(recipe__batch_size=plan.batch_size)
    started = own_seconds(settings.device)
    clf.fit(data.X[rows], data.y[rows])
    seconds = own_seconds(settings.device) - started
    answers = clf.predict(data.X_test)
    record = {
        "model": model,
        "seed": seed,
        "accuracy": float(np.mean(answers == data.y_test)),
        "class_accuracy": float(balanced_accuracy_score(data.y_test, answers)),
        "seconds": seconds,
        "testing_seconds": own_seconds(settings.device) - started - seconds,
        "epochs": clf.n_epochs_,
        "clouds": len(rows),
        "batch_size": clf.recipe_.batch_size,
        "recipe": recipe_of(model, settings),
        "final_loss": float(clf.history_["loss"].iloc[-1]),
        "parameters": sum(weights.numel() for weights in clf.module_.parameters()),
        "torch": str(torch.__version__),
    }
    write_json(Path(store) / f"{model}_{seed}.json", record)
    return f"{model:16s} seed {seed}: {record['accuracy']:.2%} in {seconds:.0f} s"


def describe(settings: Settings, data: Data) -> str:
    points = f"{settings.n_points} points a cloud, {len(data.y)} training and "
    points += f"{len(data.y_test)} test clouds (official split)"
    epochs = f" and {settings.max_epochs} epochs" if settings.max_epochs else ""
    return (
        f"{settings.data}: {points}; at most {settings.minutes:.3g} minutes of training on "
        f"one core{epochs}, for each network and seed, {PLANNED:.0%} planned; where "
        f"not even one epoch fits, a part of the clouds, each class with its share; batches "
        f"smaller than the recipe's, down to {SMALLEST_BATCH}, where fewer than {FEW_STEPS} "
        f"steps fit. "
        f"Accuracy: overall, last epoch, nothing chosen on test clouds; sd over seeds "
        f"(n - 1). Device {settings.device}, torch {torch.__version__}."
    )


def make_table(store: Path, models: list[str], n_seeds: int) -> str:
    """Mean and spread of the networks that have a record, best first."""
    rows = []
    for model in models:
        records = [
            read_json(file)
            for seed in range(n_seeds)
            if (file := store / f"{model}_{seed}.json").is_file()
        ]
        if records:
            rows.append((statistics.mean(r["accuracy"] for r in records), model, records))
    lines = [
        "| network | recipe | accuracy | sd | per seed | class mean | epochs | clouds | batch | "
        "seconds | parameters |",
        "| --- " * 11 + "|",
    ]
    for mean, model, records in sorted(rows, reverse=True):
        values = [r["accuracy"] for r in records]
        spread = f"{100 * statistics.stdev(values):.2f}" if len(values) > 1 else "-"
        first = records[0]
        lines.append(
            f"| {model} | {first['recipe']} | {100 * mean:.2f} | {spread} | "
            f"{' '.join(f'{100 * value:.1f}' for value in values)} | "
            f"{100 * statistics.mean(r['class_accuracy'] for r in records):.2f} | "
            f"{first['epochs']} | {first['clouds']} | {first['batch_size']} | "
            f"{statistics.mean(r['seconds'] for r in records):.0f} | {first['parameters']:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    arguments = parse()
    settings = choose_settings(arguments)
    digest = hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:10]
    store = Path(arguments.store) / digest
    store.mkdir(parents=True, exist_ok=True)
    data, clock = Data(arguments.data, settings), Clock(arguments.time_limit)
    head = describe(settings, data)
    print(head, f"Store {store}.", sep="\n", flush=True)
    common = (arguments.data, settings, str(store))
    plans = [(m, *common) for m in arguments.models if not (store / f"plan_{m}.json").is_file()]
    run_all(plans, make_plan, clock, n_processes=arguments.jobs, foreseen=0.0)
    jobs = [
        (model, seed, *common)
        for seed in range(arguments.seeds)  # a first table of all networks as soon as may be
        for model in arguments.models
        if (store / f"plan_{model}.json").is_file()
        and not (store / f"{model}_{seed}.json").is_file()
    ]
    run_all(jobs, run_job, clock, n_processes=arguments.jobs, foreseen=settings.minutes)
    table = make_table(store, arguments.models, arguments.seeds)
    command = shlex.join(["python", "benchmarks/accuracy.py", *sys.argv[1:]])
    title = f"## Accuracy: every network on ModelNet10, budget {arguments.budget}"
    print(table)
    if not arguments.quick and any(store.glob("*_[0-9]*.json")):
        text = f"{title}\n\n```\n{command}\n```\n\n{head}\n\n{table}"
        write_results(Path(arguments.results), f"accuracy {digest}", text)
        print(f"\nwritten to {arguments.results}")


def choose_settings(arguments: argparse.Namespace) -> Settings:
    settings = Settings(
        Path(arguments.data).name,
        minutes=arguments.budget_minutes,
        max_epochs=arguments.max_epochs,
    )
    if arguments.budget == "full":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        settings = replace(settings, n_points=1024, recipe="paper", device=device)
    if arguments.quick:
        settings = replace(settings, n_points=128, n_train=64, n_test=32, max_epochs=1)
    return settings


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="labelled npz with an official split")
    parser.add_argument("--models", default="all", help="names with commas between, or all")
    parser.add_argument("--budget", choices=("small", "full"), default="small")
    parser.add_argument("--budget-minutes", type=float, default=None,
                        help="of each network and seed; small 10, full 30 for all")  # fmt: skip
    parser.add_argument("--max-epochs", type=int, default=None,
                        help="of any network: fast ones need not fill the minutes")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=None, help="small 1, full 3")
    parser.add_argument("--jobs", type=int, default=None,
                        help="processes, of one thread each; small 2, full 1")  # fmt: skip
    parser.add_argument("--time-limit", type=float, default=float("inf"),
                        help="minutes; nothing begins that would not end by then")  # fmt: skip
    parser.add_argument("--store", default="accuracy_store", help="folder of finished runs")
    parser.add_argument("--results", default=str(Path(__file__).parent / "RESULTS.md"))
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    arguments = parser.parse_args()
    known = list_models()
    if arguments.models == "all":
        arguments.models = [name for name in known if name not in LEFT_OUT]
    else:
        arguments.models = arguments.models.split(",")
        for name in arguments.models:
            if name not in known:
                create_model(name)  # says which names there are
    full = arguments.budget == "full"
    if arguments.seeds is None:
        arguments.seeds = 3 if full else 1
    if arguments.jobs is None:
        arguments.jobs = 1 if full else 2
    if arguments.budget_minutes is None:
        n_runs = len(arguments.models) * arguments.seeds
        arguments.budget_minutes = round(30 / n_runs, 3) if full else 10.0
    return arguments


if __name__ == "__main__":
    main()
