"""Subsets of clouds, and other looks at them for voting."""

import zlib
from typing import Any

import numpy as np
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.training.data import augment, draw_points, store_clouds
from pointinteract.utils._random import make_generator

__all__ = ["another_look", "clouds_to_vote_on", "pick_clouds"]

_VOTES = 101  # stream of random numbers for votes, apart from those of training


def clouds_to_vote_on(estimator: Any, X: Any, n_points: int | None) -> list[Tensor]:
    """Every cloud as votes choose points from it: normalized, (1, P, C).

    Smaller clouds repeat their points as they did in training and do in a prediction without
    votes; larger ones are thinned, once and not for every vote.
    """
    clouds = estimator._normalized(estimator._validate_clouds(X, reset=False))
    filled_to = estimator.n_points_fit_ or 0
    filled = (cloud[np.arange(max(len(cloud), filled_to)) % len(cloud)] for cloud in clouds)
    return [store_clouds(cloud[None], n_points) for cloud in filled]


def another_look(
    stored: list[Tensor],
    n_points: int | None,
    seed: int,
    vote: int,
    *,
    augmentation: Any = "scale",
    apart: bool = False,
) -> list[np.ndarray]:
    """Another look at every stored cloud (1, P, C): points chosen anew, and augmented.

    One draw serves all clouds, so that the answer for one does not depend on the others. With
    `apart` each has a draw of its own, which follows from its points and from nothing else.
    """
    looks = []
    for points in stored:
        own = (zlib.crc32(points.numpy().tobytes()),) if apart else ()
        generator = make_generator(seed, _VOTES, vote, *own)
        points = draw_points(points, n_points, generator)
        looks.append(augment(points, augmentation, generator)[0].numpy())
    return looks


def pick_clouds(clouds: Clouds, index: np.ndarray) -> Clouds:
    """Some of the clouds, in the form they came in."""
    return [clouds[i] for i in index] if isinstance(clouds, list) else clouds[index]
