"""Every pre-training method on real ModelNet10, under one equal budget.

    python benchmarks/pretraining.py --data ../shared/data/modelnet10.npz

All methods see the same training clouds (official split, without labels) for the same time of
one core: that of the process itself, which has one thread, so what else runs does not count. Then
their features are frozen, and a linear SVM is fitted to the labels of the training clouds, and to
5-way 10-shot episodes. The control of each method is the same network with its random weights,
asked in the same way; nothing is chosen on test clouds.

``--budget small`` (the default) is for two cores: 512 points and small networks, four minutes
of training a method and seed; the number of epochs that fit is measured first. ``--budget full``
is for a GPU: 1024 points, published sizes. Every finished run is a JSON file in the store, and a
run that was killed goes on from its last epoch; run the command again. The store also keeps how
many epochs were chosen, so that the same seeds give the same numbers.
"""

import argparse
import hashlib
import json
import os
import resource
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _runs import Clock, own_seconds, read_json, run_all, write_json, write_results  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

from pointinteract import pretraining as pre  # noqa: E402
from pointinteract.datasets import load_cloud_dataset  # noqa: E402

# Of standardised features, for all methods alike; the papers' are of the same order.
SVM_C = 0.01
# Share of the budget that is planned: timings are noisy.
PLANNED = 0.85
TIMED_STEPS = 4
WARMUP = 0.1  # share of the epochs with a rising rate; they are few, or many with few clouds


@dataclass(frozen=True)
class Method:
    """How to make a pretrainer; `kind` says which sizes it takes."""

    make: Callable[..., Any]
    kind: str  # "patches" (size=...) or "backbone"
    published: str | None = None  # its name in the tables
    first_stage: str | None = None  # parameter that says the epochs of what is fitted before


def _recon(**sizes: Any) -> Any:
    # Without stopping gradients, which serves short trainings better (see its docstring).
    return pre.ReConPretrainer(image_teacher="depth_descriptor", stop_gradient=False, **sizes)


METHODS: dict[str, Method] = {
    "recon": Method(_recon, "patches", "ReCon"),
    "recon_self_contrast": Method(
        lambda **s: pre.ReConPretrainer(self_contrast=True, **s), "patches"
    ),
    "point_mae": Method(lambda **s: pre.PointMAEPretrainer(**s), "patches", "Point-MAE"),
    "point_bert": Method(lambda **s: pre.PointBERTPretrainer(**s), "patches", "Point-BERT",
                         "tokenizer_epochs"),
    "maskpoint": Method(lambda **s: pre.MaskPointPretrainer(**s), "patches", "MaskPoint"),
    "point_m2ae": Method(lambda **s: pre.PointM2AEPretrainer(**s), "patches", "Point-M2AE"),
    "i2p_mae": Method(lambda **s: pre.I2PMAEPretrainer(**s), "patches", "I2P-MAE"),
    "act": Method(lambda **s: pre.ACTPretrainer(**s), "patches", "ACT", "autoencoder_epochs"),
    "point_gpt": Method(lambda **s: pre.PointGPTPretrainer(**s), "patches", "PointGPT"),
    "occo": Method(lambda **s: pre.OcCoPretrainer(**s), "backbone", "OcCo"),
    "jigsaw": Method(lambda **s: pre.JigsawPretrainer(**s), "backbone", "Jigsaw"),
    "iae": Method(lambda **s: pre.IAEPretrainer(**s), "backbone", "IAE"),
    "strl": Method(lambda **s: pre.STRLPretrainer(**s), "backbone", "STRL"),
    "crosspoint": Method(lambda **s: pre.CrossPointPretrainer(**s), "backbone", "CrossPoint"),
    "point_contrast": Method(lambda **s: pre.PointContrastPretrainer(**s), "backbone"),
    "simclr": Method(lambda **s: pre.SimCLRPretrainer(**s), "backbone"),
    "moco": Method(lambda **s: pre.MoCoPretrainer(**s), "backbone"),
    "byol": Method(lambda **s: pre.BYOLPretrainer(**s), "backbone"),
}


@dataclass(frozen=True)
class Settings:
    """What is the same for all methods; part of the store's name by way of a digest."""

    data: str
    n_points: int
    size: str
    backbone: str
    minutes: float
    device: str
    group_size: int | None = 16  # points of a patch, for methods of patches of one size
    batch_size: int = 16
    n_train: int | None = None
    n_test: int | None = None
    max_epochs: int = 300


class Data:
    """Training and test clouds of the official split, and the rows of few-shot episodes."""

    def __init__(self, path: str, settings: Settings) -> None:
        clouds = load_cloud_dataset(path)
        # The order of points within each object is random, so the first ones are a sample.
        self.X, self.y = clouds.data[:, : settings.n_points], clouds.target
        rng = np.random.default_rng(0)
        self.train, self.test = (
            np.sort(rng.permutation(np.flatnonzero(clouds.split == part))[:number])
            for part, number in (("train", settings.n_train), ("test", settings.n_test))
        )
        episodes = Path(path).with_name("modelnet10_fewshot.json")
        self.episodes = []
        if episodes.is_file():
            self.episodes = [
                each
                for each in json.loads(episodes.read_text(encoding="utf-8"))["episodes"]
                if (each["way"], each["shot"]) == (5, 10)
            ]

    def clouds(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.X[rows])


def make(name: str, settings: Settings, seed: int, epochs: int, **more: Any) -> Any:
    """An unfitted pretrainer; what has two stages trains both for `epochs`."""
    method = METHODS[name]
    sizes: dict[str, Any] = {"n_points": settings.n_points, "device": settings.device,
                             "random_state": seed, "max_epochs": epochs,
                             "batch_size": settings.batch_size,
                             "warmup_epochs": WARMUP * epochs}  # fmt: skip
    if method.kind == "patches":
        # What trials with ReCon, four epochs, said on training clouds held back: clouds as they
        # are gained seven points over random scales and places, batches of 16 three over 32.
        sizes |= {"size": settings.size, "augmentation": None}
        if settings.group_size and name not in ("point_m2ae", "i2p_mae"):  # of three sizes
            sizes["group_size"] = settings.group_size
    else:
        sizes["backbone"] = settings.backbone
    if method.first_stage:
        sizes[method.first_stage] = epochs
    return method.make(**sizes, **more)


def make_plan(name: str, path: str, settings: Settings, store: str) -> str:
    """Measure how long an epoch takes, whatever belongs to it, and choose how many fit."""
    torch.set_num_threads(1)
    data = Data(path, settings)
    batch_size = make(name, settings, 0, 1).batch_size
    n_timed = min(TIMED_STEPS * batch_size, len(data.train) // 2)
    few, many = (data.clouds(data.train[: n * n_timed]) for n in (1, 2))
    seconds = []
    for clouds in (few, few, many):  # the first does once what is done once
        started = own_seconds(settings.device)
        make(name, settings, 0, 1).fit(clouds)
        seconds.append(own_seconds(settings.device) - started)
    each = max(seconds[2] - seconds[1], 1e-3) / (len(many) - len(few))
    passes = PLANNED * settings.minutes * 60 / each
    epochs = int(min(max(passes // len(data.train), 1), settings.max_epochs))
    clouds_used = int(min(len(data.train), max(passes, batch_size)))
    write_json(
        Path(store) / f"plan_{name}.json",
        {"epochs": epochs, "clouds": clouds_used, "milliseconds": 1000 * each},
    )
    return f"{name:20s} {1000 * each:8.2f} ms a cloud: {epochs} epochs of {clouds_used} clouds"


def run_job(name: str, seed: int, path: str, settings: Settings, store: str) -> str:
    """Pre-train one method with one seed, ask its features, and write what came of it."""
    torch.set_num_threads(1)
    data = Data(path, settings)
    plan = read_json(Path(store) / f"plan_{name}.json")
    rows = np.random.default_rng(seed).permutation(data.train)[: plan["clouds"]]
    checkpoint = Path(store) / f"unfinished_{name}_{seed}.npz"
    estimator = make(name, settings, seed, plan["epochs"], checkpoint=checkpoint)
    resumed = any(Path(store).glob(f"{checkpoint.name}*"))
    started = own_seconds(settings.device)
    estimator.fit(data.clouds(rows))
    seconds = own_seconds(settings.device) - started
    if resumed:  # what was trained before a kill counts; the record has wall time
        seconds = float(estimator.history_["seconds"].sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if settings.device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    trained = judge(estimator, data)
    control = judge(make(name, settings, seed, 0).fit(data.clouds(rows)), data)
    history = estimator.history_
    record = {
        "method": name,
        "seed": seed,
        "trained": trained,
        "control": control,
        "seconds": seconds,
        "epochs": estimator.n_epochs_,
        "clouds": len(rows),
        "samples_per_second": len(rows) * len(history) / seconds,
        "peak_mib": peak,
        "first_loss": float(history["loss"].iloc[0]),
        "last_loss": float(history["loss"].iloc[-1]),
        "parameters": sum(weights.numel() for weights in estimator.module_.parameters()),
        "torch": str(torch.__version__),
    }
    write_json(Path(store) / f"{name}_{seed}.json", record)
    for file in Path(store).glob(f"{checkpoint.name}*"):
        file.unlink()
    return (
        f"{name:20s} seed {seed}: SVM {trained['svm']:.2%}, control {control['svm']:.2%}, "
        f"{seconds:.0f} s"
    )


def judge(estimator: Any, data: Data) -> dict[str, Any]:
    """Accuracy of linear SVMs on frozen features: all training clouds, and few-shot episodes."""
    features = {
        int(row): vector
        for rows in (data.train, data.test)
        for row, vector in zip(rows, estimator.transform(data.clouds(rows)), strict=True)
    }

    def accuracy(train: Any, test: Any) -> float:
        svm = make_pipeline(StandardScaler(), LinearSVC(C=SVM_C, random_state=0))
        svm.fit(np.stack([features[row] for row in train]), data.y[list(train)])
        answers = svm.predict(np.stack([features[row] for row in test]))
        return float(np.mean(answers == data.y[list(test)]))

    folds = [
        accuracy(np.concatenate(each["support"]).tolist(), np.concatenate(each["query"]).tolist())
        for each in data.episodes
        if all(row in features for rows in (*each["support"], *each["query"]) for row in rows)
    ]
    return {"svm": accuracy(data.train.tolist(), data.test.tolist()), "few_shot": folds}


def describe(settings: Settings, data: Data) -> str:
    return (
        f"{settings.data}: {settings.n_points} points a cloud, {len(data.train)} training and "
        f"{len(data.test)} test clouds (official split). Transformers of size {settings.size} "
        f"with {settings.group_size or 'the published number of'} points a patch, without "
        f"augmentation; other methods on {settings.backbone}, with their own. Batches of "
        f"{settings.batch_size}; the learning rate rises for {WARMUP:.0%} of the time, then "
        f"falls. {settings.minutes:.3g} minutes of pre-training a method and seed "
        f"on one core, {PLANNED:.0%} of them planned; last epoch. Linear SVM "
        f"(C = {SVM_C:g}, standardised features) on all training clouds; 5-way 10-shot: mean and "
        f"sd over {len(data.episodes)} given folds. Control: the same, random weights. Peak "
        f"memory of the whole process. Device {settings.device}, torch {torch.__version__}."
    )


def make_table(store: Path, names: list[str], n_seeds: int, published: dict[str, float]) -> str:
    """Mean and spread over seeds, best first."""
    rows = []
    for name in names:
        files = [store / f"{name}_{seed}.json" for seed in range(n_seeds)]
        records = [read_json(file) for file in files if file.is_file()]
        if records:
            rows.append((statistics.mean(r["trained"]["svm"] for r in records), name, records))
    lines = [
        "| method | linear SVM | sd | control | gain | 5-way 10-shot | control | epochs | "
        "clouds/s | seconds | peak MiB | parameters | published SVM, ModelNet40 |",
        "| --- " * 13 + "|",
    ]
    for mean, name, records in sorted(rows, reverse=True):
        svms = [100 * r["trained"]["svm"] for r in records]
        control = statistics.mean(100 * r["control"]["svm"] for r in records)
        shots = [_mean_and_sd(records, part) for part in ("trained", "control")]
        first = records[0]
        of_tables = published.get(METHODS[name].published or "", None)
        lines.append(
            f"| {name} | {100 * mean:.2f} | "
            f"{f'{statistics.stdev(svms):.2f}' if len(svms) > 1 else '-'} | {control:.2f} | "
            f"{100 * mean - control:+.2f} | {shots[0]} | {shots[1]} | {first['epochs']} | "
            f"{statistics.mean(r['samples_per_second'] for r in records):.0f} | "
            f"{statistics.mean(r['seconds'] for r in records):.0f} | {first['peak_mib']:.0f} | "
            f"{first['parameters']:,} | {'-' if of_tables is None else of_tables} |"
        )
    return "\n".join(lines)


def _mean_and_sd(records: list[dict], part: str) -> str:
    folds = [100 * value for record in records for value in record[part]["few_shot"]]
    if len(folds) < 2:
        return "-"
    return f"{statistics.mean(folds):.1f} ± {statistics.stdev(folds):.1f}"


def read_published(data_path: str) -> dict[str, float]:
    """Published linear-SVM accuracies, where the tables lie beside the data."""
    tables = Path(data_path).resolve().parent.parent / "specs" / "published_results.json"
    if not tables.is_file():
        return {}
    rows = json.loads(tables.read_text(encoding="utf-8"))["linear_svm_modelnet40"]
    return {row["method"]: row["modelnet40"] for row in rows}


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
    plans = [(m, *common) for m in arguments.methods if not (store / f"plan_{m}.json").is_file()]
    run_all(plans, make_plan, clock, n_processes=arguments.jobs, foreseen=0.0)
    jobs = [
        (name, seed, *common)
        for seed in range(arguments.seeds)  # a first table of all methods as soon as may be
        for name in arguments.methods
        if (store / f"plan_{name}.json").is_file()
        and not (store / f"{name}_{seed}.json").is_file()
    ]
    run_all(jobs, run_job, clock, n_processes=arguments.jobs, foreseen=1.3 * settings.minutes,
            each_its_own=True)  # fmt: skip
    table = make_table(store, arguments.methods, arguments.seeds, read_published(arguments.data))
    print(table)
    if not arguments.quick and any(store.glob("[!p]*_[0-9]*.json")):
        command = shlex.join(["python", "benchmarks/pretraining.py", *sys.argv[1:]])
        title = f"## Pre-training: every method on ModelNet10, budget {arguments.budget}"
        text = f"{title}\n\n```\n{command}\n```\n\n{head}\n\n{table}"
        write_results(Path(arguments.results), f"pretraining {digest}", text)
        print(f"\nwritten to {arguments.results}")


def choose_settings(arguments: argparse.Namespace) -> Settings:
    name = Path(arguments.data).name
    if arguments.quick:
        return Settings(name, 128, "nano", "pointnet_basic", 0.02, "cpu", n_train=64, n_test=32,
                        max_epochs=1)  # fmt: skip
    if arguments.budget == "full":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Settings(name, 1024, "base", "dgcnn", arguments.budget_minutes, device, None, 128)
    return Settings(name, 512, "nano", arguments.backbone, arguments.budget_minutes, "cpu")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="labelled npz with an official split")
    parser.add_argument("--methods", default="all", help="names with commas between, or all")
    parser.add_argument("--backbone", default="pointnet_basic",
                        help="of the methods that take any, in the small budget")  # fmt: skip
    parser.add_argument("--budget", choices=("small", "full"), default="small")
    parser.add_argument("--budget-minutes", type=float, default=4.0, help="of a method and seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--time-limit", type=float, default=float("inf"),
                        help="minutes; nothing begins that would not end by then")  # fmt: skip
    parser.add_argument("--store", default="pretraining_store", help="folder of finished runs")
    parser.add_argument("--results", default=str(Path(__file__).parent / "RESULTS.md"))
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.methods == "all":
        arguments.methods = list(METHODS)
    else:
        arguments.methods = arguments.methods.split(",")
        unknown = sorted(set(arguments.methods) - set(METHODS))
        if unknown:
            parser.error(f"no method {', '.join(unknown)}; there are {', '.join(METHODS)}")
    return arguments


if __name__ == "__main__":
    main()
