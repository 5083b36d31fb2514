"""Multi-head attention without the options nobody here uses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CrossAttention", "SelfAttention", "count_bias"]


class SelfAttention(nn.Module):
    """Every token reads every token: (B, T, C) to (B, T, C).

    Queries, keys and values come from one product without bias, packed in that order; the
    output projection has a bias; scores are scaled by (C / H)^-0.5.

    Parameters
    ----------
    width : int
        Number C of channels.
    n_heads : int
        Number H of heads; must divide `width`.
    qkv_bias : bool, default=False
        Whether queries, keys and values have one, as in transformers of pictures.

    Notes
    -----
    `forward` takes a bias (B, 1, 1, T) that is added to what everyone gives the T tokens, see
    :func:`count_bias`; or (B, 1, T, T), what each adds for each; or bool of either shape, True
    where a token is read.
    """

    def __init__(self, width: int, n_heads: int, *, qkv_bias: bool = False):
        super().__init__()
        _check_heads(width, n_heads)
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.projection = nn.Linear(width, width)

    def forward(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        query, key, value = self._split(tokens)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.projection(read.transpose(1, 2).reshape(tokens.shape))

    def weights(self, tokens: Tensor) -> Tensor:
        """Share of attention that each token pays to each, (B, H, T, T); no bias."""
        query, key, _ = self._split(tokens)
        return _shares(query, key)

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n_clouds, n_tokens, width = tokens.shape
        qkv = self.qkv(tokens).view(n_clouds, n_tokens, 3, self.n_heads, width // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        return query, key, value  # each (B, H, T, C/H)


class CrossAttention(nn.Module):
    """Some tokens read others: (B, Q, C), (B, T, C) to (B, Q, C).

    Parameters
    ----------
    width : int
        Number C of channels.
    n_heads : int
        Number H of heads; must divide `width`.
    """

    def __init__(self, width: int, n_heads: int):
        super().__init__()
        _check_heads(width, n_heads)
        self.n_heads = n_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.projection = nn.Linear(width, width)

    def forward(self, readers: Tensor, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        query, key, value = self._split(readers, tokens)
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.projection(read.transpose(1, 2).reshape(readers.shape))

    def weights(self, readers: Tensor, tokens: Tensor) -> Tensor:
        """Share of attention that each reader pays to each token, (B, H, Q, T)."""
        query, key, _ = self._split(readers, tokens)
        return _shares(query, key)

    def _split(self, readers: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n_clouds, n_readers, width = readers.shape
        head = width // self.n_heads
        query = self.query(readers).view(n_clouds, n_readers, self.n_heads, head).transpose(1, 2)
        pair = self.key_value(tokens).view(n_clouds, tokens.shape[1], 2, self.n_heads, head)
        key, value = pair.permute(2, 0, 3, 1, 4)
        return query, key, value  # each (B, H, ., C/H)


def count_bias(counts: Tensor, dtype: torch.dtype) -> Tensor | None:
    """What to add to attention scores so that token t counts as ``counts[t]`` equal ones.

    Parameters
    ----------
    counts : int64 Tensor of shape (B, T)
        A token with count 0 is not read at all.
    dtype : torch.dtype
        Of the scores.

    Returns
    -------
    bias : Tensor of shape (B, 1, 1, T) or None
        log(counts), because w equal keys of score s weigh w exp(s) = exp(s + log w) together,
        and equal tokens have equal values. None if every token counts once.
    """
    if bool((counts == 1).all()):
        return None
    return counts.to(dtype).log()[:, None, None, :]


def _shares(query: Tensor, key: Tensor) -> Tensor:
    """What the fused path computes on its way and never shows, (B, H, Q, T)."""
    scale = query.shape[-1] ** -0.5
    return (scale * query @ key.transpose(-2, -1)).softmax(dim=-1)


def _check_heads(width: int, n_heads: int) -> None:
    if n_heads < 1 or width % n_heads:
        raise ValueError(f"n_heads must divide the width {width}, got {n_heads}.")
