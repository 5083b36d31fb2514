"""SparsityDisplay: how fast interactions fall off, and how few of them rebuild the scores."""

from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.sparsity import matching_error, sparsity_curve
from pointinteract.plotting._cloud import TEXT_COLOR
from pointinteract.plotting._orders import CURVE_COLORS, NOISE_COLOR
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.explanation import Explanation

# Interactions below this share of the strongest are called not salient.
SALIENT_SHARE = 0.05
# Points of a curve; more than a screen shows are not worth their time.
_N_DRAWN = 200


class SparsityDisplay:
    """Two panels: strengths sorted, and the error left when only the strongest are kept.

    Parameters
    ----------
    ranks : ndarray of int, shape (q,)
        Places in the order of strength, 1 the strongest.
    strengths : ndarray, shape (n_clouds, q)
        Strength at each rank as a share of the cloud's strongest.
    n_kept : ndarray of int, shape (r,)
    errors : ndarray, shape (n_clouds, r)
        Share of the variation of the scores that the `n_kept` strongest leave unexplained.
    n_salient : ndarray of int, shape (n_clouds,)
        Interactions above 5 % of the strongest.

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
    figure_ : matplotlib Figure
    """

    def __init__(
        self,
        ranks: np.ndarray,
        strengths: np.ndarray,
        n_kept: np.ndarray,
        errors: np.ndarray,
        *,
        n_salient: np.ndarray,
    ) -> None:
        self.ranks = ranks
        self.strengths = strengths
        self.n_kept = n_kept
        self.errors = errors
        self.n_salient = n_salient

    @classmethod
    def from_explanation(
        cls, explanation: "Explanation", *, max_clouds: int = 20
    ) -> "SparsityDisplay":
        """Sort the AND interactions of each cloud.

        Parameters
        ----------
        explanation : Explanation
            Of all 2^n coalitions.
        max_clouds : int, default=20
            The first so many clouds are drawn; each rebuilds its scores several times.
        """
        interactions = explanation.interactions[:max_clouds]
        curves = sparsity_curve(interactions)
        n_effects = curves.shape[1]
        ranks = _spread(n_effects, _N_DRAWN)
        # Doubling numbers say enough of the error, and few are quick.
        n_kept = np.concatenate([[0], _spread(n_effects, 16)])
        return cls(
            ranks,
            curves[:, ranks - 1],
            n_kept,
            matching_error(interactions, n_kept=n_kept.tolist()),
            n_salient=(curves > SALIENT_SHARE).sum(axis=1),
        )

    def plot(self, axes: "np.ndarray | None" = None) -> "SparsityDisplay":
        """Draw into two `axes`, or into a new figure."""
        if axes is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            _, axes = pyplot.subplots(1, 2, figsize=(9.0, 3.6), layout="constrained")
        decay, error = axes
        self._draw(decay, self.ranks, self.strengths)
        decay.set_xscale("log")
        decay.axhline(SALIENT_SHARE, color=NOISE_COLOR, linestyle=(0, (1, 2)))
        decay.text(
            self.ranks[-1],
            SALIENT_SHARE,
            f"salient, above {SALIENT_SHARE:.0%}: {np.median(self.n_salient):.0f} of "
            f"{self.ranks[-1]} (median)",
            ha="right",
            va="bottom",
            fontsize=8,
            color=NOISE_COLOR,
        )
        decay.set_xlabel("rank of the interaction", color=TEXT_COLOR)
        decay.set_ylabel("strength / strongest", color=TEXT_COLOR)
        self._draw(error, self.n_kept, self.errors)
        error.set_xscale("symlog", linthresh=1)
        error.set_ylim(0, min(1.5, float(np.nanmax(self.errors)) * 1.05))
        error.set_xlabel("interactions kept, the strongest first", color=TEXT_COLOR)
        error.set_ylabel("scores left unexplained", color=TEXT_COLOR)
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(colors=TEXT_COLOR)
        self.axes_, self.figure_ = axes, decay.figure
        return self

    def _draw(self, ax: "Axes", x: np.ndarray, rows: np.ndarray) -> None:
        """Draw each cloud thin and the median of all thick."""
        ax.plot(x, rows.T, color=CURVE_COLORS[0], alpha=0.2, linewidth=0.8)
        ax.plot(
            x, np.nanmedian(rows, axis=0), color=CURVE_COLORS[0], linewidth=2.2,
            label=f"median of {len(rows)} clouds",
        )
        ax.legend(frameon=False, fontsize=8.5, labelcolor=TEXT_COLOR)


def _spread(largest: int, count: int) -> np.ndarray:
    """Whole numbers from 1 to `largest`, evenly spread on a logarithmic scale."""
    return np.unique(np.geomspace(1, largest, min(count, largest)).round().astype(np.int64))
