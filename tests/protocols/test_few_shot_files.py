"""Published pickles: converted without running what they name, then read as arrays."""

import os
import pickle
import struct

import numpy as np
import pytest

from pointinteract.exceptions import FileFormatError
from pointinteract.protocols import convert_few_shot_pickles, load_few_shot
from pointinteract.utils._archive import write_archive
from pointinteract.utils._restricted_pickle import load_arrays_pickle


class Call:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def make_episode(seed=0, *, n_way=2, n_shot=2, n_query=3, classes=(7, 4)):
    rng = np.random.default_rng(seed)

    def triples(count):
        return [
            (rng.normal(size=(16, 6)), label, np.array([classes[label]]))
            for label in range(n_way)
            for _ in range(count)
        ]

    return {"train": triples(n_shot), "test": triples(n_query)}


def write(folder, content, *, name="2way_2shot", fold=0, protocol=4):
    (folder / name).mkdir(parents=True, exist_ok=True)
    raw = content if isinstance(content, bytes) else pickle.dumps(content, protocol)
    (folder / name / f"{fold}.pkl").write_bytes(raw)


@pytest.mark.parametrize("name", ["2way_2shot", "2way2shot"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_conversion_keeps_clouds_labels_and_classes(tmp_path, name, protocol):
    episode = make_episode()
    write(tmp_path / "published", episode, name=name, protocol=protocol)

    paths = convert_few_shot_pickles(tmp_path / "published", tmp_path / "arrays")
    few = load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)

    assert [path.relative_to(tmp_path / "arrays").as_posix() for path in paths] == [
        "2way_2shot/0.npz"
    ]
    support, query = next(few.episodes.split(few.data))
    expected = np.stack([cloud[:, :3] for cloud, _, _ in episode["train"]]).astype(np.float32)
    assert np.array_equal(few.data[support], expected)
    assert few.target[support].tolist() == [7, 7, 4, 4]
    assert few.target[query].tolist() == [7, 7, 7, 4, 4, 4]
    assert set(few.split[support]) == {"train"}
    assert set(few.split[query]) == {"test"}
    assert few.episodes[0].classes == (7, 4)


def test_converted_files_are_plain_arrays_also_under_the_other_name(tmp_path):
    write(tmp_path, make_episode())
    (path,) = convert_few_shot_pickles(tmp_path, tmp_path / "arrays", n_channels=6)
    path.parent.rename(tmp_path / "arrays" / "2way2shot")

    few = load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)

    assert few.data.shape == (10, 16, 6)
    with np.load(tmp_path / "arrays" / "2way2shot" / "0.npz", allow_pickle=False) as archive:
        assert any(archive[name].shape == (160, 6) for name in archive.files if "arrays" in name)


def test_a_cloud_in_several_episodes_is_kept_once(tmp_path):
    first, second = make_episode(0), make_episode(1)
    second["train"][0] = first["train"][0]
    write(tmp_path, first)
    write(tmp_path, second, fold=3)
    convert_few_shot_pickles(tmp_path, tmp_path / "arrays")

    few = load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)

    assert len(few.data) == 19
    assert [each.fold for each in few.episodes] == [0, 3]
    assert few.episodes[0].support[0] == few.episodes[1].support[0]
    assert len(load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2, folds=[3]).data) == 10
    with pytest.raises(FileNotFoundError, match="no fold 1 of 2-way 2-shot"):
        load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2, folds=[1])


def test_conversion_goes_on_where_it_was_interrupted(tmp_path):
    write(tmp_path, make_episode())
    write(tmp_path, make_episode(1), fold=1)
    paths = convert_few_shot_pickles(tmp_path, tmp_path / "arrays")
    before = paths[0].stat().st_mtime_ns
    paths[1].unlink()

    assert convert_few_shot_pickles(tmp_path, tmp_path / "arrays") == paths
    assert paths[0].stat().st_mtime_ns == before
    assert paths[1].is_file()


def test_pickles_of_numpy_1_and_of_python_2_are_read(tmp_path):
    modern = pickle.dumps(make_episode()["train"][0][0], 2)
    assert b"numpy._core" in modern or b"numpy.core" in modern
    old = modern.replace(b"numpy._core", b"numpy.core")
    path = tmp_path / "a.pkl"
    # Python 2 wrote text and bytes alike: as SHORT_BINSTRING and BINSTRING.
    content = np.arange(6, dtype="<f4")
    two = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x18\x00\x00\x00"
        + content.tobytes() + b"tb."
    )  # fmt: skip

    path.write_bytes(old)
    assert load_arrays_pickle(path).shape == (16, 6)
    path.write_bytes(two)
    assert np.array_equal(load_arrays_pickle(path), content.reshape(2, 3))


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "i2", "u1", "?", "f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back_as_they_were(tmp_path, dtype, order):
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)
    path = tmp_path / "a.pkl"

    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps([array, array.ravel()[1], (None, 1.5, "x")], protocol))
        found, number, rest = load_arrays_pickle(path)

        assert np.array_equal(found, array)
        assert found.dtype == array.dtype
        assert number == array.ravel()[1]
        assert rest == (None, 1.5, "x")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_command_is_refused_by_name_and_not_run(tmp_path, protocol):
    proof = tmp_path / "proof"
    episode = make_episode() | {"more": Call(os.system, f"touch {proof}")}
    write(tmp_path, episode, protocol=protocol)

    with pytest.raises(FileFormatError, match=rf"{os.system.__module__}\.system"):
        convert_few_shot_pickles(tmp_path, tmp_path / "arrays")

    assert not proof.exists()
    assert not (tmp_path / "arrays").exists()


@pytest.mark.parametrize(
    "content",
    [
        Call(eval, "1"),
        Call(getattr, "a", "b"),
        Call(np.load, "a.npy"),
        Call(np.zeros, 3),
        np.array([Call(os.system, "true")], dtype=object),
        {1, 2},
        np.float32,
        ValueError,
        np.ma.masked_array([1.0]),
        np.random.default_rng(0),
    ],
    ids=lambda content: type(content).__name__,
)
def test_everything_but_arrays_is_refused(tmp_path, content):
    path = tmp_path / "a.pkl"
    for protocol in (2, 5):
        path.write_bytes(pickle.dumps([content], protocol))

        with pytest.raises(FileFormatError, match=r"a\.pkl"):
            load_arrays_pickle(path)


HOSTILE = {
    "call of ndarray": b"\x80\x02cnumpy\nndarray\n\x8a\x05\x00\x00\x00\x00\x10\x85R.",
    "placeholder of a terabyte": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85U\x01b\x87R."
    ),
    "bytes of a terabyte": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",
    "instance by its code": b"(S'true'\nios\nsystem\n.",
    "extension number": b"\x80\x02\x82\x01.",
    "outside object": b"\x80\x02U\x01aQ.",
    "name built on the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    "state of a function": b"\x80\x02cnumpy\ndtype\n}U\x01aK\x01sb.",
    "unfinished array": (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R."
    ),
    "array of objects": pickle.dumps(np.array([None, 1], dtype=object), 2),
    "records": pickle.dumps(np.zeros(2, dtype=[("a", "f4")]), 2),
    "empty": b"",
    "no pickle": b"not a pickle",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused(tmp_path, content):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)

    with pytest.raises(FileFormatError, match=r"a\.pkl"):
        load_arrays_pickle(path)


def test_a_truncated_pickle_is_refused_and_leaves_nothing(tmp_path):
    raw = pickle.dumps(make_episode())
    for length in range(0, len(raw), 997):
        write(tmp_path, raw[:length])
        with pytest.raises(FileFormatError, match=r"0\.pkl"):
            convert_few_shot_pickles(tmp_path, tmp_path / "arrays")

    assert not (tmp_path / "arrays").exists()


def broken(**change):
    episode = make_episode()
    for part, value in change.items():
        episode[part] = value(episode[part])
    return episode


@pytest.mark.parametrize(
    ("episode", "words"),
    [
        ([], "no dictionary"),
        ({"train": []}, "no dictionary"),
        (broken(train=lambda items: items[:3]), "2 training clouds for each label"),
        (broken(train=lambda items: [items[0][:2], *items[1:]]), "no triple"),
        (broken(test=lambda items: []), "on 0 test clouds"),
        (broken(test=lambda items: [(items[0][0], 1, 7), *items[1:]]), "one label in training"),
        (broken(train=lambda items: [(np.zeros(3), 0, 7), *items[1:]]), r"shape \(3,\)"),
        (broken(train=lambda items: [(np.zeros((4, 2)), 0, 7), *items[1:]]), "2 channels"),
        (broken(train=lambda items: [(np.full((4, 3), np.nan), 0, 7), *items[1:]]), "not finite"),
        (broken(train=lambda items: [(items[0][0], 0.5, 7), *items[1:]]), "no whole number"),
        (broken(train=lambda items: [(items[0][0], -1, 7), *items[1:]]), "from 0 to 1"),
        (broken(train=lambda items: [(items[0][0], 1e300, 7), *items[1:]]), "no whole number"),
        (broken(train=lambda items: [(items[0][0], [0], 7), *items[1:]]), "below 2.31: list"),
        (broken(test=lambda items: [*items, (np.full((4, 3), np.nan), 1, 4)]), "6 of 'test'.*fin"),
        (broken(train=lambda items: [(np.full((4, 3), "1"), 0, 7), *items[1:]]), "dtype <U1"),
    ],
)
def test_episodes_that_are_none_are_refused(tmp_path, episode, words):
    write(tmp_path, episode)

    with pytest.raises(FileFormatError, match=words):
        convert_few_shot_pickles(tmp_path, tmp_path / "arrays")


def test_one_cloud_thousands_of_times_fills_neither_memory_nor_disk(tmp_path):
    episode = make_episode()
    episode["test"] += [episode["test"][0]] * 20_000
    write(tmp_path, episode)

    with pytest.raises(FileFormatError, match="refers to the same arrays so often"):
        convert_few_shot_pickles(tmp_path, tmp_path / "arrays")
    assert not (tmp_path / "arrays").exists()


def test_a_label_of_lists_in_lists_is_not_looked_into(tmp_path):
    label = [0]
    for _ in range(40):
        label = [label, label]
    write(tmp_path, broken(train=lambda items: [(items[0][0], label, 7), *items[1:]]))

    with pytest.raises(FileFormatError, match="no whole number"):
        convert_few_shot_pickles(tmp_path, tmp_path / "arrays")


def test_clouds_of_unequal_size_come_as_a_list(tmp_path):
    episode = make_episode()
    episode["train"][1] = (np.ones((5, 3)), *episode["train"][1][1:])
    write(tmp_path, episode)
    convert_few_shot_pickles(tmp_path, tmp_path / "arrays")

    few = load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)

    assert isinstance(few.data, list)
    assert few.data[1].shape == (5, 3)


def test_folders_without_episodes_say_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder such as 5way_10shot"):
        convert_few_shot_pickles(tmp_path, tmp_path / "arrays")
    write(tmp_path, make_episode())
    with pytest.raises(FileNotFoundError, match="convert them once"):
        load_few_shot(tmp_path, n_way=2, n_shot=2)
    convert_few_shot_pickles(tmp_path, tmp_path / "arrays")
    with pytest.raises(FileNotFoundError, match=r"it has \(way, shot\) \[\(2, 2\)\]"):
        load_few_shot(tmp_path / "arrays", n_way=5, n_shot=2)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_few_shot(tmp_path / "nowhere", n_way=2, n_shot=2)


def test_converted_files_that_were_changed_are_refused(tmp_path):
    write(tmp_path, make_episode())
    (path,) = convert_few_shot_pickles(tmp_path, tmp_path / "arrays")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(FileFormatError):
        load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)

    sizes, table = np.array([7]), np.array([[0, 1, 0]])
    document = {"kind": "few-shot episode"}
    write_archive(path, document, [np.zeros((4, 3), np.float32), sizes, table])
    with pytest.raises(FileFormatError, match="do not belong together"):
        load_few_shot(tmp_path / "arrays", n_way=2, n_shot=2)
