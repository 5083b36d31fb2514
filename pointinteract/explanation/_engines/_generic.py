"""The engine that serves every model: plain forwards of masked clouds."""

from typing import TYPE_CHECKING

import numpy as np

from pointinteract.explanation._absence import TOKEN_ABSENCES
from pointinteract.explanation._engines._base import Advance, Engine

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel


class GenericEngine(Engine):
    """Masks the cloud for every coalition and runs the model on it, in large batches."""

    name = "generic"

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        return absence_name not in TOKEN_ABSENCES

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        return game.answers(coalitions, advance)
