"""How much an explanation depends on what "a region" and "absent" were taken to mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone

from pointinteract.explanation._absence import ABSENCES, POINT_ABSENCES, TOKEN_ABSENCES
from pointinteract.explanation._agreement import (
    correlation_interval,
    shapley_correlation,
    strongest_overlap,
)
from pointinteract.explanation._planning import is_exact
from pointinteract.explanation._regions import PLAYERS
from pointinteract.explanation._result import Explanation
from pointinteract.utils._params import check_int, check_option

if TYPE_CHECKING:
    from pointinteract.plotting import MaskSensitivityDisplay

GIVEN = "given"


class Choice(NamedTuple):
    """What the regions were, and what became of the absent ones."""

    players: str
    absence: str

    def __str__(self) -> str:
        return f"{self.players}, {self.absence}"


@dataclass(frozen=True)
class MaskSensitivity:
    """One model explained with several meanings of "region" and "absent".

    Made by :func:`mask_sensitivity`. The first choice is the one that others are held against.

    Attributes
    ----------
    explanations : dict of Choice to Explanation
        A choice is the pair (players, absence).
    """

    explanations: Mapping[Choice, Explanation]

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices, pairs (players, absence); the first is the reference."""
        return tuple(self.explanations)

    def __repr__(self) -> str:
        first = self.explanations[self.choices[0]]
        return (
            f"<MaskSensitivity of {first.meta.get('model', 'a model')}: {len(self.choices)} "
            f"choices, {first.n_clouds} clouds, {first.n_regions} regions>"
        )

    def to_frame(
        self,
        *,
        bounds: str = "0.3/0.7",
        top: int = 10,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> pd.DataFrame:
        """Tabulate the choices.

        Parameters
        ----------
        bounds : {"0.3/0.7", "thirds", "halves"}, default="0.3/0.7"
            Which orders are low and high.
        top : int, default=10
            How many strongest coalitions of each cloud `overlap` is about.
        confidence, n_bootstraps, random_state
            Of the bootstrap intervals over clouds. One cloud has no interval (NaN).

        Returns
        -------
        frame : DataFrame
            One row for each choice: players, absence; kappa_low and kappa_high, each with the
            ends of its interval (``_from``, ``_to``); change, the mean of \\|v(N) - v(empty)\\|;
            and, against the first choice, shapley_correlation and overlap as in :meth:`pairs`.
        """
        rows = []
        reference = self.choices[0]
        interval = {
            "confidence": confidence,
            "n_bootstraps": n_bootstraps,
            "random_state": random_state,
        }
        for choice, explanation in self.explanations.items():
            row: dict[str, Any] = choice._asdict()
            for name in ("kappa_low", "kappa_high"):
                estimate = getattr(explanation, name)(bounds, **interval)
                row |= {name: estimate.value, f"{name}_from": estimate.low}
                row |= {f"{name}_to": estimate.high}
            values = explanation.values
            row["change"] = float(np.abs(values[:, -1] - values[:, 0]).mean())
            rows.append(row | self._agreement(reference, choice, top))
        return pd.DataFrame(rows)

    def pairs(self, *, top: int = 10) -> pd.DataFrame:
        """Compare every choice with every other.

        Returns
        -------
        frame : DataFrame
            Columns players, absence, players_other, absence_other; shapley_correlation of the
            Shapley values of regions, pooled over clouds (where the players differ, of
            points, each with its share of the value of its region); and overlap, the share of
            the `top` strongest coalitions of a cloud that are the same, averaged over clouds
            (NaN where the players differ; by chance it would be about top / 2^n).
        """
        rows = []
        for one, other in combinations(self.choices, 2):
            names = {"players_other": other.players, "absence_other": other.absence}
            rows.append(one._asdict() | names | self._agreement(one, other, top))
        columns = ["players", "absence", "players_other", "absence_other"]
        return pd.DataFrame(rows, columns=[*columns, "shapley_correlation", "overlap"])

    def correlation_by_order(
        self,
        *,
        confidence: float = 0.95,
        n_bootstraps: int = 1000,
        random_state: int | np.random.RandomState | None = 0,
    ) -> pd.DataFrame:
        """Correlate the interactions I(S) of choices that have the same players.

        Returns
        -------
        frame : DataFrame
            One row for each pair and order: players, absence, absence_other, order,
            correlation (Pearson, over clouds and coalitions of that order) and its interval
            low to high over clouds. Near 1: an effect of that order means the same to both;
            near 0: it is as much about how regions are taken away as about the model. Of very
            few clouds the interval is NaN at high orders: some draws hold a single value.
        """
        frames = []
        for one, other in combinations(self.choices, 2):
            if one.players != other.players:
                continue
            estimate = correlation_interval(
                self.explanations[one].interactions,
                self.explanations[other].interactions,
                confidence=confidence,
                n_bootstraps=n_bootstraps,
                random_state=random_state,
            )
            frame = pd.DataFrame(
                {
                    "players": one.players,
                    "absence": one.absence,
                    "absence_other": other.absence,
                    "order": np.arange(1, len(np.atleast_1d(estimate.value)) + 1),
                    "correlation": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                }
            )
            frames.append(frame)
        if not frames:
            columns = ["players", "absence", "absence_other", "order", "correlation"]
            return pd.DataFrame(columns=[*columns, "low", "high"])
        return pd.concat(frames, ignore_index=True)

    def plot(self, axes: Any = None) -> "MaskSensitivityDisplay":
        """Draw low and high strength by choice, and the correlation with the first by order.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, optional
            A new figure is made if left out.
        """
        from pointinteract.plotting import MaskSensitivityDisplay

        return MaskSensitivityDisplay.from_sensitivity(self).plot(axes)

    def _agreement(self, one: Choice, other: Choice, top: int) -> dict[str, float]:
        first, second = self.explanations[one], self.explanations[other]
        same_players = one.players == other.players
        overlap = strongest_overlap(first, second, top) if same_players else np.nan
        correlation = shapley_correlation(first, second, of_points=not same_players)
        return {"shapley_correlation": correlation, "overlap": overlap}


def mask_sensitivity(
    explainer: Any,
    model: Any,
    X: np.ndarray | Sequence[np.ndarray],
    y: Sequence[Any] | None = None,
    *,
    absences: Sequence[str] = POINT_ABSENCES,
    players: Sequence[str] | None = None,
    regions: Sequence[Any] | None = None,
) -> MaskSensitivity:
    """Explain a model with several meanings of "region" and "absent", to see what depends on it.

    There is no neutral way to take a part of a cloud away. An effect worth telling others of
    is one that does not go when another way is chosen.

    Parameters
    ----------
    explainer : InteractionExplainer
        All its other parameters are kept; it is not changed itself. Its ``background`` serves
        the choices that need one. A file named by its ``resume`` becomes one file for each
        choice, beside it.
    model, X, y
        As in :meth:`InteractionExplainer.explain`.
    absences : sequence of str, default=("center", "region", "remove", "background", "resample")
        Ways of being absent, the reference first. ``"token_drop"`` and ``"token_baseline"``
        are tried with ``players="patches"`` only.
    players : sequence of str, optional
        Ways of cutting, the reference first; by default that of the explainer. Every way of
        cutting is tried with every way of being absent: the time is that of as many
        explanations.
    regions : array-like of int, shape (n_clouds, n_points), or list, optional
        Regions given for all choices, instead of cutting.

    Returns
    -------
    sensitivity : MaskSensitivity

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.explanation import InteractionExplainer, mask_sensitivity
    >>> X = np.random.default_rng(0).normal(size=(4, 32, 3))
    >>> def widest(points):
    ...     return np.abs(points).max(axis=1)  # one "logit" for each axis
    >>> explainer = InteractionExplainer(n_regions=4)
    >>> mask_sensitivity(explainer, widest, X, absences=("center", "remove"))
    <MaskSensitivity of widest: 2 choices, 4 clouds, 4 regions>
    """
    if not callable(getattr(explainer, "explain", None)):
        raise TypeError(
            f"explainer must be an InteractionExplainer, got {type(explainer).__name__}; the "
            "model comes second."
        )
    choices = _choices(explainer, absences, players, regions is not None)
    check_int("n_regions", explainer.n_regions)
    if not is_exact(explainer):
        raise ValueError(
            "mask_sensitivity compares the scores of all coalitions; lower n_regions (now "
            f"{explainer.n_regions}) or raise budget (now {explainer.budget})."
        )
    explanations = {}
    for choice in choices:
        changed = clone(explainer).set_params(**_changes(explainer, choice))
        try:
            explanation = changed.explain(model, X, y, regions=regions)
        except Exception as error:
            error.add_note(
                f"This came up with players={choice.players!r}, absence={choice.absence!r}."
            )
            raise
        explanations[choice] = explanation
    return MaskSensitivity(explanations)


def _choices(
    explainer: Any, absences: Sequence[str], players: Sequence[str] | None, given: bool
) -> list[Choice]:
    """List the pairs that make sense, the reference first."""
    absences = (absences,) if isinstance(absences, str) else tuple(absences)
    for absence in absences:
        check_option("each of absences", absence, ABSENCES)
    if given:
        if players is not None:
            raise ValueError("give either players or regions: given regions are not cut.")
        players = (GIVEN,)
    elif players is None:
        players = (explainer.players,)
    else:
        players = (players,) if isinstance(players, str) else tuple(players)
        for name in players:
            check_option("each of players", name, PLAYERS)
    choices = [
        Choice(name, absence)
        for name in players
        for absence in absences
        if absence not in TOKEN_ABSENCES or name == "patches"
    ]
    choices = list(dict.fromkeys(choices))
    if len(choices) < 2:
        raise ValueError(
            f"there is nothing to compare: absences={absences} and players={players} make "
            f'{len(choices)} choice; give at least two (tokens need players="patches").'
        )
    return choices


def _changes(explainer: Any, choice: Choice) -> dict[str, Any]:
    """Parameters in which the explainer of a choice differs from the one given."""
    changes: dict[str, Any] = {"absence": choice.absence}
    if choice.players != GIVEN:
        changes["players"] = choice.players
    if choice.absence != "background":
        changes["background"] = None
    if explainer.resume is not None:
        path = Path(explainer.resume)
        name = f"{path.stem}-{choice.players}-{choice.absence}{path.suffix}"
        changes["resume"] = str(path.with_name(name))
    return changes
