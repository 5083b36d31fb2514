"""From what a user may write for ``model`` and ``pretrained`` to an untrained network."""

import copy
from typing import Any

from torch import nn

from pointinteract import models
from pointinteract.models._lookup import is_ours, network_class
from pointinteract.nn.heads import ClassifierHead
from pointinteract.training.pretrained import pretrained_encoder

__all__ = ["PROTOCOLS", "describe_architecture", "make_network", "pretrained_encoder"]

PROTOCOLS = ("full", "linear", "mlp3")
DEFAULT_MODEL = "recon_nano"


# A network answers more than torch declares for a Module (see pointinteract.models).
Network = Any


def describe_architecture(model: Any, encoder: Network | None) -> dict[str, Any]:
    """Plain data from which `make_network` makes the network again, where that is possible."""
    if encoder is not None and is_ours(encoder):
        return {"kind": "encoder", "class": type(encoder).__name__,
                "config": dict(encoder.config)}
    if encoder is not None:
        return {"kind": "builder", "name": encoder.builder, "config": dict(encoder.config)}
    if isinstance(model, str):
        return {"kind": "name", "name": model}
    return {"kind": "given"}


def make_network(
    architecture: dict[str, Any], model: Any, *, n_channels: int, n_classes: int, protocol: str
) -> Network:
    """Make an untrained network with the head, and the frozen part, of a protocol."""
    if architecture["kind"] == "encoder":
        network = network_class(architecture["class"])(n_classes=1, **architecture["config"])
    elif architecture["kind"] == "builder":
        network = models.create_model(architecture["name"], n_classes=1, **architecture["config"])
    elif architecture["kind"] == "name":
        network = models.create_model(
            architecture["name"], n_channels=n_channels, n_classes=n_classes
        )
    else:
        network = _make_given(model, n_channels, n_classes)
    if architecture["kind"] in ("encoder", "builder") or protocol != "full":
        _put_head(network, protocol, n_classes)
    _freeze(network, protocol)
    return network


def _make_given(model: Any, n_channels: int, n_classes: int) -> Network:
    if isinstance(model, nn.Module):
        network: Network = copy.deepcopy(model)
        if hasattr(network, "reset_classifier"):
            network.reset_classifier(n_classes)
        return network
    if isinstance(model, type) and issubclass(model, nn.Module):
        return model(n_channels=n_channels, n_classes=n_classes)
    raise TypeError(
        "model must be a name of pointinteract.list_models(), a torch.nn.Module class that takes "
        f"n_channels and n_classes, or a module; got {model!r}."
    )


def _put_head(network: Network, protocol: str, n_classes: int) -> None:
    """Put the fresh head of a protocol on.

    ``"full"`` takes the one the architecture brings, ``"linear"`` a single layer, ``"mlp3"``
    three layers with BatchNorm and dropout 0.5.
    """
    if not hasattr(network, "reset_classifier"):
        raise TypeError(
            f"protocol={protocol!r} needs a network with a method reset_classifier(n_classes), "
            f"which {type(network).__name__} lacks."
        )
    if protocol == "full":
        network.reset_classifier(n_classes)
    elif hasattr(network, "head_type"):  # ReCon brings both heads, with the published names
        network.reset_classifier(n_classes, head={"linear": "linear", "mlp3": "mlp"}[protocol])
    else:
        hidden = () if protocol == "linear" else (256, 256)
        network.reset_classifier(n_classes)
        if not isinstance(getattr(network, "head", None), nn.Module):
            raise TypeError(
                f"protocol={protocol!r} needs a network whose forward is head(forward_pool(points)"
                f"), with a module named head to replace, which {type(network).__name__} lacks; "
                'use protocol="full".'
            )
        network.head = ClassifierHead(
            network.num_features, hidden, n_classes, dropout=[0.5] * len(hidden)
        )


def _freeze(network: nn.Module, protocol: str) -> None:
    """Leave only the head, and ReCon's class query, to be trained, unless ``"full"``.

    The published rule: the network stays in training mode all the same, so BatchNorm keeps
    following the data and stochastic depth stays on.
    """
    if protocol == "full":
        return
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("head.") or "cls_" in name)
