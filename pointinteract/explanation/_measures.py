"""What an explanation can measure: strength by order, sparsity, model against model."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd

from pointinteract.explanation._record import Record
from pointinteract.explanation._tables import (
    NORMALIZATIONS,
    Bootstrap,
    comparison_frame,
    pairwise_frame,
    range_estimate,
    strength_frame,
)
from pointinteract.games.orders import Estimate
from pointinteract.games.sparsity import matching_error, salient, sparsity_curve
from pointinteract.utils._params import check_option

GROUPS = ("class", "correct")


class Measures(Record):
    """The measuring methods of :class:`~pointinteract.explanation.Explanation`."""

    def strength_by_order(
        self,
        normalize: str = "kappa",
        *,
        group: str | None = None,
        correct_only: bool = False,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> pd.DataFrame:
        """Measure how strong the interactions of each order are.

        Parameters
        ----------
        normalize : str, default="kappa"
            ``"raw"``: mean of \\|I\\| over the coalitions of an order and over clouds.
            ``"kappa"``: that as a share of its sum over orders, so that models of different
            output scale compare. ``"z"``: divided by the mean change of the score from
            nothing to everything. ``"sum"``: as kappa, with sums over coalitions instead of
            means, which weighs middle orders more. ``"cancellation"``: \\|sum of I\\| over the
            sum of \\|I\\|, near 0 where effects of an order cancel. ``"signed"``: sum of I with
            its sign; over all orders they add up to the change of the score.
        group : {"class", "correct"}, optional
            Measure the clouds of every true class (the explained one, where the true ones
            are unknown), or those classified rightly and wrongly, each on their own.
        correct_only : bool, default=False
            Only clouds that the model classifies correctly.
        confidence, n_bootstraps, random_state
            Of the bootstrap interval over clouds. One cloud has no interval (NaN).

        Returns
        -------
        frame : DataFrame
            Columns order (1 to n_regions), strength, low, high; before them the group, named
            class or correct, if one is asked for. A sampled explanation has two more: basis,
            ``"exact"`` or ``"stable"``, and stable, the mean number of effects of a cloud
            behind it. Beyond the exact orders only stable effects are added up, so that
            strength is a lower bound there; orders without any are left out.
        """
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        chosen = self._chosen(correct_only)
        if group is None:
            return strength_frame(chosen, normalize, bootstrap)
        check_option("group", group, GROUPS)
        frames = []
        for name, part in chosen._grouped(group):
            frame = strength_frame(part, normalize, bootstrap)
            frame.insert(0, group, name)
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

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
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        return self._range("low", bounds, normalize, correct_only, bootstrap)

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
        bootstrap = Bootstrap(confidence, n_bootstraps, random_state)
        return self._range("high", bounds, normalize, correct_only, bootstrap)

    def compare(
        self,
        other: Record,
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
        self._need_all("comparing by order")
        other._need_all("comparing by order")
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

    def salient(self, threshold: float = 0.05) -> np.ndarray:
        """Mark the interactions above a share of the strongest of their cloud.

        Returns
        -------
        salient : ndarray of bool, shape (n_clouds, 2^n_regions)
        """
        return salient(self.interactions, threshold=threshold)

    def sparsity_curve(self, *, relative: bool = True) -> np.ndarray:
        """Sort the strengths of each cloud's interactions, the strongest first.

        Parameters
        ----------
        relative : bool, default=True
            Divide by the strongest of the cloud.

        Returns
        -------
        curve : ndarray, shape (n_clouds, 2^n_regions - 1)
        """
        return sparsity_curve(self.interactions, relative=relative)

    def matching_error(self, n_kept: Sequence[int]) -> np.ndarray:
        """Measure how well the k strongest interactions alone rebuild the scores.

        Parameters
        ----------
        n_kept : sequence of int
            The numbers k.

        Returns
        -------
        error : ndarray, shape (n_clouds, len(n_kept))
            Squared error over all coalitions as a share of the squared change from v(empty).
        """
        return matching_error(self.interactions, n_kept=n_kept)

    def pairwise_by_order(self) -> pd.DataFrame:
        """Tabulate I^(m)(i, j), the interaction of two regions in contexts of m others.

        Returns
        -------
        frame : DataFrame
            Columns cloud, order (the size m of the context, 0 to n_regions - 2), first and
            second (regions) and interaction: the mean of v(S + i + j) - v(S + i) - v(S + j)
            + v(S) over all contexts S of m other regions.
        """
        self._need_all("the interaction of pairs by context")
        return pairwise_frame(self.interactions)

    def _range(
        self,
        which: str,
        bounds: str,
        normalize: str,
        correct_only: bool,
        bootstrap: Bootstrap,
    ) -> Estimate:
        check_option("normalize", normalize, tuple(NORMALIZATIONS))
        self._need_all(f"the sum over the {which} orders")
        values = self._chosen(correct_only).values
        return range_estimate(values, which, bounds, normalize, bootstrap)

    def _grouped(self, group: str) -> list[tuple[object, Self]]:
        if group == "correct":
            right = self._known_correct()
            parts: list[tuple[object, np.ndarray]] = [(True, right), (False, ~right)]
        else:
            columns = self.targets if self.labels is None else self.labels
            if columns is None:
                raise ValueError("group='class' needs classes; this model answers one number.")
            parts = [(self.class_name(column), columns == column) for column in np.unique(columns)]
        return [(name, self[chosen]) for name, chosen in parts if chosen.any()]
