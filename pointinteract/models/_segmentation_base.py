"""What all segmentation networks have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SegmentationNetwork"]


class SegmentationNetwork(nn.Module):
    """A trunk of `pointinteract.models` and a way back from its features to every point.

    Attributes
    ----------
    encoder : torch.nn.Module
        The trunk, without a head. Weights of a pre-trained one of the same class and `config`
        fit into it.
    config : dict
        What makes another one like it, but for the number of classes:
        ``type(module)(n_classes=..., **module.config)``.
    n_classes : int
    n_categories : int or None
    n_channels : int

    Notes
    -----
    A subclass makes its layers, adds its own numbers to `config`, calls `reset_classifier` and
    answers `_forward_parts` and `_make_head`.
    """

    encoder_type: ClassVar[type[nn.Module]]
    # Whether another order of the points, of all but the first, only reorders the answer.
    permutation_equivariant: ClassVar[bool] = True
    encoder: Any
    head: nn.Module
    config: dict[str, Any]

    def __init__(self, encoder: Mapping[str, Any] | None, n_categories: int | None):
        super().__init__()
        self.encoder = self.encoder_type(n_classes=0, **(encoder or {}))
        self.config = {"encoder": dict(self.encoder.config), "n_categories": n_categories}
        self.n_categories = n_categories
        self.n_channels = int(self.encoder.config["n_channels"])
        self.n_classes = 0

    def forward(self, points: Tensor, category: Tensor | None = None) -> Tensor:
        """Name the parts.

        Parameters
        ----------
        points : Tensor of shape (B, N, n_channels)
        category : int64 Tensor of shape (B,), optional
            The kind of each object, in 0, ..., n_categories - 1; only for a network that was
            made with `n_categories`, which needs it.

        Returns
        -------
        scores : Tensor of shape (B, N, n_classes)
            Before any softmax.
        """
        return self.head(*self._forward_parts(points, self._told(points, category)))

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` parts in place of the old one, the rest is kept.

        With 0 the network answers with the features that the last layer would read.
        """
        like = next(self.encoder.parameters())
        self.n_classes = n_classes
        self.head = self._make_head(n_classes).to(like).train(self.training)

    def _forward_parts(self, points: Tensor, told: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features of points (B, N, L) and of clouds (B, W), which the head reads.

        `told` (B, n_categories) is 1 at the category of a cloud; (B, 0) without categories.
        """
        raise NotImplementedError

    def _make_head(self, n_classes: int) -> nn.Module:
        raise NotImplementedError

    def _told(self, points: Tensor, category: Tensor | None) -> Tensor:
        """Check what came; the category as (B, n_categories) numbers."""
        if points.ndim != 3 or points.shape[2] != self.n_channels or points.shape[1] == 0:
            raise ValueError(
                f"points must be (B, N, {self.n_channels}) with at least one point, got "
                f"{tuple(points.shape)}."
            )
        if (category is None) != (self.n_categories is None):
            raise ValueError(
                "a category for each cloud is needed, as the network was made with "
                f"n_categories={self.n_categories}; got None." if category is None else
                "got categories, but the network was made without: n_categories is None."
            )
        if category is None or self.n_categories is None:
            return points.new_empty(len(points), 0)
        if category.shape != points.shape[:1]:
            raise ValueError(
                f"category must be ({len(points)},), one for each cloud, got "
                f"{tuple(category.shape)}."
            )
        return F.one_hot(category.to(torch.int64), self.n_categories).to(points.dtype)
