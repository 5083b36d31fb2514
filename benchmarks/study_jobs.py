"""The single jobs of the study: pre-train, train and explain one model, run one control.

Every job writes what it made into the store and is skipped where that is found. Jobs run in
processes of one thread each; nothing is shared between them but files.
"""

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pointinteract import InteractionExplainer, PointClassifier, ReConPretrainer, load, save
from pointinteract.datasets import load_cloud_dataset
from pointinteract.explanation import few_shot_readout, knn_readout, linear_readout
from pointinteract.losses import InteractionLoss
from pointinteract.models.teachers import DepthDescriptorTeacher
from pointinteract.ops import partition_regions
from pointinteract.pretraining import JigsawPretrainer

STAGES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.5, 1.0)
# Every fraction costs six trainings; of networks that take minutes for one, fewer are asked.
FEWER_FRACTIONS = {"dgcnn": (0.01, 0.1, 1.0), "recon": (0.01, 0.1, 1.0)}
N_UNSEEN = 3
# Clouds of each unseen class that a read-out may learn from.
N_READ = 60
# Estimator, form and weight of each loss; those of the published idea and ours, by the spec.
LOSSES = {
    "masked augmentation": dict(estimator="augmentation", weight=1.0),
    "A literal": dict(estimator="A", form="literal", weight=0.01),
    "A log-ratio": dict(estimator="A", form="log_ratio", weight=0.1),
    "D": dict(estimator="D", weight=0.3),
    "A log-ratio, batch statistics": dict(
        estimator="A", form="log_ratio", weight=0.1, batch_norm="train"
    ),
    "D, batch statistics": dict(estimator="D", weight=0.3, batch_norm="train"),
    "A literal, alpha 0.003": dict(estimator="A", form="literal", weight=0.003),
    "A literal, alpha 0.03": dict(estimator="A", form="literal", weight=0.03),
}
# Those that every network is trained with, and those of the cheap one alone.
FEW_LOSSES = ("masked augmentation", "A literal", "A log-ratio", "D")
FURTHER_LOSSES = ("A log-ratio, batch statistics", "D, batch statistics")
# Share of each batch that a loss is taken of, and how many times longer a step takes with it.
SUB_BATCH = 0.25
TIME_FACTOR = 2.75


@dataclass(frozen=True)
class Settings:
    """Sizes of everything; part of every file name by way of a digest."""

    n_points: int = 256
    n_regions: int = 8
    n_train: int = 600
    epochs: int = 6
    n_pretrain: int = 512
    pretrain_epochs: int = 5
    explained_per_class: int = 4
    n_control: int = 12
    n_test: int = 908
    n_other: int = 200
    n_episodes: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    n_neighbors: int = 10
    device: str = "cpu"
    # What differs for single networks: cheap ones can be trained longer in the same time.
    of_backbone: dict[str, dict[str, int]] = field(default_factory=dict)

    def of(self, backbone: str) -> "Settings":
        """The settings of one network, the same for all of its arms."""
        return replace(self, **self.of_backbone.get(backbone, {}))


QUICK = Settings(
    n_points=64, n_regions=5, n_train=40, epochs=1, n_pretrain=40, explained_per_class=1,
    n_control=4, n_test=60, n_other=40, n_episodes=3, n_neighbors=5,
)  # fmt: skip
LAPTOP = Settings(
    explained_per_class=6,
    of_backbone={
        "pointnet_basic": dict(epochs=15, n_pretrain=3991, pretrain_epochs=10),
        "pointnet": dict(epochs=8, n_pretrain=1024, pretrain_epochs=8),
        "recon": dict(n_pretrain=1024, pretrain_epochs=8),
        "dgcnn": dict(n_pretrain=1024),
    },
)
# As near to the published recipes as AdamW allows; for a GPU.
FULL = Settings(
    n_points=1024, n_regions=10, n_train=3991, epochs=200, n_pretrain=3991, pretrain_epochs=200,
    explained_per_class=10, n_control=20, n_other=499, n_episodes=100, n_neighbors=20,
    device="auto",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One thing to do. `conclusions` says what it is for; the name is also its file's."""

    name: str
    kind: str
    conclusions: tuple[str, ...]
    backbone: str
    seed: int
    arm: str = ""
    stage: float = 1.0
    fraction: float = 1.0
    seven: bool = False
    loss: str = ""
    epochs_factor: float = 1.0
    needs: str = ""


class Data:
    """Clouds of the study, the same for every job."""

    def __init__(self, path: str, other: str | None, settings: Settings) -> None:
        clouds = load_cloud_dataset(path)
        # The order of points within each object is random, so the first ones are a sample.
        points = np.ascontiguousarray(clouds.data[:, : settings.n_points])
        train, test = (np.flatnonzero(clouds.split == part) for part in ("train", "test"))
        rng = np.random.default_rng(0)
        test = np.sort(rng.permutation(test)[: settings.n_test])
        self.names = list(clouds.target_names)
        self.X, self.y = points[train], clouds.target[train]
        self.X_test, self.y_test = points[test], clouds.target[test]
        self.unseen = np.sort(rng.permutation(len(self.names))[:N_UNSEEN])
        self.settings = settings
        self.X_other, self.y_other, self.fold = _other_domain(other, settings)

    def subset(self, seed: int, fraction: float, seven: bool) -> np.ndarray:
        """Rows of the training clouds: stratified, nested over fractions, repeated to one size.

        Repeating keeps the number and size of the steps the same for every fraction.
        """
        rng = np.random.default_rng(1000 + seed)
        classes = [label for label in np.unique(self.y) if not (seven and label in self.unseen)]
        allowed = np.flatnonzero(np.isin(self.y, classes))
        n_train = min(self.settings.n_train, len(allowed))
        chosen = []
        for label in classes:
            rows = rng.permutation(np.flatnonzero(self.y == label))
            whole = max(1, round(n_train * len(rows) / len(allowed)))
            chosen.append(rows[: max(1, int(np.ceil(fraction * whole)))])
        return np.resize(rng.permutation(np.concatenate(chosen)), n_train)

    def explained(self, seven: bool) -> tuple[np.ndarray, np.ndarray]:
        """Class-balanced test clouds, the same for every model."""
        rows = np.concatenate(
            [
                np.flatnonzero(self.y_test == label)[: self.settings.explained_per_class]
                for label in np.unique(self.y_test)
                if not (seven and label in self.unseen)
            ]
        )
        return self.X_test[rows], self.y_test[rows]

    def regions(self, X: np.ndarray) -> np.ndarray:
        """Cut clouds once; no model takes part in it."""
        return partition_regions(torch.from_numpy(X), self.settings.n_regions).numpy()


def run_job(job: Job, path: str, other: str | None, settings: Settings, store: str) -> str:
    """Do one job in a process of its own."""
    torch.set_num_threads(1)
    data, folder = Data(path, other, settings), Path(store)
    started = time.perf_counter()
    {"pretrain": pretrain, "train": train, "control": control}[job.kind](job, data, folder)
    return f"{job.name}: {time.perf_counter() - started:.0f} s"


def is_done(job: Job, folder: Path) -> bool:
    return (folder / f"{job.name}.json").is_file()


def pretrain(job: Job, data: Data, folder: Path) -> None:
    """Pre-train without labels, keeping the network at each stage."""
    settings = data.settings.of(job.backbone)
    rows = np.random.default_rng(job.seed).permutation(len(data.X))[: settings.n_pretrain]
    X = data.X[rows]
    started = time.perf_counter()
    untrained = make_pretrainer(job, X, settings, max_epochs=0).fit(X)
    save(untrained, stage_file(folder, job.backbone, job.seed, 0.0))
    pretrainer = make_pretrainer(job, X, settings, max_epochs=settings.pretrain_epochs)
    marks = {max(1, round(stage * settings.pretrain_epochs)): stage for stage in STAGES[1:]}
    for epoch in range(1, settings.pretrain_epochs + 1):
        pretrainer.partial_fit(X)
        if epoch in marks:
            save(pretrainer, stage_file(folder, job.backbone, job.seed, marks[epoch]))
    losses = pretrainer.history_["loss"].tolist()
    write_record(folder, job, {"seconds": time.perf_counter() - started, "losses": losses})


def make_pretrainer(job: Job, X: np.ndarray, settings: Settings, *, max_epochs: int):
    """ReCon's own pre-training for ReCon, as in first_light.py; Jigsaw for the others."""
    common = dict(
        n_points=None, max_epochs=max_epochs, batch_size=settings.batch_size,
        learning_rate=1e-3, augmentation=None, device=settings.device, random_state=job.seed,
    )  # fmt: skip
    if job.backbone == "recon":
        teacher = DepthDescriptorTeacher(n_components=min(128, len(X) // 2)).fit(X)
        return ReConPretrainer(
            size="nano", stop_gradient=False, image_teacher=teacher.encode(X), **common
        )
    options = {"n_neighbors": settings.n_neighbors} if job.backbone == "dgcnn" else None
    return JigsawPretrainer(job.backbone, backbone_options=options, **common)


def stage_file(folder: Path, backbone: str, seed: int, stage: float) -> Path:
    return folder / f"pretrained-{backbone}-{seed}-{stage:.1f}.npz"


def train(job: Job, data: Data, folder: Path) -> None:
    """Train one classifier, measure its accuracy and read-outs, explain it, keep it all.

    Every arm starts from a file, training from scratch from the untrained stage, so that
    networks and recipes are the same to the last number.
    """
    settings = data.settings.of(job.backbone)
    loss = None
    if job.loss:
        loss = InteractionLoss(
            **LOSSES[job.loss], n_regions=settings.n_regions, sub_batch=SUB_BATCH
        )
    stage = 0.0 if job.arm.startswith("scratch") else job.stage
    rows = data.subset(job.seed, job.fraction, job.seven)
    classifier = PointClassifier(
        pretrained=str(stage_file(folder, job.backbone, job.seed, stage)),
        n_points=None,
        max_epochs=max(1, round(settings.epochs * job.epochs_factor)),
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        augmentation="scale_translate",
        device=settings.device,
        random_state=job.seed,
        interaction_loss=loss,
    )
    started = time.perf_counter()
    classifier.fit(data.X[rows], data.y[rows])
    seconds = time.perf_counter() - started
    known = np.isin(data.y_test, classifier.classes_)
    right = classifier.predict(data.X_test[known]) == data.y_test[known]
    X, y = data.explained(job.seven)
    started = time.perf_counter()
    explanation = InteractionExplainer(n_regions=settings.n_regions).explain(
        classifier, X, y, regions=data.regions(X)
    )
    explanation.save(folder / f"{job.name}.explanation.npz")
    record = {
        "seconds": seconds,
        "explain_seconds": time.perf_counter() - started,
        "engine": str(explanation.meta.get("engine", "plain")),
        "accuracy": float(right.mean()),
        "n_test": int(known.sum()),
        "history": classifier.history_.to_dict(orient="list"),
        "readouts": read_outs(classifier, data) if job.seven else {},
    }
    save(classifier, folder / f"{job.name}.npz")
    write_record(folder, job, record)


def read_outs(classifier: PointClassifier, data: Data) -> dict[str, float]:
    """Accuracy of frozen features on unseen classes and on another domain."""
    asked = np.isin(data.y_test, data.unseen)
    X_asked, y_asked = data.X_test[asked], data.y_test[asked]
    few = [np.flatnonzero(data.y == label)[:N_READ] for label in data.unseen]
    n_shot = min(10, min(map(len, few)) - 1)
    few = np.concatenate(few)
    X, y = data.X[few], data.y[few]
    found = {
        "k-NN, unseen classes": knn_readout(classifier, X, y, X_asked, y_asked),
        "few-shot, unseen classes": few_shot_readout(
            classifier, X, y, n_way=N_UNSEEN, n_shot=n_shot,
            n_episodes=data.settings.n_episodes, random_state=0,
        ),
    }  # fmt: skip
    if data.X_other is not None:
        train_part = data.fold < 3
        found["linear SVM, airborne lidar objects"] = linear_readout(
            classifier, data.X_other[train_part], data.y_other[train_part],
            data.X_other[~train_part], data.y_other[~train_part],
        )  # fmt: skip
    return {name: float(estimate.value) for name, estimate in found.items()}


def control(job: Job, data: Data, folder: Path) -> None:
    """Points drawn anew, and temperatures, for one trained model on a few clouds."""
    classifier = load(folder / f"{job.needs}.npz")
    X, y = data.explained(job.seven)
    few = np.linspace(0, len(X) - 1, min(data.settings.n_control, len(X))).astype(int)
    explainer = InteractionExplainer(n_regions=data.settings.n_regions, random_state=0)
    noise = explainer.noise_control(classifier, X[few], y[few]).to_frame()
    scale = explainer.scale_control(classifier, X[few], y[few]).drop(columns="order")
    frame = pd.concat([noise, scale.add_prefix("kappa ")], axis=1)
    write_record(folder, job, {"frame": frame.to_dict(orient="list")})


def write_record(folder: Path, job: Job, record: dict) -> None:
    """Written last, and in one step: the record says that the job is done."""
    temporary = folder / f"{job.name}.json.part"
    temporary.write_text(json.dumps({**asdict(job), **record}))
    temporary.replace(folder / f"{job.name}.json")


def _other_domain(path: str | None, settings: Settings):
    """Single objects from airborne lidar, each brought to the number of points of the rest."""
    if path is None or not Path(path).is_file():
        return None, None, None
    clouds = load_cloud_dataset(path)
    rng, n_points = np.random.default_rng(0), settings.n_points
    rows = np.sort(rng.permutation(len(clouds.data))[: settings.n_other])
    X = np.stack(
        [
            cloud[rng.choice(len(cloud), n_points, replace=len(cloud) < n_points)]
            for cloud in (clouds.data[row] for row in rows)
        ]
    )
    fold = getattr(clouds, "fold", None)
    fold = rows % 5 if fold is None else np.asarray(fold)[rows]
    return X.astype(np.float32), clouds.target[rows], fold


def make_jobs(backbones: list[str], cheap: str, n_seeds: int) -> list[Job]:
    """All jobs, the most important first: the first conclusion for every backbone, then the rest.

    Conclusions 2a, 2b and 3 and the losses are done on the cheap network; the others follow at
    the end, for who has the time.
    """
    seeds = range(n_seeds)
    everyone = list(dict.fromkeys([*backbones, cheap]))
    jobs: dict[str, Job] = {}

    def add(job: Job) -> None:
        known = jobs.get(job.name)
        if known is not None:
            both = tuple(dict.fromkeys([*known.conclusions, *job.conclusions]))
            job = replace(known, conclusions=both)
        jobs[job.name] = job

    def add_pretraining(backbone: str, seed: int, conclusion: str) -> str:
        name = f"pretrain-{backbone}-{seed}"
        add(Job(name, "pretrain", (conclusion,), backbone, seed))
        return name

    def add_training(backbone: str, seed: int, conclusion: str, **options) -> str:
        needs = add_pretraining(backbone, seed, conclusion)
        job = Job("", "train", (conclusion,), backbone, seed, needs=needs, **options)
        words = [backbone, job.arm.replace(" ", "_").replace(",", ""), f"p{job.stage:g}",
                 f"f{job.fraction:g}", "seven" if job.seven else "ten", f"s{seed}"]  # fmt: skip
        job = replace(job, name="-".join(words))
        add(job)
        return job.name

    for seed in seeds:
        for backbone in everyone:
            for arm in ("scratch", "pre-trained"):
                name = add_training(backbone, seed, "conclusion1", arm=arm)
                if seed == 0:
                    add(Job(f"control-{backbone}-{arm}", "control", ("controls",), backbone, seed,
                            arm=arm, needs=name))  # fmt: skip
    for backbone in [cheap, *(name for name in everyone if name != cheap)]:
        for seed in seeds:
            # Stage 0 of the pre-training is training from scratch.
            add_training(backbone, seed, "conclusion2a", arm="scratch")
            for stage in STAGES[1:]:
                add_training(backbone, seed, "conclusion2a", arm="pre-trained", stage=stage)
        for seed in seeds:
            for fraction in fractions_of(backbone):
                for arm in ("scratch", "pre-trained"):
                    add_training(backbone, seed, "conclusion2b", arm=arm, fraction=fraction,
                                 seven=True)  # fmt: skip
        if backbone == cheap:
            _add_losses(add_training, cheap, seeds, (*FEW_LOSSES, *FURTHER_LOSSES))
            for loss in ("A literal, alpha 0.003", "A literal, alpha 0.03"):
                add_training(cheap, 0, "alphas", arm=f"scratch + {loss}", loss=loss)
    for backbone in everyone:
        if backbone != cheap:
            _add_losses(add_training, backbone, seeds, FEW_LOSSES)
    return list(jobs.values())


def fractions_of(backbone: str) -> tuple[float, ...]:
    return FEWER_FRACTIONS.get(backbone, FRACTIONS)


def _add_losses(add_training, backbone: str, seeds: range, losses: tuple[str, ...]) -> None:
    for seed in seeds:
        for arm in ("scratch", "pre-trained"):
            add_training(backbone, seed, "losses", arm=arm)
        for loss in losses:
            add_training(backbone, seed, "losses", arm=f"scratch + {loss}", loss=loss)
        add_training(backbone, seed, "losses", arm="pre-trained + A log-ratio", loss="A log-ratio")
        add_training(backbone, seed, "losses", arm="scratch, about equal time",
                     epochs_factor=TIME_FACTOR)  # fmt: skip
