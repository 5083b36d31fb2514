"""ACT as an estimator: distil what a prompted transformer of pictures says of clouds."""

from typing import Any

import torch
from sklearn.utils import Bunch
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses.distillation import DISTILLATION_LOSSES, distillation_loss
from pointinteract.losses.reconstruction import patch_chamfer_loss
from pointinteract.models.act import ACTOutput, ACTPretraining
from pointinteract.models.act_autoencoder import ACTAutoencoder
from pointinteract.nn.patches import split_by_mask
from pointinteract.pretraining._act_tokenizer import ACTTokenizerPretrainer
from pointinteract.pretraining._patches import PatchPretrainer
from pointinteract.pretraining._two_stages import (
    check_same_patches,
    first_stage_settings,
    fitted_first_stage,
)
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["ACTPretrainer"]


class ACTPretrainer(PatchPretrainer):
    """Autoencoders as cross-modal teachers: guess what the teacher says of hidden patches.

    In a first stage a frozen transformer of pictures becomes part of an autoencoder of clouds
    (:class:`ACTTokenizerPretrainer`). In the second that is the teacher, and sees whole clouds;
    a student sees a fifth of the patches and learns to say of the others what the teacher says.

    Parameters
    ----------
    size : {"nano", "base"}, default="nano"
        ``"base"`` is the published network, ``"nano"`` is for a laptop.
    teacher : None, str, path, module or estimator, default=None
        What to learn from: an :class:`ACTTokenizerPretrainer`, fitted or not (a fitted one is
        used as it is), or its module. Or a transformer of pictures, as that estimator takes it,
        by which the first stage is done here; None is one with random weights.
    autoencoder_epochs : int, default=50
        Passes over the clouds in the first stage, if it is done here. Published: 300.
    loss : {"cosine", "l2", "smooth_l1", "nt_xent", "barlow"}, default="cosine"
        How guesses are compared with the teacher's features; see
        :func:`pointinteract.losses.distillation_loss`.
    class_guess : bool, default=False
        Whether to guess a second time by way of the class token, which learns from nothing
        else: patches are then taken as an early block left them.
    teacher_batch_statistics : bool, default=False
        Whether the teacher goes on as in its own training while the student learns. True is
        what the published code does: its BatchNorm follows the batches, and prompts are
        dropped. What it says of a patch then depends on the other clouds of the batch.
    n_points : int or None, default=1024
        Points of a cloud that the networks see; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    n_groups, group_size : int, optional
        Patches a cloud, and points a patch; those of the teacher unless given.
    mask_ratio : float, default=0.8
        Share of patches hidden from the student.
    mask_type : {"rand", "block"}, default="rand"
        Hide patches at random, or the ones nearest to one of them (harder).
    decoder_depth : int, default=2
        Blocks between the student's tokens and its guesses.
    drop_path : float, default=0.1
        Stochastic depth of the last block of the encoder, and of the decoder.
    max_epochs : int, default=100
        Passes over the clouds in the second stage; 0 leaves the student untrained. Published:
        300.
    batch_size : int, default=64
        Clouds a step, in both stages, and clouds a batch in `transform`. Published: 128.
    learning_rate : float, default=1e-3
        Highest rate of AdamW.
    weight_decay : float, default=0.05
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=2
        Epochs of rising rate. Published: 10.
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
        bit (on the CPU). The first stage has a file of its own beside it, with
        ``-autoencoder`` in its name.
    device : str, default="auto"
        ``"auto"`` takes a GPU if there is one.
    random_state : int, RandomState instance or None, default=None
        Same integer, same numbers (on the CPU to the last bit).

    Attributes
    ----------
    module_ : ACTPretraining
        Student and teacher; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms, ``similarity`` (mean cosine of guesses and the
        teacher's features), learning rate and seconds.
    autoencoder_history_ : DataFrame or None
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
    Dong, Qi, Zhang, Zhang, Sun, Ge, Yi, Ma, "Autoencoders as Cross-Modal Teachers: Can
    Pretrained 2D Image Transformers Help 3D Representation Learning?", ICLR 2023, arXiv
    2212.08320.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ACTPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> pre = ACTPretrainer(n_groups=8, group_size=8, autoencoder_epochs=1, max_epochs=1,
    ...                     random_state=0).fit(X)
    >>> pre.transform(X).shape
    (8, 384)
    """

    def __init__(
        self,
        size: str = "nano",
        *,
        teacher: Any = None,
        autoencoder_epochs: int = 50,
        loss: str = "cosine",
        class_guess: bool = False,
        teacher_batch_statistics: bool = False,
        n_points: int | None = 1024,
        n_groups: int | None = None,
        group_size: int | None = None,
        mask_ratio: float = 0.8,
        mask_type: str = "rand",
        decoder_depth: int = 2,
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
        self.teacher = teacher
        self.autoencoder_epochs = autoencoder_epochs
        self.loss = loss
        self.class_guess = class_guess
        self.teacher_batch_statistics = teacher_batch_statistics
        self.n_points = n_points
        self.n_groups = n_groups
        self.group_size = group_size
        self.mask_ratio = mask_ratio
        self.mask_type = mask_type
        self.decoder_depth = decoder_depth
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
        """Hide patches of clouds, guess features of them, and make points of these.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses the patches to hide.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``visible`` (V K, 3), the points that the
            student saw; ``rebuilt`` (M L, 3), what the teacher's decoder makes of the features
            guessed; ``target`` (M K, 3), the truth; ``error`` (float), their squared Chamfer
            distance, patch by patch; ``similarity`` (float), the mean cosine of the features
            guessed and the teacher's. All in the normalised coordinates that the networks work
            in.
        """
        generator = make_generator(draw_seed(random_state))

        def look(result: Bunch, points: Tensor) -> None:
            # The most likely words: nothing here hangs on what a teacher happens to draw.
            out = self.module_(points, generator=generator, noise=torch.zeros(()).to(points))
            self._collect(result, points, out)

        return self._show(X, ("visible", "rebuilt", "target", "error", "similarity"), look)

    def _collect(self, result: Bunch, points: Tensor, out: ACTOutput) -> None:
        neighborhoods, centers = self.module_.encoder.patches(points)
        seen, hidden = (index[0] for index in split_by_mask(out.mask))
        guessed = out.guessed
        if self.loss not in ("l2", "smooth_l1"):
            # Nothing told the student how long features are; those that it might see do.
            guessed = nn.functional.normalize(guessed, dim=2) * out.taught.norm(dim=2).mean()
        _, fine = self.module_.teacher.decode(guessed)
        neighborhoods, places = neighborhoods[..., :3], centers.unsqueeze(2)
        placed, rebuilt = neighborhoods + places, fine + places[:, hidden]
        result.visible.append(placed[0, seen].flatten(0, 1).cpu().numpy())
        result.rebuilt.append(rebuilt[0].flatten(0, 1).cpu().numpy())
        result.target.append(placed[0, hidden].flatten(0, 1).cpu().numpy())
        some = len(hidden) > 0
        target = neighborhoods[:, hidden]
        result.error.append(float(patch_chamfer_loss(fine, target)) if some else 0.0)
        result.similarity.append(float(_similarity(out)) if some else 1.0)

    def _check_params(self) -> None:
        super()._check_params()
        check_option("loss", self.loss, DISTILLATION_LOSSES)
        check_option("mask_type", self.mask_type, ("rand", "block"))
        check_int("autoencoder_epochs", self.autoencoder_epochs, minimum=0)
        check_int("decoder_depth", self.decoder_depth)

    def _settle(self, clouds: Clouds, sources: Any) -> dict[str, Tensor]:
        teacher, self.autoencoder_history_ = self._find_teacher(clouds)
        numbers = self._find_sizes() | {
            name: teacher.numbers[name]
            for name in ("n_channels", "n_groups", "group_size", "skip_near_origin")
        }
        names = ("class_guess", "teacher_batch_statistics", "mask_ratio", "mask_type",
                 "decoder_depth", "drop_path")
        self.architecture_ = numbers | {name: getattr(self, name) for name in names}
        self.architecture_["teacher"] = teacher.numbers
        return {f"teacher.{name}": value for name, value in teacher.state_dict().items()}

    def _find_teacher(self, clouds: Clouds) -> tuple[ACTAutoencoder, Any]:
        """The module of the first stage, fitted if it is not yet, and its record."""
        given: Any = self.teacher
        history = None
        if not isinstance(given, ACTAutoencoder):
            if not hasattr(given, "fit"):
                given = ACTTokenizerPretrainer(
                    self.size,
                    image_transformer=given,
                    max_epochs=self.autoencoder_epochs,
                    **first_stage_settings(self, "autoencoder"),
                )
            given, history = fitted_first_stage(given, clouds)
        if not isinstance(given, ACTAutoencoder):
            raise TypeError(
                "teacher must be an ACTTokenizerPretrainer or a transformer of pictures; got an "
                f"estimator with a {type(given).__name__}."
            )
        check_same_patches(
            self,
            self._n_channels,
            given.numbers,
            owner="teacher",
            reason="the student must look at the patches that the teacher was trained on",
        )
        return given, history

    def _build_module(self) -> nn.Module:
        return ACTPretraining(**self.architecture_)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        out = self.module_(points, generator=generator)
        if not out.mask.any():  # clouds of a single patch: nothing to guess
            return out.tokens.sum() * 0.0, {}
        losses = act_losses(out, kind=self.loss)
        total = torch.stack(list(losses.values())).sum()
        return total, losses | {"similarity": _similarity(out).detach()}


def act_losses(out: ACTOutput, *, kind: str = "cosine") -> dict[str, Tensor]:
    """The terms of ACT's loss, whose plain sum is minimised.

    Parameters
    ----------
    out : ACTOutput
    kind : str, default="cosine"
        See :func:`pointinteract.losses.distillation_loss`.

    Returns
    -------
    losses : dict of str to Tensor of shape ()
        ``"patches"``, and ``"class"`` if the network guesses by way of its class token too.
        (In the original the latter is left out of ``"l2"`` and ``"smooth_l1"``.)
    """
    losses = {"patches": distillation_loss(out.guessed, out.target, kind=kind)}
    if out.guessed_global is not None:
        losses["class"] = distillation_loss(out.guessed_global, out.target, kind=kind)
    return losses


def _similarity(out: ACTOutput) -> Tensor:
    return nn.functional.cosine_similarity(out.guessed, out.target, dim=2).mean()
