"""Networks that follow another one slowly, and the queue of what they said.

Momentum contrast (He et al., CVPR 2020, equation 2 and section 3.2) and bootstrapping (Grill et
al., NeurIPS 2020) compare a network with an average of itself over the steps so far.
"""

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FeatureQueue", "follow", "momentum_copy"]

Module = TypeVar("Module", bound=nn.Module)


def momentum_copy(module: Module) -> Module:
    """Copy a module, with parameters that no optimizer moves; see :func:`follow`."""
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


@torch.no_grad()
def follow(
    copied: nn.Module, module: nn.Module, momentum: float, *, buffers: bool = False
) -> None:
    """Move a momentum copy towards its module: m copy + (1 - m) module.

    Parameters
    ----------
    copied, module : torch.nn.Module
        Of equal parameters; those of `copied` are changed in place.
    momentum : float in [0, 1]
        Share that is kept: 1 leaves the copy as it is, 0 makes it equal.
    buffers : bool, default=False
        Whether floating-point buffers (statistics of BatchNorm) are averaged too, as STRL
        does, and others taken over. Momentum contrast leaves them to what the copy sees.
    """
    for ours, theirs in zip(copied.parameters(), module.parameters(), strict=True):
        ours.lerp_(theirs.detach(), 1.0 - momentum)
    if not buffers:
        return
    for kept, seen in zip(copied.buffers(), module.buffers(), strict=True):
        if kept.is_floating_point():
            kept.lerp_(seen, 1.0 - momentum)
        else:
            kept.copy_(seen)


class FeatureQueue(nn.Module):
    """The last `length` unit vectors pushed, oldest overwritten first.

    Parameters
    ----------
    width : int
        Channels D of a vector.
    length : int
        Vectors L that are kept. At the start they are random directions.

    Attributes
    ----------
    queue : Tensor of shape (D, L)
        Unit columns.
    queue_ptr : int64 Tensor of shape (1,)
        Column that is written next.
    """

    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, width: int, length: int):
        super().__init__()
        self.register_buffer("queue", F.normalize(torch.randn(width, length), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def push(self, vectors: Tensor) -> None:
        """Put unit vectors (B, D) in; of more than fit, the last stay."""
        length = self.queue.shape[1]
        start = self.queue_ptr + max(0, len(vectors) - length)
        vectors = vectors[-length:]
        places = (start + torch.arange(len(vectors), device=start.device)) % length
        self.queue[:, places] = vectors.T.to(self.queue)
        self.queue_ptr.copy_((start + len(vectors)) % length)

    def extra_repr(self) -> str:
        return f"{self.queue.shape[0]}, length={self.queue.shape[1]}"
