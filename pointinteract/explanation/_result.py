"""Explanation: the measured scores of all coalitions, and everything that follows from them."""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation._regions import check_names, names_from_parts
from pointinteract.explanation._saving import read_fields, write_fields
from pointinteract.explanation._tables import (
    NORMALIZATIONS,
    Bootstrap,
    comparison_frame,
    range_estimate,
    strength_frame,
)
from pointinteract.games.coalitions import coalition_members, coalition_orders, n_players_of
from pointinteract.games.harsanyi import moebius_transform
from pointinteract.games.orders import Estimate
from pointinteract.utils._params import check_int, check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.plotting import RegionInteractionDisplay, StrengthByOrderDisplay

PLOT_KINDS = ("orders", "regions")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Scores of all coalitions of regions of some clouds, by one model.

    Indexing gives an explanation of fewer clouds: ``explanation[3]``, ``explanation[:5]``,
    ``explanation[explanation.correct]``.

    Attributes
    ----------
    values : ndarray of float64, shape (n_clouds, 2^n_regions)
        Score of each coalition; bit i of a column's number says whether region i is present.
    points : tuple of ndarray, each (n_points, n_channels)
        The clouds that were explained.
    regions : tuple of ndarray of int, each (n_points,)
        Region of each point. Pass them to another ``explain`` to compare models.
    targets, predicted, labels : ndarray of int, shape (n_clouds,), or None
        Output column that was explained, that was largest, and that is true, where known.
    classes : ndarray or None
        Label of each output column.
    region_names : tuple of tuple of str, or None
        A name for each region of each cloud.
    meta : dict
        Name of the model, and how the scores were made.
    """

    values: np.ndarray
    points: tuple[np.ndarray, ...]
    regions: tuple[np.ndarray, ...]
    targets: np.ndarray | None = None
    predicted: np.ndarray | None = None
    labels: np.ndarray | None = None
    classes: np.ndarray | None = None
    region_names: tuple[tuple[str, ...], ...] | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def n_clouds(self) -> int:
        """Number of clouds."""
        return len(self.values)

    @property
    def n_regions(self) -> int:
        """Number of regions of each cloud."""
        return n_players_of(self.values.shape[1])

    @cached_property
    def interactions(self) -> np.ndarray:
        """AND interaction I(S) of each coalition, (n_clouds, 2^n_regions)."""
        return moebius_transform(self.values)

    @property
    def correct(self) -> np.ndarray | None:
        """Whether the model predicts the true class, (n_clouds,), or None if unknown."""
        if self.labels is None or self.predicted is None:
            return None
        return self.predicted == self.labels

    def __len__(self) -> int:
        return self.n_clouds

    def __iter__(self) -> "Iterator[Explanation]":
        return (self[cloud] for cloud in range(self.n_clouds))

    def __getitem__(self, clouds: Any) -> "Explanation":
        rows = np.arange(self.n_clouds)[clouds]
        rows = np.atleast_1d(rows)

        def pick(array: np.ndarray | None) -> np.ndarray | None:
            return None if array is None else array[rows]

        return replace(
            self,
            values=self.values[rows],
            points=tuple(self.points[row] for row in rows),
            regions=tuple(self.regions[row] for row in rows),
            targets=pick(self.targets),
            predicted=pick(self.predicted),
            labels=pick(self.labels),
            region_names=self.region_names and tuple(self.region_names[row] for row in rows),
        )

    def __repr__(self) -> str:
        score = self.meta.get("score", "score")
        target = self.meta.get("target")
        of = f" of the {target} class" if target in ("true", "predicted") else f" of {target}"
        return (
            f"<Explanation of {self.meta.get('model', 'a model')}: {self.n_clouds} clouds, "
            f"{self.n_regions} regions, {score}{'' if self.targets is None else of}>"
        )

    def class_name(self, column: int) -> str:
        """Label of an output column as text."""
        return str(column if self.classes is None else self.classes[column])

    def names_of(self, cloud: int, coalition: int) -> tuple[str, ...]:
        """Names of the regions in a coalition, by number where they have none."""
        members = coalition_members(coalition)
        if self.region_names is None:
            return tuple(f"region {member}" for member in members)
        return tuple(self.region_names[cloud][member] for member in members)

    def name_regions(
        self,
        parts: Sequence[Any] | None = None,
        part_names: Sequence[str] | None = None,
        *,
        names: Sequence[Any] | None = None,
    ) -> "Explanation":
        """Return the same explanation with named regions.

        Parameters
        ----------
        parts : array-like of int, one (n_points,) for each cloud, optional
            Part of every point. A region is named by the part it holds most points of.
        part_names : sequence of str, optional
            Name of each part.
        names : sequence of str, or one such for each cloud, optional
            The names themselves, instead of parts.
        """
        if names is None:
            if parts is None or part_names is None:
                raise ValueError("give either names, or parts together with part_names.")
            names = [
                names_from_parts(ids, np.asarray(row), part_names, self.n_regions)
                for ids, row in zip(self.regions, parts, strict=True)
            ]
        return replace(self, region_names=check_names(names, self.n_clouds, self.n_regions))

    def strongest(self, cloud: int = 0, top: int = 10, *, min_order: int = 1) -> np.ndarray:
        """Return the numbers of the strongest coalitions of a cloud, by |I|, descending."""
        candidates = np.flatnonzero(coalition_orders(self.n_regions) >= max(1, min_order))
        strength = np.abs(self.interactions[cloud, candidates])
        return candidates[np.argsort(-strength, kind="stable")[: check_int("top", top)]]

    def to_frame(self, top: int | None = None) -> pd.DataFrame:
        """Tabulate the interactions.

        Parameters
        ----------
        top : int, optional
            Only that many of each cloud, the strongest first; the empty coalition left out.

        Returns
        -------
        frame : DataFrame
            Columns cloud, coalition (its number), order, members (tuple of region numbers),
            value (score with only these regions) and interaction.
        """
        rows = [
            np.arange(self.values.shape[1]) if top is None else self.strongest(cloud, top)
            for cloud in range(self.n_clouds)
        ]
        coalition = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
        cloud = np.repeat(np.arange(self.n_clouds), [len(row) for row in rows])
        members = [coalition_members(index) for index in range(self.values.shape[1])]
        return pd.DataFrame(
            {
                "cloud": cloud,
                "coalition": coalition,
                "order": coalition_orders(self.n_regions)[coalition],
                "members": [members[index] for index in coalition],
                "value": self.values[cloud, coalition],
                "interaction": self.interactions[cloud, coalition],
            }
        )

    def strength_by_order(
        self,
        normalize: str = "kappa",
        *,
        correct_only: bool = False,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> pd.DataFrame:
        """Measure how strong the interactions of each order are.

        Parameters
        ----------
        normalize : {"kappa", "raw", "z", "sum", "cancellation"}, default="kappa"
            ``"raw"``: mean of \\|I\\| over the coalitions of an order and over clouds.
            ``"kappa"``: that as a share of its sum over orders, so that models of different
            output scale compare. ``"z"``: divided by the mean change of the score from
            nothing to everything. ``"sum"``: as kappa, with sums over coalitions instead of
            means, which weighs middle orders more. ``"cancellation"``: \\|sum of I\\| over the
            sum of \\|I\\|, near 0 where effects of an order cancel.
        correct_only : bool, default=False
            Only clouds that the model classifies correctly.
        confidence, n_bootstraps, random_state
            Of the bootstrap interval over clouds. One cloud has no interval (NaN).

        Returns
        -------
        frame : DataFrame
            Columns order (1 to n_regions), strength, low, high.
        """
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        values = self._chosen(correct_only).values
        return strength_frame(values, normalize, Bootstrap(confidence, n_bootstraps, random_state))

    def kappa_low(
        self,
        bounds: str = "0.3/0.7",
        *,
        normalize: str = "kappa",
        correct_only: bool = False,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> Estimate:
        """Add the strengths of the low orders up.

        Parameters
        ----------
        bounds : {"0.3/0.7", "thirds", "halves"}, default="0.3/0.7"
            Which orders are low, see :func:`~pointinteract.games.order_range`.
        normalize, correct_only, confidence, n_bootstraps, random_state
            As in :meth:`strength_by_order`.

        Returns
        -------
        estimate : Estimate
            value, low and high, with the interval over clouds.
        """
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        values = self._chosen(correct_only).values
        return range_estimate(values, "low", bounds, normalize, bootstrap)

    def kappa_high(
        self,
        bounds: str = "0.3/0.7",
        *,
        normalize: str = "kappa",
        correct_only: bool = False,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> Estimate:
        """Add the strengths of the high orders up; see :meth:`kappa_low`."""
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        values = self._chosen(correct_only).values
        return range_estimate(values, "high", bounds, normalize, bootstrap)

    def compare(
        self,
        other: "Explanation",
        normalize: str = "kappa",
        *,
        correct_only: bool = False,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> pd.DataFrame:
        """Compare with another explanation of the same clouds, pair by pair.

        Parameters
        ----------
        other : Explanation
            Of another model, or of another sample, with the same clouds in the same order.
        correct_only : bool, default=False
            Only clouds that both models classify correctly.
        normalize, confidence, n_bootstraps, random_state
            As in :meth:`strength_by_order`.

        Returns
        -------
        frame : DataFrame
            Columns order, strength (of this), strength_other, difference (other less this)
            with its interval low to high over clouds drawn in pairs, and correlation of I(S)
            over clouds and coalitions, which means something only where region i of one is
            region i of the other.
        """
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        if other.values.shape != self.values.shape:
            raise ValueError(
                f"can only compare explanations of the same clouds: this one has "
                f"{self.n_clouds} clouds of {self.n_regions} regions, the other "
                f"{other.n_clouds} of {other.n_regions}."
            )
        self._warn_if_cut_differently(other)
        first, second = self, other
        if correct_only:
            both = self._known_correct() & other._known_correct()
            first, second = self[both], other[both]
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        return comparison_frame(first.values, second.values, normalize, bootstrap)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything to one file (npz, without pickle) that :meth:`load` reads."""
        write_fields(path, self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Explanation":
        """Read what :meth:`save` wrote.

        Raises
        ------
        FileFormatError
            If the file is truncated, of another kind, or made to do harm.
        """
        return cls(**vars(read_fields(path)))

    def plot(
        self,
        kind: str = "orders",
        *,
        cloud: int = 0,
        ax: "Axes | None" = None,
    ) -> "StrengthByOrderDisplay | RegionInteractionDisplay":
        """Draw with matplotlib.

        Parameters
        ----------
        kind : {"orders", "regions"}, default="orders"
            ``"orders"``: strength by order over all clouds, beside what noise would give.
            ``"regions"``: the strongest interactions of one cloud.
        cloud : int, default=0
            For ``"regions"``.
        ax : matplotlib Axes, optional
            For ``"orders"``; ``"regions"`` makes a figure of its own.

        Returns
        -------
        display : StrengthByOrderDisplay or RegionInteractionDisplay
            With ``figure_`` and ``ax_`` or ``axes_``.
        """
        from pointinteract.plotting import RegionInteractionDisplay, StrengthByOrderDisplay

        if check_option("kind", kind, PLOT_KINDS) == "orders":
            return StrengthByOrderDisplay.from_explanation(self).plot(ax=ax)
        return RegionInteractionDisplay.from_explanation(self, cloud=cloud).plot()

    def plot_3d(self, cloud: int = 0, *, top: int = 12) -> Any:
        """Return an interactive plotly figure of one cloud and its strongest interactions."""
        from pointinteract.plotting import interactive_regions

        return interactive_regions(self, cloud=cloud, top=top)

    def _known_correct(self) -> np.ndarray:
        if self.correct is None:
            raise ValueError("correct_only needs the true labels: pass y to explain.")
        return self.correct

    def _chosen(self, correct_only: bool) -> "Explanation":
        chosen = self[self._known_correct()] if correct_only else self
        if chosen.n_clouds == 0:
            raise ValueError("there is no cloud to measure; the model is right on none of them.")
        return chosen

    def _warn_if_cut_differently(self, other: "Explanation") -> None:
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
