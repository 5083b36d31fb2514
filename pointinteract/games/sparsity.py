"""How few interactions say almost everything: salient sets, strength curves, matching error."""

from collections.abc import Sequence

import numpy as np

from pointinteract.games.coalitions import n_players_of
from pointinteract.games.harsanyi import or_values, zeta_transform
from pointinteract.utils._params import check_int, check_real

__all__ = ["matching_error", "salient", "sparsity_curve"]


def salient(
    interactions: np.ndarray,
    or_interactions: np.ndarray | None = None,
    *,
    threshold: float = 0.05,
) -> np.ndarray:
    """Mark the interactions that are not negligible beside the strongest one.

    Parameters
    ----------
    interactions : ndarray, shape (..., 2^n)
        AND interactions.
    or_interactions : ndarray, shape (..., 2^n), or None, default=None
        OR interactions of the same samples, judged against the same maximum.
    threshold : float, default=0.05
        Share of the largest |I(S)| of the sample that must be exceeded.

    Returns
    -------
    salient : ndarray of bool, shape (..., 2^n), or (2, ..., 2^n) with OR interactions
        False for the empty coalition, whose value is no interaction, and everywhere where
        all interactions are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import salient
    >>> salient(np.array([9.0, 1.0, -10.0, 0.3]))
    array([False,  True,  True, False])
    """
    threshold = check_real("threshold", threshold, minimum=0, maximum=1, open_maximum=True)
    strength = _strengths(interactions, or_interactions)
    if np.isnan(strength).any():
        raise ValueError("interactions must be numbers; some are NaN, and so may be salient.")
    largest = strength.max(axis=(0, -1), keepdims=True)
    result = strength > threshold * largest
    return result[0] if or_interactions is None else result


def sparsity_curve(
    interactions: np.ndarray,
    or_interactions: np.ndarray | None = None,
    *,
    relative: bool = True,
) -> np.ndarray:
    """Sort the strengths of one sample's interactions, the strongest first.

    Parameters
    ----------
    interactions : ndarray, shape (..., 2^n)
        AND interactions.
    or_interactions : ndarray, shape (..., 2^n), or None, default=None
        OR interactions, sorted in among the others.
    relative : bool, default=True
        Divide by the sample's largest strength; a sample without any gives NaN.

    Returns
    -------
    curve : ndarray, shape (..., K)
        K = 2^n - 1, or twice as many with OR interactions.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import sparsity_curve
    >>> sparsity_curve(np.array([9.0, 1.0, -10.0, 0.5]))
    array([1.  , 0.1 , 0.05])
    """
    strength = np.moveaxis(_strengths(interactions, or_interactions)[..., 1:], 0, -2)
    curve = -np.sort(-strength.reshape(*strength.shape[:-2], -1), axis=-1)
    if not relative:
        return curve
    largest = curve[..., :1]
    return np.divide(curve, largest, out=np.full_like(curve, np.nan), where=largest > 0)


def matching_error(
    interactions: np.ndarray,
    or_interactions: np.ndarray | None = None,
    *,
    n_kept: Sequence[int],
    values: np.ndarray | None = None,
) -> np.ndarray:
    """Measure how well the k strongest interactions alone rebuild the values.

    Parameters
    ----------
    interactions : ndarray, shape (..., 2^n)
        AND interactions.
    or_interactions : ndarray, shape (..., 2^n), or None, default=None
        OR interactions; the k strongest are chosen among both.
    n_kept : sequence of int
        How many to keep, for each point of the curve; numbers above those there are mean all.
    values : ndarray, shape (..., 2^n), or None, default=None
        The values to rebuild. None takes those that all the interactions together give;
        pass the model's own where a noise term was taken off them.

    Returns
    -------
    error : ndarray, shape (..., len(n_kept))
        sum over T of (rebuilt(T) - v(T))^2 / sum over T of (v(T) - v(empty))^2: 1 or so
        with nothing kept but the empty coalition, 0 for a perfect match; NaN for a constant
        sample.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import matching_error
    >>> matching_error(np.array([0.0, 3.0, 0.0, 1.0]), n_kept=[0, 1, 2])
    array([1.  , 0.04, 0.  ])
    """
    both = _stack(interactions, or_interactions)
    rebuilt = _values(both)
    target = rebuilt if values is None else np.asarray(values, dtype=np.float64)
    if target.shape != rebuilt.shape:
        raise ValueError(
            f"values must have the shape of the interactions, {rebuilt.shape}, got {target.shape}."
        )
    kept = [check_int("n_kept", count, minimum=0) for count in n_kept]
    rank = _ranks(both)
    scale = ((target - target[..., :1]) ** 2).sum(axis=-1)
    errors = []
    for count in kept:
        left = _values(np.where(rank < count, both, 0.0))
        errors.append(((left - target) ** 2).sum(axis=-1))
    error = np.stack(errors, axis=-1)
    return np.divide(
        error, scale[..., None], out=np.full_like(error, np.nan), where=scale[..., None] > 0
    )


def _ranks(both: np.ndarray) -> np.ndarray:
    """Place of each interaction by strength, 0 the strongest; the empty coalitions stay in."""
    strength = np.moveaxis(np.abs(both), 0, -2)
    strength[..., 0] = np.inf
    flat = strength.reshape(*strength.shape[:-2], -1)
    # Stable, so that among equals the lower coalition is kept and repeats agree.
    order = np.argsort(-flat, axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(flat.shape[-1]), flat.shape), -1)
    return np.moveaxis(rank.reshape(strength.shape), -2, 0) - len(both)


def _values(both: np.ndarray) -> np.ndarray:
    values = zeta_transform(both[0])
    return values if len(both) == 1 else values + or_values(both[1])


def _strengths(interactions: np.ndarray, or_interactions: np.ndarray | None) -> np.ndarray:
    strength = np.abs(_stack(interactions, or_interactions))
    strength[..., 0] = 0.0
    return strength


def _stack(interactions: np.ndarray, or_interactions: np.ndarray | None) -> np.ndarray:
    """Return AND, or AND and OR, interactions as float64 (1 or 2, ..., 2^n)."""
    sides = [np.asarray(interactions, dtype=np.float64)]
    n_players_of(sides[0].shape[-1])
    if or_interactions is not None:
        sides.append(np.asarray(or_interactions, dtype=np.float64))
        if sides[1].shape != sides[0].shape:
            raise ValueError(
                "or_interactions must have the shape of interactions, "
                f"{sides[0].shape}, got {sides[1].shape}."
            )
    return np.stack(sides)
