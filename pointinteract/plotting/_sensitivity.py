"""MaskSensitivityDisplay: what changes when "region" and "absent" mean something else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pointinteract.plotting._cloud import TEXT_COLOR
from pointinteract.plotting._orders import CURVE_COLORS, MARKERS, NOISE_COLOR
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import MaskSensitivity

RANGES = (("kappa_low", "few regions"), ("kappa_high", "many regions"))


class MaskSensitivityDisplay:
    """Strength of low and high orders by choice, and agreement with the first choice by order.

    Make it with :meth:`from_sensitivity`.

    Parameters
    ----------
    frame : DataFrame
        As :meth:`MaskSensitivity.to_frame` returns it.
    correlations : DataFrame
        As :meth:`MaskSensitivity.correlation_by_order` returns it.

    Attributes
    ----------
    axes_ : list of two matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, frame: pd.DataFrame, correlations: pd.DataFrame) -> None:
        self.frame = frame
        self.correlations = correlations

    @classmethod
    def from_sensitivity(cls, sensitivity: "MaskSensitivity") -> "MaskSensitivityDisplay":
        """Take the tables of what :func:`mask_sensitivity` returned."""
        return cls(sensitivity.to_frame(), sensitivity.correlation_by_order())

    def plot(self, axes: "Sequence[Axes] | None" = None) -> "MaskSensitivityDisplay":
        """Draw both panels.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, optional
            A new figure is made if left out.

        Returns
        -------
        display : MaskSensitivityDisplay
            This one.
        """
        if axes is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            height = max(3.2, 1.4 + 0.34 * len(self.frame))
            _, axes = pyplot.subplots(1, 2, figsize=(9.6, height), layout="constrained")
        if len(axes) != 2:
            raise ValueError(f"axes must be two matplotlib Axes, got {len(axes)}.")
        self._draw_ranges(axes[0])
        self._draw_correlations(axes[1])
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(colors=TEXT_COLOR)
        self.axes_, self.figure_ = list(axes), axes[0].figure
        return self

    def _draw_ranges(self, ax: "Axes") -> None:
        """One row for each choice, from top to bottom: two dots with their intervals."""
        frame = self.frame
        rows = np.arange(len(frame))
        several = frame["players"].nunique() > 1
        for number, (name, text) in enumerate(RANGES):
            color = CURVE_COLORS[number]
            height = rows + 0.14 * (2 * number - 1)
            low, high = frame[f"{name}_from"], frame[f"{name}_to"]
            ax.hlines(height, low, high, color=color, lw=2.5, alpha=0.35)
            ax.plot(
                frame[name],
                height,
                linestyle="",
                marker=MARKERS[number],
                color=color,
                markersize=6,
                label=text,
            )
        names = frame["players"] + ", " + frame["absence"] if several else frame["absence"]
        ax.set_yticks(rows, names)
        ax.set_ylim(len(frame) - 0.5, -0.5)
        ax.set_xlim(left=0)
        ax.set_xlabel("share of interaction strength", color=TEXT_COLOR)
        # Above the panel: every place inside may be taken by an interval.
        ax.legend(
            frameon=False,
            fontsize=9,
            labelcolor=TEXT_COLOR,
            ncols=2,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            borderpad=0.2,
        )

    def _draw_correlations(self, ax: "Axes") -> None:
        """One curve for each choice that has the players of the reference."""
        first = self.frame.iloc[0]
        table = self.correlations
        table = table[
            (table["players"] == first["players"]) & (table["absence"] == first["absence"])
        ]
        for number, (absence, curve) in enumerate(table.groupby("absence_other", sort=False)):
            color = CURVE_COLORS[number % len(CURVE_COLORS)]
            if curve["low"].notna().any():
                ax.fill_between(
                    curve["order"], curve["low"], curve["high"], color=color, alpha=0.15, lw=0
                )
            # Thinner and thinner, so that curves that fall together are all seen.
            ax.plot(
                curve["order"],
                curve["correlation"],
                color=color,
                linewidth=max(1.0, 2.8 - 0.5 * number),
                marker=MARKERS[number % len(MARKERS)],
                markersize=max(3.0, 8 - 1.2 * number),
                label=absence,
            )
        ax.axhline(0, color=NOISE_COLOR, lw=0.8, zorder=0)
        ax.set_ylim(min(-0.05, ax.get_ylim()[0]), 1.03)
        ax.set_xlabel("order: number of regions acting together", color=TEXT_COLOR)
        ax.set_ylabel("correlation of I(S)", color=TEXT_COLOR)
        title = f"the same effects as with {first['absence']}?"
        ax.set_title(title, fontsize=10, color=TEXT_COLOR, loc="left")
        if len(table):
            ax.set_xticks(sorted(table["order"].unique()))
            ax.legend(
                frameon=False,
                fontsize=9,
                labelcolor=TEXT_COLOR,
                loc="center left",
                bbox_to_anchor=(1, 0.5),
            )
