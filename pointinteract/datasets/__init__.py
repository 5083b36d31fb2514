"""Labelled point clouds: invented, scanned and read from files."""

from pointinteract.datasets._generated import SHAPE_CLASSES, make_shapes

__all__ = ["SHAPE_CLASSES", "make_shapes"]
