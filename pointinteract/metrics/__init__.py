"""Scores that scikit-learn lacks, as plain functions of arrays."""

from pointinteract.metrics._segmentation import (
    allowed_parts,
    class_miou,
    instance_miou,
    part_iou_table,
    restricted_argmax,
    shape_ious,
)

__all__ = [
    "allowed_parts",
    "class_miou",
    "instance_miou",
    "part_iou_table",
    "restricted_argmax",
    "shape_ious",
]
