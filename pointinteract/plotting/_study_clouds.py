"""Displays of a study on clouds: one decision taken apart, and the strongest sets of two arms."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.coalitions import coalition_members, coalition_orders
from pointinteract.games.orders import order_range, signed_total
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    plot_safe,
    region_colors,
)
from pointinteract.plotting._regions import cloud_title, signed
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import Explanation, InteractionStudy

SIDES = ("low", "high")


class DecompositionDisplay:
    """One decision taken apart: some sets with their effects, then the sum of each order.

    The score of the whole cloud is the score of nothing plus the effects of all sets. The bars
    add them up order by order, for one model or for two.

    Parameters
    ----------
    explanations : mapping of str to Explanation
        One or two models, by name, with the same regions.
    cloud : int, default=0
    n_sets : int, default=2
        Sets drawn of the low and of the high orders.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        The clouds, then the bars of each model.
    figure_ : matplotlib Figure
    """

    def __init__(
        self, explanations: "dict[str, Explanation]", *, cloud: int = 0, n_sets: int = 2
    ) -> None:
        self.explanations = dict(explanations)
        self.cloud = cloud
        self.n_sets = n_sets

    @classmethod
    def from_study(
        cls, study: "InteractionStudy", *, arm: str | None = None, cloud: int = 0
    ) -> "DecompositionDisplay":
        """Take one cloud, as the reference and another arm (by default the last) decide it."""
        return cls(_two_arms(study, arm), cloud=cloud)

    def plot(self, *, view: tuple[float, float] = VIEW, up: str = "z") -> "DecompositionDisplay":
        """Draw into a new figure."""
        pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
        first = next(iter(self.explanations.values()))
        # Low orders are those the first model relies on, high orders those of the last.
        last = list(self.explanations.values())[-1]
        sets = [
            *strongest_sets(first, self.cloud, "low", self.n_sets),
            *strongest_sets(last, self.cloud, "high", self.n_sets),
        ]
        n_columns, n_models = 1 + len(sets), len(self.explanations)
        figure = pyplot.figure(figsize=(2.1 * n_columns, 5.2), layout="constrained")
        grid = figure.add_gridspec(2, n_columns * n_models, height_ratios=(1, 1.1))
        axes = []
        for column, members in enumerate([2**first.n_regions - 1, *sets]):
            ax = figure.add_subplot(grid[0, column * n_models : (column + 1) * n_models])
            draw_set(ax, first, self.cloud, members, view=view, up=up)
            effects = "\n".join(
                f"{plot_safe(name)} {signed(each.interactions[self.cloud, members])}"
                for name, each in self.explanations.items()
            )
            order = len(coalition_members(members))
            title = f"order {order}\n{effects}" if column else cloud_title(first, self.cloud)
            ax.set_title(title, fontsize=8.5, color=TEXT_COLOR)
            axes.append(ax)
        for place, (name, each) in enumerate(self.explanations.items()):
            ax = figure.add_subplot(grid[1, place * n_columns : (place + 1) * n_columns])
            self._draw_bars(ax, each, name)
            axes.append(ax)
        self.axes_, self.figure_ = axes, figure
        return self

    def _draw_bars(self, ax: "Axes", explanation: "Explanation", name: str) -> None:
        """Draw the sum of the effects of each order, each bar standing on the last."""
        steps = signed_total(explanation.interactions[self.cloud])
        values = explanation.values[self.cloud]
        tops = values[0] + np.cumsum(steps)
        colors = [SUPPORT_COLOR if step >= 0 else OPPOSE_COLOR for step in steps]
        orders = np.arange(1, len(steps) + 1)
        ax.bar(orders, steps, bottom=tops - steps, color=colors, width=0.7)
        ends = {0: values[0], len(steps) + 1: values[-1]}
        ax.bar(list(ends), list(ends.values()), color=ABSENT_COLOR, width=0.7)
        ax.axhline(0, color=TEXT_COLOR, lw=0.8)
        ax.set_xticks([*ends, *orders], ["nothing", "cloud", *map(str, orders)], fontsize=8)
        ax.set_xlabel("order of the effects added", color=TEXT_COLOR)
        ax.set_title(plot_safe(name), fontsize=10, color=TEXT_COLOR)
        ax.set_ylabel(str(explanation.meta.get("score", "score")).replace("_", "-"))
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=TEXT_COLOR)


class StrongestSetsDisplay:
    """The strongest low- and high-order set of two models, drawn on the same clouds.

    A row is a cloud. Under each set stand its effect in the model that it was chosen from and,
    gray, in the other.

    Parameters
    ----------
    explanations : mapping of str to Explanation
        Two models, by name, with the same clouds and regions.
    clouds : sequence of int, default=(0, 1, 2)

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, shape (n_clouds, 4)
    figure_ : matplotlib Figure
    """

    def __init__(
        self, explanations: "dict[str, Explanation]", *, clouds: Sequence[int] = (0, 1, 2)
    ) -> None:
        self.explanations = dict(explanations)
        self.clouds = list(clouds)
        if len(self.explanations) != 2:
            raise ValueError(
                f"explanations must be two, {{name: explanation}}; got {list(self.explanations)}."
            )

    @classmethod
    def from_study(
        cls,
        study: "InteractionStudy",
        *,
        arm: str | None = None,
        clouds: Sequence[int] | None = None,
    ) -> "StrongestSetsDisplay":
        """Take the reference and another arm (by default the last) on three different objects."""
        explanations = _two_arms(study, arm)
        if clouds is None:
            first = next(iter(explanations.values()))
            spread = np.linspace(0, first.n_clouds - 1, min(3, first.n_clouds))
            clouds = spread.astype(int).tolist()
        return cls(explanations, clouds=clouds)

    def plot(self, *, view: tuple[float, float] = VIEW, up: str = "z") -> "StrongestSetsDisplay":
        """Draw into a new figure."""
        pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
        figure, axes = pyplot.subplots(
            len(self.clouds), 4, figsize=(9.6, 2.5 * len(self.clouds)), squeeze=False,
            layout="constrained",
        )  # fmt: skip
        names = list(self.explanations)
        for row, cloud in zip(axes, self.clouds, strict=True):
            panels = [(name, side) for name in names for side in SIDES]
            for ax, (name, side) in zip(row, panels, strict=True):
                mine = self.explanations[name]
                other = names[1 - names.index(name)]
                (members,) = strongest_sets(mine, cloud, side, 1)
                draw_set(ax, mine, cloud, members, view=view, up=up)
                effect = mine.interactions[cloud, members]
                there = self.explanations[other].interactions[cloud, members]
                order = len(coalition_members(members))
                ax.set_title(
                    f"{plot_safe(name)}, order {order}: {signed(effect)}",
                    fontsize=9,
                    color=SUPPORT_COLOR if effect >= 0 else OPPOSE_COLOR,
                )
                ax.text(0.5, -0.04, f"{plot_safe(other)}: {signed(there)}", ha="center", va="top",
                        transform=ax.transAxes, fontsize=8.5, color=TEXT_COLOR)  # fmt: skip
        self.axes_, self.figure_ = axes, figure
        return self


def strongest_sets(explanation: "Explanation", cloud: int, side: str, top: int) -> list[int]:
    """Return the strongest sets of the low or the high orders, those of one region left out."""
    n_regions = explanation.n_regions
    wanted = [order for order in order_range(n_regions, side) if order > 1] or [min(2, n_regions)]
    candidates = np.flatnonzero(np.isin(coalition_orders(n_regions), wanted))
    strength = np.abs(explanation.interactions[cloud, candidates])
    return candidates[np.argsort(-strength, kind="stable")[:top]].tolist()


def draw_set(
    ax: "Axes",
    explanation: "Explanation",
    cloud: int,
    members: int,
    *,
    view: tuple[float, float],
    up: str,
) -> None:
    """Draw a cloud with the regions of one set in color and all others gray."""
    regions = explanation.regions[cloud]
    palette = np.array(region_colors(explanation.n_regions))
    inside = np.isin(regions, coalition_members(members))
    colors = np.where(inside, palette[regions], ABSENT_COLOR)
    draw_cloud(ax, explanation.points[cloud], colors=colors, view=view, up=up)


def _two_arms(study: "InteractionStudy", arm: str | None) -> "dict[str, Explanation]":
    """Reference and one other arm of the first backbone that has both."""
    others = [name for name in study.models_["arm"].unique() if name != study.reference_]
    if not others:
        raise ValueError(f"the study has only the arm {study.reference_!r}; two are needed.")
    chosen = others[-1] if arm is None else arm
    for backbone in study.models_["backbone"].unique():
        try:
            return {
                name: study.explanation(name, backbone=backbone)
                for name in (study.reference_, chosen)
            }
        except KeyError:
            continue
    raise ValueError(f"no backbone has both {study.reference_!r} and {chosen!r}.")
