"""From what a user may write for ``model`` and ``pretrained`` to an untrained network."""

from typing import Any

from torch import Tensor, nn

from pointinteract.exceptions import CheckpointError
from pointinteract.models._lookup import network_class
from pointinteract.models._segmentation_registry import (
    create_segmentation_model,
    list_segmentation_models,
    segmentation_model_for,
)
from pointinteract.utils._random import forked_seed

__all__ = ["check_model", "freeze_trunk", "make_network", "plan_network"]

DEFAULT_MODEL = "recon_nano"


def check_model(model: Any, options: Any) -> None:
    """Raise if a parameter ``model`` or ``model_options`` can be no network."""
    named = model is None or isinstance(model, str)
    if isinstance(model, str) and model not in list_segmentation_models():
        create_segmentation_model(model, n_classes=2)  # says which names there are
    if not named and not (isinstance(model, type) and issubclass(model, nn.Module)):
        raise TypeError(
            "model must be a name of pointinteract.models.list_segmentation_models() or a "
            "torch.nn.Module class that takes n_channels, n_classes and n_categories; got "
            f"{model!r}."
        )
    if options is not None and not isinstance(options, dict):
        raise TypeError(
            "model_options must be a dict of further numbers of the network, such as "
            f"{{'n_groups': 32}}, or None; got {options!r}."
        )
    settled = sorted({"n_channels", "n_classes", "n_categories"} & set(options or {}))
    if settled:
        raise ValueError(
            f"model_options must not hold {' or '.join(settled)}: the data say them."
        )


def plan_network(
    model: Any,
    options: dict[str, Any] | None,
    encoder: Any,
    *,
    n_channels: int,
    n_classes: int,
    n_categories: int | None,
) -> tuple[dict[str, Any], dict[str, Tensor] | None]:
    """Plain data from which `make_network` makes the network, and weights to start from."""
    sizes: dict[str, Any] = {"n_classes": n_classes, "n_categories": n_categories}
    options = dict(options or {})
    if encoder is None:
        name = DEFAULT_MODEL if model is None else model
        kind = "name" if isinstance(name, str) else "given"
        plan = {"kind": kind, "n_channels": n_channels, "options": options, **sizes}
        return (plan | {"name": name} if kind == "name" else plan), None
    if encoder.config["n_channels"] != n_channels:
        raise ValueError(
            f"the pretrained network reads {encoder.config['n_channels']} channels a point, and "
            f"X has {n_channels}."
        )
    if model is None:
        with forked_seed(0):  # thrown away: only its numbers are needed
            network: Any = segmentation_model_for(encoder, **sizes, **options)
        plan = {"kind": "network", "class": type(network).__name__,
                "config": dict(network.config), **sizes}
    else:
        plan, _ = plan_network(
            model, options, None, n_channels=n_channels, n_classes=n_classes,
            n_categories=n_categories,
        )
        with forked_seed(0):
            network = make_network(plan, model)
    weights = {name: value for name, value in encoder.state_dict().items()
               if not name.startswith("head.")}
    _check_fits(network, encoder, weights, model)
    return plan, {f"encoder.{name}": value for name, value in weights.items()}


def make_network(plan: dict[str, Any], model: Any) -> nn.Module:
    """Make the untrained network of a plan."""
    if plan["kind"] == "network":
        config = dict(plan["config"]) | {"n_categories": plan["n_categories"]}
        return network_class(plan["class"])(n_classes=plan["n_classes"], **config)
    numbers = {name: plan[name] for name in ("n_channels", "n_classes", "n_categories")}
    if plan["kind"] == "name":
        return create_segmentation_model(plan["name"], **numbers, **plan["options"])
    return model(**numbers, **plan["options"])


def freeze_trunk(network: nn.Module) -> None:
    """Leave everything but the trunk to be trained."""
    encoder = getattr(network, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise TypeError(
            "frozen=True needs a network with a trunk in its attribute encoder, which "
            f"{type(network).__name__} lacks."
        )
    encoder.requires_grad_(False)


def _check_fits(network: Any, encoder: Any, weights: dict[str, Tensor], model: Any) -> None:
    """Raise unless the trunk of a network takes the weights of a pre-trained encoder."""
    trunk = getattr(network, "encoder", None)
    there = trunk.state_dict() if isinstance(trunk, nn.Module) else {}
    there = {name: value for name, value in there.items() if not name.startswith("head.")}
    wrong = sorted(set(there) ^ set(weights))
    wrong += [name for name in there if name in weights
              and there[name].shape != weights[name].shape]
    if wrong:
        raise CheckpointError(
            f"the pretrained {type(encoder).__name__} does not fit the trunk of "
            f"model={model!r}: {len(wrong)} of {len(there)} weights are missing or of another "
            f"shape, {wrong[0]} among them. Leave model out, or give model_options."
        )
