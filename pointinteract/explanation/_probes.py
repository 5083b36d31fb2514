"""A few questions to a model before thousands: is it steady, does it see what is masked?"""

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation._game import CloudGame
from pointinteract.games.coalitions import all_coalitions

# Twice the same question may differ by rounding in another batch, not by more.
DISAGREEMENT = 1e-3
# In half precision rounding alone is of this size.
HALF_DISAGREEMENT = 0.05
N_QUESTIONS = 8


@dataclass(frozen=True)
class Probe:
    """What plain forwards answered to a few coalitions.

    Attributes
    ----------
    coalitions : ndarray of bool, shape (s, n)
        The first is nothing and the last is everything.
    answers : ndarray of float64, shape (s, K) or (s,)
    seconds : float
        Time of a coalition.
    """

    coalitions: np.ndarray
    answers: np.ndarray
    seconds: float


def probe_model(game: CloudGame) -> Probe:
    """Warn about models whose interactions would not mean what they seem to."""
    name = game.model.name
    coalitions = probe_coalitions(game.n_players)
    started = time.perf_counter()
    answers = game.answers(coalitions)
    seconds = (time.perf_counter() - started) / len(coalitions)
    change = largest_disagreement(game, coalitions, answers)
    limit = DISAGREEMENT if game.model.precision == "float32" else HALF_DISAGREEMENT
    if change > limit:
        warnings.warn(
            f"{name} answered differently to the same clouds, by {change:.2g} of its largest "
            "output. Interactions of order m enlarge that about 2^(m/2) times, so high orders "
            f"will be noise. {_what_to_look_for(game)}",
            PointInteractWarning,
            stacklevel=6,
        )
    elif ignores_position_and_size(game, answers):
        warnings.warn(
            f"{name} answers the same to a moved and shrunk cloud, so it seems to center and "
            "scale clouds itself. It does so to masked clouds too, which mixes the loss of "
            "regions with a change of size. Normalize first, and explain the step after that.",
            PointInteractWarning,
            stacklevel=6,
        )
    return Probe(coalitions, answers, seconds)


def probe_coalitions(n_players: int) -> np.ndarray:
    """Choose a few coalitions, (s, n): the first is nothing and the last is everything."""
    if 2**n_players <= N_QUESTIONS:
        return all_coalitions(n_players)
    coalitions = np.random.default_rng(n_players).random((N_QUESTIONS, n_players)) < 0.5
    coalitions[0], coalitions[-1] = False, True
    return coalitions


def largest_disagreement(game: CloudGame, coalitions: np.ndarray, answers: np.ndarray) -> float:
    """Ask for some of the coalitions again, in other batches; return the largest change.

    Relative to the largest answer. Other batches, so that a model which lets clouds of a batch
    see each other shows up too.
    """
    again = [game.answers(part) for part in (coalitions[:1], coalitions[-2:])]
    once = [answers[:1], answers[-2:]]
    change = max(float(np.abs(a - b).max()) for a, b in zip(once, again, strict=True))
    return change / max(1.0, float(np.abs(answers).max()))


def ignores_position_and_size(game: CloudGame, answers: np.ndarray) -> bool:
    """Whether the model answers the same to the whole cloud moved and shrunk.

    A model that answers the same to everything is not meant: it must mind missing regions.
    """
    nothing, everything = answers[0], answers[-1]
    spread = float(game.points[:, :3].std()) or 1.0
    moved = game.points.clone()
    moved[:, :3] = 0.5 * moved[:, :3] + spread
    with game.model.session():
        answer = game.model.evaluate(moved[None])[0]
    scale = max(1.0, float(np.abs(everything).max()))
    unchanged = float(np.abs(answer - everything).max()) < 1e-3 * scale
    return unchanged and float(np.abs(nothing - everything).max()) > 1e-2 * scale


def random_parts(network: nn.Module, points: Tensor) -> tuple[str, ...]:
    """Name the parts of a network that answer differently to equal input, (B, N, C).

    The network is run twice, in the mode it is in. Of nested parts only the innermost are
    named, so that what remains is where the random step itself is written.
    """
    first, second = _record(network, points), _record(network, points)
    found: list[str] = []
    # Children finish before their parents, so that they are met first.
    for name, (given, answer) in first.items():
        if name not in second:
            continue
        given_again, answer_again = second[name]
        if _same(given, given_again) and not _same(answer, answer_again):
            if not any(inner.startswith(f"{name}." if name else "") for inner in found):
                found.append(name)
    kinds = dict(network.named_modules())
    return tuple(f"{name or 'forward'} ({type(kinds[name]).__name__})" for name in found)


def _what_to_look_for(game: CloudGame) -> str:
    """Say where the difference comes from, as far as that can be found out."""
    network = game.model.module
    if network is not None:
        with game.model.session():
            training = [
                f"{name} ({type(part).__name__})"
                for name, part in network.named_modules()
                if part.training
            ]
            parts = random_parts(network, game.points[None].repeat(2, 1, 1))
        if training:
            return f"In training mode even after eval(): {', '.join(training[:5])}."
        if parts:
            return f"Random in it: {', '.join(parts[:5])}; fix what is drawn there."
    return "Look for random sampling, dropout, or batch statistics inside."


def _record(network: nn.Module, points: Tensor) -> dict[str, tuple[Any, Any]]:
    """Input and output of every part's first call, in the order in which parts finish."""
    seen: dict[str, tuple[Any, Any]] = {}
    hooks = []
    for name, part in network.named_modules():

        def keep(module: nn.Module, given: Any, answer: Any, name: str = name) -> None:
            # Copies, since what follows may work in place.
            seen.setdefault(name, (_copied(given), _copied(answer)))

        hooks.append(part.register_forward_hook(keep))
    try:
        network(points)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, tuple | list):
        return tuple(_copied(item) for item in value)
    return None


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return first.shape == second.shape and bool(torch.equal(first, second))
    if isinstance(first, tuple) and isinstance(second, tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    return True
