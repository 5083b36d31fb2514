"""What a teacher of cross-modal pre-training is, and the three that users bring themselves.

Recipe: a teacher says what it looks at (`takes`), may look at all training data once without
labels (`fit`), and turns a list of n things into n vectors (`encode`). It never changes after.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.nn.modes import evaluation_mode
from pointinteract.utils._optional import import_optional

__all__ = [
    "ArrayTeacher",
    "CallableTeacher",
    "ModuleTeacher",
    "Teacher",
    "as_pictures",
    "batches_of",
]


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

    def identity(self) -> tuple[Any, ...]:
        """Return what the answers depend on: plain settings, arrays and tensors of weights.

        By this a cache knows them again. A teacher without it cannot be cached without a name.
        """
        raise TypeError(
            f"{type(self).__name__} does not say what its answers depend on, so they cannot be "
            "cached: give it a method identity() that returns settings and weights, or a name, "
            "CachedTeacher(teacher, folder, name=...)."
        )

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
        batches = batches_of(items, self.batch_size)
        return np.concatenate([self._checked(self.function(b), len(b)) for b in batches])


class ModuleTeacher(Teacher):
    """A torch module, frozen and in evaluation mode while it is asked.

    Parameters
    ----------
    module : torch.nn.Module
        Called with float pictures (n, 3, H, W) in [0, 1], with a list of strings, or with
        clouds (n, n_points, 3), as `takes` says, on the device of its weights. Neither its
        weights nor its training mode are changed.
    takes : {"images", "texts", "clouds"}
    batch_size : int, default=64
    """

    def __init__(self, module: nn.Module, *, takes: str, batch_size: int = 64) -> None:
        self.module = module
        self.takes = takes
        self.batch_size = batch_size

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Call the module on batches of items."""
        with torch.no_grad(), evaluation_mode(self.module):
            batches = batches_of(items, self.batch_size)
            return np.concatenate(
                [self._checked(self.module(self._prepared(b)), len(b)) for b in batches]
            )

    def identity(self) -> tuple[Any, ...]:
        """Say layers and weights; what the code of a forward pass does, nobody can tell."""
        name = f"{type(self.module).__module__}.{type(self.module).__qualname__}"
        return ("module", name, repr(self.module), self.takes, dict(self.module.state_dict()))

    def _prepared(self, batch: Sequence[Any]) -> Any:
        if self.takes == "texts":
            return list(batch)
        weight = next(self.module.parameters(), torch.zeros(()))
        if self.takes == "images":
            return as_pictures(batch).to(weight.device)
        return torch.as_tensor(np.asarray(batch, dtype=np.float32)).to(weight.device)


def batches_of(items: Sequence[Any], batch_size: int) -> Iterator[Sequence[Any]]:
    """Cut items into batches; raise if there are none."""
    if len(items) == 0:
        raise ValueError("A teacher needs at least one item to encode, got none.")
    for start in range(0, len(items), batch_size):
        yield items[start : start + batch_size]


def as_pictures(images: Sequence[Any], size: int | tuple[int, int] | None = None) -> Tensor:
    """Turn pictures of the usual forms into one float tensor (n, 3, H, W) in [0, 1].

    Parameters
    ----------
    images : sequence
        Arrays (H, W) or (H, W, 1, 3 or 4), tensors (3, H, W), of integers up to 255 or of
        numbers in [0, 1]; PIL pictures; or names of files (which Pillow reads). An array
        (n, H, W, 3) is such a sequence.
    size : int or (int, int), default=None
        Height and width to resize to; an int is the length of the shorter side, and the
        middle square of that size is cut out. None leaves pictures as they are, and they must
        then be of one size.
    """
    pictures = [_as_picture(image, number) for number, image in enumerate(images)]
    if size is not None:
        pictures = [_resized(picture, size) for picture in pictures]
    shapes = {tuple(picture.shape) for picture in pictures}
    if len(shapes) > 1:
        raise ValueError(f"Pictures must be of one size here, got {sorted(shapes)[:3]}.")
    return torch.stack(pictures)


def _as_picture(image: Any, number: int) -> Tensor:
    """Turn one picture into (3, H, W)."""
    if isinstance(image, str | os.PathLike):
        pillow = import_optional("PIL.Image", extra="plot", purpose="reading picture files")
        with pillow.open(image) as file:
            image = np.asarray(file.convert("RGB"))
    tensor = image if isinstance(image, Tensor) else torch.as_tensor(np.array(image))
    if tensor.ndim == 2:
        tensor = tensor[None]
    elif tensor.ndim == 3 and not (isinstance(image, Tensor) and len(tensor) in (1, 3)):
        # Arrays have their channels last, unless only the first axis can be the channels.
        if tensor.shape[2] in (1, 3, 4) or len(tensor) not in (1, 3):
            tensor = tensor.permute(2, 0, 1)
    if tensor.ndim != 3 or len(tensor) not in (1, 3, 4):
        raise ValueError(
            f"A picture must be (H, W), (H, W, 3) or a tensor (3, H, W); number {number} has "
            f"shape {tuple(np.shape(image))}."
        )
    tensor = tensor[:3].float() if tensor.is_floating_point() else tensor[:3].float() / 255
    if not bool(((tensor >= 0) & (tensor <= 1)).all()):
        raise ValueError(
            f"Pictures must be of integers from 0 to 255 or numbers from 0 to 1; number {number} "
            f"goes from {float(tensor.min()):g} to {float(tensor.max()):g}."
        )
    return tensor.expand(3, -1, -1)


def _resized(picture: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Resize (3, H, W) to (height, width), or to a middle square."""
    height, width = picture.shape[1:]
    if isinstance(size, int):
        shorter = min(height, width)
        target = (round(height * size / shorter), round(width * size / shorter))
    else:
        target = size
    if target != (height, width):
        picture = F.interpolate(
            picture[None], size=target, mode="bicubic", antialias=True, align_corners=False
        )[0].clamp(0, 1)
    if isinstance(size, int):
        top, left = (target[0] - size) // 2, (target[1] - size) // 2
        picture = picture[:, top : top + size, left : left + size]
    return picture
