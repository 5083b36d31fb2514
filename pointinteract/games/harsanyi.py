"""Harsanyi interactions: from the values of all coalitions to their effects, and back.

The AND interaction of S is what its members add by being there *together*, beyond every
smaller group. The OR interaction of S is what arrives as soon as *any* member is there.
All transforms work along the last axis (2^n, in the order of
:func:`~pointinteract.games.all_coalitions`), batch over all others, and cost n 2^(n-1)
subtractions each instead of the 4^n of the defining sum.
"""

from typing import TypeVar

import numpy as np
import torch

from pointinteract.games.coalitions import n_players_of

__all__ = [
    "and_interactions",
    "moebius_transform",
    "or_interactions",
    "or_values",
    "zeta_transform",
]

Values = TypeVar("Values", np.ndarray, torch.Tensor)

# Columns worked on at once are kept within this many numbers, so that they stay in cache.
_BLOCK = 2**16


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
    return _transform(values, -1)


def zeta_transform(interactions: Values) -> Values:
    """Turn interactions back into values, v(T) = sum over S in T of I(S).

    The inverse of :func:`moebius_transform`, with the same shapes and types.
    """
    return _transform(interactions, +1)


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
    """
    n_players_of(values.shape[-1])
    if isinstance(values, torch.Tensor):
        dual = -moebius_transform(values.flip(-1))
        return torch.cat([values[..., :1], dual[..., 1:]], dim=-1)
    dual = -moebius_transform(values[..., ::-1])
    dual[..., 0] = values[..., 0]
    return dual


def or_values(interactions: Values) -> Values:
    """Turn OR interactions back into values, the inverse of :func:`or_interactions`."""
    empty = interactions[..., :1]
    # The sum over S that meet T is the sum over all S less that over S inside N without T,
    # and both sums hold I(empty), which therefore cancels.
    inside = zeta_transform(interactions)
    complement = inside.flip(-1) if isinstance(inside, torch.Tensor) else inside[..., ::-1]
    return empty + inside[..., -1:] - complement


def _transform(values: Values, sign: int) -> Values:
    n_players = n_players_of(values.shape[-1])
    if isinstance(values, torch.Tensor):
        return _transform_tensor(values, n_players, sign)
    return _transform_array(np.asarray(values), n_players, sign)


def _transform_tensor(values: torch.Tensor, n_players: int, sign: int) -> torch.Tensor:
    if not values.is_floating_point():
        values = values.double()
    shape = values.shape
    for player in range(n_players):
        pairs = values.reshape(-1, 2, 2**player)  # (..., without or with the player, rest)
        without, with_player = pairs[:, 0], pairs[:, 1]
        values = torch.stack([without, with_player + sign * without], dim=1)
    return values.reshape(shape)


def _transform_array(values: np.ndarray, n_players: int, sign: int) -> np.ndarray:
    rows = values.reshape(-1, 2**n_players)
    result = np.empty(rows.shape, dtype=np.float64)
    step = max(1, _BLOCK >> n_players)
    for first in range(0, len(rows), step):
        # Samples last: even the first players then sweep over contiguous numbers.
        block = np.array(rows[first : first + step].T, dtype=np.float64, order="C")
        for player in range(n_players):
            pairs = block.reshape(-1, 2, 2**player * block.shape[1])
            if sign < 0:
                pairs[:, 1] -= pairs[:, 0]
            else:
                pairs[:, 1] += pairs[:, 0]
        result[first : first + step] = block.T
    return result.reshape(values.shape)
