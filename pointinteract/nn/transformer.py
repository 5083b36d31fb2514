"""Transformer blocks, stochastic depth, position embeddings, and how their layers start."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from pointinteract.nn.attention import SelfAttention

__all__ = [
    "DropPath",
    "FeedForward",
    "PreNormBlock",
    "drop_path_rates",
    "position_embedding",
    "start_small",
    "start_xavier",
]

Module = TypeVar("Module", bound=nn.Module)


class DropPath(nn.Module):
    """Stochastic depth: leave a residual branch out for some samples, while training.

    What is kept is divided by the chance of being kept, so the mean stays. A rate of exactly 0
    draws nothing.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return branch
        kept = 1.0 - self.rate
        draws = torch.rand(len(branch), *[1] * (branch.ndim - 1), device=branch.device)
        return branch * (draws < kept).to(branch.dtype) / kept

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates that grow linearly from 0 at the first of `depth` blocks to `rate` at the last."""
    return [rate * i / max(depth - 1, 1) for i in range(depth)]


class FeedForward(nn.Sequential):
    """Linear C to `hidden` (4 C unless given), GELU (erf form), Linear back to C."""

    def __init__(self, width: int, hidden: int | None = None):
        hidden = hidden or 4 * width
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class PreNormBlock(nn.Module):
    """The usual block: x + attention(norm(x)), then x + mlp(norm(x)).

    `forward` takes the bias of :class:`pointinteract.nn.attention.SelfAttention`. Blocks of
    transformers of pictures differ in `qkv_bias`, the inner width `hidden` and the `eps` of
    their normalization.
    """

    def __init__(
        self,
        width: int,
        n_heads: int,
        *,
        drop_path: float = 0.0,
        qkv_bias: bool = False,
        hidden: int | None = None,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, n_heads, qkv_bias=qkv_bias)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = FeedForward(width, hidden)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        tokens = tokens + self.drop_path(self.attention(self.norm1(tokens), bias))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


def position_embedding(width: int, hidden: int = 128) -> nn.Sequential:
    """MLP from the coordinates of a patch centre to its position, (..., 3) to (..., C)."""
    return nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, width))


def start_small(module: Module) -> Module:
    """Start all linear layers in a module near zero, without biases; return the module.

    Normal weights of deviation 0.02, cut off at 2: what the published networks of this family
    have in encoders and heads.
    """
    for layer in _linear_layers(module):
        nn.init.trunc_normal_(layer.weight, std=0.02)
    return module


def start_xavier(module: Module) -> Module:
    """Start all linear layers in a module by Glorot's rule, without biases; return the module.

    So the published decoders do.
    """
    for layer in _linear_layers(module):
        nn.init.xavier_uniform_(layer.weight)
    return module


def _linear_layers(module: nn.Module) -> list[nn.Linear]:
    """Linear layers in the order in which they were made, their biases set to zero."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    for layer in layers:
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return layers
