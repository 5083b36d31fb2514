"""One differentiable number out of a network's logits: the score of a class."""

import torch
from torch import Tensor

from pointinteract.utils._params import check_option

__all__ = ["SCORES", "target_score"]

SCORES = ("log_odds", "logit", "log_probability")


def target_score(logits: Tensor, target: Tensor, *, score: str = "log_odds") -> Tensor:
    """Score of one class of every row, differentiable.

    Parameters
    ----------
    logits : Tensor of shape (..., K)
    target : int64 Tensor that broadcasts to shape (...)
        The class of each row.
    score : {"log_odds", "logit", "log_probability"}, default="log_odds"
        ``"log_odds"`` is log p / (1 - p) = z_y - logsumexp of the other logits, formed without
        1 - p, so that it stays exact where the network is certain. ``"logit"`` is z_y alone,
        which a shift of all logits changes. ``"log_probability"`` is log p, which is bounded
        above and so flattens where the network is certain.

    Returns
    -------
    value : Tensor of shape (...)

    Raises
    ------
    ValueError
        If there is one class only, or `target` does not go with `logits`. (A class that does
        not exist is an error of the device itself on a GPU.)

    Examples
    --------
    >>> import torch
    >>> from pointinteract.losses import target_score
    >>> target_score(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
    tensor([ 2., -2.])
    """
    check_option("score", score, SCORES)
    n_classes = logits.shape[-1]
    if n_classes < 2:
        raise ValueError(
            f"a score compares one class with others; logits {tuple(logits.shape)} hold "
            f"{n_classes}."
        )
    try:
        target = target.expand(logits.shape[:-1]).unsqueeze(-1)
        chosen = logits.gather(-1, target).squeeze(-1)
    except RuntimeError as error:
        raise ValueError(
            f"target must hold classes from 0 to {n_classes - 1} as int64 in a shape that "
            f"broadcasts to {tuple(logits.shape[:-1])}, as logits are {tuple(logits.shape)}: "
            f"{error}"
        ) from error
    if score == "logit":
        return chosen
    if score == "log_probability":
        return chosen - logits.logsumexp(dim=-1)
    is_target = torch.arange(n_classes, device=logits.device) == target
    return chosen - logits.masked_fill(is_target, -torch.inf).logsumexp(dim=-1)
