"""MoCo as an estimator: tell the other view of a cloud among a queue of other clouds."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import queue_contrast_loss
from pointinteract.models.contrast import MomentumContrast
from pointinteract.pretraining._queue import choose_queue_length
from pointinteract.pretraining._views import DEFAULT_VIEWS, ViewPretrainer, two_views
from pointinteract.utils._params import check_int

__all__ = ["MoCoPretrainer"]

# Of a queue whose length nobody chose.
MOST_KEYS = 4096


class MoCoPretrainer(ViewPretrainer):
    """Momentum contrast: pre-train any network by finding the other view of a cloud in a queue.

    Every cloud is disturbed twice. What the network makes of the one view, the query, is to
    resemble what a slow copy of the network makes of the other, the key, more than it resembles
    the keys of clouds that came before. So it is compared with many, even in small batches.

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
    temperature : float, default=0.07
        Smaller values look at the most similar other clouds only.
    momentum : float in [0, 1], default=0.99
        Share of the slow copy that a step keeps. Published: 0.999, for trainings of many
        thousands of steps; a copy that hardly moves in all of them teaches nothing.
    queue_length : int or None, default=None
        Keys that are compared with, at best a multiple of `batch_size`. Keys of the cloud
        itself, from the epoch before, would be mistaken for those of others, so more than there
        are clouds do harm. None: half as many as the clouds of the first `fit`, at most 4096.
        Published: 16384 of 52,470 clouds (Point-BERT).
    projection_hidden, projection_width : int, default=512, 128
        Widths of the two layers between the feature and what is compared. Point-BERT: 512
        and 512.
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
    module_ : MomentumContrast
        The trained network; ``module_.encoder`` is what downstream tasks use. The slow copy and
        the queue are part of it.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, ``contrast``, ``accuracy`` (share of queries that resembled
        their key the most), learning rate and seconds.
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
    He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation
    Learning", CVPR 2020.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import MoCoPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = MoCoPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
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
        temperature: float = 0.07,
        momentum: float = 0.99,
        queue_length: int | None = None,
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
        self.temperature = temperature
        self.momentum = momentum
        self.queue_length = queue_length
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

    def _check_params(self) -> None:
        super()._check_params()
        if self.queue_length is not None:
            check_int("queue_length", self.queue_length)

    def _architecture(self) -> dict[str, Any]:
        return super()._architecture() | {"queue_length": self.queue_length}

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        super()._settle(clouds, sources)
        n_keys = choose_queue_length(self.queue_length, len(clouds), most=MOST_KEYS)
        self.architecture_["n_keys"] = n_keys

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return MomentumContrast(
            encoder,
            hidden=numbers["hidden"],
            width=numbers["width"],
            queue_length=numbers["n_keys"],
        )

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        network, temperature = self.module_, self.temperature
        first, second = two_views(points, self.views, generator)
        queries = network(first)
        auxiliary = self._auxiliary_loss()
        # Before the keys are made, so that they come from a network as late as can be.
        network.follow(self.momentum)
        keys = F.normalize(network.keys(second), dim=1)
        contrast = queue_contrast_loss(queries, keys, network.queue.queue, temperature=temperature)
        with torch.no_grad():
            unit = F.normalize(queries, dim=1)
            most = (unit @ network.queue.queue).amax(dim=1)
            accuracy = ((unit * keys).sum(dim=1) > most).float().mean()
        network.queue.push(keys)
        return contrast + auxiliary, {"contrast": contrast, "accuracy": accuracy}

    def _embed_second(self, points: Tensor) -> Tensor:
        return self.module_.keys(points)
