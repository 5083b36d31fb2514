"""Recipes by name: those of the papers, one entry per network, and one modern recipe of ours."""

from dataclasses import fields, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from os import PathLike
from typing import Any

from torch import nn

from pointinteract import models
from pointinteract.classification._build import pretrained_encoder
from pointinteract.classification._recipe import SHARED_SETTINGS, Recipe
from pointinteract.models import list_models

__all__ = ["RECIPES", "effective_recipe", "get_recipe"]

RECIPES = ("paper", "strong")

# What PointNeXt showed to matter more than most changes of networks: augmentation, AdamW, a
# cosine at every step, label smoothing; not tuned for single networks.
STRONG = Recipe(
    source="Ours, one for all networks; what matters by Qian et al. (PointNeXt), NeurIPS 2022.",
    augmentation="scale_translate",
    max_epochs=100,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.05,
    schedule="cosine",
    warmup_epochs=5,
    max_norm=10.0,
    label_smoothing=0.2,
)

# The training of DGCNN on ModelNet40, from which many others took theirs.
_DGCNN = Recipe(
    source="Wang et al. (DGCNN), ACM ToG 2019, ModelNet40.",
    augmentation=("scale_translate", "shuffle"),
    max_epochs=250,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=1e-4,
    decay_on="all",
    schedule="annealed",
    warmup_epochs=0,
    min_learning_rate=1e-3,
    max_norm=None,
    label_smoothing=0.2,
)
# The training of PointNet, from which PointNet++ took its.
_POINTNET = Recipe(
    source="Qi et al. (PointNet), CVPR 2017, ModelNet40; the momentum of BatchNorm stays as it "
    "is, where the original's goes from 0.5 to 0.01.",
    augmentation=("rotate_y", "jitter"),
    max_epochs=250,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="staircase",
    warmup_epochs=0,
    min_learning_rate=1e-5,
    step_factor=0.7,
    step_every=200_000,
    step_unit="clouds",
    max_norm=None,
)
# The training of Point-BERT's supervised baseline, by the timm schedule.
_TRANSFORMER = Recipe(
    source="Yu et al. (Point-BERT), CVPR 2022, plain Transformer from scratch, ModelNet40.",
    augmentation="scale_translate",
    max_epochs=300,
    optimizer="adamw",
    learning_rate=5e-4,
    weight_decay=0.05,
    schedule="cosine_epoch",
    warmup_epochs=10,
    max_norm=10.0,
    label_smoothing=0.2,
)
_POINTMLP = replace(
    _DGCNN,
    source="Ma et al. (PointMLP), ICLR 2022, ModelNet40.",
    max_epochs=300,
    weight_decay=2e-4,
    min_learning_rate=0.005,
    max_norm=1.0,
)

# Networks, by pattern, to the recipe of their paper. The first that fits holds.
PAPER_RECIPES: dict[str, Recipe] = {
    "pointnet": _POINTNET,
    "pointnet_basic": replace(_DGCNN, source="The baseline in the code of DGCNN, ModelNet40."),
    "pointnet2_*": replace(
        _POINTNET,
        source="Qi et al. (PointNet++), NeurIPS 2017, ModelNet40; the momentum of BatchNorm stays "
        "as it is, where the original's goes from 0.5 to 0.01.",
        augmentation=("rotate_y", "tilt", "scale_translate_mild", "jitter", "shuffle"),
        batch_size=16,
        max_epochs=251,
    ),
    "dgcnn": _DGCNN,
    "pointcnn": Recipe(
        source="Li et al. (PointCNN), NeurIPS 2018, ModelNet40, as released: the rotation is only "
        "its diagonal. Points are drawn from 1.17 times as many, where the original has twice.",
        augmentation=("shuffle", "cosine_scale"),
        batch_size=128,
        max_epochs=1024,
        optimizer="adam",
        learning_rate=0.01,
        epsilon=0.01,
        weight_decay=1e-5,
        decay_on="weights_and_norms",
        schedule="staircase",
        warmup_epochs=0,
        min_learning_rate=1e-6,
        step_factor=0.5,
        step_every=8000,
        step_unit="steps",
        max_norm=None,
    ),
    "pct": replace(
        _DGCNN,
        source="Guo et al. (PCT), 2021, by the torch port whose weights give 93.2, ModelNet40.",
        augmentation=("drop", "scale_translate", "shuffle"),
        learning_rate=0.01,
        weight_decay=5e-4,
        min_learning_rate=1e-4,
    ),
    "pointmlp*": _POINTMLP,
    "pointnext*": Recipe(
        source="Qian et al. (PointNeXt), NeurIPS 2022, ModelNet40.",
        augmentation=("shuffle", "scale_translate"),
        max_epochs=600,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=0.05,
        schedule="annealed",
        warmup_epochs=0,
        min_learning_rate=1e-6,
        max_norm=1.0,
        label_smoothing=0.2,
    ),
    "simpleview": Recipe(
        source="Goyal et al. (SimpleView), ICML 2021, ModelNet40, in the protocol of DGCNN.",
        augmentation="scale_translate",
        batch_size=18,
        max_epochs=1000,
        optimizer="adam",
        learning_rate=1e-3,
        weight_decay=0.0,
        schedule="plateau",
        warmup_epochs=0,
        min_learning_rate=1e-5,
        step_factor=0.5,
        patience=10,
        max_norm=None,
        label_smoothing=0.2,
    ),
    "mvtn*": Recipe(
        source="Hamdi et al. (MVTN), ICCV 2021, ModelNet40, one stage; the rate of the view "
        "predictor falls with that of the image network.",
        augmentation=None,
        batch_size=20,
        max_epochs=100,
        optimizer="adamw",
        learning_rate=1e-3,
        rate_factors=(("view_predictor.", 0.1), ("shape_encoder.", 0.1)),
        weight_decay=0.01,
        decay_on="all",
        schedule="staircase",
        warmup_epochs=0,
        min_learning_rate=0.0,
        step_factor=0.1,
        step_every=30,
        max_norm=None,
    ),
    "p2p*": Recipe(
        source="Wang et al. (P2P), NeurIPS 2022, ModelNet40, where image weights are pre-trained.",
        n_points=4096,
        augmentation="scale_translate",
        batch_size=64,
        max_epochs=300,
        optimizer="adamw",
        learning_rate=5e-4,
        weight_decay=0.05,
        schedule="annealed",
        warmup_epochs=0,
        min_learning_rate=1e-6,
        max_norm=None,
        label_smoothing=0.2,
    ),
    "curvenet": replace(
        _DGCNN,
        source="Xiang et al. (CurveNet), ICCV 2021, ModelNet40.",
        max_epochs=200,
        max_norm=1.0,
    ),
    "gdanet": replace(
        _DGCNN,
        source="Xu et al. (GDANet), AAAI 2021, ModelNet40; weights begin as torch makes them, "
        "where the original's are Xavier-normal.",
        batch_size=64,
        max_epochs=350,
    ),
    "transformer*": _TRANSFORMER,
    "point_m2ae*": replace(
        _TRANSFORMER,
        source="Zhang et al. (Point-M2AE), NeurIPS 2022, fine-tuning on ModelNet40.",
        label_smoothing=0.3,
    ),
    "point_gpt*": replace(
        _TRANSFORMER,
        source="Chen et al. (PointGPT), NeurIPS 2023, fine-tuning of PointGPT-S on ModelNet40.",
        learning_rate=1e-4,
        label_smoothing=0.0,
    ),
    "recon*": replace(
        _TRANSFORMER,
        source="Qi et al. (ReCon), ICML 2023, full fine-tuning of the pre-trained network on "
        'ModelNet40; from random weights such rates learn next to nothing: take "strong".',
        learning_rate=1e-5,
        head_factor=10.0,
        label_smoothing=0.0,
    ),
}

# Networks that come in several sizes under one class; any of them, as the recipe is the same.
_NAMES_OF_CLASSES = {
    "PointMLP": "pointmlp",
    "PointNeXt": "pointnext_s",
    "PointNet2": "pointnet2_ssg",
    "PointTransformer": "transformer",
}


def get_recipe(model: Any, recipe: str = "paper") -> Recipe:
    """Recipe of a network by its name.

    Parameters
    ----------
    model : str or Module
        A name of :func:`pointinteract.list_models`; or a network of ours, or its class, which
        knows its name.
    recipe : {"paper", "strong"}, default="paper"
        ``"paper"``: how the paper of the network trained it. ``"strong"``: ours, the same for
        all networks, also those that are not ours.

    Returns
    -------
    recipe : Recipe
        Yours to change: ``dataclasses.replace(recipe, learning_rate=0.01)``.

    Examples
    --------
    >>> from pointinteract.classification import get_recipe
    >>> print(get_recipe("pointnet").source[:41])
    Qi et al. (PointNet), CVPR 2017, ModelNet
    >>> get_recipe("pointnet", "strong").label_smoothing
    0.2
    """
    if recipe not in RECIPES:
        close = get_close_matches(str(recipe), RECIPES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"unknown recipe {recipe!r}.{hint} The recipes are: {', '.join(RECIPES)}; or give a "
            "Recipe of your own."
        )
    if recipe == "strong":
        return replace(STRONG)
    name = model if isinstance(model, str) else _name_of(model)
    for pattern, found in PAPER_RECIPES.items():
        if isinstance(name, str) and fnmatch(name, pattern):
            return replace(found)
    known = [name for name in list_models()
             if any(fnmatch(name, pattern) for pattern in PAPER_RECIPES)]  # fmt: skip
    raise ValueError(
        f"no paper's recipe is known for {model!r:.80}; there is one for {', '.join(known)}. "
        'recipe="strong" serves all networks.'
    )


def _name_of(network: Any) -> str | None:
    """Name of a network of ours, or of a class of them, in the table of recipes."""
    kind = network if isinstance(network, type) else type(network)
    if kind.__name__ in _NAMES_OF_CLASSES and getattr(models, kind.__name__) is kind:
        return _NAMES_OF_CLASSES[kind.__name__]
    return getattr(network, "official_system", None)


def effective_recipe(classifier: Any, default_model: str) -> Recipe:
    """What a classifier trains with: its recipe, and over it what the user set otherwise.

    A parameter is taken as set if it is not what it is by default. Another `max_epochs` than
    the recipe's stretches its schedule.
    """
    given = classifier.recipe
    if given is None:
        start = Recipe()
    elif isinstance(given, Recipe):
        start = given
    elif isinstance(given, str):
        start = get_recipe(_network_of(classifier, default_model), given)
    else:
        raise TypeError(
            f"recipe must be None, one of {', '.join(map(repr, RECIPES))} or a Recipe, got "
            f"{given!r:.80} ({type(given).__name__})."
        )
    default = {field.name: field.default for field in fields(Recipe)}
    changed = {
        name: value
        for name in SHARED_SETTINGS
        if not _is_same(value := getattr(classifier, name), default[name])
    }
    if given is not None and "max_epochs" in changed:
        start = start.lasting(changed["max_epochs"])
    return replace(start, **changed)


def _is_same(value: Any, default: Any) -> bool:
    """Whether a parameter is what it is by default; True and 1 are not the same."""
    return isinstance(value, bool) == isinstance(default, bool) and bool(value == default)


def _network_of(classifier: Any, default_model: str) -> Any:
    """The network that a classifier will have, for the choice of a recipe."""
    pretrained = classifier.pretrained
    if pretrained is None:
        return default_model if classifier.model is None else classifier.model
    pretrained = getattr(pretrained, "estimator", pretrained)  # out of a FrozenEstimator
    if isinstance(pretrained, nn.Module):
        return getattr(pretrained, "encoder", pretrained)
    if isinstance(pretrained, str | PathLike):
        return pretrained_encoder(pretrained, None)
    if hasattr(pretrained, "module_"):
        return getattr(pretrained.module_, "encoder", pretrained.module_)
    return getattr(pretrained, "backbone", getattr(pretrained, "encoder_model", default_model))
