"""ACT's first stage: a frozen transformer of pictures made to carry patches of clouds.

"Autoencoders as Cross-Modal Teachers" (Dong et al., ICLR 2023) puts a trained transformer into
the discrete autoencoder of Point-BERT, between codebook and decoder. Its blocks stay as they
are; prompts before the patches, new ones for every block, are all that is tuned around them.
"""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models.discrete_vae import DiscreteVAE
from pointinteract.models.frozen_transformer import FrozenTransformer
from pointinteract.nn.transformer import position_embedding

__all__ = ["ACTAutoencoder", "act_autoencoder_sizes"]

_SIZES: dict[str, dict[str, Any]] = {
    "base": {"n_groups": 64, "n_tokens": 8192, "width": 384, "patch_hidden": (128, 256, 512),
             "graph_hidden": 128, "graph_widths": (256, 512, 512, 1024), "coarse_width": 1024,
             "fold_width": 512, "n_prompts": 64},
    # Ours, for two cores.
    "nano": {"n_groups": 32, "n_tokens": 512, "width": 96, "patch_hidden": (32, 64, 128),
             "graph_hidden": 64, "graph_widths": (64, 128, 128, 256), "coarse_width": 256,
             "fold_width": 64, "logit_gain": 4.0, "n_prompts": 8},
}


def act_autoencoder_sizes(size: str) -> dict[str, Any]:
    """Numbers of a named size of :class:`ACTAutoencoder`: ``"base"``, the published, or "nano"."""
    if size not in _SIZES:
        raise ValueError(f"size must be one of {sorted(_SIZES)}, got {size!r}.")
    return {"group_size": 32} | _SIZES[size]


class ACTAutoencoder(DiscreteVAE):
    """Discrete autoencoder of patches with a frozen, prompted transformer inside.

    Parameters
    ----------
    transformer : dict, optional
        Numbers of :class:`pointinteract.models.frozen_transformer.FrozenTransformer`; those of
        ViT-B unless given. Its weights are random until others are loaded into ``.image``.
    n_prompts : int, default=64
        Tokens before the patches.
    prompt_dropout : float, default=0.1
        Of prompts, in training.
    n_channels, n_groups, group_size, n_tokens, width, patch_hidden, graph_hidden, graph_widths, \
n_neighbors, coarse_width, fold_width, logit_gain, skip_near_origin
        As in :class:`pointinteract.models.discrete_vae.DiscreteVAE`.

    References
    ----------
    Dong, Qi, Zhang, Zhang, Sun, Ge, Yi, Ma, "Autoencoders as Cross-Modal Teachers: Can
    Pretrained 2D Image Transformers Help 3D Representation Learning?", ICLR 2023, arXiv
    2212.08320.
    """

    official_system = "act"

    def __init__(
        self,
        *,
        transformer: dict[str, Any] | None = None,
        n_prompts: int = 64,
        prompt_dropout: float = 0.1,
        n_channels: int = 3,
        n_groups: int = 64,
        group_size: int = 32,
        n_tokens: int = 8192,
        width: int = 384,
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        graph_hidden: int = 128,
        graph_widths: tuple[int, ...] = (256, 512, 512, 1024),
        n_neighbors: int = 4,
        coarse_width: int = 1024,
        fold_width: int = 512,
        logit_gain: float = 1.0,
        skip_near_origin: bool = False,
    ):
        super().__init__(
            n_channels=n_channels,
            n_groups=n_groups,
            group_size=group_size,
            n_tokens=n_tokens,
            width=width,
            patch_hidden=patch_hidden,
            graph_hidden=graph_hidden,
            graph_widths=graph_widths,
            n_neighbors=n_neighbors,
            coarse_width=coarse_width,
            fold_width=fold_width,
            logit_gain=logit_gain,
            skip_near_origin=skip_near_origin,
        )
        self.image = FrozenTransformer(**(transformer or {}))
        for name in ("token_width", "feature_width"):  # all three are one width here
            del self.numbers[name]
        self.numbers |= {
            "transformer": self.image.numbers,
            "n_prompts": n_prompts,
            "prompt_dropout": prompt_dropout,
        }
        inner, n_later = self.image.width, len(self.image.blocks) - 1
        self.project_in = nn.Linear(width, inner)
        self.project_out = nn.Linear(inner, width)
        self.image_position = position_embedding(inner)
        # Of the first block, and of those after it.
        self.prompt_token = nn.Parameter(torch.empty(1, n_prompts, inner))
        self.prompt_pos = nn.Parameter(torch.empty(1, n_prompts, inner))
        self.deep_prompt_tokens = nn.Parameter(torch.empty(n_later, n_prompts, inner))
        self.deep_prompt_pos = nn.Parameter(torch.empty(n_later, n_prompts, inner))
        self.prompt_dropout = nn.Dropout(prompt_dropout)
        for prompt in (self.prompt_token, self.prompt_pos, self.deep_prompt_tokens,
                       self.deep_prompt_pos):
            nn.init.trunc_normal_(prompt, std=0.02)

    def features(self, sampled: Tensor, centers: Tensor) -> Tensor:
        """What the decoder reads, and what the student is taught: (B, G, width) to the same."""
        return self.feature_graph(self.read_as_picture(sampled, centers), centers)

    def read_as_picture(self, sampled: Tensor, centers: Tensor) -> Tensor:
        """Take vectors of words (B, G, width) through the frozen transformer and back."""
        patches = self.project_in(sampled)
        places = self.image_position(centers)
        n_prompts = self.prompt_token.shape[1]

        def refresh(i: int, tokens: Tensor) -> Tensor:
            # Each block reads prompts of its own, places among them, and not what became of
            # those before.
            prompts, prompt_pos = self._prompts(i)
            shape = (len(patches), -1, -1)
            prompts = self.prompt_dropout(prompts.expand(shape))
            before = prompts + prompt_pos.expand(shape)
            return torch.cat([before, tokens[:, -places.shape[1] :] + places], dim=1)

        return self.project_out(self.image(patches, refresh)[:, n_prompts:])

    def _prompts(self, i: int) -> tuple[Tensor, Tensor]:
        """Tokens and places, (1, P, inner), of the prompts that block i reads."""
        if i == 0:
            return self.prompt_token, self.prompt_pos
        return self.deep_prompt_tokens[i - 1 : i], self.deep_prompt_pos[i - 1 : i]
