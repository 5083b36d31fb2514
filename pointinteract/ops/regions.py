"""Cut clouds into regions, and take regions away from them.

A new way of cutting is one function in ``_players`` that returns region ids; a new way of taking
away is one function in ``_absence``. Both are public here.
"""

from pointinteract.ops._absence import (
    absent_points,
    keep_points,
    mask_regions,
    merge_points,
    resample_index,
    sphere_background,
    spread_background,
)
from pointinteract.ops._partition import assign_regions, partition_regions, region_centers
from pointinteract.ops._players import (
    kmeans_regions,
    patch_regions,
    voxel_regions,
)

__all__ = [
    "absent_points",
    "assign_regions",
    "keep_points",
    "kmeans_regions",
    "mask_regions",
    "merge_points",
    "partition_regions",
    "patch_regions",
    "region_centers",
    "resample_index",
    "sphere_background",
    "spread_background",
    "voxel_regions",
]
