"""Labelled everyday objects from formulas: no download, any number, known parts."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets import _furniture, _household, _vehicles
from pointinteract.datasets._base import make_bunch, unit_sphere
from pointinteract.datasets._bodies import PART_NAMES, Body, Draw, assemble
from pointinteract.datasets._surfaces import Surfaces, sample_surfaces, without_backs
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed

RECIPES: dict[str, Callable[[Draw, Body], str]] = {
    **_furniture.RECIPES,
    **_household.RECIPES,
    **_vehicles.RECIPES,
}
SHAPE_CLASSES: tuple[str, ...] = tuple(sorted(RECIPES))

# Streams of random numbers under one seed, so that drawing more of one leaves the others.
LABELS, STYLES, POINTS, REPLACED, NOISE, YAW = range(6)
NUMBERS_PER_OBJECT = 96
CHUNK_POINTS = 1 << 16  # about what stays in the cache of one core

DESCRIPTION = """\
Everyday objects assembled from parts
-------------------------------------
Invented by formulas: {n_clouds} objects of {n_classes} classes, {n_points} points each, drawn
uniformly by area. Proportions and styles are random, so that neighbouring classes (stool, table
and chair; bench, sofa and bed; bottle, vase and mug) overlap. z points up and objects look
towards -y. Every point knows its part and its surface normal, every object has a caption.
"""


def make_shapes(
    n_clouds: int = 640,
    *,
    n_points: int = 1024,
    classes: Sequence[str] | None = None,
    normalize: bool = True,
    random_yaw: bool = False,
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Make labelled point clouds of everyday objects.

    Parameters
    ----------
    n_clouds : int, default=640
        Number of objects. Classes are balanced to within one object. With the same integer
        seed, a smaller number gives the first objects of a larger one.
    n_points : int, default=1024
        Points on each object, drawn uniformly by area, in random order.
    classes : sequence of str, default=None
        Which classes to make, in the order of their labels. None makes all of
        ``SHAPE_CLASSES``.
    normalize : bool, default=True
        Move the mean of every cloud to 0 and its farthest point to norm 1. Without it, lengths
        are in the recipes' own units and objects stand on the floor.
    random_yaw : bool, default=False
        Turn every object about the vertical axis by a random angle; harder to learn.
    noise : float, default=0.0
        Standard deviation of Gaussian noise added to every coordinate, in the unit of the data.
    random_state : int, RandomState instance or None, default=None
        The same integer gives the same bytes.
    return_X_y : bool, default=False
        Return ``(data, target)`` instead of a Bunch.

    Returns
    -------
    shapes : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, float32 of shape (n_clouds, n_points, 3);
        * ``target``, int64 of shape (n_clouds,), an index into ``target_names``, list of str;
        * ``parts``, int64 of shape (n_clouds, n_points): part of each point, an index into
          ``part_names``, list of str, which all classes share;
        * ``normals``, float32 of shape (n_clouds, n_points, 3): unit normals; those of solid
          parts point outwards;
        * ``captions``, list of str: a description of each object's style;
        * ``DESCR``, str.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> shapes = make_shapes(8, n_points=64, classes=["chair", "table"], random_state=0)
    >>> shapes.data.shape, shapes.target_names
    ((8, 64, 3), ['chair', 'table'])
    >>> X, y = make_shapes(8, n_points=64, random_state=0, return_X_y=True)
    >>> X.shape, y.shape
    ((8, 64, 3), (8,))
    """
    n_clouds = check_int("n_clouds", n_clouds)
    n_points = check_int("n_points", n_points)
    noise = check_real("noise", noise)
    names = check_classes(classes)
    seed = draw_seed(random_state)
    target = draw_labels(n_clouds, len(names), seed)

    data = np.empty((n_clouds, n_points, 3), dtype=np.float32)
    normals = np.empty_like(data)
    parts = np.empty((n_clouds, n_points), dtype=np.int64)
    captions: list[str] = []
    for rows, points, directions, surfaces, index, texts in sample_objects(
        [names[label] for label in target], n_points, seed
    ):
        data[rows], normals[rows], parts[rows] = points, directions, surfaces.part[index]
        captions += texts
    if random_yaw:
        angles = stream(seed, YAW).uniform(0, 2 * np.pi, n_clouds)
        data, normals = turn_yaw(data, angles), turn_yaw(normals, angles)
    if normalize:
        data = unit_sphere(data)
    if noise:
        data += noise * stream(seed, NOISE).standard_normal(data.shape, dtype=np.float32)
    return make_bunch(
        data,
        target,
        names,
        description=DESCRIPTION.format(
            n_clouds=n_clouds, n_classes=len(names), n_points=n_points
        ),
        extra={
            "parts": parts,
            "part_names": list(PART_NAMES),
            "normals": normals,
            "captions": captions,
        },
        return_X_y=return_X_y,
    )


def check_classes(classes: Sequence[str] | None) -> list[str]:
    """Return the class names to make, or raise naming the ones that exist."""
    if classes is None:
        return list(SHAPE_CLASSES)
    names = [classes] if isinstance(classes, str) else list(classes)
    unknown = [name for name in names if name not in RECIPES]
    if unknown or not names or len(set(names)) < len(names):
        wrong = f"unknown {unknown}" if unknown else f"{names!r}"
        raise ValueError(
            f"classes must name one or more different classes; got {wrong}. "
            f"Known classes: {', '.join(SHAPE_CLASSES)}."
        )
    return names


def stream(seed: int, *words: int) -> np.random.Generator:
    """The generator of one named stream of random numbers."""
    return np.random.default_rng([seed, *words])


def draw_labels(n_clouds: int, n_classes: int, seed: int) -> np.ndarray:
    """Balanced labels: one random permutation of all classes after another."""
    rounds = -(-n_clouds // n_classes)
    labels = np.tile(np.arange(n_classes, dtype=np.int64), (rounds, 1))
    return stream(seed, LABELS).permuted(labels, axis=1).ravel()[:n_clouds]


def sample_objects(
    names: Sequence[str],
    n_points: int,
    seed: int,
    *,
    multiple: int = 1,
    views: np.ndarray | None = None,
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, Surfaces, np.ndarray, list[str]]]:
    """Build objects of the named classes and draw their points, some objects at a time.

    Yields the slice of objects, their points and normals, the table of their surfaces, the row
    of that table each point lies on, and the captions. The number of objects at a time is a
    multiple of `multiple`. With `views` (n_objects, 3), flat sides of solids that are turned
    away from these directions get no points.
    """
    styles, points = stream(seed, STYLES), stream(seed, POINTS)
    size = max(1, CHUNK_POINTS // n_points // multiple) * multiple
    for start in range(0, len(names), size):
        rows = slice(start, min(start + size, len(names)))
        surfaces, captions = build_objects(names[rows], styles)
        if views is not None:
            surfaces = without_backs(surfaces, views[rows])
        uniforms = points.random((rows.stop - start, 4, n_points), dtype=np.float32)
        uniforms = np.ascontiguousarray(uniforms.transpose(1, 0, 2))
        chosen = sample_surfaces(surfaces, uniforms, [seed, REPLACED, start])
        yield rows, chosen[0], chosen[1], surfaces, chosen[2], captions


def build_objects(
    names: Sequence[str], styles: np.random.Generator
) -> tuple[Surfaces, list[str]]:
    """Assemble one object per name from the next style numbers."""
    numbers = styles.random((len(names), NUMBERS_PER_OBJECT)).tolist()
    bodies, captions = [], []
    for name, row in zip(names, numbers, strict=True):
        body = Body()
        captions.append(RECIPES[name](Draw(row), body))
        bodies.append(body)
    return assemble(bodies), captions


def turn_yaw(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turn (B, N, 3) vectors about z by one angle each."""
    cosine = np.cos(angles).astype(vectors.dtype)[:, None]
    sine = np.sin(angles).astype(vectors.dtype)[:, None]
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=-1)
