"""EmbeddingDisplay: which clouds a network holds to be alike, as a map."""

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.utils.validation import check_consistent_length

from pointinteract.plotting._cloud import (
    REGION_COLORS,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    plot_safe,
    region_colors,
)
from pointinteract.plotting._places import far_apart, keep_apart
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_int, check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

METHODS = ("tsne", "pca")
LABELS = ("direct", "legend", "none")
_MARKERS = ("o", "^", "s", "D", "v", "P")  # one more for every sixteen classes
_DRAWN_POINTS = 256  # of a small picture; more would be a blot


class EmbeddingDisplay:
    """A dot for each cloud, where features that are alike lie close together.

    Parameters
    ----------
    embedding : ndarray of shape (n_clouds, 2)
    y : sequence of length n_clouds
        Labels, by which dots are colored.
    X : clouds, optional
        For small pictures.
    axis_names : (str, str), optional
    title : str, default=""

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    t-SNE (van der Maaten and Hinton, "Visualizing Data using t-SNE", JMLR 2008) keeps neighbors
    together and nothing else: distances between groups, their sizes and their places say
    nothing, and another seed gives another picture. It makes groups where there are hardly any,
    so nothing is proven by it; a linear probe on the features is a number. PCA is linear and
    shows little, but that is there.

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.plotting import EmbeddingDisplay
    >>> from pointinteract.pretraining import PointMAEPretrainer
    >>> X, y = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointMAEPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> display = EmbeddingDisplay.from_estimator(pre, X, y, method="pca").plot()
    >>> display.embedding.shape
    (16, 2)
    """

    def __init__(
        self,
        embedding: np.ndarray,
        y: Any,
        *,
        X: Any = None,
        axis_names: tuple[str, str] | None = None,
        title: str = "",
    ) -> None:
        self.embedding = embedding
        self.y = y
        self.X = X
        self.axis_names = axis_names
        self.title = title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        method: str = "tsne",
        perplexity: float = 30.0,
        random_state: Any = None,
    ) -> "EmbeddingDisplay":
        """Take the features that a fitted estimator makes of clouds.

        Parameters
        ----------
        estimator : pretrainer, PointClassifier or anything with ``transform``
        X : clouds
        y : sequence of length n_clouds
        method, perplexity, random_state
            See :meth:`from_features`.
        """
        if not hasattr(estimator, "transform"):
            raise TypeError(
                f"estimator must have the method transform, which {type(estimator).__name__} "
                "lacks; give features to EmbeddingDisplay.from_features instead."
            )
        features = np.asarray(estimator.transform(X))
        return cls.from_features(
            features, y, X=X, method=method, perplexity=perplexity, random_state=random_state
        )

    @classmethod
    def from_features(
        cls,
        features: np.ndarray,
        y: Any,
        *,
        X: Any = None,
        method: str = "tsne",
        perplexity: float = 30.0,
        random_state: Any = None,
    ) -> "EmbeddingDisplay":
        """Bring features to the plane.

        Parameters
        ----------
        features : ndarray of shape (n_clouds, n_features)
        y : sequence of length n_clouds
        X : clouds, optional
            For small pictures.
        method : {"tsne", "pca"}, default="tsne"
            scikit-learn's t-SNE, or the two directions in which features vary most.
        perplexity : float, default=30
            About how many neighbors t-SNE minds; lowered to a third of the clouds.
        random_state : int, RandomState instance or None, default=None
        """
        check_option("method", method, METHODS)
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or len(features) < 3:
            raise ValueError(
                "features must be (n_clouds, n_features) with at least 3 clouds, got shape "
                f"{features.shape}."
            )
        check_consistent_length(features, y, X)
        if method == "pca":
            pca = PCA(n_components=2, svd_solver="full").fit(features)
            shares = pca.explained_variance_ratio_
            names = tuple(
                f"principal component {i + 1} ({share:.0%} of the variance)"
                for i, share in enumerate(shares)
            )
            return cls(pca.transform(features), y, X=X, axis_names=names)  # type: ignore[arg-type]
        tsne = TSNE(
            n_components=2,
            init="pca" if min(features.shape) >= 2 else "random",
            perplexity=min(perplexity, (len(features) - 1) / 3),
            random_state=random_state,
        )
        return cls(tsne.fit_transform(features), y, X=X)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        labels: str = "direct",
        n_pictures: int = 0,
        picture_size: float = 0.11,
        size: float | None = None,
        view: tuple[float, float] = VIEW,
        up: str = "z",
    ) -> "EmbeddingDisplay":
        """Draw the map.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            A new figure is made if left out.
        labels : {"direct", "legend", "none"}, default="direct"
            Names of classes where most of their dots are, or beside the map.
        n_pictures : int, default=0
            How many clouds to draw small in their places, chosen far from each other. Fewer
            are drawn where more have no room.
        picture_size : float, default=0.11
            Side of such a picture as a share of the side of the map.
        size : float, optional
            Area of a dot in square points; chosen by the number of clouds if left out.
        view, up
            As in :func:`draw_cloud`.

        Returns
        -------
        display : EmbeddingDisplay
            This one.
        """
        check_option("labels", labels, LABELS)
        check_int("n_pictures", n_pictures, minimum=0)
        if n_pictures and self.X is None:
            raise ValueError("n_pictures needs the clouds X, which this display was not given.")
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            wide = 8.2 if labels == "legend" else 6.4
            high = 6.0
            if self.axis_names is None:
                right, up_to = np.ptp(np.asarray(self.embedding), axis=0)
                high = 6.4 * float(np.clip(up_to / max(right, 1e-12), 0.6, 1.2))
            _, ax = pyplot.subplots(figsize=(wide, high), layout="constrained")
        embedding, y = np.asarray(self.embedding), np.asarray(self.y)
        names, codes = np.unique(y, return_inverse=True)
        if size is None:
            size = float(np.clip(9000 / len(y), 7, 42))
        for code, name in enumerate(names):
            dots = embedding[codes == code]
            ax.scatter(
                dots[:, 0], dots[:, 1], s=size, color=region_colors(len(names))[code],
                marker=_MARKERS[code // len(REGION_COLORS) % len(_MARKERS)],
                alpha=0.8, linewidths=0, label=plot_safe(name),
            )  # fmt: skip
        self._dress(ax)
        boxes = self._add_pictures(ax, codes, n_pictures, picture_size, view=view, up=up)
        if labels == "direct":
            self._add_names(ax, names, codes, boxes)
        elif labels == "legend":
            ax.legend(frameon=False, fontsize=9, labelcolor=TEXT_COLOR, loc="upper left",
                      bbox_to_anchor=(1.0, 1.0), markerscale=1.4,
                      ncols=1 + (len(names) - 1) // 20)  # fmt: skip
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _dress(self, ax: "Axes") -> None:
        # Room for pictures and names at the rim.
        ax.margins(0.09)
        # So that pictures and names stay at their dots if the figure is resized.
        ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
        if self.axis_names is None:  # only distances mean something, so they are alike both ways
            ax.set_aspect("equal")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#B9BFC6")
        if self.axis_names is not None:
            ax.set_xlabel(self.axis_names[0], color=TEXT_COLOR)
            ax.set_ylabel(self.axis_names[1], color=TEXT_COLOR)
        else:  # t-SNE: axes without meaning
            ax.spines[["left", "bottom"]].set_visible(False)
        if self.title:
            ax.set_title(self.title, fontsize=11, color=TEXT_COLOR)

    def _add_pictures(
        self,
        ax: "Axes",
        codes: np.ndarray,
        n_pictures: int,
        side: float,
        *,
        view: tuple[float, float],
        up: str,
    ) -> dict[int, np.ndarray]:
        """Draw clouds in frames; return (left, bottom, right, top) in axes units, by row."""
        places = _in_axes(ax, np.asarray(self.embedding))
        extent = ax.get_window_extent()
        sides = np.array([side, side * extent.width / extent.height])
        places = np.clip(places, sides / 2, 1 - sides / 2)
        colors = region_colors(int(codes.max()) + 1)
        # Those that stand for their class come first; room that they leave is for others. More
        # is left below each, for a name.
        amid = [_amid(places, codes, code) for code in range(codes.max() + 1)]
        boxes = {}
        for row in far_apart(places / (sides * (1.08, 1.4)), n_pictures, first=amid):
            (left, bottom), (width, height) = places[row] - sides / 2, sides
            small = ax.inset_axes((left, bottom, width, height), zorder=4)
            cloud = np.asarray(self.X[row])
            cloud = cloud[:: max(1, len(cloud) // _DRAWN_POINTS)]
            draw_cloud(small, cloud, colors=colors[codes[row]], size=1.8, view=view, up=up)
            small.set_axis_on()
            small.set_xticks([])
            small.set_yticks([])
            small.patch.set_alpha(0.8)
            for spine in small.spines.values():
                spine.set(color=colors[codes[row]], linewidth=0.7)
            boxes[row] = np.array([left, bottom, left + width, bottom + height])
        return boxes

    def _add_names(
        self, ax: "Axes", names: np.ndarray, codes: np.ndarray, boxes: dict[int, np.ndarray]
    ) -> None:
        """Write every name below the picture of its class, or over its dots if there is none."""
        effects = import_optional("matplotlib.patheffects", extra="plot", purpose="drawing")
        places = _in_axes(ax, np.asarray(self.embedding))
        colors = region_colors(len(names))
        texts = []
        for code, name in enumerate(names):
            row = _amid(places, codes, code)
            place = places[row] + (0.0, 0.03)  # a dense group must not vanish beneath its name
            if row in boxes:
                left, bottom, right, _ = boxes[row]
                place = np.array([(left + right) / 2, bottom - 0.015])
            texts.append(
                ax.text(
                    float(place[0]), float(place[1]), plot_safe(name), fontsize=10.5,
                    transform=ax.transAxes, fontweight="bold", color=_darker(colors[code]),
                    ha="center", va="center", zorder=6,
                    path_effects=[effects.withStroke(linewidth=3, foreground="white")],
                )
            )  # fmt: skip
        ax.figure.canvas.draw()
        inverse = ax.transAxes.inverted()
        found = [inverse.transform(text.get_window_extent().get_points()) for text in texts]
        middles = np.array([extent.mean(axis=0) for extent in found])
        sizes = np.array([np.ptp(extent, axis=0) + 0.008 for extent in found])
        apart = keep_apart(middles, sizes, list(boxes.values()))
        for text, place in zip(texts, apart, strict=True):
            text.set_position(place)


def _in_axes(ax: "Axes", places: np.ndarray) -> np.ndarray:
    """From data to shares of the sides of the axes."""
    ax.figure.canvas.draw()  # settles their shape
    return (ax.transData + ax.transAxes.inverted()).transform(places)


def _amid(places: np.ndarray, codes: np.ndarray, code: int) -> int:
    """Row of the dot of a class whose distance to the others of it is the least in the median."""
    mine = np.flatnonzero(codes == code)
    gaps = np.linalg.norm(places[mine, None] - places[None, mine], axis=2)
    return int(mine[np.median(gaps, axis=1).argmin()])


def _darker(color: str) -> tuple[float, float, float]:
    """The color as letters can be read in it: pale ones are toned down."""
    colors = import_optional("matplotlib.colors", extra="plot", purpose="drawing")
    red, green, blue = colors.to_rgb(color)
    light = 0.299 * red + 0.587 * green + 0.114 * blue
    share = min(1.0, 0.45 / light) if light > 0 else 1.0
    return red * share, green * share, blue * share
