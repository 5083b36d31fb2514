"""How strong low and high orders of interaction are, from a few masked clouds.

Each estimator is a table `keep` (S, R) of the coalitions it asks for, and a way from the
network's answers to a low and a high term. The tables are fixed; regions get random ids in
every cloud (:func:`pointinteract.losses.masking.permute_regions`), so that a fixed row is a
random coalition.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pointinteract.games import (
    all_coalitions,
    and_interactions,
    coalition_orders,
    moebius_transform,
    order_range,
)
from pointinteract.games.groups import group_coalitions, group_interactions
from pointinteract.losses.scores import target_score

__all__ = [
    "ExactOrders",
    "MaskedClouds",
    "MaskedDifferences",
    "ThreeGroups",
    "combine_terms",
    "pick_terms",
]

FORMS = ("log_ratio", "scaled", "literal")
TERMS = ("both", "low", "high", "reversed")
# Added to strengths before their logarithm, so that one near zero does not rule the gradient.
OFFSET = 0.1
# Exact orders ask the network 2^n times a cloud and step.
MAX_EXACT_REGIONS = 10


class ThreeGroups:
    """Estimators A and B: interactions of three disjoint groups of regions.

    The groups S1, S2, S3 hold floor(0.3 n) regions each. Taken as three players they are a game
    of eight coalitions, whose AND interactions are sums of those of the regions:

        D1(i)     = v(Si) - v(empty)                 all orders inside Si
        D2(1,2|3) = v(U) - v(S1 S3) - v(S2 S3) + v(S3)   all that meet S1 and S2
        D3        = the interaction of the three     all that meet every group

    with U the union of the three. D3 is a signal of middle to high orders (3 to the size of U),
    not of the highest alone.

    Parameters
    ----------
    n_regions : int
        At least 4.
    score : str, default="log_odds"
        See :func:`target_score`.
    high : {"D3", "D2"}, default="D3"
        The high term: |D3|, or its rival |D2(1,2|3)|.
    exact_low : bool, default=False
        False is estimator A, whose low term is the mean of |D1(1)|, |D1(2)|, |D1(3)|. True is
        B, whose low term is exact: the mean of |I({a})|, |I({b})| and |I({a, b})| of two random
        regions, from three more masked clouds.
    """

    def __init__(
        self,
        n_regions: int,
        *,
        score: str = "log_odds",
        high: str = "D3",
        exact_low: bool = False,
    ):
        size = 3 * n_regions // 10
        if size < 1:
            raise ValueError(
                "three disjoint groups of floor(0.3 n) regions need n_regions of at least 4, "
                f"got {n_regions}."
            )
        self.score, self.high, self.exact_low = score, high, exact_low
        groups = np.arange(3 * size).reshape(3, size).tolist()
        rows = group_coalitions(groups, n_regions)  # (8, R)
        if exact_low:
            pair = group_coalitions([[0], [1]], n_regions)[1:]
            rows = np.concatenate([rows, pair])
        self.keep = torch.from_numpy(rows)

    def terms(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high term of every cloud: (B, S, K) and (B,) to (B,) and (B,)."""
        values = target_score(logits, target[:, None], score=self.score)  # (B, S)
        groups = group_interactions(values[:, :8])
        if self.exact_low:
            pair = torch.cat([values[:, :1], values[:, 8:]], dim=1)
            low = moebius_transform(pair)[:, 1:].abs().mean(dim=1)
        else:
            low = groups.single.abs().mean(dim=1)
        high = groups.triple if self.high == "D3" else groups.pair_given[:, 0]
        return low, high.abs()


class ExactOrders:
    """Estimator C: the exact equation 6 at few regions, from all 2^n coalitions.

    The low term is the mean of |I(S)| over all S of up to a third of the regions, the high one
    over all S of at least 0.7 of them (6 regions: orders 1-2 and 5-6).

    Parameters
    ----------
    n_regions : int
        From 2 to 10; the cost doubles with each.
    score : str, default="log_odds"
    """

    def __init__(self, n_regions: int, *, score: str = "log_odds"):
        if not 2 <= n_regions <= MAX_EXACT_REGIONS:
            raise ValueError(
                f"estimator 'C' asks for all 2^n coalitions of every cloud in every step, so "
                f"n_regions must be from 2 to {MAX_EXACT_REGIONS}, got {n_regions}."
            )
        self.score = score
        self.keep = torch.from_numpy(all_coalitions(n_regions).copy())
        orders = coalition_orders(n_regions)
        self.low = np.flatnonzero(np.isin(orders, order_range(n_regions, "low", "thirds")))
        self.high = np.flatnonzero(np.isin(orders, order_range(n_regions, "high", "0.3/0.7")))

    def terms(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high term of every cloud: (B, S, K) and (B,) to (B,) and (B,)."""
        values = target_score(logits.double(), target[:, None], score=self.score)
        strength = and_interactions(values).abs()  # (B, 2^n)
        return strength[:, self.low].mean(dim=1), strength[:, self.high].mean(dim=1)


class MaskedDifferences:
    """Estimator D: differences between nested masked clouds (ICLR 2022).

    For random coalitions S1 inside S2 of r1 n and r2 n regions, du = z(S2) - |S2| / |S1| z(S1)
    (z(S2) - z(empty) if S1 is empty) holds, class by class, what orders between the two sizes
    add. To encourage a range is to lower the cross-entropy of softmax(du), to penalise it to
    raise the entropy of softmax(du): -entropy. Both are bounded below.

    Parameters
    ----------
    n_regions : int
    ranges : pair of (r1, r2), default=((0, 1/3), (2/3, 1))
        The low and the high range as shares of n.
    reverse : bool, default=False
        Whether to encourage the low range and penalise the high one.
    """

    def __init__(
        self,
        n_regions: int,
        *,
        ranges: Sequence[Sequence[float]] = ((0.0, 1 / 3), (2 / 3, 1.0)),
        reverse: bool = False,
    ):
        self.reverse = reverse
        self.sizes = [tuple(round(share * n_regions) for share in pair) for pair in ranges]
        if any(smaller >= larger for smaller, larger in self.sizes):
            raise ValueError(
                f"each range must hold at least one of the n_regions={n_regions} regions; "
                f"{tuple(map(tuple, ranges))} become sizes {self.sizes}."
            )
        needed = sorted({size for pair in self.sizes for size in pair})
        self.row = {size: number for number, size in enumerate(needed)}
        self.keep = torch.arange(n_regions) < torch.tensor(needed)[:, None]

    def terms(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Low and high term of every cloud, to be added: (B, S, K) and (B,) to (B,), (B,)."""
        low, high = (
            logits[:, self.row[larger]]
            - (larger / smaller if smaller else 1.0) * logits[:, self.row[smaller]]
            for smaller, larger in self.sizes
        )
        if self.reverse:
            return F.cross_entropy(low, target, reduction="none"), -_entropy(high)
        return -_entropy(low), F.cross_entropy(high, target, reduction="none")


class MaskedClouds:
    """Control: the masked clouds of estimator A as plain augmentation, with the label kept.

    Says how much of a gain comes from seeing masked clouds at all. The empty cloud is left out,
    since it says nothing of its label.
    """

    def __init__(self, n_regions: int):
        self.keep = ThreeGroups(n_regions).keep[1:]

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy of the masked copies of every cloud: (B, S, K), (B,) to (B,)."""
        repeated = target[:, None].expand(logits.shape[:2])
        return F.cross_entropy(logits.transpose(1, 2), repeated, reduction="none").mean(dim=1)


def combine_terms(
    low: Tensor, high: Tensor, *, form: str, terms: str, scale: Tensor | float = 1.0
) -> Tensor:
    """Make one number of the low and the high strength of every cloud: (B,), (B,) to ().

    `scale` divides the result of ``form="scaled"``; see ``InteractionLoss`` for the rest.
    """
    if form == "log_ratio":
        low, high = (low + OFFSET).log(), (high + OFFSET).log()
    sign = -1.0 if terms == "reversed" else 1.0
    loss = pick_terms(sign * low, -sign * high, terms).mean()
    return loss / scale if form == "scaled" else loss


def pick_terms(low: Tensor, high: Tensor, terms: str) -> Tensor:
    """What `terms` leaves of two terms that are both to be lowered."""
    if terms == "low":
        return low
    return high if terms == "high" else low + high


def _entropy(logits: Tensor) -> Tensor:
    log_probability = logits.log_softmax(dim=1)
    return -(log_probability.exp() * log_probability).sum(dim=1)
