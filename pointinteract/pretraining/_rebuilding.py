"""What pretrainers share that rebuild hidden patches: the loss, and a look at the result."""

from typing import Any, Protocol

from sklearn.utils import Bunch
from torch import Tensor

from pointinteract.losses import patch_chamfer_loss
from pointinteract.nn.patches import split_by_mask
from pointinteract.ops import gather
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["Rebuilder", "Rebuilt", "rebuilding_loss"]


class Rebuilt(Protocol):
    """What a pass must say of M hidden patches of K points: tensors as in `ReConOutput`."""

    @property
    def mask(self) -> Tensor: ...

    @property
    def centers(self) -> Tensor: ...

    @property
    def tokens(self) -> Tensor: ...

    @property
    def rebuilt(self) -> Tensor: ...

    @property
    def target(self) -> Tensor: ...


def rebuilding_loss(out: Rebuilt, *, kind: str = "cdl2") -> Tensor:
    """Chamfer distance of rebuilt patches to the true ones, a scalar; 0 if none was hidden."""
    if out.mask.any():
        return patch_chamfer_loss(out.rebuilt, out.target, kind=kind)
    return out.tokens.sum() * 0.0  # clouds of a single patch: nothing to rebuild


class Rebuilder:
    """Left of a pretrainer whose module hides patches and answers with a `Rebuilt`."""

    # Of the estimator that this is mixed into.
    module_: Any
    _show: Any

    def reconstruct(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Hide patches of clouds and rebuild them.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses the patches to hide.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``visible`` (V K, 3), the points that the
            network saw; ``rebuilt`` (M K, 3), its guess of the hidden ones; ``target`` (M K, 3),
            the truth; ``error`` (float), their squared Chamfer distance, patch by patch. All in
            the normalised coordinates that the network works in.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            self._collect(result, points, self.module_(points, generator=generator))

        return self._show(X, ("visible", "rebuilt", "target", "error"), look)

    def _collect(self, result: Bunch, points: Tensor, out: Rebuilt) -> None:
        neighborhoods, centers = self.module_.encoder.patches(points)
        seen, hidden = split_by_mask(out.mask)
        placed = neighborhoods[..., :3] + centers.unsqueeze(2)
        hidden_centers = gather(centers, hidden).unsqueeze(2)
        result.visible.append(placed[0, seen[0]].flatten(0, 1).cpu().numpy())
        result.rebuilt.append((out.rebuilt + hidden_centers)[0].flatten(0, 1).cpu().numpy())
        result.target.append((out.target + hidden_centers)[0].flatten(0, 1).cpu().numpy())
        error = float(patch_chamfer_loss(out.rebuilt, out.target)) if out.mask.any() else 0.0
        result.error.append(error)
