"""Pre-training of Point-BERT: guess the words of hidden patches, and contrast mixed clouds.

The encoder is :class:`pointinteract.models.point_transformer.PointTransformer`, the words are
those of :class:`pointinteract.models.discrete_vae.DiscreteVAE`, trained before and frozen here
(Yu et al., CVPR 2022, sections 3.2 and 3.3). How checkpoints of the original are read, of the
tokenizer, of pre-training and of fine-tuning, is told in `pointinteract.models._point_bert`.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.models.discrete_vae import DiscreteVAE
from pointinteract.models.point_transformer import PointTransformer
from pointinteract.nn.momentum import FeatureQueue, follow, momentum_copy
from pointinteract.nn.transformer import start_small

__all__ = ["MaskedTransformer", "PointBERTDraws", "PointBERTOutput", "PointBERTPretraining"]


@dataclass(frozen=True)
class PointBERTDraws:
    """Everything random of one pass over B clouds of G patches."""

    mask: Tensor  # (B, G) bool, True where hidden from the query network
    key_mask: Tensor  # (B, G) bool, True where hidden from the key network
    share: Tensor  # (B,) chance that a patch of a mixed cloud is its own
    kept: Tensor  # (B, G) bool, True where it is
    mixed_mask: Tensor  # (B, G) bool, True where a mixed cloud is hidden


@dataclass(frozen=True)
class PointBERTOutput:
    """What one pass gives; n patches are to be guessed of the clouds, m of the mixed ones.

    Of a network without mixing the mixed part is None, of one that contrasts nothing the keys.
    """

    draws: PointBERTDraws
    labels: Tensor  # (B, G) int64, the words
    guessed: Tensor  # (B, G) bool, patches that were hidden or replaced
    logits: Tensor  # (n, V), of these in order
    features: Tensor  # (B, D), not normalised
    mixed_labels: Tensor | None  # (B, G)
    mixed_guessed: Tensor | None  # (B, G)
    mixed_logits: Tensor | None  # (m, V)
    mixed_features: Tensor | None  # (B, D)
    keys: Tensor | None  # (B, D), not normalised, without gradient


class MaskedTransformer(nn.Module):
    """A transformer that reads clouds of which patches are hidden, and its two heads.

    Parameters
    ----------
    encoder : PointTransformer
    n_tokens : int
        Words V of the tokenizer.
    contrast_width : int
        Channels D in which clouds are contrasted.
    replace_share : float
        Chance of a visible patch, in training, to be replaced by another one of the batch, and
        to be guessed too.
    """

    def __init__(
        self, encoder: PointTransformer, n_tokens: int, contrast_width: int, replace_share: float
    ):
        super().__init__()
        width = encoder.cls_token.shape[2]
        self.replace_share = replace_share
        self.encoder = encoder
        self.mask_token = nn.Parameter(torch.empty(1, 1, width))
        self.token_head = nn.Linear(width, n_tokens)
        self.contrast_head = nn.Sequential(
            nn.Linear(width, contrast_width),
            nn.GELU(),
            nn.Linear(contrast_width, contrast_width),
        )
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        for head in (self.token_head, self.contrast_head):
            start_small(head)

    def forward(
        self,
        neighborhoods: Tensor,
        centers: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read patches (B, G, K, C_in) at centers (B, G, 3).

        Returns
        -------
        tokens : Tensor of shape (B, 1 + G, C)
            Normed, class token first.
        guessed : bool Tensor of shape (B, G)
            The hidden patches, and the replaced ones.
        """
        patches = self.encoder.bridge(self.encoder.patch_embedding(neighborhoods))
        guessed = centers.new_zeros(centers.shape[:2], dtype=torch.bool) if mask is None else mask
        if mask is not None:
            if self.training and self.replace_share > 0:
                patches, guessed = self._replace(patches, mask, generator)
            # Hidden patches keep their places: only what they look like is unknown.
            patches = torch.where(mask.unsqueeze(-1), self.mask_token.to(patches), patches)
        return self.encoder.encode(patches, centers), guessed

    def _replace(
        self, patches: Tensor, mask: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Put patches of anywhere in the batch in the place of some visible ones."""
        draws = torch.rand(mask.shape, generator=generator).to(mask.device)
        replaced = (draws < self.replace_share) & ~mask
        order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
        shuffled = patches.flatten(0, 1)[order].view_as(patches).detach()
        return torch.where(replaced.unsqueeze(-1), shuffled, patches), mask | replaced

    def contrast(self, tokens: Tensor) -> Tensor:
        """Feature of each cloud to contrast it by, (B, 1 + G, C) to (B, D), not normalised."""
        return self.contrast_head(tokens[:, 0])


class PointBERTPretraining(nn.Module):
    """Tokenizer, query network, key network and queue.

    Parameters
    ----------
    tokenizer : DiscreteVAE
        Frozen here, and part of the module. Patches are cut as it cuts them, and both networks
        start with its patch embedding.
    width, depth, n_heads, drop_path
        Of the encoder; see :class:`PointTransformer`.
    contrast_width : int, default=512
    queue_length : int, default=16384
        Earlier clouds that a cloud is told from.
    momentum : float, default=0.999
        Share of itself that the key network keeps at a step.
    mask_range : (float, float), default=(0.25, 0.45)
        Between these a share of patches is drawn for each cloud, and hidden.
    mask_type : {"block", "rand"}, default="block"
        Hide the patches nearest to one of them, or (at one share a batch) any.
    replace_share : float, default=0.0
        See :class:`MaskedTransformer`.
    mixing : bool, default=True
        Whether clouds are mixed with each other.
    keys : bool, default=True
        Whether the key network reads along, for contrast.
    tokenizer_batch_statistics : bool, default=False
        Whether the tokenizer follows the training flag, as in the published code: then its
        words depend on the other clouds of the batch, and its stored statistics drift.
    """

    official_system = "point_bert"

    def __init__(
        self,
        tokenizer: DiscreteVAE,
        *,
        width: int = 384,
        depth: int = 12,
        n_heads: int = 6,
        drop_path: float = 0.1,
        contrast_width: int = 512,
        queue_length: int = 16384,
        momentum: float = 0.999,
        mask_range: tuple[float, float] = (0.25, 0.45),
        mask_type: str = "block",
        replace_share: float = 0.0,
        mixing: bool = True,
        keys: bool = True,
        tokenizer_batch_statistics: bool = False,
    ):
        super().__init__()
        if mask_type not in ("block", "rand"):
            raise ValueError(f"mask_type must be 'block' or 'rand', got {mask_type!r}.")
        self.momentum, self.mask_range, self.mask_type = momentum, mask_range, mask_type
        self.mixing, self.keys = mixing, keys
        self.tokenizer_batch_statistics = tokenizer_batch_statistics
        numbers = tokenizer.numbers
        encoder = PointTransformer(
            n_classes=0,
            width=width,
            depth=depth,
            n_heads=n_heads,
            patch_width=numbers["width"],
            head="mlp2",
            drop_path=drop_path,
            **{name: numbers[name] for name in ("n_channels", "n_groups", "group_size",
                                                "patch_hidden", "skip_near_origin")},
        )
        encoder.patch_embedding.load_state_dict(tokenizer.patch_embedding.state_dict())
        self.query = MaskedTransformer(
            encoder, numbers["n_tokens"], contrast_width, replace_share
        )
        self.key = momentum_copy(self.query)
        self.tokenizer = tokenizer.requires_grad_(False)
        self.queue = FeatureQueue(contrast_width, queue_length)
        self.train()  # but the tokenizer

    @property
    def encoder(self) -> PointTransformer:
        """What downstream tasks use."""
        return self.query.encoder

    def train(self, mode: bool = True) -> "PointBERTPretraining":
        """Set the mode of everything but the tokenizer, which stays in evaluation."""
        super().train(mode)
        self.tokenizer.train(mode and self.tokenizer_batch_statistics)
        return self

    def follow_query(self) -> None:
        """Move the parameters of the key network; once a step, before it reads."""
        follow(self.key, self.query, self.momentum)

    def draw_mask(self, centers: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the patches to hide: centers (B, G, 3) to bool (B, G), at least one a cloud."""
        n_clouds, n_groups, _ = centers.shape
        low, high = self.mask_range
        if self.mask_type == "rand":
            share = low + (high - low) * torch.rand((), generator=generator)
            draws = torch.rand(n_clouds, n_groups, generator=generator)
            hidden = draws < torch.maximum(share, draws.amin(dim=1, keepdim=True).nextafter(
                draws.new_tensor(2.0)))
            return hidden.to(centers.device)
        shares = low + (high - low) * torch.rand(n_clouds, generator=generator)
        n_hidden = (shares * n_groups).long().clamp_min(1).to(centers.device)
        seeds = torch.randint(n_groups, (n_clouds, 1, 1), generator=generator).to(centers.device)
        chosen = centers.gather(1, seeds.expand(-1, 1, 3))
        order = (centers - chosen).square().sum(-1).argsort(dim=1, stable=True)
        rank = torch.arange(n_groups, device=centers.device).expand(n_clouds, -1)
        return torch.zeros_like(order, dtype=torch.bool).scatter_(
            1, order, rank < n_hidden.unsqueeze(1)
        )

    def draw(self, centers: Tensor, generator: torch.Generator) -> PointBERTDraws:
        """Draw everything random of one pass, but replacements, for centers (B, G, 3)."""
        n_clouds, n_groups, _ = centers.shape
        mask = self.draw_mask(centers, generator)
        key_mask = self.draw_mask(centers, generator)
        share = torch.rand(n_clouds, generator=generator).to(centers)
        kept = torch.rand(n_clouds, n_groups, generator=generator).to(centers) < share[:, None]
        mixed_mask = self.draw_mask(mix(kept, centers), generator)
        return PointBERTDraws(mask, key_mask, share, kept, mixed_mask)

    def forward(
        self,
        points: Tensor,
        *,
        draws: PointBERTDraws | None = None,
        generator: torch.Generator | None = None,
    ) -> PointBERTOutput:
        """One pass over clouds (B, N, C_in); `generator` draws what `draws` does not give."""
        neighborhoods, centers = self.tokenizer.patches(points)
        with torch.no_grad():
            labels = self.tokenizer.token_logits(neighborhoods, centers).argmax(dim=-1)
        if draws is None:
            if generator is None:
                raise ValueError("PointBERTPretraining needs draws or a generator.")
            draws = self.draw(centers, generator)
        tokens, guessed = self.query(neighborhoods, centers, draws.mask, generator)
        mixed_labels = mixed_guessed = mixed_logits = mixed_features = keys = None
        if self.mixing:
            mixed_labels = mix(draws.kept, labels)
            mixed_tokens, mixed_guessed = self.query(
                mix(draws.kept, neighborhoods), mix(draws.kept, centers), draws.mixed_mask,
                generator,
            )
            mixed_logits = self.query.token_head(mixed_tokens[:, 1:][mixed_guessed])
            mixed_features = self.query.contrast(mixed_tokens)
        if self.keys:
            with torch.no_grad():
                key_tokens, _ = self.key(neighborhoods, centers, draws.key_mask, generator)
                keys = self.key.contrast(key_tokens)
        return PointBERTOutput(
            draws=draws,
            labels=labels,
            guessed=guessed,
            logits=self.query.token_head(tokens[:, 1:][guessed]),
            features=self.query.contrast(tokens),
            mixed_labels=mixed_labels,
            mixed_guessed=mixed_guessed,
            mixed_logits=mixed_logits,
            mixed_features=mixed_features,
            keys=keys,
        )

    @torch.no_grad()
    def remember(self, keys: Tensor) -> None:
        """Put keys (B, D) into the queue, for the steps to come."""
        self.queue.push(F.normalize(keys, dim=1))


def mix(kept: Tensor, values: Tensor) -> Tensor:
    """Take values (B, G, ...) that are not `kept` (B, G) from the batch in reversed order."""
    kept = kept.view(*kept.shape, *[1] * (values.ndim - 2))
    return torch.where(kept, values, values.flip(0))
