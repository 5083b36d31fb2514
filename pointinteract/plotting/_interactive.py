"""A cloud to turn around, with its strongest interactions to choose from (plotly)."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pointinteract.games.coalitions import coalition_members
from pointinteract.plotting._cloud import ABSENT_COLOR, TEXT_COLOR, region_colors
from pointinteract.plotting._regions import cloud_title, interaction_title, region_labels
from pointinteract.utils._optional import import_optional

if TYPE_CHECKING:
    from pointinteract.explanation import Explanation


def interactive_regions(
    explanation: "Explanation", *, cloud: int = 0, top: int = 12, up: str = "z"
) -> Any:
    """Make a figure of one cloud in which a menu chooses the interaction to color.

    Parameters
    ----------
    explanation : Explanation
    cloud : int, default=0
    top : int, default=12
        Number of interactions in the menu, the strongest first.
    up : {"x", "y", "z"}, default="z"
        The vertical axis of the clouds.

    Returns
    -------
    figure : plotly Figure
        Show it in a notebook, or write it with ``figure.write_html(path)``.
    """
    graph_objects = import_optional(
        "plotly.graph_objects", extra="plot", purpose="interactive views"
    )
    points, regions = explanation.points[cloud][:, :3], explanation.regions[cloud]
    colors = region_colors(explanation.n_regions)
    size = float(np.clip(3000 / len(points), 2.0, 5.0))
    labels = region_labels(explanation, cloud)
    prefix = "region " if explanation.region_names is None else ""
    traces = []
    for region, color in enumerate(colors):
        x, y, z = points[regions == region].T
        traces.append(
            graph_objects.Scatter3d(
                x=x,
                y=y,
                z=z,
                mode="markers",
                marker={"size": size, "color": color, "line": {"width": 0}},
                name=f"{prefix}{labels[region]}",
                hovertemplate="%{fullData.name}<extra></extra>",
            )
        )
    figure = graph_objects.Figure(traces)
    hidden = {"visible": False}
    figure.update_layout(
        title={"text": cloud_title(explanation, cloud), "font": {"color": TEXT_COLOR}},
        scene={
            "xaxis": hidden,
            "yaxis": hidden,
            "zaxis": hidden,
            "aspectmode": "data",
            "camera": {"up": {axis: float(axis == up) for axis in "xyz"}},
        },
        margin={"l": 0, "r": 0, "t": 90, "b": 0},
        paper_bgcolor="white",
        legend={"itemsizing": "constant"},
        updatemenus=[
            {
                "buttons": _buttons(explanation, cloud, top, colors),
                "x": 0.0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "showactive": True,
            }
        ],
    )
    return figure


def _buttons(
    explanation: "Explanation", cloud: int, top: int, colors: list[str]
) -> list[dict[str, Any]]:
    whole = cloud_title(explanation, cloud)
    buttons = [_button("all regions", whole, colors)]
    for coalition in explanation.strongest(cloud, top):
        members = coalition_members(coalition)
        shown = [c if region in members else ABSENT_COLOR for region, c in enumerate(colors)]
        title = interaction_title(explanation, cloud, coalition)
        buttons.append(_button(title, f"{whole}<br>{title}", shown))
    return buttons


def _button(label: str, title: str, colors: list[str]) -> dict[str, Any]:
    return {
        "label": label,
        "method": "update",
        "args": [{"marker.color": colors}, {"title.text": title}],
    }
