"""A small U-Net on pictures: coarse maps say where things are, fine ones what exactly is there."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UNet"]


class UNet(nn.Module):
    """Convolutions down to small pictures and up again (Ronneberger, Fischer, Brox 2015).

    Each level has two 3x3 convolutions with rectifiers, twice as wide as the level above; maps
    go down by maxima of 2x2 pixels and up by transposed convolutions, where those that came
    down at the same level are joined to them. No normalization.

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after.
    depth : int, default=4
        Levels, at least 1.
    width : int, default=32
        Channels of the first level.
    """

    def __init__(self, n_in: int, n_out: int, *, depth: int = 4, width: int = 32):
        super().__init__()
        self.depth = depth
        widths = [width * 2**level for level in range(depth)]
        self.down = nn.ModuleList(
            _Convolutions(n_before, n_after)
            for n_before, n_after in zip([n_in, *widths[:-1]], widths, strict=True)
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(n_below, n_here, 2, stride=2)
            for n_below, n_here in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(
            _Convolutions(2 * n_here, n_here) for n_here in widths[-2::-1]
        )
        self.out = nn.Conv2d(width, n_out, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, pictures: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H, W); 2 ** (depth - 1) must divide H and W."""
        step = 2 ** (self.depth - 1)
        if pictures.ndim != 4 or pictures.shape[2] % step or pictures.shape[3] % step:
            raise ValueError(
                f"pictures must be (B, C, H, W) with H and W multiples of {step} for {self.depth} "
                f"levels, got {tuple(pictures.shape)}."
            )
        passed: list[Tensor] = []
        maps = pictures
        for convolve in self.down:
            maps = convolve(F.max_pool2d(maps, 2) if passed else maps)
            passed.append(maps)
        for rise, convolve, beside in zip(self.rise, self.up, passed[-2::-1], strict=True):
            maps = convolve(torch.cat([rise(maps), beside], dim=1))
        return self.out(maps)


class _Convolutions(nn.Sequential):
    def __init__(self, n_in: int, n_out: int):
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, padding=1),
            nn.ReLU(),
        )
