"""Ask frozen teachers, once a fit, and keep those that were fitted for later ones."""

import copy
from typing import Any

import torch
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.models.teachers import (
    CachedTeacher,
    RenderingTeacher,
    Teacher,
    resolve_teacher,
)

__all__ = ["TaughtMixin", "check_sources", "inner_teacher"]


class TaughtMixin:
    """For estimators that learn from an image teacher and a text teacher."""

    # Parameters that every subclass has in its constructor.
    image_teacher: Any
    text_teacher: Any
    teacher_cache: Any
    device_: str
    _teachers: dict[str, Any]

    def __getstate__(self) -> dict:
        state: dict = super().__getstate__()  # type: ignore[assignment]
        state.pop("_teachers", None)  # perhaps large, perhaps not to be pickled
        return state

    def _ask_teachers(self, clouds: Clouds, sources: dict[str, Any]) -> dict[str, Any]:
        """Features of the frozen teachers, once a fit: {"image": (n, d) or None, "text": ...}."""
        check_sources(clouds, sources)
        # Fitted once: their features must not change their meaning between partial fits.
        if "_teachers" not in self.__dict__:
            self._teachers = {
                modality: self._fitted_teacher(modality, clouds, sources)
                for modality in ("image", "text")
            }
        found: dict[str, Tensor | None] = {}
        for modality, teacher in self._teachers.items():
            found[modality] = None
            if teacher is not None:
                features = self._ask(teacher, _lesson(teacher, clouds, sources[f"{modality}s"]))
                found[modality] = torch.as_tensor(features, dtype=torch.float32)
        return found

    def _ask(self, teacher: Any, items: Any) -> Any:
        """Features of all items of a fit."""
        return teacher.encode(items)

    def _text_teacher(self) -> Any:
        """The teacher of texts for texts that come later; made again after loading from a file."""
        teacher = self.__dict__.get("_teachers", {}).get("text") or resolve_teacher(
            self.text_teacher, modality="text", device=self.device_, cache=self.teacher_cache
        )
        if teacher is None or teacher.takes != "texts":
            raise ValueError(
                "text_teacher must encode texts that come after fit, and it "
                + ("is None." if teacher is None else "holds ready features only.")
            )
        return teacher

    def _fitted_teacher(self, modality: str, clouds: Clouds, sources: dict[str, Any]) -> Any:
        source = sources[f"{modality}s"]
        teacher = resolve_teacher(
            self._given_teacher(modality, source),
            modality=modality,
            device=self.device_,
            from_clouds=source is None,
            cache=self.teacher_cache,
        )
        if teacher is None:
            return None
        teacher = copy.copy(teacher)  # the parameter stays as the user gave it
        if hasattr(teacher, "fit"):
            teacher.fit(_lesson(teacher, clouds, source))
        return teacher

    def _given_teacher(self, modality: str, source: Any) -> Any:
        """What the user gave as the teacher of a modality."""
        return getattr(self, f"{modality}_teacher")


def inner_teacher(teacher: Any) -> Any:
    """The teacher inside of a cache, or of one that draws clouds for it."""
    while isinstance(teacher, CachedTeacher | RenderingTeacher):
        teacher = teacher.teacher
    return teacher


def check_sources(clouds: Clouds, sources: dict[str, Any]) -> None:
    """Raise unless images and texts are as many as clouds."""
    for name, source in sources.items():
        if source is not None and len(source) != len(clouds):
            raise ValueError(
                f"{name} must hold one entry a cloud: got {len(source)} for {len(clouds)} clouds."
            )


def _lesson(teacher: Teacher, clouds: Clouds, source: Any) -> Any:
    """What a teacher looks at: the clouds themselves, or the pictures or texts passed to fit."""
    if teacher.takes in ("clouds", "ready"):
        return clouds
    if source is None:
        raise ValueError(
            f"the teacher {type(teacher).__name__} reads {teacher.takes}; pass one a cloud: "
            f"fit(X, {teacher.takes}=...)."
        )
    return source
