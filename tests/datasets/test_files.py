"""Folders with a sub-folder per class."""

import numpy as np
import pytest

from pointinteract.datasets import load_cloud_files
from pointinteract.exceptions import FileFormatError
from pointinteract.io import write_points

OFF = "OFF4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n"


@pytest.fixture
def folder(tmp_path):
    """Two classes of two clouds whose x coordinate tells the class."""
    for value, name in enumerate(["ball", "cup"]):
        (tmp_path / name).mkdir()
        for i, suffix in enumerate([".npy", ".xyz"]):
            cloud = np.full((6 + 2 * i, 3), value)
            write_points(tmp_path / name / f"{i}{suffix}", cloud)
        (tmp_path / name / "notes.md").write_text("not a cloud")
    return tmp_path


@pytest.fixture
def modelnet(tmp_path):
    for name in ("bed", "sofa"):
        for split, count in (("train", 3), ("test", 1)):
            (tmp_path / name / split).mkdir(parents=True)
            for i in range(count):
                (tmp_path / name / split / f"{name}_{i}.off").write_text(OFF)
    return tmp_path


def test_labels_follow_the_folders(folder):
    clouds = load_cloud_files(folder)

    assert clouds.target_names == ["ball", "cup"] and sorted(clouds.target) == [0, 0, 1, 1]
    assert isinstance(clouds.data, list) and clouds.split is None
    for cloud, label, name in zip(clouds.data, clouds.target, clouds.filenames, strict=True):
        assert (cloud == label).all() and clouds.target_names[label] in name


def test_a_number_of_points_makes_an_array(folder):
    X, y = load_cloud_files(folder, n_points=7, return_X_y=True)

    assert X.shape == (4, 7, 3) and X.dtype == np.float32


def test_modelnet_layout_gives_splits_and_samples_meshes(modelnet):
    clouds = load_cloud_files(modelnet, n_points=16)

    assert clouds.data.shape == (8, 16, 3)
    assert sorted(clouds.split.tolist()) == ["test"] * 2 + ["train"] * 6
    for name, split in zip(clouds.filenames, clouds.split, strict=True):
        assert f"/{split}/" in name.replace("\\", "/")
    test = load_cloud_files(modelnet, split="test", categories=["sofa"])
    assert test.data.shape == (1, 1024, 3) and test.target_names == ["sofa"]


def test_split_above_class_is_understood_too(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "bed").mkdir(parents=True)
        (tmp_path / split / "bed" / "a.off").write_text(OFF)

    clouds = load_cloud_files(tmp_path, shuffle=False)

    assert clouds.split.tolist() == ["test", "train"] and clouds.target_names == ["bed"]


def test_order_and_points_follow_the_seed(modelnet):
    first = load_cloud_files(modelnet, n_points=16, random_state=0)
    again = load_cloud_files(modelnet, n_points=16, random_state=0)
    still = load_cloud_files(modelnet, n_points=16, random_state=0, shuffle=False)

    np.testing.assert_array_equal(first.data, again.data)
    assert first.filenames == again.filenames != still.filenames
    assert still.filenames == sorted(still.filenames)
    np.testing.assert_array_equal(
        first.data[first.filenames.index(still.filenames[3])], still.data[3]
    )


def test_pattern_and_normalizing(folder):
    clouds = load_cloud_files(folder, pattern="*.npy", normalize=True)

    assert clouds.data.shape == (2, 6, 3) and np.abs(clouds.data).max() < 1e-6


def test_a_ply_mesh_is_sampled_and_a_ply_cloud_is_read(tmp_path):
    (tmp_path / "a").mkdir()
    write_points(tmp_path / "a" / "cloud.ply", np.ones((5, 3)))
    (tmp_path / "a" / "mesh.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
        "property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
        "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    )

    clouds = load_cloud_files(tmp_path, shuffle=False)

    assert [len(cloud) for cloud in clouds.data] == [5, 1024]


def test_wrong_folders_are_named_with_the_right_layout(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a folder. Expected FOLDER/class/file"):
        load_cloud_files(tmp_path / "none")
    with pytest.raises(FileFormatError, match="no file matches '[*].las'"):
        load_cloud_files(folder, pattern="*.las")
    with pytest.raises(ValueError, match=r"\['dog'\] are not in .* which has \['ball', 'cup'\]"):
        load_cloud_files(folder, categories=["dog"])
    with pytest.raises(ValueError, match="no clouds of split 'train'"):
        load_cloud_files(folder, split="train")
    np.save(folder / "ball" / "stack.npy", np.zeros((2, 4, 3)))
    with pytest.raises(FileFormatError, match=r"stack.npy: it holds .* shape \(2, 4, 3\)"):
        load_cloud_files(folder)
