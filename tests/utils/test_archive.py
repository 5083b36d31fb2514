"""The file below `save`: written whole or not at all."""

import os
import stat

import numpy as np
import pytest

from pointinteract.exceptions import FileFormatError
from pointinteract.utils._archive import atomic_write, read_archive, write_archive


def test_document_and_arrays_come_back(tmp_path):
    arrays = [np.arange(3), np.array("text"), np.zeros((2, 0))]

    write_archive(tmp_path / "file", {"a": [1, "é", None]}, arrays)
    document, back = read_archive(tmp_path / "file")

    assert document == {"a": [1, "é", None]}
    for array, other in zip(arrays, back, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


def test_arrays_need_no_writable_or_contiguous_memory(tmp_path):
    array = np.arange(12).reshape(3, 4)[::2, ::-1]
    array.setflags(write=False)

    write_archive(tmp_path / "file", {}, [array])

    np.testing.assert_array_equal(read_archive(tmp_path / "file")[1][0], array)


def test_failing_body_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="oops"), atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise ValueError("oops")

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_at_the_path_before_the_body_ends(tmp_path):
    target = tmp_path / "file"

    with atomic_write(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()

    assert target.read_text() == "whole"


def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o022)
    try:
        write_archive(tmp_path / "file", {}, [])
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_missing_folder_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "nowhere" / "file", {}, [])


def test_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match="dtype object"):
        write_archive(tmp_path / "file", {}, [np.array([None])])

    assert list(tmp_path.iterdir()) == []


def test_other_zip_is_refused(tmp_path):
    np.savez(tmp_path / "points.npz", points=np.zeros(3))

    with pytest.raises(FileFormatError, match="holds no document.json, but .'points.npy'"):
        read_archive(tmp_path / "points.npz")
