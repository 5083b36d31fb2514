"""Reading and writing clouds."""

import numpy as np
import pytest

from pointinteract.io import read_points, write_points

CLOUD = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".xyz", ".txt", ".csv", ".ply", ".h5"])
def test_points_survive_the_round_trip_exactly(tmp_path, suffix):
    path = tmp_path / f"cloud{suffix}"

    write_points(path, CLOUD)

    np.testing.assert_array_equal(read_points(path, n_channels=None), CLOUD)
    np.testing.assert_array_equal(read_points(path), CLOUD[:, :3])
    assert read_points(path).dtype == np.float32


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_stacks_survive_the_round_trip(tmp_path, suffix):
    path = tmp_path / f"clouds{suffix}"

    write_points(path, CLOUD.reshape(4, 5, 5))

    np.testing.assert_array_equal(read_points(path, n_channels=None), CLOUD.reshape(4, 5, 5))


@pytest.mark.parametrize(
    "text",
    [
        "0 0 1\n1 2 3\n",
        "0,0,1\n1,2,3\n",
        "0;0;1\r\n1;2;3\r\n",
        "0\t0\t1\t9\n1\t2\t3\t9",
        "# made by hand\nx y z\n0 0 1 # first\n\n1 2 3\n",
        "// made by hand\n0 0 1 255 255 255\n1 2 3 0 0 0\n",
        "X,Y,Z,Intensity\n0,0,1,0.5\n1,2,3,0.5\n",
        "2\n0 0 1\n1 2 3\n",
        "\ufeff0 0 1e0\n1 2 3.0\n",
    ],
)
def test_text_dialects_give_the_same_cloud(tmp_path, text):
    path = tmp_path / "cloud.xyz"
    path.write_text(text, encoding="utf-8", newline="")

    np.testing.assert_array_equal(read_points(path), [[0, 0, 1], [1, 2, 3]])


@pytest.mark.parametrize("order, code", [("little", "<"), ("big", ">")])
def test_binary_ply_with_mixed_properties_and_faces_first(tmp_path, order, code):
    header = (
        f"ply\nformat binary_{order}_endian 1.0\ncomment made by hand\n"
        "element face 2\nproperty list uchar int vertex_indices\n"
        "element vertex 4\nproperty uchar red\nproperty double x\nproperty float y\n"
        "property short z\nend_header\n"
    ).encode()
    faces = np.zeros(2, [("n", "u1"), ("corners", code + "i4", 3)])
    faces["n"] = 3
    columns = [("red", "u1"), ("x", code + "f8"), ("y", code + "f4"), ("z", code + "i2")]
    vertices = np.zeros(4, columns)
    vertices["x"], vertices["y"], vertices["z"] = [0, 1, 2, 3], 0.5, [-1, 0, 1, 300]
    path = tmp_path / "cloud.ply"
    path.write_bytes(header + faces.tobytes() + vertices.tobytes())

    points = read_points(path)

    np.testing.assert_array_equal(points, [[0, 0.5, -1], [1, 0.5, 0], [2, 0.5, 1], [3, 0.5, 300]])


def test_ascii_ply_is_read_as_written(tmp_path):
    path = tmp_path / "cloud.ply"

    write_points(path, CLOUD, binary=False)

    np.testing.assert_array_equal(read_points(path, n_channels=None), CLOUD)


def test_quantized_npz_is_scaled(tmp_path):
    path = tmp_path / "cloud.npz"
    np.savez(path, points=np.full((4, 3), 10, np.int16), quant_scale=np.float32(0.5))

    np.testing.assert_array_equal(read_points(path), np.full((4, 3), 5.0))


def test_writing_refuses_what_is_no_cloud(tmp_path):
    with pytest.raises(ValueError, match=r"got \(5, 2\)"):
        write_points(tmp_path / "cloud.xyz", np.zeros((5, 2)))
    with pytest.raises(ValueError, match="suffix is '.docx'"):
        write_points(tmp_path / "cloud.docx", np.zeros((5, 3)))


def test_missing_files_and_folders_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_points(tmp_path / "none.xyz")
    with pytest.raises(IsADirectoryError, match="load_cloud_files"):
        read_points(tmp_path)
