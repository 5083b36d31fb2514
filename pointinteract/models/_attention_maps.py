"""Where a network looks: attention of its queries and of its patches, as numbers.

Networks read by a fused product that never shows its weights. Here the inputs of one block are
caught on their way through, and the weights computed from them once more; nothing changes for
those who do not ask.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from pointinteract.base import Clouds, check_clouds
from pointinteract.models._attention_result import AttentionMaps
from pointinteract.models.point_mae import PointMAEPretraining
from pointinteract.models.point_transformer import PointTransformer
from pointinteract.models.recon import ReCon
from pointinteract.models.recon_baselines import (
    MultiTaskReCon,
    TwoTowerPretraining,
    TwoTowerReCon,
)
from pointinteract.models.recon_pretraining import ReConPretraining
from pointinteract.nn.attention import CrossAttention, SelfAttention
from pointinteract.ops import knn

__all__ = ["AttentionMaps", "attention_maps"]

_QUERIES = ("class", "image", "text")
_READABLE = (
    "ReCon with its baselines, and plain transformers (transformer, Point-MAE, Point-BERT, "
    "MaskPoint, ACT)"
)


@dataclass(frozen=True)
class _Layout:
    """Where in a network attention is to be caught."""

    encoder: Any  # cuts clouds into patches
    look: Callable[[Tensor], Any]  # sends points through the blocks
    # Attention layers of one block, each with the names of its first tokens, which are queries.
    layers: tuple[tuple[SelfAttention | CrossAttention, tuple[str, ...]], ...]
    local: SelfAttention  # the one of them by which patches read patches
    untrained: tuple[str, ...] = ()  # queries that no loss has reached


def attention_maps(
    estimator: Any, X: Any, *, block: int = -1, head: str | int = "mean"
) -> AttentionMaps:
    """Attention of a network's queries and patches over the patches of clouds.

    Parameters
    ----------
    estimator : fitted estimator or torch.nn.Module
        A pretrainer or a :class:`~pointinteract.classification.PointClassifier` whose network
        is ReCon, one of its baselines or a plain transformer of patch tokens, or such a network
        itself.
    X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
    block : int, default=-1
        Which block; -1 is the last. Early blocks look at what lies near, late ones at what
        belongs together.
    head : "mean" or int, default="mean"
        One attention head, or the mean over all of them.

    Returns
    -------
    maps : AttentionMaps
        Queries are, where the network has them, ``"class"``, ``"image"`` and ``"text"``. In a
        pretrainer those that its losses never reached are left out: they still look where
        chance made them look. All patches are visible.

    Notes
    -----
    A weight is softmax(q k / sqrt(C / H)) of a block (Vaswani et al., "Attention is all you
    need", NIPS 2017). It says what was read, not what mattered: for that see
    :class:`~pointinteract.explanation.InteractionExplainer`.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.models import attention_maps
    >>> from pointinteract.pretraining import ReConPretrainer
    >>> X, _ = make_shapes(8, n_points=64, return_X_y=True, random_state=0)
    >>> pre = ReConPretrainer(n_groups=8, group_size=8, image_teacher="depth_descriptor",
    ...                       max_epochs=1, random_state=0).fit(X)
    >>> maps = attention_maps(pre, X[:2])
    >>> maps.queries
    ('image',)
    >>> maps.weights("image").shape, maps.on_points("image").shape
    ((2, 8), (2, 64))
    """
    module, clouds = _prepare(estimator, X)
    layout = _find_layout(module, block)
    _check_head(head, layout.local.n_heads)
    if isinstance(clouds, np.ndarray):
        batches: list[np.ndarray] = np.array_split(clouds, -(-len(clouds) // 32))
    else:
        batches = [cloud[None] for cloud in clouds]
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.inference_mode():
            found = [_look(layout, torch.from_numpy(batch), head) for batch in batches]
    finally:
        for part, training in modes:  # one by one: frozen parts may differ from the rest
            part.training = training
    rows = [_joined([each[part] for each in found]) for part in range(4)]
    names = [name for _, names in layout.layers for name in names]
    queries = tuple(
        name for name in _QUERIES if name in names and name not in layout.untrained
    )
    order = [names.index(name) for name in queries]
    return AttentionMaps(
        points=clouds,
        centers=rows[0],
        patches=rows[1],
        queries=queries,
        query_weights=_chosen(rows[2], order),
        local_weights=rows[3],
        block=block,
        head=head,
    )


def _prepare(estimator: Any, X: Any) -> tuple[nn.Module, Clouds]:
    """The network, and clouds as it gets them."""
    if isinstance(estimator, nn.Module):
        return estimator, check_clouds(X)
    if not hasattr(estimator, "_prepare"):
        raise TypeError(
            "estimator must be a pretrainer, a PointClassifier or a network, got "
            f"{type(estimator).__name__}."
        )
    check_is_fitted(estimator, "module_")
    return estimator.module_, estimator._prepare(estimator._validate_clouds(X, reset=False))


def _find_layout(module: Any, block: int) -> _Layout:
    encoder = module if not hasattr(module, "encoder") else module.encoder
    if isinstance(encoder, MultiTaskReCon):
        layer = _block(encoder, block).attention
        return _Layout(encoder, encoder.forward_features, ((layer, _QUERIES),), layer,
                       _untrained(module))
    if isinstance(encoder, ReCon):
        chosen = _block(encoder, block)
        layers = ((chosen.cross_attention, _QUERIES), (chosen.self_attention, ()))
        return _Layout(encoder, encoder.forward_features, layers, chosen.self_attention,
                       _untrained(module))
    if isinstance(encoder, TwoTowerReCon):
        return _two_towers(module, encoder, block)
    if isinstance(encoder, PointTransformer):
        layer = _block(encoder, block).attention
        if isinstance(module, PointMAEPretraining):  # has not met a class token yet
            return _Layout(encoder, module.forward_tokens, ((layer, ()),), layer)
        return _Layout(encoder, encoder.forward_features, ((layer, ("class",)),), layer)
    raise TypeError(
        f"attention can be shown of {_READABLE}; {type(encoder).__name__} has none that goes "
        "from tokens to patches."
    )


def _two_towers(module: Any, encoder: TwoTowerReCon, block: int) -> _Layout:
    of_queries = _block(encoder.contrast, block).attention
    local = _block(encoder.reconstruction, block).attention
    queries = (of_queries, ("image", "text"))
    if isinstance(module, TwoTowerPretraining):  # has not met a class token yet
        layers: Any = (queries, (local, ()))
        return _Layout(encoder, encoder.forward_probe, layers, local, _untrained(module))
    layers = (queries, (local, ("class",)))
    return _Layout(encoder, encoder.forward_features, layers, local)


def _untrained(module: Any) -> tuple[str, ...]:
    """Queries of a network that is being pre-trained whose losses are switched off."""
    if not isinstance(module, ReConPretraining | TwoTowerPretraining):
        return ()
    branches = {"class": "contrast", "image": "image", "text": "text"}
    return tuple(
        name for name, branch in branches.items()
        if getattr(module, f"{branch}_projection", None) is None
    )


def _block(encoder: Any, block: int) -> Any:
    depth = len(encoder.blocks)
    if isinstance(block, bool) or not isinstance(block, int | np.integer):
        raise TypeError(f"block must be an integer, got {block!r} ({type(block).__name__}).")
    if not -depth <= block < depth:
        raise ValueError(f"block must be from {-depth} to {depth - 1}, got {block}.")
    return encoder.blocks[block]


def _check_head(head: Any, n_heads: int) -> None:
    known = isinstance(head, int | np.integer) and not isinstance(head, bool)
    if head != "mean" and not (known and 0 <= head < n_heads):
        raise ValueError(f'head must be "mean" or from 0 to {n_heads - 1}, got {head!r}.')


def _look(
    layout: _Layout, points: Tensor, head: str | int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Centers (B, G, 3), patches (B, G, K), weights of queries (B, Q, G), local (B, G, G)."""
    points = points.to(next(layout.encoder.parameters()).device)
    neighborhoods, centers = layout.encoder.patches(points)
    # Cut as the network cuts them: the points nearest to each center, which is one of them.
    n_found = min(neighborhoods.shape[2], points.shape[1])
    patches = knn(centers, points[..., :3], n_found)
    of_queries: list[Tensor] = []
    local = points.new_empty(0)
    with _caught([layer for layer, _ in layout.layers]) as caught:
        layout.look(points)
    for layer, names in layout.layers:
        weights = layer.weights(*caught[layer])  # (B, H, readers, tokens)
        weights = weights.mean(dim=1) if isinstance(head, str) else weights[:, head]
        n_before = 0 if isinstance(layer, CrossAttention) else len(names)
        of_queries.append(weights[:, : len(names), n_before:])
        if layer is layout.local:
            local = weights[:, n_before:, n_before:]
    found = centers, patches, torch.cat(of_queries, dim=1), local
    return tuple(tensor.cpu().numpy() for tensor in found)  # type: ignore[return-value]


@contextmanager
def _caught(layers: Sequence[nn.Module]) -> Iterator[dict[nn.Module, tuple[Tensor, ...]]]:
    """What `layers` are asked to read while the context lasts, without biases."""
    kept: dict[nn.Module, tuple[Tensor, ...]] = {}

    def keep(layer: nn.Module, given: tuple) -> None:
        n_inputs = 2 if isinstance(layer, CrossAttention) else 1
        kept[layer] = given[:n_inputs]

    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()


def _joined(batches: list[np.ndarray]) -> Any:
    """One array, or a list with one a cloud where clouds differ in their patches."""
    if all(batch.shape[1:] == batches[0].shape[1:] for batch in batches):
        return np.concatenate(batches)
    return [row for batch in batches for row in batch]


def _chosen(weights: Any, order: list[int]) -> Any:
    if isinstance(weights, np.ndarray):
        return weights[:, order]
    return [row[order] for row in weights]
