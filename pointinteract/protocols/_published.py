"""Published figures as data, and which of them belongs beside an estimator's own number."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
from torch import nn

from pointinteract.protocols import _published_tables as tables
from pointinteract.utils._params import check_option

__all__ = [
    "PublishedFigure",
    "check_dataset",
    "find_published",
    "method_names",
    "method_of_class",
    "published_results",
]

TABLES = ("classification", "linear_svm", "few_shot", "zero_shot", "part_segmentation")
_COLUMNS = (
    "table", "method", "dataset", "setting", "trained", "value", "sd", "metric", "selection",
    "source",
)  # fmt: skip

_BEST_EPOCH = "best epoch on the test split"
_VOTED = f"{_BEST_EPOCH}, then the best of many voting rounds on it"
_NOT_SAID = f"{_BEST_EPOCH}; the table does not say whether voted"
_SELECTION_BY_VOTED = {"no": f"{_BEST_EPOCH}, no votes", "yes": _VOTED, "": _NOT_SAID}
_SVM_SELECTION = "one run; C fixed, by all appearance chosen on the test split"
_FOLD_SELECTION = "best epoch on the query clouds of each fold"

# How a protocol is called in a label.
_PROTOCOL_LABELS = {
    "linear_probe": "linear SVM",
    "fine_tune": "fine-tuned",
    "vote": "fine-tuned, votes",
    "few_shot": "few-shot",
    "zero_shot": "zero-shot",
    "part_segmentation": "parts",
}
# Names of networks of ours, by how they begin, to the method that trains them from scratch. The
# longer beginnings come first.
_METHODS_OF_NETWORKS = {
    "pointnet2": "PointNet++",
    "pointnext": "PointNeXt",
    "pointnet": "PointNet",
    "pointcnn": "PointCNN",
    "pointmlp": "PointMLP",
    "dgcnn": "DGCNN",
    "pct": "PCT",
    "simpleview": "SimpleView",
    "mvtn": "MVTN",
    "p2p": "P2P-HorNet",
    "recon": "Transformer (ReCon block)",
    "transformer": "Transformer",
}
_METHODS_OF_CLASSES = {
    "ACTPretrainer": "ACT",
    "CLIP2PointPretrainer": "CLIP2Point",
    "CrossPointPretrainer": "CrossPoint",
    "I2PMAEPretrainer": "I2P-MAE",
    "IAEPretrainer": "IAE",
    "MaskPointPretrainer": "MaskPoint",
    "OcCoPretrainer": "OcCo",
    "PointBERTPretrainer": "Point-BERT",
    "PointCLIPPretrainer": "PointCLIP",
    "PointGPTPretrainer": "PointGPT-S",
    "PointM2AEPretrainer": "Point-M2AE",
    "PointMAEPretrainer": "Point-MAE",
    "ReConPretrainer": "ReCon",
    "STRLPretrainer": "STRL",
}


@dataclass(frozen=True)
class PublishedFigure:
    """A number from a paper, and what must be said with it.

    Attributes
    ----------
    accuracy : float
        Share, or mIoU for parts.
    label : str
        Method, data set, protocol and figure in percent, such as ``"ReCon, ModelNet40, linear
        SVM, 93.4"``.
    method, dataset, setting : str
    sd : float
        Share; NaN where none was published.
    selection : str
        How the number was chosen, as far as known.
    source : str
    """

    accuracy: float
    label: str
    method: str
    dataset: str
    setting: str
    sd: float
    selection: str
    source: str


def published_results(table: str | None = None) -> pd.DataFrame:
    """Figures that the papers of this field printed, one a row.

    They are no target for other data, for smaller networks or for shorter training, and most
    of them were chosen on the test split: column ``selection`` says how.

    Parameters
    ----------
    table : {"classification", "linear_svm", "few_shot", "zero_shot", "part_segmentation"} or \
None, default=None
        Rows of one table only. None: all.

    Returns
    -------
    results : DataFrame
        Columns ``table``, ``method``, ``dataset``, ``setting`` (number of points, episode,
        prompts), ``trained`` (what of the network), ``value`` and ``sd`` in percent as printed,
        ``metric``, ``selection``, ``source``.

    Examples
    --------
    >>> from pointinteract.protocols import published_results
    >>> svm = published_results("linear_svm")
    >>> print(svm[["method", "dataset", "value"]].head(2).to_string(index=False))
     method    dataset  value
      ReCon ModelNet40  93.40
    I2P-MAE ModelNet40  93.35
    """
    if table is not None:
        check_option("table", table, TABLES)
    frame = _all_results()
    return (frame if table is None else frame[frame["table"] == table]).reset_index(drop=True)


def find_published(
    estimator: Any,
    protocol: str,
    *,
    dataset: str = "ModelNet40",
    setting: str | None = None,
    trained: str | None = None,
) -> PublishedFigure | None:
    """Published figure that belongs beside what `estimator` reaches in a protocol, if any.

    Parameters
    ----------
    estimator : estimator or str
        A pretrainer, a PointClassifier, or the name of a method as in the tables.
    protocol : str
        ``"linear_probe"``, ``"fine_tune"``, ``"vote"``, ``"few_shot"``, ``"zero_shot"`` or
        ``"part_segmentation"``.
    dataset : str, default="ModelNet40"
        As in the tables. It is part of the label, since it need not be that of the run.
    setting : str or None, default=None
        Such as ``"1k points"`` or ``"5w10s"``; None: the first of the table.
    trained : str or None, default=None
        ``"FULL"``, ``"MLP-LINEAR"`` or ``"MLP-3"``; None: the first of the table.

    Returns
    -------
    figure : PublishedFigure or None
    """
    check_option("protocol", protocol, tuple(_PROTOCOL_LABELS))
    check_dataset("dataset", dataset)
    name = {"linear_probe": "linear_svm", "fine_tune": "classification", "vote": "classification"}
    frame = _all_results()
    rows = frame[(frame["table"] == name.get(protocol, protocol)) & (frame["dataset"] == dataset)]
    if protocol in ("fine_tune", "vote"):
        # A figure that was voted, or may have been, is not put beside a single prediction.
        voted = rows["selection"] == _VOTED
        unclear = rows["selection"] == _NOT_SAID
        scratch = rows["trained"] == "from scratch"
        if protocol == "vote":
            rows = rows[(voted | unclear) & ~scratch]
        else:
            rows = rows[~voted & (~unclear | scratch)]
    if protocol == "part_segmentation":
        rows = rows[rows["metric"] == "instance mIoU"]
    for column, wanted in (("setting", setting), ("trained", trained)):
        if wanted is not None:
            rows = rows[rows[column] == wanted]
    for method in [estimator] if isinstance(estimator, str) else method_names(estimator):
        found = rows[rows["method"] == method]
        if len(found):
            # What says how it was chosen goes before what does not.
            order = (found["selection"] == _NOT_SAID).to_numpy().argsort(kind="stable")
            return _figure(found.iloc[order[0]], protocol)
    return None


def check_dataset(name: str, dataset: Any) -> None:
    """Raise unless there are figures for a data set of that name."""
    check_option(name, dataset, tuple(dict.fromkeys(_all_results()["dataset"])))


def method_names(estimator: Any) -> list[str]:
    """Names that the tables may have for what an estimator does, likeliest first."""
    estimator = _unwrapped(estimator)
    pretrained = _unwrapped(getattr(estimator, "pretrained", None))
    if pretrained is not None:
        return method_names(pretrained) if hasattr(pretrained, "get_params") else []
    of_class = method_of_class(estimator)
    if of_class is None:
        return _names_of_network(estimator)
    if of_class == "ReCon":
        return _names_of_recon(estimator)
    if of_class == "PointGPT-S":
        sized = {"base": "PointGPT-B", "large": "PointGPT-L"}
        return [sized.get(str(getattr(estimator, "size", "")), of_class)]
    if of_class == "Point-MAE" and getattr(estimator, "block", "plain") == "recon":
        return ["Point-MAE (ReCon block)"]
    backbone = getattr(estimator, "backbone", "dgcnn")
    if of_class in ("OcCo", "CrossPoint") and backbone != "dgcnn":
        # The figures are those of DGCNN; of the others only one was published.
        plain = isinstance(backbone, str) and backbone.startswith("transformer")
        return [f"{of_class} (Transformer)"] if plain else []
    return [of_class]


def method_of_class(estimator: Any) -> str | None:
    """Name of the method that a pretrainer belongs to, whatever its settings."""
    kinds = type(_unwrapped(estimator)).__mro__
    return next((_METHODS_OF_CLASSES[kind.__name__] for kind in kinds
                 if kind.__name__ in _METHODS_OF_CLASSES), None)  # fmt: skip


def _unwrapped(estimator: Any) -> Any:
    """What is inside a FrozenEstimator; other things as they are."""
    inside = getattr(estimator, "estimator", None)
    return inside if type(estimator).__name__ == "FrozenEstimator" else estimator


def _names_of_recon(estimator: Any) -> list[str]:
    if getattr(estimator, "architecture", "recon") != "recon":
        return []  # baselines of the paper, of which no figure in these protocols is known
    if estimator.image_teacher is None and estimator.text_teacher is None:
        return ["ReCon, single-modal"]
    sized = {"tiny": ["ReCon-Tiny"], "small": ["ReCon-Small"]}
    return [*sized.get(str(getattr(estimator, "size", "")), []), "ReCon"]


def _names_of_network(estimator: Any) -> list[str]:
    """Names for a classifier that is trained from scratch."""
    model = getattr(estimator, "model", None)
    if model is None:
        model = "recon_nano" if type(estimator).__name__ == "PointClassifier" else ""
    if not isinstance(model, str):
        kind = model if isinstance(model, type) else type(model)
        # What a user calls PointNetMine is no network of the tables.
        ours = issubclass(kind, nn.Module) and kind.__module__.startswith("pointinteract.")
        model = kind.__name__.lower() if ours else ""
    found = (name for start, name in _METHODS_OF_NETWORKS.items() if model.startswith(start))
    return list(found)[:1]


def _figure(row: "pd.Series[Any]", protocol: str) -> PublishedFigure:
    words = _PROTOCOL_LABELS[protocol]
    if protocol == "vote" and row["selection"] == _NOT_SAID:
        words = "fine-tuned (votes not stated)"
    if protocol == "fine_tune" and row["trained"] == "from scratch":
        words = "from scratch"
    parts = [row["method"], row["dataset"], words]
    if row["setting"]:
        parts.append(row["setting"])
    if row["trained"] not in ("FULL", "SVM", "none") and row["trained"] not in parts:
        parts.append(row["trained"])
    value = f"{row['value']:.2f}".removesuffix("0")
    return PublishedFigure(
        accuracy=float(row["value"]) / 100,
        label=", ".join([*parts, value]),
        method=row["method"],
        dataset=row["dataset"],
        setting=row["setting"],
        sd=float(row["sd"]) / 100,
        selection=row["selection"],
        source=row["source"],
    )


@cache
def _all_results() -> pd.DataFrame:
    rows = [*_classification(), *_linear_svm(), *_few_shot(), *_zero_shot(), *_parts()]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    frame = frame.dropna(subset=["value"]).reset_index(drop=True)
    return frame.astype({"value": float, "sd": float})


def _row(table: str, method: str, dataset: str, value: Any, **more: Any) -> tuple[Any, ...]:
    given = {"table": table, "method": method, "dataset": dataset, "value": value, **more}
    defaults = {"setting": "", "trained": "", "sd": None, "metric": "accuracy", "selection": ""}
    return tuple((defaults | given)[name] for name in _COLUMNS)


def _classification() -> Iterator[tuple[Any, ...]]:
    sets = tables.CLASSIFICATION_SETS
    for method, plain, voted, unclear, *scans in tables.SYSTEMS:
        more = {"trained": "from scratch" if method == "Transformer" else "FULL",
                "source": tables.SYSTEMS_SOURCE}  # fmt: skip
        chosen = {_SELECTION_BY_VOTED["no"]: plain, _VOTED: voted, _NOT_SAID: unclear}
        for selection, value in chosen.items():
            yield _row("classification", method, "ModelNet40", value, setting="1k points",
                       selection=selection, **more)  # fmt: skip
        for (dataset, _), value in zip(sets, scans, strict=False):
            yield _row("classification", method, dataset, value, selection=_NOT_SAID, **more)
    for group, method, _, was_voted, *values in tables.CLASSIFICATION:
        for (dataset, setting), value in zip(sets, values, strict=True):
            yield _row(
                "classification", method, dataset, value, setting=setting,
                trained="from scratch" if group == "supervised" else "FULL",
                selection=_SELECTION_BY_VOTED[was_voted], source=tables.CLASSIFICATION_SOURCE,
            )  # fmt: skip
    for trained, method, *figures in tables.FROZEN:
        for (dataset, setting), (value, sd) in zip(sets, figures, strict=False):
            yield _row(
                "classification", method, dataset, value, sd=sd, setting=setting, trained=trained,
                selection=_SELECTION_BY_VOTED["no"], source=tables.FROZEN_SOURCE,
            )  # fmt: skip


def _linear_svm() -> Iterator[tuple[Any, ...]]:
    for method, value, source in tables.LINEAR_SVM:
        yield _row("linear_svm", method, "ModelNet40", value, trained="SVM",
                   selection=_SVM_SELECTION, source=source)  # fmt: skip


def _few_shot() -> Iterator[tuple[Any, ...]]:
    for trained, method, *figures in tables.FEW_SHOT:
        source = tables.SYSTEMS_SOURCE if "GPT" in method else tables.FEW_SHOT_SOURCE
        for setting, (value, sd) in zip(tables.FEW_SHOT_SETTINGS, figures, strict=True):
            yield _row("few_shot", method, "ModelNet40", value, sd=sd, setting=setting,
                       trained=trained, selection=_FOLD_SELECTION, source=source)  # fmt: skip


def _zero_shot() -> Iterator[tuple[Any, ...]]:
    for method, setting, dataset, value, source in tables.ZERO_SHOT:
        yield _row("zero_shot", method, dataset, value, setting=setting, trained="none",
                   selection="test split; settings of the prompts as released",
                   source=source)  # fmt: skip


def _parts() -> Iterator[tuple[Any, ...]]:
    for method, by_class, by_instance in tables.SEGMENTATION:
        for metric, value in (("instance mIoU", by_instance), ("class mIoU", by_class)):
            yield _row("part_segmentation", method, "ShapeNetPart", value, metric=metric,
                       trained="FULL", selection=f"{_BEST_EPOCH}, by instance mIoU",
                       source=tables.SEGMENTATION_SOURCE)  # fmt: skip
