"""Where a training may start from: a pretrainer, a saved file, a checkpoint, a network."""

from os import PathLike, fspath
from pathlib import Path
from typing import Any, NoReturn

from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import NotFittedError, check_is_fitted
from torch import nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._lookup import can_be_made_again
from pointinteract.models._official import load_official

__all__ = ["pretrained_encoder"]


def pretrained_encoder(pretrained: Any, X: Any) -> Any:
    """Copy the encoder out of a pretrainer or a checkpoint.

    A pretrainer that is not fitted yet (a clone, as cross-validation makes them) is fitted on X
    first; a fitted one, or one in a FrozenEstimator, is used as it is.
    """
    if isinstance(pretrained, str) and pretrained.startswith("hf:"):
        return _encoder_of(load_official(None, pretrained), pretrained)
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


def _encoder_of_file(path: str) -> Any:
    """Read the encoder from a file of ours, or from a checkpoint of any original system."""
    from pointinteract import persistence

    if not Path(path).is_file():
        raise FileNotFoundError(f"pretrained={path!r}: there is no such file.")
    if persistence.is_saved_estimator(path):
        estimator = persistence.load(path)
        check_is_fitted(estimator, "module_")
        return _encoder_of(estimator.module_, path)
    return _encoder_of(load_official(None, path), path)


def _encoder_of(module: Any, owner: str) -> Any:
    """Return the network in a module, which must be one that can be made again, or raise.

    A whole network may call a part of it its encoder, as SimpleView its picture network; so it
    is asked first itself.
    """
    for network in (module, getattr(module, "encoder", None)):
        if can_be_made_again(network):
            return network
    return _refuse_encoder(getattr(module, "encoder", module), owner)


def _refuse_encoder(encoder: Any, owner: str) -> NoReturn:
    raise CheckpointError(
        f"{owner} has no encoder that a classifier could start from: it must be a network of "
        "pointinteract.models that says its config, or one that says in `builder` the name "
        "it is registered by and in `config` what its function was called with, n_channels "
        f"among it; got {type(encoder).__name__}."
    )
