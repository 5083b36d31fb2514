"""How far rebuilt patches are from the true ones."""

from torch import Tensor

from pointinteract.ops import chamfer_distance

__all__ = ["patch_chamfer_loss"]

_NORMS = {"cdl1": 1, "cdl2": 2}


def patch_chamfer_loss(rebuilt: Tensor, target: Tensor, *, kind: str = "cdl2") -> Tensor:
    """Mean Chamfer distance of hidden patches (ReCon, masked-point loss).

    Parameters
    ----------
    rebuilt, target : Tensor of shape (B, M, K, 3)
        Patches relative to their centres.
    kind : {"cdl2", "cdl1"}, default="cdl2"
        Squared distances summed over both directions, or plain ones averaged.

    Returns
    -------
    loss : Tensor of shape ()
    """
    if kind not in _NORMS:
        raise ValueError(f"kind must be one of {sorted(_NORMS)}, got {kind!r}.")
    if rebuilt.shape[:2].numel() == 0:
        raise ValueError(
            "no patch is hidden, so there is nothing to rebuild; raise mask_ratio so that "
            "int(mask_ratio x n_groups) is at least 1."
        )
    return chamfer_distance(rebuilt.flatten(0, 1), target.flatten(0, 1), norm=_NORMS[kind])
