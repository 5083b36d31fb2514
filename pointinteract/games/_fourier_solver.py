"""Two solvers for Fourier terms: a pursuit for sparse games, a posterior mean for all others.

Both see x = 1 - 2 T, signs of shape (S, n), and return sets of players, int16 (k, 4) filled up
with -1, with their coefficients. Screening runs in float32, what is returned in float64 where
it can be exact.
"""

from math import comb, log

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lstsq

MAX_ORDER = 4
# All sets of four among these many players, or all pairs of pairs: 2016^2.
_MAX_SCREENED = 64
# Rows used to screen sets of four; their noise is a 64th of the spread.
_SCREEN_ROWS = 4096
_PURSUIT_ROUNDS = 8
# Share of the variance below which what is left counts as rounding.
_EXACT = 1e-10
# Prior: a player's share is at least this much of the mean one; variances by order relative to
# the first; and noise. Chosen by hand, once: on PointNets at 64 regions they predicted better
# than maximizing the likelihood of a thousand coalitions for each cloud. Not tuned further.
_FLOOR = 0.03
_VARIANCES = (0.05, 1.0, 0.3, 0.1, 0.05)
_NOISE = 0.07
# The prior again, after a first look: what so many of the strongest terms turned out to be, and
# a hundredth of the first prior for all others. Two rounds of it leave a tenth to a half less of
# the variance unexplained at 64 regions; more rounds, or less for the others, hurt some clouds.
_SECOND_LOOKS = 2
_LOOKED_AT = 3000
_REST = 0.01
_SECOND_NOISE = 0.02

Terms = tuple[np.ndarray, np.ndarray]


def pursue_terms(x: np.ndarray, values: np.ndarray) -> Terms | None:
    """Add terms that stand out of the noise and solve, until nothing is left; else None."""
    n_rows, n_players = x.shape
    total = float(np.sum((values - values.mean()) ** 2))
    support = np.full((1, MAX_ORDER), -1, dtype=np.int16)
    residual = values - values.mean()
    if total <= 1e-24 * max(1.0, float(values @ values)):
        return support, values.mean(keepdims=True)
    players = _strongest_players(x, residual)
    n_candidates = sum(comb(len(players), order) for order in range(1, MAX_ORDER + 1))
    # The largest of so many correlations of noise is about the root of 2 log of their number.
    # A few that come in by chance do no harm: solved for exactly, they turn out to be zero.
    threshold = 0.9 * np.sqrt(2 * log(n_candidates + 1))
    before = total
    for _ in range(_PURSUIT_ROUNDS):
        new = _standing_out(x, residual, players, threshold, n_rows // 4)
        support = np.unique(np.concatenate([support, new]), axis=0)
        if len(support) > n_rows // 2:
            return None
        design = _signs(x, support)
        gram = design.T @ design
        try:
            coefficients = cho_solve(cho_factor(gram), design.T @ values)
        except np.linalg.LinAlgError:
            coefficients = lstsq(design, values)[0]
        residual = values - design @ coefficients
        left = float(residual @ residual)
        if left <= _EXACT * total:
            kept = np.abs(coefficients) > 1e-6 * np.abs(coefficients).max()
            return support[kept], coefficients[kept]
        # A network's score soon stops falling: its rest is many small terms.
        if left > before / 2:
            return None
        before = left
    return None


def posterior_terms(x: np.ndarray, values: np.ndarray) -> Terms:
    """Return the terms of the posterior mean, for any game.

    First under a prior that knows players only, then under ones that know which terms were
    strong: few terms of a network are, among very many that the first prior holds possible.
    """
    mean, spread = values.mean(), values.std()
    y = (values - mean) / spread
    scales = _player_scales(x, y)
    weights = np.array(_VARIANCES)
    alpha = _solve_kernel(x, y, scales, weights)
    members, coefficients = _posterior(x, alpha, scales, weights)
    for _ in range(_SECOND_LOOKS):
        coefficients = _look_again(x, y, scales, members, coefficients)
    coefficients = coefficients * spread
    coefficients[0] += mean  # row 0 is the constant
    return members, coefficients


def _look_again(
    x: np.ndarray, y: np.ndarray, scales: np.ndarray, members: np.ndarray, before: np.ndarray
) -> np.ndarray:
    """Return the coefficients of the same terms where strong ones may be as strong as they were.

    The prior deviation of each of the strongest is its coefficient, all scaled so that their
    variances sum to that of the game.
    """
    weights = _REST * np.array(_VARIANCES)
    strongest = np.argsort(-np.abs(before), kind="stable")[:_LOOKED_AT]
    spread = np.abs(before[strongest])
    total = np.sqrt(np.sum(spread**2))
    if total == 0:
        return before
    spread /= total
    features = (_signs(x, members[strongest]) * spread).astype(np.float32)
    alpha = _solve_kernel(x, y, scales, weights, features, _SECOND_NOISE)
    _, coefficients = _posterior(x, alpha, scales, weights)
    coefficients[strongest] += spread * (features.T @ alpha.astype(np.float32))
    return coefficients


def _player_scales(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the prior scale of each player from its linear and pairwise energy, (n,)."""
    n_rows, n_players = x.shape
    ridge = 1e-3 * n_rows * np.eye(n_players)
    linear = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    residual = y - x @ linear
    pairs = _pair_correlations(x, residual) / n_rows
    # What noise alone puts into a squared correlation is taken away.
    energy = np.maximum((pairs**2).sum(axis=1) - (n_players - 1) * residual.var() / n_rows, 0)
    share = _over_mean(linear**2) / 2 + _over_mean(energy) / 2
    scales = np.sqrt(_FLOOR + share)
    return scales / np.sqrt(np.sum(scales**2))


def _over_mean(numbers: np.ndarray) -> np.ndarray:
    mean = numbers.mean()
    return numbers / mean if mean > 0 else np.ones_like(numbers)


def _pair_correlations(x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the sum of r x_i x_j over rows, (n, n), with zeros on the diagonal."""
    result = x.T @ (x * residual[:, None])
    np.fill_diagonal(result, 0)
    return result


def _solve_kernel(
    x: np.ndarray,
    y: np.ndarray,
    scales: np.ndarray,
    weights: np.ndarray,
    features: np.ndarray | None = None,
    noise: float = _NOISE,
) -> np.ndarray:
    """Solve (K + features features^T + noise) alpha = y in float32, (S,)."""
    n_rows = len(x)
    x = x.astype(np.float32)
    kernel = np.zeros((n_rows, n_rows), dtype=np.float32)
    for first in range(0, n_rows, 256):
        # The lower triangle is all that is read.
        end = min(first + 256, n_rows)
        part = kernel[first:end, :end]
        part[...] = _kernel(x[first:end], x[:end], scales, weights)
        if features is not None:
            part += features[first:end] @ features[:end].T
    kernel[np.diag_indices(n_rows)] += np.float32(noise)
    factor = cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
    return cho_solve(factor, y.astype(np.float32), check_finite=False).astype(np.float64)


def _kernel(x: np.ndarray, z: np.ndarray, scales: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the sum over orders d of w_d e_d(t_i x_i z_i), for rows of x and z.

    e_d are the elementary symmetric polynomials up to 4, by Newton's identities from power
    sums, of which the even ones are constant since x^2 = 1.
    """
    t = scales.astype(np.float32)
    p1 = (x * t) @ z.T
    p3 = (x * t**3) @ z.T
    p2, p4 = float(np.sum(scales**2)), float(np.sum(scales**4))
    w0, w1, w2, w3, w4 = (float(weight) for weight in weights)
    constant = w0 - w2 * p2 / 2 + w4 * (3 * p2**2 - 6 * p4) / 24
    result = p1 * np.float32(w4 / 24)
    result += np.float32(w3 / 6)
    result *= p1
    result += np.float32(w2 / 2 - w4 * p2 / 4)
    result *= p1
    result += np.float32(w1 - w3 * p2 / 2)
    result += np.float32(w4 / 3) * p3
    result *= p1
    result += np.float32(w3 / 3) * p3
    result += np.float32(constant)
    return result


def _posterior(x: np.ndarray, alpha: np.ndarray, scales: np.ndarray, weights: np.ndarray) -> Terms:
    """Return sets and coefficients w_d (product of t_i) (sum of alpha times signs), by order."""
    n_players = x.shape[1]
    everybody = np.arange(n_players)
    strongest = np.argsort(-scales, kind="stable")
    few = np.sort(strongest[: _MAX_SCREENED * 2])
    fewer = np.sort(strongest[: _MAX_SCREENED // 2])
    constant = np.full((1, MAX_ORDER), -1, dtype=np.int16)
    blocks = [(constant, np.array([weights[0] * alpha.sum()]))]
    for order, players in enumerate((everybody, everybody, few, fewer), start=1):
        members, sums = _correlations(x, alpha, players, order)
        share = np.prod(np.where(members >= 0, scales[members], 1.0), axis=1)
        blocks.append((members, weights[order] * share * sums))
    members, coefficients = zip(*blocks, strict=True)
    return np.concatenate(members), np.concatenate(coefficients)


def _strongest_players(x: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Return the players among whom sets of three and four are looked for, ascending."""
    n_players = x.shape[1]
    if n_players <= _MAX_SCREENED:
        return np.arange(n_players)
    pairs = _pair_correlations(x, residual)
    energy = (x.T @ residual) ** 2 + (pairs**2).sum(axis=1)
    return np.sort(np.argsort(-energy, kind="stable")[:_MAX_SCREENED])


def _standing_out(
    x: np.ndarray, residual: np.ndarray, players: np.ndarray, threshold: float, most: int
) -> np.ndarray:
    """Return the sets of up to four whose correlation with the residual is no chance, (k, 4)."""
    found, strength = [], []
    everybody = np.arange(x.shape[1])
    for order in range(1, MAX_ORDER + 1):
        rows = slice(0, _SCREEN_ROWS if order == MAX_ORDER else None)
        left = residual[rows]
        scale = threshold * np.sqrt(left @ left)
        members, sums = _correlations(
            x[rows], left, everybody if order <= 2 else players, order, scale
        )
        found.append(members)
        strength.append(np.abs(sums) / scale)
    sets, excess = np.concatenate(found), np.concatenate(strength)
    return sets[np.argsort(-excess, kind="stable")[:most]]


def _correlations(
    x: np.ndarray, numbers: np.ndarray, players: np.ndarray, order: int, least: float = 0.0
) -> Terms:
    """Return all sets of `order` players, and the sums of numbers times signs over rows.

    Only those of absolute value above `least`, if it is positive.
    """
    few = x[:, players].astype(np.float32 if order >= 3 else np.float64)
    numbers = numbers.astype(few.dtype)
    if len(players) < order:
        return np.empty((0, MAX_ORDER), dtype=np.int16), np.empty(0)
    if order == 1:
        chosen: tuple[np.ndarray, ...] = (np.arange(len(players)),)
        sums = few.T @ numbers
    elif order == 2:
        chosen = np.triu_indices(len(players), 1)
        sums = (few.T @ (few * numbers[:, None]))[chosen]
    elif order == 3:
        chosen, sums = _triples(few, numbers, least)
    else:
        chosen, sums = _quadruples(few, numbers, least)
    members = np.full((len(sums), MAX_ORDER), -1, dtype=np.int16)
    for column, positions in enumerate(chosen):
        members[:, column] = players[positions]
    keep = np.abs(sums) > least if least > 0 else slice(None)
    return members[keep], sums[keep].astype(np.float64)


def _triples(
    x: np.ndarray, numbers: np.ndarray, least: float
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    sets, sums = [], []
    for i in range(x.shape[1] - 2):
        rest = x[:, i + 1 :]
        table = rest.T @ (rest * (numbers * x[:, i])[:, None])
        j, k = np.triu_indices(len(table), 1)
        row = table[j, k]
        keep = np.abs(row) >= least
        sets.append(np.stack([np.full(int(keep.sum()), i), j[keep] + i + 1, k[keep] + i + 1]))
        sums.append(row[keep])
    return tuple(np.concatenate(sets, axis=1)), np.concatenate(sums)


def _quadruples(
    x: np.ndarray, numbers: np.ndarray, least: float
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    sets, sums = [], []
    for j in range(1, x.shape[1] - 2):
        # Pairs (i, j) with i < j against pairs (k, l) with j < k < l: each set comes once.
        k, m = np.triu_indices(x.shape[1] - j - 1, 1)
        k, m = k + j + 1, m + j + 1
        left = x[:, :j] * (numbers * x[:, j])[:, None]
        table = left.T @ (x[:, k] * x[:, m])
        i, pair = np.nonzero(np.abs(table) >= least)
        sets.append(np.stack([i, np.full(len(i), j), k[pair], m[pair]]))
        sums.append(table[i, pair])
    return tuple(np.concatenate(sets, axis=1)), np.concatenate(sums)


def _signs(x: np.ndarray, members: np.ndarray) -> np.ndarray:
    padded = np.hstack([x, np.ones((len(x), 1))])
    result = np.ones((len(x), len(members)))
    for column in members.T:
        result *= padded[:, column]
    return result
