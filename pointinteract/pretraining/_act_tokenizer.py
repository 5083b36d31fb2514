"""ACT's first stage as an estimator: clouds read by a frozen transformer of pictures."""

from typing import Any

from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.models.act_autoencoder import ACTAutoencoder, act_autoencoder_sizes
from pointinteract.models.frozen_transformer import FrozenTransformer, read_frozen_transformer
from pointinteract.pretraining._discrete_vae import DiscreteVAEPretrainer
from pointinteract.utils._params import check_int
from pointinteract.utils._random import forked_seed

__all__ = ["ACTTokenizerPretrainer"]

# Where no trained transformer is given: of the shape of ViT-B, and one for two cores.
_RANDOM: dict[str, dict[str, Any]] = {"base": {}, "nano": {"width": 192, "depth": 4, "n_heads": 3}}


class ACTTokenizerPretrainer(DiscreteVAEPretrainer):
    """Cross-modal autoencoder: prompt a frozen transformer to carry patches of clouds.

    As :class:`DiscreteVAEPretrainer`, which turns patches into words and makes points of them
    again, but on the way from words to points a transformer that was trained on pictures reads
    the whole cloud. It stays as it is; prompts in front of the patches, and what is around it,
    are learned. :class:`ACTPretrainer` distils what comes of it.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        ``"base"`` is the published network (31.1 million parameters beside the transformer);
        ``"nano"`` is for a laptop.
    image_transformer : None, str, path or module, default=None
        The transformer to freeze: a ViT, DeiT or MAE of the `transformers` library by local
        folder or hub name, such a model, or one of timm or of ours. Published: ViT-B/16 of 384
        pixels. None: one with random weights, which needs no file, but has seen no picture.
    n_prompts : int, optional
        Tokens in front of the patches, anew in each block; from `size` unless given (64 in
        ``"base"``).
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given. A patch of fewer than 4
        points is made of 4.
    n_tokens : int, optional
        Words of the vocabulary, a multiple of 4; from `size` unless given.
    logit_gain : float, optional
        How far apart scores of words are at the start: 1 in ``"base"``, as published, and 4 in
        ``"nano"``.
    temperature : (float, float), default=(1.0, 0.0625)
        Of drawing words, at the start and when annealing is over.
    uniformity_weight : float, default=0.1
        To which the weight rises that all words are used alike.
    anneal_share : float, default=0.5
        Share of the training in which the temperature falls, by half a cosine; the weight waits
        for a tenth as long, and rises as long.
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
        ``"drop"``, or a function of (points (B, N, C), generator).
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
    module_ : ACTAutoencoder
        The trained network; ``module_.image`` is the frozen transformer.
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
    Dong, Qi, Zhang, Zhang, Sun, Ge, Yi, Ma, "Autoencoders as Cross-Modal Teachers: Can
    Pretrained 2D Image Transformers Help 3D Representation Learning?", ICLR 2023, section 3.2.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ACTTokenizerPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> pre = ACTTokenizerPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0)
    >>> pre.fit(X).reconstruct(X).rebuilt[0].shape
    (64, 3)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        image_transformer: Any = None,
        n_prompts: int | None = None,
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
        super().__init__(
            size,
            n_points=n_points,
            n_groups=n_groups,
            group_size=group_size,
            n_tokens=n_tokens,
            logit_gain=logit_gain,
            temperature=temperature,
            uniformity_weight=uniformity_weight,
            anneal_share=anneal_share,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_epochs=warmup_epochs,
            schedule=schedule,
            augmentation=augmentation,
            normalize=normalize,
            checkpoint=checkpoint,
            device=device,
            random_state=random_state,
        )
        self.image_transformer = image_transformer
        self.n_prompts = n_prompts

    def _check_params(self) -> None:
        super()._check_params()
        if self.n_prompts is not None:
            check_int("n_prompts", self.n_prompts)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor]:
        if self.image_transformer is None:
            with forked_seed(self.seed_):
                image = FrozenTransformer(**_RANDOM[self.size])
        else:
            image = read_frozen_transformer(self.image_transformer)
        self.architecture_ = act_autoencoder_sizes(self.size) | {
            name: getattr(self, name)
            for name in ("n_groups", "group_size", "n_tokens", "logit_gain", "n_prompts")
            if getattr(self, name) is not None
        }
        self.architecture_ |= {"n_channels": self._n_channels, "transformer": image.numbers}
        return {f"image.{name}": value for name, value in image.state_dict().items()}

    def _build_module(self) -> nn.Module:
        return ACTAutoencoder(**self.architecture_)

    def _count_features(self) -> int:
        return 2 * int(self.architecture_["width"])
