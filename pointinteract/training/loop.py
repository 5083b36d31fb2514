"""One step and one epoch of training; what is trained, and on what, is told from outside."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.training.data import Augmentation, augment, draw_points, index_batches
from pointinteract.training.schedules import (
    annealed_schedule,
    cosine_schedule,
    parameter_groups,
    plateau_schedule,
    staircase_schedule,
    step_schedule,
)
from pointinteract.utils._random import forked_seed, make_generator

__all__ = ["DECAYS", "OPTIMIZERS", "SCHEDULES", "STEP_UNITS", "TrainingRun"]

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "cosine_epoch", "annealed", "staircase", "plateau", "constant")
STEP_UNITS = ("epochs", "steps", "clouds")
DECAYS = ("weights", "weights_and_norms", "all")

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
    learning_rate, weight_decay, head_factor, decay_on, rate_factors
        See :func:`parameter_groups`.
    optimizer : {"adamw", "adam", "sgd"}
        ``"adam"`` and ``"sgd"`` add the decay to the gradient, ``"adamw"`` does not.
    momentum : float
        Of SGD.
    epsilon : float
        What Adam adds to the root of the second moment.
    warmup_epochs : float
        Of the two cosines.
    schedule : {"cosine", "cosine_epoch", "annealed", "staircase", "plateau", "constant"}
        ``"cosine"`` moves at every step (:func:`step_schedule`), ``"cosine_epoch"`` by ReCon's
        published rule (:func:`cosine_schedule`), ``"annealed"`` with every epoch
        (:func:`annealed_schedule`), ``"staircase"`` down a step now and then
        (:func:`staircase_schedule`), ``"plateau"`` when the training loss stops to fall
        (:func:`plateau_schedule`).
    min_learning_rate : float
        Where the schedule ends, or goes no lower (all but ``"cosine_epoch"``).
    step_factor : float
        Of a staircase or plateau.
    step_every : float
        Length of a stair,
    step_unit : {"epochs", "steps", "clouds"}
        counted in these. Clouds are counted with repetition, as they pass.
    patience : int
        Epochs of a plateau.
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
        optimizer: str = "adamw",
        momentum: float = 0.9,
        epsilon: float = 1e-8,
        decay_on: str = "weights",
        rate_factors: Sequence[tuple[str, float]] = (),
        min_learning_rate: float = 1e-6,
        step_factor: float = 0.7,
        step_every: float = 20.0,
        step_unit: str = "epochs",
        patience: int = 10,
        max_norm: float | None = None,
        n_points: int | None = None,
        augmentation: str | tuple[str, ...] | Augmentation | None = None,
    ):
        self.module = module
        self.options: dict[str, Any] = {}  # what an estimator made the run from
        self.seed, self.max_epochs, self.batch_size = seed, max_epochs, batch_size
        self.warmup_epochs, self.schedule, self.max_norm = warmup_epochs, schedule, max_norm
        self.n_points, self.augmentation = n_points, augmentation
        self.min_learning_rate, self.step_factor = min_learning_rate, step_factor
        self.step_every, self.step_unit, self.patience = step_every, step_unit, patience
        groups = parameter_groups(
            module,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            head_factor=head_factor,
            decay_on=decay_on,
            rate_factors=rate_factors,
        )
        self.base_rates = [group["lr"] for group in groups]
        self.optimizer = _make_optimizer(optimizer, groups, momentum, epsilon)
        self.epoch = 0
        self.losses: list[float] = []  # of the epochs so far
        self.time = 0.0  # epochs and the part of the present one that is over, at each step

    def run_epoch(
        self,
        clouds: Tensor,
        compute_loss: ComputeLoss,
        after_step: Callable[[], None] | None = None,
    ) -> dict[str, float]:
        """Train once over stored clouds (n_clouds, P, C).

        Parameters
        ----------
        clouds : Tensor of shape (n_clouds, P, C)
        compute_loss : callable
            ``compute_loss(points (B, N, C), index (B,))`` gives the loss and a dictionary of
            further scalars to log. A batch may leave some out.
        after_step : callable, optional
            Called without arguments when the optimiser has moved the weights.

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
                rate = self._set_rate(i, len(batches), len(clouds))
                points = draw_points(clouds[index], self.n_points, points_stream)
                points = augment(points, self.augmentation, augment_stream).to(device)
                loss, parts = compute_loss(points, index)
                self._step(loss)
                if after_step is not None:
                    after_step()
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
        self.losses.append(means["loss"])
        return {
            "epoch": self.epoch,
            **means,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def state(self) -> dict[str, Any]:
        """What the next epoch needs to know, beside the module: see training/checkpoint.py."""
        moments = self.optimizer.state_dict()["state"]
        return {"seed": self.seed, "epoch": self.epoch, "losses": self.losses, "moments": moments}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave in an equal run; raises ValueError if that is no such."""
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["moments"], "param_groups": groups})
        self.seed, self.epoch, self.losses = state["seed"], state["epoch"], state["losses"]

    def _step(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.max_norm is not None:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.max_norm)
        self.optimizer.step()

    def _set_rate(self, i: int, n_batches: int, n_clouds: int) -> float:
        """Set the learning rates of batch `i` of an epoch; return the one of the plain group."""
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = self._rate_of(base, i, n_batches, n_clouds)
        return self.optimizer.param_groups[-1]["lr"]

    def _rate_of(self, base: float, i: int, n_batches: int, n_clouds: int) -> float:
        """Learning rate of a group of the highest rate `base`, by the schedule.

        Epochs past the end of a cosine (more partial fits than ``max_epochs``) go on at a
        tenth of the highest rate; at its end nothing would be learned any more.
        """
        max_epochs, minimum = max(self.max_epochs, 1), self.min_learning_rate
        if self.schedule == "constant":
            return base
        if self.schedule == "plateau":
            return plateau_schedule(self.losses, base, factor=self.step_factor,
                                    patience=self.patience, minimum=minimum)
        if self.schedule == "staircase":
            passed = {
                "epochs": self.epoch,
                "steps": self.epoch * n_batches + i,
                "clouds": self.epoch * n_clouds + i * self.batch_size,
            }[self.step_unit]
            return staircase_schedule(passed, base, every=self.step_every,
                                      factor=self.step_factor, minimum=minimum)
        if self.epoch >= max_epochs:
            return 0.1 * base
        if self.schedule == "annealed":
            return annealed_schedule(self.epoch, base, max_epochs=max_epochs, minimum=minimum)
        if self.schedule == "cosine_epoch":
            return cosine_schedule(self.epoch, base, max_epochs=self.max_epochs,
                                   warmup_epochs=int(self.warmup_epochs))
        return step_schedule(
            min((self.epoch + (i + 0.5) / n_batches) / max_epochs, 1.0),
            base,
            warmup=self.warmup_epochs / max_epochs,
            minimum=minimum,
        )


def _make_optimizer(
    name: str, groups: list[dict], momentum: float, epsilon: float
) -> torch.optim.Optimizer:
    # Fused: one call for all parameters, which counts for networks of many small layers.
    if name == "sgd":
        return torch.optim.SGD(groups, momentum=momentum, fused=True)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name]
    return kind(groups, betas=(0.9, 0.999), eps=epsilon, fused=True)
