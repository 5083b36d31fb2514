"""From a cloud to a field around it, as IAE pre-trains (Yan et al., ICCV 2023).

What an encoder says of the points is laid on three planes, and a place in space reads off them
how far from the surface it is. The way from features to field is that of Peng, Niemeyer,
Mescheder, Pollefeys, Geiger, "Convolutional Occupancy Networks", ECCV 2020.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.point_head import PointHead, point_feature_width
from pointinteract.nn.unet import UNet

__all__ = ["FieldDecoder", "FieldPlanes", "ImplicitNetwork"]

_PLANES = ((0, 2), (0, 1), (1, 2))  # axes that are left when one is looked along


class FieldPlanes(nn.Module):
    """Features of points, averaged in the cells of three planes, and smoothed there.

    Parameters
    ----------
    n_features : int
        Width of the features, before and after.
    resolution : int, default=32
        Cells along each side of a plane. Published: 64.
    depth, width : int, default=3 and 16
        Levels of the U-Net that all three planes share, and channels of its first. Published: 4
        and 32.

    Notes
    -----
    Unlike the published code, which averages over cells and reads between their corners, this
    one reads between their middles: there, everything is shifted by half a cell.
    """

    def __init__(
        self, n_features: int, *, resolution: int = 32, depth: int = 3, width: int = 16
    ):
        super().__init__()
        self.resolution = resolution
        self.unet = UNet(n_features, n_features, depth=depth, width=width)

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        """Lay (B, N, C) at (B, N, 3) in [-1, 1] onto planes, (B, 3, C, R, R).

        What lies outside counts to the cell at the border.
        """
        size = self.resolution
        cells = ((places + 1) * (size / 2)).long().clamp(0, size - 1)
        planes = []
        for first, second in _PLANES:
            index = (cells[..., second] * size + cells[..., first]).unsqueeze(-1)  # (B, N, 1)
            total = features.new_zeros(len(features), size**2, features.shape[2])
            total = total.scatter_add(1, index.expand_as(features), features)
            count = total.new_zeros(len(total), size**2, 1)
            count = count.scatter_add(1, index, torch.ones_like(features[..., :1]))
            planes.append(total / count.clamp_min(1))
        pictures = torch.stack(planes, dim=1).transpose(2, 3)  # (B, 3, C, R R)
        pictures = pictures.unflatten(3, (size, size)).flatten(0, 1)
        return self.unet(pictures).unflatten(0, (-1, 3))

    @staticmethod
    def read(planes: Tensor, places: Tensor) -> Tensor:
        """Features at (B, Q, 3) in [-1, 1], bilinear and summed over planes, (B, Q, C)."""
        found = []
        for number, axes in enumerate(_PLANES):
            grid = places[..., axes].unsqueeze(2)  # (B, Q, 1, 2)
            found.append(F.grid_sample(
                planes[:, number], grid, padding_mode="border", align_corners=False
            ))
        return torch.stack(found).sum(0).squeeze(-1).transpose(1, 2)


class FieldDecoder(nn.Module):
    """From a place, and what the planes say of it, to a number between -1 and 1.

    Parameters
    ----------
    n_features : int
        Width of what the planes say.
    width : int, default=32
    n_rounds : int, default=5
        In each, the features are added by a linear layer, and a residual block follows.
    """

    def __init__(self, n_features: int, *, width: int = 32, n_rounds: int = 5):
        super().__init__()
        self.place = nn.Linear(3, width)
        self.add = nn.ModuleList(nn.Linear(n_features, width) for _ in range(n_rounds))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(n_rounds)
        )
        for block in self.blocks:
            nn.init.zeros_(block[-1].weight)  # type: ignore[index, union-attr, arg-type]
        self.out = nn.Linear(width, 1)
        # The field begins at zero: random features of a wide encoder would begin where tanh is
        # flat, and the first hundreds of steps only lead back from there.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, places: Tensor, features: Tensor) -> Tensor:
        """Map (B, Q, 3) and (B, Q, n_features) to (B, Q)."""
        rows = self.place(places)
        for add, block in zip(self.add, self.blocks, strict=True):
            rows = rows + add(features)
            rows = rows + block(rows)
        return self.out(rows.relu()).squeeze(-1).tanh()


class ImplicitNetwork(nn.Module):
    """Encoder, planes and decoder: the field around a cloud.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its ``forward_features`` must answer one row a point, (B, N, C).
    n_channels : int
        Channels of a point.
    resolution, unet_depth, unet_width : int, default=32, 3 and 16
        See :class:`FieldPlanes`.
    width : int, default=32
        Channels of planes and decoder.
    hidden : int, default=256
        Channels between features of points and planes. Published: 512.
    n_rounds : int, default=5
        Of the decoder.
    extent : float, default=1.1
        The box [-extent, extent]^3 holds the clouds and all places that are asked about.

    Raises
    ------
    ValueError
        If the encoder answers tokens or anything else than one row a point.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        n_channels: int,
        resolution: int = 32,
        unet_depth: int = 3,
        unet_width: int = 16,
        width: int = 32,
        hidden: int = 256,
        n_rounds: int = 5,
        extent: float = 1.1,
    ):
        super().__init__()
        self.extent = extent
        self.encoder = encoder
        self.head = PointHead(point_feature_width(encoder, n_channels), width, hidden=hidden)
        self.planes = FieldPlanes(
            width, resolution=resolution, depth=unet_depth, width=unet_width
        )
        self.decoder = FieldDecoder(width, width=width, n_rounds=n_rounds)

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def encode(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to planes (B, 3, C, R, R)."""
        rows = self.head(self.encoder.forward_features(points))
        return self.planes(points[..., :3] / self.extent, rows)

    def decode(self, planes: Tensor, queries: Tensor) -> Tensor:
        """Map planes and places (B, Q, 3) to distances (B, Q), in units of the coordinates."""
        places = queries / self.extent
        # As published, in units of the box's side, in which no distance reaches 1.
        field = self.decoder(places / 2, self.planes.read(planes, places))
        return 2 * self.extent * field

    def forward(self, points: Tensor, queries: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) and places (B, Q, 3) to distances (B, Q)."""
        return self.decode(self.encode(points), queries)
