"""Residual networks on pictures, for models that look at clouds through cameras.

Pictures and feature maps are channels first, (B, C, H, W), as image networks from elsewhere
have them, so that any of those can stand in. The permuted view of a rendered (B, H, W, C) is
the fastest form they can come in: convolutions then run over contiguous channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock", "PictureNorm", "ResNet", "resnet18"]


class PictureNorm(nn.BatchNorm2d):
    """Batch normalization of feature maps (B, C, H, W), over all axes but the second.

    A single pixel of a single picture has no variance; there the stored statistics serve in
    training too, and stay as they are.
    """

    weight: nn.Parameter
    bias: nn.Parameter
    running_mean: Tensor
    running_var: Tensor

    def forward(self, input: Tensor) -> Tensor:
        if self.training and input.shape[0] * input.shape[2] * input.shape[3] == 1:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(input)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around which the input is led past (He et al. 2016, figure 5 left).

    Parameters
    ----------
    n_in, n_out : int
        Channels before and after.
    stride : int, default=1
        Step of the first convolution. Where it or the width changes the shape, the way past
        is a 1x1 convolution with normalization, ``downsample``.
    """

    def __init__(self, n_in: int, n_out: int, *, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1, bias=False)
        self.bn1 = PictureNorm(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = PictureNorm(n_out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(n_in, n_out, 1, stride, bias=False), PictureNorm(n_out)
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, n_in, H, W) to (B, n_out, H / stride, W / stride)."""
        past = maps if self.downsample is None else convolve_norm(maps, *self.downsample)
        inner = convolve_norm(maps, self.conv1, self.bn1).relu_()
        return convolve_norm(inner, self.conv2, self.bn2).add_(past).relu_()


class ResNet(nn.Module):
    """Residual network of basic blocks, with the parameter names of the usual checkpoints.

    Parameters
    ----------
    n_channels : int, default=3
        Channels of a picture.
    n_classes : int, default=0
        Width of the linear layer ``fc`` after pooling; 0 leaves it out.
    widths : sequence of int, default=(64, 128, 256, 512)
        Channels of each stage; every stage after the first halves height and width.
    n_blocks : sequence of int, default=(2, 2, 2, 2)
        Blocks of each stage.
    stem_size : int, default=7
        Side of the first convolution's kernel, odd.
    stem_stride : int, default=2
        Its step. 1 keeps small pictures large, at four times the cost.
    stem_pool : bool, default=True
        Whether a 3x3 maximum of stride 2 follows it.
    zero_residual : bool, default=False
        Whether every block starts as the way past alone: the second normalization of each
        begins with gain 0, which makes deep networks train more easily.

    References
    ----------
    He, Zhang, Ren, Sun. Deep residual learning for image recognition. CVPR 2016, table 1.
    """

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 0,
        widths: Sequence[int] = (64, 128, 256, 512),
        n_blocks: Sequence[int] = (2, 2, 2, 2),
        stem_size: int = 7,
        stem_stride: int = 2,
        stem_pool: bool = True,
        zero_residual: bool = False,
    ):
        super().__init__()
        if len(widths) != len(n_blocks) or not widths:
            raise ValueError(
                "widths and n_blocks must be of one length, at least 1; "
                f"got {len(widths)} and {len(n_blocks)}."
            )
        if stem_size % 2 == 0:
            raise ValueError(f"stem_size must be odd, got {stem_size}.")
        self.num_features = widths[-1]
        self.stem_pool = stem_pool
        self.n_stages = len(widths)
        self.conv1 = nn.Conv2d(
            n_channels, widths[0], stem_size, stem_stride, padding=stem_size // 2, bias=False
        )
        self.bn1 = PictureNorm(widths[0])
        n_in = widths[0]
        for stage, (width, n) in enumerate(zip(widths, n_blocks, strict=True), start=1):
            blocks = [BasicBlock(n_in, width, stride=1 if stage == 1 else 2)]
            blocks += [BasicBlock(width, width) for _ in range(n - 1)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            n_in = width
        self.fc = nn.Linear(n_in, n_classes) if n_classes else nn.Identity()
        self._initialize(zero_residual)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map pictures (B, C, H, W) to scores (B, n_classes), or to pooled features."""
        return self.fc(self.forward_pool(pictures))

    def forward_features(self, pictures: Tensor) -> Tensor:
        """Return the maps of the last stage, (B, widths[-1], h, w)."""
        maps = convolve_norm(pictures, self.conv1, self.bn1).relu_()
        if self.stem_pool:
            maps = F.max_pool2d(maps, 3, stride=2, padding=1)
        for stage in range(1, self.n_stages + 1):
            maps = self.get_submodule(f"layer{stage}")(maps)
        return maps

    def forward_pool(self, pictures: Tensor) -> Tensor:
        """Return their mean over height and width, (B, widths[-1])."""
        return self.forward_features(pictures).mean((2, 3))

    def _initialize(self, zero_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_residual and isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)


def resnet18(*, n_channels: int = 3, n_classes: int = 0) -> ResNet:
    """ResNet-18 as published, 11.2 million parameters without its classifier.

    Examples
    --------
    >>> import torch
    >>> from pointinteract.nn.resnet import resnet18
    >>> resnet18(n_classes=10)(torch.zeros(2, 3, 64, 64)).shape
    torch.Size([2, 10])
    """
    return ResNet(n_channels=n_channels, n_classes=n_classes)


def convolve_norm(maps: Tensor, convolution: nn.Module, norm: nn.Module) -> Tensor:
    """Convolve and normalize; in evaluation both at once, the norm folded into the weights."""
    assert isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
    if norm.training:
        return norm(convolution(maps))
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - scale * norm.running_mean
    if convolution.bias is not None:
        shift = shift + scale * convolution.bias
    return F.conv2d(
        maps,
        convolution.weight * scale.view(-1, 1, 1, 1),
        shift,
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )
