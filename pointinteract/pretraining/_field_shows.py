"""What an implicit autoencoder shows: its field, and the surface that it finds there."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from pointinteract.ops import chamfer_distance, thin_clouds
from pointinteract.ops.distance_fields import level_crossings
from pointinteract.utils._params import check_int
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["FieldShows"]

_QUERIES_AT_ONCE = 1 << 15
_PROJECTIONS = 4


class FieldShows:
    """Left of a pretrainer of an ImplicitNetwork: its field, and surfaces made again."""

    # Of the estimator that this is mixed into.
    module_: Any
    architecture_: dict[str, Any]
    device_: str
    _prepare: Any
    _validate_clouds: Any

    def implicit_field(self, X: Any, *, resolution: int = 32) -> Bunch:
        """Distances from the surfaces of clouds, on a grid around them.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        resolution : int, default=32
            Places along each axis, at least 2.

        Returns
        -------
        result : Bunch
            ``field``, float32 of shape (n_clouds, resolution, resolution, resolution), at x, y
            and z equal to entries of ``axis``, float32 of shape (resolution,); negative inside
            if the target was signed. In the normalised coordinates that the network works in.
        """
        check_is_fitted(self, "module_")
        axis = self._grid_axis(resolution)
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        grid = torch.cartesian_prod(axis, axis, axis).to(self.device_)
        values = []
        self.module_.eval()
        with torch.inference_mode():
            for cloud in clouds:
                planes = self.module_.encode(torch.from_numpy(cloud)[None].to(self.device_))
                field = ask_field(self.module_, planes, grid).view(3 * (resolution,))
                values.append(field.cpu().numpy())
        return Bunch(field=np.stack(values), axis=axis.numpy())

    def reconstruct(
        self,
        X: Any,
        *,
        n_points: int | None = 1024,
        resolution: int = 32,
        spoil: bool = False,
        random_state: Any = 0,
    ) -> Bunch:
        """Make surfaces of clouds again: points where the field is zero.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        n_points : int or None, default=1024
            Where more are found, they are thinned to so many; None keeps all.
        resolution : int, default=32
            Places along each axis of the grid in which zeros are looked for. Finer grids find
            finer parts.
        spoil : bool, default=False
            Whether clouds are spoiled first, as in training, but not turned.
        random_state : int, RandomState instance or None, default=0
            Spoils.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``seen`` (V, C), what the network saw;
            ``reconstructed`` (L, 3), points on its surface, L being 0 if the field has no zero;
            ``target`` (N, 3), the cloud; ``error`` (float), the squared Chamfer distance between
            the two, NaN if L is 0. All in the normalised coordinates that the network works in.

        Notes
        -----
        A signed field is zero on edges of the grid with values of different sign at their ends.
        An unsigned one is nowhere negative: there, places of the grid within a cell of the
        surface walk down the slope of the field.
        """
        check_is_fitted(self, "module_")
        axis = self._grid_axis(resolution)
        signed = self.architecture_["target"] == "signed"
        if n_points is not None:
            check_int("n_points", n_points)
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        generator = make_generator(draw_seed(random_state))
        result = Bunch(seen=[], reconstructed=[], target=[], error=[])
        self.module_.eval()
        with torch.no_grad():
            for cloud in clouds:
                points = torch.from_numpy(cloud)[None].to(self.device_)
                seen = self._spoil(points, generator) if spoil else points
                planes = self.module_.encode(seen)
                made = find_zeros(self.module_, planes, axis.to(planes), signed=signed)
                if n_points is not None and len(made) > n_points:
                    made = thin_clouds(made[None], n_points)[0]
                whole = points[..., :3]
                error = float(chamfer_distance(made[None], whole)) if len(made) else float("nan")
                result.seen.append(seen[0].cpu().numpy())
                result.reconstructed.append(made.cpu().numpy())
                result.target.append(whole[0].cpu().numpy())
                result.error.append(error)
        return result

    def _grid_axis(self, resolution: int) -> Tensor:
        check_int("resolution", resolution, minimum=2)
        return torch.linspace(-self.module_.extent, self.module_.extent, resolution)

    def _spoil(self, points: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError


def ask_field(module: Any, planes: Tensor, places: Tensor) -> Tensor:
    """Values (Q,) that an ImplicitNetwork reads off the planes of one cloud at (Q, 3)."""
    parts = places.split(_QUERIES_AT_ONCE)
    return torch.cat([module.decode(planes, part[None])[0] for part in parts])


def find_zeros(module: Any, planes: Tensor, axis: Tensor, *, signed: bool) -> Tensor:
    """Points (L, 3) where the field of one cloud is zero, L being 0 if there are none.

    A signed field is looked at on the edges of the grid. An unsigned one is nowhere negative:
    there, places of the grid within a cell of the surface walk down the slope of the field, and
    those that arrive are kept.
    """
    grid = torch.cartesian_prod(axis, axis, axis)
    values = ask_field(module, planes, grid)
    if signed:
        return level_crossings(values.view(3 * (len(axis),)), axis)
    cell = float(axis[1] - axis[0])
    places = grid[values < cell]
    for _ in range(_PROJECTIONS if len(places) else 0):
        with torch.enable_grad():
            places = places.requires_grad_()
            height = ask_field(module, planes, places)
            (slope,) = torch.autograd.grad(height.sum(), places)
        # A true distance has slope 1; an answered one may be flat, and no step is to leave its
        # surroundings.
        steep = slope.square().sum(dim=1, keepdim=True).clamp_min(0.1)
        step = height.detach().unsqueeze(1) * slope / steep
        places = places.detach() - step.clamp(-cell, cell)
    return places[ask_field(module, planes, places) < cell / 2] if len(places) else places
