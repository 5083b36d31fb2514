"""Point-MAE as an estimator: hide most of a cloud and rebuild it from the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.models.point_mae import PointMAEPretraining
from pointinteract.models.recon import N_QUERIES
from pointinteract.models.recon_pretraining import ReConPretraining
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.pretraining._rebuilding import Rebuilder, rebuilding_loss
from pointinteract.utils._params import check_int, check_option

__all__ = ["PointMAEPretrainer"]

_DECODER_DEPTHS = {"base": 4, "nano": 1}
_MODULES = {"plain": PointMAEPretraining, "recon": ReConPretraining}


class PointMAEPretrainer(Rebuilder, PatchPretrainer):
    """Masked autoencoder: pre-train a point-cloud transformer by rebuilding hidden patches.

    Most patches of each cloud are hidden. A transformer reads the others, and a light decoder
    makes the points of the hidden ones from what it says and from where they were.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        Size of the network. ``"base"`` is the published one (29 million parameters while
        pre-training); ``"nano"`` (3 million) is for a laptop.
    block : {"plain", "recon"}, default="plain"
        Usual transformer blocks, or those of ReCon, whose residual starts from normalised
        tokens: the masked autoencoder that ReCon's paper compares itself with, which is
        :class:`ReConPretrainer` without teachers and contrast.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given. More patches show finer
        detail and cost time in proportion.
    mask_ratio : float, default=0.6
        Share of patches to hide. Much less makes the task one of filling small gaps, much more
        one of guessing.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches anywhere, or one connected region (harder; half a point worse in the paper).
    decoder_depth : int, optional
        Blocks of the decoder; from `size` unless given. A deep one leaves less to the encoder.
    reconstruction_loss : {"cdl2", "cdl1"}, default="cdl2"
        Chamfer distance of rebuilt patches, squared or plain.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of the decoder.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. The paper: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. The paper: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW, as in the paper.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. The paper: 10.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine_epoch"`` changes the rate once an epoch as the original does.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"scale_translate"`` (the paper's), ``"rotate_y"``, ``"rotate_z"``, ``"scale"``,
        ``"jitter"``, ``"drop"``, or a function of (points (B, N, C), generator).
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
    module_ : PointMAEPretraining or ReConPretraining
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
    `transform` gives maximum and mean over the patch tokens of the whole cloud. Point-MAE knows
    no class token while it learns, so none is there either in `transform`: an untrained one
    would disturb what the patches read. With ``block="recon"`` the three queries, which nothing
    trains here and patches never read, are left out too. A classifier that starts from
    ``module_.encoder`` trains a class token, or queries, of its own, as the paper does.

    References
    ----------
    Pang, Wang, Tay, Liu, Tian, Yuan, "Masked Autoencoders for Point Cloud Self-supervised
    Learning", ECCV 2022, arXiv 2203.06604.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointMAEPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointMAEPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 384)
    >>> pre.reconstruct(X[:1]).rebuilt[0].shape
    (32, 3)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        block: str = "plain",
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_ratio: float = 0.6,
        mask_type: str = "rand",
        decoder_depth: int | None = None,
        reconstruction_loss: str = "cdl2",
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
        self.block = block
        self.n_points = n_points
        self.n_groups = n_groups
        self.group_size = group_size
        self.mask_ratio = mask_ratio
        self.mask_type = mask_type
        self.decoder_depth = decoder_depth
        self.reconstruction_loss = reconstruction_loss
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

    @property
    def encoder_model(self) -> str:  # type: ignore[override]
        return "recon_nano" if self.block == "recon" else "transformer"

    def _check_params(self) -> None:
        super()._check_params()
        check_option("block", self.block, tuple(_MODULES))
        check_option("mask_type", self.mask_type, ("rand", "block"))
        check_option("reconstruction_loss", self.reconstruction_loss, ("cdl2", "cdl1"))
        if self.decoder_depth is not None:
            check_int("decoder_depth", self.decoder_depth)

    def _architecture(self) -> dict[str, Any]:
        depth = self.decoder_depth
        return {
            "block": self.block,
            "decoder_depth": _DECODER_DEPTHS[self.size] if depth is None else depth,
            "mask_ratio": self.mask_ratio,
            "mask_type": self.mask_type,
        }

    def _build_module(self) -> nn.Module:
        numbers = dict(self.architecture_)
        return _MODULES[numbers.pop("block")](**numbers)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.module_(points, generator=generator)
        loss = rebuilding_loss(out, kind=self.reconstruction_loss)
        return loss, {"reconstruction": loss}

    def _features(self, points: Tensor) -> Tensor:
        if self.architecture_["block"] == "recon":
            tokens = self.module_.encoder.forward_features(points)[:, N_QUERIES:]
        else:
            tokens = self.module_.forward_tokens(points)
        return torch.cat([tokens.amax(dim=1), tokens.mean(dim=1)], dim=1)
