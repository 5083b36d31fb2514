"""Clouds of invented objects whose points know their part, laid out as ShapeNetPart is."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils import Bunch

from pointinteract.datasets._bodies import PART_INDEX, PART_NAMES
from pointinteract.datasets._generated import check_classes, make_shapes

# Parts that objects of each class may have; most have only some of them.
CLASS_PARTS: dict[str, tuple[str, ...]] = {
    "airplane": ("wing", "tail", "engine", "fuselage"),
    "bed": ("back", "leg", "top", "base", "pole", "headboard", "mattress", "pillow"),
    "bench": ("seat", "back", "arm", "leg"),
    "bottle": ("body", "neck", "cap", "rim"),
    "bowl": ("handle", "base", "body", "rim", "foot"),
    "cabinet": ("leg", "top", "drawer", "handle", "body"),
    "car": ("seat", "body", "tail", "wheel", "cabin"),
    "chair": ("seat", "back", "arm", "leg", "base", "wheel"),
    "desk": ("leg", "top", "panel", "drawer", "handle", "base"),
    "guitar": ("panel", "handle", "body", "neck", "cap", "rim"),
    "lamp": ("base", "pole", "shade"),
    "laptop": ("base", "screen", "keyboard"),
    "monitor": ("back", "base", "pole", "body", "screen"),
    "mug": ("handle", "base", "body", "rim"),
    "plant": ("pot", "stem", "leaf"),
    "shelf": ("back", "panel", "pole"),
    "sofa": ("back", "arm", "leg", "base", "cushion"),
    "stool": ("seat", "leg", "base", "rim", "wheel"),
    "table": ("leg", "top", "panel", "base"),
    "vase": ("handle", "body", "rim"),
}

DESCRIPTION = """\
Everyday objects and their parts
--------------------------------
{n_clouds} objects of {n_classes} categories, invented by formulas, {n_points} points each; every
point has one of {n_parts} labels. {shared} z points up. Small parts, such as handles and rims,
may have a handful of points or none. The layout is that of ShapeNetPart.
"""
SHARED = {
    False: "Each category has labels of its own: the leg of a chair is not that of a table.",
    True: "Categories share labels: the leg of a chair is a leg, as that of a table is.",
}


def make_parts(
    n_clouds: int = 320,
    *,
    n_points: int = 1024,
    classes: Sequence[str] | None = None,
    share_parts: bool = False,
    normalize: bool = True,
    random_yaw: bool = False,
    noise: float = 0.0,
    random_state: int | np.random.RandomState | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray, np.ndarray]:
    """Make point clouds of everyday objects for part segmentation.

    The same objects as :func:`make_shapes` with the same arguments; what differs is how parts
    are numbered.

    Parameters
    ----------
    n_clouds, n_points, classes, normalize, random_yaw, noise, random_state
        As in :func:`make_shapes`.
    share_parts : bool, default=False
        Whether parts of the same name are one part in all categories, so that what is learned
        of the legs of chairs serves tables. False: each category has its own, as in
        ShapeNetPart, and a point must be told chair from table as well.
    return_X_y : bool, default=False
        Return ``(data, parts)`` instead of a Bunch.

    Returns
    -------
    parts : :class:`~sklearn.utils.Bunch`
        With the fields

        * ``data``, float32 of shape (n_clouds, n_points, 3);
        * ``parts``, int64 of shape (n_clouds, n_points): label of each point, an index into
          ``part_names``, list of str;
        * ``target``, int64 of shape (n_clouds,): category, an index into ``target_names``;
        * ``category_parts``, dict from the name of each category to the list of labels that its
          clouds may have;
        * ``normals``, float32 of shape (n_clouds, n_points, 3);
        * ``DESCR``, str.

    Examples
    --------
    >>> from pointinteract.datasets import make_parts
    >>> lamps = make_parts(8, n_points=64, classes=["lamp", "mug"], random_state=0)
    >>> lamps.parts.shape, lamps.part_names[:4]
    ((8, 64), ['lamp base', 'lamp pole', 'lamp shade', 'mug handle'])
    >>> lamps.category_parts
    {'lamp': [0, 1, 2], 'mug': [3, 4, 5, 6]}
    """
    names = check_classes(classes)
    shapes: Any = make_shapes(
        n_clouds,
        n_points=n_points,
        classes=names,
        normalize=normalize,
        random_yaw=random_yaw,
        noise=noise,
        random_state=random_state,
    )
    if share_parts:
        used = {part for name in names for part in CLASS_PARTS[name]}
        part_names = [part for part in PART_NAMES if part in used]
        table = {name: [part_names.index(part) for part in CLASS_PARTS[name]] for name in names}
    else:
        part_names = [f"{name} {part}" for name in names for part in CLASS_PARTS[name]]
        table = {
            name: [part_names.index(f"{name} {part}") for part in CLASS_PARTS[name]]
            for name in names
        }
    number = np.full((len(names), len(PART_NAMES)), -1, dtype=np.int64)
    for row, name in enumerate(names):
        number[row, [PART_INDEX[part] for part in CLASS_PARTS[name]]] = table[name]
    parts = number[shapes.target[:, None], shapes.parts]
    if return_X_y:
        return shapes.data, parts
    return Bunch(
        data=shapes.data,
        parts=parts,
        target=shapes.target,
        target_names=names,
        part_names=part_names,
        category_parts=table,
        normals=shapes.normals,
        DESCR=DESCRIPTION.format(
            n_clouds=len(parts),
            n_classes=len(names),
            n_points=parts.shape[1],
            n_parts=len(part_names),
            shared=SHARED[bool(share_parts)],
        ),
    )
