"""PointContrast as an estimator: find the points of one partial view of a cloud in another."""

import warnings
from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses.dense_contrast import hardest_contrast_loss, point_contrast_loss
from pointinteract.models.dense_contrast import PointEmbeddingNetwork
from pointinteract.ops import gather
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.pretraining._field_lessons import has_normals
from pointinteract.pretraining._overlap import (
    Overlap,
    camera_views,
    crop_views,
    find_overlap,
    turn_views,
)
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["PointContrastPretrainer"]


class PointContrastPretrainer(BackbonePretrainer):
    """PointContrast: pre-train any network of points by matching the points of two views.

    Two overlapping parts of each cloud are turned at random, and every point gets a vector. That
    of a point in one part is to be like its own in the other, and unlike those of other points.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models` whose network answers features of every
        point: ``"dgcnn"``, ``"pointnet"``, ``"pointnet_basic"`` or one that was registered; or
        a class taking ``n_channels`` and ``n_classes``. Networks of patch tokens do not fit.
    loss : {"infonce", "hardest"}, default="infonce"
        :func:`pointinteract.losses.point_contrast_loss` among all matches of the batch, or
        :func:`pointinteract.losses.hardest_contrast_loss` within each cloud. The paper found the
        first easier to train.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    views : {"crop", "camera"}, default="crop"
        What a view holds: the points nearest to a random one, or those that a camera sees.
    keep : float, default=0.65
        Share of the points that a crop keeps. Two of 0.65 always share 30 % of the points, the
        least overlap of the published pairs.
    camera_distance : float, default=2.0
        From the mean of the cloud, in units of its radius, above 1.
    max_angle : float, default=60.0
        Degrees between the directions of the two cameras, at most. Larger ones share less.
    turn : {"all", "x", "y", "z", "none"}, default="all"
        Axes about which each view is turned at random; published: all. About the vertical one
        alone, features may tell above from below, which helps with clouds that stand upright.
    noise : float, default=0.01
        Standard deviation of what is added to the coordinates of each view.
    n_matches : int, default=64
        Matches a cloud in the loss. Published: 4096 a batch (``"infonce"``), 1024 a scan
        (``"hardest"``).
    temperature : float, default=0.07
        Of ``"infonce"``; the published script has 0.4.
    n_candidates : int, default=256
        Of ``"hardest"``: points of each view among which the most similar wrong one is found.
    n_embedding : int, default=32
        Width of the vectors of points.
    hidden : int, default=256
        Channels of the layer between features of points and vectors.
    n_points : int or None, default=1024
        Points of a cloud that views are made from, and that `transform` sees; larger clouds are
        thinned by farthest point sampling. None takes them whole.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 60,000
        steps.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: SGD at 0.1, with momentum 0.8.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    augmentation : None, str, tuple of str or callable, default=None
        Applied to clouds before views are made of them; any of ``"rotate_y"``, ``"rotate_z"``,
        ``"scale"``, ``"scale_translate"``, ``"jitter"``, ``"drop"``, or a function of
        (points (B, N, C), generator). Both views share it.
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first. Views
        stay where they were in the whole.
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
    module_ : PointEmbeddingNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, learning rate and seconds; with ``"infonce"`` also
        ``accuracy`` (share of points whose match in the batch has the most similar vector), with
        ``"hardest"`` the terms ``positive`` and ``negative``.
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
    Published on pairs of depth frames of rooms, registered to each other, with a sparse
    convolutional U-Net. That network needs MinkowskiEngine, which needs a compiler and CUDA, so
    it is not here; views are made of single clouds, which match by construction. Channels 4 to 6
    that hold vectors of length 1 are taken for normals, and turn with the views.

    References
    ----------
    Xie, Gu, Guo, Qi, Guibas, Litany, "PointContrast: Unsupervised Pre-training for 3D Point
    Cloud Understanding", ECCV 2020.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointContrastPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointContrastPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        loss: str = "infonce",
        backbone_options: dict[str, Any] | None = None,
        views: str = "crop",
        keep: float = 0.65,
        camera_distance: float = 2.0,
        max_angle: float = 60.0,
        turn: str = "all",
        noise: float = 0.01,
        n_matches: int = 64,
        temperature: float = 0.07,
        n_candidates: int = 256,
        n_embedding: int = 32,
        hidden: int = 256,
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
        self.loss = loss
        self.backbone_options = backbone_options
        self.views = views
        self.keep = keep
        self.camera_distance = camera_distance
        self.max_angle = max_angle
        self.turn = turn
        self.noise = noise
        self.n_matches = n_matches
        self.temperature = temperature
        self.n_candidates = n_candidates
        self.n_embedding = n_embedding
        self.hidden = hidden
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

    def correspondences(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Make two views of clouds and look for the points of one in the other.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses and turns the views.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``first`` and ``second`` (V, C), the views as
            the network saw them; ``matched`` (M, 2), rows of the two that are one point of the
            cloud; ``predicted`` (M,), the row of `second` whose vector is most like that of the
            point in `first`; ``accuracy`` (float), the share of points that are found; and
            ``distance`` (M,), how far in the cloud the point found is from the right one, in the
            normalised coordinates that the network works in. M is 0, and accuracy NaN, if the
            views share no point.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            overlap, seen = self._look(points, points.shape[1], generator)
            here, there = self.module_(seen)  # (V, D) each
            matched = overlap.match[0][overlap.valid[0]]  # (M, 2)
            likeness = here[matched[:, 0]] @ there.T
            predicted = likeness.argmax(dim=1)
            found, right = overlap.second[0, predicted], overlap.second[0, matched[:, 1]]
            away = points[0, found, :3] - points[0, right, :3]
            result.first.append(seen[0].cpu().numpy())
            result.second.append(seen[1].cpu().numpy())
            result.matched.append(matched.cpu().numpy())
            result.predicted.append(predicted.cpu().numpy())
            result.accuracy.append(float((found == right).float().mean()))
            result.distance.append(away.norm(dim=1).cpu().numpy())

        names = ("first", "second", "matched", "predicted", "accuracy", "distance")
        return self._show(X, names, look)

    def _look(
        self, points: Tensor, n_matches: int, generator: torch.Generator
    ) -> tuple[Overlap, Tensor]:
        """Two views of clouds: which points they hold, and (2 B, V, C), all first ones first."""
        n_points = points.shape[1]
        if self.views == "crop":
            visible = crop_views(points, self.keep, generator)
            n_view = int(visible[0][0].sum())
        else:
            visible = camera_views(points, self.camera_distance, self.max_angle, generator)
            n_view = max(1, n_points // 2)  # about what a camera sees of a closed surface
        overlap = find_overlap(visible, n_view, n_matches, generator)
        seen = torch.cat([gather(points, overlap.first), gather(points, overlap.second)])
        with_normals = self.architecture_["with_normals"]
        return overlap, turn_views(seen, self.turn, self.noise, with_normals, generator)

    def _check_params(self) -> None:
        super()._check_params()
        check_option("loss", self.loss, ("infonce", "hardest"))
        check_option("views", self.views, ("crop", "camera"))
        check_option("turn", self.turn, ("all", "x", "y", "z", "none"))
        check_real("keep", self.keep, minimum=0.5, maximum=1.0, open_minimum=True)
        check_real("camera_distance", self.camera_distance, minimum=1.0, open_minimum=True)
        check_real("max_angle", self.max_angle, maximum=180.0)
        check_real("noise", self.noise)
        check_real("temperature", self.temperature, open_minimum=True)
        for name in ("n_matches", "n_candidates", "n_embedding", "hidden"):
            check_int(name, getattr(self, name))

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        super()._settle(clouds, sources)
        self.architecture_["with_normals"] = has_normals(clouds)

    def _architecture(self) -> dict[str, Any]:
        return {"n_embedding": self.n_embedding, "hidden": self.hidden}

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return PointEmbeddingNetwork(
            encoder,
            n_channels=numbers["n_channels"],
            n_embedding=numbers["n_embedding"],
            hidden=numbers["hidden"],
        )

    def _check_lesson(self, stored: Tensor) -> None:
        if bool((stored == stored[:, :1]).all()):
            warnings.warn(
                "nothing to match: each cloud has but one point, "
                f"{stored.shape[1]} times over. Give clouds of more points.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        overlap, seen = self._look(points, self.n_matches, generator)
        first, second = self.module_(seen).chunk(2)  # (B, V, D) each
        if not bool(overlap.valid.any()):  # cameras that share nothing
            return 0 * first.sum() + self._auxiliary_loss(), {}
        compare = self._contrast_all if self.loss == "infonce" else self._contrast_each
        loss, parts = compare(first, second, overlap, generator)
        return loss + self._auxiliary_loss(), parts

    def _contrast_all(
        self, first: Tensor, second: Tensor, overlap: Overlap, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        here = gather(first, overlap.match[..., 0])[overlap.valid]  # (M, D)
        there = gather(second, overlap.match[..., 1])[overlap.valid]
        best = (here.detach() @ there.detach().T).argmax(dim=1)
        accuracy = (best == torch.arange(len(best), device=best.device)).float().mean()
        loss = point_contrast_loss(here, there, temperature=self.temperature)
        return loss, {"accuracy": accuracy}

    def _contrast_each(
        self, first: Tensor, second: Tensor, overlap: Overlap, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        losses, parts = [], []
        for i in overlap.valid.any(dim=1).nonzero()[:, 0].tolist():
            loss, terms = hardest_contrast_loss(
                first[i],
                second[i],
                overlap.match[i][overlap.valid[i]],
                overlap.first[i],
                overlap.second[i],
                n_candidates=self.n_candidates,
                generator=generator,
            )
            losses.append(loss)
            parts.append(terms)
        names = parts[0]
        means = {name: torch.stack([terms[name] for terms in parts]).mean() for name in names}
        return torch.stack(losses).mean(), means
