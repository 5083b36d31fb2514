"""Cut the cube into cells, carry the points of each to another cell, and bring them back."""

import torch
from torch import Tensor

__all__ = ["cell_labels", "cell_shifts", "shuffle_cells"]

AXES = "xyz"


def cell_labels(points: Tensor, n_cells: int) -> Tensor:
    """Cell of every point: (B, N, C) to int64 (B, N).

    The cube [-1, 1]^3 is cut into ``n_cells`` slabs along each axis, and the cell (i, j, k) in
    x, y and z has the label ``i n_cells^2 + j n_cells + k``. A point outside of the cube counts
    to the nearest cell.
    """
    place = ((points[..., :3] + 1) * (n_cells / 2)).floor().long().clamp(0, n_cells - 1)
    return (place[..., 0] * n_cells + place[..., 1]) * n_cells + place[..., 2]


def cell_shifts(start: Tensor, end: Tensor, n_cells: int, moved_axes: str = AXES) -> Tensor:
    """Way from one cell to another, int64 (...) and (...) to float32 (..., 3)."""
    steps = _cell_places(end, n_cells) - _cell_places(start, n_cells)
    moved = torch.tensor([axis in moved_axes for axis in AXES], device=steps.device)
    return steps * moved * (2.0 / n_cells)


def shuffle_cells(
    points: Tensor, permutation: Tensor, n_cells: int, moved_axes: str = AXES
) -> tuple[Tensor, Tensor, Tensor]:
    """Carry the points of every cell, as they lie in it, to the cell that a permutation names.

    Parameters
    ----------
    points : Tensor of shape (B, N, C)
        Channels past the third stay as they are.
    permutation : int64 Tensor of shape (B, n_cells ** 3)
        ``permutation[b, c]`` is where the cell c of cloud b goes.
    n_cells : int
    moved_axes : str, default="xyz"
        Axes along which cells are carried; the step along others is left out.

    Returns
    -------
    moved : Tensor of shape (B, N, C)
    labels : int64 Tensor of shape (B, N)
        The cell that each point comes from.
    present : int64 Tensor of shape (B, N)
        The cell that it was sent to.
    """
    labels = cell_labels(points, n_cells)
    present = permutation.gather(1, labels)
    shifts = cell_shifts(labels, present, n_cells, moved_axes).to(points.dtype)
    moved = torch.cat([points[..., :3] + shifts, points[..., 3:]], dim=-1)
    return moved, labels, present


def _cell_places(labels: Tensor, n_cells: int) -> Tensor:
    """Places (i, j, k) of cells, (...) to (..., 3)."""
    first = labels.div(n_cells**2, rounding_mode="floor")
    second = labels.div(n_cells, rounding_mode="floor") % n_cells
    return torch.stack([first, second, labels % n_cells], dim=-1)
