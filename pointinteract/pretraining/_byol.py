"""BYOL as an estimator: predict what a slow copy of the network makes of the other view."""

from typing import Any

import torch
from torch import Tensor, nn

from pointinteract.losses import bootstrap_loss
from pointinteract.models.contrast import BootstrapNetwork
from pointinteract.pretraining._views import DEFAULT_VIEWS, ViewPretrainer, spread, two_views
from pointinteract.training.schedules import half_cosine

__all__ = ["BYOLPretrainer"]


class BYOLPretrainer(ViewPretrainer):
    """Bootstrapping: pre-train any network by predicting its own slow copy on another view.

    Every cloud is disturbed twice. From the one view the network predicts what a slow copy of
    itself, the target, makes of the other, and the other way round. No cloud is compared with
    any other; that the answer does not become the same for all of them hangs on the prediction
    and on batch normalization, and is watched by ``spread``.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models`, or a class taking ``n_channels`` and
        ``n_classes``; any network that answers a pooled feature will do.
    views : str, tuple of str or callable, default=("crop", "scale", "translate_mild", "jitter")
        What is done to a cloud, in turn, to make a view of it: any of ``"crop"``,
        ``"cut_out"``, ``"drop"``, ``"jitter"``, ``"normalize"``, ``"rotate_y"``,
        ``"rotate_z"``, ``"scale"``, ``"scale_mild"``, ``"scale_wide"``, ``"scale_translate"``,
        ``"shuffle"``, ``"tilt"``, ``"translate_mild"``, ``"translate_wide"``, or a function of
        (points (B, N, C), generator). The network learns not to see what they change, so leave
        out what matters: with rotations, which way up a thing stands.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    momentum : float in [0, 1], default=0.99
        Share of the target that the first step keeps; it rises to 1 along half a cosine over
        the training. Published: 0.996, for trainings of many thousands of steps.
    average_buffers : bool, default=False
        Whether the statistics of batch normalization follow too, as in STRL, beside seeing the
        views themselves. What is learned does not depend on it: in training those of the batch
        count. It changes what the target answers afterwards, in `similarity`.
    projection_hidden, projection_width : int, default=512, 128
        Widths within and after the projection, and the prediction. Published: 4096 and 256.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
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
    module_ : BootstrapNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use. The target is
        part of it.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, ``bootstrap`` (of both directions), ``spread`` of the
        predictions of a batch (0 if all are the same, about 1 at best), ``momentum``, learning
        rate and seconds.
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
    Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning",
    NeurIPS 2020.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import BYOLPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = BYOLPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    >>> pre.similarity(X).similarity.shape
    (16, 16)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        views: Any = DEFAULT_VIEWS,
        backbone_options: dict[str, Any] | None = None,
        momentum: float = 0.99,
        average_buffers: bool = False,
        projection_hidden: int = 512,
        projection_width: int = 128,
        n_points: int | None = 1024,
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.backbone = backbone
        self.views = views
        self.backbone_options = backbone_options
        self.momentum = momentum
        self.average_buffers = average_buffers
        self.projection_hidden = projection_hidden
        self.projection_width = projection_width
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.warm_start = warm_start
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return BootstrapNetwork(encoder, hidden=numbers["hidden"], width=numbers["width"])

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        network = self.module_
        first, second = two_views(points, self.views, generator)
        # One after the other: BatchNorm sees one kind of view at a time.
        of_first, auxiliary = network(first), self._auxiliary_loss()
        of_second = network(second)
        auxiliary = (auxiliary + self._auxiliary_loss()) / 2
        bootstrap = bootstrap_loss(of_first, network.targets(second))
        bootstrap = bootstrap + bootstrap_loss(of_second, network.targets(first))
        parts = {
            "bootstrap": bootstrap,
            "spread": spread(of_first),
            "momentum": torch.tensor(self._momentum_now(), device=points.device),
        }
        return bootstrap + auxiliary, parts

    def _after_step(self) -> None:
        self.module_.follow(self._momentum_now(), buffers=self.average_buffers)

    def _momentum_now(self) -> float:
        """Momentum in force, from the epochs trained when the step began."""
        return half_cosine(self._run.time, self.momentum, 1.0, length=self.max_epochs)

    def _embed_second(self, points: Tensor) -> Tensor:
        return self.module_.targets(points)
