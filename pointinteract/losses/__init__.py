"""Losses, one idea a file; each cites the equation it implements."""

from pointinteract.losses.alignment import alignment_loss, balanced_loss
from pointinteract.losses.classification import smoothed_cross_entropy
from pointinteract.losses.contrastive import (
    bootstrap_loss,
    mixture_contrast_loss,
    pair_contrast_loss,
    queue_contrast_loss,
    self_contrast_loss,
)
from pointinteract.losses.dense_contrast import hardest_contrast_loss, point_contrast_loss
from pointinteract.losses.discrimination import query_discrimination_loss
from pointinteract.losses.distillation import distillation_loss, redundancy_loss
from pointinteract.losses.fields import field_loss
from pointinteract.losses.interaction import InteractionLoss
from pointinteract.losses.reconstruction import patch_chamfer_loss
from pointinteract.losses.scores import target_score
from pointinteract.losses.tokens import token_reconstruction_loss, token_uniformity_loss

__all__ = [
    "InteractionLoss",
    "alignment_loss",
    "balanced_loss",
    "bootstrap_loss",
    "distillation_loss",
    "field_loss",
    "hardest_contrast_loss",
    "mixture_contrast_loss",
    "pair_contrast_loss",
    "patch_chamfer_loss",
    "point_contrast_loss",
    "query_discrimination_loss",
    "queue_contrast_loss",
    "redundancy_loss",
    "self_contrast_loss",
    "smoothed_cross_entropy",
    "target_score",
    "token_reconstruction_loss",
    "token_uniformity_loss",
]
