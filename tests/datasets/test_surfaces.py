"""Points on primitive surfaces, against areas and moments known in closed form."""

import math

import numpy as np
import pytest

from pointinteract.datasets._bodies import Body, about_x, about_z, assemble, turned
from pointinteract.datasets._surfaces import sample_surfaces

TILTED = turned(about_z(1), about_x(1))


def sample(body, n_points=20_000):
    surfaces = assemble([body])
    uniforms = np.random.default_rng(0).random((4, 1, n_points), dtype=np.float32)
    points, normals, rows = sample_surfaces(surfaces, uniforms, [0])
    return surfaces, points[0].astype(float), normals[0].astype(float), rows[0]


def one(make, *args, **options):
    body = Body()
    getattr(body, make)("body", *args, **options)
    return body


def ellipsoid_area(a, b, c, n=400):
    t = (np.arange(n) + 0.5) / n * math.pi
    p = (np.arange(2 * n) + 0.5) / n * math.pi
    s, co = np.sin(t)[:, None], np.cos(t)[:, None]
    density = s * np.sqrt(
        (b * c * s * np.cos(p)) ** 2 + (a * c * s * np.sin(p)) ** 2 + (a * b * co) ** 2
    )
    return density.sum() * (math.pi / n) ** 2


@pytest.mark.parametrize(
    "body, area",
    [
        (one("block", (0, 0, 0), (1, 2, 3)), 22.0),
        (one("block", (0, 0, 0), (2, 2, 1), top=(0.0, 0.0)), 4 + 4 * math.sqrt(2)),
        (one("rod", (0, 0, 0), (0, 0, 2), 0.5), 2.5 * math.pi),
        (one("rod", (1, 2, 3), (4, 6, 3), 0.0, 2.0), math.pi * 2 * (math.sqrt(29) + 2)),
        (one("ball", (1, 0, 0), (2, 2, 2)), 16 * math.pi),
        (one("ball", (0, 0, 0), (1, 1, 1), low=0.0, high=0.5), math.pi),
        (one("ball", (0, 0, 0), (1.0, 0.3, 0.6)), ellipsoid_area(1.0, 0.3, 0.6)),
        (one("loop", (0, 0, 0), 1.0, 0.25), math.pi**2),
        (one("lathe", [(0, 0), (1, 0), (1, 2)], stretch=1.0), 5 * math.pi),
    ],
)
def test_areas_are_those_of_the_formulas(body, area):
    assert assemble([body]).area.sum() == pytest.approx(area, rel=0.01)


def test_points_lie_on_an_ellipsoid_evenly_with_normals_outwards():
    radii = np.array([1.0, 0.3, 0.6])
    _, points, normals, _ = sample(one("ball", (0, 0, 0), tuple(radii)))

    np.testing.assert_allclose(((points / radii) ** 2).sum(axis=1), 1, atol=1e-4)
    gradient = points / radii**2
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
    np.testing.assert_allclose(normals, gradient, atol=1e-3)
    # Divergence theorem: the mean of x n_x over the surface is volume over area.
    expected = 4 / 3 * math.pi * radii.prod() / ellipsoid_area(*radii)
    np.testing.assert_allclose((points * normals).mean(axis=0), expected, rtol=0.05)


@pytest.mark.parametrize(
    "body, volume",
    [
        (one("block", (0, 0, 0), (1, 2, 3), frame=about_x(0.4)), 6.0),
        (one("block", (1, 1, 1), (2, 2, 1), top=(0.5, 0.5), shift=(0.2, 0.1)), 7 / 3),
        (one("rod", (0, 0, 0), (1, 1, 2), 0.5, 0.2), math.pi * math.sqrt(6) / 3 * 0.39),
        (one("loop", (0, 0, 0), 1.0, 0.4, frame=TILTED), 0.32 * math.pi**2),
        (one("lathe", [(0, 0), (1, 0), (0.5, 1), (0, 1)], stretch=0.5), math.pi / 3 * 1.75 * 0.5),
    ],
)
def test_normals_and_density_satisfy_the_divergence_theorem(body, volume):
    surfaces, points, normals, _ = sample(body)

    # Any closed surface: area times the mean of x n_x, y n_y or z n_z is the volume.
    measured = surfaces.area.sum() * (points * normals).mean(axis=0)
    np.testing.assert_allclose(measured, volume, rtol=0.06)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)


def test_rows_are_picked_in_proportion_to_their_area():
    body = Body()
    body.block("seat", (0, 0, 0), (1, 1, 0.001))
    body.block("leg", (0, 0, 5), (3, 1, 0.001))
    surfaces, points, _, rows = sample(body)

    assert (points[:, 2] > 1).mean() == pytest.approx(0.75, abs=0.02)
    assert set(surfaces.part[rows[points[:, 2] > 1]]) == {3}


def test_objects_do_not_share_points():
    bodies = [one("ball", (10.0 * i, 0, 0), (1, 1, 1)) for i in range(50)]
    uniforms = np.random.default_rng(0).random((4, 50, 64), dtype=np.float32)
    uniforms[0, :, 0], uniforms[0, :, 1] = 0.0, np.nextafter(np.float32(1), np.float32(0))

    points, _, _ = sample_surfaces(assemble(bodies), uniforms, [0])

    assert np.abs(points[..., 0] - 10 * np.arange(50)[:, None]).max() <= 1.001
