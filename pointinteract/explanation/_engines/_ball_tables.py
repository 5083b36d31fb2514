"""What the balls of one cloud say, for whichever of its regions are there."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pointinteract.nn.abstraction import ball_pairs, max_by_row
from pointinteract.nn.structure import Ball, SampledBalls
from pointinteract.ops.neighbors import square_distance

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame

# Pairs of points whose features are kept, of a cloud and radius: 128 MiB of 128 features.
TABLE_PAIRS = 1 << 18
# Pairs that are encoded at a time, on a CPU near enough for its cache.
CPU_PAIRS = 1 << 13
GPU_PAIRS = 1 << 20
# Truth values at a time, of queries and the points that may be in their balls.
MEMBERS = 1 << 23
# Odd numbers, by which products modulo 2^64 spread over all bits.
_MIXERS = (0x5851F42D4C957F2D, 0x14057B7EF767814F, 0x2545F4914F6CDD1D)


@dataclass(frozen=True)
class Samples:
    """Samples of masked clouds.

    Attributes
    ----------
    order : int64 Tensor of shape (S, M), or (1, M) where all have the same
        Which points, in the order in which they count.
    valid : bool Tensor of shape (S, M)
        Which of them are there.
    n_middles : int
        So many, the first, are middles of balls of the second level.
    """

    order: Tensor
    valid: Tensor
    n_middles: int

    def middles(self) -> Tensor:
        """Which middles of the second level are there, bool (S, m)."""
        return self.valid[:, : self.n_middles]


class BallTables:
    """The points of one cloud and its center, and what their balls say.

    Points are numbered as in the cloud; the center comes after them, and belongs to a region of
    its own, which is there when something else is not.

    Parameters
    ----------
    structure : SampledBalls
    game : CloudGame
    repeats : bool
        Whether absent points stand at the center each in its place in the cloud, where they may
        push others out of balls. Else the center is there once, at the end.
    """

    def __init__(self, structure: SampledBalls, game: "CloudGame", *, repeats: bool) -> None:
        self.structure = structure
        self.repeats = repeats
        self.removes = game.absence.name == "remove"
        self.n_points, self.n_regions = len(game.points), game.n_players
        points = torch.cat([game.points, game.absence.center])
        self.xyz = points[:, :3].contiguous()
        self.distance = square_distance(self.xyz[None], self.xyz[None])[0]  # (N + 1, N + 1)
        center_region = torch.full_like(game.regions[:1], self.n_regions)
        self.owners = torch.cat([game.regions, center_region])
        self._levels = [
            [_BallLevel(ball, self.distance) for ball in balls] for balls in structure.balls
        ]
        for level in self._levels[0]:
            level.tabulate(self.xyz, points[:, 3:])
        self._fields = self._fields_of_first_balls()
        self._code_regions()

    def presence(self, keep: Tensor) -> Tensor:
        """Who is there in each coalition, bool (S, n) to (S, N + 1)."""
        return self._with_center(keep)[:, self.owners]

    def first_samples(self, there: Tensor, start: int) -> Tensor:
        """Where sampling begins in each masked cloud, int64 (S,)."""
        points = there[:, :-1]
        if not self.removes:
            start = min(start, self.n_points - 1)
            return torch.where(points[:, start], start, self.n_points)
        rank = points.sum(dim=1).sub(1).clamp(max=start)
        found = points.cumsum(dim=1) > rank[:, None]
        first = found.to(torch.uint8).argmax(dim=1)
        return torch.where(points.any(dim=1), first, self.n_points)

    def keys_of_middles(self, samples: Samples, keep: Tensor) -> Tensor:
        """Equal numbers for middles of shared samples whose balls say the same, (S, m)."""
        order = samples.order[0]
        middles = order[: samples.n_middles]
        widest = torch.stack([level.inside for level in self._levels[1]]).any(dim=0)
        reached = widest[middles][:, order].to(self._fields)  # (m, M)
        fields = (reached @ self._fields[order]).clamp(max=1.0)
        return self._keys(fields, self._with_center(keep)) + self._point_codes[middles]

    def encode_middles(
        self, samples: Samples, there: Tensor, clouds: Tensor, places: Tensor
    ) -> Tensor:
        """Describe second balls, given by cloud and place among its samples, (Q,) to (Q, V)."""
        order = samples.order.expand(len(there), -1)
        middles = order[clouds, places]
        used = torch.zeros_like(samples.valid)
        pairs = []
        for level in self._levels[1]:
            queries, members = self._second_pairs(level, samples, clouds, middles)
            used[clouds[queries], members] = True
            pairs.append((queries, members))
        where, features = self._first_features(order, there, used)
        found = []
        for level, (queries, members) in zip(self._levels[1], pairs, strict=True):
            projected = level.ball.project(features)
            rows = where[clouds[queries], members]
            ends = order[clouds[queries], members]
            found.append(
                level.pool(
                    self.xyz, middles[queries], ends, projected, rows, queries, len(middles)
                )
            )
        pooled = torch.cat(found, dim=1)
        chunk = self._chunk()
        parts = zip(self.xyz[middles].split(chunk), pooled.split(chunk), strict=True)
        return torch.cat([self.structure.encode(*part) for part in parts])

    def pool(self, encoded: Tensor, clouds: Tensor, n_clouds: int) -> Tensor:
        """Maximum over the middles of each cloud, (Q, V) to (S, V)."""
        return max_by_row(encoded, clouds, n_clouds)

    def _chunk(self) -> int:
        return CPU_PAIRS if self.xyz.device.type == "cpu" else GPU_PAIRS

    def _with_center(self, keep: Tensor) -> Tensor:
        center = ~keep.any(dim=1) if self.removes else ~keep.all(dim=1)
        return torch.cat([keep, center[:, None]], dim=1)

    def _fields_of_first_balls(self) -> Tensor:
        """Which regions a first ball minds, as 0 or 1, (N + 1, n + 1)."""
        widest = torch.stack([level.inside for level in self._levels[0]]).any(dim=0)
        belongs = torch.nn.functional.one_hot(self.owners, self.n_regions + 1).double()
        fields = (widest.double() @ belongs).clamp(max=1.0)
        if self.repeats:  # any absent point may stand in such a ball, and push others out
            fields[widest[:, -1]] = 1.0
        return fields

    def _code_regions(self) -> None:
        """Give regions and points numbers whose sums tell configurations apart."""
        n_bits = self.n_regions + 1
        device = self.xyz.device
        points = torch.arange(self.n_points + 1, device=device)
        if n_bits <= 50 and n_bits + self.n_points.bit_length() < 63:
            self._codes = 2.0 ** torch.arange(n_bits, device=device, dtype=torch.float64)[:, None]
            self._point_codes = points << n_bits
            return
        # Two sums of random whole numbers, exact in float64, mixed to one of 64 bits.
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(1 << 44, (n_bits, 2), generator=generator)
        self._codes = codes.double().to(device)
        self._point_codes = points * _MIXERS[2]

    def _keys(self, fields: Tensor, keep: Tensor) -> Tensor:
        """Tell by a number who is there of each field, (F, n + 1), (S, n + 1) to (S, F)."""
        sums = [((keep * codes) @ fields.T).long() for codes in self._codes.unbind(dim=1)]
        if len(sums) == 1:
            return sums[0]
        return sums[0] * _MIXERS[0] + sums[1] * _MIXERS[1]

    def _second_pairs(
        self, level: "_BallLevel", samples: Samples, clouds: Tensor, middles: Tensor
    ) -> tuple[Tensor, Tensor]:
        """List queries and the samples in their balls, as places in the order, (P,) each."""
        n_samples = samples.order.shape[1]
        chunk = max(1, MEMBERS // n_samples)
        shared = level.inside[:, samples.order[0]] if len(samples.order) == 1 else None
        found = []
        for first in range(0, len(middles), chunk):
            rows = slice(first, first + chunk)
            if shared is not None:
                inside = shared[middles[rows]]
            else:
                inside = level.inside[middles[rows, None], samples.order[clouds[rows]]]
            queries, members = ball_pairs(
                inside & samples.valid[clouds[rows]], level.ball.n_neighbors
            )
            found.append((queries + first, members))
        queries, members = (torch.cat(part) for part in zip(*found, strict=True))
        return queries, members

    def _first_features(self, order: Tensor, there: Tensor, used: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the samples that are used: rows of a table (S, M), and the table."""
        # `there` says the same as the coalition, region by region.
        keep = torch.zeros(len(there), self.n_regions + 1, dtype=torch.bool, device=there.device)
        keep[:, self.owners] = there
        clouds, places = used.nonzero(as_tuple=True)
        points = order[clouds, places]
        keys = self._keys(self._fields, keep)[clouds, points] + self._point_codes[points]
        different, which = torch.unique(keys, return_inverse=True)
        first = torch.empty(len(different), dtype=torch.int64, device=keys.device)
        first[which] = torch.arange(len(keys), device=keys.device)  # anyone will do
        where = torch.zeros(used.shape, dtype=torch.int64, device=used.device)
        where[clouds, places] = which
        middles, of_clouds = points[first], there[clouds[first]]
        return where, torch.cat(
            [self._describe_first(level, middles, of_clouds) for level in self._levels[0]], dim=1
        )

    def _describe_first(self, level: "_BallLevel", middles: Tensor, there: Tensor) -> Tensor:
        """What balls of the first level say, given who is there, (R,), (R, N + 1) to (R, W)."""
        n_rows = max(1, MEMBERS // len(self.xyz))
        parts = []
        for part, present in zip(middles.split(n_rows), there.split(n_rows), strict=True):
            inside = level.inside[part]
            if self.repeats:
                inside = torch.where(present[:, :-1], inside[:, :-1], inside[:, -1:])
                rows, ends = ball_pairs(inside, level.ball.n_neighbors)
                absent = ~present[rows, ends]
                ends = torch.where(absent, self.n_points, ends)
            else:
                rows, ends = ball_pairs(inside & present, level.ball.n_neighbors)
            parts.append(
                level.pool(self.xyz, part[rows], ends, level.projected, ends, rows, len(part))
            )
        return torch.cat(parts)


class _BallLevel:
    """Balls of one radius around all points of a cloud and its center."""

    def __init__(self, ball: Ball, distance: Tensor) -> None:
        self.ball = ball
        self.inside = distance < ball.radius**2
        self.projected: Tensor = distance[:, :0]
        self._table: Tensor | None = None
        self._slots: Tensor | None = None

    def tabulate(self, xyz: Tensor, features: Tensor) -> None:
        """Encode all pairs, if there are not too many: they are asked for again and again."""
        self.projected = self.ball.project(features)
        if int(self.inside.sum()) > TABLE_PAIRS:
            return
        middles, ends = self.inside.nonzero(as_tuple=True)
        slots = torch.zeros(self.inside.shape, dtype=torch.int32, device=xyz.device)
        slots[middles, ends] = torch.arange(len(ends), dtype=torch.int32, device=xyz.device)
        chunk = CPU_PAIRS if xyz.device.type == "cpu" else GPU_PAIRS
        self._table = torch.cat(
            [
                self.ball.encode(xyz[b] - xyz[a], self.projected[b])
                for a, b in zip(middles.split(chunk), ends.split(chunk), strict=True)
            ]
        )
        self._slots = slots

    def pool(
        self,
        xyz: Tensor,
        middles: Tensor,
        ends: Tensor,
        projected: Tensor,
        rows: Tensor,
        queries: Tensor,
        n_queries: int,
    ) -> Tensor:
        """Maximum over the pairs (P,) of each query, (Q, W); `rows` are those of `projected`."""
        chunk = CPU_PAIRS if xyz.device.type == "cpu" else GPU_PAIRS
        pooled: Tensor | None = None
        for first in range(0, max(1, len(ends)), chunk):
            part = slice(first, first + chunk)
            a, b = middles[part], ends[part]
            if self._table is not None and self._slots is not None:
                encoded = self._table[self._slots[a, b].long()]
            else:
                encoded = self.ball.encode(xyz[b] - xyz[a], projected[rows[part]])
            if pooled is None:
                pooled = encoded.new_full((n_queries, encoded.shape[1]), -torch.inf)
            index = queries[part, None].expand_as(encoded)
            pooled.scatter_reduce_(0, index, encoded, "amax")
        assert pooled is not None
        return pooled
