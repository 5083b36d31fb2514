"""Painting clouds as pictures: places from geometry, colors learned (Wang et al., P2P, 2022).

A cloud is turned, and what its points say is added up in the pixels around their places; a few
convolutions make colors of it. No edge between points is mapped (see
:mod:`pointinteract.nn.edgegroup`), and the last two maps of the colors, both linear, are one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.edgegroup import EdgeConvGroup
from pointinteract.nn.resnet import BasicBlock
from pointinteract.ops.neighbors import knn
from pointinteract.ops.rendering import splat_sum

__all__ = ["PicturePainter", "object_cells", "tilted_rotations"]

# Mean and deviation of the colors of ImageNet, which picture networks expect to be taken off.
_COLOR_MEAN = (0.485, 0.456, 0.406)
_COLOR_STD = (0.229, 0.224, 0.225)


class PicturePainter(nn.Module):
    """Paint clouds, seen along the third axis, as colored pictures.

    Parameters
    ----------
    n_channels : int
        Channels per point.
    object_size : int
        Pixels that the longer side of a cloud fills, even.
    picture_size : int
        Height and width of the pictures; what is more than `object_size` is a margin.
    n_neighbors : int, default=32
        Points of a neighborhood, the point itself included.
    point_width, width : int, default=8, 64
        Channels of a point, and of its neighborhood and the painted pixels.
    """

    color_mean: Tensor
    color_std: Tensor

    def __init__(
        self,
        n_channels: int,
        object_size: int,
        picture_size: int,
        *,
        n_neighbors: int = 32,
        point_width: int = 8,
        width: int = 64,
    ):
        super().__init__()
        self.object_size, self.picture_size = object_size, picture_size
        self.n_neighbors = n_neighbors
        self.point = nn.Linear(n_channels, point_width)
        self.edge = EdgeConvGroup(point_width, width)
        self.paint = nn.Linear(width, width)
        self.block = BasicBlock(width, width)
        self.mix = nn.Linear(width, width)
        self.color = nn.Linear(width, 3)
        self.register_buffer("color_mean", torch.tensor(_COLOR_MEAN), persistent=False)
        self.register_buffer("color_std", torch.tensor(_COLOR_STD), persistent=False)

    def forward_points(self, points: Tensor) -> Tensor:
        """Return what each point paints with: (B, N, n_channels) to (B, N, width)."""
        xyz = points[..., :3]
        neighbors = knn(xyz, xyz, min(self.n_neighbors, points.shape[1]))
        return self.paint(self.edge(self.point(points), neighbors))

    def forward(self, features: Tensor, plane: Tensor) -> Tensor:
        """Paint pictures of features (B, N, width) at places (B, N, 2): (B, 3, S, S)."""
        margin = (self.picture_size - self.object_size) // 2
        cells = object_cells(plane, self.object_size) + margin
        canvas = splat_sum(features, cells, self.picture_size, radius=1)  # (B, S, S, width)
        maps = self.block(canvas.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        bias = F.linear(self.mix.bias, self.color.weight, self.color.bias)
        colors = F.linear(maps, self.color.weight @ self.mix.weight, bias).sigmoid()
        return ((colors - self.color_mean) / self.color_std).permute(0, 3, 1, 2)


def object_cells(plane: Tensor, object_size: int) -> Tensor:
    """Find the pixels of points so that a cloud fills a square and stands in its middle.

    Parameters
    ----------
    plane : Tensor of shape (B, N, 2)
    object_size : int
        Height and width of the square; two pixels of it are left for the points' footprints.

    Returns
    -------
    cells : int64 Tensor of shape (B, N, 2)
        Row, from the first coordinate, and column.
    """
    low = plane.amin(1, keepdim=True)
    longest = (plane.amax(1, keepdim=True) - low).amax(2, keepdim=True)
    # Divided by the length first: the farthest point is at 1 exactly, and so in the last cell
    # whatever the rounding, not sometimes in the one before.
    place = (plane - low) / torch.where(longest > 0, longest, 1.0)
    cells = (place * (object_size - 3)).floor().long()
    last = cells.amax(1, keepdim=True) + 2  # of the footprints; the first is 0
    return cells + (object_size // 2 - last.div(2, rounding_mode="floor"))


def tilted_rotations(theta: Tensor, phi: Tensor) -> Tensor:
    """Rotations by -theta about the third axis, and by -phi about a horizontal one before that.

    Angles in radians, (V,) each, to (V, 3, 3). Rodrigues' formula, for the axes (0, 0, 1) and
    (sin theta, -cos theta, 0), multiplied out.
    """
    sine, cosine = theta.sin(), theta.cos()
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)
    turn = torch.stack([cosine, sine, zero, -sine, cosine, zero, zero, zero, one], dim=-1)
    axis = torch.stack([sine, -cosine, zero], dim=-1)
    cross = torch.stack([zero, zero, -cosine, zero, zero, -sine, cosine, sine, zero], dim=-1)
    turn, cross = turn.view(-1, 3, 3), cross.view(-1, 3, 3)
    along = axis.unsqueeze(2) * axis.unsqueeze(1)
    identity = torch.eye(3, dtype=theta.dtype, device=theta.device)
    sine, cosine = phi.sin().view(-1, 1, 1), phi.cos().view(-1, 1, 1)
    return turn @ (cosine * identity + (1 - cosine) * along - sine * cross)
