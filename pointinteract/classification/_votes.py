"""Subsets of clouds, and other looks at them for voting."""

import numpy as np
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.ops import random_scale
from pointinteract.training.data import draw_points
from pointinteract.utils._random import make_generator

__all__ = ["another_look", "pick_clouds"]

_VOTES = 101  # stream of random numbers for votes, apart from those of training


def another_look(
    stored: list[Tensor], n_points: int | None, seed: int, vote: int
) -> list[np.ndarray]:
    """Another look at every stored cloud (1, P, C): points chosen anew, each axis scaled.

    One draw serves all clouds, so that the answer for one does not depend on the others.
    """
    looks = []
    for points in stored:
        generator = make_generator(seed, _VOTES, vote)
        points = draw_points(points, n_points, generator)
        looks.append(random_scale(points, generator=generator)[0].numpy())
    return looks


def pick_clouds(clouds: Clouds, index: np.ndarray) -> Clouds:
    """Some of the clouds, in the form they came in."""
    return [clouds[i] for i in index] if isinstance(clouds, list) else clouds[index]
