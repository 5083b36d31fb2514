"""Estimators that name what a cloud shows."""

from pointinteract.classification._classifier import PointClassifier
from pointinteract.classification._comparison import LossComparison, compare_interaction_losses
from pointinteract.classification._recipe import Recipe
from pointinteract.classification._recipes import get_recipe
from pointinteract.classification._zero_shot import ZeroShotPointClassifier

__all__ = [
    "LossComparison",
    "PointClassifier",
    "Recipe",
    "ZeroShotPointClassifier",
    "compare_interaction_losses",
    "get_recipe",
]
