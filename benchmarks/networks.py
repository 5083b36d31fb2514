"""Every network against a literal formulation of it: time, and peak memory.

    python benchmarks/networks.py [--models dgcnn,pct] [--data modelnet10.npz] [--fast 0]

For each network two or three programs run in turn, in one process, in one order and then in the
other: ours, the literal form (written as the original systems compute, with the
weights of ours; class scores are compared first), and that of torch-pointcloud where it has the
network and runs. *Forward* is a forward pass for evaluation without gradients; *training* is
forward pass, cross-entropy, backward pass and AdamW step. The fastest run of each counts.
Where a literal step would take longer than --limit seconds there are fewer clouds, which the
line says; fewer repeats where the network takes longer than --seconds.

Memory is measured in a process of its own for each number: the largest resident size it ever
had (VmHWM) while it did the thing once, less its size before, when code, weights and, for
training, the optimizer's state were there (it had done the thing on two clouds).
"""

import argparse
import ctypes
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

N_POINTS = 1024
N_CLASSES = 40
KINDS = ("forward", "training", "memory")
# How many times as fast, and how many times less memory. Never slower, for all others.
AIMS = {
    ("dgcnn", "training"): 6.0,
    ("dgcnn", "forward"): 7.0,
    ("pointnet", "training"): 4.0,
    ("pointnet", "forward"): 4.0,
    ("pointnet2_ssg", "training"): 2.5,
    ("pointnet2_ssg", "forward"): 4.0,
    ("pointnet2_msg", "training"): 2.5,
    ("pointnet2_msg", "forward"): 4.0,
    **{(name, "memory"): 2.0 for name in ("dgcnn", "pointnet", "pointnet2_ssg", "pointnet2_msg")},
}
AIMS_WITHOUT_KERNELS = {("dgcnn", "training"): 2.5, ("dgcnn", "forward"): 2.5}
AIM_OTHER = 2.0
# Of class scores relative to the largest, in double precision with angles in single precision.
SAME = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default="all", help="comma-separated names, or all")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--points", type=int, default=N_POINTS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="of forward, training and memory")
    parser.add_argument("--data", type=Path, help="modelnet10.npz; without it, made shapes")
    parser.add_argument("--fast", choices=("0", "1"), default=os.environ.get(
        "POINTINTERACT_FAST", "1"), help="0 turns the numba kernels off")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of a literal step")
    parser.add_argument("--seconds", type=float, default=120.0, help="of repeats, a network")
    parser.add_argument("--quick", action="store_true", help="two clouds, once, no memory")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.batch, arguments.repeats = 2, 1
        arguments.only = arguments.only or "forward,training"
    # Before anything of ours is imported, so that processes started later have it too.
    os.environ["POINTINTERACT_FAST"] = arguments.fast
    print_table(arguments)


def print_table(arguments: argparse.Namespace) -> None:
    import torch
    from _literal_networks import LITERAL

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    names = list(LITERAL) if arguments.models == "all" else arguments.models.split(",")
    unknown = [name for name in names if name not in LITERAL]
    if unknown:
        raise SystemExit(f"No network {', '.join(unknown)}; there are {', '.join(LITERAL)}.")
    kinds = arguments.only.split(",") if arguments.only else KINDS
    if not set(kinds) <= set(KINDS):
        raise SystemExit(f"--only is of {', '.join(KINDS)}, got {arguments.only}.")
    points, labels = load(arguments.data, arguments.batch, arguments.points)
    print(f"{arguments.threads} threads, torch {torch.__version__}, kernels "
          f"{'on' if _has_kernels() else 'off'}; {arguments.batch} x {arguments.points} points of "
          f"{arguments.data.name if arguments.data else 'make_shapes'}, at most "
          f"{arguments.repeats} repeats; s, or MiB for memory")
    heads = ("network", "what", "clouds", "ours", "literal", "ratio", "aim")
    print("{:16s} {:16s} {:>6s} {:>9s} {:>9s} {:>7s} {:>6s}".format(*heads)
          + f"   {'torch-pc':>9s} {'ratio':>7s} {'aim':>4s}", flush=True)
    missed: list[str] = []
    for name in names:
        print_network(name, points, labels, kinds, arguments, missed)
    print(f"below the aim: {'; '.join(missed) if missed else 'none'}")


def print_network(name, points, labels, kinds, arguments, missed) -> None:
    """Print all lines of one network."""
    from _literal_networks import (
        PUBLISHED_GMAC,
        disagreement,
        giga_multiplications,
        make_other,
        make_pair,
    )

    ours, literal = make_pair(name, N_CLASSES)
    other, why_not = make_other(name)
    difference = disagreement(ours, literal, points[:2])
    n_parameters = sum(parameter.numel() for parameter in ours.parameters())
    published = PUBLISHED_GMAC.get(name)
    print(f"{name:16s} {n_parameters:,} parameters, {giga_multiplications(literal, points):.3f} "
          f"GMAC{f' (published {published:g})' if published else ''}; scores of the two differ "
          f"by {difference[0]:.0e}, training {difference[1]:.0e}", flush=True)
    if why_not:
        print(f"{name:16s} {why_not}")
    networks = {"ours": ours, "literal": literal} | ({"other": other} if other else {})
    if not max(difference) < SAME:
        missed.append(f"{name} does not compute what its literal form does")
    n_clouds = find_batch(literal, points, labels, arguments.limit)
    points, labels = points[:n_clouds], labels[:n_clouds]
    rows = clock(networks, points, labels, [k for k in kinds if k != "memory"], arguments)
    for what, found in rows.items():
        print_row(name, what, n_clouds, found, arguments.fast, missed)
    for what in ("forward", "training") if "memory" in kinds else ():
        found = {
            which: measure_memory(name, which, what, points, labels, arguments.threads)
            for which in networks
        }
        print_row(name, f"memory, {what}", n_clouds, found, arguments.fast, missed)


def print_row(name, what, n_clouds, found, fast, missed) -> None:
    kind = what.split(",")[0]
    if fast == "1":
        aim = AIMS.get((name, kind), None if kind == "memory" else 1.0)
    else:
        aim = AIMS_WITHOUT_KERNELS.get((name, kind))
    shown = "{:9.0f}" if kind == "memory" else "{:9.3f}"
    ratio = found["literal"] / found["ours"]
    text = (f"{name:16s} {what:16s} {n_clouds:6d} {shown.format(found['ours'])} "
            f"{shown.format(found['literal'])} {ratio:6.2f}x {f'{aim:g}x' if aim else '':>6s}")
    if aim and ratio < aim:
        missed.append(f"{name} {what} {ratio:.2f} of {aim:g}")
    if "other" in found:
        ratio = found["other"] / found["ours"]
        aim = None if kind == "memory" else AIM_OTHER
        text += (f"   {shown.format(found['other'])} {ratio:6.2f}x "
                 f"{f'{aim:g}x' if aim else '':>4s}")
        if aim and ratio < aim:
            missed.append(f"{name} {what} {ratio:.2f} of {aim:g} over torch-pointcloud")
    print(text, flush=True)


def load(path: Path | None, n_clouds: int, n_points: int):
    """Clouds (B, N, 3) of different classes in the unit ball, and labels below 40."""
    import numpy as np
    import torch

    from pointinteract.datasets import load_cloud_dataset, make_shapes

    n_clouds = max(n_clouds, 2)
    if path is None:
        X, y = make_shapes(n_clouds, n_points=n_points, return_X_y=True, random_state=0)
    else:
        data = load_cloud_dataset(path)
        rows = np.random.default_rng(0).choice(len(data.data), n_clouds, replace=False)
        X, y = data.data[rows][:, :n_points], data.target[rows]
    X = X[..., :3] - X[..., :3].mean(1, keepdims=True)
    X = X / np.linalg.norm(X, axis=2).max(1)[:, None, None]
    _, labels = np.unique(y, return_inverse=True)
    return torch.from_numpy(X.astype(np.float32)), torch.from_numpy(labels % N_CLASSES)


def make_task(network, what: str) -> Callable:
    """What is timed: a forward pass for evaluation, or a training step."""
    import torch
    import torch.nn.functional as F

    if what == "forward":
        def forward(points, labels) -> None:
            network.eval()
            with torch.inference_mode():
                network(points)
        return forward
    # Small steps, so that weights go on to look as they did, and what is near what as well.
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)

    def training(points, labels) -> None:
        network.train()
        optimizer.zero_grad()
        F.cross_entropy(network(points), labels).backward()
        optimizer.step()
    return training


def find_batch(literal, points, labels, limit: float) -> int:
    """Halve the number of clouds until a training step of the literal form is short enough."""
    task = make_task(literal, "training")
    task(points[:2], labels[:2])
    started = time.perf_counter()
    task(points[:2], labels[:2])
    each = (time.perf_counter() - started) / 2
    n_clouds = len(points)
    while n_clouds > 2 and n_clouds * each > limit:
        n_clouds //= 2
    return n_clouds


def clock(networks, points, labels, kinds, arguments) -> dict[str, dict[str, float]]:
    """Fastest seconds of each network at each thing, run in turn."""
    tasks = {
        (what, which): make_task(network, what)
        for what in kinds
        for which, network in networks.items()
    }
    times: dict = {key: [] for key in tasks}
    for task in tasks.values():
        task(points, labels)  # so that memory is there and kernels are compiled
    started = time.perf_counter()
    for turn in range(arguments.repeats):
        if turn > 1 and time.perf_counter() - started > arguments.seconds:
            break
        order = list(tasks) if turn % 2 == 0 else list(tasks)[::-1]
        for key in order:
            begin = time.perf_counter()
            tasks[key](points, labels)
            times[key].append(time.perf_counter() - begin)
    return {
        what: {which: min(times[what, which]) for which in networks} for what in kinds
    }


def measure_memory(name, which, what, points, labels, n_threads) -> float:
    """MiB that doing a thing once needs, in a process of its own; nan where it was too much."""
    context = multiprocessing.get_context("spawn")
    arrays = points.numpy(), labels.numpy()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(rise_of_memory, name, which, what, *arrays, n_threads).result()
        except BrokenProcessPool:  # the system had no more memory to give
            return float("nan")


def rise_of_memory(name, which, what, points, labels, n_threads) -> float:
    import torch
    from _literal_networks import make_other, make_pair

    torch.set_num_threads(n_threads)
    points, labels = torch.from_numpy(points), torch.from_numpy(labels)
    if which == "other":
        network = make_other(name)[0]
    else:
        network = make_pair(name, N_CLASSES)[0 if which == "ours" else 1]
    task = make_task(network, what)
    task(points[:2], labels[:2])
    give_memory_back()
    before = resident("VmRSS")
    task(points, labels)
    return resident("VmHWM") - before


def give_memory_back() -> None:
    """Return what is free to the system and forget the largest size so far, where it can."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError):
        pass


def resident(entry: str) -> float:
    """MiB of this process by the system's account; nan where there is none.

    Not by `resource`: a new process inherits that figure from the one that started it.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    (found,) = (row for row in status.read_text().splitlines() if row.startswith(entry))
    return int(found.split()[1]) / 1024


def _has_kernels() -> bool:
    import torch

    from pointinteract.ops import _fast

    return _fast.is_fast(torch.zeros(1))


if __name__ == "__main__":
    main()
