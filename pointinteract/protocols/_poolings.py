"""From a cloud to the one vector that a linear classifier reads, in the ways of the papers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_array
from torch import Tensor

from pointinteract.models import PointGPT, PointTransformer, ReCon, TwoTowerReCon
from pointinteract.utils._params import check_option

__all__ = ["POOLINGS", "check_pooling", "pooled_features"]

# How many tokens before those of patches a network has: class token, queries.
_N_LEADING: dict[type, int] = {ReCon: 3, TwoTowerReCon: 3, PointTransformer: 1, PointGPT: 1}

# Leading tokens (B, Q, C) and the others (B, G, C) to one vector; what it needs of the leading.
_Pool = Callable[[Tensor, Tensor], Tensor]
_POOLS: dict[str, _Pool] = {
    "max": lambda leading, tokens: tokens.amax(dim=1),
    "mean": lambda leading, tokens: tokens.mean(dim=1),
    "max_mean": lambda leading, tokens: torch.cat([tokens.amax(dim=1), tokens.mean(dim=1)], 1),
    "mean_plus_max": lambda leading, tokens: tokens.mean(dim=1) + tokens.amax(dim=1),
    "cls": lambda leading, tokens: leading[:, 0],
    "queries": lambda leading, tokens: torch.cat(
        [leading.amax(dim=1), tokens.amax(dim=1) + tokens.mean(dim=1)], dim=1
    ),
}
_NEED_LEADING = ("cls", "queries")
POOLINGS = (*_POOLS, "contrast")


def check_pooling(pooling: Any) -> None:
    """Raise unless `pooling` is None, callable or a name of :data:`POOLINGS`."""
    if pooling is not None and not callable(pooling):
        check_option("pooling", pooling, (None, *POOLINGS))


def pooled_features(transformer: Any, X: Any, pooling: Any = None) -> np.ndarray:
    """Features of clouds by a fitted transformer, (n_clouds, n_features).

    Parameters
    ----------
    transformer : fitted estimator
        With `pooling` other than None, one of ours, whose network gives tokens (or features of
        points, which count as such).
    X : clouds
    pooling : None, str or callable, default=None
        None: what ``transform`` gives. A callable gets (transformer, X). Of the names,
        ``"max"`` and ``"mean"`` are over the tokens of patches, without class token or
        queries (I2P-MAE's feature is the maximum); ``"max_mean"`` is both, side by side;
        ``"mean_plus_max"`` their sum (Point-M2AE); ``"cls"`` the class token; ``"queries"`` the
        maximum over the leading tokens beside maximum plus mean of the patches (ReCon);
        ``"contrast"`` what the contrast compares clouds by (Point-BERT).

    Returns
    -------
    features : array of shape (n_clouds, n_features)
    """
    if pooling is None:
        features = transformer.transform(X)
    elif callable(pooling):
        features = pooling(transformer, X)
    else:
        check_option("pooling", pooling, POOLINGS)
        features = _pooled_tokens(transformer, X, pooling)
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(
            f"{type(transformer).__name__} gives features of shape {features.shape}; a linear "
            "classifier needs one row for each cloud, (n_clouds, n_features)."
        )
    # In float64 throughout, so that the solver and not the rounding decides.
    return check_array(features, dtype=np.float64, input_name="features")


def _pooled_tokens(transformer: Any, X: Any, pooling: str) -> np.ndarray:
    if type(transformer).__name__ == "FrozenEstimator":
        transformer = transformer.estimator
    module = getattr(transformer, "module_", None)
    if module is None or not hasattr(transformer, "_infer"):
        raise TypeError(
            f"pooling={pooling!r} needs a pretrainer or classifier of this package, got "
            f"{type(transformer).__name__}; leave pooling=None to take what its transform gives."
        )
    clouds = transformer._prepare(transformer._validate_clouds(X, reset=False))
    if pooling == "contrast":
        return transformer._infer(clouds, _contrast_of(module, transformer))
    read = _reader_of(module, transformer)
    pool = _POOLS[pooling]

    def function(points: Tensor) -> Tensor:
        leading, tokens = read(points)
        if pooling in _NEED_LEADING and not leading.shape[1]:
            raise TypeError(
                f"pooling={pooling!r} needs a class token or queries, which the network of "
                f"{type(transformer).__name__} did not learn; the others are "
                f"{[name for name in _POOLS if name not in _NEED_LEADING]}."
            )
        return pool(leading, tokens)

    return transformer._infer(clouds, function)


def _reader_of(module: Any, transformer: Any) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function from points to leading tokens (B, Q, C) and the others (B, G, C)."""
    encoder = module if hasattr(module, "forward_features") else getattr(module, "encoder", None)
    n_leading = next(
        (count for kind, count in _N_LEADING.items() if isinstance(encoder, kind)), 0
    )
    # Where a module reads a cloud as its pre-training does, its class token is not in it.
    own = getattr(module, "forward_tokens", None)
    read = own if own is not None and n_leading < 2 else getattr(encoder, "forward_features", None)
    if read is None:
        raise TypeError(
            f"the network of {type(transformer).__name__}, {type(module).__name__}, gives no "
            "tokens to pool; leave pooling=None to take what transform gives."
        )
    n_cut = 0 if read is own else n_leading

    def split(points: Tensor) -> tuple[Tensor, Tensor]:
        tokens = read(points)
        return tokens[:, :n_cut], tokens[:, n_cut:]

    return split


def _contrast_of(module: Any, transformer: Any) -> Callable[[Tensor], Tensor]:
    query: Any = getattr(module, "query", None)
    if not hasattr(query, "contrast"):
        raise TypeError(
            "pooling='contrast' needs a pretrainer with a head to contrast clouds by their class "
            f"token, such as PointBERTPretrainer; got {type(transformer).__name__}."
        )
    return lambda points: query.contrast(module.encoder.forward_features(points))
