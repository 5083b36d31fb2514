"""What few_shot found: accuracy over episodes, and what was chosen on which data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pointinteract.protocols._published import PublishedFigure

__all__ = ["BEST_EPOCH_LABEL", "FewShotResult", "figure_columns"]

# How the column of the published selection is called in tables.
BEST_EPOCH_LABEL = "best epoch of each fold on its own queries (published selection)"


def figure_columns(figure: PublishedFigure | None) -> dict[str, Any]:
    """Columns of a table for what a paper reports, labelled with whose protocol it is."""
    return {
        "published": float("nan") if figure is None else figure.accuracy,
        "published_label": "" if figure is None else figure.label,
    }


@dataclass(frozen=True)
class FewShotResult:
    """What :func:`few_shot` found.

    Attributes
    ----------
    folds : DataFrame
        One row for each episode: ``fold``, ``classes`` (the labels drawn), ``n_support``,
        ``n_query``, ``accuracy``, ``seconds``; with ``report="published"`` also
        ``best_test_epoch`` and ``best_test_epoch_accuracy``.
    protocol : str
        Which part was trained, and how.
    n_way, n_shot : int or None
        None where episodes differ in it.
    selection : str
        What was chosen, and on which data.
    seconds : float
        Wall time of everything, features included.
    published : PublishedFigure or None
        What the paper of the method reports for such episodes, on its data, chosen its way.
    """

    folds: pd.DataFrame
    protocol: str
    n_way: int | None
    n_shot: int | None
    selection: str
    seconds: float
    published: PublishedFigure | None = None

    @property
    def accuracy(self) -> float:
        """Share of queries named rightly, mean over episodes."""
        return float(self.folds["accuracy"].mean())

    @property
    def std(self) -> float:
        """Standard deviation over episodes, n - 1 in its denominator; NaN for one.

        Papers do not say which they print; with ten folds the other is 5 % smaller. It is the
        spread of single episodes, not the uncertainty of their mean.
        """
        return float(self.folds["accuracy"].std(ddof=1))

    @property
    def best_epoch_accuracy(self) -> float | None:
        """Mean over episodes of the best epoch on their queries; None unless asked for."""
        return self._best("mean")

    @property
    def best_epoch_std(self) -> float | None:
        """The standard deviation that goes with `best_epoch_accuracy`."""
        return self._best("std")

    def _best(self, statistic: str) -> float | None:
        if "best_test_epoch_accuracy" not in self.folds:
            return None
        return float(self.folds["best_test_epoch_accuracy"].agg(statistic))

    def to_frame(self) -> pd.DataFrame:
        """One row: setting, mean and standard deviation as shares, selection in words."""
        row = {
            "protocol": self.protocol,
            "n_way": self.n_way,
            "n_shot": self.n_shot,
            "n_folds": len(self.folds),
            "accuracy": self.accuracy,
            "std": self.std,
        }
        if self.best_epoch_accuracy is not None:
            row |= {
                BEST_EPOCH_LABEL: self.best_epoch_accuracy,
                "its std": self.best_epoch_std,
            }
        return pd.DataFrame(
            [row | {"selection": self.selection, "seconds": self.seconds}
             | figure_columns(self.published)]
        )  # fmt: skip

    def __str__(self) -> str:
        way, shot = (
            "mixed" if number is None else str(number) for number in (self.n_way, self.n_shot)
        )
        text = f"{way}-way {shot}-shot, {self.protocol}: {_percent(self.accuracy, self.std)}"
        text += f" over {len(self.folds)} episode{'s' if len(self.folds) > 1 else ''}"
        if self.best_epoch_accuracy is not None:
            text += f"; {BEST_EPOCH_LABEL}: "
            text += _percent(self.best_epoch_accuracy, self.best_epoch_std)
        return f"{text}. {self.selection}"


def _percent(mean: float, spread: float | None) -> str:
    """Mean and spread in percent; of a single episode, which has no spread, the mean alone."""
    if spread is None or np.isnan(spread):
        return f"{100 * mean:.1f} %"
    return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
