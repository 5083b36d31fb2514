"""The running of an explanation: cloud by cloud, through an engine, with one score each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs

from pointinteract.explanation._absence import TOKEN_ABSENCES
from pointinteract.explanation._batches import BatchSize
from pointinteract.explanation._checkpoint import Checkpoint, Finished, digest
from pointinteract.explanation._engines._choice import choose_engines
from pointinteract.explanation._engines._generic import GenericEngine
from pointinteract.explanation._engines._selfcheck import CheckedEngines
from pointinteract.explanation._game import CloudGame
from pointinteract.explanation._models import CloudModel
from pointinteract.explanation._precision import difference_by_order
from pointinteract.explanation._probes import Probe, probe_model
from pointinteract.explanation._progress import ProgressOption, progress_hook
from pointinteract.explanation._targets import target_finder

# Calls of the model between two looks at whether it is time to write a checkpoint.
CALLS_PER_BLOCK = 4
# Clouds that are also explained in single precision where less was asked for.
N_NOISE_CLOUDS = 2


@dataclass(frozen=True)
class Plan:
    """What is asked about every cloud, and how.

    Attributes
    ----------
    coalitions : ndarray of bool, shape (S, n_regions), or None
        None is all 2^n.
    backgrounds : tuple, one for each cloud
    score : callable
        From logits (S, K) and a column to values (S,).
    settings : dict
        What values depend on beside the arrays, as JSON; for checkpoints.
    """

    n_regions: int
    players: str
    absence: str
    backgrounds: tuple[np.ndarray | None, ...]
    seed: int
    coalitions: np.ndarray | None
    score: Callable[[np.ndarray, int], np.ndarray]
    target: Any
    temperatures: Sequence[float]
    keep_answers: bool
    engine: str
    batch_size: int | str | None
    n_jobs: int | None
    progress: ProgressOption
    resume: str | None
    settings: dict[str, Any]

    @property
    def n_coalitions(self) -> int:
        """Coalitions asked of each cloud."""
        return 2**self.n_regions if self.coalitions is None else len(self.coalitions)

    @property
    def full_row(self) -> int:
        """Row of the coalition of everybody."""
        if self.coalitions is None:
            return -1
        return int(np.flatnonzero(self.coalitions.all(axis=1))[0])


@dataclass(frozen=True)
class Outcome:
    """What came out of a run.

    Attributes
    ----------
    values : ndarray of float64, shape (n_temperatures, n_clouds, S)
    targets, predicted : ndarray of int, shape (n_clouds,), or None
    answers : ndarray of float32, shape (n_clouds, S, K), or None
    noise_by_order : ndarray of shape (n_regions,) or None
        Mean change of interactions by the precision asked for.
    noise_of_values : float or None
        Mean change of values by it.
    """

    values: np.ndarray
    targets: np.ndarray | None
    predicted: np.ndarray | None
    answers: np.ndarray | None
    engine: str
    speedup: float
    max_error: float
    fallbacks: tuple[str, ...]
    noise_by_order: np.ndarray | None = None
    noise_of_values: float | None = None


class Run:
    """One plan carried out for one model on prepared clouds.

    Parameters
    ----------
    plan : Plan
    model : CloudModel
    clouds, regions : tuple of ndarray
    labels : ndarray of int, shape (n_clouds,), or None
        Output columns.
    """

    def __init__(
        self,
        plan: Plan,
        model: CloudModel,
        clouds: tuple[np.ndarray, ...],
        regions: tuple[np.ndarray, ...],
        labels: np.ndarray | None,
    ) -> None:
        self.plan = plan
        self.model = model
        self.clouds = clouds
        self.regions = regions
        self.labels = labels
        self._batch_sizes: dict[int, BatchSize] = {}
        self._find_target = target_finder(plan.target, labels, model.classes)
        self._checkpoint: Checkpoint | None = None
        self._done = Finished.nothing()
        # Before any work, since it may say that there is no engine.
        self._candidates = choose_engines(plan.engine, model, plan.absence, plan.players)
        self._engines = CheckedEngines(self._candidates)

    def outcome(self) -> Outcome:
        """Do the work."""
        probe = self._probe()
        if self.plan.resume is not None:
            self._checkpoint = Checkpoint(self.plan.resume, self._settings(), probe.answers)
            self._done = self._checkpoint.read()
        if not self._done.values and self.plan.absence not in TOKEN_ABSENCES:
            self._engines = CheckedEngines(self._candidates, probe)
        self.model.n_clipped = self._done.n_clipped  # the probe's answers do not count
        name = f"Explaining {self.model.name}"
        total = self.plan.n_coalitions * len(self.clouds)
        try:
            with progress_hook(self.plan.progress, total, name) as advance:
                if self._done.values:
                    advance(self.plan.n_coalitions * len(self._done.values))
                for answers in self._all_answers(len(self._done.values), advance):
                    self._finish_cloud(answers)
        finally:
            # Also what was finished when somebody, or an error, broke off.
            if self._checkpoint is not None and (self._done.values or self._done.partial):
                self._checkpoint.write(self._done, now=True)
        return self._collect()

    def _probe(self) -> Probe:
        """Ask the model a few questions about the first cloud."""
        absence = "center" if self.plan.absence in TOKEN_ABSENCES else self.plan.absence
        try:
            return probe_model(self._game(0, absence, share_batch_size=False))
        except Exception as error:
            # What a network says of a shape it did not expect is seldom about the shape.
            error.add_note(
                f"This came up when {self.model.name} was first given masked clouds, (n_clouds, "
                f"n_points, n_channels); the first cloud has shape {self.clouds[0].shape}."
            )
            raise

    def _settings(self) -> dict[str, Any]:
        labels = [] if self.labels is None else [self.labels]
        backgrounds = [array for array in self.plan.backgrounds if array is not None]
        coalitions = [] if self.plan.coalitions is None else [self.plan.coalitions]
        return {
            **self.plan.settings,
            "temperatures": [float(value) for value in self.plan.temperatures],
            "model": self.model.name,
            "clouds": digest(self.clouds),
            "regions": digest(self.regions),
            "labels": digest(labels),
            "background": digest(backgrounds),
            "coalitions": digest(coalitions),
        }

    def _all_answers(self, first: int, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
        """Yield the answers to all coalitions, cloud by cloud."""
        if self.model.module is not None or effective_n_jobs(self.plan.n_jobs) == 1:
            yield from self._answers_here(first, advance)
            return
        parallel = Parallel(n_jobs=self.plan.n_jobs, return_as="generator")
        calls = (
            delayed(_answers_elsewhere)(self._game(number), self.plan.coalitions)
            for number in range(first, len(self.clouds))
        )
        for answers, n_clipped in parallel(calls):
            self.model.n_clipped += n_clipped
            advance(len(answers))
            yield answers

    def _answers_here(self, first: int, advance: Callable[[int], None]) -> Iterator[np.ndarray]:
        """Yield the answers cloud by cloud, from this process."""
        while first < len(self.clouds):
            if self._checkpoint is not None and isinstance(self._engines.engine, GenericEngine):
                yield self._answers_in_blocks(self._game(first), advance)
                first += 1
                continue
            end = first + 1
            limit = min(len(self.clouds), first + self._engines.group_size(self.plan.n_coalitions))
            while end < limit and self.clouds[end].shape == self.clouds[first].shape:
                end += 1
            games = [self._game(number) for number in range(first, end)]
            yield from self._engines.answers_of(games, self.plan.coalitions, advance)
            first = end

    def _answers_in_blocks(self, game: CloudGame, advance: Callable[[int], None]) -> np.ndarray:
        """Answer one cloud so that even a part of it survives an interruption."""
        assert self._checkpoint is not None
        coalitions = self.plan.coalitions
        n_coalitions = self.plan.n_coalitions
        first = sum(len(part) for part in self._done.partial)
        if first:
            advance(first)
        while first < n_coalitions:
            end = min(n_coalitions, first + CALLS_PER_BLOCK * game.batch_size.current)
            if coalitions is None:
                bits = np.arange(self.plan.n_regions)
                block = np.arange(first, end)[:, None] >> bits & 1 == 1
            else:
                block = coalitions[first:end]
            self._done.partial.append(self._engines.answers(game, block, advance))
            first = end
            self._done.n_clipped = self.model.n_clipped
            self._checkpoint.write(self._done)
        answers = np.concatenate(self._done.partial)
        self._done.partial = []
        return answers

    def _finish_cloud(self, answers: np.ndarray) -> None:
        """Score one cloud's answers, and let go of them unless they are to be kept."""
        number = len(self._done.values)
        temperatures = self.plan.temperatures
        if answers.ndim == 1:
            target = predicted = -1
            values = [answers / temperature for temperature in temperatures]
        else:
            predicted = int(answers[self.plan.full_row].argmax())
            target = self._find_target(number, predicted, answers.shape[1])
            values = [
                self.plan.score(answers if t == 1 else answers / t, target) for t in temperatures
            ]
        if self.plan.keep_answers:
            self._done.answers.append(answers.astype(np.float32))
        self._done.columns.append((target, predicted))
        # Last, since their number is that of the clouds that are finished.
        self._done.values.append(np.asarray(values, dtype=np.float64))
        self._done.n_clipped = self.model.n_clipped
        if self._checkpoint is not None:
            self._checkpoint.write(self._done)

    def _collect(self) -> Outcome:
        values = np.moveaxis(_stack_and_let_go(self._done.values), 0, 1)
        columns = np.array(self._done.columns)
        is_plain = bool((columns[:, 0] < 0).all())
        by_order, of_values = self._noise(values)
        return Outcome(
            values=values,
            targets=None if is_plain else columns[:, 0],
            predicted=None if is_plain else columns[:, 1],
            answers=_stack_and_let_go(self._done.answers) if self._done.answers else None,
            engine=self._engines.engine.name,
            speedup=self._engines.speedup,
            max_error=self._engines.max_error,
            fallbacks=tuple(self._engines.fallbacks),
            noise_by_order=by_order,
            noise_of_values=of_values,
        )

    def _noise(self, values: np.ndarray) -> tuple[np.ndarray | None, float | None]:
        """Explain a few clouds in single precision too; how far the others are from that."""
        precision = self.model.precision
        if precision == "float32":
            return None, None
        n_clipped = self.model.n_clipped
        exact = []
        self.model.precision = "float32"
        try:
            for number in range(min(N_NOISE_CLOUDS, len(self.clouds))):
                answers = self._engines.answers(self._game(number), self.plan.coalitions)
                target = self._done.columns[number][0]
                exact.append(answers if answers.ndim == 1 else self.plan.score(answers, target))
        finally:
            self.model.precision, self.model.n_clipped = precision, n_clipped
        reference, lower = np.stack(exact), values[0, : len(exact)]
        of_values = float(np.abs(lower - reference).mean())
        if self.plan.coalitions is not None:
            return None, of_values
        return difference_by_order(lower, reference), of_values

    def _game(
        self, number: int, absence: str | None = None, *, share_batch_size: bool = True
    ) -> CloudGame:
        points = self.clouds[number]
        batch_size: BatchSize | int | None = None
        if share_batch_size:
            # Clouds of one size share what was found about it.
            batch_size = self._batch_sizes.setdefault(
                len(points), BatchSize(self.plan.batch_size, self.model.batch_size(len(points)))
            )
        elif isinstance(self.plan.batch_size, int):
            batch_size = self.plan.batch_size
        return CloudGame(
            points,
            self.regions[number],
            self.plan.n_regions,
            self.model,
            absence=self.plan.absence if absence is None else absence,
            background=self.plan.backgrounds[number],
            seed=self.plan.seed,
            sample=number,
            batch_size=batch_size,
        )


def _stack_and_let_go(parts: list[np.ndarray]) -> np.ndarray:
    """Stack arrays along a new first axis and empty the list on the way.

    Memory of a new array is taken as it is written to, so both are never there in full.
    """
    stacked = np.empty((len(parts), *parts[0].shape), dtype=parts[0].dtype)
    parts.reverse()
    for row in stacked:
        row[...] = parts.pop()
    return stacked


def _answers_elsewhere(game: CloudGame, coalitions: np.ndarray | None) -> tuple[np.ndarray, int]:
    before = game.model.n_clipped
    answers = game.answers(coalitions)
    return answers, game.model.n_clipped - before
