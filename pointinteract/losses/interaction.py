"""Train a network towards other orders of interaction: the loss of the CVPR 2025 work and ours.

The published idea (its equation 6) weakens interactions among few regions and strengthens those
among many:

    L_interaction = E_x[ E_{|S| low} |I(S)| - E_{|S| high} |I(S)| ]
    L             = cross-entropy + weight * L_interaction

Its estimator is public only as far as "three disjoint subsets", so estimator A is a
reconstruction, and so are the weights. As it stands the equation is unbounded below: a network
can follow it by inflating its logits. Our default therefore takes logarithms of both terms.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from sklearn.base import BaseEstimator
from torch import Tensor, nn

from pointinteract.losses.interaction_terms import (
    FORMS,
    TERMS,
    ExactOrders,
    MaskedClouds,
    MaskedDifferences,
    ThreeGroups,
    combine_terms,
    pick_terms,
)
from pointinteract.losses.masking import masked_logits, permute_regions
from pointinteract.losses.monitoring import check_exact_regions, measure_shares
from pointinteract.losses.scores import SCORES, target_score
from pointinteract.nn.modes import evaluation_mode
from pointinteract.ops import partition_regions
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["INTERACTION_LOSSES", "InteractionLoss", "find_interaction_loss"]

ESTIMATORS = ("A", "B", "C", "D", "augmentation")
EstimatorOfTerms = ThreeGroups | ExactOrders | MaskedDifferences | MaskedClouds
# Clouds that estimator C takes of a batch, unless told otherwise.
_EXACT_CLOUDS = 4


class InteractionLoss(BaseEstimator):
    """What to add to the cross-entropy, and how; for ``PointClassifier(interaction_loss=...)``.

    An object of parameters that scikit-learn can clone and search over
    (``interaction_loss__weight``), and a loss that can be called in any training loop.

    Parameters
    ----------
    estimator : {"A", "B", "C", "D", "augmentation"}, default="A"
        ``"A"``: three disjoint groups of 0.3 n regions, at most 8 masked clouds a cloud
        (:class:`ThreeGroups`). ``"B"``: as A with exact single and pair interactions, 3 clouds
        more. ``"C"``: exact equation 6 from all 2^n coalitions, for few regions and clouds
        (:class:`ExactOrders`). ``"D"``: the entropies of masked-output differences, 4 clouds
        (:class:`MaskedDifferences`). ``"augmentation"``: no interaction at all, the
        cross-entropy of A's masked clouds, as a control.
    form : {"log_ratio", "scaled", "literal"}, default="log_ratio"
        How A, B and C make a loss of their terms. ``"literal"``: low - high, the published form,
        unbounded below. ``"scaled"``: divided by max(1, mean |v(x) - v(empty)|), through which
        no gradient flows. ``"log_ratio"``: log(low + 0.1) - log(high + 0.1), of every cloud.
        D and augmentation have a form of their own and do not look at this.
    weight : float, default=0.1
        How much the loss counts beside the cross-entropy. Worth trying: literal 0.001 to 0.03,
        scaled and log-ratio 0.03 to 0.3, D 0.1 to 1, augmentation 1. Choose on clouds held
        back, not on the test clouds.
    n_regions : int or None, default=None
        Regions n of a cloud, cut on the cloud that the network gets, after augmentation. None:
        10, or 6 with C.
    start : {"first", "far"}, default="first"
        See :func:`pointinteract.ops.partition_regions`.
    score : {"log_odds", "logit", "log_probability"}, default="log_odds"
        The value v of A, B and C; see :func:`target_score`.
    high : {"D3", "D2"}, default="D3"
        The high term of A and B: what meets all three groups, or its rival, what meets the
        first two.
    ranges : pair of pairs, default=((0, 1/3), (2/3, 1))
        The low and the high range of D, as shares of n.
    terms : {"both", "low", "high", "reversed"}, default="both"
        Ablations: one term only, or the opposite aim (low orders up, high orders down).
        Augmentation has no terms and does not look at this.
    warmup : int or float, default=0.02
        Cross-entropy alone at first: an int is a number of epochs (the literature: 5), a float
        below 1 a share of all steps.
    batch_norm : {"frozen", "train"}, default="frozen"
        ``"frozen"``: masked clouds run with the running statistics in use and not updated, and
        without dropout, as in prediction. ``"train"``: in plain training mode, so they become
        part of the statistics that predictions will use.
    sub_batch : float, int or None, default=None
        Clouds of each batch that the loss is taken of, chosen at random: a share (float up to
        1) or a number (int). The expectation stays and the noise grows; a quarter of the clouds
        makes A cost about 2.75 plain steps and not 8 to 9. None: all, or 4 with C.
    monitor_every : int or None, default=None
        Epochs between exact measurements of kappa-low and kappa-high on 20 fixed training
        clouds, 2^n masked clouds each (:meth:`monitor`). None: never.

    Notes
    -----
    The two losses are added and walked back in one pass. A pass each would save the memory of
    the clean clouds while that of the masked ones is in use, a ninth of the whole with A;
    `sub_batch` saves more. The literature cuts gradients at a norm of 5, which is
    ``PointClassifier(max_norm=5)``.

    References
    ----------
    Li, Ruan, Wu, Chen, Wei, Shen. A Unified Approach to Interpreting Self-supervised
    Pre-training Methods for 3D Point Clouds via Interactions. CVPR 2025. (Equation 6.)

    Deng, Ren, Zhang, Zhang. Discovering and Explaining the Representation Bottleneck of DNNs.
    ICLR 2022. (D.)

    Examples
    --------
    >>> from pointinteract.losses import InteractionLoss
    >>> InteractionLoss("D", weight=0.3).get_params()["weight"]
    0.3
    """

    def __init__(
        self,
        estimator: str = "A",
        *,
        form: str = "log_ratio",
        weight: float = 0.1,
        n_regions: int | None = None,
        start: str = "first",
        score: str = "log_odds",
        high: str = "D3",
        ranges: Sequence[Sequence[float]] = ((0.0, 1 / 3), (2 / 3, 1.0)),
        terms: str = "both",
        warmup: float = 0.02,
        batch_norm: str = "frozen",
        sub_batch: float | None = None,
        monitor_every: int | None = None,
    ):
        self.estimator = estimator
        self.form = form
        self.weight = weight
        self.n_regions = n_regions
        self.start = start
        self.score = score
        self.high = high
        self.ranges = ranges
        self.terms = terms
        self.warmup = warmup
        self.batch_norm = batch_norm
        self.sub_batch = sub_batch
        self.monitor_every = monitor_every

    def __call__(
        self,
        module: nn.Module,
        points: Tensor,
        target: Tensor,
        logits: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Weighted loss of a batch, and what is worth logging.

        Parameters
        ----------
        module : torch.nn.Module
            Maps points (B, N, C) to logits (B, K). Its modes are the same after as before.
        points : Tensor of shape (B, N, C)
            Clouds as the network got them.
        target : int64 Tensor of shape (B,)
            True classes.
        logits : Tensor of shape (B, K)
            What the network answered to `points`; no gradient is taken through it.
        generator : torch.Generator
            On the CPU. Chooses clouds and regions.

        Returns
        -------
        loss : Tensor of shape ()
            `weight` times the loss, to be added to the cross-entropy.
        parts : dict of str to Tensor of shape ()
            ``interaction_loss`` without its weight, ``mean_abs_value``, the mean |v(x)|; and,
            but with augmentation, ``interaction_low`` and ``interaction_high``: mean strengths
            (A, B, C) or the two terms of D.

        Raises
        ------
        CloudError
            If a cloud has fewer distinct points than `n_regions`.
        ValueError, TypeError
            If a parameter of this loss is wrong, or the tensors do not belong together.
        """
        self.check()  # nobody else does in a training loop of one's own
        if target.shape != (len(points),) or logits.shape[:-1] != target.shape:
            raise ValueError(
                "points (B, N, C), target (B,) and logits (B, K) must belong together; got "
                f"shapes {tuple(points.shape)}, {tuple(target.shape)} and {tuple(logits.shape)}."
            )
        n_regions = self._n_regions()
        chosen = self._choose(len(points), generator).to(points.device)
        points, target, logits = points[chosen], target[chosen], logits.detach()[chosen]
        regions = partition_regions(points, n_regions, start=self.start)
        regions = permute_regions(regions, n_regions, generator)
        method = self._make_estimator(n_regions)
        answers = self._ask(module, points, regions, method.keep.to(points.device))
        values = target_score(logits, target, score=self.score)
        parts = {"mean_abs_value": values.abs().mean()}
        if isinstance(method, MaskedClouds):
            loss = method.loss(answers, target).mean()
        else:
            low, high = method.terms(answers, target)
            parts |= {"interaction_low": low.detach().mean(),
                      "interaction_high": high.detach().mean()}
            if isinstance(method, MaskedDifferences):
                loss = pick_terms(low, high, self.terms).mean()
            else:
                empty = target_score(answers[:, 0].detach(), target, score=self.score)
                scale = (values - empty).abs().mean().clamp_min(1.0)
                loss = combine_terms(low, high, form=self.form, terms=self.terms, scale=scale)
        return self.weight * loss.to(logits), parts | {"interaction_loss": loss.detach()}

    def monitor(self, module: nn.Module, points: Tensor, target: Tensor) -> dict[str, float]:
        """Measure, exactly and in evaluation mode, the shares of low and high orders.

        Parameters
        ----------
        module : torch.nn.Module
        points : Tensor of shape (B, N, C)
        target : int64 Tensor of shape (B,)

        Returns
        -------
        shares : dict
            ``kappa_low`` and ``kappa_high``: orders up to 0.3 n and from 0.7 n of the mean
            strength E|I(S)| of every order, over the sum of all orders.

        Raises
        ------
        ValueError
            If a parameter of this loss is wrong, or there are more than 12 regions.
        """
        self.check()
        check_exact_regions(self._n_regions())
        return measure_shares(
            module,
            points,
            target,
            n_regions=self._n_regions(),
            start=self.start,
            score=self.score,
        )

    def warmup_epochs(self, max_epochs: int) -> float:
        """Epochs, or a part of one, of cross-entropy alone in a training of `max_epochs`."""
        if isinstance(self.warmup, Integral):
            return float(self.warmup)
        return float(self.warmup) * max_epochs

    def check(self) -> "InteractionLoss":
        """Return this loss, or raise an error that names the parameter that is wrong."""
        check_option("estimator", self.estimator, ESTIMATORS)
        check_option("form", self.form, FORMS)
        check_real("weight", self.weight)
        check_option("start", self.start, ("first", "far"))
        check_option("score", self.score, SCORES)
        check_option("high", self.high, ("D3", "D2"))
        check_option("terms", self.terms, TERMS)
        check_option("batch_norm", self.batch_norm, ("frozen", "train"))
        if isinstance(self.warmup, Integral):
            check_int("warmup", self.warmup, minimum=0)
        else:
            check_real("warmup", self.warmup, maximum=1.0, open_maximum=True)
        if isinstance(self.sub_batch, Integral):
            check_int("sub_batch", self.sub_batch)
        elif self.sub_batch is not None:
            check_real("sub_batch", self.sub_batch, maximum=1.0, open_minimum=True)
        if self.n_regions is not None:
            check_int("n_regions", self.n_regions, minimum=2)
        if self.monitor_every is not None:
            check_int("monitor_every", self.monitor_every)
            check_exact_regions(self._n_regions())
        check_ranges(self.ranges)
        self._make_estimator(self._n_regions())
        return self

    def _n_regions(self) -> int:
        if self.n_regions is not None:
            return self.n_regions
        return 6 if self.estimator == "C" else 10

    def _make_estimator(self, n_regions: int) -> EstimatorOfTerms:
        if self.estimator == "C":
            return ExactOrders(n_regions, score=self.score)
        if self.estimator == "D":
            return MaskedDifferences(
                n_regions, ranges=self.ranges, reverse=self.terms == "reversed"
            )
        if self.estimator == "augmentation":
            return MaskedClouds(n_regions)
        return ThreeGroups(
            n_regions, score=self.score, high=self.high, exact_low=self.estimator == "B"
        )

    def _choose(self, n_clouds: int, generator: torch.Generator) -> Tensor:
        """Places of the clouds of a batch that the loss is taken of, ascending."""
        wanted = self.sub_batch
        if wanted is None:
            wanted = _EXACT_CLOUDS if self.estimator == "C" else 1.0
        if not isinstance(wanted, Integral):
            wanted = max(1, round(wanted * n_clouds))
        if wanted >= n_clouds:
            return torch.arange(n_clouds)
        return torch.randperm(n_clouds, generator=generator)[: int(wanted)].sort().values

    def _ask(self, module: nn.Module, points: Tensor, regions: Tensor, keep: Tensor) -> Tensor:
        if self.batch_norm == "train":
            return masked_logits(module, points, regions, keep)
        with evaluation_mode(module):
            return masked_logits(module, points, regions, keep)


# What the names that PointClassifier takes stand for.
INTERACTION_LOSSES: dict[str, dict[str, Any]] = {
    "paper": {"estimator": "A", "form": "literal", "weight": 0.01},
    "default": {"estimator": "A", "form": "log_ratio", "weight": 0.1},
}


def find_interaction_loss(setting: Any) -> InteractionLoss | None:
    """Return the loss that a user means by a name, by None or by itself, checked.

    Parameters
    ----------
    setting : None, "paper", "default" or InteractionLoss
        ``"paper"`` is estimator A in the literal form, the nearest to what is public of the
        published loss, at weight 0.01. ``"default"`` is ours: A as log-ratio, at weight 0.1.

    Returns
    -------
    loss : InteractionLoss or None

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, or a parameter of the loss is wrong.
    """
    if setting is None:
        return None
    if isinstance(setting, InteractionLoss):
        return setting.check()
    if isinstance(setting, str) and setting in INTERACTION_LOSSES:
        return InteractionLoss(**INTERACTION_LOSSES[setting])
    kind = ValueError if isinstance(setting, str) else TypeError
    raise kind(
        "interaction_loss must be None, "
        f"{', '.join(map(repr, INTERACTION_LOSSES))} or an InteractionLoss; got {setting!r}."
    )


def check_ranges(ranges: Any) -> None:
    """Raise unless `ranges` are two pairs of shares (r1, r2), 0 <= r1 < r2 <= 1."""
    try:
        pairs = [(float(smaller), float(larger)) for smaller, larger in ranges]
    except (TypeError, ValueError):
        pairs = []
    if len(pairs) != 2 or not all(0 <= smaller < larger <= 1 for smaller, larger in pairs):
        raise ValueError(
            "ranges must be two pairs of shares (r1, r2) with 0 <= r1 < r2 <= 1, the low one "
            f"first; got {ranges!r}."
        )
