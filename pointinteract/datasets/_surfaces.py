"""Primitive surfaces of many objects in one table, and points drawn from all of them at once.

Four kinds are enough for everyday objects: flat patches (trapezia, so boxes and wedges),
rings (what a straight segment sweeps around an axis: cylinders, cones, discs, revolved
profiles), balls and tori. Points of all objects are drawn kind by kind, never object by object.
"""

from dataclasses import dataclass

import numpy as np

PATCH, RING, BALL, TORUS = range(4)
N_VALUES = 17
# A patch holds corner, first edge, opposite edge, rise and normal (15 values); the other kinds
# hold a frame (9, row by row), an origin (3) and numbers (5):
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
    values : ndarray of shape (n_rows, 17)
        Numbers of each row; their meaning depends on the kind.
    area : ndarray of shape (n_rows,)
        Surface area of each row.
    """

    owner: np.ndarray
    part: np.ndarray
    kind: np.ndarray
    solid: np.ndarray
    values: np.ndarray
    area: np.ndarray


def make_surfaces(owner, part, kind, solid, values) -> Surfaces:
    """Sort rows by owner, measure their areas and return the table."""
    order = np.argsort(owner, kind="stable")
    owner, part, kind, solid = owner[order], part[order], kind[order], solid[order]
    values = values[order]
    return Surfaces(owner, part, kind, solid, values.astype(np.float32), _areas(kind, values))


def sample_surfaces(surfaces: Surfaces, uniforms: np.ndarray, seed: list[int]):
    """Draw points uniformly by area from every object.

    Parameters
    ----------
    surfaces : Surfaces
        The table; every object from 0 to n_objects - 1 owns at least one row.
    uniforms : ndarray of shape (n_objects, n_points, 4)
        Numbers in [0, 1) that decide row, place (two) and acceptance.
    seed : list of int
        Seeds the numbers that replace rejected ones.

    Returns
    -------
    points, normals : ndarray of shape (n_objects, n_points, 3)
    rows : ndarray of shape (n_objects, n_points)
        The row of the table every point lies on.
    """
    n_objects, n_points = uniforms.shape[:2]
    rows = _pick_rows(surfaces, uniforms[..., 0])
    numbers = uniforms.reshape(-1, 4)
    points = np.empty((n_objects * n_points, 3), dtype=np.float32)
    normals = np.empty_like(points)
    kinds = surfaces.kind[rows]
    for kind in np.unique(surfaces.kind):
        where = np.flatnonzero(kinds == kind)
        values = surfaces.values[rows[where]]
        drawn = numbers[where]
        if kind == PATCH:
            points[where], normals[where] = _on_patch(values, drawn[:, 1], drawn[:, 2])
            continue
        point, normal, weight = _on_frame(kind, values, drawn[:, 1], drawn[:, 2])
        # A frame that stretches unevenly crowds points where it stretches little; dropping
        # points in proportion makes the density even again.
        again = np.flatnonzero(drawn[:, 3] > weight)
        for attempt in range(MAX_ROUNDS):
            if not len(again):
                break
            fresh = np.random.default_rng([*seed, int(kind), attempt])
            more = fresh.random((len(again), 3), dtype=np.float32)
            new = _on_frame(kind, values[again], more[:, 0], more[:, 1])
            point[again], normal[again] = new[0], new[1]
            again = again[more[:, 2] > new[2]]
        points[where], normals[where] = point, normal
    shape = (n_objects, n_points, 3)
    return points.reshape(shape), normals.reshape(shape), rows.reshape(n_objects, n_points)


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


def _areas(kind: np.ndarray, values: np.ndarray) -> np.ndarray:
    area = np.empty(len(kind))
    flat = kind == PATCH
    middle = 0.5 * (values[flat, 3:6] + values[flat, 6:9])
    area[flat] = np.linalg.norm(np.cross(middle, values[flat, 9:12]), axis=1)
    numbers = values[:, 12:]
    ring = kind == RING
    r0, r1, h, _, arc = numbers[ring].T
    area[ring] = 0.5 * (r0 + r1) * arc * np.hypot(h, r1 - r0)
    ball = kind == BALL
    area[ball] = (numbers[ball, 1] - numbers[ball, 0]) * numbers[ball, 3]
    torus = kind == TORUS
    area[torus] = numbers[torus, 0] * numbers[torus, 1] * numbers[torus, 3] * 2 * np.pi
    for which in (RING, BALL, TORUS):
        rows = np.flatnonzero(kind == which)
        scale = np.linalg.norm(values[rows, :9].reshape(-1, 3, 3), axis=1)
        rows = rows[np.abs(scale - 1).max(axis=1, initial=0) > 1e-6]
        area[rows] *= _mean_stretch(which, values[rows])
    return area


def _mean_stretch(kind: int, values: np.ndarray, n_steps: int = 12) -> np.ndarray:
    """Average area stretch of frames, by the midpoint rule on a grid of the surface."""
    middle = (np.arange(n_steps) + 0.5) / n_steps
    u, v = (side.ravel() for side in np.meshgrid(middle, middle))
    many = np.repeat(values, len(u), axis=0)
    _, _, weight = _on_frame(kind, many, np.tile(u, len(values)), np.tile(v, len(values)))
    return weight.reshape(len(values), n_steps**2).mean(axis=1) * _largest_stretch(values)


def _largest_stretch(values: np.ndarray) -> np.ndarray:
    """Largest area stretch of a frame, whose columns are orthogonal."""
    scale = np.sqrt((values[:, :9].reshape(-1, 3, 3) ** 2).sum(axis=1))
    return scale.prod(axis=1) / scale.min(axis=1)


def _linear_density(u: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] whose density runs linearly from `start` to `end`."""
    root = np.sqrt(start * start + u * (end * end - start * start))
    return u * (start + end) / np.maximum(start + root, 1e-12)


def _on_patch(values: np.ndarray, u: np.ndarray, v: np.ndarray):
    first, opposite = values[:, 3:6], values[:, 6:9]
    length = np.sqrt((first * first).sum(axis=1))
    t = _linear_density(v, length, np.sqrt((opposite * opposite).sum(axis=1)))[:, None]
    along = first + t * (opposite - first)
    return values[:, :3] + u[:, None] * along + t * values[:, 9:12], values[:, 12:15]


def _on_frame(kind: int, values: np.ndarray, u: np.ndarray, v: np.ndarray):
    """Points and normals on rings, balls or tori, and their relative area stretch."""
    local = {RING: _on_ring, BALL: _on_ball, TORUS: _on_torus}[kind]
    (x, y, z), (p, q, r) = local(values[:, 12:], u, v)
    a, b, c = values[:, 0:9:3], values[:, 1:9:3], values[:, 2:9:3]
    points = values[:, 9:12] + x[:, None] * a + y[:, None] * b + z[:, None] * c
    # Normals follow the cofactors; with orthogonal columns these are the columns themselves,
    # divided by their squared length and multiplied by the volume.
    scale = np.sqrt(np.stack([(w * w).sum(axis=1) for w in (a, b, c)], axis=1))
    p, q, r = p / scale[:, 0] ** 2, q / scale[:, 1] ** 2, r / scale[:, 2] ** 2
    normals = p[:, None] * a + q[:, None] * b + r[:, None] * c
    length = np.sqrt((normals * normals).sum(axis=1))
    normals /= np.maximum(length, 1e-12)[:, None]
    # The tolerance accepts every point of a rigid frame in spite of rounding.
    return points, normals, length * scale.min(axis=1) * (1 + 1e-5)


def _on_ring(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    r0, r1, h, start, arc = numbers.T
    t = _linear_density(v, r0, r1)
    angle = start + arc * u
    cosine, sine = np.cos(angle), np.sin(angle)
    radius = r0 + t * (r1 - r0)
    slant = np.maximum(np.hypot(h, r1 - r0), 1e-12)
    flank = h / slant
    return (radius * cosine, radius * sine, t * h), (
        flank * cosine,
        flank * sine,
        (r0 - r1) / slant,
    )


def _on_ball(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    low, high, start, arc = numbers[:, :4].T
    z = low + v * (high - low)  # equal slices of a sphere have equal area
    angle = start + arc * u
    radius = np.sqrt(np.maximum(1 - z * z, 0))
    local = (radius * np.cos(angle), radius * np.sin(angle), z)
    return local, local


def _on_torus(numbers: np.ndarray, u: np.ndarray, v: np.ndarray):
    radius, tube, start, arc = numbers[:, :4].T
    # The outer side has more area: tube angles solve a + (tube / radius) sin(a) = 2 pi v.
    target = 2 * np.pi * v
    ratio = tube / radius
    inner = target - ratio * np.sin(target)
    for _ in range(5):
        inner -= (inner + ratio * np.sin(inner) - target) / (1 + ratio * np.cos(inner))
    angle = start + arc * u
    cosine, sine = np.cos(angle), np.sin(angle)
    out = np.cos(inner)
    away = radius + tube * out
    up = np.sin(inner)
    return (away * cosine, away * sine, tube * up), (out * cosine, out * sine, up)
