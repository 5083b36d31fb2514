"""Watch during training what an interaction loss is meant to change, measured exactly."""

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.games import (
    all_coalitions,
    and_interactions,
    kappa,
    mean_strength,
    order_range,
)
from pointinteract.losses.scores import target_score
from pointinteract.nn.modes import evaluation_mode
from pointinteract.ops import mask_regions, partition_regions

__all__ = ["check_exact_regions", "measure_shares"]

# Masked clouds sent through the network at once.
_BATCH = 256
# Twelve regions are 4096 masked clouds for each that is watched.
_MAX_REGIONS = 12


def check_exact_regions(n_regions: int) -> None:
    """Raise if the coalitions of so many regions are too many to be watched in training."""
    if n_regions > _MAX_REGIONS:
        raise ValueError(
            "watching (monitor_every) measures all 2^n coalitions of every watched cloud, so "
            f"n_regions must be at most {_MAX_REGIONS}, got {n_regions}."
        )


def measure_shares(
    module: nn.Module,
    points: Tensor,
    target: Tensor,
    *,
    n_regions: int,
    start: str = "first",
    score: str = "log_odds",
) -> dict[str, float]:
    """Shares of low and of high orders in the strength of interactions, over all coalitions.

    With A_m the mean of |I(S)| over clouds and coalitions S of m regions, kappa_m is A_m over
    the sum of all A_m. A quick watch during training; InteractionExplainer measures with
    intervals, controls and on other clouds.

    Parameters
    ----------
    module : torch.nn.Module
        Maps points (B, N, C) to logits (B, K). Runs in evaluation mode.
    points : Tensor of shape (B, N, C)
    target : int64 Tensor of shape (B,)
    n_regions : int
    start, score : str

    Returns
    -------
    shares : dict
        ``kappa_low``, orders up to 0.3 n, and ``kappa_high``, orders from 0.7 n.
    """
    keep = torch.from_numpy(all_coalitions(n_regions).copy()).to(points.device)
    regions = partition_regions(points, n_regions, start=start)
    strength = np.zeros(n_regions)
    with torch.no_grad(), evaluation_mode(module):
        for cloud, ids, label in zip(points, regions, target, strict=True):
            logits = torch.cat(
                [module(mask_regions(cloud, ids, some)) for some in keep.split(_BATCH)]
            )
            values = target_score(logits.double(), label, score=score)
            strength += mean_strength(and_interactions(values.cpu().numpy()))
    shares = kappa(strength)
    return {
        f"kappa_{which}": float(shares[np.array(order_range(n_regions, which)) - 1].sum())
        for which in ("low", "high")
    }
