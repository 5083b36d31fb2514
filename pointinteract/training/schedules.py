"""Learning rates over time, and which parameters get which."""

import math
from collections.abc import Sequence

from torch import nn

__all__ = [
    "annealed_schedule",
    "cosine_schedule",
    "half_cosine",
    "parameter_groups",
    "plateau_schedule",
    "staircase_schedule",
    "step_schedule",
]

MINIMUM_RATE = 1e-6


def cosine_schedule(
    epoch: int, base: float, *, max_epochs: int, warmup_epochs: int = 10
) -> float:
    """Learning rate in force during an epoch, by the rule of the published ReCon training.

    The rate is set at the end of each epoch t from f(t), so epoch 0 runs at the minimum 1e-6 and
    epoch e >= 1 at f(e - 1): linear from 1e-6 to `base` over `warmup_epochs`, then half a cosine
    over `max_epochs` (from which the warm-up is not subtracted).
    """
    t = epoch - 1
    if t < 0:
        return MINIMUM_RATE
    span = base - MINIMUM_RATE
    if t < warmup_epochs:
        return MINIMUM_RATE + span * t / warmup_epochs
    return MINIMUM_RATE + 0.5 * span * (1 + math.cos(math.pi * t / max_epochs))


def annealed_schedule(
    epoch: int, base: float, *, max_epochs: int, minimum: float = MINIMUM_RATE
) -> float:
    """Learning rate in force during an epoch, by the rule of DGCNN and its descendants.

    Half a cosine from `base` in epoch 0 to `minimum` in epoch `max_epochs`, without a warm-up;
    from there on it stays.
    """
    minimum = min(minimum, base)
    progress = min(epoch / max(max_epochs, 1), 1.0)
    return minimum + 0.5 * (base - minimum) * (1 + math.cos(math.pi * progress))


def staircase_schedule(
    passed: float, base: float, *, every: float, factor: float, minimum: float = 0.0
) -> float:
    """Learning rate after `passed` epochs, steps or clouds: times `factor` once in `every`.

    Whatever is counted, `passed` and `every` count the same. Not below `minimum`.
    """
    # A hair more, so that 0.6 / 0.2, which is 2.9999999999999996, counts as three.
    return max(base * factor ** math.floor(passed / every + 1e-9), min(minimum, base))


def half_cosine(
    passed: float, first: float, last: float, *, length: float, delay: float = 0.0
) -> float:
    """Go from `first` to `last` by half a cosine over `length`, and stay on both sides of it.

    It begins at `delay`; whatever is counted (steps, epochs), all three count the same. So
    Point-BERT's tokenizer lowers its temperature and comes to weigh the use of its words.
    """
    progress = min(max(passed - delay, 0.0) / max(length, 1e-9), 1.0)
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * progress))


def plateau_schedule(
    losses: Sequence[float],
    base: float,
    *,
    factor: float,
    patience: int,
    minimum: float = 0.0,
    tolerance: float = 1e-4,
) -> float:
    """Learning rate after epochs of these training losses: lower when they stop to fall.

    Times `factor` whenever more than `patience` epochs went by without a loss lower than the
    lowest by the share `tolerance`; never below `minimum`. The rule is that of the framework's
    ReduceLROnPlateau; as a function of all losses it needs no state of its own in a file.
    """
    rate, best, n_waited = base, math.inf, 0
    for loss in losses:
        if loss < best * (1 - tolerance):
            best, n_waited = loss, 0
        else:
            n_waited += 1
        if n_waited > patience:
            rate, n_waited = max(rate * factor, min(minimum, base)), 0
    return rate


def step_schedule(
    progress: float, base: float, *, warmup: float, minimum: float = MINIMUM_RATE
) -> float:
    """Learning rate at a share `progress` in [0, 1] of all steps.

    Linear from near zero to `base` over the share `warmup`, then half a cosine to `minimum`.
    Unlike the published rule it moves at every step and wastes none at the minimum, which counts
    when there are twenty epochs and not three hundred.
    """
    minimum = min(minimum, base)  # whoever asks for less gets less
    if progress < warmup:
        return max(minimum, base * progress / warmup)
    rest = min((progress - warmup) / max(1.0 - warmup, 1e-9), 1.0)
    return minimum + 0.5 * (base - minimum) * (1 + math.cos(math.pi * rest))


def parameter_groups(
    module: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    head_factor: float = 1.0,
    decay_on: str = "weights",
    rate_factors: Sequence[tuple[str, float]] = (),
) -> list[dict]:
    """Split the trainable parameters of a module by how fast they learn and whether they decay.

    Parameters
    ----------
    module : torch.nn.Module
    learning_rate, weight_decay : float
        Of the plain group.
    head_factor : float, default=1.0
        Other than 1: parameters of the head and of the class query learn this much faster, and
        all of them decay (the rule of ReCon's training).
    decay_on : {"weights", "weights_and_norms", "all"}, default="weights"
        What decays: not biases, single numbers, one-dimensional parameters and tokens (what is
        itself called so, and not the layers of a module that is); or of these the gains and
        offsets of norms too; or everything, as a torch optimiser does that is told nothing.
    rate_factors : sequence of (str, float), default=()
        Parts of the module, by the beginning of their parameters' names, that learn so many
        times as fast. The first that fits holds.

    Returns
    -------
    groups : list of dict
        For a torch optimiser, the plain one last.
    """
    of_norms = {
        id(parameter)
        for layer in module.modules()
        if "Norm" in type(layer).__name__
        for parameter in layer.parameters(recurse=False)
    }
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        head = head_factor != 1.0 and (name.startswith("head.") or "cls_" in name)
        own_name = name.rpartition(".")[2]
        bare = parameter.ndim < 2 or own_name == "bias" or "token" in own_name
        decays = head or not bare or decay_on == "all"
        decays = decays or (decay_on == "weights_and_norms" and id(parameter) in of_norms)
        factor = next((f for prefix, f in rate_factors if name.startswith(prefix)), 1.0)
        factor *= head_factor if head else 1.0
        groups.setdefault((factor, head, decays), []).append(parameter)
    # The head first and what decays last; the order of the others is that of the module.
    order = sorted(groups, key=lambda key: (not key[1], key[0] == 1.0, key[2]))
    return [
        {
            "params": groups[key],
            "lr": learning_rate * key[0],
            "weight_decay": weight_decay if key[2] else 0.0,
        }
        for key in order
    ]
