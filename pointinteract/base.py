"""What every estimator on clouds shares: one validation of X, and torch state that pickles."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_array
from torch import Tensor, nn

from pointinteract.exceptions import CloudError
from pointinteract.ops import normalize_unit_sphere, thin_clouds
from pointinteract.utils._random import forked_seed

__all__ = ["CloudEstimatorMixin", "TorchEstimatorMixin", "check_clouds", "pick_device"]

Clouds = np.ndarray | list[np.ndarray]
_RIGHT = (
    "X must be a float array (n_clouds, n_points, n_channels) with at least 3 channels "
    "(x, y, z first), or a list of arrays (n_points_i, n_channels)"
)


def check_clouds(X: Any, *, name: str = "X", center: bool = False) -> Clouds:
    """Validate clouds and return them as float32.

    Parameters
    ----------
    X : array of shape (n_clouds, n_points, n_channels) or sequence of (n_points_i, n_channels)
        At least three channels, coordinates first; finite; no cloud empty.
    name : str, default="X"
        What to call it in messages.
    center : bool, default=False
        Whether clouds may be moved. Those in float64 that lie very far from the origin for
        their size (map coordinates) then are, before the rounding to float32 eats their shape.

    Returns
    -------
    clouds : float32 array (n_clouds, n_points, n_channels), or list of (n_points_i, n_channels)
        A list only if the clouds differ in their number of points.

    Raises
    ------
    CloudError
        Naming the first bad cloud, what came and what would be right.
    """
    right = _RIGHT.replace("X", name, 1)
    if center:
        X = _without_far_offset(X)
    if isinstance(X, Tensor):
        X = X.detach().cpu().numpy()
    if isinstance(X, Sequence) and not isinstance(X, (str, bytes)):
        return _check_ragged(X, right, name)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1:
        return _check_ragged(list(X), right, name)
    shape = getattr(X, "shape", None)
    if shape is not None and len(shape) != 3 and not hasattr(X, "toarray"):
        raise CloudError(f"{right}; got an array of shape {tuple(shape)}.")
    clouds = check_array(
        X, dtype=np.float32, ensure_2d=False, allow_nd=True, ensure_all_finite=False,
        order="C", input_name=name, ensure_min_samples=0,
    )
    if clouds.ndim == 0:
        raise CloudError(f"{right}; got {type(X).__name__}.")
    if clouds.ndim != 3:
        raise CloudError(f"{right}; got an array of shape {clouds.shape}.")
    if clouds.shape[0] == 0:
        raise CloudError(f"{right}; got no cloud: an array of shape {clouds.shape}.")
    if clouds.shape[1] == 0:
        raise CloudError(f"{right}; got clouds without points: an array of shape {clouds.shape}.")
    _check_channels(clouds.shape[2], clouds.shape, right)
    finite = np.isfinite(clouds).all(axis=(1, 2))
    if not finite.all():
        _refuse_not_finite(int(np.argmin(finite)), clouds[int(np.argmin(finite))], name)
    return clouds


class CloudEstimatorMixin:
    """Input validation and tags of estimators that take clouds.

    X is an array (n_clouds, n_points, n_channels) or a list of arrays that differ in their
    number of points; ``n_features_in_`` is the number of channels.
    """

    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()  # type: ignore[misc]
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float32"]  # whatever comes, that goes out
        return tags

    @property
    def _n_channels(self) -> int:
        """Channels that the network reads; what it is built from."""
        return self.n_features_in_

    def _validate_clouds(self, X: Any, *, reset: bool) -> Clouds:
        """Validate X; remember the number of channels if `reset`, else hold it against X."""
        clouds = check_clouds(X, center=bool(getattr(self, "normalize", False)))
        n_channels = clouds[0].shape[-1]
        if reset:
            self.n_features_in_ = n_channels
        elif n_channels != self.n_features_in_:
            raise CloudError(
                f"X has {n_channels} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input (features are channels per point)."
            )
        return clouds


class TorchEstimatorMixin:
    """Device, batched inference and pickling of estimators that hold a fitted ``module_``.

    A subclass gives ``_build_module()``, which makes an untrained module of the fitted
    architecture from fitted attributes alone, and has the parameters ``device``,
    ``batch_size``, ``n_points`` and ``normalize``.
    """

    # Parameters of the estimator that this is mixed into.
    device: Any
    batch_size: int
    n_points: int | None
    normalize: bool
    # Fitted. The network has more methods than torch declares for a Module, hence Any.
    module_: Any
    device_: str

    @property
    def _point_order_tolerance(self) -> float:
        """For `pointinteract.testing`: how much reordered points may change an answer."""
        promised = getattr(self.module_, "permutation_invariant", False)
        return 1e-4 if promised else float("inf")

    def _build_module(self) -> nn.Module:
        raise NotImplementedError

    def _setting(self, name: str) -> Any:
        """Value in force of a parameter, for estimators where something else may set it."""
        return getattr(self, name)

    def __getstate__(self) -> dict:
        state: dict[str, Any] = dict(super().__getstate__())  # type: ignore[call-overload]
        module = state.get("module_")
        if isinstance(module, nn.Module):
            state["module_"] = {
                name: tensor.detach().cpu().numpy().copy()
                for name, tensor in module.state_dict().items()
            }
        # Optimiser and random streams of a fit; continuing from a copy makes new ones.
        state.pop("_run", None)
        return state

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        arrays = self.__dict__.get("module_")
        if isinstance(arrays, dict):
            self.device_ = str(_device_for_loading(self.device))
            with forked_seed(0):
                module = self._build_module()
            module.load_state_dict({name: torch.tensor(value) for name, value in arrays.items()})
            self.module_ = module.to(self.device_).eval()

    def _normalized(self, clouds: Clouds) -> Clouds:
        """Move and scale validated clouds, if the estimator is to."""
        if not self._setting("normalize"):
            return clouds
        if isinstance(clouds, list):
            return [normalize_unit_sphere(torch.from_numpy(cloud)[None])[0].numpy()
                    for cloud in clouds]
        return normalize_unit_sphere(torch.from_numpy(clouds)).numpy()

    def _prepare(self, clouds: Clouds) -> Clouds:
        """Normalise and thin out validated clouds, as the network gets them at prediction."""
        clouds = self._normalized(clouds)
        filled_to = getattr(self, "n_points_fit_", None)
        if filled_to is not None:
            clouds = _repeated(clouds, filled_to)
        n_points = self._setting("n_points")
        if n_points is None:
            return clouds
        if isinstance(clouds, list):
            return [thin_clouds(torch.from_numpy(cloud)[None], n_points)[0].numpy()
                    for cloud in clouds]
        return thin_clouds(torch.from_numpy(clouds), n_points).numpy()

    def _infer(self, clouds: Clouds, function: Any) -> np.ndarray:
        """Rows of ``function(points (B, N, C))`` for prepared clouds, in evaluation mode.

        Clouds of equal size share a batch; nothing is padded, so what comes out of a cloud
        does not depend on the others.
        """
        self.module_.eval()
        batch_size = self._setting("batch_size")
        if isinstance(clouds, np.ndarray):
            with torch.inference_mode():
                batches = torch.from_numpy(clouds).split(batch_size)
                done = [function(batch.to(self.device_)).float().cpu() for batch in batches]
            return torch.cat(done).numpy()
        rows: list[Tensor] = [torch.empty(0)] * len(clouds)
        by_size: dict[int, list[int]] = {}
        for i, cloud in enumerate(clouds):
            by_size.setdefault(len(cloud), []).append(i)
        with torch.inference_mode():
            for members in by_size.values():
                for start in range(0, len(members), batch_size):
                    chosen = members[start : start + batch_size]
                    batch = torch.from_numpy(np.stack([clouds[i] for i in chosen]))
                    out = function(batch.to(self.device_)).float().cpu()
                    for i, row in zip(chosen, out, strict=True):
                        rows[i] = row
        return torch.stack(rows).numpy()


def pick_device(device: str | torch.device) -> torch.device:
    """Turn ``"auto"`` into the GPU if there is one, else the CPU; check that others exist."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(
            f'device must be "auto", "cpu", "cuda" or "cuda:1", got {device!r}.'
        ) from error
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f'device={device!r} was asked for, but torch sees no GPU; use "auto".')
    return found


def _device_for_loading(device: str | torch.device) -> torch.device:
    """The device asked for where this machine has it, else the CPU.

    Whoever opens a file did not choose its parameters, so a missing GPU is no error here.
    """
    try:
        found = pick_device(device)
    except ValueError:
        return torch.device("cpu")
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        return torch.device("cpu")
    return found


def _repeated(clouds: Clouds, n_points: int) -> Clouds:
    """Repeat the points of smaller clouds in turn, up to `n_points`, as training did."""
    if not isinstance(clouds, list):
        if clouds.shape[1] >= n_points:
            return clouds
        return clouds[:, np.arange(n_points) % clouds.shape[1]]
    filled = [
        cloud if len(cloud) >= n_points else cloud[np.arange(n_points) % len(cloud)]
        for cloud in clouds
    ]
    same = all(len(cloud) == len(filled[0]) for cloud in filled)
    return np.stack(filled) if same else filled


def _without_far_offset(X: Any) -> Any:
    """Center float64 clouds whose distance from the origin is over 100 times their extent."""
    if isinstance(X, np.ndarray) and X.dtype == np.float64 and X.ndim == 3 and X.shape[2] >= 3:
        clouds: Any = X
    elif isinstance(X, (list, tuple)):
        if not all(isinstance(cloud, np.ndarray) and cloud.dtype == np.float64
                   and cloud.ndim == 2 and cloud.shape[1] >= 3 for cloud in X):
            return X
        clouds = X
    else:
        return X
    moved = [_centered_if_far(cloud) for cloud in clouds]
    return np.stack(moved) if isinstance(X, np.ndarray) and moved else (moved or X)


def _centered_if_far(cloud: np.ndarray) -> np.ndarray:
    if len(cloud) == 0 or not np.isfinite(cloud).all():
        return cloud  # refused later, with the right words
    center = cloud[:, :3].mean(axis=0)
    if np.abs(center).max() <= 100 * np.ptp(cloud[:, :3], axis=0).max():
        return cloud
    return np.concatenate([cloud[:, :3] - center, cloud[:, 3:]], axis=1)


def _check_ragged(clouds: Sequence, right: str, name: str) -> Clouds:
    if len(clouds) == 0:
        raise CloudError(f"{right}; got an empty list.")
    checked: list[np.ndarray] = []
    for i, cloud in enumerate(clouds):
        if isinstance(cloud, Tensor):
            cloud = cloud.detach().cpu().numpy()
        try:
            array = np.asarray(cloud, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise CloudError(f"{right}; cloud {i} is not numeric: {error}") from error
        if array.ndim != 2:
            raise CloudError(f"{right}; cloud {i} has shape {array.shape}.")
        if len(array) == 0:
            raise CloudError(f"{right}; cloud {i} has no points: shape {array.shape}.")
        _check_channels(array.shape[1], array.shape, right)
        if checked and array.shape[1] != checked[0].shape[1]:
            raise CloudError(
                f"all clouds must have the same channels; cloud 0 has shape "
                f"{checked[0].shape} and cloud {i} has shape {array.shape}."
            )
        if not np.isfinite(array).all():
            _refuse_not_finite(i, array, name)
        checked.append(np.ascontiguousarray(array))
    if all(len(cloud) == len(checked[0]) for cloud in checked):
        return np.stack(checked)
    return checked


def _check_channels(n_channels: int, shape: tuple, right: str) -> None:
    if n_channels < 3:
        raise CloudError(f"{right}; got {n_channels} channels: shape {tuple(shape)}.")


def _refuse_not_finite(i: int, cloud: np.ndarray, name: str) -> None:
    n_bad = int((~np.isfinite(cloud)).any(axis=1).sum())
    kind = "NaN" if np.isnan(cloud).any() else "infinity"
    raise CloudError(
        f"Input {name} contains {kind}: {n_bad} of the {len(cloud)} points of cloud {i} are not "
        "finite. Remove those points first."
    )
