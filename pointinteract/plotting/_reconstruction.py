"""ReconstructionDisplay: what a pre-trained network saw, what it made of it, and the truth."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.plotting._cloud import (
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    frame_clouds,
    make_grid,
    project,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SEEN_COLOR = "#7C858D"
BENEATH_COLOR = "#C3C9CF"  # of what was seen, where it only gives the rest its place
# What pretexts call the cloud that the network saw and the one that it made, and whether the
# second is only what is missing from the first.
_FIELDS = (
    ("visible", "rebuilt", True),
    ("given", "generated", True),
    ("partial", "completed", False),
    ("seen", "reconstructed", False),
    ("centers", "rebuilt", False),
)


class ReconstructionDisplay:
    """Clouds as a network saw them, what it made of that, and what is there, side by side.

    Parameters
    ----------
    seen : sequence of ndarray (V, 3 or more)
        One entry a cloud, here and below.
    made : sequence of ndarray (L, 3 or more)
        May be empty arrays.
    target : sequence of ndarray (N, 3 or more), optional
        The truth; None where there is none, and no panel for it then.
    error : sequence of float, optional
        Written above what was made; NaN is not.
    made_name : str, default="made"
        Title of what was made.
    only_missing : bool, default=False
        Whether `made` and `target` are only what `seen` lacks. What was seen is then drawn
        beneath them in gray.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.plotting import ReconstructionDisplay
    >>> from pointinteract.pretraining import PointMAEPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointMAEPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> display = ReconstructionDisplay.from_result(pre.reconstruct(X[:2])).plot()
    >>> len(display.axes_)
    6
    """

    def __init__(
        self,
        seen: Sequence[np.ndarray],
        made: Sequence[np.ndarray],
        target: Sequence[np.ndarray] | None = None,
        *,
        error: Sequence[float] | None = None,
        made_name: str = "made",
        only_missing: bool = False,
    ) -> None:
        self.seen = seen
        self.made = made
        self.target = target
        self.error = error
        self.made_name = made_name
        self.only_missing = only_missing

    @classmethod
    def from_result(
        cls, result: Any, *, clouds: Sequence[int] | None = None
    ) -> "ReconstructionDisplay":
        """Take what a pretrainer's ``reconstruct``, ``complete`` or ``generate`` returned.

        Parameters
        ----------
        result : Bunch
        clouds : sequence of int, optional
            Which clouds to draw, by position; all unless given.
        """
        known = [fields for fields in _FIELDS if fields[0] in result and fields[1] in result]
        if not known:
            pairs = ", or ".join(f"{seen} and {made}" for seen, made, _ in _FIELDS)
            raise ValueError(
                f"result must have the fields {pairs}; got {', '.join(sorted(result))}."
            )
        seen, made, only_missing = known[0]
        rows = range(len(result[made])) if clouds is None else list(clouds)

        def chosen(name: str) -> list[Any] | None:
            return [result[name][row] for row in rows] if name in result else None

        return cls(
            chosen(seen) or [],
            chosen(made) or [],
            chosen("target"),
            error=chosen("error"),
            made_name=made,
            only_missing=only_missing,
        )

    def plot(
        self,
        axes: "Sequence[Axes] | None" = None,
        *,
        size: float | None = None,
        view: tuple[float, float] = VIEW,
        up: str = "z",
    ) -> "ReconstructionDisplay":
        """Draw a row of panels for each cloud, all of a row at the same scale.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            Three for each cloud, one cloud after the other; two if there is no truth.
        size : float, optional
            Area of a dot in square points; chosen by the number of points if left out.
        view : (elevation, azimuth) in degrees, default=(18, -60)
        up : {"x", "y", "z"}, default="z"
            The vertical axis of the data.

        Returns
        -------
        display : ReconstructionDisplay
            This one.
        """
        n_columns = 2 if self.target is None else 3
        n_panels = n_columns * len(self.seen)
        if n_panels == 0:
            raise ValueError("There is no cloud to draw.")
        if axes is None:
            _, axes = make_grid(n_panels, n_columns=n_columns)
        if len(axes) != n_panels:
            raise ValueError(
                f"axes must be {n_panels}, {n_columns} for each of {len(self.seen)} clouds; "
                f"got {len(axes)}."
            )
        for number in range(len(self.seen)):
            row = axes[number * n_columns : (number + 1) * n_columns]
            self._draw_row(row, number, size=size, view=view, up=up)
        self.axes_ = list(axes)
        self.figure_ = axes[0].figure
        return self

    def _draw_row(
        self,
        row: "Sequence[Axes]",
        number: int,
        *,
        size: float | None,
        view: tuple[float, float],
        up: str,
    ) -> None:
        seen, made = self.seen[number], self.made[number]
        error = np.nan if self.error is None else self.error[number]
        made_title = self.made_name + (f"\nerror {error:.2g}" if np.isfinite(error) else "")
        panels = [(seen, SEEN_COLOR, "seen"), (made, OPPOSE_COLOR, made_title)]
        if self.target is not None:
            panels.append((self.target[number], SUPPORT_COLOR, "truth"))
        everything = np.concatenate([np.asarray(points)[:, :3] for points, *_ in panels])
        plane, _ = project(everything, view=view, up=up)
        for ax, (points, color, title) in zip(row, panels, strict=True):
            points = np.asarray(points)[:, :3]
            colors = [color] * len(points)
            if self.only_missing and color != SEEN_COLOR:
                points = np.concatenate([points, np.asarray(seen)[:, :3]])
                colors += [BENEATH_COLOR] * len(seen)
            if len(points):
                draw_cloud(ax, points, colors=colors, size=size, view=view, up=up)
            frame_clouds(ax, plane)
            ax.set_title(title, color=TEXT_COLOR, fontsize=10)
