"""Displays of a study: curves by order, accuracy, share of the data, losses."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.games.orders import noise_floor
from pointinteract.plotting._cloud import TEXT_COLOR, plot_safe
from pointinteract.plotting._orders import AXIS_LABELS, CURVE_COLORS, MARKERS, NOISE_COLOR
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pointinteract.explanation import InteractionStudy

CURVES_BY = ("arm", "stage", "fraction")
KEYS = ("backbone", "arm", "stage", "fraction", "seed")


class StudyOrdersDisplay:
    """Strength by order, a panel for each backbone: thin lines are seeds, thick ones their mean.

    Parameters
    ----------
    curves : DataFrame
        Columns panel, curve, seed, order and strength.
    normalize : str, default="kappa"
    noise_floor : ndarray, shape (n_regions,), optional
        What pure noise would give.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        curves: pd.DataFrame,
        *,
        normalize: str = "kappa",
        noise_floor: np.ndarray | None = None,
    ) -> None:
        self.curves = curves
        self.normalize = normalize
        self.noise_floor = noise_floor

    @classmethod
    def from_study(
        cls,
        study: "InteractionStudy",
        *,
        by: str = "arm",
        arm: str | None = None,
        normalize: str = "kappa",
        clouds: str = "all",
    ) -> "StudyOrdersDisplay":
        """Take the curves of a study that has run.

        Parameters
        ----------
        study : InteractionStudy
        by : {"arm", "stage", "fraction"}, default="arm"
            What tells the curves of a panel apart: arms, fully pre-trained and on all labels;
            or the stages (shares of the data) of one arm.
        arm : str, optional
            For stages and fractions; the last arm if left out.
        normalize, clouds : str
            See ``study.strength_``.
        """
        check_option("by", by, CURVES_BY)
        table = study.strength_
        table = table[(table["normalize"] == normalize) & (table["clouds"] == clouds)]
        if by != "arm":
            table = table[table["arm"] == (arm or study.models_["arm"].iloc[-1])]
        for column in ("stage", "fraction"):
            if column != by:
                table = table[table[column] == 1]
        if by != "arm":
            table = table.sort_values(["backbone", by, "seed", "order"], kind="stable")
        curve = table[by] if by == "arm" else table[by].map("{:.0%}".format)
        curves = table.assign(panel=table["backbone"], curve=curve)
        floor = None
        if normalize in ("kappa", "sum"):
            floor = noise_floor(
                int(study.strength_["order"].max()), share_of_total=normalize == "sum"
            )
        return cls(curves, normalize=normalize, noise_floor=floor)

    def plot(self, axes: "Sequence[Axes] | None" = None) -> "StudyOrdersDisplay":
        """Draw every panel, into axes of its own if none are given."""
        panels = list(dict.fromkeys(self.curves["panel"]))
        axes = list(axes) if axes is not None else _row_of_axes(len(panels), share_y=True)
        names = list(dict.fromkeys(self.curves["curve"]))
        for ax, panel in zip(axes, panels, strict=True):
            table = self.curves[self.curves["panel"] == panel]
            for number, name in enumerate(names):
                group = table[table["curve"] == name]
                if not len(group):
                    continue
                style = _style(number)
                for _, seed in group.groupby("seed"):
                    ax.plot(seed["order"], seed["strength"], color=style["color"], lw=0.8,
                            alpha=0.45)  # fmt: skip
                mean = group.groupby("order")["strength"].mean()
                ax.plot(
                    mean.index, mean, lw=2.2, ms=5, label=_legend_text(name), zorder=3, **style
                )
            if self.noise_floor is not None:
                orders = np.arange(1, len(self.noise_floor) + 1)
                ax.plot(orders, self.noise_floor, ls=(0, (1, 2)), color=NOISE_COLOR,
                        label="pure noise")  # fmt: skip
            ax.set_xticks(sorted(set(table["order"])))
            ax.set_title(plot_safe(panel), fontsize=10, color=TEXT_COLOR)
            _dress(ax, "order", AXIS_LABELS.get(self.normalize, self.normalize), legend=False)
        _add_legend(axes[-1])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


class StudyAccuracyDisplay:
    """Kappa high against accuracy: a dot a model, a color an arm, a shape a backbone.

    Parameters
    ----------
    table : DataFrame
        Columns backbone, arm, kappa_high and accuracy.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(self, table: pd.DataFrame, *, title: str = "") -> None:
        self.table = table
        self.title = title

    @classmethod
    def from_study(cls, study: "InteractionStudy") -> "StudyAccuracyDisplay":
        """Take every model of a study that has run."""
        high = study.ranges_.query(
            "clouds == 'all' and normalize == 'kappa' and which == 'high' and bounds == '0.3/0.7'"
        )
        high = high.rename(columns={"value": "kappa_high"})
        table = study.accuracy_[[*KEYS, "accuracy"]].merge(high[[*KEYS, "kappa_high"]], on=KEYS)
        parts = [
            f"{row.scope}: rho = {row.rho:+.2f}, p = {row.p_value:.3f}"
            for row in study.correlation_.itertuples()
            if row.scope in ("pooled", "within backbones") and np.isfinite(row.rho)
        ]
        return cls(table, title="\n".join(parts))

    def plot(self, ax: "Axes | None" = None) -> "StudyAccuracyDisplay":
        """Draw the dots, into a new figure if no axes are given."""
        if ax is None:
            (ax,) = _row_of_axes(1)
        arms, backbones = (list(dict.fromkeys(self.table[key])) for key in ("arm", "backbone"))
        for (backbone, arm), group in self.table.groupby(["backbone", "arm"], sort=False):
            name = arm if len(backbones) == 1 else f"{backbone}, {arm}"
            ax.scatter(
                group["kappa_high"],
                group["accuracy"],
                color=CURVE_COLORS[arms.index(arm) % len(CURVE_COLORS)],
                marker=MARKERS[backbones.index(backbone) % len(MARKERS)],
                s=34,
                alpha=0.85,
                linewidths=0,
                label=_legend_text(name),
            )
        ax.set_title(self.title, fontsize=9, color=TEXT_COLOR)
        _dress(ax, "kappa high: share of the high orders", "accuracy")
        self.ax_, self.figure_ = ax, ax.figure
        return self


class StudyDataDisplay:
    """Lead of the arms over the reference in accuracy, and in kappa high, by share of the data.

    Parameters
    ----------
    gaps : DataFrame
        As ``study.gaps_``: columns arm, fraction, quantity, difference, low and high.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure
    """

    panels = {"accuracy": "lead in accuracy", "kappa high": "lead in kappa high"}

    def __init__(self, gaps: pd.DataFrame) -> None:
        self.gaps = gaps

    @classmethod
    def from_study(cls, study: "InteractionStudy") -> "StudyDataDisplay":
        """Take the leads of the fully pre-trained arms of a study that has run."""
        return cls(study.gaps_[study.gaps_["stage"] == 1])

    def plot(self, axes: "Sequence[Axes] | None" = None) -> "StudyDataDisplay":
        """Draw both panels, into a new figure if no axes are given."""
        axes = list(axes) if axes is not None else _row_of_axes(len(self.panels))
        ticker = import_optional("matplotlib.ticker", extra="plot", purpose="drawing")
        for ax, (quantity, label) in zip(axes, self.panels.items(), strict=True):
            table = self.gaps[self.gaps["quantity"] == quantity]
            groups = table.groupby(["backbone", "arm"], sort=False)
            for number, (keys, group) in enumerate(groups):
                group = group.sort_values("fraction")
                bars = np.abs(group[["low", "high"]].to_numpy().T - group["difference"].to_numpy())
                # One seed and one cloud have no interval, and no bar.
                bars = np.nan_to_num(bars)
                ax.errorbar(group["fraction"], group["difference"], yerr=bars, lw=2, ms=5,
                            capsize=3, label=_legend_text(", ".join(keys)),
                            **_style(number))  # fmt: skip
            ax.axhline(0, color=NOISE_COLOR, lw=0.8, ls=(0, (1, 2)))
            ax.set_xscale("log")
            ax.set_xticks(sorted(set(table["fraction"])))
            ax.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
            ax.xaxis.set_minor_locator(ticker.NullLocator())
            _dress(ax, "share of the labelled data", label, legend=ax is axes[-1])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


class LossCurvesDisplay:
    """How a loss went down during training, and the strength by order that came of it.

    Parameters
    ----------
    histories : mapping of str to DataFrame
        Training records (``classifier.history_``) by name, such as the weight alpha.
    strengths : mapping of str to DataFrame
        Tables as :meth:`Explanation.strength_by_order` returns them, by the same names; further
        names (training without the loss) are drawn too.
    column : str, default="interaction_loss"
        Column of the record to draw; records without it are left out.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        histories: Mapping[str, pd.DataFrame],
        strengths: Mapping[str, pd.DataFrame],
        *,
        column: str = "interaction_loss",
    ) -> None:
        self.histories = dict(histories)
        self.strengths = dict(strengths)
        self.column = column

    def plot(self, axes: "Sequence[Axes] | None" = None) -> "LossCurvesDisplay":
        """Draw both panels, into a new figure if no axes are given."""
        axes = list(axes) if axes is not None else _row_of_axes(2)
        names = list(dict.fromkeys([*self.histories, *self.strengths]))
        for number, name in enumerate(names):
            style, label = _style(number), _legend_text(name)
            if name in self.histories and self.column in self.histories[name]:
                curve = self.histories[name][self.column].dropna()
                few = style["marker"] if len(curve) < 8 else None
                color = style["color"]
                axes[0].plot(curve.index, curve, lw=2, color=color, marker=few, label=label)
            if name in self.strengths:
                table = self.strengths[name]
                axes[1].plot(table["order"], table["strength"], lw=2, ms=5, label=label, **style)
        _dress(axes[0], "epoch", self.column.replace("_", " "), legend=False)
        _dress(axes[1], "order", AXIS_LABELS["kappa"])
        self.axes_, self.figure_ = axes, axes[0].figure
        return self


def _style(number: int) -> dict[str, Any]:
    return {
        "color": CURVE_COLORS[number % len(CURVE_COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        # Where the colors begin again, lines are dashed.
        "linestyle": "-" if number < len(CURVE_COLORS) else "--",
    }


def _legend_text(name: object) -> str:
    """A name as matplotlib can draw it, with more room than beside a cloud."""
    return textwrap.shorten(str(name), 44, placeholder="…").replace("$", r"\$") or "?"


def _row_of_axes(n_panels: int, *, share_y: bool = False) -> "list[Axes]":
    pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
    figure: Figure
    figure, grid = pyplot.subplots(
        1,
        n_panels,
        figsize=(1.4 + 3.5 * n_panels, 3.5),
        squeeze=False,
        sharey=share_y,
        layout="constrained",
    )
    return list(grid[0])


def _dress(ax: "Axes", x_label: str, y_label: str, *, legend: bool = True) -> None:
    ax.set_xlabel(x_label, color=TEXT_COLOR)
    ax.set_ylabel(y_label, color=TEXT_COLOR)
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(colors=TEXT_COLOR)
    if legend:
        _add_legend(ax)


def _add_legend(ax: "Axes") -> None:
    """Name the curves, beside the axes where there are too many to fit among them."""
    n_names = len(ax.get_legend_handles_labels()[0])
    if not n_names:
        return
    place: dict[str, Any] = {}
    if n_names > 4:
        place = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
    ax.legend(frameon=False, fontsize=8.5, labelcolor=TEXT_COLOR, **place)
