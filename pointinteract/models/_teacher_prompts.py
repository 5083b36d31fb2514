"""Sentences around the names of classes, and the vectors of classes that texts give."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["TEMPLATE_SETS", "check_names", "check_templates", "class_vectors", "unit_rows"]

_KINDS = (
    "model",
    "image",
    "3D model",
    "rendering model",
    "point cloud",
    "point cloud model",
    "3D rendering model",
    "rendering image",
    "3D rendering image",
)
_ENDS = (".", " with white background.", " with black context.")


def _recon_prompts() -> tuple[str, ...]:
    """The 60 prompts of ReCon's zero-shot evaluation: 20 beginnings, each with 3 ends."""
    starts = ["", "A "]
    for kind in _KINDS:
        starts += [f"A {kind} of ", f"A {kind} of a "]
    return tuple(f"{start}{{}}{end}" for end in _ENDS for start in starts)


# What may be given by name instead of sentences.
TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "single": ("a point cloud model of a {}.",),
    "ensemble": _recon_prompts(),
}


def check_templates(templates: Any) -> list[str]:
    """Return a list of sentences, each with one place for a name, or raise."""
    if isinstance(templates, str):
        listed = list(TEMPLATE_SETS.get(templates, (templates,)))
    elif isinstance(templates, Sequence) or hasattr(templates, "__iter__"):
        listed = list(templates)
    else:
        listed = [templates]
    for template in listed:
        if not isinstance(template, str) or template.count("{}") != 1:
            known = ", ".join(map(repr, TEMPLATE_SETS))
            raise ValueError(
                "templates must be sentences with {} once, where the name comes, such as "
                f"'a point cloud of a {{}}.', or one of {known}; got {template!r}."
            )
    if not listed:
        raise ValueError("templates must hold at least one sentence, got none.")
    return listed


def check_names(class_names: Any) -> list[str]:
    """Return the words for classes as a list of different strings, or raise."""
    if isinstance(class_names, str):
        raise TypeError("class_names must be a list of strings, got one string.")
    names = list(class_names)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be strings; got {names}.")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"class_names must name one or more different classes; got {names}.")
    if not all(name.strip() for name in names):
        raise ValueError(f"class_names must be words, and one of them is blank; got {names}.")
    return [str(name) for name in names]  # not numpy's strings


def class_vectors(
    ask: Callable[[list[str]], np.ndarray],
    class_names: Any,
    templates: Any,
    *,
    unit_first: bool,
) -> np.ndarray:
    """Vectors of classes from what a text encoder says of their names in sentences.

    Parameters
    ----------
    ask : callable
        Turns a list of n texts into (n, D).
    class_names : sequence of str
        Words for the k classes.
    templates : str or sequence of str
        Sentences, or the name of a set of them.
    unit_first : bool
        Whether every sentence counts alike (its vector is brought to length 1 first), or the
        features are added as the encoder gives them, as ReCon's evaluation has it.

    Returns
    -------
    vectors : float32 array of shape (k, D)
        Of length 1.
    """
    names, prompts = check_names(class_names), check_templates(templates)
    texts = [prompt.replace("{}", name) for name in names for prompt in prompts]
    features = np.asarray(ask(texts))
    if unit_first:
        features = unit_rows(features)
    return unit_rows(features.reshape(len(names), len(prompts), -1).mean(axis=1))


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Bring rows to length 1; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
