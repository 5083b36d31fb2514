"""Our own reader and writer of ply files: ascii and both binary byte orders."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pointinteract.io._errors import bad_file, check_exists, describe_start

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
    "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
MAX_HEADER = 1 << 16


@dataclass
class Element:
    """One element of the header: its name, count and properties.

    A property is ``(name, type)``, or ``(name, count type, type)`` for a list.
    """

    name: str
    count: int
    properties: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def has_list(self) -> bool:
        return any(len(item) == 3 for item in self.properties)

    def dtype(self, order: str) -> np.dtype:
        return np.dtype([(name, order + kind) for name, kind in self.properties])


def read_ply(
    path: Path | str, *, faces: bool = False
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Read the vertices of a ply file, and its faces if asked.

    Returns
    -------
    vertices : dict of str to ndarray of shape (n_vertices,)
        One array per vertex property.
    faces : ndarray of shape (n_faces, 3) or None
        Polygons are cut into triangles. None if not asked for, or if the file has none.
    """
    path = check_exists(path)
    content = path.read_bytes()
    order, elements, start = _read_header(path, content)
    vertices: dict[str, np.ndarray] = {}
    triangles = None
    lines = _body_lines(path, content[start:]) if order == "" else []
    position = 0 if order == "" else start
    for element in elements:
        wanted = element.name == "vertex" or (faces and element.name == "face")
        if order == "":
            rows = lines[position : position + element.count]
            position += element.count
            if len(rows) < element.count and wanted:
                raise _too_short(path, element, f"{len(rows)} lines follow")
            if element.name == "vertex":
                vertices = _ascii_vertices(path, element, rows)
            elif wanted:
                triangles = _polygons(path, [row.split() for row in rows], element)
        elif not element.has_list:
            dtype = element.dtype(order)
            size = element.count * dtype.itemsize
            if position + size > len(content) and wanted:
                raise _too_short(path, element, f"{len(content) - position} bytes follow")
            if element.name == "vertex":
                table = np.frombuffer(content, dtype, element.count, position)
                vertices = {name: table[name] for name in table.dtype.names or ()}
            position += size
        else:
            if element.name == "vertex":
                raise bad_file(path, "vertices have a list property", "scalar properties x, y, z")
            if not wanted and vertices and not faces:
                break
            polygons, position = _binary_lists(path, content, position, element, order)
            triangles = polygons if wanted else triangles
        if vertices and not faces:
            break
    return vertices, triangles


def write_ply(path: Path | str, points: np.ndarray, names: list[str], *, binary: bool) -> None:
    """Write points of shape (N, C) with one float property per channel."""
    kind = "binary_little_endian" if binary else "ascii"
    header = ["ply", f"format {kind} 1.0", f"element vertex {len(points)}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    with Path(path).open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        if binary:
            file.write(np.ascontiguousarray(points, dtype="<f4").tobytes())
        else:
            np.savetxt(file, points, fmt="%.9g")


def _read_header(path: Path, content: bytes) -> tuple[str, list[Element], int]:
    if not content.startswith((b"ply\n", b"ply\r")):
        raise bad_file(path, describe_start(content[:8]), "a ply file, beginning with 'ply'")
    end = content.find(b"end_header", 0, MAX_HEADER)
    newline = content.find(b"\n", end)
    if end < 0 or newline < 0:
        raise bad_file(
            path, "the header does not end", f"'end_header' within the first {MAX_HEADER} bytes"
        )
    order, elements = None, []
    for line in content[:end].decode("ascii", errors="replace").splitlines()[1:]:
        words = line.split()
        try:
            if not words or words[0] in ("comment", "obj_info"):
                continue
            if words[0] == "format":
                order = ORDERS[words[1]]
            elif words[0] == "element":
                elements.append(Element(words[1], int(words[2])))
                if elements[-1].count < 0:
                    raise ValueError
            elif words[0] == "property" and words[1] == "list":
                item: tuple[str, ...] = (words[4], TYPES[words[2]], TYPES[words[3]])
                elements[-1].properties.append(item)
            elif words[0] == "property":
                elements[-1].properties.append((words[2], TYPES[words[1]]))
            else:
                raise ValueError
        except (ValueError, KeyError, IndexError) as error:
            raise bad_file(
                path,
                f"the header line {line[:80]!r} makes no sense",
                "lines such as 'format ascii 1.0', 'element vertex 100', 'property float x'",
            ) from error
    if order is None:
        raise bad_file(path, "the header names no format", f"one of {', '.join(ORDERS)}")
    for element in elements:
        names = [item[0] for item in element.properties]
        if len(set(names)) < len(names):
            raise bad_file(path, f"element {element.name} repeats a property", "each one once")
    vertex = [element for element in elements if element.name == "vertex"]
    if len(vertex) != 1 or vertex[0].count == 0:
        counts = [element.count for element in vertex]
        raise bad_file(path, f"vertex elements of count {counts} are declared", "one, not empty")
    names = [item[0] for item in vertex[0].properties]
    missing = [axis for axis in "xyz" if axis not in names]
    if missing:
        raise bad_file(path, f"there is no vertex property {missing}", "properties x, y and z")
    return order, elements, newline + 1


def _too_short(path: Path, element: Element, follow: str):
    return bad_file(
        path,
        f"{element.count} {element.name} rows are declared but {follow}; the file is cut short",
        "as many rows as the header declares",
    )


def _body_lines(path: Path, body: bytes) -> list[str]:
    try:
        return [line for line in body.decode("ascii").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise bad_file(path, "the ascii body holds other bytes", "numbers as text") from error


def _ascii_vertices(path: Path, element: Element, rows: list[str]) -> dict[str, np.ndarray]:
    if element.has_list:
        raise bad_file(path, "vertices have a list property", "scalar properties x, y, z")
    n_columns = len(element.properties)
    words = " ".join(rows).split()
    if len(words) != n_columns * element.count:
        raise bad_file(
            path,
            f"{len(words)} numbers stand in {element.count} vertex lines",
            f"{n_columns} in each line",
        )
    try:
        table = np.array(words, dtype=np.float64).reshape(element.count, n_columns)
    except ValueError as error:
        raise bad_file(path, f"a vertex is not numeric ({error})", "numbers") from error
    return {item[0]: table[:, i] for i, item in enumerate(element.properties)}


def _polygons(path: Path, rows: list[list[str]], element: Element) -> np.ndarray:
    """Triangles from ascii face lines whose first property is the list of corners."""
    if not element.properties or len(element.properties[0]) != 3:
        raise bad_file(path, "faces do not begin with a list", "'property list uchar int ...'")
    triangles = []
    for row in rows:
        try:
            corners = [int(word) for word in row[1 : 1 + int(row[0])]]
            if len(corners) != int(row[0]):
                raise ValueError("too few corners")
        except (ValueError, IndexError) as error:
            raise bad_file(
                path, f"the face line {' '.join(row)[:60]!r} is broken", "a count and its corners"
            ) from error
        triangles += [
            (corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)
        ]
    return np.array(triangles, dtype=np.int64).reshape(-1, 3)


def _binary_lists(path: Path, content: bytes, position: int, element: Element, order: str):
    """Walk through rows with lists; returns triangles of the first list and the end."""
    properties = element.properties
    # Nearly always all faces are triangles; then the rows form a plain table.
    if len(properties[0]) == 3:
        head, tail = properties[0], properties[1:]
        if all(len(item) == 2 for item in tail):
            fields = [("n", order + head[1]), ("corners", order + head[2], (3,))]
            row = np.dtype(fields + [(f"p{i}", order + item[1]) for i, item in enumerate(tail)])
            end = position + element.count * row.itemsize
            if end <= len(content):
                table = np.frombuffer(content, row, element.count, position)
                if (table["n"] == 3).all():
                    return table["corners"].astype(np.int64), end
    triangles: list[tuple[int, int, int]] = []
    for _ in range(element.count):
        for i, item in enumerate(properties):
            kind = np.dtype(order + item[1])
            if position + kind.itemsize > len(content):
                raise _too_short(path, element, "the file ends before them")
            if len(item) == 2:
                position += kind.itemsize
                continue
            count = int(np.frombuffer(content, kind, 1, position)[0])
            position += kind.itemsize
            value = np.dtype(order + item[2])
            if count < 0 or position + count * value.itemsize > len(content):
                raise _too_short(path, element, "the file ends before them")
            if i == 0:
                corners = np.frombuffer(content, value, count, position).astype(np.int64).tolist()
                triangles += [
                    (corners[0], corners[j], corners[j + 1]) for j in range(1, count - 1)
                ]
            position += count * value.itemsize
    return np.array(triangles, dtype=np.int64).reshape(-1, 3), position
