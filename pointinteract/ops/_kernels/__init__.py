"""Loops compiled by numba. Nothing but `ops._fast` imports this package.

Every kernel takes the first item and the one after the last, so that parts can run in several
threads, and writes into arrays made by the caller.
"""

from pointinteract.ops._kernels.candidates import refine_nearest
from pointinteract.ops._kernels.edges import (
    edge_backward,
    edge_pool,
    edge_statistics,
    edge_sums,
    neighbor_max,
    spread_to_winners,
)
from pointinteract.ops._kernels.neighbors import (
    ball_query,
    knn_of_few_channels,
    nearest_of_few_channels,
    select_nearest,
)
from pointinteract.ops._kernels.norms import norm_backward, norm_rectify, norm_sums
from pointinteract.ops._kernels.pooling import column_maxima, winners_to_rows, winners_to_weight
from pointinteract.ops._kernels.sampling import farthest_points

__all__ = [
    "ball_query",
    "column_maxima",
    "edge_backward",
    "edge_pool",
    "edge_statistics",
    "edge_sums",
    "farthest_points",
    "knn_of_few_channels",
    "nearest_of_few_channels",
    "neighbor_max",
    "norm_backward",
    "norm_rectify",
    "norm_sums",
    "refine_nearest",
    "select_nearest",
    "spread_to_winners",
    "winners_to_rows",
    "winners_to_weight",
]
