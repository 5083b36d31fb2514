"""The published study on real ModelNet10: train, explain, test the conclusions.

    python benchmarks/study.py --data ../shared/data/modelnet10.npz

Trains DGCNN, PointNet and ReCon from scratch and pre-trained, at least three seeds each,
explains them all on the same clouds and regions, and says which conclusions held: 1 (pre-training
raises high orders and lowers low ones), 2a (more pre-training, more of it), 2b (more labels, more
of it), 3 (a cost in transferability), and whether a loss does what pre-training does. Claims are
tested, not assumed. Sized for two cores and an hour; what is smaller than in the published
work is printed first. Jobs run by importance and no new one is started that would not end within
the time limit; run the command again to go on from the store. ``--full`` is the published size,
for a GPU.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch  # noqa: E402
from study_jobs import (  # noqa: E402
    FEWER_FRACTIONS,
    FULL,
    LAPTOP,
    QUICK,
    SUB_BATCH,
    Data,
    Job,
    Settings,
    is_done,
    make_jobs,
    run_job,
)
from study_report import Report  # noqa: E402

CONCLUSIONS = ("conclusion1", "controls", "conclusion2a", "conclusion2b", "losses", "alphas")
# Seconds per cloud and epoch of one thread, roughly, from which the time of a job is foreseen
# until one of its kind has been timed: training, pre-training, and one masked cloud.
COSTS = {
    "dgcnn": (0.020, 0.026, 0.0040),
    "pointnet": (0.007, 0.015, 0.0015),
    "pointnet_basic": (0.0025, 0.005, 0.0001),
    "recon": (0.0105, 0.009, 0.0036),
}


def main() -> None:
    arguments = parse()
    settings = choose_settings(arguments)
    digest = hashlib.sha256(
        json.dumps([asdict(settings), Path(arguments.data).name], sort_keys=True).encode()
    ).hexdigest()[:10]
    store = Path(arguments.store) / digest
    store.mkdir(parents=True, exist_ok=True)
    jobs = make_jobs(arguments.backbones, arguments.cheap, arguments.n_seeds)
    if arguments.only:
        jobs = with_needs(jobs, arguments.only)
    other = arguments.other
    if other is None:
        other = str(Path(arguments.data).parent / "dales_objects.npz")
    head = describe(arguments, settings, other, store)
    print(head, flush=True)
    schedule = Schedule(jobs, settings, store, arguments)
    print(schedule.plan(), flush=True)
    schedule.run(arguments.data, other)
    data = Data(arguments.data, other, settings)
    report = Report(jobs, data, store, head + "\n\n" + schedule.summary(), arguments.only)
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    report.write(output)
    print(report.text)
    print(f"\nfigures and the section for RESULTS.md: {output}")
    print(schedule.summary())


def choose_settings(arguments: argparse.Namespace) -> Settings:
    settings = QUICK if arguments.quick else FULL if arguments.full else LAPTOP
    given = {
        name: getattr(arguments, name)
        for name in ("n_points", "n_regions", "n_train", "epochs", "pretrain_epochs")
        if getattr(arguments, name) is not None
    }
    return replace(settings, **given)


def with_needs(jobs: list[Job], only: list[str]) -> list[Job]:
    """Jobs of some conclusions, and those that they build on."""
    wanted = {job.name for job in jobs if set(job.conclusions) & set(only)}
    for _ in range(2):
        wanted |= {job.needs for job in jobs if job.name in wanted}
    return [job for job in jobs if job.name in wanted]


def describe(arguments: argparse.Namespace, settings: Settings, other: str, store: Path) -> str:
    """Everything that is smaller than in the published work, and everything that was chosen."""
    return "\n".join(
        [
            f"{Path(arguments.data).name}; {settings.n_points} points a cloud (published: 1024), "
            f"{settings.n_regions} regions (published: at least 10), "
            f"{settings.explained_per_class} test clouds of each class explained",
            f"training: {settings.n_train} clouds, {settings.epochs} epochs, batch "
            f"{settings.batch_size}, AdamW {settings.learning_rate:g}, cosine, the same for every "
            "arm (published: Adam or SGD, 200 to 250 epochs)",
            f"pre-training: {settings.n_pretrain} clouds without labels, "
            f"{settings.pretrain_epochs} epochs; else, of single networks: "
            f"{settings.of_backbone or 'nothing'}; "
            "Jigsaw for DGCNN and PointNet, ReCon's own with depth pictures for ReCon (nano); one "
            "pre-training for each seed",
            f"DGCNN with {settings.n_neighbors} neighbors (published: 20); conclusions 2a, 2b, 3 "
            f"and the losses on {arguments.cheap} first, other networks as time allows",
            "fractions 1 to 100 %: nested, stratified, repeated to the same number of clouds, so "
            "that steps are equal; models of 2b and 3 never see the labels of three classes; "
            f"fewer fractions of dear networks: {FEWER_FRACTIONS}",
            f"losses: on {SUB_BATCH:.0%} of each batch; weights from the literature of the "
            "method, not tuned here, and on no test cloud",
            "accuracy: overall, official test split, last epoch; score: log-odds of the true "
            "class; intervals 95 %, over seeds and clouds together",
            f"{arguments.n_seeds} seeds, {arguments.jobs} processes of one thread, torch "
            f"{torch.__version__}, other domain: "
            f"{Path(other).name if Path(other).is_file() else 'not there, read-out left out'}; "
            f"store {store.name}",
        ]
    )


class Schedule:
    """Runs jobs by importance in processes, as far as the time reaches."""

    def __init__(
        self, jobs: list[Job], settings: Settings, store: Path, arguments: argparse.Namespace
    ) -> None:
        self.jobs, self.settings, self.store = jobs, settings, store
        self.n_processes = arguments.jobs
        self.conclusions = arguments.only or CONCLUSIONS
        self.limit = arguments.time_limit * 60
        self.started = time.perf_counter()
        self.timed: dict[tuple[str, str], float] = {}
        self.failed: dict[str, str] = {}

    def foreseen(self, job: Job) -> float:
        """Seconds of one thread that a job will take, by what was measured or by the table."""
        guess = self._guess(job)
        return guess * self.timed.get((job.kind, job.backbone), 1.0)

    def _guess(self, job: Job) -> float:
        train, pretrain, masked = COSTS[job.backbone]
        settings = self.settings.of(job.backbone)
        scale = settings.n_points / 256
        n_masked = 10 * settings.explained_per_class * 2**settings.n_regions
        if job.kind == "pretrain":
            return 3 + pretrain * scale * settings.n_pretrain * settings.pretrain_epochs
        if job.kind == "control":
            return 3 + 3 * masked * scale * settings.n_control * 2**settings.n_regions
        steps = settings.n_train * settings.epochs * job.epochs_factor
        dearer = 2.75 if job.loss else 1.0
        seconds = 4 + train * scale * steps * dearer + masked * scale * n_masked
        return seconds + (6 if job.seven else 0)

    def plan(self) -> str:
        """Table of what is to be done, with the time that is foreseen for it."""
        lines = ["", f"{'foreseen':32s} {'jobs':>5s} {'done':>5s} {'CPU min':>8s}"]
        rows: dict[str, list[Job]] = {}
        for job in self.jobs:
            rows.setdefault(f"{job.conclusions[0]}, {job.backbone}", []).append(job)
        for name, mine in rows.items():
            left = [job for job in mine if not is_done(job, self.store)]
            minutes = sum(self.foreseen(job) for job in left) / 60
            lines.append(f"{name:32s} {len(mine):5d} {len(mine) - len(left):5d} {minutes:8.1f}")
        lines.append(f"time limit {self.limit / 60:g} min with {self.n_processes} processes\n")
        return "\n".join(lines)

    def run(self, path: str, other: str) -> None:
        """Start the most important job that can start, until none is left or time is over."""
        context = multiprocessing.get_context("spawn")
        running: dict = {}
        with ProcessPoolExecutor(self.n_processes, mp_context=context) as pool:
            while True:
                while len(running) < self.n_processes:
                    job = self._next([entry for entry, _ in running.values()])
                    if job is None:
                        break
                    future = pool.submit(run_job, job, path, other, self.settings, str(self.store))
                    running[future] = (job, time.perf_counter())
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    self._finish(future, *running.pop(future))

    def _finish(self, future, job: Job, began: float) -> None:
        minutes = (time.perf_counter() - self.started) / 60
        error = future.exception()
        if error is not None:
            self.failed[job.name] = f"{type(error).__name__}: {error}"
            print(f"[{minutes:5.1f} min] FAILED {job.name}: {self.failed[job.name]}", flush=True)
            return
        ratio = (time.perf_counter() - began) / self._guess(job)
        self.timed[job.kind, job.backbone] = ratio
        print(f"[{minutes:5.1f} min] {future.result()}", flush=True)

    def _next(self, running: list[Job]) -> Job | None:
        left = self.limit - (time.perf_counter() - self.started)
        busy = {job.name for job in running} | set(self.failed)
        for job in self.jobs:
            if job.name in busy or is_done(job, self.store) or self.foreseen(job) > left:
                continue
            if job.needs and not (self.store / f"{job.needs}.json").is_file():
                continue
            return job
        return None

    def summary(self) -> str:
        """Say plainly what was done and what was not."""
        lines = []
        for conclusion in self.conclusions:
            rows: dict[str, list[Job]] = {}
            for job in self.jobs:
                if conclusion in job.conclusions:
                    rows.setdefault(job.backbone, []).append(job)
            for backbone, mine in rows.items():
                done = sum(is_done(job, self.store) for job in mine)
                state = "complete" if done == len(mine) else "NOT complete"
                lines.append(f"{conclusion}, {backbone}: {done} of {len(mine)} jobs, {state}")
        lines += [f"failed: {name}: {error}" for name, error in self.failed.items()]
        minutes = (time.perf_counter() - self.started) / 60
        return "\n".join([*lines, f"jobs of this run took {minutes:.1f} min"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="labelled npz with an official split")
    parser.add_argument("--other", help="npz of another domain; dales_objects.npz beside --data")
    parser.add_argument("--store", default="study_store", help="folder of models and explanations")
    parser.add_argument("--output", default="study_output", help="folder of figures and text")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--time-limit", type=float, default=52.0, help="minutes")
    parser.add_argument("--only", type=lambda text: text.split(","), default=None,
                        help=f"some of {','.join(CONCLUSIONS)}")  # fmt: skip
    parser.add_argument("--backbones", type=lambda text: text.split(","),
                        default=["pointnet", "dgcnn", "recon"])  # fmt: skip
    parser.add_argument("--cheap", default="pointnet_basic",
                        help="network of conclusions 2a, 2b, 3 and the losses")  # fmt: skip
    parser.add_argument("--n-seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    parser.add_argument("--full", action="store_true", help="published sizes, for a GPU")
    for name in ("n-points", "n-regions", "n-train", "epochs", "pretrain-epochs"):
        parser.add_argument(f"--{name}", type=int, default=None)
    arguments = parser.parse_args()
    unknown = set(arguments.only or ()) - set(CONCLUSIONS)
    if unknown:
        parser.error(f"--only knows {CONCLUSIONS}, got {sorted(unknown)}")
    return arguments


if __name__ == "__main__":
    main()
