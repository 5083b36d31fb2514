"""One file, no pickle: what goes in comes out, and what is no such file is refused."""

import io
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.preprocessing import LabelEncoder

from pointinteract import persistence
from pointinteract.exceptions import CheckpointError, FileFormatError
from pointinteract.persistence import is_saved_estimator, load, save


class Pretend(BaseEstimator):
    """Stands for an estimator of ours, with parameters of every kind."""

    def __init__(self, size="nano", pretrained=None, random_state=None):
        self.size = size
        self.pretrained = pretrained
        self.random_state = random_state

    def fit(self, values):
        self.values_ = values
        return self


@pytest.fixture(autouse=True)
def pretend_package(monkeypatch):
    """Make `Pretend` a public estimator of a package of ours."""
    module = types.ModuleType("pointinteract.pretend")
    module.Pretend, module.__all__ = Pretend, ["Pretend"]
    monkeypatch.setattr(Pretend, "__module__", "pointinteract.pretend")
    monkeypatch.setitem(sys.modules, "pointinteract.pretend", module)
    monkeypatch.setattr(persistence, "PACKAGES", (*persistence.PACKAGES, "pretend"))


def saved(tmp_path, values=None):
    return save(Pretend().fit(values or {"a": 1}), tmp_path / "estimator.npz")


def rewritten(path, change):
    """Change the document of a saved file by a function, and return the path."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(members["document.json"])
    members["document.json"] = json.dumps(change(document) or document).encode()
    write_members(path, members)
    return path


def write_members(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


VALUES = [
    None,
    True,
    -3,
    10**30,
    1 / 3,
    float("inf"),
    -0.0,
    "Möbius\n\x00",
    [1, [2.5, "x"], []],
    (1, (2, "x")),
    {},
    {"a": 1, 2: "b", (3, 4): None},
    np.float32(0.1),
    np.int64(7),
    np.bool_(True),
    np.str_("chair"),
    np.dtype("float32"),
    torch.device("cpu"),
    Path("folder/file"),
]

ARRAYS = [
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.arange(12.0).reshape(3, 4)[:, ::2],
    np.zeros((0, 3), dtype=np.float32),
    np.array(3.5),
    np.array([True, False]),
    np.array(["chair", "Möbius"]),
    np.array(["chair", None, 3], dtype=object),
    np.array([1 + 2j]),
    np.array(["2026-01-01"], dtype="datetime64[D]"),
    np.array([np.nan, np.inf, -0.0]),
]

FRAMES = [
    pd.DataFrame({"epoch": [1, 2], "loss": [0.5, np.nan], "stage": ["a", None]}),
    pd.DataFrame({"loss": [0.5]}, index=pd.Index(["x"], name="cloud")),
    pd.DataFrame({"loss": []}),
    pd.DataFrame({3: [True]}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_values_come_back_as_they_were(tmp_path, value):
    back = load(save(Pretend().fit(value), tmp_path / "file")).values_

    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_not_a_number_comes_back(tmp_path):
    assert np.isnan(load(save(Pretend().fit(float("nan")), tmp_path / "file")).values_)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_arrays_come_back_bit_by_bit(tmp_path, array):
    back = load(save(Pretend().fit(array), tmp_path / "file")).values_

    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: "-".join(map(str, frame.columns)))
def test_tables_come_back(tmp_path, frame):
    back = load(save(Pretend().fit(frame), tmp_path / "file")).values_

    pd.testing.assert_frame_equal(back, frame)


def test_parameters_and_nested_estimators_come_back(tmp_path):
    inner = Pretend(size="base").fit([1, 2])
    frozen = FrozenEstimator(Pretend(pretrained=inner))
    outer = Pretend(pretrained=frozen, random_state=np.random.RandomState(3))
    outer.fit({"inner": inner, "encoder": LabelEncoder().fit(["b", "a"])})
    expected = np.random.RandomState(3).rand()

    back = load(save(outer, tmp_path / "file"))

    assert isinstance(back.pretrained, FrozenEstimator)
    assert back.pretrained.estimator.pretrained.size == "base"
    assert back.values_["inner"] is back.pretrained.estimator.pretrained
    assert list(back.values_["encoder"].classes_) == ["a", "b"]
    assert back.random_state.rand() == expected


def test_unfitted_estimator_comes_back_unfitted(tmp_path):
    back = load(save(Pretend(size="tiny"), tmp_path / "file"))

    assert vars(back) == {"size": "tiny", "pretrained": None, "random_state": None}


def test_equal_estimators_give_equal_bytes(tmp_path):
    one = save(Pretend().fit(np.arange(5)), tmp_path / "one").read_bytes()
    other = save(Pretend().fit(np.arange(5)), tmp_path / "other").read_bytes()

    assert one == other


def test_file_records_versions_and_opens_with_numpy_without_pickle(tmp_path):
    path = save(Pretend().fit(np.arange(5)), tmp_path / "file.npz")

    with np.load(path, allow_pickle=False) as archive:
        document = json.loads(archive["document.json"])
        values = archive["arrays/00000"]

    assert set(document["versions"]) == {"pointinteract", "numpy", "scikit-learn", "torch"}
    np.testing.assert_array_equal(values, np.arange(5))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (lambda x: x, "Pretend.values_['teacher'] cannot be saved: it is <function"),
        (object(), "of type object"),
        (torch.nn.Linear(2, 2), "of type Linear"),
        (np.array([object()]), "Pretend.values_['teacher'][0]"),
        (np.zeros(2, dtype=[("x", "f4")]), "cannot be stored"),
        (pd.DataFrame({"x": pd.Categorical(["a"])}), "a column of category"),
        ({1, 2}, "of type set"),
    ],
    ids=["function", "object", "module", "object array", "records", "categories", "set"],
)
def test_what_cannot_be_saved_is_named(tmp_path, value, words):
    with pytest.raises(TypeError) as caught:
        save(Pretend().fit({"teacher": value}), tmp_path / "file")

    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_private_or_foreign_class_is_not_saved(tmp_path):
    class Own(Pretend):
        pass

    with pytest.raises(TypeError, match="no public estimator of pointinteract"):
        save(Own(), tmp_path / "file")
    with pytest.raises(TypeError, match="got .*dict"):
        save({"a": 1}, tmp_path / "file")


def test_failed_save_keeps_the_old_file(tmp_path):
    path = saved(tmp_path)
    before = path.read_bytes()

    with pytest.raises(TypeError):
        save(Pretend().fit(object()), path)

    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = saved(tmp_path)
    before = path.read_bytes()

    def interrupt(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(np.lib.format, "write_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(Pretend().fit(np.arange(9)), path)

    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_truncated_file_is_refused(tmp_path, share):
    path = saved(tmp_path, {"a": np.arange(100)})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    with pytest.raises(FileFormatError, match="not a complete file saved by pointinteract"):
        load(path)


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    path = saved(tmp_path, {"a": np.arange(4)})
    content = path.read_bytes()

    for position in range(0, len(content), 7):
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]
        )
        try:
            back = load(path)
        except (FileFormatError, CheckpointError):
            continue
        np.testing.assert_array_equal(back.values_["a"], np.arange(4))


class Bomb:
    """What a hostile pickle looks like: it would run a function when opened."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def npy_bytes(array, allow_pickle=False):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def header_only(shape):
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_foreign_files_are_refused_by_name(tmp_path):
    path = tmp_path / "classifier.npz"
    contents = {
        "a pickle": pickle.dumps(Bomb()),
        "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
        "single numpy array": npy_bytes(np.arange(3)),
        "empty": b"",
        "starts with b'solid": b"solid cube",
    }

    for words, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=words):
            load(path)


def test_torch_checkpoint_is_pointed_to_its_reader(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"weight": torch.zeros(2)}, path)

    with pytest.raises(FileFormatError, match="load_official"):
        load(path)


def test_pickle_inside_the_archive_is_not_opened(tmp_path):
    path = saved(tmp_path, {"a": np.arange(3)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    bomb = np.array([Bomb()], dtype=object)

    for content in (npy_bytes(bomb, allow_pickle=True), pickle.dumps(Bomb())):
        write_members(path, {**members, "arrays/00000.npy": content})
        with pytest.raises(FileFormatError, match="arrays/00000.npy"):
            load(path)


@pytest.mark.parametrize("shape", [(10**9, 10**6), (-1,), (5,)])
def test_array_that_promises_what_is_not_there_is_refused(tmp_path, shape):
    path = saved(tmp_path, {"a": np.arange(3)})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    write_members(path, {**members, "arrays/00000.npy": header_only(shape)})

    with pytest.raises(FileFormatError, match="arrays/00000.npy"):
        load(path)


def test_compressed_bomb_is_refused_before_it_unfolds(tmp_path):
    path = saved(tmp_path)
    with zipfile.ZipFile(path) as archive:
        document = archive.read("document.json")
    members = {"document.json": document, "arrays/00000.npy": bytes(10**7)}
    write_members(path, members, zipfile.ZIP_DEFLATED)

    with pytest.raises(FileFormatError, match="compressed"):
        load(path)


def put(where, value):
    """A change of the document: `value` at the end of the way `where`."""

    def change(document):
        node = document
        for word in where[:-1]:
            node = node[word]
        node[where[-1]] = value

    return change


STATE = ("content", "estimator", "state", "values_")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (put(["format"], "something"), FileFormatError, "'something'"),
        (put(["format_number"], 99), FileFormatError, "Upgrade pointinteract"),
        (put(["content", "estimator", "class"], "os:system"), CheckpointError, "'os:system'"),
        (put(["content", "estimator", "class"], "subprocess:Popen"), CheckpointError, "Popen"),
        (
            put(["content", "estimator", "class"], "sklearn.pipeline:Pipeline"),
            CheckpointError,
            "Pipeline",
        ),
        (put(["content", "estimator", "class"], 3), CheckpointError, "3"),
        (put(["content"], 3), FileFormatError, "holds a int"),
        (put(["content", "estimator"], {}), FileFormatError, "estimator"),
        (put(["content", "estimator", "state"], {}), CheckpointError, "lacks the parameters"),
        (put(STATE, {"pickle": "gASV"}), FileFormatError, "unknown kind"),
        (put(STATE, {"array": 5}), FileFormatError, "array 5 of 0"),
        (put(STATE, {"array": -1}), FileFormatError, "array -1"),
        (put(STATE, {"again": 7}), FileFormatError, "again"),
        (put(STATE, {"model": "os"}), CheckpointError, "'os'"),
        (put(STATE, {"dict": 3}), FileFormatError, "not a valid dict"),
        (put(STATE, {"frame": {"length": 1}}), FileFormatError, "not a valid frame"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hostile_document_is_refused(tmp_path, change, error, words):
    path = rewritten(saved(tmp_path), change)

    with pytest.raises(error, match=words) as caught:
        load(path)

    assert str(path) in str(caught.value)


def test_deep_nesting_is_refused(tmp_path):
    path = saved(tmp_path)
    deep = b"[" * 100_000 + b"]" * 100_000
    write_members(path, {"document.json": b'{"format": ' + deep + b"}"})

    with pytest.raises(FileFormatError):
        load(path)


def test_state_that_does_not_fit_its_class_is_refused(tmp_path, monkeypatch):
    def refuse(self, state):
        raise RuntimeError("size mismatch for weight")

    path = saved(tmp_path)
    monkeypatch.setattr(Pretend, "__setstate__", refuse)

    with pytest.raises(CheckpointError, match="does not make a Pretend: size mismatch"):
        load(path)


def test_missing_file_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.npz")


def test_own_files_are_told_from_others(tmp_path):
    path = saved(tmp_path, {"a": np.arange(100)})
    np.savez(tmp_path / "points.npz", points=np.zeros(3))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.pth")

    assert is_saved_estimator(path)
    assert not is_saved_estimator(tmp_path / "points.npz")
    assert not is_saved_estimator(tmp_path / "model.pth")
    path.write_bytes(path.read_bytes()[:200])
    assert not is_saved_estimator(path)


@pytest.fixture(scope="module")
def fitted():
    """One small estimator of each kind, fitted on a few clouds, and the clouds."""
    from pointinteract.classification import PointClassifier
    from pointinteract.pretraining import ReConPretrainer

    X = np.random.default_rng(0).normal(size=(8, 32, 3)).astype(np.float32)
    y = np.array(["flat", "ball"] * 4)
    pre = ReConPretrainer(n_groups=4, group_size=8, max_epochs=1, random_state=0).fit(X)
    settings = {"max_epochs": 1, "random_state": 0}
    classifiers = [
        PointClassifier(model="pointnet", **settings),
        PointClassifier(model="dgcnn", n_votes=2, **settings),
        PointClassifier(pretrained=pre, protocol="linear", **settings),
        PointClassifier(pretrained=FrozenEstimator(pre), protocol="mlp3", **settings),
    ]
    return X, [pre, *(classifier.fit(X, y) for classifier in classifiers)]


@pytest.mark.parametrize("number", range(5))
def test_fitted_estimators_answer_alike_to_the_bit(tmp_path, fitted, number):
    X, estimators = fitted
    estimator = estimators[number]

    back = load(save(estimator, tmp_path / "estimator.npz"))

    np.testing.assert_array_equal(back.transform(X), estimator.transform(X))
    if hasattr(estimator, "predict"):
        np.testing.assert_array_equal(back.predict_proba(X), estimator.predict_proba(X))
        np.testing.assert_array_equal(back.classes_, estimator.classes_)
    pd.testing.assert_frame_equal(back.history_, estimator.history_)
    assert str(back.get_params()) == str(estimator.get_params())


def test_a_loaded_estimator_can_be_trained_on(tmp_path, fitted):
    X, estimators = fitted
    back = load(save(estimators[1], tmp_path / "estimator.npz"))

    back.partial_fit(X, np.array(["flat", "ball"] * 4))

    assert back.n_epochs_ == 2
    assert len(back.history_) == 2


def test_weights_of_another_shape_are_refused(tmp_path, fitted):
    _, estimators = fitted
    path = save(estimators[1], tmp_path / "estimator.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members = {
        name: npy_bytes(np.zeros((2, 2), dtype=np.float32)) if name.endswith(".npy") else content
        for name, content in members.items()
    }
    write_members(path, members)

    with pytest.raises((CheckpointError, FileFormatError)) as caught:
        load(path)

    assert len(str(caught.value)) < 2000
