"""Anything that scores clouds, brought to one form: a batch of clouds in, logits out.

A new kind of model is one class here with `evaluate` and `session`.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.pipeline import Pipeline
from torch import Tensor, nn

from pointinteract.explanation._precision import computing_in
from pointinteract.explanation._scores import NEED_LOGITS, logits_of_probabilities
from pointinteract.nn.structure import structures_of
from pointinteract.utils._params import check_option

# Measured: activations of 32 clouds of 1,024 points still fit the cache of a CPU, and twice as
# many do not; a GPU wants to be filled; functions of arrays cost more by the call.
CPU_POINTS = 32 * 1024
GPU_POINTS = 1024 * 1024
FUNCTION_BATCH_SIZE = 256
OUTPUTS = ("auto", "logits", "probabilities")
# Methods that answer raw logits (n_clouds, n_classes); the first one found is used.
LOGIT_METHODS = ("predict_logits", "logits")


class CloudModel:
    """A model as the explainer sees it.

    Attributes
    ----------
    name : str
        For titles and files.
    classes : ndarray or None
        Label of each output column, where the model says so.
    device : torch.device
        Where masked clouds are made.
    dtype : torch.dtype or None
        What clouds are cast to; None leaves them as they came.
    module : Module or None
        The network, where there is one.
    structures : tuple
        What the network says about itself, see :mod:`pointinteract.nn.structure`.
    precision : str
        What networks compute in.
    n_clipped : int
        Masked clouds whose probabilities were raised to the floor so far.
    """

    classes: np.ndarray | None = None
    device = torch.device("cpu")
    dtype: torch.dtype | None = None
    module: nn.Module | None = None
    structures: tuple[Any, ...] = ()
    precision = "float32"
    is_probability = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.n_clipped = 0

    def batch_size(self, n_points: int) -> int:
        """Clouds of so many points per call, unless the user says otherwise."""
        return FUNCTION_BATCH_SIZE

    def evaluate(self, points: Tensor) -> np.ndarray:
        """Answer logits (S, K), or plain values (S,), in float64 for clouds (S, N, C)."""
        raise NotImplementedError

    def read(self, answer: Any, n_clouds: int) -> np.ndarray:
        """Turn what the model, or the last layer of its network, gave into answers."""
        raise NotImplementedError

    def prepare(self, clouds: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        """Do, once and before masking, what the model does to clouds first."""
        return clouds

    def session(self) -> AbstractContextManager[Any]:
        """Return a context to evaluate in."""
        return nullcontext()


class TorchModel(CloudModel):
    """A module that maps (B, N, C) to logits (B, K); in eval mode, without gradients."""

    module: nn.Module

    def __init__(
        self,
        module: nn.Module,
        output: str = "auto",
        device: str | None = None,
        *,
        structure: Any = None,
        precision: str = "float32",
    ) -> None:
        super().__init__(type(module).__name__)
        weights = [*module.parameters(), *module.buffers()]
        self.device = weights[0].device if weights else torch.device(device or "cpu")
        self.module = module
        if device is not None and torch.device(device) != self.device:
            if structure is not None:
                raise ValueError(
                    f"the functions in structure belong to the network itself, on {self.device}, "
                    f"and device={device!r} works on a copy of it; move the network, make the "
                    "structure of the moved one, and leave device out."
                )
            # Moving a module moves it for its owner too; a copy leaves the owner's in place.
            self.module = copy.deepcopy(module).to(device)
            weights = [*self.module.parameters(), *self.module.buffers()]
            self.device = weights[0].device if weights else torch.device(device)
        floating = [weight.dtype for weight in weights if weight.is_floating_point()]
        self.dtype = floating[0] if floating else torch.float32
        self.is_probability = output == "probabilities"
        self.precision = precision
        with self.session():
            self.structures = structures_of(self.module, structure)

    def batch_size(self, n_points: int) -> int:
        return batch_size_for(self.device, n_points)

    def evaluate(self, points: Tensor) -> np.ndarray:
        return self.read(self.module(points), len(points))

    def read(self, answer: Any, n_clouds: int) -> np.ndarray:
        if isinstance(answer, tuple | list):
            # Published networks often return (logits, something for their loss).
            answer = answer[0]
        if not isinstance(answer, Tensor):
            raise TypeError(
                f"{self.name} must return a tensor of logits, got {type(answer).__name__}."
            )
        return _as_logits(self, answer.detach().cpu().double().numpy(), n_clouds)

    @contextmanager
    def session(self) -> Iterator[None]:
        # Flag by flag: a user may have frozen only some of the layers.
        training = [module for module in self.module.modules() if module.training]
        if training:
            self.module.eval()
        try:
            with torch.no_grad(), computing_in(self.precision, self.device):
                yield
        finally:
            for module in training:
                module.training = True


class PreparedModel(TorchModel):
    """The network of an estimator that tells its preparation of clouds apart from it.

    An estimator whose ``predict_logits`` does more than run its network is asked itself.
    """

    def __init__(
        self, estimator: Any, prepare: Callable[[Any], Sequence[np.ndarray]], **options: Any
    ) -> None:
        super().__init__(estimator.module_, **options)
        self.name = type(estimator).__name__
        self.classes = np.asarray(estimator.classes_)
        self._prepare = prepare
        self._ask = getattr(estimator, "predict_logits", None)
        self._asks_estimator = False

    def prepare(self, clouds: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        prepared = _prepared(self._prepare, clouds)
        if self._ask is not None:
            first = prepared[0][None]
            with self.session():
                ours = self.evaluate(torch.tensor(first, dtype=self.dtype, device=self.device))
            theirs = np.asarray(self._ask(first, prepared=True), dtype=np.float64)
            tolerance = 1e-3 if self.precision == "float32" else 0.1
            close = tolerance * max(1.0, float(np.abs(theirs).max()))
            if theirs.shape != ours.shape or np.abs(ours - theirs).max() > close:
                self._asks_estimator, self.structures = True, ()
        return prepared

    def evaluate(self, points: Tensor) -> np.ndarray:
        if not self._asks_estimator:
            return super().evaluate(points)
        assert self._ask is not None
        answer = np.asarray(self._ask(points.cpu().numpy(), prepared=True), dtype=np.float64)
        return _as_logits(self, answer, len(points))


class NumpyModel(CloudModel):
    """A function of arrays (S, N, C): a method of an estimator, or any callable."""

    def __init__(
        self,
        name: str,
        function: Callable[[np.ndarray], np.ndarray],
        *,
        classes: np.ndarray | None = None,
        is_probability: bool = False,
        is_binary_margin: bool = False,
        prepare: Callable[[Any], Sequence[np.ndarray]] | None = None,
    ) -> None:
        super().__init__(name)
        self._prepare = prepare
        self.function = function
        self.classes = classes
        self.is_probability = is_probability
        self.is_binary_margin = is_binary_margin

    def prepare(self, clouds: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        return clouds if self._prepare is None else _prepared(self._prepare, clouds)

    def evaluate(self, points: Tensor) -> np.ndarray:
        return self.read(self.function(points.numpy()), len(points))

    def read(self, answer: Any, n_clouds: int) -> np.ndarray:
        if isinstance(answer, Tensor):
            answer = answer.detach().cpu().numpy()
        answer = np.asarray(answer, dtype=np.float64)
        if self.is_binary_margin and answer.ndim == 1:
            answer = np.stack([-answer / 2, answer / 2], axis=1)
        return _as_logits(self, answer, n_clouds)


def as_cloud_model(
    model: Any,
    *,
    score: Any = "log_odds",
    output: str = "auto",
    device: str | None = None,
    structure: Any = None,
    precision: str = "float32",
) -> CloudModel:
    """Bring a module, an estimator or a callable to a :class:`CloudModel`.

    `device`, `structure` and `precision` are for networks: those of modules, and of estimators
    that give theirs away.
    """
    check_option("output", output, OUTPUTS)
    options = {"device": device, "structure": structure, "precision": precision}
    # A search is explained by what it found.
    model = getattr(model, "best_estimator_", model)
    if isinstance(model, type):
        raise TypeError(f"model must be an instance, got the class {model.__name__} itself.")
    if isinstance(model, nn.Module):
        adapted: CloudModel = TorchModel(model, output, **options)
        is_probability = output == "probabilities"
    elif any(hasattr(model, name) for name in ("predict_proba", "decision_function")):
        adapted = _estimator_model(model, score, output, options)
        is_probability = adapted.is_probability
    elif callable(model):
        name = getattr(model, "__name__", type(model).__name__)
        is_probability = output == "probabilities"
        adapted = NumpyModel(name, model, is_probability=is_probability)
    else:
        raise TypeError(
            "model must be a torch module, an estimator with predict_proba or "
            "decision_function, or a callable that scores clouds (n_clouds, n_points, 3); got "
            f"{type(model).__name__}."
        )
    if adapted.module is None and (structure is not None or precision != "float32"):
        raise ValueError(
            "structure and precision are for torch modules, and for estimators with "
            f"prepare_clouds and module_; got a {adapted.name}."
        )
    if is_probability and isinstance(score, str) and score in NEED_LOGITS:
        raise ValueError(
            f"score={score!r} needs logits, and {adapted.name} gives probabilities; use "
            "'log_odds' or 'log_probability'."
        )
    return adapted


def _estimator_model(model: Any, score: Any, output: str, options: dict[str, Any]) -> CloudModel:
    classes = getattr(model, "classes_", None)
    if classes is not None:
        classes = np.asarray(classes)
    wants_logits = output == "logits" or (isinstance(score, str) and score in NEED_LOGITS)
    if output != "probabilities":
        steps, last = _split_pipeline(model)
        if callable(getattr(last, "prepare_clouds", None)):
            return _preparing_model(steps, last, options)
    direct = [name for name in LOGIT_METHODS if callable(getattr(model, name, None))]
    if direct and output != "probabilities":
        method = direct[0]
    elif hasattr(model, "predict_proba") and not (
        output != "probabilities" and wants_logits and hasattr(model, "decision_function")
    ):
        method = "predict_proba"
    else:
        method = "decision_function"
    name = type(model).__name__
    if output == "logits" and method == "predict_proba":
        raise ValueError(f"output='logits', but {name} has no decision_function.")
    if output == "probabilities" and method != "predict_proba":
        raise ValueError(f"output='probabilities', but {name} has no predict_proba.")
    return NumpyModel(
        name,
        getattr(model, method),
        classes=classes,
        is_probability=method == "predict_proba",
        is_binary_margin=method == "decision_function",
    )


def _split_pipeline(model: Any) -> tuple[Any, Any]:
    """Return the steps before the last, or None if there are none, and the last."""
    if isinstance(model, Pipeline):
        return (model[:-1] if len(model) > 1 else None), model[-1]
    return None, model


def _preparing_model(steps: Any, last: Any, options: dict[str, Any]) -> CloudModel:
    """A classifier that tells its preparation of clouds apart from its network."""

    def prepare(clouds: Any) -> Sequence[np.ndarray]:
        return last.prepare_clouds(clouds if steps is None else steps.transform(clouds))

    if isinstance(getattr(last, "module_", None), nn.Module) and hasattr(last, "classes_"):
        return PreparedModel(last, prepare, **options)
    return NumpyModel(
        type(last).__name__,
        partial(last.predict_logits, prepared=True),
        classes=np.asarray(last.classes_),
        prepare=prepare,
    )


def _prepared(
    prepare: Callable[[Any], Sequence[np.ndarray]], clouds: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, ...]:
    same_length = len({len(cloud) for cloud in clouds}) == 1
    prepared = prepare(np.stack(clouds) if same_length else list(clouds))
    return tuple(np.asarray(cloud) for cloud in prepared)


def batch_size_for(device: torch.device, n_points: int) -> int:
    """Clouds of so many points per call of a network on a device: a power of two."""
    wanted = (CPU_POINTS if device.type == "cpu" else GPU_POINTS) // max(1, n_points)
    return max(1, min(1024, 1 << max(0, wanted.bit_length() - 1)))


def _as_logits(model: Any, answer: np.ndarray, n_clouds: int) -> np.ndarray:
    if answer.ndim == 2 and answer.shape[1] == 1:
        answer = answer[:, 0]
    if answer.ndim not in (1, 2) or len(answer) != n_clouds:
        raise ValueError(
            f"{model.name} must answer ({n_clouds}, n_classes) logits, or ({n_clouds},) values, "
            f"to {n_clouds} clouds; got shape {answer.shape}. Networks that want channels "
            "first can be wrapped: lambda points: network(points.transpose(1, 2))."
        )
    bad = ~np.isfinite(answer)
    if bad.any():
        n_bad = int(bad.reshape(n_clouds, -1).any(axis=1).sum())
        raise ValueError(
            f"{model.name} answered NaN or infinity to {n_bad} of {n_clouds} masked clouds. A "
            "usual cause is a step that scales clouds to unit size: a fully masked cloud has "
            "size zero. Scale before explaining, not inside the model."
        )
    if answer.ndim == 1 and model.is_probability:
        # One probability: that of the second of two classes.
        answer = np.stack([1.0 - answer, answer], axis=1)
    if answer.ndim == 2 and model.is_probability:
        answer, n_clipped = logits_of_probabilities(answer)
        model.n_clipped += n_clipped
    return answer
