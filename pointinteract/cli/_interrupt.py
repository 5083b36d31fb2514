"""Ctrl-C: the first stops the work, and none disturbs the saving that follows."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Terminals and impatient fingers send several at once; these count as one.
ONE_PRESS = 3.0


class InterruptGuard:
    """State of :func:`interrupts_guarded`."""

    def __init__(self) -> None:
        self.saving = False
        self.last_press = -float("inf")

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        now = time.monotonic()
        if self.saving or now - self.last_press < ONE_PRESS:
            return
        self.last_press = now
        raise KeyboardInterrupt

    @contextmanager
    def no_interrupts(self) -> Iterator[None]:
        """Run the body, a short one, to its end whatever is pressed."""
        self.saving = True
        try:
            yield
        finally:
            self.saving = False


@contextmanager
def interrupts_guarded() -> Iterator[InterruptGuard]:
    """Install the handler for the body, and put the old one back."""
    guard = InterruptGuard()
    try:
        before = signal.signal(signal.SIGINT, guard.handle)
    except ValueError:  # not the main thread: signals do not come here anyway
        yield guard
        return
    try:
        yield guard
    finally:
        signal.signal(signal.SIGINT, before)
