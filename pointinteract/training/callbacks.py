"""Progress and monitoring through scikit-learn's callbacks, where it has them (since 1.9).

An epoch is a leaf task of ``fit``: with ``estimator.set_callbacks(ProgressBar())`` one bar
grows epoch by epoch. On an older scikit-learn the same calls do nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stand-in that accepts callbacks only to say that they need a newer scikit-learn."""

        def set_callbacks(self, *callbacks: Any) -> Any:
            raise ImportError("callbacks need scikit-learn 1.9 or newer.")

    def with_callbacks(method: Any) -> Any:  # type: ignore[no-redef]
        return method


__all__ = ["CallbackSupportMixin", "FitProgress", "with_callbacks"]


class FitProgress:
    """Tells the callbacks of an estimator about its epochs."""

    def __init__(self, estimator: Any, *, n_epochs: int, X: Any, y: Any = None):
        self.estimator, self.X, self.y = estimator, X, y
        start = getattr(estimator, "_init_callback_context", None)
        self._context = None
        if start is not None and getattr(estimator, "_skl_callbacks", None):
            self._context = start(task_name="fit", max_subtasks=n_epochs)
            self._context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    @contextmanager
    def epoch(self, number: int) -> Iterator[None]:
        """Surround one epoch."""
        if self._context is None:
            yield
            return
        task = self._context.subcontext(task_name="epoch", max_subtasks=0)
        task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, y=self.y)
        yield
        task.call_on_fit_task_end(estimator=self.estimator, X=self.X, y=self.y)

    def done(self) -> None:
        """Say that the fit is over."""
        if self._context is not None:
            self._context.call_on_fit_task_end(estimator=self.estimator, X=self.X, y=self.y)
