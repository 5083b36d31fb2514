"""The steps of a segmenter's fit: what PointSegmenter does between X, y and its network."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.metrics import allowed_parts
from pointinteract.segmentation._build import (
    check_model,
    freeze_trunk,
    make_network,
    plan_network,
)
from pointinteract.segmentation._labels import (
    check_categories,
    check_part_labels,
    encode_labels,
    parts_of_categories,
)
from pointinteract.segmentation._points import LabelsApart, score_points, split_labels
from pointinteract.training.estimator import TrainedEstimator
from pointinteract.training.pretrained import pretrained_encoder
from pointinteract.training.statistics import refresh_statistics
from pointinteract.utils._params import check_option, check_real
from pointinteract.utils._random import make_generator

__all__ = ["SegmenterSteps"]


class SegmenterSteps(TrainedEstimator):
    """Check, code, build, lose: each named step of `PointSegmenter.fit`.

    The estimator itself holds parameters, `fit` and the queries.
    """

    # Parameters of the segmenter.
    model: Any
    pretrained: Any
    model_options: dict[str, Any] | None
    category_input: Any
    frozen: bool
    head_factor: float
    max_norm: float | None
    optimizer_steps: str
    # Fitted.
    part_classes_: np.ndarray
    categories_: np.ndarray | None
    category_parts_: dict[Any, list[Any]] | None

    def _check_params(self) -> None:
        super()._check_params()
        check_model(self.model, self.model_options)
        check_option("category_input", self.category_input, ("auto", "always", "never"))
        check_option("optimizer_steps", self.optimizer_steps, ("one", "published"))
        check_real("head_factor", self.head_factor, open_minimum=True)
        if self.max_norm is not None:
            check_real("max_norm", self.max_norm, open_minimum=True)
        if not isinstance(self.frozen, (bool, np.bool_)):
            raise TypeError(f"frozen must be True or False, got {self.frozen!r}.")

    def _setting(self, name: str) -> Any:
        value = super()._setting(name)
        if name == "augmentation" and callable(value):
            return LabelsApart(value)
        return value

    def _run_options(self) -> dict[str, Any]:
        # All layers behind the trunk, by the beginning of their parameters' names.
        behind = [name for name, _ in self.module_.named_children() if name != "encoder"]
        factor = self.head_factor
        return {
            "rate_factors": () if factor == 1 else tuple((f"{name}.", factor) for name in behind),
            # The published loop takes its first step before it cuts the gradient.
            "max_norm": self.max_norm if self.optimizer_steps == "one" else None,
        }

    def _after_step(self) -> None:
        if self.optimizer_steps == "published":
            if self.max_norm is not None:
                nn.utils.clip_grad_norm_(self.module_.parameters(), self.max_norm)
            self._run.optimizer.step()

    def _check_labelled(
        self, X: Any, y: Any, categories: Any
    ) -> tuple[Clouds, list[np.ndarray], np.ndarray | None]:
        """Validate what is learned from; labels and categories come back as places."""
        clouds = self._validate_clouds(X, reset=True)
        rows = check_part_labels(y, clouds, type(self).__name__)
        self.part_classes_ = np.unique(np.concatenate(rows))
        if len(self.part_classes_) < 2:
            raise ValueError(
                "a segmenter needs points of at least 2 classes, which are parts; got one class: "
                f"{self.part_classes_.tolist()}."
            )
        self.categories_ = self.category_parts_ = kinds = None
        if categories is not None:
            named = check_categories(categories, len(clouds))
            self.categories_ = np.unique(named)
            self.category_parts_ = parts_of_categories(rows, named)
            kinds = encode_labels(named, self.categories_, "categories")
        elif self.category_input == "always":
            raise ValueError('category_input="always" needs categories, one for each cloud.')
        codes = [encode_labels(row, self.part_classes_, "y") for row in rows]
        return clouds, codes, kinds

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        encoder = None
        if self.pretrained is not None:
            encoder = pretrained_encoder(self.pretrained, clouds)
        told = self.categories_ is not None and self.category_input != "never"
        n_categories = len(self.categories_) if told and self.categories_ is not None else None
        self.architecture_, weights = plan_network(
            self.model,
            self.model_options,
            encoder,
            n_channels=self._n_channels,
            n_classes=len(self.part_classes_),
            n_categories=n_categories,
        )
        return weights

    def _build_module(self) -> nn.Module:
        network = make_network(self.architecture_, self.model)
        if self.frozen:
            freeze_trunk(network)
        return network

    def _count_features(self) -> int:
        return int(getattr(getattr(self.module_, "encoder", None), "num_features", 0))

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.frozen:  # neither do its statistics move, nor is anything dropped in it
            self.module_.encoder.eval()
        points, parts = split_labels(points)
        kinds = None if targets is None else targets[index].to(points.device)
        logits = self.module_(points, kinds)
        wanted = (*parts.shape, len(self.part_classes_))
        if logits.shape != wanted:
            raise ValueError(
                f"model must answer logits of shape {wanted}, got {tuple(logits.shape)}."
            )
        loss = F.cross_entropy(logits.flatten(0, 1), parts.flatten())
        accuracy = (logits.argmax(dim=-1) == parts).float().mean()
        return loss, {"accuracy": accuracy}

    def _refresh_statistics(self, stored: Tensor, targets: Any) -> None:
        """Let what BatchNorm remembers fit the weights that the training ended with."""
        generator = make_generator(self._run.seed, self._run.epoch)
        refresh_statistics(
            self._run,
            stored,
            lambda points, index: self._compute_loss(points, index, targets, generator),
        )

    def _score_points(self, X: Any, categories: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Logits (n_points_i, n_parts) of every cloud, and which parts it may have (n_parts,)."""
        clouds = self._normalized(self._validate_clouds(X, reset=False))
        told = self.architecture_["n_categories"] is not None
        n_parts = len(self.part_classes_)
        allowed: Any = np.ones((len(clouds), n_parts), dtype=bool)
        kinds = None
        if categories is None and told:
            raise ValueError(
                "the network was trained to be told the category of each cloud: give categories, "
                f'some of {self._known_categories()}, or fit with category_input="never".'
            )
        if categories is not None and self.categories_ is not None:
            named = check_categories(categories, len(clouds))
            codes = encode_labels(named, self.categories_, "categories")
            kinds = codes if told else None
            allowed = allowed_parts(named, self.category_parts_ or {}, self.part_classes_)
        elif categories is not None:
            raise ValueError("fit has seen no categories, so none can be given now.")
        self.module_.eval()
        scores = score_points(
            clouds,
            kinds,
            self.module_,
            n_points=self.n_points,
            filled_to=self.n_points_fit_,
            batch_size=self.batch_size,
            device=self.device_,
        )
        return scores, list(allowed)

    def _known_categories(self) -> list[Any]:
        return [] if self.categories_ is None else self.categories_.tolist()
