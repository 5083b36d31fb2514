"""The loss of ReCon: reconstruction, teachers and contrast, term by term."""

import torch.nn.functional as F
from torch import Tensor

from pointinteract.losses import self_contrast_loss
from pointinteract.models.recon_pretraining import ReConOutput
from pointinteract.pretraining._rebuilding import rebuilding_loss

__all__ = ["recon_losses"]


def recon_losses(
    out: ReConOutput,
    *,
    reconstruction_loss: str = "cdl2",
    image_features: Tensor | None = None,
    text_features: Tensor | None = None,
    groups: Tensor | None = None,
) -> dict[str, Tensor]:
    """The terms of ReCon's loss, whose plain sum is minimised.

    Parameters
    ----------
    out : ReConOutput
    reconstruction_loss : {"cdl2", "cdl1"}, default="cdl2"
    image_features, text_features : Tensor of shape (B, D), optional
        Features of the frozen teachers.
    groups : int Tensor of shape (B,), optional
        Equal numbers make positives of the self-contrast.

    Returns
    -------
    losses : dict of str to Tensor of shape ()
        ``"reconstruction"`` (Chamfer), ``"image"`` and ``"text"`` (smooth L1 to the teachers),
        ``"contrast"``; only those whose branch the network has.
    """
    losses = {"reconstruction": rebuilding_loss(out, kind=reconstruction_loss)}
    if out.image is not None:
        features = _need("image_features", image_features)
        losses["image"] = F.smooth_l1_loss(out.image, features)
    if out.text is not None:
        losses["text"] = F.smooth_l1_loss(out.text, _need("text_features", text_features))
    if out.contrast is not None:
        losses["contrast"] = self_contrast_loss(out.contrast, _need("groups", groups))
    return losses


def _need(name: str, value: Tensor | None) -> Tensor:
    if value is None:
        raise ValueError(f"the network has a branch that needs {name}, and they are None.")
    return value
