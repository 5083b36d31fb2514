"""Pictures of clouds for pre-training: rendered from any side, or given by the user."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pointinteract.ops import normalize_unit_sphere, random_rotate, render_depth

__all__ = ["check_pictures", "choose_pictures", "disturb_pictures", "render_pictures"]


def render_pictures(
    points: Tensor, generator: torch.Generator, *, size: int, up: str
) -> Tensor:
    """Draw each cloud from one random side: (B, N, C) to (B, 1, S, S), brighter for nearer."""
    turned = random_rotate(normalize_unit_sphere(points), generator=generator, axis=up)
    return render_depth(turned[..., :3], n_views=1, size=size, up=up)


def check_pictures(images: Any, n_clouds: int) -> Tensor:
    """Bring a user's pictures into one array, (n_clouds, V, H, W, C), of bytes or float32.

    Parameters
    ----------
    images : sequence of length n_clouds
        Of pictures (H, W) or (H, W, C), or several a cloud, (V, H, W, C); all of one size, of
        bytes or of floats in [0, 1].
    n_clouds : int
    """
    right = (
        "images must hold one picture a cloud, all of one size: (n_clouds, H, W) or "
        "(n_clouds, H, W, C), or several, (n_clouds, V, H, W, C), with 1 to 4 channels C"
    )
    try:
        array = np.stack([np.asarray(image) for image in images])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{right}; they cannot be stacked: {error}") from error
    if len(array) != n_clouds:
        raise ValueError(f"{right}; got {len(array)} for {n_clouds} clouds.")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4:
        array = array[:, None]
    if array.ndim != 5 or not 1 <= array.shape[-1] <= 4 or 0 in array.shape:
        raise ValueError(f"{right}; got an array of shape {array.shape}.")
    if array.dtype == np.uint8:
        return torch.from_numpy(array)
    array = array.astype(np.float32)
    if not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            "images must be of bytes (uint8) or of floats in [0, 1]; got numbers from "
            f"{array.min()} to {array.max()}."
        )
    return torch.from_numpy(array)


def choose_pictures(images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one picture of each of the clouds `index` (B,): (B, C, H, W) in [0, 1]."""
    view = (torch.rand(len(index), generator=generator) * images.shape[1]).long()
    chosen = images[index, view.clamp_(max=images.shape[1] - 1)]
    scale = 255.0 if chosen.dtype == torch.uint8 else 1.0
    return (chosen.float() / scale).permute(0, 3, 1, 2)


def disturb_pictures(
    pictures: Tensor, generator: torch.Generator, *, strength: float
) -> Tensor:
    """Change brightness and contrast of pictures (B, C, H, W), and mirror half of them.

    Factors are uniform in [1 - strength, 1 + strength); 0 leaves the pictures as they are.
    """
    if strength == 0:
        return pictures
    draws = torch.rand(3, len(pictures), 1, 1, 1, generator=generator).to(pictures)
    brightness, contrast = 1 + strength * (2 * draws[:2] - 1)
    pictures = pictures * brightness
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = (mean + contrast * (pictures - mean)).clamp(0, 1)
    return torch.where(draws[2] < 0.5, pictures.flip(-1), pictures)
