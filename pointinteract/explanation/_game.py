"""A cloud, its regions and a model, as a cooperative game."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pointinteract.exceptions import CloudError
from pointinteract.explanation._absence import TOKEN_ABSENCES, Absence, make_absence
from pointinteract.explanation._batches import BatchSize, forget_failed_batch, is_out_of_memory
from pointinteract.explanation._engines._base import Engine
from pointinteract.explanation._models import CloudModel
from pointinteract.games.coalitions import all_coalitions


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
    absence : str, default="center"
        What it means that a region is not there, see :class:`InteractionExplainer`.
    background : array-like, shape (m, n_channels), optional
        For ``absence="background"``.
    seed, sample : int, default=0
        What random absences draw from: a seed, and the number of the cloud.
    batch_size : BatchSize, int, "auto" or None
    engine : Engine, optional
        Answers in place of plain masked forwards when the game is called.

    Attributes
    ----------
    n_players : int
    points : Tensor of shape (n_points, n_channels)
        On the model's device.
    regions : int64 Tensor of shape (n_points,)
    absence : Absence
        Makes the masked clouds.
    """

    def __init__(
        self,
        points: np.ndarray,
        regions: np.ndarray,
        n_regions: int,
        model: CloudModel,
        *,
        value: Callable[[np.ndarray], np.ndarray] | None = None,
        absence: str = "center",
        background: Any = None,
        seed: int = 0,
        sample: int = 0,
        batch_size: BatchSize | int | str | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.n_players = n_regions
        self.model = model
        self.value = value
        self.engine = engine
        if not isinstance(batch_size, BatchSize):
            batch_size = BatchSize(batch_size, model.batch_size(len(points)))
        self.batch_size = batch_size
        # Copies: arrays may be read-only, and tensors do not know that.
        self.points = torch.tensor(points, dtype=model.dtype, device=model.device)
        self.regions = torch.tensor(regions, dtype=torch.int64, device=model.device)
        self.absence: Absence = make_absence(
            absence,
            self.points,
            self.regions,
            n_regions,
            background=background,
            seed=seed,
            sample=sample,
        )

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        if self.engine is None:
            answers = self.answers(coalitions)
        else:
            with self.model.session():
                answers = self.engine.answers(self, coalitions)
        return answers if self.value is None or answers.ndim == 1 else self.value(answers)

    @property
    def has_masked_clouds(self) -> bool:
        """Whether absence happens among points, so that plain forwards exist."""
        return self.absence.name not in TOKEN_ABSENCES

    def answers(
        self,
        coalitions: np.ndarray | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Answer coalitions (all by default) by plain forwards of masked clouds.

        Returns
        -------
        answers : ndarray of float64, shape (S, K) or (S,)
        """
        if coalitions is None:
            coalitions = all_coalitions(self.n_players)
        keep = torch.tensor(coalitions, device=self.model.device)
        if self.absence.constant:
            order, sizes = None, [len(keep)]
        else:
            # Clouds of different sizes do not share a batch; like sizes are brought together.
            n_kept = self.absence.n_kept(keep)
            order = torch.argsort(n_kept, stable=True)
            keep, sizes = keep[order], torch.unique(n_kept, return_counts=True)[1].tolist()
        answers: np.ndarray | None = None
        first = 0
        with self.model.session():
            for end in np.cumsum(sizes).tolist():
                while first < end:
                    part = self._answer_batch(
                        keep[first : min(end, first + self.batch_size.current)]
                    )
                    if part is None:
                        continue
                    if answers is None:
                        answers = np.empty((len(keep), *part.shape[1:]))
                    rows = slice(first, first + len(part))
                    answers[rows if order is None else order[rows].cpu().numpy()] = part
                    first += len(part)
                    if advance is not None:
                        advance(len(part))
        assert answers is not None
        return answers

    def _answer_batch(self, keep: torch.Tensor) -> np.ndarray | None:
        """Answer coalitions whose masked clouds have one size; None: they were too many."""
        started = time.perf_counter()
        try:
            if self.absence.constant:
                masked = self.absence.masked(keep)
            else:
                ((_, masked),) = self.absence.batches(keep, len(keep))
            answers = self.model.evaluate(masked)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not self.batch_size.shrink():
                raise
            forget_failed_batch()
            return None
        self.batch_size.report(len(keep), time.perf_counter() - started)
        return answers


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
    if not isinstance(X, np.ndarray | Sequence) or isinstance(X, str | bytes):
        raise CloudError(
            "X must be an array (n_clouds, n_points, 3) or a list of clouds, got "
            f"{type(X).__name__}."
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
