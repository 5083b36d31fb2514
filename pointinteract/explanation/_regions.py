"""The regions of many clouds: cut here, or given and checked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops.regions import (
    kmeans_regions,
    partition_regions,
    patch_regions,
    voxel_regions,
)
from pointinteract.utils._params import check_option

PLAYERS = ("fps", "kmeans", "voxels", "patches")

# Clouds of equal length are cut together, but not more than this at once.
_CHUNK = 128

Patches = Callable[[Tensor], tuple[Tensor, Tensor]]


def cut_clouds(
    clouds: tuple[np.ndarray, ...],
    n_regions: int,
    players: str = "fps",
    start: str = "first",
    *,
    patches: Patches | None = None,
) -> tuple[np.ndarray, ...]:
    """Cut every cloud; equal lengths in one call.

    Nothing here is random: the same cloud is always cut the same way, in any company.

    Parameters
    ----------
    clouds : tuple of ndarray, each (n_points, n_channels)
    n_regions : int
    players : {"fps", "kmeans", "voxels", "patches"}, default="fps"
        See :func:`~pointinteract.ops.regions.partition_regions`, ``kmeans_regions``,
        ``voxel_regions`` and ``patch_regions`` there.
    start : {"first", "far"}, default="first"
        Where the first region forms; voxels have no start.
    patches : callable, optional
        For ``"patches"``: from clouds (B, N, C), as the model wants them and on the CPU, to
        indices (B, G, K) and centers (B, G, 3) of patches, as ``PatchTokens.patches``.

    Returns
    -------
    regions : tuple of ndarray of int64, each (n_points,)
    """
    check_option("players", players, PLAYERS)
    if players == "patches" and patches is None:
        raise ValueError(
            'players="patches" needs a network that says what its patches are: one whose '
            "structure() gives PatchTokens, or InteractionExplainer(structure=PatchTokens(...))."
        )

    def cut(points: Tensor) -> np.ndarray:
        if players == "kmeans":
            return kmeans_regions(points, n_regions, start=start).numpy()
        if players == "voxels":
            return voxel_regions(points, n_regions).numpy()
        if players == "patches":
            assert patches is not None
            centers = patches(points)[1].to(points)
            return patch_regions(points, centers, n_regions, start=start)[0].numpy()
        return partition_regions(points, n_regions, start=start).numpy()

    regions: list[np.ndarray] = [np.empty(0)] * len(clouds)
    by_length: dict[int, list[int]] = {}
    for number, cloud in enumerate(clouds):
        by_length.setdefault(len(cloud), []).append(number)
    for numbers in by_length.values():
        for first in range(0, len(numbers), _CHUNK):
            chunk = numbers[first : first + _CHUNK]
            points = torch.from_numpy(np.stack([clouds[number] for number in chunk]))
            try:
                ids = cut(points)
            except CloudError as error:
                raise _name_cloud(cut, points, chunk, error) from error
            for number, row in zip(chunk, ids, strict=True):
                regions[number] = row
    return tuple(regions)


def check_regions(
    regions: Sequence[Any], clouds: tuple[np.ndarray, ...], n_regions: int
) -> tuple[np.ndarray, ...]:
    """Return given regions as int64 arrays, or raise naming the cloud that is wrong."""
    if len(regions) != len(clouds):
        raise ValueError(f"regions are for {len(regions)} clouds, X holds {len(clouds)}.")
    checked = []
    for number, (ids, cloud) in enumerate(zip(regions, clouds, strict=True)):
        ids = np.asarray(ids)
        if ids.dtype.kind not in "iu" or ids.shape != (len(cloud),):
            raise ValueError(
                f"regions of cloud {number} must be {len(cloud)} integers, one for each point; "
                f"got {ids.dtype} of shape {ids.shape}."
            )
        missing = sorted(set(range(n_regions)) - set(np.unique(ids).tolist()))
        if missing or ids.min() < 0 or ids.max() >= n_regions:
            raise ValueError(
                f"regions of cloud {number} must use every number from 0 to {n_regions - 1} "
                f"(n_regions={n_regions}); got {ids.min()} to {ids.max()}, missing {missing[:5]}."
            )
        checked.append(ids.astype(np.int64))
    return tuple(checked)


def check_names(
    names: Sequence[Any] | None, n_clouds: int, n_regions: int
) -> tuple[tuple[str, ...], ...] | None:
    """Return names of regions for every cloud: one list serves all, or one list each."""
    if names is None:
        return None
    if isinstance(names, str):
        raise TypeError(f"region_names must be a list of names, got the text {names!r}.")
    if all(isinstance(name, str | int | np.integer) for name in names):
        names = [names] * n_clouds
    checked = tuple(tuple(str(name) for name in row) for row in names)
    if len(checked) != n_clouds or any(len(row) != n_regions for row in checked):
        raise ValueError(
            f"region_names must be {n_regions} names, or one such list for each of {n_clouds} "
            f"clouds; got {len(checked)} lists of {sorted({len(row) for row in checked})} names."
        )
    return checked


def names_from_parts(
    regions: np.ndarray, parts: np.ndarray, part_names: Sequence[str], n_regions: int
) -> tuple[str, ...]:
    """Name each region by the part that most of its points belong to; repeats get numbers."""
    if parts.shape != regions.shape:
        raise ValueError(f"parts must have shape ({len(regions)},), got {parts.shape}.")
    names = []
    for region in range(n_regions):
        inside = parts[regions == region]
        names.append(str(part_names[int(np.bincount(inside).argmax())]))
    return tuple(
        f"{name} {names[: position + 1].count(name)}" if names.count(name) > 1 else name
        for position, name in enumerate(names)
    )


def _name_cloud(
    cut: Callable[[Tensor], np.ndarray], points: Tensor, chunk: list[int], error: CloudError
) -> CloudError:
    """Say the number of the cloud in X, not in the chunk that was cut together."""
    for number, cloud in zip(chunk, points, strict=True):
        try:
            cut(cloud[None])
        except CloudError as alone:
            message = str(alone)
            if "cloud 0 " in message:
                return CloudError(message.replace("cloud 0 ", f"cloud {number} of X ", 1))
            return CloudError(f"cloud {number} of X: {message}")
    return error
