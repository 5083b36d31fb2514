"""Picture networks of the `transformers` library, as networks that look at clouds want them."""

import inspect
from typing import Any

from torch import Tensor, nn

__all__ = ["TransformersPictures"]

FEATURES = ("token", "pooled", "mean")


class TransformersPictures(nn.Module):
    """A vision model of transformers as a module from pictures to one vector each.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Without a classifier: ``ViTModel``, ``DeiTModel``, ``SwinModel``, ``ConvNextModel``,
        ``Dinov2Model`` and their kin.
    feature : {"token", "pooled", "mean"}, default=None
        The class token after the last layer; the model's own pooled output; the mean of the
        last tokens or maps. None takes the class token where there is one, as published for
        ViT, else the pooled output where there is one.

    Attributes
    ----------
    num_features : int
        Width of the vectors.

    Notes
    -----
    Pictures are passed on as they are; ``P2P`` standardizes them as for ImageNet. Where
    pictures are of another size than the model was trained with, places are interpolated if
    the model can do so.

    Examples
    --------
    A trained ViT, all but its normalizations and class token frozen::

        from transformers import ViTModel
        from pointinteract.models import P2P, TransformersPictures

        vit = ViTModel.from_pretrained("google/vit-base-patch16-224", add_pooling_layer=False)
        network = P2P(picture_network=TransformersPictures(vit), frozen=True)
    """

    def __init__(self, model: Any, *, feature: str | None = None):
        super().__init__()
        if feature is not None and feature not in FEATURES:
            raise ValueError(
                f"feature must be None or one of {', '.join(FEATURES)}; got {feature!r}."
            )
        if not isinstance(model, nn.Module) or not hasattr(model, "config"):
            raise TypeError(
                "model must be a vision model of transformers, such as a ViTModel; got "
                f"{type(model).__name__}. Other modules need no wrapping."
            )
        self.model = model
        self.feature = feature or ("token" if _has_class_token(model) else None)
        self.num_features = _width(model.config)
        known = inspect.signature(model.forward).parameters
        self._options = (
            {"interpolate_pos_encoding": True} if "interpolate_pos_encoding" in known else {}
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to (B, num_features)."""
        output = self.model(pixel_values=pictures, **self._options)
        last = output.last_hidden_state
        if self.feature == "token":
            return last[:, 0]
        pooled = getattr(output, "pooler_output", None)
        if pooled is not None and self.feature != "mean":
            return pooled.flatten(1)
        if self.feature == "pooled":
            raise ValueError(f"{type(self.model).__name__} has no pooled output.")
        # Maps (B, C, h, w) of convolutional models, or tokens (B, T, C).
        return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)


def _has_class_token(model: nn.Module) -> bool:
    return any("cls_token" in name for name, _ in model.named_parameters())


def _width(config: Any) -> int:
    """Width of the last layer, by the names that configurations have for it."""
    widths = getattr(config, "hidden_sizes", None)
    width = widths[-1] if widths else getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise ValueError(
            f"{type(config).__name__} does not say how wide its features are: it has neither "
            "hidden_size nor hidden_sizes."
        )
    return width
