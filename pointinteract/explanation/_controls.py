"""Controls without which strengths by order are easily misread: noise, and scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from pointinteract.exceptions import CloudError
from pointinteract.explanation._absence import POINT_ABSENCES
from pointinteract.explanation._game import check_clouds
from pointinteract.explanation._models import CloudModel
from pointinteract.explanation._planning import cut_for, is_exact, make_plan
from pointinteract.explanation._running import Run
from pointinteract.explanation._targets import encode_labels
from pointinteract.games.harsanyi import moebius_transform
from pointinteract.games.orders import kappa, mean_strength, noise_floor
from pointinteract.ops.grouping import gather
from pointinteract.ops.regions import assign_regions, region_centers
from pointinteract.utils._params import check_real

if TYPE_CHECKING:
    from pointinteract.explanation._result import Explanation
    from pointinteract.explanation._sensitivity import MaskSensitivity

Sample = tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]


@dataclass(frozen=True)
class NoiseControl:
    """Two explanations of the same surfaces, with points drawn anew.

    Attributes
    ----------
    first, second : Explanation
        With the same region centers, so that region i of one is region i of the other.
    """

    first: "Explanation"
    second: "Explanation"

    def to_frame(self) -> pd.DataFrame:
        """Compare by order.

        Returns
        -------
        frame : DataFrame
            Columns order, kappa and kappa_resampled, difference with its interval low to high,
            correlation of I(S) between the two samples (near 1: the effects belong to the
            shape; near 0: they belong to the points that happened to be drawn), and
            noise_floor, the kappa of pure noise.
        """
        frame = self.first.compare(self.second)
        frame = frame.rename(columns={"strength": "kappa", "strength_other": "kappa_resampled"})
        frame["noise_floor"] = noise_floor(self.first.n_regions)
        return frame


class Controls(BaseEstimator):
    """The controlling methods of :class:`~pointinteract.explanation.InteractionExplainer`."""

    n_regions: int
    players: str
    start: str
    budget: int | None
    random_state: int | np.random.RandomState | None

    def noise_control(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        X_resampled: np.ndarray | Sequence[np.ndarray] | None = None,
    ) -> NoiseControl:
        """Explain two samples of the same surfaces, to see what survives.

        An effect that belongs to the shape comes back when its points are drawn anew; noise
        does not. Noise also grows with the order, so it looks like strong high orders.

        Parameters
        ----------
        model, X, y
            As in :meth:`explain`.
        X_resampled : like X, optional
            The same surfaces with points drawn anew. When left out, the points of each cloud
            are split at random into two halves, every region in both; the model must then
            cope with half the points.

        Returns
        -------
        control : NoiseControl
            Both explanations and, by order, their correlation. Both have the same region
            centers, those found on `X`.
        """
        adapted, clouds = self._start(model, X)
        cut = cut_for(self, adapted, clouds)
        if X_resampled is None:
            pairs = halve_clouds(clouds, cut, self.random_state)
        else:
            second = adapted.prepare(check_clouds(X_resampled))
            centers = (self.n_regions, self.start) if self.players == "fps" else None
            pairs = (
                (clouds, cut),
                (second, regions_of_second_sample(clouds, cut, second, centers)),
            )
        first = self._explain(adapted, *pairs[0], y)
        again = self._explain(adapted, *pairs[1], y, part="second")
        return NoiseControl(first, again)

    def scale_control(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        temperatures: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> pd.DataFrame:
        """Measure kappa again with all logits divided by each temperature.

        Training alone can scale logits up. A difference between models that a temperature
        also produces says nothing about structure. For ``score="logit"`` kappa does not
        change at all.

        Parameters
        ----------
        model, X, y
            As in :meth:`explain`.
        temperatures : sequence of float above 0, default=(0.5, 1.0, 2.0)

        Returns
        -------
        frame : DataFrame
            Columns order and one per temperature.
        """
        temperatures = check_temperatures(temperatures)
        adapted, clouds = self._start(model, X)
        if not is_exact(self):
            raise ValueError(
                "scale_control needs the scores of all coalitions; lower n_regions (now "
                f"{self.n_regions}) or raise budget (now {self.budget})."
            )
        cut = cut_for(self, adapted, clouds)
        labels = None if y is None else encode_labels(y, len(clouds), adapted.classes)
        plan = make_plan(self, clouds, temperatures, part="scale")
        outcome = Run(plan, adapted, clouds, cut, labels).outcome()
        return temperature_frame(outcome.values, temperatures)

    def mask_sensitivity(
        self,
        model: Any,
        X: np.ndarray | Sequence[np.ndarray],
        y: Sequence[Any] | None = None,
        *,
        absences: Sequence[str] = POINT_ABSENCES,
        players: Sequence[str] | None = None,
        regions: Sequence[Any] | None = None,
    ) -> "MaskSensitivity":
        """Explain a model with several meanings of "absent", to see what depends on them.

        Parameters
        ----------
        model, X, y, regions
            As in :meth:`explain`.
        absences, players : sequence of str
            See :func:`mask_sensitivity`, which does the work.

        Returns
        -------
        sensitivity : MaskSensitivity
        """
        from pointinteract.explanation._sensitivity import mask_sensitivity

        return mask_sensitivity(
            self, model, X, y, absences=absences, players=players, regions=regions
        )

    def _start(self, model: Any, X: Any) -> tuple[CloudModel, tuple[np.ndarray, ...]]:
        raise NotImplementedError

    def _explain(
        self,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        y: Sequence[Any] | None,
        names: tuple[tuple[str, ...], ...] | None = None,
        part: str | None = None,
    ) -> "Explanation":
        raise NotImplementedError


def halve_clouds(
    clouds: tuple[np.ndarray, ...],
    regions: tuple[np.ndarray, ...],
    random_state: int | np.random.RandomState | None,
) -> tuple[Sample, Sample]:
    """Split the points of each cloud at random into halves, region by region.

    Every region is in both halves; its odd point goes to either, its only point to both.
    """
    rng = check_random_state(random_state)
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for ids in regions:
        mine: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for region in np.unique(ids):
            members = rng.permutation(np.flatnonzero(ids == region))
            cut = len(members) // 2 + (len(members) % 2) * rng.randint(2)
            parts = (members, members) if len(members) == 1 else (members[:cut], members[cut:])
            for side, part in zip(mine, parts, strict=True):
                side.append(part)
        for half, side in zip(halves, mine, strict=True):
            half.append(np.sort(np.concatenate(side)))
    first, second = (
        (
            tuple(cloud[rows] for cloud, rows in zip(clouds, half, strict=True)),
            tuple(ids[rows] for ids, rows in zip(regions, half, strict=True)),
        )
        for half in halves
    )
    return first, second


def regions_of_second_sample(
    clouds: tuple[np.ndarray, ...],
    regions: tuple[np.ndarray, ...],
    second: tuple[np.ndarray, ...],
    centers: tuple[int, str] | None,
) -> tuple[np.ndarray, ...]:
    """Cut a second sample of the same surfaces as the first was cut.

    Around the region centers of the first, where `centers` says how many and from which start;
    None gives each point the region of the nearest point of the first sample.
    """
    if len(second) != len(clouds):
        raise CloudError(f"X_resampled holds {len(second)} clouds, X holds {len(clouds)}.")
    found = []
    for number, (cloud, cut, other) in enumerate(zip(clouds, regions, second, strict=True)):
        points = torch.from_numpy(cloud)[None]
        if centers is None:
            known, names = points, cut
        else:
            n_regions, start = centers
            known = gather(points, region_centers(points, n_regions, start=start))
            names = np.arange(n_regions)
        nearest = assign_regions(torch.from_numpy(other).to(points.dtype)[None], known)[0]
        ids = names[nearest.numpy()]
        empty = sorted(set(np.unique(cut).tolist()) - set(np.unique(ids).tolist()))
        if empty:
            raise CloudError(
                f"cloud {number} of X_resampled has no point in the regions {empty} of cloud "
                f"{number} of X; are they samples of the same surface, in the same position?"
            )
        found.append(ids)
    return tuple(found)


def check_temperatures(temperatures: Sequence[float]) -> tuple[float, ...]:
    """Return temperatures as numbers above zero, or raise."""
    if np.ndim(temperatures) != 1 or len(temperatures) == 0:
        raise ValueError(
            f"temperatures must be a sequence of at least one number, got {temperatures!r}."
        )
    return tuple(
        check_real("each of temperatures", each, open_minimum=True) for each in temperatures
    )


def temperature_frame(values: np.ndarray, temperatures: Sequence[float]) -> pd.DataFrame:
    """Tabulate kappa by order for values (n_temperatures, n_clouds, 2^n)."""
    strength = mean_strength(moebius_transform(values)).mean(axis=1)
    frame = pd.DataFrame({"order": np.arange(1, strength.shape[1] + 1)})
    for temperature, row in zip(temperatures, kappa(strength), strict=True):
        frame[f"T={temperature:g}"] = row
    return frame
