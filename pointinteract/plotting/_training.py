"""HistoryDisplay: what a training logged, epoch by epoch."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from pointinteract.plotting._cloud import TEXT_COLOR
from pointinteract.plotting._orders import CURVE_COLORS
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCALES = ("auto", "linear", "log")
# Times that one loss is another from which on the smaller looks like zero beside it.
FAR_APART = 20
# Columns that are about the run and not about what was learned.
_LEFT_OUT = ("epoch", "learning_rate", "lr", "seconds", "time", "duration")


class HistoryDisplay:
    """Curves of losses; of scores, and of strengths of interactions, in panels of their own.

    Parameters
    ----------
    history : DataFrame
        One row for each epoch, which is the index or a column named epoch.
    columns : sequence of str, optional
        What to draw; by default everything but learning rate and time.
    scale : {"auto", "linear", "log"}, default="auto"
        Of the axis of losses. ``"auto"`` is logarithmic where terms of the loss are so different
        in size that the small ones would look like zero.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        history: pd.DataFrame,
        *,
        columns: Sequence[str] | None = None,
        scale: str = "auto",
    ) -> None:
        self.history = history
        self.columns = columns
        self.scale = scale

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, columns: Sequence[str] | None = None, scale: str = "auto"
    ) -> "HistoryDisplay":
        """Take ``history_`` of a fitted estimator."""
        if not hasattr(estimator, "history_"):
            raise ValueError(
                f"{type(estimator).__name__} has no history_; call fit before drawing it."
            )
        return cls(estimator.history_, columns=columns, scale=scale)

    def plot(self, axes: "Sequence[Axes] | None" = None) -> "HistoryDisplay":
        """Draw the curves.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            One for losses, and one each for scores and strengths where there are any.

        Returns
        -------
        display : HistoryDisplay
            This one.
        """
        check_option("scale", self.scale, SCALES)
        frame = self.history
        if "epoch" in frame.columns:
            frame = frame.set_index("epoch")
        panels = self._panels(frame)
        if axes is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            _, grid = pyplot.subplots(
                1,
                len(panels),
                figsize=(4.6 * len(panels), 3.2),
                squeeze=False,
                layout="constrained",
            )
            axes = list(grid[0])
        if len(axes) < len(panels):
            raise ValueError(f"axes must be {len(panels)}, one for each of {list(panels)}.")
        for ax, (label, columns) in zip(axes, panels.items(), strict=False):
            self._draw(ax, frame, label, columns)
            if label == "loss" and self._is_logarithmic(frame[columns]):
                self._make_logarithmic(ax)
        self.axes_, self.figure_ = list(axes), axes[0].figure
        return self

    def _panels(self, frame: pd.DataFrame) -> dict[str, list[str]]:
        columns = self.columns
        if columns is None:
            numeric = frame.select_dtypes("number").columns
            columns = [name for name in numeric if name not in _LEFT_OUT]
        missing = [name for name in columns if name not in frame.columns]
        if missing or not columns:
            raise ValueError(f"history has no columns {missing}; it holds {list(frame.columns)}.")
        scores = [name for name in columns if "score" in name or "accuracy" in name]
        shares = [name for name in columns if name.startswith("kappa")]
        losses = [name for name in columns if name not in (*scores, *shares)]
        panels = (("loss", losses), ("score", scores), ("strength of interactions", shares))
        return {label: names for label, names in panels if names}

    def _is_logarithmic(self, losses: pd.DataFrame) -> bool:
        if self.scale != "auto":
            return self.scale == "log"
        sizes = losses.median().dropna()
        positive = bool((losses.dropna(how="all").fillna(1.0) > 0).all(axis=None))
        return positive and len(sizes) > 1 and sizes.max() > FAR_APART * sizes.min()

    def _make_logarithmic(self, ax: "Axes") -> None:
        ticker = import_optional("matplotlib.ticker", extra="plot", purpose="drawing")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
        # The curves fill the panel from top to bottom now; the legend goes beside it.
        legend = ax.get_legend()
        if legend is not None:
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((1.0, 1.0))

    def _draw(self, ax: "Axes", frame: pd.DataFrame, label: str, columns: list[str]) -> None:
        for number, name in enumerate(columns):
            curve = frame[name].dropna()
            ax.plot(
                curve.index,
                curve,
                color=CURVE_COLORS[number % len(CURVE_COLORS)],
                linewidth=2,
                marker="o" if len(curve) < 8 else None,
                markersize=4,
                label=name.replace("_", " "),
            )
        ax.set_xlabel("epoch", color=TEXT_COLOR)
        ax.set_ylabel(
            label if len(columns) > 1 else columns[0].replace("_", " "), color=TEXT_COLOR
        )
        ticker = import_optional("matplotlib.ticker", extra="plot", purpose="drawing")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=TEXT_COLOR)
        if len(columns) > 1:
            ax.legend(frameon=False, fontsize=9, labelcolor=TEXT_COLOR)
