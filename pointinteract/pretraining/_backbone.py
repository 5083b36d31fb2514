"""What pre-training methods share that work with any backbone by its registered name."""

from typing import Any

from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.models import create_model, list_models
from pointinteract.pretraining._base import CloudPretrainer

__all__ = ["BackbonePretrainer"]


class BackbonePretrainer(CloudPretrainer):
    """Build the encoder that ``backbone`` names, and answer with its pooled feature.

    A method overrides ``_architecture`` (what else its module is made from), ``_wrap`` (the
    module, given the encoder) and ``_compute_loss``.
    """

    # Parameters that every subclass has in its constructor.
    backbone: Any
    backbone_options: dict[str, Any] | None

    def _check_params(self) -> None:
        super()._check_params()
        if isinstance(self.backbone, str):
            if self.backbone not in list_models():
                create_model(self.backbone)  # says which names there are
        elif not (isinstance(self.backbone, type) and issubclass(self.backbone, nn.Module)):
            raise TypeError(
                "backbone must be a name of pointinteract.list_models() or a torch.nn.Module "
                f"class that takes n_channels and n_classes, got {self.backbone!r}."
            )
        options = self.backbone_options
        if options is not None and not isinstance(options, dict):
            raise TypeError(
                "backbone_options must be a dict of further numbers of the backbone, such as "
                f"{{'n_neighbors': 10}}, or None; got {options!r}."
            )
        settled = sorted({"n_channels", "n_classes"} & set(options or {}))
        if settled:
            raise ValueError(
                f"backbone_options must not hold {' or '.join(settled)}: the clouds say the "
                "channels, and a backbone has no classes before it has a classifier's head."
            )

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        self.architecture_ = {"n_channels": self._n_channels, **self._wanted()}

    def _build_module(self) -> nn.Module:
        numbers = self.architecture_
        backbone: Any = numbers["backbone"]
        # Without a head: the pooled feature comes out, and a classifier puts its own head on.
        sizes = {"n_channels": numbers["n_channels"], "n_classes": 0, **numbers["options"]}
        if isinstance(backbone, str):
            return self._wrap(create_model(backbone, **sizes))
        return self._wrap(backbone(**sizes))

    def _check_same_route(self) -> None:
        wanted = self._wanted()
        changed = [name for name, value in wanted.items() if self.architecture_[name] != value]
        if changed:
            raise ValueError(
                "warm_start goes on with the network it has; "
                + ", ".join(f"{name} was {self.architecture_[name]!r} and is {wanted[name]!r}"
                            for name in changed)
                + ". Set warm_start=False to begin anew."
            )

    def _wanted(self) -> dict[str, Any]:
        """What the parameters say of the network."""
        return {
            "backbone": self.backbone,
            "options": dict(self.backbone_options or {}),
            **self._architecture(),
        }

    def _auxiliary_loss(self) -> Tensor | float:
        """What the backbone asks for beside the loss (PointNet's regularizer), else 0."""
        encoder = self.module_.encoder
        return encoder.auxiliary_loss() if hasattr(encoder, "auxiliary_loss") else 0.0

    def _features(self, points: Tensor) -> Tensor:
        return self.module_.encoder.forward_pool(points)

    def _count_features(self) -> int:
        return int(self.module_.encoder.num_features)

    def _architecture(self) -> dict[str, Any]:
        """Plain numbers, from parameters, that ``_wrap`` needs beside the encoder."""
        raise NotImplementedError

    def _wrap(self, encoder: Any) -> nn.Module:
        """The module to train; ``module.encoder`` must be the encoder."""
        raise NotImplementedError
