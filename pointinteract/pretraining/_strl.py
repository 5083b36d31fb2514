"""STRL as an estimator: BYOL on strongly disturbed clouds, with a target averaged whole."""

from typing import Any

from pointinteract.pretraining._byol import BYOLPretrainer
from pointinteract.pretraining._views import STRL_VIEWS

__all__ = ["STRLPretrainer"]


class STRLPretrainer(BYOLPretrainer):
    """STRL: pre-train any network by predicting its own slow copy on another view of a cloud.

    `BYOLPretrainer` with the views of the paper (crops, cut-outs, small rotations, shifts,
    noise and missing points) and a target that follows as a whole, statistics of batch
    normalization included.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models`, or a class taking ``n_channels`` and
        ``n_classes``; any network that answers a pooled feature will do.
    views : str, tuple of str or callable, default=("crop", "normalize", "cut_out", \
            "scale_mild", "tilt", "translate_mild", "jitter", "drop")
        What is done to a cloud, in turn, to make a view of it; see `SimCLRPretrainer`. The
        original first thickens clouds to twice their points and draws as many as there were
        from what is left; here copies take the places of points that are gone.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    momentum : float in [0, 1], default=0.99
        Share of the target that the first step keeps; it rises to 1 along half a cosine over
        the training. Published: 0.996, for 180,000 steps.
    average_buffers : bool, default=True
        Whether the statistics of batch normalization follow too, beside seeing the views
        themselves. What is learned does not depend on it: in training those of the batch
        count. It changes what the target answers afterwards, in `similarity`.
    projection_hidden, projection_width : int, default=512, 128
        Widths within and after the projection, and the prediction. Published: 4096 and 256.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole. Published: 2048.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 100 of
        57,448 clouds, 50 on PointNet.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: Adam at 1e-3 within LARS.
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
    Huang, Xie, Zhu, Zhu, "Spatio-Temporal Self-Supervised Representation Learning for 3D Point
    Clouds", ICCV 2021. There, neighboring frames of a depth camera are views too.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import STRLPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = STRLPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    >>> pre.similarity(X).similarity.shape
    (16, 16)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        views: Any = STRL_VIEWS,
        backbone_options: dict[str, Any] | None = None,
        momentum: float = 0.99,
        average_buffers: bool = True,
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
        super().__init__(
            backbone,
            views=views,
            backbone_options=backbone_options,
            momentum=momentum,
            average_buffers=average_buffers,
            projection_hidden=projection_hidden,
            projection_width=projection_width,
            n_points=n_points,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
            schedule=schedule,
            warm_start=warm_start,
            normalize=normalize,
            checkpoint=checkpoint,
            device=device,
            random_state=random_state,
        )
