"""Stop when the accuracy on clouds held back no longer rises, and return to the best weights."""

from typing import Any

import numpy as np
from torch import Tensor

from pointinteract.base import Clouds

__all__ = ["AccuracyStopper"]


class AccuracyStopper:
    """Watches the accuracy on clouds held back, and keeps the best weights."""

    def __init__(self, classifier: Any, clouds: Clouds, codes: np.ndarray):
        self.classifier, self.clouds, self.codes = classifier, clouds, codes
        self.best, self.reference, self.n_waited = -np.inf, -np.inf, 0
        self.weights: dict[str, Tensor] = {}

    def look(self) -> float:
        """Accuracy now; remembers the weights if it is the best so far."""
        owner = self.classifier
        logits = owner._infer(self.clouds, owner.module_)
        accuracy = float((logits.argmax(1) == self.codes).mean())
        if accuracy > self.best:
            self.best = accuracy
            owner.best_epoch_ = owner.n_epochs_ + 1
            self.weights = {
                name: value.clone() for name, value in owner.module_.state_dict().items()
            }
        if accuracy > self.reference + owner.tol:
            self.reference, self.n_waited = accuracy, 0
        else:
            self.n_waited += 1
        return accuracy

    @property
    def wants_to_stop(self) -> bool:
        return self.n_waited >= self.classifier.n_iter_no_change

    def state(self) -> dict[str, Any]:
        """What further looks need to know."""
        return {
            "best": float(self.best),
            "reference": float(self.reference),
            "n_waited": self.n_waited,
            "best_epoch": getattr(self.classifier, "best_epoch_", None),
            "weights": self.weights,
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up from what `state` gave."""
        self.best, self.reference = state["best"], state["reference"]
        self.n_waited, self.weights = state["n_waited"], state["weights"]
        if state["best_epoch"] is not None:
            self.classifier.best_epoch_ = state["best_epoch"]

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights:
            self.classifier.module_.load_state_dict(self.weights)
