"""The record behind an explanation: its fields, and how clouds are chosen from it."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation._sampled import Terms, reliable_terms
from pointinteract.games.coalitions import n_players_of
from pointinteract.games.fourier import SparseFourier
from pointinteract.games.harsanyi import moebius_transform


@dataclass(frozen=True, eq=False, repr=False)
class Record:
    """Fields of an :class:`~pointinteract.explanation.Explanation`, which documents them."""

    values: np.ndarray
    points: tuple[np.ndarray, ...]
    regions: tuple[np.ndarray, ...]
    targets: np.ndarray | None = None
    predicted: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: np.ndarray | None = None
    region_names: tuple[tuple[str, ...], ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    answers: np.ndarray | None = None
    coalitions: np.ndarray | None = None
    surrogates: tuple[SparseFourier, ...] | None = None
    r2: np.ndarray | None = None
    noise_by_order: np.ndarray | None = None

    @property
    def n_clouds(self) -> int:
        """Number of clouds."""
        return len(self.values)

    @property
    def n_regions(self) -> int:
        """Number of regions of each cloud."""
        if self.coalitions is not None:
            return self.coalitions.shape[1]
        return n_players_of(self.values.shape[1])

    @property
    def is_exact(self) -> bool:
        """Whether all coalitions were scored, and not chosen ones."""
        return self.coalitions is None

    @cached_property
    def interactions(self) -> np.ndarray:
        """AND interaction I(S) of each coalition, (n_clouds, 2^n_regions)."""
        self._need_all("the table of all interactions")
        return moebius_transform(self.values)

    @cached_property
    def terms(self) -> list[Terms]:
        """AND interactions of each cloud that a sampled explanation can rely on."""
        if self.coalitions is None or self.surrogates is None:
            raise ValueError("terms are of sampled explanations; this one has interactions.")
        return [
            reliable_terms(self.coalitions, row, surrogate)
            for row, surrogate in zip(self.values, self.surrogates, strict=True)
        ]

    @property
    def correct(self) -> np.ndarray | None:
        """Whether the model predicts the true class, (n_clouds,), or None if unknown."""
        if self.labels is None or self.predicted is None:
            return None
        return self.predicted == self.labels

    def __len__(self) -> int:
        return self.n_clouds

    def __iter__(self) -> Iterator[Self]:
        return (self[cloud] for cloud in range(self.n_clouds))

    def __getitem__(self, clouds: Any) -> Self:
        rows = np.atleast_1d(np.arange(self.n_clouds)[clouds])
        # Tables of answers are large: only a list or a mask of clouds has to copy them.
        chosen: Any = rows
        if isinstance(clouds, slice):
            chosen = clouds
        elif len(rows) == 1:
            chosen = slice(int(rows[0]), int(rows[0]) + 1)

        def pick(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[chosen]

        return replace(
            self,
            values=self.values[chosen],
            points=tuple(self.points[row] for row in rows),
            regions=tuple(self.regions[row] for row in rows),
            targets=pick(self.targets),
            predicted=pick(self.predicted),
            labels=pick(self.labels),
            region_names=self.region_names and tuple(self.region_names[row] for row in rows),
            answers=pick(self.answers),
            surrogates=self.surrogates and tuple(self.surrogates[row] for row in rows),
            r2=pick(self.r2),
        )

    def class_name(self, column: int) -> str:
        """Label of an output column as text."""
        return str(column if self.classes is None else self.classes[column])

    def _need_all(self, what: str) -> None:
        if not self.is_exact:
            raise ValueError(
                f"{what} needs the scores of all 2^{self.n_regions} coalitions, and only "
                f"{self.values.shape[1]} were sampled. Explain with at most 16 regions and no "
                "budget, or use to_frame(), strongest(), effects(), strength_by_order(), "
                "to_index('Shapley') or plot('regions')."
            )

    def _known_correct(self) -> np.ndarray:
        if self.correct is None:
            raise ValueError("correct_only needs the true labels: pass y to explain.")
        return self.correct

    def _chosen(self, correct_only: bool) -> Self:
        chosen = self[self._known_correct()] if correct_only else self
        if chosen.n_clouds == 0:
            raise ValueError("there is no cloud to measure; the model is right on none of them.")
        return chosen

    def _warn_if_cut_differently(self, other: "Record") -> None:
        for cloud in range(self.n_clouds):
            same_points = np.array_equal(self.points[cloud], other.points[cloud])
            if same_points and not np.array_equal(self.regions[cloud], other.regions[cloud]):
                warnings.warn(
                    f"the two explanations cut cloud {cloud} into different regions; pass "
                    "regions=explanation.regions to the second explain to compare models.",
                    PointInteractWarning,
                    stacklevel=3,
                )
                return
