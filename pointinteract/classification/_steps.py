"""The steps of a classifier's fit: what PointClassifier does between X, y and its network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.classification._build import (
    DEFAULT_MODEL,
    PROTOCOLS,
    describe_architecture,
    make_network,
    pretrained_encoder,
)
from pointinteract.classification._labels import (
    check_labels,
    encode_labels,
    find_classes,
    hold_back,
    weigh_classes,
)
from pointinteract.classification._recipe import SHARED_SETTINGS, Recipe
from pointinteract.classification._recipes import effective_recipe
from pointinteract.classification._votes import pick_clouds
from pointinteract.exceptions import CloudError
from pointinteract.losses import smoothed_cross_entropy
from pointinteract.losses.interaction import find_interaction_loss
from pointinteract.ops import thin_clouds
from pointinteract.training.early_stopping import AccuracyStopper
from pointinteract.training.estimator import TrainedEstimator
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import make_generator

__all__ = ["ClassifierSteps"]

# Clouds on which an interaction loss is watched, and their stream of random numbers.
_N_WATCHED, _WATCHED = 20, 102
# What the run of a training takes from a recipe, besides what every estimator has.
_RUN_SETTINGS = (
    "head_factor", "max_norm", "optimizer", "momentum", "epsilon", "decay_on", "rate_factors",
    "min_learning_rate", "step_factor", "step_every", "step_unit", "patience",
)  # fmt: skip


class ClassifierSteps(TrainedEstimator):
    """Check, code, build, weigh, lose: each named step of `PointClassifier.fit`.

    The estimator itself holds parameters, `fit` and the queries.
    """

    # Parameters of the classifier.
    model: Any
    pretrained: Any
    recipe: Any
    protocol: str
    head_factor: float
    max_norm: float | None
    label_smoothing: float
    class_weight: Any
    interaction_loss: Any
    early_stopping: bool
    validation_fraction: float
    # Fitted.
    classes_: np.ndarray
    recipe_: Recipe

    def _check_params(self) -> None:
        super()._check_params()
        check_option("protocol", self.protocol, PROTOCOLS)
        if self.model is not None and self.pretrained is not None:
            raise ValueError(
                "give model or pretrained, not both: a pretrained network brings its own "
                f"architecture. Got model={self.model!r}."
            )
        for name in ("max_epochs", "n_votes", "n_iter_no_change"):
            check_int(name, getattr(self, name))
        if self.max_norm is not None:
            check_real("max_norm", self.max_norm, open_minimum=True)
        check_real("head_factor", self.head_factor, open_minimum=True)
        check_real("label_smoothing", self.label_smoothing, maximum=1.0, open_maximum=True)
        check_real("validation_fraction", self.validation_fraction, maximum=1.0,
                   open_minimum=True, open_maximum=True)
        check_real("tol", self.tol)
        find_interaction_loss(self.interaction_loss)
        self._recipe().check()

    def _recipe(self) -> Recipe:
        """What the present parameters, and the recipe among them, come to."""
        return effective_recipe(self, DEFAULT_MODEL)

    def _setting(self, name: str) -> Any:
        return getattr(self._recipe() if name in SHARED_SETTINGS else self, name)

    def _go_on(self) -> None:
        self.recipe_ = self._recipe()  # a part of it, as of the loss, is none of the run's
        super()._go_on()

    def _make_run(self, seed: int) -> TrainingRun:
        self.recipe_ = self._recipe()
        return super()._make_run(seed)

    def _check_labelled(
        self, X: Any, y: Any, *, reset: bool, classes: Any = None
    ) -> tuple[Clouds, np.ndarray]:
        """Validate clouds and labels; returns labels as places in ``classes_``."""
        clouds = self._validate_clouds(X, reset=reset)
        y = check_labels(y, clouds, type(self).__name__)
        if reset:
            self.classes_ = find_classes(y if classes is None else classes)
        return clouds, encode_labels(y, self.classes_)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        encoder = None
        if self.pretrained is not None:
            encoder = pretrained_encoder(self.pretrained, clouds)
            if encoder.config["n_channels"] != self._n_channels:
                raise ValueError(
                    f"the pretrained network reads {encoder.config['n_channels']} channels a "
                    f"point, and X has {self._n_channels}."
                )
        model = DEFAULT_MODEL if self.model is None else self.model
        self.architecture_ = describe_architecture(model, encoder)
        self.architecture_["protocol"] = self.protocol
        self._fitted_route = self._route()
        if encoder is None:
            return None
        return {name: value for name, value in encoder.state_dict().items()
                if not name.startswith("head.")}

    def _build_module(self) -> nn.Module:
        return make_network(
            self.architecture_,
            self.model,
            n_channels=self._n_channels,
            n_classes=len(self.classes_),
            protocol=self.architecture_["protocol"],
        )

    def _route(self) -> tuple[str, ...]:
        """What decides on the network, in a form that survives saving."""
        return (self.protocol, str(self.model), str(self.pretrained))

    def _count_features(self) -> int:
        return int(getattr(self.module_, "num_features", 0))

    def _run_options(self) -> dict[str, Any]:
        recipe = self._recipe()
        return {name: getattr(recipe, name) for name in _RUN_SETTINGS}

    def _hold_back(
        self, clouds: Clouds, codes: np.ndarray
    ) -> tuple[Clouds, np.ndarray, AccuracyStopper | None]:
        """Take the clouds away that decide when to stop, if any are to."""
        if not self.early_stopping:
            return clouds, codes, None
        kept, held = hold_back(codes, self.validation_fraction, self.seed_)
        stopper = AccuracyStopper(self, self._prepare(pick_clouds(clouds, held)), codes[held])
        return pick_clouds(clouds, kept), codes[kept], stopper

    def _make_targets(self, codes: np.ndarray) -> tuple[Tensor, Tensor | None]:
        weights = weigh_classes(self.class_weight, self.classes_, codes)
        return torch.from_numpy(codes), weights

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        codes, weight = targets
        target = codes[index].to(points.device)
        logits = self.module_(points)
        if logits.shape != (len(points), len(self.classes_)):
            raise ValueError(
                f"model must answer logits of shape ({len(points)}, {len(self.classes_)}), got "
                f"{tuple(logits.shape)}."
            )
        smoothing = self.recipe_.label_smoothing
        if self.recipe_.smoothing_over == "all":  # the true class gets its e / C back
            smoothing *= 1 - 1 / len(self.classes_)
        loss = smoothed_cross_entropy(logits, target, smoothing=smoothing, weight=weight)
        parts = {"accuracy": (logits.argmax(1) == target).float().mean()}
        if self.interaction_loss is not None:
            parts["cross_entropy"] = loss.detach()
        # Before any other pass through the network: it is of the last one.
        if hasattr(self.module_, "auxiliary_loss"):
            loss = loss + self.module_.auxiliary_loss()
        if self.interaction_loss is not None:
            added, logged = self._interaction(points, target, logits, generator)
            loss, parts = loss + added, parts | logged
        return loss, parts

    def _interaction(
        self, points: Tensor, target: Tensor, logits: Tensor, generator: torch.Generator
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        """What the interaction loss adds to that of a batch, and what it logs."""
        setting = find_interaction_loss(self.interaction_loss)
        if setting is None or self._run.time < setting.warmup_epochs(self.recipe_.max_epochs):
            return 0.0, {}
        try:
            return setting(self.module_, points, target, logits, generator)
        except CloudError as error:
            raise CloudError(
                "interaction_loss cuts every cloud that the network gets into regions, and one "
                f"of a batch has too few points for that (n_regions, or an augmentation that "
                f"drops points): {error}"
            ) from error

    def _watch(self, stored: Tensor, targets: Any) -> dict[str, float]:
        setting = find_interaction_loss(self.interaction_loss)
        every = None if setting is None else setting.monitor_every
        if setting is None or every is None or self._run.epoch % every:
            return {}
        generator = make_generator(self.seed_, _WATCHED)
        chosen = torch.randperm(len(stored), generator=generator)[:_N_WATCHED]
        points = stored[chosen]
        if self.recipe_.n_points is not None:
            points = thin_clouds(points, min(self.recipe_.n_points, points.shape[1]))
        codes, _ = targets
        return setting.monitor(
            self.module_, points.to(self.device_), codes[chosen].to(self.device_)
        )
