"""Harsanyi interactions: from the values of all coalitions to their effects, and back.

The AND interaction of S is what its members add by being there *together*, beyond every
smaller group. The OR interaction of S is what arrives as soon as *any* member is there.
All transforms work along the last axis (2^n, in the order of
:func:`~pointinteract.games.all_coalitions`), batch over all others, and cost n 2^(n-1)
subtractions each instead of the 4^n of the defining sum. Give them all samples and classes
in one call: each column then costs little more than reading and writing it.
"""

from typing import TypeVar

import numpy as np
import torch

from pointinteract.games._butterfly import sweep_array, sweep_tensor
from pointinteract.games.coalitions import n_players_of

__all__ = [
    "and_interactions",
    "fourier_transform",
    "inverse_fourier_transform",
    "moebius_transform",
    "or_interactions",
    "or_values",
    "superset_sums",
    "zeta_transform",
]

Values = TypeVar("Values", np.ndarray, torch.Tensor)


def moebius_transform(values: Values) -> Values:
    """Turn coalition values into interactions, I(S) = sum over T in S of (-1)^(|S|-|T|) v(T).

    Parameters
    ----------
    values : ndarray or Tensor, shape (..., 2^n)
        v of every coalition.

    Returns
    -------
    interactions : ndarray or Tensor, shape (..., 2^n)
        I of every coalition; that of the empty one is v(empty). Arrays are computed and
        returned in float64. Tensors keep dtype and device and are differentiable; pass
        float64 where high orders matter, since rounding grows like 2^(|S|/2).

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import moebius_transform
    >>> moebius_transform(np.array([0.0, 1.0, 2.0, 7.0]))
    array([0., 1., 2., 4.])
    """
    return _transform(values, "moebius")


def zeta_transform(interactions: Values) -> Values:
    """Turn interactions back into values, v(T) = sum over S in T of I(S).

    The inverse of :func:`moebius_transform`, with the same shapes and types.
    """
    return _transform(interactions, "zeta")


def and_interactions(values: Values) -> Values:
    """Return the AND interactions; another name of :func:`moebius_transform`."""
    return moebius_transform(values)


def or_interactions(values: Values) -> Values:
    """Return the OR interactions of all coalitions.

    I_or(S) = - sum over T in S of (-1)^(|S|-|T|) v(N without T) for non-empty S, and
    I_or(empty) = v(empty). They match the values as
    v(T) = I_or(empty) + sum of I_or(S) over all S that meet T (:func:`or_values`).

    Parameters
    ----------
    values : ndarray or Tensor, shape (..., 2^n)
        v of every coalition.

    Returns
    -------
    interactions : ndarray or Tensor, shape (..., 2^n)
        By duality one Moebius transform of the values read backwards.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import or_interactions
    >>> or_interactions(np.array([0.0, 1.0, 1.0, 1.0]))
    array([0., 0., 0., 1.])
    """
    n_coalitions = 2 ** n_players_of(values.shape[-1])
    if isinstance(values, torch.Tensor):
        dual = moebius_transform(-values.flip(-1))
        return torch.cat([_as_float(values)[..., :1], dual[..., 1:]], dim=-1)
    values = np.asarray(values)
    dual = np.empty(values.shape)
    # Backwards and negated while copying, so that it costs no more than the AND side.
    np.negative(values[..., ::-1], out=dual, dtype=np.float64)
    sweep_array(dual.reshape(-1, n_coalitions), "moebius")
    dual[..., 0] = values[..., 0]
    return dual


def or_values(interactions: Values) -> Values:
    """Turn OR interactions back into values, the inverse of :func:`or_interactions`."""
    n_coalitions = 2 ** n_players_of(interactions.shape[-1])
    # The sum over S that meet T is the sum over all S less that over S inside N without T,
    # and both sums hold I(empty), which therefore cancels.
    if isinstance(interactions, torch.Tensor):
        inside = zeta_transform(interactions)
        return interactions[..., :1] + inside[..., -1:] - inside.flip(-1)
    interactions = np.asarray(interactions)
    outside = np.empty(interactions.shape)
    np.negative(interactions[..., ::-1], out=outside, dtype=np.float64)
    sweep_array(outside.reshape(-1, n_coalitions), "down")
    outside += interactions[..., :1] - outside[..., :1]
    return outside


def superset_sums(numbers: Values) -> Values:
    """Sum over the supersets of every coalition, u(S) = sum over T that hold S of m(T).

    Of Moebius interactions these are the co-Moebius ones, and the weighted sums behind the
    Shapley-like indices (:func:`~pointinteract.games.interaction_index`) are made of them.

    Parameters
    ----------
    numbers : ndarray or Tensor, shape (..., 2^n)

    Returns
    -------
    sums : ndarray or Tensor, shape (..., 2^n)

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import superset_sums
    >>> superset_sums(np.array([0.0, 1.0, 2.0, 4.0]))
    array([7., 5., 6., 4.])
    """
    return _transform(numbers, "down")


def fourier_transform(values: Values) -> Values:
    """Turn values into Fourier coefficients, 2^-n sum over T of (-1)^(|S and T|) v(T).

    Parameters
    ----------
    values : ndarray or Tensor, shape (..., 2^n)
        v of every coalition.

    Returns
    -------
    coefficients : ndarray or Tensor, shape (..., 2^n)
        That of the empty coalition is the mean value. Their squares sum to the mean square
        of the values, so a small coefficient is a small effect, which cannot be said of
        interactions.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.games import fourier_transform
    >>> fourier_transform(np.array([0.0, 1.0, 2.0, 7.0]))
    array([ 2.5, -1.5, -2. ,  1. ])
    """
    coefficients = _transform(values, "walsh")
    coefficients *= 1.0 / values.shape[-1]
    return coefficients


def inverse_fourier_transform(coefficients: Values) -> Values:
    """Turn Fourier coefficients back into values, the inverse of :func:`fourier_transform`."""
    return _transform(coefficients, "walsh")


def _transform(values: Values, kind: str) -> Values:
    n_coalitions = 2 ** n_players_of(values.shape[-1])
    if isinstance(values, torch.Tensor):
        return sweep_tensor(_as_float(values), kind)
    result = np.array(values, dtype=np.float64, order="C")
    sweep_array(result.reshape(-1, n_coalitions), kind)
    return result


def _as_float(values: torch.Tensor) -> torch.Tensor:
    return values if values.is_floating_point() else values.double()
