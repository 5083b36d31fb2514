"""What follows from the scores of an explanation without asking the model again."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from pointinteract.explanation._record import Record
from pointinteract.explanation._sampled import build_sampled_fields
from pointinteract.explanation._scores import SCORES, find_score, score_name
from pointinteract.explanation._targets import resolve_target, target_finder
from pointinteract.games.andor import AndOrInteractions, and_or_interactions
from pointinteract.games.coalitions import coalition_index
from pointinteract.games.exchange import to_shapiq
from pointinteract.games.harsanyi import or_interactions
from pointinteract.games.values import (
    INDICES,
    banzhaf_values,
    interaction_index,
    shapley_values,
)
from pointinteract.utils._params import check_int, check_option

if TYPE_CHECKING:
    from shapiq import InteractionValues

Score = str | Callable[[np.ndarray, int], np.ndarray]

SINGLE = ("Shapley", "Banzhaf")


class Indices(Record):
    """The converting methods of :class:`~pointinteract.explanation.Explanation`."""

    @property
    def or_interactions(self) -> np.ndarray:
        """OR interaction of each coalition, (n_clouds, 2^n_regions).

        What arrives as soon as any of the regions is there.
        """
        self._need_all("OR interactions")
        return or_interactions(self.values)

    def and_or(self, *, tau: float = 0.04) -> AndOrInteractions:
        """Split the scores into the fewest AND and OR interactions.

        Parameters
        ----------
        tau : float, default=0.04
            Noise allowed on each score, as a share of \\|v(N) - v(empty)\\|; see
            :func:`~pointinteract.games.and_or_interactions`.

        Returns
        -------
        split : AndOrInteractions
            Arrays of shape (n_clouds, 2^n_regions).
        """
        self._need_all("the AND-OR split")
        return and_or_interactions(self.values, tau=tau)

    def to_index(self, index: str = "Shapley", order: int | None = None) -> pd.DataFrame:
        """Convert to another index.

        Parameters
        ----------
        index : str, default="Shapley"
            ``"Shapley"`` or ``"Banzhaf"``: one value for each region. Or one of
            :data:`~pointinteract.games.values.INDICES`, such as ``"SII"``, ``"k-SII"``,
            ``"STII"``, ``"FSII"``, ``"Moebius"``, ``"Co-Moebius"``, ``"Fourier"``.
        order : int, optional
            Highest order; see :func:`~pointinteract.games.interaction_index` for the default.

        Returns
        -------
        frame : DataFrame
            Columns cloud, members (tuple of region numbers), order and value; without the
            empty coalition. A sampled explanation answers Shapley, Banzhaf and Fourier, all
            of its surrogate.
        """
        check_option("index", index, (*SINGLE, *INDICES))
        if order is not None:
            order = check_int("order", order, maximum=self.n_regions)
        if not self.is_exact:
            return self._index_of_surrogates(index, order)
        if index in SINGLE:
            convert = shapley_values if index == "Shapley" else banzhaf_values
            numbers = convert(self.interactions, from_moebius=True)
            sets: list[tuple[int, ...]] = [(region,) for region in range(self.n_regions)]
        else:
            table = interaction_index(self.interactions, index, order=order, from_moebius=True)
            if order is None:
                order = 2 if index in ("k-SII", "STII", "FSII", "FBII") else self.n_regions
            sets = [
                members
                for size in range(1, min(order, self.n_regions) + 1)
                for members in combinations(range(self.n_regions), size)
            ]
            numbers = table[:, [coalition_index(members) for members in sets]]
        return _frame([(cloud, sets, row) for cloud, row in enumerate(numbers)])

    def to_shapiq(
        self, cloud: int = 0, index: str = "Moebius", *, order: int | None = None
    ) -> "InteractionValues":
        """Hand one cloud over to shapiq, for its plots.

        Parameters
        ----------
        cloud : int, default=0
        index : str, default="Moebius"
            As in :meth:`to_index`, without Shapley and Banzhaf.
        order : int, optional
            Highest order handed over.

        Returns
        -------
        interaction_values : shapiq.InteractionValues
        """
        self._need_all("handing over to shapiq")
        check_option("index", index, INDICES)
        effects = self[cloud].interactions[0]
        table = interaction_index(effects, index, order=order, from_moebius=True)
        if order is None and index in ("k-SII", "STII", "FSII", "FBII"):
            order = min(2, self.n_regions)
        return to_shapiq(table, index, order=order)

    def rescore(self, score: Score, target: Any = "auto") -> Self:
        """Explain another score, or another class, from the answers that were kept.

        Parameters
        ----------
        score : str or callable
            As the explainer's parameter.
        target : "auto", "true", "predicted" or a class label, default="auto"

        Returns
        -------
        explanation : Explanation
            The same clouds and answers with new values and targets. No model is asked.
        """
        answers = self._kept_answers()
        function = find_score(score)
        find = target_finder(target, self.labels, self.classes)
        n_columns = answers.shape[-1]
        predicted = answers[:, -1].argmax(axis=-1).astype(np.int64)
        targets = np.array(
            [find(cloud, int(predicted[cloud]), n_columns) for cloud in range(self.n_clouds)],
            dtype=np.int64,
        )
        values = np.empty(answers.shape[:2])
        for cloud, column in enumerate(targets):
            values[cloud] = function(answers[cloud].astype(np.float64), int(column))
        which = resolve_target(target, self.labels)
        meta = {
            **self.meta,
            "score": score_name(score),
            "target": which if isinstance(which, str) else str(which),
        }
        # The noise was measured of the other score.
        meta.pop("noise_by_order", None)
        more = {} if self.coalitions is None else build_sampled_fields(self.coalitions, values)
        return replace(
            self,
            values=values,
            targets=targets,
            predicted=predicted,
            noise_by_order=None,
            meta=meta,
            **more,
        )

    def class_values(self, score: Score | None = None) -> np.ndarray:
        """Return the score of every class for every coalition.

        Parameters
        ----------
        score : str or callable, optional
            As the explainer's parameter; None takes the explained one.

        Returns
        -------
        values : ndarray of float64, shape (n_clouds, n_classes, n_coalitions)
            Ready for the transforms of :mod:`pointinteract.games`, which batch over all but
            the last axis.
        """
        answers = self._kept_answers()
        if score is None:
            score = self.meta.get("score", "log_odds")
            if score not in SCORES:
                raise ValueError(
                    f"the explained score, {score!r}, was a function of the user's; pass it as "
                    "score."
                )
        function = find_score(score)
        values = np.empty((len(answers), answers.shape[2], answers.shape[1]))
        for cloud, table in enumerate(answers):
            logits = table.astype(np.float64)
            for column in range(answers.shape[2]):
                values[cloud, column] = function(logits, column)
        return values

    def _kept_answers(self) -> np.ndarray:
        if self.answers is None:
            raise ValueError(
                "the model's answers were not kept; explain with "
                "InteractionExplainer(keep_answers=True) to score them again."
            )
        if self.answers.ndim != 3:
            raise ValueError(
                f"{self.meta.get('model', 'the model')} answers one number for each cloud, which "
                "is the score itself; there are no classes to score again."
            )
        return self.answers

    def _index_of_surrogates(self, index: str, order: int | None) -> pd.DataFrame:
        rows: list[tuple[int, list[tuple[int, ...]], np.ndarray]] = []
        for cloud, surrogate in enumerate(self.surrogates or ()):
            if index == "Fourier":
                sizes = surrogate.orders
                chosen = (sizes > 0) & (sizes <= (self.n_regions if order is None else order))
                sets = [row for row, kept in zip(surrogate.sets(), chosen, strict=True) if kept]
                rows.append((cloud, sets, surrogate.coefficients[chosen]))
            elif index in SINGLE:
                is_shapley = index == "Shapley"
                convert = surrogate.shapley_values if is_shapley else surrogate.banzhaf_values
                rows.append((cloud, [(region,) for region in range(self.n_regions)], convert()))
            else:
                raise ValueError(
                    f"index {index!r} needs the scores of all coalitions; of a sampled "
                    "explanation there are 'Shapley', 'Banzhaf' and 'Fourier', and AND "
                    "interactions through to_frame(). Use at most 16 regions for the others."
                )
        return _frame(rows)


def _frame(rows: list[tuple[int, list[tuple[int, ...]], np.ndarray]]) -> pd.DataFrame:
    members = [one for _, sets, _ in rows for one in sets]
    return pd.DataFrame(
        {
            "cloud": np.repeat([cloud for cloud, _, _ in rows], [len(s) for _, s, _ in rows]),
            "members": members,
            "order": [len(one) for one in members],
            "value": np.concatenate([row for _, _, row in rows]) if rows else np.empty(0),
        }
    )
