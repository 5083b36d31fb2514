"""A cloud to turn with the mouse, inside the page: data for ``assets/viewer.js``."""

import json
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from pointinteract.cli._figures import read_asset, region_shares, small_groups
from pointinteract.cli._verdict import name_of, score_word, signed
from pointinteract.explanation import Explanation
from pointinteract.games.coalitions import coalition_members
from pointinteract.plotting._cloud import region_colors

# Coordinates are whole thousandths of the cloud's radius: plenty for a screen, and short.
UNITS = 1000
MAX_POINTS = 1500
N_EFFECTS = 8


def viewer_cloud(explanation: Explanation, cloud: int, name: str, *, up: str) -> dict[str, Any]:
    """All that the page needs to draw one explained cloud."""
    points = np.asarray(explanation.points[cloud])[:, :3]
    regions = explanation.regions[cloud]
    if len(points) > MAX_POINTS:
        rows = np.linspace(0, len(points) - 1, MAX_POINTS).astype(int)
        points, regions = points[rows], regions[rows]
    axis = {"x": (1, 2, 0), "y": (2, 0, 1), "z": (0, 1, 2)}[up]
    centered = points[:, axis] - points.mean(axis=0)[list(axis)]
    radius = float(np.linalg.norm(centered, axis=1).max()) or 1.0
    shares = region_shares(explanation, cloud)
    largest = float(np.abs(shares).max()) or 1.0
    target = name_of(explanation, "targets", cloud)
    return {
        "name": name,
        "heading": f"Why {target}? {score_word(explanation)} of the whole cloud: "
        f"{signed(explanation.values[cloud, -1])}.",
        "points": np.round(centered * (UNITS / radius)).astype(int).ravel().tolist(),
        "regions": regions.tolist(),
        "palette": [rgb(color) for color in region_colors(explanation.n_regions)],
        "shares": np.round(shares / largest, 3).tolist(),
        "effects": [
            {
                "who": describe_members(explanation, cloud, coalition),
                "text": signed(explanation.interactions[cloud, coalition]),
                "positive": bool(explanation.interactions[cloud, coalition] >= 0),
                "members": list(coalition_members(coalition)),
            }
            for coalition in small_groups(explanation, cloud, N_EFFECTS)
        ],
    }


def describe_members(explanation: Explanation, cloud: int, coalition: int) -> str:
    """Which regions act together, in words."""
    names = explanation.names_of(cloud, coalition)
    return f"{' + '.join(names)} {'alone' if len(names) == 1 else 'together'}"


def viewer_html(clouds: Sequence[dict[str, Any]]) -> str:
    """The canvas, its buttons, its data and its script."""
    # "</script>" inside a class name must not end the script.
    data = json.dumps(clouds, separators=(",", ":")).replace("<", "\\u003c")
    alt = escape("A point cloud, colored by region; drag to turn it.")
    return f"""
<div class="viewer" id="viewer">
<canvas width="1040" height="1040" role="img" aria-label="{alt}"></canvas>
<div class="side">
<div class="clouds"></div>
<p class="what"></p>
<h3>Show</h3>
<div class="effects"></div>
<p>Drag to turn. <span class="for">Blue</span> speaks for the class,
<span class="against">orange</span> against it. Choose a group to see its regions.</p>
</div>
</div>
<script type="application/json" id="viewer-data">{data}</script>
<script>{read_asset("viewer.js")}</script>
"""


def rgb(color: str) -> list[int]:
    """``"#0072B2"`` to three numbers."""
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]
