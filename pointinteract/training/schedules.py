"""Learning rates over time, and which parameters get which."""

import math

from torch import nn

__all__ = ["cosine_schedule", "parameter_groups", "step_schedule"]

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


def step_schedule(progress: float, base: float, *, warmup: float) -> float:
    """Learning rate at a share `progress` in [0, 1] of all steps.

    Linear from near zero to `base` over the share `warmup`, then half a cosine to 1e-6. Unlike
    the published rule it moves at every step and wastes none at the minimum, which counts when
    there are twenty epochs and not three hundred.
    """
    minimum = min(MINIMUM_RATE, base)  # whoever asks for less gets less
    if progress < warmup:
        return max(minimum, base * progress / warmup)
    rest = min((progress - warmup) / max(1.0 - warmup, 1e-9), 1.0)
    return minimum + 0.5 * (base - minimum) * (1 + math.cos(math.pi * rest))


def parameter_groups(
    module: nn.Module, *, learning_rate: float, weight_decay: float, head_factor: float = 1.0
) -> list[dict]:
    """Split the trainable parameters of a module as ReCon's training does.

    Parameters
    ----------
    module : torch.nn.Module
    learning_rate, weight_decay : float
        Of the plain group.
    head_factor : float, default=1.0
        Other than 1: parameters of the head and of the class query learn this much faster, and
        all of them decay.

    Returns
    -------
    groups : list of dict
        For a torch optimiser. Biases, one-dimensional parameters and tokens do not decay.
    """
    head, still, plain = [], [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if head_factor != 1.0 and (name.startswith("head.") or "cls_" in name):
            head.append(parameter)
        elif parameter.ndim == 1 or name.endswith(".bias") or "token" in name:
            still.append(parameter)
        else:
            plain.append(parameter)
    groups = [
        {"params": head, "lr": learning_rate * head_factor, "weight_decay": weight_decay},
        {"params": still, "lr": learning_rate, "weight_decay": 0.0},
        {"params": plain, "lr": learning_rate, "weight_decay": weight_decay},
    ]
    return [group for group in groups if group["params"]]
