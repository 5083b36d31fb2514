"""I2P-MAE: Point-M2AE whose masks and further targets come from pictures of the clouds.

A frozen guide looks at three pictures of a cloud. Patches that stand where it finds the
pictures salient are more likely to stay visible, and of the visible ones the network learns
what the guide says of their members (Zhang et al., CVPR 2023).
"""

import torch
from torch import Tensor, nn

from pointinteract.models._picture_guides import N_VIEWS
from pointinteract.models.point_m2ae_pretraining import PointM2AEOutput, PointM2AEPretraining
from pointinteract.nn.patches import n_masked_patches

__all__ = ["I2PMAEPretraining"]


class I2PMAEPretraining(PointM2AEPretraining):
    """Encoder, decoder and the prediction of picture features.

    Parameters
    ----------
    feature_width : int
        Channels D of the guide's features.
    n_channels, widths, depths, n_heads, n_groups, group_sizes, patch_hidden, decoder_depths, \
drop_path, mask_ratio, skip_near_origin
        As in :class:`PointM2AEPretraining`.
    radii : three float, default=(0.48, 0.96, 1.92)
        For the encoder once it classifies.
    n_rebuilt : int, optional
        Points of a rebuilt patch. None: as many as a patch of the middle scale has, as published.
    published_padding : bool, default=False
        Whether the first finer center of a batch is always visible, as in the original. Padding
        is never read in either case.

    References
    ----------
    Zhang, Wang, Qiao, Gao, Li, "Learning 3D Representations from 2D Pre-trained Models via
    Image-to-Point Masked Autoencoders", CVPR 2023, arXiv 2212.06785.
    """

    official_system = None  # no checkpoints of it are known here

    def __init__(
        self,
        feature_width: int,
        *,
        n_channels: int = 3,
        widths: tuple[int, ...] = (96, 192, 384),
        depths: tuple[int, ...] = (5, 5, 5),
        n_heads: int = 6,
        n_groups: tuple[int, ...] = (512, 256, 64),
        group_sizes: tuple[int, ...] = (16, 8, 8),
        radii: tuple[float, ...] = (0.48, 0.96, 1.92),
        patch_hidden: tuple[int, int, int] = (128, 256, 512),
        decoder_depths: tuple[int, int] = (1, 1),
        n_rebuilt: int | None = None,
        drop_path: float = 0.1,
        mask_ratio: float = 0.8,
        published_padding: bool = False,
        skip_near_origin: bool = False,
    ):
        super().__init__(
            n_channels=n_channels,
            widths=widths,
            depths=depths,
            n_heads=n_heads,
            n_groups=n_groups,
            group_sizes=group_sizes,
            radii=radii,
            patch_hidden=patch_hidden,
            decoder_depths=decoder_depths,
            n_rebuilt=n_rebuilt or group_sizes[1],
            drop_path=drop_path,
            mask_ratio=mask_ratio,
            published_padding=published_padding,
            skip_near_origin=skip_near_origin,
        )
        self.padding_radii = (0.0,) * len(self.padding_radii)
        self.describe = nn.Linear(widths[-2], group_sizes[1] * N_VIEWS * feature_width)
        self.feature_width = feature_width

    def draw_salient_mask(self, saliency: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the coarsest patches to hide: the more salient, the more likely they stay.

        Visible ones are drawn one after another, without replacement, with chances
        proportional to exp(saliency).

        Parameters
        ----------
        saliency : Tensor of shape (B, G)
        generator : torch.Generator
            On the CPU.

        Returns
        -------
        mask : bool Tensor of shape (B, G)
            True where hidden.
        """
        n_groups = saliency.shape[1]
        n_visible = n_groups - n_masked_patches(n_groups, self.mask_ratio)
        chances = saliency.detach().cpu().float().softmax(dim=1)
        # However unlikely, none may be impossible, or too few could be left to draw.
        chances = chances.clamp_min(torch.finfo(torch.float32).tiny)
        visible = torch.multinomial(chances, n_visible, generator=generator)
        mask = torch.ones(saliency.shape, dtype=torch.bool).scatter_(1, visible, False)
        return mask.to(saliency.device)

    def describe_visible(self, out: PointM2AEOutput) -> Tensor:
        """Picture features of the n visible middle patches: (n, K, 3, feature_width)."""
        described = self.describe(out.decoded[~out.masks[-2]])
        return described.unflatten(1, (-1, N_VIEWS, self.feature_width))

    def forward_probe(self, points: Tensor) -> Tensor:
        """Feature for a linear model: the maximum of the coarsest tokens, (B, C)."""
        return self.forward_tokens(points).amax(dim=1)
