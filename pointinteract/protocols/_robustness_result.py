"""What a test under corruptions found, and what was published for ModelNet-C."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from pointinteract.plotting._robustness import RobustnessDisplay

__all__ = ["RobustnessResult", "published_robustness"]

PUBLISHED_NAME = "DGCNN as published for ModelNet-C (Ren, Pan, Liu 2022)"
# Share of ModelNet40's test clouds that the published DGCNN names rightly; of corruptions, the
# mean over levels.
DGCNN_ACCURACY = {
    "clean": 0.926,
    "scale": 0.906,
    "jitter": 0.684,
    "rotate": 0.785,
    "drop_global": 0.752,
    "drop_local": 0.793,
    "add_global": 0.705,
    "add_local": 0.725,
}
# mCE, RmCE and clean accuracy of the networks of the same benchmark.
_PUBLISHED = {
    "DGCNN": (1.000, 1.000, 0.926),
    "PointNet": (1.422, 1.488, 0.907),
    "PointNet++": (1.072, 1.114, 0.930),
    "PCT": (0.925, 0.884, 0.930),
    "GDANet": (0.892, 0.865, 0.934),
    "RPC": (0.863, 0.778, 0.930),
    "OcCo (DGCNN)": (1.248, 1.262, 0.922),
    "Point-BERT": (1.033, 0.895, 0.922),
}


@dataclass(frozen=True)
class RobustnessResult:
    """What :func:`corruption_robustness` found.

    Attributes
    ----------
    accuracy : float
        Share of corrupted clouds named rightly: mean over levels, then over corruptions.
    clean_accuracy : float
        The same of the clouds as they came.
    table : DataFrame
        Accuracy, one row for each corruption and one column for each level.
    errors : DataFrame
        One row for each corruption: ``accuracy``, its mean over levels; with a baseline,
        ``corruption_error``, the error as a multiple of the baseline's, and
        ``relative_corruption_error``, the loss against clean clouds as a multiple of the
        baseline's. Without one these are NaN.
    mce, rmce : float
        Their means over the corruptions: the field's mCE and RmCE, lower is better, 1 is as
        robust as the baseline. NaN without a baseline.
    baseline : str or None
        In words, what `mce` and `rmce` are relative to.
    n_clouds : int
        Clouds that were tested, each once for each corruption and level.
    selection : str
        What was chosen, and on which data.
    seconds : float
        Time of training, where there was any, and of all tests.
    """

    accuracy: float
    clean_accuracy: float
    table: pd.DataFrame
    errors: pd.DataFrame
    mce: float
    rmce: float
    baseline: str | None
    n_clouds: int
    selection: str
    seconds: float

    def to_frame(self) -> pd.DataFrame:
        """One row for each corruption and level: ``corruption``, ``level`` and ``accuracy``.

        The first row is that of clean clouds, with level 0. The frame, also read back from a
        file, is what `baseline` of :func:`corruption_robustness` understands.
        """
        clean = pd.DataFrame(
            {"corruption": ["clean"], "level": [0], "accuracy": [self.clean_accuracy]}
        )
        long = self.table.stack().rename("accuracy").reset_index()
        return pd.concat([clean, long.set_axis(clean.columns, axis=1)], ignore_index=True)

    def plot(self, ax: Any = None) -> "RobustnessDisplay":
        """Draw accuracy against the level of corruption, a line for each kind."""
        from pointinteract.plotting._robustness import RobustnessDisplay

        return RobustnessDisplay.from_result(self).plot(ax)


def published_robustness() -> pd.DataFrame:
    """Return mCE, RmCE and clean accuracy that were published for ModelNet-C.

    Returns
    -------
    published : DataFrame
        Indexed by network, columns ``mce``, ``rmce``, ``clean_accuracy``; relative to the
        published DGCNN, on corrupted test clouds of ModelNet40. One trained network each; no
        spread over seeds was published. The `mce` and `rmce` of Point-BERT are, to the last
        digit, those that the same page gives for Point-BERT in part segmentation, so that one
        of the two may be a slip of its authors.

    References
    ----------
    Ren, Pan, Liu, "Benchmarking and Analyzing Point Cloud Classification under Corruptions",
    ICML 2022, and the table of results of its released benchmark.
    """
    return pd.DataFrame.from_dict(
        _PUBLISHED, orient="index", columns=["mce", "rmce", "clean_accuracy"]
    ).rename_axis("network")
