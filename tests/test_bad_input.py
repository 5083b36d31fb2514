"""Bad input across the public surface: what came and what is right, and nothing left half-done.

Every case is a function of a prepared world, the error it brings, and two patterns: one for what
came, one for what would be right. Files have a larger table of their own in tests/io.
"""

import pickle
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone

from pointinteract import load, load_official, ops, save, to_official
from pointinteract.classification import PointClassifier
from pointinteract.datasets import load_cloud_dataset, load_cloud_files, make_scans, make_shapes
from pointinteract.exceptions import (
    CheckpointError,
    CloudError,
    FileFormatError,
    PointInteractWarning,
)
from pointinteract.explanation import InteractionExplainer
from pointinteract.io import read_mesh, read_points, write_points
from pointinteract.models import DGCNN, PointNetBasic
from pointinteract.pretraining import ReConPretrainer

RIGHT_X = r"X must be a float array \(n_clouds, n_points, n_channels\) with at least 3 channels"
GOOD = np.random.default_rng(0).normal(size=(8, 16, 3)).astype(np.float32)
LABELS = np.array(["flat", "ball"] * 4)
OFF = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
SMALL_DGCNN = dict(n_neighbors=4, n_classes=5)


class Bomb:
    """Unpickling this is an error, so that a reader which unpickles is caught."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


class Unsaveable:
    """An augmentation that no file can hold."""

    def __call__(self, points, generator):
        return points


class FiveLogits(torch.nn.Module):
    """A network that answers five classes whatever it is asked for."""

    def __init__(self, n_channels=3, n_classes=2):
        super().__init__()
        self.out = torch.nn.Linear(n_channels, 5)

    def forward(self, points):
        return self.out(points).amax(1)


@pytest.fixture(scope="module")
def fitted():
    """A classifier and a pretrainer that every bad call is tried on."""
    clf = PointClassifier("pointnet_basic", max_epochs=1, batch_size=4, random_state=0)
    pre = ReConPretrainer(n_groups=4, group_size=4, max_epochs=1, random_state=0)
    return clf.fit(GOOD, LABELS), pre.fit(GOOD)


@pytest.fixture
def world(fitted, tmp_path):
    clf, pre = fitted
    return SimpleNamespace(clf=clf, pre=pre, folder=tmp_path)


@contextmanager
def settings(estimator, **parameters):
    """The estimator with other parameters for a while."""
    before = {name: getattr(estimator, name) for name in parameters}
    try:
        yield estimator.set_params(**parameters)
    finally:
        estimator.set_params(**before)


def changed(**places):
    """GOOD with some values replaced: ``changed(nan=[(3, 2, 1)])``."""
    clouds = GOOD.copy()
    for value, where in places.items():
        for place in where:
            clouds[place] = float(value)
    return clouds


def fit(X=GOOD, y=LABELS, **parameters):
    """A case: fit the fitted classifier again."""
    def case(world):
        with settings(world.clf, **parameters):
            world.clf.fit(X, y)
    return case


def pretrain(X=GOOD, texts=None, **parameters):
    """A case: fit the fitted pretrainer again."""
    def case(world):
        with settings(world.pre, **parameters):
            world.pre.fit(X, texts=texts)
    return case


def file(read, name, content, cut=None):
    """A case: read a file of this content, cut to so many bytes."""
    def case(world):
        path = world.folder / name
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)
        path.write_bytes(path.read_bytes()[:cut])
        read(path)
    return case


def write_npz(path, **arrays):
    np.savez(path, **arrays or {"points": GOOD, "label": np.arange(8) % 2})


def write_h5(path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as made:
        made["data"], made["label"] = GOOD, np.arange(8) % 2


def write_npz_without_labels(path):
    write_npz(path, points=GOOD)


def write_npz_with_few_labels(path):
    write_npz(path, points=GOOD, label=np.zeros(5, int))


def save_classifier(path):
    save(PointClassifier(), path.with_suffix(".npz"))
    path.with_suffix(".npz").rename(path)


def save_tensors(path):
    torch.save({"model": {"weight": torch.zeros(40)}}, path)


def save_what_cannot_be(world):
    with settings(world.clf, augmentation=Unsaveable()):
        save(world.clf, world.folder / "half.npz")


def start_from_junk(world):
    save_tensors(world.folder / "junk.pth")
    with settings(world.clf, model=None, pretrained=str(world.folder / "junk.pth")):
        world.clf.fit(GOOD, LABELS)


def explain(X=GOOD[:2], model=None, **parameters):
    def case(world):
        explainer = InteractionExplainer(**{"n_regions": 4, **parameters})
        explainer.explain(world.clf if model is None else model, X)
    return case


def fit_from_other_channels(world):
    with settings(world.clf, model=None, pretrained=world.pre):
        world.clf.fit(np.concatenate([GOOD, GOOD], axis=2), LABELS)


# Name: what is called, the error, what came, what is right.
CASES = {
    # Clouds.
    "one cloud instead of many": (fit(GOOD[0]), CloudError, r"shape \(16, 3\)", RIGHT_X),
    "four axes": (fit(GOOD[None]), CloudError, r"shape \(1, 8, 16, 3\)", RIGHT_X),
    "two coordinates": (fit(GOOD[..., :2]), CloudError, r"got 2 channels.*\(8, 16, 2\)", RIGHT_X),
    "NaN": (fit(changed(nan=[(3, 2, 1)])), CloudError, "NaN: 1 of the 16 points of cloud 3",
            "Remove those points"),
    "infinity": (fit(changed(inf=[(0, 0, 0), (0, 5, 0)])), CloudError,
                 "infinity: 2 of the 16 points of cloud 0", "Remove those points"),
    "no clouds": (fit(GOOD[:0], LABELS[:0]), CloudError, r"no cloud.*\(0, 16, 3\)", RIGHT_X),
    "no points": (fit(GOOD[:, :0]), CloudError, r"without points.*\(8, 0, 3\)", RIGHT_X),
    "empty list": (fit([], []), CloudError, "got an empty list", "list of arrays"),
    "an empty cloud among others": (fit([*GOOD[:7], GOOD[0, :0]]), CloudError,
                                    r"cloud 7 has no points: shape \(0, 3\)", RIGHT_X),
    "a flat cloud among others": (fit([*GOOD[:7], GOOD[0, 0]]), CloudError,
                                  r"cloud 7 has shape \(3,\)", RIGHT_X),
    "clouds of other channels": (fit([*GOOD[:7], np.zeros((9, 6))]), CloudError,
                                 r"cloud 7 has shape \(9, 6\)", "must have the same channels"),
    "words": (fit([["a", "b", "c"]] * 8), CloudError, "cloud 0 is not numeric", RIGHT_X),
    "no array at all": (fit(None), CloudError, "got NoneType", RIGHT_X),
    "other channels at prediction": (lambda w: w.clf.predict(np.zeros((2, 9, 6))), CloudError,
                                     "X has 6 features", "expecting 3 features"),
    "NaN at transform": (lambda w: w.pre.transform(changed(nan=[(1, 0, 0)])), CloudError,
                         "NaN: 1 of the 16 points of cloud 1", "Remove those points"),
    "wrong rank to a pretrainer": (pretrain(GOOD[0]), CloudError, r"shape \(16, 3\)", RIGHT_X),
    # Labels and what goes with clouds.
    "one class": (fit(y=["flat"] * 8), ValueError, r"got one class: \['flat'\]",
                  "at least 2 classes"),
    "labels of another number": (fit(y=LABELS[:5]), ValueError, "5 labels for 8 clouds",
                                 "one label a cloud"),
    "no labels": (fit(y=None), ValueError, "y is None", "requires y to be passed"),
    "numbers to regress": (fit(y=np.linspace(0, 1, 8)), ValueError, "continuous",
                           "expects discrete classes"),
    "a table of labels": (fit(y=np.zeros((8, 2))), ValueError, r"shape \(8, 2\)", "1d array"),
    "unknown label": (lambda w: w.clf.partial_fit(GOOD[:2], ["cube", "flat"]), ValueError,
                      r"not seen at the start: \['cube'\]", r"known are \['ball' 'flat'\]"),
    "texts of another number": (pretrain(texts=["a", "b"]), ValueError, "2 for 8 clouds",
                                "one entry a cloud"),
    "a teacher of another number": (pretrain(image_teacher=np.zeros((3, 2))), ValueError,
                                    "3 rows", "8 items"),
    "a teacher without its texts": (pretrain(text_teacher="hashed_ngrams"), ValueError,
                                    "reads texts", r"fit\(X, texts=\.\.\.\)"),
    # Parameters.
    "a model misspelt": (fit(model="pointnett"), ValueError, "pointnett", "Did you mean"),
    "a network of other classes": (fit(model=FiveLogits), ValueError, r"got \(4, 5\)",
                                   r"must answer logits of shape \(4, 2\)"),
    "no such device": (fit(device="abacus"), ValueError, "abacus", '"auto", "cpu"'),
    "too few to hold back": (fit(early_stopping=True, validation_fraction=0.01), ValueError,
                             "could not hold 1% of 8 clouds", "number of classes = 2"),
    "a size misspelt": (pretrain(size="huge"), ValueError, "huge", "one of.*'nano'"),
    "everything masked": (pretrain(mask_ratio=1.0), ValueError, r"got 1\.0", r"in \(0"),
    # Files.
    "npz cut short": (file(load_cloud_dataset, "a.npz", write_npz, 300), FileFormatError,
                      r"a\.npz: .*cut short", "Expected"),
    "ply cut short": (file(read_points, "a.ply", lambda path: write_points(path, GOOD[0]), -20),
                      FileFormatError, r"a\.ply: .*declared but|a\.ply: .*follow", "Expected"),
    "OFF cut short": (file(read_mesh, "a.off", OFF.encode(), 20), FileFormatError,
                      r"a\.off: .*cut short", "3 vertices and 1 faces are declared"),
    "h5 cut short": (file(load_cloud_dataset, "a.h5", write_h5, 700), FileFormatError,
                     r"a\.h5: .*cut short", "Expected"),
    "a pickle disguised as npz": (file(load_cloud_dataset, "a.npz", pickle.dumps(Bomb())),
                                  FileFormatError, "a Python pickle", "Expected an npz archive"),
    "an empty file": (file(read_points, "a.xyz", b""), FileFormatError, "the file is empty",
                      "at least one point"),
    "a file of no known kind": (file(read_points, "a.las", b"LASF"), FileFormatError,
                                "suffix is '.las'", r"Expected one of \.npy"),
    "clouds without labels": (file(load_cloud_dataset, "a.npz", write_npz_without_labels),
                              FileFormatError, r"\['points'\], without labels", "Expected"),
    "labels of other clouds": (file(load_cloud_dataset, "a.npz", write_npz_with_few_labels),
                               FileFormatError, r"label has shape \(5,\)", r"shape \(8,\)"),
    "an empty folder": (lambda w: load_cloud_files(w.folder), (ValueError, OSError), "test_",
                        "folder|file"),
    # Checkpoints and saved estimators.
    "checkpoint of an unknown system": (lambda w: load_official("pointnext", {}), CheckpointError,
                                        "'pointnext'", "can be read of: .*dgcnn"),
    "checkpoint of another system": (
        lambda w: load_official("pointnet", to_official(DGCNN(**SMALL_DGCNN))), CheckpointError,
        "not a checkpoint of 'pointnet'|does not fit 'pointnet'", "has no tensor|missing"),
    "checkpoint of another size": (
        lambda w: load_official("dgcnn", to_official(DGCNN(**SMALL_DGCNN)), n_classes=7,
                                output_channels=7),
        CheckpointError, "=7|'n_classes'", "tensors say|sizes it takes are"),
    "checkpoint cut short": (file(lambda p: load_official("dgcnn", p), "a.pth", save_tensors, 200),
                             CheckpointError, r"a\.pth", "cannot be read as a checkpoint|damaged"),
    "a pickle as checkpoint": (
        file(lambda p: load_official("dgcnn", p), "a.pth", pickle.dumps(Bomb(), protocol=2)),
        CheckpointError, "holds other Python objects", "not a file of tensors"),
    "a saved estimator cut short": (file(load, "a.npz", save_classifier, 200), FileFormatError,
                                    r"a\.npz", "truncated|cut short|damaged|not"),
    "a data set as estimator": (file(load, "a.npz", write_npz), FileFormatError, r"a\.npz",
                                "save"),
    "start from tensors of something else": (start_from_junk, CheckpointError, "weight",
                                             "none of the systems"),
    "start from other channels": (fit_from_other_channels, ValueError, "X has 6", "reads 3"),
    "start from a missing file": (fit(model=None, pretrained="none.pth"), FileNotFoundError,
                                  "none.pth", "no such file"),
    "an augmentation that no file holds": (save_what_cannot_be, TypeError, "Unsaveable",
                                           "plain values"),
    # Explanations, operations, generators.
    "more regions than points": (explain(n_regions=17), (ValueError, CloudError), "17", "16"),
    "NaN to explain": (explain(changed(nan=[(0, 0, 0)])), CloudError, "NaN",
                       "Remove those points"),
    "something that is no model": (explain(model=3), TypeError, "got int",
                                   "must be a torch module"),
    "a class for a model": (explain(model=PointNetBasic), TypeError, "PointNetBasic",
                            "must be an instance"),
    "two axes to an operation": (
        lambda w: ops.farthest_point_sample(torch.zeros(5, 3), 2), ValueError, r"\(5, 3\)",
        r"\(B, N, "),
    "more neighbors than points": (
        lambda w: ops.knn(torch.zeros(1, 5, 3), torch.zeros(1, 5, 3), 6), ValueError, "got 6",
        "from 1 to the 5 points"),
    "unknown shape": (lambda w: make_shapes(4, classes=["chair", "unicorn"]), ValueError,
                      "'unicorn'", "Known classes: .*chair"),
    "share beyond one": (lambda w: make_scans(2, clutter=1.0), ValueError, r"got 1\.0",
                         r"clutter must be in \[0"),
}


def test_there_are_enough_cases():
    assert len(CASES) >= 30


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_named_and_nothing_is_left_half_done(world, name):
    case, error, came, right = CASES[name]
    states = [dict(vars(estimator)) for estimator in (world.clf, world.pre)]
    answers = world.clf.predict_logits(GOOD), world.pre.transform(GOOD)

    with pytest.raises(error) as caught:
        case(world)

    assert caught.match(rf"(?s){came}")
    assert caught.match(rf"(?s){right}")
    for estimator, state in zip((world.clf, world.pre), states, strict=True):
        assert vars(estimator).keys() == state.keys()
        assert all(vars(estimator)[key] is value for key, value in state.items())
    np.testing.assert_array_equal(world.clf.predict_logits(GOOD), answers[0])
    np.testing.assert_array_equal(world.pre.transform(GOOD), answers[1])


def test_a_first_fit_that_fails_leaves_the_estimator_unfitted():
    clf = PointClassifier("pointnet_basic", max_epochs=1, random_state=0)
    before = dict(vars(clf))

    with pytest.raises(ValueError, match="at least 2 classes"):
        clf.fit(GOOD, ["flat"] * 8)

    assert vars(clf) == before


def test_a_save_that_fails_leaves_the_old_file_and_no_other(world):
    path = save(world.clf, world.folder / "half.npz")
    content = path.read_bytes()

    with pytest.raises(TypeError, match="Unsaveable"):
        save_what_cannot_be(world)

    assert path.read_bytes() == content
    assert [found.name for found in world.folder.iterdir()] == ["half.npz"]


# Unusual, and right all the same.


@pytest.mark.parametrize("model", ["recon_nano", "dgcnn", "pointnet", "pointnet_basic"])
@pytest.mark.parametrize("n_points", [1, 3])
def test_fewer_points_than_groups_and_neighbors_work(fitted, model, n_points):
    few = GOOD[:, :n_points]

    clf = PointClassifier(model, max_epochs=1, batch_size=4, random_state=0).fit(few, LABELS)

    assert np.isfinite(clf.predict_proba(few)).all()
    assert np.isfinite(fitted[1].transform(few)).all()


def test_fewer_points_than_groups_can_be_pretrained_on():
    pre = ReConPretrainer(n_groups=32, group_size=32, max_epochs=1, random_state=0)

    features = pre.fit_transform(GOOD[:, :5])

    assert np.isfinite(features).all() and np.isfinite(pre.history_.loss).all()


def test_mixed_lengths_work_everywhere(fitted):
    clf, pre = fitted
    mixed = [cloud[: 2 + i] for i, cloud in enumerate(GOOD)]

    assert clone(clf).fit(mixed, LABELS).predict(mixed).shape == (8,)
    assert clone(pre).fit(mixed).transform(mixed).shape == (8, pre.transform(GOOD).shape[1])
    assert len(pre.reconstruct(mixed).rebuilt) == 8


@pytest.mark.parametrize("cloud", [np.zeros((8, 16, 3)), np.full((8, 16, 3), 1e6)],
                         ids=["all points at the origin", "all points at one far place"])
def test_clouds_without_extent_give_finite_answers(fitted, cloud):
    clf, pre = fitted

    assert np.isfinite(clf.predict_proba(cloud)).all()
    assert np.isfinite(pre.transform(cloud)).all()


@pytest.mark.parametrize("n_points, parameters", [(1, {}), (16, {"n_groups": 1}),
                                                  (16, {"mask_ratio": 0.2})])
def test_nothing_to_learn_from_is_said(n_points, parameters):
    pre = ReConPretrainer(n_groups=4, group_size=4, max_epochs=1, random_state=0)

    with pytest.warns(PointInteractWarning, match="nothing to learn from.*Give clouds of more"):
        pre.set_params(**parameters).fit(GOOD[:, :n_points])

    assert np.isfinite(pre.transform(GOOD)).all()
