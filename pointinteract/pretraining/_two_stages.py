"""What methods share whose first stage, an estimator of its own, teaches the second."""

from pathlib import Path
from typing import Any

from sklearn.base import clone
from sklearn.utils.validation import NotFittedError, check_is_fitted

from pointinteract.base import Clouds

__all__ = ["check_same_patches", "first_stage_settings", "fitted_first_stage"]


def fitted_first_stage(estimator: Any, clouds: Clouds) -> tuple[Any, Any]:
    """Module and record of the estimator of a first stage; a clone is fitted if it is not yet."""
    try:
        check_is_fitted(estimator, "module_")
    except NotFittedError:
        estimator = clone(estimator).fit(clouds)
    return estimator.module_, getattr(estimator, "history_", None)


def first_stage_settings(estimator: Any, name: str) -> dict[str, Any]:
    """What the first stage, called `name`, takes over from the estimator of the second."""
    checkpoint = estimator.checkpoint
    if checkpoint is not None:  # a file of its own, beside that of the second stage
        path = Path(checkpoint)
        checkpoint = path.with_name(f"{path.stem}-{name}{path.suffix}")
    names = ("n_points", "n_groups", "group_size", "batch_size", "device")
    return {each: getattr(estimator, each) for each in names} | {
        "normalize": False,  # the clouds are already, if they are to be
        "checkpoint": checkpoint,
        # Where nothing fixes the seed, a file of an earlier fit does.
        "random_state": None if estimator.random_state is None else estimator.seed_,
    }


def check_same_patches(
    estimator: Any, n_channels: int, numbers: dict[str, Any], *, owner: str, reason: str
) -> None:
    """Raise unless the estimator of a second stage looks at patches as the first did.

    `numbers` are those of the module of the first stage, `owner` its name in the message.
    """
    wanted = {"n_channels": n_channels, "n_groups": estimator.n_groups,
              "group_size": estimator.group_size}
    for name, value in wanted.items():
        if value is not None and value != numbers[name]:
            raise ValueError(
                f"the {owner} has {name}={numbers[name]} and here it is {value}; {reason}."
            )
