"""Pickles of arrays are read, and nothing in a pickle is ever run."""

import collections
import os
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from pointinteract.exceptions import FileFormatError
from pointinteract.utils._restricted_pickle import check_unfolded, load_arrays_pickle

CONTENT = {
    "train": [(np.arange(6, dtype=np.float32).reshape(2, 3), 4, "chair"), (np.eye(3), -1, "é")],
    "list": [1, 2.5, None, True, False, 10**30, b"raw", (), [], {}],
    "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "kinds": [np.zeros((2, 0)), np.array(["ab", "c"]), np.array([True]), np.array(3, ">i4")],
    "scalar": np.float64(2.5),
    7: [np.int64(3), np.zeros(2, np.complex64), np.array([b"x"])],
}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "file.dat"
        path.write_bytes(content)
        return path

    return write


def same(left, right):
    assert type(left) is type(right)
    if isinstance(left, np.ndarray):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        same(list(left.values()), list(right.values()))
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            same(a, b)
    else:
        assert left == right


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_gives_what_was_pickled(file, protocol):
    read = load_arrays_pickle(file(pickle.dumps(CONTENT, protocol)))

    same(read, CONTENT)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_both_spellings_of_numpy_are_read(file, protocol):
    data = pickle.dumps([np.ones(3), np.float32(2)], min(protocol, 2))
    new = data.replace(b"numpy.core.", b"numpy._core.")
    old = data.replace(b"numpy._core.", b"numpy.core.")

    assert new != old
    same(load_arrays_pickle(file(new)), [np.ones(3), np.float32(2)])
    same(load_arrays_pickle(file(old)), [np.ones(3), np.float32(2)])


def test_bytes_of_python_2_are_read(file):
    raw = np.arange(3, dtype="<f4").tobytes()
    data = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x00cnumpy\nndarray\nq\x01K\x00\x85"
        b"U\x01b\x87Rq\x02(K\x01K\x03\x85cnumpy\ndtype\nq\x03U\x02f4K\x00K\x01\x87Rq\x04"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U"
        + bytes([len(raw)]) + raw + b"tb."
    )  # fmt: skip

    same(load_arrays_pickle(file(data)), np.arange(3, dtype="<f4"))


def test_shared_values_stay_shared_and_arrays_are_read_only(file):
    array = np.ones(4)

    first, second = load_arrays_pickle(file(pickle.dumps([array, array])))

    assert first is second and not first.flags.writeable


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "argument", "name"),
    [
        (os.system, "touch {}", r"\.system"),
        (eval, "open('{}', 'w')", r"\.eval"),
        (getattr, "{}", r"\.getattr"),
        (collections.OrderedDict, (), "collections.OrderedDict"),
        (np.load, "{}", r"numpy.*load"),
    ],
)
def test_what_is_not_plain_is_refused_by_name(file, tmp_path, protocol, function, argument, name):
    trace = tmp_path / "trace"
    argument = argument.format(trace) if isinstance(argument, str) else argument
    data = pickle.dumps([np.ones(2), Attack(function, argument)], protocol)

    with pytest.raises(FileFormatError, match=name + ", which is never loaded"):
        load_arrays_pickle(file(data))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"cos\nsystem\n.", "os.system"),
        (b"(S'x'\nios\nsystem\n.", "INST"),
        (b"(cos\nsystem\nS'x'\no.", "os.system|OBJ"),
        (b"\x80\x02cos\nsystem\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"P1\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"}}b.", "state of a dict"),
        (b"}(K\x01K\x02t)s.", "type tuple"),
        (pickle.dumps({(1, 2): 3}), "key of a dictionary is of type tuple"),
        (pickle.dumps(np.array([{}], dtype=object)), "dtype 'O8'"),
        (pickle.dumps(np.zeros(2, "f4,i4")), "dtype 'V8'"),
        (pickle.dumps(np.zeros(2, "M8[s]")), "dtype 'M8'"),
        (pickle.dumps(np.ma.ones(2)), "numpy.ma"),
        (pickle.dumps(np.ones(2).view(np.recarray)), "class of their own|never loaded"),
        (pickle.dumps({1, 2}), "EMPTY_SET"),
    ],
)
def test_hostile_instructions_are_refused(file, data, word):
    with pytest.raises(FileFormatError, match=word):
        load_arrays_pickle(file(data))


@pytest.mark.parametrize(
    "data",
    [b"", b".", b"]", b"t.", b"(.", b"K\x01K\x02.", b"h\x05.", b"K\x01R.", b"PK\x03\x04" * 9,
     b"\x89HDF\r\n\x1a\n", b"OFF\n3 1 0\n", b"]K\x01e.", b"(K\x01(a.", b"\x80\xff.", b"}(K\x01u."],
)  # fmt: skip
def test_broken_files_are_called_so(file, data):
    with pytest.raises(FileFormatError, match="damaged, cut short or no pickle"):
        load_arrays_pickle(file(data))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_file_cut_anywhere_is_refused(file, protocol):
    data = pickle.dumps([[np.arange(6.0).reshape(2, 3)], [np.array([1], np.int32)]], protocol)

    for length in range(0, len(data), 3):
        with pytest.raises(FileFormatError):
            load_arrays_pickle(file(data[:length]))


def test_a_flipped_byte_gives_plain_values_or_our_error(file):
    data = pickle.dumps([[np.arange(6.0)], [np.array([1], np.int32), "text"]], 4)
    plain = (list, tuple, dict, str, bytes, int, float, np.ndarray, type(None))

    for position in range(len(data)):
        for bit in (position % 3, 6):
            hurt = bytearray(data)
            hurt[position] ^= 1 << bit
            try:
                assert isinstance(load_arrays_pickle(file(bytes(hurt))), plain)
            except FileFormatError:
                pass


def test_claimed_sizes_take_no_memory(file):
    start = time.perf_counter()
    huge = np.zeros((2, 3), np.float32)
    data = pickle.dumps(huge, 4).replace(b"K\x02K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86")

    with pytest.raises(FileFormatError, match="claims shape"):
        load_arrays_pickle(file(data))
    for announced in (
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",  # bytes
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",  # text
        b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",  # an integer
        b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"T\xff\xff\xff\x7f.",
    ):
        with pytest.raises(FileFormatError):
            load_arrays_pickle(file(announced))
    # In the standard library, this number of a memory cell costs 64 GB.
    assert load_arrays_pickle(file(b"K\x01r\xff\xff\xff\xff.")) == 1
    assert time.perf_counter() - start < 5


TEXT = b"X" + struct.pack("<I", 20_000) + b"a" * 20_000
LATIN = b"X\x06\x00\x00\x00latin1"
BYTES = b"U\x06S20000K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


@pytest.mark.parametrize(
    "data",
    [
        # One text, or the bytes of one scalar, copied again and again.
        b"\x80\x02](c_codecs\nencode\nq\x01" + TEXT + b"q\x02" + LATIN + b"q\x03000"
        + b"h\x01h\x02h\x03\x86R" * 9000 + b"e.",
        b"\x80\x03](cnumpy.core.multiarray\nscalar\nq\x01cnumpy\ndtype\n" + BYTES + b"q\x02B"
        + TEXT[1:] + b"q\x03000" + b"h\x01h\x02h\x03\x86R" * 9000 + b"e.",
    ],
    ids=["text", "scalar"],
)  # fmt: skip
def test_a_value_copied_over_and_over_is_refused_before_memory_is_full(file, data):
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="unfolds to more bytes than it has"):
            load_arrays_pickle(file(data))
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_scalars_that_are_long_are_within_what_may_be_copied(file, protocol):
    content = [np.bytes_(b"x" * 9000), np.str_("y" * 9000), b"z" * 9000]

    assert load_arrays_pickle(file(pickle.dumps(content, protocol))) == content


@pytest.mark.parametrize("place", ["dtype", "shape"])
def test_a_message_does_not_write_out_tuples_in_tuples(file, place):
    start = time.perf_counter()
    nested = b"K\x01" + b"".join(b"q%ch%c\x86" % (i, i) for i in range(60))
    data = {
        "dtype": b"\x80\x02cnumpy\ndtype\n" + nested + b"K\x00K\x01\x87R.",
        "shape": b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(U\x01acnumpy\ndtype\nU\x02u1K\x00"
        b"K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + nested + b"U\x01CtR.",
    }[place]  # fmt: skip

    with pytest.raises(FileFormatError, match=place):
        load_arrays_pickle(file(data))
    assert time.perf_counter() - start < 2


def test_arrays_that_stand_in_many_places_may_not_be_copied_to_all(file):
    path = file(pickle.dumps([np.zeros(100)] * 1000))
    content = load_arrays_pickle(path)

    with pytest.raises(FileFormatError, match="so often that they unfold to 800000"):
        check_unfolded(path, sum(array.nbytes for array in content))
    check_unfolded(path, content[0].nbytes)


def test_a_flood_of_instructions_is_stopped(file):
    with pytest.raises(FileFormatError, match="more than 1000 instructions"):
        load_arrays_pickle(file(b"(" + b"}" * 2000 + b"l."), max_steps=1000)


def test_deep_nesting_does_not_exhaust_the_stack(file):
    nested = load_arrays_pickle(file(b"]" * 50_001 + b"a" * 50_000 + b"."))

    assert len(nested) == 1
