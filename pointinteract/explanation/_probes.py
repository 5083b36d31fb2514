"""A few questions to a model before thousands: is it steady, does it see what is masked?"""

import warnings

import numpy as np

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation._game import CloudGame
from pointinteract.games.coalitions import all_coalitions

# Twice the same question may differ by rounding in another batch, not by more.
DISAGREEMENT = 1e-3


def probe_model(game: CloudGame, name: str) -> None:
    """Warn about models whose interactions would not mean what they seem to."""
    change = largest_disagreement(game)
    if change > DISAGREEMENT:
        warnings.warn(
            f"{name} answered differently to the same clouds, by {change:.2g} of its largest "
            "output. Interactions of order m enlarge that about 2^(m/2) times, so high orders "
            "will be noise. Look for random sampling, dropout, or batch statistics inside.",
            PointInteractWarning,
            stacklevel=5,
        )
    elif ignores_position_and_size(game):
        warnings.warn(
            f"{name} answers the same to a moved and shrunk cloud, so it seems to center and "
            "scale clouds itself. It does so to masked clouds too, which mixes the loss of "
            "regions with a change of size. Normalize first, and explain the step after that.",
            PointInteractWarning,
            stacklevel=5,
        )


def largest_disagreement(game: CloudGame) -> float:
    """Ask for a few coalitions twice, in other batches; return the largest relative change.

    Other batches, so that a model which lets clouds of a batch see each other shows up too.
    """
    coalitions = all_coalitions(game.n_players)
    rows = np.unique(np.linspace(0, len(coalitions) - 1, 6).astype(int))
    once = game.answers(coalitions[rows])
    again = np.concatenate([game.answers(coalitions[part]) for part in (rows[:2], rows[2:])])
    return float(np.abs(once - again).max() / max(1.0, np.abs(once).max()))


def ignores_position_and_size(game: CloudGame) -> bool:
    """Whether the model answers the same to the whole cloud moved and shrunk.

    A model that answers the same to everything is not meant: it must mind missing regions.
    """
    cloud = game.points
    nothing, everything = game.answers(all_coalitions(game.n_players)[[0, -1]])
    spread = float(cloud[:, :3].std()) or 1.0
    moved = cloud.clone()
    moved[:, :3] = 0.5 * moved[:, :3] + spread
    with game.model.session():
        answer = game.model.evaluate(moved[None])[0]
    scale = max(1.0, float(np.abs(everything).max()))
    unchanged = float(np.abs(answer - everything).max()) < 1e-3 * scale
    return unchanged and float(np.abs(nothing - everything).max()) > 1e-2 * scale
