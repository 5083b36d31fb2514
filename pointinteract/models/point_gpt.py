"""PointGPT: patches of a cloud in a row, each token reading only those before it.

Chen, Wang, Yang, Yu, Yuan, Yue, "PointGPT: Auto-regressively Generative Pre-training from Point
Clouds", NeurIPS 2023, arXiv 2305.11487.

The patches of a cloud are put in an order that walks from each one to the nearest. An
*extractor* reads them under a causal mask, so that what it says at a place depends on earlier
patches alone; a *generator* guesses from it the patch that comes next. Downstream a class token
and the maximum over the patches enter the head, and the guessing goes on as a second loss.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models._registry import register_model
from pointinteract.nn.attention import SelfAttention
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.patches import PatchEmbedding
from pointinteract.nn.transformer import DropPath, FeedForward, drop_path_rates, start_small
from pointinteract.ops import chamfer_distance, gather, nearest_order
from pointinteract.ops.grouping import group_index, take_groups

__all__ = ["PointGPT", "causal_mask", "point_gpt_sizes", "walk_directions"]

CLASS_TOKENS = ("last", "second")
TARGETS = ("relative", "absolute")

_SIZES: dict[str, dict[str, Any]] = {
    "large": {"width": 1024, "depth": 24, "n_heads": 16, "generator_depth": 4,
              "patch_hidden": (256, 512, 1024, 2048)},
    "base": {"width": 768, "depth": 12, "n_heads": 12, "generator_depth": 4,
             "patch_hidden": (256, 512, 1024, 2048)},
    "small": {"width": 384, "depth": 12, "n_heads": 6, "generator_depth": 4,
              "patch_hidden": (128, 256, 512)},
    # Ours, for two cores; the sizes are those of ReCon's "nano".
    "nano": {"width": 192, "depth": 4, "n_heads": 3, "generator_depth": 1, "n_groups": 32,
             "patch_hidden": (32, 64, 128)},
}


def point_gpt_sizes(size: str) -> dict[str, Any]:
    """Numbers of a named size: ``"large"``, ``"base"``, ``"small"`` (published), ``"nano"``."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"n_groups": 64, "group_size": 32} | _SIZES[size]


def causal_mask(n_tokens: int, *, device: torch.device | None = None) -> Tensor:
    """Bool (T, T), True where the token of a row may read that of a column: itself and before."""
    return torch.ones(n_tokens, n_tokens, dtype=torch.bool, device=device).tril()


def walk_directions(centers: Tensor) -> Tensor:
    """Where to go from patch to patch: the first center, then unit vectors, (B, P, 3) to same.

    Between two centers in the same place there is no direction; it is zero there. (The original
    divides zero by zero.)
    """
    steps = centers[:, 1:] - centers[:, :-1]
    squared = steps.square().sum(-1, keepdim=True)
    # Not clamped after the root, which would have an infinite slope at zero.
    length = torch.where(squared > 0, squared, 1.0).sqrt()
    return torch.cat([centers[:, :1], steps / length], dim=1)


class SinePosition(nn.Module):
    """Sines and cosines of coordinates, (..., 3) to (..., C).

    Per axis C // 6 pairs of both, whose wavelengths grow from 1 to nearly `temperature` in equal
    ratios; channels left over are zero.
    """

    def __init__(self, width: int, temperature: float):
        super().__init__()
        self.width, self.temperature = width, temperature
        n_pairs = width // 6
        # No buffer, so that the positions have the precision of the coordinates.
        self.wavelengths = [temperature ** (i / n_pairs) for i in range(n_pairs)]

    def forward(self, xyz: Tensor) -> Tensor:
        wavelengths = torch.tensor(self.wavelengths, dtype=xyz.dtype, device=xyz.device)
        phase = 2 * math.pi * xyz.unsqueeze(-1) / wavelengths
        waves = torch.stack([phase.sin(), phase.cos()], dim=-1).flatten(-3)  # (..., 3 x 2 pairs)
        return nn.functional.pad(waves, (0, self.width - waves.shape[-1]))

    def extra_repr(self) -> str:
        return f"width={self.width}, temperature={self.temperature:g}"


class NormedBlock(nn.Module):
    """Attention and MLP whose residual base is the *normed* token, unlike in the usual block.

    Weights of the published networks depend on it. `forward` takes a bool mask (T, T), True
    where the token of a row reads that of a column.
    """

    def __init__(self, width: int, n_heads: int, *, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, n_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = FeedForward(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, readable: Tensor) -> Tensor:
        tokens = self.norm1(tokens)
        tokens = tokens + self.drop_path(self.attention(tokens, readable))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class PatchGenerator(nn.Module):
    """Guess at every place the patch there from what the extractor read before it."""

    def __init__(
        self, width: int, depth: int, n_heads: int, group_size: int, *, drop_path: float = 0.0
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            NormedBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        self.rebuild = nn.Linear(width, 3 * group_size)

    def forward(self, tokens: Tensor, positions: Tensor, readable: Tensor) -> Tensor:
        """Map tokens (B, P, C) to patches (B, P, K, 3)."""
        for block in self.blocks:
            tokens = block(tokens + positions, readable)
        return self.rebuild(self.norm(tokens)).unflatten(-1, (-1, 3))


class PointGPT(nn.Module):
    """Extractor, generator and head.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a point, coordinates first.
    n_classes : int, default=40
        Outputs; 0 leaves the head out.
    width, depth, n_heads : int
        Channels of a token, blocks of the extractor, attention heads.
    n_groups, group_size : int
        Patches a cloud and points a patch. Clouds of fewer points give fewer patches.
    patch_hidden : tuple of 3 or 4 int
        Hidden widths of the patch embedding; with four (published "base" and "large") it has
        one layer more before the first maximum.
    drop_path : float, default=0.0
        Stochastic depth of the last block. (The original reads a rate and uses none.)
    generator_depth : int, default=4
        Blocks of the generator; 0 leaves it out, and nothing can be generated.
    generation_weight : float, default=3.0
        What the loss of the generator counts beside that of the classes; see `auxiliary_loss`.
    generation_target : {"relative", "absolute"}, default="relative"
        Whether the generator is asked downstream, as in pre-training, for patches relative to
        their centers, or for points in place, as in the original, which the pre-trained one has
        never made.
    class_token : {"last", "second"}, default="last"
        Where it stands. At the end it reads all patches and no patch reads it. The original puts
        it second, where it reads nothing of the cloud, so that half of what enters the head is
        the same for all clouds; and gives it the position of the start token and that one its.
    temperature : float, default=10.0
        Longest wavelength of the positions. The original has 1: all waves are alike then and
        cannot tell a place from one a whole unit further.
    skip_near_origin : bool, default=False
        Choose centers as the published CUDA kernel does; see
        :func:`pointinteract.ops.farthest_point_sample`.
    """

    official_system = "point_gpt"
    permutation_invariant = False  # the first point is always a patch center, and the first patch

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        n_groups: int = 64,
        group_size: int = 32,
        patch_hidden: tuple[int, ...] = (128, 256, 512),
        drop_path: float = 0.0,
        generator_depth: int = 4,
        generation_weight: float = 3.0,
        generation_target: str = "relative",
        class_token: str = "last",
        temperature: float = 10.0,
        skip_near_origin: bool = False,
    ):
        super().__init__()
        if class_token not in CLASS_TOKENS:
            raise ValueError(f"class_token must be one of {CLASS_TOKENS}, got {class_token!r}.")
        if generation_target not in TARGETS:
            raise ValueError(
                f"generation_target must be one of {TARGETS}, got {generation_target!r}."
            )
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "width": width,
            "depth": depth,
            "n_heads": n_heads,
            "n_groups": n_groups,
            "group_size": group_size,
            "patch_hidden": tuple(patch_hidden),
            "drop_path": drop_path,
            "generator_depth": generator_depth,
            "generation_weight": generation_weight,
            "generation_target": generation_target,
            "class_token": class_token,
            "temperature": temperature,
            "skip_near_origin": skip_near_origin,
        }
        self.n_groups, self.group_size = n_groups, group_size
        self.skip_near_origin = skip_near_origin
        self.class_place, self.generation_target = class_token, generation_target
        self.generation_weight = generation_weight
        self.num_features = 2 * width
        self.patch_embedding = _patch_embedding(width, n_channels, tuple(patch_hidden))
        self.start_token = nn.Parameter(torch.empty(width))
        self.start_position = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.cls_pos = nn.Parameter(torch.empty(1, 1, width))
        self.position = SinePosition(width, temperature)
        self.blocks = nn.ModuleList(
            NormedBlock(width, n_heads, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head_norm = nn.LayerNorm(width)
        self.generator = (
            PatchGenerator(width, generator_depth, n_heads, group_size, drop_path=drop_path)
            if generator_depth
            else None
        )
        self._initialize()
        self.reset_classifier(n_classes)
        self._last_pass: tuple[Tensor, Tensor, Tensor] | None = None

    def _initialize(self) -> None:
        start_small(self)
        for module in self.modules():
            if isinstance(module, SelfAttention):
                nn.init.xavier_uniform_(module.qkv.weight)
        nn.init.normal_(self.start_token)
        for parameter in (self.cls_token, self.cls_pos):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the tokens, (B, 1 + G, width): class token first, then patches as they walk."""
        neighborhoods, centers = self.patches(points)
        start, patches, of_class = self._read_all(self.patch_embedding(neighborhoods), centers)
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            earlier = torch.cat([start, patches[:, :-1]], dim=1)
            self._last_pass = earlier, neighborhoods[..., :3], centers
        return torch.cat([of_class, patches], dim=1)

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return class token and maximum over the patches, (B, 2 width)."""
        tokens = self.head_norm(self.forward_features(points))
        return torch.cat([tokens[:, 0], tokens[:, 1:].amax(1)], dim=1)

    def auxiliary_loss(self) -> Tensor:
        """Return `generation_weight` times how badly every patch is guessed from those before.

        It belongs to the last forward pass with gradients, which is forgotten here; without one
        it is zero, and so it is where the generator is frozen. The sum of both Chamfer
        distances, plain and squared.
        """
        kept, self._last_pass = self._last_pass, None
        unread = self.generator is None or not self.generator.rebuild.weight.requires_grad
        if kept is None or unread or self.generation_weight == 0:
            return self.cls_token.new_zeros(())
        earlier, neighborhoods, centers = kept
        readable = causal_mask(centers.shape[1], device=centers.device)
        generated = self.generate(earlier, centers, readable)
        if self.generation_target == "absolute":
            neighborhoods = neighborhoods + centers.unsqueeze(2)
        pair = generated.flatten(0, 1), neighborhoods.flatten(0, 1)
        loss = chamfer_distance(*pair, norm=1) + chamfer_distance(*pair, norm=2)
        return self.generation_weight * loss

    def patches(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Cut clouds into patches (B, G, K, n_channels) and centers (B, G, 3), as they walk."""
        index, centers = group_index(
            points, self.n_groups, self.group_size, skip_near_origin=self.skip_near_origin
        )
        order = nearest_order(centers)
        return take_groups(points, gather(index, order)), gather(centers, order)

    def encode(self, patches: Tensor, centers: Tensor, readable: Tensor) -> Tensor:
        """What is known before each patch: embedded (B, P, C), centers (B, P, 3) to (B, P, C).

        The last patch is read by nobody; the start token stands before the first. `readable` is
        a bool mask (P, P) of these tokens.
        """
        tokens = torch.cat([self._start(len(patches)), patches[:, :-1]], dim=1)
        start = self.start_position.expand(len(patches), -1, -1)
        positions = torch.cat([start, self.position(centers[:, :-1])], dim=1)
        return self._read(tokens, positions, readable)

    def generate(self, tokens: Tensor, centers: Tensor, readable: Tensor) -> Tensor:
        """Guess patches (B, P, K, 3) from what is known before each, (B, P, C)."""
        if self.generator is None:
            raise ValueError("nothing can be generated with generator_depth=0.")
        return self.generator(tokens, self.position(walk_directions(centers)), readable)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(self.num_features, (256, 256), n_classes, dropout=(0.5, 0.5))
        self.head = start_small(head).to(self.cls_token).train(self.training)

    def _read_all(self, patches: Tensor, centers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Start token, patches and class token, read: (B, 1, C), (B, G, C) and (B, 1, C)."""
        n_clouds, n_groups, _ = patches.shape
        of_class = self.cls_token.expand(n_clouds, -1, -1)
        class_place = self.cls_pos.expand(n_clouds, -1, -1)
        start, start_place = self._start(n_clouds), self.start_position.expand(n_clouds, -1, -1)
        places = self.position(centers)
        readable = causal_mask(n_groups + 2, device=patches.device)
        if self.class_place == "last":
            tokens = torch.cat([start, patches, of_class], dim=1)
            positions = torch.cat([start_place, places, class_place], dim=1)
            tokens = self._read(tokens, positions, readable)
            return tokens[:, :1], tokens[:, 1:-1], tokens[:, -1:]
        tokens = torch.cat([start, of_class, patches], dim=1)
        positions = torch.cat([class_place, start_place, places], dim=1)  # swapped, as published
        tokens = self._read(tokens, positions, readable)
        return tokens[:, :1], tokens[:, 2:], tokens[:, 1:2]

    def _read(self, tokens: Tensor, positions: Tensor, readable: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens + positions, readable)
        return self.norm(tokens)

    def _start(self, n_clouds: int) -> Tensor:
        return self.start_token.expand(n_clouds, 1, -1)

    def __getstate__(self) -> dict:
        # A tensor inside a graph can be neither copied nor pickled, and is not worth it.
        return {**self.__dict__, "_last_pass": None}


def _patch_embedding(width: int, n_channels: int, hidden: tuple[int, ...]) -> PatchEmbedding:
    if len(hidden) == 4:
        first, middle, second, third = hidden
        embedding = PatchEmbedding(width, n_channels=n_channels, hidden=(first, second, third))
        deeper = nn.Sequential(LinearNorm(first, middle), nn.Linear(middle, second))
        embedding.add_module("linear2", deeper)  # reads and gives what the one layer would
        return embedding
    if len(hidden) != 3:
        raise ValueError(f"patch_hidden must be 3 or 4 widths, got {hidden}.")
    return PatchEmbedding(width, n_channels=n_channels, hidden=(hidden[0], hidden[1], hidden[2]))


@register_model
def point_gpt(*, n_channels: int = 3, n_classes: int = 40) -> PointGPT:
    """PointGPT-S as published for 1024 points, 29.2 million parameters with the generator."""
    return PointGPT(n_channels=n_channels, n_classes=n_classes, **point_gpt_sizes("small"))


@register_model
def point_gpt_nano(*, n_channels: int = 3, n_classes: int = 40) -> PointGPT:
    """PointGPT for a laptop: width 192, four blocks and one to generate, 32 patches."""
    return PointGPT(n_channels=n_channels, n_classes=n_classes, **point_gpt_sizes("nano"))
