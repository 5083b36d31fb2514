"""ComparisonDisplay: methods in several protocols, beside what their papers print."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.plotting._cloud import TEXT_COLOR
from pointinteract.plotting._orders import CURVE_COLORS, MARKERS, NOISE_COLOR
from pointinteract.plotting._study import _legend_text
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 0.62  # share of a method's row that its dots take


class ComparisonDisplay:
    """A row for each method, a color for each protocol: the mean, a bar of one sd over seeds.

    Small dots are single seeds. Open marks are the papers' figures, on their own data set and
    by their own protocol.

    Parameters
    ----------
    frame : DataFrame
        As ``report.frame`` of :func:`pointinteract.protocols.compare`: columns ``method``,
        ``protocol``, ``variant``, ``mean``, ``sd``, ``n``, ``published`` and
        ``published_label``. Rows without a mean are left out.
    runs : DataFrame, optional
        As ``report.runs``, for the dots of single seeds.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, frame: pd.DataFrame, runs: pd.DataFrame | None = None) -> None:
        self.frame = frame
        self.runs = runs

    @classmethod
    def from_report(cls, report: Any) -> "ComparisonDisplay":
        """Take the numbers of a :class:`pointinteract.protocols.ComparisonReport`."""
        return cls(report.frame, report.runs)

    def plot(self, ax: "Axes | None" = None) -> "ComparisonDisplay":
        """Draw the rows, into a new figure if no axes are given."""
        frame = self.frame[self.frame["n"] > 0]
        if not len(frame):
            raise ValueError("there is nothing to draw: no run came to a number.")
        methods = list(dict.fromkeys(frame["method"]))
        kinds = list(dict.fromkeys(zip(frame["protocol"], frame["variant"], strict=True)))
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            height = 1.2 + len(methods) * max(0.42, 0.2 * len(kinds))
            _, ax = pyplot.subplots(figsize=(7.6, height), layout="constrained")
        for number, (protocol, variant) in enumerate(kinds):
            rows = frame[(frame["protocol"] == protocol) & (frame["variant"] == variant)]
            places = np.array([methods.index(method) for method in rows["method"]], dtype=float)
            places += _HEIGHT * ((number + 0.5) / len(kinds) - 0.5)
            name = ": ".join(part for part in (protocol.replace("_", " "), variant) if part)
            self._draw_kind(ax, rows, places, number, name)
        ax.set_yticks(range(len(methods)), [_legend_text(method) for method in methods])
        ax.set_ylim(len(methods) - 0.5, -0.5)  # the first on top
        for border in range(1, len(methods)):
            ax.axhline(border - 0.5, color=NOISE_COLOR, linewidth=0.4, alpha=0.5)
        ax.set_xlabel("accuracy (%)", color=TEXT_COLOR)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=TEXT_COLOR)
        self._name_kinds(ax, frame)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _draw_kind(
        self, ax: "Axes", rows: pd.DataFrame, places: np.ndarray, number: int, name: str
    ) -> None:
        style: dict[str, Any] = {
            "color": CURVE_COLORS[number % len(CURVE_COLORS)],
            # Where the colors begin again, the shapes are one further.
            "marker": MARKERS[(number + number // len(CURVE_COLORS)) % len(MARKERS)],
        }
        spread = 100 * rows["sd"].fillna(0.0)
        ax.errorbar(100 * rows["mean"], places, xerr=spread, linestyle="none", markersize=6,
                    capsize=3, linewidth=1.5, label=_legend_text(name), zorder=3,
                    **style)  # fmt: skip
        if self.runs is not None:
            for (_, row), place in zip(rows.iterrows(), places, strict=True):
                single = self.runs.dropna(subset=["accuracy"])
                for column in ("method", "protocol", "variant"):
                    single = single[single[column] == row[column]]
                if len(single) > 1:
                    ax.scatter(100 * single["accuracy"], np.full(len(single), place), s=9,
                               color=style["color"], alpha=0.45, linewidths=0,
                               zorder=2)  # fmt: skip
        known = rows["published"].notna().to_numpy()
        ax.scatter(100 * rows["published"][known], places[known], s=52, facecolors="none",
                   edgecolors=style["color"], marker=style["marker"], linewidths=1.3,
                   zorder=3)  # fmt: skip

    def _name_kinds(self, ax: "Axes", frame: pd.DataFrame) -> None:
        handles, labels = ax.get_legend_handles_labels()
        known = frame[frame["published"].notna()]
        if len(known):
            # Part of every label, since it need not be the set that was compared on.
            sets = {name for label in known["published_label"] for name in str(label).split(", ")
                    if name.startswith(("ModelNet", "ScanObjectNN", "ShapeNet"))}  # fmt: skip
            lines = import_optional("matplotlib.lines", extra="plot", purpose="drawing")
            handles.append(
                lines.Line2D([], [], linestyle="none", marker="o", markersize=7,
                             markerfacecolor="none", markeredgecolor=TEXT_COLOR)
            )  # fmt: skip
            of_sets = f"{' and '.join(sorted(sets))}, " if sets else ""
            labels.append(f"published, {of_sets}by its own protocol")
        ax.legend(
            handles, labels, frameon=False, fontsize=8, labelcolor=TEXT_COLOR, ncols=2,
            loc="lower center", bbox_to_anchor=(0.4, 1.0),
        )  # fmt: skip
