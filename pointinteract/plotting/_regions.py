"""RegionInteractionDisplay: the strongest interactions of a cloud, drawn on the cloud."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.coalitions import coalition_members
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    frame_clouds,
    make_grid,
    plot_safe,
    project,
    region_colors,
)
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import Explanation

# More members than this are counted, not listed; more regions than that bear no names.
_LISTED = 4
_NAMED = 40
LEGEND = "Blue number: speaks for the class. Orange: against it. Gray regions take no part."
SCORE_WORDS = {
    "log_odds": "log-odds",
    "log_probability": "log-probability",
    "probability": "probability",
}


class RegionInteractionDisplay:
    """A cloud with its regions in color, and one panel for each of its strongest interactions.

    In each of these panels the regions that act together keep their colors and all others are
    gray. A positive number speaks for the class, a negative one against it.

    Parameters
    ----------
    points : ndarray, shape (n_points, 3)
    regions : ndarray of int, shape (n_points,)
    n_regions : int
    coalitions : sequence of int
        Numbers of the coalitions to draw.
    effects : sequence of float
        Interaction of each.
    titles : sequence of str
        What stands above each panel.
    heading : str
        What stands above the whole cloud.
    labels : sequence of str, shape (n_regions,)
        What is written on each region of the whole cloud.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The whole cloud first.
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        points: np.ndarray,
        regions: np.ndarray,
        n_regions: int,
        *,
        coalitions: Sequence[int],
        effects: Sequence[float],
        titles: Sequence[str],
        heading: str,
        labels: Sequence[str],
    ) -> None:
        self.points = points
        self.regions = regions
        self.n_regions = n_regions
        self.coalitions = list(coalitions)
        self.effects = list(effects)
        self.titles = list(titles)
        self.heading = heading
        self.labels = list(labels)

    @classmethod
    def from_explanation(
        cls,
        explanation: "Explanation",
        *,
        cloud: int = 0,
        top: int = 5,
        min_order: int = 1,
    ) -> "RegionInteractionDisplay":
        """Take the strongest interactions of a cloud.

        Parameters
        ----------
        explanation : Explanation
            Of a sampled one, its exact and stable interactions.
        cloud : int, default=0
        top : int, default=5
            Number of interactions.
        min_order : int, default=1
            2 leaves out what single regions do alone.
        """
        coalitions = explanation.strongest(cloud, top, min_order=min_order)
        return cls(
            explanation.points[cloud],
            explanation.regions[cloud],
            explanation.n_regions,
            coalitions=coalitions.tolist(),
            effects=explanation.effects(cloud, coalitions).tolist(),
            titles=[interaction_title(explanation, cloud, index) for index in coalitions],
            heading=cloud_title(explanation, cloud),
            labels=region_labels(explanation, cloud),
        )

    def plot(
        self,
        *,
        view: tuple[float, float] = VIEW,
        up: str = "z",
        n_columns: int | None = None,
        panel_size: float = 2.5,
    ) -> "RegionInteractionDisplay":
        """Draw all panels into a new figure.

        Parameters
        ----------
        view : (elevation, azimuth) in degrees, default=(18, -60)
        up : {"x", "y", "z"}, default="z"
            The vertical axis of the clouds.
        n_columns : int, optional
        panel_size : float, default=2.5
            Side of a panel in inches.

        Returns
        -------
        display : RegionInteractionDisplay
            This one.
        """
        plane, _ = project(self.points, view=view, up=up)
        width, height = np.ptp(plane, axis=0)
        ratio = float(np.clip(height / max(width, 1e-9), 0.45, 1.1))
        figure, axes = make_grid(
            len(self.coalitions) + 1,
            n_columns=n_columns,
            panel_size=panel_size,
            panel_height=panel_size * ratio + 0.55,
        )
        # A bold line of 9 points fits about eleven letters to the inch.
        letters = int(panel_size * 11)
        palette = np.array(region_colors(self.n_regions))
        headings = [self.heading, *self.titles]
        title_colors = [TEXT_COLOR] + [
            SUPPORT_COLOR if effect >= 0 else OPPOSE_COLOR for effect in self.effects
        ]
        everything = 2**self.n_regions - 1
        for ax, coalition, heading, title_color in zip(
            axes, [everything, *self.coalitions], headings, title_colors, strict=True
        ):
            members = np.isin(self.regions, coalition_members(coalition))
            colors = np.where(members, palette[self.regions], ABSENT_COLOR)
            draw_cloud(ax, self.points, colors=colors, view=view, up=up)
            frame_clouds(ax, plane, tight=True)
            text = textwrap.fill(heading, letters)
            ax.set_title(text, fontsize=9, color=title_color, pad=4)
        axes[0].title.set_fontweight("bold")
        self._label_regions(axes[0], plane)
        figure.supxlabel(LEGEND, fontsize=8.5, color=TEXT_COLOR)
        self.axes_, self.figure_ = axes, figure
        return self

    def _label_regions(self, ax: "Axes", plane: np.ndarray) -> None:
        """Write the name of each region on it, once, on the whole cloud."""
        if self.n_regions > _NAMED:
            return
        effects = import_optional("matplotlib.patheffects", extra="plot", purpose="drawing")
        halo = [effects.withStroke(linewidth=2.2, foreground="white")]
        for region, label in enumerate(self.labels):
            place = plane[self.regions == region]
            if len(place):
                x, y = np.median(place, axis=0)
                ax.text(
                    x,
                    y,
                    plot_safe(label),
                    fontsize=7.5,
                    ha="center",
                    va="center",
                    color=TEXT_COLOR,
                    fontweight="bold",
                    path_effects=halo,
                )


def interaction_title(explanation: "Explanation", cloud: int, coalition: int) -> str:
    """Say in plain words which regions do what: "back + seat together: +1.8"."""
    members = coalition_members(coalition)
    effect = signed(float(explanation.effects(cloud, [coalition])[0]))
    if len(members) > _LISTED:
        return f"{len(members)} regions together: {effect}"
    if explanation.region_names is None:
        numbers = " + ".join(str(member) for member in members)
        who = f"region {numbers}" if len(members) == 1 else f"regions {numbers}"
    else:
        who = " + ".join(map(plot_safe, explanation.names_of(cloud, coalition)))
    return f"{who} {'alone' if len(members) == 1 else 'together'}: {effect}"


def cloud_title(explanation: "Explanation", cloud: int) -> str:
    """Say what is explained, and how high the score of the whole cloud is."""
    score = str(explanation.meta.get("score", "score"))
    word = SCORE_WORDS.get(score, score)
    value = signed(explanation.values[cloud, -1])
    if explanation.targets is None:
        return f"whole cloud: {word} {value}"
    name = plot_safe(explanation.class_name(explanation.targets[cloud]))
    return (
        f"{name}: {word} {value}"
        if explanation.classes is not None
        else (f"class {name}: {word} {value}")
    )


def region_labels(explanation: "Explanation", cloud: int) -> list[str]:
    """Name of each region, or its number."""
    if explanation.region_names is None:
        return [str(region) for region in range(explanation.n_regions)]
    return list(explanation.region_names[cloud])


def signed(number: float) -> str:
    """Write a number with its sign, and a true minus."""
    digits = 1 if abs(number) >= 0.95 else 2
    return f"{number:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
