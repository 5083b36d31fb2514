"""What 2^n coalitions cost: transforms, engines and solvers against the plain way of each.

    python benchmarks/interactions.py [--data modelnet10.npz] [--only transform,set_pool]

One process, two threads. What is compared runs in turn, several times; the fastest run of each
counts. The *floor* is masks and forward passes at their best batch size, with nothing else; where
all coalitions would take minutes it is timed on some of them and scaled, which the line says.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _interactions_networks import (
    BATCH_SIZES,
    DenseAndOr,
    full_dgcnn,
    full_pointnet,
    literal_dgcnn,
    masked_forwards,
    plain_tokens,
    recon_base,
    settled,
)

from pointinteract.classification import PointClassifier
from pointinteract.datasets import load_cloud_dataset, make_shapes
from pointinteract.explanation import InteractionExplainer
from pointinteract.explanation._sampled import build_sampled_fields
from pointinteract.games import (
    all_coalitions,
    and_interactions,
    and_or_interactions,
    or_interactions,
)
from pointinteract.models import create_model
from pointinteract.ops import partition_regions

N_POINTS = 1024
_TRAINED: list[PointClassifier] = []  # one, shared by the sections that need it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="modelnet10.npz; without it, made shapes")
    parser.add_argument("--only", default="", help="comma-separated sections")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    chosen = arguments.only.split(",") if arguments.only else list(SECTIONS)
    X, y = load(arguments.data)
    print(f"{arguments.threads} threads, torch {torch.__version__}; {len(X)} clouds of "
          f"{X.shape[1]} points from {arguments.data.name if arguments.data else 'make_shapes'}")
    print(f"{'':64s}{'measured':>14s}   aim")
    for name in chosen:
        SECTIONS[name](X, y, arguments.repeats)


def line(what: str, measured: str, aim: str = "") -> None:
    print(f"{what:64s}{measured:>14s}   {aim}", flush=True)


def load(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Training clouds (n, 1024, 3), centered and scaled, and labels."""
    if path is None:
        X, y = make_shapes(4000, n_points=N_POINTS, return_X_y=True, random_state=0)
        return X.astype(np.float32), y
    data = load_cloud_dataset(path)
    train = data.split == "train"
    return data.data[train][:, :N_POINTS].astype(np.float32), data.target[train]


def clock(*functions: Callable, repeats: int) -> list[float]:
    """Run functions in turn, return the fastest time of each in seconds."""
    times = []
    for _ in range(repeats):
        row = []
        for function in functions:
            started = time.perf_counter()
            function()
            row.append(time.perf_counter() - started)
        times.append(row)
    return [min(column) for column in zip(*times, strict=True)]


def one_cloud(X: np.ndarray, n_regions: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A cloud (N, 3) and its regions (N,)."""
    points = torch.from_numpy(X[0])
    return points, partition_regions(points[None], n_regions)[0]


def best_floor(forward, points, regions, coalitions, *, n_timed: int) -> tuple[float, int]:
    """Seconds for all coalitions at the best batch size, found on some of them."""
    rng = np.random.default_rng(0)
    some = coalitions[rng.choice(len(coalitions), min(n_timed, len(coalitions)), replace=False)]
    best = (np.inf, 0)
    for batch_size in BATCH_SIZES:
        if batch_size <= len(some):
            def run(size=batch_size):
                return masked_forwards(forward, points, regions, some, size)
            best = min(best, (clock(run, repeats=2)[0], batch_size))
    return best[0] * len(coalitions) / len(some), best[1]


def transform(X, y, repeats) -> None:
    """AND and OR of 64 samples x 10 classes at n = 12, against shapiq's exact computer."""
    values = np.random.default_rng(0).normal(size=(64, 10, 2**12))
    n_columns = values.shape[0] * values.shape[1]
    forms = {"AND": and_interactions, "OR": or_interactions}
    times = clock(*(lambda f=f: f(values) for f in forms.values()), repeats=repeats)
    try:
        from shapiq import ExactComputer
    except ImportError:
        ExactComputer = None
        line("shapiq is not installed: no ratio to it", "")
    slow = np.inf
    if ExactComputer is not None:
        row = values[0, 0]
        bits = 1 << np.arange(12)

        def game(coalitions):
            return row[np.asarray(coalitions, dtype=np.int64) @ bits]

        def theirs():
            return ExactComputer(n_players=12, game=game)("Moebius", order=12)

        slow = clock(theirs, repeats=2)[0]
        found = theirs()
        ours = and_interactions(row)
        largest = max(
            abs(found.values[place] - ours[sum(1 << i for i in members)])
            for members, place in found.interaction_lookup.items()
            if members
        )
        line("  largest difference from shapiq", f"{largest:.1e}")
    for name, seconds in zip(forms, times, strict=True):
        each = seconds / n_columns
        line(f"{name} transform, n = 12, per sample and class", f"{each * 1e6:.1f} us", "15 us")
        if np.isfinite(slow):
            line("  shapiq's exact computer over ours", f"{slow / each:,.0f} x", "10,000 x")


def overhead(X, y, repeats) -> None:
    """The generic engine, all classes, over the floor."""
    network = full_pointnet()
    points, regions = one_cloud(X, 8)
    coalitions = all_coalitions(8)
    floor, batch_size = best_floor(network, points, regions, coalitions, n_timed=256)
    explainer = InteractionExplainer(
        8, engine="generic", batch_size=batch_size, keep_answers=True
    )
    few = X[:2]
    cut = [partition_regions(torch.from_numpy(cloud)[None], 8)[0] for cloud in few]

    def plain():
        for cloud, ids in zip(few, cut, strict=True):
            masked_forwards(network, torch.from_numpy(cloud), ids, coalitions, batch_size)

    def ours():
        explainer.explain(network, few)

    floor, seconds = clock(plain, ours, repeats=repeats)
    line(f"generic engine over floor, PointNet, n = 8, batches of {batch_size}",
         f"{seconds / floor:.3f} x", "1.10 x")


def set_pool(X, y, repeats) -> None:
    """Region maxima and subset doubling on a full PointNet."""
    network = full_pointnet()
    for n_regions, aim in ((10, "150 x"), (12, "200 x")):
        points, regions = one_cloud(X, n_regions)
        coalitions = all_coalitions(n_regions)
        floor, batch_size = best_floor(network, points, regions, coalitions, n_timed=256)
        many = X[:32]
        explainer = InteractionExplainer(n_regions, engine="set_pool", keep_answers=True)
        (seconds,) = clock(lambda e=explainer, m=many: e.explain(network, m), repeats=3)
        each = seconds / len(many)
        line(f"set-pool engine, n = {n_regions}: floor (256 coalitions, batches of {batch_size}, "
             "scaled)", f"{floor:.2f} s")
        line(f"  floor over ours, {len(many)} clouds, self-check and score included",
             f"{floor / each:.0f} x", aim)
        answers = explainer.explain(network, X[:1]).answers[0]
        rows = np.random.default_rng(1).choice(len(coalitions), 128, replace=False)
        plain = masked_forwards(network, points, regions, coalitions[rows], batch_size).numpy()
        error = np.abs(answers[rows] - plain).max() / np.abs(plain).max()
        line("  relative error on 128 coalitions", f"{error:.1e}", "1e-5")


def sixteen(X, y, repeats) -> None:
    """All 65,536 coalitions of 16 regions, 40 classes, in a process of its own with one thread."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        seconds, used = pool.apply(explain_sixteen, (X[:1],))
    line("n = 16 exact, full PointNet, 40 classes, a cloud, one core", f"{seconds:.2f} s", "1.5 s")
    line("  rise of that process's peak memory", f"{used:.0f} MiB", "200 MB")


def explain_sixteen(X: np.ndarray) -> tuple[float, float]:
    """Seconds of the fastest of three, and MiB that the peak of the process rose by."""
    torch.set_num_threads(1)
    network = full_pointnet()
    # Four regions first, so that code and libraries are loaded before memory is looked at.
    InteractionExplainer(4, engine="set_pool").explain(network, X)
    explainer = InteractionExplainer(16, engine="set_pool")
    before = peak_memory()
    explainer.explain(network, X)
    used = peak_memory() - before
    return clock(lambda: explainer.explain(network, X), repeats=3)[0], used


def peak_memory() -> float:
    """Largest resident size of this process so far, MiB; nan where the system does not say.

    Not by `resource`: a new process inherits that figure from the one that started it.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (peak,) = (row for row in status.read_text().splitlines() if row.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024


def edge_convolution(X, y, repeats) -> None:
    """Merged duplicates and the algebraic form on a full DGCNN, all 1,024 coalitions of 10."""
    network = full_dgcnn()
    points, regions = one_cloud(X, 10)
    some = some_coalitions(10)
    explainer = InteractionExplainer(10, engine="weighted", keep_answers=True)
    floors = {"literal network": literal_dgcnn(network), "our own plain forward": network}
    sizes = {name: best_floor(forward, points, regions, some, n_timed=16)[1]
             for name, forward in floors.items()}
    plain = [
        lambda f=forward, size=sizes[name]: masked_forwards(f, points, regions, some, size)
        for name, forward in floors.items()
    ]
    *slow, ours = clock(*plain, lambda: explainer.explain(network, X[:1]), repeats=2)
    for (name, size), seconds in zip(sizes.items(), slow, strict=True):
        line(f"edge convolution, DGCNN, n = 10: {name} (batches of {size}) over ours",
             f"{seconds * 1024 / len(some) / ours:.2f} x",
             "5 x" if name == "literal network" else "")
    line("  ours, a coalition, self-check included", f"{ours / 1024 * 1e3:.1f} ms")
    answers = explainer.explain(network, X[:1]).answers[0][numbers_of(some)]
    for name, forward in floors.items():
        reference = masked_forwards(forward, points, regions, some, sizes[name]).numpy()
        error = np.abs(answers - reference).max() / np.abs(reference).max()
        # The literal form measures distances by products, so that near ties fall otherwise.
        line(f"  relative error against the {name}", f"{error:.1e}",
             "1e-5" if forward is network else "")


def abstraction(X, y, repeats) -> None:
    """Shared pairs, and frozen samples, on PointNet++; all 1,024 coalitions of 10."""
    network = settled(create_model("pointnet2_ssg", n_classes=40))
    points, regions = one_cloud(X, 10)
    some = some_coalitions(10)
    floor, batch_size = best_floor(network, points, regions, some, n_timed=32)
    for engine, note in (("abstraction", "exact"), ("frozen_centroids", "other semantics")):
        explainer = InteractionExplainer(10, engine=engine)
        (ours,) = clock(lambda e=explainer: e.explain(network, X[:1]), repeats=2)
        line(f"PointNet++, n = 10: plain forward (batches of {batch_size}) over {engine}",
             f"{floor * 1024 / len(some) / ours:.2f} x", note)


def patches(X, y, repeats) -> None:
    """Shared and merged tokens on the published ReCon trunk, all 1,024 coalitions of 10."""
    network = recon_base()
    explainer = InteractionExplainer(
        10, players="patches", absence="token_baseline", engine="patches", keep_answers=True
    )
    explanation = explainer.explain(network, X[:1])
    points, regions = torch.from_numpy(X[0]), torch.from_numpy(explanation.regions[0])
    some = some_coalitions(10)

    def plain(size):
        return plain_tokens(network, points, regions, some, size)

    times = {size: clock(lambda s=size: plain(s), repeats=1)[0] for size in (4, 8, 16, 32)}
    best = min(times, key=times.__getitem__)
    floor, ours = clock(
        lambda: plain(best), lambda: explainer.explain(network, X[:1]), repeats=2
    )
    line(f"patch engine, ReCon base, n = 10: plain tokens (batches of {best}) over ours",
         f"{floor * 1024 / len(some) / ours:.2f} x", "2.5 x")
    reference = plain(best).numpy()
    found = explanation.answers[0][numbers_of(some)]
    line("  relative error", f"{np.abs(found - reference).max() / np.abs(reference).max():.1e}",
         "1e-5")


def some_coalitions(n_regions: int) -> np.ndarray:
    """64 coalitions at random, on which slow floors are timed, to be scaled to all."""
    coalitions = all_coalitions(n_regions)
    return coalitions[np.random.default_rng(0).choice(len(coalitions), 64, replace=False)]


def numbers_of(coalitions: np.ndarray) -> np.ndarray:
    return coalitions @ (1 << np.arange(coalitions.shape[1]))


def and_or(X, y, repeats) -> None:
    """The AND-OR split of a trained network at n = 12 against dense matrices, step and whole."""
    clf, clouds = trained(X, y)
    values = InteractionExplainer(12).explain(clf, clouds[:4]).values
    result = and_or_interactions(values)
    n_steps = 10_000
    dense = DenseAndOr(values[0], n_steps)
    step, ours = clock(
        dense.step, lambda: and_or_interactions(values), repeats=max(3, repeats)
    )
    line("AND-OR split, n = 12: one dense step, float32, a sample", f"{step * 1e3:.1f} ms")
    line(f"  our whole split, {result.n_steps} steps, a sample",
         f"{ours / len(values) * 1e3:.0f} ms")
    line("  one dense step over one step of ours",
         f"{step / ours * len(values) * result.n_steps:.0f} x")
    line(f"  {n_steps:,} dense steps, as published (scaled), over our whole split",
         f"{n_steps * step / ours * len(values):,.0f} x", "100 x")
    best = min(
        float(and_or_interactions(values[:1], solver="sgd", learning_rate=rate).objective[0])
        for rate in (1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
    )
    line("  objective, ours / the published steps at the best of five rates",
         f"{result.objective[0] / best:.3f}")


def many_regions(X, y, repeats) -> None:
    """64 regions from 8,192 coalitions, of a trained network."""
    clf, clouds = trained(X, y)
    explainer = InteractionExplainer(64, budget=8192, random_state=0)
    explanation = explainer.explain(clf, clouds)
    (total,) = clock(lambda: explainer.explain(clf, clouds), repeats=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    (solver,) = clock(
        lambda: build_sampled_fields(explanation.coalitions, explanation.values[:1]), repeats=2
    )
    torch.set_num_threads(threads)
    shown = ", ".join(f"{r2:.3f}" for r2 in explanation.r2)
    line(f"n = 64, 8,192 evaluations, {len(clouds)} clouds: held-out R2, mean",
         f"{explanation.r2.mean():.3f}", "0.9")
    line(f"  each: {shown}", "")
    line("  solver, a cloud, one thread", f"{solver:.1f} s", "10 s")
    line("  evaluations and solver, a cloud", f"{total / len(clouds):.1f} s")


def trained(X, y) -> tuple[PointClassifier, np.ndarray]:
    """A PointNet that has learned a little, and six clouds, prepared, that it has not seen."""
    if not _TRAINED:
        clf = PointClassifier("pointnet_basic", max_epochs=6, random_state=0)
        _TRAINED.append(clf.fit(X[::4][:1000], y[::4][:1000]))
    return _TRAINED[0], _TRAINED[0].prepare_clouds(X[3::400][:6])


SECTIONS = {
    "transform": transform,
    "overhead": overhead,
    "set_pool": set_pool,
    "sixteen": sixteen,
    "edge_convolution": edge_convolution,
    "abstraction": abstraction,
    "patches": patches,
    "and_or": and_or,
    "many_regions": many_regions,
}

if __name__ == "__main__":
    main()
