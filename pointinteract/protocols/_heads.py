"""What is put on frozen features: a trained head, or the nearest class mean."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from pointinteract.base import TorchEstimatorMixin, pick_device
from pointinteract.nn.heads import ClassifierHead
from pointinteract.protocols._readout import single_thread, unit_rows
from pointinteract.training.history import history_frame
from pointinteract.training.loop import TrainingRun
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, forked_seed

__all__ = ["HEADS", "HeadClassifier", "PrototypeClassifier"]

# Hidden widths of the published heads.
HEADS: dict[str, tuple[int, ...]] = {"linear": (), "mlp3": (256, 256)}


class HeadClassifier(TorchEstimatorMixin, ClassifierMixin, BaseEstimator):
    """The head of a network, trained alone on a table of features.

    The published protocols MLP-LINEAR and MLP-3 of frozen networks, with features that stand
    still: they are computed once, and an epoch takes milliseconds.

    Parameters
    ----------
    head : {"linear", "mlp3"}, default="linear"
        One linear layer; or three, with BatchNorm and dropout 0.5 between them, which find
        more in the features and need more clouds for it.
    max_epochs : int, default=150
        Passes over the rows.
    batch_size : int, default=32
    learning_rate : float, default=1e-2
        Highest rate of AdamW. ReCon's few-shot trainings name 1e-3, which its ten-fold rate
        for heads turns into this.
    weight_decay : float, default=0.05
    warmup_epochs : float, default=10
        Epochs of rising rate; a tenth of shorter trainings at most.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
    max_norm : float or None, default=10.0
        Longest gradient allowed.
    standardize : bool, default=False
        Whether to bring every column to mean 0 and deviation 1 first. Not published, and of use
        for features of very unequal scale.
    device : str, default="cpu"
        A head is too small to gain from a GPU.
    random_state : int, RandomState instance or None, default=None

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    module_ : torch.nn.Module
        The head.
    history_ : DataFrame
        Loss and accuracy on the training batches, one row an epoch.
    mean_, scale_ : float32 arrays
        What is taken off the columns, and what they are divided by: 0 and 1 unless
        `standardize`.
    device_ : str
    n_features_in_ : int
    seed_ : int

    References
    ----------
    Qi et al., "Contrast with Reconstruct", ICML 2023 (MLP-LINEAR and MLP-3; those authors
    leave the frozen network in training mode).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from pointinteract.protocols import HeadClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = HeadClassifier(max_epochs=50, standardize=True, random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.8
    True
    """

    def __init__(
        self,
        head: str = "linear",
        *,
        max_epochs: int = 150,
        batch_size: int = 32,
        learning_rate: float = 1e-2,
        weight_decay: float = 0.05,
        warmup_epochs: float = 10,
        schedule: str = "cosine",
        max_norm: float | None = 10.0,
        standardize: bool = False,
        device: str = "cpu",
        random_state: Any = None,
    ):
        self.head = head
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.max_norm = max_norm
        self.standardize = standardize
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any):
        """Train on rows.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
        y : array of shape (n_rows,)
            Labels of any kind.

        Returns
        -------
        self : HeadClassifier
        """
        return self._fit(X, y)

    def _fit(
        self, X: Any, y: Any, watch: "Callable[[HeadClassifier], float] | None" = None
    ) -> "HeadClassifier":
        """Train; what `watch` says after every epoch goes into the history."""
        self._check_params()
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.device_ = str(pick_device(self.device))
        self.seed_ = draw_seed(self.random_state)
        self.mean_ = X.mean(axis=0) if self.standardize else np.zeros(1, np.float32)
        spread = X.std(axis=0) if self.standardize else np.ones(1, np.float32)
        self.scale_ = np.where(spread > 0, spread, 1).astype(np.float32)
        with forked_seed(self.seed_):
            self.module_ = self._build_module().to(self.device_)
        rows, targets = torch.from_numpy(self._scaled(X)), torch.from_numpy(codes)
        run = self._make_run()
        records: list[dict[str, float]] = []
        with single_thread():  # several cost more on such small matrices than they bring
            for _ in range(self.max_epochs):
                record = run.run_epoch(
                    rows, lambda features, index: self._loss(features, targets[index])
                )
                if watch is not None:
                    record["test_accuracy"] = watch(self)
                records.append(record)
        self.module_.eval()
        self.history_: pd.DataFrame = history_frame(records)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits: (n_rows, n_classes), or (n_rows,) for two classes."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of every class, (n_rows, n_classes)."""
        return torch.from_numpy(self._logits(X)).double().softmax(dim=1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """Most probable label of every row, (n_rows,)."""
        check_is_fitted(self, "module_")
        return self.classes_[self._logits(X).argmax(axis=1)]

    def _logits(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "module_")
        X = validate_data(self, X, reset=False, dtype=np.float32)
        return self._infer(self._scaled(X), self.module_)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        return ((X - self.mean_) / self.scale_).astype(np.float32)

    def _loss(self, features: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = self.module_(features)
        target = target.to(logits.device)
        right = (logits.argmax(1) == target).float().mean()
        return nn.functional.cross_entropy(logits, target), {"accuracy": right}

    def _build_module(self) -> nn.Module:
        hidden = HEADS[self.head]
        return ClassifierHead(
            self.n_features_in_, hidden, len(self.classes_), dropout=[0.5] * len(hidden)
        )

    def _make_run(self) -> TrainingRun:
        return TrainingRun(
            self.module_,
            seed=self.seed_,
            max_epochs=self.max_epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_epochs=min(self.warmup_epochs, self.max_epochs / 10),
            schedule=self.schedule,
            max_norm=self.max_norm,
        )

    def _check_params(self) -> None:
        check_option("head", self.head, tuple(HEADS))
        check_int("max_epochs", self.max_epochs)
        check_int("batch_size", self.batch_size, minimum=2)  # BatchNorm cannot train on one
        check_real("learning_rate", self.learning_rate, open_minimum=True)
        check_real("weight_decay", self.weight_decay)
        check_real("warmup_epochs", self.warmup_epochs)
        check_option("schedule", self.schedule, ("cosine", "cosine_epoch", "constant"))
        if self.max_norm is not None:
            check_real("max_norm", self.max_norm, open_minimum=True)


class PrototypeClassifier(ClassifierMixin, BaseEstimator):
    """The class whose mean is nearest: nothing is trained.

    Parameters
    ----------
    metric : {"cosine", "euclidean"}, default="cosine"
        ``"cosine"`` brings rows to length 1 before their mean is taken and compared, so that
        only directions count.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    prototypes_ : array of shape (n_classes, n_features)
        Means of the classes.
    n_features_in_ : int

    References
    ----------
    Snell, Swersky, Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.

    Examples
    --------
    >>> from pointinteract.protocols import PrototypeClassifier
    >>> model = PrototypeClassifier().fit([[1.0, 0.0], [0.0, 2.0]], ["flat", "steep"])
    >>> model.predict([[3.0, 1.0]]).tolist()
    ['flat']
    """

    def __init__(self, metric: str = "cosine"):
        self.metric = metric

    def fit(self, X: Any, y: Any):
        """Take the mean of every class.

        Parameters
        ----------
        X : array of shape (n_rows, n_features)
        y : array of shape (n_rows,)

        Returns
        -------
        self : PrototypeClassifier
        """
        check_option("metric", self.metric, ("cosine", "euclidean"))
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        rows = self._rows(X)
        self.prototypes_ = np.stack(
            [rows[codes == code].mean(axis=0) for code in range(len(self.classes_))]
        )
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Cosine to every prototype, or minus the squared distance; higher is nearer.

        Of shape (n_rows, n_classes), or (n_rows,), a difference, for two classes.
        """
        check_is_fitted(self)
        scores = self._scores(validate_data(self, X, reset=False, dtype=np.float64))
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Label of the nearest prototype, (n_rows,)."""
        check_is_fitted(self)
        scores = self._scores(validate_data(self, X, reset=False, dtype=np.float64))
        return self.classes_[scores.argmax(axis=1)]

    def _scores(self, X: np.ndarray) -> np.ndarray:
        rows = self._rows(X)
        if self.metric == "cosine":
            return np.einsum("rf,cf->rc", rows, unit_rows(self.prototypes_))
        return -cdist(rows, self.prototypes_, "sqeuclidean")

    def _rows(self, X: np.ndarray) -> np.ndarray:
        return unit_rows(X) if self.metric == "cosine" else X
