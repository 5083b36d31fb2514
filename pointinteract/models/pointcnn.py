"""PointCNN (Li et al., NeurIPS 2018): put the neighbors in a learned order, then convolve.

A convolution needs an order of its inputs, and neighbors of a point have none that means
anything. An X-convolution looks where the K neighbors of a representative point lie, makes a
K x K matrix of it that weights and reorders them, multiplies their features by it, and then
convolves as if along a line.

Representatives of later layers are simply the first points of a cloud, so the clouds should be
shuffled, and the network is not indifferent to the order. Rectifiers come before
normalizations throughout.
"""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pointinteract.models._official import (
    Layout,
    OfficialFormat,
    OfficialSizes,
    OfficialState,
    register_official,
)
from pointinteract.models._registry import register_model
from pointinteract.nn.heads import ClassifierHead
from pointinteract.nn.xconv import DenseNorm, XConv

__all__ = ["PointCNN"]


class PointCNN(nn.Module):
    """Four X-convolutions, two layers on each representative, and their mean.

    Parameters
    ----------
    n_channels : int, default=3
        Channels per point; those after the coordinates are features of the points.
    n_classes : int, default=40
    n_neighbors : sequence of int, default=(8, 12, 16, 16)
        Neighbors of each layer.
    dilations : sequence of int, default=(1, 2, 2, 3)
        How sparsely these are taken from the nearest points.
    n_queries : sequence of int or None, default=(None, 384, 128, 128)
        Representatives of each layer, the first of those of the layer before; None keeps all.
    widths : sequence of int, default=(48, 96, 192, 384)
        Features of a representative.
    hidden : (int, int), default=(384, 192)
        Widths of the layers after the last convolution.
    dropout : float, default=0.8
        Share of the last features that is dropped in training.

    Notes
    -----
    The original supervises every representative with the label of the cloud in training and
    averages features in evaluation only. Here the scores of a cloud are the mean over its
    representatives in both modes, and `auxiliary_loss` holds the difference between the two
    losses, which does not depend on the label: with scores s_r and their mean m,

        mean_r CE(s_r, y) = CE(m, y) + mean_r logsumexp(s_r) - logsumexp(m).

    Trained by cross-entropy, smoothed or not, plus that loss, it is trained as the original.
    (Weights of classes act on the first term only.)

    References
    ----------
    Li, Bu, Sun, Wu, Di, Chen, "PointCNN: Convolution On X-Transformed Points", NeurIPS 2018,
    arXiv 1801.07791.
    """

    official_system = "pointcnn"
    permutation_invariant = False  # the first points are the representatives

    def __init__(
        self,
        *,
        n_channels: int = 3,
        n_classes: int = 40,
        n_neighbors: Sequence[int] = (8, 12, 16, 16),
        dilations: Sequence[int] = (1, 2, 2, 3),
        n_queries: Sequence[int | None] = (None, 384, 128, 128),
        widths: Sequence[int] = (48, 96, 192, 384),
        hidden: tuple[int, int] = (384, 192),
        dropout: float = 0.8,
    ):
        super().__init__()
        numbers = (n_neighbors, dilations, n_queries, widths)
        if len({len(each) for each in numbers}) > 1 or not widths:
            raise ValueError(
                "n_neighbors, dilations, n_queries and widths must name as many layers each, "
                f"at least one, got {', '.join(str(len(each)) for each in numbers)}."
            )
        self.config = {  # what makes another one like it
            "n_channels": n_channels,
            "n_neighbors": tuple(n_neighbors),
            "dilations": tuple(dilations),
            "n_queries": tuple(n_queries),
            "widths": tuple(widths),
            "hidden": tuple(hidden),
            "dropout": dropout,
        }
        self.n_queries = tuple(n_queries)
        self.num_features = hidden[1]
        n_extra = n_channels - 3
        # Extra channels are brought to the width that places are lifted to without them.
        self.embed = DenseNorm(n_extra, widths[0] // 2) if n_extra else None
        self.convolutions = nn.ModuleList()
        n_in = widths[0] // 2 if n_extra else 0
        n_lifted, multiplier = widths[0] // (4 if n_extra else 2), 4
        n_global = widths[-1] // 4
        for i, width in enumerate(widths):
            if i > 0:
                n_lifted, multiplier = n_in // 4, math.ceil(width / n_in)
            layer = XConv(
                n_in,
                width,
                n_lifted=n_lifted,
                n_neighbors=n_neighbors[i],
                dilation=dilations[i],
                multiplier=multiplier,
                n_global=n_global if i + 1 == len(widths) else 0,
            )
            self.convolutions.append(layer)
            n_in = width
        self.dense1 = DenseNorm(n_global + n_in, hidden[0])
        self.dense2 = DenseNorm(hidden[0], hidden[1])
        self.dropout = nn.Dropout(dropout)
        self.reset_classifier(n_classes)
        self._last_scores: Tensor | None = None

    def forward(self, points: Tensor) -> Tensor:
        """Map clouds (B, N, n_channels) to class scores (B, n_classes)."""
        features = self.dropout(self.forward_features(points))
        if not (self.training and self._has_linear_head()):
            return self.head(features.mean(1))
        scores = self.head(features)
        self._last_scores = scores
        return scores.mean(1)

    def forward_features(self, points: Tensor) -> Tensor:
        """Return the features of each representative, (B, 128, 192), before dropout."""
        features = self._convolve(points)
        return self.dense2(self.dense1(features))

    def forward_pool(self, points: Tensor) -> Tensor:
        """Return the mean over the representatives, (B, 192)."""
        return self.dropout(self.forward_features(points)).mean(1)

    def auxiliary_loss(self) -> Tensor:
        """Return what the loss lacks to be the mean loss of all representatives.

        It belongs to the last forward pass in training mode, which is forgotten here; without
        one it is zero, and so it is without a head or with one that is not linear, which sees
        the mean alone.
        """
        scores, self._last_scores = self._last_scores, None
        if scores is None or isinstance(self.head.out, nn.Identity):
            return self.dense2.linear.weight.new_zeros(())
        return (scores.logsumexp(-1).mean(1) - scores.mean(1).logsumexp(-1)).mean()

    def reset_classifier(self, n_classes: int) -> None:
        """Put a fresh head for `n_classes` classes in place of the old one; 0 takes it off."""
        head = ClassifierHead(self.num_features, (), n_classes)
        self.head = head.to(self.dense2.linear.weight).train(self.training)

    def _has_linear_head(self) -> bool:
        return isinstance(self.head, ClassifierHead) and not self.head.layers

    def _convolve(self, points: Tensor) -> Tensor:
        """Features of the last representatives, (B, 128, C / 4 + C)."""
        n_channels = self.config["n_channels"]
        if points.shape[-1] != n_channels:  # or further channels would not be looked at
            raise ValueError(
                f"points must be (B, N, {n_channels}) for a network of {n_channels} channels, "
                f"got {tuple(points.shape)}."
            )
        xyz = points[..., :3]
        features: Any = None if self.embed is None else self.embed(points[..., 3:])
        for convolution, n_queries in zip(self.convolutions, self.n_queries, strict=True):
            n_points = xyz.shape[1]
            n_kept = n_points if n_queries is None else min(n_queries, n_points)
            features = convolution(xyz, features, n_kept)
            xyz = xyz[:, :n_kept]
        return features

    def __getstate__(self) -> dict:
        # A tensor inside a graph can be neither copied nor pickled, and is not worth it.
        return {**self.__dict__, "_last_scores": None}


@register_model
def pointcnn(*, n_channels: int = 3, n_classes: int = 40, dropout: float = 0.8) -> PointCNN:
    """PointCNN as published for 1024 points, 0.6 million parameters."""
    return PointCNN(n_channels=n_channels, n_classes=n_classes, dropout=dropout)


# Dilations D and numbers of representatives P leave no trace in the tensors.
_PUBLISHED = (
    {"K": 8, "D": 1, "P": -1, "C": 48},
    {"K": 12, "D": 2, "P": 384, "C": 96},
    {"K": 16, "D": 2, "P": 128, "C": 192},
    {"K": 16, "D": 3, "P": 128, "C": 384},
)


def _build(state: OfficialState, sizes: OfficialSizes) -> PointCNN:
    layers = []
    for i, layer in enumerate(sizes.get("xconv", _PUBLISHED), start=1):
        k = state.shape(f"xconv_{i}_X_0/kernel", 4)[1]
        width = state.shape(f"xconv_{i}_fts_conv/pointwise_kernel", 4)[3]
        layers.append({**layer, "K": k, "C": width})
    layers = sizes.check("xconv", layers)
    sizes.check("x", layers[0]["C"] // 16)
    sizes.check("with_global", f"xconv_{len(layers)}_fts_global/kernel" in state)
    sizes.check("sampling", "random (first P points)")
    sizes.check("activation", "ELU, then batch normalisation")
    sizes.check("batchnorm_epsilon", 1e-3)
    hidden = sizes.check("fc", [state.shape(f"fc{i}/kernel", 2)[1] for i in (0, 1)])
    n_extra = 0
    if "features_hd/kernel" in state:
        n_extra = state.shape("features_hd/kernel", 2)[0]
    return PointCNN(
        n_channels=3 + n_extra,
        n_classes=sizes.check("num_class", state.shape("logits/kernel", 2)[1]),
        n_neighbors=[layer["K"] for layer in layers],
        dilations=[layer["D"] for layer in layers],
        n_queries=[None if layer["P"] == -1 else layer["P"] for layer in layers],
        widths=[layer["C"] for layer in layers],
        hidden=(hidden[0], hidden[1]),
        dropout=sizes.get("dropout", 0.8),
    )


_DENSE = Layout(lambda weight: weight.mT.contiguous(), lambda kernel: kernel.mT.contiguous())
_POINTWISE = Layout(
    lambda weight: weight.mT.contiguous()[None, None],
    lambda kernel: kernel[0, 0].mT.contiguous(),
)
_DEPTHWISE = Layout(lambda weight: weight[None], lambda kernel: kernel[0])
# A convolution that covers the K places of three channels each: (1, K, 3, out).
_COVERING = Layout(
    lambda weight: weight.mT.reshape(1, -1, 3, len(weight)).contiguous(),
    lambda kernel: kernel.flatten(0, 2).mT.contiguous(),
)

# yangyanli/PointCNN, pointcnn_cls.py
register_official(
    OfficialFormat(
        system="pointcnn",
        build=_build,
        renames=(
            (r".*num_batches_tracked$", ""),
            *((rf"^convolutions\.{i}\.", f"xconv_{i + 1}_") for i in range(10)),
            (r"lift1\.", "nn_fts_from_pts_0."),
            (r"lift2\.", "nn_fts_from_pts."),
            (r"matrix1\.", "X_0."),
            (r"matrix2\.weight$", "X_1/depthwise_weights"),
            (r"matrix3\.weight$", "X_2/depthwise_weights"),
            (r"_norm2\.", "_X_1.norm."),
            (r"_norm3\.", "_X_2.norm."),
            (r"convolve\.weight$", "fts_conv/depthwise_kernel"),
            (r"mix\.linear\.weight$", "fts_conv/pointwise_kernel"),
            (r"mix\.norm", "fts_conv.norm"),
            (r"place\.0\.", "fts_global_0."),
            (r"place\.1\.", "fts_global."),
            (r"^embed\.", "features_hd."),
            (r"^dense1\.", "fc0."),
            (r"^dense2\.", "fc1."),
            (r"^head\.out\.weight$", "logits/kernel"),
            (r"^head\.out\.bias$", "logits/bias"),
            (r"\.linear\.weight$", "/kernel"),
            (r"\.norm\.weight$", "_bn/gamma"),
            (r"\.norm\.bias$", "_bn/beta"),
            (r"\.norm\.running_mean$", "_bn/moving_mean"),
            (r"\.norm\.running_var$", "_bn/moving_variance"),
        ),
        layouts=(
            (r"_X_0/kernel$", _COVERING),
            (r"/depthwise_(weights|kernel)$", _DEPTHWISE),
            (r"/pointwise_kernel$", _POINTWISE),
            (r"/kernel$", _DENSE),
        ),
    )
)
