"""The same objects as seen by a scanner: one side, partly hidden, noisy, uneven, cluttered."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._base import make_bunch, unit_sphere
from pointinteract.datasets._bodies import PART_INDEX, PART_NAMES
from pointinteract.datasets._generated import (
    CHUNK_POINTS,
    check_classes,
    draw_labels,
    sample_objects,
    stream,
    turn_yaw,
)
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed

SCAN_YAW, SCAN_SCENE, SCAN_NOISE, SCAN_CHOICE, SCAN_ORDER, SCAN_GROUND = range(6)
DENSE_POINTS = 2560  # candidates per object; few of them see the sensor
GROUND_POINTS = 384
PIXELS = 56
REACH = 1.9  # half the width of the picture, in radii of the object
DEPTH_STEP = 1.5 * 2 * REACH / PIXELS
MIN_VISIBLE = 32
CUT_OUT = 1.1  # radii around the object that its scan covers

DESCRIPTION = """\
Everyday objects, scanned
-------------------------
{n_clouds} objects of {n_classes} classes, invented as by make_shapes and seen from one side by a
sensor that stands around them: what is turned away or hidden behind the object itself or behind
a neighbour is missing; ranges are noisy; density falls off where the surface is seen at a
slant and towards one side; ground and pieces of the neighbour are left in as clutter. z is up.
"""


def make_scans(
    n_clouds: int = 640,
    *,
    n_points: int | None = 1024,
    classes: Sequence[str] | None = None,
    occlusion: float = 0.5,
    noise: float = 0.01,
    clutter: float = 0.1,
    uneven: float = 1.0,
    random_yaw: bool = True,
    normalize: bool = True,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Make labelled scans of everyday objects.

    Parameters
    ----------
    n_clouds : int, default=640
        Number of scans. Classes are balanced to within one scan. With the same integer seed, a
        smaller number gives the first scans of a larger one.
    n_points : int or None, default=1024
        Points of each scan, some repeated where fewer were seen. None keeps what was seen, so
        that scans differ in length.
    classes : sequence of str, default=None
        Which classes to scan; None takes all of ``SHAPE_CLASSES``.
    occlusion : float, default=0.5
        Share of scans in which another body stands between sensor and object.
    noise : float, default=0.01
        Standard deviation of the range error, in radii of the object.
    clutter : float, default=0.1
        Largest share of points that belong to the ground or to the neighbour, in [0, 1).
    uneven : float, default=1.0
        How strongly density depends on slant and side; 0 keeps every seen point alike.
    random_yaw : bool, default=True
        Turn every object about the vertical axis by a random angle.
    normalize : bool, default=True
        Move the mean of every scan to 0 and its farthest point to norm 1, clutter included. If
        not, the middle of the whole object's box lies at 0 and its farthest point at norm 1.
    random_state : int, RandomState instance or None, default=None
        The same integer gives the same bytes.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    scans : :class:`~sklearn.utils.Bunch`
        With the fields of :func:`make_shapes` (data, parts and normals are lists if `n_points`
        is None; clutter has the part ``"clutter"``) and ``viewpoints`` of shape (n_clouds, 3),
        the unit vectors towards the sensor.

    Examples
    --------
    >>> from pointinteract.datasets import make_scans
    >>> X, y = make_scans(4, n_points=128, random_state=0, return_X_y=True)
    >>> X.shape, y.shape
    ((4, 128, 3), (4,))
    >>> scans = make_scans(4, n_points=None, random_state=0)
    >>> len(scans.data), scans.data[0].shape[1]
    (4, 3)
    """
    n_clouds = check_int("n_clouds", n_clouds)
    if n_points is not None:
        check_int("n_points", n_points)
    check_real("occlusion", occlusion, maximum=1.0)
    check_real("noise", noise)
    check_real("clutter", clutter, maximum=1.0, open_maximum=True)
    check_real("uneven", uneven)
    names = check_classes(classes)
    seed = draw_seed(random_state)
    # Objects come in pairs, of which each is the other's neighbour.
    n_made = n_clouds + n_clouds % 2
    target = draw_labels(n_made, len(names), seed)
    dense = min(max(DENSE_POINTS, 5 * (n_points or 0) // 2), CHUNK_POINTS // 2)
    # One stream per purpose, scan by scan, so that a shorter run gives the same scans.
    numbers = stream(seed, SCAN_SCENE).random((n_made, 10), dtype=np.float32)
    views = _draw_views(numbers)
    yaw = np.zeros(n_made)
    if random_yaw:
        yaw = stream(seed, SCAN_YAW).uniform(0, 2 * np.pi, n_made)

    scans: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    captions: list[str] = []
    for rows, points, normals, surfaces, index, texts in sample_objects(
        [names[label] for label in target], dense, seed, multiple=2,
        views=turn_yaw(views[:, None], -yaw)[:, 0],
    ):  # fmt: skip
        captions += texts
        points, normals = turn_yaw(_centered(points), yaw[rows]), turn_yaw(normals, yaw[rows])
        words = [seed, rows.start]
        scene = _build_scene(points, normals, surfaces.part[index], surfaces.solid[index],
                             views[rows], numbers[rows], words, occlusion)  # fmt: skip
        scans += _scan(scene, words, n_points, noise=noise, clutter=clutter, uneven=uneven)
    clouds, directions, labels = ([scan[i] for scan in scans[:n_clouds]] for i in range(3))
    ragged = n_points is None
    data: np.ndarray | list[np.ndarray]
    if ragged:
        data = [unit_sphere(cloud) for cloud in clouds] if normalize else clouds
    else:
        data = unit_sphere(np.stack(clouds)) if normalize else np.stack(clouds)
    return make_bunch(
        data,
        target[:n_clouds],
        names,
        description=DESCRIPTION.format(n_clouds=n_clouds, n_classes=len(names)),
        extra={
            "parts": labels if ragged else np.stack(labels),
            "part_names": list(PART_NAMES),
            "normals": directions if ragged else np.stack(directions),
            "captions": captions[:n_clouds],
            "viewpoints": views[:n_clouds],
        },
        return_X_y=return_X_y,
    )


def _draw_views(numbers: np.ndarray) -> np.ndarray:
    """Unit vectors (n_clouds, 3) towards sensors 5 to 40 degrees above the horizon."""
    azimuth, height = 2 * np.pi * numbers[:, 0], np.radians(5 + 35 * numbers[:, 1])
    flat = np.cos(height)
    view = np.stack([np.cos(azimuth) * flat, np.sin(azimuth) * flat, np.sin(height)], axis=1)
    return view.astype(np.float32)


def _centered(points: np.ndarray) -> np.ndarray:
    """Move the middle of every object's box to 0 and its farthest point to norm 1.

    The mean would lean towards the sensor, since backs have no points.
    """
    columns = np.ascontiguousarray(np.moveaxis(points, 2, 0))  # searched much faster
    middle = 0.5 * (columns.min(axis=2) + columns.max(axis=2))
    points = points - middle.T[:, None]
    radius = np.sqrt(np.einsum("bnc,bnc->bn", points, points).max(axis=1))
    points /= radius[:, None, None]
    return points


def _along(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Dot products of (B, N, 3) with one direction each, (B, 3)."""
    x, y, z = direction.T[:, :, None]
    return vectors[..., 0] * x + vectors[..., 1] * y + vectors[..., 2] * z


def _build_scene(
    points, normals, parts, solid, view, u, words, occlusion
) -> dict[str, np.ndarray]:
    """Object, ground and neighbour of each scan side by side, with the direction of view."""
    n_clouds = len(points)
    azimuth = np.arctan2(view[:, 1], view[:, 0])
    floor = points[..., 2].min(axis=1)

    # The neighbour stands in front of the object and to one side, or beside it.
    in_front = u[:, 2] < occlusion
    away = np.where(in_front, 1.1, 1.4) + 0.4 * u[:, 3]
    turn = np.where(in_front, 0.8 * (u[:, 4] - 0.5), np.pi * (0.5 + u[:, 4]))
    size = (np.where(in_front, 0.7, 0.45) + 0.35 * u[:, 5]).astype(np.float32)
    partner = np.arange(n_clouds) ^ 1
    few = points.shape[1] // 2
    # It turns the side to this sensor that it turns to its own.
    other = turn_yaw(points[partner, :few] * size[:, None, None], azimuth - azimuth[partner])
    facing = turn_yaw(normals[partner, :few], azimuth - azimuth[partner])
    place = np.stack([away * np.cos(azimuth + turn), away * np.sin(azimuth + turn)], axis=1)
    other[..., :2] += place[:, None]
    other[..., 2] += (floor - other[..., 2].min(axis=1))[:, None]

    spots = stream(*words, SCAN_GROUND).random((n_clouds, 2, GROUND_POINTS), dtype=np.float32)
    angle, radius = 2 * np.pi * spots[:, 0], CUT_OUT * np.sqrt(spots[:, 1])
    level = np.repeat(floor[:, None], GROUND_POINTS, axis=1)
    ground = np.stack([radius * np.cos(angle), radius * np.sin(angle), level], axis=2)
    up = np.zeros_like(ground)
    up[..., 2] = 1
    stray = np.full((n_clouds, few + GROUND_POINTS), PART_INDEX["clutter"])
    return {
        "points": np.concatenate([points, other, ground], axis=1),
        "normals": np.concatenate([normals, facing, up], axis=1),
        "parts": np.concatenate([parts, stray], axis=1),
        "solid": np.concatenate(
            [solid, solid[partner, :few], np.ones((n_clouds, GROUND_POINTS), bool)], axis=1
        ),
        "view": view,
        "side": u[:, 6:9] - 0.5,
        "share": u[:, 9],
    }


def _scan(scene, words, n_points, *, noise, clutter, uneven):
    """What the sensor keeps of each scene: points, normals and parts of every scan."""
    points, normals, view = scene["points"], scene["normals"], scene["view"]
    n_clouds, n_rows = points.shape[:2]
    facing = _along(normals, view)
    visible = _unhidden(points, view, facing, ~(scene["solid"] & (facing < 0)))
    stray = scene["parts"] == PART_INDEX["clutter"]
    # Only what lies close to the object gets into its cut-out.
    visible &= ~stray | (np.einsum("bnc,bnc->bn", points, points) < CUT_OUT**2)

    # Weighted choice without replacement: keep the smallest exponential waiting times.
    waiting = stream(*words, SCAN_CHOICE).standard_exponential((n_clouds, n_rows), np.float32)
    seen = np.flatnonzero(visible)
    slant = np.maximum(np.abs(facing.ravel()[seen]), 0.02)
    slope = _along(points, scene["side"]).ravel()[seen]
    waiting.ravel()[seen] /= slant ** np.float32(0.8 * uneven) * np.exp(2 * uneven * slope)

    n_most = n_points or n_rows
    mixing = np.tile(np.arange(n_most), (n_clouds, 1))
    mixing = stream(*words, SCAN_ORDER).permuted(mixing, axis=1)
    error = stream(*words, SCAN_NOISE).standard_normal((n_clouds, n_most), dtype=np.float32)
    scans = []
    for i in range(n_clouds):
        share = clutter * scene["share"][i]
        chosen = _choose(waiting[i], visible[i], stray[i], n_points, share)
        chosen = chosen[mixing[i][mixing[i] < len(chosen)]]
        moved = points[i, chosen] + noise * error[i, : len(chosen), None] * view[i]
        scans.append((moved, normals[i, chosen], scene["parts"][i, chosen]))
    return scans


def _choose(waiting, visible, stray, n_points, share) -> np.ndarray:
    """Rows of one scene to keep."""
    own = np.flatnonzero(visible & ~stray)
    if len(own) < MIN_VISIBLE:
        # Hardly anything is left to see; some hidden points must stand for the object.
        own = np.concatenate([own, np.flatnonzero(~visible & ~stray)])[:MIN_VISIBLE]
    alien = np.flatnonzero(visible & stray)
    if n_points is None:
        own = _first(own, waiting, max(len(own) // 2, MIN_VISIBLE))
        return np.concatenate([own, _first(alien, waiting, int(share * len(own) / (1 - share)))])
    alien = _first(alien, waiting, int(share * n_points))
    n_own = n_points - len(alien)
    return np.concatenate([np.resize(_first(own, waiting, n_own), n_own), alien])


def _first(rows: np.ndarray, waiting: np.ndarray, count: int) -> np.ndarray:
    """The `count` of the rows that waited least, or all of them, in no particular order."""
    if count >= len(rows):
        return rows
    return rows[np.sort(np.argpartition(waiting[rows], count)[:count])]


def _unhidden(
    points: np.ndarray, view: np.ndarray, facing: np.ndarray, candidate: np.ndarray
) -> np.ndarray:
    """Which candidates are the nearest of their pixel, up to the depth a surface spans there."""
    n_clouds, n_points = points.shape[:2]
    right = np.stack([-view[:, 1], view[:, 0], np.zeros(n_clouds, np.float32)], axis=1)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    above = np.cross(view, right)
    scale = np.float32(PIXELS / (2 * REACH))
    near = _along(points, view)
    column, row = (
        np.clip((_along(points, axis) + REACH) * scale, 0, PIXELS - 1).astype(np.int32)
        for axis in (right, above)
    )
    pixel = (np.arange(n_clouds, dtype=np.int32)[:, None] * PIXELS + row) * PIXELS + column
    seen = np.flatnonzero(candidate)
    pixel, near = pixel.ravel()[seen], near.ravel()[seen]
    nearest = np.full(n_clouds * PIXELS * PIXELS, -np.inf, dtype=np.float32)
    np.maximum.at(nearest, pixel, near)
    # A surface seen at a slant spans more depth within one pixel.
    slant = np.clip(np.abs(facing.ravel()[seen]), 0.25, 1.0)
    span = DEPTH_STEP * np.sqrt(1 - slant * slant) / slant + 0.5 * DEPTH_STEP
    visible = np.zeros(n_clouds * n_points, dtype=bool)
    visible[seen] = near >= nearest[pixel] - span
    return visible.reshape(n_clouds, n_points)
