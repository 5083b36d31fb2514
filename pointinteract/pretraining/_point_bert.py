"""Point-BERT as an estimator: learn words for patches, then guess those of hidden ones."""

from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import patch_chamfer_loss
from pointinteract.models.discrete_vae import DiscreteVAE
from pointinteract.models.point_bert import PointBERTPretraining
from pointinteract.models.point_transformer import transformer_sizes
from pointinteract.pretraining._discrete_vae import DiscreteVAEPretrainer
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.pretraining._point_bert_losses import point_bert_losses
from pointinteract.pretraining._queue import choose_queue_length
from pointinteract.pretraining._two_stages import (
    check_same_patches,
    first_stage_settings,
    fitted_first_stage,
)
from pointinteract.utils._params import check_int, check_option, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["PointBERTPretrainer"]

# In a queue whose length nobody chose.
MOST_KEYS = 1024


class PointBERTPretrainer(PatchPretrainer):
    """Masked point modelling: guess the words of hidden patches of a cloud.

    In a first stage a tokenizer learns words for patches. In the second patches of each cloud
    are hidden, and a transformer guesses their words; so it does for clouds that are mixed of
    two. Beside it, clouds are told from each other, and mixed clouds told what they are of, by
    momentum contrast.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        Size of both networks. ``"base"`` is published (25.5 million parameters learn in the
        second stage, 78.6 million are held); ``"nano"`` (2 million) is for a laptop.
    tokenizer : DiscreteVAEPretrainer, DiscreteVAE module or None, default=None
        Where the words come from. A fitted one is used as it is, one that is not is cloned and
        fitted in `fit`. None makes one of equal `size` and fits it, for `tokenizer_epochs`.
    tokenizer_epochs : int, default=50
        Epochs of the first stage, also where `max_epochs` is 0. Published: 300.
    n_points : int or None, default=1024
        Points of a cloud that the networks see; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; those of the tokenizer, which is made with them.
    mask_range : (float, float), default=(0.25, 0.45)
        Between these a share of patches is drawn for each cloud, and hidden; at least one is.
    mask_type : {"block", "rand"}, default="block"
        Hide the patches nearest to one of them, or (at one share a batch) any.
    replace_share : float, default=0.0
        Chance of a visible patch to be replaced by another of the batch, and guessed too.
    moco : bool, default=True
        Whether clouds are contrasted with a queue of earlier ones. The paper does; the released
        configuration does not.
    mixing : bool, default=True
        Whether clouds are mixed, their words guessed and they contrasted too.
    queue_length : int or None, default=None
        Earlier clouds in the queue; more than there are clouds do harm, as the cloud itself is
        then among them. None: half as many as the clouds of `fit`, at most 1024. Published:
        16384.
    contrast_width : int, default=128
        Channels in which clouds are contrasted. Published: 512.
    momentum : float, default=0.99
        Share of itself that the key network keeps at each step. Published: 0.999, for trainings
        of a hundred thousand steps.
    temperature : float, default=0.07
        Of both contrasts; smaller values look at the most similar clouds only.
    tokenizer_batch_statistics : bool, default=False
        Whether the tokenizer normalises with the statistics of the batch in the second stage.
        True is what the published code does, by an oversight: the word of a patch then depends
        on the other clouds of the batch, and what the tokenizer stored drifts.
    features : {"patches", "contrast"}, default="patches"
        What `transform` answers: maximum and mean of the patches' tokens, or what is contrasted
        (as the published linear probe).
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder.
    max_epochs : int, default=100
        Passes over the clouds in the second stage; 0 leaves the network as it starts, with the
        patch embedding of the tokenizer. Published: 300.
    batch_size : int, default=64
        Clouds a step, in both stages, and clouds a batch in queries. Published: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: 5e-4.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. Published: 3.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` by the published rule.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``, ``"scale_translate"``, ``"jitter"``,
        ``"drop"``, or a function of (points (B, N, C), generator). In the second stage only.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first.
    checkpoint : str, path or None, default=None
        File to keep the state of training in, written whole after epochs. A `fit` of the same
        clouds and parameters that finds it goes on from there, to the same numbers to the last
        bit (on the CPU). The first stage has a file of its own beside it, with ``-tokenizer``
        in its name.
    device : str, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Same integer, same numbers (on the CPU to the last bit).

    Attributes
    ----------
    module_ : PointBERTPretraining
        Both networks; ``module_.encoder`` is what downstream tasks use and
        ``module_.tokenizer`` that of the first stage.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms, ``accuracy`` (share of hidden words guessed right
        in clouds that are not mixed), learning rate and seconds.
    tokenizer_history_ : DataFrame or None
        The same of the first stage; None if a module was given.
    n_epochs_ : int
        Epochs trained in the second stage.
    n_features_in_ : int
        Channels of a point.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
        Where the networks live.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, arXiv 2111.14819.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointBERTPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointBERTPretrainer(n_groups=8, group_size=8, tokenizer_epochs=1, max_epochs=1,
    ...                           random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 384)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        tokenizer: Any = None,
        tokenizer_epochs: int = 50,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_range: tuple[float, float] = (0.25, 0.45),
        mask_type: str = "block",
        replace_share: float = 0.0,
        moco: bool = True,
        mixing: bool = True,
        queue_length: int | None = None,
        contrast_width: int = 128,
        momentum: float = 0.99,
        temperature: float = 0.07,
        tokenizer_batch_statistics: bool = False,
        features: str = "patches",
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
        self.tokenizer = tokenizer
        self.tokenizer_epochs = tokenizer_epochs
        self.n_points = n_points
        self.n_groups = n_groups
        self.group_size = group_size
        self.mask_range = mask_range
        self.mask_type = mask_type
        self.replace_share = replace_share
        self.moco = moco
        self.mixing = mixing
        self.queue_length = queue_length
        self.contrast_width = contrast_width
        self.momentum = momentum
        self.temperature = temperature
        self.tokenizer_batch_statistics = tokenizer_batch_statistics
        self.features = features
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
        """Hide patches of clouds, guess their words, and make points of them.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses the patches to hide.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``visible`` (V K, 3), the points that the
            network saw; ``rebuilt`` (M L, 3), what the tokenizer makes of the words guessed;
            ``target`` (M K, 3), the truth; ``error`` (float), their squared Chamfer distance,
            patch by patch; ``words`` (G,), with the guessed ones, and ``accuracy`` (float), the
            share of them that is right. All in the normalised coordinates that the network
            works in.
        """
        generator = make_generator(draw_seed(random_state))
        names = ("visible", "rebuilt", "target", "error", "words", "accuracy")
        return self._show(X, names, lambda result, points: self._guess(result, points, generator))

    def _guess(self, result: Bunch, points: Tensor, generator: torch.Generator) -> None:
        tokenizer, query = self.module_.tokenizer, self.module_.query
        neighborhoods, centers = tokenizer.patches(points)
        truth = tokenizer.token_logits(neighborhoods, centers).argmax(dim=-1)
        mask = self.module_.draw_mask(centers, generator)
        tokens, _ = query(neighborhoods, centers, mask)
        guesses = query.token_head(tokens[:, 1:]).argmax(dim=-1)
        words = torch.where(mask, guesses, truth)
        _, fine = tokenizer.decode(tokenizer.features(tokenizer.codebook[words], centers))
        placed = neighborhoods[..., :3] + centers.unsqueeze(2)
        rebuilt = fine + centers.unsqueeze(2)
        result.visible.append(placed[~mask].flatten(0, 1).cpu().numpy())
        result.rebuilt.append(rebuilt[mask].flatten(0, 1).cpu().numpy())
        result.target.append(placed[mask].flatten(0, 1).cpu().numpy())
        result.error.append(float(patch_chamfer_loss(rebuilt[mask][None], placed[mask][None])))
        result.words.append(words[0].cpu().numpy())
        result.accuracy.append(float((guesses == truth)[mask].float().mean()))

    def _check_params(self) -> None:
        super()._check_params()
        if not (isinstance(self.mask_range, (tuple, list)) and len(self.mask_range) == 2):
            raise ValueError(f"mask_range must be two shares, got {self.mask_range!r}.")
        low = check_real("the lower mask_range", self.mask_range[0], maximum=1.0)
        check_real("the upper mask_range", self.mask_range[1], minimum=low, maximum=1.0)
        check_option("mask_type", self.mask_type, ("block", "rand"))
        check_option("features", self.features, ("patches", "contrast"))
        for name in ("replace_share", "momentum"):
            check_real(name, getattr(self, name), maximum=1.0)
        check_real("temperature", self.temperature, open_minimum=True)
        check_int("tokenizer_epochs", self.tokenizer_epochs, minimum=0)
        check_int("contrast_width", self.contrast_width)
        if self.queue_length is not None:
            check_int("queue_length", self.queue_length)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor]:
        tokenizer, self.tokenizer_history_ = self._learn_words(clouds)
        self._check_tokenizer(tokenizer)
        sizes = transformer_sizes(self.size)
        names = ("contrast_width", "momentum", "mask_type", "replace_share", "mixing",
                 "tokenizer_batch_statistics", "drop_path")
        self.architecture_ = {
            "tokenizer": tokenizer.numbers,
            **{name: sizes[name] for name in ("width", "depth", "n_heads")},
            **{name: getattr(self, name) for name in names},
            "mask_range": tuple(self.mask_range),
            "queue_length": choose_queue_length(
                self.queue_length, len(clouds), most=MOST_KEYS
            ),
            "keys": self.moco or self.mixing,
        }
        weights = {f"tokenizer.{name}": value for name, value in tokenizer.state_dict().items()}
        embedding = tokenizer.patch_embedding.state_dict()
        for network in ("query", "key"):
            weights |= {f"{network}.encoder.patch_embedding.{name}": value
                        for name, value in embedding.items()}
        return weights

    def _learn_words(self, clouds: Clouds) -> tuple[Any, Any]:
        """The module of the tokenizer, fitted if it is not yet, and its record."""
        given = self.tokenizer
        if isinstance(given, nn.Module):
            return given, None
        if given is None:
            given = DiscreteVAEPretrainer(
                self.size,
                max_epochs=self.tokenizer_epochs,
                **first_stage_settings(self, "tokenizer"),
            )
        elif not hasattr(given, "fit"):
            raise TypeError(
                "tokenizer must be a DiscreteVAEPretrainer, a DiscreteVAE module or None, got "
                f"{type(given).__name__}."
            )
        return fitted_first_stage(given, clouds)

    def _check_tokenizer(self, tokenizer: Any) -> None:
        if type(tokenizer) is not DiscreteVAE:
            raise TypeError(
                "tokenizer must bring a DiscreteVAE, as DiscreteVAEPretrainer does; got "
                f"{type(tokenizer).__name__}."
            )
        check_same_patches(
            self,
            self._n_channels,
            tokenizer.numbers,
            owner="tokenizer",
            reason="patches must be those that the words were learned for",
        )

    def _build_module(self) -> nn.Module:
        numbers = dict(self.architecture_)
        return PointBERTPretraining(DiscreteVAE(**numbers.pop("tokenizer")), **numbers)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        module = self.module_
        module.follow_query()  # before the key network reads, and not after the step, as published
        out = module(points, generator=generator)
        losses = point_bert_losses(
            out, module.queue.queue, temperature=self.temperature, moco=self.moco
        )
        if out.keys is not None:
            module.remember(out.keys)
        right = out.logits.detach().argmax(dim=1) == out.labels[out.guessed]
        return torch.stack(list(losses.values())).sum(), losses | {
            "accuracy": right.float().mean()
        }

    def _features(self, points: Tensor) -> Tensor:
        if self.features == "patches":
            return super()._features(points)
        return self.module_.query.contrast(self.module_.encoder.forward_features(points))

    def _count_features(self) -> int:
        if self.features == "patches":
            return super()._count_features()
        return int(self.architecture_["contrast_width"])
