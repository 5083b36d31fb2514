"""One number out of a model's answer: the score whose interactions are measured.

Every answer is first brought to logits in float64; logarithms of probabilities are logits too.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from pointinteract.utils._params import check_option

# Probabilities are kept above this before their logarithm is taken. Single-precision models
# cannot tell 1 from 1 - 6e-8, so nothing finer is known on the other side either.
PROBABILITY_FLOOR = 1e-7

# Rows worked on at a time: their copies stay in the cache of a processor.
_CHUNK = 2048

ScoreFunction = Callable[[np.ndarray, int], np.ndarray]


def log_odds(logits: np.ndarray, target: int) -> np.ndarray:
    """log p / (1 - p) of the target class, without ever forming 1 - p; (S, K) to (S,)."""
    if logits.shape[1] < 2:
        raise ValueError("score='log_odds' compares a class with the others; the model has one.")
    return logits[:, target] - _log_sum_of_others(logits, target)


def logit(logits: np.ndarray, target: int) -> np.ndarray:
    """Logit of the target class."""
    return logits[:, target].copy()


def log_probability(logits: np.ndarray, target: int) -> np.ndarray:
    """Logarithm of the probability of the target class."""
    return logits[:, target] - _log_sum_exp(logits)


def probability(logits: np.ndarray, target: int) -> np.ndarray:
    """Probability of the target class."""
    return np.exp(log_probability(logits, target))


def margin(logits: np.ndarray, target: int) -> np.ndarray:
    """Logit of the target class less that of the best other one."""
    if logits.shape[1] < 2:
        raise ValueError("score='margin' compares a class with the others; the model has one.")
    return logits[:, target] - np.delete(logits, target, axis=1).max(axis=1)


SCORES: dict[str, ScoreFunction] = {
    "log_odds": log_odds,
    "logit": logit,
    "log_probability": log_probability,
    "probability": probability,
    "margin": margin,
}
# Those that a shift of all logits changes, so that probabilities do not determine them.
NEED_LOGITS = ("logit",)


def find_score(score: str | ScoreFunction) -> ScoreFunction:
    """Return the function of a named score, or the callable that came with its answers checked."""
    if callable(score):
        return partial(_checked, score)
    return SCORES[check_option("score", score, tuple(SCORES))]


def score_name(score: str | ScoreFunction) -> str:
    """Name a score, for files and titles."""
    return score if isinstance(score, str) else getattr(score, "__name__", type(score).__name__)


def _checked(score: ScoreFunction, logits: np.ndarray, target: int) -> np.ndarray:
    """Ask a score that a user wrote, and raise if its answer is not one number for each row."""
    values = np.asarray(score(logits, target), dtype=np.float64)
    name = score_name(score)
    if values.shape != (len(logits),):
        raise ValueError(
            f"score {name} must map logits {logits.shape} and a column to values "
            f"({len(logits)},), one for each row; got shape {values.shape}."
        )
    n_bad = int((~np.isfinite(values)).sum())
    if n_bad:
        raise ValueError(f"score {name} gave NaN or infinity for {n_bad} of {len(values)} rows.")
    return values


def _log_sum_of_others(logits: np.ndarray, target: int) -> np.ndarray:
    """log of the sum of exp over every column but one, (S, K) to (S,), chunk by chunk."""
    total = np.empty(len(logits))
    for first in range(0, len(logits), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        others = np.delete(logits[chunk], target, axis=1)
        total[chunk] = _log_sum_exp_in_place(others)
    return total


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    total = np.empty(len(logits))
    for first in range(0, len(logits), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        total[chunk] = _log_sum_exp_in_place(np.array(logits[chunk], dtype=np.float64))
    return total


def _log_sum_exp_in_place(rows: np.ndarray) -> np.ndarray:
    largest = rows.max(axis=1)
    np.exp(np.subtract(rows, largest[:, None], out=rows), out=rows)
    return largest + np.log(rows.sum(axis=1))


def logits_of_probabilities(probabilities: np.ndarray) -> tuple[np.ndarray, int]:
    """Return log p, and how many clouds had a probability below the floor; (S, K) to (S, K)."""
    sums = probabilities.sum(axis=1)
    if (probabilities < -1e-6).any() or np.abs(sums - 1).max(initial=0) > 1e-3:
        raise ValueError(
            "the model's answers were taken as probabilities, but rows are not between 0 and 1 "
            f"summing to 1 (sums from {sums.min():.4g} to {sums.max():.4g}); if they are "
            "logits, use output='logits'."
        )
    n_clipped = int((probabilities < PROBABILITY_FLOOR).any(axis=1).sum())
    return np.log(np.clip(probabilities, PROBABILITY_FLOOR, 1.0)), n_clipped
