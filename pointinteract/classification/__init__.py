"""Estimators that name what a cloud shows."""

from pointinteract.classification._classifier import PointClassifier
from pointinteract.classification._comparison import LossComparison, compare_interaction_losses
from pointinteract.classification._recipe import Recipe
from pointinteract.classification._recipes import get_recipe

__all__ = [
    "LossComparison",
    "PointClassifier",
    "Recipe",
    "compare_interaction_losses",
    "get_recipe",
]
