"""Primitive surfaces of many objects in one table, and points drawn from all of them at once.

Four kinds are enough for everyday objects: flat patches (trapezia, so boxes and wedges),
rings (what a straight segment sweeps around an axis: cylinders, cones, discs, revolved
profiles), balls and tori. Points of all objects are drawn kind by kind, never object by object.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

PATCH, RING, BALL, TORUS = range(4)
N_VALUES = 17
# A patch holds corner, first edge, opposite edge, rise, normal and the lengths of both edges; the
# other kinds hold a frame (9, row by row), an origin (3) and numbers (5):
# ring: radius, end radius, height, start angle, arc; ball: lowest z, highest z, start, arc;
# torus: radius, tube radius, start, arc.
MAX_ROUNDS = 60


@dataclass(frozen=True)
class Surfaces:
    """Rows of primitive surfaces, sorted by the object they belong to.

    Attributes
    ----------
    owner : ndarray of shape (n_rows,)
        Object of each row, ascending from 0.
    part : ndarray of shape (n_rows,)
        Part label of each row.
    kind : ndarray of shape (n_rows,)
        ``PATCH``, ``RING``, ``BALL`` or ``TORUS``.
    solid : ndarray of shape (n_rows,)
        Whether the row bounds a solid, so that its inner side can never be seen.
    stretched : ndarray of shape (n_rows,)
        Whether the frame of the row changes lengths.
    columns : ndarray of shape (17, n_rows)
        Numbers of each row; their meaning depends on the kind.
    area : ndarray of shape (n_rows,)
        Surface area of each row.
    """

    owner: np.ndarray
    part: np.ndarray
    kind: np.ndarray
    solid: np.ndarray
    stretched: np.ndarray
    columns: np.ndarray
    area: np.ndarray


def make_surfaces(owner, part, kind, solid, values) -> Surfaces:
    """Sort rows of shape (n_rows, 17) by owner, measure areas and return the table."""
    order = np.argsort(owner, kind="stable")
    owner, part, kind, solid = owner[order], part[order], kind[order], solid[order]
    columns = np.ascontiguousarray(values[order].T)
    stretched = (np.abs(_scales(columns) - 1).max(axis=0) > 1e-6) & (kind != PATCH)
    area = _areas(kind, stretched, columns)
    return Surfaces(owner, part, kind, solid, stretched, columns.astype(np.float32), area)


def sample_surfaces(surfaces: Surfaces, uniforms: np.ndarray, seed: list[int]):
    """Draw points uniformly by area from every object.

    Parameters
    ----------
    surfaces : Surfaces
        The table; every object from 0 to n_objects - 1 owns at least one row.
    uniforms : ndarray of shape (4, n_objects, n_points)
        Numbers in [0, 1) that decide row, place (two) and acceptance.
    seed : list of int
        Seeds the numbers that replace rejected ones.

    Returns
    -------
    points, normals : ndarray of shape (n_objects, n_points, 3)
    rows : ndarray of shape (n_objects, n_points)
        The row of the table every point lies on.
    """
    shape = uniforms.shape[1:]
    rows = _pick_rows(surfaces, uniforms[0])
    _, u, v, chance = uniforms.reshape(4, -1)
    points = np.empty((len(rows), 3), dtype=np.float32)
    normals = np.empty_like(points)
    group = (2 * surfaces.kind + surfaces.stretched).astype(np.int8)
    groups = group[rows]
    for code in np.unique(group):
        kind, stretched = divmod(int(code), 2)
        where = np.flatnonzero(groups == code)
        columns = surfaces.columns.take(rows[where], axis=1)
        if kind == PATCH:
            point, normal = _on_patch(columns, u[where], v[where])
        elif not stretched:
            point, normal = _on_rigid(kind, columns, u[where], v[where])
        else:
            point, normal, weight = _on_stretched(kind, columns, u[where], v[where])
            # Stretching unevenly crowds points where it stretches little; dropping points in
            # proportion makes the density even again.
            again = np.flatnonzero(chance[where] > weight)
            for attempt in range(MAX_ROUNDS):
                if not len(again):
                    break
                fresh = np.random.default_rng([*seed, kind, attempt])
                more = fresh.random((len(again), 3), dtype=np.float32).T
                new = _on_stretched(kind, columns[:, again], more[0], more[1])
                point[:, again], normal[:, again] = new[0], new[1]
                again = again[more[2] > new[2]]
        points[where], normals[where] = point.T, normal.T
    return points.reshape(*shape, 3), normals.reshape(*shape, 3), rows.reshape(shape)


def without_backs(surfaces: Surfaces, views: np.ndarray) -> Surfaces:
    """Give no area to flat sides of solids that face away from a view of their object, (B, 3)."""
    facing = np.einsum("cn,nc->n", surfaces.columns[12:15], views[surfaces.owner])
    back = (surfaces.kind == PATCH) & surfaces.solid & (facing < 0)
    area = np.where(back, 0.0, surfaces.area)
    # Something must be left to draw from, even of an object that shows only its back.
    left = np.bincount(surfaces.owner, weights=area)[surfaces.owner] > 0
    return replace(surfaces, area=np.where(left, area, surfaces.area))


def _pick_rows(surfaces: Surfaces, uniform: np.ndarray) -> np.ndarray:
    """Pick rows in proportion to their area, with one search for all objects."""
    n_objects = len(uniform)
    first = np.searchsorted(surfaces.owner, np.arange(n_objects + 1))
    total = np.concatenate([[0.0], np.cumsum(surfaces.area, dtype=np.float64)])
    start, stop = total[first[:-1], None], total[first[1:], None]
    rows = np.searchsorted(total, (start + uniform * (stop - start)).ravel(), side="right") - 1
    # Rounding at the very end of an object must not spill into the next one.
    last = np.repeat(first[1:] - 1, uniform.shape[1])
    return np.minimum(rows, last)


def _areas(kind: np.ndarray, stretched: np.ndarray, columns: np.ndarray) -> np.ndarray:
    area = np.empty(len(kind))
    flat = kind == PATCH
    middle = 0.5 * (columns[3:6, flat] + columns[6:9, flat])
    area[flat] = np.linalg.norm(np.cross(middle.T, columns[9:12, flat].T), axis=1)
    numbers = columns[12:]
    ring = kind == RING
    r0, r1, h, _, arc = numbers[:, ring]
    area[ring] = 0.5 * (r0 + r1) * arc * np.hypot(h, r1 - r0)
    ball = kind == BALL
    area[ball] = (numbers[1, ball] - numbers[0, ball]) * numbers[3, ball]
    torus = kind == TORUS
    area[torus] = numbers[0, torus] * numbers[1, torus] * numbers[3, torus] * 2 * np.pi
    for which in (RING, BALL, TORUS):
        rows = np.flatnonzero((kind == which) & stretched)
        area[rows] *= _mean_stretch(which, columns[:, rows])
    return area


def _mean_stretch(kind: int, columns: np.ndarray, n_steps: int = 12) -> np.ndarray:
    """Average area stretch of frames, by the midpoint rule on a grid of the surface."""
    n_rows = columns.shape[1]
    middle = (np.arange(n_steps) + 0.5) / n_steps
    u, v = (side.ravel() for side in np.meshgrid(middle, middle))
    many = np.repeat(columns, len(u), axis=1)
    _, _, weight = _on_stretched(kind, many, np.tile(u, n_rows), np.tile(v, n_rows))
    scale = _scales(columns)
    largest = scale.prod(axis=0) / scale.min(axis=0)
    return weight.reshape(n_rows, n_steps**2).mean(axis=1) * largest


def _scales(columns: np.ndarray) -> np.ndarray:
    """By how much a frame stretches each of its axes, (3, n); its columns are orthogonal."""
    frame = columns[:9].reshape(3, 3, -1)  # (row, axis, n)
    return np.sqrt(frame[0] ** 2 + frame[1] ** 2 + frame[2] ** 2)


def _linear_density(u: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] whose density runs linearly from `start` to `end`."""
    root = np.sqrt(start * start + u * (end * end - start * start))
    return u * (start + end) / np.maximum(start + root, 1e-12)


def _on_patch(columns: np.ndarray, u: np.ndarray, v: np.ndarray):
    t = _linear_density(v, columns[15], columns[16])
    first, opposite = columns[3:6], columns[6:9]
    along = first + t * (opposite - first)
    return columns[:3] + u * along + t * columns[9:12], columns[12:15]


def _on_rigid(kind: int, columns: np.ndarray, u: np.ndarray, v: np.ndarray):
    place, normal = LOCAL[kind](columns[12:], u, v)
    frame = columns[:9].reshape(3, 3, -1)
    return columns[9:12] + _turn(frame, place), _turn(frame, normal)


def _on_stretched(kind: int, columns: np.ndarray, u: np.ndarray, v: np.ndarray):
    """Points and normals, and the area stretch there relative to the largest possible."""
    place, normal = LOCAL[kind](columns[12:], u, v)
    frame = columns[:9].reshape(3, 3, -1)
    scale = _scales(columns)
    # Normals follow the cofactors; with orthogonal columns these are the columns themselves,
    # divided by their squared length and multiplied by the volume.
    normal = _turn(frame, [p / (s * s) for p, s in zip(normal, scale, strict=True)])
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    normal /= np.maximum(length, 1e-12)
    return columns[9:12] + _turn(frame, place), normal, length * scale.min(axis=0)


def _turn(frame: np.ndarray, vector: Sequence[np.ndarray]) -> np.ndarray:
    x, y, z = vector
    return frame[:, 0] * x + frame[:, 1] * y + frame[:, 2] * z


def _on_ring(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    r0, r1, h, start, arc = numbers
    t = _linear_density(v, r0, r1)
    angle = start + arc * u
    cosine, sine = np.cos(angle), np.sin(angle)
    radius = r0 + t * (r1 - r0)
    fall = r0 - r1
    slant = np.maximum(np.sqrt(h * h + fall * fall), 1e-12)
    flank = h / slant
    return (radius * cosine, radius * sine, t * h), (flank * cosine, flank * sine, fall / slant)


def _on_ball(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    low, high, start, arc, _ = numbers
    z = low + v * (high - low)  # equal slices of a sphere have equal area
    angle = start + arc * u
    radius = np.sqrt(np.maximum(1 - z * z, 0))
    local = (radius * np.cos(angle), radius * np.sin(angle), z)
    return local, local


def _on_torus(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    radius, tube, start, arc, _ = numbers
    # The outer side has more area: tube angles solve a + (tube / radius) sin(a) = 2 pi v.
    target = 2 * np.pi * v
    ratio = tube / radius
    inner = target - ratio * np.sin(target)
    for _ in range(5):
        inner -= (inner + ratio * np.sin(inner) - target) / (1 + ratio * np.cos(inner))
    angle = start + arc * u
    cosine, sine = np.cos(angle), np.sin(angle)
    out, up = np.cos(inner), np.sin(inner)
    away = radius + tube * out
    return (away * cosine, away * sine, tube * up), (out * cosine, out * sine, up)


LOCAL = {RING: _on_ring, BALL: _on_ball, TORUS: _on_torus}
