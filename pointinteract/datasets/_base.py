"""What every dataset function ends with: a Bunch, or the pair of data and target."""

from typing import Any

import numpy as np
from sklearn.utils import Bunch

from pointinteract.exceptions import CloudError


def make_bunch(
    data: np.ndarray | list[np.ndarray],
    target: np.ndarray,
    target_names: list[str],
    *,
    description: str,
    extra: dict[str, Any] | None = None,
    return_X_y: bool = False,
) -> Bunch | tuple[np.ndarray | list[np.ndarray], np.ndarray]:
    """Return ``(data, target)``, or a Bunch of these, the extras and the description."""
    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        target_names=list(target_names),
        **(extra or {}),
        DESCR=description,
    )


def stack_clouds(clouds: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """One array if all clouds have the same number of points, otherwise the list."""
    if clouds and len({cloud.shape for cloud in clouds}) == 1:
        return np.stack(clouds)
    return clouds


def unit_sphere(points: np.ndarray) -> np.ndarray:
    """Move the mean of every cloud to 0 and its farthest point to norm 1, (..., N, 3)."""
    points = points - points.mean(axis=-2, keepdims=True)
    radius = np.sqrt(np.einsum("...c,...c->...", points, points).max(axis=-1))
    return points / np.maximum(radius, 1e-12)[..., None, None]


def resample(cloud: np.ndarray, n_points: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `n_points` rows at random, all of them before any is repeated."""
    if len(cloud) == 0:
        raise CloudError(f"Cannot choose {n_points} points from a cloud without points.")
    repeats = [rng.permutation(len(cloud)) for _ in range(-(-n_points // len(cloud)))]
    return cloud[np.concatenate(repeats)[:n_points]]
