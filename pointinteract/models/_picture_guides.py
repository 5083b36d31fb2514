"""Pictures of a cloud along its axes, and frozen guides that say what is where in them.

A guide looks at a picture and answers with a map of features and a map of saliency: what stands
at each place, and how much it matters there. I2P-MAE (Zhang et al., CVPR 2023) has a guide
choose the patches that stay visible, and learns its features from the points.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.models._teacher_depth import CELL, N_DIRECTIONS, gradient_cells
from pointinteract.models._teacher_transformers import TransformersTeacher
from pointinteract.ops.rendering import pixel_cells, splat_sum

__all__ = ["AxisViews", "DepthGuide", "PictureGuide", "PictureMaps", "TransformersGuide",
           "resolve_guide"]

N_VIEWS = 3
_MARGIN = 3  # pixels of a picture that the cloud leaves free: published, 221 of 224 are used


@dataclass(frozen=True)
class PictureMaps:
    """What a guide says of n pictures."""

    features: Tensor  # (n, D, h, w)
    saliency: Tensor  # (n, h, w), of mean 1 in every picture that is not empty


class PictureGuide:
    """A frozen network, or rule, that looks at pictures: derive from it and write `look`.

    Attributes
    ----------
    feature_dim : int
        Width D of the features.
    picture_size : int
        Height and width of the pictures it wants to see, in pixels.
    splat_radius : int
        Points are drawn as squares of ``2 * splat_radius + 1`` pixels.
    """

    feature_dim: int
    picture_size: int = 224
    splat_radius: int = 2

    def look(self, pictures: Tensor) -> PictureMaps:
        """Describe pictures (n, S, S) in [0.5, 1]: 0.5 where there is nothing."""
        raise NotImplementedError(f"{type(self).__name__} must define look.")


class DepthGuide(PictureGuide):
    """Edges of the picture by direction, without any weights: what needs nothing else.

    Features are strengths of gradients in eight directions, occupancy and depth of cells of
    4 pixels, saliency is the strength of gradients of any direction.
    """

    feature_dim = N_DIRECTIONS + 2
    picture_size = 112
    splat_radius = 1

    def look(self, pictures: Tensor) -> PictureMaps:
        """Describe pictures (n, S, S), S a multiple of 4."""
        pictures = 2 * pictures - 1
        gradients = gradient_cells(pictures)
        occupied = F.avg_pool2d((pictures > 0).to(pictures).unsqueeze(1), CELL)
        depth = F.avg_pool2d(pictures.unsqueeze(1), CELL)
        return PictureMaps(
            torch.cat([gradients, occupied, depth], dim=1), _of_mean_one(gradients.sum(dim=1))
        )


class TransformersGuide(PictureGuide):
    """A vision transformer of the `transformers` library: CLIP, ViT, DINOv2 and their kin.

    Features are the last tokens of the patches, projected to the space of texts where the model
    has one (CLIP); saliency is the attention that its class token pays them in the last layer,
    averaged over heads.

    Parameters
    ----------
    name : str or path-like
        Hub name, such as ``"openai/clip-vit-base-patch16"`` (published), or local folder, as in
        :class:`pointinteract.models.teachers.TransformersTeacher`.
    device : str or torch.device, default="cpu"
    """

    def __init__(
        self, name: str | os.PathLike[str], *, device: str | torch.device = "cpu"
    ) -> None:
        teacher = TransformersTeacher(name, device=device)
        model: Any = teacher.model
        self._projection = getattr(model, "visual_projection", None)
        self._vision = getattr(model, "vision_model", model)
        config = getattr(model.config, "vision_config", model.config)
        patch_size = getattr(config, "patch_size", None)
        if not isinstance(patch_size, int) or not hasattr(config, "num_attention_heads"):
            raise TypeError(
                f"{os.fspath(name)!r} is no transformer of picture patches, of which attention "
                f"could be read, but a {type(model).__name__}."
            )
        # Only the plain implementation tells what it attended to.
        model.set_attn_implementation("eager")
        self.picture_size = teacher.picture_size
        self._side = self.picture_size // patch_size
        self.feature_dim = (
            config.hidden_size if self._projection is None else self._projection.out_features
        )
        self._statistics = teacher.picture_statistics

    def look(self, pictures: Tensor) -> PictureMaps:
        """Describe pictures (n, S, S), as gray ones."""
        mean, deviation = (pictures.new_tensor(v).view(3, 1, 1) for v in self._statistics)
        with torch.no_grad():
            output = self._vision(
                pixel_values=(pictures.unsqueeze(1) - mean) / deviation, output_attentions=True
            )
            n_patches = self._side**2  # class token and registers stand before them
            tokens = output.last_hidden_state[:, -n_patches:]
            if self._projection is not None:
                tokens = self._projection(self._vision.post_layernorm(tokens))
            attention = output.attentions[-1][:, :, 0, -n_patches:].mean(dim=1)
        side = (self._side, self._side)
        return PictureMaps(
            tokens.transpose(1, 2).unflatten(2, side), _of_mean_one(attention.unflatten(1, side))
        )


class AxisViews:
    """Three pictures of each cloud, one along each axis, and where its points appear in them.

    Parameters
    ----------
    points : Tensor (B, N, 3)
    size : int
        Height and width of a picture. Of both sides of a cloud that a picture shows, the longer
        one fills it but for 3 pixels; the cloud stands in the middle.
    radius : int
        Points are drawn as squares of ``2 * radius + 1`` pixels.

    Attributes
    ----------
    pictures : Tensor (B, 3, S, S)
        In [0.5, 1): the sigmoid of the sum of the depths of the points in a pixel, where depth
        counts from the far end of the cloud. 0.5 is background. The views show (x, y), (y, z)
        and (z, x), the second coordinate upwards.
    """

    def __init__(self, points: Tensor, *, size: int, radius: int):
        self.size = size
        low, high = points.amin(dim=1), points.amax(dim=1)
        self._middle = (low + high) / 2
        extent = high - low
        # Half of what a picture covers, in units of the cloud: (B, V).
        longer = torch.maximum(extent, extent.roll(-1, dims=1))
        self._half = longer.clamp_min(1e-6) * (0.5 * size / max(1, size - _MARGIN))
        depth = (points - low.unsqueeze(1)).roll(-2, dims=2).transpose(1, 2)  # (B, V, N)
        cells = pixel_cells(self.planes(points), size)
        summed = splat_sum(depth.unsqueeze(-1), cells, size, radius=radius)
        self.pictures = summed.squeeze(-1).sigmoid()

    def planes(self, points: Tensor) -> Tensor:
        """Places of points (B, M, 3) in the three pictures, (B, 3, M, 2) in [-1, 1]."""
        centered = points - self._middle.unsqueeze(1)
        pairs = torch.stack([centered, centered.roll(-1, dims=2)], dim=-1)  # (B, M, V, 2)
        return pairs.transpose(1, 2) / self._half[:, :, None, None]

    def read(self, maps: Tensor, points: Tensor, *, mode: str = "bilinear") -> Tensor:
        """Read maps (B * 3, D, h, w) of the pictures where points (B, M, 3) are: (B, M, 3, D)."""
        planes = self.planes(points)
        places = torch.stack([planes[..., 0], -planes[..., 1]], dim=-1)  # rows count downwards
        found = F.grid_sample(
            maps,
            places.flatten(0, 1).unsqueeze(2).to(maps),
            mode=mode,
            padding_mode="border",
            align_corners=False,
        )  # (B V, D, M, 1)
        return found.squeeze(-1).unflatten(0, (-1, N_VIEWS)).permute(0, 3, 1, 2)


def resolve_guide(guide: Any, *, device: str | torch.device = "cpu") -> PictureGuide:
    """Make a guide of what a user gave.

    Parameters
    ----------
    guide : str, path-like or PictureGuide
        ``"depth"`` is the built-in one; another string, or a path, is a model of transformers
        by hub name or folder; an object with `look` and the attributes of a `PictureGuide` is
        used as it is.
    device : str or torch.device, default="cpu"
        Where a model of transformers works.
    """
    needed = ("look", "feature_dim", "picture_size", "splat_radius")
    if not isinstance(guide, type) and all(hasattr(guide, name) for name in needed):
        return guide
    if not isinstance(guide, str | os.PathLike):
        raise TypeError(
            "guide must be 'depth', the name or folder of a vision transformer, or an object "
            f"with {', '.join(needed)}; got {guide!r}."
        )
    return DepthGuide() if guide == "depth" else TransformersGuide(guide, device=device)


def _of_mean_one(saliency: Tensor) -> Tensor:
    """Scale maps (n, h, w) so that pictures, and guides, are comparable."""
    return saliency / saliency.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
