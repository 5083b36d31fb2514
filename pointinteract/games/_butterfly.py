"""The in-place butterflies under every transform over all coalitions.

A transform of 2^n numbers is n sweeps, one per player, and each sweep combines the number
without the player with the number with it. What a sweep does is its *kind*:

========== ===================== ====================== =====================================
kind       without becomes       with becomes           over all players
========== ===================== ====================== =====================================
"moebius"  without               with - without         subset differences
"zeta"     without               with + without         sums over subsets
"down"     without + with        with                   sums over supersets
"undown"   without - with        with                   superset differences
"walsh"    without + with        without - with         signed sums over everything
========== ===================== ====================== =====================================

The first four are shears, and so is any :class:`Shear` with a factor of its own; a general
2 x 2 matrix per player is two shears with a scaling between.
"""

from typing import NamedTuple

import numpy as np
import torch

from pointinteract.games.coalitions import n_players_of

__all__ = ["Shear", "sweep_array", "sweep_tensor"]


class Shear(NamedTuple):
    """Add `factor` times one number of a pair to the other.

    `downward` adds what is with the player to what is without, else the reverse.
    """

    downward: bool
    factor: float


SHEARS = {
    "moebius": Shear(False, -1.0),
    "zeta": Shear(False, 1.0),
    "down": Shear(True, 1.0),
    "undown": Shear(True, -1.0),
}

# The transposed map of each kind, which is what a gradient passes through.
ADJOINT = {
    "moebius": "undown",
    "zeta": "down",
    "down": "zeta",
    "undown": "moebius",
    "walsh": "walsh",
}

# Numbers worked on at once: they stay in a core's cache through all sweeps, and half of them
# stay below the size at which torch would start threads.
_BLOCK = 2**16
_BLOCK_PLAYERS = 16

# Sweeps of the first three players run over numbers 1, 2 and 4 apart. numpy does those well
# as long strided lines, the others go to torch: numpy would gather their short rows through
# its buffer, at four times the cost.
_STRIDED_PLAYERS = 3


def sweep_array(rows: np.ndarray, kind: str | Shear) -> None:
    """Transform each row of a C-contiguous float64 array (R, 2^n) in place."""
    shear = _shear(kind)
    n_players = n_players_of(rows.shape[-1])
    low = min(n_players, _BLOCK_PLAYERS)
    blocks = rows.reshape(-1, 2**low)
    step = max(1, _BLOCK >> low)
    for first in range(0, len(blocks), step):
        block = blocks[first : first + step]
        _sweep_first_players(block.reshape(-1), min(low, _STRIDED_PLAYERS), shear)
        numbers = torch.from_numpy(block)
        for player in range(_STRIDED_PLAYERS, low):
            _combine(numbers, player, shear)
    for player in range(low, n_players):
        _combine(torch.from_numpy(rows), player, shear)


def sweep_tensor(values: torch.Tensor, kind: str) -> torch.Tensor:
    """Transform a tensor (..., 2^n) along its last axis; a new tensor, differentiable."""
    return _Sweeps.apply(values, kind)


class _Sweeps(torch.autograd.Function):
    """All sweeps in place on one copy: nothing is kept for the gradient, the map is linear."""

    generate_vmap_rule = True

    @staticmethod
    def forward(values: torch.Tensor, kind: str) -> torch.Tensor:
        numbers = values.clone(memory_format=torch.contiguous_format)
        shear = _shear(kind)
        for player in range(n_players_of(values.shape[-1])):
            _combine(numbers, player, shear)
        return numbers

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.kind = inputs[1]

    @staticmethod
    def backward(ctx, gradient):
        return sweep_tensor(gradient, ADJOINT[ctx.kind]), None

    @staticmethod
    def jvp(ctx, tangent, _):
        return sweep_tensor(tangent, ctx.kind)


def _shear(kind: str | Shear) -> Shear | None:
    """Return the shear of a kind; None stands for the one that is none, "walsh"."""
    return kind if isinstance(kind, Shear) else SHEARS.get(kind)


def _combine(numbers: torch.Tensor, player: int, shear: Shear | None) -> None:
    without, with_player = numbers.view(-1, 2, 2**player).unbind(1)
    if shear is None:
        without.add_(with_player)
        # The sum less twice the one is the difference, and needs no third array.
        torch.sub(without, with_player, alpha=2, out=with_player)
    elif shear.downward:
        without.add_(with_player, alpha=shear.factor)
    else:
        with_player.add_(without, alpha=shear.factor)


def _sweep_first_players(numbers: np.ndarray, n_players: int, shear: Shear | None) -> None:
    _combine_lines(numbers[::2], numbers[1::2], shear)
    if n_players > 1:
        # Two neighbors at a time: a complex number is a pair that adds as one.
        pairs = numbers.view(np.complex128)
        _combine_lines(pairs[::2], pairs[1::2], shear)
        if n_players > 2:
            _combine_lines(pairs[::4], pairs[2::4], shear)
            _combine_lines(pairs[1::4], pairs[3::4], shear)


def _combine_lines(without: np.ndarray, with_player: np.ndarray, shear: Shear | None) -> None:
    if shear is None:
        difference = without - with_player
        np.add(without, with_player, out=without)
        with_player[:] = difference
        return
    changed, added = (without, with_player) if shear.downward else (with_player, without)
    if shear.factor == 1:
        np.add(changed, added, out=changed)
    elif shear.factor == -1:
        np.subtract(changed, added, out=changed)
    else:
        changed += shear.factor * added
