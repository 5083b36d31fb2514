"""Read triangle meshes: OFF (also as ModelNet writes it), OBJ, STL and ply."""

from pathlib import Path

import numpy as np

from pointinteract.io._errors import bad_file, check_exists, check_numbers, describe_start
from pointinteract.io._ply import read_ply

MESH_SUFFIXES = (".off", ".obj", ".stl", ".ply")
OFF_RIGHT = "'OFF', then the counts of vertices, faces and edges, then that many lines"


def read_mesh(path: Path | str) -> tuple[np.ndarray, np.ndarray]:
    """Read a triangle mesh; polygons are cut into triangles.

    Parameters
    ----------
    path : str or Path
        An ``.off``, ``.obj``, ``.stl`` (text or binary) or ``.ply`` file.

    Returns
    -------
    vertices : ndarray of shape (n_vertices, 3), float64
    faces : ndarray of shape (n_faces, 3), int64
        Rows of `vertices` that are the corners of each triangle.

    Raises
    ------
    FileFormatError
        If the file is empty, cut short, of another format, or names corners it does not have.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from pointinteract.io import read_mesh
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "square.off"
    >>> _ = path.write_text("OFF4 1 0\\n0 0 0\\n1 0 0\\n1 1 0\\n0 1 0\\n4 0 1 2 3\\n")
    >>> vertices, faces = read_mesh(path)
    >>> faces
    array([[0, 1, 2],
           [0, 2, 3]])
    """
    path = check_exists(path)
    suffix = path.suffix.lower()
    if suffix == ".ply":
        columns, triangles = read_ply(path, faces=True)
        vertices = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
        faces = np.empty((0, 3), dtype=np.int64) if triangles is None else triangles
    elif suffix in MESH_SUFFIXES:
        reader = {".off": _read_off, ".obj": _read_obj, ".stl": _read_stl}[suffix]
        vertices, faces = reader(path)
    else:
        raise bad_file(path, f"the suffix is {suffix!r}", "one of " + ", ".join(MESH_SUFFIXES))
    check_numbers(path, vertices, "vertices")
    if len(faces) == 0:
        raise bad_file(path, "the mesh has no faces", "at least one triangle (or read_points)")
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = int(faces.min() if faces.min() < 0 else faces.max())
        raise bad_file(
            path,
            f"a face names vertex {wrong} of {len(vertices)}",
            f"numbers from 0 to {len(vertices) - 1}",
        )
    return vertices, faces


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        came = describe_start(path.read_bytes()[:8])
        raise bad_file(path, f"it is not text: {came}", "a mesh written as text") from error


def _read_off(path: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = [line.split("#")[0].strip() for line in _text(path).splitlines()]
    lines = [line for line in lines if line]
    head = lines[0] if lines else ""
    keyword = head.split()[0].rstrip("0123456789") if head else ""
    # ModelNet has files whose counts follow OFF on the same line, even without a blank.
    rest = head[len(keyword) :].strip()
    if keyword not in ("OFF", "COFF", "NOFF", "CNOFF"):
        raise bad_file(path, f"it begins with {head[:30]!r}", OFF_RIGHT)
    if rest.upper().startswith("BINARY"):
        raise bad_file(path, "it is a binary OFF file", "a text OFF file")
    lines = [rest, *lines[1:]] if rest else lines[1:]
    try:
        n_vertices, n_faces = (int(word) for word in lines[0].split()[:2])
    except (ValueError, IndexError) as error:
        came = lines[0][:40] if lines else ""
        raise bad_file(path, f"the counts read {came!r}", OFF_RIGHT) from error
    body = lines[1:]
    if n_vertices < 1 or n_faces < 0 or len(body) < n_vertices + n_faces:
        raise bad_file(
            path,
            f"{n_vertices} vertices and {n_faces} faces are declared but {len(body)} lines "
            "follow; the file is cut short or its counts are wrong",
            OFF_RIGHT,
        )
    try:
        rows = [line.split()[:3] for line in body[:n_vertices]]
        vertices = np.array(rows, dtype=np.float64).reshape(n_vertices, 3)
    except ValueError as error:
        raise bad_file(
            path, f"a vertex line is broken ({error})", "three numbers a line"
        ) from error
    return vertices, _fan(path, [line.split() for line in body[n_vertices:][:n_faces]])


def _fan(path: Path, rows: list[list[str]]) -> np.ndarray:
    """Triangles from rows of a corner count and that many corners; colours may follow."""
    if all(row[0] == "3" for row in rows):
        try:
            return np.array([row[1:4] for row in rows], dtype=np.int64).reshape(-1, 3)
        except ValueError:
            pass  # the careful way below finds the row to blame
    triangles = []
    for row in rows:
        try:
            count = int(row[0])
            corners = [int(word) for word in row[1 : 1 + count]]
            if len(corners) != count:
                raise ValueError
        except ValueError as error:
            raise bad_file(
                path,
                f"the face line {' '.join(row)[:60]!r} is broken or cut short",
                "a count and that many corners",
            ) from error
        triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, count - 1)]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        words = line.split("#")[0].split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                x, y, z = (float(word) for word in words[1:4])
                vertices.append([x, y, z])
                continue
            # A corner reads v, v/t, v//n or v/t/n; numbers start at 1, negative ones count back.
            corners = [int(word.split("/")[0]) for word in words[1:]]
            if len(corners) < 3 or 0 in corners:
                raise ValueError
        except ValueError as error:
            raise bad_file(
                path,
                f"line {number} is broken: {line.strip()[:60]!r}",
                "'v x y z' with numbers, or 'f a b c' with corners from 1",
            ) from error
        corners = [c - 1 if c > 0 else len(vertices) + c for c in corners]
        triangles += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
    if not vertices:
        raise bad_file(path, "there is no line 'v x y z'", "an OBJ mesh")
    return np.array(vertices), np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _read_stl(path: Path) -> tuple[np.ndarray, np.ndarray]:
    content = path.read_bytes()
    n_faces = int.from_bytes(content[80:84], "little") if len(content) >= 84 else -1
    if n_faces >= 0 and len(content) == 84 + 50 * n_faces:
        row = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("unused", "<u2")])
        corners = np.frombuffer(content, row, n_faces, 84)["corners"].reshape(-1, 3)
    elif content.lstrip()[:5].lower() == b"solid" and b"facet" in content[:4096]:
        lines = [line.split() for line in _text(path).splitlines()]
        rows = [words[1:4] for words in lines if words and words[0] == "vertex"]
        ended = any(words and words[0] == "endsolid" for words in lines)
        try:
            corners = np.array(rows, dtype=np.float64).reshape(-1, 3)
        except ValueError as error:
            raise bad_file(path, f"a vertex is broken ({error})", "'vertex x y z'") from error
        if len(corners) % 3 or not ended:
            raise bad_file(
                path, f"it ends after {len(corners)} corners; it is cut short", "'endsolid'"
            )
    else:
        raise bad_file(
            path,
            f"it has {len(content)} bytes and declares {n_faces} triangles",
            "'solid ...' with facets, or a binary STL of 84 + 50 bytes per triangle",
        )
    vertices, index = np.unique(corners.astype(np.float64), axis=0, return_inverse=True)
    return vertices, index.reshape(-1, 3).astype(np.int64)
