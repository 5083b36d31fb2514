"""Name clouds by words alone: what clouds and texts have in common is a space of vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pointinteract.models._teacher_prompts import (
    check_names,
    check_templates,
    class_vectors,
    unit_rows,
)
from pointinteract.models.teachers import DepthDescriptorTeacher, resolve_teacher
from pointinteract.pretraining._teachers import inner_teacher
from pointinteract.utils._params import check_option, check_real

__all__ = ["TwoQueriesMixin", "ZeroShotMixin", "check_templates"]

# Branches of a network that a feature is made of.
_BRANCHES = {"text": ("text",), "image": ("image",), "full": ("text", "image")}


class ZeroShotMixin:
    """For estimators whose clouds and texts meet in one space.

    A method gives ``encode_clouds``, ``_ask_texts`` (features of texts by the text teacher),
    ``_templates`` (its published prompts) and ``_scale`` (by which cosines are multiplied).
    """

    _templates: Any = "{}"
    # Whether vectors of prompts are brought to length 1 before they are added up.
    _unit_prompts = True

    def encode_clouds(self, X: Any) -> np.ndarray:
        """Vectors of clouds in the space of texts, (n_clouds, D)."""
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts in the space of clouds.

        Parameters
        ----------
        texts : sequence of str

        Returns
        -------
        features : float32 array of shape (n_texts, D)
            Of length 1.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, got one string.")
        return unit_rows(self._ask_texts(list(texts)))

    def encode_classes(
        self, class_names: Sequence[str], *, templates: Any = None, text_encoder: Any = None
    ) -> np.ndarray:
        """Vectors of classes in the space of clouds, from their names in sentences.

        Parameters
        ----------
        class_names : sequence of str
            Words for the classes, all different.
        templates : str or sequence of str, default=None
            Sentences with ``{}`` where the name comes, or one of the sets ``"single"`` and
            ``"ensemble"`` (the 60 of ReCon's evaluation). None: those of the method.
        text_encoder : None, str, path, callable or teacher, default=None
            What reads the texts, as :func:`pointinteract.models.teachers.resolve_teacher` takes
            it, in the same space as the text teacher that None stands for.

        Returns
        -------
        vectors : float32 array of shape (n_classes, D)
            Of length 1.
        """
        ask = self._ask_texts
        if text_encoder is not None:
            device = getattr(self, "device_", "cpu")
            teacher: Any = resolve_teacher(text_encoder, modality="text", device=device)
            if teacher.takes != "texts":
                raise ValueError("text_encoder must encode texts, and it holds ready features.")
            ask = teacher.encode
        prompts = self._templates if templates is None else templates
        return class_vectors(ask, class_names, prompts, unit_first=self._unit_prompts)

    def score_classes(self, X: Any, vectors: np.ndarray) -> Bunch:
        """Hold clouds against vectors of classes, as `encode_classes` gives them.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        vectors : array of shape (n_classes, D)
            Of any length.

        Returns
        -------
        result : Bunch
            ``scores`` (n_clouds, n_classes), cosines; ``probabilities``, their softmax at the
            method's scale.
        """
        return self._judge(self.encode_clouds(X), vectors)

    def classify(self, X: Any, class_names: Sequence[str], *, templates: Any = None) -> Bunch:
        """Name clouds, of classes that need not have been seen before.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        class_names : sequence of str
            Words for the classes, all different.
        templates : str or sequence of str, default=None
            Sentences with ``{}`` where the name comes; the vectors of several are averaged. Or
            one of the sets ``"single"`` and ``"ensemble"``. None: those of the method.

        Returns
        -------
        result : Bunch
            ``classes``, list of str, in the order given; ``scores`` (n_clouds, n_classes),
            cosines to the vectors of the classes; ``probabilities`` of the same shape, their
            softmax at the method's scale; ``labels``, array of str, the likeliest.
        """
        vectors = self.encode_classes(class_names, templates=templates)
        return _named(class_names, self.score_classes(X, vectors))

    def _judge(self, clouds: np.ndarray, vectors: Any) -> Bunch:
        vectors = np.asarray(vectors, dtype=np.float32)
        if vectors.ndim != 2:
            raise ValueError(
                "vectors must be an array (n_classes, D), one vector a class, as encode_classes "
                f"gives them; got shape {vectors.shape}."
            )
        if clouds.shape[1] != vectors.shape[1]:
            raise ValueError(
                f"clouds have vectors of width {clouds.shape[1]} and classes of width "
                f"{vectors.shape[1]}, so they do not lie in one space: words must be read by the "
                "encoder that the network was aligned with."
            )
        scores = self._scores(clouds, unit_rows(vectors))
        chances = scipy.special.softmax(self._scale() * scores.astype(np.float64), axis=1)
        return Bunch(scores=scores, probabilities=chances.astype(np.float32))

    def _scores(self, clouds: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Agreement of clouds (n, D) with unit vectors of classes (k, D): (n, k)."""
        return unit_rows(clouds) @ classes.T

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError

    def _scale(self) -> float:
        raise NotImplementedError


class TwoQueriesMixin(ZeroShotMixin):
    """For estimators that say of a cloud what a picture and what a text of it would be.

    A method gives ``_read_queries`` and notes the widths of both teachers in
    ``architecture_["image_width"]`` and ``architecture_["text_width"]``.
    """

    # Of the estimator that this is mixed into.
    architecture_: dict[str, Any]
    image_teacher: Any
    _prepare: Any
    _validate_clouds: Any
    _infer: Any

    def encode_clouds(
        self, X: Any, *, feature: str = "text", ratio: float = 0.25
    ) -> np.ndarray:
        """Vectors of clouds in the space of texts.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        feature : {"text", "image", "full"}, default="text"
            What the network says a text of the cloud would be, or a picture, or
            ``ratio * text + image``, lengths as they are. The last two need an image teacher
            whose space is that of the texts, as those of one CLIP.
        ratio : float, default=0.25
            Weight of the text in ``"full"``. ReCon's evaluation: 0.2 on ModelNet10, 0.25 on
            ModelNet40, from 0.05 to 0.15 on ScanObjectNN.

        Returns
        -------
        features : float32 array of shape (n_clouds, D)
        """
        self._check_feature(feature, ratio)
        clouds = self._prepare(self._validate_clouds(X, reset=False))

        def look(points: Tensor) -> Tensor:
            queries: Any = self._read_queries(points)  # those asked for are there
            image, text = queries
            if feature == "full":
                return ratio * text + image
            return text if feature == "text" else image

        return self._infer(clouds, look)

    def score_classes(
        self, X: Any, vectors: np.ndarray, *, feature: str = "text", ratio: float = 0.25
    ) -> Bunch:
        """Hold clouds against vectors of classes, as `encode_classes` gives them.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        vectors : array of shape (n_classes, D)
            Of any length.
        feature, ratio : as in `encode_clouds`

        Returns
        -------
        result : Bunch
            ``scores`` (n_clouds, n_classes), cosines; ``probabilities``, their softmax at the
            method's scale.
        """
        return self._judge(self.encode_clouds(X, feature=feature, ratio=ratio), vectors)

    def classify(
        self,
        X: Any,
        class_names: Sequence[str],
        *,
        templates: Any = None,
        feature: str = "text",
        ratio: float = 0.25,
    ) -> Bunch:
        """Name clouds, of classes that need not have been seen before.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        class_names : sequence of str
            Words for the classes, all different.
        templates : str or sequence of str, default=None
            Sentences with ``{}`` where the name comes; the vectors of several are added up. Or
            one of the sets ``"single"`` and ``"ensemble"``. None: those of the method.
        feature, ratio : as in `encode_clouds`

        Returns
        -------
        result : Bunch
            ``classes``, list of str, in the order given; ``scores`` (n_clouds, n_classes),
            cosines to the vectors of the classes; ``probabilities`` of the same shape, their
            softmax at the method's scale; ``labels``, array of str, the likeliest.
        """
        self._check_feature(feature, ratio)  # before words are read, which may take long
        vectors = self.encode_classes(class_names, templates=templates)
        return _named(class_names, self.score_classes(X, vectors, feature=feature, ratio=ratio))

    def _read_queries(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Predicted features of a picture and of a text, (B, D) each, or None."""
        raise NotImplementedError

    def _check_feature(self, feature: str, ratio: float) -> None:
        check_is_fitted(self, "module_")
        check_option("feature", feature, tuple(_BRANCHES))
        check_real("ratio", ratio)
        widths = {name: self.architecture_.get(f"{name}_width") for name in _BRANCHES[feature]}
        for name, width in widths.items():
            if width is None:
                how = "image_teacher" if name == "image" else "fit(X, texts=...), text_teacher"
                raise ValueError(
                    f"this network was fitted without {name}s; pass {how}. So it has no feature "
                    f"{feature!r}."
                )
        alone = isinstance(inner_teacher(self.image_teacher), DepthDescriptorTeacher)
        named = isinstance(self.image_teacher, str) and self.image_teacher == "depth_descriptor"
        if "image" in widths and (alone or named):
            raise ValueError(
                f"feature={feature!r} compares pictures with words, and the image teacher "
                "'depth_descriptor' has no words in its space. Take feature='text', or train with "
                "a CLIP, or with ready features that were mapped to the space of the texts."
            )
        if len(set(widths.values())) > 1:
            raise ValueError(
                f"feature='full' adds features of text and picture, which lie in one space only "
                f"if they are of one width; got {widths['text']} and {widths['image']}."
            )


def _named(class_names: Sequence[str], answer: Bunch) -> Bunch:
    names = check_names(class_names)
    labels = np.asarray(names)[answer.scores.argmax(axis=1)]
    return Bunch(classes=names, **answer, labels=labels)
