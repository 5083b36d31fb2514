"""Networks that pool points which do not see each other: one encoding serves all coalitions.

With R_i the pooled features of region i as it is and A_i those of what region i becomes when
absent, a masked cloud pools to the maximum (or sum) over regions of R_i or A_i. Tables over a
few regions at a time are made by doubling, and any coalition is then a maximum of a few rows:
what is left to compute for each is the network's head.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.explanation._batches import forget_failed_batch, is_out_of_memory
from pointinteract.explanation._engines._base import Advance, Engine
from pointinteract.explanation._engines._linear_head import (
    SplitHead,
    linear_of_maxima,
    split_head,
)
from pointinteract.nn.structure import SetPool

if TYPE_CHECKING:
    from pointinteract.explanation._absence import Absence
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel

ABSENCES = ("center", "region", "background", "remove")
# Regions in a table: 2^11 rows are a good batch for a head, and 8 MiB of 1,024 features; for
# chosen coalitions, which look rows up, 2^8 rows stay in the cache.
TABLE_REGIONS = 11
LOOKUP_REGIONS = 8
HEAD_ROWS = 2048
ENCODED_POINTS = 8192


class SetPoolEngine(Engine):
    """Shares the encoding of points between coalitions; runs only the head for each."""

    name = "set_pool"
    structure_type = SetPool

    def __init__(self, model: "CloudModel") -> None:
        super().__init__(model)
        self.structure = self.find_structure(model)
        self._rows = HEAD_ROWS
        self._outputs: Tensor | None = None
        with model.session():
            self._split = split_head(self.structure.head)

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        return cls.find_structure(model) is not None and absence_name in ABSENCES

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        regions = PooledRegions(self.structure, game)
        head = self.structure.head
        if coalitions is not None:
            n_coalitions = len(coalitions)
            chunks = regions.chosen(torch.tensor(coalitions, device=game.points.device))
        else:
            n_coalitions = 2**game.n_players
            if self._split is not None and regions.can_transform(game):
                head = self._split.rest
                chunks = regions.all_by_transform(self._split, self._outputs_of(regions))
            else:
                chunks = regions.all_coalitions()
        logits: Any = None
        first = 0
        for pooled in chunks:
            part = self._run_head(head, pooled)
            if logits is None:
                logits = part.new_empty((n_coalitions, *part.shape[1:]))
            logits[first : first + len(part)] = part
            first += len(part)
            if advance is not None:
                advance(len(part))
        return self.read(logits)

    def _outputs_of(self, regions: "PooledRegions") -> Tensor:
        """Memory for the first layer's outputs of a block, the same for every cloud."""
        assert self._split is not None
        shape = (1 << min(regions.n_regions, TABLE_REGIONS), len(self._split.weight))
        if self._outputs is None or self._outputs.shape != shape:
            self._outputs = regions.kept.new_empty(shape)
        return self._outputs

    def _run_head(self, head: Callable[[Tensor], Any], pooled: Tensor) -> Tensor:
        """Run the head, in smaller pieces if memory runs out."""
        while True:
            try:
                parts = [_first(head(part)) for part in pooled.split(self._rows)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._rows == 1:
                    raise
                self._rows //= 2
                forget_failed_batch()


class PooledRegions:
    """Pooled features of one cloud's regions, and from them those of coalitions."""

    def __init__(self, structure: SetPool, game: "CloudGame") -> None:
        self.pool = structure.pool
        self.n_regions = game.n_players
        absence = game.absence
        self._sizes = torch.bincount(game.regions, minlength=self.n_regions)
        self._removes = absence.replacement is None
        if self.pool == "max":
            self._pool_maxima(structure, game, absence)
        else:
            self._pool_sums(structure, game, absence)
        self._nothing = _encode(structure, absence.center)[0] if self._removes else None

    def all_coalitions(self) -> Any:
        """Yield pooled features (s, W) of all coalitions in their order."""
        n_low = min(self.n_regions, TABLE_REGIONS)
        low = self._table(0, n_low)
        high = self._table(n_low, self.n_regions)
        for number in range(len(high)):
            pooled = self._join(low, high[number])
            if self.pool == "mean" or self._removes:
                numbers = torch.arange(len(low), device=low.device) + number * len(low)
                bits = torch.arange(self.n_regions, device=low.device)
                self._finish(pooled, numbers[:, None] >> bits & 1 == 1)
            yield pooled

    def can_transform(self, game: "CloudGame") -> bool:
        """Whether the first layer of a head can be found by the transform over subsets.

        On a GPU products cost little, and in half precision sums would not be those of a product.
        """
        return (
            self.pool == "max"
            and game.absence.name in ("center", "remove")
            and self.kept.device.type == "cpu"
            and self.kept.dtype in (torch.float32, torch.float64)
            and game.model.precision == "float32"
        )

    def all_by_transform(self, split: SplitHead, memory: Tensor) -> Any:
        """Yield the first layer's outputs (s, V) for all coalitions in their order."""
        n_low = min(self.n_regions, TABLE_REGIONS)
        # Of nothing removed there is no maximum; any floor serves where something is there.
        floor = self.kept.amin(dim=0) if self._removes else self.absent[0]
        number, last = 0, (1 << (self.n_regions - n_low)) - 1
        for outputs in linear_of_maxima(self.kept, floor, split, n_low, memory):
            if number == 0 and self._nothing is not None:
                outputs[0] = self._nothing @ split.weight.T + split.bias
            if number == last:  # the center is not there when everything is
                outputs[-1] = self.kept.amax(dim=0) @ split.weight.T + split.bias
            number += 1
            yield outputs

    def chosen(self, keep: Tensor) -> Any:
        """Yield pooled features (s, W) of given coalitions, bool (S, n)."""
        tables, weights = [], []
        for first in range(0, self.n_regions, LOOKUP_REGIONS):
            end = min(first + LOOKUP_REGIONS, self.n_regions)
            tables.append(self._table(first, end))
            weights.append((first, end, 1 << torch.arange(end - first, device=keep.device)))
        for rows in keep.split(HEAD_ROWS):
            pooled: Any = None
            for table, (first, end, weight) in zip(tables, weights, strict=True):
                part = table[(rows[:, first:end] * weight).sum(dim=1)]
                pooled = part if pooled is None else self._join(pooled, part)
            if self.pool == "mean" or self._removes:
                self._finish(pooled, rows)
            yield pooled

    def _replacements(self, absence: "Absence") -> tuple[Tensor, Tensor, Tensor]:
        """Return what absent regions become: points, their regions, and how often each."""
        assert absence.replacement is not None
        if absence.name not in ("center", "region"):
            return absence.replacement, absence.regions, torch.ones_like(absence.regions)
        # All points of a region become the same one.
        owners = torch.arange(self.n_regions, device=absence.regions.device)
        anyone = torch.empty_like(owners).scatter_(
            0, absence.regions, torch.arange(len(absence.regions), device=owners.device)
        )
        return absence.replacement[anyone], owners, self._sizes

    def _pool_maxima(self, structure: SetPool, game: "CloudGame", absence: "Absence") -> None:
        """Pool what each region is and what it becomes, all encoded in one go."""
        points, owners, n_rows = game.points, game.regions, self.n_regions
        if not self._removes:
            others, theirs, _ = self._replacements(absence)
            if absence.name == "center":  # all regions become the same point
                others, theirs = others[:1], theirs[:1]
            points = torch.cat([points, others])
            owners = torch.cat([owners, theirs + self.n_regions])
            n_rows += 1 if absence.name == "center" else self.n_regions
        # Region after region, so that each is a piece of the features.
        features = _encode(structure, points[torch.argsort(owners, stable=True)])
        sizes = torch.bincount(owners, minlength=n_rows).tolist()
        pooled = torch.stack([part.amax(dim=0) for part in features.split(sizes)])
        self.kept = pooled[: self.n_regions]
        if self._removes:
            self.absent = torch.full_like(self.kept, -torch.inf)
        else:
            self.absent = pooled[self.n_regions :].expand(self.n_regions, -1)

    def _pool_sums(self, structure: SetPool, game: "CloudGame", absence: "Absence") -> None:
        self.kept = self._sums(structure, game.points, game.regions, torch.ones_like(game.regions))
        if self._removes:
            self.absent = torch.zeros_like(self.kept)
        else:
            self.absent = self._sums(structure, *self._replacements(absence))

    def _sums(self, structure: SetPool, points: Tensor, owners: Tensor, times: Tensor) -> Tensor:
        """Sum the features of each region's points, (M, C) to (n, W)."""
        features = _encode(structure, points)
        belongs = owners == torch.arange(self.n_regions, device=owners.device)[:, None]  # (n, M)
        return (belongs * times).to(features.dtype) @ features

    def _table(self, first: int, end: int) -> Tensor:
        """Features of all coalitions of regions from `first` to before `end`, by doubling."""
        neutral = -torch.inf if self.pool == "max" else 0.0
        table = self.kept.new_full((2 ** (end - first), self.kept.shape[1]), neutral)
        size = 1
        for region in range(first, end):
            before = table[:size]
            table[size : 2 * size] = self._join(before, self.kept[region])
            table[:size] = self._join(before, self.absent[region])
            size *= 2
        return table

    def _join(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.maximum(first, second) if self.pool == "max" else first + second

    def _finish(self, pooled: Tensor, keep: Tensor) -> None:
        """Make means of sums, and put the one point there that is left of nothing; in place."""
        if self.pool == "mean":
            n_points = self._sizes.sum()
            if self._removes:
                n_points = (keep * self._sizes).sum(dim=1, keepdim=True).clamp(min=1)
            pooled /= n_points
        if self._nothing is not None:
            pooled[~keep.any(dim=1)] = self._nothing


def _encode(structure: SetPool, points: Tensor) -> Tensor:
    """Features of points, (N, C) to (N, W), some thousand at a time."""
    parts = [structure.encode(part[None])[0] for part in points.split(ENCODED_POINTS)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _first(answer: Any) -> Tensor:
    """Heads of published networks may return (logits, something else)."""
    return answer[0] if isinstance(answer, tuple | list) else answer
