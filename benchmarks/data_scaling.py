"""Does contrast over-fit where reconstruction does not? Pre-training on shares of the clouds.

    python benchmarks/data_scaling.py --data ../shared/data/modelnet10.npz

Contrastive (SimCLR), generative (Point-MAE) and both (ReCon) pre-train transformers of one size
on 5, 10, 25, 50 and 100 % of the training clouds (official split, without labels). Each run
trains for the same number of steps, so that a smaller share is seen more often: a method that
needs new clouds falls behind there. Then a linear SVM on frozen features is fitted to the labels
of all training clouds and asked about the test clouds; beside it the 5-way 10-shot episodes. The
control of each method is its network with random weights. Shares are nested: a cloud of the 5 %
is in all larger ones of the same seed. Nothing is chosen on test clouds.

Every finished run is a JSON file in the store; run the command again to go on from there. The
table of all runs is written to ``--table``, which ``examples/plot_data_scaling.py`` draws.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from _runs import Clock, own_seconds, read_json, run_all, write_json, write_results  # noqa: E402
from pretraining import WARMUP, Data, judge  # noqa: E402

from pointinteract import pretraining as pre  # noqa: E402
from pointinteract.models.point_transformer import (  # noqa: E402
    PointTransformer,
    transformer_sizes,
)

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Settings:
    """What is the same for all runs; part of the store's name by way of a digest."""

    data: str
    n_points: int = 256
    n_groups: int = 16
    group_size: int = 16
    batch_size: int = 16
    passes: int = 12_000  # clouds that a run sees, however often each
    n_train: int | None = None
    n_test: int | None = None


def _contrastive(settings: Settings, **common: Any) -> Any:
    patches = {"n_groups": settings.n_groups, "group_size": settings.group_size}
    sizes = transformer_sizes("nano") | patches  # the encoder of Point-MAE's size nano
    return pre.SimCLRPretrainer(PointTransformer, backbone_options=sizes, **common)


def _generative(settings: Settings, **common: Any) -> Any:
    return pre.PointMAEPretrainer(
        n_groups=settings.n_groups,
        group_size=settings.group_size,
        augmentation=None,
        **common,
    )


def _recon(settings: Settings, **common: Any) -> Any:
    return pre.ReConPretrainer(
        n_groups=settings.n_groups,
        group_size=settings.group_size,
        image_teacher="depth_descriptor",
        stop_gradient=False,
        augmentation=None,
        **common,
    )


METHODS: dict[str, Callable[..., Any]] = {
    "contrastive": _contrastive,
    "generative": _generative,
    "ReCon": _recon,
}


def rows_of(data: Data, share: float, seed: int) -> np.ndarray:
    """Training rows of a share; larger shares of one seed hold the smaller ones."""
    order = np.random.default_rng(seed).permutation(data.train)
    return order[: max(round(share * len(order)), 2)]


def run_job(
    method: str, share: float, seed: int, path: str, settings: Settings, store: str
) -> str:
    """Pre-train on a share of the clouds (0: the control), ask the features, write the answer."""
    torch.set_num_threads(1)
    data = Data(path, settings)
    rows = rows_of(data, share or 1.0, seed)
    epochs = max(round(settings.passes / len(rows)), 1) if share else 0
    estimator = METHODS[method](
        settings,
        n_points=settings.n_points,
        batch_size=settings.batch_size,
        max_epochs=epochs,
        warmup_epochs=WARMUP * epochs,  # the same schedule in steps, whatever the share
        device="cpu",
        random_state=seed,
    )
    started = own_seconds()
    estimator.fit(data.clouds(rows))
    seconds = own_seconds() - started
    found = judge(estimator, data)
    record = {
        "method": method,
        "share": share,
        "seed": seed,
        "accuracy": found["svm"],
        "few_shot": float(np.mean(found["few_shot"])) if found["few_shot"] else None,
        "clouds": len(rows) if share else 0,
        "epochs": epochs,
        "loss": float(estimator.history_["loss"].iloc[-1]) if epochs else None,
        "seconds": seconds,
    }
    write_json(file_of(Path(store), method, share, seed), record)
    return f"{method:12s} {share:5.0%} seed {seed}: {record['accuracy']:.2%} in {seconds:.0f} s"


def file_of(store: Path, method: str, share: float, seed: int) -> Path:
    return store / f"run_{method}_{share:g}_{seed}.json"


def describe(settings: Settings, data: Data) -> str:
    return (
        f"{settings.data}: {settings.n_points} points a cloud, {len(data.train)} training and "
        f"{len(data.test)} test clouds (official split). Transformers of size nano with "
        f"{settings.n_groups} patches of {settings.group_size} points; every run sees "
        f"{settings.passes} clouds in batches of {settings.batch_size}, whatever its share; last "
        f"epoch. Linear SVM on all training clouds; 5-way 10-shot: mean over "
        f"{len(data.episodes)} given folds; ± is the standard deviation over seeds. Control: the "
        f"same network, random weights. One thread, torch {torch.__version__}."
    )


def make_table(runs: pd.DataFrame) -> str:
    """One line a method, one column a share: mean and standard deviation over seeds."""
    shares = sorted(share for share in runs["share"].unique() if share)
    lines = [
        "| method | asked by | control | " + " | ".join(f"{share:.0%}" for share in shares)
        + " | 5 % to 100 %, per seed |",
        "| --- " * (len(shares) + 4) + "|",
    ]  # fmt: skip
    for method in dict.fromkeys(runs["method"]):
        of_method = runs[runs["method"] == method]
        for column, name in (("accuracy", "linear SVM"), ("few_shot", "5-way 10-shot")):
            values = of_method.dropna(subset=[column]).pivot_table(
                index="seed", columns="share", values=column
            )
            cells = [_mean_and_sd(values.get(share)) for share in (0.0, *shares)]
            gains = "-"
            if len(shares) > 1 and {shares[0], shares[-1]} <= set(values.columns):
                gained = 100 * (values[shares[-1]] - values[shares[0]]).dropna()
                gains = " ".join(f"{gain:+.1f}" for gain in gained)
            lines.append(f"| {method} | {name} | {' | '.join(cells)} | {gains} |")
    return "\n".join(lines)


def with_controls(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs that pre-trained, each with what its control reached under the same seed."""
    untrained = runs[runs["share"] == 0].set_index(["method", "seed"])["accuracy"]
    return runs[runs["share"] > 0].join(untrained.rename("control"), on=["method", "seed"])


def _mean_and_sd(values: pd.Series | None) -> str:
    if values is None or values.dropna().empty:
        return "-"
    mean, spread = 100 * values.mean(), 100 * values.std()
    return f"{mean:.2f}" if np.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def main() -> None:
    arguments = parse()
    settings = Settings(Path(arguments.data).name, passes=arguments.passes)
    shares = SHARES
    if arguments.quick:
        settings = Settings(settings.data, 64, 8, 8, 8, passes=32, n_train=64, n_test=32)
        shares = (0.25, 1.0)
    digest = hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:10]
    store = Path(arguments.store) / digest
    store.mkdir(parents=True, exist_ok=True)
    data, clock = Data(arguments.data, settings), Clock(arguments.time_limit)
    head = describe(settings, data)
    print(head, f"Store {store}.", sep="\n", flush=True)
    jobs = [
        (method, share, seed, arguments.data, settings, str(store))
        for seed in range(arguments.seeds)  # a first curve of all methods as soon as may be
        for share in (*shares, 0.0)
        for method in METHODS
        if not file_of(store, method, share, seed).is_file()
    ]
    run_all(jobs, run_job, clock, n_processes=arguments.jobs, foreseen=3.0)
    records = [read_json(file) for file in sorted(store.glob("run_*.json"))]
    if not records:
        return
    runs = pd.DataFrame(records).sort_values(["method", "share", "seed"])
    table = make_table(runs)
    print(table)
    if not arguments.quick:
        Path(arguments.table).parent.mkdir(parents=True, exist_ok=True)
        with_controls(runs).round(5).to_csv(arguments.table, index=False)
        command = shlex.join(["python", "benchmarks/data_scaling.py", *sys.argv[1:]])
        title = "## Over-fitting: pre-training on shares of ModelNet10"
        text = f"{title}\n\n```\n{command}\n```\n\n{head}\n\n{table}"
        write_results(Path(arguments.results), f"data scaling {digest}", text)
        print(f"\nwritten to {arguments.results} and {arguments.table}")


def parse() -> argparse.Namespace:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="labelled npz with an official split")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--passes", type=int, default=Settings.passes,
                        help="clouds that each run sees, however often each")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--time-limit", type=float, default=float("inf"),
                        help="minutes; nothing begins that would not end by then")  # fmt: skip
    parser.add_argument("--store", default="data_scaling_store", help="folder of finished runs")
    parser.add_argument("--table", default=str(here / "data_scaling" / "modelnet10.csv"))
    parser.add_argument("--results", default=str(here / "RESULTS.md"))
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
