"""Networks that take a cloud as its different points and how often each stands there.

Most ways of taking regions away put many points in one place: on average half of a cloud. A
network that knows what repetitions do to it computes each different point once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.explanation._batches import forget_failed_batch, is_out_of_memory
from pointinteract.explanation._engines._base import Advance, Engine
from pointinteract.explanation._engines._set_pool import PooledRegions
from pointinteract.games.coalitions import all_coalitions
from pointinteract.nn.pooling import fill_padding
from pointinteract.nn.pose import PosedPoints
from pointinteract.nn.structure import SetPool, WeightedPoints

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel

# Those that leave repetitions, and removal, where clouds of different sizes share a batch.
ABSENCES = ("center", "region", "remove", "resample")
# Different points at a time: on a CPU few enough for its cache, and enough to be worth reading
# the weights of a head for; a GPU wants to be filled.
CPU_POINTS = 4096
GPU_POINTS = 1 << 19

Answer = Callable[[Tensor], Tensor]


class WeightedEngine(Engine):
    """Runs the network on the different points of masked clouds, with their multiplicities."""

    name = "weighted"
    structure_type = WeightedPoints

    def __init__(self, model: "CloudModel") -> None:
        super().__init__(model)
        self.structure = self.find_structure(model)

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        return absence_name in ABSENCES and cls.find_structure(model) is not None

    @classmethod
    def find_structure(cls, model: "CloudModel") -> Any:
        """Return a WeightedPoints if the model has one, else a pool that repetitions leave."""
        pools = (s for s in model.structures if isinstance(s, SetPool) and s.pool == "max")
        return super().find_structure(model) or next(pools, None)

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        if coalitions is None:
            coalitions = all_coalitions(game.n_players)
        keep = torch.tensor(coalitions, device=game.points.device)
        on_cpu = game.points.device.type == "cpu"
        logits = answer_by_size(
            _forward(self.structure, game, keep),
            game.absence.n_kept(keep),
            CPU_POINTS if on_cpu else GPU_POINTS,
            game.batch_size.current,
            advance,
        )
        return self.read(logits)


def answer_by_size(
    answer: Answer,
    sizes: Tensor,
    n_items: int,
    n_clouds: int,
    advance: Advance | None = None,
    *,
    spread: float = 0.1,
) -> Tensor:
    """Answer coalitions of like size together, the smallest first, so that padding is little.

    Parameters
    ----------
    answer : callable
        From numbers of coalitions (s,) to logits (s, K).
    sizes : int64 Tensor of shape (S,)
        How many points or tokens each coalition has.
    n_items : int
        Points or tokens at a time, padding included.
    n_clouds : int
        Coalitions at a time, at most. Halved when memory runs out.
    advance : callable, optional
        Called with the number of coalitions just answered.
    spread : float, default=0.1
        By which share the largest of a batch may exceed the smallest.

    Returns
    -------
    logits : Tensor of shape (S, K)
        In the order of `sizes`.
    """
    order = torch.argsort(sizes, stable=True)
    ascending = sizes[order].tolist()
    logits: Any = None
    first = 0
    while first < len(ascending):
        largest = ascending[first] * (1 + spread)
        end = first + 1
        while (
            end < len(ascending)
            and end - first < n_clouds
            and ascending[end] <= largest
            and ascending[end] * (end + 1 - first) <= n_items
        ):
            end += 1
        rows = order[first:end]
        try:
            part = answer(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(rows) == 1:
                raise
            n_clouds = len(rows) // 2
            forget_failed_batch()
            continue
        part = part[0] if isinstance(part, tuple | list) else part
        if logits is None:
            logits = part.new_empty((len(ascending), *part.shape[1:]))
        logits[rows] = part
        first = end
        if advance is not None:
            advance(len(rows))
    return logits


def _forward(structure: WeightedPoints | SetPool, game: "CloudGame", keep: Tensor) -> Answer:
    """Return what gives logits to coalitions named by their rows of `keep`."""
    unique = game.absence.unique
    if isinstance(structure, PosedPoints):
        # Masked clouds are unions of regions, and so are the maxima that their poses come from.
        pooled = PooledRegions(structure.pose, game).chosen(keep)
        poses = torch.cat([structure.pose.head(part) for part in pooled])
        return lambda rows: structure.forward_posed(*unique(keep[rows]), poses[rows])
    if isinstance(structure, WeightedPoints):
        return lambda rows: structure.forward(*unique(keep[rows]))

    def pool(rows: Tensor) -> Any:
        points = fill_padding(*unique(keep[rows]))
        if structure.encode_max is not None:
            return structure.head(structure.encode_max(points))
        return structure.head(structure.encode(points).amax(1))

    return pool
