"""A cloud, its regions and a model, as a cooperative game."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pointinteract.exceptions import CloudError
from pointinteract.explanation._models import CloudModel
from pointinteract.games.coalitions import all_coalitions
from pointinteract.ops.regions import mask_regions

PROBED_SIZES = (16, 64, 256, 1024)


class BatchSize:
    """The number of masked clouds per call: fixed, or found by timing the first calls.

    The probing calls are part of the work, not in addition to it.
    """

    def __init__(self, batch_size: int | str | None, default: int) -> None:
        self._left = list(PROBED_SIZES) if batch_size == "auto" else []
        self._times: dict[int, float] = {}
        self.current = default if batch_size in (None, "auto") else int(batch_size)
        if self._left:
            self.current = self._left.pop(0)

    def report(self, n_clouds: int, seconds: float) -> None:
        """Take note of one call; while probing, move on to the next size."""
        if n_clouds == self.current and (self._left or self._times):
            self._times.setdefault(n_clouds, seconds / n_clouds)
            if self._left:
                self.current = self._left.pop(0)
            else:
                self.current = min(self._times, key=self._times.__getitem__)
                self._times = {}

    def shrink(self) -> bool:
        """Halve after running out of memory; False if there is nothing left to halve."""
        self._left, self._times = [], {}
        self.current, before = max(1, self.current // 2), self.current
        return self.current < before


class CloudGame:
    """The regions of one cloud play; the value of some is the model's score with only those.

    Parameters
    ----------
    points : ndarray, shape (n_points, n_channels)
    regions : ndarray of int, shape (n_points,)
    n_regions : int
    model : CloudModel
    value : callable, optional
        From the model's answers (S, K) to values (S,). May be left out where only
        :meth:`answers` is wanted.
    baseline : str
        See :func:`~pointinteract.ops.regions.mask_regions`.
    batch_size : BatchSize, int or None
    """

    def __init__(
        self,
        points: np.ndarray,
        regions: np.ndarray,
        n_regions: int,
        model: CloudModel,
        *,
        value: Callable[[np.ndarray], np.ndarray] | None = None,
        baseline: str = "center",
        batch_size: BatchSize | int | None = None,
    ) -> None:
        self.n_players = n_regions
        self.model = model
        self.value = value
        self.baseline = baseline
        if not isinstance(batch_size, BatchSize):
            batch_size = BatchSize(batch_size, model.batch_size)
        self.batch_size = batch_size
        # Copies: arrays may be read-only, and tensors do not know that.
        self.points = torch.tensor(points, dtype=model.dtype, device=model.device)
        self._regions = torch.tensor(regions, dtype=torch.int64, device=model.device)

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        answers = self.answers(coalitions)
        return answers if self.value is None or answers.ndim == 1 else self.value(answers)

    def answers(
        self,
        coalitions: np.ndarray | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Return the model's answers, float64 (S, K) or (S,), to coalitions (all by default)."""
        if coalitions is None:
            coalitions = all_coalitions(self.n_players)
        keep = torch.tensor(coalitions, device=self.model.device)
        parts: list[np.ndarray] = []
        first = 0
        with self.model.session():
            while first < len(keep):
                chunk = keep[first : first + self.batch_size.current]
                started = time.perf_counter()
                try:
                    masked = mask_regions(
                        self.points, self._regions, chunk, baseline=self.baseline
                    )
                    parts.append(self.model.evaluate(masked))
                except torch.cuda.OutOfMemoryError:
                    if not self.batch_size.shrink():
                        raise
                    continue
                self.batch_size.report(len(chunk), time.perf_counter() - started)
                first += len(chunk)
                if advance is not None:
                    advance(len(chunk))
        return np.concatenate(parts)


def check_clouds(X: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return clouds as a tuple of finite float arrays (n_points, n_channels)."""
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, np.ndarray) and X.ndim != 3 and X.dtype != object:
        hint = " For a single cloud pass X[None]." if X.ndim == 2 else ""
        raise CloudError(
            f"X must have shape (n_clouds, n_points, 3) or be a list of clouds, got {X.shape}."
            + hint
        )
    clouds = tuple(_check_cloud(cloud, number) for number, cloud in enumerate(X))
    if not clouds:
        raise CloudError("X holds no cloud.")
    channels = {cloud.shape[1] for cloud in clouds}
    if len(channels) > 1:
        raise CloudError(f"all clouds must have the same channels, got {sorted(channels)}.")
    return clouds


def _check_cloud(cloud: np.ndarray, number: int) -> np.ndarray:
    cloud = np.asarray(cloud)
    if cloud.dtype.kind not in "fiu":
        raise CloudError(f"cloud {number} must hold numbers, got dtype {cloud.dtype}.")
    # A copy: the explanation must not change when its owner's array does later.
    dtype = np.float64 if cloud.dtype == np.float64 else np.float32
    cloud = np.array(cloud, dtype=dtype, order="C")
    if cloud.ndim != 2 or cloud.shape[1] < 3 or len(cloud) == 0:
        raise CloudError(
            f"cloud {number} must have shape (n_points, 3 or more channels) with at least one "
            f"point, got {cloud.shape}."
        )
    if not np.isfinite(cloud).all():
        n_bad = int((~np.isfinite(cloud)).any(axis=1).sum())
        raise CloudError(
            f"cloud {number} has NaN or infinity in {n_bad} of {len(cloud)} points. Remove those "
            "points first."
        )
    return cloud
