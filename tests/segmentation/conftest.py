"""Clouds whose parts are easy to tell, and a pretrainer that has seen them."""

import numpy as np
import pytest

from pointinteract.pretraining import ReConPretrainer


@pytest.fixture(scope="package")
def halves():
    """Balls and discs of 40 points; their parts are above and below, or front and rear."""
    points = np.random.default_rng(0).normal(size=(16, 40, 3))
    kinds = np.array(["ball", "disc"] * 8)
    points[1::2, :, 2] *= 0.1
    # Neither the mean nor the size of a cloud may move the border between the parts.
    points -= points.mean(axis=1, keepdims=True)
    ball = np.where(points[..., 2] > 0, "above", "below")
    disc = np.where(points[..., 1] > 0, "front", "rear")
    parts = np.where((kinds == "ball")[:, None], ball, disc)
    return points.astype("f4"), parts, kinds


@pytest.fixture(scope="package")
def pretrainer(halves):
    return ReConPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(halves[0])
