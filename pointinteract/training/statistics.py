"""What BatchNorm remembers, measured anew with the final weights.

In training the remembered mean and variance follow those of the batches slowly, a tenth of the
way with each step. After a few dozen steps they still belong in part to weights that are long
gone, and a network that has learned its clouds well answers at chance once it is asked. One more
pass without gradients mends that: mean and variance become the means over its batches. Wu and
Johnson ("Rethinking 'Batch' in BatchNorm", 2021, arXiv 2105.07576, section 3) call it PreciseBN.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from pointinteract.training.data import augment, draw_points, index_batches
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._random import forked_seed, make_generator

__all__ = ["refresh_statistics"]

# Streams of random numbers, beside those of an epoch.
_ORDER, _POINTS, _AUGMENT, _MODULE = range(4, 8)


def refresh_statistics(
    run: TrainingRun, clouds: Tensor, compute: Callable[[Tensor, Tensor], Any]
) -> None:
    """Set what the BatchNorm layers of a run's module remember by one pass over the clouds.

    Batches are made as in an epoch; no weight moves. The random numbers follow from the seed of
    the run and the number of its epochs alone, so a second call changes nothing.

    Parameters
    ----------
    run : TrainingRun
        Its module is left in evaluation mode. Layers that `compute` keeps in evaluation mode
        stay as they are.
    clouds : Tensor of shape (n_clouds, P, C)
        As in `TrainingRun.run_epoch`.
    compute : callable
        ``compute(points (B, N, C), index (B,))`` passes a batch through the module; what it
        returns is not used.
    """
    norms = [layer for layer in run.module.modules() if isinstance(layer, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    order, points_stream, augment_stream, module_stream = (
        make_generator(run.seed, run.epoch, stream)
        for stream in (_ORDER, _POINTS, _AUGMENT, _MODULE)
    )
    device = next(run.module.parameters()).device
    seen = 0
    run.module.train()
    try:
        with torch.no_grad(), forked_seed(module_stream.initial_seed(), device):
            for index in index_batches(len(clouds), run.batch_size, order):
                seen += len(index)
                for norm in norms:  # the mean so far, each cloud counting once
                    norm.momentum = len(index) / seen
                points = draw_points(clouds[index], run.n_points, points_stream)
                compute(augment(points, run.augmentation, augment_stream).to(device), index)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        run.module.eval()
