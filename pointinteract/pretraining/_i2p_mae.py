"""I2P-MAE as an estimator: pictures of a cloud say what to hide, and what else to learn."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.models._picture_guides import AxisViews, PictureGuide, resolve_guide
from pointinteract.models.i2p_mae import I2PMAEPretraining
from pointinteract.models.point_m2ae import Scale
from pointinteract.models.point_m2ae_pretraining import PointM2AEOutput
from pointinteract.ops import gather
from pointinteract.pretraining._point_m2ae import PointM2AEPretrainer, m2ae_rebuilding_loss
from pointinteract.utils._params import check_real

__all__ = ["I2PMAEPretrainer"]


class I2PMAEPretrainer(PointM2AEPretrainer):
    """Point-M2AE taught by pictures: what is salient stays visible, and its features are learned.

    Three pictures of each cloud, one along each axis, are shown to a frozen guide. Where it
    finds them salient, patches are more likely to stay visible. The network rebuilds hidden
    patches of the middle scale, and of the visible ones it predicts what the guide says of
    their members.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        Size of the network; ``"base"`` is the published one.
    guide : str, path-like or PictureGuide, default="depth"
        What looks at the pictures. ``"depth"`` needs no weights: gradients of the picture by
        direction, saliency being their strength. A hub name or a local folder is a vision
        transformer of the `transformers` library, whose class token's attention is the
        saliency; published: ``"openai/clip-vit-base-patch16"``. It sees three pictures of every
        cloud at every step, which on a CPU takes far longer than all the rest. An instance of a
        class derived from :class:`pointinteract.models.teachers.PictureGuide` is used as it is.
    saliency_weight : float, default=1.0
        Chances to stay visible are proportional to exp(saliency_weight x saliency), where 1 is
        the mean saliency of a picture. 0 hides at random, large values always the same.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole. Published: 2048.
    n_groups, group_sizes : three int, optional
        Patches a cloud, and members of a patch, at each scale, the finest first; from `size`
        unless given. Published: (512, 256, 64) and (16, 8, 8).
    mask_ratio : float, default=0.8
        Share of the coarsest patches to hide.
    published_padding : bool, default=False
        Whether the first patch center of a batch is always visible, as in the original.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of the decoder.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. Published: 64.
    learning_rate : float, default=1e-3
        Highest rate of AdamW, as published.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. Published: 10.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine_epoch"`` changes the rate once an epoch as the original does.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"scale_translate"`` (the published one), ``"rotate_y"``, ``"rotate_z"``,
        ``"scale"``, ``"jitter"``, ``"drop"``, or a function of (points (B, N, C), generator).
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first.
    checkpoint : str, path or None, default=None
        File to keep the state of training in, written whole after epochs. A `fit` of the same
        clouds and parameters that finds it goes on from there, to the same numbers to the last
        bit (on the CPU).
    device : str, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Same integer, same numbers (on the CPU to the last bit).

    Attributes
    ----------
    module_ : I2PMAEPretraining
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms ``reconstruction`` and ``pictures``, learning rate
        and seconds.
    n_epochs_ : int
        Epochs trained.
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
        Where the network lives.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    Notes
    -----
    `transform` gives the maximum of the coarsest tokens of the whole cloud, as published.
    Saliency is in units of its mean, so that guides are comparable. The guide is not saved with
    the estimator but made again from its parameter.

    References
    ----------
    Zhang, Wang, Qiao, Gao, Li, "Learning 3D Representations from 2D Pre-trained Models via
    Image-to-Point Masked Autoencoders", CVPR 2023, arXiv 2212.06785.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import I2PMAEPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = I2PMAEPretrainer(
    ...     n_groups=(32, 16, 8), group_sizes=(8, 4, 4), max_epochs=1, random_state=0
    ... ).fit(X)
    >>> pre.transform(X).shape
    (16, 192)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        guide: Any = "depth",
        saliency_weight: float = 1.0,
        n_points: int | None = 1024,
        n_groups: Sequence[int] | None = None,
        group_sizes: Sequence[int] | None = None,
        mask_ratio: float = 0.8,
        published_padding: bool = False,
        drop_path: float = 0.1,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_epochs: float = 2,
        schedule: str = "cosine",
        augmentation: Any = "scale_translate",
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        super().__init__(
            size,
            n_points=n_points,
            n_groups=n_groups,
            group_sizes=group_sizes,
            mask_ratio=mask_ratio,
            published_padding=published_padding,
            drop_path=drop_path,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
            schedule=schedule,
            augmentation=augmentation,
            normalize=normalize,
            checkpoint=checkpoint,
            device=device,
            random_state=random_state,
        )
        self.guide = guide
        self.saliency_weight = saliency_weight

    def show_guidance(self, X: Any) -> Bunch:
        """What the guide sees of clouds, and how salient it finds their patches.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``pictures`` (3, S, S), along the axes, 0.5
            being background; ``maps`` (3, h, w), their saliency; ``centers`` (G, 3) of the
            coarsest patches, in the normalised coordinates that the network works in; and
            ``saliency`` (G,) of each, where 1 is the mean of a picture.
        """

        def look(result: Bunch, points: Tensor) -> None:
            scales = self.module_.encoder.cut(points)
            views, maps, saliency, _ = self._look(points, scales)
            result.pictures.append(views.pictures[0].cpu().numpy())
            result.maps.append(maps.cpu().numpy())
            result.centers.append(scales[-1].centers[0].cpu().numpy())
            result.saliency.append(saliency[0].cpu().numpy())

        return self._show(X, ("pictures", "maps", "centers", "saliency"), look)

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        state.pop("_guide", None)  # perhaps large, perhaps not to be pickled
        return state

    def _check_params(self) -> None:
        super()._check_params()
        check_real("saliency_weight", self.saliency_weight)

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        self.__dict__.pop("_guide", None)  # that of an earlier fit
        super()._settle(clouds, sources)
        self.architecture_["feature_width"] = self._find_guide().feature_dim

    def _build_module(self) -> nn.Module:
        return I2PMAEPretraining(**self.architecture_)

    def _find_guide(self) -> PictureGuide:
        if not hasattr(self, "_guide"):
            self._guide = resolve_guide(self.guide, device=self.device_)
        return self._guide

    def _look(
        self, points: Tensor, scales: list[Scale]
    ) -> tuple[AxisViews, Tensor, Tensor, Tensor]:
        """Pictures of clouds; maps of saliency; it at the coarsest centers; finest features."""
        guide = self._find_guide()
        points = points[..., :3].detach()
        with torch.no_grad():
            views = AxisViews(points, size=guide.picture_size, radius=guide.splat_radius)
            maps = guide.look(views.pictures.flatten(0, 1))
            salient = maps.saliency.unsqueeze(1)
            saliency = views.read(salient, scales[-1].centers, mode="bicubic").mean(dim=(2, 3))
            features = views.read(maps.features, scales[0].centers)  # (B, G, 3, D)
        return views, maps.saliency, saliency, features

    def _complete(self, points: Tensor, generator: torch.Generator) -> PointM2AEOutput:
        return self._complete_and_look(points, generator)[0]

    def _complete_and_look(
        self, points: Tensor, generator: torch.Generator
    ) -> tuple[PointM2AEOutput, Tensor]:
        """A pass, and the guide's features at the finest centers, (B, G, 3, D)."""
        scales = self.module_.encoder.cut(points)
        _, _, saliency, features = self._look(points, scales)
        mask = self.module_.draw_salient_mask(self.saliency_weight * saliency, generator)
        return self.module_.complete(scales, mask), features

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out, features = self._complete_and_look(points, generator)
        visible, members = ~out.masks[-2], out.scales[-2].index
        wanted = gather(features.flatten(2), members)[visible]  # (n, K, 3 D)
        losses = {
            "reconstruction": m2ae_rebuilding_loss(out),
            "pictures": F.mse_loss(self.module_.describe_visible(out).flatten(2), wanted),
        }
        return torch.stack(list(losses.values())).sum(), losses
