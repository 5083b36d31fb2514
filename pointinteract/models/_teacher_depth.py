"""A picture teacher without weights: what depth pictures of a cloud look like, made decorrelated.

The idea is the histogram of oriented gradients: outlines and creases of an object, by
direction and place, seen from a ring of cameras and from above and below.

References
----------
Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from sklearn.exceptions import NotFittedError
from torch import Tensor

from pointinteract.exceptions import CloudError
from pointinteract.models._teacher_base import Teacher
from pointinteract.ops.rendering import render_depth, view_rotations
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["CELL", "N_DIRECTIONS", "DepthDescriptorTeacher", "gradient_cells"]

N_DIRECTIONS = 8
CELL = 4  # pixels
BOX_FRAME_FILL = 0.8  # turned boxes stick out by their corners
CHUNK = 8  # clouds described at once: about what stays in the cache of one core


class DepthDescriptorTeacher(Teacher):
    """Describe clouds by gradients of their depth pictures, reduced by principal components.

    Every cloud is drawn in two frames: in its bounding ball, which keeps its proportions, and
    stretched to fill its bounding box, which brings corresponding parts to corresponding
    places. `fit` finds the directions in which the descriptors of the training clouds differ;
    no labels are used.

    Parameters
    ----------
    n_components : int, default=256
        Width of the features. Fewer clouds than that give fewer features.
    whiten : float, default=0.5
        0 keeps the variances of the components, 1 makes all equal, so that fine and noisy
        differences weigh as much as coarse ones. The variance averages 1 in any case.
    n_views : int, default=8
        Pictures in each frame, the last two from above and below.
    elevation : float, default=20.0
        Degrees the other cameras stand above the horizon.
    size : int, default=32
        Width of the pictures in pixels, a multiple of 4. Time grows with its square.
    up : {"z", "y"}, default="z"
        The vertical axis of the clouds.
    max_points : int, default=2048
        Of larger clouds, this many points evenly spread over their order are drawn.
    max_fit_clouds : int, default=2000
        `fit` looks at this many clouds at most, evenly spread over their order.
    device : str or torch.device, default="cpu"
        Where pictures are drawn and described.

    Attributes
    ----------
    mean_ : ndarray (D,)
        Mean descriptor of the clouds that `fit` looked at.
    components_ : ndarray (D, feature_dim)
        Directions, scaled: features are ``(descriptor - mean_) @ components_``.
    explained_variance_ratio_ : ndarray (feature_dim,)
        Share of the descriptors' variance that each component holds.

    Examples
    --------
    >>> import numpy as np
    >>> from pointinteract.models.teachers import DepthDescriptorTeacher
    >>> clouds = np.random.default_rng(0).normal(size=(20, 64, 3))
    >>> teacher = DepthDescriptorTeacher(n_components=8).fit(clouds)
    >>> teacher.encode(clouds).shape
    (20, 8)
    """

    takes = "clouds"

    def __init__(
        self,
        n_components: int = 256,
        *,
        whiten: float = 0.5,
        n_views: int = 8,
        elevation: float = 20.0,
        size: int = 32,
        up: str = "z",
        max_points: int = 2048,
        max_fit_clouds: int = 2000,
        device: str | torch.device = "cpu",
    ) -> None:
        self.n_components = check_int("n_components", n_components)
        self.whiten = check_real("whiten", whiten, maximum=1.0)
        self.n_views = check_int("n_views", n_views, minimum=3)
        self.elevation = elevation
        self.size = check_int("size", size, minimum=2 * CELL)
        if size % CELL:
            raise ValueError(f"size must be a multiple of {CELL}, got {size}.")
        self.up = check_option("up", up, ("z", "y"))
        self.max_points = check_int("max_points", max_points)
        self.max_fit_clouds = check_int("max_fit_clouds", max_fit_clouds, minimum=2)
        self.device = str(device)
        self.feature_dim = self.n_components

    def fit(self, items: Sequence[Any]) -> "DepthDescriptorTeacher":
        """Find the principal components of the clouds' descriptors.

        Parameters
        ----------
        items : array-like (n_clouds, n_points, 3) or list of (n_i, 3)
            At least 2 clouds, without labels.
        """
        if len(items) < 2:
            raise CloudError(f"At least 2 clouds are needed to fit a teacher, got {len(items)}.")
        n_used = min(len(items), self.max_fit_clouds)
        used = [i * len(items) // n_used for i in range(n_used)]
        descriptors = self.describe([items[i] for i in used])
        self.mean_ = descriptors.mean(axis=0)
        centered = descriptors - self.mean_
        directions, variances = _principal_directions(centered, self.n_components)
        # Scaled so that the features' variances are v^(1 - whiten), times what averages them 1.
        scale = variances ** (-self.whiten / 2)
        scale /= math.sqrt(np.mean(variances * scale**2)) or 1.0
        self.components_ = (directions * scale).astype(np.float32)
        total = float(np.square(centered, dtype=np.float64).sum()) / n_used
        self.explained_variance_ratio_ = variances / (total or 1.0)
        self.feature_dim = self.components_.shape[1]
        return self

    def identity(self) -> tuple[Any, ...]:
        """Say the settings, and what `fit` found."""
        fitted = (self.mean_, self.components_) if hasattr(self, "components_") else ()
        drawn = (self.n_views, self.elevation, self.size, self.up, self.max_points)
        return ("depth_descriptor", 1, drawn, fitted)

    def encode(self, items: Sequence[Any]) -> np.ndarray:
        """Describe clouds in the components that `fit` found: (n, feature_dim) float32."""
        if not hasattr(self, "components_"):
            raise NotFittedError("This DepthDescriptorTeacher is not fitted; call fit(clouds).")
        features = np.empty((len(items), self.components_.shape[1]), dtype=np.float32)
        for start in range(0, len(items), 256):
            part = slice(start, start + 256)
            features[part] = (self.describe(items[part]) - self.mean_) @ self.components_
        return features

    def describe(self, items: Sequence[Any]) -> np.ndarray:
        """Compute the descriptors themselves, before any reduction: (n, D) float32."""
        clouds = [_thinned(cloud, self.max_points) for cloud in items]
        radii = np.array([_splat_radius(len(cloud), self.size) for cloud in clouds])
        rotations = view_rotations(
            self.n_views, elevation=self.elevation, poles=True, up=self.up
        ).to(self.device)
        n_cells = (self.size // CELL) ** 2
        descriptors = np.empty(
            (len(clouds), 2 * self.n_views * n_cells * (N_DIRECTIONS + 2)), dtype=np.float32
        )
        # Clouds drawn with points of one width go together, whatever their order.
        order = np.argsort(radii, kind="stable")
        with torch.inference_mode():
            for radius in np.unique(radii):
                alike = order[radii[order] == radius]
                for start in range(0, len(alike), CHUNK):
                    rows = alike[start : start + CHUNK]
                    points = torch.from_numpy(_stacked([clouds[i] for i in rows]))
                    points = points.to(self.device)
                    parts = [
                        _describe_pictures(
                            render_depth(
                                frame, rotations=rotations, size=self.size, radius=int(radius)
                            )
                        )
                        for frame in _frames(points)
                    ]
                    descriptors[rows] = torch.cat(parts, dim=1).cpu().numpy()
        return descriptors


def _thinned(cloud: Any, max_points: int) -> np.ndarray:
    """Check one cloud and take at most `max_points` of it: (N, 3) float32."""
    array = np.asarray(cloud)
    if array.ndim != 2 or array.shape[1] < 3 or len(array) == 0:
        raise CloudError(f"Each cloud must be (n_points, 3), got shape {array.shape}.")
    if len(array) > max_points:
        array = array[np.arange(max_points) * len(array) // max_points]
    array = np.ascontiguousarray(array[:, :3], dtype=np.float32)
    if not np.isfinite(array).all():
        raise CloudError("A cloud contains NaN or infinity; remove those points first.")
    return array


def _stacked(clouds: list[np.ndarray]) -> np.ndarray:
    """Stack clouds (B, N, 3); small ones repeat their points, which changes no picture."""
    n_points = max(len(cloud) for cloud in clouds)
    return np.stack([cloud[np.arange(n_points) % len(cloud)] for cloud in clouds])


def _splat_radius(n_points: int, size: int) -> int:
    """Half the distance of neighbors, were half of the points spread over the picture.

    Rounded up rather than down: small clouds lose less by wide points than by holes.
    """
    return max(1, math.ceil(0.5 * size / math.sqrt(max(n_points / 2, 1)) - 0.25))


def _frames(points: Tensor) -> tuple[Tensor, Tensor]:
    """Move clouds (B, N, 3) to their bounding ball and stretch them to their bounding box."""
    low, high = points.amin(dim=1, keepdim=True), points.amax(dim=1, keepdim=True)
    centered = points - (low + high) / 2
    half = (high - low) / 2
    # A flat cloud stays flat: no axis is stretched more than a thousandfold.
    half = torch.maximum(half, half.amax(dim=2, keepdim=True) * 1e-3).clamp_min(1e-30)
    reach = centered.norm(dim=2).amax(dim=1).clamp_min(1e-30)[:, None, None]
    return centered / reach, centered / half * BOX_FRAME_FILL


def _describe_pictures(pictures: Tensor) -> Tensor:
    """Describe pictures (B, V, S, S) by gradients, occupancy and depth per cell: (B, D)."""
    gradients = _oriented_gradients(pictures)
    occupied = F.avg_pool2d((pictures > 0).float(), CELL).flatten(1)
    depth = F.avg_pool2d(pictures, CELL).flatten(1)
    return torch.cat([F.normalize(gradients), F.normalize(torch.cat([occupied, depth], 1))], 1)


def _oriented_gradients(pictures: Tensor) -> Tensor:
    """Histograms of gradient direction in overlapping cells: (B, V * 8 * cells)."""
    n_clouds, n_views, size, _ = pictures.shape
    cells = gradient_cells(pictures.reshape(-1, size, size)).view(n_clouds, n_views, -1)
    # Every view counts alike, except an empty one.
    return (cells / (cells.norm(dim=2, keepdim=True) + 1e-3)).flatten(1)


def gradient_cells(pictures: Tensor) -> Tensor:
    """Strength of gradients by direction in overlapping cells: (M, S, S) to (M, 8, S/4, S/4)."""
    single = _smoothed(pictures.unsqueeze(1))
    padded = F.pad(single, (1, 1, 1, 1))
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    strength = (across.square() + down.square()).sqrt()
    angles = torch.arange(N_DIRECTIONS, device=pictures.device) * (2 * math.pi / N_DIRECTIONS)
    along = across * angles.cos().view(-1, 1, 1) + down * angles.sin().view(-1, 1, 1)
    # Squared cosine to each direction, times the root of the strength: the jump to the
    # background is many times a crease, and should not count many times as much.
    along = along.relu().square() / ((strength + 1e-6) * (strength + 1e-2).sqrt())
    cells = F.avg_pool2d(along, 2 * CELL, CELL, padding=CELL // 2)  # (M, 8, cells, cells)
    return (cells + 1e-8).sqrt()


def _smoothed(single: Tensor) -> Tensor:
    """Blur (M, 1, S, S) a little by binomial weights, against holes between points."""
    weights = single.new_tensor([0.25, 0.5, 0.25])
    single = F.conv2d(single, weights.view(1, 1, 3, 1), padding=(1, 0))
    return F.conv2d(single, weights.view(1, 1, 1, 3), padding=(0, 1))


def _principal_directions(
    centered: np.ndarray, n_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find orthonormal directions (D, d) of largest variance, and the variances (d,)."""
    n_rows, n_columns = centered.shape
    # The smaller of the two products has the same eigenvalues. float64 below, because the
    # squared spectrum spans more than float32 resolves.
    tall = n_rows > n_columns
    product = centered.T @ centered if tall else centered @ centered.T
    last = len(product) - 1
    values, vectors = scipy.linalg.eigh(
        product.astype(np.float64), subset_by_index=[max(0, last + 1 - n_components), last]
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    # One direction at least, also if all clouds are equal.
    kept = max(1, int(np.sum(values > 1e-6 * values[0]))) if values[0] > 0 else 1
    values, vectors = np.maximum(values[:kept], 1e-12), vectors[:, :kept]
    directions = vectors if tall else (centered.T @ vectors) / np.sqrt(values)
    # Of the two signs, that whose largest entry is positive.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(kept)] < 0, -1.0, 1.0)
    return directions, values / n_rows
