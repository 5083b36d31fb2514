"""What pre-training methods share that work on the tokens of a plain transformer's patches."""

import warnings
from typing import Any

import torch
from torch import Tensor

from pointinteract.base import Clouds
from pointinteract.exceptions import PointInteractWarning
from pointinteract.models.point_transformer import transformer_sizes
from pointinteract.nn.patches import n_masked_patches
from pointinteract.pretraining._base import CloudPretrainer
from pointinteract.utils._params import check_int, check_real

__all__ = ["PatchPretrainer", "warn_if_none_hidden"]


def warn_if_none_hidden(n_points: int, n_groups: int, mask_ratio: float) -> None:
    """Warn, from within ``_check_lesson``, if clouds have too few patches for one to be hidden."""
    n_groups = min(n_groups, n_points)
    if n_masked_patches(n_groups, mask_ratio) == 0:
        warnings.warn(
            f"nothing to learn from: clouds of {n_points} points in {n_groups} patches have none "
            f"to hide at mask_ratio={mask_ratio}. Give clouds of more points, more n_groups or a "
            "higher mask_ratio.",
            PointInteractWarning,
            stacklevel=5,  # past _check_lesson, _fit and fit, where the user called
        )


class PatchPretrainer(CloudPretrainer):
    """Settle the sizes of a transformer, and answer with maximum and mean of its patch tokens.

    A method overrides ``_architecture`` (what else its module is made from), ``_build_module``
    (from the plain numbers ``self.architecture_``; ``module.encoder`` must be the
    PointTransformer) and ``_compute_loss``; and ``_features`` with ``_count_features`` where its
    paper reads others. One that hides patches has a parameter ``mask_ratio``.
    """

    # The network inside, by its registered name, for those who ask before it is trained.
    encoder_model = "transformer"

    # Parameters that every subclass has in its constructor.
    size: str
    n_groups: int | None
    group_size: int | None
    drop_path: float

    def _check_params(self) -> None:
        super()._check_params()
        self._find_sizes()
        for name in ("n_groups", "group_size"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name))
        check_real("drop_path", self.drop_path, maximum=1.0, open_maximum=True)
        if hasattr(self, "mask_ratio"):
            check_real("mask_ratio", self.mask_ratio, open_minimum=True, maximum=1.0,
                       open_maximum=True)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        numbers = self._find_sizes()
        numbers |= {
            name: getattr(self, name)
            for name in ("n_groups", "group_size")
            if getattr(self, name) is not None
        }
        self.architecture_ = numbers | {
            "n_channels": self._n_channels,
            "drop_path": self.drop_path,
            **self._architecture(),
        }
        return None

    def _find_sizes(self) -> dict[str, Any]:
        """Numbers that ``size`` stands for; of another network than the plain transformer, its."""
        return transformer_sizes(self.size)

    def _check_lesson(self, stored: Tensor) -> None:
        if not hasattr(self, "mask_ratio"):
            return
        n_points = min(stored.shape[1], self.n_points or stored.shape[1])
        warn_if_none_hidden(n_points, self.architecture_["n_groups"], self.mask_ratio)

    def _features(self, points: Tensor) -> Tensor:
        tokens = self.module_.encoder.forward_features(points)[:, 1:]
        return torch.cat([tokens.amax(dim=1), tokens.mean(dim=1)], dim=1)

    def _count_features(self) -> int:
        return 2 * int(self.architecture_["width"])

    def _architecture(self) -> dict[str, Any]:
        """Plain numbers, from parameters, that the module is made from beside the encoder's."""
        raise NotImplementedError
