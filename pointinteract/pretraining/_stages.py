"""Copies of a pretrainer along its training, to ask when its features came to be good."""

import copy
from collections.abc import Sequence
from typing import Any

from sklearn.base import clone

from pointinteract.utils._params import check_real

__all__ = ["pretraining_stages"]


def pretraining_stages(
    pretrainer: Any,
    X: Any,
    *,
    fractions: Sequence[float] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    fit_params: dict[str, Any] | None = None,
) -> dict[float, Any]:
    """Pre-train once, and keep a fitted copy at each of some shares of the epochs.

    The schedule is that of the whole training, so the copy at 1.0 is what ``fit`` would give,
    to the last bit on the CPU, and the others are what it passes through.

    Parameters
    ----------
    pretrainer : estimator
        With ``partial_fit`` and ``max_epochs``, fitted or not; it is cloned and left alone.
    X : array of shape (n_clouds, n_points, n_channels) or list of (n_points_i, n_channels)
    fractions : sequence of float in [0, 1], default=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
        Shares of ``max_epochs``, rounded to whole epochs. 0 is the network before any step.
    fit_params : dict or None, default=None
        Further arguments of ``fit`` and ``partial_fit``, such as ``{"texts": ...}`` of
        ReConPretrainer.

    Returns
    -------
    stages : dict of float to estimator
        In rising order; the ``n_epochs_`` of each says how many epochs it has seen.

    Examples
    --------
    >>> from pointinteract.datasets import make_shapes
    >>> from pointinteract.pretraining import JigsawPretrainer, pretraining_stages
    >>> X, _ = make_shapes(8, n_points=32, return_X_y=True, random_state=0)
    >>> pre = JigsawPretrainer("pointnet_basic", max_epochs=4, random_state=0)
    >>> stages = pretraining_stages(pre, X, fractions=(0.0, 0.5, 1.0))
    >>> [stage.n_epochs_ for stage in stages.values()]
    [0, 2, 4]
    """
    if not hasattr(pretrainer, "partial_fit") or not hasattr(pretrainer, "max_epochs"):
        raise TypeError(
            "pretrainer must have partial_fit and max_epochs, as ReConPretrainer, "
            f"JigsawPretrainer and OcCoPretrainer have; got {type(pretrainer).__name__}."
        )
    if len(fractions) == 0:
        raise ValueError("fractions must hold at least one share of the epochs, got none.")
    shares = sorted({check_real("every one of fractions", f, maximum=1.0) for f in fractions})
    extra = fit_params or {}
    # The clone trains epoch by epoch; copies never do, so its optimiser need not be copied.
    running = clone(pretrainer).set_params(max_epochs=0).fit(X, **extra)
    running.set_params(max_epochs=pretrainer.max_epochs)
    stages = {}
    for share in shares:
        while running.n_epochs_ < round(share * pretrainer.max_epochs):
            running.partial_fit(X, **extra)
        stages[share] = copy.deepcopy(running)
    return stages
