"""Point-M2AE as an estimator: hide most of a cloud at three scales, and rebuild it."""

from collections.abc import Sequence
from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import patch_chamfer_loss
from pointinteract.models.point_m2ae import N_SCALES, point_m2ae_sizes
from pointinteract.models.point_m2ae_pretraining import PointM2AEOutput, PointM2AEPretraining
from pointinteract.pretraining._base import CloudPretrainer
from pointinteract.pretraining._patches import warn_if_none_hidden
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["PointM2AEPretrainer", "m2ae_rebuilding_loss"]


class PointM2AEPretrainer(CloudPretrainer):
    """Masked autoencoder of three scales, for a hierarchical transformer.

    Patches are hidden at the coarsest scale, and at finer ones all that no visible patch
    holds, so whole regions are missing at every scale. The encoder merges what is visible from
    scale to scale; a light decoder rebuilds the hidden patches of the middle scale.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        Size of the network. ``"base"`` is the published one (15 million parameters while
        pre-training); ``"nano"`` (2 million) is for a laptop.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole. Published: 2048.
    n_groups, group_sizes : three int, optional
        Patches a cloud, and members of a patch, at each scale, the finest first; from `size`
        unless given. Published: (512, 256, 64) and (16, 8, 8). The finest scale costs most.
    mask_ratio : float, default=0.8
        Share of the coarsest patches to hide. Finer scales follow, and as patches overlap they
        hide less.
    published_padding : bool, default=False
        Whether visible tokens near the origin read the padding of their batch, and the first
        patch center of a batch is always visible, as in the original. A cloud's result then
        depends on the clouds it came with.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of the decoder.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. Published: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW, as in the published code (the paper says 1e-4).
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
    module_ : PointM2AEPretraining
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its one term ``reconstruction``, learning rate and seconds.
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
    `transform` gives mean plus maximum of the coarsest tokens of the whole cloud, with
    attention at any distance, as the paper's linear probe has it. A classifier that starts from
    ``module_.encoder`` lets tokens read each other within three radii only, as the paper does.
    It keeps the norm that follows the coarsest tokens, where the original begins a fresh one.

    References
    ----------
    Zhang, Guo, Gao, Fang, Zhao, Wang, Qiao, Li, "Point-M2AE: Multi-scale Masked Autoencoders
    for Hierarchical Point Cloud Pre-training", NeurIPS 2022, arXiv 2205.14401.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointM2AEPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointM2AEPretrainer(
    ...     n_groups=(32, 16, 8), group_sizes=(8, 4, 4), max_epochs=1, random_state=0
    ... ).fit(X)
    >>> pre.transform(X).shape
    (16, 192)
    """

    # As in PatchPretrainer. Of any size: they share recipes.
    encoder_model = "point_m2ae_nano"

    def __init__(
        self,
        size: str = "nano",
        *,
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
        self.size = size
        self.n_points = n_points
        self.n_groups = n_groups
        self.group_sizes = group_sizes
        self.mask_ratio = mask_ratio
        self.published_padding = published_padding
        self.drop_path = drop_path
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def reconstruct(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Hide patches of clouds and rebuild those of the middle scale.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses the patches to hide.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``visible`` (n, 3), the points that the
            network saw; ``rebuilt`` (M P, 3), its guess of the hidden patches; ``target``
            (M K, 3), the finest centers that are truly there; ``error`` (float), their squared
            Chamfer distance, patch by patch, 0 if nothing was hidden. All in the normalised
            coordinates that the network works in.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            self._collect(result, self._complete(points, generator))

        return self._show(X, ("visible", "rebuilt", "target", "error"), look)

    def _complete(self, points: Tensor, generator: torch.Generator) -> PointM2AEOutput:
        return self.module_(points, generator=generator)

    def _collect(self, result: Bunch, out: PointM2AEOutput) -> None:
        finest, middle = out.scales[0], out.scales[-2]
        placed = finest.patches[..., :3] + finest.centers.unsqueeze(2)
        centers = middle.centers[out.masks[-2]].unsqueeze(1)
        result.visible.append(placed[~out.masks[0]].flatten(0, 1).cpu().numpy())
        result.rebuilt.append((out.rebuilt + centers).flatten(0, 1).cpu().numpy())
        result.target.append((out.target + centers).flatten(0, 1).cpu().numpy())
        result.error.append(float(m2ae_rebuilding_loss(out)))

    def _check_params(self) -> None:
        super()._check_params()
        point_m2ae_sizes(self.size)
        for name in ("n_groups", "group_sizes"):
            given = getattr(self, name)
            if given is None:
                continue
            if not isinstance(given, Sequence) or len(given) != N_SCALES:
                raise ValueError(
                    f"{name} must be {N_SCALES} integers, the finest scale first, or None; "
                    f"got {given!r}."
                )
            for number in given:
                check_int(name, number)
        check_real("mask_ratio", self.mask_ratio, open_minimum=True, maximum=1.0,
                   open_maximum=True)
        check_real("drop_path", self.drop_path, maximum=1.0, open_maximum=True)

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        given = {name: getattr(self, name) for name in ("n_groups", "group_sizes")}
        self.architecture_ = point_m2ae_sizes(self.size) | {
            **{name: tuple(value) for name, value in given.items() if value is not None},
            "n_channels": self._n_channels,
            "drop_path": self.drop_path,
            "mask_ratio": self.mask_ratio,
            "published_padding": bool(self.published_padding),
        }

    def _build_module(self) -> nn.Module:
        return PointM2AEPretraining(**self.architecture_)

    def _check_lesson(self, stored: Tensor) -> None:
        n_points = min(stored.shape[1], self.n_points or stored.shape[1])
        # Coarse patches are made of finer ones, so there are no more of them than of any other.
        warn_if_none_hidden(n_points, min(self.architecture_["n_groups"]), self.mask_ratio)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss = m2ae_rebuilding_loss(self._complete(points, generator))
        return loss, {"reconstruction": loss}

    def _features(self, points: Tensor) -> Tensor:
        return self.module_.forward_probe(points)

    def _count_features(self) -> int:
        return int(self.architecture_["widths"][-1])


def m2ae_rebuilding_loss(out: PointM2AEOutput) -> Tensor:
    """Squared Chamfer distance of hidden patches; 0 where the visible ones hold everything."""
    if len(out.rebuilt) == 0:
        return out.decoded.sum() * 0.0
    return patch_chamfer_loss(out.rebuilt.unsqueeze(0), out.target.unsqueeze(0))
