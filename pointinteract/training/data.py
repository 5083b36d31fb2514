"""From validated clouds to the batches of a training epoch."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pointinteract.ops import (
    drop_points,
    jitter,
    normalize_unit_sphere,
    random_crop,
    random_cut_out,
    random_rotate,
    random_scale,
    random_translate,
    thin_clouds,
)
from pointinteract.ops.transforms import (
    random_cosine_scale,
    random_gaussian_scale,
    random_tilt,
    shuffle_points,
)

__all__ = ["AUGMENTATIONS", "augment", "draw_points", "index_batches", "store_clouds"]

Augmentation = Callable[[Tensor, torch.Generator], Tensor]

AUGMENTATIONS: dict[str, Augmentation] = {
    "rotate_y": lambda points, generator: random_rotate(points, generator=generator, axis="y"),
    "rotate_z": lambda points, generator: random_rotate(points, generator=generator, axis="z"),
    "scale": lambda points, generator: random_scale(points, generator=generator),
    "scale_translate": lambda points, generator: random_translate(
        random_scale(points, generator=generator), generator=generator
    ),
    # One factor for all axes and a smaller shift: PointNet++'s training.
    "scale_translate_mild": lambda points, generator: random_translate(
        random_scale(points, generator=generator, low=0.8, high=1.25, anisotropic=False),
        generator=generator,
        limit=0.1,
    ),
    # One factor for all axes, and shifts in extents of the cloud: STRL, and CrossPoint.
    "scale_mild": lambda points, generator: random_scale(
        points, generator=generator, low=0.8, high=1.25, anisotropic=False
    ),
    "scale_wide": lambda points, generator: random_scale(
        points, generator=generator, low=0.5, high=2.0, anisotropic=False
    ),
    "translate_mild": lambda points, generator: random_translate(
        points, generator=generator, limit=0.1, relative=True
    ),
    "translate_wide": lambda points, generator: random_translate(
        points, generator=generator, limit=0.5, relative=True
    ),
    "gaussian_scale": lambda points, generator: random_gaussian_scale(
        points, generator=generator
    ),
    "cosine_scale": lambda points, generator: random_cosine_scale(points, generator=generator),
    "tilt": lambda points, generator: random_tilt(points, generator=generator),
    "shuffle": lambda points, generator: shuffle_points(points, generator=generator),
    "jitter": lambda points, generator: jitter(points, generator=generator),
    "drop": lambda points, generator: drop_points(points, generator=generator),
    "crop": lambda points, generator: random_crop(points, generator=generator),
    "cut_out": lambda points, generator: random_cut_out(points, generator=generator),
    "normalize": lambda points, generator: normalize_unit_sphere(points),
}

# Points kept of a larger cloud for each number of points drawn from it in a batch.
SPARE_POINTS = 1200 / 1024


def store_clouds(clouds: np.ndarray | list[np.ndarray], n_points: int | None) -> Tensor:
    """Bring clouds to one size for training: (n_clouds, P, C).

    Larger clouds are thinned by farthest point sampling to about 1.17 times `n_points`, from
    which each batch draws anew (the published way, done once and not in every step). Clouds
    with fewer points than the others repeat theirs in turn.
    """
    sizes = {len(cloud) for cloud in clouds}
    wanted = max(sizes)
    if n_points is not None and wanted > n_points:
        wanted = min(wanted, round(n_points * SPARE_POINTS))
    if len(sizes) == 1:
        stored = torch.from_numpy(np.asarray(clouds))
        return thin_clouds(stored, wanted)
    rows = []
    for cloud in clouds:
        if len(cloud) >= wanted:
            rows.append(thin_clouds(torch.from_numpy(cloud)[None], wanted)[0])
        else:
            rows.append(torch.from_numpy(cloud[np.arange(wanted) % len(cloud)]))
    return torch.stack(rows)


def draw_points(points: Tensor, n_points: int | None, generator: torch.Generator) -> Tensor:
    """Choose `n_points` of the stored ones, the same places for the whole batch."""
    if n_points is None or points.shape[1] <= n_points:
        return points
    return points[:, torch.randperm(points.shape[1], generator=generator)[:n_points]]


def index_batches(
    n_clouds: int, batch_size: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Shuffled indices in batches; a lone last cloud joins the batch before it.

    BatchNorm cannot train on a single cloud, and leaving it out would waste it.
    """
    order = torch.randperm(n_clouds, generator=generator)
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    yield from batches


def augment(
    points: Tensor,
    names: str | tuple[str, ...] | Augmentation | None,
    generator: torch.Generator,
) -> Tensor:
    """Apply named augmentations in turn, or a callable ``(points, generator)``."""
    if names is None:
        return points
    if callable(names):
        return names(points, generator)
    for name in (names,) if isinstance(names, str) else names:
        points = AUGMENTATIONS[name](points, generator)
    return points


def check_augmentation(names: object, parameter: str = "augmentation") -> None:
    """Raise unless `names` is None, callable, a known name or a sequence of them."""
    if names is None or callable(names):
        return
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, (tuple, list)) or any(name not in AUGMENTATIONS for name in listed):
        raise ValueError(
            f"{parameter} must be None, a callable, or one or several of "
            f"{sorted(AUGMENTATIONS)}; got {names!r}."
        )

