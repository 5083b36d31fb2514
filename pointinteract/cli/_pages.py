"""The page that ``pointinteract explain --html`` writes."""

from html import escape
from pathlib import Path

from pointinteract.cli._figures import draw_answer, draw_orders, drawing
from pointinteract.cli._page import note, page, paragraph, picture, section
from pointinteract.cli._verdict import describe_answer, name_of
from pointinteract.cli._viewer import viewer_cloud, viewer_html
from pointinteract.explanation import Explanation
from pointinteract.utils._archive import atomic_write

MAX_CLOUDS = 12


def write_explanation_page(
    path: Path, explanation: Explanation, *, model: str, data: str, up: str
) -> None:
    """Draw the strongest interactions of the clouds, a view to turn, and strength by order."""
    shown = range(min(explanation.n_clouds, MAX_CLOUDS))
    parts, turnable = [], []
    with drawing() as pyplot:
        for cloud in shown:
            one = explanation[cloud]
            question = describe_cloud(one, cloud)
            parts += [
                f"<h3>{escape(question)}</h3>",
                paragraph(describe_answer(one)),
                picture(draw_answer(one, up=up), question),
            ]
            name = f"{cloud + 1}: {name_of(one, 'targets')}"
            turnable.append(viewer_cloud(one, 0, name, up=up))
        curve = picture(
            draw_orders({"this model": explanation}, None, pyplot),
            "Strength of interactions by order, beside pure noise",
        )
    body = [
        f"<h1>Why {escape(model)} answers as it does</h1>",
        f'<p class="lead">{explanation.n_clouds} clouds of {escape(data)}, '
        f"{explanation.n_regions} regions each.</p>",
        section("turn", "To turn around", viewer_html(turnable)),
        section("clouds", "Cloud by cloud", *parts),
        section(
            "orders", "Strength by order",
            paragraph("How strong an average interaction of so many regions is, as a share of "
                      "all orders."),
            curve,
            note("Noise too looks like strong high orders; where the curve lies near the dotted "
                 "line it says little about the model."),
        ),
    ]
    with atomic_write(path) as temporary:
        temporary.write_text(page("Explanation", "\n".join(body)), encoding="utf-8")


def describe_cloud(one: Explanation, number: int) -> str:
    """Which class is explained, and whether the model named it."""
    target, said = name_of(one, "targets"), name_of(one, "predicted")
    true = "" if one.labels is None else f", and it is {name_of(one, 'labels')}"
    return f"Cloud {number + 1}: what speaks for {target}? The model says {said}{true}."
