"""A further record of what a network says about itself: it turns clouds before it looks.

See :mod:`pointinteract.nn.structure`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pointinteract.nn.structure import SetPool, WeightedPoints

__all__ = ["PosedPoints"]


@dataclass(frozen=True)
class PosedPoints(WeightedPoints):
    """A network that finds a pose of the whole cloud first, from points that do not see others.

    Parameters
    ----------
    forward : callable
        As for :class:`~pointinteract.nn.structure.WeightedPoints`.
    pose : SetPool
        What finds the pose; its head gives poses (B, ...).
    forward_posed : callable
        Points (B, M, C), counts (B, M) and poses (B, ...) to logits (B, K): `forward` without
        looking for the pose.
    """

    pose: SetPool
    forward_posed: Callable[[Tensor, Tensor, Tensor], Tensor]
