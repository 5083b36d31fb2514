"""Heat: strength by class and order in a table of colors, and what each region brings."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.orders import kappa, mean_strength
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    frame_clouds,
    plot_safe,
    project,
)
from pointinteract.plotting._regions import cloud_title, region_labels, signed
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import Explanation

HEADINGS = {
    "shapley": "what each region brings (Shapley value)",
    "banzhaf": "what each region brings (Banzhaf value)",
    "alone": "what each region does alone",
}


class OrderByClassDisplay:
    """A row for each class, a column for each order, the darker the stronger.

    Parameters
    ----------
    strength : ndarray, shape (n_classes, n_regions)
        Share of each order, rows summing to 1.
    class_names : sequence of str
    n_clouds : sequence of int
        Clouds behind each row.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self, strength: np.ndarray, class_names: Sequence[str], n_clouds: Sequence[int]
    ) -> None:
        self.strength = strength
        self.class_names = list(class_names)
        self.n_clouds = list(n_clouds)

    @classmethod
    def from_explanation(
        cls, explanation: "Explanation", *, by: str = "auto"
    ) -> "OrderByClassDisplay":
        """Measure kappa over the clouds of each class.

        Parameters
        ----------
        explanation : Explanation
            Of all 2^n coalitions.
        by : {"auto", "true", "predicted"}, default="auto"
            What a cloud's class is. ``"auto"``: the true one where it is known.
        """
        check_option("by", by, ("auto", "true", "predicted"))
        columns = explanation.predicted if by == "predicted" else explanation.labels
        if columns is None and by == "auto":
            columns = explanation.predicted
        if columns is None:
            raise ValueError(
                f"by={by!r} needs the {'predicted' if by == 'predicted' else 'true'} classes, "
                "which this explanation does not hold; pass y to explain."
            )
        strength = mean_strength(explanation.interactions)
        classes = np.unique(columns)
        rows = [kappa(strength[columns == column].mean(axis=0)) for column in classes]
        return cls(
            np.stack(rows),
            [explanation.class_name(int(column)) for column in classes],
            [int((columns == column).sum()) for column in classes],
        )

    def plot(self, ax: "Axes | None" = None) -> "OrderByClassDisplay":
        """Draw into `ax`, or into a new figure."""
        pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
        n_classes, n_orders = self.strength.shape
        if ax is None:
            size = (2.2 + 0.45 * n_orders, max(2.6, 1.3 + 0.34 * n_classes))
            _, ax = pyplot.subplots(figsize=size, layout="constrained")
        image = ax.imshow(self.strength, cmap="Blues", aspect="auto", vmin=0)
        ax.set_xticks(range(n_orders), [str(order) for order in range(1, n_orders + 1)])
        names = [
            f"{plot_safe(name)} ({count})"
            for name, count in zip(self.class_names, self.n_clouds, strict=True)
        ]
        ax.set_yticks(range(n_classes), names)
        # Numbers where there is room for them; past that the colors must do.
        if n_orders <= 12:
            self._write_numbers(ax)
        ax.set_xlabel("order: number of regions acting together", color=TEXT_COLOR)
        ax.set_ylabel("class (clouds)", color=TEXT_COLOR)
        ax.figure.colorbar(image, ax=ax, label="share of interaction strength")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _write_numbers(self, ax: "Axes") -> None:
        middle = np.nanmax(self.strength, initial=0.0) / 2
        for row, column in np.ndindex(*self.strength.shape):
            number = self.strength[row, column]
            ax.text(
                column,
                row,
                "" if np.isnan(number) else f"{number:.2f}".removeprefix("0"),
                ha="center",
                va="center",
                fontsize=7.5,
                color="white" if number > middle else TEXT_COLOR,
            )


class RegionHeatDisplay:
    """A cloud whose regions are colored by what they bring to the score.

    Parameters
    ----------
    points : ndarray, shape (n_points, 3)
    regions : ndarray of int, shape (n_points,)
    region_values : ndarray, shape (n_regions,)
    labels : sequence of str, shape (n_regions,)
    heading : str
    kind : {"shapley", "banzhaf", "alone"}
        What the values are, for the label.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        points: np.ndarray,
        regions: np.ndarray,
        region_values: np.ndarray,
        *,
        labels: Sequence[str],
        heading: str,
        kind: str = "shapley",
    ) -> None:
        self.points = points
        self.regions = regions
        self.region_values = region_values
        self.labels = list(labels)
        self.heading = heading
        self.kind = kind

    @classmethod
    def from_explanation(
        cls, explanation: "Explanation", *, cloud: int = 0, kind: str = "shapley"
    ) -> "RegionHeatDisplay":
        """Take one cloud.

        Parameters
        ----------
        explanation : Explanation
            Of a sampled one, Shapley and Banzhaf values are those of its surrogate.
        cloud : int, default=0
        kind : {"shapley", "banzhaf", "alone"}, default="shapley"
            ``"shapley"`` shares every interaction out equally among its members, so that the
            regions add up to the change of the score from nothing to everything;
            ``"banzhaf"`` is the mean effect over all companies; ``"alone"`` is the effect of a
            region with no other there.
        """
        check_option("kind", kind, tuple(HEADINGS))
        return cls(
            explanation.points[cloud],
            explanation.regions[cloud],
            _region_values(explanation, cloud, kind),
            labels=region_labels(explanation, cloud),
            heading=cloud_title(explanation, cloud),
            kind=kind,
        )

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        view: tuple[float, float] = VIEW,
        up: str = "z",
    ) -> "RegionHeatDisplay":
        """Draw into `ax`, or into a new figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
        view : (elevation, azimuth) in degrees, default=(18, -60)
        up : {"x", "y", "z"}, default="z"
            The vertical axis of the cloud.
        """
        pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
        colors = import_optional("matplotlib.colors", extra="plot", purpose="drawing")
        if ax is None:
            _, ax = pyplot.subplots(figsize=(5.4, 4.2), layout="constrained")
        limit = float(np.abs(self.region_values).max()) or 1.0
        # As in the other pictures; gray where nothing happens, which shows on white paper.
        blend = colors.LinearSegmentedColormap.from_list(
            "effect", [OPPOSE_COLOR, "#F0B27A", ABSENT_COLOR, "#85B8DC", SUPPORT_COLOR]
        )
        scale = pyplot.cm.ScalarMappable(colors.Normalize(-limit, limit), cmap=blend)
        draw_cloud(
            ax,
            self.points,
            colors=scale.to_rgba(self.region_values)[self.regions],
            view=view,
            up=up,
        )
        plane, _ = project(self.points, view=view, up=up)
        frame_clouds(ax, plane, tight=True)
        for region, label in enumerate(self.labels):
            place = plane[self.regions == region]
            if len(place):
                x, y = np.median(place, axis=0)
                name = plot_safe(textwrap.shorten(label, 14))
                text = f"{name}\n{signed(self.region_values[region])}"
                ax.text(x, y, text, fontsize=7, ha="center", va="center", color=TEXT_COLOR)
        ax.set_title(self.heading, fontsize=10, color=TEXT_COLOR)
        ax.figure.colorbar(scale, ax=ax, shrink=0.7, label=HEADINGS[self.kind])
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _region_values(explanation: "Explanation", cloud: int, kind: str) -> np.ndarray:
    """What each region brings, (n_regions,)."""
    if kind == "alone":
        return explanation.effects(cloud, [1 << region for region in range(explanation.n_regions)])
    frame = explanation[cloud].to_index(kind.capitalize())
    return frame["value"].to_numpy()
