"""SimpleView (Goyal, Law, Liu, Newell and Deng, ICML 2021): six depth pictures, one small ResNet.

A cloud is looked at from the six sides of a cube. Each pixel holds the depth of the points in
it, one pixel to a point, without any filling of gaps. A slim residual network reads every
picture, and a linear layer joins what it says of the six.
"""

from torch import Tensor, nn

from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.mlp import BatchNorm, LinearNorm
from pointinteract.nn.resnet import ResNet
from pointinteract.ops.depth_views import side_cameras
from pointinteract.ops.rendering import pixel_cells, project_points, splat_harmonic
from pointinteract.utils._params import check_int

N_SIDES = 6


class SimpleView(nn.Module):
    """Depth pictures from six sides, read by a ResNet-18 of a quarter of the usual width.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates are drawn in further channels of the
        pictures, averaged in a pixel as the depth is.
    n_classes : int, default=40
    picture_size : int, default=128
        Height and width of the pictures in pixels. Time grows with its square.
    width : int, default=16
        Channels of the first stage of the ResNet; the last has 8 times as many.
    camera_distance : float, default=1.4
        Distance of the cameras from the origin, focal length 1. Clouds should lie in the unit
        ball: what comes near a camera is drawn large, what lies behind it is not drawn.
    dropout : float, default=0.5
        Share of the pictures' features, and of the joined ones, that is dropped in training.
    """

    official_system = "simpleview"
    permutation_invariant = True

    cameras: Tensor

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        picture_size: int = 128,
        width: int = 16,
        camera_distance: float = 1.4,
        dropout: float = 0.5,
    ):
        super().__init__()
        check_int("picture_size", picture_size)
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "picture_size": picture_size,
            "width": width,
            "camera_distance": camera_distance,
            "dropout": dropout,
        }
        self.picture_size = picture_size
        self.camera_distance = camera_distance
        self.num_features = 8 * width
        self.register_buffer("cameras", side_cameras(N_SIDES), persistent=False)
        self.encoder = ResNet(
            n_channels=n_channels - 2,
            widths=(width, 2 * width, 4 * width, 8 * width),
            stem_size=3,
            stem_stride=1,
            stem_pool=False,
            zero_residual=True,
        )
        self.view_norm = BatchNorm(self.num_features)
        self.dropout = nn.Dropout(dropout)
        self.fusion = LinearNorm(N_SIDES * self.num_features, self.num_features)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each picture, (B, 6, num_features)."""
        pictures = self.render(points).permute(0, 1, 4, 2, 3)  # (B, 6, C, S, S)
        return self.encoder(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the joined features of the six pictures, (B, num_features)."""
        views = self.dropout(self.view_norm(self.forward_features(points)))
        return self.fusion(views.flatten(1))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        out = nn.Linear(self.num_features, n_classes) if n_classes else nn.Identity()
        head = nn.Sequential(nn.Dropout(self.dropout.p if n_classes else 0.0), out)
        self.head = head.to(self.fusion.linear.weight).train(self.training)

    def render(self, points: Tensor) -> Tensor:
        """Draw the pictures the network sees, (B, 6, S, S, n_channels - 2), depth first.

        The value of a pixel carries gradients to the points, its place does not.
        """
        plane, depth = project_points(
            points[..., :3], self.cameras, distance=self.camera_distance, perspective=True
        )
        cells = pixel_cells(plane, self.picture_size, rule="half_down")
        extra = points[..., 3:].to(depth).unsqueeze(1)  # (B, 1, N, C)
        extra = extra.expand(*depth.shape, extra.shape[-1])
        return splat_harmonic(depth, cells, self.picture_size, features=extra)


@register_model
def simpleview(
    *, n_channels: int = 3, n_classes: int = 40, picture_size: int = 128, dropout: float = 0.5
) -> SimpleView:
    """SimpleView as published, 0.8 million parameters."""
    return SimpleView(
        n_channels=n_channels, n_classes=n_classes, picture_size=picture_size, dropout=dropout
    )


def _build(state: OfficialState, sizes: OfficialSizes) -> SimpleView:
    width, n_maps = state.shape("img_model.0.weight", 4)[:2]
    n_joined, n_flat = state.shape("final_fc.model.3.weight", 2)
    sizes.check("backbone", "resnet18")
    sizes.check("num_views", n_flat // n_joined)
    return SimpleView(
        n_channels=n_maps + 2,
        n_classes=sizes.check("num_class", state.shape("final_fc.model.7.weight", 2)[0]),
        picture_size=sizes.get("resolution", 128),
        width=sizes.check("feat_size", width),
        camera_distance=sizes.get("camera_offset", 1.4),
    )


# princeton-vl/SimpleView, models/mv.py
register_official(
    OfficialFormat(
        system="simpleview",
        build=_build,
        renames=(
            (r"^encoder\.conv1", "img_model.0"),
            (r"^encoder\.bn1", "img_model.1"),
            (r"^encoder\.layer1", "img_model.3"),
            (r"^encoder\.layer2", "img_model.4"),
            (r"^encoder\.layer3", "img_model.5"),
            (r"^encoder\.layer4", "img_model.6"),
            (r"^view_norm", "final_fc.model.0.bn"),
            (r"^fusion\.linear", "final_fc.model.3"),
            (r"^fusion\.norm", "final_fc.model.4"),
            (r"^head\.1", "final_fc.model.7"),
        ),
    )
)
