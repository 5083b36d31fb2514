"""Completing clouds that were seen from one side, as OcCo pre-trains (Wang et al., ICCV 2021).

The decoder is that of PCN (Yuan et al., 3DV 2018): a coarse cloud from the pooled feature of
any encoder, and then a little patch folded around each of its points.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CompletionDecoder", "CompletionNetwork"]


class CompletionDecoder(nn.Module):
    """From one vector a cloud to a coarse and a fine cloud.

    Parameters
    ----------
    n_features : int
        Width of the vector.
    n_coarse : int, default=256
        Points of the coarse cloud. Published: 1024.
    n_fold : int, default=2
        Side of the grid that is folded around each of them: n_coarse * n_fold ** 2 fine points.
        Published: 4.
    width : int, default=512
        Channels within. Published: 1024 for the coarse points, 512 for the fine ones.
    extent : float, default=0.5
        Half the side of the grid before it is folded. Published: 0.05 in the class, 0.5 in the
        script; with the former all points of a patch stay together for long.

    Notes
    -----
    Unlike the published decoder this one centers and scales each vector first. Maxima of
    rectified channels are large and all of one sign, and the first steps of Adam then throw the
    layers so far off that their rectifiers die.
    """

    grid: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        n_coarse: int = 256,
        n_fold: int = 2,
        width: int = 512,
        extent: float = 0.5,
    ):
        super().__init__()
        self.n_coarse, self.n_fold = n_coarse, n_fold
        self.coarse = nn.Sequential(
            nn.Linear(n_features, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 3 * n_coarse),
        )
        self.fold_in = nn.Linear(2 + 3 + n_features, width)
        self.fold_mid = nn.Linear(width, width)
        self.fold_out = nn.Linear(width, 3)
        line = torch.linspace(-extent, extent, n_fold) if n_fold > 1 else torch.zeros(1)
        self.register_buffer("grid", torch.cartesian_prod(line, line), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, n_features) to (B, M, 3) and (B, M n_fold^2, 3)."""
        n_clouds = len(features)
        features = F.layer_norm(features, features.shape[1:])
        coarse = self.coarse(features).view(n_clouds, self.n_coarse, 3)
        # The map of [grid, point, features] is a sum of three, each needed only so often.
        of_grid, of_point, of_cloud = self.fold_in.weight.split([2, 3, features.shape[1]], dim=1)
        rows = F.linear(coarse, of_point).unsqueeze(2) + F.linear(self.grid, of_grid)
        rows = rows + F.linear(features, of_cloud, self.fold_in.bias)[:, None, None]
        moves = self.fold_out(self.fold_mid(rows.relu()).relu())  # (B, M, n_fold^2, 3)
        return coarse, (coarse.unsqueeze(2) + moves).flatten(1, 2)


class CompletionNetwork(nn.Module):
    """Encoder and decoder of completion.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its ``forward_pool`` answers (B, ``num_features``).
    n_coarse, n_fold, width : int
        See :class:`CompletionDecoder`.
    """

    def __init__(self, encoder: Any, *, n_coarse: int = 256, n_fold: int = 2, width: int = 512):
        super().__init__()
        self.encoder = encoder
        self.decoder = CompletionDecoder(
            encoder.num_features, n_coarse=n_coarse, n_fold=n_fold, width=width
        )

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Complete partial clouds (B, N, C) to coarse and fine ones, (B, M, 3) and (B, L, 3)."""
        return self.decoder(self.encoder.forward_pool(points))
