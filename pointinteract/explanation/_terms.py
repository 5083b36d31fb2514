"""Tables of single interactions: of all coalitions, or of those a sampled one relies on."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from pointinteract.games.coalitions import coalition_members, coalition_orders, n_players_of

if TYPE_CHECKING:
    from pointinteract.explanation._sampled import Terms


def all_terms_frame(
    values: np.ndarray, interactions: np.ndarray, rows: list[np.ndarray]
) -> pd.DataFrame:
    """Tabulate the coalitions in `rows`, one array of numbers for each cloud."""
    coalition = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    cloud = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    members = {index: coalition_members(index) for index in np.unique(coalition).tolist()}
    return pd.DataFrame(
        {
            "cloud": cloud,
            "coalition": coalition,
            "order": coalition_orders(n_players_of(values.shape[1]))[coalition],
            "members": [members[index] for index in coalition.tolist()],
            "value": values[cloud, coalition],
            "interaction": interactions[cloud, coalition],
        }
    )


def sampled_terms_frame(terms: "list[Terms]", top: int | None) -> pd.DataFrame:
    """Tabulate the reliable interactions of each cloud, the strongest first if not all."""
    frames = []
    for cloud, one in enumerate(terms):
        rows = np.arange(len(one.effects))
        if top is not None:
            rows = np.argsort(-np.abs(one.effects), kind="stable")[:top]
        frames.append(
            pd.DataFrame(
                {
                    "cloud": cloud,
                    "order": one.orders[rows],
                    "members": [tuple(row[row >= 0].tolist()) for row in one.members[rows]],
                    "interaction": one.effects[rows],
                    "error": one.errors[rows],
                    "basis": one.basis[rows],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)
