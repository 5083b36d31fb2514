"""Recipes of furniture: each builds one object from random proportions and names its style."""

import math

from pointinteract.datasets._bodies import Body, Draw, about_x, listed, phrase


def _legs(
    body: Body, draw: Draw, width: float, depth: float, height: float, style: str, n_legs: int = 4
) -> None:
    """Legs from the floor to `height`, below a top of the given width and depth."""
    thick = draw.between(0.022, 0.05) * (0.6 + height)
    splay = draw.between(0.1, 0.25) * height if style == "splayed" else 0.0
    if n_legs == 3:
        spots = [
            (0.42 * width * math.cos(angle), 0.42 * depth * math.sin(angle))
            for angle in (math.pi / 2, math.pi * 7 / 6, math.pi * 11 / 6)
        ]
    else:
        x, y = 0.5 * width - thick, 0.5 * depth - thick
        spots = [(-x, -y), (x, -y), (x, y), (-x, y)]
    for x, y in spots:
        reach = math.hypot(x, y) or 1.0
        foot = (x + splay * x / reach, y + splay * y / reach, 0.0)
        if style == "straight":
            body.block("leg", (x, y, 0.5 * height), (thick, thick, height))
        else:
            body.rod("leg", foot, (x, y, height), 0.35 * thick, 0.6 * thick)


def _column(body: Body, draw: Draw, height: float, spread: float, foot: str) -> None:
    """One central leg with a disc, a cross or a star under it."""
    radius = draw.between(0.05, 0.1) * spread
    body.rod("leg", (0.0, 0.0, 0.0), (0.0, 0.0, height), radius)
    if foot == "round":
        body.lathe("base", [(0, 0), (0.65 * spread, 0), (0.6 * spread, 0.03), (0, 0.06)])
        return
    n_arms = 5 if foot == "star" else 4
    for i in range(n_arms):
        angle = 2 * math.pi * (i + 0.5) / n_arms
        x, y = spread * math.cos(angle), spread * math.sin(angle)
        body.rod("base", (0.0, 0.0, 0.08), (0.8 * x, 0.8 * y, 0.05), radius, 0.6 * radius)
        if foot == "star":
            body.ball("wheel", (0.8 * x, 0.8 * y, 0.03), (0.03, 0.03, 0.03))


def _back(body: Body, draw: Draw, width: float, y: float, low: float, high: float, style: str):
    """A backrest that leans away from the seat."""
    lean = draw.between(0.0, 0.25)
    thick = draw.between(0.02, 0.05)
    tall = high - low
    frame = about_x(-lean)

    def place(x: float, up: float, forward: float = 0.0):
        return (x, y + up * math.sin(lean) + forward, low + up * math.cos(lean))

    if style == "solid":
        body.block("back", place(0, 0.5 * tall), (width, thick, tall), frame=frame)
        return
    if style == "round":
        middle = place(0, 0.5 * tall)
        body.loop("back", middle, 0.5 * width, 0.5 * thick, frame=about_x(1.57 - lean))
        body.ball("back", middle, (0.42 * width, 0.3 * thick, 0.42 * width))
        return
    for x in (-0.5 * width + 0.5 * thick, 0.5 * width - 0.5 * thick):
        body.rod("back", place(x, 0), place(x, tall), 0.55 * thick)
    n_bars = draw.integer(2, 5)
    if style == "slatted":
        body.block("back", place(0, tall), (width, thick, 2.5 * thick), frame=frame)
        for i in range(n_bars):
            x = width * ((i + 1) / (n_bars + 1) - 0.5)
            body.block("back", place(x, 0.5 * tall), (thick, 0.5 * thick, tall), frame=frame)
    else:
        for i in range(n_bars):
            up = tall * (i + 1) / n_bars
            bar = (width, 0.5 * thick, draw.between(0.3, 0.6) * tall / n_bars)
            body.block("back", place(0, up - 0.5 * bar[2]), bar, frame=frame)


def _arms(body: Body, draw: Draw, width: float, depth: float, seat: float) -> None:
    thick = draw.between(0.025, 0.05)
    height = seat + draw.between(0.16, 0.26)
    for x in (-0.5 * width, 0.5 * width):
        body.block("arm", (x, 0, height), (1.6 * thick, depth, thick))
        body.rod("arm", (x, -0.4 * depth, seat - 0.02), (x, -0.4 * depth, height), 0.4 * thick)


def _support(body: Body, draw: Draw, width: float, depth: float, height: float, *, seat: bool):
    """Legs of a random style; returns what to call them."""
    style = draw.choice("straight", "straight", "splayed", "tapered", "column", "sled")
    if style == "column":
        foot = draw.choice("round", "cross", "star" if seat else "round")
        _column(body, draw, height, 0.5 * min(width, depth) * draw.between(0.8, 1.1), foot)
        return f"one central leg on a {foot} base"
    if style == "sled":
        radius = draw.between(0.012, 0.025)
        x, y = 0.5 * width - radius, 0.5 * depth - radius
        for side in (-x, x):
            spots = ((-y, height), (-y, radius), (y, radius), (y, height))
            corners = [(side, *spot) for spot in spots]
            for start, end in zip(corners[:-1], corners[1:], strict=True):
                body.rod("leg", start, end, radius)
        return "two runners for legs"
    _legs(body, draw, width, depth, height, style)
    return f"four {style} legs"


def chair(draw: Draw, body: Body) -> str:
    width, depth = draw.between(0.4, 0.58), draw.between(0.4, 0.56)
    seat, thick = draw.between(0.38, 0.5), draw.between(0.025, 0.09)
    form = draw.choice("square", "square", "round")
    if form == "round":
        depth = width
        body.lathe("seat", [(0, seat), (width / 2, seat), (width / 2, seat + thick),
                            (0, seat + thick)])  # fmt: skip
    else:
        body.block("seat", (0, 0, seat + thick / 2), (width, depth, thick))
    inset = 0.72 if form == "round" else 1.0
    legs = _support(body, draw, inset * width, inset * depth, seat, seat=True)
    style = draw.choice("solid", "slatted", "ladder", "round")
    tall = draw.between(0.2, 0.65)
    span = width * draw.between(0.75, 1.0)
    low = seat + thick * draw.between(0.6, 1.0)
    high = low + span if style == "round" else low + tall
    _back(body, draw, span, 0.45 * depth, low, high, style)
    arms = draw.chance(0.35)
    if arms:
        _arms(body, draw, width, 0.85 * depth, seat + thick)
    size = "low" if tall < 0.35 else "high"
    back = f"a {size} {style} back" if style != "round" else "a round back"
    return phrase(form, "chair", listed([legs, back, "arms" if arms else ""]))


def stool(draw: Draw, body: Body) -> str:
    width, seat = draw.between(0.3, 0.48), draw.between(0.35, 0.85)
    thick = draw.between(0.025, 0.12)
    form = draw.choice("round", "round", "square")
    if form == "round":
        body.lathe("seat", [(0, seat), (width / 2, seat), (0.52 * width, seat + 0.7 * thick),
                            (0.45 * width, seat + thick), (0, seat + thick)])  # fmt: skip
    else:
        body.block("seat", (0, 0, seat + thick / 2), (width, width, thick))
    if draw.chance(0.25):
        _legs(body, draw, width, width, seat, "splayed", n_legs=3)
        legs = "three splayed legs"
    else:
        inset = 0.75 if form == "round" else 0.95
        legs = _support(body, draw, inset * width, inset * width, seat, seat=True)
    ring = draw.chance(0.4)
    if ring:
        body.loop("rim", (0, 0, draw.between(0.25, 0.45) * seat), 0.48 * width, 0.012)
    size = "tall" if seat > 0.6 else "low"
    return phrase(size, form, "stool", listed([legs, "a foot ring" if ring else ""]))


def bench(draw: Draw, body: Body) -> str:
    width, depth = draw.between(0.9, 1.8), draw.between(0.32, 0.5)
    seat, thick = draw.between(0.38, 0.48), draw.between(0.03, 0.08)
    n_boards = draw.choice(1, 1, 3, 4)
    for i in range(n_boards):
        y = depth * ((i + 0.5) / n_boards - 0.5)
        board = depth / n_boards * (1.0 if n_boards == 1 else 0.8)
        body.block("seat", (0, y, seat + thick / 2), (width, board, thick))
    if draw.chance(0.4):
        for x in (-0.4 * width, 0.4 * width):
            body.block("leg", (x, 0, seat / 2), (draw.between(0.05, 0.12), 0.9 * depth, seat))
        legs = "two broad legs"
    else:
        style = draw.choice("straight", "splayed", "tapered")
        _legs(body, draw, 0.92 * width, 0.9 * depth, seat, style)
        legs = f"four {style} legs"
    back = draw.choice("", "", "solid", "slatted", "ladder")
    if back:
        _back(body, draw, width, 0.47 * depth, seat + thick, seat + draw.between(0.3, 0.5), back)
    arms = bool(back) and draw.chance(0.5)
    if arms:
        _arms(body, draw, width, 0.85 * depth, seat + thick)
    surface = "plain" if n_boards == 1 else "planked"
    back = f"a {back} back" if back else "no back"
    return phrase(surface, "bench", listed([legs, back, "arms" if arms else ""]))


def sofa(draw: Draw, body: Body) -> str:
    n_seats = draw.integer(1, 4)
    unit, depth = draw.between(0.5, 0.65), draw.between(0.6, 0.95)
    width, seat = n_seats * unit, draw.between(0.3, 0.42)
    feet = draw.between(0.0, 0.14)
    rise, thick = draw.between(0.25, 0.5), draw.between(0.12, 0.24)
    body.block("base", (0, 0, (feet + seat) / 2), (width, depth, seat - feet))
    if feet > 0.03:
        _legs(body, draw, width, depth, feet, "straight")
    for i in range(n_seats):
        x = unit * (i + 0.5) - width / 2
        body.block("cushion", (x, -thick / 2, seat + 0.06), (0.96 * unit, depth - thick, 0.12),
                   top=(0.94, 0.94))  # fmt: skip
    body.block("back", (0, depth / 2 - thick / 2, seat + rise / 2), (width, thick, rise),
               top=(1.0, 0.7), shift=(0.0, draw.between(0.0, 0.12)))  # fmt: skip
    side = draw.choice("square", "square", "rolled", "")
    wide, high = draw.between(0.1, 0.22), seat + draw.between(0.12, 0.28)
    for x in (-width / 2 - wide / 2, width / 2 + wide / 2) if side else ():
        body.block("arm", (x, 0, (feet + high) / 2), (wide, depth, high - feet))
        if side == "rolled":
            body.rod("arm", (x, -depth / 2, high), (x, depth / 2, high), 0.62 * wide)
    corner = n_seats > 1 and draw.chance(0.3)
    if corner:
        x = (width - unit) / 2 * draw.choice(-1, 1)
        body.block("base", (x, -depth, (feet + seat) / 2), (unit, depth, seat - feet))
        body.block("cushion", (x, -depth, seat + 0.05), (0.96 * unit, depth, 0.12))
    kind = "armchair" if n_seats == 1 else f"{('two', 'three', 'four')[n_seats - 2]}-seat sofa"
    arms = f"{side} arms" if side else "no arms"
    feet_words = "visible feet" if feet > 0.03 else "a base down to the floor"
    return phrase("corner" if corner else "", kind, listed([arms, feet_words]))


def bed(draw: Draw, body: Body) -> str:
    single = draw.chance(0.5)
    width = draw.between(0.8, 1.1) if single else draw.between(1.3, 1.9)
    length, low = draw.between(1.9, 2.15), draw.between(0.1, 0.35)
    frame, soft = draw.between(0.08, 0.25), draw.between(0.12, 0.28)
    body.block("base", (0, 0, low + frame / 2), (width, length, frame))
    lie = low + frame
    body.block("mattress", (0, -0.01, lie + soft / 2), (0.95 * width, 0.95 * length, soft))
    _legs(body, draw, width, length, low, draw.choice("straight", "tapered"))
    head, foot = draw.choice("solid", "slatted", "low", ""), draw.chance(0.4)
    if head in ("solid", "slatted"):
        _back(body, draw, width, length / 2, low, lie + soft + draw.between(0.2, 0.6), head)
    elif head:
        body.block("headboard", (0, length / 2, (lie + soft + 0.1) / 2),
                   (width, 0.06, lie + soft + 0.1))  # fmt: skip
    if foot:
        high = lie + draw.between(0.1, 0.4)
        body.block("headboard", (0, -length / 2, high / 2), (width, 0.05, high))
    n_pillows = draw.choice(0, 1) if single else draw.choice(0, 2)
    for i in range(n_pillows):
        x = 0.0 if n_pillows == 1 else (i - 0.5) * 0.45 * width
        body.ball("pillow", (x, 0.38 * length, lie + soft + 0.05), (0.34, 0.2, 0.08))
    posts = draw.chance(0.2)
    if posts:
        high = draw.between(1.5, 2.1)
        x, y = width / 2, length / 2
        for px, py in ((-x, -y), (x, -y), (x, y), (-x, y)):
            body.rod("pole", (px, py, 0), (px, py, high), 0.035)
        if draw.chance(0.6):
            body.block("top", (0, 0, high), (width, length, 0.04))
    return phrase(
        "single" if single else "double",
        "bed",
        listed([
            f"a {head} headboard" if head else "no headboard",
            "a footboard" if foot else "",
            "four tall posts" if posts else "",
            "pillows" if n_pillows else "",
        ]),
    )  # fmt: skip


def table(draw: Draw, body: Body) -> str:
    height, thick = draw.between(0.38, 0.8), draw.between(0.02, 0.07)
    form = draw.choice("round", "square", "rectangular", "oval")
    width = draw.between(0.55, 1.3)
    depth = width if form in ("round", "square") else width * draw.between(0.45, 0.7)
    if form in ("round", "oval"):
        body.lathe("top", [(0, height), (width / 2, height), (width / 2, height + thick),
                           (0, height + thick)], stretch=depth / width)  # fmt: skip
    else:
        body.block("top", (0, 0, height + thick / 2), (width, depth, thick))
    inset = 0.72 if form in ("round", "oval") else 0.95
    legs = _support(body, draw, inset * width, inset * depth, height, seat=False)
    shelf = draw.chance(0.2)
    if shelf:
        body.block("panel", (0, 0, draw.between(0.2, 0.4) * height),
                   (0.9 * inset * width, 0.9 * inset * depth, 0.02))  # fmt: skip
    size = "low" if height < 0.5 else ""
    legs = legs.replace(" on a round base", "")
    return phrase(size, form, "table", listed([legs, "a shelf below" if shelf else ""]))


def desk(draw: Draw, body: Body) -> str:
    width, depth = draw.between(1.0, 1.7), draw.between(0.5, 0.8)
    height, thick = draw.between(0.68, 0.78), draw.between(0.02, 0.06)
    body.block("top", (0, 0, height + thick / 2), (width, depth, thick))
    sides = draw.choice("left", "right", "both", "none")
    wide = draw.between(0.25, 0.42)
    n_drawers = draw.integer(1, 4)
    for name, sign in (("left", -1), ("right", 1)):
        x = sign * (width / 2 - wide / 2)
        if sides in (name, "both"):
            low = draw.between(0.0, 0.3)
            body.block("base", (x, 0, (low + height) / 2), (wide, 0.95 * depth, height - low))
            for i in range(n_drawers):
                z = low + (height - low) * (i + 0.5) / n_drawers
                tall = 0.85 * (height - low) / n_drawers
                body.block("drawer", (x, -0.49 * depth, z), (0.9 * wide, 0.04, tall))
                body.ball("handle", (x, -0.53 * depth, z), (0.04, 0.015, 0.015))
        else:
            for y in (-0.45 * depth, 0.45 * depth):
                body.block("leg", (sign * 0.47 * width, y, height / 2), (0.05, 0.05, height))
    panel = draw.chance(0.5)
    if panel:
        body.block("panel", (0, 0.46 * depth, 0.65 * height), (0.95 * width, 0.02, 0.6 * height))
    hutch = draw.chance(0.25)
    if hutch:
        rise = draw.between(0.25, 0.5)
        body.block("panel", (0, 0.35 * depth, height + rise), (width, 0.3 * depth, 0.025))
        for x in (-width / 2, 0, width / 2):
            body.block("panel", (x, 0.35 * depth, height + rise / 2), (0.025, 0.3 * depth, rise))
    where = {"both": "drawers on both sides", "none": "no drawers"}
    return phrase(
        "desk",
        listed([
            where.get(sides, f"drawers on the {sides}"),
            "a back panel" if panel else "",
            "a shelf above" if hutch else "",
        ]),
    )  # fmt: skip


def cabinet(draw: Draw, body: Body) -> str:
    width, depth = draw.between(0.4, 1.4), draw.between(0.35, 0.6)
    height, low = draw.between(0.45, 1.4), draw.choice(0.0, 0.06, 0.15)
    body.block("body", (0, 0, (low + height) / 2), (width, depth, height - low))
    body.block("top", (0, 0, height), (1.05 * width, 1.05 * depth, draw.between(0.02, 0.05)))
    if low:
        _legs(body, draw, width, depth, low, "tapered")
    fronts = draw.choice("doors", "drawers", "drawers")
    n_columns = 2 if width > 0.8 or fronts == "doors" else 1
    n_rows = 1 if fronts == "doors" else draw.integer(2, 4)
    cell = (width / n_columns, (height - low) / n_rows)
    handle = draw.choice("knobs", "bars")
    for i in range(n_columns * n_rows):
        x = cell[0] * (i % n_columns + 0.5) - width / 2
        z = low + cell[1] * (i // n_columns + 0.5)
        body.block("drawer", (x, -depth / 2 - 0.01, z), (0.9 * cell[0], 0.03, 0.9 * cell[1]))
        if handle == "knobs":
            body.ball("handle", (x, -depth / 2 - 0.045, z), (0.02, 0.02, 0.02))
        else:
            body.block("handle", (x, -depth / 2 - 0.04, z), (0.4 * cell[0], 0.025, 0.02))
    size = "tall" if height > 1.5 * width else "wide" if width > 1.5 * height else "cubic"
    feet = "short legs" if low else "a base down to the floor"
    return phrase(size, "cabinet", listed([fronts, handle, feet]))


def shelf(draw: Draw, body: Body) -> str:
    width, depth = draw.between(0.5, 1.3), draw.between(0.2, 0.4)
    height, thick = draw.between(0.8, 2.0), draw.between(0.02, 0.045)
    n_boards = draw.integer(3, 6)
    for i in range(n_boards):
        z = thick / 2 + (height - thick) * i / (n_boards - 1)
        body.block("panel", (0, 0, z), (width, depth, thick))
    sides = draw.choice("solid sides", "solid sides", "four posts")
    if sides == "solid sides":
        for x in (-width / 2, width / 2):
            body.block("panel", (x, 0, height / 2), (thick, depth, height))
    else:
        x, y = width / 2 - 0.02, depth / 2 - 0.02
        for px, py in ((-x, -y), (x, -y), (x, y), (-x, y)):
            body.rod("pole", (px, py, 0), (px, py, height), 0.018)
    back = draw.chance(0.5)
    if back:
        body.block("back", (0, depth / 2, height / 2), (width, 0.015, height))
    divider = draw.chance(0.3)
    if divider:
        x = width * draw.between(-0.2, 0.2)
        body.block("panel", (x, 0, height / 2), (thick, depth, height))
    count = ("three", "four", "five", "six")[n_boards - 3]
    return phrase(
        "shelf",
        listed([
            f"{count} boards",
            sides,
            "a closed back" if back else "an open back",
            "a divider" if divider else "",
        ]),
    )  # fmt: skip


RECIPES = {
    "chair": chair,
    "stool": stool,
    "bench": bench,
    "sofa": sofa,
    "bed": bed,
    "table": table,
    "desk": desk,
    "cabinet": cabinet,
    "shelf": shelf,
}
