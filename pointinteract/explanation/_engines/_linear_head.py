"""The first linear layer of a head for all coalitions at once, without a product for each.

Let r_1 >= r_2 >= ... be what the n regions give to one pooled feature, with c below them all
(what is there anyway), and top_k the k regions that give most. The maximum over a coalition T is

    max(c, max of r_i over i in T) = r_1 - sum over k of (r_k - r_(k+1)) [T meets none of top_k]

so that a linear layer W applied to it is W r_1 less the sum of G(A) over all A that T does not
meet, where G(A) gathers (r_k - r_(k+1)) W over the features with top_k = A. That is one sparse
product for a cloud and a transform over subsets: n / 2 additions for each coalition and output
in place of as many multiplications as there are pooled features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm, fold_norm


@dataclass(frozen=True)
class SplitHead:
    """A head as ``rest(pooled @ weight.T + bias)``.

    Attributes
    ----------
    weight : Tensor of shape (V, W)
    bias : Tensor of shape (V,)
    transposed : ndarray of shape (W, V)
        The weight once more, on the CPU, a row for each pooled feature.
    rest : callable
        (B, V) to (B, K).
    """

    weight: Tensor
    bias: Tensor
    transposed: np.ndarray
    rest: Callable[[Tensor], Tensor]


def split_head(head: object) -> SplitHead | None:
    """Take the first linear layer off a head in evaluation mode; None if it is not known how.

    Known are our :class:`~pointinteract.nn.heads.ClassifierHead`, linear layers, and sequences
    that begin with one.
    """
    if type(head) is ClassifierHead and not _has_hooks(head):
        if not head.layers:
            return split_head(head.out)
        hidden = cast(list[LinearNorm], list(head.layers))
        first = hidden[0]
        weight, bias = fold_norm(first.linear, first.norm)

        def rest(rows: Tensor) -> Tensor:
            rows = first.activate(rows)
            for layer in hidden[1:]:
                rows = layer(rows)
            answer: Tensor = head.out(rows)
            return answer

        return _split(weight, bias, rest)
    layers = list(head) if type(head) is nn.Sequential else [head]
    # Not subclasses, which may do more; parametrized layers are of a class of their own.
    if not layers or type(layers[0]) is not nn.Linear or any(map(_has_hooks, (head, layers[0]))):
        return None
    linear = layers[0]
    bias = linear.weight.new_zeros(len(linear.weight)) if linear.bias is None else linear.bias
    return _split(linear.weight, bias, nn.Sequential(*layers[1:]))


def linear_of_maxima(
    kept: Tensor, floor: Tensor, split: SplitHead, n_low: int, outputs: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the first layer's outputs for all coalitions, block by block.

    Parameters
    ----------
    kept : Tensor of shape (n, W)
        What each region gives to the pooled features, on the CPU.
    floor : Tensor of shape (W,)
        What is there anyway. The empty coalition gets just that.
    split : SplitHead
    n_low : int
        Blocks hold 2^n_low coalitions; with 512 outputs, 11 makes blocks of 4 MiB.
    outputs : Tensor of shape (2^n_low, V), optional
        To write to, which saves the system from finding new memory for every cloud.

    Yields
    ------
    outputs : Tensor of shape (2^n_low, V)
        In the order of the enumeration. The same memory for every block.
    """
    n_regions = len(kept)
    values, order = torch.maximum(kept, floor).sort(dim=0, descending=True)  # (n, W)
    steps = (values - torch.cat([values[1:], floor[None]])).numpy()
    sets = np.cumsum(np.left_shift(1, order.numpy()), axis=0)  # top_k as a number
    rank, feature = np.nonzero(steps)
    codes, which = np.unique(sets[rank, feature], return_inverse=True)
    shape = (len(codes), kept.shape[1])
    spread = csr_matrix((steps[rank, feature], (which, feature)), shape=shape)
    gathered = spread @ split.transposed  # G, (n_sets, V)
    everything = values[0] @ split.weight.T + split.bias

    n_rows = 1 << n_low
    # A set stands in the row of its complement: then T meets none of A where T is in that row.
    rows = torch.from_numpy(n_rows - 1 - codes % n_rows)
    if outputs is None:
        outputs = torch.from_numpy(np.empty((n_rows, gathered.shape[1]), gathered.dtype))
    for high in range(1 << (n_regions - n_low)):
        outputs.zero_()
        if n_low == n_regions:  # no two sets in one row
            outputs[rows] = torch.from_numpy(gathered)
        else:
            unmet = torch.from_numpy(np.flatnonzero((codes // n_rows & high) == 0))
            outputs.index_add_(0, rows[unmet], torch.from_numpy(gathered)[unmet])
        for bit in range(n_low):
            pairs = outputs.view(-1, 2, 1 << bit, outputs.shape[1])
            pairs[:, 0] += pairs[:, 1]
        yield torch.sub(everything, outputs, out=outputs)


def _split(weight: Tensor, bias: Tensor, rest: Callable[[Tensor], Tensor]) -> SplitHead:
    weight, bias = weight.detach(), bias.detach()
    transposed = np.ascontiguousarray(weight.cpu().T.numpy())
    return SplitHead(weight, bias, transposed, rest)


def _has_hooks(module: object) -> bool:
    return bool(getattr(module, "_forward_hooks", None)) or bool(
        getattr(module, "_forward_pre_hooks", None)
    )
