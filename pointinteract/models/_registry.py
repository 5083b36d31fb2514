"""Models by name: one plain function per named size.

A registered function is called with ``n_channels`` and ``n_classes`` and returns a module
that answers the contract of `pointinteract.models`. Its name is the model's name.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any, TypeVar

from torch import nn

from pointinteract.utils._params import check_int

_MODELS: dict[str, Callable[..., nn.Module]] = {}

MakeModel = TypeVar("MakeModel", bound=Callable[..., nn.Module])


def register_model(make: MakeModel) -> MakeModel:
    """Register the decorated function, under its own name, as a way to make a model.

    Its parameters must begin with ``n_channels=3`` and ``n_classes=40``; further ones are
    plain numbers with defaults.
    """
    name = make.__name__
    if name in _MODELS:
        raise ValueError(f"A model called {name!r} is registered already.")
    parameters = list(inspect.signature(make).parameters.values())
    if [p.name for p in parameters[:2]] != ["n_channels", "n_classes"]:
        raise TypeError(f"{name} must take n_channels and n_classes first, as every model does.")
    if any(p.default is p.empty for p in parameters):
        raise TypeError(f"Every parameter of {name} must have a default.")
    _MODELS[name] = make
    return make


def list_models(pattern: str = "*") -> list[str]:
    """List the names of the models that `create_model` makes.

    Parameters
    ----------
    pattern : str, default="*"
        Only names of this form, with ``*`` for any letters: ``"point*"``.

    Examples
    --------
    >>> from pointinteract.models import list_models
    >>> list_models("dgcnn*")
    ['dgcnn']
    """
    return sorted(name for name in _MODELS if fnmatch(name, pattern))


def create_model(
    name: str, *, n_channels: int = 3, n_classes: int = 40, **numbers: Any
) -> nn.Module:
    """Make a model by its name, with fresh random weights.

    Parameters
    ----------
    name : str
        One of `list_models`.
    n_channels : int, default=3
        Channels per point; the first three are the coordinates.
    n_classes : int, default=40
        Number of classes of the head; 0 leaves the head out, so that the model answers with
        its pooled feature.
    **numbers : int or float
        Further parameters of the function of that name, for example ``n_neighbors`` of
        `pointinteract.models.dgcnn`.

    Returns
    -------
    module : torch.nn.Module
        In training mode, as torch makes modules.

    Examples
    --------
    >>> from pointinteract.models import create_model
    >>> create_model("dgcnn", n_classes=10).num_features
    2048
    """
    if name not in _MODELS:
        close = get_close_matches(str(name), _MODELS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown model {name!r}.{hint} The models are: {', '.join(list_models())}."
        )
    make = _MODELS[name]
    known = list(inspect.signature(make).parameters)
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise TypeError(
            f"Model {name!r} has no parameter {', '.join(unknown)}; it takes {', '.join(known)}."
        )
    check_int("n_channels", n_channels, minimum=3)
    check_int("n_classes", n_classes, minimum=0)
    return make(n_channels=n_channels, n_classes=n_classes, **numbers)
