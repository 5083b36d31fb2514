"""Labelled point clouds: invented, scanned and read from files."""

from pointinteract.datasets._files import load_cloud_files
from pointinteract.datasets._generated import SHAPE_CLASSES, make_shapes
from pointinteract.datasets._labelled import load_cloud_dataset
from pointinteract.datasets._scans import make_scans

__all__ = [
    "SHAPE_CLASSES",
    "load_cloud_dataset",
    "load_cloud_files",
    "make_scans",
    "make_shapes",
]
