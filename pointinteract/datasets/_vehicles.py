"""Recipes of vehicles: airplanes and cars, nose towards -y."""

import math

from pointinteract.datasets._bodies import (
    UPRIGHT,
    Body,
    Draw,
    about_x,
    about_y,
    listed,
    phrase,
    smooth,
    turned,
)

AHEAD = about_x(math.pi / 2)  # the third axis of the frame points towards -y


def _wing(body: Body, part: str, root, span: float, chord: float, tip: float, sweep: float,
          lift: float, *, upright: bool = False) -> None:  # fmt: skip
    """A thin tapered wing from `root` outwards; negative span is the other side."""
    side = 1 if span > 0 else -1
    length = abs(span)
    # The block stands on its root: its z axis is turned to point outwards (or stays up).
    frame = UPRIGHT if upright else turned(about_y(-lift * side), about_y(side * math.pi / 2))
    out = (frame[2], frame[5], frame[8])
    center = tuple(r + 0.5 * length * o for r, o in zip(root, out, strict=True))
    body.block(part, center, (0.12 * chord, chord, length), top=(0.4, tip), shift=(0.0, sweep),
               frame=frame)  # fmt: skip


def airplane(draw: Draw, body: Body) -> str:
    length, wide = 2.0, draw.between(0.09, 0.16)
    nose = draw.between(0.12, 0.3)
    tip = 0.0 if draw.chance(0.7) else 0.3 * wide
    profile = smooth([(0.25 * wide, -1.0), (wide, -0.35)], 4)
    profile += [(wide, 1.0 - nose), (0.75 * wide, 1.0 - 0.4 * nose), (tip, 1.0)]
    body.lathe("fuselage", [(0.0, -1.0), *profile, (0.0, 1.0)], frame=AHEAD)
    kind = draw.choice("airliner", "airliner", "propeller plane", "jet", "glider")
    span = {"airliner": 0.9, "propeller plane": 0.8, "jet": 0.55, "glider": 1.3}[kind]
    span *= draw.between(0.85, 1.15)
    chord = {"airliner": 0.4, "propeller plane": 0.32, "jet": 0.75, "glider": 0.2}[kind]
    sweep = {"airliner": 0.35, "propeller plane": 0.0, "jet": 0.4, "glider": 0.0}[kind]
    high = draw.choice("low", "low", "high")
    z = 0.75 * wide if high == "high" else -0.5 * wide
    lift = draw.between(-0.02, 0.12)
    at = 0.1 if kind == "jet" else -0.1
    narrow = draw.between(0.25, 0.6)
    for side in (1, -1):
        _wing(body, "wing", (0, at, z), side * span, chord, narrow, sweep, lift)
    behind, small = 0.5 * length - 0.14, draw.between(0.28, 0.4)
    tall = draw.between(0.25, 0.4)
    tee = draw.chance(0.25)
    level = tall if tee else 0.0
    for side in (1, -1):
        _wing(body, "tail", (0, behind, level), side * small, 0.2, 0.6, 0.6 * sweep, 0.0)
    _wing(body, "tail", (0, behind, 0.0), tall, 0.26, 0.55, 0.15, 0.0, upright=True)
    engines = ""
    if kind == "airliner":
        n_engines = draw.choice(2, 2, 4)
        for x in (0.32, -0.32, 0.6, -0.6)[:n_engines]:
            y = at + abs(x) / span * sweep - 0.25
            frame_center = (x * span, y + 0.14, z - 0.09)
            body.lathe("engine", [(0.03, 0.0), (0.06, 0.05), (0.065, 0.24), (0.05, 0.28)],
                       center=frame_center, frame=AHEAD)  # fmt: skip
        engines = "two engines" if n_engines == 2 else "four engines"
    elif kind == "propeller plane":
        body.ball("engine", (0, -1.0, 0), (0.3 * wide + 0.02, 0.08, 0.3 * wide + 0.02))
        for angle in (0.3, 0.3 + math.pi / 2)[: draw.integer(1, 2)]:
            body.block("engine", (0, -1.04, 0), (0.5, 0.015, 0.045), frame=about_y(angle))
        engines = "a propeller"
    tail = "a T tail" if tee else "a plain tail"
    return phrase(kind, listed([f"{high} wings", tail, engines]))


def car(draw: Draw, body: Body) -> str:
    kind = draw.choice("sedan", "hatchback", "pickup", "van", "convertible")
    length = draw.between(3.6, 4.8)
    width, low = draw.between(1.6, 1.95), draw.between(0.2, 0.4)
    radius = draw.between(0.28, 0.42)
    hood = low + draw.between(0.45, 0.65)
    body.block("body", (0, 0, (low + hood) / 2), (width, length, hood - low), top=(0.96, 0.97))
    roof = hood + draw.between(0.4, 0.6)
    # How long the cabin is, where its middle lies, and how much it narrows to the roof.
    long, middle, narrow = {
        "sedan": (0.55, 0.03, 0.62),
        "hatchback": (0.65, 0.16, 0.75),
        "pickup": (0.33, -0.06, 0.7),
        "van": (0.82, 0.08, 0.88),
        "convertible": (0.0, 0.0, 0.0),
    }[kind]
    if kind == "van":
        roof += draw.between(0.2, 0.7)
    if kind == "convertible":
        body.block("cabin", (0, -0.12 * length, hood + 0.17), (0.85 * width, 0.04, 0.36),
                   frame=about_x(-0.5))  # fmt: skip
        for x in (-0.25 * width, 0.25 * width):
            body.block("seat", (x, 0.08 * length, hood + 0.12), (0.3 * width, 0.15, 0.34))
    else:
        body.block("cabin", (0, middle * length, (hood + roof) / 2),
                   (0.92 * width, long * length, roof - hood), top=(0.86, narrow),
                   shift=(0.0, draw.between(0.0, 0.04) * length))  # fmt: skip
    if kind == "pickup":
        for x in (-0.45 * width, 0.45 * width):
            body.block("body", (x, 0.3 * length, hood + 0.12), (0.08, 0.36 * length, 0.28))
        body.block("body", (0, 0.48 * length, hood + 0.12), (0.9 * width, 0.08, 0.28))
    base = draw.between(0.28, 0.34) * length
    for x in (-0.47 * width, 0.47 * width):
        for y in (-base, base):
            body.rod("wheel", (x - 0.11, y, radius), (x + 0.11, y, radius), radius)
    spoiler = kind in ("sedan", "hatchback") and draw.chance(0.25)
    if spoiler:
        z = hood + 0.22 if kind == "sedan" else roof + 0.08
        body.block("tail", (0, 0.46 * length, z), (0.9 * width, 0.25, 0.04))
        for x in (-0.3 * width, 0.3 * width):
            body.block("tail", (x, 0.46 * length, z - 0.11), (0.05, 0.12, 0.2))
    size = "long" if length > 4.2 else "short"
    wheels = "large wheels" if radius > 0.35 else "small wheels"
    return phrase(size, kind, "car", listed([wheels, "a spoiler" if spoiler else ""]))


RECIPES = {"airplane": airplane, "car": car}
