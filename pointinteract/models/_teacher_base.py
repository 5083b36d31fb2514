"""What a teacher of cross-modal pre-training is, and the three that users bring themselves.

Recipe: a teacher says what it looks at (`takes`), may look at all training data once without
labels (`fit`), and turns a list of n things into n vectors (`encode`). It never changes after.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = ["ArrayTeacher", "CallableTeacher", "ModuleTeacher", "Teacher", "as_pictures"]


class Teacher:
    """A frozen encoder of pictures, texts or clouds: derive from it and write `encode`.

    Attributes
    ----------
    takes : {"images", "texts", "clouds", "ready"}
        What `encode` expects. Images are pictures as `as_pictures` reads them, texts are
        strings, clouds are (n_clouds, n_points, 3) or a list of (n_i, 3). A teacher of ready
        features looks at nothing and only counts.
    feature_dim : int or None
        Width of the vectors. None as long as only calling can tell.
    """

    takes: str = "images"
    feature_dim: int | None = None

    def fit(self, items: Sequence[Any]) -> "Teacher":
        """Look at all training items once, without labels; most teachers need not."""
        return self

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Turn n items into an (n, feature_dim) float32 array, without gradients."""
        raise NotImplementedError(f"{type(self).__name__} must define encode.")

    def _checked(self, features: Any, n_items: int) -> np.ndarray:
        """Return `features` as an (n, d) float32 array of finite numbers, or raise."""
        if isinstance(features, torch.Tensor):
            features = features.detach().cpu().float().numpy()
        array = np.asarray(features)
        if array.dtype.kind not in "fiub" or array.ndim != 2 or len(array) != n_items:
            raise ValueError(
                f"A teacher must give a numeric array ({n_items}, d), one row for each of the "
                f"{n_items} items; got {array.dtype} of shape {array.shape}."
            )
        if self.feature_dim is not None and array.shape[1] != self.feature_dim:
            raise ValueError(
                f"The teacher gave {array.shape[1]} features, after {self.feature_dim} before."
            )
        if not np.isfinite(array).all():
            raise ValueError("The teacher's features contain NaN or infinity.")
        self.feature_dim = array.shape[1]
        return np.ascontiguousarray(array, dtype=np.float32)


class ArrayTeacher(Teacher):
    """Features computed beforehand, row i for item i.

    Parameters
    ----------
    features : array-like (n, d)
    """

    takes = "ready"

    def __init__(self, features: Any) -> None:
        self.features = self._checked(features, len(features))

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Return the features; `items` must be as many as there are rows."""
        if len(items) != len(self.features):
            raise ValueError(
                f"Ready features of a teacher must have one row for each item: got "
                f"{len(self.features)} rows for {len(items)} items."
            )
        return self.features


class CallableTeacher(Teacher):
    """A function from a list of items to an (n, d) array, called in batches.

    Parameters
    ----------
    function : callable
    takes : {"images", "texts", "clouds"}
    batch_size : int, default=64
    """

    def __init__(self, function: Callable[..., Any], *, takes: str, batch_size: int = 64) -> None:
        self.function = function
        self.takes = takes
        self.batch_size = batch_size

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Call the function on batches of items, of the kind and form they came in."""
        batches = _batches(items, self.batch_size)
        return np.concatenate([self._checked(self.function(b), len(b)) for b in batches])


class ModuleTeacher(Teacher):
    """A torch module, frozen, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
        Called with float pictures (n, 3, H, W) in [0, 1], with a list of strings, or with
        clouds (n, n_points, 3), as `takes` says. Its weights are not changed, nor is its
        training mode.
    takes : {"images", "texts", "clouds"}
    device : str or torch.device, default="cpu"
        Where inputs are put; the module must be there already, or is copied there.
    batch_size : int, default=64
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        takes: str,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
    ) -> None:
        self.module = module
        self.takes = takes
        self.device = torch.device(device)
        self.batch_size = batch_size

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Call the module on batches."""
        was_training = [m for m in self.module.modules() if m.training]
        self.module.eval()
        try:
            with torch.inference_mode():
                batches = _batches(items, self.batch_size)
                return np.concatenate(
                    [self._checked(self.module(self._prepared(b)), len(b)) for b in batches]
                )
        finally:
            for module in was_training:
                module.training = True

    def _prepared(self, batch: Sequence[Any]) -> Any:
        if self.takes == "texts":
            return list(batch)
        if self.takes == "images":
            return as_pictures(batch).to(self.device)
        return torch.as_tensor(np.asarray(batch, dtype=np.float32)).to(self.device)
