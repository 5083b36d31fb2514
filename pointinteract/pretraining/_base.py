"""The skeleton of a pre-training estimator; a method fills in its targets and its loss."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.training.data import store_clouds
from pointinteract.training.estimator import TrainedEstimator

__all__ = ["CloudPretrainer"]


class CloudPretrainer(TrainedEstimator):
    """Fit without labels, transform to one feature vector a cloud.

    A method overrides ``_settle`` and ``_build_module`` (the untrained network, from fitted
    attributes), ``_compute_loss`` (one batch), ``_features`` (points to the vector that
    ``transform`` returns) and ``_count_features``; ``_make_targets`` if the loss compares with
    more than the clouds; ``fit`` and ``partial_fit`` if it takes more than clouds. It may extend
    ``_check_params`` and ``_check_lesson``, and shows what it learned by ``_show``.
    """

    def fit(self, X: Any, y: Any = None):
        """Pre-train on clouds.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : ignored
            Labels are never looked at; here for pipelines.

        Returns
        -------
        self : estimator
        """
        return self._fit(X, y, {})

    def partial_fit(self, X: Any, y: Any = None):
        """Pre-train for one more epoch on clouds; parameters as in `fit`."""
        return self._partial_fit(X, y, {})

    def _fit(self, X: Any, y: Any, sources: dict[str, Any]) -> "CloudPretrainer":
        """Train from the start, or from the weights reached if there is a ``warm_start``.

        `sources` are further inputs aligned with X.
        """
        self._check_params()
        with self._undone_on_error():
            going_on = getattr(self, "warm_start", False) and hasattr(self, "module_")
            if going_on:
                self._check_same_route()
            clouds = self._normalized(self._validate_clouds(X, reset=not going_on))
            if going_on:  # the schedule begins anew, with random numbers of its own
                self._run = self._make_run(self.seed_ + self.n_epochs_)
            else:
                self._start(clouds, sources)
            stored = store_clouds(clouds, self.n_points)
            self._check_lesson(stored)
            targets = self._make_targets(clouds, sources)
            self._train(
                stored, targets, n_epochs=self.max_epochs, X=X, y=y, resumable=True
            )
        return self

    def _partial_fit(self, X: Any, y: Any, sources: dict[str, Any]) -> "CloudPretrainer":
        """Train one more epoch on X, starting afresh only if never fitted."""
        self._check_params()
        with self._undone_on_error():
            started = hasattr(self, "module_")
            clouds = self._normalized(self._validate_clouds(X, reset=not started))
            if started:
                self._go_on()
            else:
                self._start(clouds, sources)
            stored = store_clouds(clouds, self.n_points)
            self._check_lesson(stored)
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

    def _show(
        self, X: Any, names: Sequence[str], look: Callable[[Bunch, Tensor], None]
    ) -> Bunch:
        """Look at clouds one by one, as queries do.

        ``look(result, points)`` adds what a cloud (1, N, C) shows to the lists `names`.
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        result = Bunch(**{name: [] for name in names})
        self.module_.eval()
        with torch.inference_mode():
            for cloud in clouds:
                look(result, torch.from_numpy(cloud)[None].to(self.device_))
        return result

    def _check_same_route(self) -> None:
        """Raise if parameters ask for another network than the one a warm start goes on with."""

    def _check_lesson(self, stored: Tensor) -> None:
        """Warn if nothing can be learned from these clouds (n_clouds, P, C)."""

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> Any:
        """Nothing is compared with but the clouds themselves, unless a method says otherwise."""

    def _features(self, points: Tensor) -> Tensor:
        raise NotImplementedError
