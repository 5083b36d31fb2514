"""Recipes of things that stand on furniture: lamps, screens, vessels, plants, instruments."""

import math

from pointinteract.datasets._bodies import (
    Body,
    Draw,
    about_x,
    about_y,
    about_z,
    listed,
    phrase,
    smooth,
    turned,
)


def lamp(draw: Draw, body: Body) -> str:
    kind = draw.choice("floor", "table", "table", "desk")
    height = draw.between(1.2, 1.8) if kind == "floor" else draw.between(0.35, 0.65)
    special = {"floor": "three-legged", "table": "bulging", "desk": "square"}[kind]
    foot = draw.choice("round", "square", special)
    spread = height * (draw.between(0.1, 0.16) if kind == "floor" else draw.between(0.15, 0.25))
    thin = draw.between(0.012, 0.02) * (1 + height)
    if foot == "three-legged":
        for i in range(3):
            angle = 2 * math.pi * (i + 0.25) / 3
            end = (1.6 * spread * math.cos(angle), 1.6 * spread * math.sin(angle), 0.0)
            body.rod("base", end, (0, 0, 0.6 * height), thin)
    elif foot == "square":
        body.block("base", (0, 0, 0.02), (1.6 * spread, 1.6 * spread, 0.04))
    elif foot == "bulging":
        body.lathe("base", smooth([(0, 0), (0.5 * spread, 0.001), (spread, 0.25 * height),
                                   (0.3 * spread, 0.6 * height), (0, 0.62 * height)]))  # fmt: skip
    else:
        body.lathe("base", [(0, 0), (spread, 0), (spread, 0.015), (0.3 * spread, 0.05), (0, 0.05)])
    if kind == "desk":
        elbow = (0.0, draw.between(0.1, 0.3) * height, draw.between(0.5, 0.7) * height)
        tip = (0.0, -draw.between(0.3, 0.6) * height, draw.between(0.75, 1.0) * height)
        body.rod("pole", (0, 0, 0), elbow, thin)
        body.rod("pole", elbow, tip, thin)
        wide = draw.between(0.1, 0.18) * height + 0.03
        frame = about_x(draw.between(-0.6, 0.3))
        body.lathe("shade", [(0.3 * wide, 0.0), (wide, -1.3 * wide)], center=tip, frame=frame,
                   solid=False)  # fmt: skip
        body.ball("shade", tip, (0.3 * wide, 0.3 * wide, 0.3 * wide))
        return phrase(kind, "lamp", listed([f"a {foot} base", "a jointed arm"]))
    body.rod("pole", (0, 0, 0.02), (0, 0, 0.95 * height), thin)
    shade = draw.choice("conical", "cylindrical", "round", "bowl-shaped")
    wide = draw.between(0.18, 0.32) * height * (0.7 if kind == "floor" else 1.1)
    low, tall = 0.78 * height, wide * draw.between(0.9, 1.5)
    if shade == "round":
        body.ball("shade", (0, 0, low + 0.7 * wide), (0.75 * wide, 0.75 * wide, 0.75 * wide))
    elif shade == "bowl-shaped":
        body.ball("shade", (0, 0, low + wide), (wide, wide, 0.7 * wide), high=0.0)
    else:
        upper = wide if shade == "cylindrical" else draw.between(0.3, 0.65) * wide
        body.lathe("shade", [(wide, low), (upper, low + tall)], solid=False)
    return phrase(kind, "lamp", listed([f"a {foot} base", f"a {shade} shade"]))


def monitor(draw: Draw, body: Body) -> str:
    width = draw.between(0.42, 0.8)
    height = width * draw.between(0.5, 0.8)
    low, thick = draw.between(0.06, 0.16), draw.between(0.025, 0.08)
    frame = about_x(-draw.between(0.0, 0.15))
    middle = (0.0, 0.0, low + height / 2)
    body.block("body", middle, (width, thick, height), frame=frame)
    body.block("screen", (0, -thick / 2, middle[2]), (0.93 * width, 0.01, 0.9 * height),
               frame=frame)  # fmt: skip
    tube = draw.chance(0.3)
    if tube:
        deep = draw.between(0.5, 0.9) * height
        body.block("back", (0, thick / 2 + deep / 2, middle[2]),
                   (0.95 * width, 0.95 * height, deep),
                   top=(0.5, 0.5), frame=about_x(-math.pi / 2))  # fmt: skip
    stand = draw.choice("round", "square", "two-footed")
    spread = draw.between(0.25, 0.45) * width
    if stand == "two-footed":
        for x in (-0.32 * width, 0.32 * width):
            body.block("base", (x, 0, low / 2), (0.03, 0.8 * spread, low), top=(1.0, 0.3))
    else:
        y = thick * 0.8
        body.block("pole", (0, y, (low + middle[2]) / 2), (0.2 * spread, 0.03, middle[2]))
        if stand == "round":
            body.lathe("base", [(0, 0), (0.6 * spread, 0), (0.6 * spread, 0.02), (0, 0.02)])
        else:
            body.block("base", (0, 0, 0.01), (spread, 0.6 * spread, 0.02))
    return phrase("deep" if tube else "flat", "monitor", f"on a {stand} stand")


def laptop(draw: Draw, body: Body) -> str:
    width = draw.between(0.28, 0.4)
    depth, thick = width * draw.between(0.62, 0.75), draw.between(0.008, 0.025)
    angle = draw.between(0.0, 1.0)
    body.block("base", (0, 0, thick / 2), (width, depth, thick))
    body.block("keyboard", (0, 0.15 * depth, thick), (0.88 * width, 0.45 * depth, 0.006))
    body.block("keyboard", (0, -0.28 * depth, thick), (0.3 * width, 0.25 * depth, 0.004))
    lean = angle - 0.25
    y = depth / 2 + 0.5 * depth * math.sin(lean)
    z = thick + 0.5 * depth * math.cos(lean)
    body.block("screen", (0, y, z), (width, 0.7 * thick, depth), frame=about_x(-lean))
    how = "wide open" if lean > 0.45 else "half open" if lean < 0 else "open"
    return phrase("thin" if thick < 0.015 else "thick", "laptop", how)


def _handle(body: Body, x: float, z: float, radius: float, tube: float, *, side: int = 1) -> None:
    """Half a ring on the side of a vessel."""
    frame = turned(about_z(0.0 if side > 0 else math.pi), about_x(math.pi / 2))
    body.loop("handle", (side * x, 0, z), radius, tube, frame=frame, start=-math.pi / 2,
              arc=math.pi)  # fmt: skip


def bottle(draw: Draw, body: Body) -> str:
    height, wide = 1.0, draw.between(0.13, 0.26)
    neck, shoulder = draw.between(0.25, 0.5) * wide, draw.between(0.5, 0.75)
    start = min(shoulder + draw.between(0.06, 0.25), 0.9)
    form = draw.choice("round", "round", "square", "flat")
    if form == "square":
        body.block("body", (0, 0, shoulder / 2), (2 * wide, 2 * wide, shoulder))
        body.block("body", (0, 0, (shoulder + start) / 2), (2 * wide, 2 * wide, start - shoulder),
                   top=(neck / wide, neck / wide))  # fmt: skip
    else:
        waist = wide * draw.between(0.8, 1.0)
        lower = [(0, 0), (0.9 * wide, 0), (wide, 0.04), (waist, 0.5 * shoulder), (wide, shoulder)]
        upper = smooth([(wide, shoulder), (neck, start)], 5)
        body.lathe("body", lower + upper[1:], stretch=0.55 if form == "flat" else 1.0)
    body.lathe("neck", [(neck, start - 0.02), (neck, 0.95 * height)])
    lid = draw.chance(0.6)
    if lid:
        body.rod("cap", (0, 0, 0.92), (0, 0, 1.0), 1.2 * neck)
    else:
        body.loop("rim", (0, 0, 0.95), neck, 0.15 * neck)
    size = "slim" if wide < 0.18 else "stout"
    long = "long" if start < 0.75 else "short"
    mouth = "a cap" if lid else "an open mouth"
    return phrase(size, form, "bottle", listed([f"a {long} neck", mouth]))


def vase(draw: Draw, body: Body) -> str:
    belly, foot = draw.between(0.18, 0.4), draw.between(0.08, 0.2)
    at, neck = draw.between(0.25, 0.65), draw.between(0.06, 0.22)
    mouth = draw.between(1.0, 1.7) * neck
    form = draw.choice("bulging", "bulging", "conical", "cylindrical")
    if form == "bulging":
        outer = [(foot, 0), (belly, at), (neck, 0.85), (mouth, 1.0)]
    elif form == "conical":
        outer = [(0.7 * foot, 0), (max(mouth, belly), 1.0)]
    else:
        outer = [(0.5 * belly + 0.05, 0), (0.5 * belly + 0.05, 1.0)]
    outer = smooth(outer, 4) if form == "bulging" else outer
    inner = [(max(r - 0.02, 0.01), z) for r, z in reversed(outer) if z > 0.05]
    body.lathe("body", [(0, 0), *outer])
    body.lathe("rim", [outer[-1], inner[0]])
    body.lathe("body", inner)
    n_handles = draw.choice(0, 0, 0, 1, 2) if form == "bulging" else 0
    for side in (1, -1)[:n_handles]:
        size = draw.between(0.08, 0.14)
        _handle(body, 0.92 * (belly + neck) / 2, (at + 0.85) / 2, size, 0.02, side=side)
    handles = ("", "one handle", "two handles")[n_handles]
    opening = "a wide mouth" if outer[-1][0] > 0.2 else "a narrow mouth"
    return phrase(form, "vase", listed([opening, handles]))


def mug(draw: Draw, body: Body) -> str:
    wide, tall = 0.5, draw.between(0.7, 1.6)
    foot = wide * draw.choice(1.0, 1.0, draw.between(0.6, 0.9))
    wall = draw.between(0.03, 0.06)
    body.lathe("body", [(0, 0), (foot, 0), (wide, tall)])
    body.lathe("rim", [(wide, tall), (wide - wall, tall)])
    body.lathe("body", [(wide - wall, tall), (foot - wall, wall), (0, wall)])
    handle = draw.choice("round", "round", "angular", "")
    size = draw.between(0.25, 0.36) * min(tall, 1.2)
    middle = (foot + wide) / 2
    if handle == "round":
        _handle(body, 0.95 * middle, tall / 2, size, draw.between(0.05, 0.08))
    elif handle:
        reach, thick = middle + size, draw.between(0.07, 0.12)
        for z in (tall / 2 - size, tall / 2 + size):
            body.block("handle", ((middle + reach) / 2, 0, z), (size, thick, thick))
        body.block("handle", (reach, 0, tall / 2), (thick, thick, 2 * size + thick))
    saucer = draw.chance(0.2)
    if saucer:
        body.lathe("base", [(0, -0.05), (0.6, -0.05), (1.1, 0.08), (0.6, 0.0), (0, 0.0)])
    size_word = "tall" if tall > 1.2 else "short"
    form = "tapered" if foot < wide else "straight"
    return phrase(size_word, form, "mug", listed([
        f"a {handle} handle" if handle and handle != "angular" else "an angular handle"
        if handle else "no handle",
        "a saucer" if saucer else "",
    ]))  # fmt: skip


def bowl(draw: Draw, body: Body) -> str:
    deep, wall = draw.between(0.3, 0.9), draw.between(0.02, 0.06)
    cut = draw.between(-0.15, 0.25)
    flat = draw.choice("round", "round", "flat-bottomed")
    low = -1.0 if flat == "round" else -draw.between(0.7, 0.9)
    body.ball("body", (0, 0, deep), (1.0, 1.0, deep), low=low, high=cut)
    body.ball("body", (0, 0, deep), (1 - wall, 1 - wall, deep - wall), low=low, high=cut)
    edge = math.sqrt(1 - cut * cut)
    rim = deep * (1 + cut)
    body.lathe("rim", [(edge, rim), (edge - wall, rim)])
    if low > -1:
        radius = math.sqrt(1 - low * low)
        body.lathe("base", [(0, deep * (1 + low)), (radius, deep * (1 + low))])
    foot = draw.choice("", "", "a foot ring", "a stem")
    if foot == "a foot ring":
        body.lathe("foot", [(0.45, -0.08), (0.4, 0.12 * deep)], solid=False)
    elif foot:
        body.lathe("foot", smooth([(0, -0.5), (0.5, -0.49), (0.12, -0.3), (0.1, 0.02)]))
    grip = draw.choice("", "", "", "two ears", "a long handle")
    if grip == "two ears":
        for side in (1, -1):
            frame = about_z(0.0 if side > 0 else math.pi)
            body.loop("handle", (0.97 * side * edge, 0, 0.95 * rim), 0.2, 0.05, frame=frame,
                      start=-math.pi / 2, arc=math.pi)  # fmt: skip
    elif grip:
        body.rod("handle", (edge, 0, 0.95 * rim), (edge + draw.between(0.8, 1.5), 0, rim), 0.07)
    return phrase("deep" if deep > 0.6 else "shallow", flat, "bowl", listed([foot, grip]))


def plant(draw: Draw, body: Body) -> str:
    wide, tall = draw.between(0.18, 0.35), draw.between(0.25, 0.45)
    form = draw.choice("round", "round", "square")
    if form == "round":
        foot = draw.between(0.6, 1.0) * wide
        body.lathe("pot", [(0, 0), (foot, 0), (wide, tall), (0, 0.93 * tall)])
    else:
        body.block("pot", (0, 0, tall / 2), (1.6 * wide, 1.6 * wide, tall), top=(1.15, 1.15))
    kind = draw.choice("leafy", "leafy", "bushy", "cactus", "conical", "palm")
    height = tall + draw.between(0.4, 1.0)
    if kind == "bushy":
        body.rod("stem", (0, 0, 0.9 * tall), (0, 0, height), 0.03)
        for _ in range(draw.integer(1, 4)):
            size = draw.between(0.2, 0.35)
            x, y = draw.between(-0.15, 0.15), draw.between(-0.15, 0.15)
            body.ball("leaf", (x, y, height + draw.between(-0.1, 0.2)), (size, size, 0.9 * size))
    elif kind == "cactus":
        thick = draw.between(0.07, 0.13)
        body.rod("stem", (0, 0, 0.9 * tall), (0, 0, height), thick)
        body.ball("stem", (0, 0, height), (thick, thick, thick))
        for side in (1, -1)[: draw.integer(0, 2)]:
            z, reach = tall + draw.between(0.2, 0.5) * (height - tall), 2.2 * thick
            body.rod("stem", (0, 0, z), (side * reach, 0, z), 0.6 * thick)
            body.rod("stem", (side * reach, 0, z), (side * reach, 0, z + 0.25), 0.6 * thick)
    elif kind == "conical":
        body.rod("stem", (0, 0, 0.9 * tall), (0, 0, height), 0.03)
        for i in range(3):
            z = tall + 0.1 + 0.25 * i
            body.rod("leaf", (0, 0, z), (0, 0, z + 0.4), 0.34 - 0.08 * i, 0.0)
    else:
        at_top = kind == "palm"
        if at_top:
            body.rod("stem", (0, 0, 0.9 * tall), (0, 0, height), 0.035, 0.025)
        n_leaves = draw.integer(6, 14)
        for i in range(n_leaves):
            around = 2.4 * i + draw.between(-0.3, 0.3)
            lift = draw.between(-0.3, 0.5) if at_top else draw.between(0.4, 1.3)
            long = draw.between(0.18, 0.32) * (1.0 if at_top else 1.4)
            start = height if at_top else 0.95 * tall
            x = long * math.cos(lift)
            center = (x * math.cos(around), x * math.sin(around), start + long * math.sin(lift))
            frame = turned(about_z(around), about_y(-lift))
            body.ball("leaf", center, (long, 0.28 * long, 0.02), frame=frame)
    name = "cactus" if kind == "cactus" else f"{kind} plant"
    return phrase(name, f"in a {form} pot")


def guitar(draw: Draw, body: Body) -> str:
    kind = draw.choice("acoustic", "acoustic", "electric", "small")
    wide, thick = draw.between(0.17, 0.23), draw.between(0.07, 0.12)
    if kind == "electric":
        thick = 0.045
        wide *= 0.85
    disc = about_x(math.pi / 2)
    upper = wide * draw.between(0.68, 0.85)
    for z, radius in ((wide, wide), (1.9 * wide + 0.3 * upper, upper)):
        body.lathe("body", [(0, -thick / 2), (radius, -thick / 2), (radius, thick / 2),
                            (0, thick / 2)], center=(0, 0, z), frame=disc)  # fmt: skip
    if kind == "electric":
        for x in (-0.6, 0.6):
            body.ball("body", (x * wide, 0, 3.0 * wide), (0.25 * wide, thick / 2, 0.5 * wide))
    top = 1.9 * wide + 1.2 * upper
    long = draw.between(0.3, 0.4) if kind == "small" else draw.between(0.45, 0.62)
    front = -thick / 2
    body.block("neck", (0, front, top + long / 2 - 0.05), (0.05, 0.025, long + 0.1))
    body.block("cap", (0, front, top + long + 0.07), (0.085, 0.02, 0.16), top=(0.7, 1.0),
               frame=about_x(-0.15))  # fmt: skip
    for i in range(6):
        x, z = (-0.05, 0.05)[i % 2], top + long + 0.03 + 0.04 * (i // 2)
        body.ball("handle", (x, front, z), (0.02, 0.008, 0.008))
    body.block("panel", (0, front, 0.9 * wide), (0.5 * wide, 0.02, 0.03))
    if kind != "electric":
        body.loop("rim", (0, front, 1.65 * wide), 0.28 * wide, 0.006, frame=disc)
    waist = "a narrow waist" if upper < 0.76 * wide else "broad shoulders"
    return phrase(kind, "guitar", listed([waist, "" if kind == "electric" else "a sound hole"]))


RECIPES = {
    "lamp": lamp,
    "monitor": monitor,
    "laptop": laptop,
    "bottle": bottle,
    "vase": vase,
    "mug": mug,
    "bowl": bowl,
    "plant": plant,
    "guitar": guitar,
}
