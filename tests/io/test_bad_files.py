"""Every way a file can be bad, with the message it must bring."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from pointinteract.datasets import load_cloud_dataset
from pointinteract.exceptions import FileFormatError
from pointinteract.io import read_mesh, read_points

GOOD = np.arange(60, dtype=np.float32).reshape(20, 3)
PLY_HEAD = "ply\nformat {} 1.0\nelement vertex {}\nproperty float x\nproperty float y\n"
BODY = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


class Bomb:
    """Unpickling this is an error, so that a reader which unpickles is caught."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def npy(array, *, allow_pickle=False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


def npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def ply(form: str, count: object, body: bytes, z: str = "property float z\n") -> bytes:
    return (PLY_HEAD.format(form, count) + z + "end_header\n").encode() + body


def h5(tmp_path, **arrays) -> bytes:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "made.h5", "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
    return (tmp_path / "made.h5").read_bytes()


def damaged(content: bytes) -> bytes:
    """The same bytes with some in the middle turned over."""
    middle = len(content) // 2
    return content[:middle] + bytes(255 - b for b in content[middle : middle + 8]) + content[
        middle + 8 :
    ]


BAD_POINTS = {
    "empty.npy": (b"", "the file is empty"),
    "empty.npz": (b"", "the file is empty"),
    "empty.ply": (b"", "the file is empty"),
    "empty.xyz": (b"", "the file is empty"),
    "blank.xyz": (b"\n \n# nothing\n", "no line of numbers"),
    "words.xyz": (b"x y z\nhello you there\n", "line 2 is not numeric: 'hello you there'"),
    "later.xyz": (b"0 0 0\n1 1 1\n1 b 1\n", "line 3 is not numeric: '1 b 1'"),
    "ragged.txt": (b"0 0 0\n1 1\n", "line 2 has 2 columns, earlier lines have 3"),
    "flat.csv": (b"0,0\n1,1\n", r"points have shape \(2, 2\)"),
    "nan.xyz": (b"0 0 0\n1 nan 1\n", r"1 values that are NaN or infinite, the first at.*\(1, 1\)"),
    "inf.npy": (npy(np.full((4, 3), np.inf)), "12 values that are NaN or infinite"),
    "large.xyz": (b"0 0 1e300\n", "too large for float32"),
    "binary.txt": (b"\xff\xfe\x00\x81", "not text"),
    "rank.npy": (npy(np.zeros(9)), r"shape \(9,\).*Expected shape \(n_points, 3 or more\)"),
    "none.npy": (npy(np.zeros((0, 3))), "Expected at least one point"),
    "text.npy": (npy(np.array([["a", "b", "c"]])), "dtype <U1.*Expected real numbers"),
    "complex.npy": (npy(np.zeros((4, 3), complex)), "dtype complex128"),
    "short.npy": (npy(GOOD)[:-40], r"claims shape \(20, 3\).*cut short"),
    "header.npy": (npy(GOOD)[:30], "no valid npy header"),
    "objects.npy": (npy(np.array([Bomb()] * 3), allow_pickle=True), "pickled Python objects"),
    "disguised.npy": (pickle.dumps(Bomb()), "a Python pickle, which is never loaded"),
    "disguised.npz": (pickle.dumps(Bomb()), "a Python pickle, which is never loaded"),
    "member.npz": (
        zipped("points.npy", npy(np.array([Bomb()] * 3), allow_pickle=True)),
        "pickled Python objects",
    ),
    "inside.npz": (zipped("points.npy", pickle.dumps(Bomb())), "no valid npy header"),
    "stranger.npz": (zipped("run.py", b"print(1)"), "holds 'run.py'"),
    "short.npz": (npz(points=GOOD)[:-60], "damaged or cut short"),
    "half.npz": (npz(points=GOOD)[:200], "damaged or cut short"),
    "damaged.npz": (damaged(npz(points=GOOD)), "damaged or cut short"),
    "names.npz": (npz(a=GOOD, b=GOOD), r"arrays are \['a', 'b'\].*named 'points'"),
    "really_npy.npz": (npy(GOOD), "those of an npy file. Expected an npz archive"),
    "really_npz.npy": (npz(points=GOOD), r"those of a zip archive \(npz\). Expected an npy"),
    "magic.ply": (b"plx\n", "Expected a ply file"),
    "endless.ply": (b"ply\nformat ascii 1.0\n", "the header does not end"),
    "format.ply": (ply("ascii_2", 1, b""), "header line 'format ascii_2 1.0' makes no sense"),
    "negative.ply": (ply("ascii", -1, b""), "'element vertex -1' makes no sense"),
    "zero.ply": (ply("ascii", 0, b""), r"count \[0\]"),
    "huge.ply": (ply("binary_little_endian", 10**15, b"\0" * 24), "are declared but 24 bytes"),
    "huge_text.ply": (ply("ascii", 10**15, b"0 0 0\n"), "are declared but 1 lines"),
    "short.ply": (ply("binary_big_endian", 3, b"\0" * 30), "3 vertex rows.*30 bytes follow"),
    "columns.ply": (ply("ascii", 2, b"0 0 0\n1 1\n"), "5 numbers stand in 2 vertex lines"),
    "words.ply": (ply("ascii", 1, b"a b c\n"), "a vertex is not numeric"),
    "noz.ply": (ply("ascii", 1, b"0 0\n", z=""), r"no vertex property \['z'\]"),
    "bare.ply": (
        b"ply\nformat binary_little_endian 1.0\nelement vertex 5\nend_header\n",
        r"no vertex property \['x', 'y', 'z'\]",
    ),
    "token.npy": (npy(GOOD).replace(b"), }", b"(, }"), "no valid npy header"),
    "twice.ply": (ply("ascii", 1, b"0 0\n", z="property float x\n"), "repeats a property"),
    "list.ply": (ply("ascii", 1, b"0 0 1 0\n", z="property list uchar int z\n"), "list property"),
    "nan.ply": (ply("ascii", 1, b"0 nan 0\n"), "1 values that are NaN"),
    "magic.h5": (b"not hdf5 at all", "Expected an HDF5 file"),
    "short.h5": (b"\x89HDF\r\n\x1a\n\x00\x00", "damaged or cut short"),
    "suffix.las": (b"LASF", "the suffix is '.las'. Expected one of .npy"),
}


@pytest.mark.parametrize("name", BAD_POINTS)
def test_bad_cloud_is_refused_with_the_reason(tmp_path, name):
    content, message = BAD_POINTS[name]
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(FileFormatError, match=f"{name}: .*{message}"):
        read_points(path)


BAD_MESHES = {
    "empty.off": ("", "the file is empty"),
    "magic.off": (f"FOO\n4 1 0\n{BODY}4 0 1 2 3\n", "it begins with 'FOO'"),
    "counts.off": ("OFF\nfour one\n", "the counts read 'four one'"),
    "nocounts.off": ("OFF\n", "the counts read ''"),
    "short.off": (f"OFF\n40 2 0\n{BODY}", "40 vertices and 2 faces are declared but 4 lines"),
    "huge.off": (f"OFF{10**15} 1 0\n{BODY}", "lines follow; the file is cut short"),
    "line.off": (f"OFF\n4 1 0\n{BODY}4 0 1 2", "the face line '4 0 1 2' is broken or cut short"),
    "word.off": (f"OFF\n4 1 0\n{BODY}3 0 1 x\n", "the face line '3 0 1 x'"),
    "vertex.off": (f"OFF\n4 1 0\n{BODY[:-5]} a\n4 0 1 2 3\n", "a vertex line is broken"),
    "corner.off": (f"OFF\n4 1 0\n{BODY}3 0 1 4\n", "names vertex 4 of 4"),
    "minus.off": (f"OFF\n4 1 0\n{BODY}3 0 1 -1\n", "names vertex -1 of 4"),
    "nofaces.off": (f"OFF\n4 0 0\n{BODY}", "the mesh has no faces"),
    "nan.off": ("OFF\n3 1 0\n0 0 0\n1 nan 0\n0 1 0\n3 0 1 2\n", "1 values that are NaN"),
    "binary.off": ("OFF BINARY\n", "binary OFF"),
    "zero.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "line 4 is broken: 'f 0 1 2'"),
    "short.obj": ("v 0 0 0\nv 1 0\n", "line 2 is broken: 'v 1 0'"),
    "none.obj": ("# nothing\n", "no line 'v x y z'"),
    "beyond.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "names vertex 8 of 3"),
    "short.stl": ("solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\n", "after 1 corners"),
    "binary.stl": ("x" * 90, "it has 90 bytes and declares"),
    "suffix.step": ("ISO-10303-21;", "the suffix is '.step'"),
    "cloud.ply": (ply("ascii", 1, b"0 0 0\n").decode(), "the mesh has no faces"),
}


@pytest.mark.parametrize("name", BAD_MESHES)
def test_bad_mesh_is_refused_with_the_reason(tmp_path, name):
    content, message = BAD_MESHES[name]
    path = tmp_path / name
    path.write_text(content)

    with pytest.raises(FileFormatError, match=f"{name}: .*{message}"):
        read_mesh(path)


X = np.zeros((4, 8, 3), dtype=np.float32)
Y = np.array([0, 1, 0, 1])
BAD_SETS = {
    "no_points": (dict(label=Y), r"arrays are \['label'\], without points"),
    "no_label": (dict(points=X), "without labels"),
    "one_cloud": (dict(points=X[0], label=Y), "there are no offsets"),
    "lengths": (dict(points=X, label=Y[:3]), r"label has shape \(3,\) for 4 clouds"),
    "nan": (dict(points=X + np.nan, label=Y), "96 values that are NaN"),
    "nan_label": (dict(points=X, label=Y * np.nan), "label holds 4 values that are NaN"),
    "half_label": (dict(points=X, label=Y + 0.5), "negative or not whole"),
    "minus_label": (dict(points=X, label=Y - 1), "negative or not whole"),
    "unnamed": (dict(points=X, label=Y, class_names=["a"]), "label 1 has no name among 1"),
    "unknown": (
        dict(points=X, label=["a", "b", "a", "b"], class_names=["a", "c"]),
        r"labels \['b'\] are not in class_names",
    ),
    "split_length": (dict(points=X, label=Y, split=[0, 1]), r"split has shape \(2,\)"),
    "split_value": (dict(points=X, label=Y, split=[0, 1, 2, 3]), "below 2"),
    "scale": (dict(points=X, label=Y, quant_scale=[1.0, 2.0]), "quant_scale is"),
    "offsets": (dict(points=X[0], label=Y[:2], offsets=[0, 9, 8]), "offsets run"),
    "offset_end": (dict(points=X[0], label=Y[:2], offsets=[0, 4, 9]), "for 8 points"),
    "offset_kind": (dict(points=X[0], label=Y[:2], offsets=[0.0, 8.0]), "of float64"),
    "normals": (dict(points=X, label=Y, normals=X[:2]), "normals have shape"),
}


@pytest.mark.parametrize("name", BAD_SETS)
def test_bad_set_is_refused_with_the_reason(tmp_path, name):
    arrays, message = BAD_SETS[name]
    path = tmp_path / f"{name}.npz"
    np.savez(path, **arrays)

    with pytest.raises(FileFormatError, match=f"{name}.npz: .*{message}"):
        load_cloud_dataset(path)


def test_npy_that_claims_more_than_it_holds_takes_no_memory(tmp_path):
    header = npy(np.zeros((10, 3), np.float32))[:128]
    path = tmp_path / "huge.npy"
    claim = header.replace(b"(10, 3), }", b"(99999999999, 3), }")
    path.write_bytes(claim.rstrip().ljust(127) + b"\n" + b"\0" * 120)

    with pytest.raises(FileFormatError, match=r"claims shape \(99999999999, 3\).*120 bytes"):
        read_points(path)


@pytest.mark.parametrize("keep", [40, 700, -8])
def test_h5_cut_short_is_refused(tmp_path, keep):
    content = h5(tmp_path, data=X, label=Y)
    path = tmp_path / "clouds.h5"
    path.write_bytes(content[:keep])

    with pytest.raises(FileFormatError, match="clouds.h5: .*cut short"):
        load_cloud_dataset(path)


def test_h5_without_the_right_data_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "clouds.h5"
    path.write_bytes(h5(tmp_path, other=X))
    with pytest.raises(FileFormatError, match="no data set 'data'"):
        read_points(path)
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink(str(tmp_path / "made.h5"), "other")
    with pytest.raises(FileFormatError, match="no data set 'data'"):
        read_points(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape=(10**7, 1000, 3), dtype="f4", chunks=(10, 10, 3))
    with pytest.raises(FileFormatError, match="claims shape .* but 0 bytes"):
        read_points(path)
