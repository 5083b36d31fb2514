"""PartsDisplay: clouds colored by part, truth beside prediction, and where they differ."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.metrics import shape_ious
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    REGION_COLORS,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    make_grid,
    plot_safe,
)
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PartsDisplay:
    """Clouds colored by part; truth, prediction and mistakes side by side.

    Parameters
    ----------
    clouds : sequence of ndarray (N, 3 or more)
        One entry a cloud, here and below.
    truth : sequence of ndarray (N,), optional
        Part of every point, integers or strings.
    predicted : sequence of ndarray (N,), optional
        What was said of every point. With both, a third panel shows the points where they
        differ. At least one of the two must be given.
    part_names : sequence of str or dict, optional
        Name of each part, for the legend; the labels themselves are written if left out.
    titles : sequence of str, optional
        Written above the first panel of each cloud.
    scores : sequence of float, optional
        Written above what was predicted; by default the mean intersection over union of the
        parts that truth or prediction has, if both are given.

    Attributes
    ----------
    colors_ : dict of label to str
        The color of each part. Parts that meet in a cloud have different colors, as long as
        there are no more than sixteen of them; parts that never meet may share one.
    axes_ : list of matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from pointinteract.datasets import make_parts
    >>> from pointinteract.plotting import PartsDisplay
    >>> lamps = make_parts(2, n_points=64, classes=["lamp"], random_state=0)
    >>> guess = lamps.parts.clip(max=1)
    >>> display = PartsDisplay(lamps.data, lamps.parts, guess, part_names=lamps.part_names)
    >>> len(display.plot().axes_)
    6
    """

    def __init__(
        self,
        clouds: Sequence[np.ndarray],
        truth: Sequence[np.ndarray] | None = None,
        predicted: Sequence[np.ndarray] | None = None,
        *,
        part_names: Sequence[str] | Mapping[Any, str] | None = None,
        titles: Sequence[str] | None = None,
        scores: Sequence[float] | None = None,
    ) -> None:
        self.clouds = clouds
        self.truth = truth
        self.predicted = predicted
        self.part_names = part_names
        self.titles = titles
        self.scores = scores

    @classmethod
    def from_estimator(
        cls,
        segmenter: Any,
        X: Any,
        y: Any = None,
        categories: Any = None,
        *,
        part_names: Sequence[str] | Mapping[Any, str] | None = None,
        titles: Sequence[str] | None = None,
    ) -> "PartsDisplay":
        """Ask a fitted segmenter for the parts of clouds.

        Parameters
        ----------
        segmenter : fitted estimator
            Such as :class:`pointinteract.segmentation.PointSegmenter`.
        X : clouds
        y : labels of points, optional
            The truth; without it, only what the segmenter says is drawn.
        categories : sequence, optional
            As in ``segmenter.predict``.
        part_names, titles
            As in the constructor.
        """
        told = () if categories is None else (categories,)
        predicted = list(segmenter.predict(X, *told))
        scores = None
        if y is not None and categories is not None:
            parts = getattr(segmenter, "category_parts_", None)
            if parts is not None:  # as in its score: a part that it never learned counts too
                from pointinteract.segmentation._labels import with_parts_of

                rows = [np.asarray(row) for row in y]
                parts = with_parts_of(parts, rows, np.asarray(categories))
            scores = shape_ious(y, predicted, categories, category_parts=parts).tolist()
        return cls(X, y, predicted, part_names=part_names, titles=titles, scores=scores)

    def plot(
        self,
        axes: "Sequence[Axes] | None" = None,
        *,
        size: float | None = None,
        view: tuple[float, float] = VIEW,
        up: str = "z",
        legend: bool = True,
    ) -> "PartsDisplay":
        """Draw a row of panels for each cloud.

        Parameters
        ----------
        axes : sequence of matplotlib Axes, optional
            Three for each cloud, one cloud after the other; or one, where there is no truth or
            no prediction.
        size : float, optional
            Area of a dot in square points; chosen by the number of points if left out.
        view : (elevation, azimuth) in degrees, default=(18, -60)
        up : {"x", "y", "z"}, default="z"
            The vertical axis of the data.
        legend : bool, default=True
            Whether to name the parts of each cloud beside its last panel.

        Returns
        -------
        display : PartsDisplay
            This one.
        """
        rows = self._rows()
        both = self.truth is not None and self.predicted is not None
        n_columns = 3 if both else 1
        n_panels = n_columns * len(rows)
        if axes is None:
            _, axes = make_grid(n_panels, n_columns=n_columns if both else None)
        elif not np.iterable(axes):
            axes = [axes]
        if len(axes) != n_panels:
            raise ValueError(
                f"axes must be {n_panels}, {n_columns} for each of {len(rows)} clouds; "
                f"got {len(axes)}."
            )
        self.colors_ = _assign_colors([np.concatenate(labels) for _, labels in rows])
        for number, (points, labels) in enumerate(rows):
            panels = axes[number * n_columns : (number + 1) * n_columns]
            colored = [([self.colors_[part] for part in row.tolist()]) for row in labels]
            if both:
                wrong = labels[0] != labels[1]
                colored.append(np.where(wrong, OPPOSE_COLOR, ABSENT_COLOR).tolist())
            titles = self._titles(number, labels)
            for ax, colors, title in zip(panels, colored, titles, strict=True):
                draw_cloud(ax, points, colors=colors, size=size, view=view, up=up, title=title)
            if legend:
                self._name_parts(panels[-1], np.unique(np.concatenate(labels)).tolist())
        self.axes_ = list(axes)
        self.figure_ = axes[0].figure
        return self

    def _rows(self) -> list[tuple[np.ndarray, list[np.ndarray]]]:
        """Points of each cloud, and labels of truth and prediction, checked."""
        given = [labels for labels in (self.truth, self.predicted) if labels is not None]
        if not given:
            raise ValueError("PartsDisplay needs truth, predicted or both; got neither.")
        if len(self.clouds) == 0:
            raise ValueError("There is no cloud to draw.")
        for name, told in (("titles", self.titles), ("scores", self.scores)):
            if told is not None and len(told) != len(self.clouds):
                raise ValueError(
                    f"{name} must be one a cloud; got {len(told)} for {len(self.clouds)} clouds."
                )
        for labels in given:
            if len(labels) != len(self.clouds):
                raise ValueError(
                    f"truth and predicted must be of the clouds that are drawn; got {len(labels)} "
                    f"rows of labels for {len(self.clouds)} clouds."
                )
        rows = []
        for number, cloud in enumerate(self.clouds):
            points = np.asarray(cloud)
            if points.ndim != 2 or points.shape[1] < 3:
                raise ValueError(
                    "clouds must be a sequence of arrays (n_points, 3 or more); cloud "
                    f"{number} has shape {points.shape}."
                )
            points = points[:, :3]
            labels = [np.asarray(row[number]) for row in given]
            for row in labels:
                if row.shape != points.shape[:1]:
                    raise ValueError(
                        f"cloud {number} has {len(points)} points, and labels of shape "
                        f"{row.shape}."
                    )
            if len({row.dtype.kind in "OU" for row in labels}) > 1:
                raise ValueError(
                    f"truth and predicted must name parts alike; cloud {number} has "
                    f"{labels[0].dtype} and {labels[1].dtype}."
                )
            rows.append((points, labels))
        return rows

    def _titles(self, number: int, labels: list[np.ndarray]) -> list[str]:
        lead = "" if self.titles is None else f"{plot_safe(self.titles[number])}: "
        if self.predicted is None:
            return [f"{lead}truth"]
        if self.truth is None:
            score = np.nan if self.scores is None else self.scores[number]
            return [f"{lead}prediction" + _score_line(score)]
        score = shape_ious(*([row] for row in labels))[0]
        if self.scores is not None:
            score = self.scores[number]
        n_wrong = int((labels[0] != labels[1]).sum())
        mistakes = "no mistake" if n_wrong == 0 else f"mistakes\n{n_wrong} of {len(labels[0])}"
        return [f"{lead}truth", "prediction" + _score_line(score), mistakes]

    def _name_parts(self, ax: "Axes", parts: list[Any]) -> None:
        lines = import_optional("matplotlib.lines", extra="plot", purpose="drawing")
        handles = [
            lines.Line2D(
                [], [], linestyle="", marker="o", markersize=5, color=self.colors_[part],
                label=plot_safe(self._name(part)),
            )
            for part in parts
        ]
        ax.legend(
            handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
            fontsize=8, labelcolor=TEXT_COLOR, handletextpad=0.2, borderaxespad=0.0,
        )

    def _name(self, part: Any) -> str:
        names = self.part_names
        if names is None:
            return str(part)
        if isinstance(names, Mapping):
            return str(names.get(part, part))
        known = isinstance(part, int) and 0 <= part < len(names)
        return str(names[part]) if known else str(part)


def _score_line(score: float) -> str:
    return f"\nmIoU {score:.2f}" if np.isfinite(score) else ""


def _assign_colors(labels: list[np.ndarray]) -> dict[Any, str]:
    """A color for each part; those that meet in a cloud differ, as far as colors reach."""
    there = [set(np.unique(row).tolist()) for row in labels]
    chosen: dict[Any, int] = {}
    for part in sorted(set().union(*there)):
        beside = set().union(*(row for row in there if part in row))
        taken = {chosen[other] for other in beside if other in chosen}
        free = (n for n in range(len(REGION_COLORS)) if n not in taken)
        chosen[part] = next(free, len(chosen) % len(REGION_COLORS))
    return {part: REGION_COLORS[number] for part, number in chosen.items()}
