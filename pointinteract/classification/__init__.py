"""Estimators that name what a cloud shows."""

from pointinteract.classification._classifier import PointClassifier

__all__ = ["PointClassifier"]
