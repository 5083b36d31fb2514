"""What an engine is: one way of finding a model's answers to coalitions of regions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel

Advance = Callable[[int], None]


class Engine:
    """Answers coalitions of the regions of one cloud after the other, for one model.

    A subclass says in `supports` whether it can serve a model at all, and gives the answers in
    `answers`; the explainer compares some of them with plain masked forwards, cloud by cloud,
    and leaves the engine when they differ.

    Parameters
    ----------
    model : CloudModel
        With ``module`` (the network) and ``structures`` (what it says about itself).

    Attributes
    ----------
    name : str
        As in ``InteractionExplainer(engine=...)``.
    structure_type : type or None
        The record of :mod:`pointinteract.nn.structure` that the engine works with.
    """

    name = "engine"
    structure_type: type | None = None

    def __init__(self, model: "CloudModel") -> None:
        self.model = model

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        """Whether the engine can answer for this model, way of absence and kind of players."""
        raise NotImplementedError

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        """Answer coalitions of one cloud.

        Called inside ``model.session()``: in evaluation mode, without gradients.

        Parameters
        ----------
        game : CloudGame
            Has ``points`` (N, C) and ``regions`` (N,) as tensors on the model's device,
            ``n_players``, ``absence`` (:class:`Absence` of this cloud), ``batch_size``
            (with ``current`` and ``shrink``) and ``model``.
        coalitions : ndarray of bool, shape (S, n), optional
            Default: all 2^n, in the order of :func:`~pointinteract.games.all_coalitions`.
        advance : callable, optional
            Called with the number of coalitions just answered.

        Returns
        -------
        answers : ndarray of float64, shape (S, K) or (S,)
            The same as ``game.answers`` up to rounding.
        """
        raise NotImplementedError

    def reference(self, game: "CloudGame", coalitions: np.ndarray) -> np.ndarray:
        """Answer a few coalitions in the plain way that `answers` must agree with.

        That is the forward of masked clouds; only an engine for absences that happen inside a
        network has another one.
        """
        return game.answers(coalitions)

    def read(self, logits: Any) -> np.ndarray:
        """Turn what the network's last layer gave, (S, K), into answers: float64, checked."""
        return self.model.read(logits, len(logits))

    @classmethod
    def find_structure(cls, model: "CloudModel") -> Any:
        """Return the first structure of `structure_type` that the model declares, or None."""
        for structure in model.structures:
            if cls.structure_type is not None and isinstance(structure, cls.structure_type):
                return structure
        return None
