"""Pure functions on batched clouds: tensors in, tensors out, no state and no learning.

Batch first, points second, channels last; the result lives where the input lives.
"""

from pointinteract.ops.distances import chamfer_distance, nearest_neighbor
from pointinteract.ops.grouping import gather, group, interpolate
from pointinteract.ops.neighbors import ball_query, knn, square_distance
from pointinteract.ops.regions import (
    assign_regions,
    mask_regions,
    partition_regions,
    region_centers,
)
from pointinteract.ops.rendering import render_depth, view_rotations
from pointinteract.ops.sampling import farthest_point_sample, random_sample, thin_clouds
from pointinteract.ops.transforms import (
    drop_points,
    jitter,
    normalize_unit_sphere,
    random_rotate,
    random_scale,
    random_translate,
    rotate,
    rotation_matrix,
    scale,
    translate,
)

__all__ = [
    "assign_regions",
    "ball_query",
    "chamfer_distance",
    "drop_points",
    "farthest_point_sample",
    "gather",
    "group",
    "interpolate",
    "jitter",
    "knn",
    "mask_regions",
    "nearest_neighbor",
    "normalize_unit_sphere",
    "partition_regions",
    "random_rotate",
    "random_sample",
    "random_scale",
    "random_translate",
    "region_centers",
    "render_depth",
    "rotate",
    "rotation_matrix",
    "scale",
    "square_distance",
    "thin_clouds",
    "translate",
    "view_rotations",
]
