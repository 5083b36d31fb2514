"""Learn from 3-D point clouds with few labels, and explain what a network learned.

The public names below are found on first use, so that ``import pointinteract`` is quick and
loads nothing optional.
"""

from importlib import import_module
from typing import Any

from pointinteract._version import __version__

_SUBPACKAGES = (
    "classification",
    "datasets",
    "exceptions",
    "explanation",
    "games",
    "io",
    "losses",
    "metrics",
    "models",
    "nn",
    "ops",
    "plotting",
    "pretraining",
    "protocols",
    "segmentation",
    "testing",
    "training",
)
_NAMES = {
    "Explanation": "explanation",
    "InteractionExplainer": "explanation",
    "PointClassifier": "classification",
    "PointSegmenter": "segmentation",
    "ReConPretrainer": "pretraining",
    "ZeroShotPointClassifier": "classification",
    "create_model": "models",
    "list_models": "models",
    "load": "persistence",
    "load_official": "models",
    "save": "persistence",
    "to_official": "models",
}

__all__ = ["__version__", *_NAMES, *_SUBPACKAGES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"pointinteract.{_NAMES[name]}"), name)
    if name in _SUBPACKAGES:
        return import_module(f"pointinteract.{name}")
    raise AttributeError(f"module 'pointinteract' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
