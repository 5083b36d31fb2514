"""A teacher of pictures looks at a cloud from several sides, and what it says of each is kept."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.models._teacher_base import Teacher, batches_of
from pointinteract.models._teacher_cache import CachedTeacher
from pointinteract.ops.depth_views import harmonic_depth_views, side_cameras
from pointinteract.ops.rendering import render_depth
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["DepthViewTeacher"]

CLOUDS_AT_ONCE = 8
DEFAULT_SHOWN = 224


class DepthViewTeacher(Teacher):
    """Show a teacher of pictures depth pictures of clouds; its answers side by side.

    Parameters
    ----------
    teacher : Teacher
        One that takes images.
    style : {"harmonic", "nearest"}, default="harmonic"
        ``"harmonic"``: perspective, with the harmonic mean of the depths in single pixels, as
        PointCLIP draws; a teacher that has ``encode_pixels`` (those of transformers) gets the
        depths themselves, as published, others get them divided by the largest. ``"nearest"``:
        orthographic, the nearest point of each pixel, nearer brighter.
    n_views : int, default=6
        The first so many of :func:`pointinteract.ops.depth_views.side_cameras`, mirrored with
        ``"harmonic"``, as published.
    size : int, default=128
        Height and width that points are drawn at (``"harmonic"``); the others are drawn as large
        as they are shown.
    distance : float, default=1.6
        Of the camera from the origin (``"harmonic"``).
    shown_size : int, default=None
        Height and width of the pictures. None: what the teacher was trained with, else 224.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds, which should lie in the unit ball.
    """

    takes = "clouds"

    def __init__(
        self,
        teacher: Teacher,
        *,
        style: str = "harmonic",
        n_views: int = 6,
        size: int = 128,
        distance: float = 1.6,
        shown_size: int | None = None,
        up: str = "z",
    ) -> None:
        if teacher.takes != "images":
            raise ValueError(
                "Views of clouds need a teacher of images, such as a CLIP of transformers; "
                f"{type(teacher).__name__} takes {teacher.takes}."
            )
        # A cache of pictures is of no use: those drawn here differ in every cloud.
        self.teacher = teacher.teacher if isinstance(teacher, CachedTeacher) else teacher
        self.style = check_option("style", style, ("harmonic", "nearest"))
        self.n_views = check_int("n_views", n_views, maximum=10)
        self.size = check_int("size", size)
        self.distance = check_real("distance", distance, minimum=1.0)
        self.shown_size = None if shown_size is None else check_int("shown_size", shown_size)
        self.up = check_option("up", up, ("z", "y"))
        self.feature_dim = None

    def draw(self, clouds: Sequence[Any]) -> Tensor:
        """Draw clouds as the teacher is shown them: (n, n_views, S, S)."""
        cameras = side_cameras(self.n_views, up=self.up, mirrored=self.style == "harmonic")
        teacher: Any = self.teacher
        shown: Any = self.shown_size or getattr(teacher, "picture_size", DEFAULT_SHOWN)
        rows = []
        for cloud in clouds:
            points = torch.as_tensor(np.asarray(cloud, dtype=np.float32))[None, :, :3]
            if self.style == "harmonic":
                rows.append(
                    harmonic_depth_views(
                        points, cameras, size=self.size, distance=self.distance, shown_size=shown
                    )
                )
            else:
                radius = max(1, round(shown / 64))
                rows.append(render_depth(points, rotations=cameras, size=shown, radius=radius))
        return torch.cat(rows)

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Features of n clouds, (n, n_views * D): a unit vector a view, in their order."""
        rows = []
        for clouds in batches_of(items, CLOUDS_AT_ONCE):
            pictures = self.draw(clouds).flatten(0, 1)  # (n V, S, S)
            features = torch.as_tensor(self._look(pictures))
            features = torch.nn.functional.normalize(features, dim=1)
            rows.append(features.reshape(len(clouds), -1).numpy())
        return self._checked(np.concatenate(rows), len(items))

    def identity(self) -> tuple[Any, ...]:
        """Say how clouds are drawn, and what the teacher of pictures says."""
        drawn = (self.style, self.n_views, self.size, self.distance, self.shown_size, self.up)
        return ("depth_views", 1, drawn, self.teacher.identity())

    def _look(self, pictures: Tensor) -> np.ndarray:
        if self.style == "harmonic":
            raw: Any = getattr(self.teacher, "encode_pixels", None)
            if raw is not None:
                return raw(pictures.unsqueeze(1).expand(-1, 3, -1, -1))
            pictures = (pictures / (self.distance + 1)).clamp(0, 1)
        # As users have them: (n, S, S, 3) in [0, 1], gray.
        shown: Any = np.repeat(pictures.numpy()[..., None], 3, axis=3)
        return self.teacher.encode(shown)
