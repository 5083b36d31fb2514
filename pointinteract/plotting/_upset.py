"""UpsetDisplay: the strongest interactions as bars, with their members as dots below."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.coalitions import coalition_members
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    plot_safe,
    region_colors,
)
from pointinteract.plotting._regions import cloud_title, region_labels
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from pointinteract.explanation import Explanation

# Of more regions than this only those that take part have a row of dots.
_ALL_ROWS = 16


class UpsetDisplay:
    """A column for each interaction: its effect as a bar, its regions as joined dots.

    Twenty sets can be read at a glance this way where twenty pictures of a cloud cannot. Of more
    than sixteen regions those that take no part have no row.

    Parameters
    ----------
    members : sequence of tuple of int
        Regions of each interaction.
    effects : sequence of float
    labels : sequence of str, shape (n_regions,)
    heading : str

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
        Bars, dots.
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        members: Sequence[tuple[int, ...]],
        effects: Sequence[float],
        *,
        labels: Sequence[str],
        heading: str,
    ) -> None:
        self.members = list(members)
        self.effects = list(effects)
        self.labels = list(labels)
        self.heading = heading

    @classmethod
    def from_explanation(
        cls,
        explanation: "Explanation",
        *,
        cloud: int = 0,
        top: int = 20,
        min_order: int = 1,
    ) -> "UpsetDisplay":
        """Take the strongest interactions of a cloud.

        Parameters
        ----------
        explanation : Explanation
            Of a sampled one, its exact and stable interactions.
        cloud : int, default=0
        top : int, default=20
        min_order : int, default=1
            2 leaves out what single regions do alone.
        """
        coalitions = explanation.strongest(cloud, top, min_order=min_order)
        return cls(
            [coalition_members(index) for index in coalitions],
            explanation.effects(cloud, coalitions).tolist(),
            labels=region_labels(explanation, cloud),
            heading=cloud_title(explanation, cloud),
        )

    def plot(self) -> "UpsetDisplay":
        """Draw into a new figure."""
        pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
        n_sets, regions = len(self.members), self._rows()
        n_rows = len(regions)
        figure, axes = pyplot.subplots(
            2,
            1,
            sharex=True,
            figsize=(2.0 + 0.3 * n_sets, 2.4 + 0.2 * n_rows),
            height_ratios=[2.0, 0.2 * n_rows],
            layout="constrained",
        )
        bars, dots = axes
        effects = np.array(self.effects)
        colors = np.where(effects >= 0, SUPPORT_COLOR, OPPOSE_COLOR)
        bars.bar(range(n_sets), effects, color=colors, width=0.7)
        bars.axhline(0, color=TEXT_COLOR, linewidth=0.8)
        bars.set_ylabel("effect", color=TEXT_COLOR)
        bars.set_title(self.heading, fontsize=10, color=TEXT_COLOR)
        columns, rows = np.meshgrid(np.arange(n_sets), np.arange(n_rows))
        dots.scatter(columns, rows, s=14, color=ABSENT_COLOR, linewidths=0)
        palette = region_colors(len(self.labels))
        for column, members in enumerate(self.members):
            places = [regions.index(member) for member in members]
            dots.plot([column] * 2, [min(places), max(places)], color=TEXT_COLOR, lw=1, zorder=1)
            dots.scatter(
                [column] * len(members),
                places,
                s=34,
                c=[palette[member] for member in members],
                linewidths=0,
                zorder=2,
            )
        labels = [plot_safe(self.labels[region]) for region in regions]
        dots.set_yticks(range(n_rows), labels, fontsize=8)
        dots.set_ylim(n_rows - 0.5, -0.5)
        dots.set_xticks([])
        dots.set_xlabel("Blue bar: speaks for the class. Orange: against it.", fontsize=8.5)
        for ax in axes:
            ax.spines[["top", "right", "bottom"]].set_visible(False)
            ax.tick_params(colors=TEXT_COLOR)
        self.axes_, self.figure_ = axes, figure
        return self

    def _rows(self) -> list[int]:
        """Regions that have a row of dots."""
        if len(self.labels) <= _ALL_ROWS:
            return list(range(len(self.labels)))
        return sorted({member for members in self.members for member in members})
