"""How far an answered field is from the true one."""

from torch import Tensor

__all__ = ["field_loss"]


def field_loss(answered: Tensor, true: Tensor) -> Tensor:
    """Absolute errors summed over places, and averaged over clouds (IAE, published).

    Parameters
    ----------
    answered, true : Tensor of shape (B, Q)
        Values at Q places for each of B clouds.

    Returns
    -------
    loss : Tensor of shape ()
    """
    if answered.ndim != 2 or answered.shape != true.shape or answered.numel() == 0:
        raise ValueError(
            "answered and true must both be (B, Q) with at least one value, got "
            f"{tuple(answered.shape)} and {tuple(true.shape)}."
        )
    return (answered - true).abs().sum(dim=1).mean()
