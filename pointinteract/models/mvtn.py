"""MVTN (Hamdi, Giancola and Ghanem, ICCV 2021): cameras that learn where to stand.

A small PointNet says what a cloud looks like overall, and a few layers turn that into the
angles of as many cameras. A differentiable renderer draws what they see, a ResNet-18 reads
every picture, and the maximum over the views describes the cloud. Errors of the class flow
back through the pictures into the angles.

The published defaults draw white points on white: empty pictures. And with one point to a
pixel the blending weight cancels out, so that the place of a camera has no gradient through
it. Ours, unless told otherwise, draws points in the color of their place on black, and blends
two points to a pixel.
"""

import torch
from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._official import (
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.pooling import LinearNormMax, linear_max
from pointinteract.nn.resnet import resnet18
from pointinteract.ops.rendering import (
    look_at,
    project_points,
    spherical_views,
    splat_nearest,
)
from pointinteract.utils._params import check_int, check_option

# Diameter of a point in pixels: 0.006 of half a picture at the published 224 pixels.
_POINT_SIZE = 1.344
_COLORS = ("white", "position")


class Alignment(nn.Module):
    """Predict a square matrix from a set of rows, as PointNet does.

    Parameters
    ----------
    n_in : int
        Channels of the rows, and rows and columns of the matrix.
    """

    def __init__(self, n_in: int):
        super().__init__()
        self.n_in = n_in
        self.convs = nn.Sequential(LinearNorm(n_in, 64), LinearNorm(64, 128))
        self.widen = nn.Linear(128, 1024)
        self.fcs = nn.Sequential(LinearNorm(1024, 512), LinearNorm(512, 256))
        self.out = nn.Linear(256, n_in * n_in)
        # So that the matrix begins as the identity.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, rows: Tensor) -> Tensor:
        """Turn rows (B, N, n_in) by the matrix found for each cloud."""
        pooled = linear_max(self.convs(rows), self.widen.weight) + self.widen.bias
        matrix = self.out(self.fcs(pooled)).unflatten(1, (self.n_in, self.n_in))
        matrix = matrix + torch.eye(self.n_in, dtype=matrix.dtype, device=matrix.device)
        return rows @ matrix.mT


class ShapeEncoder(nn.Module):
    """PointNet whose class scores, rectified, stand for the shape as a whole.

    Parameters
    ----------
    n_scores : int, default=40
    dropout : float, default=0.5
        Share of every layer after the maximum that is dropped in training.
    """

    def __init__(self, n_scores: int = 40, *, dropout: float = 0.5):
        super().__init__()
        self.input_transform = Alignment(3)
        self.layer1 = LinearNorm(3, 64)
        self.feature_transform = Alignment(64)
        self.layer2 = LinearNorm(64, 128)
        self.layer3 = LinearNormMax(128, 1024)
        self.scores = nn.ModuleList(
            (LinearNorm(1024, 512), LinearNorm(512, 256), LinearNorm(256, n_scores))
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, points: Tensor) -> Tensor:
        """Map (B, N, 3) to (B, n_scores)."""
        rows = self.feature_transform(self.layer1(self.input_transform(points)))
        scores = self.layer3(self.layer2(rows))
        for layer in self.scores:
            scores = self.dropout(layer(scores))
        return scores


class ViewPredictor(nn.Module):
    """Move cameras on a sphere away from where they begin, by what the shape is.

    Parameters
    ----------
    n_views : int
        They begin on a spherical grid, see :func:`~pointinteract.ops.rendering.spherical_views`.
    n_scores : int, default=40
        Width of what is known of the shape.
    distance : float, default=1.0
        Distance of the cameras from the origin.
    dropout : float, default=0.5
        Share of every hidden layer that is dropped in training.
    """

    azimuth: Tensor
    elevation: Tensor
    distance: Tensor

    def __init__(
        self, n_views: int, n_scores: int = 40, *, distance: float = 1.0, dropout: float = 0.5
    ):
        super().__init__()
        self.n_views = n_views
        azimuth, elevation = spherical_views(n_views)
        self.register_buffer("azimuth", azimuth)
        self.register_buffer("elevation", elevation)
        self.register_buffer("distance", torch.full((n_views,), float(distance)))
        hidden = (n_scores, n_scores, 5 * n_views, 2 * n_views)
        self.regressor = ClassifierHead(
            n_scores + 2 * n_views, hidden, 2 * n_views, dropout=(dropout,) * 4
        )

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, n_scores) to azimuths and elevations in degrees, each (B, n_views)."""
        start = torch.cat([self.azimuth, self.elevation]).expand(scores.shape[0], -1)
        # Degrees in half precision would be off by one.
        with torch.autocast(scores.device.type, enabled=False):
            rows = torch.cat([scores.to(start.dtype), start], dim=1)
            turn, climb = self.regressor(rows).tanh().chunk(2, dim=1)
        return self.azimuth + turn * (180.0 / self.n_views), self.elevation + climb * 90.0


class MVTN(nn.Module):
    """Multi-view network on rendered points, with predicted views.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point. Those after the coordinates are drawn in further channels of the
        pictures.
    n_classes : int, default=40
    n_views : int, default=6
        Pictures of a cloud; 12 is usual. Time grows in proportion.
    picture_size : int, default=64
        Height and width of the pictures in pixels; 224 is published. Time grows with its
        square; below 32 the ResNet has nothing left to reduce.
    point_size : float, default=1.344
        Diameter of a point in pixels. Larger closes gaps between points and blurs.
    n_nearest : int, default=2
        Points that are blended in a pixel, the nearest ones. 1 is published; then the views
        learn from the colors of points alone.
    color : {"position", "white"}, default="position"
        "position" draws the point (x, y, z) in the color ((x, y, z) + 1) / 2; "white" is
        published.
    background : float, default=0.0
        Brightness where there is no point; 1 is published.
    camera_distance : float, default=1.0
        The cloud is drawn smaller by this factor, and cameras stand that far from its middle.
        Clouds should lie in the unit ball, which then just fits.
    n_scores : int, default=40
        Scores by which the PointNet describes a shape to the predictor of views.
    dropout : float, default=0.5
        Share of the scores and of the predictor's hidden layers that is dropped in training.
    """

    official_system = "mvtn"
    permutation_invariant = True
    num_features = 512

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_views: int = 6,
        picture_size: int = 64,
        point_size: float = _POINT_SIZE,
        n_nearest: int = 2,
        color: str = "position",
        background: float = 0.0,
        camera_distance: float = 1.0,
        n_scores: int = 40,
        dropout: float = 0.5,
    ):
        super().__init__()
        check_option("color", color, _COLORS)
        check_int("picture_size", picture_size)
        check_int("n_nearest", n_nearest)
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_views": n_views,
            "picture_size": picture_size,
            "point_size": point_size,
            "n_nearest": n_nearest,
            "color": color,
            "background": background,
            "camera_distance": camera_distance,
            "n_scores": n_scores,
            "dropout": dropout,
        }
        self.picture_size = picture_size
        self.point_size = point_size
        self.n_nearest = n_nearest
        self.color = color
        self.background = background
        self.shape_encoder = ShapeEncoder(n_scores, dropout=dropout)
        self.view_predictor = ViewPredictor(
            n_views, n_scores, distance=camera_distance, dropout=dropout
        )
        self.encoder = resnet18(n_channels=n_channels)
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each picture, (B, n_views, 512)."""
        pictures = self.render(points).permute(0, 1, 4, 2, 3)  # (B, V, C, S, S)
        return self.encoder(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return their maximum over the views, (B, 512)."""
        return self.forward_features(points).amax(1)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        width = self.num_features
        layers = [nn.LayerNorm(width), nn.Linear(width, n_classes)] if n_classes else []
        self.head = nn.Sequential(*layers).to(self.encoder.conv1.weight).train(self.training)

    def predict_views(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return azimuths and elevations of the cameras in degrees, each (B, n_views)."""
        return self.view_predictor(self.shape_encoder(points[..., :3]))

    def render(self, points: Tensor) -> Tensor:
        """Draw the pictures the network sees, (B, n_views, S, S, n_channels), colors first.

        They carry gradients to the points and, by where the points fall, to the cameras.
        """
        azimuth, elevation = self.predict_views(points)
        cameras = look_at(azimuth, elevation, up="y", upright=True)  # (B, V, 3, 3)
        distance = self.view_predictor.distance[:, None]
        plane, depth = project_points(points[..., :3], cameras / distance.unsqueeze(-1))
        colors = points.to(depth)
        if self.color == "position":
            place = 0.5 * (colors[..., :3] + 1)
        else:
            place = torch.ones_like(colors[..., :3])
        colors = torch.cat([place, colors[..., 3:]], dim=-1).unsqueeze(1)  # (B, 1, N, C)
        return splat_nearest(
            colors.expand(*depth.shape, colors.shape[-1]),
            plane,
            depth + distance.to(depth),
            self.picture_size,
            radius=self.point_size / self.picture_size,
            n_nearest=self.n_nearest,
            background=self.background,
        )


@register_model
def mvtn(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_views: int = 6,
    picture_size: int = 64,
    n_nearest: int = 2,
) -> MVTN:
    """MVTN at a size for laptops, 14.7 million parameters.

    As published it draws 12 views of 224 pixels: 25 times as much work.
    """
    return MVTN(
        n_channels=n_channels,
        n_classes=n_classes,
        n_views=n_views,
        picture_size=picture_size,
        n_nearest=n_nearest,
    )


_PREDICTOR = "mvtn.view_selector.chosen_view_selector."
_SHAPE = "mvtn.feature_extractor.fe_model."


def _build(state: OfficialState, sizes: OfficialSizes) -> MVTN:
    (n_scores,) = state.shape(_SHAPE + "classifier.8.bias", 1)
    (n_views,) = state.shape(_PREDICTOR + "views_azim", 1)
    distance = float(state[_PREDICTOR + "views_dist"][0])
    sizes.check("shape_extractor", f"PointNet({n_scores}, alignment)")
    sizes.check("mvnetwork", "mvcnn resnet18 max")
    # Where the views begin is in the checkpoint; here it only has to be views that learn.
    _one_of(sizes, "views_config", ("learned_spherical", "learned_circular"))
    picture_size = sizes.get("image_size", 224)
    return MVTN(
        n_channels=state.shape("mvnetwork.aggregation_model.model.conv1.weight", 4)[1],
        n_classes=sizes.check("num_classes", state.shape("mvnetwork.fc.1.weight", 2)[0]),
        n_views=sizes.check("nb_views", n_views),
        picture_size=picture_size,
        point_size=sizes.get("points_radius", 0.006) * picture_size,
        n_nearest=sizes.get("points_per_pixel", 1),
        color=_COLORS[_one_of(sizes, "object_color", ("white", "per point (xyz+1)/2"))],
        background=1.0 - _one_of(sizes, "background", ("white", "black")),
        camera_distance=sizes.check("canonical_distance", distance),
        n_scores=n_scores,
    )


def _one_of(sizes: OfficialSizes, name: str, options: tuple[str, str]) -> int:
    """Return which of two options the caller gave; the first, 0, is the published one."""
    given = sizes.get(name, options[0])
    if given not in options:
        raise CheckpointError(
            f"{name} must be {options[0]!r} or {options[1]!r} for a checkpoint of "
            f"{sizes.system!r}, got {given!r}."
        )
    return options.index(given)


# ajhamdi/MVTN, models/mvtn.py, models/multi_view.py
register_official(
    OfficialFormat(
        system="mvtn",
        build=_build,
        renames=(
            (r"^head\.", "mvnetwork.fc."),
            (r"^encoder\.", "mvnetwork.aggregation_model.model."),
            (r"^view_predictor\.(azim|elev|dist)[a-z]+$", _PREDICTOR + r"views_\1"),
            (r"^view_predictor\.regressor\.out", _PREDICTOR + "view_transformer.1.0"),
            (r"^view_predictor\.regressor\.layers", _PREDICTOR + "view_transformer.0"),
            (r"^shape_encoder\.", _SHAPE),
            (r"transform\.widen", "transform.convs.2.0"),
            (r"transform\.out", "transform.fcs.2.0"),
            (r"fe_model\.scores", "fe_model.classifier"),
            (r"fe_model\.layer1", "fe_model.conv1"),
            (r"fe_model\.layer2\.linear", "fe_model.conv2s.0"),
            (r"fe_model\.layer2\.norm", "fe_model.conv2s.1"),
            (r"fe_model\.layer3\.linear", "fe_model.conv2s.3"),
            (r"fe_model\.layer3\.norm", "fe_model.conv2s.4"),
            (r"((?:convs|fcs)\.\d|conv1)\.linear", r"\1.0"),
            (r"((?:convs|fcs)\.\d|conv1)\.norm", r"\1.1"),
            # Lists there of linear layer, normalization, rectifier and dropout, over and over.
            *(
                (rf"(classifier|transformer\.0)\.{n}\.{part}", rf"\g<1>.{4 * n + place}")
                for n in range(4)
                for place, part in enumerate(("linear", "norm"))
            ),
        ),
        layouts=(
            (r"fe_model\.(conv1\.0|conv2s\.[03])\.weight$", unit_axes(1)),
            (r"transform\.(convs|fcs)\.\d\.0\.weight$", unit_axes(1)),
        ),
    )
)
