"""The tokenizer of Point-BERT: patches of a cloud as words of a learned vocabulary.

A discrete variational autoencoder (Yu et al., CVPR 2022, section 3.1; after Rolfe, ICLR 2017).
Each patch is embedded, a graph network over the centers gives a score to every word, a word is
drawn, and from the vectors of the words a second graph network and a folding decoder make the
points of the patches again.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.center_graph import CenterGraph
from pointinteract.nn.mlp import BatchNorm, LinearNorm, rectify_
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.ops import group

__all__ = ["DiscreteVAE", "DiscreteVAEOutput", "PatchFolding", "tokenizer_sizes"]

_N_FOLD = 2  # side of the grid folded around each coarse point
_EXTENT = 0.05  # half of it, before it is folded

_SIZES: dict[str, dict[str, Any]] = {
    "base": {"n_groups": 64, "n_tokens": 8192, "width": 256, "patch_hidden": (128, 256, 512),
             "graph_hidden": 128, "graph_widths": (256, 512, 512, 1024), "coarse_width": 1024,
             "fold_width": 512},
    # Ours, for two cores.
    "nano": {"n_groups": 32, "n_tokens": 512, "width": 96, "patch_hidden": (32, 64, 128),
             "graph_hidden": 64, "graph_widths": (64, 128, 128, 256), "coarse_width": 256,
             "fold_width": 64, "logit_gain": 4.0},
}


def tokenizer_sizes(size: str) -> dict[str, Any]:
    """Numbers of a named size of :class:`DiscreteVAE`: ``"base"``, as published, or ``"nano"``."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"group_size": 32} | _SIZES[size]


@dataclass(frozen=True)
class DiscreteVAEOutput:
    """What one pass gives, of G patches of K points and a vocabulary of V words."""

    neighborhoods: Tensor  # (B, G, K, C_in)
    centers: Tensor  # (B, G, 3)
    logits: Tensor  # (B, G, V)
    sampled: Tensor  # (B, G, D), vectors of the words drawn
    features: Tensor  # (B, G, F), what is decoded
    coarse: Tensor  # (B, G, M, 3) relative to the center, M = K // 4
    fine: Tensor  # (B, G, 4 M, 3)


class PatchFolding(nn.Module):
    """From one vector a patch to its coarse and its fine points, by folding little grids.

    Beside :class:`pointinteract.models.completion.CompletionDecoder`, which makes whole clouds,
    this one has batch normalization between its layers and takes the vectors as they are.

    Parameters
    ----------
    n_features : int
        Width F of the vector.
    n_coarse : int
        Number M of coarse points; there are 4 M fine ones.
    coarse_width, fold_width : int
        Channels on the way to the coarse points, and to the moves of the fine ones.
    """

    grid: Tensor

    def __init__(
        self, n_features: int, n_coarse: int, *, coarse_width: int = 1024, fold_width: int = 512
    ):
        super().__init__()
        self.n_coarse = n_coarse
        self.coarse = nn.Sequential(
            nn.Linear(n_features, coarse_width),
            nn.ReLU(),
            nn.Linear(coarse_width, coarse_width),
            nn.ReLU(),
            nn.Linear(coarse_width, 3 * n_coarse),
        )
        self.fold_in = nn.Linear(n_features + 2 + 3, fold_width)
        self.fold_norm = BatchNorm(fold_width)
        self.fold_mid = LinearNorm(fold_width, fold_width)
        self.fold_out = nn.Linear(fold_width, 3)
        line = torch.linspace(-_EXTENT, _EXTENT, _N_FOLD)
        # The first coordinate varies fastest.
        self.register_buffer("grid", torch.cartesian_prod(line, line).flip(1), persistent=False)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, G, F) to (B, G, M, 3) and (B, G, 4 M, 3), both relative to the center."""
        coarse = self.coarse(features).unflatten(-1, (self.n_coarse, 3))
        # The map of [features, grid, point] is a sum of three, each needed only so often.
        of_patch, of_grid, of_point = self.fold_in.weight.split([features.shape[-1], 2, 3], dim=1)
        rows = F.linear(coarse, of_point).unsqueeze(3) + F.linear(self.grid, of_grid)
        rows = rows + F.linear(features, of_patch, self.fold_in.bias)[:, :, None, None]
        if self.fold_norm.training:
            rows = self.fold_norm.rectified(rows, 0.0)
        else:
            rows = rectify_(self.fold_norm(rows), 0.0)
        moves = self.fold_out(self.fold_mid(rows))  # (B, G, M, 4, 3)
        return coarse, (coarse.unsqueeze(3) + moves).flatten(2, 3)


class DiscreteVAE(nn.Module):
    """Patches to words and back.

    The steps are methods of their own, ``token_logits``, ``sample``, ``features`` and
    ``decode``, so that a subclass can put something between two of them.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a point, coordinates first; only coordinates are made again.
    n_groups, group_size : int
        Patches a cloud and points a patch.
    n_tokens : int
        Number V of words of the vocabulary, a multiple of 4.
    width : int
        Channels of an embedded patch.
    token_width, feature_width : int, optional
        Channels of the vector of a word, and of what is decoded; `width` unless given.
    patch_hidden : (int, int, int)
        Hidden widths of the patch embedding.
    graph_hidden, graph_widths, n_neighbors
        Of both graph networks; see :class:`pointinteract.nn.center_graph.CenterGraph`.
    coarse_width, fold_width : int
        See :class:`PatchFolding`.
    logit_gain : float, default=1.0
        How far apart scores of words are at the start. At 1, as published, the noise of drawing
        outweighs them until some ten thousand steps have passed.
    skip_near_origin : bool, default=False
        Choose centers as the published CUDA kernel does; see
        :func:`pointinteract.ops.farthest_point_sample`.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, arXiv 2111.14819.
    """

    official_system = "point_bert"
    permutation_invariant = False  # the first point is always a patch center

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_groups: int = 64,
        group_size: int = 32,
        n_tokens: int = 8192,
        width: int = 256,
        token_width: int | None = None,
        feature_width: int | None = None,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        graph_hidden: int = 128,
        graph_widths: tuple[int, ...] = (256, 512, 512, 1024),
        n_neighbors: int = 4,
        coarse_width: int = 1024,
        fold_width: int = 512,
        logit_gain: float = 1.0,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        token_width, feature_width = token_width or width, feature_width or width
        # What makes another one like it, to put the weights of this one into.
        self.numbers: dict[str, Any] = {
            "n_channels": n_channels,
            "n_groups": n_groups,
            "group_size": group_size,
            "n_tokens": n_tokens,
            "width": width,
            "token_width": token_width,
            "feature_width": feature_width,
            "patch_hidden": tuple(patch_hidden),
            "graph_hidden": graph_hidden,
            "graph_widths": tuple(graph_widths),
            "n_neighbors": n_neighbors,
            "coarse_width": coarse_width,
            "fold_width": fold_width,
            "skip_near_origin": skip_near_origin,
        }
        self.n_groups, self.group_size = n_groups, group_size
        self.skip_near_origin = skip_near_origin
        graph: dict[str, Any] = {
            "hidden": graph_hidden,
            "widths": graph_widths,
            "n_neighbors": n_neighbors,
        }
        self.patch_embedding = PatchEmbedding(width, n_channels=n_channels, hidden=patch_hidden)
        self.token_graph = CenterGraph(width, n_tokens, **graph)
        nn.init.constant_(self.token_graph.join_norm.weight, logit_gain)
        self.codebook = nn.Parameter(torch.randn(n_tokens, token_width))
        self.feature_graph = CenterGraph(token_width, feature_width, **graph)
        self.decoder = PatchFolding(
            feature_width,
            max(1, group_size // _N_FOLD**2),
            coarse_width=coarse_width,
            fold_width=fold_width,
        )

    def patches(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cut clouds (B, N, C_in): neighborhoods (B, G, K, C_in) and centers (B, G, 3)."""
        return group(
            points, self.n_groups, self.group_size, skip_near_origin=self.skip_near_origin
        )

    def token_logits(self, neighborhoods: Tensor, centers: Tensor) -> Tensor:
        """Give every word a score for every patch, (B, G, V); the largest is its token."""
        return self.token_graph(self.patch_embedding(neighborhoods), centers)

    def sample(
        self,
        logits: Tensor,
        *,
        temperature: float = 1.0,
        hard: bool = False,
        noise: Tensor | None = None,
    ) -> Tensor:
        """Draw words by the Gumbel trick and look up their vectors: (B, G, V) to (B, G, D).

        Jang, Gu, Poole, "Categorical Reparameterization with Gumbel-Softmax", ICLR 2017.

        Parameters
        ----------
        logits : Tensor of shape (B, G, V)
        temperature : float, default=1.0
            The lower, the nearer a mixture of words comes to a single one.
        hard : bool, default=False
            Whether to take a single word; the gradient is that of the mixture.
        noise : Tensor of shape (B, G, V), optional
            Added to the logits; 0 with `hard` gives the most likely word. Drawn from the
            global state of torch unless given.
        """
        if noise is None:
            noise = -torch.empty_like(logits).exponential_().log()
        weights = ((logits + noise) / temperature).softmax(dim=-1)
        if hard:
            single = torch.zeros_like(weights).scatter_(
                -1, weights.argmax(dim=-1, keepdim=True), 1.0
            )
            weights = single - weights.detach() + weights
        return weights @ self.codebook

    def features(self, sampled: Tensor, centers: Tensor) -> Tensor:
        """What the decoder reads: vectors of words (B, G, D) to (B, G, F)."""
        return self.feature_graph(sampled, centers)

    def decode(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Make coarse and fine points of the patches, (B, G, M, 3) and (B, G, 4 M, 3)."""
        return self.decoder(features)

    def forward(
        self,
        points: Tensor,
        *,
        temperature: float = 1.0,
        hard: bool = False,
        noise: Tensor | None = None,
    ) -> DiscreteVAEOutput:
        """Take clouds (B, N, C_in) through all steps; `sample` says what the numbers mean."""
        neighborhoods, centers = self.patches(points)
        logits = self.token_logits(neighborhoods, centers)
        sampled = self.sample(logits, temperature=temperature, hard=hard, noise=noise)
        features = self.features(sampled, centers)
        coarse, fine = self.decode(features)
        return DiscreteVAEOutput(
            neighborhoods, centers, logits, sampled, features, coarse, fine
        )
