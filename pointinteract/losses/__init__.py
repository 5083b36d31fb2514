"""Losses, one idea a file; each cites the equation it implements."""

from pointinteract.losses.classification import smoothed_cross_entropy
from pointinteract.losses.contrastive import self_contrast_loss
from pointinteract.losses.interaction import InteractionLoss
from pointinteract.losses.reconstruction import patch_chamfer_loss
from pointinteract.losses.scores import target_score

__all__ = [
    "InteractionLoss",
    "patch_chamfer_loss",
    "self_contrast_loss",
    "smoothed_cross_entropy",
    "target_score",
]
