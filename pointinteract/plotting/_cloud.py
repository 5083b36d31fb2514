"""Draw clouds: colors, a view from the side, and one axes or a grid of them.

Clouds are projected here and drawn flat, far points first and paler. That reads as depth, is
several times faster than matplotlib's own 3-D axes, and wastes no room on their frames.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Letters of a name that fit beside a cloud.
LONGEST_NAME = 22
# Told apart under the common color-vision deficiencies; neighbors differ in lightness too.
REGION_COLORS = (
    "#0072B2",
    "#E69F00",
    "#117733",
    "#CC6677",
    "#88CCEE",
    "#882255",
    "#DDCC77",
    "#332288",
    "#44AA99",
    "#D55E00",
    "#AA4499",
    "#999933",
    "#5B3A29",
    "#F4A6C0",
    "#6E7F80",
    "#1B1B1B",
)
ABSENT_COLOR = "#D4D8DD"
SUPPORT_COLOR = "#0060A0"
OPPOSE_COLOR = "#B84A00"
TEXT_COLOR = "#30343B"
# Degrees: seen a little from above and from the front right.
VIEW = (18.0, -60.0)


def region_colors(n_regions: int) -> list[str]:
    """Return one color for each region; they repeat beyond sixteen."""
    return [REGION_COLORS[region % len(REGION_COLORS)] for region in range(n_regions)]


def project(
    points: np.ndarray, *, view: tuple[float, float] = VIEW, up: str = "z"
) -> tuple[np.ndarray, np.ndarray]:
    """Look at points (N, 3) from a direction.

    Parameters
    ----------
    points : ndarray, shape (N, 3 or more)
    view : (elevation, azimuth) in degrees, default=(18, -60)
    up : {"x", "y", "z"}, default="z"
        The vertical axis of the data.

    Returns
    -------
    plane : ndarray, shape (N, 2)
        Right and up in the picture.
    depth : ndarray, shape (N,)
        Larger is nearer.
    """
    axis = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}[
        check_option("up", up, ("x", "y", "z"))
    ]
    x, y, z = np.asarray(points, dtype=np.float64)[:, axis].T
    elevation, azimuth = np.radians(view)
    toward = x * np.cos(azimuth) + y * np.sin(azimuth)
    right = -x * np.sin(azimuth) + y * np.cos(azimuth)
    upward = z * np.cos(elevation) - toward * np.sin(elevation)
    depth = toward * np.cos(elevation) + z * np.sin(elevation)
    return np.column_stack([right, upward]), depth


def draw_cloud(
    ax: "Axes",
    points: np.ndarray,
    *,
    colors: Any = None,
    size: float | None = None,
    view: tuple[float, float] = VIEW,
    up: str = "z",
    title: str | None = None,
) -> "Axes":
    """Draw one cloud into axes.

    Parameters
    ----------
    ax : matplotlib Axes
    points : ndarray, shape (N, 3 or more)
    colors : color, or one for each point, optional
    size : float, optional
        Area of a dot in square points; chosen by the number of points if left out.
    view, up
        See :func:`project`.
    title : str, optional

    Returns
    -------
    ax : matplotlib Axes
    """
    matplotlib_colors = import_optional(
        "matplotlib.colors", extra="plot", purpose="drawing clouds"
    )
    plane, depth = project(points, view=view, up=up)
    rgb = matplotlib_colors.to_rgba_array(SUPPORT_COLOR if colors is None else colors)[:, :3]
    rgb = np.broadcast_to(rgb, (len(plane), 3))
    span = np.ptp(depth)
    nearness = (depth - depth.min()) / span if span > 0 else np.ones_like(depth)
    faded = 1 - (1 - rgb) * (0.55 + 0.45 * nearness[:, None])
    order = np.argsort(depth, kind="stable")
    if size is None:
        size = float(np.clip(6000 / len(plane), 2.5, 24))
    ax.scatter(plane[order, 0], plane[order, 1], c=faded[order], s=size, linewidths=0)
    frame_clouds(ax, plane)
    if title is not None:
        ax.set_title(title, color=TEXT_COLOR, fontsize=10)
    return ax


def frame_clouds(ax: "Axes", plane: np.ndarray, *, tight: bool = False) -> None:
    """Center a projected cloud in axes without ticks or frame, square unless `tight`."""
    middle = (plane.max(axis=0) + plane.min(axis=0)) / 2
    extent = np.ptp(plane, axis=0)
    half = np.maximum((extent if tight else extent.max()) * 0.53, 1e-6) * np.ones(2)
    ax.set_xlim(middle[0] - half[0], middle[0] + half[0])
    ax.set_ylim(middle[1] - half[1], middle[1] + half[1])
    ax.set_aspect("equal")
    ax.set_axis_off()


def make_grid(
    n_panels: int,
    *,
    n_columns: int | None = None,
    panel_size: float = 2.5,
    panel_height: float | None = None,
) -> "tuple[Figure, list[Axes]]":
    """Make a figure with `n_panels` equal axes, and no empty frames behind the last.

    Parameters
    ----------
    n_panels : int
    n_columns : int, optional
        As many as look balanced if left out, at most four.
    panel_size : float, default=2.5
        Side of a panel in inches.
    panel_height : float, optional
        Height in inches with room for a title; a little more than the side if left out.
    """
    if panel_height is None:
        panel_height = panel_size * 1.18
    pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
    if n_columns is None:
        n_columns = next((n for n in (4, 3) if n_panels % n == 0), min(n_panels, 4))
        n_columns = min(n_columns, n_panels)
    n_rows = math.ceil(n_panels / n_columns)
    figure, axes = pyplot.subplots(
        n_rows,
        n_columns,
        figsize=(panel_size * n_columns, panel_height * n_rows),
        squeeze=False,
        layout="constrained",
    )
    figure.get_layout_engine().set(h_pad=0.07)
    for ax in axes.ravel()[n_panels:]:
        ax.set_axis_off()
    return figure, list(axes.ravel()[:n_panels])


def draw_clouds(
    clouds: Sequence[np.ndarray],
    *,
    titles: Sequence[str] | None = None,
    colors: Sequence[Any] | None = None,
    n_columns: int | None = None,
    panel_size: float = 2.2,
    view: tuple[float, float] = VIEW,
    up: str = "z",
) -> "Figure":
    """Draw several clouds side by side.

    Parameters
    ----------
    clouds : sequence of ndarray (N, 3)
    titles : sequence of str, optional
    colors : sequence, one entry for each cloud as in :func:`draw_cloud`, optional
    n_columns, panel_size
        See :func:`make_grid`.
    view, up
        See :func:`project`.

    Returns
    -------
    figure : matplotlib Figure
    """
    figure, axes = make_grid(len(clouds), n_columns=n_columns, panel_size=panel_size)
    for number, (ax, cloud) in enumerate(zip(axes, clouds, strict=True)):
        draw_cloud(
            ax,
            cloud,
            colors=None if colors is None else colors[number],
            view=view,
            up=up,
            title=None if titles is None else titles[number],
        )
    return figure


def plot_safe(name: object) -> str:
    """A user's name as matplotlib can draw it: one short line, no formula."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(name)).split())
    return textwrap.shorten(line, LONGEST_NAME, placeholder="…").replace("$", r"\$") or "?"
