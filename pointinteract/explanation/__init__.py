"""Explain any model of point clouds by interactions between regions.

:class:`SetPool`, :class:`WeightedPoints` and :class:`PatchTokens` are what can be said about a
network that is not ours, so that much less has to be computed: see
``InteractionExplainer(structure=...)``.
"""

from pointinteract.explanation._controls import NoiseControl
from pointinteract.explanation._explainer import InteractionExplainer
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._result import Explanation
from pointinteract.explanation._sensitivity import MaskSensitivity, mask_sensitivity
from pointinteract.explanation._study import InteractionStudy
from pointinteract.explanation._study_transfer import (
    few_shot_readout,
    knn_readout,
    linear_readout,
)
from pointinteract.nn.structure import PatchTokens, SetPool, WeightedPoints

__all__ = [
    "CloudGame",
    "Explanation",
    "InteractionExplainer",
    "InteractionStudy",
    "MaskSensitivity",
    "NoiseControl",
    "PatchTokens",
    "SetPool",
    "WeightedPoints",
    "few_shot_readout",
    "knn_readout",
    "linear_readout",
    "mask_sensitivity",
]
