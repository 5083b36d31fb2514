"""Networks on balls around sampled points: what a ball says is shared between coalitions.

A ball of the first level sees only the regions that reach into it, one to three mostly, so it
says few different things. Which points are sampled depends on the whole masked cloud: that is
found for many coalitions at once, and the second level is computed for each of them.

Where the samples are frozen (those of the full cloud, as far as they are there), the second
level too depends on few regions, and all that is left for a coalition is a maximum and the
head. That is another question to the network, so it is answered only by name.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pointinteract.explanation._engines._ball_tables import BallTables, Samples
from pointinteract.explanation._engines._base import Advance, Engine
from pointinteract.explanation._engines._weighted import answer_by_size
from pointinteract.games.coalitions import all_coalitions
from pointinteract.nn.structure import SampledBalls
from pointinteract.ops.sampling import farthest_point_sample

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel

ABSENCES = ("center", "remove")
# Points at a time. Sampling is a long row of small steps, cheaper for many clouds at once.
CPU_POINTS = 1 << 15
GPU_POINTS = 1 << 19
# Coalitions whose frozen balls are looked up together, and so are computed once.
FROZEN_COALITIONS = 4096
# Of them so many at a time are pooled and read by the head.
POOLED_COALITIONS = 64


class AbstractionEngine(Engine):
    """Samples every masked cloud as the network does; shares what balls of points say."""

    name = "abstraction"
    structure_type = SampledBalls

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        return absence_name in ABSENCES and cls.find_structure(model) is not None

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        if coalitions is None:
            coalitions = all_coalitions(game.n_players)
        structure: SampledBalls = self.find_structure(self.model)
        keep = torch.tensor(coalitions, device=game.points.device)
        tables = BallTables(structure, game, repeats=game.absence.name == "center")

        def answer(rows: Tensor) -> Tensor:
            there = tables.presence(keep[rows])
            samples = sample_each(tables, there, structure)
            clouds, places = samples.middles().nonzero(as_tuple=True)
            encoded = tables.encode_middles(samples, there, clouds, places)
            return structure.head(tables.pool(encoded, clouds, len(rows)))

        on_cpu = game.points.device.type == "cpu"
        logits = answer_by_size(
            answer,
            game.absence.n_kept(keep) + 1,
            CPU_POINTS if on_cpu else GPU_POINTS,
            game.batch_size.current,
            advance,
        )
        return self.read(logits)


class FrozenCentroidsEngine(Engine):
    """Keeps the samples of the full cloud for all coalitions: other answers, many times faster.

    A coalition's cloud consists of its different points: those kept and, where absent points
    go to the center, the center once. Its samples are those of the full cloud that are kept,
    and the center if it is there. Of a cloud without any of the samples, the first point is
    sampled.
    """

    name = "frozen_centroids"
    structure_type = SampledBalls
    # It does not answer what the network answers to masked clouds, so it has to be asked for,
    # and plain forwards cannot stand in for it.
    by_name_only = True

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        return AbstractionEngine.supports(model, absence_name, players)

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        if coalitions is None:
            coalitions = all_coalitions(game.n_players)
        structure: SampledBalls = self.find_structure(self.model)
        keep = torch.tensor(coalitions, device=game.points.device)
        tables = BallTables(structure, game, repeats=False)
        order, n_middles = frozen_order(structure, game)
        parts = []
        for block in keep.split(FROZEN_COALITIONS):
            parts.append(self._answer_block(tables, order, n_middles, block))
            if advance is not None:
                advance(len(block))
        logits = torch.cat(parts)
        # Where no sample of the second level is left, there is nothing to look up.
        lost = ~tables.presence(keep)[:, order[:n_middles]].any(dim=1)
        logits[lost] = 0.0
        answers = self.read(logits)
        if bool(lost.any()):
            is_lost = lost.cpu().numpy()
            answers[is_lost] = self.reference(game, np.asarray(coalitions)[is_lost])
        return answers

    def reference(self, game: "CloudGame", coalitions: np.ndarray) -> np.ndarray:
        """Answer coalitions one by one: the network on their points, with samples given."""
        structure: SampledBalls = self.find_structure(self.model)
        order, n_middles = frozen_order(structure, game)
        points = torch.cat([game.points, game.absence.center])
        tables = BallTables(structure, game, repeats=False)
        there = tables.presence(torch.tensor(coalitions, device=points.device))
        logits = []
        for present in there:
            kept = present.nonzero().squeeze(1)
            first, rest = (part[present[part]] for part in (order[:n_middles], order[n_middles:]))
            n_second = max(1, len(first))
            samples = torch.cat([first if len(first) else kept[:1], rest])
            index = torch.searchsorted(kept, samples)
            logits.append(structure.forward(points[kept][None], index[None], n_second))
        return self.read(torch.cat(logits))

    def _answer_block(
        self, tables: BallTables, order: Tensor, n_middles: int, keep: Tensor
    ) -> Tensor:
        structure = tables.structure
        there = tables.presence(keep)
        samples = Samples(order[None], there[:, order], n_middles)
        middles = samples.middles()
        keys = tables.keys_of_middles(samples, keep)  # (S, m)
        clouds, places = middles.nonzero(as_tuple=True)
        which, first = first_of_each(keys[clouds, places])
        encoded = tables.encode_middles(samples, there, clouds[first], places[first])
        lowest = torch.full_like(encoded[:1], -torch.inf)
        encoded = torch.cat([encoded, lowest])
        rows = torch.full(middles.shape, len(encoded) - 1, device=keep.device)
        rows[clouds, places] = which
        return torch.cat(
            [structure.head(encoded[part].amax(1)) for part in rows.split(POOLED_COALITIONS)]
        )


def sample_each(tables: BallTables, there: Tensor, structure: SampledBalls) -> Samples:
    """Farthest point sampling of masked clouds given by who is there, bool (S, N + 1).

    Where all different points are taken, the original goes on with copies of them, which no
    maximum notices; here they are missing.
    """
    n_clouds = len(there)
    n_samples = min(structure.n_samples[0], int(there.sum(dim=1).max()))
    lowest = torch.where(there, torch.inf, -1.0).to(tables.distance)
    picked = torch.empty(n_clouds, n_samples, dtype=torch.int64, device=there.device)
    gaps = torch.empty(n_clouds, n_samples, dtype=lowest.dtype, device=there.device)
    current = tables.first_samples(there, structure.start)
    step = torch.empty_like(lowest)
    for number in range(n_samples):
        picked[:, number] = current
        gaps[:, number] = lowest.gather(1, current[:, None]).squeeze(1)
        torch.index_select(tables.distance, 0, current, out=step)
        torch.minimum(lowest, step, out=lowest)
        if lowest.device.type == "cpu":  # NumPy's is many times faster
            current = torch.from_numpy(lowest.numpy().argmax(axis=1))
        else:
            current = lowest.argmax(dim=1)
    return Samples(picked, gaps > 0, structure.n_samples[1])


def frozen_order(structure: SampledBalls, game: "CloudGame") -> tuple[Tensor, int]:
    """Samples of the full cloud with the center among them, and how many are of both levels."""
    n_points = len(game.points)
    picked = farthest_point_sample(
        game.points[None, :, :3],
        min(structure.n_samples[0], n_points),
        start=min(structure.start, n_points - 1),
    )[0]
    n_second = min(structure.n_samples[1], len(picked))
    center = torch.tensor([n_points], device=picked.device)
    return torch.cat([picked[:n_second], center, picked[n_second:]]), n_second + 1


def first_of_each(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Number the different keys (M,); return each one's number and where each stands first."""
    different, which = torch.unique(keys, return_inverse=True)
    places = torch.arange(len(keys), device=keys.device)
    first = torch.full((len(different),), len(keys), device=keys.device)
    return which, first.scatter_reduce(0, which, places, "amin")
