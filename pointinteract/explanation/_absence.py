"""What it means that a region is absent: seven answers behind one interface."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.ops.regions import (
    absent_points,
    keep_points,
    merge_points,
    resample_index,
    sphere_background,
    spread_background,
)
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import make_generator

# Absences that happen among the points of a cloud, and those that happen inside a network.
POINT_ABSENCES = ("center", "region", "remove", "background", "resample")
TOKEN_ABSENCES = ("token_drop", "token_baseline")
ABSENCES = POINT_ABSENCES + TOKEN_ABSENCES

_FIXED = ("center", "region", "background")
# Number of the stream of random numbers, so that other uses of the seed stay independent.
_STREAM = 71


class Absence:
    """The masked clouds of one cloud, for one meaning of "absent".

    Made by :func:`make_absence`. All methods take coalitions as bool (S, n_regions) and work
    where the points live.

    Attributes
    ----------
    name : str
    points : Tensor of shape (N, C)
    regions : int64 Tensor of shape (N,)
    n_regions : int
    center : Tensor of shape (1, C)
        The mean of the cloud: what is left where nothing is.
    replacement : Tensor of shape (N, C) or None
        What each point becomes when masked, where that does not depend on the coalition.
    constant : bool
        True when every masked cloud has N points.
    """

    def __init__(
        self,
        name: str,
        points: Tensor,
        regions: Tensor,
        n_regions: int,
        *,
        replacement: Tensor | None = None,
        draws: Tensor | None = None,
    ) -> None:
        self.name = name
        self.points = points
        self.regions = regions
        self.n_regions = n_regions
        self.center = points.mean(dim=0, keepdim=True)
        self.replacement = replacement
        self.constant = name in _FIXED or name == "resample"
        self._draws = draws
        self._sizes = torch.bincount(regions, minlength=n_regions)
        self._absent, self._members = self._merge_replacements()

    def masked(self, keep: Tensor) -> Tensor:
        """Make the masked clouds, bool (S, n_regions) to (S, N, C).

        Raises
        ------
        ValueError
            For absences that do not leave N points, see `constant`.
        """
        self._check_keep(keep)
        if not self.constant:
            raise ValueError(
                f"absence={self.name!r} does not leave {len(self.points)} points to every "
                "coalition; use batches or unique."
            )
        kept = keep[:, self.regions]
        if self.replacement is not None:
            return torch.where(kept[..., None], self.points, self.replacement)
        assert self._draws is not None
        index = resample_index(kept, self._draws)
        table = torch.cat([self.points, self.center])
        return table.index_select(0, index.view(-1)).view(*index.shape, -1)

    def batches(self, keep: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield masked clouds in batches that a network can take.

        Yields
        ------
        rows : int64 Tensor of shape (s,)
            Which rows of `keep` these are. Together, each row comes once; in order, unless
            masked clouds differ in size: then coalitions of equal size come together, so
            regions of equal size make few and full batches.
        points : Tensor of shape (s, M, C), s at most `batch_size`
        """
        self._check_keep(keep)
        check_int("batch_size", batch_size)
        rows = torch.arange(len(keep), device=keep.device)
        if self.constant:
            for part in rows.split(batch_size):
                yield part, self.masked(keep[part])
            return
        n_kept = self.n_kept(keep)
        for size in torch.unique(n_kept).tolist():
            for part in rows[n_kept == size].split(batch_size):
                if size == 0:
                    yield part, self.center.expand(len(part), 1, -1)
                else:
                    yield part, keep_points(self.points, keep[part][:, self.regions])

    def unique(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Write the masked clouds as their different points with multiplicities.

        Returns
        -------
        points : Tensor of shape (S, M, C)
            Kept points in their order, then what absent ones became, then padding. M is the
            largest number of different points in this batch: pass coalitions sorted by
            :meth:`n_kept` for little padding.
        counts : int64 Tensor of shape (S, M)
            0 is padding.
        """
        self._check_keep(keep)
        kept = keep[:, self.regions]
        nothing = ~keep.any(dim=1)
        if self._absent is not None:
            # In float64, where a product of matrices is exact and exists on every device.
            counts = ((~keep).double() @ self._members).long()
            return merge_points(self.points, kept, self._absent, counts)
        if self.name == "resample":
            assert self._draws is not None
            index = resample_index(kept, self._draws)
            times = torch.zeros(len(keep), len(self.points) + 1, dtype=torch.int64)
            times = times.to(index.device).scatter_add_(1, index, torch.ones_like(index))
            return merge_points(self.points, times[:, :-1], self.center, times[:, -1:])
        return merge_points(self.points, kept, self.center, nothing[:, None].long())

    def n_kept(self, keep: Tensor) -> Tensor:
        """Count the points that each coalition keeps, (S, n_regions) to int64 (S,)."""
        return (keep.double() @ self._sizes.double()).long()

    def _merge_replacements(self) -> tuple[Tensor | None, Tensor]:
        """Different replacements (A, C), and how many each region sends to each, (R, A)."""
        if self.replacement is None:
            return None, self._sizes[:, None].double()
        if self.name == "center":
            return self.replacement[:1], self._sizes[:, None].double()
        absent, which = torch.unique(self.replacement, dim=0, return_inverse=True)
        members = absent.new_zeros(self.n_regions, len(absent), dtype=torch.float64)
        ones = torch.ones_like(which, dtype=torch.float64)
        return absent, members.index_put_((self.regions, which), ones, accumulate=True)

    def _check_keep(self, keep: Tensor) -> None:
        if self.name in TOKEN_ABSENCES:
            raise ValueError(
                f"absence={self.name!r} happens among the tokens of a network, so there is no "
                'masked cloud; it needs players="patches" and a network that declares PatchTokens.'
            )
        if keep.ndim != 2 or keep.dtype != torch.bool or keep.shape[1] != self.n_regions:
            raise ValueError(
                f"keep must be bool (S, {self.n_regions}), got {keep.dtype} of shape "
                f"{tuple(keep.shape)}."
            )


def make_absence(
    name: str,
    points: Tensor,
    regions: Tensor,
    n_regions: int,
    *,
    background: Any = None,
    seed: int = 0,
    sample: int = 0,
) -> Absence:
    """Prepare the masked clouds of one cloud.

    Parameters
    ----------
    name : str
        ``"center"``: masked points go to the mean of the cloud. ``"region"``: to the mean of
        their region. ``"remove"``: they are gone; of nothing, one point at the mean of the
        cloud is left. ``"background"``: each becomes a point of `background`. ``"resample"``:
        each becomes a copy of some kept point, the same ones for the same coalition and seed;
        of nothing, copies of the mean are left. ``"token_drop"`` and ``"token_baseline"``
        happen inside networks that make tokens of patches.
    points : Tensor of shape (N, C)
    regions : int64 Tensor of shape (N,)
    n_regions : int
    background : array-like of shape (m, C), optional
        For ``"background"``; by default points on a sphere as large as the cloud.
    seed, sample : int, default=0
        What ``"background"`` and ``"resample"`` draw from: a seed, and the number of the cloud.
    """
    check_option("absence", name, ABSENCES)
    generator = make_generator(seed, _STREAM, sample)
    replacement = draws = None
    if name == "background":
        if background is None:
            background = sphere_background(points[None], generator=generator)[0]
        else:
            background = torch.as_tensor(np.asarray(background)).to(points)
            background = spread_background(background, len(points), generator=generator)
    if name in _FIXED:
        replacement = absent_points(
            points[None], regions[None], n_regions, absence=name, background=background
        )[0]
    if name == "resample":
        draws = torch.rand(len(points), generator=generator, dtype=torch.float64)
        draws = draws.to(points.device)
    return Absence(name, points, regions, n_regions, replacement=replacement, draws=draws)


def check_background(
    background: Any, n_clouds: int, n_channels: int
) -> tuple[np.ndarray | None, ...]:
    """Return one background for each cloud, from None, one array (m, C) or a list of them.

    Raises
    ------
    CloudError
        If a background has other channels than the clouds, no point, or is not finite.
    """
    if background is None:
        return (None,) * n_clouds
    one_for_all = isinstance(background, np.ndarray | Tensor) and background.ndim == 2
    given: Sequence[Any] = [background] * n_clouds if one_for_all else list(background)
    if len(given) != n_clouds:
        raise CloudError(
            f"background must be one cloud (n_points, {n_channels}) or a list of one for each of "
            f"the {n_clouds} clouds, got {len(given)} of them."
        )
    checked = []
    for number, cloud in enumerate(given):
        array = np.asarray(cloud.detach().cpu() if isinstance(cloud, Tensor) else cloud)
        which = "background" if one_for_all else f"background {number}"
        if array.ndim != 2 or array.shape[1] != n_channels or len(array) == 0:
            raise CloudError(
                f"{which} must have shape (n_points, {n_channels}), the channels of the clouds, "
                f"with at least one point; got {array.shape}."
            )
        if array.dtype.kind not in "fiu":
            raise CloudError(f"{which} must hold numbers, got dtype {array.dtype}.")
        n_bad = int((~np.isfinite(array)).any(axis=1).sum())
        if n_bad:
            raise CloudError(f"{which} has {n_bad} of {len(array)} points that are not finite.")
        checked.append(array)
    return tuple(checked)
