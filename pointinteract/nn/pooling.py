"""Maxima over the points of a cloud, without carrying every point to the end.

A maximum keeps one row per channel. So the layer in front of it need not be normalized and
rectified on every row (both are monotone in each channel: they commute with the maximum),
and its gradient concerns only the rows that won, apart from what the batch statistics send
back, which is a product of small matrices.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pointinteract.nn import _fast_pooling
from pointinteract.nn.mlp import BatchNorm, LinearNorm, fold_norm

# Numbers worked on at a time: what a processor keeps near, what a GPU needs to be busy.
_CHUNK_CPU = 1 << 20
_CHUNK_GPU = 1 << 27


class LinearNormMax(LinearNorm):
    """The same as `LinearNorm` and then the maximum over points, several times faster.

    Parameters as there, without dropout. `forward_points` gives the rows before pooling.
    """

    def __init__(
        self, n_in: int, n_out: int, *, bias: bool = True, negative_slope: float | None = 0.0
    ):
        super().__init__(n_in, n_out, bias=bias, negative_slope=negative_slope)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (B, N, n_in) to (B, n_out)."""
        linear, norm = self.linear, self.norm
        if not norm.training:
            weight, bias = fold_norm(linear, norm)
            return self.activate(linear_max(rows, weight) + bias)
        # Where the normalization turns a channel around, the smallest row becomes the largest.
        sign = extremum_sign(norm)
        highest, mean, var = _LinearMax.apply(rows, linear.weight, sign, True)
        n_rows = rows.shape[0] * rows.shape[1]
        if linear.bias is not None:
            highest, mean = highest + linear.bias, mean + linear.bias
        return self.activate(norm.normalize(highest, mean, var, n_rows))

    def forward_points(self, rows: Tensor) -> Tensor:
        """Map (B, N, n_in) to (B, N, n_out): what `forward` takes the maximum of."""
        return super().forward(rows)


def extremum_sign(norm: BatchNorm) -> Tensor:
    """Return -1 for the channels that `norm` turns around, else 1; shape (C,)."""
    weight = norm.weight.detach()
    return torch.ones_like(weight).copysign(weight)


def linear_max(rows: Tensor, weight: Tensor) -> Tensor:
    """Maximum over points of a linear map: (B, N, D) and (C, D) to (B, C).

    Holds (N, C) numbers of a few clouds at a time, not of all.
    """
    if torch.compiler.is_compiling() or not _chunked(rows):
        return F.linear(rows, weight).amax(1)
    if torch.is_grad_enabled() and (rows.requires_grad or weight.requires_grad):
        return _LinearMax.apply(rows, weight, None, False)[0]
    chunk = chunk_size(rows, rows.shape[1] * weight.shape[0])
    return torch.cat([F.linear(part, weight).amax(1) for part in rows.split(chunk)])


def max_and_mean(rows: Tensor, counts: Tensor | None = None) -> Tensor:
    """Largest and mean row of each cloud side by side: (B, N, C) to (B, 2 C).

    With `counts` (B, N) every row stands there that often; one that does 0 times is not there.
    """
    if counts is not None:
        mean = weighted_mean(rows, counts)
        return torch.cat([present_max(rows, counts), mean], dim=1)
    if rows.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling():
        return _MaxAndMean.apply(rows)
    return torch.cat([rows.amax(1), rows.mean(1)], dim=1)


def present_max(rows: Tensor, counts: Tensor) -> Tensor:
    """Largest of the rows that stand there at all: (B, N, C) and counts (B, N) to (B, C)."""
    absent = counts == 0
    if bool(absent.any()):
        rows = rows.masked_fill(absent.unsqueeze(-1), -torch.inf)
    return rows.amax(1)


def weighted_mean(rows: Tensor, counts: Tensor) -> Tensor:
    """Mean of rows that stand there `counts` times: (B, N, C) and (B, N) to (B, C)."""
    share = counts / counts.sum(1, keepdim=True)
    return torch.einsum("bn,bnc->bc", share.to(rows.dtype), rows)


def fill_padding(points: Tensor, counts: Tensor) -> Tensor:
    """Put the first point that is there in the place of those that are not (counts 0).

    (B, M, C) and (B, M) to (B, M, C). A network that ends in a maximum over points then gives
    the same answer as without them.
    """
    first = counts.gt(0).to(torch.uint8).argmax(1)
    filler = points[torch.arange(len(points), device=points.device), first]
    return torch.where(counts.unsqueeze(-1) > 0, points, filler.unsqueeze(1))


def first_maximum(values: Tensor) -> tuple[Tensor, Tensor]:
    """Maximum over the middle axis and the first place where it is reached.

    Parameters
    ----------
    values : Tensor of shape (G, K, C)

    Returns
    -------
    maximum : Tensor of shape (G, C)
    place : int64 Tensor of shape (G, C)
        In 0, ..., K - 1.

    Notes
    -----
    ``values.max(1)`` does the same, 4 times slower on the CPU, where searching for places is
    not vectorized. Marking the places, weighting them and taking the maximum again is.
    """
    n_places = values.shape[1]
    maximum = values.amax(1)
    if values.device.type != "cpu":
        return maximum, values.argmax(1)
    marks = torch.empty(values.shape, dtype=torch.float32)
    torch.eq(values, maximum.unsqueeze(1), out=marks)
    rank = torch.arange(n_places, 0, -1, dtype=torch.float32).unsqueeze(1)
    place = n_places - marks.mul_(rank).amax(1).long()
    # NaN equals nothing; any place will do, as its gradient is NaN as well.
    return maximum, place.clamp_(max=n_places - 1)


def chunk_size(like: Tensor, n_each: int) -> int:
    """Return how many items of `n_each` numbers to work on at a time, at least one."""
    limit = _CHUNK_CPU if like.device.type == "cpu" else _CHUNK_GPU
    return max(1, limit // max(1, n_each))


def split_together(size: int, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Cut tensors along their first axis into parts of `size`; a recorded graph keeps them whole.

    Returns
    -------
    parts : list of tuples
        Of one part of each tensor.
    """
    if torch.compiler.is_compiling():
        return [tensors]
    return list(zip(*(tensor.split(size) for tensor in tensors), strict=True))


def _chunked(rows: Tensor) -> bool:
    return rows.shape[0] > 0 and rows.shape[1] > 0


class _LinearMax(torch.autograd.Function):
    """Extremum over points of z = rows @ weight.T, with mean and variance of z.

    Forward: rows (B, N, D), weight (C, D), sign (C,) or None, whether to find statistics; to
    extremum (B, C), mean (C,), biased variance (C,). With n = B N rows and centered rows xc,

        dz = [won] dmax + dmean / n + 2 dvar (z - mean) / n

    so the last two terms send ``(dmean W + 2 xc W^T diag(dvar) W) / n`` to the rows and
    ``dmean xbar^T + 2 diag(dvar) W cov(x)`` to the weight: matrices of D x D at most.
    """

    @staticmethod
    def forward(ctx, rows, weight, sign, with_statistics):
        directed = weight if sign is None else weight * sign.unsqueeze(1)
        chunk = chunk_size(rows, rows.shape[1] * weight.shape[0])
        highest, places, means, spreads = [], [], [], []
        for part in rows.split(chunk):
            z = F.linear(part, directed)  # (b, N, C)
            if _fast_pooling.can_pool(z):
                found = _fast_pooling.column_maxima(
                    z, with_mean=with_statistics, with_variance=with_statistics
                )
                for kept, each in zip((highest, places, means, spreads), found, strict=True):
                    kept.append(each)
                continue
            maximum, place = first_maximum(z)
            highest.append(maximum)
            places.append(place)
            if with_statistics:
                z = z if z.dtype == torch.float64 else z.float()
                mean = z.mean(1, keepdim=True)
                # Second pass on the deviations: no cancellation, and still near at hand.
                spreads.append(z.sub_(mean).square_().mean(1))
                means.append(mean.squeeze(1))
        extremum, place = torch.cat(highest), torch.cat(places)
        ctx.save_for_backward(rows, weight, place)
        ctx.with_statistics = with_statistics
        if not with_statistics:
            return extremum, None, None
        of_clouds = torch.cat(means)
        var = torch.cat(spreads).mean(0) + of_clouds.var(0, unbiased=False)
        mean = of_clouds.mean(0)
        return extremum * sign, mean * sign, var

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_max, grad_mean, grad_var):
        rows, weight, place = ctx.saved_tensors
        types = rows.dtype, weight.dtype
        exact = torch.float64 if weight.dtype == torch.float64 else torch.float32
        rows, weight, grad_max = rows.to(exact), weight.to(exact), grad_max.to(exact)
        n_clouds, n_points, n_in = rows.shape
        flat = rows.reshape(-1, n_in)
        n_rows = flat.shape[0]
        start = torch.arange(0, n_rows, n_points, device=rows.device).unsqueeze(1)
        won = (place + start).view(-1)  # (B C,) rows that won
        fast = _fast_pooling.can_pool(rows, weight, grad_max)

        grad_rows = grad_weight = None
        if ctx.needs_input_grad[0]:
            if ctx.with_statistics:
                inner = weight.t() @ (weight * (2.0 / n_rows * grad_var).unsqueeze(1))  # (D, D)
                offset = (grad_mean @ weight) / n_rows - flat.mean(0) @ inner
                grad_rows = torch.addmm(offset, flat, inner)
            else:
                grad_rows = torch.zeros_like(flat)
            if fast:
                target = grad_rows.view(rows.shape)
                _fast_pooling.winners_to_rows(grad_max, place, weight, target)
            else:
                grad_rows.index_add_(0, won, (grad_max.unsqueeze(2) * weight).view(-1, n_in))
            grad_rows = grad_rows.view_as(rows).to(types[0])
        if ctx.needs_input_grad[1]:
            if fast:
                grad_weight = _fast_pooling.winners_to_weight(grad_max, place, rows)
            else:
                winners = flat.index_select(0, won).view(n_clouds, -1, n_in)  # (B, C, D)
                grad_weight = (grad_max.unsqueeze(2) * winners).sum(0)
            if ctx.with_statistics:
                center = flat.mean(0)
                centered = flat - center
                covariance = centered.t() @ centered / n_rows
                grad_weight += torch.outer(grad_mean, center)
                grad_weight += (2.0 * grad_var).unsqueeze(1) * (weight @ covariance)
            grad_weight = grad_weight.to(types[1])
        return grad_rows, grad_weight, None, None


class _MaxAndMean(torch.autograd.Function):
    """[max, mean] over points; the gradient is one row spread out plus B x C single numbers."""

    @staticmethod
    def forward(ctx, rows):
        ctx.shape = rows.shape
        if _fast_pooling.can_pool(rows):
            highest, place, mean, _ = _fast_pooling.column_maxima(
                rows, with_mean=True, with_variance=False
            )
            ctx.save_for_backward(place)
            return torch.cat([highest, mean], dim=1)
        chunk = chunk_size(rows, rows.shape[1] * rows.shape[2])
        found = [first_maximum(part) for part in rows.split(chunk)]
        ctx.save_for_backward(torch.cat([place for _, place in found]))
        return torch.cat([torch.cat([maximum for maximum, _ in found]), rows.mean(1)], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (place,) = ctx.saved_tensors
        grad_max, grad_mean = grad.chunk(2, dim=1)
        n_points = ctx.shape[1]
        grad_rows = (grad_mean / n_points).unsqueeze(1).expand(ctx.shape).contiguous()
        return grad_rows.scatter_add_(1, place.unsqueeze(1), grad_max.unsqueeze(1))
