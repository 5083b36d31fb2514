"""What a network says about its own structure, so that others can ask it for less work.

A network may have a method ``structure()`` that returns one of these records, or a tuple of
them, the most useful first. The functions in a record belong to that very network and do the
same arithmetic as its ``forward`` in evaluation mode, split where work can be shared: between
copies of a cloud that differ only in which of its parts are there, for example. Whoever uses a
record checks it against ``forward``; nobody has to believe it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

from torch import Tensor, nn

__all__ = ["Ball", "PatchTokens", "SampledBalls", "SetPool", "WeightedPoints", "structures_of"]

POOLS = ("max", "mean", "sum")


@dataclass(frozen=True)
class SetPool:
    """``logits = head(pool over points of encode(points))``: no point sees another one.

    Parameters
    ----------
    encode : callable
        Features of every point, (B, M, C) to (B, M, W). What it answers for a point must not
        depend on the other points.
    head : callable
        From pooled features (B, W) to logits (B, K).
    pool : {"max", "mean", "sum"}, default="max"
    encode_max : callable, optional
        ``encode`` and the maximum in one, (B, M, C) to (B, W), where that is faster.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.nn.structure import SetPool
    >>> layer, head = torch.nn.Linear(3, 8), torch.nn.Linear(8, 2)
    >>> structure = SetPool(encode=lambda points: layer(points).relu(), head=head)
    >>> structure.head(structure.encode(torch.zeros(1, 5, 3)).amax(1)).shape
    torch.Size([1, 2])
    """

    encode: Callable[[Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    pool: str = "max"
    encode_max: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}; got {self.pool!r}.")


@dataclass(frozen=True)
class WeightedPoints:
    """A network that can be asked for a cloud given as unique points with multiplicities.

    Parameters
    ----------
    forward : callable
        Points (B, M, C) and how often each stands in the cloud, int64 (B, M), to logits
        (B, K): those of the plain forward on the cloud with the points repeated, in any order.
        A point that stands there 0 times is padding and must not be seen.
    """

    forward: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class PatchTokens:
    """Tokens of patches of points, then a network on the set of tokens.

    Parameters
    ----------
    patches : callable
        Points (B, N, C) to the points of each patch, int64 indices (B, G, K), and the centers
        of the patches, (B, G, 3).
    embed : callable
        Points (B, N, C) and indices (B, G, K) to tokens (B, G, D).
    forward_tokens : callable
        Tokens (B, T, D), centers (B, T, 3) and counts, int64 (B, T), to logits (B, K). A token
        counts that often in every attention and in a mean; a maximum minds only whether it is
        there. Count 0 is padding and must not be seen.
    baseline : callable, optional
        Answers token (D,) and center (3,) of an empty patch: one whose points all lie at the
        origin.
    """

    patches: Callable[[Tensor], tuple[Tensor, Tensor]]
    embed: Callable[[Tensor, Tensor], Tensor]
    forward_tokens: Callable[[Tensor, Tensor, Tensor], Tensor]
    baseline: Callable[[], tuple[Tensor, Tensor]] | None = None


@dataclass(frozen=True)
class Ball:
    """What is done to the points inside a ball before the maximum over them.

    Parameters
    ----------
    radius : float
        A point is inside if it is nearer than this to the middle.
    n_neighbors : int
        Only so many count: the first in the order of the points, repetitions included.
    project : callable
        From features of points (M, F) to what is made of them alone, (M, V).
    encode : callable
        From places relative to the middle (P, 3) and projected features (P, V) to (P, W).
    """

    radius: float
    n_neighbors: int
    project: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SampledBalls:
    """Farthest points of a cloud, balls around them, balls of these, then one maximum.

    Parameters
    ----------
    n_samples : tuple of two int
        Points chosen by farthest point sampling, and how many of these, the first, are the
        middles of the second balls. A smaller cloud gives all it has.
    balls : tuple of two tuples of Ball
        For both levels those of each radius, whose maxima stand side by side. The features of
        the first are the channels after the coordinates.
    encode : callable
        From coordinates (R, 3) and features (R, W) of the second level to (R, V), of which the
        maximum is taken.
    head : callable
        From the maximum (B, V) to logits (B, K).
    forward : callable
        The same with samples that somebody else chose: points (B, M, C), their indices (B, G)
        and how many of them, the first, belong to the second level, to logits (B, K).
    start : int, default=0
        Index of the first sample, or of the last point where a cloud has fewer.
    """

    n_samples: tuple[int, int]
    balls: tuple[tuple[Ball, ...], tuple[Ball, ...]]
    encode: Callable[[Tensor, Tensor], Tensor]
    head: Callable[[Tensor], Tensor]
    forward: Callable[[Tensor, Tensor, int], Tensor]
    start: int = 0


def structures_of(network: Any, declared: Any = None) -> tuple[Any, ...]:
    """Return the records that describe a network, the most useful first.

    Parameters
    ----------
    network : Module
        Asked for ``structure()``, if it has such a method. One without it has none, and so has
        one whose method of that name means something else.
    declared : record or tuple of records, optional
        What somebody says about a network that says nothing itself; taken instead.

    Returns
    -------
    structures : tuple
    """
    if declared is None:
        ask = getattr(network, "structure", None)
        if not isinstance(network, nn.Module) or not callable(ask) or _needs_arguments(ask):
            return ()
        answer = ask()
        answers = answer if isinstance(answer, tuple | list) else (answer,)
        return tuple(answers) if all(isinstance(record, RECORDS) for record in answers) else ()
    return tuple(declared) if isinstance(declared, tuple | list) else (declared,)


def _needs_arguments(function: Callable[..., Any]) -> bool:
    try:
        signature(function).bind()
    except (TypeError, ValueError):
        return True
    return False


RECORDS = (SetPool, WeightedPoints, PatchTokens, SampledBalls)
