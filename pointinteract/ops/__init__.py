"""Pure functions on batched clouds: tensors in, tensors out, no state and no learning.

Batch first, points second, channels last; the result lives where the input lives.
"""

from pointinteract.ops.corruptions import (
    CORRUPTION_LEVELS,
    CORRUPTIONS,
    corrupt,
    corrupt_add_global,
    corrupt_add_local,
    corrupt_drop_global,
    corrupt_drop_local,
    corrupt_jitter,
    corrupt_rotate,
    corrupt_scale,
)
from pointinteract.ops.distance_fields import (
    level_crossings,
    signed_distance,
    surface_distance,
    winding_number,
)
from pointinteract.ops.distances import chamfer_distance, nearest_neighbor
from pointinteract.ops.grouping import gather, group, interpolate
from pointinteract.ops.neighbors import ball_query, knn, square_distance
from pointinteract.ops.normals import estimate_normals
from pointinteract.ops.ordering import nearest_order
from pointinteract.ops.regions import (
    assign_regions,
    mask_regions,
    partition_regions,
    region_centers,
)
from pointinteract.ops.rendering import (
    euler_rotations,
    look_at,
    pixel_cells,
    project_points,
    render_depth,
    spherical_views,
    splat_harmonic,
    splat_maximum,
    splat_nearest,
    splat_sum,
    view_rotations,
)
from pointinteract.ops.sampling import farthest_point_sample, random_sample, thin_clouds
from pointinteract.ops.transforms import (
    drop_points,
    jitter,
    normalize_unit_sphere,
    random_cosine_scale,
    random_crop,
    random_cut_out,
    random_gaussian_scale,
    random_rotate,
    random_scale,
    random_tilt,
    random_translate,
    rotate,
    rotation_matrix,
    scale,
    shuffle_points,
    translate,
)
from pointinteract.ops.visibility import visible_points

__all__ = [
    "CORRUPTIONS",
    "CORRUPTION_LEVELS",
    "assign_regions",
    "ball_query",
    "chamfer_distance",
    "corrupt",
    "corrupt_add_global",
    "corrupt_add_local",
    "corrupt_drop_global",
    "corrupt_drop_local",
    "corrupt_jitter",
    "corrupt_rotate",
    "corrupt_scale",
    "drop_points",
    "estimate_normals",
    "euler_rotations",
    "farthest_point_sample",
    "gather",
    "group",
    "interpolate",
    "jitter",
    "knn",
    "level_crossings",
    "look_at",
    "mask_regions",
    "nearest_neighbor",
    "nearest_order",
    "normalize_unit_sphere",
    "partition_regions",
    "pixel_cells",
    "project_points",
    "random_cosine_scale",
    "random_crop",
    "random_cut_out",
    "random_gaussian_scale",
    "random_rotate",
    "random_sample",
    "random_scale",
    "random_tilt",
    "random_translate",
    "region_centers",
    "render_depth",
    "rotate",
    "rotation_matrix",
    "scale",
    "shuffle_points",
    "signed_distance",
    "spherical_views",
    "splat_harmonic",
    "splat_maximum",
    "splat_nearest",
    "splat_sum",
    "square_distance",
    "surface_distance",
    "thin_clouds",
    "translate",
    "view_rotations",
    "visible_points",
    "winding_number",
]
