"""Controls without which strengths by order are easily misread: noise, and scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from sklearn.utils import check_random_state

from pointinteract.exceptions import CloudError
from pointinteract.games.harsanyi import moebius_transform
from pointinteract.games.orders import kappa, mean_strength, noise_floor
from pointinteract.ops.grouping import gather
from pointinteract.ops.regions import assign_regions, region_centers

if TYPE_CHECKING:
    from pointinteract.explanation._result import Explanation

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


def temperature_frame(values: np.ndarray, temperatures: Sequence[float]) -> pd.DataFrame:
    """Tabulate kappa by order for values (n_temperatures, n_clouds, 2^n)."""
    strength = mean_strength(moebius_transform(values)).mean(axis=1)
    frame = pd.DataFrame({"order": np.arange(1, strength.shape[1] + 1)})
    for temperature, row in zip(temperatures, kappa(strength), strict=True):
        frame[f"T={temperature:g}"] = row
    return frame
