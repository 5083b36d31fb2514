"""AttentionDisplay: what the queries and the patches of a transformer look at."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.models import AttentionMaps, attention_maps
from pointinteract.plotting._cloud import (
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    make_grid,
    plot_safe,
    project,
)
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_real

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOCAL = "local"
# From hardly read to read the most; darker all the way, so that gray prints tell it too.
_RAMP = ("#D9DDE2", "#F3C58B", "#E07B28", "#A63603", "#4F1500")
_TITLES = {
    "image": "image query",
    "text": "text query",
    "class": "class query",
    LOCAL: "patch in the ring",
}


class AttentionDisplay:
    """Clouds colored by attention: a row for each cloud, a column for each reader.

    Parameters
    ----------
    maps : AttentionMaps
    names : sequence of str, optional
        One a cloud, written beside its row.
    readers : sequence of {"image", "text", "class", "local"}, optional
        The columns; all queries that there are, and a patch, unless given.
    patches : int or sequence of int, optional
        The patch that ``"local"`` shows, one for all clouds or one for each; by default the one
        farthest from the middle of its cloud: the tip of a wing, the foot of a leg.
    spread : {"patches", "nearest", "interpolate"}, default="patches"
        How weights of patches become colors of points; see :meth:`AttentionMaps.on_points`.
    power : float, default=0.5
        Colors go from the least to the most in each picture, to this power; below 1 lets what
        is read a little be seen beside what is read the most.
    least_span : float, default=1.0
        Colors span at least so many even shares, so that what is read almost evenly looks so.
        With 0 each picture uses all colors, whatever little they mean.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Colors have their own range in each picture, since queries differ in how narrowly they look.
    The number below says where it ends: how many times an even share, 1 / G of G patches, the
    most-read patch gets.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.plotting import AttentionDisplay
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> pre = ReConPretrainer(n_groups=8, group_size=8, image_teacher="depth_descriptor",
    ...                       max_epochs=1, random_state=0).fit(X)
    >>> display = AttentionDisplay.from_estimator(pre, X[:2]).plot()
    >>> len(display.axes_)  # image query and patch, of two clouds
    4
    """

    def __init__(
        self,
        maps: AttentionMaps,
        *,
        names: Sequence[object] | None = None,
        readers: Sequence[str] | None = None,
        patches: Any = None,
        spread: str = "patches",
        power: float = 0.5,
        least_span: float = 1.0,
    ) -> None:
        self.maps = maps
        self.names = names
        self.readers = readers
        self.patches = patches
        self.spread = spread
        self.power = power
        self.least_span = least_span

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        block: int = -1,
        head: str | int = "mean",
        names: Sequence[object] | None = None,
        readers: Sequence[str] | None = None,
        patches: Any = None,
        spread: str = "patches",
        power: float = 0.5,
        least_span: float = 1.0,
    ) -> "AttentionDisplay":
        """Read the attention of a network on clouds.

        Parameters
        ----------
        estimator : pretrainer, PointClassifier or torch.nn.Module
        X : clouds
        block, head
            See :func:`~pointinteract.models.attention_maps`.
        names, readers, patches, spread, power, least_span
            As of the display.
        """
        maps = attention_maps(estimator, X, block=block, head=head)
        return cls(
            maps,
            names=names,
            readers=readers,
            patches=patches,
            spread=spread,
            power=power,
            least_span=least_span,
        )

    def plot(
        self,
        axes: "Sequence[Axes] | None" = None,
        *,
        size: float | None = None,
        view: tuple[float, float] = VIEW,
        up: str = "z",
    ) -> "AttentionDisplay":
        """Draw a row of pictures for each cloud.

        Parameters
        ----------
        axes : sequence or array of matplotlib Axes, optional
            One for each reader, one cloud after the other: those of ``subplots`` with a row for
            each cloud.
        size : float, optional
            Area of a dot in square points; chosen by the number of points if left out.
        view : (elevation, azimuth) in degrees, default=(18, -60)
        up : {"x", "y", "z"}, default="z"
            The vertical axis of the data.

        Returns
        -------
        display : AttentionDisplay
            This one.
        """
        check_real("power", self.power, open_minimum=True)
        check_real("least_span", self.least_span)
        maps, readers = self.maps, self._readers()
        if self.names is not None and len(self.names) != len(maps):
            raise ValueError(f"names must be {len(maps)}, one a cloud, got {len(self.names)}.")
        patches = maps.outermost_patches() if self.patches is None else self.patches
        patches = np.broadcast_to(np.asarray(patches), (len(maps),))
        n_panels = len(maps) * len(readers)
        own = axes is None
        if axes is None:
            _, axes = make_grid(
                n_panels, n_columns=len(readers), panel_size=2.3, panel_height=2.5
            )
        axes = list(np.ravel(np.asarray(axes, dtype=object)))
        if len(axes) != n_panels:
            raise ValueError(
                f"axes must be {n_panels}, {len(readers)} for each of {len(maps)} clouds; got "
                f"{len(axes)}."
            )
        for column, reader in enumerate(readers):
            asked = patches if reader == LOCAL else reader
            weights = maps.weights(asked)
            values = maps.on_points(asked, spread=self.spread)
            for cloud in range(len(maps)):
                ax = axes[cloud * len(readers) + column]
                self._draw(ax, cloud, weights[cloud], values[cloud], size=size, view=view, up=up)
                if reader == LOCAL:
                    center = np.asarray(maps.centers[cloud][patches[cloud]])[None]
                    _ring(ax, project(center, view=view, up=up)[0][0])
            axes[column].set_title(_TITLES[reader], fontsize=11, color=TEXT_COLOR)
        names = () if self.names is None else self.names
        for ax, name in zip(axes[:: len(readers)], names, strict=False):
            ax.text(-0.06, 0.5, plot_safe(name), rotation=90, fontsize=11, color=TEXT_COLOR,
                    ha="center", va="center", transform=ax.transAxes)  # fmt: skip
        self.axes_, self.figure_ = list(axes), axes[0].figure
        if own:
            self._add_scale(self.figure_)
        return self

    def _draw(
        self,
        ax: "Axes",
        cloud: int,
        weights: np.ndarray,
        values: np.ndarray,
        *,
        size: float | None,
        view: tuple[float, float],
        up: str,
    ) -> None:
        """Draw one cloud by the weights of its patches and what they make on its points."""
        in_shares = len(weights) * np.asarray(values, dtype=float)
        span = max(float(np.ptp(in_shares)), self.least_span)
        shades = np.zeros(len(in_shares))
        # Equal weights that differ in their last bits are no picture, whatever the least span.
        if span > 1e-5:
            shades = ((in_shares - in_shares.min()) / span) ** self.power
        points = np.asarray(self.maps.points[cloud])[:, :3]
        draw_cloud(ax, points, colors=_colormap()(shades), size=size, view=view, up=up)
        largest = len(weights) * float(np.max(weights))
        ax.text(0.5, -0.045, f"up to {largest:.1f} × an even share", fontsize=8,
                color=TEXT_COLOR, ha="center", va="top", transform=ax.transAxes)  # fmt: skip

    def _readers(self) -> tuple[str, ...]:
        known = [reader for reader in _TITLES if reader == LOCAL or reader in self.maps.queries]
        if self.readers is None:
            return tuple(known)
        unknown = [reader for reader in self.readers if reader not in known]
        if unknown or not len(self.readers):
            raise ValueError(
                f"readers must be some of {', '.join(map(repr, known))}, which this network "
                f"has; got {list(self.readers)}."
            )
        return tuple(self.readers)

    def _add_scale(self, figure: Any) -> None:
        cm = import_optional("matplotlib.cm", extra="plot", purpose="drawing")
        bar = figure.colorbar(
            cm.ScalarMappable(cmap=_colormap()), ax=self.axes_, location="bottom",
            fraction=0.03, aspect=40, shrink=0.45, pad=0.04,
        )  # fmt: skip
        bar.set_ticks([0, 1], labels=["least", "most"])
        bar.ax.tick_params(labelsize=9, colors=TEXT_COLOR, length=0)
        bar.outline.set_visible(False)
        bar.set_label("attention within each picture", fontsize=9, color=TEXT_COLOR, labelpad=-6)


def _colormap() -> Any:
    colors = import_optional("matplotlib.colors", extra="plot", purpose="drawing")
    return colors.LinearSegmentedColormap.from_list("attention", _RAMP)


def _ring(ax: "Axes", place: np.ndarray) -> None:
    for width, color in ((4.0, "white"), (1.8, "#0060A0")):
        ax.plot(*place, marker="o", ms=15, mfc="none", mec=color, mew=width, zorder=5,
                clip_on=False)  # fmt: skip
