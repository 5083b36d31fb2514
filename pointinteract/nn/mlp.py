"""Linear layers with batch normalization on rows: points, tokens or clouds, channels last.

In evaluation the stored statistics are folded into the linear layer, so that normalizing
costs nothing. Gradients flow through the folding, also to the weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn._fast_norm import NormRectify, can_normalize


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization over every axis but the last, for (..., C).

    A single row has no variance; there the stored statistics serve in training too, and
    stay as they are. So a batch of one cloud can pass through a classification head.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, input: Tensor) -> Tensor:
        return self._normalized(input.reshape(-1, input.shape[-1])).view(input.shape)

    def _normalized(self, rows: Tensor) -> Tensor:
        if self.training and rows.shape[0] == 1:
            # Copies: a later forward must not change what this one's backward reads.
            mean, var = self.running_mean.clone(), self.running_var.clone()
            return F.batch_norm(rows, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(rows)

    def rectified(self, rows: Tensor, negative_slope: float | None) -> Tensor:
        """Normalize and rectify (..., C) with the statistics of the batch."""
        if not can_normalize(rows, self.weight):
            # Not in place on a view, for which autograd would copy the gradient of all rows.
            flat = self._normalized(rows.reshape(-1, rows.shape[-1]))
            return rectify_(flat, negative_slope).view(rows.shape)
        slope = 1.0 if negative_slope is None else negative_slope
        out, mean, var = NormRectify.apply(rows, self.weight, self.bias, self.eps, slope)
        self.remember(mean, var, rows.shape[:-1].numel())
        return out

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Return the stored normalization as y = scale * x + shift, each of shape (C,)."""
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        # A copy: a later forward in training must not change what this one's backward reads.
        return scale, self.bias - scale * self.running_mean.clone()

    def normalize(self, values: Tensor, mean: Tensor, var: Tensor, n_rows: int) -> Tensor:
        """Normalize `values` (..., C) with statistics of the batch that were found elsewhere.

        Parameters
        ----------
        values : Tensor of shape (..., C)
        mean, var : Tensor of shape (C,)
            Of the batch, `var` being the biased one; gradients flow through both.
        n_rows : int
            Number of rows they come from, for the unbiased variance that is remembered.
        """
        if n_rows == 1:
            scale, shift = self.scale_and_shift()
            return values * scale + shift
        self.remember(mean, var, n_rows)
        scale = self.weight * torch.rsqrt(var + self.eps)
        # In half precision the statistics come in single; the values leave as they came.
        return torch.addcmul(self.bias, values - mean, scale).to(values.dtype)

    @torch.no_grad()
    def remember(self, mean: Tensor, var: Tensor, n_rows: int) -> None:
        """Move the stored statistics towards those of a batch, `var` being the biased one."""
        self.num_batches_tracked.add_(1)
        unbiased = var * (n_rows / (n_rows - 1))
        # Through `data`: torch's own normalization holds on to these tensors for its backward,
        # in which it does not read them, and would refuse if a second forward had changed them.
        self.running_mean.data.lerp_(mean.to(self.running_mean.dtype), self.momentum)
        self.running_var.data.lerp_(unbiased.to(self.running_var.dtype), self.momentum)


class LinearNorm(nn.Module):
    """Linear layer, batch normalization and a (leaky) rectifier, on rows.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after.
    bias : bool, default=True
        Whether the linear layer has one. The normalization takes it away again in training,
        so it only matters for weights that come from elsewhere.
    negative_slope : float or None, default=0.0
        Slope of the rectifier below zero; 0 is ReLU, None no rectifier at all.
    dropout : float, default=0.0
        Share of the linear layer's outputs that is dropped in training, *before* the
        normalization.
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        negative_slope: float | None = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.linear = nn.Linear(n_in, n_out, bias=bias)
        self.norm = BatchNorm(n_out)

    def forward(self, rows: Tensor) -> Tensor:
        """Map (..., n_in) to (..., n_out)."""
        norm = self.norm
        if norm.training:
            rows = F.dropout(self.linear(rows), self.dropout, self.training)
            return norm.rectified(rows, self.negative_slope)
        return self.activate(F.linear(rows, *fold_norm(self.linear, norm)))

    def normalized(self, rows: Tensor) -> Tensor:
        """Map (..., n_in) to (..., n_out), stopping before the rectifier."""
        if not self.norm.training:
            return F.linear(rows, *fold_norm(self.linear, self.norm))
        rows = F.dropout(self.linear(rows), self.dropout, self.training)
        return self.norm(rows)

    def activate(self, rows: Tensor) -> Tensor:
        """Apply the rectifier, in place."""
        return rectify_(rows, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}, dropout={self.dropout}"


def fold_norm(linear: nn.Linear, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Return weight and bias that do what `linear` and then `norm` do in evaluation."""
    scale, shift = norm.scale_and_shift()
    if linear.bias is not None:
        shift = shift + scale * linear.bias
    return linear.weight * scale.unsqueeze(1), shift


def rectify_(rows: Tensor, negative_slope: float | None) -> Tensor:
    """Rectify in place, with the given slope below zero; None leaves `rows` as they are."""
    if negative_slope is None:
        return rows
    return F.leaky_relu_(rows, negative_slope) if negative_slope else F.relu_(rows)
