"""Estimators that name what a cloud shows."""

from pointinteract.classification._classifier import PointClassifier
from pointinteract.classification._comparison import LossComparison, compare_interaction_losses

__all__ = ["LossComparison", "PointClassifier", "compare_interaction_losses"]
