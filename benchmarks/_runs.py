"""What long benchmarks share: finished runs as files, processes, a clock, a results file."""

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    unfinished.replace(path)


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def own_seconds(device: str = "cpu") -> float:
    """A clock of this process: what its one thread worked, so that neighbors do not count."""
    return time.perf_counter() if device == "cuda" else time.process_time()


class Clock:
    """Minutes since the start, before every line; and whether there is time for one more job."""

    def __init__(self, limit: float) -> None:
        self.started, self.limit = time.perf_counter(), limit

    @property
    def minutes(self) -> float:
        return (time.perf_counter() - self.started) / 60

    def tell(self, text: str) -> None:
        print(f"[{self.minutes:6.1f} min] {text}", flush=True)


def run_all(
    jobs: list[tuple],
    function: Callable[..., str],
    clock: Clock,
    *,
    n_processes: int,
    foreseen: float,
    each_its_own: bool = False,
) -> None:
    """Run jobs in processes of one thread each, and tell of each; a failure stops no other.

    No job begins that would not end in time if it took the minutes `foreseen`. With
    `each_its_own`, no process does two jobs, so that the peak of its memory is that of one.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(jobs)
    once = 1 if each_its_own else None
    with ProcessPoolExecutor(n_processes, mp_context=context, max_tasks_per_child=once) as pool:
        running: dict[Any, tuple] = {}
        while waiting or running:
            while waiting and len(running) < n_processes:
                job = waiting.pop(0)
                if clock.minutes + foreseen > clock.limit:
                    clock.tell(f"not started, the time limit is near: {job[:2]}")
                    continue
                running[pool.submit(function, *job)] = job
            if running:
                future = next(as_completed(running))
                job = running.pop(future)
                error = future.exception()
                clock.tell(f"FAILED {job[:2]}: {error!r}" if error else future.result())


def write_results(path: Path, mark: str, text: str) -> None:
    """Append a section, or put it in the place of an earlier one of the same mark."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    section = f"{begin}{text}\n{end}"
    if begin in old and end in old:
        old = old[: old.index(begin)] + section + old[old.index(end) + len(end) :]
    else:
        old = f"{old.rstrip()}\n\n{section}" if old else section
    path.write_text(old, encoding="utf-8")
