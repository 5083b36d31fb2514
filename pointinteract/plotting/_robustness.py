"""RobustnessDisplay: how accuracy falls as corruptions grow."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.plotting._cloud import TEXT_COLOR, make_grid, plot_safe
from pointinteract.plotting._orders import CURVE_COLORS, MARKERS, NOISE_COLOR
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLEAN = "clean"


class RobustnessDisplay:
    """Accuracy against the level of corruption.

    Of one result, a line for each corruption in one panel; of several, a panel for each
    corruption with a line for each result. Level 0 is the clean clouds.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        ``to_frame()`` of results, by name.
    chance : float, optional
        Accuracy of guessing, drawn dotted.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
    """

    def __init__(self, frames: Mapping[str, pd.DataFrame], *, chance: float | None = None) -> None:
        self.frames = dict(frames)
        self.chance = chance

    @classmethod
    def from_result(
        cls, result: Any, *, chance: float | None = None
    ) -> "RobustnessDisplay":
        """Take one RobustnessResult of ``corruption_robustness``."""
        return cls({"": result.to_frame()}, chance=chance)

    @classmethod
    def from_results(
        cls, results: Mapping[str, Any], *, chance: float | None = None
    ) -> "RobustnessDisplay":
        """Take several RobustnessResults by name, tested on the same clouds."""
        frames = {name: result.to_frame() for name, result in results.items()}
        return cls(frames, chance=chance)

    def plot(self, axes: "Axes | Sequence[Axes] | None" = None) -> "RobustnessDisplay":
        """Draw, into a new figure if no axes are given.

        Parameters
        ----------
        axes : matplotlib Axes, or sequence or array of Axes, optional
            One for one result; one for each corruption for several.

        Returns
        -------
        display : RobustnessDisplay
            This one.
        """
        curves = {name: _curves(frame) for name, frame in self.frames.items()}
        if not curves:
            raise ValueError("frames must hold at least one result, got none.")
        if len(curves) == 1:
            self.axes_ = [self._one_axes(axes)]
            self._draw(self.axes_[0], next(iter(curves.values())))
            self._legend(self.axes_[0], 1)
        else:
            kinds = list(dict.fromkeys(kind for table in curves.values() for kind in table))
            self.axes_ = self._grid(axes, len(kinds))
            row = self.axes_[0].get_position().y0
            n_columns = sum(abs(ax.get_position().y0 - row) < 1e-6 for ax in self.axes_)
            for i, (ax, kind) in enumerate(zip(self.axes_, kinds, strict=True)):
                self._draw(ax, {name: table[kind] for name, table in curves.items()
                                if kind in table})  # fmt: skip
                ax.set_title(kind.replace("_", " "), color=TEXT_COLOR, fontsize=10)
                # Panels label their own axis where nothing below or beside does it for them.
                if i + n_columns < len(kinds):
                    ax.set_xlabel("")
                    ax.tick_params(labelbottom=False)
                if i % n_columns:
                    ax.set_ylabel("")
                    ax.tick_params(labelleft=False)
            self._legend(self.axes_[0], 0)
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        return self

    def _one_axes(self, axes: Any) -> "Axes":
        if axes is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            return pyplot.subplots(figsize=(6.4, 3.6), layout="constrained")[1]
        return _given(axes, 1, "for one result")[0]

    def _grid(self, axes: Any, n_panels: int) -> "list[Axes]":
        if axes is None:
            return make_grid(n_panels, panel_size=2.6, panel_height=2.4)[1]
        return _given(axes, n_panels, "one for each corruption")

    def _draw(self, ax: "Axes", lines: Mapping[str, pd.Series]) -> None:
        for number, (name, line) in enumerate(lines.items()):
            ax.plot(
                line.index,
                line,
                color=CURVE_COLORS[number % len(CURVE_COLORS)],
                marker=MARKERS[number % len(MARKERS)],
                # Seven kinds share six colors and markers; the second round is dashed.
                linestyle="-" if number < len(CURVE_COLORS) else "--",
                linewidth=1.8,
                markersize=4,
                label=plot_safe(name.replace("_", " ")),
            )
        if self.chance is not None:
            ax.axhline(self.chance, color=NOISE_COLOR, lw=0.9, ls=(0, (1, 2)), label="chance")
        ticker = import_optional("matplotlib.ticker", extra="plot", purpose="drawing")
        ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        ax.set_ylim(0, 1.02)
        ax.set_xlabel("level of corruption (0: clean)", color=TEXT_COLOR)
        ax.set_ylabel("accuracy", color=TEXT_COLOR)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=TEXT_COLOR)

    def _legend(self, ax: "Axes", outside: int) -> None:
        place: dict[str, Any] = {"loc": "center left"}
        if outside:
            place = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
        ax.legend(frameon=False, fontsize=8, labelcolor=TEXT_COLOR, **place)


def _given(axes: Any, n_panels: int, why: str) -> "list[Axes]":
    """Axes that the user gave: one, several, or an array of them as from ``subplots``."""
    given = list(np.ravel(np.asarray(axes, dtype=object)))
    if len(given) != n_panels:
        raise ValueError(f"axes must be {n_panels}, {why}, got {len(given)}.")
    return given


def _curves(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """Accuracy by level for every corruption, with the clean clouds as level 0."""
    clean = frame.loc[frame["corruption"] == _CLEAN, "accuracy"]
    curves = {}
    for kind, rows in frame[frame["corruption"] != _CLEAN].groupby("corruption", sort=False):
        line = rows.set_index("level")["accuracy"].sort_index()
        if len(clean):
            line = pd.concat([pd.Series({0: clean.iloc[0]}), line])
        curves[str(kind)] = line
    return curves
