"""The workbench on which one object is put together from parts.

Lengths are in metres or thereabouts, z points up and objects look towards -y.
"""

import math
from collections.abc import Sequence

import numpy as np

from pointinteract.datasets._surfaces import (
    BALL,
    N_VALUES,
    PATCH,
    RING,
    TORUS,
    Surfaces,
    make_surfaces,
)

PART_NAMES = (
    "seat", "back", "arm", "leg", "top", "panel", "drawer", "handle", "base", "pole", "shade",
    "body", "neck", "cap", "rim", "foot", "wing", "tail", "engine", "wheel", "cabin", "screen",
    "keyboard", "cushion", "headboard", "mattress", "pillow", "pot", "stem", "leaf", "fuselage",
    "clutter",
)  # fmt: skip
PART_INDEX = {name: index for index, name in enumerate(PART_NAMES)}

Vector = tuple[float, float, float]
Frame = tuple[float, ...]
UPRIGHT: Frame = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FULL = 2 * math.pi

# Corners of a block, numbered x + 2 y + 4 z, that make the faces: start, end of one edge, then
# start, end of the opposite edge, so that edge times rise points outwards.
FACES = np.array(
    [[0, 1, 4, 5], [1, 3, 5, 7], [3, 2, 7, 6], [2, 0, 6, 4], [4, 5, 6, 7], [2, 3, 0, 1]]
)
CORNERS = np.array([[(i >> axis & 1) - 0.5 for axis in range(3)] for i in range(8)])


class Draw:
    """Hands out ready-made uniform numbers, which is far cheaper than asking a generator."""

    def __init__(self, numbers: Sequence[float]):
        self._next = iter(numbers).__next__

    def between(self, low: float, high: float) -> float:
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        return self._next() < probability

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int((high - low + 1) * self._next())

    def choice(self, *options):
        return options[int(len(options) * self._next())]


class Body:
    """One object under construction: rows of primitive surfaces, each with its part."""

    def __init__(self) -> None:
        self.blocks: list[tuple[float, ...]] = []
        self.rounds: list[tuple[float, ...]] = []

    def block(
        self,
        part: str,
        center: Vector,
        size: Vector,
        *,
        top: tuple[float, float] = (1.0, 1.0),
        shift: tuple[float, float] = (0.0, 0.0),
        frame: Frame = UPRIGHT,
    ) -> None:
        """A box; `top` scales its upper face in x and y and `shift` moves that face."""
        self.blocks.append((PART_INDEX[part], *center, *size, *top, *shift, *frame))

    def rod(
        self,
        part: str,
        start: Vector,
        end: Vector,
        radius: float,
        end_radius: float | None = None,
    ) -> None:
        """A round bar with flat ends, or a cone."""
        end_radius = radius if end_radius is None else end_radius
        frame, length = _towards(start, end)
        self._round(RING, part, True, frame, start, (radius, end_radius, length, 0.0, FULL))
        if radius > 0:
            self._round(RING, part, True, frame, start, (0.0, radius, 0.0, 0.0, FULL))
        if end_radius > 0:
            self._round(RING, part, True, frame, end, (end_radius, 0.0, 0.0, 0.0, FULL))

    def lathe(
        self,
        part: str,
        profile: Sequence[tuple[float, float]],
        *,
        center: Vector = (0.0, 0.0, 0.0),
        frame: Frame = UPRIGHT,
        stretch: float = 1.0,
        solid: bool = True,
    ) -> None:
        """What a line of (radius, height) sweeps; `stretch` makes the section an ellipse."""
        wide = tuple(value * stretch if i % 3 == 1 else value for i, value in enumerate(frame))
        for (r0, z0), (r1, z1) in zip(profile, profile[1:], strict=False):
            if r0 + r1 <= 0 or (r0 == r1 and z0 == z1):
                continue
            origin = (
                center[0] + frame[2] * z0,
                center[1] + frame[5] * z0,
                center[2] + frame[8] * z0,
            )
            self._round(RING, part, solid, wide, origin, (r0, r1, z1 - z0, 0.0, FULL))

    def ball(
        self,
        part: str,
        center: Vector,
        radii: Vector,
        *,
        frame: Frame = UPRIGHT,
        low: float = -1.0,
        high: float = 1.0,
    ) -> None:
        """An ellipsoid, or the slice of it between two relative heights in [-1, 1]."""
        wide = tuple(value * radii[i % 3] for i, value in enumerate(frame))
        whole = low <= -1 and high >= 1
        self._round(BALL, part, whole, wide, center, (low, high, 0.0, FULL, 0.0))

    def loop(
        self,
        part: str,
        center: Vector,
        radius: float,
        tube: float,
        *,
        frame: Frame = UPRIGHT,
        start: float = 0.0,
        arc: float = FULL,
    ) -> None:
        """A torus around the frame's third axis, or an arc of one."""
        self._round(TORUS, part, True, frame, center, (radius, tube, start, arc, 0.0))

    def _round(self, kind, part, solid, frame, origin, numbers) -> None:
        self.rounds.append((PART_INDEX[part], kind, solid, *frame, *origin, *numbers))


def assemble(bodies: Sequence[Body]) -> Surfaces:
    """Put the rows of many bodies into one table."""
    blocks = _rows([body.blocks for body in bodies], width=20)
    rounds = _rows([body.rounds for body in bodies], width=3 + N_VALUES)
    patches = _block_patches(blocks[1])
    owner = np.concatenate([np.repeat(blocks[0], 6), rounds[0]])
    part = np.concatenate([np.repeat(blocks[1][:, 0], 6), rounds[1][:, 0]]).astype(np.int64)
    kind = np.concatenate([np.full(len(patches), PATCH), rounds[1][:, 1].astype(np.int64)])
    solid = np.concatenate([np.full(len(patches), True), rounds[1][:, 2] > 0])
    values = np.concatenate([patches, rounds[1][:, 3:]])
    return make_surfaces(owner, part, kind, solid, values)


def about_x(angle: float) -> Frame:
    """Rotation about x; a positive angle lifts +y."""
    c, s = math.cos(angle), math.sin(angle)
    return (1.0, 0.0, 0.0, 0.0, c, -s, 0.0, s, c)


def about_y(angle: float) -> Frame:
    """Rotation about y; a positive angle lowers +x."""
    c, s = math.cos(angle), math.sin(angle)
    return (c, 0.0, s, 0.0, 1.0, 0.0, -s, 0.0, c)


def about_z(angle: float) -> Frame:
    """Rotation about z; a positive angle moves +x towards +y."""
    c, s = math.cos(angle), math.sin(angle)
    return (c, -s, 0.0, s, c, 0.0, 0.0, 0.0, 1.0)


def turned(outer: Frame, inner: Frame) -> Frame:
    """The rotation that applies `inner` first and `outer` second."""
    return tuple(
        sum(outer[3 * row + k] * inner[3 * k + column] for k in range(3))
        for row in range(3)
        for column in range(3)
    )


def smooth(profile: Sequence[tuple[float, float]], n_steps: int = 4) -> list[tuple[float, float]]:
    """Ease the radius between the corners of a profile, for pottery without edges."""
    out = [profile[0]]
    for (r0, z0), (r1, z1) in zip(profile, profile[1:], strict=False):
        for step in range(1, n_steps + 1):
            t = step / n_steps
            out.append((r0 + (r1 - r0) * 0.5 * (1 - math.cos(math.pi * t)), z0 + (z1 - z0) * t))
    return out


def phrase(*words: str) -> str:
    """Join words that are not empty and put the right article before them."""
    text = " ".join(word for word in words if word)
    return ("an " if text[0] in "aeiou" else "a ") + text


def listed(features: Sequence[str]) -> str:
    """Join features as in ``with arms, a slatted back and four legs``."""
    features = [feature for feature in features if feature]
    if not features:
        return ""
    if len(features) == 1:
        return "with " + features[0]
    return "with " + ", ".join(features[:-1]) + " and " + features[-1]


def _towards(start: Vector, end: Vector) -> tuple[Frame, float]:
    """A rotation whose third axis points from `start` to `end`, and their distance."""
    dx, dy, dz = (e - s for s, e in zip(start, end, strict=True))
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / length, dy / length, dz / length
    flat = math.hypot(dx, dy)
    if flat < 1e-9:
        return (UPRIGHT if dz > 0 else (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)), length
    ax, ay = -dy / flat, dx / flat
    bx, by, bz = -dz * ay, dz * ax, dx * ay - dy * ax
    return (ax, bx, dx, ay, by, dy, 0.0, bz, dz), length


def _rows(groups: Sequence[Sequence[tuple[float, ...]]], *, width: int):
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    rows = np.array([row for group in groups for row in group], dtype=np.float64)
    return owner, rows.reshape(-1, width)


def _block_patches(blocks: np.ndarray) -> np.ndarray:
    """The six faces of every block, as patches of shape (6 n_blocks, 17)."""
    n_blocks = len(blocks)
    corners = CORNERS * np.ones((n_blocks, 1, 1))
    upper = CORNERS[:, 2] > 0
    corners[:, upper, :2] *= blocks[:, None, 7:9]
    corners *= blocks[:, None, 4:7]
    corners[:, upper, :2] += blocks[:, None, 9:11]
    frame = blocks[:, 11:20].reshape(-1, 3, 3)
    corners = corners @ frame.transpose(0, 2, 1) + blocks[:, None, 1:4]
    a, b, c, d = (corners[:, FACES[:, i]].reshape(-1, 3) for i in range(4))
    patches = np.zeros((6 * n_blocks, N_VALUES))
    patches[:, :3], patches[:, 3:6], patches[:, 6:9] = a, b - a, d - c
    patches[:, 9:12] = c - a
    normals = np.cross(b - a + d - c, c - a)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    patches[:, 12:15] = normals / np.maximum(length, 1e-12)
    patches[:, 15] = np.linalg.norm(b - a, axis=1)
    patches[:, 16] = np.linalg.norm(d - c, axis=1)
    return patches
