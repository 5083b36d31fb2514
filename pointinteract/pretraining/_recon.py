"""ReCon as an estimator: contrast with reconstruct, with or without labels of any kind."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.models.recon import recon_sizes
from pointinteract.models.recon_baselines import MultiTaskPretraining, TwoTowerPretraining
from pointinteract.models.recon_pretraining import ReConPretraining
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.pretraining._rebuilding import Rebuilder
from pointinteract.pretraining._recon_losses import recon_losses
from pointinteract.pretraining._teachers import TaughtMixin
from pointinteract.pretraining._zero_shot import TwoQueriesMixin
from pointinteract.utils._params import check_option

__all__ = ["ReConPretrainer"]

_MODULES: dict[str, type[nn.Module]] = {
    "recon": ReConPretraining,
    "multitask": MultiTaskPretraining,
    "two_tower": TwoTowerPretraining,
}
# By which cosines are multiplied for probabilities: that of CLIP, as the paper needs none.
_SCALE = 100.0
# What the baselines have no place for.
_ABSENT = {"recon": (), "multitask": ("stop_gradient",),
           "two_tower": ("stop_gradient", "self_contrast")}


class ReConPretrainer(TwoQueriesMixin, TaughtMixin, Rebuilder, PatchPretrainer):
    """Contrast with reconstruct: pre-train a point-cloud transformer.

    Patches of each cloud are hidden and rebuilt from the rest. Beside it three queries read the
    visible patches: one is regressed to features of a picture, one to features of a text, and
    one contrasts clouds with each other. Each of these can be left out. A network that learned
    from texts names clouds by words: see `classify`.

    Parameters
    ----------
    size : {"nano", "tiny", "small", "base"}, default="nano"
        Size of the network. The last three are the published ones (13, 23 and 51 million
        parameters while pre-training); ``"nano"`` (4 million) is for a laptop.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given. More patches show finer
        detail and cost time in proportion.
    mask_ratio : float, default=0.6
        Share of patches to hide.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches anywhere, or one connected region (harder).
    reconstruction_loss : {"cdl2", "cdl1"}, default="cdl2"
        Chamfer distance of rebuilt patches, squared or plain.
    image_teacher : None, str, callable, module or array, default=None
        What the image query is regressed to. ``"depth_descriptor"`` renders the clouds
        themselves and needs nothing else; an array (n_clouds, d) holds features made elsewhere;
        a callable or a ``transformers`` CLIP or ViT (local folder or hub name) gets the pictures
        passed to `fit`, or depth pictures of the clouds if none are.
    text_teacher : None, str, callable, module or array, default=None
        The same for the text query. ``"hashed_ngrams"`` is a small encoder of our own, offline;
        ``"all-minilm-l6-v2"`` knows what words mean, and comes with a package of its own.
    self_contrast : bool, default=False
        Whether to contrast the class query between clouds. Clouds with equal `texts` attract
        each other; without texts each cloud stands alone against all others.
    stop_gradient : bool, default=True
        Whether queries read detached patches, so that the contrast does not disturb the
        reconstruction. False is the ablation of the paper; in short
        trainings with an image teacher it gave the better features (one seed on made shapes,
        ``benchmarks/RESULTS.md``).
    architecture : {"recon", "multitask", "two_tower"}, default="recon"
        The last two are the baselines of the paper: one plain transformer in which queries and
        patches read each other and every loss reaches everything, or two that share nothing,
        of which one rebuilds and one, with all patches before it, regresses the teachers. Both
        know no `stop_gradient`, and two towers no `self_contrast`.
    drop_path : float, default=0.1
        Stochastic depth of the last block.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. The paper: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. The paper: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. The paper: 5e-4.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. The paper: 10.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step; ``"cosine_epoch"`` is the published rule, which spends
        the first two epochs at a rate of 1e-6.
    augmentation : None, str, tuple of str or callable, default="scale_translate"
        Any of ``"rotate_y"`` (the paper's), ``"rotate_z"``, ``"scale"``, ``"scale_translate"``,
        ``"jitter"``, ``"drop"``, or a function of (points (B, N, C), generator). After four
        epochs on ModelNet10, None gave features that a linear SVM read seven points better (one
        seed, training clouds held back): clouds that all stand upright, centered and scaled
        need none of it.
    teacher_cache : str or None, default=None
        Folder to keep the teachers' features in, so that none is made twice, whatever the fit.
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
    module_ : ReConPretraining, MultiTaskPretraining or TwoTowerPretraining
        The trained network, by `architecture`; ``module_.encoder`` is what downstream tasks use.
    history_ : DataFrame
        One row an epoch: the loss, its terms, learning rate and seconds.
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
    Qi, Dong, Fan, Ge, Zhang, Ma, Yi, "Contrast with Reconstruct: Contrastive 3D Representation
    Learning Guided by Generative Pretraining", ICML 2023.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = ReConPretrainer(n_groups=8, group_size=8, max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 384)
    """

    encoder_model = "recon_nano"  # of any size: they share recipes
    _templates = "ensemble"
    _unit_prompts = False  # features of prompts are added as they are

    def __init__(
        self,
        size: str = "nano",
        *,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_ratio: float = 0.6,
        mask_type: str = "rand",
        reconstruction_loss: str = "cdl2",
        image_teacher: Any = None,
        text_teacher: Any = None,
        self_contrast: bool = False,
        stop_gradient: bool = True,
        architecture: str = "recon",
        drop_path: float = 0.1,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.05,
        warmup_epochs: float = 2,
        schedule: str = "cosine",
        augmentation: Any = "scale_translate",
        teacher_cache: str | None = None,
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
        self.mask_type = mask_type
        self.reconstruction_loss = reconstruction_loss
        self.image_teacher = image_teacher
        self.text_teacher = text_teacher
        self.self_contrast = self_contrast
        self.stop_gradient = stop_gradient
        self.architecture = architecture
        self.drop_path = drop_path
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.teacher_cache = teacher_cache
        self.normalize = normalize
        self.checkpoint = checkpoint
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, *, images: Any = None, texts: Any = None):
        """Pre-train on clouds.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        y : ignored
            Labels are never looked at; here for pipelines.
        images : sequence of length n_clouds, optional
            One picture a cloud, for an image teacher that reads pictures.
        texts : sequence of str of length n_clouds, optional
            One text a cloud, for the text teacher and for `self_contrast`.

        Returns
        -------
        self : ReConPretrainer
        """
        return self._fit(X, y, {"images": images, "texts": texts})

    def partial_fit(self, X: Any, y: Any = None, *, images: Any = None, texts: Any = None):
        """Pre-train for one more epoch on clouds; parameters as in `fit`.

        Teachers that are fitted to clouds stay as the first call left them. They are not saved
        with the estimator: one that was loaded from a file fits them anew.
        """
        return self._partial_fit(X, y, {"images": images, "texts": texts})

    def _check_params(self) -> None:
        super()._check_params()
        check_option("mask_type", self.mask_type, ("rand", "block"))
        check_option("architecture", self.architecture, tuple(_MODULES))
        if self.architecture == "two_tower" and self.self_contrast:
            raise ValueError(
                'self_contrast=True needs a class query, which architecture="two_tower" has not; '
                'take "recon" or "multitask", or leave it out.'
            )
        check_option("reconstruction_loss", self.reconstruction_loss, ("cdl2", "cdl1"))

    def _settle(self, clouds: Clouds, sources: dict[str, Any]) -> None:
        self.__dict__.pop("_teachers", None)  # those of an earlier fit
        # Asked here already, since the widths of the projections depend on the answer.
        self._features_of_teachers = self._ask_teachers(clouds, sources)
        super()._settle(clouds, sources)

    def _find_sizes(self) -> dict[str, Any]:
        return recon_sizes(self.size)

    def _architecture(self) -> dict[str, Any]:
        widths = {
            f"{modality}_width": None if found is None else found.shape[1]
            for modality, found in self._features_of_teachers.items()
        }
        names = ("architecture", "mask_ratio", "mask_type", "self_contrast", "stop_gradient")
        return {name: getattr(self, name) for name in names} | widths

    def _build_module(self) -> nn.Module:
        numbers = dict(self.architecture_)
        kind = numbers.pop("architecture", "recon")  # files from before it have no other
        for name in _ABSENT[kind]:
            del numbers[name]
        return _MODULES[kind](**numbers)

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> dict[str, Any]:
        # A fresh fit has asked the teachers already, to learn the width of their features.
        targets = self.__dict__.pop("_features_of_teachers", None)
        targets = targets or self._ask_teachers(clouds, sources)
        texts = sources["texts"]
        if texts is None:
            groups = np.arange(len(clouds))
        else:
            groups = np.unique(np.asarray(texts, dtype=str), return_inverse=True)[1]
        return targets | {"groups": torch.as_tensor(groups)}

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.module_(points, generator=generator)
        chosen = {
            name: None if values is None else values[index].to(points.device)
            for name, values in targets.items()
        }
        losses = recon_losses(
            out,
            reconstruction_loss=self.reconstruction_loss,
            image_features=chosen["image"],
            text_features=chosen["text"],
            groups=chosen["groups"],
        )
        return torch.stack(list(losses.values())).sum(), losses

    def _read_queries(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self.module_.predict_teachers(points)

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        check_is_fitted(self, "module_")
        return self._text_teacher().encode(texts)

    def _scale(self) -> float:
        return _SCALE

    def _features(self, points: Tensor) -> Tensor:
        return self.module_.encoder.forward_probe(points)

    def _count_features(self) -> int:
        return 2 * self.module_.encoder.width
