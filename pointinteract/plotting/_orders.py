"""StrengthByOrderDisplay: how much of a decision is made by groups of each size."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pointinteract.games.orders import noise_floor, order_range
from pointinteract.plotting._cloud import TEXT_COLOR
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import Explanation

CURVE_COLORS = ("#0072B2", "#D55E00", "#117733", "#AA4499", "#E69F00", "#332288")
MARKERS = ("o", "s", "^", "D", "v", "P")
NOISE_COLOR = "#7A7F87"
AXIS_LABELS = {
    "kappa": "share of interaction strength",
    "raw": "mean strength of an interaction",
    "z": "mean strength / change of the score",
    "sum": "share of all interaction strength",
    "cancellation": "|sum of effects| / sum of |effects|",
    "signed": "sum of effects",
}


class StrengthByOrderDisplay:
    """Curves of interaction strength against order, with intervals over clouds.

    Make it with :meth:`from_explanation` or :meth:`from_explanations`.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        Tables as :meth:`Explanation.strength_by_order` returns them, by name.
    normalize : str, default="kappa"
        How the strengths were normalized, for the label.
    noise_floor : ndarray, shape (n_regions,), optional
        Drawn dotted: what pure noise would give.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        curves: Mapping[str, pd.DataFrame],
        *,
        normalize: str = "kappa",
        noise_floor: np.ndarray | None = None,
    ) -> None:
        self.curves = dict(curves)
        self.normalize = normalize
        self.noise_floor = noise_floor

    @classmethod
    def from_explanation(
        cls,
        explanation: "Explanation",
        *,
        name: str | None = None,
        normalize: str = "kappa",
        correct_only: bool = False,
    ) -> "StrengthByOrderDisplay":
        """Measure one explanation; the model's name is used if `name` is left out."""
        name = name or str(explanation.meta.get("model", "model"))
        return cls.from_explanations(
            {name: explanation}, normalize=normalize, correct_only=correct_only
        )

    @classmethod
    def from_explanations(
        cls,
        explanations: "Mapping[str, Explanation]",
        *,
        normalize: str = "kappa",
        correct_only: bool = False,
    ) -> "StrengthByOrderDisplay":
        """Measure several explanations, each with its name, to draw them together."""
        if not explanations:
            raise ValueError("explanations is empty; give at least one, as {name: explanation}.")
        sampled = [name for name, each in explanations.items() if not each.is_exact]
        if sampled:
            raise ValueError(
                f"{sampled[0]!r} is a sampled explanation, which knows the strength of only some "
                "orders: strength_by_order() tabulates them. Curves need all coalitions."
            )
        sizes = {explanation.n_regions for explanation in explanations.values()}
        if len(sizes) > 1:
            raise ValueError(
                f"explanations must have the same number of regions, got {sorted(sizes)}."
            )
        floor = None
        if normalize in ("kappa", "sum"):
            floor = noise_floor(sizes.pop(), share_of_total=normalize == "sum")
        curves = {
            name: explanation.strength_by_order(normalize, correct_only=correct_only)
            for name, explanation in explanations.items()
        }
        return cls(curves, normalize=normalize, noise_floor=floor)

    def plot(self, ax: "Axes | None" = None) -> "StrengthByOrderDisplay":
        """Draw all curves.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure is made if left out.

        Returns
        -------
        display : StrengthByOrderDisplay
            This one.
        """
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            _, ax = pyplot.subplots(figsize=(6.2, 3.9), layout="constrained")
        n_orders = len(next(iter(self.curves.values())))
        self._shade_ranges(ax, n_orders)
        for number, (name, curve) in enumerate(self.curves.items()):
            color = CURVE_COLORS[number % len(CURVE_COLORS)]
            if curve["low"].notna().all():
                ax.fill_between(
                    curve["order"], curve["low"], curve["high"], color=color, alpha=0.18, lw=0
                )
            ax.plot(
                curve["order"],
                curve["strength"],
                color=color,
                marker=MARKERS[number % len(MARKERS)],
                markersize=5,
                linewidth=2,
                label=name,
                zorder=3,
            )
        if self.noise_floor is not None:
            ax.plot(
                np.arange(1, n_orders + 1),
                self.noise_floor,
                linestyle=(0, (1, 2)),
                color=NOISE_COLOR,
                label="what pure noise would give",
                zorder=2,
            )
        self._dress(ax, n_orders)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _shade_ranges(self, ax: "Axes", n_orders: int) -> None:
        for which, text in (("low", "few regions"), ("high", "many regions")):
            orders = order_range(n_orders, which)
            left, right = orders[0] - 0.5, orders[-1] + 0.5
            ax.axvspan(left, right, color="#EEF1F5", zorder=0, lw=0)
            ax.text(
                (left + right) / 2,
                0.985,
                text,
                transform=ax.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=8.5,
                color=NOISE_COLOR,
            )

    def _dress(self, ax: "Axes", n_orders: int) -> None:
        ax.set_xlim(0.5, n_orders + 0.5)
        ax.set_xticks(range(1, n_orders + 1))
        # Room above the curves for the words at the top.
        bottom, top = ax.get_ylim()
        ax.set_ylim(min(0.0, bottom) if self.normalize == "signed" else 0.0, max(0.0, top) * 1.12)
        ax.set_xlabel("order: number of regions acting together", color=TEXT_COLOR)
        ax.set_ylabel(AXIS_LABELS.get(self.normalize, self.normalize), color=TEXT_COLOR)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(colors=TEXT_COLOR)
        ax.legend(frameon=False, fontsize=9, labelcolor=TEXT_COLOR)
