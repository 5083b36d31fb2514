"""Jigsaw as an estimator: cut clouds into cells, shuffle them, tell where each point was."""

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.exceptions import PointInteractWarning
from pointinteract.models.jigsaw import JigsawNetwork
from pointinteract.pretraining._backbone import BackbonePretrainer
from pointinteract.pretraining._cells import AXES, cell_labels, cell_shifts, shuffle_cells
from pointinteract.utils._params import check_int, check_real
from pointinteract.utils._random import draw_seed, make_generator

__all__ = ["JigsawPretrainer"]


class JigsawPretrainer(BackbonePretrainer):
    """Jigsaw: pre-train any network of points by putting shuffled clouds together.

    The cube around each cloud is cut into cells, the cells change places at random with the
    points in them, and the network says for every point which cell it came from. It can only
    do so by knowing what the parts of things look like, and how they belong together.

    Parameters
    ----------
    backbone : str or Module class, default="dgcnn"
        A name of :func:`pointinteract.list_models` whose network answers features of every
        point: ``"dgcnn"``, ``"pointnet"``, ``"pointnet_basic"`` or one that was registered; or
        a class taking ``n_channels`` and ``n_classes``. Networks of patch tokens do not fit.
    n_cells : int, default=3
        Cells along each axis, n_cells ** 3 in all. More make the question harder, and each
        cell holds fewer points to recognise.
    backbone_options : dict or None, default=None
        Further numbers of the backbone, such as ``{"n_neighbors": 10}`` for ``"dgcnn"``.
    hidden : sequence of int, default=(256, 128)
        Widths of the layers that make labels of features. They take most of the time of a
        small backbone. Published: (512, 256, 128) on PointNet, (512, 256) on DGCNN.
    dropout : float, default=0.0
        Share of the last of them that is dropped in training.
    moved_axes : str, default="xyz"
        Axes along which cells change places. ``"xz"`` repeats the published code, in which the
        step along y is always zero by a slip of a division, so that the height of a point in
        a y-up cloud gives a third of the answer away.
    n_points : int or None, default=1024
        Points of a cloud that the network sees; larger clouds are thinned by farthest point
        sampling. None takes them whole.
    max_epochs : int, default=100
        Passes over the clouds; 0 leaves the network untrained, a control. Published: 200.
    batch_size : int, default=32
        Clouds a step, and clouds a batch in queries.
    learning_rate : float, default=1e-3
        Highest rate of AdamW. Published: Adam at 1e-4, falling in steps.
    weight_decay : float, default=1e-4
        Not applied to biases, one-dimensional parameters and tokens.
    warmup_epochs : float, default=1
        Epochs of rising rate.
    schedule : {"cosine", "cosine_epoch", "constant"}, default="cosine"
        ``"cosine"`` moves at every step, ``"cosine_epoch"`` once an epoch.
    augmentation : None, str, tuple of str or callable, default=None
        Applied before the cut; any of ``"rotate_y"``, ``"rotate_z"``, ``"scale"``,
        ``"scale_translate"``, ``"jitter"``, ``"drop"``, or a function of (points (B, N, C),
        generator). What is scaled out of the cube counts to the cells at its border.
    warm_start : bool, default=False
        Whether another `fit` goes on from the weights reached.
    normalize : bool, default=True
        Whether to move each cloud to the origin and scale it to the unit sphere first. Without
        it, clouds must lie in the cube [-1, 1]^3, which is what is cut.
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
    module_ : JigsawNetwork
        The trained network; ``module_.encoder`` is what downstream tasks use.
    architecture_ : dict
        What `module_` was made from.
    history_ : DataFrame
        One row an epoch: the loss, ``cross_entropy``, ``accuracy`` (share of points whose cell
        was named; guessing gives 1 / n_cells ** 3), learning rate and seconds.
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
    Sauder and Sievers, "Self-Supervised Deep Learning on Point Clouds by Reconstructing Space",
    NeurIPS 2019.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import JigsawPretrainer
    >>> X, _ = make_shapes(16, n_points=64, return_X_y=True, random_state=0)
    >>> pre = JigsawPretrainer("pointnet_basic", max_epochs=1, random_state=0).fit(X)
    >>> pre.transform(X).shape
    (16, 1024)
    """

    def __init__(
        self,
        backbone: Any = "dgcnn",
        *,
        n_cells: int = 3,
        backbone_options: dict[str, Any] | None = None,
        hidden: tuple[int, ...] = (256, 128),
        dropout: float = 0.0,
        moved_axes: str = "xyz",
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
        self.n_cells = n_cells
        self.backbone_options = backbone_options
        self.hidden = hidden
        self.dropout = dropout
        self.moved_axes = moved_axes
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

    def predict_cells(self, X: Any, *, prepared: bool = False) -> Any:
        """Say for every point of shuffled clouds which cell it came from.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        prepared : bool, default=False
            Whether X is in the coordinates of the cube already, such as ``scrambled`` of
            `reassemble`, so that nothing is normalised again.

        Returns
        -------
        cells : int array of shape (n_clouds, n_points), or list of (n_points_i,)
            Labels ``i n_cells^2 + j n_cells + k`` of the cells, counted from the corner
            (-1, -1, -1) along x, y and z. A list only if the clouds differ in size.
        """
        check_is_fitted(self, "module_")
        clouds = self._validate_clouds(X, reset=False)
        cells = self._label(clouds if prepared else self._normalized(clouds))
        return np.stack(cells) if isinstance(clouds, np.ndarray) else cells

    def reassemble(self, X: Any, *, random_state: Any = 0) -> Bunch:
        """Shuffle the cells of clouds and put them together again.

        Parameters
        ----------
        X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
        random_state : int, RandomState instance or None, default=0
            Chooses where the cells go.

        Returns
        -------
        result : Bunch
            For every cloud a list entry in each of ``scrambled`` (N, C), what the network saw;
            ``cells`` (N,), where the points came from; ``predicted`` (N,), where the network
            says they did; ``reassembled`` (N, C), the points carried back there; ``accuracy``
            (float), the share of points that are right. All in the normalised coordinates that
            the network works in, with the points that it sees.
        """
        check_is_fitted(self, "module_")
        clouds = self._prepare(self._validate_clouds(X, reset=False))
        n_cells, axes = self.architecture_["n_cells"], self.architecture_["moved_axes"]
        generator = make_generator(draw_seed(random_state))
        shuffled = [
            shuffle_cells(points, self._draw_permutation(1, generator), n_cells, axes)
            for points in (torch.from_numpy(cloud)[None] for cloud in clouds)
        ]
        scrambled = [moved[0].numpy() for moved, _, _ in shuffled]
        same_size = isinstance(clouds, np.ndarray)
        predicted = self._label(np.stack(scrambled) if same_size else scrambled)
        result = Bunch(scrambled=scrambled, cells=[], predicted=predicted, reassembled=[],
                       accuracy=[])
        for (moved, labels, present), guess in zip(shuffled, predicted, strict=True):
            back = cell_shifts(present[0], torch.from_numpy(guess), n_cells, axes)
            placed = moved[0].clone()
            placed[:, :3] += back
            result.cells.append(labels[0].numpy())
            result.reassembled.append(placed.numpy())
            result.accuracy.append(float((labels[0].numpy() == guess).mean()))
        return result

    def _label(self, clouds: Any) -> list[np.ndarray]:
        """Likeliest cell of every point of normalised clouds."""
        self.module_.eval()
        batches = [cloud[None] for cloud in clouds]
        if isinstance(clouds, np.ndarray):
            batches = np.split(clouds, range(self.batch_size, len(clouds), self.batch_size))
        cells = []
        with torch.inference_mode():
            for batch in batches:
                n_points = batch.shape[1]
                # Smaller clouds than those of `fit` are filled as they were there.
                filled = np.arange(max(n_points, self.n_points_fit_ or 0)) % n_points
                points = torch.from_numpy(batch[:, filled]).to(self.device_)
                cells += list(self.module_(points).argmax(dim=-1)[:, :n_points].cpu().numpy())
        return cells

    def _check_params(self) -> None:
        super()._check_params()
        check_int("n_cells", self.n_cells, minimum=2)
        if not isinstance(self.hidden, (tuple, list)) or not self.hidden:
            raise TypeError(f"hidden must be a tuple of at least one width, got {self.hidden!r}.")
        for width in self.hidden:
            check_int("every width in hidden", width)
        check_real("dropout", self.dropout, maximum=1.0, open_maximum=True)
        axes = self.moved_axes
        right = isinstance(axes, str) and axes and set(axes) <= set(AXES)
        if not right or len(set(axes)) < len(axes):
            raise ValueError(
                f"moved_axes must name some of the axes x, y and z once, such as 'xyz'; got "
                f"{axes!r}."
            )

    def _architecture(self) -> dict[str, Any]:
        return {
            "n_cells": self.n_cells,
            "hidden": tuple(self.hidden),
            "dropout": self.dropout,
            "moved_axes": self.moved_axes,
        }

    def _wrap(self, encoder: Any) -> nn.Module:
        numbers = self.architecture_
        return JigsawNetwork(
            encoder,
            n_channels=numbers["n_channels"],
            n_labels=numbers["n_cells"] ** 3,
            hidden=numbers["hidden"],
            dropout=numbers["dropout"],
        )

    def _check_lesson(self, stored: Tensor) -> None:
        labels = cell_labels(stored, self.architecture_["n_cells"])
        if bool((labels == labels[:, :1]).all()):
            warnings.warn(
                "nothing to put together: all points of each cloud lie in one of the "
                f"{self.architecture_['n_cells'] ** 3} cells of the cube [-1, 1]^3. Set "
                "normalize=True, or give clouds that fill the cube.",
                PointInteractWarning,
                stacklevel=4,  # past _fit and fit, where the user called
            )

    def _draw_permutation(self, n_clouds: int, generator: torch.Generator) -> Tensor:
        n_labels = self.architecture_["n_cells"] ** 3
        return torch.rand(n_clouds, n_labels, generator=generator).argsort(dim=1)

    def _compute_loss(
        self, points: Tensor, index: Tensor, targets: Any, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        numbers = self.architecture_
        permutation = self._draw_permutation(len(points), generator).to(points.device)
        moved, labels, _ = shuffle_cells(
            points, permutation, numbers["n_cells"], numbers["moved_axes"]
        )
        scores = self.module_(moved)  # (B, N, n_labels)
        loss = F.cross_entropy(scores.flatten(0, 1), labels.flatten())
        accuracy = (scores.argmax(dim=-1) == labels).float().mean()
        return loss + self._auxiliary_loss(), {"cross_entropy": loss, "accuracy": accuracy}
