"""Curves through feature space (Xiang et al., CurveNet, ICCV 2021), and what points read there.

A curve starts at a point and walks from neighbor to neighbor, at every step to the one that a
small network rates highest. The step itself is a hard choice; for the gradient it counts as
the softmax of the ratings (straight-through), in evaluation mode as in training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.mlp import LinearNorm, fold_norm
from pointinteract.ops.grouping import gather

__all__ = ["CurveReading", "CurveWalk"]


class CurveWalk(nn.Module):
    """Choose where curves start, and walk them: points (B, N, C) to curves (B, R, L, C).

    Parameters
    ----------
    n_channels : int
        Channels C per point.
    n_curves : int
        Curves R of a cloud; a cloud of fewer points has one curve from every point.
    n_steps : int
        Steps L of a curve; the starting point is none of them.
    paired : bool, default=False
        Whether every curve mixes its state with its own two weights. The published code does
        not: it finds the weights as an array (2, R) and reads the same memory as (R, 2), so
        that curve c gets the numbers 2c and 2c + 1 of the row of all first and then all second
        weights. Its checkpoints are trained that way.
    """

    def __init__(self, n_channels: int, n_curves: int, n_steps: int, *, paired: bool = False):
        super().__init__()
        self.n_curves = n_curves
        self.n_steps = n_steps
        self.paired = paired
        self.score = nn.Linear(n_channels, 1, bias=False)
        self.rate = LinearNorm(2 * n_channels, 1, bias=False, negative_slope=None)
        self.mix = LinearNorm(2 * n_channels, 2, bias=False, negative_slope=None)

    def forward(self, features: Tensor, neighbors: Tensor) -> Tensor:
        """Walk over the neighbors (B, N, k) of each point, itself not among them."""
        # Half precision would let points tie that the walk has to tell apart.
        with torch.autocast(features.device.type, enabled=False):
            return self._walk(features.to(self.score.weight.dtype), neighbors)

    def _walk(self, features: Tensor, neighbors: Tensor) -> Tensor:
        score = self.score(features).sigmoid()  # (B, N, 1)
        features = features * score
        order = score.detach().squeeze(2).argsort(dim=1, descending=True, stable=True)
        place = order[:, : self.n_curves]  # (B, R)
        state = current = gather(features, place)
        weight, bias = self.rate.linear.weight, None
        if not self.rate.norm.training:
            weight, bias = fold_norm(self.rate.linear, self.rate.norm)
        to_candidate, to_state = weight.chunk(2, dim=1)
        # The part of a rating that is about the candidate, for every point once.
        promise = F.linear(features, to_candidate, bias)  # (B, N, 1)
        passed = []
        for step in range(self.n_steps):
            if step:
                state = self._next_state(current, state)
            candidates = gather(neighbors, place)  # (B, R, k)
            rating = gather(promise, candidates) + F.linear(state, to_state).unsqueeze(2)
            if bias is None:
                rating = self.rate.norm(rating)
            rating = rating.squeeze(3)
            around = gather(features.detach(), candidates)  # (B, R, k, C)
            if step:
                here = current.detach()
                last, moves = here - state.detach(), around - here.unsqueeze(2)
                rating = rating * _keep_forward(last, moves)
            choice = rating.argmax(2, keepdim=True)
            place = candidates.gather(2, choice).squeeze(2)
            current = gather(features, place)
            if torch.is_grad_enabled():
                soft = rating.softmax(2)
                soft = (soft - soft.detach()).unsqueeze(2)  # zeros that carry the gradient
                current = current + (soft @ around).squeeze(2)
            passed.append(current)
        return torch.stack(passed, dim=2)

    def _next_state(self, current: Tensor, state: Tensor) -> Tensor:
        weight = self.mix(torch.cat([current, state], dim=2)).softmax(2)  # (B, R, 2)
        if not self.paired:
            weight = weight.transpose(1, 2).reshape(weight.shape)
        return weight[..., :1] * current + weight[..., 1:] * state

    def extra_repr(self) -> str:
        return f"n_curves={self.n_curves}, n_steps={self.n_steps}, paired={self.paired}"


@torch.no_grad()
def _keep_forward(last: Tensor, moves: Tensor) -> Tensor:
    """Rate moves (B, R, k, C) down from 1 to 0 the more they turn back on the last (B, R, C)."""
    along = (moves @ last.unsqueeze(3)).squeeze(3)
    lengths = moves.norm(dim=3) * last.norm(dim=2, keepdim=True)
    return (1.0 + along / lengths.clamp_min(1e-8)).clamp_(0.0, 1.0)


class CurveReading(nn.Module):
    """Every point reads the curves, and adds what it read to its features.

    The curves are summed up twice, each to one vector and each step of all of them to one, with
    weights from one linear map. Points attend to both summaries.
    """

    def __init__(self, n_channels: int, *, negative_slope: float = 0.2):
        super().__init__()
        inner = n_channels // 2
        self.negative_slope = negative_slope
        self.curve_key = nn.Linear(n_channels, inner, bias=False)
        self.step_key = nn.Linear(n_channels, inner, bias=False)
        self.query = nn.Linear(n_channels, inner, bias=False)
        self.curve_value = nn.Linear(inner, inner, bias=False)
        self.step_value = nn.Linear(inner, inner, bias=False)
        self.out = LinearNorm(n_channels, n_channels, bias=False, negative_slope=None)
        self.weigh = nn.Linear(n_channels, 1, bias=False)

    def forward(self, features: Tensor, curves: Tensor) -> Tensor:
        """Map points (B, N, C), with curves (B, R, L, C), to (B, N, C)."""
        weight = self.weigh(curves)  # (B, R, L, 1)
        of_curves = self.curve_key((curves * weight.softmax(2)).sum(2))  # (B, R, C/2)
        of_steps = self.step_key((curves * weight.softmax(1)).sum(1))  # (B, L, C/2)
        query = self.query(features)
        read = torch.cat(
            [
                _attend(query, of_curves, self.curve_value(of_curves)),
                _attend(query, of_steps, self.step_value(of_steps)),
            ],
            dim=2,
        )
        return F.leaky_relu(features + self.out(read), self.negative_slope)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention with a single head whose scores are not scaled."""
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)
