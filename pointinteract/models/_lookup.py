"""Networks of ours by the name of their class, and whether one can be made a second time."""

from typing import Any

from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._registry import list_models

__all__ = ["can_be_made_again", "is_ours", "network_class"]


def network_class(name: str) -> type:
    """A network of ours by its class name; a file from a stranger may name anything."""
    found = _public(name)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise CheckpointError(f"pointinteract.models has no network called {name!r}.")
    return found


def is_ours(network: Any) -> bool:
    """Whether the class of a network is public in `pointinteract.models`."""
    return _public(type(network).__name__) is type(network)


def can_be_made_again(network: Any) -> bool:
    """Whether a network says of itself what it was made from."""
    builder = getattr(network, "builder", None)
    known = is_ours(network) or (isinstance(builder, str) and builder in list_models())
    config = getattr(network, "config", None)
    return known and isinstance(config, dict) and "n_channels" in config


def _public(name: str) -> Any:
    from pointinteract import models  # which imports this module

    return getattr(models, name, None)
