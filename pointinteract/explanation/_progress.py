"""Say how far the work is: nothing, a bar, or a call to the user's function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pointinteract.utils._optional import import_optional

ProgressOption = bool | Callable[[int, int], None]


@contextmanager
def progress_hook(
    progress: ProgressOption, total: int, description: str
) -> Iterator[Callable[[int], None]]:
    """Yield a function to be called with the number of steps just done."""
    if callable(progress):
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            progress(done, total)

        yield advance
    elif progress:
        rich_progress = import_optional(
            "rich.progress", extra="progress", purpose="showing progress"
        )
        columns = rich_progress.Progress.get_default_columns()
        with rich_progress.Progress(*columns, transient=True) as bar:
            task = bar.add_task(description, total=total)
            yield lambda steps: bar.advance(task, steps)
    else:
        yield lambda steps: None
