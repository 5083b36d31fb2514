"""Two views of each cloud, and what pre-training methods share that compare them."""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pointinteract.exceptions import PointInteractWarning
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.training.data import augment, check_augmentation
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["CROSSPOINT_VIEWS", "DEFAULT_VIEWS", "STRL_VIEWS", "ViewPretrainer", "two_views"]

# No two papers agree on a list. This one leaves the up axis open, and is made on clouds of any
# size in a small part of the time that a network takes.
DEFAULT_VIEWS = ("crop", "scale", "translate_mild", "jitter")
STRL_VIEWS = ("crop", "normalize", "cut_out", "scale_mild", "tilt", "translate_mild", "jitter",
              "drop")  # fmt: skip
CROSSPOINT_VIEWS = ("normalize", "scale_wide", "rotate_z", "translate_wide", "jitter", "drop")


def two_views(points: Tensor, views: Any, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Disturb clouds (B, N, C) twice by the same rule, with random numbers of their own."""
    return augment(points, views, generator), augment(points, views, generator)


@torch.no_grad()
def told_apart(first: Tensor, second: Tensor) -> Tensor:
    """Share of rows of `first` whose most similar row of `second` is their own, (B, D) both."""
    similarity = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T
    own = torch.arange(len(first), device=first.device)
    return (similarity.argmax(dim=1) == own).float().mean()


@torch.no_grad()
def spread(rows: Tensor) -> Tensor:
    """How far unit vectors (B, D) are from being all the same: 0 if they are, about 1 at best.

    The standard deviation over the rows, in units of that of random directions.
    """
    unit = F.normalize(rows, dim=1)
    return unit.std(dim=0, correction=0).mean() * unit.shape[1] ** 0.5


class ViewPretrainer(BackbonePretrainer):
    """Make two views of each cloud, and show how alike the network finds them.

    A method overrides what `BackbonePretrainer` leaves open, and ``_embed_second`` where second
    views go through another network than first ones.
    """

    # Parameters that every subclass has in its constructor.
    views: Any
    projection_hidden: int
    projection_width: int
    # The views take its place.
    augmentation: Any = None

    def draw_views(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Make two views of each cloud, as training does in every step.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses what is done to the clouds.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``first`` and ``second`` (N, C), in the
            coordinates that the network works in.
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        generator = make_generator(draw_seed(random_state))
        result = Bunch(first=[], second=[])
        for cloud in clouds:
            first, second = two_views(torch.from_numpy(cloud)[None], self.views, generator)
            result.first.append(first[0].numpy())
            result.second.append(second[0].numpy())
        return result

    def similarity(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Compare the first view of every cloud with the second view of every other.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses what is done to the clouds.

        Returns
        -------
        result : Bunch
            ``similarity`` (n_clouds, n_clouds), the cosine between what the network makes of
            first views (rows) and second views (columns); after training the diagonal should
            stand out. ``accuracy`` (float), the share of rows whose largest entry is on the
            diagonal. ``first`` and ``second``, the views, as `draw_views` gives them.
        """
        shown = self.draw_views(X, random_state=random_state)
        rows = unit_rows(self._embed(shown.first, self._embed_first))
        columns = unit_rows(self._embed(shown.second, self._embed_second))
        shown.similarity = rows @ columns.T
        shown.accuracy = diagonal_share(shown.similarity)
        return shown

    def _embed(self, clouds: list[np.ndarray], function: Any) -> np.ndarray:
        same_size = all(len(cloud) == len(clouds[0]) for cloud in clouds)
        return self._infer(np.stack(clouds) if same_size else clouds, function)

    def _embed_first(self, points: Tensor) -> Tensor:
        return self.module_(points)

    def _embed_second(self, points: Tensor) -> Tensor:
        return self.module_(points)

    def _check_params(self) -> None:
        super()._check_params()
        if self.views is None:
            raise ValueError(
                "views must say how views of a cloud are made: both would be the same with "
                f"None. Published lists are {STRL_VIEWS} and {CROSSPOINT_VIEWS}."
            )
        check_augmentation(self.views, "views")
        check_int("projection_hidden", self.projection_hidden)
        check_int("projection_width", self.projection_width)
        if hasattr(self, "temperature"):
            check_real("temperature", self.temperature, open_minimum=True)
        if hasattr(self, "momentum"):
            check_real("momentum", self.momentum, maximum=1.0)

    def _architecture(self) -> dict[str, Any]:
        return {"hidden": self.projection_hidden, "width": self.projection_width}

    def _check_lesson(self, stored: Tensor) -> None:
        if len(stored) == 1:
            warnings.warn(
                "nothing to tell apart: there is but one cloud. Give more clouds, of different "
                "things.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Rows (n, D) scaled to length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def diagonal_share(similarity: np.ndarray) -> float:
    """Share of rows of (n, n) whose largest entry is on the diagonal."""
    return float((similarity.argmax(axis=1) == np.arange(len(similarity))).mean())
