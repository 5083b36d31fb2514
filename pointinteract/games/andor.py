"""Sparse AND-OR interactions: values split into what is explained by AND and what by OR.

Every game can be written in AND interactions alone, but an OR of k players then needs 2^k - 1
of them. Split as v = v_and + v_or + e, with AND interactions of the first, OR interactions of
the second and a bounded noise e, the same values often need few interactions altogether.
"""

from dataclasses import dataclass

import numpy as np

from pointinteract.games._butterfly import sweep_array
from pointinteract.games._splitting import Split
from pointinteract.games.coalitions import coalition_orders, n_players_of
from pointinteract.games.harsanyi import (
    moebius_transform,
    or_interactions,
    or_values,
    zeta_transform,
)
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["AndOrInteractions", "and_or_interactions"]

# Rows are solved in blocks of this many numbers, which stay in cache with their copies.
_BLOCK = 2**16

# Steps between two looks at the objective.
_CHECK_EVERY = 10

# Relaxed steps; between 1.5 and 1.8 is known to be good, and was.
_RELAXATION = 1.6

# The published recipe: momentum, and how far its learning rate falls.
_MOMENTUM = 0.9
_DECAY = 10.0


@dataclass(frozen=True, eq=False)
class AndOrInteractions:
    """Values in AND interactions, OR interactions and noise.

    Attributes
    ----------
    and_interactions : ndarray of float64, shape (..., 2^n)
        That of the empty coalition holds v(empty).
    or_interactions : ndarray of float64, shape (..., 2^n)
    residual : ndarray of float64, shape (..., 2^n)
        The noise e, with |e(T)| at most tau |v(N) - v(empty)|.
    tau : float
    objective : ndarray of float64, shape (...)
        The sum of all |I_and| and |I_or|, v(empty) left out.
    history : ndarray of float64, shape (n_checks, ...)
        The lowest objective so far, first that of the even split without noise.
    n_steps : int
        Steps taken; by the slowest block of samples, where they stopped by themselves.
    """

    and_interactions: np.ndarray
    or_interactions: np.ndarray
    residual: np.ndarray
    tau: float
    objective: np.ndarray
    history: np.ndarray
    n_steps: int

    @property
    def values(self) -> np.ndarray:
        """The values explained, AND part plus OR part plus noise; (..., 2^n)."""
        explained = zeta_transform(self.and_interactions) + or_values(self.or_interactions)
        return explained + self.residual

    @property
    def merged(self) -> "AndOrInteractions":
        """The same with OR interactions of orders 0 and 1 moved to AND, where they are equal.

        One player alone is an AND and an OR of himself. Strengths by order are taken from
        this view. The objective is that of what is held, so it can only be lower.
        """
        low = coalition_orders(n_players_of(self.and_interactions.shape[-1])) <= 1
        moved = np.where(low, self.or_interactions, 0.0)
        both, rest = self.and_interactions + moved, self.or_interactions - moved
        # v(empty) sits in the AND term of the empty coalition and is not counted.
        objective = np.abs(both[..., 1:]).sum(-1) + np.abs(rest[..., 1:]).sum(-1)
        return AndOrInteractions(
            both, rest, self.residual, self.tau, objective, self.history, self.n_steps
        )

    @property
    def strength(self) -> np.ndarray:
        """|I_and| + |I_or| of every coalition after merging, (..., 2^n), for strength by order."""
        merged = self.merged
        return np.abs(merged.and_interactions) + np.abs(merged.or_interactions)


def and_or_interactions(
    values: np.ndarray,
    *,
    tau: float = 0.04,
    solver: str = "splitting",
    n_steps: int | None = None,
    tol: float = 1e-4,
    learning_rate: float = 1e-4,
) -> AndOrInteractions:
    """Split values into the AND and OR interactions with the smallest sum of strengths.

    Parameters
    ----------
    values : ndarray, shape (..., 2^n)
        v of every coalition; all samples and classes are best given in one call.
    tau : float, default=0.04
        Noise allowed on each value, as a share of |v(N) - v(empty)|. More noise gives fewer
        interactions that match the values less closely; 0 matches them exactly.
    solver : {"splitting", "sgd"}, default="splitting"
        "splitting" alternates exact steps and is near the optimum after a hundred or so.
        "sgd" is the published recipe, subgradient descent with momentum 0.9 and a learning
        rate that falls tenfold; for comparison.
    n_steps : int or None, default=None
        At most so many steps; None means 200 for "splitting" and 10,000 for "sgd".
    tol : float, default=1e-4
        "splitting" stops when a step moves every sample by less than this share.
    learning_rate : float, default=1e-4
        First learning rate of "sgd". It must suit the scale of the values; published were
        1e-4 for point clouds, 1e-5 for images.

    Returns
    -------
    result : AndOrInteractions
        What it holds matches the values to rounding, whatever the number of steps.

    Raises
    ------
    ValueError
        If values are not finite or not 2^n, or a parameter is wrong.

    References
    ----------
    .. [1] M. Li and Q. Zhang, "Does a neural network really encode symbolic concepts?",
       ICML 2023.
    .. [2] L. Chen et al., "Defining and extracting generalizable interaction primitives from
       DNNs", ICLR 2024.

    Examples
    --------
    >>> from pointinteract.games import and_or_interactions, evaluate_all, or_game
    >>> result = and_or_interactions(evaluate_all(or_game(4, [1, 2, 3])), tau=0)
    >>> result.or_interactions.round(2)[[0b0110, 0b1110]]
    array([0., 1.])
    >>> float(result.history[0]), round(float(result.objective), 2)
    (4.0, 1.0)
    """
    check_option("solver", solver, ("splitting", "sgd"))
    tau = check_real("tau", tau, minimum=0, open_maximum=True)
    tol = check_real("tol", tol, minimum=0)
    learning_rate = check_real("learning_rate", learning_rate, minimum=0, open_minimum=True)
    limit = {"splitting": 200, "sgd": 10_000}[solver] if n_steps is None else n_steps
    limit = check_int("n_steps", limit)
    values = np.asarray(values, dtype=np.float64)
    n_players_of(values.shape[-1])
    if not np.isfinite(values).all():
        raise ValueError("values must be finite numbers; some are NaN or infinite.")

    rows = values.reshape(-1, values.shape[-1])
    centered = rows - rows[:, :1]
    bound = np.broadcast_to(tau * np.abs(centered[:, -1:]), rows.shape).copy()
    sides, noise, histories, taken = np.empty_like(rows), np.empty_like(rows), [], 0
    step = max(1, _BLOCK // rows.shape[-1])
    for first in range(0, len(rows), step):
        block = slice(first, first + step)
        if solver == "splitting":
            best, steps = _solve(centered[block], bound[block], limit, tol)
        else:
            best, steps = _descend(centered[block], bound[block], limit, learning_rate)
        sides[block], noise[block] = best.side, best.noise
        histories.append(np.array(best.history))
        taken = max(taken, steps)
    return _result(values, centered, sides, noise, tau, histories, taken)


class _Best:
    """The best split seen so far of each row, and how it got better.

    A split is given by p, the AND side of the values, and the noise; the OR side is the rest.
    """

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.side, self.noise = 0.5 * values, np.zeros_like(values)
        self.objective = _objective(values, self.side, self.noise)
        self.history = [self.objective]

    def offer(self, side: np.ndarray, noise: np.ndarray) -> None:
        objective = _objective(self.values, side, noise)
        better = objective < self.objective
        self.side[better], self.noise[better] = side[better], noise[better]
        self.objective = np.where(better, objective, self.objective)
        self.history.append(self.objective)


def _solve(values: np.ndarray, bound: np.ndarray, n_steps: int, tol: float) -> tuple[_Best, int]:
    best = _Best(values)
    bound[:, 0] = 0
    # The mean strength at the start; from a tenth to four times it, little changes.
    split = Split(values, bound, best.objective[:, None] / (2 * values.shape[-1]))
    state = split.start()
    for step in range(1, n_steps + 1):
        sparse = split.shrink(state)
        fitting = split.project(2 * sparse - state)
        move = np.subtract(fitting, sparse, out=sparse)
        move *= _RELAXATION
        state += move
        if step % _CHECK_EVERY and step < n_steps:
            continue
        best.offer(split.and_side(fitting), split.noise)
        if (_norms(move) <= tol * _norms(fitting)).all():
            break
    return best, step


def _descend(
    values: np.ndarray, bound: np.ndarray, n_steps: int, learning_rate: float
) -> tuple[_Best, int]:
    best = _Best(values)
    shift, noise = np.zeros_like(values), np.zeros_like(values)  # gamma and epsilon
    shift_speed, noise_speed = np.zeros_like(values), np.zeros_like(values)
    rates = learning_rate * np.geomspace(1, 1 / _DECAY, n_steps)
    check = max(1, n_steps // 100)
    for step, rate in enumerate(rates, start=1):
        np.clip(noise, -bound, bound, out=noise)
        half = 0.5 * (values - noise)
        of_and, of_or = _subgradients(half + shift, half - shift)
        shift_speed = _MOMENTUM * shift_speed + of_and - of_or
        noise_speed = _MOMENTUM * noise_speed - 0.5 * (of_and + of_or)
        shift -= rate * shift_speed
        noise -= rate * noise_speed
        if step % check == 0 or step == n_steps:
            allowed = np.clip(noise, -bound, bound)
            best.offer(0.5 * (values - allowed) + shift, allowed)
    return best, n_steps


def _subgradients(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the L1 norms of the AND interactions of p and the OR interactions of q."""
    both = np.stack([p, -q[..., ::-1]])
    flat = both.reshape(-1, both.shape[-1])
    sweep_array(flat, "moebius")
    np.sign(both, out=both)
    both[1, ..., 0] = 0  # not an interaction; that of the empty coalition is q(empty)
    sweep_array(flat, "undown")
    of_or = -both[1, ..., ::-1]
    of_or[..., 0] += np.sign(q[..., 0])
    return both[0], of_or


def _objective(values: np.ndarray, side: np.ndarray, noise: np.ndarray) -> np.ndarray:
    effects = np.abs(moebius_transform(side)).sum(axis=-1)
    return effects + np.abs(or_interactions(values - noise - side)).sum(axis=-1)


def _norms(state: np.ndarray) -> np.ndarray:
    """Norm of each row of a state (2, R, 2^n); (R,)."""
    return np.sqrt(np.einsum("srt,srt->r", state, state))


def _result(
    values: np.ndarray,
    centered: np.ndarray,
    sides: np.ndarray,
    noise: np.ndarray,
    tau: float,
    histories: list[np.ndarray],
    n_steps: int,
) -> AndOrInteractions:
    shape = values.shape
    of_and = moebius_transform(sides)
    of_or = or_interactions(centered - noise - sides)
    objective = np.abs(of_and).sum(axis=-1) + np.abs(of_or).sum(axis=-1)
    of_and[:, 0] += values.reshape(centered.shape)[:, 0]
    # Blocks that stopped early keep what they had.
    longest = max((len(history) for history in histories), default=1)
    padded = [np.pad(h, ((0, longest - len(h)), (0, 0)), mode="edge") for h in histories]
    history = np.concatenate(padded, axis=1) if padded else np.empty((longest, 0))
    return AndOrInteractions(
        of_and.reshape(shape),
        of_or.reshape(shape),
        noise.reshape(shape),
        tau,
        objective.reshape(shape[:-1]),
        history.reshape(longest, *shape[:-1]),
        n_steps,
    )
