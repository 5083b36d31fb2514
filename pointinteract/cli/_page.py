"""Small pieces of HTML: everything that came from a user is escaped here."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from pointinteract._version import __version__
from pointinteract.cli._figures import encode_figure, read_asset


def page(title: str, body: str) -> str:
    """A whole page that refers to nothing outside itself."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="pointinteract {__version__}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{read_asset("report.css")}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def section(anchor: str, title: str, *parts: str) -> str:
    return f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n' + "\n".join(parts) + "</section>"


def paragraph(text: str) -> str:
    """Plain text; for text with markup, write the tags and escape what is not ours."""
    return f"<p>{escape(text)}</p>"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def picture(figure: Any, text: str, *, caption: str = "") -> str:
    """A matplotlib figure inside the page; `text` says it to those who cannot see it."""
    source = encode_figure(figure)
    width, height = png_size(source)
    # Drawn finer than shown, so that it stays sharp on a dense screen.
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><img src="{source}" width="{round(width * 0.84)}" '
        f'height="{round(height * 0.84)}" alt="{escape(text)}">{below}</figure>'
    )


def card(value: str, text: str, small: str, *, main: bool = False) -> str:
    kind = "card main" if main else "card"
    return (
        f'<div class="{kind}"><b>{escape(value)}</b><span>{escape(text)}</span>'
        f"<small>{escape(small)}</small></div>"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are text."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    ]
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def code(text: str) -> str:
    return f"<pre><code>{escape(text.strip())}</code></pre>"


def listing(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def png_size(source: str) -> tuple[int, int]:
    """Width and height of a PNG data URI, from its header."""
    header = base64.b64decode(source.split(",", 1)[1][:44])
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")
