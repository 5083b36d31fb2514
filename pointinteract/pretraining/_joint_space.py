"""Teachers of pictures and of texts whose vectors lie in one space."""

import copy
import os
from typing import Any

import numpy as np

from pointinteract.models.teachers import (
    CachedTeacher,
    DepthDescriptorTeacher,
    SentenceEncoder,
    Teacher,
    TextEncoder,
    resolve_teacher,
)

__all__ = ["ask_texts", "joint_teachers", "unit_views"]

_ADVICE = (
    "give a CLIP of transformers by hub name or local folder, such as "
    "'openai/clip-vit-base-patch32', or a pair of teachers of pictures and texts that were "
    "trained together"
)
_ALONE = ("depth_descriptor", "hashed_ngrams", "all-minilm-l6-v2")


def joint_teachers(
    image_teacher: Any,
    text_teacher: Any,
    *,
    owner: str,
    device: str,
    batch_size: int = 32,
    cache: Any = None,
) -> tuple[Teacher, Teacher | None]:
    """Make both teachers of what a user gave, or say why they cannot share a space.

    A name or folder serves for texts too unless another text teacher is given; without one,
    None stands for it.
    """
    if image_teacher is None:
        raise ValueError(f"{owner} needs an image_teacher: {_ADVICE}.")
    if text_teacher is None and isinstance(image_teacher, str | os.PathLike):
        text_teacher = os.fspath(image_teacher)
    for name, given in (("image_teacher", image_teacher), ("text_teacher", text_teacher)):
        inner = given.teacher if isinstance(given, CachedTeacher) else given
        alone = isinstance(inner, DepthDescriptorTeacher | TextEncoder | SentenceEncoder)
        if alone or (isinstance(given, str) and given in _ALONE):
            raise ValueError(
                f"{owner} compares pictures with words, and the built-in teacher given as {name} "
                f"({given if isinstance(given, str) else type(inner).__name__}) has no words and "
                f"pictures in one space: {_ADVICE}."
            )
    images: Any = resolve_teacher(
        image_teacher, modality="image", device=device, batch_size=batch_size
    )
    if images.takes != "images":
        raise ValueError(
            f"{owner} draws pictures and needs an image_teacher that takes images; "
            f"{type(images).__name__} takes {images.takes}. So {_ADVICE}."
        )
    texts: Any = resolve_teacher(
        text_teacher, modality="text", device=device, batch_size=batch_size, cache=cache
    )
    if texts is not None and texts.takes != "texts":
        raise ValueError(
            "text_teacher must encode class names that come later; ready features cannot."
        )
    # Copies: teachers note how wide their features are, and the parameters stay as given.
    return copy.copy(images), copy.copy(texts)


def ask_texts(teacher: Teacher | None, texts: list[str], width: int) -> np.ndarray:
    """Features of texts, if there is a teacher of them and they are as wide as pictures'."""
    if teacher is None:
        raise ValueError(
            "text_teacher is None and image_teacher is no name that could serve for texts too; "
            "give a text_teacher of the same space."
        )
    features = teacher.encode(texts)
    if features.shape[1] != width:
        raise ValueError(
            f"the image teacher gives {width} features and the text teacher "
            f"{features.shape[1]}, so they do not lie in one space; {_ADVICE}."
        )
    return features


def unit_views(features: np.ndarray, n_views: int) -> np.ndarray:
    """Cut features of views side by side, (n, V D), into (n, V, D)."""
    return features.reshape(len(features), n_views, -1)
