"""Points on a mesh: uniformly by area, or evenly spread."""

import heapq

import numpy as np
from scipy.spatial import cKDTree

from pointinteract.exceptions import CloudError
from pointinteract.utils._params import check_int, check_option
from pointinteract.utils._random import draw_seed

OVERSAMPLING = 5


def sample_surface(
    vertices: np.ndarray,
    faces: np.ndarray,
    n_points: int = 1024,
    *,
    method: str = "uniform",
    random_state: int | np.random.RandomState | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw points on a triangle mesh.

    Parameters
    ----------
    vertices : array-like of shape (n_vertices, 3)
    faces : array-like of shape (n_faces, 3)
        Corners of each triangle, as rows of `vertices`.
    n_points : int, default=1024
        How many points to draw.
    method : {"uniform", "poisson_disk"}, default="uniform"
        Uniformly by area, or with as even distances as possible: five times as many points
        are drawn and the most crowded removed one by one [1]_. The second covers small parts
        more reliably and takes about a hundred times as long.
    random_state : int, RandomState instance or None, default=None
        The same integer gives the same points.

    Returns
    -------
    points : ndarray of shape (n_points, 3), float32
    normals : ndarray of shape (n_points, 3), float32
        Unit normals of the triangles the points lie on.

    References
    ----------
    .. [1] C. Yuksel, "Sample elimination for generating Poisson disk sample sets", Computer
       Graphics Forum 34(2), 2015.

    Examples
    --------
    >>> from pointinteract.io import sample_surface
    >>> corners = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    >>> points, normals = sample_surface(corners, [[0, 1, 2], [0, 2, 3]], 16, random_state=0)
    >>> points.shape, normals[0].tolist()
    ((16, 3), [0.0, 0.0, 1.0])
    """
    check_int("n_points", n_points)
    check_option("method", method, ("uniform", "poisson_disk"))
    vertices = np.asarray(vertices, dtype=np.float64)
    faces = np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1:] != (3,) or faces.shape[1:] != (3,):
        raise CloudError(
            "vertices and faces must have shape (n_vertices, 3) and (n_faces, 3); got "
            f"{vertices.shape} and {faces.shape}."
        )
    corners = vertices[faces]  # (n_faces, 3, 3)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(first, second)
    double_area = np.linalg.norm(across, axis=1)
    total = float(double_area.sum())
    if not np.isfinite(total) or total <= 0:
        raise CloudError(
            f"The mesh has {len(faces)} faces and area {0.5 * total}; it must be positive."
        )
    rng = np.random.default_rng(draw_seed(random_state))
    n_drawn = n_points if method == "uniform" else OVERSAMPLING * n_points
    bounds = np.cumsum(double_area)
    face = np.searchsorted(bounds, rng.random(n_drawn) * bounds[-1], side="right")
    face = np.minimum(face, np.flatnonzero(double_area)[-1])
    u, v = rng.random((2, n_drawn, 1))
    # The unit square is folded onto the triangle.
    folded = u + v > 1
    u, v = np.where(folded, 1 - u, u), np.where(folded, 1 - v, v)
    points = corners[face, 0] + u * first[face] + v * second[face]
    normals = across[face] / double_area[face, None]
    if method == "poisson_disk":
        kept = _eliminate(points, n_points, 0.5 * total)
        points, normals = points[kept], normals[kept]
    return points.astype(np.float32), normals.astype(np.float32)


def _eliminate(points: np.ndarray, n_kept: int, area: float) -> np.ndarray:
    """Remove the most crowded point again and again; returns the rows that stay.

    A point's crowding is the sum of ``(1 - d / 2r)^8`` over neighbours within 2r, where r is
    the largest radius at which `n_kept` discs can cover the area.
    """
    radius = np.sqrt(area / (2 * np.sqrt(3) * n_kept))
    pairs = cKDTree(points).query_pairs(2 * radius, output_type="ndarray")
    distance = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    weight = np.maximum(1 - distance / (2 * radius), 0) ** 8
    source = np.concatenate([pairs[:, 0], pairs[:, 1]])
    order = np.argsort(source, kind="stable")
    neighbor = np.concatenate([pairs[:, 1], pairs[:, 0]])[order].tolist()
    weights = np.concatenate([weight, weight])[order].tolist()
    first = np.searchsorted(source[order], np.arange(len(points) + 1)).tolist()
    crowding = np.bincount(source, np.concatenate([weight, weight]), len(points)).tolist()

    heap = [(-value, i) for i, value in enumerate(crowding)]
    heapq.heapify(heap)
    alive = np.ones(len(points), dtype=bool)
    n_alive = len(points)
    while n_alive > n_kept:
        value, i = heapq.heappop(heap)
        if not alive[i] or -value != crowding[i]:
            continue  # an outdated entry; the current one is still in the heap
        alive[i] = False
        n_alive -= 1
        for k in range(first[i], first[i + 1]):
            j = neighbor[k]
            if alive[j] and weights[k] > 0:
                crowding[j] -= weights[k]
                heapq.heappush(heap, (-crowding[j], j))
    return np.flatnonzero(alive)
