"""Explanation: the measured scores of all coalitions, and everything that follows from them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pointinteract.explanation._indices import Indices
from pointinteract.explanation._measures import Measures
from pointinteract.explanation._regions import check_names, names_from_parts
from pointinteract.explanation._saving import read_fields, write_fields
from pointinteract.explanation._terms import all_terms_frame, sampled_terms_frame
from pointinteract.games.coalitions import (
    coalition_index,
    coalition_members,
    coalition_orders,
)
from pointinteract.utils._params import check_int, check_option

if TYPE_CHECKING:
    from matplotlib.axes import Axes


PLOT_KINDS = ("orders", "classes", "sparsity", "regions", "upset", "heat")
# Those of one cloud; the terms of a sampled explanation are enough for them.
KINDS_OF_ONE_CLOUD = ("regions", "upset", "heat")
# Those of one picture, which can be part of a larger figure.
KINDS_WITH_AX = ("orders", "classes", "heat")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Measures, Indices):
    """Scores of all coalitions of regions of some clouds, by one model.

    Indexing gives an explanation of fewer clouds: ``explanation[3]``, ``explanation[:5]``,
    ``explanation[explanation.correct]``. A number or a slice shares memory with the whole.

    With more regions than can be enumerated only chosen coalitions are scored. Such a
    *sampled* explanation (`is_exact` is False) knows the interactions of order 1, and of 2
    where the budget allows, exactly; of higher ones it reports those that are stable.

    Attributes
    ----------
    values : ndarray of float64, shape (n_clouds, 2^n_regions)
        Score of each coalition; bit i of a column's number says whether region i is present.
        Of a sampled explanation (n_clouds, n_coalitions), in the order of `coalitions`. The
        first is always the score of nothing, the last that of everything.
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
    answers : ndarray of shape (n_clouds, n_coalitions, n_classes), or None
        The model's answers, if they were kept; :meth:`rescore` makes other scores of them.
    coalitions : ndarray of bool, shape (n_coalitions, n_regions), or None
        Of a sampled explanation: the coalitions that were scored, the same for all clouds.
    surrogates : tuple of SparseFourier, or None
        Of a sampled explanation: the Fourier terms recovered for each cloud.
    r2 : ndarray of float64, shape (n_clouds,), or None
        Of a sampled explanation: share of the variance of held-out scores that the surrogate
        explains.
    noise_by_order : ndarray of float64, shape (n_regions,), or None
        Error of the interactions of each order, where the model ran in lower precision.
    """

    def __repr__(self) -> str:
        score = self.meta.get("score", "score")
        target = self.meta.get("target")
        of = f" of the {target} class" if target in ("true", "predicted") else f" of {target}"
        sampled = "" if self.is_exact else f", {self.values.shape[1]} coalitions sampled"
        return (
            f"<Explanation of {self.meta.get('model', 'a model')}: {self.n_clouds} clouds, "
            f"{self.n_regions} regions, {score}{'' if self.targets is None else of}{sampled}>"
        )

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
        """Return the numbers of the strongest coalitions of a cloud, by \\|I\\|, descending.

        Of a sampled explanation, those among its exact and stable ones; the numbers are then
        Python integers in an array of objects, since they can have as many bits as regions.
        """
        top = check_int("top", top)
        if not self.is_exact:
            terms = self.terms[cloud]
            strength = np.where(terms.orders >= min_order, np.abs(terms.effects), -1.0)
            rows = np.argsort(-strength, kind="stable")[:top]
            rows = rows[strength[rows] >= 0]
            numbers = np.empty(len(rows), dtype=object)
            numbers[:] = [coalition_index(row[row >= 0]) for row in terms.members[rows]]
            return numbers
        candidates = np.flatnonzero(coalition_orders(self.n_regions) >= max(1, min_order))
        strength = np.abs(self.interactions[cloud, candidates])
        return candidates[np.argsort(-strength, kind="stable")[:top]]

    def effects(self, cloud: int, coalitions: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the AND interactions of some coalitions of a cloud, by number.

        Of a sampled explanation, those that are neither exact nor stable are NaN.
        """
        if self.is_exact:
            return self.interactions[cloud, np.asarray(coalitions, dtype=np.int64)]
        terms = self.terms[cloud]
        known = {
            coalition_index(row[row >= 0]): effect
            for row, effect in zip(terms.members, terms.effects, strict=True)
        }
        return np.array([known.get(int(number), np.nan) for number in coalitions])

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
            value (score with only these regions) and interaction. Of a sampled explanation:
            cloud, order, members, interaction, error and basis, ``"exact"`` or ``"stable"``.
        """
        if not self.is_exact:
            return sampled_terms_frame(self.terms, top)
        rows = [
            np.arange(self.values.shape[1]) if top is None else self.strongest(cloud, top)
            for cloud in range(self.n_clouds)
        ]
        return all_terms_frame(self.values, self.interactions, rows)

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
        return cls(**read_fields(path))

    def plot(
        self,
        kind: str = "orders",
        *,
        cloud: int = 0,
        ax: "Axes | None" = None,
    ) -> Any:
        """Draw with matplotlib.

        Parameters
        ----------
        kind : str, default="orders"
            Of all clouds, where all coalitions were scored: ``"orders"``, strength by order
            beside what noise would give; ``"classes"``, the same in a row for each class;
            ``"sparsity"``, how fast interactions fall off, and how few rebuild the scores. Of
            one cloud, also of a sampled explanation: ``"regions"``, its strongest interactions
            drawn on it; ``"upset"``, these as bars with their members below; ``"heat"``, the
            cloud colored by what each region brings.
        cloud : int, default=0
            For the kinds of one cloud.
        ax : matplotlib Axes, optional
            For ``"orders"``, ``"classes"`` and ``"heat"``; the others make figures of their own.

        Returns
        -------
        display : object with ``figure_``, and ``ax_`` or ``axes_``
            One of the displays of :mod:`pointinteract.plotting`, which have more to choose.
        """
        from pointinteract import plotting

        check_option("kind", kind, PLOT_KINDS)
        if ax is not None and kind not in KINDS_WITH_AX:
            raise ValueError(
                f"kind={kind!r} makes a figure of its own; leave ax out, or draw one of "
                f"{', '.join(KINDS_WITH_AX)} into it."
            )
        if kind in KINDS_OF_ONE_CLOUD:
            cloud = check_int("cloud", cloud, minimum=-self.n_clouds, maximum=self.n_clouds - 1)
        else:
            self._need_all(f"drawing {kind!r}")
        if kind == "orders":
            return plotting.StrengthByOrderDisplay.from_explanation(self).plot(ax=ax)
        if kind == "classes":
            return plotting.OrderByClassDisplay.from_explanation(self).plot(ax=ax)
        if kind == "sparsity":
            return plotting.SparsityDisplay.from_explanation(self).plot()
        if kind == "regions":
            return plotting.RegionInteractionDisplay.from_explanation(self, cloud=cloud).plot()
        if kind == "upset":
            return plotting.UpsetDisplay.from_explanation(self, cloud=cloud).plot()
        return plotting.RegionHeatDisplay.from_explanation(self, cloud=cloud).plot(ax=ax)

    def plot_3d(self, cloud: int = 0, *, top: int = 12) -> Any:
        """Return an interactive plotly figure of one cloud and its strongest interactions."""
        from pointinteract.plotting import interactive_regions

        return interactive_regions(self, cloud=cloud, top=top)
