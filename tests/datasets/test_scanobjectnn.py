"""ScanObjectNN's three variants from a folder of the user."""

import numpy as np
import pytest

from pointinteract.datasets import fetch_scanobjectnn
from pointinteract.exceptions import FileFormatError

h5py = pytest.importorskip("h5py")

PLACES = {
    "pb_t50_rs": ("main_split", "objectdataset_augmentedrot_scale75.h5", 2.0),
    "obj_bg": ("main_split", "objectdataset.h5", 3.0),
    "obj_only": ("main_split_nobg", "objectdataset.h5", 4.0),
}


def write(path, data, label):
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, label


@pytest.fixture
def folder(tmp_path):
    """Point k of every cloud is (k, variant's number, label)."""
    home = tmp_path / "h5_files"
    for place, ending, number in PLACES.values():
        (home / place).mkdir(parents=True, exist_ok=True)
        for name, count in (("training", 4), ("test", 2)):
            label = np.arange(count) % 15 + 9
            data = np.zeros((count, 8, 3), np.float32)
            data[..., 0], data[..., 1], data[..., 2] = np.arange(8), number, label[:, None]
            write(home / place / f"{name}_{ending}", data, label)
    return home


@pytest.mark.parametrize("variant", PLACES)
def test_each_variant_is_read_from_its_files(folder, variant):
    clouds = fetch_scanobjectnn(variant=variant, folder=folder)

    assert clouds.data.shape == (6, 8, 3) and clouds.data.dtype == np.float32
    assert (clouds.data[..., 1] == PLACES[variant][2]).all()
    np.testing.assert_array_equal(clouds.data[:, 0, 2], clouds.target)
    assert clouds.split.tolist() == ["train", "train", "train", "train", "test", "test"]
    assert len(clouds.target_names) == 15 and clouds.target_names[9] == "table"
    assert clouds.target_names[14] == "toilet"
    for word in ("Licence", "Uy", variant, "hkust-vgd"):
        assert word in clouds.DESCR


def test_the_folder_around_or_inside_and_the_data_home_do_too(folder, tmp_path, monkeypatch):
    wanted = fetch_scanobjectnn(variant="obj_only", folder=folder, return_X_y=True)[0]
    (tmp_path / "scanobjectnn").mkdir()
    folder.rename(tmp_path / "scanobjectnn" / "h5_files")
    around = tmp_path / "scanobjectnn"

    for options in (
        {"folder": around},
        {"folder": str(around / "h5_files" / "main_split_nobg")},
        {"data_home": tmp_path},
    ):
        clouds = fetch_scanobjectnn(variant="obj_only", **options)
        np.testing.assert_array_equal(clouds.data, wanted)
    monkeypatch.setenv("POINTINTERACT_DATA", str(tmp_path))
    assert len(fetch_scanobjectnn(subset="test").data) == 2
    monkeypatch.chdir(around / "h5_files" / "main_split_nobg")
    here = fetch_scanobjectnn(variant="obj_only", folder=".")
    np.testing.assert_array_equal(here.data, wanted)
    # The files of the other folder have the same names: they are not taken for these.
    with pytest.raises(OSError):
        fetch_scanobjectnn(variant="obj_only", folder=around / "h5_files" / "main_split")


def test_points_are_the_first_or_a_repeatable_choice(folder):
    first = fetch_scanobjectnn(folder=folder, n_points=3).data
    some = fetch_scanobjectnn(folder=folder, n_points=3, sampling="random", random_state=1).data
    again = fetch_scanobjectnn(folder=folder, n_points=3, sampling="random", random_state=1).data

    assert (first[..., 0] == [0, 1, 2]).all()
    np.testing.assert_array_equal(some, again)
    assert all(len(set(cloud[:, 0])) == 3 for cloud in some) and (some != first).any()
    with pytest.raises(ValueError, match="n_points=9 is more than the 8 points"):
        fetch_scanobjectnn(folder=folder, n_points=9)


def test_absence_says_where_and_how_to_obtain(tmp_path):
    with pytest.raises(OSError, match="(?s)in none of .*main_split.*Fill in the form at https"):
        fetch_scanobjectnn(data_home=tmp_path)


@pytest.mark.parametrize(
    ("data", "label", "word"),
    [
        (np.zeros((2, 8, 3)), [0, 15], "label 1 is 15. Expected whole numbers from 0 to 14"),
        (np.zeros((2, 8, 3)), [-1, 0], "label 0 is -1"),
        (np.zeros((2, 8, 3)), [0.5, 0], "label 0 is 0.5"),
        (np.zeros((2, 8, 3)), [0], "label has shape .* for 2 clouds"),
        (np.zeros((2, 8)), [0, 0], "data has shape"),
        (np.zeros((8, 3)), [0], r"data has shape \(8, 3\)"),
        (np.zeros((2, 8, 2)), [0, 0], "points have shape"),
        (np.full((2, 8, 3), np.nan), [0, 0], "NaN"),
    ],
)
def test_wrong_content_is_named(folder, data, label, word):
    path = folder / "main_split" / "test_objectdataset_augmentedrot_scale75.h5"
    write(path, data, label)

    with pytest.raises(FileFormatError, match=word):
        fetch_scanobjectnn(folder=folder, subset="test")


def test_files_that_do_not_fit_together_are_refused(folder):
    path = folder / "main_split" / "test_objectdataset_augmentedrot_scale75.h5"
    write(path, np.zeros((2, 5, 3)), [0, 0])

    with pytest.raises(FileFormatError, match="different shapes"):
        fetch_scanobjectnn(folder=folder)
    assert fetch_scanobjectnn(folder=folder, n_points=5).data.shape == (6, 5, 3)


def test_bad_options_are_named(folder):
    with pytest.raises(ValueError, match="variant must be one of 'pb_t50_rs'"):
        fetch_scanobjectnn(variant="hardest", folder=folder)
    with pytest.raises(ValueError, match="subset must be one of"):
        fetch_scanobjectnn(subset="val", folder=folder)
