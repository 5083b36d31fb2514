"""An estimator whose network is trained by a TrainingRun: what all of them share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from pointinteract.base import CloudEstimatorMixin, Clouds, TorchEstimatorMixin, pick_device
from pointinteract.training.callbacks import CallbackSupportMixin, FitProgress, with_callbacks
from pointinteract.training.checkpoint import TrainingCheckpoint, check_checkpoint, fingerprint
from pointinteract.training.data import check_augmentation
from pointinteract.training.early_stopping import AccuracyStopper
from pointinteract.training.history import history_frame
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, forked_seed

__all__ = ["TrainedEstimator"]


class TrainedEstimator(
    CloudEstimatorMixin,
    TorchEstimatorMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Start, epochs, record and interruption of an estimator that trains ``module_``.

    A subclass writes `fit` as a table of contents of the steps here, inside
    ``with self._undone_on_error()``. It overrides ``_settle`` (fix what the network depends on),
    ``_build_module``, ``_compute_loss`` (one batch) and ``_count_features``; it may extend
    ``_check_params``, ``_run_options`` and ``_watch``.
    """

    # Parameters that every subclass has in its constructor.
    checkpoint: Any
    max_epochs: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: float
    schedule: str
    augmentation: Any
    random_state: Any

    def _check_params(self) -> None:
        check_int("max_epochs", self.max_epochs, minimum=0)
        check_int("batch_size", self.batch_size)
        if self.n_points is not None:
            check_int("n_points", self.n_points)
        check_real("learning_rate", self.learning_rate, open_minimum=True)
        check_real("weight_decay", self.weight_decay)
        check_real("warmup_epochs", self.warmup_epochs)
        check_option("schedule", self.schedule, ("cosine", "cosine_epoch", "constant"))
        check_augmentation(self.augmentation)
        if self.checkpoint is not None:  # now, and not after hours of a first stage
            check_checkpoint(self.checkpoint)
        pick_device(self.device)

    @contextmanager
    def _undone_on_error(self) -> Iterator[None]:
        """Put all attributes back as they were if a fit fails, so that none is half done.

        An interruption of the training is no failure: what was reached is kept. Where a fit goes
        on from an earlier one, steps taken before the failure stay in its weights.
        """
        before = dict(self.__dict__)
        try:
            yield
        except BaseException as error:
            training = self.__dict__.get("_run") is not before.get("_run")
            if not (isinstance(error, KeyboardInterrupt) and training):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise

    def _start(self, clouds: Clouds, sources: Any = None) -> None:
        """Build the module and the run; nothing of an earlier fit is kept.

        `sources` is whatever else than clouds a subclass learns from, handed to its steps.
        """
        self.device_ = str(pick_device(self.device))
        self.seed_ = draw_seed(self.random_state)
        # Clouds of different sizes are brought to one for training (`store_clouds`); queries
        # then do the same, since repeated points are part of what was learned.
        self.n_points_fit_ = None
        if isinstance(clouds, list):
            largest = max(map(len, clouds))
            self.n_points_fit_ = min(largest, self._setting("n_points") or largest)
        weights = self._settle(clouds, sources)
        with forked_seed(self.seed_):
            module = self._build_module()
        if weights is not None:
            module.load_state_dict(weights, strict=False)
        self.module_ = module.to(self.device_)
        self._n_features_out = self._count_features()
        self.n_epochs_ = 0
        self._records: list[dict[str, float]] = []
        self.history_ = history_frame(self._records)
        self._run = self._make_run(self.seed_)

    def _go_on(self) -> None:
        """Make sure that there is a run with the present parameters.

        A copy or a file brings only its weights, and parameters may have been set since; then
        the optimiser starts anew where the epochs stand.
        """
        if not hasattr(self, "_run") or self._run.options != self._options():
            self._run = self._make_run(self.seed_)
            self._run.epoch = self.n_epochs_
            self._run.losses = [record["loss"] for record in self._records]

    def _make_run(self, seed: int) -> TrainingRun:
        options = self._options()
        run = TrainingRun(self.module_, seed=seed, **options)
        run.options = options
        return run

    def _options(self) -> dict[str, Any]:
        names = ("max_epochs", "batch_size", "learning_rate", "weight_decay", "warmup_epochs",
                 "schedule", "n_points", "augmentation")
        return {name: self._setting(name) for name in names} | self._run_options()

    @with_callbacks
    def _train(
        self,
        stored: Tensor,
        targets: Any,
        *,
        n_epochs: int,
        X: Any,
        y: Any,
        stopper: AccuracyStopper | None = None,
        resumable: bool = False,
    ) -> None:
        """Run epochs over stored clouds (n_clouds, P, C); X and y are for the callbacks.

        What is resumable goes on from the file ``checkpoint``, and writes it.
        """
        progress = FitProgress(self, n_epochs=n_epochs, X=X, y=y)
        generator = torch.Generator()
        last = self._run.epoch + n_epochs
        file = self._open_checkpoint(stored, targets) if resumable else None
        self._go_on_from(file, stopper)
        try:
            while self._run.epoch < last and not (stopper and stopper.wants_to_stop):
                # Of the run, not of the fit: a warm start has random numbers of its own.
                generator.manual_seed((self._run.seed + 7919 * self._run.epoch) % 2**63)
                with progress.epoch(self._run.epoch):
                    record = self._run.run_epoch(
                        stored,
                        lambda points, index: self._compute_loss(
                            points, index, targets, generator
                        ),
                        self._after_step,
                    )
                    if stopper is not None:
                        record["validation_accuracy"] = stopper.look()
                    record |= self._watch(stored, targets)
                self.n_epochs_ += 1
                # A new list, so that a fit that fails later can go back to the old one.
                self._records = [*self._records, record | {"epoch": self.n_epochs_}]
                self.history_ = history_frame(self._records)
                if file is not None:
                    done = self._run.epoch == last or bool(stopper and stopper.wants_to_stop)
                    file.write(self._training_state(stopper), last=done)
        finally:  # also after an interruption
            self.module_.eval()
            if stopper is not None:
                stopper.restore()
        progress.done()

    def _open_checkpoint(self, stored: Tensor, targets: Any) -> TrainingCheckpoint | None:
        if self.checkpoint is None:
            return None
        params = self.get_params(deep=False)
        # Where it runs and where it is written change no number; the seed is kept in the file.
        settings = {
            f"parameter {name}": fingerprint(value)
            for name, value in params.items()
            if name not in ("checkpoint", "device", "random_state")
        }
        settings |= {
            "estimator": type(self).__name__,
            "clouds": fingerprint(stored),
            "targets": fingerprint(targets),
            "epochs before": str(self.n_epochs_),
        }
        if self.random_state is not None:
            settings["seed"] = str(self._run.seed)
        return TrainingCheckpoint(self.checkpoint, settings)

    def _training_state(self, stopper: AccuracyStopper | None) -> dict[str, Any]:
        return {
            "module": self.module_.state_dict(),
            "run": self._run.state(),
            "seed": self.seed_,
            "records": self._records,
            "n_epochs": self.n_epochs_,
            "stopper": None if stopper is None else stopper.state(),
        }

    def _go_on_from(
        self, file: TrainingCheckpoint | None, stopper: AccuracyStopper | None
    ) -> None:
        """Put everything as it was when the file was written, if there is one."""
        state = None if file is None else file.read()
        if state is None:
            return
        self.module_.load_state_dict(state["module"])
        self._run.restore(state["run"])
        self.seed_, self.n_epochs_ = state["seed"], state["n_epochs"]
        self._records = state["records"]
        self.history_ = history_frame(self._records)
        if stopper is not None:
            stopper.go_on(state["stopper"])

    def _run_options(self) -> dict[str, Any]:
        """Further settings of the run that are parameters of this subclass only."""
        return {}

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        """Fix, as fitted attributes, what ``_build_module`` needs to know.

        Returns weights to start from instead of random ones, by name, or None.
        """
        raise NotImplementedError

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and parts to log of a batch (B, N, C) holding the clouds `index` (B,)."""
        raise NotImplementedError

    def _after_step(self) -> None:
        """What follows a step of the optimiser, such as moving a momentum copy.

        ``self._run.time`` is the number of epochs trained when the step began.
        """

    def _watch(self, stored: Tensor, targets: Any) -> dict[str, float]:
        """Further numbers for the record, measured on stored clouds after an epoch."""
        return {}

    def _count_features(self) -> int:
        """Columns of what ``transform`` returns."""
        raise NotImplementedError
