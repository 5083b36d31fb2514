"""The convex problem of the AND-OR split, solved by alternating two exact steps.

Minimize |I_and|_1 + |I_or|_1 over all ways of writing u = p + q + e with |e(T)| at most a
bound, I_and the Moebius transform of p, and I_or that of the dual of q. Subgradient descent
crawls here, since the transform stretches some directions a thousand times more than others.
Both halves of the problem have exact solutions, though: shrinking the interactions needs no
transform, and projecting onto what fits the values is a Kronecker product of 2 x 2 matrices,
one per player. Douglas-Rachford splitting alternates the two.

The OR side is held as r(T) = -q(N without T), so that both sides are plain Moebius transforms
and go through every sweep as one array (2, R, 2^n).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from pointinteract.games._butterfly import Shear, sweep_array
from pointinteract.games.coalitions import coalition_orders, n_players_of

__all__ = ["Split"]

# Per player, Z Z^T for the map Z from AND interactions to values; that of OR is its mirror.
_AND_SQUARE = np.array([[1.0, 1.0], [1.0, 2.0]])

# With fewer the noise lags behind, with more a step costs more than it saves.
_INNER_STEPS = 8
_POWER_STEPS = 20


class _Factors(NamedTuple):
    """A 2 x 2 matrix per player as lower shear times scaling times upper shear."""

    lower: float
    upper: float
    scale: np.ndarray


class Split:
    """The two steps, for R games at once. A state is I_and of p and of r, (2, R, 2^n).

    Parameters
    ----------
    values : ndarray, shape (R, 2^n)
        u, zero at the empty coalition.
    bound : ndarray, shape (R, 2^n)
        Largest |e| allowed, zero at the empty coalition.
    threshold : ndarray, shape (R, 1)
        How much is shrunk per step; a matter of speed only.

    Attributes
    ----------
    noise : ndarray, shape (R, 2^n)
        e of the last projection.
    """

    def __init__(self, values: np.ndarray, bound: np.ndarray, threshold: np.ndarray) -> None:
        self.values = values
        self.bound = bound
        self.threshold = _thresholds(values, threshold)
        self.noise = np.zeros_like(values)
        self.is_noisy = bool(bound.any())
        self.factors, self.weights, self.largest = _joint_metric(n_players_of(values.shape[-1]))

    def start(self) -> np.ndarray:
        """Return the state at which nothing has been done: both sides hold u / 2."""
        return _swept(np.stack([0.5 * self.values, -0.5 * self.values[..., ::-1]]), "moebius")

    def shrink(self, state: np.ndarray) -> np.ndarray:
        """Return the sparser state near the given one."""
        result = np.clip(state, -self.threshold, self.threshold)
        return np.subtract(state, result, out=result)

    def project(self, state: np.ndarray) -> np.ndarray:
        """Return the nearest state that gives the values, but for a noise within its bound."""
        sides = _swept(state, "zeta")
        missing = self.values - sides[0] + sides[1, ..., ::-1]
        if self.is_noisy:
            self.noise = self._nearest_noise(missing)
            missing -= self.noise
        _sandwich(missing, self.factors, self.weights)
        correction = np.stack([missing, -missing[..., ::-1]])
        _sweep(correction, "down")
        correction += state
        return correction

    def and_side(self, state: np.ndarray) -> np.ndarray:
        """Return p, (R, 2^n), of a state."""
        return _swept(state[0], "zeta")

    def _nearest_noise(self, missing: np.ndarray) -> np.ndarray:
        """Choose the noise that leaves the smallest correction, from that of the last time on.

        A few accelerated gradient steps: the rest is made up for by the steps to come.
        """
        noise = ahead = self.noise
        momentum = 1.0
        for _ in range(_INNER_STEPS):
            gain = missing - ahead
            _sandwich(gain, self.factors, self.weights)
            gain /= self.largest
            gain += ahead
            np.clip(gain, -self.bound, self.bound, out=gain)
            last, momentum = momentum, (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = gain - noise
            ahead *= (last - 1) / momentum
            ahead += gain
            noise = gain
        return noise


def _thresholds(values: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """Per side and coalition. At the empty one r holds -q(N), which is no interaction.

    What is one, q(empty), is -p(empty) there since u and e are zero, and p counts for both.
    """
    result = np.empty((2, *values.shape))
    result[:] = threshold
    result[0, :, 0] *= 2
    result[1, :, 0] = 0
    return result


def _sweep(numbers: np.ndarray, kind: str | Shear) -> None:
    sweep_array(numbers.reshape(-1, numbers.shape[-1]), kind)


def _swept(numbers: np.ndarray, kind: str) -> np.ndarray:
    result = np.array(numbers, order="C")
    _sweep(result, kind)
    return result


def _sandwich(numbers: np.ndarray, factors: _Factors, weights: np.ndarray) -> None:
    """Apply W diag(weights) W^T in place, W the Kronecker product of the factored matrix."""
    lower, upper, scale = factors
    _sweep(numbers, Shear(True, lower))
    numbers *= scale
    _sweep(numbers, Shear(False, upper))
    numbers *= weights
    _sweep(numbers, Shear(True, upper))
    numbers *= scale
    _sweep(numbers, Shear(False, lower))


@lru_cache(maxsize=8)
def _joint_metric(n_players: int) -> tuple[_Factors, np.ndarray, float]:
    """Factors, weights and largest eigenvalue of (Z Z^T + Y Y^T)^-1.

    Z and Y are the maps from AND and OR interactions to values. Their squares do not commute,
    but one change of basis, the same for every player, makes both diagonal.
    """
    eigenvalues, vectors = eigh(_AND_SQUARE[::-1, ::-1], _AND_SQUARE)
    factors = _factor(vectors, n_players)
    weights = 1 / (1 + _products(eigenvalues, n_players))
    # Power iteration comes from below, hence the margin.
    vector = (-1.0) ** coalition_orders(n_players)[None]
    for _ in range(_POWER_STEPS):
        vector /= np.linalg.norm(vector)
        _sandwich(vector, factors, weights)
    return factors, weights, 1.05 * float(np.linalg.norm(vector))


def _factor(matrix: np.ndarray, n_players: int) -> _Factors:
    (a, b), (c, d) = matrix
    return _Factors(c / a, b / a, _products(np.array([a, d - c * b / a]), n_players))


def _products(pair: np.ndarray, n_players: int) -> np.ndarray:
    """Return the Kronecker power: the first number per absent, the second per present player."""
    orders = coalition_orders(n_players)
    return pair[0] ** (n_players - orders) * pair[1] ** orders
