"""Points on meshes."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from pointinteract.exceptions import CloudError
from pointinteract.io import sample_surface

CORNERS = np.array([[0, 0, 0], [3, 0, 0], [3, 1, 0], [0, 1, 0], [0, 0, 5], [0, 1, 5]], dtype=float)
# A floor of area 3, a wall of area 5 and a triangle without area.
FACES = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 5], [0, 5, 4], [0, 0, 1]])


@pytest.mark.parametrize("method", ["uniform", "poisson_disk"])
def test_points_lie_on_the_faces_in_proportion_to_area(method):
    points, normals = sample_surface(CORNERS, FACES, 2000, method=method, random_state=0)

    floor = np.abs(normals[:, 2]) > 0.5
    assert points.shape == normals.shape == (2000, 3)
    assert np.abs(points[floor, 2]).max() < 1e-6
    assert np.abs(points[~floor, 0]).max() < 1e-6
    assert floor.mean() == pytest.approx(3 / 8, abs=0.04)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def test_points_fill_a_triangle_evenly():
    points, _ = sample_surface(CORNERS, FACES[:1], 20_000, random_state=0)

    np.testing.assert_allclose(points.mean(axis=0), CORNERS[FACES[0]].mean(axis=0), atol=0.02)


def test_poisson_disk_keeps_points_apart():
    def nearest(method):
        points, _ = sample_surface(CORNERS, FACES, 256, method=method, random_state=0)
        return cKDTree(points).query(points, k=2)[0][:, 1]

    # Perfect hexagonal packing of 256 discs on an area of 8 has spacing 0.19.
    assert nearest("poisson_disk").min() > 0.1
    assert nearest("uniform").min() < 0.02


@pytest.mark.parametrize("method", ["uniform", "poisson_disk"])
def test_same_seed_gives_same_points(method):
    first = sample_surface(CORNERS, FACES, 64, method=method, random_state=3)[0]
    again = sample_surface(CORNERS, FACES, 64, method=method, random_state=3)[0]
    other = sample_surface(CORNERS, FACES, 64, method=method, random_state=4)[0]

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_mesh_without_area_is_refused():
    with pytest.raises(CloudError, match="area 0.0"):
        sample_surface(CORNERS, FACES[4:], 8)
    with pytest.raises(CloudError, match=r"got \(6, 3\) and \(2, 4\)"):
        sample_surface(CORNERS, [[0, 1, 2, 3], [0, 1, 2, 3]], 8)
    with pytest.raises(ValueError, match="method must be one of"):
        sample_surface(CORNERS, FACES, 8, method="even")
