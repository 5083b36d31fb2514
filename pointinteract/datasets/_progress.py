"""Say how far a long download or reading is: a bar on the error stream, or a line in the log."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def progress_bar(
    name: str, total: int | None, *, verbose: bool, in_bytes: bool = False
) -> Iterator[Callable[[int], None]]:
    """Yield a function to be told how much was just done.

    Without `verbose`, or without rich, which draws the bar, there is one line in the log.
    """
    progress = _rich_progress() if verbose else None
    if progress is None:
        logger.info("%s: %s %s", name, total, "bytes" if in_bytes else "steps")
        yield lambda count: None
        return
    console, rich = progress
    columns = list(rich.Progress.get_default_columns())
    if in_bytes:
        columns += [rich.DownloadColumn(), rich.TransferSpeedColumn()]
    with rich.Progress(*columns, transient=True, console=console) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)


def _rich_progress():
    """A console on the error stream and rich's bars, or None where rich is absent."""
    try:
        import rich.console
        import rich.progress
    except ImportError:
        return None
    return rich.console.Console(stderr=True), rich.progress
