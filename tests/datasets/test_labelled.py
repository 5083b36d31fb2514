"""One labelled data set from one file, among them the real ones."""

import numpy as np
import pytest

from pointinteract.datasets import load_cloud_dataset
from pointinteract.io import write_points

X = np.random.default_rng(0).normal(size=(4, 8, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1])


def test_plain_npz(tmp_path):
    np.savez(tmp_path / "a.npz", points=X, label=Y)

    clouds = load_cloud_dataset(tmp_path / "a.npz")

    np.testing.assert_array_equal(clouds.data, X)
    np.testing.assert_array_equal(clouds.target, Y)
    assert clouds.target_names == ["0", "1"] and clouds.split is None
    assert clouds.target.dtype == np.int64 and "4 clouds of 2 classes" in clouds.DESCR


def test_text_labels_splits_scale_and_extras(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        points=np.round(X * 1000).astype(np.int16),
        quant_scale=np.float32(0.001),
        normals=np.full((4, 8, 3), 1000, np.int16),
        label=np.array(["b", "a", "b", "a"]),
        split=np.array([0, 0, 1, 0]),
        object_id=np.array(list("wxyz")),
    )

    clouds = load_cloud_dataset(tmp_path / "a.npz")
    test = load_cloud_dataset(tmp_path / "a.npz", split="test")

    np.testing.assert_allclose(clouds.data, X, atol=6e-4)
    np.testing.assert_allclose(clouds.normals, 1.0)
    assert clouds.target_names == ["a", "b"] and clouds.target.tolist() == [1, 0, 1, 0]
    assert clouds.split.tolist() == ["train", "train", "test", "train"]
    assert test.target.tolist() == [1] and test.object_id.tolist() == ["y"]
    np.testing.assert_array_equal(test.data, clouds.data[2:3])


def test_clouds_of_differing_length(tmp_path):
    points = np.arange(30, dtype=np.int16).reshape(10, 3)
    np.savez(tmp_path / "a.npz", points_cm=points, offsets=[0, 4, 10], label=[0, 1], split=[0, 1])

    clouds = load_cloud_dataset(tmp_path / "a.npz")
    test = load_cloud_dataset(tmp_path / "a.npz", split="test")

    assert [cloud.shape for cloud in clouds.data] == [(4, 3), (6, 3)]
    np.testing.assert_allclose(clouds.data[1], points[4:] * 0.01, rtol=1e-6)
    np.testing.assert_array_equal(test.data[0], clouds.data[1])


def test_h5_with_a_column_of_labels(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"], file["normal"] = X, Y[:, None].astype(np.uint8), X

    clouds = load_cloud_dataset(tmp_path / "a.h5")

    np.testing.assert_array_equal(clouds.data, X)
    np.testing.assert_array_equal(clouds.normals, X)
    np.testing.assert_array_equal(clouds.target, Y)


def test_a_folder_is_read_in_order(tmp_path):
    for name, cloud in zip("ba", X, strict=False):
        (tmp_path / name).mkdir()
        write_points(tmp_path / name / "1.ply", cloud)

    got, y = load_cloud_dataset(tmp_path, return_X_y=True)

    np.testing.assert_array_equal(got, X[[1, 0]])
    assert y.tolist() == [0, 1]


def test_an_unknown_split_is_named_with_the_known_ones(tmp_path):
    np.savez(tmp_path / "a.npz", points=X, label=Y, split=Y)

    with pytest.raises(ValueError, match=r"no clouds of split 'val'; it has \['test', 'train'\]"):
        load_cloud_dataset(tmp_path / "a.npz", split="val")


def test_real_modelnet10(shared):
    train = load_cloud_dataset(shared / "data" / "modelnet10_small.npz", split="train")

    assert train.data.shape == (300, 1024, 3) and len(train.target_names) == 10
    assert set(np.bincount(train.target)) == {30}
    radius = np.linalg.norm(train.data, axis=2).max(axis=1)
    np.testing.assert_allclose(radius, 1, atol=1e-3)


def test_real_normals(shared):
    clouds = load_cloud_dataset(shared / "data" / "modelnet40_sample_normals.npz")

    assert clouds.data.shape == clouds.normals.shape == (143, 2048, 3)
    np.testing.assert_allclose(np.linalg.norm(clouds.normals, axis=2), 1, atol=1e-3)
    assert (clouds.split == "train").sum() == 116


def test_real_scans_of_differing_length(shared):
    clouds = load_cloud_dataset(shared / "data" / "dales_objects_small.npz")

    assert len(clouds.data) == 100 and clouds.target_names[-1] == "tree"
    assert max(len(cloud) for cloud in clouds.data) == 512
    assert len({len(cloud) for cloud in clouds.data}) > 10
    poles = [c[:, 2].max() for c, y in zip(clouds.data, clouds.target, strict=True) if y == 3]
    assert 2 < np.median(poles) < 40  # metres
    assert set(clouds.fold) == {0, 1, 2, 3, 4}
