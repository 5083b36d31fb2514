"""Heads: from one vector per cloud to class scores."""

from collections.abc import Sequence

from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm


class ClassifierHead(nn.Module):
    """Hidden layers with normalization, rectifier and dropout, and a linear layer.

    Parameters
    ----------
    n_features : int
        Width of the incoming vector.
    hidden : sequence of int
        Widths of the hidden layers; empty for a linear head.
    n_classes : int
        0 leaves everything out: the vector passes through as it is.
    bias : sequence of bool, default=()
        Whether each hidden layer has a bias; all have where it is empty.
    negative_slope : float, default=0.0
        Slope of the rectifier below zero.
    dropout : sequence of float, default=()
        Share of each hidden layer's outputs that is dropped after its rectifier.
    inner_dropout : sequence of float, default=()
        The same before its normalization, as PointNet has it.
    """

    def __init__(
        self,
        n_features: int,
        hidden: Sequence[int],
        n_classes: int,
        *,
        bias: Sequence[bool] = (),
        negative_slope: float = 0.0,
        dropout: Sequence[float] = (),
        inner_dropout: Sequence[float] = (),
    ):
        super().__init__()
        hidden = hidden if n_classes else ()
        n_hidden = len(hidden)
        widths = [n_features, *hidden]
        self.layers = nn.ModuleList(
            LinearNorm(n_in, n_out, bias=b, negative_slope=negative_slope, dropout=p)
            for n_in, n_out, b, p in zip(
                widths[:-1],
                widths[1:],
                (bias or [True] * n_hidden)[:n_hidden],
                (inner_dropout or [0.0] * n_hidden)[:n_hidden],
                strict=True,
            )
        )
        shares = (dropout or [0.0] * n_hidden)[:n_hidden]
        self.dropouts = nn.ModuleList(nn.Dropout(p) for p in shares)
        self.out = nn.Linear(widths[-1], n_classes) if n_classes else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, n_features) to (B, n_classes)."""
        for layer, dropout in zip(self.layers, self.dropouts, strict=True):
            features = dropout(layer(features))
        return self.out(features)
