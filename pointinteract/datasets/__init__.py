"""Labelled point clouds: invented, scanned, read from files and downloaded."""

from pointinteract.datasets._files import load_cloud_files
from pointinteract.datasets._generated import SHAPE_CLASSES, make_shapes
from pointinteract.datasets._labelled import load_cloud_dataset
from pointinteract.datasets._modelnet import fetch_modelnet40
from pointinteract.datasets._modelnet10 import fetch_modelnet10
from pointinteract.datasets._parts import make_parts
from pointinteract.datasets._scanobjectnn import fetch_scanobjectnn
from pointinteract.datasets._scans import make_scans
from pointinteract.datasets._shapenet55 import read_shapenet55
from pointinteract.datasets._shapenetpart import fetch_shapenetpart

__all__ = [
    "SHAPE_CLASSES",
    "fetch_modelnet10",
    "fetch_modelnet40",
    "fetch_scanobjectnn",
    "fetch_shapenetpart",
    "load_cloud_dataset",
    "load_cloud_files",
    "make_parts",
    "make_scans",
    "make_shapes",
    "read_shapenet55",
]
