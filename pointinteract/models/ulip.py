"""ULIP: any network for clouds, and its projection into the space of frozen teachers.

Xue, Gao, Xing, Martín-Martín, Wu, Xiong, Xu, Niebles, Savarese, "ULIP: Learning a Unified
Representation of Language, Images, and Point Clouds for 3D Understanding", CVPR 2023.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ULIPNetwork"]

# Published: learned from 1 / 0.07, and never above 100.
_FIRST_SCALE, _LARGEST_SCALE = 1 / 0.07, 100.0


class ULIPNetwork(nn.Module):
    """Encoder and linear maps of its pooled feature to the spaces of the teachers.

    Parameters
    ----------
    encoder : torch.nn.Module
        Its ``forward_pool`` answers (B, ``num_features``).
    image_width, text_width : int or None
        Widths of the teachers' features; None leaves that teacher out.
    shared : bool, default=False
        Whether one map serves for both teachers, whose features then lie in one space.

    Attributes
    ----------
    log_scale : Parameter of shape ()
        Logarithm of what cosines are multiplied by in the loss.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        image_width: int | None = None,
        text_width: int | None = None,
        shared: bool = False,
    ):
        super().__init__()
        if shared and image_width != text_width:
            raise ValueError(
                "one projection for both teachers needs features of one width, got "
                f"{image_width} of images and {text_width} of texts."
            )
        self.encoder = encoder
        n_features = encoder.num_features
        self.shared_projection = _projection(n_features, image_width if shared else None)
        self.image_projection = _projection(n_features, None if shared else image_width)
        self.text_projection = _projection(n_features, None if shared else text_width)
        self.log_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SCALE)))

    @property
    def permutation_invariant(self) -> bool:
        """Whether the features do not depend on the order of the points."""
        return bool(getattr(self.encoder, "permutation_invariant", False))

    def forward(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Map clouds (B, N, C) to the spaces of images and of texts, (B, D) or None each."""
        pooled = self.encoder.forward_pool(points)
        if self.shared_projection is not None:
            both = self.shared_projection(pooled)
            return both, both
        maps = (self.image_projection, self.text_projection)
        image, text = (None if layer is None else layer(pooled) for layer in maps)
        return image, text

    @torch.no_grad()
    def limit_scale(self) -> None:
        """Keep the scale at 100 at most, as a step of the optimizer may have raised it."""
        self.log_scale.clamp_(max=math.log(_LARGEST_SCALE))


def _projection(n_features: int, width: int | None) -> nn.Linear | None:
    if width is None:
        return None
    layer = nn.Linear(n_features, width, bias=False)
    nn.init.normal_(layer.weight, std=width**-0.5)
    return layer
