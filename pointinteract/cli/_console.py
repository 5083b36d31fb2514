"""What the command line says: results to stdout, progress and complaints to stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TextIO

PROGRAM = "pointinteract"
# Without a terminal to draw on, a line appears soon and then ever more seldom.
FIRST_LINE_AFTER, LONGEST_WAIT = 1.0, 15.0


class Console:
    """Writes for people; ``quiet`` leaves results and errors only.

    Parameters
    ----------
    quiet : bool, default=False
    stdout, stderr : text streams, optional
    """

    def __init__(
        self, *, quiet: bool = False, stdout: TextIO | None = None, stderr: TextIO | None = None
    ) -> None:
        self.quiet = quiet
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr

    def say(self, text: str) -> None:
        """A result: what somebody may want to read by a program."""
        self.stdout.write(f"{text}\n")
        self.stdout.flush()

    def note(self, text: str) -> None:
        """Something to know while waiting."""
        if not self.quiet:
            self.write_error(f"{text}\n")

    def error(self, text: str) -> None:
        """The one line of a failure."""
        self.write_error(f"{PROGRAM}: {text}\n")

    def write_error(self, text: str) -> None:
        self.stderr.write(text)
        self.stderr.flush()

    def show_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        """A warning as one line, in the place of `warnings.showwarning`."""
        self.note(f"note: {' '.join(str(message).split())}")

    @contextmanager
    def bar(self, description: str, total: int, unit: str) -> Iterator["Bar"]:
        """Show progress towards `total`: a bar on a terminal, else a line now and then."""
        rich = find_rich() if not self.quiet and self.stderr.isatty() else None
        if self.quiet:
            yield Bar(total)
        elif rich is None:
            lines = LineBar(total, description, unit, self)
            yield lines
            lines.finish()
        else:
            with make_rich_bar(rich, self.stderr) as display:
                task = display.add_task(description, total=total, unit=unit, detail="")
                yield RichBar(total, display, task)


class Bar:
    """Progress that nobody sees, and the base of those that are seen."""

    def __init__(self, total: int) -> None:
        self.total = total

    def update(self, done: int, detail: str = "") -> None:
        """Say that `done` of the total are done, and what else is known."""

    def set_total(self, total: int) -> None:
        """Say how many there are, where that was not known at the start."""
        self.total = total


class LineBar(Bar):
    """A plain line at the start, every few seconds, and at the end."""

    def __init__(self, total: int, description: str, unit: str, console: Console) -> None:
        super().__init__(total)
        self.description, self.unit, self.console = description, unit, console
        self.started = self.last_line = time.monotonic()
        self.wait = FIRST_LINE_AFTER
        self.detail = ""

    def update(self, done: int, detail: str = "") -> None:
        self.detail = detail
        now = time.monotonic()
        if done < self.total and now - self.last_line >= self.wait:
            self.last_line, self.wait = now, min(2 * self.wait, LONGEST_WAIT)
            self._write(f"{done}/{self.total} {self.unit}", now)

    def finish(self) -> None:
        self._write(f"{self.total} {self.unit}, done", time.monotonic())

    def _write(self, text: str, now: float) -> None:
        detail = f", {self.detail}" if self.detail else ""
        seconds = now - self.started
        self.console.note(f"{self.description}: {text}{detail} ({seconds:.0f} s)")


class RichBar(Bar):
    """A bar drawn by rich."""

    def __init__(self, total: int, display: Any, task: Any) -> None:
        super().__init__(total)
        self.display, self.task = display, task

    def update(self, done: int, detail: str = "") -> None:
        self.display.update(self.task, completed=done, detail=detail)

    def set_total(self, total: int) -> None:
        super().set_total(total)
        self.display.update(self.task, total=total)


def find_rich() -> Any:
    """The module ``rich.progress``, or None where the extra is not installed."""
    try:
        return import_module("rich.progress")
    except ImportError:
        return None


def make_rich_bar(rich: Any, stream: TextIO) -> Any:
    console = import_module("rich.console").Console(file=stream)
    return rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=28),
        rich.TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
        rich.TextColumn("{task.fields[detail]}", style="dim"),
        console=console,
    )


def planned_epochs(estimator: Any) -> int:
    """Epochs of a fit: those of the recipe in force, where there is one, else the parameter."""
    return int(getattr(estimator, "recipe_", estimator).max_epochs)


class EpochReporter:
    """Callback of scikit-learn's protocol that moves a bar epoch by epoch.

    It looks when an epoch begins, because only then is the one before in ``history_``. How many
    there will be it asks then too: the recipe is only settled in the fit.
    """

    def __init__(self, bar: Bar) -> None:
        self.bar = bar
        self.n_before = 0

    def setup(self, estimator: Any, context: Any) -> None:
        self.n_before = getattr(estimator, "n_epochs_", 0)

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.bar.set_total(planned_epochs(estimator))
        self._look(estimator)

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        """Nothing yet: the numbers of this epoch are not in the table."""

    def teardown(self, estimator: Any, context: Any) -> None:
        self._look(estimator)

    def _look(self, estimator: Any) -> None:
        done = getattr(estimator, "n_epochs_", 0) - self.n_before
        if done > 0 and hasattr(estimator, "history_"):
            last = estimator.history_.iloc[-1]
            shown = [name for name in ("loss", "accuracy", "validation_accuracy") if name in last]
            detail = ", ".join(f"{name.replace('_', ' ')} {last[name]:.3g}" for name in shown)
            self.bar.update(done, detail)


@contextmanager
def epochs_shown(console: Console, estimator: Any, description: str) -> Iterator[None]:
    """Show a bar while `estimator` is fitted in the body; nothing of it stays behind."""
    with console.bar(description, estimator.max_epochs, "epochs") as bar:
        try:
            estimator.set_callbacks(EpochReporter(bar))
        except ImportError:  # scikit-learn before 1.9 has no callbacks: no bar, same fit
            yield
            return
        try:
            yield
        finally:
            estimator.set_callbacks()
