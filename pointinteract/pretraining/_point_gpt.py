"""PointGPT as an estimator: guess every patch of a cloud from those before it."""

import warnings
from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.exceptions import PointInteractWarning
from pointinteract.losses import patch_chamfer_loss
from pointinteract.models.point_gpt import point_gpt_sizes
from pointinteract.models.point_gpt_pretraining import PointGPTPretraining
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.utils._params import check_int, check_option, check_real

__all__ = ["PointGPTPretrainer"]


class PointGPTPretrainer(PatchPretrainer):
    """Auto-regression: pre-train a point-cloud transformer by guessing the next patch.

    The patches of a cloud are put in an order that walks from each one to the nearest. Every
    patch is guessed from those before it and from where it lies; most of those before are
    hidden too, or the one next to it would tell too much.

    Parameters
    ----------
    size : {"nano", "small", "base", "large"}, default="nano"
        Size of the network. The last three are the published ones (29, 120 and 360 million
        parameters); ``"nano"`` (3 million) is for a laptop.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; from `size` unless given. More patches show finer
        detail and cost time in proportion.
    mask_ratio : float, default=0.7
        Share of the patches after the first `n_always_seen` that no later one can read. More
        asks for shapes to be understood from less.
    n_always_seen : int, default=10
        First patches that are never hidden. As many as there are patches: the order alone
        decides who reads whom.
    temperature : float, default=10.0
        Longest wavelength of the positions. 1, as in the original, makes all waves alike, which
        then cannot tell a place from one a whole unit further.
    class_token : {"last", "second"}, default="last"
        Where the class token of a classifier that starts from here will stand. ``"second"`` is
        the original, in which it reads nothing of the cloud.
    generation_weight : float, default=3.0
        What guessing patches counts in the loss of such a classifier, beside the classes; 0
        stops it.
    drop_path : float, default=0.0
        Stochastic depth of the last block. (The original reads a rate and uses none.)
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. The paper: 300.
    batch_size : int, default=64
        Clouds a step, and clouds a batch in `transform`. The paper: 64, or 128 for the larger
        sizes.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. The paper: 1e-4.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. The paper: 10.
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
    module_ : PointGPTPretraining
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms ``cdl1`` and ``cdl2``, learning rate and seconds.
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
    `transform` gives maximum and mean over the patch tokens of the whole cloud. The loss is the
    sum of the two Chamfer distances of the guessed patches, plain and squared (``cdl1`` and
    ``cdl2``).

    References
    ----------
    Chen, Wang, Yang, Yu, Yuan, Yue, "PointGPT: Auto-regressively Generative Pre-training from
    Point Clouds", NeurIPS 2023, arXiv 2305.11487.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import PointGPTPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = PointGPTPretrainer(n_groups=8, group_size=8, n_always_seen=2, max_epochs=1,
    ...                          random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 384)
    >>> pre.generate(X[:1], n_given=6).generated[0].shape
    (16, 3)
    """

    encoder_model = "point_gpt_nano"  # of any size: they share recipes

    def __init__(
        self,
        size: str = "nano",
        *,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_ratio: float = 0.7,
        n_always_seen: int = 10,
        temperature: float = 10.0,
        class_token: str = "last",
        generation_weight: float = 3.0,
        drop_path: float = 0.0,
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
        self.n_always_seen = n_always_seen
        self.temperature = temperature
        self.class_token = class_token
        self.generation_weight = generation_weight
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

    def generate(self, X: Any, *, n_given: int | None = None) -> Bunch:
        """Show the first patches of clouds and let the network go on.

        Each guessed patch is read like a true one when the next is guessed. Where all patches
        lie is known; what they look like is not.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        n_given : int, optional
            Patches shown; half of them unless given. From 0 to one less than there are.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``given`` (n_given K, 3), the points that the
            network saw; ``generated`` (M K, 3), its guess of the other M patches; ``target``
            (M K, 3), the truth; ``error`` (float), their squared Chamfer distance, patch by
            patch. All in the normalised coordinates that the network works in.
        """
        if n_given is not None:
            check_int("n_given", n_given, minimum=0)

        def look(result: Bunch, points: Tensor) -> None:
            n_groups = min(self.architecture_["n_groups"], points.shape[1])
            n_shown = n_groups // 2 if n_given is None else n_given
            out = self.module_.continue_cloud(points, n_shown)
            places = out.centers.unsqueeze(2)
            truth, guess = ((patches + places)[0] for patches in (out.target, out.generated))
            result.given.append(truth[:n_shown].flatten(0, 1).cpu().numpy())
            result.target.append(truth[n_shown:].flatten(0, 1).cpu().numpy())
            result.generated.append(guess[n_shown:].flatten(0, 1).cpu().numpy())
            pair = out.generated[:, n_shown:], out.target[:, n_shown:]
            result.error.append(float(patch_chamfer_loss(*pair)))

        return self._show(X, ("given", "generated", "target", "error"), look)

    def _check_params(self) -> None:
        super()._check_params()
        check_int("n_always_seen", self.n_always_seen, minimum=0)
        check_real("temperature", self.temperature, minimum=1.0)
        check_option("class_token", self.class_token, ("last", "second"))
        check_real("generation_weight", self.generation_weight)

    def _find_sizes(self) -> dict[str, Any]:
        return point_gpt_sizes(self.size)

    def _architecture(self) -> dict[str, Any]:
        names = ("mask_ratio", "n_always_seen", "temperature", "class_token", "generation_weight")
        return {name: getattr(self, name) for name in names}

    def _build_module(self) -> nn.Module:
        return PointGPTPretraining(**self.architecture_)

    def _check_lesson(self, stored: Tensor) -> None:
        if min(stored.shape[1], self.architecture_["n_groups"], self.n_points or 2) == 1:
            warnings.warn(
                "nothing to learn from: of a single patch there is no next one. Give clouds of "
                "more points, or more n_groups.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.module_(points, generator=generator)
        losses = {
            kind: patch_chamfer_loss(out.generated, out.target, kind=kind)
            for kind in ("cdl1", "cdl2")
        }
        return torch.stack(list(losses.values())).sum(), losses
