"""Networks on tokens of patches: regions of whole patches leave the tokens as they are.

What a patch says does not depend on which others are there, so patches become tokens once.
The tokens of absent patches are gone, or all one and the same; equal tokens stay equal through
every block, and are computed once.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pointinteract.explanation._absence import TOKEN_ABSENCES
from pointinteract.explanation._engines._base import Advance, Engine
from pointinteract.explanation._engines._weighted import answer_by_size
from pointinteract.games.coalitions import all_coalitions
from pointinteract.nn.structure import PatchTokens

if TYPE_CHECKING:
    from pointinteract.explanation._game import CloudGame
    from pointinteract.explanation._models import CloudModel

# Tokens at a time: enough to be worth reading the weights for, few enough for the cache.
CPU_TOKENS = 1024
GPU_TOKENS = 1 << 18


class PatchEngine(Engine):
    """Runs a transformer on the tokens of present patches, and one for all absent ones.

    With ``absence="token_drop"`` the tokens of absent patches are not there; of nothing, the
    token of an empty patch is left, since a network cannot read an empty set. With
    ``absence="token_baseline"`` each becomes the token of an empty patch.
    """

    name = "patches"
    structure_type = PatchTokens

    @classmethod
    def supports(cls, model: "CloudModel", absence_name: str, players: str) -> bool:
        structure = cls.find_structure(model)
        is_aligned = players == "patches" and absence_name in TOKEN_ABSENCES
        return is_aligned and structure is not None and structure.baseline is not None

    def answers(
        self,
        game: "CloudGame",
        coalitions: np.ndarray | None = None,
        advance: Advance | None = None,
    ) -> np.ndarray:
        if coalitions is None:
            coalitions = all_coalitions(game.n_players)
        patches = _Patches(self.find_structure(self.model), game)
        present = torch.tensor(coalitions, device=game.points.device)[:, patches.regions]
        drops = game.absence.name == "token_drop"
        counts = patches.count(present, drops)
        on_cpu = game.points.device.type == "cpu"
        logits = answer_by_size(
            lambda rows: patches.forward(counts[rows]),
            (counts > 0).sum(dim=1),
            CPU_TOKENS if on_cpu else GPU_TOKENS,
            max(game.batch_size.current, CPU_TOKENS),
            advance,
        )
        return self.read(logits)

    def reference(self, game: "CloudGame", coalitions: np.ndarray) -> np.ndarray:
        """Answer coalitions the plain way: nothing shared between them, nothing merged.

        Every coalition cuts and embeds the cloud anew and reads as many tokens as it has; where
        all are present, the network itself is asked.
        """
        patches = _Patches(self.find_structure(self.model), game)
        keep = torch.tensor(coalitions, device=game.points.device)
        present = keep[:, patches.regions]
        drops = game.absence.name == "token_drop"
        n_tokens = present.sum(dim=1) if drops else torch.full((len(keep),), present.shape[1])
        logits = answer_by_size(
            lambda rows: patches.plain_forward(game.points, present[rows], drops),
            n_tokens,
            GPU_TOKENS,
            game.batch_size.current,
            spread=0.0,
        )
        answers = self.read(logits)
        is_full = coalitions.all(axis=1)
        if is_full.any():
            answers[is_full] = self.model.evaluate(game.points[None])
        return answers


class _Patches:
    """The patches of one cloud, and one more at the end that stands for the absent ones.

    Attributes
    ----------
    tokens : Tensor of shape (G + 1, D)
    centers : Tensor of shape (G + 1, 3)
    regions : int64 Tensor of shape (G,)
        Region of each patch: that of its point nearest to its center. A network may list the
        points of a patch in any order.
    """

    def __init__(self, structure: PatchTokens, game: "CloudGame") -> None:
        self.structure = structure
        index, centers = structure.patches(game.points[None])
        tokens = structure.embed(game.points[None], index)
        assert structure.baseline is not None
        empty, center = structure.baseline()
        self.tokens = torch.cat([tokens[0], empty[None].to(tokens)])
        self.centers = torch.cat([centers[0], center[None].to(centers)])
        away = game.points[index[0], :3] - centers[0, :, None]  # (G, K, 3)
        nearest = away.square().sum(dim=2).argmin(dim=1, keepdim=True)
        self.regions = game.regions[index[0].gather(1, nearest)[:, 0]]

    def count(self, present: Tensor, drops: bool) -> Tensor:
        """How often each token is read, bool (S, G) to int64 (S, G + 1)."""
        n_absent = (~present).sum(dim=1, keepdim=True)
        if drops:
            n_absent = (n_absent == present.shape[1]).long()
        return torch.cat([present.long(), n_absent], dim=1)

    def forward(self, counts: Tensor) -> Tensor:
        """Logits (s, K) of coalitions that read the tokens so often, int64 (s, G + 1)."""
        n_read = int((counts > 0).sum(dim=1).max())
        # Tokens that are read come first, in their order; padding has count 0.
        which = (counts == 0).to(torch.uint8).sort(dim=1, stable=True).indices[:, :n_read]
        return self.structure.forward_tokens(
            self.tokens[which], self.centers[which], counts.gather(1, which)
        )

    def plain_forward(self, points: Tensor, present: Tensor, drops: bool) -> Tensor:
        """Logits (s, K) from all tokens of each coalition; all have equally many present."""
        clouds = points.expand(len(present), *points.shape)
        index, centers = self.structure.patches(clouds)
        tokens = self.structure.embed(clouds, index)
        stays = present[..., None]
        if drops and bool(present.any()):
            tokens = tokens[present].view(len(present), -1, tokens.shape[-1])
            centers = centers[present].view(len(present), -1, centers.shape[-1])
        elif drops:  # one empty patch, not many: a class token among them would tell
            tokens = self.tokens[-1].expand(len(present), 1, -1)
            centers = self.centers[-1].expand(len(present), 1, -1)
        else:
            tokens = torch.where(stays, tokens, self.tokens[-1])
            centers = torch.where(stays, centers, self.centers[-1])
        once = torch.ones(tokens.shape[:2], dtype=torch.int64, device=tokens.device)
        return self.structure.forward_tokens(tokens, centers, once)
