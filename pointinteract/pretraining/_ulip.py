"""ULIP as an estimator: align any network with frozen teachers of pictures and words."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds
from pointinteract.losses.alignment import alignment_loss
from pointinteract.models.teachers import TransformersTeacher, resolve_teacher
from pointinteract.models.ulip import ULIPNetwork
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.pretraining._teachers import TaughtMixin, inner_teacher
from pointinteract.pretraining._zero_shot import TwoQueriesMixin, check_templates
from pointinteract.utils._params import check_option

__all__ = ["ULIPPretrainer"]


class ULIPPretrainer(TwoQueriesMixin, TaughtMixin, BackbonePretrainer):
    """Unified language, image and point clouds: pre-train any network by alignment.

    The pooled feature of a cloud is mapped into the spaces of a frozen image teacher and a
    frozen text teacher, and has to find the picture and the text of its own object among those
    of the batch, and they it. Words then name clouds of classes that were never seen.

    Parameters
    ----------
    backbone : str or Module class, default="pointnet2_ssg"
        A name of :func:`pointinteract.list_models`, or a class taking ``n_channels`` and
        ``n_classes``; any network that answers a pooled feature will do.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    image_teacher : None, str, callable, module or array, default="depth_descriptor"
        The default describes depth pictures of the clouds themselves and needs nothing else.
        An array (n_clouds, d) holds features made elsewhere; a CLIP or ViT of ``transformers``
        (local folder or hub name), a callable or a module gets the pictures passed to `fit`,
        or depth pictures of the clouds if none are. Published: a SLIP ViT-B/16.
    text_teacher : None, str, callable, module or array, default="hashed_ngrams"
        The same for texts. The default is a small encoder of our own, offline. Left out where
        no texts are passed to `fit`, unless it is an array.
    projection : {"auto", "shared", "separate"}, default="auto"
        One map for both teachers (published), or one for each. A single one is right where
        both lie in one space: ``"auto"`` takes it if both are the same CLIP, by name.
    templates : str or sequence of str, default="{}"
        Sentences with ``{}`` where a text of `fit`, and a name in `classify`, is put; the
        features of several are averaged. Published: 64 of them around the name of a class.
    equal_texts : {"positives", "negatives"}, default="positives"
        What clouds of equal text are to each other in the loss. Published: negatives, so that
        two chairs of a batch push each other's text away.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole. Published: 8192.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 250.
    batch_size : int, default=64
        Clouds a step, which are each other's wrong answers: more make the task harder. The
        paper: 64 on each of eight GPUs.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: 3e-3, 1e-3 for PointMLP.
    weight_decay : float, default=0.1
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    augmentation : None, str, tuple of str or callable, default="scale_translate_mild"
        A name of the library's random changes, several, or a function of (points (B, N, C),
        generator). Published: dropped points, one scale, shift, small tilts, a turn about y.
    teacher_cache : str or None, default=None
        Folder to keep the teachers' features in, so that none is made twice.
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
    module_ : ULIPNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, its terms ``image`` and ``text``, ``scale``, learning rate
        and seconds.
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
    Xue, Gao, Xing, Martín-Martín, Wu, Xiong, Xu, Niebles, Savarese, "ULIP: Learning a Unified
    Representation of Language, Images, and Point Clouds for 3D Understanding", CVPR 2023.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import ULIPPretrainer
    >>> shapes = make_shapes(16, n_points=64, random_state=0)
    >>> pre = ULIPPretrainer("pointnet_basic", max_epochs=1, random_state=0)
    >>> pre = pre.fit(shapes.data, texts=shapes.captions)
    >>> pre.classify(shapes.data, ["a chair", "a table"]).probabilities.shape
    (16, 2)
    """

    def __init__(
        self,
        backbone: Any = "pointnet2_ssg",
        *,
        backbone_options: dict[str, Any] | None = None,
        image_teacher: Any = "depth_descriptor",
        text_teacher: Any = "hashed_ngrams",
        projection: str = "auto",
        templates: Any = "{}",
        equal_texts: str = "positives",
        n_points: int | None = 1024,
        max_epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        warmup_epochs: float = 1,
        schedule: str = "cosine",
        augmentation: Any = "scale_translate_mild",
        teacher_cache: str | None = None,
        warm_start: bool = False,
        normalize: bool = True,
        checkpoint: Any = None,
        device: str = "auto",
        random_state: Any = None,
    ):
        self.backbone = backbone
        self.backbone_options = backbone_options
        self.image_teacher = image_teacher
        self.text_teacher = text_teacher
        self.projection = projection
        self.templates = templates
        self.equal_texts = equal_texts
        self.n_points = n_points
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_epochs = warmup_epochs
        self.schedule = schedule
        self.augmentation = augmentation
        self.teacher_cache = teacher_cache
        self.warm_start = warm_start
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
            One text a cloud: a caption, or the name of its class. Without texts, clouds are
            aligned with the image teacher only, and words cannot name them.

        Returns
        -------
        self : ULIPPretrainer
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
        check_option("projection", self.projection, ("auto", "shared", "separate"))
        check_option("equal_texts", self.equal_texts, ("positives", "negatives"))
        check_templates(self.templates)
        if self.image_teacher is None and self.text_teacher is None:
            raise ValueError("at least one of image_teacher and text_teacher must not be None.")

    def _settle(self, clouds: Clouds, sources: Any) -> None:
        self.__dict__.pop("_teachers", None)  # those of an earlier fit
        # Asked here already, since the widths of the projections depend on the answer.
        self._features_of_teachers = self._ask_teachers(clouds, sources)
        widths = {
            name: None if found is None else found.shape[1]
            for name, found in self._features_of_teachers.items()
        }
        if widths["image"] is None and widths["text"] is None:
            raise ValueError(
                "there is no teacher to align with: image_teacher is None, and the text teacher "
                "has no texts; pass fit(X, texts=...)."
            )
        super()._settle(clouds, sources)
        self.architecture_ |= {
            "image_width": widths["image"],
            "text_width": widths["text"],
            "shared": self._is_shared(),
        }

    def _is_shared(self) -> bool:
        if self.projection != "auto":
            return self.projection == "shared"
        image, text = (inner_teacher(self._teachers[name]) for name in ("image", "text"))
        both = isinstance(image, TransformersTeacher) and isinstance(text, TransformersTeacher)
        return both and image.name == text.name

    def _given_teacher(self, modality: str, source: Any) -> Any:
        given = super()._given_teacher(modality, source)
        if modality == "text" and source is None:
            # Ready features need no texts; for all others there is nothing to read.
            ready = resolve_teacher(given, modality="text", device=self.device_)
            return ready if ready is not None and ready.takes == "ready" else None
        return given

    def _architecture(self) -> dict[str, Any]:
        return {}  # what the teachers say comes in `_settle`

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return ULIPNetwork(
            encoder, **{name: numbers[name] for name in ("image_width", "text_width", "shared")}
        )

    def _make_targets(self, clouds: Clouds, sources: dict[str, Any]) -> dict[str, Any]:
        # A fresh fit has asked the teachers already, to learn the width of their features.
        targets = self.__dict__.pop("_features_of_teachers", None)
        targets = targets or self._ask_teachers(clouds, sources)
        for name, found in targets.items():
            width = self.architecture_[f"{name}_width"]
            if (None if found is None else found.shape[1]) != width:
                raise ValueError(
                    f"the network was made for {name} features of width {width}, got "
                    f"{None if found is None else found.shape[1]}; pass {name}s as before."
                )
        texts = sources["texts"]
        if texts is not None and targets["text"] is None and self.text_teacher is not None:
            raise ValueError("the network was made without texts; call fit with texts anew.")
        if texts is None or self.equal_texts == "negatives":
            groups = np.arange(len(clouds))
        else:
            groups = np.unique(np.asarray(texts, dtype=str), return_inverse=True)[1]
        return targets | {"groups": torch.as_tensor(groups)}

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        image, text = self.module_(points)
        scale = self.module_.log_scale.exp()
        groups = targets["groups"][index].to(points.device)
        parts = {}
        for name, ours in (("image", image), ("text", text)):
            if ours is not None:
                theirs = targets[name][index].to(points.device)
                same = groups if name == "text" else None  # no two clouds have one picture
                parts[name] = alignment_loss(ours, theirs, scale=scale, groups=same)
        loss = torch.stack(list(parts.values())).sum() + self._auxiliary_loss()
        return loss, parts | {"scale": scale}

    def _after_step(self) -> None:
        self.module_.limit_scale()

    def _ask(self, teacher: Any, items: Any) -> Any:
        if teacher.takes != "texts":
            return super()._ask(teacher, items)
        prompts = check_templates(self.templates)
        rows = [teacher.encode([p.replace("{}", text) for text in items]) for p in prompts]
        return np.mean(rows, axis=0)

    def _check_texts(self) -> None:
        if self.architecture_["text_width"] is None:
            raise ValueError("this network was fitted without texts; pass fit(X, texts=...).")

    @property
    def _templates(self) -> Any:  # type: ignore[override]
        return self.templates

    def _read_queries(self, points: Tensor) -> tuple[Tensor | None, Tensor | None]:
        return self.module_(points)

    def _ask_texts(self, texts: list[str]) -> np.ndarray:
        check_is_fitted(self, "module_")
        self._check_texts()
        return self._text_teacher().encode(texts)

    def _scale(self) -> float:
        return float(self.module_.log_scale.detach().exp())
