"""What the demo works on: built-in shapes or the user's clouds, split and cut to size."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pointinteract.cli._data import CloudSet, draw_evenly, draw_per_class, read_clouds
from pointinteract.datasets import make_shapes
from pointinteract.exceptions import CloudError

TEST_SHARE = 0.3
MAX_POINTS = 4096
# Built-in shapes as a scanner of middling quality sees them: noise as a share of the radius.
SHAPE_NOISE = 0.02
# The settings below were chosen on the shapes of seed 0; the demo is to be measured on others.
OTHER_SHAPES = 7919


@dataclass(frozen=True)
class DemoSettings:
    """How large the demo is; time grows in proportion to most of these.

    Training is counted in steps of `batch_size` clouds, so that small data are gone over more
    often and take no less time.
    """

    n_train: int = 800
    n_test: int = 400
    n_points: int = 512
    pretrain_steps: int = 800
    labels_per_class: int = 5
    n_labeled: int = 200
    train_steps: int = 210
    batch_size: int = 16
    n_regions: int = 9
    n_explained: int = 12
    n_resampled: int = 4
    up: str = "z"


FULL = DemoSettings()
QUICK = DemoSettings(
    n_train=320,
    n_test=200,
    pretrain_steps=160,
    train_steps=110,
    n_regions=8,
    n_explained=6,
    n_resampled=2,
)
MOST_EPOCHS = 100


def epochs_for(n_steps: int, n_clouds: int, batch_size: int) -> int:
    """Passes over the clouds that make about `n_steps` steps, within reason."""
    per_epoch = -(-n_clouds // batch_size)
    return min(MOST_EPOCHS, max(1, round(n_steps / per_epoch)))


@dataclass
class DemoData:
    """Clouds to learn from and to measure on.

    Attributes
    ----------
    train, test : CloudSet
        With labels; pre-training does not look at them.
    few : array of int
        Rows of `train` whose labels the classifiers may see.
    classes : list of str
    source : str
        Where the clouds are from, for the reader.
    notes : list of str
        What was left out or thinned, and why.
    parts, part_names
        Part of each point of the test clouds, where known.
    """

    train: CloudSet
    test: CloudSet
    few: np.ndarray
    classes: list[str]
    source: str
    notes: list[str] = field(default_factory=list)
    parts: np.ndarray | None = None
    part_names: list[str] | None = None


def make_demo_data(settings: DemoSettings, seed: int) -> DemoData:
    """Invent shapes."""
    n_train, n_test = settings.n_train, settings.n_test
    shapes: Any = make_shapes(
        n_train + n_test,
        n_points=settings.n_points,
        noise=SHAPE_NOISE,
        random_state=OTHER_SHAPES + seed,
    )
    names = np.array(shapes.target_names)
    everything = CloudSet(shapes.data, names[shapes.target])
    train = everything.take(np.arange(n_train))
    return DemoData(
        train=train,
        test=everything.take(np.arange(n_train, n_train + n_test)),
        few=draw_few(train.labels, settings, np.random.default_rng(seed)),
        classes=list(shapes.target_names),
        source="everyday objects invented by pointinteract.datasets.make_shapes, with "
        f"{SHAPE_NOISE:.0%} noise",
        parts=shapes.parts[n_train:],
        part_names=shapes.part_names,
    )


def read_demo_data(path: str, settings: DemoSettings, seed: int) -> DemoData:
    """Read the user's labeled clouds, split them and cut them to a size that fits the time."""
    rng = np.random.default_rng(seed)
    data = read_clouds(path, labeled=True)
    notes: list[str] = []
    train, test = split_clouds(data, rng, notes)
    train, test = keep_common_classes(train, test, notes)
    for name, n_wanted in (("training", settings.n_train), ("test", settings.n_test)):
        part = train if name == "training" else test
        if len(part) > n_wanted:
            notes.append(
                f"Of {len(part):,} {name} clouds, {n_wanted:,} drawn at random (evenly over the "
                "classes) are used, so that the demo ends within minutes."
            )
            part = part.take(draw_evenly(part.labels, len(part), n_wanted, rng))
        if name == "training":
            train = part
        else:
            test = part
    train, test = (thin_clouds(part, rng, notes) for part in (train, test))
    return DemoData(
        train=train,
        test=test,
        few=draw_few(train.labels, settings, rng),
        classes=np.unique(train.labels).tolist(),
        source=path,
        notes=list(dict.fromkeys(notes)),
    )


def split_clouds(
    data: CloudSet, rng: np.random.Generator, notes: list[str]
) -> tuple[CloudSet, CloudSet]:
    """The split that the data name, or 70 to 30 within each class."""
    names = set() if data.split is None else set(data.split.tolist())
    if "train" in names and len(names) > 1:
        test = "test" if "test" in names else sorted(names - {"train"})[0]
        return data.of_split("train"), data.of_split(test)
    held_back: list[int] = []
    for name in np.unique(data.labels):
        rows = rng.permutation(np.flatnonzero(data.labels == name))
        n_test = max(1, round(TEST_SHARE * len(rows))) if len(rows) > 1 else 0
        held_back += rows[:n_test].tolist()
    is_test = np.zeros(len(data), dtype=bool)
    is_test[held_back] = True
    notes.append(
        f"The data name no train and test split, so {is_test.sum()} of {len(data)} clouds, drawn "
        "at random within each class, were held back for the test."
    )
    return data.take(np.flatnonzero(~is_test)), data.take(np.flatnonzero(is_test))


def keep_common_classes(
    train: CloudSet, test: CloudSet, notes: list[str]
) -> tuple[CloudSet, CloudSet]:
    """Leave classes out that are not both learned and tested."""
    common = np.intersect1d(train.labels, test.labels)
    every = np.union1d(train.labels, test.labels)
    if len(common) < 2:
        raise CloudError(
            "the demo needs at least 2 classes with a cloud to learn from and another to test "
            f"on; got {len(common)}, of the {len(every)} classes {', '.join(every[:8])}."
        )
    left_out = np.setdiff1d(every, common)
    if len(left_out):
        notes.append(
            "Left out, because there are not both training and test clouds of them: "
            f"{', '.join(left_out)}."
        )
    kept = (part.take(np.flatnonzero(np.isin(part.labels, common))) for part in (train, test))
    first, second = kept
    return first, second


def thin_clouds(data: CloudSet, rng: np.random.Generator, notes: list[str]) -> CloudSet:
    """Cut very large clouds down at random; the estimators then thin them evenly."""
    if max(len(cloud) for cloud in data.clouds) <= MAX_POINTS:
        return data
    clouds: list[np.ndarray] = [
        cloud if len(cloud) <= MAX_POINTS
        else cloud[np.sort(rng.permutation(len(cloud))[:MAX_POINTS])]
        for cloud in data.clouds
    ]
    notes.append(f"Of clouds with more than {MAX_POINTS:,} points, so many random ones are used.")
    same = len({len(cloud) for cloud in clouds}) == 1
    stacked: Any = np.stack(clouds) if same else clouds
    return replace(data, clouds=stacked)


def draw_few(labels: np.ndarray, settings: DemoSettings, rng: np.random.Generator) -> np.ndarray:
    """Rows of the clouds whose labels may be seen: equally many of each class, if there are."""
    n_classes = len(np.unique(labels))
    n_each = min(settings.labels_per_class, max(1, settings.n_labeled // n_classes))
    return draw_per_class(labels, n_each, rng)
