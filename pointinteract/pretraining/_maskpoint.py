"""MaskPoint as an estimator: tell points of a mostly hidden cloud from other places."""

from typing import Any

import torch
import torch.nn.functional as F
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import query_discrimination_loss, queue_contrast_loss
from pointinteract.losses.discrimination import QUERY_LOSSES
from pointinteract.models.maskpoint import MaskPointNetwork, MaskPointPretraining
from pointinteract.ops import farthest_point_sample, gather
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.pretraining._queries import place_queries
from pointinteract.pretraining._queue import choose_queue_length
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["MaskPointPretrainer"]

# In a queue whose length nobody chose.
MOST_KEYS = 1024

# What the sizes of the transformer do not say.
_FURTHER: dict[str, dict[str, Any]] = {
    "base": {"patch_width": 256, "n_projected": 512},
    "nano": {"patch_width": None, "n_projected": 128},
}


class MaskPointPretrainer(PatchPretrainer):
    """Masked discrimination: pre-train a point-cloud transformer by telling real from fake.

    Nine tenths of the patches of each cloud are hidden. A transformer reads the others, and
    queries, which are points of the cloud or random places around it, are classified from what
    it says.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        Size of the network. ``"base"`` is the published one (24 million parameters while
        pre-training); ``"nano"`` (2 million) is for a laptop.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given.
    mask_ratio : float, default=0.9
        Share of patches to hide, the same ones in all clouds of a step.
    n_real, n_fake : int, default=256
        Queries of either kind in a step. Clouds of fewer points ask for all of them.
    real_queries : {"points", "centers"}, default="points"
        Real queries are farthest points of the cloud, or the centers of its patches.
    ambiguous_distance : float or None, default=None
        Fake queries nearer than this to a point are left out. None: the mean distance between
        real queries that are neighbors, cloud by cloud. 0 keeps all.
    decoder_depth : int, default=1
        Blocks in which queries read the patches.
    query_loss : {"focal", "bce", "softmax"}, default="focal"
        See :func:`pointinteract.losses.query_discrimination_loss`.
    contrast : bool, default=False
        Whether class tokens are contrasted with those of other clouds as well (momentum
        contrast), which takes a second pass by a second network. Off in the published training.
    contrast_weight : float, default=0.01
        Weight of the contrast in the loss, the queries having 1.
    temperature : float, default=0.07
        Of the contrast. Smaller values look at the hardest negatives only.
    momentum : float, default=0.99
        Share that the second network keeps of itself in a step. Published: 0.999, for
        trainings of a hundred thousand steps.
    queue_length : int or None, default=None
        Earlier clouds in the queue; more than there are clouds do harm, as the cloud itself is
        then among them. None: half as many as the clouds of `fit`, at most 1024. Published:
        16384.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. The paper: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. The paper: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. The paper: 5e-4.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. The paper: 3.
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
    module_ : MaskPointPretraining
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms ``queries`` and, if there is one, ``contrast``
        (not weighted), ``accuracy`` on queries that are not ambiguous, learning rate, seconds.
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
    `transform` gives maximum and mean over the patch tokens of the whole cloud. The paper's
    linear probe reads the projected class token, which only the contrast trains.

    References
    ----------
    Liu, Cai, Lee, "Masked Discrimination for Self-Supervised Learning on Point Clouds",
    ECCV 2022, arXiv 2203.11183.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import MaskPointPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = MaskPointPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 384)
    >>> sorted(pre.discriminate(X[:1]))
    ['accuracy', 'label', 'queries', 'score', 'visible']
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_ratio: float = 0.9,
        n_real: int = 256,
        n_fake: int = 256,
        real_queries: str = "points",
        ambiguous_distance: float | None = None,
        decoder_depth: int = 1,
        query_loss: str = "focal",
        contrast: bool = False,
        contrast_weight: float = 0.01,
        temperature: float = 0.07,
        momentum: float = 0.99,
        queue_length: int | None = None,
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
        self.group_size = group_size
        self.mask_ratio = mask_ratio
        self.n_real = n_real
        self.n_fake = n_fake
        self.real_queries = real_queries
        self.ambiguous_distance = ambiguous_distance
        self.decoder_depth = decoder_depth
        self.query_loss = query_loss
        self.contrast = contrast
        self.contrast_weight = contrast_weight
        self.temperature = temperature
        self.momentum = momentum
        self.queue_length = queue_length
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

    def discriminate(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Hide most of the clouds, and classify queries from the rest.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses the patches to hide and the fake queries.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``visible`` (V K, 3), the points that the
            network saw; ``queries`` (Q, 3), real ones first; ``label`` (Q,), 1 real, 0 fake and
            -1 ambiguous; ``score`` (Q,), how sure the network is that each is real, from 0 to
            1; ``accuracy`` (float), its share of right answers among those not ambiguous. All
            in the normalised coordinates that the network works in.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            queries, labels = self._ask(points, generator)
            out = self.module_(points, queries, generator=generator)
            neighborhoods, centers = self.module_.encoder.patches(points)
            placed = neighborhoods[..., :3] + centers.unsqueeze(2)
            result.visible.append(placed[0, ~out.mask].flatten(0, 1).cpu().numpy())
            result.queries.append(queries[0].cpu().numpy())
            result.label.append(labels[0].cpu().numpy())
            result.score.append(out.logits[0].softmax(dim=1)[:, 1].cpu().numpy())
            result.accuracy.append(float(_accuracy(out.logits, labels)))

        return self._show(X, ("visible", "queries", "label", "score", "accuracy"), look)

    def _ask(self, points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, 3) about clouds (B, N, C), and their labels (B, Q)."""
        xyz = points[..., :3]
        wanted = self.n_real if self.real_queries == "points" else self.architecture_["n_groups"]
        real = gather(xyz, farthest_point_sample(xyz, min(wanted, xyz.shape[1])))
        draws = torch.rand(len(xyz), self.n_fake, 3, generator=generator)
        return place_queries(xyz, real, draws, self.ambiguous_distance)

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("n_real", "n_fake", "decoder_depth"):
            check_int(name, getattr(self, name))
        if self.queue_length is not None:
            check_int("queue_length", self.queue_length)
        check_option("real_queries", self.real_queries, ("points", "centers"))
        check_option("query_loss", self.query_loss, QUERY_LOSSES)
        if self.ambiguous_distance is not None:
            check_real("ambiguous_distance", self.ambiguous_distance)
        check_real("contrast_weight", self.contrast_weight)
        check_real("temperature", self.temperature, open_minimum=True)
        check_real("momentum", self.momentum, maximum=1.0)

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        super()._settle(clouds, sources)
        self.architecture_["queue_length"] = choose_queue_length(
            self.queue_length, len(clouds), most=MOST_KEYS
        )

    def _architecture(self) -> dict[str, Any]:
        return {
            **_FURTHER[self.size],
            "decoder_depth": self.decoder_depth,
            "mask_ratio": self.mask_ratio,
            "contrast": bool(self.contrast),
            "momentum": self.momentum,
        }

    def _build_module(self) -> nn.Module:
        numbers = dict(self.architecture_)
        names = ("mask_ratio", "contrast", "momentum", "queue_length")
        further = {name: numbers.pop(name) for name in names}
        return MaskPointPretraining(MaskPointNetwork(**numbers), **further)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        module = self.module_
        queries, labels = self._ask(points, generator)
        out = module(points, queries, generator=generator)
        loss = query_discrimination_loss(out.logits, labels, kind=self.query_loss)
        parts = {"queries": loss, "accuracy": _accuracy(out.logits, labels)}
        if module.key is not None:
            keys = module.keys(points, generator=generator)
            parts["contrast"] = queue_contrast_loss(
                out.projected, keys, module.queue.queue, temperature=self.temperature
            )
            module.queue.push(F.normalize(keys, dim=1))
            loss = loss + self.contrast_weight * parts["contrast"]
        return loss, parts


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of queries not ambiguous that are told right; (B, Q, 2), (B, Q) to a scalar."""
    kept = labels >= 0
    return (logits.argmax(dim=2) == labels)[kept].float().mean()
