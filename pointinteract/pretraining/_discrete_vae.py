"""The tokenizer of Point-BERT as an estimator: clouds as words of a vocabulary it learns."""

from typing import Any

import numpy as np
import torch
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses import (
    patch_chamfer_loss,
    token_reconstruction_loss,
    token_uniformity_loss,
)
from pointinteract.models.discrete_vae import DiscreteVAE, tokenizer_sizes
from pointinteract.pretraining._base import CloudPretrainer
from pointinteract.training.schedules import half_cosine
from pointinteract.utils._params import check_int, check_real

__all__ = ["DiscreteVAEPretrainer"]

# The weight of the uniform use of words waits for this part of the time of annealing.
_DELAY = 0.1


class DiscreteVAEPretrainer(CloudPretrainer):
    """Discrete variational autoencoder: learn a vocabulary of patches.

    Each patch of a cloud is turned into one of a number of words, and from the words alone the
    points of all patches are made again. :class:`PointBERTPretrainer` learns to guess the words
    of hidden patches.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        ``"base"`` is the published network (27.6 million parameters, 8192 words); ``"nano"``
        (0.8 million, 512 words) is for a laptop.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given. A patch of fewer than 4
        points is made of 4.
    n_tokens : int, optional
        Words of the vocabulary, a multiple of 4; from `size` unless given. Many words tell more
        apart, and are harder to guess.
    logit_gain : float, optional
        How far apart scores of words are at the start: 1 in ``"base"``, as published, and 4 in
        ``"nano"``, so that short trainings tell words apart above the noise of drawing them.
    temperature : (float, float), default=(1.0, 0.0625)
        Of drawing words, at the start and when annealing is over. At low temperatures training
        sees single words, as queries do, and no mixtures, and gradients get noisy.
    uniformity_weight : float, default=0.1
        To which the weight rises that all words are used alike. Without it few words are.
    anneal_share : float, default=0.5
        Share of the training in which the temperature falls, by half a cosine; the weight waits
        for a tenth as long, and rises as long. Published: 100,000 steps of about 197,000.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained. Published: 300.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries. Published: 64.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: 5e-4.
    weight_decay : float, default=5e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. Published: 10.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` by the published rule.
    augmentation : None, str, tuple of str or callable, default=None
        Any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``, ``"scale_translate"``, ``"jitter"``,
        ``"drop"``, or a function of (points (B, N, C), generator). Published: none.
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
    module_ : DiscreteVAE
        The trained network.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms, ``temperature``, ``n_words`` (different words in
        a batch), learning rate and seconds.
    n_epochs_ : int
        Epochs trained.
    n_features_in_ : int
        Channels of a point; coordinates alone are made again.
    n_points_fit_ : int or None
        If the clouds of `fit` differed in size: the size that smaller ones are brought to, by
        repeating points in turn, in training and in queries. None: clouds are taken as they are.
    device_ : str
        Where the network lives.
    seed_ : int
        Drawn from `random_state`; everything random of the fit follows from it.

    References
    ----------
    Yu, Tang, Rao, Huang, Zhou, Lu, "Point-BERT: Pre-training 3D Point Cloud Transformers with
    Masked Point Modeling", CVPR 2022, section 3.1.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import DiscreteVAEPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> vae = DiscreteVAEPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> vae.tokenize(X).shape
    (16, 8)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        n_tokens: int | None = None,
        logit_gain: float | None = None,
        temperature: tuple[float, float] = (1.0, 0.0625),
        uniformity_weight: float = 0.1,
        anneal_share: float = 0.5,
        max_epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        weight_decay: float = 5e-4,
        warmup_epochs: float = 2,
        schedule: str = "cosine",
        augmentation: Any = None,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.size = size
        self.n_points = n_points
        self.n_groups = n_groups
        self.group_size = group_size
        self.n_tokens = n_tokens
        self.logit_gain = logit_gain
        self.temperature = temperature
        self.uniformity_weight = uniformity_weight
        self.anneal_share = anneal_share
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

    def tokenize(self, X: Any) -> np.ndarray:
        """Say the word of every patch, the most likely one.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
            Clouds of fewer points than patches give as many words as they have points.

        Returns
        -------
        words : int64 array of shape (n_clouds, n_groups)
            From 0 to one less than the vocabulary has. `reconstruct` tells where they stand.
            Padded with -1 where clouds give fewer words than others.
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        n_groups = min(self.module_.n_groups, max(map(len, clouds)))

        def words(points: Tensor) -> Tensor:
            logits = self.module_.token_logits(*self.module_.patches(points))
            found = logits.argmax(dim=-1)
            return nn.functional.pad(found, (0, n_groups - found.shape[1]), value=-1)

        # Through floats, which hold whole numbers far beyond any vocabulary.
        return self._infer(clouds, words).astype(np.int64)

    def reconstruct(self, X: Any) -> Bunch:
        """Turn clouds into words and back.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``words`` (G,), the most likely ones;
            ``centers`` (G, 3), where they stand; ``coarse`` (G M, 3) and ``rebuilt`` (G L, 3),
            what the words say; ``target`` (G K, 3), the truth; ``error`` (float), the squared
            Chamfer distance of `rebuilt` to it, patch by patch. All in the normalised
            coordinates that the network works in.
        """

        def look(result: Bunch, points: Tensor) -> None:
            out = self.module_(points, hard=True, noise=torch.zeros(()).to(points))
            target, places = out.neighborhoods[..., :3], out.centers.unsqueeze(2)
            result.words.append(out.logits[0].argmax(dim=-1).cpu().numpy())
            result.centers.append(out.centers[0].cpu().numpy())
            for name, patches in (("coarse", out.coarse), ("rebuilt", out.fine),
                                  ("target", target)):
                result[name].append((patches + places)[0].flatten(0, 1).cpu().numpy())
            result.error.append(float(patch_chamfer_loss(out.fine, target)))

        return self._show(X, ("words", "centers", "coarse", "rebuilt", "target", "error"), look)

    def _check_params(self) -> None:
        super()._check_params()
        tokenizer_sizes(self.size)
        for name in ("n_groups", "group_size", "n_tokens"):
            if getattr(self, name) is not None:
                check_int(name, getattr(self, name))
        if self.n_tokens is not None and self.n_tokens % 4:
            raise ValueError(
                "n_tokens must be a multiple of 4, since words are normalised in four parts; "
                f"got {self.n_tokens}."
            )
        if self.logit_gain is not None:
            check_real("logit_gain", self.logit_gain, open_minimum=True)
        if not isinstance(self.temperature, (tuple, list)) or len(self.temperature) != 2:
            raise ValueError(
                "temperature must be two numbers, that of the start and that of the end; got "
                f"{self.temperature!r}."
            )
        for value in self.temperature:
            check_real("every temperature", value, open_minimum=True)
        check_real("uniformity_weight", self.uniformity_weight)
        check_real("anneal_share", self.anneal_share)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor] | None:
        self.architecture_ = tokenizer_sizes(self.size) | {
            name: getattr(self, name)
            for name in ("n_groups", "group_size", "n_tokens", "logit_gain")
            if getattr(self, name) is not None
        }
        self.architecture_["n_channels"] = self._n_channels
        return None

    def _build_module(self) -> nn.Module:
        return DiscreteVAE(**self.architecture_)

    def _anneal(self) -> tuple[float, float]:
        """Temperature, and weight of the uniform use of words, of the step now running."""
        passed = self._run.time / max(self.max_epochs, 1)
        share = self.anneal_share
        return (
            half_cosine(passed, *self.temperature, length=share),
            half_cosine(passed, 0.0, self.uniformity_weight, length=share, delay=_DELAY * share),
        )

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        temperature, weight = self._anneal()
        out = self.module_(points, temperature=temperature)
        parts = {
            "reconstruction": token_reconstruction_loss(
                out.coarse, out.fine, out.neighborhoods[..., :3]
            ),
            "uniformity": token_uniformity_loss(out.logits),
        }
        loss = parts["reconstruction"] + weight * parts["uniformity"]
        words = out.logits.detach().argmax(dim=-1).unique().numel()
        return loss, parts | {
            "temperature": points.new_tensor(temperature),
            "n_words": points.new_tensor(float(words)),
        }

    def _features(self, points: Tensor) -> Tensor:
        """Maximum and mean over the patches of what the decoder reads."""
        module = self.module_
        neighborhoods, centers = module.patches(points)
        logits = module.token_logits(neighborhoods, centers)
        sampled = module.sample(logits, hard=True, noise=torch.zeros(()).to(logits))
        features = module.features(sampled, centers)
        return torch.cat([features.amax(dim=1), features.mean(dim=1)], dim=1)

    def _count_features(self) -> int:
        return 2 * int(self.module_.numbers["feature_width"])
