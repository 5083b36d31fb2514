"""Shape checks shared by the operations: say what came and what would be right."""

from torch import Tensor


def check_points(name: str, points: Tensor, *, n_channels: int | None = None) -> None:
    """Raise unless `points` is a floating tensor (B, N, C) with at least one point."""
    channels = "C" if n_channels is None else str(n_channels)
    if not isinstance(points, Tensor):
        raise TypeError(
            f"{name} must be a tensor (B, N, {channels}), got {type(points).__name__}."
        )
    right_channels = n_channels is None or points.shape[-1] == n_channels
    if points.ndim != 3 or not right_channels:
        raise ValueError(
            f"{name} must have shape (B, N, {channels}), got {tuple(points.shape)}."
        )
    if points.shape[1] == 0:
        raise ValueError(f"{name} must hold at least one point a cloud, got shape "
                         f"{tuple(points.shape)}.")
    if not points.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {points.dtype}.")


def check_same_batch(name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Raise unless `a` (B, N, C) and `b` (B, M, C) agree in B and C."""
    if a.shape[0] != b.shape[0] or a.shape[2] != b.shape[2]:
        raise ValueError(
            f"{name_a} (B, N, C) and {name_b} (B, M, C) must agree in B and C, got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )


def check_count(name: str, count: int, n_available: int) -> None:
    """Raise unless 1 <= count <= n_available."""
    if not 1 <= count <= n_available:
        raise ValueError(f"{name} must be from 1 to the {n_available} points given, got {count}.")
