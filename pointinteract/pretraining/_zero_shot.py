"""Name clouds by words alone: what clouds and texts have in common is a space of vectors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.special
from sklearn.utils import Bunch

__all__ = ["ZeroShotMixin", "check_templates"]


class ZeroShotMixin:
    """For estimators whose clouds and texts meet in one space.

    A method gives ``encode_clouds``, ``_ask_texts`` (features of texts by the text teacher),
    ``_templates`` (its published prompts) and ``_scale`` (by which cosines are multiplied).
    """

    _templates: Any = "{}"

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
        return _unit(self._ask_texts(list(texts)))

    def classify(self, X: Any, class_names: Sequence[str], *, templates: Any = None) -> Bunch:
        """Name clouds, of classes that need not have been seen before.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        class_names : sequence of str
            Words for the classes, all different.
        templates : str or sequence of str, default=None
            Sentences with ``{}`` where the name comes; the vectors of several are averaged.
            None: those of the method.

        Returns
        -------
        result : Bunch
            ``classes``, list of str, in the order given; ``scores`` (n_clouds, n_classes),
            cosines to the vectors of the classes; ``probabilities`` of the same shape, their
            softmax at the method's scale; ``labels``, array of str, the likeliest.
        """
        names = _check_names(class_names)
        prompts = check_templates(self._templates if templates is None else templates)
        texts = [prompt.replace("{}", name) for name in names for prompt in prompts]
        vectors = self.encode_texts(texts).reshape(len(names), len(prompts), -1).mean(axis=1)
        scores = self._scores(self.encode_clouds(X), _unit(vectors))
        chances = scipy.special.softmax(self._scale() * scores.astype(np.float64), axis=1)
        return Bunch(
            classes=names,
            scores=scores,
            probabilities=chances.astype(np.float32),
            labels=np.asarray(names)[scores.argmax(axis=1)],
        )

    def _scores(self, clouds: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Agreement of clouds (n, D) with unit vectors of classes (k, D): (n, k)."""
        return _unit(clouds) @ classes.T

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        raise NotImplementedError

    def _scale(self) -> float:
        raise NotImplementedError


def check_templates(templates: Any) -> list[str]:
    """Return a list of sentences, each with one place for a name, or raise."""
    listed = [templates] if isinstance(templates, str) else list(templates)
    for template in listed:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(
                "templates must be sentences with {} once, where the name comes, such as "
                f"'a point cloud of a {{}}.'; got {template!r}."
            )
    if not listed:
        raise ValueError("templates must hold at least one sentence, got none.")
    return listed


def _check_names(class_names: Sequence[str]) -> list[str]:
    if isinstance(class_names, str):
        raise TypeError("class_names must be a list of strings, got one string.")
    names = list(class_names)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"class_names must name one or more different classes; got {names}.")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be strings; got {names}.")
    return names


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Bring rows to length 1; rows of zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(length > 0, length, 1.0)).astype(np.float32)
