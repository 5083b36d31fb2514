"""OcCo as an estimator: look at clouds from one side, and complete what the camera hid."""

import warnings
from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.exceptions import PointInteractWarning
from pointinteract.models.completion import CompletionNetwork
from pointinteract.ops import chamfer_distance
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.pretraining._camera import random_cameras, take_visible, visible_points
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["OcCoPretrainer"]

_NORMS = {"cdl1": 1, "cdl2": 2}
# Share of the training from which on the fine cloud counts so much. Published: steps 10, 20 and
# 50 thousand of about 154 thousand.
_RISE = ((0.325, 1.0), (0.13, 0.5), (0.065, 0.1), (0.0, 0.01))


class OcCoPretrainer(BackbonePretrainer):
    """Occlusion completion: pre-train any network by completing what a camera sees.

    A camera is placed at random around each cloud, points behind others are taken away, and
    from the pooled feature of what is left a decoder makes the whole cloud again.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models`, or a class taking ``n_channels`` and
        ``n_classes``; any network that answers a pooled feature will do.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    n_visible : int or None, default=None
        Points of what the camera sees that the network gets, repeated where fewer are seen.
        None: half as many as the cloud has, about what a camera sees of a closed surface.
    camera_distance : float, default=2.0
        From the mean of the cloud, in units of its radius, above 1. Nearer cameras see less.
    n_coarse : int, default=256
        Points of the coarse completion. Published: 1024.
    n_fold : int, default=2
        Side of the grid folded around each of them, which makes n_coarse * n_fold ** 2 points.
        Published: 4. Time of the decoder grows with their number.
    decoder_width : int, default=512
        Channels of the decoder.
    reconstruction_loss : {"cdl1", "cdl2"}, default="cdl1"
        Chamfer distance with plain distances (published), or squared.
    fine_weight : "rising" or float, default="rising"
        Weight of the fine cloud in the loss, the coarse one having 1. ``"rising"``: 0.01, 0.1,
        0.5 and 1, at the published shares of the training.
    n_points : int or None, default=1024
        Points of a cloud that are to be made again, and that `transform` sees; larger clouds
        are thinned by farthest point sampling. None takes them whole. Published: 16,384 points
        to be made of 1024 seen.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 50, with
        ten views a cloud.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: Adam at 1e-4, falling in steps.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    augmentation : None, str, tuple of str or callable, default=None
        Applied before the camera looks; any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``,
        ``"scale_translate"``, ``"jitter"``, ``"drop"``, or a function of (points (B, N, C),
        generator).
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first. What the
        camera sees stays where it was in the whole.
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
    module_ : CompletionNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, Chamfer distance of the ``coarse`` and the ``fine`` cloud,
        ``fine_weight``, learning rate and seconds.
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

    References
    ----------
    Wang, Liu, Yue, Lasenby, Kusner, "Unsupervised Point Cloud Pre-training via Occlusion
    Completion", ICCV 2021. There, depth pictures of meshes were rendered; here the clouds
    themselves are looked at.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import OcCoPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = OcCoPretrainer("pointnet_basic", n_coarse=16, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        backbone_options: dict[str, Any] | None = None,
        n_visible: int | None = None,
        camera_distance: float = 2.0,
        n_coarse: int = 256,
        n_fold: int = 2,
        decoder_width: int = 512,
        reconstruction_loss: str = "cdl1",
        fine_weight: Any = "rising",
        n_points: int | None = 1024,
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        augmentation: Any = None,
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.backbone = backbone
        self.backbone_options = backbone_options
        self.n_visible = n_visible
        self.camera_distance = camera_distance
        self.n_coarse = n_coarse
        self.n_fold = n_fold
        self.decoder_width = decoder_width
        self.reconstruction_loss = reconstruction_loss
        self.fine_weight = fine_weight
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.warm_start = warm_start
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def complete(self, X: Any, *, occlude: bool = True, random_state: Any = 0) -> Bunch:
        """Look at clouds from one side and make them whole again.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        occlude : bool, default=True
            Whether to take away what a camera does not see. False: X is seen from one side
            already, such as a scan; there is no truth to compare with then.
        random_state : int, RandomState instance or None, default=0
            Chooses the cameras and the points.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``partial`` (V, C), what the network saw;
            ``coarse`` (M, 3) and ``completed`` (L, 3), its guesses of the whole; with `occlude`
            also ``target`` (N, 3), the truth, and ``error`` (float), the squared Chamfer
            distance of `completed` to it. All in the normalised coordinates that the network
            works in.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            partial = self._look(points, generator) if occlude else points
            coarse, fine = self.module_(partial)
            result.partial.append(partial[0].cpu().numpy())
            result.coarse.append(coarse[0].cpu().numpy())
            result.completed.append(fine[0].cpu().numpy())
            if occlude:
                whole = points[..., :3]
                result.target.append(whole[0].cpu().numpy())
                result.error.append(float(chamfer_distance(fine, whole)))

        truth = ("target", "error") if occlude else ()
        return self._show(X, ("partial", "coarse", "completed", *truth), look)

    def _look(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """What a camera sees of each cloud: (B, N, C) to (B, V, C)."""
        cameras = random_cameras(points, generator, self.camera_distance)
        n_visible = self.n_visible or max(1, points.shape[1] // 2)
        return take_visible(points, visible_points(points, cameras), n_visible, generator)

    def _check_params(self) -> None:
        super()._check_params()
        if self.n_visible is not None:
            check_int("n_visible", self.n_visible)
        check_real("camera_distance", self.camera_distance, minimum=1.0, open_minimum=True)
        for name in ("n_coarse", "n_fold", "decoder_width"):
            check_int(name, getattr(self, name))
        check_option("reconstruction_loss", self.reconstruction_loss, tuple(_NORMS))
        if isinstance(self.fine_weight, str):
            check_option("fine_weight", self.fine_weight, ("rising",))
        else:
            check_real("fine_weight", self.fine_weight)

    def _architecture(self) -> dict[str, Any]:
        return {
            "n_coarse": self.n_coarse,
            "n_fold": self.n_fold,
            "decoder_width": self.decoder_width,
        }

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return CompletionNetwork(
            encoder,
            n_coarse=numbers["n_coarse"],
            n_fold=numbers["n_fold"],
            width=numbers["decoder_width"],
        )

    def _check_lesson(self, stored: Tensor) -> None:
        if bool((stored == stored[:, :1]).all()):
            warnings.warn(
                "nothing to complete: each cloud has but one point, "
                f"{stored.shape[1]} times over. Give clouds of more points.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )

    def _weigh_fine(self) -> float:
        """Weight of the fine cloud in the epoch now running."""
        if not isinstance(self.fine_weight, str):
            return float(self.fine_weight)
        progress = self._run.epoch / max(self.max_epochs, 1)
        return next(weight for share, weight in _RISE if progress >= share)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        coarse, fine = self.module_(self._look(points, generator))
        whole, norm = points[..., :3], _NORMS[self.reconstruction_loss]
        parts = {
            "coarse": chamfer_distance(coarse, whole, norm=norm),
            "fine": chamfer_distance(fine, whole, norm=norm),
            "fine_weight": torch.tensor(self._weigh_fine(), device=points.device),
        }
        loss = parts["coarse"] + parts["fine_weight"] * parts["fine"]
        return loss + self._auxiliary_loss(), parts
