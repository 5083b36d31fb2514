"""From what a user may write for ``model`` and ``pretrained`` to an untrained network."""

import copy
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import NotFittedError, check_is_fitted
from torch import nn

from pointinteract import models
from pointinteract.exceptions import CheckpointError
from pointinteract.nn.heads import ClassifierHead

__all__ = ["PROTOCOLS", "describe_architecture", "make_network", "pretrained_encoder"]

PROTOCOLS = ("full", "linear", "mlp3")
DEFAULT_MODEL = "recon_nano"


# A network answers more than torch declares for a Module (see pointinteract.models).
Network = Any


def describe_architecture(model: Any, encoder: Network | None) -> dict[str, Any]:
    """Plain data from which `make_network` makes the network again, where that is possible."""
    if encoder is not None and _is_ours(encoder):
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
        network = _network_class(architecture["class"])(n_classes=1, **architecture["config"])
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


def pretrained_encoder(pretrained: Any, X: Any) -> Network:
    """Copy the encoder out of a pretrainer or a checkpoint.

    A pretrainer that is not fitted yet (a clone, as cross-validation makes them) is fitted on X
    first; a fitted one, or one in a FrozenEstimator, is used as it is.
    """
    if isinstance(pretrained, str) and pretrained.startswith("hf:"):
        return _encoder_of(models.load_official(None, pretrained), pretrained)
    if isinstance(pretrained, (str, PathLike)):
        return _encoder_of_file(fspath(pretrained))
    if isinstance(pretrained, nn.Module):
        return _encoder_of(pretrained, "the module given")
    if not isinstance(pretrained, BaseEstimator):
        raise TypeError(
            "pretrained must be a pretrainer, a path to a checkpoint or a module with an "
            f"encoder, got {type(pretrained).__name__}."
        )
    try:
        check_is_fitted(pretrained, "module_")
    except NotFittedError:
        if get_tags(pretrained).target_tags.required:
            raise TypeError(
                f"pretrained={type(pretrained).__name__} is not fitted to clouds and cannot be "
                "without labels of its own; fit it first, or give a pretrainer."
            ) from None
        pretrained = clone(pretrained).fit(X)
    return _encoder_of(getattr(pretrained, "module_", None), type(pretrained).__name__)


def _network_class(name: str) -> type:
    """A network of ours by its class name; a file from a stranger may name anything."""
    found = getattr(models, name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CheckpointError(f"pointinteract.models has no network called {name!r}.")
    return found


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


def _encoder_of_file(path: str) -> Network:
    """Read the encoder from a file of ours, or from a checkpoint of any original system."""
    from pointinteract import persistence

    if not Path(path).is_file():
        raise FileNotFoundError(f"pretrained={path!r}: there is no such file.")
    if persistence.is_saved_estimator(path):
        estimator = persistence.load(path)
        check_is_fitted(estimator, "module_")
        return _encoder_of(estimator.module_, path)
    return _encoder_of(models.load_official(None, path), path)


def _encoder_of(module: Any, owner: str) -> Network:
    """Return the network in a module, which must be one that can be made again, or raise.

    A whole network may call a part of it its encoder, as SimpleView its picture network; so it
    is asked first itself.
    """
    for network in (module, getattr(module, "encoder", None)):
        if _can_be_made_again(network):
            return network
    return _refuse_encoder(getattr(module, "encoder", module), owner)


def _is_ours(network: Any) -> bool:
    return getattr(models, type(network).__name__, None) is type(network)


def _can_be_made_again(network: Any) -> bool:
    """Whether a network says of itself what it was made from."""
    builder = getattr(network, "builder", None)
    known = _is_ours(network) or (isinstance(builder, str) and builder in models.list_models())
    config = getattr(network, "config", None)
    return known and isinstance(config, dict) and "n_channels" in config


def _refuse_encoder(encoder: Any, owner: str) -> NoReturn:
    raise CheckpointError(
        f"{owner} has no encoder that a classifier could start from: it must be a network of "
        "pointinteract.models that says its config, or one that says in `builder` the name "
        "it is registered by and in `config` what its function was called with, n_channels "
        f"among it; got {type(encoder).__name__}."
    )
