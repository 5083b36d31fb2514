"""The skeleton of a pre-training estimator; a method fills in its targets and its loss."""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds, CloudEstimatorMixin, TorchEstimatorMixin, pick_device
from pointinteract.training.callbacks import CallbackSupportMixin, FitProgress, with_callbacks
from pointinteract.training.data import check_augmentation, store_clouds
from pointinteract.training.history import history_frame
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, forked_seed

__all__ = ["CloudPretrainer"]


class CloudPretrainer(
    CloudEstimatorMixin,
    TorchEstimatorMixin,
    CallbackSupportMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    """Fit without labels, transform to one feature vector a cloud.

    A method overrides ``_build_module`` (the untrained network, from fitted attributes),
    ``_make_targets`` (whatever the loss compares with, once a fit), ``_compute_loss`` (one
    batch) and ``_features`` (points to the vector that ``transform`` returns); it may extend
    ``_check_params``.
    """

    def _fit(self, X: Any, y: Any, sources: dict[str, Any]) -> "CloudPretrainer":
        """Train from the start; `sources` are further inputs aligned with X."""
        self._check_params()
        clouds = self._normalized(self._validate_clouds(X, reset=True))
        self._start(clouds, sources)
        stored = store_clouds(clouds, self.n_points)
        targets = self._make_targets(clouds, sources)
        self._train(stored, targets, n_epochs=self.max_epochs, X=X, y=y)
        return self

    def _partial_fit(self, X: Any, y: Any, sources: dict[str, Any]) -> "CloudPretrainer":
        """Train one more epoch on X, starting afresh only if never fitted."""
        self._check_params()
        started = hasattr(self, "module_")
        clouds = self._normalized(self._validate_clouds(X, reset=not started))
        if not started:
            self._start(clouds, sources)
        elif not hasattr(self, "_run"):
            self._run = self._make_run(self.module_, self.seed_)
            self._run.epoch = self.n_epochs_
        stored = store_clouds(clouds, self.n_points)
        targets = self._make_targets(clouds, sources)
        self._train(stored, targets, n_epochs=1, X=X, y=y)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Features of clouds for a linear model.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        features : float32 array of shape (n_clouds, n_features_out)
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        return self._infer(clouds, self._features)

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

    def _start(self, clouds: Clouds, sources: dict[str, Any]) -> None:
        """Build the module and the run; nothing of an earlier fit is kept."""
        self.device_ = str(pick_device(self.device))
        self.seed_ = draw_seed(self.random_state)
        self._forget()
        self._settle_architecture(clouds, sources)
        with forked_seed(self.seed_):
            module = self._build_module()
        self.module_ = module.to(self.device_)
        self._n_features_out = self._count_features()
        self.n_epochs_ = 0
        self._records: list[dict[str, float]] = []
        self.history_ = history_frame(self._records)
        self._run = self._make_run(self.module_, self.seed_)

    def _make_run(self, module: nn.Module, seed: int) -> TrainingRun:
        return TrainingRun(
            module,
            seed=seed,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=self.warmup_epochs,
            schedule=self.schedule,
            n_points=self.n_points,
            augmentation=self.augmentation,
        )

    @with_callbacks
    def _train(self, stored: Tensor, targets: Any, *, n_epochs: int, X: Any, y: Any) -> None:
        """Run epochs. An interruption leaves the estimator fitted with what was reached."""
        progress = FitProgress(self, n_epochs=n_epochs, X=X, y=y)
        generator = torch.Generator()
        for _ in range(n_epochs):
            generator.manual_seed((self.seed_ + 7919 * self._run.epoch) % 2**63)
            with progress.epoch(self._run.epoch):
                record = self._run.run_epoch(
                    stored,
                    lambda points, index: self._compute_loss(points, index, targets, generator),
                )
            self._records.append(record)
            self.n_epochs_ = self._run.epoch
            self.history_ = history_frame(self._records)
        progress.done()

    def _forget(self) -> None:
        """Drop what a method keeps of an earlier fit."""

    def _settle_architecture(self, clouds: Clouds, sources: dict[str, Any]) -> None:
        """Fix, as fitted attributes, what ``_build_module`` needs to know of the data."""
        raise NotImplementedError

    def _build_module(self) -> nn.Module:
        raise NotImplementedError

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        raise NotImplementedError

    def _features(self, points: Tensor) -> Tensor:
        raise NotImplementedError

    def _count_features(self) -> int:
        raise NotImplementedError
