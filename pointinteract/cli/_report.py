"""The report of the demo: one HTML file that explains itself."""

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.cli import _sections as sections
from pointinteract.cli import _sections_why as later
from pointinteract.cli._figures import drawing
from pointinteract.cli._page import page
from pointinteract.utils._archive import atomic_write

if TYPE_CHECKING:
    from pointinteract.cli._demo import DemoResult

CONTENTS = (
    ("happened", "What happened", sections.what_happened),
    ("data", "The data", sections.the_data),
    ("unlabeled", "Learned without labels", sections.learned_without_labels),
    ("few", "Few labels", sections.few_labels),
    ("confusion", "Confusion", sections.confusion),
    ("why", "Why this answer", later.why_this_answer),
    ("orders", "Strength by order", later.strength_by_order),
    ("yourself", "How to do this yourself", later.do_it_yourself),
    ("measured", "How it was measured", later.how_it_was_measured),
)


def write_report(path: Path, result: "DemoResult") -> None:
    """Draw and write the report; the file appears whole or not at all."""
    up = result.settings.up
    with drawing() as pyplot:
        body = [heading(result)]
        body += [make(anchor, title, result, pyplot, up) for anchor, title, make in CONTENTS]
    body.append(
        "<footer><p>Made by pointinteract. This page holds all its pictures and its script; it "
        "loads nothing from anywhere.</p></footer>"
    )
    with atomic_write(path) as temporary:
        temporary.write_text(page("pointinteract demo", "\n".join(body)), encoding="utf-8")


def heading(result: "DemoResult") -> str:
    """Title, one sentence, and the way to each section."""
    data = result.data
    links = " ".join(
        f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title, _ in CONTENTS
    )
    n_clouds = len(data.train) + len(data.test)
    n_points = sorted({len(cloud) for cloud in [*data.train.clouds, *data.test.clouds]})
    points = f"{n_points[0]:,}" if len(n_points) == 1 else f"{n_points[0]:,} to {n_points[-1]:,}"
    return (
        "<h1>Learning from 3-D point clouds with few labels</h1>"
        f'<p class="lead">What a small network learned from {n_clouds:,} clouds of '
        f"{points} points each, {len(data.classes)} kinds of object, in "
        f"{escape(minutes(result))}. Data: {escape(data.source)}.</p>"
        f"<nav>{links}</nav>"
    )


def minutes(result: "DemoResult") -> str:
    """How long the work took, in words."""
    seconds = sum(value for name, value in result.seconds.items() if name != "cpu")
    if seconds < 90:
        return f"{np.ceil(seconds):.0f} seconds"
    return f"{seconds / 60:.1f} minutes"
