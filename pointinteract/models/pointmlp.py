"""PointMLP (Ma et al., ICLR 2022): residual layers on groups, and nothing more elaborate.

Four times, half of the points are chosen, farthest first, and each is described by its nearest
neighbors: their features relative to its own, brought to one scale, pass through residual
blocks, the maximum over the group is kept, and more blocks follow. PointMLP-elite is the same,
narrower and with bottlenecks.

Coordinates serve to choose points and neighbors; the network reads them only once, in its
first layer.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from pointinteract.models._official import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
    unit_axes,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.grouping_affine import AffineGroupPool
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.mlp import LinearNorm
from pointinteract.nn.residual import ResidualBlock
from pointinteract.ops.grouping import gather
from pointinteract.ops.neighbors import knn
from pointinteract.ops.sampling import farthest_point_sample
from pointinteract.utils._params import check_int


class _Sizes(NamedTuple):
    """Width of the first layer; of each stage, widths outside and inside blocks, and counts."""

    n_embedded: int
    widths: tuple[int, ...]
    inner_widths: tuple[int, ...]
    n_blocks: tuple[int, ...]


_FULL = _Sizes(64, (128, 256, 512, 1024), (128, 256, 512, 1024), (2, 2, 2, 2))
_ELITE = _Sizes(32, (64, 128, 256, 256), (16, 32, 64, 64), (1, 1, 2, 1))
_PUBLISHED = {"pointmlp": _FULL, "pointmlp_elite": _ELITE}
_SAMPLES = (512, 256, 128, 64)
_NEIGHBORS = 24


class Stage(nn.Module):
    """Groups described before and after the maximum over each.

    Parameters
    ----------
    n_in, n_out : int
        Channels per point before, and per group after.
    n_hidden : int
        Channels inside the residual blocks.
    n_blocks : int
        Number of blocks before the maximum, and as many after it.
    """

    def __init__(self, n_in: int, n_out: int, n_hidden: int, n_blocks: int):
        super().__init__()
        self.pool = AffineGroupPool(n_in, n_out, n_blocks, n_hidden)
        self.after = nn.Sequential(*(ResidualBlock(n_out, n_hidden) for _ in range(n_blocks)))

    def forward(self, features: Tensor, neighbors: Tensor, picked: Tensor | None = None) -> Tensor:
        """Map (B, N, n_in), neighbors (B, S, K) and who is picked (B, S) to (B, S, n_out)."""
        return self.after(self.pool(features, neighbors, picked))


class PointMLP(nn.Module):
    """Residual network on groups of neighbors for classification.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point, all of which the first layer reads. Points and neighbors are chosen
        by the first three.
    n_classes : int, default=40
    n_samples : sequence of int, default=(512, 256, 128, 64)
        Points chosen in each stage. Clouds of fewer points keep all they have.
    n_neighbors : int, default=24
        Points of a group, the chosen one included. More look farther and cost time in
        proportion.
    n_embedded : int, default=64
        Features of a point before the first stage.
    widths : sequence of int, default=(128, 256, 512, 1024)
        Features after each stage; `num_features` is the last of them.
    inner_widths : sequence of int, default=(128, 256, 512, 1024)
        Features inside the residual blocks of each stage; fewer make bottlenecks.
    n_blocks : sequence of int, default=(2, 2, 2, 2)
        Residual blocks of each stage before the maximum, and as many after it.
    dropout : float, default=0.5
        Share of both hidden layers of the head that is dropped in training.
    """

    permutation_invariant = False

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_samples: Sequence[int] = _SAMPLES,
        n_neighbors: int = _NEIGHBORS,
        n_embedded: int = _FULL.n_embedded,
        widths: Sequence[int] = _FULL.widths,
        inner_widths: Sequence[int] = _FULL.inner_widths,
        n_blocks: Sequence[int] = _FULL.n_blocks,
        dropout: float = 0.5,
    ):
        super().__init__()
        check_int("n_neighbors", n_neighbors)
        per_stage = (n_samples, widths, inner_widths, n_blocks)
        if len({len(each) for each in per_stage}) > 1 or not widths:
            raise ValueError(
                "n_samples, widths, inner_widths and n_blocks must name as many stages each, at "
                f"least one, got {', '.join(str(len(each)) for each in per_stage)}."
            )
        sizes = _Sizes(n_embedded, tuple(widths), tuple(inner_widths), tuple(n_blocks))
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_samples": tuple(n_samples),
            "n_neighbors": n_neighbors,
            **sizes._asdict(),
            "dropout": dropout,
        }
        # A checkpoint does not tell how many samples and neighbors, so that another network
        # could not be read back.
        self.official_system = None
        if (tuple(n_samples), n_neighbors) == (_SAMPLES, _NEIGHBORS):
            names = (name for name, published in _PUBLISHED.items() if published == sizes)
            self.official_system = next(names, None)
        self.n_samples = tuple(n_samples)
        self.n_neighbors = n_neighbors
        self.num_features = widths[-1]
        self.dropout = dropout
        self.embed = LinearNorm(n_channels, n_embedded, bias=False)
        self.stages = nn.ModuleList(
            Stage(n_in, n_out, n_hidden, n)
            for n_in, n_out, n_hidden, n in zip(
                (n_embedded, *widths[:-1]), widths, inner_widths, n_blocks, strict=True
            )
        )
        self.reset_classifier(n_classes)

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        return self.head(self.forward_pool(points))

    def forward_features(self, points: Tensor) -> Tensor:
        """Return features of the points chosen in the last stage, (B, G, num_features).

        They come in the order in which they are chosen.
        """
        xyz = points[..., :3]
        features = self.embed(points)
        n_first = min(self.n_samples[0], points.shape[1])
        picked: Tensor | None = farthest_point_sample(xyz, n_first)
        for n_samples, stage in zip(self.n_samples, self.stages, strict=True):
            # Samples come farthest first, so that after the first stage the farthest of those
            # that are left are simply the first of them.
            centers = xyz[:, :n_samples] if picked is None else gather(xyz, picked)
            neighbors = knn(centers, xyz, min(self.n_neighbors, xyz.shape[1]))
            features = stage(features, neighbors, picked)
            xyz, picked = centers, None
        return features

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the maximum over the points chosen last, (B, num_features)."""
        return self.forward_features(points).amax(1)

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(
            self.num_features, (512, 256), n_classes, dropout=(self.dropout, self.dropout)
        )
        self.head = head.to(self.embed.linear.weight).train(self.training)


@register_model
def pointmlp(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_neighbors: int = _NEIGHBORS,
    dropout: float = 0.5,
) -> PointMLP:
    """PointMLP as published, 13.2 million parameters."""
    return PointMLP(
        n_channels=n_channels,
        n_classes=n_classes,
        n_neighbors=n_neighbors,
        dropout=dropout,
        **_FULL._asdict(),
    )


@register_model
def pointmlp_elite(
    *,
    n_channels: int = 3,
    n_classes: int = 40,
    n_neighbors: int = _NEIGHBORS,
    dropout: float = 0.5,
) -> PointMLP:
    """PointMLP-elite as published, 0.7 million parameters."""
    return PointMLP(
        n_channels=n_channels,
        n_classes=n_classes,
        n_neighbors=n_neighbors,
        dropout=dropout,
        **_ELITE._asdict(),
    )


def _build(state: OfficialState, sizes: OfficialSizes, factory: str) -> PointMLP:
    """Make the network of a checkpoint; all but points and neighbors can be read from it."""
    sizes.check("factory", factory)
    stages = range(sum(key.endswith("affine_alpha") for key in state))
    first = [f"pre_blocks_list.{s}.operation.0.net1.0.weight" for s in stages]
    counts = [
        sum(
            key.startswith(f"pre_blocks_list.{s}.operation.") and key.endswith(".net1.0.weight")
            for key in state
        )
        for s in stages
    ]
    return PointMLP(
        n_channels=state.shape("embedding.net.0.weight", 3)[1],
        n_classes=sizes.check("num_classes", state.shape("classifier.8.weight", 2)[0]),
        n_embedded=state.shape("embedding.net.0.weight", 3)[0],
        widths=[state.shape(key, 3)[1] for key in first],
        inner_widths=[state.shape(key, 3)[0] for key in first],
        n_blocks=counts,
    )


def _build_full(state: OfficialState, sizes: OfficialSizes) -> PointMLP:
    return _build(state, sizes, "pointMLP")


def _build_elite(state: OfficialState, sizes: OfficialSizes) -> PointMLP:
    return _build(state, sizes, "pointMLPElite")


_ONE_ROW = Layout(lambda tensor: tensor.view(1, 1, 1, -1), lambda tensor: tensor.view(-1))
_RENAMES = (
    (r"^embed\.linear", "embedding.net.0"),
    (r"^embed\.norm", "embedding.net.1"),
    (r"^stages\.(\d)\.pool\.(alpha|beta)", r"local_grouper_list.\1.affine_\2"),
    (r"^stages\.(\d)\.pool\.transfer\.linear", r"pre_blocks_list.\1.transfer.net.0"),
    (r"^stages\.(\d)\.pool\.transfer\.norm", r"pre_blocks_list.\1.transfer.net.1"),
    (r"^stages\.(\d)\.pool\.blocks", r"pre_blocks_list.\1.operation"),
    (r"^stages\.(\d)\.after", r"pos_blocks_list.\1.operation"),
    (r"\.(net\d)\.linear", r".\1.0"),
    (r"\.(net\d)\.norm", r".\1.1"),
    (r"^head\.layers\.0\.linear", "classifier.0"),
    (r"^head\.layers\.0\.norm", "classifier.1"),
    (r"^head\.layers\.1\.linear", "classifier.4"),
    (r"^head\.layers\.1\.norm", "classifier.5"),
    (r"^head\.out", "classifier.8"),
)
_LAYOUTS = (
    (r"affine_(alpha|beta)$", _ONE_ROW),
    (r"\.net\d?\.0\.weight$", unit_axes(1)),
)

# ma-xu/pointMLP-pytorch, classification_ModelNet40/models/pointmlp.py
register_official(
    OfficialFormat(system="pointmlp", build=_build_full, renames=_RENAMES, layouts=_LAYOUTS)
)
register_official(
    OfficialFormat(system="pointmlp_elite", build=_build_elite, renames=_RENAMES, layouts=_LAYOUTS)
)
