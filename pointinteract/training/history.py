"""The training record: one row an epoch."""

import pandas as pd

__all__ = ["history_frame"]


def history_frame(records: list[dict[str, float]]) -> pd.DataFrame:
    """Table of what was logged, indexed by epoch (1, 2, ...)."""
    return pd.DataFrame.from_records(records, columns=None if records else ["epoch"]).set_index(
        "epoch"
    )
