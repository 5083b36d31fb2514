"""DataScalingDisplay: accuracy against the share of the clouds that pre-training saw."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.plotting._cloud import TEXT_COLOR, plot_safe
from pointinteract.plotting._orders import CURVE_COLORS, MARKERS, NOISE_COLOR
from pointinteract.plotting._places import spread_out
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = ("method", "share", "seed", "accuracy")
CONTROL_NAME = "no pre-training"


class DataScalingDisplay:
    """Curves of what pre-training brings as it sees more clouds, with their spread over seeds.

    Parameters
    ----------
    table : DataFrame
        One row for each run: ``method``, a name; ``share`` of the clouds used for pre-training,
        above 0 and up to 1; ``seed``; and ``accuracy``, 0 to 1. A column ``control`` may hold
        what the same network reached in that run without pre-training; methods whose networks
        differ have a dashed line each.
    methods : sequence of str, optional
        Which to draw, in the order of colors; all, as they occur, unless given.
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Dots are runs, lines their means, and bands one standard deviation to either side, where
    there are several seeds. A method that over-fits to few clouds starts low and rises.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> import pandas as pd
    >>> from pointinteract.plotting import DataScalingDisplay
    >>> runs = [("ReCon", share, seed, 0.8 + 0.1 * share + 0.01 * seed)
    ...         for share in (0.05, 0.25, 1.0) for seed in (0, 1)]
    >>> table = pd.DataFrame(runs, columns=["method", "share", "seed", "accuracy"])
    >>> DataScalingDisplay.from_frame(table).plot().summary().round(3)
      method  share   mean    std  seeds
    0  ReCon   0.05  0.810  0.007      2
    1  ReCon   0.25  0.830  0.007      2
    2  ReCon   1.00  0.905  0.007      2
    """

    def __init__(
        self, table: pd.DataFrame, *, methods: Sequence[str] | None = None, title: str = ""
    ) -> None:
        self.table = table
        self.methods = methods
        self.title = title

    @classmethod
    def from_frame(
        cls, table: pd.DataFrame, *, methods: Sequence[str] | None = None, title: str = ""
    ) -> "DataScalingDisplay":
        """Take a table of runs, once it is found to be one.

        Raises
        ------
        ValueError
            If columns are missing, or shares or accuracies are no shares.
        """
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing or not len(table):
            raise ValueError(
                f"table must have the columns {', '.join(_COLUMNS)} and at least one row; got "
                f"{len(table)} rows of {list(table.columns)}."
            )
        for name in ("share", "accuracy", "control"):
            known = table[name].dropna().tolist() if name in table.columns else []
            if known and not pd.api.types.is_numeric_dtype(pd.Series(known)):
                raise ValueError(f"{name} must be numbers, got {known[:4]}.")
        if not ((table["share"] > 0) & (table["share"] <= 1)).all():
            raise ValueError(
                f"share must be above 0 and at most 1; got {sorted(set(table['share']))}."
            )
        for name in ("accuracy", "control"):
            if name in table.columns and (table[name].dtype == bool or _beyond(table[name])):
                raise ValueError(
                    f"{name} must be numbers from 0 to 1; got {list(table[name])[:4]}."
                )
        unknown = [name for name in methods or () if name not in set(table["method"])]
        if unknown:
            raise ValueError(f"table has no method {unknown[0]!r}; it has {_methods(table)}.")
        return cls(table, methods=methods, title=title)

    def summary(self) -> pd.DataFrame:
        """Mean and spread over seeds.

        Returns
        -------
        frame : DataFrame
            Columns method, share, mean, std (NaN of one seed) and seeds, how many there are.
        """
        shown = self.table[self.table["method"].isin(self._shown())]
        groups = shown.groupby(["method", "share"], sort=True)["accuracy"]
        frame = groups.agg(mean="mean", std="std", seeds="count").reset_index()
        rank = {method: number for number, method in enumerate(self._shown())}
        order = frame["method"].map(rank)
        return frame.iloc[np.lexsort((frame["share"], order))].reset_index(drop=True)

    def plot(self, ax: "Axes | None" = None) -> "DataScalingDisplay":
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure is made if left out.

        Returns
        -------
        display : DataScalingDisplay
            This one.
        """
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            _, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
        summary = self.summary()
        ends: list[tuple[float, str, Any]] = []
        for number, method in enumerate(self._shown()):
            color = CURVE_COLORS[number % len(CURVE_COLORS)]
            curve = summary[summary["method"] == method]
            runs = self.table[self.table["method"] == method]
            if curve["std"].notna().any():
                spread = curve["std"].fillna(0)
                ax.fill_between(curve["share"], curve["mean"] - spread, curve["mean"] + spread,
                                color=color, alpha=0.15, lw=0)  # fmt: skip
            ax.scatter(runs["share"], runs["accuracy"], s=11, color=color, alpha=0.55, lw=0)
            ax.plot(curve["share"], curve["mean"], color=color, lw=2.2, ms=5.5, zorder=3,
                    marker=MARKERS[number % len(MARKERS)], label=plot_safe(method))  # fmt: skip
            ends.append((float(curve["mean"].iloc[-1]), plot_safe(method), color))
        if "control" in self.table.columns:
            ends += self._draw_controls(ax)
        self._dress(ax)
        self._name_curves(ax, [end for end in ends if np.isfinite(end[0])])
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _shown(self) -> list[str]:
        return _methods(self.table) if self.methods is None else list(self.methods)

    def _draw_controls(self, ax: "Axes") -> list[tuple[float, str, Any]]:
        """Dashed levels of networks without pre-training: one, or one for each method."""
        # Once a seed: a control saw no clouds, so it is the same at every share.
        shown = self.table[self.table["method"].isin(self._shown())]
        by_seed = shown.groupby(["seed", "method"])["control"].mean().dropna().unstack("method")
        if by_seed.empty:
            return []
        # Methods of one network share its control; others read features of their own.
        if (by_seed.nunique(axis=1) <= 1).all():
            control = by_seed.mean(axis=1)
            mean = float(control.mean())
            if len(control) > 1:
                spread = float(control.std())
                ax.axhspan(mean - spread, mean + spread, color=NOISE_COLOR, alpha=0.12, lw=0)
            ax.axhline(mean, color=NOISE_COLOR, lw=1.4, ls=(0, (4, 2)), label=CONTROL_NAME)
            return [(mean, CONTROL_NAME, NOISE_COLOR)]
        for number, method in enumerate(self._shown()):
            if method in by_seed:
                color = CURVE_COLORS[number % len(CURVE_COLORS)]
                ax.axhline(float(by_seed[method].mean()), color=color, lw=1.2, ls=(0, (4, 2)),
                           label=f"{plot_safe(method)}, {CONTROL_NAME}")  # fmt: skip
        ax.set_title(f"dashed: {CONTROL_NAME}", loc="right", fontsize=9, color=NOISE_COLOR)
        return []

    def _dress(self, ax: "Axes") -> None:
        ticker = import_optional("matplotlib.ticker", extra="plot", purpose="drawing")
        shares = sorted(set(self.table["share"]))
        ax.set_xscale("log")
        ax.set_xticks(shares, [f"{100 * share:.3g}%" for share in shares])
        ax.xaxis.set_minor_locator(ticker.NullLocator())
        ax.set_xlim(shares[0] * 0.92, shares[-1] * 1.08)
        ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=None))
        ax.set_xlabel("share of the clouds seen in pre-training", color=TEXT_COLOR)
        ax.set_ylabel("accuracy", color=TEXT_COLOR)
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="#E6E9ED", lw=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(colors=TEXT_COLOR)
        if self.title:
            ax.set_title(self.title, loc="left", fontsize=11, color=TEXT_COLOR)

    def _name_curves(self, ax: "Axes", ends: list[tuple[float, str, Any]]) -> None:
        """Write names at the right end of the curves, moved where they would touch."""
        low, high = ax.get_ylim()
        ax.set_ylim(low, high)
        # What a line of letters takes of the axis.
        inches = ax.get_window_extent().height / ax.figure.dpi
        gap = (high - low) * 0.19 / max(inches, 0.2)
        heights = spread_out(np.array([height for height, *_ in ends]), gap)
        for (_, name, color), height in zip(ends, heights, strict=True):
            ax.annotate(name, (1.0, height), xytext=(6, 0), textcoords="offset points",
                        xycoords=ax.get_yaxis_transform(), color=color, fontsize=10,
                        fontweight="bold", va="center", ha="left",
                        annotation_clip=False)  # fmt: skip


def _methods(table: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(table["method"]))


def _beyond(values: pd.Series) -> bool:
    known = values.dropna()
    return bool(((known < 0) | (known > 1)).any())
