"""Methods x protocols on real ModelNet10: mean and spread, and how every number was chosen.

    python benchmarks/protocols.py --data ../shared/data/modelnet10.npz

Each method is pre-trained on the training clouds (official split, without labels) for the same
small number of epochs, and asked in every protocol: linear SVM, few-shot with five learners,
frozen head, fine-tuning, votes, fine-tuning under corrupted clouds. Beside it its control, the
same network with random weights, which for fine-tuning is training from scratch. Supervised
networks stand in the same table. Published figures are of ModelNet40 and of much longer
training; they stand beside for the order, not for comparison.

Every finished run is a JSON file in the store; run the command again to go on from there.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

# Each process has one thread; the variables are read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _runs import Clock, write_results  # noqa: E402
from sklearn.base import is_classifier  # noqa: E402

from pointinteract import PointClassifier  # noqa: E402
from pointinteract import pretraining as pre  # noqa: E402
from pointinteract.datasets import load_cloud_dataset  # noqa: E402
from pointinteract.protocols import (  # noqa: E402
    FewShotSplit,
    NotApplicableError,
    compare,
    few_shot,
    frozen_head,
)

EPISODES = FewShotSplit(5, 10, n_query=20, n_folds=10)
N_POINTS, EPOCHS, FINE_TUNING_EPOCHS, FEW_SHOT_EPOCHS = 256, 4, 2, 8


def make_methods(n_points: int, epochs: int, fine_tuning_epochs: int) -> dict[str, Any]:
    """Pretrainers of one small size, and supervised networks."""
    common: dict[str, Any] = {"n_points": n_points, "max_epochs": epochs, "batch_size": 16,
                              "warmup_epochs": 0.1 * epochs, "device": "cpu"}  # fmt: skip
    patches: dict[str, Any] = {"n_groups": 16, "group_size": 16, "augmentation": None}
    supervised: dict[str, Any] = {"n_points": n_points, "max_epochs": fine_tuning_epochs + epochs,
                                  "batch_size": 32, "device": "cpu"}  # fmt: skip
    return {
        "ReCon": pre.ReConPretrainer(
            image_teacher="depth_descriptor", stop_gradient=False, **patches, **common
        ),
        "Point-MAE": pre.PointMAEPretrainer(**patches, **common),
        "SimCLR (PointNet)": pre.SimCLRPretrainer("pointnet_basic", **common),
        "PointNet": PointClassifier("pointnet", **supervised),
        "Transformer": PointClassifier("transformer_nano", **supervised),
    }


def _episodes(estimator: Any, clouds: tuple, random_state: int, **settings: Any) -> Any:
    if settings["protocol"] != "full":
        _ask_for_features(estimator)
    X, y, X_test, y_test = clouds
    return few_shot(
        estimator,
        np.concatenate([X, X_test]),
        np.concatenate([y, y_test]),
        groups=np.repeat(["train", "test"], [len(y), len(y_test)]),
        split=EPISODES,
        random_state=random_state,
        **settings,
    )


def _ask_for_features(estimator: Any) -> None:
    if is_classifier(estimator):
        raise NotApplicableError("it learns by labels, and here is asked for features")


def few_shot_prototypes(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    return _episodes(estimator, (X, y, X_test, y_test), random_state, protocol="prototypes")


def few_shot_mlp_linear(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    return _episodes(estimator, (X, y, X_test, y_test), random_state, protocol="mlp_linear")


def few_shot_mlp3(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    return _episodes(estimator, (X, y, X_test, y_test), random_state, protocol="mlp3")


def few_shot_full(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    return _episodes(
        estimator, (X, y, X_test, y_test), random_state, protocol="full",
        max_epochs=FEW_SHOT_EPOCHS,
    )  # fmt: skip


def frozen_mlp_linear(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    _ask_for_features(estimator)
    return frozen_head(estimator, X, y, X_test, y_test, head="linear", max_epochs=50,
                       random_state=random_state)  # fmt: skip


def frozen_mlp3(
    estimator: Any, X: Any, y: Any, X_test: Any, y_test: Any, random_state: int
) -> Any:
    _ask_for_features(estimator)
    return frozen_head(estimator, X, y, X_test, y_test, head="mlp3", max_epochs=50,
                       random_state=random_state)  # fmt: skip


PROTOCOLS: dict[str, Any] = {
    "linear_probe": "linear_probe",
    "few_shot": "few_shot",  # by a linear SVM
    "few_shot_prototypes": few_shot_prototypes,
    "few_shot_mlp_linear": few_shot_mlp_linear,
    "few_shot_mlp3": few_shot_mlp3,
    "few_shot_full": few_shot_full,
    "frozen_mlp_linear": frozen_mlp_linear,
    "frozen_mlp3": frozen_mlp3,
    "fine_tune": "fine_tune",
    "vote": "vote",
}


def read_data(path: str, n_points: int, few: bool) -> tuple:
    clouds = load_cloud_dataset(path)
    # The order of points within each object is random, so the first ones are a sample.
    points = np.ascontiguousarray(clouds.data[:, :n_points])
    train, test = (np.flatnonzero(clouds.split == part) for part in ("train", "test"))
    if few:
        rng = np.random.default_rng(0)
        train, test = (np.sort(rng.permutation(rows)[:600]) for rows in (train, test))
    return points[train], clouds.target[train], points[test], clouds.target[test]


def main() -> None:
    arguments = parse()
    clock = Clock(float("inf"))
    n_points, epochs, fine_tuning = N_POINTS, EPOCHS, FINE_TUNING_EPOCHS
    if arguments.quick:
        n_points, epochs, fine_tuning = 64, 1, 1
    data = read_data(arguments.data, n_points, arguments.quick)
    methods = make_methods(n_points, epochs, fine_tuning)
    if arguments.methods:
        methods = {name: methods[name] for name in arguments.methods.split(",")}
    head = (
        f"{Path(arguments.data).name}: {n_points} points a cloud, {len(data[1])} training and "
        f"{len(data[3])} test clouds (official split). Transformers of size nano, 16 patches of "
        f"16 points; {epochs} epochs of pre-training without labels, {fine_tuning} of "
        f"fine-tuning, {fine_tuning + epochs} of supervised networks, {FEW_SHOT_EPOCHS} in "
        f"each episode of few-shot FULL; 5-way 10-shot, 10 folds. {arguments.seeds} seeds. "
        f"Published figures: ModelNet40. One thread a process, torch {torch.__version__}."
    )
    print(head, flush=True)

    def tell(n_done: int, n_runs: int) -> None:
        clock.tell(f"{n_done} of {n_runs} runs")

    report = compare(
        methods,
        data,
        protocol=[PROTOCOLS[name] for name in arguments.protocols.split(",")],
        random_states=range(arguments.seeds),
        classifier=PointClassifier(
            n_points=n_points, max_epochs=fine_tuning, batch_size=32, device="cpu"
        ),
        controls=True,
        store=Path(arguments.store) / ("quick" if arguments.quick else "small"),
        n_jobs=arguments.jobs,
        progress=tell,
    )
    table = report.to_markdown()
    print(table)
    if arguments.picture:
        report.plot().figure_.savefig(arguments.picture, dpi=120)
    if not arguments.quick:
        command = shlex.join(["python", "benchmarks/protocols.py", *sys.argv[1:]])
        title = f"## Protocols: ModelNet10, {', '.join(methods)}"
        text = f"{title}\n\n```\n{command}\n```\n\n{head}\n\n{table}"
        write_results(Path(arguments.results), f"protocols {' '.join(methods)}", text)
        print(f"\nwritten to {arguments.results}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="labelled npz with an official split")
    parser.add_argument("--methods", default="", help="names with commas between; default all")
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), help="names with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument("--store", default="protocols_store", help="folder of finished runs")
    parser.add_argument("--results", default=str(Path(__file__).parent / "RESULTS.md"))
    parser.add_argument("--picture", default="", help="file to draw the table into")
    parser.add_argument("--quick", action="store_true", help="smoke run; its numbers mean nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
