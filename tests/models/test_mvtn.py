"""MVTN against a literal formulation: pixel by pixel, camera by camera."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pointinteract.exceptions import CheckpointError
from pointinteract.models import MVTN, create_model, load_official, to_official


def literal_render(points, azimuth, elevation, size, radius, n_nearest, distance, background):
    """Section 9.3 of the specification, looking at every point from every pixel."""
    pictures = np.zeros((*azimuth.shape, size, size, 3))
    row, column = np.mgrid[:size, :size]
    centers = np.stack([1 - (2 * column + 1) / size, 1 - (2 * row + 1) / size], axis=-1)
    for b, v in np.ndindex(*azimuth.shape):
        a, e = np.deg2rad(azimuth[b, v]), np.deg2rad(elevation[b, v])
        eye = distance * np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
        z = -eye / np.linalg.norm(eye)
        x = np.cross([0.0, 1.0, 0.0], z)
        x = x / np.linalg.norm(x)
        frame = np.stack([x, np.cross(z, x), z], axis=1)  # axes in columns
        view = points[b] / distance @ frame - eye @ frame
        color = (points[b] + 1) / 2
        squared = ((centers[:, :, None] - view[:, :2]) ** 2).sum(-1)  # (S, S, N)
        covers = (squared < radius**2) & (view[:, 2] >= 0)
        depth = np.where(covers, view[:, 2], np.inf)
        near = np.argsort(depth, axis=-1)[..., :n_nearest]
        weights = np.where(covers, 1 - squared / radius**2, 0.0)
        weights = np.take_along_axis(weights, near, axis=-1)
        total = np.maximum(weights.sum(-1, keepdims=True), 1e-4)
        drawn = (weights[..., None] * color[near]).sum(-2) / total
        pictures[b, v] = np.where(covers.any(-1, keepdims=True), drawn, background)
    return pictures


def literal_scores(state, points):
    """Section 9.2: PointNet on (B, C, N) with convolutions, in evaluation."""
    state = {
        key.removeprefix("mvtn.feature_extractor.fe_model."): value
        for key, value in state.items()
        if "fe_model" in key
    }

    def layer(x, name, norm=None):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        x = F.conv1d(x, weight.view(*weight.shape[:2], 1), bias)
        if norm is None:
            return x
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{norm}.{n}"] for n in names)).relu()

    def align(x, name):
        rows = x
        for n in range(2):
            rows = layer(rows, f"{name}.convs.{n}.0", f"{name}.convs.{n}.1")
        rows = layer(rows, f"{name}.convs.2.0").amax(2, keepdim=True)
        for n in range(2):
            rows = layer(rows, f"{name}.fcs.{n}.0", f"{name}.fcs.{n}.1")
        matrix = layer(rows, f"{name}.fcs.2.0").view(len(x), x.shape[1], x.shape[1])
        return (matrix + torch.eye(x.shape[1]).to(x)) @ x

    x = align(points.transpose(1, 2), "input_transform")
    x = align(layer(x, "conv1.0", "conv1.1"), "feature_transform")
    x = layer(layer(x, "conv2s.0", "conv2s.1"), "conv2s.3", "conv2s.4").amax(2, keepdim=True)
    for n in (0, 4, 8):
        x = layer(x, f"classifier.{n}", f"classifier.{n + 1}")
    return x.squeeze(2)


def make(**numbers):
    """One in float64 whose cameras move, with gains and statistics drawn at random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MVTN(n_classes=5, picture_size=16, n_views=3, **numbers).double().eval()
        for name, tensor in model.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 2.0)
            elif "transform.out" in name:
                tensor.normal_(std=0.01)
        model.view_predictor.regressor.out.bias.data.normal_()
    return model


@pytest.fixture(scope="module")
def model():
    return make()


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(2, 60, 3, generator=generator, dtype=torch.float64)
    return points / points.norm(dim=2).amax(1)[:, None, None]


@pytest.mark.parametrize("n_nearest", [1, 2])
@pytest.mark.parametrize("distance", [1.0, 1.5])
@pytest.mark.parametrize("background", [0.0, 1.0])
def test_pictures_equal_those_drawn_pixel_by_pixel(points, n_nearest, distance, background):
    model = make(
        n_nearest=n_nearest, point_size=3.0, camera_distance=distance, background=background
    )
    model.view_predictor.elevation[1] -= 30  # beyond a pole, where a camera turns around
    with torch.no_grad():
        angles = [angle.numpy() for angle in model.predict_views(points)]

        pictures = model.render(points)

    radius = 3.0 / 16
    expected = literal_render(points.numpy(), *angles, 16, radius, n_nearest, distance, background)
    assert (np.abs(angles[1]) > 90).any()
    np.testing.assert_allclose(pictures, expected, rtol=1e-8, atol=1e-10)


def test_scores_of_the_shape_equal_the_literal_form(model, points):
    with torch.no_grad():
        found = model.shape_encoder(points)
        expected = literal_scores(to_official(model), points)

    torch.testing.assert_close(found, expected)
    assert found.abs().max() > 1e-3


def test_views_move_within_their_share_of_the_circle(model, points):
    with torch.no_grad():
        azimuth, elevation = model.predict_views(points)

    begin = model.view_predictor
    assert azimuth.shape == elevation.shape == (2, 3)
    assert (azimuth - begin.azimuth).abs().max() <= 60
    assert (elevation - begin.elevation).abs().max() <= 90
    assert (azimuth - begin.azimuth).abs().min() > 0


def test_cameras_learn_from_two_points_to_a_pixel_and_not_from_one(points):
    found = []
    for n_nearest in (1, 2):
        model = make(n_nearest=n_nearest, point_size=4.0)
        # Colors that do not depend on the camera: only the blending tells it where to stand.
        model.render(points).square().sum().backward()
        found.append(model.view_predictor.regressor.out.weight.grad.norm())

    assert found[0] < 1e-8 < 1e-4 < found[1]


def test_white_points_on_white_are_empty_pictures(points):
    with torch.no_grad():
        published = make(color="white", background=1.0).render(points)
        on_black = make(color="white").render(points)

    torch.testing.assert_close(published, torch.ones_like(published))
    assert on_black.unique().numel() > 1


def test_pictures_have_true_slopes_through_the_cameras(points):
    model = make(point_size=4.0)
    weights = torch.randn(2, 3, 16, 16, 3, dtype=torch.float64)
    step = torch.randn(6, dtype=torch.float64)
    bias = model.view_predictor.regressor.out.bias
    (model.render(points) * weights).sum().backward()

    ends = []
    with torch.no_grad():
        begin = bias.clone()
        for h in (-1e-7, 1e-7):
            bias.copy_(begin + h * step)
            ends.append((model.render(points) * weights).sum())

    torch.testing.assert_close(bias.grad @ step, (ends[1] - ends[0]) / 2e-7, rtol=1e-4, atol=1e-6)


def test_views_are_joined_by_their_maximum(model, points):
    with torch.no_grad():
        pictures = model.render(points).permute(0, 1, 4, 2, 3)
        views = torch.stack([model.encoder(view) for view in pictures])

        torch.testing.assert_close(model.forward_features(points), views)
        torch.testing.assert_close(model.forward_pool(points), views.amax(1))


def test_half_precision_moves_no_camera(model, points):
    single = copy.deepcopy(model).float()
    with torch.no_grad():
        scores = single.shape_encoder(points.float())
        expected = single.view_predictor(scores)
        with torch.autocast("cpu", torch.bfloat16):
            found = single.view_predictor(scores)

    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_extra_channels_are_drawn(points):
    model = MVTN(n_channels=5, n_classes=2, picture_size=16, n_views=2).double().eval()
    cloud = torch.cat([points, torch.full((2, 60, 2), 7.0, dtype=torch.float64)], dim=2)

    with torch.no_grad():
        pictures = model.render(cloud)

    assert pictures.shape == (2, 2, 16, 16, 5)
    drawn = pictures[..., 3] > 6.9
    assert drawn.any() and torch.equal(drawn, pictures[..., 4] > 6.9)


def test_published_size():
    model = create_model("mvtn")

    assert sum(p.numel() for p in model.parameters()) == 14_671_275


def test_unknown_looks_are_refused(model):
    state = to_official(model)

    with pytest.raises(CheckpointError, match="background must be 'white' or 'black'.*'grey'"):
        load_official("mvtn", state, background="grey")
    with pytest.raises(CheckpointError, match="canonical_distance=2.2 does not fit"):
        load_official("mvtn", state, canonical_distance=2.2)
    with pytest.raises(ValueError, match="color must be one of"):
        MVTN(color="red")


def test_checkpoint_keeps_the_published_looks_unless_told_otherwise(model):
    state = to_official(model)

    published = load_official("mvtn", state)
    ours = load_official(
        "mvtn",
        state,
        image_size=16,
        points_radius=1.344 / 16,
        points_per_pixel=2,
        object_color="per point (xyz+1)/2",
        background="black",
    )

    assert published.config["picture_size"] == 224 and published.config["n_nearest"] == 1
    assert published.config["color"] == "white" and published.config["background"] == 1.0
    assert ours.config == model.config
