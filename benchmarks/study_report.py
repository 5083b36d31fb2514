"""Tables, figures and a section for RESULTS.md from what the jobs of the study left behind."""

import json
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib import pyplot

from pointinteract import Explanation
from pointinteract.explanation._study import InteractionStudy
from pointinteract.plotting._study import LossCurvesDisplay, StudyOrdersDisplay

matplotlib.use("Agg")

SHOWN = ["conclusion", "backbone", "claim", "difference", "low", "high", "n_seeds", "verdict",
         "reason"]  # fmt: skip
TITLES = {
    "conclusion1": "Conclusion 1: pre-training raises high orders and lowers low ones",
    "conclusion2a": "Conclusion 2a: more pre-training, more of the same",
    "conclusion2b": "Conclusions 2b and 3: more labels, more of the same; transferability",
    "losses": "A loss in place of pre-training",
}


class Report:
    """Everything that the finished jobs show; unfinished parts are named, not guessed."""

    def __init__(self, jobs, data, store: Path, head: str, only: list[str] | None) -> None:
        self.data, self.store, self.head = data, store, head
        self.titles = {name: title for name, title in TITLES.items() if not only or name in only}
        self.records = []
        for job in jobs:
            file = store / f"{job.name}.json"
            if file.is_file():
                self.records.append({**json.loads(file.read_text()),
                                     "conclusions": job.conclusions})  # fmt: skip
        self.parts: list[str] = []
        self.verdicts: list[pd.DataFrame] = []
        self.figures: list[str] = []

    @property
    def text(self) -> str:
        return "\n".join(self.parts)

    def write(self, output: Path) -> None:
        """Make all tables and figures, and append the section."""
        for conclusion, title in self.titles.items():
            table = self.models(conclusion)
            if table["arm"].nunique() < 2 and table["stage"].nunique() < 2:
                self.say(f"\n{title}\n  no models yet")
                continue
            study = self.study(table, conclusion)
            self.say(f"\n{title}")
            getattr(self, conclusion)(study, table, output)
            frame = study.verdict_
            if conclusion == "conclusion2a":
                frame = frame[frame["conclusion"] == "2a"]
            if conclusion == "conclusion2b":
                frame = frame[frame["conclusion"].isin(["2b", "3"])]
            if conclusion == "losses":
                frame = frame[frame["backbone"] != "pooled"].assign(conclusion="loss")
            self.verdicts.append(frame)
        self.controls()
        if self.verdicts:
            verdicts = pd.concat(self.verdicts, ignore_index=True)
            verdicts.to_csv(output / "verdicts.csv", index=False)
            self.say("\nVerdicts (held / did not hold / undecided)")
            self.say(table_text(verdicts[SHOWN]))
            self.say("Many intervals are looked at; some would exclude zero by chance alone.")
        section = ["", "## The published study on ModelNet10", "", "```",
                   "python benchmarks/study.py --data modelnet10.npz", "```", "",
                   "```", self.head, self.text, "```", "",
                   *(f"![{name}](study/{name})" for name in self.figures), ""]  # fmt: skip
        (output / "RESULTS_section.md").write_text("\n".join(section), encoding="utf-8")

    def say(self, text: str) -> None:
        self.parts.append(text)

    def models(self, conclusion: str) -> pd.DataFrame:
        """One row for each trained model of a conclusion, with its explanation."""
        rows = []
        for record in self.records:
            if record["kind"] == "train" and conclusion in record["conclusions"]:
                path = self.store / f"{record['name']}.explanation.npz"
                rows.append({**record, "model": Explanation.load(path)})
        columns = ["backbone", "arm", "seed", "stage", "fraction", "model", "accuracy"]
        table = pd.DataFrame(rows, columns=[*columns, "seconds", "history", "readouts", "engine"])
        if conclusion == "conclusion2a":
            table["stage"] = table["stage"].where(table["arm"] != "scratch", 0.0)
            table["arm"] = "pre-trained"
        return table

    def study(self, table: pd.DataFrame, conclusion: str) -> InteractionStudy:
        readouts = None
        if conclusion == "conclusion2b":
            rows = [
                {**row[["backbone", "arm", "seed", "stage", "fraction"]], "readout": name,
                 "accuracy": value}
                for _, row in table.iterrows()
                for name, value in row["readouts"].items()
            ]  # fmt: skip
            readouts = pd.DataFrame(rows)
        X, y = self.data.explained(conclusion == "conclusion2b")
        arms = table["arm"].unique()
        return InteractionStudy(
            table, X, y, readouts=readouts, controls=False,
            reference="scratch" if "scratch" in arms else None,
        ).run()  # fmt: skip

    def conclusion1(self, study: InteractionStudy, table: pd.DataFrame, output: Path) -> None:
        self.arms(study, table)
        self.say("\n  arm less scratch by order (kappa), interval over seeds and clouds")
        tests = study.tests_.query("normalize == 'kappa'")
        tests = tests[tests["bounds"].isin(["", "0.3/0.7"])]
        self.say(table_text(tests[["backbone", "clouds", "order", "difference", "low", "high",
                                   "p_value", "n_same_sign", "n_seeds"]]))  # fmt: skip
        self.say("\n  is the sign the same under raw, kappa, Z, sum and all bounds?")
        signs = study.consistency_.query("order in ('low', 'high')")
        self.say(table_text(signs.drop(columns=["stage", "fraction", "reference"])))
        self.say("\n  kappa high and accuracy (Spearman over models, permutation p)")
        self.say(table_text(study.correlation_))
        self.leads(study)
        overlap = study.overlap_.groupby(["backbone", "pair"])["jaccard"].mean().reset_index()
        self.say("\n  overlap of salient sets (Jaccard, mean over pairs of models and clouds)")
        self.say(table_text(overlap))
        for kind in ("orders", "accuracy", "example", "strongest"):
            self.figure(study.plot(kind), output, f"conclusion1_{kind}.png")

    def conclusion2a(self, study: InteractionStudy, table: pd.DataFrame, output: Path) -> None:
        self.arms(study, table)
        self.trends(study)
        self.figure(StudyOrdersDisplay.from_study(study, by="stage").plot(), output,
                    "conclusion2a_stages.png")  # fmt: skip

    def conclusion2b(self, study: InteractionStudy, table: pd.DataFrame, output: Path) -> None:
        self.arms(study, table)
        self.trends(study)
        if len(study.gap_trends_):
            self.say("\n  lead of pre-trained over scratch: slope for ten times as much data")
            self.say(table_text(study.gap_trends_))
        if len(study.transfer_):
            self.say("\n  read-outs of frozen features (accuracy, mean over seeds)")
            wide = study.transfer_.pivot_table(
                index=["readout", "backbone", "arm"], columns="fraction", values="accuracy"
            )
            self.say(wide.to_string(float_format=lambda value: f"{value:.3f}"))
            self.say("\n  pre-trained less scratch")
            self.say(table_text(study.transfer_tests_.drop(columns=["stage", "reference"])))
        self.figure(study.plot("data"), output, "conclusion3_data.png")
        self.figure(StudyOrdersDisplay.from_study(study, by="fraction").plot(), output,
                    "conclusion2b_fractions.png")  # fmt: skip

    def losses(self, study: InteractionStudy, table: pd.DataFrame, output: Path) -> None:
        self.arms(study, table)
        self.leads(study)
        seconds = table.groupby(["backbone", "arm"], sort=False)["seconds"].mean().round(1)
        listed = ", ".join(f"{name} {arm} {value:g}" for (name, arm), value in seconds.items())
        self.say(f"\n  seconds of training: {listed}")
        self.say("\n  raw strength beside kappa: an arm may raise a share by lowering the rest")
        raw = study.ranges_.query("clouds == 'all' and normalize == 'raw' and bounds == '0.3/0.7'")
        raw = raw.pivot_table(
            index=["backbone", "arm"], columns="which", values="value", sort=False
        )
        self.say(raw.to_string(float_format=lambda value: f"{value:.3f}"))
        self.figure(study.plot("orders"), output, "losses_orders.png")
        alphas = self.models("alphas")
        shown = pd.concat([table[table["backbone"].isin(alphas["backbone"])], alphas])
        first = shown[(shown["seed"] == 0) & shown["arm"].str.startswith("scratch")]
        literal = first[first["arm"].str.contains("literal") | (first["arm"] == "scratch")]
        display = LossCurvesDisplay(
            {row["arm"]: pd.DataFrame(row["history"]) for _, row in literal.iterrows()},
            {row["arm"]: row["model"].strength_by_order() for _, row in literal.iterrows()},
        )
        self.figure(display.plot(), output, "losses_alphas.png")

    def arms(self, study: InteractionStudy, table: pd.DataFrame) -> None:
        """Print each arm: accuracy, kappa low and high, mean and spread over seeds."""
        kappa = study.ranges_.query(
            "clouds == 'all' and normalize == 'kappa' and bounds == '0.3/0.7'"
        )
        keys = ["backbone", "arm", "stage", "fraction", "seed"]
        wide = kappa.pivot_table(index=keys, columns="which", values="value").reset_index()
        merged = wide.merge(study.accuracy_[[*keys, "accuracy"]], on=keys)
        groups = merged.groupby(keys[:-1], sort=False)[["accuracy", "low", "high"]]
        summary = groups.agg(["mean", "std"])
        summary.columns = [
            {"low": "kappa low", "high": "kappa high"}.get(name, name)
            + ("" if which == "mean" else " sd")
            for name, which in summary.columns
        ]
        summary["seeds"] = groups.size()
        self.say(table_text(summary.reset_index()))

    def leads(self, study: InteractionStudy) -> None:
        """Print by how much each arm is ahead in accuracy."""
        self.say("\n  accuracy less that of the reference, over seeds")
        gaps = study.gaps_.query("quantity == 'accuracy'")
        self.say(table_text(gaps[["backbone", "arm", "reference", "difference", "low", "high",
                                  "p_value", "n_seeds"]]))  # fmt: skip

    def trends(self, study: InteractionStudy) -> None:
        if len(study.trends_):
            self.say("\n  slopes (over the stage from 0 to 1, or for ten times as much data)")
            trends = study.trends_[study.trends_["bounds"].isin(["", "0.3/0.7"])]
            trends = trends[trends["quantity"].isin(["kappa low", "kappa high", "accuracy"])]
            self.say(table_text(trends[["backbone", "arm", "axis", "quantity", "difference",
                                        "low", "high", "p_value", "n_seeds"]]))  # fmt: skip

    def controls(self) -> None:
        for record in self.records:
            if record["kind"] == "control":
                self.say(f"\nControl, {record['backbone']}, {record['arm']}, seed 0: points drawn "
                         "anew (halves of each cloud) and temperatures")  # fmt: skip
                frame = pd.DataFrame(record["frame"])
                self.say(table_text(frame))

    def figure(self, display, output: Path, name: str) -> None:
        display.figure_.savefig(output / name, dpi=110)
        pyplot.close(display.figure_)
        self.figures.append(name)


def table_text(frame: pd.DataFrame) -> str:
    return frame.to_string(index=False, float_format=lambda value: f"{value:.3f}")
