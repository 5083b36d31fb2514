"""ModelNet40 and ModelNet10 in each layout, from a server on this machine."""

import dataclasses
import io
import pickle
import zipfile

import numpy as np
import pytest

from pointinteract.datasets import _modelnet, _modelnet10, fetch_modelnet10, fetch_modelnet40
from pointinteract.datasets._modelnet import MODELNET40_CLASSES
from pointinteract.datasets._modelnet10 import MODELNET10_CLASSES
from pointinteract.exceptions import FileFormatError
from tests.datasets._server import serve

OFF = "OFF\n4 2 0\n0 0 {z}\n1 0 {z}\n1 1 {z}\n0 1 {z}\n3 0 1 2\n3 0 2 3\n"
QUIET = {"n_retries": 0, "delay": 0.0, "verbose": False}


def pack(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def h5(data, label, normal=None):
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["data"], file["label"] = data, label
        if normal is not None:
            file["normal"] = normal
    return buffer.getvalue()


def numbered(labels, n_points=12):
    """Clouds whose point k is (k, label, 0)."""
    data = np.zeros((len(labels), n_points, 3), np.float32)
    data[..., 0], data[..., 1] = np.arange(n_points), np.reshape(labels, (-1, 1))
    return data


def h5_files():
    label = np.array([[3], [39]], np.uint8)
    first, second, test = ([3, 39], [0], [1, 2, 0])
    return {
        "train_files.txt": "data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n"
        "data/modelnet40_ply_hdf5_2048/ply_data_train1.h5\n",
        "test_files.txt": "data/modelnet40_ply_hdf5_2048/ply_data_test0.h5\n",
        "shape_names.txt": "\n".join(MODELNET40_CLASSES) + "\n",
        "ply_data_train0.h5": h5(numbered(first), label, -numbered(first)),
        "ply_data_train1.h5": h5(numbered(second), np.zeros((1, 1), np.uint8), -numbered(second)),
        "ply_data_test0.h5": h5(numbered(test), np.array(test), -numbered(test)),
    }


def text_files():
    cloud = np.zeros((12, 6))
    cloud[:, 0], cloud[:, 5] = np.arange(12), 1
    files = {
        "modelnet40_shape_names.txt": "\n".join(MODELNET40_CLASSES),
        "modelnet40_train.txt": "night_stand_0001\nairplane_0001\n",
        "modelnet40_test.txt": "tv_stand_0007\n",
        "modelnet10_train.txt": "night_stand_0001\n",
        "modelnet10_test.txt": "night_stand_0001\n",
    }
    for kind, name in (("night_stand", "0001"), ("airplane", "0001"), ("tv_stand", "0007")):
        cloud[:, 1] = len(kind)
        rows = "\n".join(",".join(f"{value:.6f}" for value in row) for row in cloud)
        files[f"{kind}/{kind}_{name}.txt"] = rows + "\n"
    return files


def mesh_files():
    files = {}
    for z, kind in enumerate(MODELNET10_CLASSES):
        for split, numbers in (("train", (2, 1)), ("test", (3,))):
            for number in numbers:
                files[f"{kind}/{split}/{kind}_{number:04d}.off"] = OFF.format(z=z)
    return files


@pytest.fixture
def site(monkeypatch):
    """A server with small archives of the three layouts; the records point to it."""
    with serve() as site:
        for module, name, make in (
            (_modelnet, "MODELNET40_H5", h5_files),
            (_modelnet, "MODELNET40_TEXT", text_files),
            (_modelnet10, "MODELNET40_TEXT", text_files),
            (_modelnet10, "MODELNET10_MESHES", mesh_files),
        ):
            record = getattr(module, name)
            file = record.url.rsplit("/", 1)[-1]
            record = dataclasses.replace(record, url=f"{site.url}/{file}", max_bytes=10**6)
            monkeypatch.setattr(module, name, record)
            if f"/{file}" not in site.files:
                content = {f"{record.content}/{path}": text for path, text in make().items()}
                site.files[f"/{file}"] = pack({**content, "__MACOSX/._x": "junk"})
        yield site


def test_h5_lists_are_downloaded_and_joined_in_their_order(site, tmp_path):
    site.cut_after = [700]

    clouds = fetch_modelnet40(data_home=tmp_path, **(QUIET | {"n_retries": 1}))

    assert len(site.asked) == 2
    assert clouds.data.shape == (6, 12, 3) and clouds.data.dtype == np.float32
    assert clouds.target.tolist() == [3, 39, 0, 1, 2, 0]
    np.testing.assert_array_equal(clouds.data[:, 0, 1], clouds.target)
    np.testing.assert_array_equal(clouds.normals, -clouds.data)
    assert clouds.split.tolist() == ["train", "train", "train", "test", "test", "test"]
    assert clouds.target_names == MODELNET40_CLASSES and len(clouds.target_names) == 40
    for word in ("academic research", "3D ShapeNets", "PointNet", site.url, "6 clouds"):
        assert word in clouds.DESCR


def test_subset_points_and_pair(site, tmp_path):
    X, y = fetch_modelnet40(
        data_home=tmp_path, subset="test", n_points=5, return_X_y=True, **QUIET
    )
    again = fetch_modelnet40(
        data_home=tmp_path, n_points=5, sampling="random", download_if_missing=False, **QUIET
    )
    same = fetch_modelnet40(data_home=tmp_path, n_points=5, sampling="random", **QUIET)

    assert X.shape == (3, 5, 3) and y.tolist() == [1, 2, 0]
    assert (X[..., 0] == np.arange(5)).all()
    np.testing.assert_array_equal(again.data, same.data)
    np.testing.assert_array_equal(again.normals, -again.data)
    assert all(len(set(cloud[:, 0])) == 5 for cloud in again.data)
    assert len(site.asked) == 1
    with pytest.raises(ValueError, match="n_points=13 is more than the 12 points"):
        fetch_modelnet40(data_home=tmp_path, n_points=13, **QUIET)


def test_absent_and_not_to_be_downloaded_says_where_it_looked(site, tmp_path):
    with pytest.raises(OSError, match=f"Looked for the folder {tmp_path}/modelnet40/modelnet40_p"):
        fetch_modelnet40(data_home=tmp_path, download_if_missing=False)
    with pytest.raises(OSError, match=f"Looked for the folder {tmp_path}/modelnet10/ModelNet10"):
        fetch_modelnet10(data_home=tmp_path, download_if_missing=False)
    assert site.asked == []


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("ply_data_test0.h5", (numbered([1]), [40]), "label 0 is 40. Expected .* 0 to 39"),
        ("ply_data_test0.h5", (numbered([1])[0], [1]), "data has shape"),
        ("ply_data_test0.h5", (numbered([1]), [1, 2]), "label has shape"),
        ("ply_data_test0.h5", (numbered([1]), [1], numbered([1], 3)), "normal has shape"),
        ("ply_data_test0.h5", (numbered([1], 3), [1]), "different shapes"),
        ("ply_data_test0.h5", b"\x89HDF\r\n\x1a\n cut", "damaged or cut short"),
        ("ply_data_test0.h5", b"<html>", "Expected an HDF5 file"),
        ("shape_names.txt", b"cat\ndog\n", "lists other classes"),
        ("test_files.txt", b"\n\n", "empty"),
    ],
)
def test_wrong_content_of_h5_lists_is_named(site, tmp_path, name, content, word):
    folder = tmp_path / "modelnet40" / "modelnet40_ply_hdf5_2048"
    folder.mkdir(parents=True)
    for file, good in h5_files().items():
        (folder / file).write_bytes(good if isinstance(good, bytes) else good.encode())
    (folder / name).write_bytes(content if isinstance(content, bytes) else h5(*content))

    with pytest.raises(FileFormatError, match=word):
        fetch_modelnet40(data_home=tmp_path, **QUIET)


def test_a_list_cannot_lead_out_of_its_folder(site, tmp_path):
    folder = tmp_path / "modelnet40" / "modelnet40_ply_hdf5_2048"
    folder.mkdir(parents=True)
    (tmp_path / "secret.h5").write_bytes(h5(numbered([1]), [1]))
    (folder / "train_files.txt").write_text("x.h5\n")
    (folder / "test_files.txt").write_text("../../secret.h5\n")

    with pytest.raises(FileNotFoundError, match="modelnet40_ply_hdf5_2048/secret.h5 does not"):
        fetch_modelnet40(data_home=tmp_path, subset="test", **QUIET)


def test_resampled_text_files_are_read(site, tmp_path):
    clouds = fetch_modelnet40(version="resampled", data_home=tmp_path, n_points=7, **QUIET)

    assert clouds.data.shape == clouds.normals.shape == (3, 7, 3)
    names = [clouds.target_names[label] for label in clouds.target]
    assert names == ["night_stand", "airplane", "tv_stand"]
    assert (clouds.data[:, :, 1] == [[11], [8], [8]]).all()
    assert (clouds.data[..., 0] == np.arange(7)).all() and (clouds.normals[..., 2] == 1).all()
    assert clouds.split.tolist() == ["train", "train", "test"]


def test_the_share_of_modelnet10_is_read_by_its_lists(site, tmp_path):
    clouds = fetch_modelnet10(version="resampled", data_home=tmp_path, **QUIET)

    assert clouds.data.shape == (2, 12, 3) and clouds.target.tolist() == [6, 6]
    (tmp_path / "modelnet40/modelnet40_normal_resampled/modelnet10_test.txt").unlink()
    with pytest.raises(OSError, match="modelnet10_test.txt is missing"):
        fetch_modelnet10(version="resampled", data_home=tmp_path, **QUIET)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("modelnet40_test.txt", "../tv_stand_0007\n", "it has the line"),
        ("modelnet40_test.txt", "dog_0001\n", "'dog_0001' is of no class"),
        ("tv_stand/tv_stand_0007.txt", "1,2,3\n1,2,3\n", "3 columns"),
        ("tv_stand/tv_stand_0007.txt", "1,2,3,4,5,x\n", "a line is broken"),
        ("tv_stand/tv_stand_0007.txt", "1,2,3,4,5,6\n1,2", "NaN|a line is broken"),
        ("tv_stand/tv_stand_0007.txt", "1,2,3,4,5,6\n", "its clouds have the shapes"),
    ],
)
def test_wrong_content_of_text_files_is_named(site, tmp_path, name, content, word):
    fetch_modelnet40(version="resampled", data_home=tmp_path, **QUIET)
    folder = tmp_path / "modelnet40" / "modelnet40_normal_resampled"
    (folder / name).write_text(content)
    if "shapes" in word:
        (folder / "modelnet40_test.txt").write_text("tv_stand_0007\nairplane_0001\n")

    with pytest.raises(FileFormatError, match=word):
        fetch_modelnet40(version="resampled", data_home=tmp_path, subset="test", **QUIET)


def cache(home, content, split="train", number=40):
    folder = home / "modelnet40" / "modelnet40_normal_resampled"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"modelnet{number}_{split}_8192pts_fps.dat"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content))


def test_caches_are_read_without_running_them(tmp_path):
    clouds = [np.hstack([cloud, cloud + 1]) for cloud in numbered([4, 7])]
    labels = [np.array([4], np.int32), np.array([7], np.int32)]
    cache(tmp_path, [clouds, labels])
    cache(tmp_path, [[clouds[0][:, :3]], [4]], "test")

    train = fetch_modelnet40(
        version="fps_8192", data_home=tmp_path, subset="train", n_points=6, **QUIET
    )
    test = fetch_modelnet40(version="fps_8192", data_home=tmp_path, subset="test", **QUIET)

    assert train.data.shape == (2, 6, 3) and train.target.tolist() == [4, 7]
    assert (train.data[:, :, 1] == [[4], [7]]).all() and train.data.flags.writeable
    np.testing.assert_array_equal(train.normals, train.data + 1)
    assert "normals" not in test and test.split.tolist() == ["test"]
    with pytest.raises(OSError, match="modelnet10_train_8192pts_fps.dat is in none of"):
        fetch_modelnet10(version="fps_8192", data_home=tmp_path, **QUIET)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"cos\nsystem\n(S'false'\ntR.", "os.system, which is never loaded"),
        ([[np.zeros((4, 3))], [np.array([40])]], "label 0 is 40"),
        ([[np.zeros((4, 3))], [np.array([1, 2])]], "a label is not one number"),
        ([[np.zeros((4, 3))], [np.array([1]), np.array([2])]], "label has shape"),
        ([[np.zeros((4, 3)), np.zeros((5, 3))], [1, 2]], "its clouds have the shapes"),
        ([[np.zeros((4, 2))], [1]], r"a cloud of shape \(4, 2\)"),
        ([["points"], [1]], "a cloud of str"),
        ([[np.full((4, 3), "1")], [1]], "a cloud of dtype <U1"),
        ([[np.zeros((4, 3))], [[1]]], "a label is not one number"),
        ([[np.zeros((400, 3))] * 90, [1] * 90], "refers to the same arrays so often"),
        ([[], []], "two lists"),
        ({"points": 1}, "it holds one dict"),
        (pickle.dumps([[np.zeros((4, 3))], [1]])[:-20], "damaged|claims shape"),
    ],
)
def test_wrong_caches_are_refused(tmp_path, content, word):
    cache(tmp_path, content)

    with pytest.raises(FileFormatError, match=word):
        fetch_modelnet40(version="fps_8192", data_home=tmp_path, subset="train", **QUIET)


def test_meshes_are_sampled_and_kept(site, tmp_path, monkeypatch):
    clouds = fetch_modelnet10(data_home=tmp_path, n_points=16, **QUIET)

    assert clouds.data.shape == clouds.normals.shape == (30, 16, 3)
    assert clouds.split.tolist() == ["train"] * 20 + ["test"] * 10
    np.testing.assert_array_equal(clouds.data[:, 0, 2], clouds.target)
    assert clouds.target_names == MODELNET10_CLASSES
    assert len(np.unique(clouds.data[..., 0])) == 30 * 16  # no mesh has another's numbers

    def fail(*arguments):
        raise AssertionError("sampled again")

    monkeypatch.setattr("pointinteract.datasets._modelnet_files._sample", fail)
    again = fetch_modelnet10(data_home=tmp_path, n_points=16, **QUIET)
    np.testing.assert_array_equal(again.data, clouds.data)
    with pytest.raises(AssertionError):
        fetch_modelnet10(data_home=tmp_path, n_points=16, random_state=1, **QUIET)


def test_kept_points_are_not_used_for_other_meshes(site, tmp_path):
    fetch_modelnet10(data_home=tmp_path, n_points=4, subset="test", **QUIET)
    folder = tmp_path / "modelnet10" / "ModelNet10"
    (folder / "bed" / "test" / "bed_0003.off").write_text(OFF.format(z=77))

    clouds = fetch_modelnet10(data_home=tmp_path, n_points=4, subset="test", **QUIET)

    assert len(clouds.data) == 10 and (clouds.data[1, :, 2] == 77).all()
    for path in folder.glob(".sampled*"):
        path.write_bytes(path.read_bytes()[:-30])
    again = fetch_modelnet10(data_home=tmp_path, n_points=4, subset="test", **QUIET)
    np.testing.assert_array_equal(again.data, clouds.data)


def test_sampling_of_meshes_can_spread_points(site, tmp_path):
    options = {"data_home": tmp_path, "subset": "test", "n_points": 16, **QUIET}
    spread = fetch_modelnet10(sampling="poisson_disk", **options)
    plain = fetch_modelnet10(**options)

    def nearest(clouds):
        distances = np.linalg.norm(clouds[:, :, None] - clouds[:, None], axis=-1)
        return (distances + 9 * np.eye(16)).min(axis=-1).mean()

    assert nearest(spread.data) > 1.3 * nearest(plain.data)
    with pytest.raises(ValueError, match="sampling must be one of 'uniform', 'poisson_disk'"):
        fetch_modelnet10(**(options | {"sampling": "first"}))


def test_meshes_of_a_missing_class_are_named(site, tmp_path):
    fetch_modelnet10(data_home=tmp_path, n_points=4, subset="test", **QUIET)
    (tmp_path / "modelnet10/ModelNet10/desk/test/desk_0003.off").unlink()

    with pytest.raises(FileFormatError, match="no meshes desk/test/"):
        fetch_modelnet10(data_home=tmp_path, n_points=4, subset="test", **QUIET)
