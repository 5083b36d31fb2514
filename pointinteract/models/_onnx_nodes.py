"""Searches among points in ONNX, for `_export`, which alone imports this module.

Functions write the operators of `pointinteract.ops` in standard ONNX operators by the same
rules: distances from differences of coordinates for few channels and from products in double
precision for many, ties to the smallest index. Every pair of points is held at once.
"""

# Constants may stand where onnxscript has tensors, which its types do not say.
# mypy: disable-error-code="arg-type, operator, type-var"

from collections.abc import Callable

import torch
from onnxscript import FLOAT, INT64, script
from onnxscript import opset18 as op

from pointinteract.ops._search import FEW_CHANNELS
from pointinteract.ops.sampling import NEAR_ORIGIN_SQUARED_NORM

__all__ = ["OPSET", "translations"]

OPSET = 18


def translations() -> dict[Callable, Callable]:
    """Return the functions below by the operator that they write."""
    nodes = torch.ops.pointinteract
    return {
        nodes.farthest_point_sample.default: farthest_point_sample,
        nodes.knn.default: knn,
        nodes.ball_members.default: ball_members,
        torch.ops.aten.sort.stable: stable_sort,
    }


# The parser of onnxscript reads the source, and takes the types of results from annotations.
@script()
def _pick(axes: FLOAT, distance: FLOAT, n_samples: INT64, first: INT64) -> INT64:
    """From axes (C, B, N), distances (B, N) and first picks (B,) to all picks (B, M)."""
    current = op.Unsqueeze(first, [1])
    picked = op.Identity(current)
    n_axes = op.Shape(axes, start=0, end=1)
    for _i in range(n_samples - 1):
        index = op.Expand(op.Unsqueeze(current, [0]), op.Concat(n_axes, [1, 1], axis=0))
        step = axes - op.GatherElements(axes, index, axis=2)
        distance = op.Min(distance, op.ReduceSum(step * step, [0], keepdims=0))
        current = op.ArgMax(distance, axis=1, keepdims=1, select_last_index=0)
        picked = op.Concat(picked, current, axis=1)
    return picked


def farthest_point_sample(points, n_samples: int, first, skip_near_origin: bool):
    """Write the sampling as a loop: (B, N, C) to (B, M)."""
    axes = op.Transpose(points, perm=[2, 0, 1])
    norms = op.ReduceSum(op.Mul(axes, axes), op.Constant(value_ints=[0]), keepdims=0)
    distance = op.Expand(op.Constant(value_float=float("inf")), op.Shape(norms))
    if skip_near_origin:
        near = op.LessOrEqual(norms, op.Constant(value_float=NEAR_ORIGIN_SQUARED_NORM))
        distance = op.Where(near, op.Constant(value_float=-1.0), distance)
    return _pick(axes, distance, n_samples, first)


def knn(query, points, k: int):
    """Write the search as a selection, (B, M, C) and (B, N, C) to (B, M, k)."""
    # TopK puts the smaller index first among equals.
    distance = _square_distance(query, points)
    return op.TopK(distance, _as_shape(k), axis=-1, largest=0, sorted=1)[1]


def ball_members(query, points, radius: float, k: int):
    """Write the query as a selection of indices, to (B, M, k) and (B, M)."""
    limit = op.Constant(value_float=radius * radius)
    inside = op.Less(_square_distance(query, points), limit)
    n_points = op.Shape(points, start=1, end=2)
    scalar = op.Squeeze(n_points)
    places = op.Range(op.Constant(value_int=0), scalar, op.Constant(value_int=1))
    order = op.Where(inside, places, scalar)  # (B, M, N), N where a point is outside
    size = _as_shape(k)
    n_found = op.Min(size, n_points)
    found = op.TopK(order, n_found, axis=-1, largest=0, sorted=1)[0]
    nothing = op.Constant(value_ints=[0, 0, 0, 0, 0])
    pads = op.Concat(nothing, op.Sub(size, n_found), axis=0)
    found = op.Pad(found, pads, scalar)  # where the cloud has fewer points than places
    absent = op.Equal(found, scalar)
    first = op.Slice(found, [0], [1], [2])
    first = op.Where(op.Equal(first, scalar), op.Constant(value_int=0), first)
    present = op.Cast(op.Not(absent), to=7)  # int64
    count = op.ReduceSum(present, op.Constant(value_ints=[-1]), keepdims=0)
    return op.Where(absent, first, found), count


def stable_sort(values, *, stable: bool = True, dim: int = -1, descending: bool = False):
    """Write a stable sort, which torch itself does not; equal ones keep their order."""
    size = op.Shape(values, start=dim, end=dim + 1 or None)
    return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)


def _square_distance(query, points):
    """(B, M, C) and (B, N, C) to (B, M, N), as `ops.square_distance`."""
    n_channels = query.shape[-1]
    if n_channels <= FEW_CHANNELS:
        total = None
        for channel in range(n_channels):
            place = op.Constant(value_ints=[channel])
            a = op.Gather(query, place, axis=2)  # (B, M, 1)
            b = op.Transpose(op.Gather(points, place, axis=2), perm=[0, 2, 1])
            step = op.Sub(a, b)
            squared = op.Mul(step, step)
            total = squared if total is None else op.Add(total, squared)
        return total
    a, b = op.Cast(query, to=11), op.Cast(points, to=11)  # double
    last = op.Constant(value_ints=[-1])
    products = op.MatMul(a, op.Transpose(b, perm=[0, 2, 1]))
    norms = op.Add(
        op.ReduceSumSquare(a, last, keepdims=1),
        op.Transpose(op.ReduceSumSquare(b, last, keepdims=1), perm=[0, 2, 1]),
    )
    distance = op.Sub(norms, op.Add(products, products))
    return op.CastLike(op.Relu(distance), query)


def _as_shape(number):
    """One whole number, known or not, as a tensor (1,)."""
    if isinstance(number, int):
        return op.Constant(value_ints=[number])
    return op.Reshape(number, op.Constant(value_ints=[1]))
