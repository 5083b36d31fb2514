"""One step and one epoch of training; what is trained, and on what, is told from outside."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.training.data import Augmentation, augment, draw_points, index_batches
from pointinteract.training.schedules import cosine_schedule, parameter_groups, step_schedule
from pointinteract.utils._random import forked_seed, make_generator

__all__ = ["TrainingRun"]

# Streams of random numbers within one fit.
_ORDER, _POINTS, _AUGMENT, _MODULE = range(4)

ComputeLoss = Callable[[Tensor, Tensor], tuple[Tensor, dict[str, Tensor]]]


class TrainingRun:
    """Optimiser, schedule and random streams of one fit.

    Parameters
    ----------
    module : torch.nn.Module
        On its device already.
    seed : int
        From which all streams follow.
    max_epochs : int
        Length of the schedule.
    batch_size : int
    learning_rate, weight_decay, head_factor : float
        See :func:`parameter_groups`.
    warmup_epochs : float
    schedule : {"cosine", "cosine_epoch", "constant"}
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` by the published rule.
    max_norm : float or None
        Gradients longer than this are cut to it.
    n_points : int or None
        Points drawn of each cloud in each batch.
    augmentation : None, str, tuple of str or callable
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        seed: int,
        max_epochs: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        head_factor: float = 1.0,
        warmup_epochs: float = 0.0,
        schedule: str = "cosine",
        max_norm: float | None = None,
        n_points: int | None = None,
        augmentation: str | tuple[str, ...] | Augmentation | None = None,
    ):
        self.module = module
        self.options: dict[str, Any] = {}  # what an estimator made the run from
        self.seed, self.max_epochs, self.batch_size = seed, max_epochs, batch_size
        self.warmup_epochs, self.schedule, self.max_norm = warmup_epochs, schedule, max_norm
        self.n_points, self.augmentation = n_points, augmentation
        groups = parameter_groups(
            module,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            head_factor=head_factor,
        )
        self.base_rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
        self.epoch = 0
        self.time = 0.0  # epochs and the part of the present one that is over, at each step

    def run_epoch(self, clouds: Tensor, compute_loss: ComputeLoss) -> dict[str, float]:
        """Train once over stored clouds (n_clouds, P, C).

        Parameters
        ----------
        clouds : Tensor of shape (n_clouds, P, C)
        compute_loss : callable
            ``compute_loss(points (B, N, C), index (B,))`` gives the loss and a dictionary of
            further scalars to log. A batch may leave some out.

        Returns
        -------
        record : dict
            Means over the epoch (over the batches that gave it, where some left it out),
            ``epoch``, ``learning_rate`` and ``seconds``.
        """
        started = time.perf_counter()
        order, points_stream, augment_stream = (
            make_generator(self.seed, self.epoch, stream)
            for stream in (_ORDER, _POINTS, _AUGMENT)
        )
        device = next(self.module.parameters()).device
        batches = list(index_batches(len(clouds), self.batch_size, order))
        totals: dict[str, Tensor] = {}
        covered: dict[str, list[int]] = {}  # sizes of the batches that gave each
        rate = 0.0
        self.module.train()
        # Layers that draw from the global state (dropout, stochastic depth) get their own seed
        # for the epoch, and the state of the caller comes back after.
        module_seed = make_generator(self.seed, self.epoch, _MODULE).initial_seed()
        with forked_seed(module_seed, device):
            for i, index in enumerate(batches):
                self.time = self.epoch + i / len(batches)
                rate = self._set_rate(self.epoch, self.epoch + (i + 0.5) / len(batches))
                points = draw_points(clouds[index], self.n_points, points_stream)
                points = augment(points, self.augmentation, augment_stream).to(device)
                loss, parts = compute_loss(points, index)
                self._step(loss)
                for name, value in {"loss": loss, **parts}.items():
                    share = value.detach() * (len(index) / len(clouds))
                    totals[name] = totals[name] + share if name in totals else share
                    covered.setdefault(name, []).append(len(index))
        self.module.eval()
        means = {name: float(value) for name, value in totals.items()}
        for name, sizes in covered.items():
            if len(sizes) < len(batches):
                means[name] *= len(clouds) / sum(sizes)
        if not math.isfinite(means["loss"]):
            raise ValueError(
                f"the loss became {means['loss']} in epoch {self.epoch + 1}; a lower "
                "learning_rate, or max_norm, usually helps."
            )
        self.epoch += 1
        return {
            "epoch": self.epoch,
            **means,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.max_norm)
        self.optimizer.step()

    def _set_rate(self, epoch: int, time_in_epochs: float) -> float:
        """Set the learning rates of this step; return the one of the plain group.

        Epochs past the end of the schedule (more partial fits than ``max_epochs``) go on at a
        tenth of the highest rate; at the end of a schedule nothing would be learned any more.
        """
        past_the_end = epoch >= max(self.max_epochs, 1)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            if self.schedule == "constant":
                group["lr"] = base
            elif past_the_end:
                group["lr"] = 0.1 * base
            elif self.schedule == "cosine_epoch":
                group["lr"] = cosine_schedule(
                    epoch, base, max_epochs=self.max_epochs, warmup_epochs=int(self.warmup_epochs)
                )
            else:
                group["lr"] = step_schedule(
                    min(time_in_epochs / max(self.max_epochs, 1), 1.0),
                    base,
                    warmup=self.warmup_epochs / max(self.max_epochs, 1),
                )
        return self.optimizer.param_groups[-1]["lr"]
