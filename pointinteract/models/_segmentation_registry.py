"""Segmentation networks by name, and the one that continues a trunk that was pre-trained.

A registered function is called with ``n_channels``, ``n_classes`` and ``n_categories`` and
returns a :class:`~pointinteract.models._segmentation_base.SegmentationNetwork`. Its name is the
network's name.
"""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatch
from typing import Any, TypeVar

from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._segmentation_base import SegmentationNetwork
from pointinteract.utils._params import check_int

__all__ = [
    "create_segmentation_model",
    "list_segmentation_models",
    "register_segmentation_model",
    "segmentation_model_for",
]

_MAKERS: dict[str, Callable[..., SegmentationNetwork]] = {}
# The networks by the trunk that they continue, in the order in which they are asked.
_CONTINUE: list[tuple[type[nn.Module], Callable[[Any], bool], type[SegmentationNetwork]]] = []

_FIRST = ["n_channels", "n_classes", "n_categories"]
MakeNetwork = TypeVar("MakeNetwork", bound=Callable[..., SegmentationNetwork])
Network = TypeVar("Network", bound=type[SegmentationNetwork])


def register_segmentation_model(make: MakeNetwork) -> MakeNetwork:
    """Register the decorated function, under its own name, as a way to make a network.

    Its parameters must begin with ``n_channels=3``, ``n_classes=50`` and
    ``n_categories=None``; further ones are plain numbers with defaults.
    """
    name = make.__name__
    if name in _MAKERS:
        raise ValueError(f"A segmentation network called {name!r} is registered already.")
    parameters = list(inspect.signature(make).parameters.values())
    if [p.name for p in parameters[:3]] != _FIRST:
        raise TypeError(f"{name} must take {', '.join(_FIRST)} first, as every network does.")
    if any(p.default is p.empty for p in parameters):
        raise TypeError(f"Every parameter of {name} must have a default.")
    _MAKERS[name] = make
    return make


def continues(
    trunk: type[nn.Module], when: Callable[[Any], bool] = lambda encoder: True
) -> Callable[[Network], Network]:
    """Say that the decorated class continues trunks of exactly this class, where `when` holds."""

    def note(network: Network) -> Network:
        _CONTINUE.append((trunk, when, network))
        return network

    return note


def list_segmentation_models(pattern: str = "*") -> list[str]:
    """List the names of the networks that `create_segmentation_model` makes.

    Parameters
    ----------
    pattern : str, default="*"
        Only names of this form, with ``*`` for any letters.

    Examples
    --------
    >>> from pointinteract.models import list_segmentation_models
    >>> list_segmentation_models("recon_n*")
    ['recon_nano']
    """
    return sorted(name for name in _MAKERS if fnmatch(name, pattern))


def create_segmentation_model(
    name: str,
    *,
    n_classes: int,
    n_categories: int | None = None,
    n_channels: int = 3,
    **numbers: Any,
) -> SegmentationNetwork:
    """Make a segmentation network by its name, with fresh random weights.

    Parameters
    ----------
    name : str
        One of `list_segmentation_models`.
    n_classes : int
        Number of parts, of all categories together; 0 leaves the last layer out, so that the
        network answers with features of points.
    n_categories : int, optional
        Number of categories of objects, where the category of a cloud is known and told to the
        network (ShapeNetPart: 16). None for a network that is told points only.
    n_channels : int, default=3
        Channels per point; the first three are the coordinates.
    **numbers : int or float
        Further parameters of the function of that name, for example ``n_groups`` of
        ``"recon_nano"``.

    Returns
    -------
    module : torch.nn.Module
        In training mode, as torch makes modules. ``module(points, category)`` maps clouds
        (B, N, n_channels) and categories (B,) to scores of the parts before any softmax,
        (B, N, n_classes).

    Examples
    --------
    >>> import torch
    >>> from pointinteract.models import create_segmentation_model
    >>> module = create_segmentation_model("recon_nano", n_classes=6, n_categories=2)
    >>> module(torch.rand(2, 100, 3), torch.tensor([0, 1])).shape
    torch.Size([2, 100, 6])
    """
    if name not in _MAKERS:
        close = get_close_matches(str(name), _MAKERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"Unknown segmentation network {name!r}.{hint} The networks are: "
            f"{', '.join(list_segmentation_models())}."
        )
    make = _MAKERS[name]
    known = list(inspect.signature(make).parameters)
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise TypeError(
            f"Segmentation network {name!r} has no parameter {', '.join(unknown)}; it takes "
            f"{', '.join(known)}."
        )
    check_int("n_channels", n_channels, minimum=3)
    check_int("n_classes", n_classes, minimum=0)
    if n_categories is not None:
        check_int("n_categories", n_categories)
    return make(
        n_channels=n_channels, n_classes=n_classes, n_categories=n_categories, **numbers
    )


def segmentation_model_for(
    encoder: nn.Module, *, n_classes: int, n_categories: int | None = None, **numbers: Any
) -> SegmentationNetwork:
    """Make the segmentation network that continues a trunk, with the trunk's weights in it.

    Parameters
    ----------
    encoder : torch.nn.Module
        For example ``module_.encoder`` of a fitted pretrainer, or any network of
        `pointinteract.models` that a segmentation network is built on. It is not changed.
    n_classes, n_categories
        As in :func:`create_segmentation_model`.
    **numbers : int, float or sequence
        Further parameters of the network's class, ``dropout`` say; and ``n_groups`` where the
        trunk cuts patches: points of large clouds want more of them than pre-training had.

    Returns
    -------
    module : torch.nn.Module
        With fresh weights everywhere but in ``module.encoder``.

    Raises
    ------
    CheckpointError
        If there is no segmentation network on trunks of this class.
    """
    fitting = [net for trunk, when, net in _CONTINUE if type(encoder) is trunk and when(encoder)]
    if not fitting:
        known = ", ".join(dict.fromkeys(trunk.__name__ for trunk, _, _ in _CONTINUE))
        raise CheckpointError(
            f"There is no segmentation network on {type(encoder).__name__}; there are such on "
            f"{known}."
        )
    config = dict(encoder.config)  # type: ignore[arg-type]
    if "n_groups" in numbers and "n_groups" in config:
        config["n_groups"] = numbers.pop("n_groups")
    make: Any = fitting[0]
    taken = [name for name in inspect.signature(make).parameters
             if name not in ("encoder", "n_classes", "n_categories")]
    unknown = [name for name in numbers if name not in taken]
    if unknown:
        if "n_groups" in config:
            taken.append("n_groups")
        raise TypeError(
            f"{make.__name__} on this {type(encoder).__name__} takes no {', '.join(unknown)}; it "
            f"takes {', '.join(taken)}."
        )
    module = make(encoder=config, n_classes=n_classes, n_categories=n_categories, **numbers)
    weights = {key: each for key, each in encoder.state_dict().items()
               if not key.startswith("head.")}
    module.encoder.load_state_dict(weights)
    return module
