"""The pictures of a report, as PNG inside the page."""

import base64
import io
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np

from pointinteract.explanation import Explanation
from pointinteract.games.coalitions import coalition_members, coalition_orders
from pointinteract.plotting import StrengthByOrderDisplay, draw_cloud, draw_clouds
from pointinteract.plotting._cloud import (
    ABSENT_COLOR,
    OPPOSE_COLOR,
    SUPPORT_COLOR,
    TEXT_COLOR,
    frame_clouds,
    make_grid,
    plot_safe,
    project,
    region_colors,
)
from pointinteract.plotting._regions import interaction_title
from pointinteract.utils._optional import import_optional

DPI = 120
MAX_CLASSES_WITH_NUMBERS = 26
MAX_GRID = 20
LARGEST_GROUP = 3


def read_asset(name: str) -> str:
    """A file that becomes part of the page."""
    return (files("pointinteract.cli") / "assets" / name).read_text(encoding="utf-8")


def safe_classes(explanation: Explanation) -> Explanation:
    """The same explanation with class names that can be drawn."""
    if explanation.classes is None:
        return explanation
    names = np.array([plot_safe(name) for name in explanation.classes])
    return replace(explanation, classes=names)


def encode_figure(figure: Any) -> str:
    """Draw a matplotlib figure and close it; returns a data URI."""
    pyplot = import_optional("matplotlib.pyplot", extra="demo", purpose="drawing")
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes; the text of the page has them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    pyplot.close(figure)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


@contextmanager
def drawing() -> Iterator[Any]:
    """Give ``matplotlib.pyplot``, drawing into memory whatever screen there is."""
    matplotlib = import_optional("matplotlib", extra="demo", purpose="drawing")
    pyplot = import_optional("matplotlib.pyplot", extra="demo", purpose="drawing")
    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    try:
        yield pyplot
    finally:
        pyplot.switch_backend(backend)


def draw_examples(clouds: Sequence[np.ndarray], names: Sequence[str], *, up: str) -> Any:
    """A grid of clouds with their class."""
    return draw_clouds(
        clouds, titles=[plot_safe(name) for name in names],
        n_columns=min(5, len(clouds)), panel_size=2.0, up=up,
    )


def draw_rebuilt(rebuilt: Any, pyplot: Any, *, up: str) -> Any:
    """For each cloud: what the network saw, what it added, and the truth."""
    n_rows = len(rebuilt.visible)
    figure, axes = pyplot.subplots(
        n_rows, 3, figsize=(8.4, 2.1 * n_rows + 0.2), squeeze=False, layout="constrained"
    )
    heads = ("what it was shown", "what it added (orange)", "the truth")
    for row, (shown, added, truth) in enumerate(
        zip(rebuilt.visible, rebuilt.rebuilt, rebuilt.target, strict=True)
    ):
        guess, whole = np.concatenate([shown, added]), np.concatenate([shown, truth])
        colors = np.array([SUPPORT_COLOR] * len(shown) + [OPPOSE_COLOR] * len(added))
        for ax, points, color in zip(
            axes[row], (shown, guess, whole), (SUPPORT_COLOR, colors, SUPPORT_COLOR), strict=True
        ):
            draw_cloud(ax, points, colors=color, size=5, up=up)
        # All three in the frame of the truth, or the hidden parts would change the scale.
        limits = axes[row][2].get_xlim(), axes[row][2].get_ylim()
        for ax in axes[row][:2]:
            ax.set_xlim(limits[0])
            ax.set_ylim(limits[1])
        axes[row][0].text(
            0.0, 0.0, plot_safe(rebuilt.labels[row]), transform=axes[row][0].transAxes,
            fontsize=11, color=TEXT_COLOR, fontweight="bold",
        )
    for ax, head in zip(axes[0], heads, strict=True):
        ax.set_title(head, fontsize=11, color=TEXT_COLOR)
    return figure


def draw_bars(rows: Sequence[tuple[str, Any, str]], chance: float, pyplot: Any) -> Any:
    """Accuracies as bars with their intervals; `rows` are (text, Accuracy, color)."""
    figure, ax = pyplot.subplots(figsize=(8.4, 0.62 * len(rows) + 0.9), layout="constrained")
    for place, (_, accuracy, color) in enumerate(rows):
        ax.barh(place, accuracy.value, color=color, height=0.62, zorder=2)
        ax.plot([accuracy.low, accuracy.high], [place, place], color=TEXT_COLOR, lw=1.6, zorder=3)
        ax.text(
            accuracy.high + 0.012, place, f"{accuracy.value:.0%}", va="center", fontsize=11,
            color=TEXT_COLOR, fontweight="bold",
        )
    ax.axvline(chance, color="#7A7F87", linestyle=(0, (1, 2)), zorder=1)
    ax.text(chance, -0.72, " guessing", fontsize=9, color="#7A7F87", va="bottom")
    ax.set_yticks(range(len(rows)), [text for text, _, _ in rows], fontsize=10.5)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.08)
    ax.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    ax.set_xlabel("test clouds named correctly (line: 95 % interval)", color=TEXT_COLOR)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return figure


def draw_confusion(
    labels: np.ndarray, answers: np.ndarray, classes: Sequence[str], pyplot: Any
) -> Any:
    """How often each class (row) was given each name (column)."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(labels, answers, labels=list(classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n_classes = len(classes)
    size = float(np.clip(0.36 * n_classes + 2.4, 4.2, 9.0))
    figure, ax = pyplot.subplots(figsize=(size + 0.6, size), layout="constrained")
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1.15)
    font = float(np.clip(150 / n_classes, 4, 9.5))
    if n_classes <= MAX_CLASSES_WITH_NUMBERS:
        for i, j in np.argwhere(counts):
            ax.text(
                j, i, str(counts[i, j]), ha="center", va="center", fontsize=font,
                color="white" if share[i, j] > 0.6 else TEXT_COLOR,
            )
    names = [plot_safe(name) for name in classes]
    ax.set_xticks(range(n_classes), names, rotation=90, fontsize=font)
    ax.set_yticks(range(n_classes), names, fontsize=font)
    ax.set_xlabel("what the network said", color=TEXT_COLOR)
    ax.set_ylabel("what it is", color=TEXT_COLOR)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    return figure


def small_groups(
    explanation: Explanation, cloud: int, n_groups: int, *, smallest: int = 1
) -> list[int]:
    """The strongest coalitions of up to three regions.

    Larger ones are often stronger, of both signs, and cancel; nobody can read them one by one.
    """
    orders = coalition_orders(explanation.n_regions)
    few = np.flatnonzero((orders >= smallest) & (orders <= LARGEST_GROUP))
    strength = np.abs(explanation.interactions[cloud, few])
    return few[np.argsort(-strength, kind="stable")[:n_groups]].tolist()


def draw_answer(explanation: Explanation, *, up: str, n_groups: int = 2) -> Any:
    """One explained cloud: its regions, what each adds up to, and its strongest groups."""
    safe = safe_classes(explanation)
    points, regions = safe.points[0], safe.regions[0]
    palette = np.array(region_colors(safe.n_regions))
    panels = [
        (palette[regions], "its regions"),
        (share_colors(region_shares(safe, 0))[regions], "what each region adds up to"),
    ]
    for coalition in small_groups(safe, 0, n_groups, smallest=2):
        inside = np.isin(regions, coalition_members(coalition))
        title = textwrap.fill(interaction_title(safe, 0, coalition), 26)
        panels.append((np.where(inside, palette[regions], ABSENT_COLOR), title))
    plane, _ = project(points, up=up)
    width, height = np.ptp(plane, axis=0)
    ratio = float(np.clip(height / max(width, 1e-9), 0.5, 1.1))
    figure, axes = make_grid(
        len(panels), n_columns=len(panels), panel_size=2.45, panel_height=2.45 * ratio + 0.6
    )
    for ax, (colors, title) in zip(axes, panels, strict=True):
        draw_cloud(ax, points, colors=colors, up=up)
        frame_clouds(ax, plane, tight=True)
        ax.set_title(title, fontsize=9.5, color=TEXT_COLOR)
    names = range(safe.n_regions) if safe.region_names is None else safe.region_names[0]
    write_names(axes[0], plane, regions, [str(name) for name in names])
    return figure


def write_names(ax: Any, plane: np.ndarray, regions: np.ndarray, names: Sequence[str]) -> None:
    """The name of each region in its middle."""
    effects = import_optional("matplotlib.patheffects", extra="demo", purpose="drawing")
    for region, name in enumerate(names):
        x, y = np.median(plane[regions == region], axis=0)
        ax.text(
            x, y, plot_safe(name), fontsize=7.5, ha="center", va="center", fontweight="bold",
            color=TEXT_COLOR,
            path_effects=[effects.withStroke(linewidth=2.2, foreground="white")],
        )


def share_colors(shares: np.ndarray) -> np.ndarray:
    """Blue for regions that speak for the class, orange against, paler where they say less."""
    to_rgb = import_optional("matplotlib.colors", extra="demo", purpose="drawing").to_rgb
    size = np.abs(shares) / (np.abs(shares).max() or 1.0)
    full = np.array([to_rgb(SUPPORT_COLOR if s >= 0 else OPPOSE_COLOR) for s in shares])
    return np.array(to_rgb(ABSENT_COLOR)) * (1 - size[:, None]) + full * size[:, None]


def region_shares(explanation: Explanation, cloud: int) -> np.ndarray:
    """What each region adds to the score, each interaction split evenly among its regions.

    Known as Shapley values; they sum to the score of the whole less that of nothing.
    """
    n_regions = explanation.n_regions
    orders = np.maximum(coalition_orders(n_regions), 1)
    each = explanation.interactions[cloud] / orders
    numbers = np.arange(2**n_regions)
    return np.array([each[(numbers >> region) & 1 == 1].sum() for region in range(n_regions)])


def draw_orders(explanations: dict[str, Explanation], resampled: Any, pyplot: Any) -> Any:
    """Strength by order beside how much of it returns when points are drawn anew."""
    n_panels = 1 if resampled is None else 2
    figure, axes = pyplot.subplots(
        1, n_panels, figsize=(6.2 if n_panels == 1 else 9.6, 3.8), squeeze=False,
        layout="constrained", width_ratios=(1.5, 1)[:n_panels],
    )
    StrengthByOrderDisplay.from_explanations(explanations).plot(ax=axes[0, 0])
    if resampled is not None:
        ax = axes[0, 1]
        ax.bar(resampled["order"], resampled["correlation"], color=ABSENT_COLOR, zorder=2)
        ax.set_xticks(resampled["order"])
        ax.set_ylim(min(0.0, float(resampled["correlation"].min())) - 0.02, 1)
        ax.axhline(0, color=TEXT_COLOR, lw=0.8)
        ax.set_xlabel("order", color=TEXT_COLOR)
        ax.set_title("how much comes back with\nother points of the same object (1 = all)",
                     fontsize=10, color=TEXT_COLOR)
        ax.spines[["top", "right"]].set_visible(False)
    return figure
