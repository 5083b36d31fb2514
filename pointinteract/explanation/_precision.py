"""What networks compute in, and what less than single precision costs by order."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from pointinteract.games.harsanyi import moebius_transform
from pointinteract.games.orders import mean_strength

PRECISIONS = ("float32", "tf32", "bfloat16")


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Let the networks called inside compute so; "float32" is the precision of their weights."""
    if precision == "bfloat16":
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield
        return
    if device.type != "cuda":
        yield
        return
    # Said in both cases: somebody may have allowed it for the whole process.
    allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    wanted = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def check_precision(precision: str, device: torch.device) -> None:
    """Raise where a precision would silently be another one."""
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(
            f"precision='tf32' exists on CUDA devices only, and the model is on {device}; use "
            "'float32', or 'bfloat16'."
        )


def difference_by_order(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Mean size of the difference of interactions; two (n_clouds, 2^n) to (n,), orders 1 to n."""
    return mean_strength(moebius_transform(values - reference)).mean(axis=0)
