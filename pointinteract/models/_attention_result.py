"""What `attention_maps` returns: weights for each patch, and how they lie on the points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from pointinteract.base import Clouds
from pointinteract.ops import interpolate
from pointinteract.utils._params import check_option

__all__ = ["AttentionMaps"]

SPREADS = ("patches", "nearest", "interpolate")


@dataclass(frozen=True)
class AttentionMaps:
    """Attention over the G patches of each cloud. Made by :func:`attention_maps`.

    What differs in shape between clouds is a list with one array a cloud.

    Attributes
    ----------
    points : float32 array of shape (n_clouds, n_points, n_channels)
        Clouds as the network saw them: normalized and thinned.
    centers : float32 array of shape (n_clouds, G, 3)
        Centers of the patches, each one of the points.
    patches : int64 array of shape (n_clouds, G, K)
        Which points each patch is made of, its center first. Patches overlap, and some points
        may be in none.
    queries : tuple of str
        Of ``"class"``, ``"image"`` and ``"text"``, those that there are.
    query_weights : float32 array of shape (n_clouds, n_queries, G)
        How much each query reads of each patch. A row sums to one, less what the query gives to
        queries where all stand in one self-attention (plain transformers).
    local_weights : float32 array of shape (n_clouds, G, G)
        How much the patch of a row reads of the patch of a column.
    block : int
    head : "mean" or int
    """

    points: Clouds
    centers: Any
    patches: Any
    queries: tuple[str, ...]
    query_weights: Any
    local_weights: Any
    block: int
    head: str | int

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        queries = ", ".join(self.queries) or "none"
        return (
            f"<AttentionMaps of {len(self)} clouds: queries {queries}; block {self.block}, "
            f"head {self.head}>"
        )

    def weights(self, reader: Any) -> Any:
        """How much a reader reads of each patch, (n_clouds, G).

        Parameters
        ----------
        reader : str, int or sequence of int
            A query by name; or a patch by its number, one for all clouds or one for each.
        """
        if isinstance(reader, str):
            if reader not in self.queries:
                known = ", ".join(map(repr, self.queries)) or "none"
                raise ValueError(f"there is no query {reader!r} here; there are: {known}.")
            row = self.queries.index(reader)
            return _stacked([weights[row] for weights in self.query_weights])
        tokens = np.broadcast_to(np.asarray(reader), (len(self),))
        if tokens.dtype.kind not in "iu":
            raise TypeError(
                f"reader must be a query's name or numbers of patches, got {reader!r}."
            )
        for cloud, token in enumerate(tokens):
            n_patches = len(self.centers[cloud])
            if not 0 <= token < n_patches:
                raise ValueError(
                    f"cloud {cloud} has patches from 0 to {n_patches - 1}, got {token}."
                )
        return _stacked(
            [weights[token] for weights, token in zip(self.local_weights, tokens, strict=True)]
        )

    def on_points(self, reader: Any, *, spread: str = "patches") -> Any:
        """Weights of patches spread to points, (n_clouds, n_points).

        Parameters
        ----------
        reader : str, int or sequence of int
            As in :meth:`weights`.
        spread : {"patches", "nearest", "interpolate"}, default="patches"
            A point gets the mean over the patches that it belongs to (the nearest one's weight
            if to none); the weight of the patch whose center is nearest; or those of the three
            nearest centers, by inverse squared distance.
        """
        check_option("spread", spread, SPREADS)
        return _stacked(
            [
                _spread(weights, self.points[cloud], self.centers[cloud], self.patches[cloud],
                        spread)
                for cloud, weights in enumerate(self.weights(reader))
            ]
        )

    def patch_near(self, places: Any) -> np.ndarray:
        """Number of the patch whose center is nearest to a place, one for each cloud.

        Parameters
        ----------
        places : array of shape (3,) or (n_clouds, 3)
            In the coordinates of :attr:`points`.
        """
        places = np.broadcast_to(np.asarray(places, dtype=float), (len(self), 3))
        return np.array(
            [
                int(((centers - place) ** 2).sum(axis=1).argmin())
                for centers, place in zip(self.centers, places, strict=True)
            ]
        )

    def outermost_patches(self) -> np.ndarray:
        """Number of the patch farthest from the middle of its cloud, one for each cloud."""
        return np.array(
            [
                int(((centers - points[:, :3].mean(axis=0)) ** 2).sum(axis=1).argmax())
                for centers, points in zip(self.centers, self.points, strict=True)
            ]
        )

    def to_frame(self) -> pd.DataFrame:
        """Say in numbers how narrowly each query looks.

        Returns
        -------
        frame : DataFrame
            One row a cloud and query, with the number of patches; ``largest``, the largest
            weight in even shares (1: it reads all patches alike); and ``effective``, how many
            patches read alike would have the same entropy. Both are of what goes to patches:
            what a query gives to queries is left out, and the rest taken as the whole.
        """
        rows = []
        for cloud, weights in enumerate(self.query_weights):
            for query, row in zip(self.queries, np.asarray(weights, dtype=float), strict=True):
                shares = row / row.sum()
                entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum()
                rows.append((cloud, query, len(row), len(row) * shares.max(), np.exp(entropy)))
        return pd.DataFrame(rows, columns=["cloud", "query", "patches", "largest", "effective"])


def _spread(
    weights: np.ndarray, points: np.ndarray, centers: np.ndarray, patches: np.ndarray, how: str
) -> np.ndarray:
    n_nearest = 3 if how == "interpolate" else 1
    values = interpolate(
        torch.from_numpy(points[None, :, :3]).double(),
        torch.from_numpy(centers[None]).double(),
        torch.from_numpy(weights[None, :, None]).double(),
        k=n_nearest,
    )[0, :, 0].numpy()
    if how != "patches":
        return values.astype(np.float32)
    count = np.bincount(patches.ravel(), minlength=len(points))
    repeated = np.repeat(weights.astype(float), patches.shape[1])
    total = np.bincount(patches.ravel(), weights=repeated, minlength=len(points))
    return np.where(count > 0, total / np.maximum(count, 1), values).astype(np.float32)


def _stacked(rows: Sequence[np.ndarray]) -> Any:
    same = all(len(row) == len(rows[0]) for row in rows)
    return np.stack(rows) if same else list(rows)
