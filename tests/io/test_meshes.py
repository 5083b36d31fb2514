"""Reading meshes, against trimesh and by hand."""

import numpy as np
import pytest

from pointinteract.io import read_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=float)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3]])
BODY = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
CORNERS = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.mark.parametrize(
    "name, text",
    [
        ("plain.off", f"OFF\n4 2 0\n{BODY}3 0 1 2\n3 0 2 3\n"),
        ("comments.off", f"OFF # square\n\n# counts\n4 1 0\n{BODY}4 0 1 2 3 255 0 0\n"),
        ("modelnet.off", f"OFF4 2 0\n{BODY}3 0 1 2\n3 0 2 3\n"),
        ("sameline.off", f"OFF 4 2 0\n{BODY}3 0 1 2 0.5 0.5 0.5\n3 0 2 3\n"),
        ("colors.off", "COFF\n4 1 0\n" + BODY.replace("\n", " 9 9 9 255\n") + "4 0 1 2 3\n"),
        ("square.obj", f"{CORNERS}vn 0 0 1\nf 1/1/1 2//1 3 4\n"),
        ("back.obj", f"{CORNERS}f -4 -3 -2\nf -4 -2 -1\n"),
        (
            "square.ply",
            "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
            "property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
            f"end_header\n{BODY}4 0 1 2 3\n",
        ),
    ],
)
def test_square_comes_as_two_triangles(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)

    vertices, faces = read_mesh(path)

    np.testing.assert_array_equal(vertices, SQUARE)
    np.testing.assert_array_equal(faces, TRIANGLES)


@pytest.mark.parametrize("name", ["a.off", "a.obj", "a.stl", "text.stl", "a.ply", "text.ply"])
def test_agrees_with_trimesh(tmp_path, name):
    trimesh = pytest.importorskip("trimesh")
    mesh = trimesh.creation.icosphere(subdivisions=1)
    form = {"text.stl": "stl_ascii"}.get(name, name.split(".")[1])
    options = {"encoding": "ascii"} if name == "text.ply" else {}
    data = mesh.export(file_type=form, **options)
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())

    vertices, faces = read_mesh(path)

    assert vertices.shape == (42, 3) and faces.shape == (80, 3)
    ours = np.sort(vertices[faces].mean(axis=1), axis=0)
    np.testing.assert_allclose(ours, np.sort(mesh.triangles_center, axis=0), atol=1e-6)


@pytest.mark.parametrize("order, code", [("little", "<"), ("big", ">")])
def test_binary_ply_with_polygons_of_differing_size(tmp_path, order, code):
    head = (
        f"ply\nformat binary_{order}_endian 1.0\nelement vertex 4\nproperty float x\n"
        "property float y\nproperty float z\nelement face 2\n"
        "property list uchar int vertex_indices\nproperty float quality\nend_header\n"
    ).encode()
    rows = b"".join(
        bytes([len(f)]) + np.array(f, code + "i4").tobytes() + np.array(0.5, code + "f4").tobytes()
        for f in ([0, 1, 2, 3], [0, 1, 2])
    )
    path = tmp_path / "mesh.ply"
    path.write_bytes(head + SQUARE.astype(code + "f4").tobytes() + rows)

    vertices, faces = read_mesh(path)

    np.testing.assert_array_equal(vertices, SQUARE)
    np.testing.assert_array_equal(faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2]])
