"""CLIP2Point: a copy of CLIP's picture encoder that learns to read depth pictures of clouds.

Huang, Dong, Yang, Huang, Lau, Ouyang, Zuo, "CLIP2Point: Transfer CLIP to Point Cloud
Classification with Image-Depth Pre-Training", ICCV 2023.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models._teacher_transformers import TransformersTeacher
from pointinteract.nn.modes import evaluation_mode
from pointinteract.ops.depth_views import disc_depth_views, side_cameras
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_int

__all__ = ["CLIP2PointNetwork", "DepthViewEncoder", "clip_picture_network"]


class DepthViewEncoder(nn.Module):
    """A picture network that looks at orthographic depth pictures of a cloud from all sides.

    Parameters
    ----------
    picture_network : dict or torch.nn.Module
        The configuration of a CLIP vision model of transformers, in plain numbers, which is
        then made with random weights; or any module from pictures (n, 3, S, S) to (n, D).
    n_channels : int, default=3
        Channels of a point; those after the coordinates are not drawn.
    n_classes : int, default=0
        Outputs; 0 leaves the head out.
    n_views : int, default=6
        Pictures a cloud, of :func:`pointinteract.ops.depth_views.side_cameras`.
    picture_size : int, default=224
    radius : float, default=0.02
        Of the disc that a point is drawn as, in units of the cloud's.
    mean, std : sequence of 3 floats
        Taken off, and divided by, before the network.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds, which should lie in the unit ball.
    """

    permutation_invariant = True

    cameras: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        picture_network: Any,
        *,
        n_channels: int = 3,
        n_classes: int = 0,
        n_views: int = 6,
        picture_size: int = 224,
        radius: float = 0.02,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        up: str = "z",
    ):
        super().__init__()
        self.config: dict[str, Any] = {}
        if isinstance(picture_network, dict):
            self.config = {  # what makes another one like it
                "picture_network": picture_network,
                "n_channels": n_channels,
                "n_views": n_views,
                "picture_size": picture_size,
                "radius": radius,
                "mean": tuple(mean),
                "std": tuple(std),
                "up": up,
            }
            self.picture_network = _make_clip(picture_network)
        else:
            self.picture_network = copy.deepcopy(picture_network)
        self.picture_size = check_int("picture_size", picture_size)
        self.radius, self.up, self.n_views = radius, up, n_views
        cameras = side_cameras(n_views, up=up, mirrored=False)
        self.register_buffer("cameras", cameras, persistent=False)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        # A module that was given may live elsewhere than what is made here.
        self.to(next(self.picture_network.parameters(), cameras).device)
        self.num_features = self._count_features()
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each picture, (B, n_views, num_features)."""
        pictures = self.draw(points, self.cameras)
        return self.encode_pictures(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2])

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the mean of the unit vectors of the views, (B, num_features)."""
        return F.normalize(self.forward_features(points), dim=-1).mean(dim=1)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head: nn.Module = nn.Linear(self.num_features, n_classes) if n_classes else nn.Identity()
        self.head = head.to(self.mean)

    def draw(self, points: Tensor, cameras: Tensor, distance: Tensor | None = None) -> Tensor:
        """Draw depth pictures (B, V, S, S); see `disc_depth_views`."""
        return disc_depth_views(
            points[..., :3],
            cameras,
            size=self.picture_size,
            radius=self.radius,
            distance=distance,
        )

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """Map depth pictures (n, S, S) to (n, num_features)."""
        pixels = (pictures.unsqueeze(1) - self.mean) / self.std  # (n, 3, S, S)
        output = self.picture_network(pixels)
        return output if isinstance(output, Tensor) else output.image_embeds

    def _count_features(self) -> int:
        """Ask by an empty picture, since modules do not say how wide their features are."""
        empty = self.mean.new_ones(1, self.picture_size, self.picture_size)
        with torch.no_grad(), evaluation_mode(self.picture_network):
            return self.encode_pictures(empty).shape[1]


class CLIP2PointNetwork(nn.Module):
    """The encoder of depth pictures, and the learned balance of the two losses.

    Parameters
    ----------
    encoder : DepthViewEncoder
    """

    permutation_invariant = True

    def __init__(self, encoder: DepthViewEncoder):
        super().__init__()
        self.encoder = encoder
        self.balance = nn.Parameter(torch.ones(()))

    def forward(self, points: Tensor, cameras: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
        """Look twice from one side of each cloud: (B, D) twice.

        Parameters
        ----------
        points : Tensor (B, N, C)
        cameras : Tensor (B, 3, 3)
        distance : Tensor (B, 2)
            How far away the camera stands each time.
        """
        pair = cameras.unsqueeze(1).expand(-1, 2, -1, -1)
        pictures = self.encoder.draw(points, pair, distance)
        features = self.encoder.encode_pictures(pictures.flatten(0, 1))
        first, second = features.unflatten(0, pictures.shape[:2]).unbind(1)
        return first, second


def clip_picture_network(teacher: TransformersTeacher) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Take the picture half out of a CLIP: its configuration in plain numbers, and its weights.

    Raises
    ------
    ValueError
        If the model is no CLIP: others have no words in the space of their pictures.
    """
    model: Any = teacher.model
    if "clip" not in str(model.config.model_type) or not hasattr(model, "visual_projection"):
        raise ValueError(
            f"CLIP2Point copies the picture encoder of a CLIP, and {teacher.name!r} is a "
            f"{model.config.model_type}; give a CLIP by hub name or folder, or a torch module."
        )
    config = getattr(model.config, "vision_config", model.config)
    numbers = config.to_dict()
    numbers["projection_dim"] = model.visual_projection.out_features
    keep = ("hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers",
            "num_attention_heads", "num_channels", "image_size", "patch_size", "hidden_act",
            "layer_norm_eps", "attention_dropout", "initializer_range", "initializer_factor")
    numbers = {name: numbers[name] for name in keep if name in numbers}
    weights = {
        name: value.detach().clone()
        for name, value in model.state_dict().items()
        if name.startswith(("vision_model.", "visual_projection."))
    }
    return numbers, weights


def _make_clip(numbers: dict[str, Any]) -> nn.Module:
    transformers = import_optional(
        "transformers", extra="teachers", purpose="the picture network of a CLIP"
    )
    config = transformers.CLIPVisionConfig(**numbers)
    return transformers.CLIPVisionModelWithProjection(config)
