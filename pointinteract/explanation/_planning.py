"""From the parameters of an explainer to what is asked of a model, and to words about it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pointinteract._version import __version__
from pointinteract.explanation._absence import ABSENCES, TOKEN_ABSENCES, check_background
from pointinteract.explanation._engines._choice import ENGINES
from pointinteract.explanation._models import OUTPUTS, CloudModel
from pointinteract.explanation._precision import PRECISIONS
from pointinteract.explanation._regions import PLAYERS, cut_clouds
from pointinteract.explanation._running import Outcome, Plan
from pointinteract.explanation._sampled import sample_plan
from pointinteract.explanation._scores import SCORES, find_score, score_name
from pointinteract.explanation._targets import resolve_target
from pointinteract.games.coalitions import MAX_PLAYERS
from pointinteract.nn.structure import PatchTokens, SampledBalls, SetPool, WeightedPoints
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

if TYPE_CHECKING:
    from pointinteract.explanation._explainer import InteractionExplainer

MAX_REGIONS = 256
STRUCTURES = (SetPool, WeightedPoints, PatchTokens, SampledBalls)
# Without a budget, so many regions are enumerated, and so many coalitions chosen of more.
EXACT_REGIONS = 16
DEFAULT_BUDGET = 8192
# Absences that draw random numbers.
_RANDOM_ABSENCES = ("background", "resample")


def check_params(explainer: "InteractionExplainer") -> None:
    """Raise if a parameter cannot be, or two do not go together."""
    check_int("n_regions", explainer.n_regions, minimum=1, maximum=MAX_REGIONS)
    check_option("players", explainer.players, PLAYERS)
    check_option("start", explainer.start, ("first", "far"))
    check_option("absence", explainer.absence, ABSENCES)
    check_option("output", explainer.output, OUTPUTS)
    check_option("engine", explainer.engine, ("auto", *ENGINES))
    check_option("precision", explainer.precision, PRECISIONS)
    if not callable(explainer.score):
        check_option("score", explainer.score, tuple(SCORES))
    if explainer.batch_size not in (None, "auto"):
        check_int("batch_size", explainer.batch_size)
    if explainer.budget is not None:
        check_int("budget", explainer.budget)
    if explainer.n_jobs is not None:
        check_int("n_jobs", explainer.n_jobs, minimum=-1024)
    if explainer.resume is not None and not isinstance(explainer.resume, str | os.PathLike):
        raise TypeError(f"resume must be the path of a file or None, got {explainer.resume!r}.")
    _check_structure(explainer.structure)
    if explainer.absence in TOKEN_ABSENCES and explainer.players != "patches":
        raise ValueError(
            f"absence={explainer.absence!r} takes tokens of patches away, so it needs "
            f"players='patches'; got players={explainer.players!r}."
        )
    if explainer.background is not None and explainer.absence != "background":
        raise ValueError(
            f"background is given, but absence={explainer.absence!r} does not use it; use "
            "absence='background'."
        )
    is_random = explainer.absence in _RANDOM_ABSENCES or not is_exact(explainer)
    is_fixed = isinstance(explainer.random_state, int | np.integer)
    if explainer.resume is not None and is_random and not is_fixed:
        raise ValueError(
            "resume goes on with the same random numbers, so with a budget of chosen coalitions "
            f"or absence={explainer.absence!r} random_state must be an integer; got "
            f"{explainer.random_state!r}."
        )


def _check_structure(structure: Any) -> None:
    """Raise unless a network is described by records, which engines tell apart by their type."""
    if structure is None:
        return
    given = structure if isinstance(structure, tuple | list) else (structure,)
    for record in given:
        if not isinstance(record, STRUCTURES):
            kinds = ", ".join(kind.__name__ for kind in STRUCTURES)
            what = record.__name__ if isinstance(record, type) else type(record).__name__
            raise TypeError(
                f"structure must be made of records {kinds}, such as SetPool(encode=..., "
                f"head=...); got {'the class ' if isinstance(record, type) else 'a '}{what}."
            )


def cut_for(
    explainer: "InteractionExplainer", model: CloudModel, clouds: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    """Cut clouds as the explainer is set, asking the model for patches if need be."""
    structures = [item for item in model.structures if isinstance(item, PatchTokens)]
    patches = None
    if structures:

        def patches(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            with model.session():
                index, centers = structures[0].patches(points.to(model.device, model.dtype))
            return index.cpu(), centers.cpu()

    return cut_clouds(
        clouds, explainer.n_regions, explainer.players, explainer.start, patches=patches
    )


def is_exact(explainer: "InteractionExplainer") -> bool:
    """Whether all coalitions are asked, and not chosen ones."""
    if explainer.budget is None:
        return explainer.n_regions <= EXACT_REGIONS
    return explainer.n_regions <= MAX_PLAYERS and 2**explainer.n_regions <= explainer.budget


def make_plan(
    explainer: "InteractionExplainer",
    clouds: tuple[np.ndarray, ...],
    temperatures: Sequence[float] = (1.0,),
    part: str | None = None,
) -> Plan:
    """Put together what is asked; `part` tells the resume files of one call apart."""
    coalitions = None
    if not is_exact(explainer):
        budget = DEFAULT_BUDGET if explainer.budget is None else explainer.budget
        coalitions = sample_plan(explainer.n_regions, budget, explainer.random_state)
    seed = draw_seed(explainer.random_state) if explainer.absence in _RANDOM_ABSENCES else 0
    resume = None if explainer.resume is None else os.fspath(explainer.resume)
    return Plan(
        n_regions=explainer.n_regions,
        players=explainer.players,
        absence=explainer.absence,
        backgrounds=check_background(explainer.background, len(clouds), clouds[0].shape[1]),
        seed=seed,
        coalitions=coalitions,
        score=find_score(explainer.score),
        target=explainer.target,
        temperatures=temperatures,
        keep_answers=explainer.keep_answers,
        engine=explainer.engine,
        batch_size=explainer.batch_size,
        n_jobs=explainer.n_jobs,
        progress=explainer.progress,
        resume=resume if resume is None or part is None else f"{resume}.{part}",
        settings={
            "n_regions": int(explainer.n_regions),
            "absence": explainer.absence,
            "seed": seed,
            "score": score_name(explainer.score),
            "target": str(explainer.target),
            "output": explainer.output,
            "precision": explainer.precision,
            "keep_answers": bool(explainer.keep_answers),
        },
    )


def describe(
    explainer: "InteractionExplainer",
    model: CloudModel,
    outcome: Outcome,
    labels: np.ndarray | None,
) -> dict[str, Any]:
    """Say how an explanation was made, as JSON."""
    which = resolve_target(explainer.target, labels)
    meta = {
        "model": model.name,
        "score": score_name(explainer.score) if outcome.targets is not None else "value",
        "target": which if isinstance(which, str) else str(which),
        "n_regions": int(explainer.n_regions),
        "players": explainer.players,
        "start": explainer.start,
        "absence": explainer.absence,
        "engine": outcome.engine,
        "speedup": outcome.speedup,
        "max_error": outcome.max_error,
        "precision": explainer.precision,
        "n_clipped": model.n_clipped,
        "version": __version__,
    }
    if outcome.fallbacks:
        meta["engines_left"] = list(outcome.fallbacks)
    if outcome.noise_of_values is not None:
        meta["noise_of_values"] = outcome.noise_of_values
    if outcome.noise_by_order is not None:
        meta["noise_by_order"] = outcome.noise_by_order.tolist()
    return meta
