"""Hand interactions to other libraries, so that their plots and tools can be used too."""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pointinteract.games.coalitions import coalition_index, n_players_of
from pointinteract.utils._optional import import_optional
from pointinteract.utils._params import check_int

if TYPE_CHECKING:
    from shapiq import InteractionValues

__all__ = ["to_shapiq"]


def to_shapiq(
    interactions: np.ndarray, index: str = "Moebius", *, order: int | None = None
) -> "InteractionValues":
    """Make `shapiq.InteractionValues` of the interactions of one sample.

    Parameters
    ----------
    interactions : ndarray, shape (2^n,)
        As :func:`~pointinteract.games.interaction_index` returns them.
    index : str, default="Moebius"
        Name of the index, as shapiq writes it.
    order : int or None, default=None
        Highest order handed over; None means all. Low orders make smaller objects.

    Returns
    -------
    interaction_values : shapiq.InteractionValues
        Exact ones (`estimated=False`), from order 0 on.

    Raises
    ------
    ImportError
        If shapiq is not installed.
    """
    interactions = np.asarray(interactions, dtype=np.float64)
    if interactions.ndim != 1:
        raise ValueError(
            "interactions must be those of one sample, shape (2^n,), got shape "
            f"{interactions.shape}. Pick a sample (and class) first."
        )
    n_players = n_players_of(len(interactions))
    order = check_int("order", n_players if order is None else order, maximum=n_players)
    shapiq = import_optional("shapiq", extra="shapiq", purpose="making shapiq.InteractionValues")
    members = [
        chosen for size in range(order + 1) for chosen in combinations(range(n_players), size)
    ]
    return shapiq.InteractionValues(
        values=interactions[[coalition_index(chosen) for chosen in members]],
        index=index,
        max_order=order,
        min_order=0,
        n_players=n_players,
        interaction_lookup={chosen: row for row, chosen in enumerate(members)},
        estimated=False,
        baseline_value=float(interactions[0]),
    )
