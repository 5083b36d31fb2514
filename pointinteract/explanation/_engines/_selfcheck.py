"""Engines that are believed only as far as plain forwards agree with them, cloud by cloud."""

import time
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from pointinteract.exceptions import PointInteractWarning
from pointinteract.explanation._batches import forget_failed_batch, is_out_of_memory
from pointinteract.explanation._engines._base import Advance, Engine
from pointinteract.explanation._engines._generic import GenericEngine

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._probes import Probe

# Relative to the largest answer; rounding in another order of summing stays far below.
TOLERANCE = 1e-4
# In half precision rounding itself is of this size.
HALF_TOLERANCE = 0.05
# Coalitions of the first cloud that are also answered plainly. Of each further one at least one,
# and more up to so many where that adds no more than this share to the time.
N_CHECKS = 8
CHECK_SHARE = 0.05
# Where an engine is so fast that one plain forward is felt, those of several clouds share a batch.
# Their answers wait for it, so many bytes of them at most.
GROUP = 8
GROUP_BYTES = 1 << 23


class CheckedEngines:
    """Answers clouds with the first engine that keeps agreeing with plain forwards.

    Parameters
    ----------
    engines : list of Engine
        In the order of preference. Plain forwards themselves are not checked.
    probe : Probe, optional
        What plain forwards answered to some coalitions of the first cloud.

    Attributes
    ----------
    max_error : float
        Largest disagreement so far of the engine in use, relative to the largest answer.
    fallbacks : list of str
        Engines that were left.
    """

    def __init__(self, engines: list[Engine], probe: "Probe | None" = None) -> None:
        self._engines = list(engines)
        self.max_error = 0.0
        self.fallbacks: list[str] = []
        self._n_clouds = 0
        self._answer_bytes = 0  # of one coalition
        self._probe = probe
        # Of a coalition, in plain forwards.
        self._plain_seconds = [] if probe is None else [probe.seconds]
        self._own_seconds: list[float] = []  # per coalition, the check included

    @property
    def engine(self) -> Engine:
        """The engine in use."""
        return self._engines[0]

    @property
    def speedup(self) -> float:
        """How many times faster than plain forwards, the check included, as measured."""
        if not self._plain_seconds or not self._own_seconds:
            return 1.0
        return float(min(self._plain_seconds) / np.median(self._own_seconds))

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        """Answer coalitions (all by default) of one cloud, float64 (S, K) or (S,)."""
        with game.model.session():
            while not isinstance(self.engine, GenericEngine):
                counted = _Counted(advance)
                answers = self._try(game, coalitions, counted)
                if answers is not None:
                    self._n_clouds += 1
                    self._probe = None
                    counted(len(answers) - counted.total)
                    return answers
                counted(-counted.total)
                self._leave_engine(game)
            return self.engine.answers(game, coalitions, advance)

    def group_size(self, n_coalitions: int) -> int:
        """How many clouds `answers_of` should be given at a time, with so many coalitions each."""
        if not self._own_seconds or self._answer_bytes == 0:
            return 1  # the first cloud of an engine is checked alone, and more closely
        n_bytes = self._answer_bytes * n_coalitions
        if self._n_checks(self._own_seconds[-1] * n_coalitions) > 1:
            return 1
        return int(np.clip(GROUP_BYTES // n_bytes, 1, GROUP))

    def answers_of(
        self,
        games: list["CloudGame"],
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the answers of several clouds, with one batch of plain forwards to check all.

        Clouds must be of one size. As :meth:`answers`, which does what cannot be shared.
        """
        if len(games) > 1 and all(map(self._can_share_check, games)):
            yield from self._answers_together(games, coalitions, advance)
        else:
            for game in games:
                yield self.answers(game, coalitions, advance)

    def _can_share_check(self, game: "CloudGame") -> bool:
        is_plain = type(self.engine).reference is Engine.reference
        return is_plain and game.has_masked_clouds and game.absence.constant

    def _answers_together(
        self,
        games: list["CloudGame"],
        coalitions: np.ndarray | None,
        advance: Advance | None,
    ) -> Iterator[np.ndarray]:
        model = games[0].model
        n_clipped = model.n_clipped
        started = time.perf_counter()
        try:
            with model.session():
                found = [self.engine.answers(game, coalitions) for game in games]
                n_clipped_once = model.n_clipped
                rows = [
                    check_rows(len(found[0]), self._n_clouds + number, 1)
                    for number in range(len(games))
                ]
                masked = [
                    game.absence.masked(
                        torch.tensor(coalitions_at(row, game.n_players, coalitions)).to(
                            game.points.device
                        )
                    )
                    for game, row in zip(games, rows, strict=True)
                ]
                plain = model.evaluate(torch.cat(masked))
        except Exception:  # whatever it is, it comes again where its cloud is answered alone
            forget_failed_batch()
            model.n_clipped = n_clipped
            for game in games:
                yield self.answers(game, coalitions, advance)
            return
        model.n_clipped = n_clipped_once  # answers to checks do not count
        seconds = (time.perf_counter() - started) / len(games) / len(found[0])
        errors = [
            _relative(answers[row], plain[number : number + 1])
            for number, (answers, row) in enumerate(zip(found, rows, strict=True))
        ]
        if not all(error <= _tolerance(games[0]) for error in errors):  # NaN is none of them
            model.n_clipped = n_clipped
            for game in games:  # which finds the cloud that is meant, and warns
                yield self.answers(game, coalitions, advance)
            return
        self.max_error = max(self.max_error, *errors)
        self._n_clouds += len(games)
        for answers in found:
            self._own_seconds.append(seconds)
            if advance is not None:
                advance(len(answers))
            yield answers

    def _leave_engine(self, game: "CloudGame") -> None:
        left = self._engines.pop(0)
        self.fallbacks.append(left.name)
        self._own_seconds, self.max_error, self._n_clouds = [], 0.0, 0
        if not self._engines:
            raise RuntimeError(
                f"the engine {left.name!r} does not agree with {game.model.name}, and no other "
                f"engine can serve absence={game.absence.name!r}; see the warning before this."
            )

    def _try(
        self, game: "CloudGame", coalitions: np.ndarray | None, advance: Advance
    ) -> np.ndarray | None:
        """Answer with the first engine and check; None if it is to be left."""
        started = time.perf_counter()
        n_clipped = game.model.n_clipped
        try:
            answers = self.engine.answers(game, coalitions, advance)
            n_clipped_once = game.model.n_clipped
            seconds = time.perf_counter() - started
            error = self._check(game, coalitions, answers, seconds)
            game.model.n_clipped = n_clipped_once  # answers to checks do not count
        except Exception as problem:
            # A wrong description of a network can fail in any way; plain forwards decide.
            if is_out_of_memory(problem):
                raise
            game.model.n_clipped = n_clipped
            self._warn(game, f"failed ({type(problem).__name__}: {problem})")
            return None
        if not error <= _tolerance(game):
            game.model.n_clipped = n_clipped
            self._warn(game, f"is off by {error:.2g} of the largest answer")
            return None
        self.max_error = max(self.max_error, error)
        self._own_seconds.append((time.perf_counter() - started) / len(answers))
        self._answer_bytes = answers.nbytes // len(answers)
        return answers

    def _check(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None,
        answers: np.ndarray,
        seconds: float,
    ) -> float:
        """Answer a few of the coalitions plainly; return the largest relative difference."""
        is_plain = type(self.engine).reference is Engine.reference
        if not game.has_masked_clouds and is_plain:
            return 0.0  # nothing plain to compare with
        if self._probe is not None and coalitions is None and is_plain:
            # Asked of the first cloud already; serves any engine that is tried on it.
            chosen, plain = self._probe.coalitions, self._probe.answers
            rows = chosen @ (1 << np.arange(game.n_players))
        else:
            rows = check_rows(len(answers), self._n_clouds, self._n_checks(seconds))
            started = time.perf_counter()
            plain = self.engine.reference(game, coalitions_at(rows, game.n_players, coalitions))
            self._plain_seconds.append((time.perf_counter() - started) / len(rows))
        return _relative(answers[rows], plain)

    def _n_checks(self, seconds: float) -> int:
        """How many coalitions to check of a cloud that took the engine so long."""
        if self._n_clouds == 0 or not self._plain_seconds:
            return N_CHECKS
        affordable = CHECK_SHARE * seconds / min(self._plain_seconds)
        return int(np.clip(affordable, 1, N_CHECKS))

    def _warn(self, game: "CloudGame", what: str) -> None:
        following = f"; going on with {self._engines[1].name!r}" if self._engines[1:] else ""
        warnings.warn(
            f"the engine {self.engine.name!r} {what} on {game.model.name}, compared with plain "
            f"forwards{following}. What the network says about its structure does not hold.",
            PointInteractWarning,
            stacklevel=9,
        )


def _relative(answers: np.ndarray, plain: np.ndarray) -> float:
    """Largest difference of answers (s, K), relative to the largest plain one."""
    if plain.shape != answers.shape:
        return np.inf
    return float(np.abs(answers - plain).max() / max(np.abs(plain).max(), 1e-12))


def _tolerance(game: "CloudGame") -> float:
    return TOLERANCE if game.model.precision == "float32" else HALF_TOLERANCE


class _Counted:
    """Passes progress on, and knows how much of it can be taken back."""

    def __init__(self, advance: Advance | None) -> None:
        self._advance = advance
        self.total = 0

    def __call__(self, steps: int) -> None:
        self.total += steps
        if self._advance is not None and steps:
            self._advance(steps)


def check_rows(n_coalitions: int, cloud: int, n_checks: int) -> np.ndarray:
    """Choose which of so many coalitions are checked of a cloud; other ones of each cloud.

    Of the first cloud the first and the last are among them, which in the enumeration are
    nothing and everything.
    """
    draw = np.random.default_rng([cloud, n_coalitions])
    rows = draw.choice(n_coalitions, min(n_checks, n_coalitions), replace=False)
    if cloud == 0:
        rows[:2] = (0, n_coalitions - 1)[: len(rows)]
    return np.unique(rows)


def coalitions_at(rows: np.ndarray, n_players: int, coalitions: np.ndarray | None) -> np.ndarray:
    """Return rows (s, n) of the coalitions, None being the enumeration of all."""
    if coalitions is not None:
        return np.asarray(coalitions)[rows]
    return np.asarray(rows)[:, None] >> np.arange(n_players) & 1 == 1
