"""CloudConfusionDisplay: what is taken for what, and the clouds with which that happened."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix
from sklearn.utils.validation import check_consistent_length

from pointinteract.plotting._cloud import (
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    VIEW,
    draw_cloud,
    plot_safe,
)
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_int

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Classes up to which numbers are written into the cells.
_MOST_NUMBERED = 20
_EXAMPLE_COLOR = "#7C858D"


class CloudConfusionDisplay:
    """Confusion matrix, and pictures of the clouds that were confused most often.

    Parameters
    ----------
    X : clouds
    y_true, y_pred : sequence of length n_clouds
    sureness : array of shape (n_clouds,), optional
        How sure each prediction was; the surest mistakes are drawn first.
    labels : sequence, optional
        Classes in the order of rows and columns; those that occur, sorted, unless given.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the matrix.
    axes_ : list of matplotlib Axes
        Of the pictures.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import matplotlib
    >>> matplotlib.use("Agg")
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.plotting import CloudConfusionDisplay
    >>> X, _ = make_shapes(4, n_points=64, return_X_y=True, random_state=0)
    >>> truth, said = ["bed", "bed", "sofa", "sofa"], ["bed", "sofa", "sofa", "sofa"]
    >>> display = CloudConfusionDisplay.from_predictions(X, truth, said).plot()
    >>> display.worst()[["true", "predicted", "count", "share"]]
      true predicted  count  share
    0  bed      sofa      1    0.5
    """

    def __init__(
        self, X: Any, y_true: Any, y_pred: Any, *, sureness: Any = None, labels: Any = None
    ) -> None:
        self.X = X
        self.y_true = y_true
        self.y_pred = y_pred
        self.sureness = sureness
        self.labels = labels

    @classmethod
    def from_predictions(
        cls, X: Any, y_true: Any, y_pred: Any, *, sureness: Any = None, labels: Any = None
    ) -> "CloudConfusionDisplay":
        """Take what was predicted of clouds; parameters as of the display."""
        check_consistent_length(X, y_true, y_pred, sureness)
        if labels is not None:
            present = set(np.asarray(y_true).tolist()) | set(np.asarray(y_pred).tolist())
            missing = present - set(np.asarray(labels).tolist())
            if missing:
                raise ValueError(f"labels must name every class that occurs; missing: {missing}.")
        return cls(X, y_true, y_pred, sureness=sureness, labels=labels)

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, labels: Any = None
    ) -> "CloudConfusionDisplay":
        """Ask a fitted classifier.

        Parameters
        ----------
        estimator : classifier
            What it predicts is drawn, and the probability that it gives to that orders the
            mistakes, if it has ``predict_proba``.
        X : clouds
        y : sequence of length n_clouds
            The truth.
        labels : sequence, optional
        """
        # Asked, not concluded from probabilities: thresholds and some SVMs decide otherwise.
        predicted = np.asarray(estimator.predict(X))
        if not hasattr(estimator, "predict_proba"):
            return cls.from_predictions(X, y, predicted, labels=labels)
        probability = np.asarray(estimator.predict_proba(X))
        column = {label: i for i, label in enumerate(np.asarray(estimator.classes_).tolist())}
        chosen = [column[label] for label in predicted.tolist()]
        sureness = probability[np.arange(len(predicted)), chosen]
        return cls.from_predictions(X, y, predicted, sureness=sureness, labels=labels)

    @property
    def classes(self) -> np.ndarray:
        """Classes in the order of rows and columns."""
        if self.labels is not None:
            return np.asarray(self.labels)
        return np.unique(np.concatenate([np.asarray(self.y_true), np.asarray(self.y_pred)]))

    @property
    def matrix(self) -> np.ndarray:
        """Clouds of the class of the row that were given that of the column."""
        return confusion_matrix(self.y_true, self.y_pred, labels=self.classes)

    def worst(self, n_pairs: int | None = None) -> pd.DataFrame:
        """List the confusions, the most frequent first.

        Parameters
        ----------
        n_pairs : int, optional
            How many; all unless given.

        Returns
        -------
        frame : DataFrame
            Columns true, predicted; count; share, of the clouds of the true class; and clouds,
            the row numbers in X, the surest mistake first.
        """
        truth, said = np.asarray(self.y_true), np.asarray(self.y_pred)
        sureness = np.zeros(len(truth)) if self.sureness is None else np.asarray(self.sureness)
        rows = []
        for true in self.classes:
            for predicted in self.classes:
                clouds = np.flatnonzero((truth == true) & (said == predicted))
                if true == predicted or not len(clouds):
                    continue
                clouds = clouds[np.argsort(-sureness[clouds], kind="stable")]
                share = len(clouds) / (truth == true).sum()
                rows.append((true, predicted, len(clouds), share, clouds.tolist()))
        frame = pd.DataFrame(rows, columns=["true", "predicted", "count", "share", "clouds"])
        frame = frame.sort_values(["count", "share"], ascending=False, kind="stable")
        frame = frame.reset_index(drop=True)
        return frame if n_pairs is None else frame.head(n_pairs)

    def plot(
        self,
        ax: "Axes | None" = None,
        *,
        n_pairs: int = 4,
        n_examples: int = 3,
        view: tuple[float, float] = VIEW,
        up: str = "z",
    ) -> "CloudConfusionDisplay":
        """Draw the matrix, and beside it the clouds of the most frequent confusions.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            For the matrix alone. Without it a new figure holds the pictures, too.
        n_pairs : int, default=4
            Confusions to show clouds of; 0 leaves pictures out.
        n_examples : int, default=3
            Clouds of each. Where there is room beside them, one that truly is what they were
            taken for stands there in gray.
        view, up
            As in :func:`draw_cloud`.

        Returns
        -------
        display : CloudConfusionDisplay
            This one.
        """
        check_int("n_pairs", n_pairs, minimum=0)
        check_int("n_examples", n_examples)
        worst = self.worst(n_pairs)
        self.axes_: list[Axes] = []
        if ax is None:
            pyplot = import_optional("matplotlib.pyplot", extra="plot", purpose="drawing")
            side = float(np.clip(0.52 * len(self.classes) + 1.4, 4.2, 11.0))
            n_rows = max(len(worst), 2)
            picture = float(np.clip(0.9 * (side / n_rows - 0.3), 0.8, 1.8))
            wide = picture * (n_examples + 1) if len(worst) else 0.0
            figure = pyplot.figure(figsize=(side + wide + 0.2, side), layout="constrained")
            parts: Any = [figure]
            if len(worst):
                parts = figure.subfigures(1, 2, width_ratios=(side, wide), wspace=0.02)
                self._draw_pairs(parts[1], worst, n_rows, n_examples, view=view, up=up)
            ax = parts[0].subplots()
        else:
            worst = worst.head(0)
        self._draw_matrix(ax, worst)
        self.ax_, self.figure_ = ax, ax.get_figure(root=True)
        return self

    def _draw_matrix(self, ax: "Axes", worst: pd.DataFrame) -> None:
        classes, matrix = self.classes, self.matrix
        shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
        right, wrong = _ramp(SUPPORT_COLOR), _ramp(OPPOSE_COLOR)
        colors = wrong(np.sqrt(shares))  # the root, so that single mistakes are seen
        places = np.arange(len(classes))
        colors[places, places] = right(shares[places, places])
        colors[matrix == 0] = (1, 1, 1, 1)
        ax.imshow(colors, aspect="equal", interpolation="nearest")
        if len(classes) <= _MOST_NUMBERED:
            for (row, column), count in np.ndenumerate(matrix):
                if count:
                    dark = colors[row, column, :3] @ (0.299, 0.587, 0.114) < 0.55
                    ax.text(column, row, str(count), ha="center", va="center",
                            fontsize=9 if len(classes) <= 12 else 7.5,
                            color="white" if dark else TEXT_COLOR)  # fmt: skip
        order = classes.tolist()
        for number, pair in enumerate(worst.itertuples(), start=1):
            row, column = order.index(pair.true), order.index(pair.predicted)
            ax.add_patch(_frame(column, row))
            ax.text(column - 0.44, row - 0.44, str(number), fontsize=6.5, fontweight="bold",
                    color=TEXT_COLOR, ha="left", va="top")  # fmt: skip
        names = [plot_safe(name) for name in classes]
        small = 9.5 if len(names) <= 20 else 7
        ax.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor",
                      fontsize=small)  # fmt: skip
        ax.set_yticks(places, names, fontsize=small)
        ax.tick_params(colors=TEXT_COLOR, length=0)
        for at in places[1:] - 0.5:
            ax.axhline(at, color="#E6E9ED", lw=0.6, zorder=0.9)
            ax.axvline(at, color="#E6E9ED", lw=0.6, zorder=0.9)
        for spine in ax.spines.values():
            spine.set(color="#B9BFC6", linewidth=0.8)
        ax.set_xlabel("taken for", color=TEXT_COLOR)
        ax.set_ylabel("truth", color=TEXT_COLOR)
        accuracy = np.trace(matrix) / max(matrix.sum(), 1)
        ax.set_title(f"{accuracy:.1%} of {matrix.sum()} right", fontsize=11, color=TEXT_COLOR)

    def _draw_pairs(
        self,
        figure: Any,
        worst: pd.DataFrame,
        n_rows: int,
        n_examples: int,
        *,
        view: tuple[float, float],
        up: str,
    ) -> None:
        rows = figure.subfigures(n_rows, 1, squeeze=False)[:, 0]
        for number, (pair, part) in enumerate(zip(worst.itertuples(), rows, strict=False), 1):
            part.suptitle(
                f"{number}   {plot_safe(pair.true)} taken for {plot_safe(pair.predicted)}: "
                f"{pair.count} ({pair.share:.0%})",
                fontsize=10, color=TEXT_COLOR, x=0.02, ha="left",
            )  # fmt: skip
            panels = part.subplots(1, n_examples + 1, squeeze=False)[0]
            for ax, row in zip(panels, pair.clouds[:n_examples], strict=False):
                draw_cloud(ax, self.X[row], colors=OPPOSE_COLOR, size=_dot(self.X[row]), view=view,
                           up=up)  # fmt: skip
                self.axes_.append(ax)
            for ax in panels[len(pair.clouds[:n_examples]) : -1]:
                ax.set_axis_off()
            panels[-1].set_axis_off()
            example = self._typical(pair.predicted)
            if example is not None:
                draw_cloud(panels[-1], self.X[example], colors=_EXAMPLE_COLOR,
                           size=_dot(self.X[example]), view=view, up=up)  # fmt: skip
                panels[-1].set_title(f"true {plot_safe(pair.predicted)}", fontsize=8, pad=1,
                                     color=TEXT_COLOR)  # fmt: skip
                self.axes_.append(panels[-1])

    def _typical(self, label: Any) -> int | None:
        """A cloud of the class that was recognized: of median sureness, or the first."""
        truth, said = np.asarray(self.y_true), np.asarray(self.y_pred)
        right = np.flatnonzero((truth == label) & (said == label))
        if not len(right):
            return None
        if self.sureness is None:
            return int(right[0])
        order = np.argsort(np.asarray(self.sureness)[right], kind="stable")
        return int(right[order[len(order) // 2]])


def _dot(cloud: Any) -> float:
    """Area of a dot in pictures as small as these."""
    return float(np.clip(2600 / len(cloud), 1.5, 10))


def _ramp(color: str) -> Any:
    colors = import_optional("matplotlib.colors", extra="plot", purpose="drawing")
    return colors.LinearSegmentedColormap.from_list("ramp", ["#F4F6F8", color])


def _frame(column: int, row: int) -> Any:
    patches = import_optional("matplotlib.patches", extra="plot", purpose="drawing")
    return patches.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, lw=1.6,
                             edgecolor=TEXT_COLOR, zorder=3)  # fmt: skip
