"""Estimators that name the parts of a cloud, point by point."""

from pointinteract.segmentation._segmenter import PointSegmenter

__all__ = ["PointSegmenter"]
