"""What compare found: one row for each number, with what must be said of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from pointinteract.protocols._compare_runs import NOT_APPLICABLE
from pointinteract.protocols._published import find_published
from pointinteract.protocols._readout import is_fitted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from pointinteract.plotting import ComparisonDisplay

__all__ = ["ComparisonReport", "make_report"]

_NAN = float("nan")
_WORDS = {
    "linear_probe": "linear SVM",
    "few_shot": "few-shot",
    "fine_tune": "fine-tuned",
    "vote": "votes",
}
_TRAINED = {"full": "FULL", "linear": "MLP-LINEAR", "mlp3": "MLP-3"}
_COLUMNS = [
    "method", "protocol", "variant", "mean", "sd", "n", "within_sd", "seconds", "fit_seconds",
    "published", "published_label", "selection", "error",
]  # fmt: skip
_RUN_COLUMNS = ["method", "protocol", "variant", "seed", "accuracy", "within_sd", "seconds",
                "fit_seconds", "selection", "error"]  # fmt: skip


@dataclass(frozen=True)
class ComparisonReport:
    """What :func:`compare` found.

    Attributes
    ----------
    frame : DataFrame
        A row for each method, protocol and variant of it: ``mean`` and ``sd`` (n - 1 in its
        denominator) of the accuracy over the ``n`` seeds that ran, as shares; ``within_sd``,
        the mean spread inside a run (over folds, or rounds of votes); ``seconds`` and
        ``fit_seconds`` (of pre-training), means over seeds; ``published`` and
        ``published_label``, a paper's figure with its data set and protocol; ``selection``, how
        the number was chosen; ``error`` of the first run that failed, or why there is none.
    runs : DataFrame
        The same for single runs, by ``seed``, with ``accuracy``.
    """

    frame: pd.DataFrame
    runs: pd.DataFrame = field(repr=False)

    def pivot(self, *, digits: int = 1) -> pd.DataFrame:
        """Methods by protocols at a glance: accuracy in percent, "mean ± sd over seeds", as text.

        Of several variants of a protocol the first is shown, and what is published (a fixed C,
        the best round or epoch) only where there is no other; the column names the variant if
        it is the same for all methods. "–" is where a protocol does not apply, "failed" where no
        seed came to a number.

        Parameters
        ----------
        digits : int, default=1
            After the point.

        Returns
        -------
        table : DataFrame of str
            ``method`` as its index, a column for each protocol.
        """
        chosen_their_way = self.frame["variant"].str.startswith("published").to_numpy()
        ordered = self.frame.iloc[chosen_their_way.argsort(kind="stable")]
        first = ordered.drop_duplicates(["method", "protocol"])
        columns = []
        for protocol in dict.fromkeys(self.frame["protocol"]):
            rows = first[first["protocol"] == protocol]
            variants = set(rows["variant"][rows["n"] > 0])
            variant = variants.pop() if len(variants) == 1 else ""
            cells = {row["method"]: _mean(row, digits) for row in rows.to_dict("records")}
            name = _name_of_row({"protocol": protocol, "variant": variant})
            columns.append(pd.Series(cells, name=name, dtype=object))
        table = pd.concat(columns, axis=1).reindex(list(dict.fromkeys(self.frame["method"])))
        return table.rename_axis(index="method", columns="protocol")

    def to_markdown(self, *, digits: int = 1) -> str:
        """Tables for reading, in percent, with the selection of every number below them.

        With more than one protocol the first is that of :meth:`pivot`.

        Parameters
        ----------
        digits : int, default=1
            After the point.
        """
        notes: dict[str, int] = {}
        lines = []
        if self.frame["protocol"].nunique() > 1:
            overview = self.pivot(digits=digits).reset_index()
            lines += [
                "Accuracy (%), mean ± sd over seeds:",
                "",
                _markdown_row(overview.columns),
                _markdown_row(["---"] * overview.shape[1]),
                *map(_markdown_row, overview.to_numpy()),
                "",
                "The same with all there is to say:",
                "",
            ]
        lines += [
            "| method | protocol | accuracy (%), mean ± sd over seeds | seeds | seconds "
            "| published, by its own protocol | chosen how |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in self.frame.to_dict("records"):
            said = row["selection"] if row["n"] else row["error"]
            note = notes.setdefault(said, len(notes) + 1)
            more = f" ({notes.setdefault(row['error'], len(notes) + 1)})" if (
                row["n"] and row["error"]) else ""  # fmt: skip
            cells = [
                row["method"], _name_of_row(row), _percent(row, digits), str(row["n"]),
                f"{row['seconds'] + row['fit_seconds']:.0f}" if row["n"] else "–",
                row["published_label"] or "–", f"({note}){more}",
            ]  # fmt: skip
            lines.append(_markdown_row(cells))
        lines += ["", "How the numbers came about, by the last column:", ""]
        lines += [f"{number}. {' '.join(text.split())}" for text, number in notes.items()]
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"accuracy (%), mean ± sd over seeds\n{self.pivot().to_string()}"

    def plot(self, ax: "Axes | None" = None) -> "ComparisonDisplay":
        """Draw the means with their spread, and published figures as open marks."""
        from pointinteract.plotting import ComparisonDisplay

        return ComparisonDisplay.from_report(self).plot(ax)


def make_report(
    records: Sequence[Mapping[str, Any]],
    estimators: Mapping[str, Any],
    classifier: Any,
    dataset: str | None,
) -> ComparisonReport:
    """Put the records of runs together, in the order in which they come."""
    rows: list[dict[str, Any]] = []
    for record in records:
        shared = {name: record[name] for name in
                  ("method", "protocol", "seed", "seconds", "fit_seconds", "error")}  # fmt: skip
        for result in record["results"] or [{}]:
            rows.append({"variant": "", "accuracy": _NAN, "within_sd": _NAN, "selection": "",
                         **shared, **result})  # fmt: skip
    every = pd.DataFrame(rows)
    # A run that failed belongs to all variants of its protocol, of which it does not know.
    frame = [
        _summarize(key, group, estimators[key[0]], classifier, dataset)
        for key, group in _groups(every)
    ]
    return ComparisonReport(
        frame=pd.DataFrame(frame, columns=_COLUMNS), runs=every[_RUN_COLUMNS].copy()
    )


def _groups(every: pd.DataFrame) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    found = []
    for (method, protocol), runs in every.groupby(["method", "protocol"], sort=False):
        failed = runs[runs["accuracy"].isna()]
        ran = runs[runs["accuracy"].notna()]
        if not len(ran):
            found.append(((str(method), str(protocol), ""), failed))
        for variant, group in ran.groupby("variant", sort=False):
            together = pd.concat([group, failed]) if len(failed) else group
            found.append(((str(method), str(protocol), str(variant)), together))
    return found


def _summarize(
    key: tuple[str, str, str],
    group: pd.DataFrame,
    estimator: Any,
    classifier: Any,
    dataset: str | None,
) -> dict[str, Any]:
    method, protocol, variant = key
    ran = group[group["accuracy"].notna()]
    errors = [error for error in group["error"] if error]
    said = list(dict.fromkeys(ran["selection"]))
    selection = said[0] if said else ""
    if len(said) > 1:
        seeds = ran.groupby("selection", sort=False)["seed"].agg(list)
        selection = "; ".join(f"{_seeds(which)}: {words}" for words, which in seeds.items())
    as_it_came = not is_classifier(estimator) or protocol == "vote"
    if said and as_it_came and is_fitted(estimator):
        selection = selection.removesuffix(".")
        selection += "; it came fitted, so the spread is that of the protocol alone"
    failures = f"{len(errors)} of {len(group)} runs failed: {errors[0]}" if errors and said else ""
    figure, label = _published(group, protocol, estimator, classifier, dataset)
    return {
        "method": method,
        "protocol": protocol,
        "variant": variant,
        "mean": float(ran["accuracy"].mean()) if len(ran) else _NAN,
        "sd": float(ran["accuracy"].std(ddof=1)) if len(ran) > 1 else _NAN,
        "n": len(ran),
        "within_sd": float(ran["within_sd"].mean()) if len(ran) else _NAN,
        "seconds": float(ran["seconds"].mean()) if len(ran) else _NAN,
        "fit_seconds": float(ran["fit_seconds"].mean()) if len(ran) else _NAN,
        "published": figure,
        "published_label": label,
        "selection": selection,
        "error": failures or (errors[0] if errors else ""),
    }


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _published(
    group: pd.DataFrame, protocol: str, estimator: Any, classifier: Any, dataset: str | None
) -> tuple[float, str]:
    if dataset is None:
        return _NAN, ""
    # A network with random weights is no pre-trained method.
    start = getattr(estimator, "pretrained", None) if is_classifier(estimator) else estimator
    if getattr(getattr(start, "estimator", start), "max_epochs", 1) == 0:
        return _NAN, ""
    if protocol == "few_shot" or protocol not in _WORDS:  # knows its setting, and looked it up
        first = group.iloc[0]
        found, of_set = first.get("published"), first.get("published_dataset")
        if not isinstance(found, Sequence) or of_set != dataset:
            return _NAN, ""
        return float(found[0]), str(found[1])
    trained = None
    if protocol == "fine_tune":
        judge = estimator if is_classifier(estimator) else classifier
        trained = _TRAINED.get(getattr(judge, "protocol", "full"))
        if is_classifier(estimator) and getattr(estimator, "pretrained", None) is None:
            trained = None
    figure = find_published(estimator, protocol, dataset=dataset, trained=trained)
    return (_NAN, "") if figure is None else (figure.accuracy, figure.label)


def _name_of_row(row: Mapping[str, Any]) -> str:
    words = _WORDS.get(row["protocol"], row["protocol"])
    return f"{words}: {row['variant']}" if row["variant"] else words


def _markdown_row(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"


def _mean(row: Mapping[str, Any], digits: int) -> str:
    if not row["n"]:
        return "–" if row["error"].startswith(NOT_APPLICABLE) else "failed"
    text = f"{100 * row['mean']:.{digits}f}"
    return text if np.isnan(row["sd"]) else f"{text} ± {100 * row['sd']:.{digits}f}"


def _percent(row: Mapping[str, Any], digits: int) -> str:
    text = _mean(row, digits)
    if not np.isnan(row["within_sd"]):
        text += f" (within a run ± {100 * row['within_sd']:.{digits}f})"
    return text
